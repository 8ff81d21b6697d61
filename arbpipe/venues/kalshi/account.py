"""The account at Kalshi, read: fills, orders, positions, cash, each in the venue's own figures (kalshi.md 3.5).

Reads lag behind writes. So the fills of an order are asked for until they add up to what the order filled, and a listing is
only ever evidence together with the venue's own stamp of how fresh its reads are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from arbpipe.clock import stamp_ns
from arbpipe.errors import ArbpipeError
from arbpipe.fixedpoint import FixedPointError, parse_money_e6, parse_price_e4, parse_qty_e6
from arbpipe.identity import Side, instrument_uid
from arbpipe.venues.base import Order, Outcome, OutcomeState, Position
from arbpipe.venues.kalshi.auth import wall_ms
from arbpipe.venues.kalshi.netting import NetPositions, VenueFill, buys_yes
from arbpipe.venues.kalshi.rest import (
    Balance,
    FillsPage,
    KalshiRest,
    ListedFill,
    ListedOrder,
    OrdersPage,
    PositionsPage,
    UserDataTimestamp,
    VenueRefused,
    micros,
)
from arbpipe.venues.news import News

__all__ = ["KalshiAccount", "KalshiPatience", "read_fill", "unknown"]

_E2_TO_E6: Final = 10_000
#: Our clock and the venue's may differ; a listing must not begin after the order it looks for.
_SKEW_MS: Final = 60_000
_FIRST_RETRY_S: Final = 0.02
_SEED_PAUSE_S: Final = 0.05
_SECOND_AND_WAY_MS: Final = 1_250
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class KalshiPatience:
    """How long the gateway waits, in seconds; ``fresh_ms`` by the venue's clock. ``warm`` connections are kept open by a
    question each ``warm_s``."""

    order_s: float = 2.0
    read_s: float = 2.0
    fills_s: float = 2.0
    budget_s: float = 2.0
    lookup_s: float = 4.0
    between_s: float = 0.5
    apart_s: float = 1.0
    fresh_ms: int = 1_000
    seed_s: float = 10.0
    warm: int = 2
    warm_s: float = 20.0


class AsOf(NamedTuple):
    """How fresh the venue's reads are: ``us`` by its own clock, which is at most ``ahead_ms`` ahead of ours."""

    us: int
    ahead_ms: int
    #: The venue's clock is at least so far ahead.
    least_ahead_ms: int = 0

    def covers(self, ours_ms: int) -> bool:
        """Whether everything of before this moment of our wall clock is in them."""
        return self.us >= (ours_ms + self.ahead_ms) * 1000


class KalshiAccount:
    """What the venue's reads say about us, and the positions that netting follows from."""

    def __init__(
        self,
        rest: KalshiRest,
        patience: KalshiPatience,
        news: News | None = None,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        """``news``: what the private stream tells, by client order id or order id; without it reads are only timed."""
        self._rest = rest
        self._now_ms = now_ms
        self._patience = patience
        self._news = news or News()
        self._net = NetPositions()

    async def as_of(self) -> AsOf:
        """Up to when the venue's reads are complete.

        Raises:
            ArbpipeError: no answer, or one that cannot be read.
        """
        stamp, most = await self._rest.dated(
            "/exchange/user_data_timestamp", UserDataTimestamp, timeout_s=self._patience.read_s
        )
        # the header's second began at most a second before its end
        return AsOf(micros(stamp.as_of_time), most, max(0, most - _SECOND_AND_WAY_MS))

    async def seed(self) -> None:
        """Read the positions that netting starts from.

        Raises:
            ArbpipeError: no answer, or one that cannot be read.
        """
        # what was filled before now must be in them, also a fill of the last second, which the ledger may hold already
        began_ms = self._now_ms()
        deadline = stamp_ns() + int(self._patience.seed_s * _SECOND_NS)
        # the stamp first: the positions read after it are at least as fresh
        # by the least that the clocks differ: to be sure of the most takes a second, and a restart must not
        while (as_of := await self.as_of()).us < (began_ms + as_of.least_ahead_ms) * 1000:
            if stamp_ns() > deadline:
                raise VenueRefused(
                    f"kalshi's data is still of before we asked, {self._patience.seed_s:g} s ago: "
                    "what the account holds is not known; try again later"
                )
            await asyncio.sleep(_SEED_PAUSE_S)
        self._net.seed(dict([each async for each in self._signed_positions()]), as_of.us)

    # -- orders and their fills --------------------------------------------------------------------------------------

    async def filled(
        self, order: Order, order_id: str, filled_e6: int, *, sent_here: bool, resting: bool = False
    ) -> Outcome:
        """The outcome of an order that filled so much: its fills, which may lag behind (kalshi.md 3.4).

        ``sent_here``: this process sent it, so its fills came after :meth:`seed`, whatever the clocks say. ``resting``: what
        did not fill is in the book; otherwise the order is over.
        """
        size = order.size_e2 * _E2_TO_E6
        if not 0 <= filled_e6 <= size:
            return unknown(f"order {order_id} says {filled_e6 / 1e6} filled of {size / 1e6}")
        if not filled_e6:
            state = OutcomeState.RESTING if resting else OutcomeState.NONE
            return Outcome(state, (), "" if resting else "nothing to hit within the limit")
        deadline = stamp_ns() + int(self._patience.fills_s * _SECOND_NS)
        pause, seen, trouble = _FIRST_RETRY_S, 0, ""
        names = (order.client_id, order_id)
        while True:
            self._news.asked(*names)
            try:
                fills = await self._fills(order, order_id)
                seen = sum(fill.qty_e6 for fill in fills)
                if seen == filled_e6:
                    if not sent_here:
                        await self._learn(order, fills)
                    state = OutcomeState.FILLED if filled_e6 == size else OutcomeState.PARTIAL
                    return Outcome(OutcomeState.RESTING if resting else state, self._net.apply(order, fills))
                trouble = ""
            except ArbpipeError as error:
                trouble = f" ({error})"
            left_s = (deadline - stamp_ns()) / _SECOND_NS
            if left_s <= 0 or seen > filled_e6:
                return unknown(
                    f"order {order_id} filled {filled_e6 / 1e6}, its listed fills add up to {seen / 1e6}{trouble}"
                )
            await self._news.wait(names, min(pause, left_s))
            pause *= 2

    async def _fills(self, order: Order, order_id: str) -> list[VenueFill]:
        """The fills of one order as listed now, oldest first, each once.

        Raises:
            ArbpipeError: no answer, or a fill that is not this order's or cannot be read.
        """
        query: dict[str, str | int] = {"order_id": order_id}
        fills = {fill.fill_id: fill async for fill in self._listed_fills(query)}
        for fill in fills.values():
            if fill.order_id != order_id or fill.buys_yes is not buys_yes(order.side, order.action):
                raise VenueRefused(f"fill {fill.fill_id} is not one of order {order_id}: nothing is booked from it")
        return sorted(fills.values(), key=lambda fill: (fill.time_us, fill.fill_id))

    async def _learn(self, order: Order, fills: list[VenueFill]) -> None:
        """Fills of before our start are inside the positions we started from: find the position before each."""
        if all(self._net.knows(fill) for fill in fills):
            return
        oldest_s = min(fill.time_us for fill in fills) // 1_000_000
        query: dict[str, str | int] = {"subaccount": 0, "ticker": order.native_id, "min_ts": max(0, oldest_s - 1)}
        account = {fill.fill_id: fill async for fill in self._listed_fills(query)}
        self._net.learn_before(order, fills, account.values())

    async def _listed_fills(self, query: dict[str, str | int]) -> AsyncIterator[VenueFill]:
        async for page in self._rest.pages("/portfolio/fills", FillsPage, query, timeout_s=self._patience.read_s):
            for listed in page.fills or ():
                yield read_fill(listed)

    async def find(self, order: Order, since_ms: int | None) -> ListedOrder | None:
        """The order with our client id, in a full listing of its market.

        Raises:
            ArbpipeError: no answer, a listing without an end, or two orders with the id.
        """
        query: dict[str, str | int] = {"ticker": order.native_id}
        if since_ms is not None:
            query["min_ts"] = (since_ms - _SKEW_MS) // 1000
        found: dict[str, ListedOrder] = {}
        pages = self._rest.pages("/portfolio/orders", OrdersPage, query, timeout_s=self._patience.read_s)
        async for page in pages:
            found.update((each.order_id, each) for each in page.orders or () if each.client_order_id == order.client_id)
        if len(found) > 1:
            raise VenueRefused(f"kalshi lists {len(found)} orders with client id {order.client_id}: ask a person")
        return next(iter(found.values()), None)

    # -- statements --------------------------------------------------------------------------------------------------

    async def positions(self) -> tuple[Position, ...]:
        """Everything the account holds, as the venue states it.

        Raises:
            ArbpipeError: no answer, or one that cannot be read; never an empty tuple instead.
        """
        return tuple(
            [
                Position(instrument_uid("kalshi", ticker), max(signed, 0), max(-signed, 0))
                async for ticker, signed in self._signed_positions()
                if signed
            ]
        )

    async def _signed_positions(self) -> AsyncIterator[tuple[str, int]]:
        query: dict[str, str | int] = {"count_filter": "position", "subaccount": 0}
        pages = self._rest.pages("/portfolio/positions", PositionsPage, query, timeout_s=self._patience.read_s)
        async for page in pages:
            for each in page.market_positions or ():
                try:
                    yield each.ticker, parse_qty_e6(each.position_fp)
                except FixedPointError as error:
                    raise VenueRefused(f"kalshi's position in {each.ticker} cannot be read: {error}") from None

    def holds(self, order: Order) -> bool:
        """Whether the market's signed position still holds what a sale would sell: netting may have paid it out."""
        position = self._net.position_e6(order.native_id)
        return (position if order.side is Side.YES else -position) >= order.size_e2 * 10_000

    async def cash_e6(self) -> int:
        """The account's cash over all shards, as the venue states it.

        Raises:
            ArbpipeError: no answer, or one that cannot be read; never 0 instead.
        """
        balance = await self._rest.read("/portfolio/balance", Balance, timeout_s=self._patience.read_s)
        try:
            return parse_money_e6(balance.balance_dollars)
        except FixedPointError as error:
            raise VenueRefused(f"kalshi's balance cannot be read: {error}") from None


def read_fill(listed: ListedFill) -> VenueFill:
    """One listed fill in our units.

    Raises:
        VenueRefused: a number does not fit, or it has no identity, side or time.
    """
    name = listed.fill_id or listed.trade_id
    if not name or listed.book_side not in ("bid", "ask") or (listed.created_time is None and listed.ts is None):
        raise VenueRefused(f"a fill of order {listed.order_id} has no id, side or time: nothing is booked from it")
    try:
        return VenueFill(
            fill_id=name,
            order_id=listed.order_id,
            ticker=listed.ticker or listed.market_ticker,
            buys_yes=listed.book_side == "bid",
            qty_e6=parse_qty_e6(listed.count_fp),
            yes_price_e4=parse_price_e4(listed.yes_price_dollars),
            fee_e6=parse_money_e6(listed.fee_cost),
            time_us=micros(listed.created_time) if listed.created_time is not None else (listed.ts or 0) * 1_000_000,
        )
    except FixedPointError as error:
        raise VenueRefused(f"fill {name}: {error}: nothing is booked from it") from None


def unknown(reason: str) -> Outcome:
    """An outcome that nobody knows, and why."""
    return Outcome(OutcomeState.UNKNOWN, (), reason)
