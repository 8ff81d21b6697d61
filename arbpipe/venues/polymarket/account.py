"""What the account holds, in the venue's own words: cash, settled shares, and which of ours are still on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from arbpipe.errors import ArbpipeError
from arbpipe.fixedpoint import FixedPointError, format_scaled, parse_scaled
from arbpipe.identity import Venue, instrument_uid
from arbpipe.shm.generation import Listing
from arbpipe.venues.base import Position
from arbpipe.venues.polymarket.fills import OurTrade, TradeError, read_trades
from arbpipe.venues.polymarket.outcomes import TradeStatus, trade_status
from arbpipe.venues.polymarket.rest import ClobRest
from arbpipe.venues.polymarket.signing import OrderSigner

__all__ = ["Account", "is_v2_token"]

_MAX_PAGES: Final = 50
_AT_ONCE: Final = 8


def is_v2_token(token: str) -> bool:
    """Whether the id has the form of a Protocol V2 position id (polymarket.md A.1)."""
    return (int(token) >> 40) & ((1 << 64) - 1) == 0


class _Balance(msgspec.Struct, frozen=True):
    balance: str | int


class _Held(msgspec.Struct, frozen=True):
    token_id: str
    condition_id: str
    current_size: msgspec.Raw
    outcome_index: int | None = None


class _Pagination(msgspec.Struct, frozen=True):
    has_more: bool = False
    next_cursor: str | None = None


class _HeldPage(msgspec.Struct, frozen=True):
    data: list[_Held]
    pagination: _Pagination = _Pagination()


class Account:
    """Balances of one wallet. A share is held when its trade is CONFIRMED; until then it is *pending*.

    The *base* of a token is the balance the venue stated, moved by our own confirmed trades. While a token is in
    :attr:`doubtful` (an order of ours on it has an unknown outcome) no read changes its base: it is the evidence.
    """

    def __init__(
        self, rest: ClobRest, data_url: str, signer: OrderSigner, listings: Callable[[], Iterable[Listing]]
    ) -> None:
        self._rest = rest
        self._data_url = data_url.rstrip("/")
        self._signer = signer
        self._listings = listings
        self._base: dict[str, int] = {}
        self._pending: dict[str, dict[str, int]] = {}
        self._counted: set[str] = set()
        self.doubtful: set[str] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    # -- reads -------------------------------------------------------------------------------------------------------

    async def _stated(self, asset_type: str, token: str, refresh: bool) -> int | None:
        query = {"asset_type": asset_type, "signature_type": str(self._signer.signature_type)}
        if token:
            query["token_id"] = token
        async with self._slots:
            if refresh:
                # the venue caches what the chain says; a refused refresh leaves the cache, which the read then shows
                await self._rest.get("/balance-allowance/update", query)
            reply = await self._rest.get("/balance-allowance", query)
        if not reply.ok:
            return None
        try:
            stated = int(msgspec.json.decode(reply.body, type=_Balance).balance)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
            return None
        return stated if stated >= 0 else None

    async def balance(self, token: str, *, refresh: bool) -> int | None:
        """Settled shares of a token (e6) as the venue states them; ``None`` when it does not."""
        return await self._stated("CONDITIONAL-V2" if is_v2_token(token) else "CONDITIONAL", token, refresh)

    async def cash_e6(self) -> int | None:
        """The wallet's pUSD in micro-dollars; ``None`` when the venue does not state it."""
        return await self._stated("COLLATERAL", "", True)

    # -- our own trades ----------------------------------------------------------------------------------------------

    def traded(self, token: str, is_buy: bool, trades: Iterable[OurTrade]) -> None:
        """Note trades of ours, each once; what is not final stays pending."""
        for each in trades:
            if each.trade_id in self._counted:
                continue
            self._pending.setdefault(token, {})[each.trade_id] = each.qty_e6 if is_buy else -each.qty_e6
            self._final(token, each.trade_id, each.status)

    def _final(self, token: str, trade_id: str, status: TradeStatus) -> None:
        if status is TradeStatus.PENDING:
            return
        delta = self._pending[token].pop(trade_id)
        self._counted.add(trade_id)
        if status is TradeStatus.CONFIRMED and token in self._base:
            self._base[token] += delta

    async def settle(self, token: str) -> bool:
        """Ask for the pending trades of a token; whether none is left."""
        for trade_id in list(self._pending.get(token, ())):
            reply = await self._rest.get("/data/trades", {"id": trade_id})
            try:
                found = [trade for trade in read_trades(reply.body)[0] if trade.id == trade_id] if reply.ok else []
            except TradeError:
                found = []
            if found and trade_id in self._pending[token]:
                self._final(token, trade_id, trade_status(found[0].status))
        return not self._pending.get(token)

    def has_base(self, token: str) -> bool:
        """Whether the balance before any order that is sent now is known."""
        return token in self._base

    async def moved(self, token: str, balance_e6: int) -> str:
        """What speaks against "nothing else traded", given the balance now; empty when it is proved."""
        base = self._base.get(token)
        if base is None:
            return "nobody knows the balance from before it was sent"
        if not await self.settle(token):
            return "other trades of its token are not final"
        base = self._base[token]
        return "" if base == balance_e6 else f"the token's balance is {balance_e6 / 1e6}, not {base / 1e6}"

    async def cannot_sell(self, token: str, shares_e6: int) -> str:
        """Why so many shares cannot be sold now; empty if they are held and final (F47)."""
        await self.settle(token)
        stated = await self.balance(token, refresh=True)
        if stated is None:
            return "the venue does not state how many shares are held: try again"
        self._seed(token, stated)
        # a venue that counts unsettled shares already must not make us sell them
        unsettled = sum(max(0, delta) for delta in self._pending.get(token, {}).values())
        if stated - unsettled < shares_e6:
            return (
                f"{format_scaled(stated - unsettled, 6)} shares are held and confirmed, {format_scaled(shares_e6, 6)} are "
                "to be sold: wait for the trades to be CONFIRMED"
            )
        return ""

    def _seed(self, token: str, stated: int) -> None:
        if token not in self.doubtful and not self._pending.get(token):
            self._base[token] = stated

    # -- statement ---------------------------------------------------------------------------------------------------

    async def positions(self, listing: Callable[[int], Listing | None]) -> tuple[Position, ...]:
        """Settled shares of every listed token, of every token we traded, and of what the Data API names besides.

        Raises:
            ArbpipeError: a part of it is not stated; half a statement would be a wrong one.
        """
        sides: dict[str, tuple[int, int]] = {}  # token → (uid, side)
        for each in self._listings():
            if each.venue is Venue.POLYMARKET:
                sides[each.yes_token], sides[each.no_token] = (each.uid, 0), (each.uid, 1)
        held: dict[int, list[int]] = {}
        for token, (condition, index, size_e6) in (await self._data_positions()).items():
            uid = instrument_uid(Venue.POLYMARKET.label, condition)
            known = listing(uid)
            if known is not None and token in (known.yes_token, known.no_token):
                sides[token] = (uid, int(token == known.no_token))
            elif token not in sides and size_e6:
                if index not in (0, 1):
                    raise ArbpipeError(
                        f"the account holds token {token}, which the venue gives no side: add it to the catalog"
                    )
                held.setdefault(uid, [0, 0])[index] += size_e6
        stated = await asyncio.gather(*(self.balance(token, refresh=True) for token in sides))
        for (token, (uid, side)), balance in zip(sides.items(), stated, strict=True):
            if balance is None:
                raise ArbpipeError(f"Polymarket does not state the balance of token {token}: try again")
            self._seed(token, balance)
            if balance:
                held.setdefault(uid, [0, 0])[side] += balance
        return tuple(Position(uid, yes, no) for uid, (yes, no) in sorted(held.items()))

    async def _data_positions(self) -> dict[str, tuple[str, int | None, int]]:
        """Token → (condition, index, shares e6) by the Data API; nothing when no Data API is configured."""
        found: dict[str, tuple[str, int | None, int]] = {}
        if not self._data_url:
            return found
        query, seen = {"user": self._signer.funder, "limit": "500"}, set[str]()
        for _ in range(_MAX_PAGES):
            reply = await self._rest.get_open(f"{self._data_url}/v2/positions", query)
            if not reply.ok:
                raise ArbpipeError(f"the Data API does not state positions ({reply}): check polymarket.data")
            try:
                page = msgspec.json.decode(reply.body, type=_HeldPage)
                for each in page.data:
                    size = parse_scaled(bytes(each.current_size).decode().strip('"'), 6, "shares", floor=True)
                    found[each.token_id] = (each.condition_id, each.outcome_index, size)
            except (msgspec.MsgspecError, UnicodeDecodeError, FixedPointError) as error:
                raise ArbpipeError(f"the Data API's positions are unreadable: {error}") from None
            cursor = page.pagination.next_cursor
            if not cursor:
                return found
            if cursor in seen:
                break
            seen.add(cursor)
            query = {**query, "cursor": cursor}
        raise ArbpipeError("the Data API's positions do not end: its cursor repeats")
