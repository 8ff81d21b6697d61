"""Orders at Polymarket: FAK only, signed here, known by their hash before they are sent (design 9, polymarket.md 2).

The hash is a function of the order alone: the salt comes from ``client_id``, the timestamp is ``created_ms``, which the
caller stores with the intent, so a restarted process computes the same hash and asks for the same order. Nothing is sent
a second time. A response is never the last word: fills are the venue's trades, and only CONFIRMED ones are final and may
be sold.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import msgspec

from arbpipe.errors import ArbpipeError, EnvironmentRefused, SafetyRefused, TimedOut
from arbpipe.feemodel import FeeTerms
from arbpipe.fixedpoint import format_size, format_usd
from arbpipe.identity import Side, Venue
from arbpipe.shm.generation import Listing
from arbpipe.venues.base import Action, Fill, Order, Outcome, OutcomeState, Position, TimeInForce
from arbpipe.venues.news import News
from arbpipe.venues.polymarket.account import Account, is_v2_token
from arbpipe.venues.polymarket.amounts import AmountError, Amounts, buy_amounts, sell_amounts
from arbpipe.venues.polymarket.auth import ApiCredentials
from arbpipe.venues.polymarket.fills import fills_of
from arbpipe.venues.polymarket.outcomes import OrderStatus, TradeStatus, read_answer
from arbpipe.venues.polymarket.private import PolymarketPrivate
from arbpipe.venues.polymarket.reads import OrderRead, read_order, trades_of
from arbpipe.venues.polymarket.rest import ClobRest
from arbpipe.venues.polymarket.signing import ZERO_BYTES32, OrderFields, OrderSigner, SignedOrder

__all__ = ["Patience", "PolymarketGateway", "order_body", "salt_of"]


def salt_of(client_id: str) -> int:
    """53 bits of SHA-256 of the client id: the same order has the same salt after a restart."""
    return int.from_bytes(hashlib.sha256(client_id.encode()).digest()[:7], "big") >> 3


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the gateway waits, in seconds.

    ``post``: for any answer. ``trades``: for the trades of a match to be readable. ``absent``: an order must be absent
    for so long, in every read, before it counts as never arrived. ``settle``: so old must an order be for that if nobody
    knows the balance from before it was sent (ghost trades have settled after 50 s). ``lookup``: one look-up in all.
    """

    post: float = 2.0
    trades: float = 2.5
    poll: float = 0.2
    absent: float = 3.0
    settle: float = 60.0
    lookup: float = 4.5


@dataclass(slots=True)
class _Absence:
    """Since when an order has been absent (loop time), and what its token's balance was then."""

    since: float | None = None
    balance: int = 0


@dataclass(frozen=True, slots=True)
class _Prepared:
    token: str
    amounts: Amounts
    signed: SignedOrder
    fee: FeeTerms

    @property
    def shares_e6(self) -> int:
        return self.amounts.taker if self.signed.fields.is_buy else self.amounts.maker


def order_body(signed: SignedOrder, token: str, api_key: str) -> bytes:
    """The body of ``POST /order`` for a FAK order; these bytes are signed and sent as they are."""
    fields = signed.fields
    return msgspec.json.encode(
        {
            "deferExec": False,
            "order": {
                "salt": fields.salt,
                "maker": signed.maker,
                "signer": signed.signer,
                "tokenId": token,
                "makerAmount": str(fields.maker_amount),
                "takerAmount": str(fields.taker_amount),
                "side": "BUY" if fields.is_buy else "SELL",
                "signatureType": signed.signature_type,
                "timestamp": str(fields.timestamp_ms),
                "metadata": ZERO_BYTES32,
                "builder": ZERO_BYTES32,
                "expiration": "0",
                "signature": signed.signature,
            },
            "owner": api_key,
            "orderType": "FAK",
        }
    )


class PolymarketGateway:
    """Implements :class:`arbpipe.venues.base.Gateway`.

    ``listing`` finds an instrument by uid, ``listings`` all of them (their tokens are what :meth:`positions` asks for,
    besides what the Data API names). ``max_order_e6``: no buy may cost more dollars than this, fee not counted; it
    depends on nothing else in the system. ``ws_user_url``: the private stream; without it nobody tells any news. ``salt``
    may be replaced to test.
    """

    venue = Venue.POLYMARKET

    def __init__(
        self,
        clob_url: str,
        data_url: str,
        signer: OrderSigner,
        tls: ssl.SSLContext | None,
        *,
        listing: Callable[[int], Listing | None],
        max_order_e6: int,
        ws_user_url: str = "",
        listings: Callable[[], Iterable[Listing]] | None = None,
        credentials: ApiCredentials | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        salt: Callable[[str], int] = salt_of,
        patience: Patience | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._signer = signer
        self._rest = ClobRest(clob_url, signer, tls, now_ms, credentials, total_s=self._patience.post)
        self._listing = listing
        self._max_order_e6 = max_order_e6
        self._now_ms = now_ms
        self._salt = salt
        self._account = Account(self._rest, data_url, signer, listings or (lambda: ()))
        self._news = News()
        self._ws_user_url = ws_user_url
        self._tls = tls
        self.stream: PolymarketPrivate | None = None
        self._sent: set[str] = set()  # hashes of orders that were sent when the balance of their token was known

    # -- life --------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the session, get credentials where none were given, and make sure that orders could be sent.

        Raises:
            ArbpipeError: no answer, wrong credentials, another protocol version, or an account that may only close.
        """
        await self._rest.open()
        try:
            await self._check_venue()
            self._listen()
        except BaseException:
            await self.close()
            raise

    def _listen(self) -> None:
        if self._ws_user_url and self._rest.credentials is not None:
            self.stream = PolymarketPrivate(self._ws_user_url, self._rest.credentials, self._tls, self._news.tell)
            self.stream.start()

    async def _check_venue(self) -> None:
        version = await self._rest.get_open(f"{self._rest.clob_url}/version", {})
        if not version.status:
            raise TimedOut(f"{self._rest.clob_url} does not answer: {version}; check the network and polymarket.clob")
        if not version.ok or _member(version.body, "version") != 2:
            raise EnvironmentRefused(
                f"{self._rest.clob_url}/version says {version}: this gateway signs orders of CLOB version 2 only"
            )
        ban = await self._rest.get("/auth/ban-status/closed-only")
        closed = _member(ban.body, "closed_only")
        if not ban.ok or not isinstance(closed, bool):
            raise EnvironmentRefused(
                f"{self._rest.clob_url} does not accept the API key of {self._signer.address}: {ban}; delete the stored "
                "credentials, or check this machine's clock"
            )
        if closed:
            raise SafetyRefused(f"the account {self._signer.funder} is in closed-only mode: it cannot open positions")

    async def close(self) -> None:
        """Close the session and the stream; nothing is cancelled, and nothing of ours rests in a book."""
        stream, self.stream = self.stream, None
        if stream is not None:
            await stream.stop()
        await self._rest.close()

    # -- orders ------------------------------------------------------------------------------------------------------

    def order_hash(self, order: Order) -> str:
        """The id the venue will know this order by.

        Raises:
            AmountError: the order cannot be expressed, so it was never sent.
        """
        return self._prepare(order).signed.hash

    def _prepare(self, order: Order) -> _Prepared:
        listing = self._listing(order.uid)
        if listing is None:
            raise AmountError(f"{order.native_id} is not listed: its tokens are unknown")
        if listing.fee is None:
            raise AmountError(f"{order.native_id}: its fee is unknown, and unknown is not zero")
        if order.created_ms <= 0:
            raise AmountError(f"{order.client_id} has no created_ms: its hash could not be found again after a restart")
        buys = order.action is Action.BUY
        amounts = (buy_amounts if buys else sell_amounts)(order.price_e4, order.size_e2, listing.tick_e4)
        token = listing.yes_token if order.side is Side.YES else listing.no_token
        try:
            _agree(token, listing.version)
            fields = OrderFields(
                self._salt(order.client_id), int(token), amounts.maker, amounts.taker, buys, order.created_ms
            )
            signed = self._signer.sign(fields, neg_risk=listing.neg_risk, version=listing.version)
        except (ValueError, OverflowError) as error:
            raise AmountError(f"{order.native_id}: {error}") from None
        return _Prepared(token, amounts, signed, listing.fee)

    def _refusal(self, order: Order, prepared: _Prepared) -> str:
        """The last check, which knows nothing but the order and its listing."""
        listing = self._listing(order.uid)
        least_e6 = listing.min_size_e2 * 10_000 if listing else 0
        if not least_e6:
            return f"the minimum size of {order.native_id} is unknown"
        if prepared.shares_e6 < least_e6:
            return (
                f"{prepared.shares_e6 / 1e6} shares are below the minimum of {least_e6 / 1e6} "
                f"({format_size(order.size_e2)} wanted, dollars are cut to cents): a larger size is needed"
            )
        if order.action is Action.BUY and prepared.amounts.maker > self._max_order_e6:
            return f"${format_usd(prepared.amounts.maker)} is more than the gateway's cap of ${format_usd(self._max_order_e6)}"
        return ""

    async def place(self, order: Order) -> Outcome:
        """Send an order once and say what its trades were. Never raises for what the venue does."""
        if order.time_in_force is not TimeInForce.IOC:
            return Outcome(OutcomeState.REJECTED, (), f"not sent: {order.time_in_force.value} orders are not sent here")
        try:
            prepared = self._prepare(order)
        except AmountError as error:
            return Outcome(OutcomeState.REJECTED, (), f"not sent: {error}")
        refusal = self._refusal(order, prepared)
        if refusal:
            return Outcome(OutcomeState.REJECTED, (), f"not sent: {refusal}")
        if order.action is Action.SELL:
            unsold = await self._account.cannot_sell(prepared.token, prepared.shares_e6)
            if unsold:
                return Outcome(OutcomeState.REJECTED, (), f"not sent: {unsold}")
        if self._account.has_base(prepared.token):
            self._sent.add(prepared.signed.hash)
        self._account.doubtful.add(prepared.token)  # until its outcome is known, no read of the balance counts
        outcome = await self._post(order, prepared)
        if outcome.state.settled:
            self._account.doubtful.discard(prepared.token)
        return outcome

    async def _post(self, order: Order, prepared: _Prepared) -> Outcome:
        api_key = self._rest.credentials.api_key if self._rest.credentials else ""
        reply = await self._rest.post("/order", order_body(prepared.signed, prepared.token, api_key))
        answer = read_answer(reply.status, reply.body, prepared.signed.hash)
        if answer.state is not None:
            return Outcome(answer.state, (), answer.reason)
        dollars, shares = answer.making_e6, answer.taking_e6
        if order.action is Action.SELL:
            dollars, shares = shares, dollars
        deadline = asyncio.get_running_loop().time() + self._patience.trades
        while True:
            self._news.asked(prepared.signed.hash)
            outcome = await self._collect(order, prepared, shares, dollars, answer.trade_ids)
            if outcome is not None:
                return outcome
            if asyncio.get_running_loop().time() >= deadline:
                return Outcome(OutcomeState.UNKNOWN, (), "matched, but its trades do not add up yet: look it up")
            await self._news.wait((prepared.signed.hash,), self._patience.poll)

    async def _collect(
        self, order: Order, prepared: _Prepared, shares_e6: int | None, dollars_e6: int | None, trade_ids: Iterable[str]
    ) -> Outcome | None:
        """The outcome once the trades add up to ``shares_e6``, else ``None``: reads lag behind the match."""
        hash_ = prepared.signed.hash
        if shares_e6 is None:
            found = await read_order(self._rest, hash_)
            if found.status is not OrderStatus.OVER or not found.matched_e6:
                return None
            shares_e6, trade_ids = found.matched_e6, found.trade_ids or trade_ids
        trades = await trades_of(self._rest, hash_, prepared.token, order.created_ms, trade_ids)
        if trades is None or sum(each.qty_e6 for each in trades.values()) != shares_e6:
            return None
        fills = fills_of(trades, is_buy=order.action is Action.BUY, fee=prepared.fee, dollars_e6=dollars_e6)
        self._account.traded(prepared.token, order.action is Action.BUY, trades.values())
        failed = tuple(each.trade_id for each in trades.values() if each.status is TradeStatus.FAILED)
        return replace(_filled(fills, prepared.shares_e6, len(failed)), reverted=failed)

    async def lookup(self, order: Order) -> Outcome:
        """What became of an order, by its hash; takes up to ``Patience.lookup`` seconds.

        NONE only when order and trades stayed absent for ``Patience.absent`` and the balance of its token did not move.
        """
        try:
            prepared = self._prepare(order)
        except AmountError as error:
            return Outcome(OutcomeState.UNKNOWN, (), f"its hash cannot be computed: {error}")
        clock, patience = asyncio.get_running_loop().time, self._patience
        began, absence = clock(), _Absence()
        while True:
            self._news.asked(prepared.signed.hash)
            found = await read_order(self._rest, prepared.signed.hash)
            reason = found.reason
            outcome = await self._over(order, prepared, found) if found.status is OrderStatus.OVER else None
            if outcome is None and (found.absent or (found.status is OrderStatus.DOUBTFUL and found.matched_e6 == 0)):
                outcome, reason = await self._absent(order, prepared, absence, reason)
            else:
                absence.since = None
            if outcome is not None:
                self._account.doubtful.discard(prepared.token)
                return outcome
            if clock() - began >= patience.lookup:
                return Outcome(OutcomeState.UNKNOWN, (), reason)
            await self._news.wait((prepared.signed.hash,), patience.poll)

    async def _over(self, order: Order, prepared: _Prepared, found: OrderRead) -> Outcome | None:
        if found.matched_e6:
            return await self._collect(order, prepared, found.matched_e6, None, found.trade_ids)
        if found.word == "MATCHED":
            return None  # matched, and its size is not written yet
        return Outcome(OutcomeState.NONE, (), f"{found.reason}, nothing matched")

    async def _absent(
        self, order: Order, prepared: _Prepared, absence: _Absence, reason: str
    ) -> tuple[Outcome | None, str]:
        """Nothing is on record: NONE if that lasts, no trade names it, and the balance proves it (design 9.5)."""
        trades = await trades_of(self._rest, prepared.signed.hash, prepared.token, order.created_ms)
        balance = await self._account.balance(prepared.token, refresh=True)
        now = asyncio.get_running_loop().time()
        if trades is None or trades or balance is None:
            absence.since = None
            return None, f"{reason}, but its trades or its balance speak against it or cannot be read"
        if absence.since is None or balance != absence.balance:
            absence.since, absence.balance = now, balance
        if now - absence.since < self._patience.absent:
            return None, reason
        if prepared.signed.hash in self._sent:
            doubt = await self._account.moved(prepared.token, balance)
        else:
            age_s = (self._now_ms() - order.created_ms) / 1_000
            old = age_s >= self._patience.settle
            doubt = "" if old else f"it is {age_s:.0f} s old, and the balance from before it was sent is not known"
        if doubt:
            return None, f"{reason}, but {doubt}"
        return Outcome(OutcomeState.NONE, (), "absent in every read, no trade, and the balance did not move"), reason

    async def news(self, timeout_s: float, orders: Sequence[Order] = ()) -> None:
        """Wait until the private stream has news of one of these orders; see :class:`~arbpipe.venues.base.Gateway`."""
        hashes = []
        for order in orders:
            with contextlib.suppress(AmountError):  # never sent by us, so nobody has news of it
                hashes.append(self.order_hash(order))
        await self._news.wait(hashes if orders else None, timeout_s)

    # -- statements --------------------------------------------------------------------------------------------------

    async def positions(self) -> tuple[Position, ...]:
        """What the account holds and could sell: CONFIRMED shares only.

        Raises:
            ArbpipeError: the venue does not say.
        """
        return await self._account.positions(self._listing)

    @property
    def sent_ns(self) -> int:
        """When the latest order's request was written (CLOCK_MONOTONIC)."""
        return self._rest.sent.ns

    async def cash_e6(self) -> int:
        """The account's pUSD in micro-dollars.

        Raises:
            ArbpipeError: the venue does not say.
        """
        cash = await self._account.cash_e6()
        if cash is None:
            raise ArbpipeError("Polymarket does not state the account's cash: try again")
        return cash


def _agree(token: str, version: str) -> None:
    """The id's own form and the market's version must say the same (polymarket.md A.1)."""
    if is_v2_token(token) != (version == "v2"):
        raise ValueError(f"token {token} does not have the form of version {version!r}: correct the catalog")


def _filled(fills: tuple[Fill, ...], wanted_e6: int, failed: int) -> Outcome:
    qty = sum(fill.qty_e6 for fill in fills)
    reason = f"{failed} trades failed on chain" if failed else ""
    if not qty:
        return Outcome(OutcomeState.NONE, (), reason or "nothing traded")
    return Outcome(OutcomeState.FILLED if qty >= wanted_e6 else OutcomeState.PARTIAL, fills, reason)


def _member(body: bytes, name: str) -> object:
    try:
        decoded = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return decoded.get(name)
