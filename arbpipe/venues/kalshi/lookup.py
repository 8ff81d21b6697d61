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

    CLOSED = "closed"  # the id is used up by an order that filled nothing
    INACTIVE = "inactive"  # the market takes no order any more; what it took before is another question
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
    exists: bool = False  # the venue said that its client id is used
    inactive: bool = False  # the market took no order any more when it was asked


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
        #: The venue's ids of orders that rest, by client id.
        self.resting: dict[str, str] = {}

    def is_open(self, order: Order) -> bool:
        """Whether the order was sent from here and nobody knows yet what became of it."""
        sent = self._sent.get(order.client_id)
        return sent is not None and sent.first_ms is not None

    def sending(self, order: Order) -> Sent:
        """The order is being sent now; whoever sends it notes ``last_ms`` when it can be on its way no more."""
        now = self._now_ms()
        return self._sent.setdefault(order.client_id, Sent(now, now))

    def done(self, order: Order, outcome: Outcome) -> Outcome:
        """Forget an order whose outcome is settled."""
        if outcome.state.settled:
            self._sent.pop(order.client_id, None)
            self.resting.pop(order.client_id, None)
        return outcome

    async def find(self, order: Order, *, exists: bool) -> Outcome:
        """Look until it is settled or patience ends. ``exists``: the venue said that the order is there, so that its absence
        from a listing is only lag."""
        # not sent by this process: it was sent before now, if at all
        sent = self._sent.setdefault(order.client_id, Sent(None, self._now_ms()))
        if exists:
            self._exists(sent)
        deadline = stamp_ns() + int(self._patience.lookup_s * _SECOND_NS)
        while True:
            self._news.asked(order.client_id)
            try:
                outcome = await self._look(order, sent)
            except ArbpipeError as error:
                outcome = unknown(str(error))
            left_s = (deadline - stamp_ns()) / _SECOND_NS
            if outcome.state is not OutcomeState.UNKNOWN or left_s <= 0:
                return self.done(order, outcome)
            await self._news.wait((order.client_id,), min(self._patience.between_s, left_s))

    def _exists(self, sent: Sent) -> None:
        """The venue said just now that the client id is used: what counts from here on is data newer than that."""
        if not sent.exists:
            sent.exists, sent.last_ms, sent.absent_ns = True, self._now_ms(), 0

    async def _look(self, order: Order, sent: Sent) -> Outcome:
        # the stamp before the listing: the listing is at least as fresh
        as_of = await self._account.as_of()
        found = await self._account.find(order, None if sent.exists else sent.first_ms)
        if found is not None:
            sent.absent_ns = 0
            here = sent.first_ms is not None and not sent.exists
            return await self._listed(order, found, here)
        if sent.exists and order.time_in_force is not TimeInForce.FOK:
            return unknown("the venue says that this client id exists, and does not list it yet")
        if not as_of.covers(sent.last_ms + self._patience.fresh_ms):
            return unknown("not listed, and the venue's data is not yet newer than the order")
        now = stamp_ns()
        if not sent.absent_ns:
            sent.absent_ns, sent.absent_as_of_us = now, as_of.us
        if now - sent.absent_ns < self._patience.apart_s * _SECOND_NS or as_of.us <= sent.absent_as_of_us:
            return unknown(sent.trouble or "not listed; seen once in data newer than the order")
        if sent.exists:  # a killed fill-or-kill leaves its id used and no order
            return Outcome(
                OutcomeState.NONE, (), "killed: its client id is used, and two full listings hold no such order"
            )
        if sent.inactive:
            reason = "not in two full listings of after its market took no more orders: it cannot arrive any more"
            return Outcome(OutcomeState.NONE, (), reason)
        return await self._close(order, sent)

    async def _close(self, order: Order, sent: Sent) -> Outcome:
        """Absent twice: see to it that it cannot arrive later."""
        fence, says = await self._fence(order)
        if fence is Fence.CLOSED:
            reason = f"not in two full listings that are newer than the order, and {says}: it cannot arrive any more"
            return Outcome(OutcomeState.NONE, (), reason)
        sent.absent_ns = 0
        if fence is Fence.EXISTS:
            self._exists(sent)
            return unknown("it arrived after two listings without it, and is not listed yet")
        if fence is Fence.INACTIVE:
            # it may have been taken before: only listings of after this moment can say that it was not
            sent.inactive, sent.last_ms = True, self._now_ms()
        sent.trouble = f"not in two full listings, but {says}"
        return unknown(sent.trouble)

    async def _listed(self, order: Order, found: ListedOrder, here: bool) -> Outcome:
        if found.ticker != order.native_id or (found.book_side == "bid") is not buys_yes(order.side, order.action):
            return unknown(f"order {found.order_id} has our client id and is another order: ask a person")
        rests = found.status == "resting" and order.time_in_force is TimeInForce.GTC
        if rests:
            self.resting[order.client_id] = found.order_id
        elif found.status not in _TERMINAL:
            return unknown(f"order {found.order_id} is listed as {found.status!r}")
        try:
            filled = parse_qty_e6(found.fill_count_fp)
        except FixedPointError as error:
            return unknown(f"order {found.order_id}: {error}")
        return await self._account.filled(order, found.order_id, filled, sent_here=here, resting=rests)
