"""Orders at Kalshi: placed, looked up, and stated in the venue's own figures (kalshi.md 3.4 … 3.7).

One order is one signed request, never repeated. What its answer leaves open is UNKNOWN (F40); only the venue's own evidence,
two full listings without the order at two freshness stamps after it was sent, makes an absent order NONE. Orders are only
ever immediate-or-cancel, and nothing here cancels anything.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct

from arbpipe.clock import stamp_ns
from arbpipe.errors import ArbpipeError, EnvironmentRefused
from arbpipe.fixedpoint import ONE_DOLLAR_E4, FixedPointError, format_price, format_size, parse_qty_e6
from arbpipe.identity import Side, Venue
from arbpipe.venues.base import Order, Outcome, OutcomeState, Position
from arbpipe.venues.kalshi.account import KalshiAccount, KalshiPatience, unknown
from arbpipe.venues.kalshi.auth import KalshiSigner, wall_ms
from arbpipe.venues.kalshi.budget import WriteBudget
from arbpipe.venues.kalshi.netting import buys_yes
from arbpipe.venues.kalshi.outcomes import ALREADY_EXISTS, refusal
from arbpipe.venues.kalshi.private import KalshiPrivate
from arbpipe.venues.kalshi.rest import CreatedOrder, KalshiRest, Limits, NoAnswer, NotConnected, VenueRefused
from arbpipe.venues.news import News

__all__ = ["KalshiGateway", "KalshiPatience"]

_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TERMINAL: Final = frozenset({"executed", "canceled"})
_SECOND_NS: Final = 1_000_000_000


class _NewOrder(Struct, frozen=True, omit_defaults=True):
    """The body of ``POST /portfolio/events/orders``; every number in it is a string (kalshi.md 3.4)."""

    ticker: str
    client_order_id: str
    side: str
    count: str
    price: str
    # no default: it must be written
    time_in_force: str
    self_trade_prevention_type: str
    reduce_only: bool = False
    exchange_index: int | None = None


@dataclass(slots=True)
class _Sent:
    """When an order may have been on its way, by our wall clock, and the first evidence that it is not there."""

    first_ms: int | None
    last_ms: int
    absent_ns: int = 0
    absent_as_of_us: int = 0


class KalshiGateway:
    """The live gateway; implements :class:`arbpipe.venues.base.Gateway`."""

    venue = Venue.KALSHI

    def __init__(
        self,
        rest_url: str,
        signer: KalshiSigner,
        tls: ssl.SSLContext | None,
        *,
        ws_url: str = "",
        shard_of: Callable[[int], int | None] | None = None,
        now_ms: Callable[[], int] = wall_ms,
        patience: KalshiPatience | None = None,
    ) -> None:
        """``ws_url``: the private stream; without it nobody tells any news. ``shard_of``: the exchange index of an
        instrument's uid where it is known; without it the venue routes by ticker. ``now_ms``: wall clock, for signatures and
        for when an order was sent.

        Raises:
            EnvironmentRefused: ``rest_url`` is no address.
        """
        self._rest = KalshiRest(rest_url, signer, tls, now_ms=now_ms)
        self._shard_of = shard_of
        self._now_ms = now_ms
        self._patience = patience or KalshiPatience()
        self._budget: WriteBudget | None = None
        self._news = News()
        self._account = KalshiAccount(self._rest, self._patience, self._news)
        self._signer = signer
        self._tls = tls
        self._ws_url = ws_url
        self.stream: KalshiPrivate | None = None
        self._sent: dict[str, _Sent] = {}

    # -- connection --------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect, check the key, read the write budget and the positions that netting starts from.

        Raises:
            EnvironmentRefused: the venue refuses the key (401, 403).
            ArbpipeError: it cannot be reached, or answers something else than it should.
        """
        await self._rest.start()
        try:
            wait = self._patience.read_s
            status = await self._rest.ask("GET", "/exchange/status", timeout_s=wait)
            if status.status != 200:
                raise VenueRefused(f"kalshi's exchange status is HTTP {status.status}: wait until it is up again")
            limits = await self._signed("/account/limits", Limits)
            try:
                self._budget = WriteBudget(limits.write.refill_rate, limits.write.bucket_capacity)
            except ValueError as error:
                raise VenueRefused(f"kalshi's account limits cannot be right: {error}") from None
            await self._account.seed()
            if self._ws_url:
                self.stream = KalshiPrivate(self._ws_url, self._signer, self._tls, self._news.tell, now_ms=self._now_ms)
                self.stream.start()
        except BaseException:
            await self.close()
            raise

    async def _signed(self, path: str, kind: type[Limits]) -> Limits:
        answer = await self._rest.ask("GET", path, timeout_s=self._patience.read_s)
        if answer.status in (401, 403):
            _, error = refusal(answer.status, answer.body)
            raise EnvironmentRefused(
                f"kalshi refuses the key with {answer.status} ({error}): check kalshi.key_id, the key file and the clock"
            )
        if answer.status != 200:
            raise VenueRefused(f"kalshi answered GET {path} with {answer.status}: try again later")
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except msgspec.MsgspecError as error:
            raise VenueRefused(f"kalshi's answer to GET {path} cannot be read: {error}") from None

    async def close(self) -> None:
        """Let go of the connections; nothing is cancelled."""
        stream, self.stream = self.stream, None
        if stream is not None:
            await stream.stop()
        await self._rest.stop()

    # -- placing -----------------------------------------------------------------------------------------------------

    async def place(self, order: Order) -> Outcome:
        """Send an order once, signed on sending; see :class:`~arbpipe.venues.base.Gateway`."""
        wrong = self._refuse(order)
        if wrong:
            return Outcome(OutcomeState.REJECTED, (), f"not sent: {wrong}")
        if self._budget is None:
            return Outcome(OutcomeState.REJECTED, (), "not sent: the gateway is not open")
        if not await self._may_send(self._budget, order):
            return Outcome(OutcomeState.REJECTED, (), "not sent: rate budget")
        body = self.body(order)
        now = self._now_ms()
        sent = self._sent.setdefault(order.client_id, _Sent(now, now))
        sent.absent_ns = 0
        self._news.asked(order.client_id)
        try:
            answer = await self._rest.ask(
                "POST", "/portfolio/events/orders", body=body, timeout_s=self._patience.order_s
            )
        except NotConnected as error:
            return self._settled(order, Outcome(OutcomeState.REJECTED, (), f"not sent: {error}"))
        except NoAnswer as error:
            return Outcome(OutcomeState.UNKNOWN, (), str(error))
        finally:
            sent.last_ms = self._now_ms()
        if answer.status in (200, 201):
            return self._settled(order, await self._accepted(order, answer.body))
        state, error_body = refusal(answer.status, answer.body)
        if answer.status == 429:
            self._budget.empty()
        if error_body.code == ALREADY_EXISTS:
            return await self._lookup(order, exists=True)
        return self._settled(order, Outcome(state, (), f"HTTP {answer.status}: {error_body}"))

    def _refuse(self, order: Order) -> str:
        if order.venue is not Venue.KALSHI:
            return f"the order is for {order.venue.label}"
        if not _CLIENT_ID.fullmatch(order.client_id):
            return f"client id {order.client_id[:80]!r} is not 1 … 64 of A-Z a-z 0-9 _ -"
        if not 0 < order.price_e4 < ONE_DOLLAR_E4:
            return f"price {order.price_e4}/10000 is not inside 0 … 1 dollar"
        if order.size_e2 <= 0:
            return f"size {order.size_e2}/100 is not positive"
        return "" if order.native_id else "the order names no ticker"

    async def _may_send(self, budget: WriteBudget, order: Order) -> bool:
        if order.reduce_only:
            return await budget.wait(self._patience.budget_s)
        return budget.take(lowers_risk=False)

    def body(self, order: Order) -> bytes:
        """The request of an order: on the YES book, bid buys YES, ask sells it, which is buying NO at 1 − price."""
        shard = self._shard_of(order.uid) if self._shard_of is not None else None
        price = order.price_e4 if order.side is Side.YES else ONE_DOLLAR_E4 - order.price_e4
        return msgspec.json.encode(
            _NewOrder(
                ticker=order.native_id,
                client_order_id=order.client_id,
                side="bid" if buys_yes(order.side, order.action) else "ask",
                count=format_size(order.size_e2),
                price=format_price(price),
                time_in_force="immediate_or_cancel",
                self_trade_prevention_type="taker_at_cross",
                # what was netted against another lot is not there to be reduced: selling it is buying the other side back
                reduce_only=order.reduce_only and self._account.holds(order),
                exchange_index=shard,
            )
        )

    def _settled(self, order: Order, outcome: Outcome) -> Outcome:
        if outcome.state.settled:
            self._sent.pop(order.client_id, None)
        return outcome

    async def _accepted(self, order: Order, body: bytes) -> Outcome:
        """The venue took the order: what it filled, in its own figures."""
        try:
            made = msgspec.json.decode(body, type=CreatedOrder)
            filled, left = parse_qty_e6(made.fill_count), parse_qty_e6(made.remaining_count)
        except (msgspec.MsgspecError, UnicodeDecodeError, FixedPointError) as error:
            return unknown(f"the answer to the order cannot be read: {error}")
        if made.client_order_id not in (None, "", order.client_id):
            return unknown(f"the answer is about client id {made.client_order_id!r}, not {order.client_id}")
        if left:
            return unknown(f"order {made.order_id} left {left / 1e6} resting although it was immediate-or-cancel")
        return await self._account.filled(order, made.order_id, filled, sent_here=True)

    # -- looking up --------------------------------------------------------------------------------------------------

    async def lookup(self, order: Order) -> Outcome:
        """What became of an order, by the venue's listings; bounded, UNKNOWN where they do not decide."""
        return await self._lookup(order, exists=False)

    async def _lookup(self, order: Order, *, exists: bool) -> Outcome:
        """``exists``: the venue said that the order is there, so its absence from a listing is only lag."""
        # not sent by this process: it was sent before now, if at all
        sent = self._sent.setdefault(order.client_id, _Sent(None, self._now_ms()))
        deadline = stamp_ns() + int(self._patience.lookup_s * _SECOND_NS)
        while True:
            self._news.asked(order.client_id)
            try:
                outcome = await self._look(order, sent, exists=exists)
            except ArbpipeError as error:
                outcome = unknown(str(error))
            left_s = (deadline - stamp_ns()) / _SECOND_NS
            if outcome.state.settled or left_s <= 0:
                return self._settled(order, outcome)
            await self._news.wait((order.client_id,), min(self._patience.between_s, left_s))

    async def _look(self, order: Order, sent: _Sent, *, exists: bool) -> Outcome:
        # the stamp before the listing: the listing is at least as fresh
        as_of_us = await self._account.as_of_us()
        found = await self._account.find(order, None if exists else sent.first_ms)
        if found is not None:
            sent.absent_ns = 0
            here = sent.first_ms is not None and not exists
            if found.ticker != order.native_id or (found.book_side == "bid") is not buys_yes(order.side, order.action):
                return unknown(f"order {found.order_id} has our client id and is another order: ask a person")
            if found.status not in _TERMINAL:
                return unknown(f"order {found.order_id} is listed as {found.status!r}")
            try:
                filled = parse_qty_e6(found.fill_count_fp)
            except FixedPointError as error:
                return unknown(f"order {found.order_id}: {error}")
            return await self._account.filled(order, found.order_id, filled, sent_here=here)
        if exists:
            return unknown("the venue says that this client id exists, and does not list it yet")
        if as_of_us < (sent.last_ms + self._patience.fresh_ms) * 1000:
            return unknown("not listed, and the venue's data is not yet newer than the order")
        now = stamp_ns()
        if not sent.absent_ns:
            sent.absent_ns, sent.absent_as_of_us = now, as_of_us
        elif now - sent.absent_ns >= self._patience.apart_s * _SECOND_NS and as_of_us > sent.absent_as_of_us:
            return Outcome(OutcomeState.NONE, (), "not in two full listings that are newer than the order")
        return unknown("not listed; seen once in data newer than the order")

    async def news(self, timeout_s: float, orders: Sequence[Order] = ()) -> None:
        """Wait until the private stream has news of one of these orders; see :class:`~arbpipe.venues.base.Gateway`."""
        await self._news.wait([order.client_id for order in orders] or None, timeout_s)

    # -- statements --------------------------------------------------------------------------------------------------

    async def positions(self) -> tuple[Position, ...]:
        """Everything the account holds, as the venue states it.

        Raises:
            ArbpipeError: no answer, or one that cannot be read; never an empty tuple instead.
        """
        return await self._account.positions()

    @property
    def sent_ns(self) -> int:
        """When the latest order's request was written (CLOCK_MONOTONIC)."""
        return self._rest.sent.ns

    async def cash_e6(self) -> int:
        """The account's cash over all shards, as the venue states it.

        Raises:
            ArbpipeError: no answer, or one that cannot be read; never 0 instead.
        """
        return await self._account.cash_e6()
