"""What became of an order that nobody answered (design 9.5).

Present: the listing says it. Absent: reads lag behind writes, so absence counts only twice, in data that the venue itself
dates after the order; and an order that is still on its way could arrive after that. So before an absent order is NONE its
client id is used up by an order that fills nothing (the *fence*): whatever then arrives under that id is refused by the venue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from arbpipe.clock import stamp_ns
from arbpipe.errors import ArbpipeError
from arbpipe.fixedpoint import FixedPointError, parse_qty_e6
from arbpipe.venues.base import Order, Outcome, OutcomeState, TimeInForce
from arbpipe.venues.kalshi.account import KalshiAccount, KalshiPatience, unknown
from arbpipe.venues.kalshi.netting import buys_yes
from arbpipe.venues.kalshi.rest import ListedOrder
from arbpipe.venues.news import News

__all__ = ["Fence", "Lookup", "Sent"]

_TERMINAL: Final = frozenset({"executed", "canceled"})
_SECOND_NS: Final = 1_000_000_000


class Fence(Enum):
    """What became of the attempt to use up a client id."""

    CLOSED = "closed"  # the id is used up, or the market takes no order any more
    EXISTS = "exists"  # it was used already: the order is there
    OPEN = "open"  # nobody knows, or the venue did not take the fence


@dataclass(slots=True)
class Sent:
    """When an order may have been on its way, by our wall clock, and the first evidence that it is not there."""

    first_ms: int | None
    last_ms: int
    absent_ns: int = 0
    absent_as_of_us: int = 0
    trouble: str = ""  # why its client id could not be used up when it was absent before


class Lookup:
    """The lookups of one gateway; remembers which orders are under way."""

    def __init__(
        self,
        account: KalshiAccount,
        news: News,
        patience: KalshiPatience,
        now_ms: Callable[[], int],
        fence: Callable[[Order], Awaitable[tuple[Fence, str]]],
    ) -> None:
        """``fence`` uses up an order's client id; with its result it says what the venue answered."""
        self._account = account
        self._news = news
        self._patience = patience
        self._now_ms = now_ms
        self._fence = fence
        self._sent: dict[str, Sent] = {}

    def sending(self, order: Order) -> Sent:
        """The order is being sent now; whoever sends it notes ``last_ms`` when it can be on its way no more."""
        now = self._now_ms()
        sent = self._sent.setdefault(order.client_id, Sent(now, now))
        sent.absent_ns, sent.trouble = 0, ""
        return sent

    def done(self, order: Order, outcome: Outcome) -> Outcome:
        """Forget an order whose outcome is settled."""
        if outcome.state.settled:
            self._sent.pop(order.client_id, None)
        return outcome

    async def find(self, order: Order, *, exists: bool) -> Outcome:
        """Look until it is settled or patience ends. ``exists``: the venue said that the order is there, so that its absence
        from a listing is only lag."""
        # not sent by this process: it was sent before now, if at all
        sent = self._sent.setdefault(order.client_id, Sent(None, self._now_ms()))
        deadline = stamp_ns() + int(self._patience.lookup_s * _SECOND_NS)
        while True:
            self._news.asked(order.client_id)
            try:
                outcome, exists = await self._look(order, sent, exists)
            except ArbpipeError as error:
                outcome = unknown(str(error))
            left_s = (deadline - stamp_ns()) / _SECOND_NS
            if outcome.state is not OutcomeState.UNKNOWN or left_s <= 0:
                return self.done(order, outcome)
            await self._news.wait((order.client_id,), min(self._patience.between_s, left_s))

    async def _look(self, order: Order, sent: Sent, exists: bool) -> tuple[Outcome, bool]:
        # the stamp before the listing: the listing is at least as fresh
        as_of_us = await self._account.as_of_us()
        found = await self._account.find(order, None if exists else sent.first_ms)
        if found is not None:
            sent.absent_ns = 0
            here = sent.first_ms is not None and not exists
            return await self._listed(order, found, here), exists
        if exists:
            return unknown("the venue says that this client id exists, and does not list it yet"), True
        if as_of_us < (sent.last_ms + self._patience.fresh_ms) * 1000:
            return unknown("not listed, and the venue's data is not yet newer than the order"), False
        now = stamp_ns()
        if not sent.absent_ns:
            sent.absent_ns, sent.absent_as_of_us = now, as_of_us
        if now - sent.absent_ns < self._patience.apart_s * _SECOND_NS or as_of_us <= sent.absent_as_of_us:
            return unknown(sent.trouble or "not listed; seen once in data newer than the order"), False
        fence, says = await self._fence(order)
        if fence is Fence.CLOSED:
            reason = f"not in two full listings that are newer than the order, and {says}: it cannot arrive any more"
            return Outcome(OutcomeState.NONE, (), reason), False
        sent.absent_ns = 0
        if fence is Fence.EXISTS:
            return unknown("it arrived after two listings without it, and is not listed yet"), True
        sent.trouble = f"not in two full listings, but it could still arrive: {says}"
        return unknown(sent.trouble), False

    async def _listed(self, order: Order, found: ListedOrder, here: bool) -> Outcome:
        if found.ticker != order.native_id or (found.book_side == "bid") is not buys_yes(order.side, order.action):
            return unknown(f"order {found.order_id} has our client id and is another order: ask a person")
        rests = found.status == "resting" and order.time_in_force is TimeInForce.GTC
        if found.status not in _TERMINAL and not rests:
            return unknown(f"order {found.order_id} is listed as {found.status!r}")
        try:
            filled = parse_qty_e6(found.fill_count_fp)
        except FixedPointError as error:
            return unknown(f"order {found.order_id}: {error}")
        return await self._account.filled(order, found.order_id, filled, sent_here=here, resting=rests)
