"""Orders against live rows: a delay, then what the book shows at that moment, with the accidents of a real venue."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from arbpipe.clock import AgeClock
from arbpipe.identity import Venue
from arbpipe.shm.generation import Listing
from arbpipe.shm.row import Reason, Row, RowReader
from arbpipe.shm.segment import Segment
from arbpipe.shm.usable import UsableRule
from arbpipe.venues.base import Action, Order, Outcome, OutcomeState, Position, TimeInForce
from arbpipe.venues.paper.account import PaperAccount

__all__ = ["PaperGateway", "PaperManners"]


@dataclass(frozen=True, slots=True)
class PaperManners:
    """How the venue behaves; per mille of orders."""

    delay_ns: int
    reject_permille: int
    partial_permille: int
    seed: int


class PaperGateway:
    """The paper venue's gateway for one venue."""

    def __init__(
        self,
        venue: Venue,
        account: PaperAccount,
        segment: Segment,
        usable: UsableRule,
        listing: Callable[[int], Listing | None],
        clock: AgeClock,
        sleep_until: Callable[[int], Awaitable[None]],
        manners: PaperManners,
    ) -> None:
        self.venue = venue
        self._account = account
        self._rows = RowReader(segment)
        self._usable = usable
        self._listing = listing
        self._clock = clock
        self._sleep_until = sleep_until
        self._manners = manners

    @property
    def sent_ns(self) -> int:
        """Nothing is ever written."""
        return 0

    async def open(self) -> None:
        """The account is open already."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def place(self, order: Order) -> Outcome:
        """Wait out the venue's delay, then execute against the rows as they are by then."""
        earlier = self._account.outcome(order.client_id)
        if earlier is not None:
            return earlier
        await self._sleep_until(self._clock.now_ns() + self._manners.delay_ns)
        return self._arrive(order)

    def _arrive(self, order: Order) -> Outcome:
        # drawn from how many orders came before, not from the random client id: a replay has the same accidents each time
        dice = random.Random(f"{self._manners.seed}:{order.uid}:{self._account.orders(self.venue)}")
        if dice.randrange(1000) < self._manners.reject_permille:
            return self._account.reject(order, "the venue refused the order (paper)")
        listing = self._listing(order.uid)
        if listing is None:
            return self._account.reject(order, f"{order.native_id} is not listed any more")
        row = self._rows.read(listing.slot)
        reason, _, _ = self._usable.check(self.venue, order.uid, listing.slot, row, self._clock.now_ns())
        reduces = order.action is Action.SELL and reason is Reason.QUARANTINE  # ours to judge, not the venue's
        if row is None or (reason and not reduces) or row.fee is None:
            return self._account.reject(order, f"no market in {order.native_id} ({reason.name.lower()})")
        if order.size_e2 < listing.min_size_e2:
            return self._account.reject(order, f"size below the venue's minimum of {listing.min_size_text}")
        refused = self._refuse(order, row)
        if refused:
            return self._account.reject(order, refused)
        levels = list(row.asks(order.side) if order.action is Action.BUY else row.bids(order.side))
        most = order.size_e2
        if dice.randrange(1000) < self._manners.partial_permille:
            most = dice.randrange(order.size_e2)
        return self._account.execute(order, levels, row.fee, most)

    def _refuse(self, order: Order, row: Row) -> str:
        if order.time_in_force is not TimeInForce.IOC:
            return f"{order.time_in_force.value} orders are not simulated on paper"
        if row.tick_e4 and order.price_e4 % row.tick_e4:
            return f"price is off the tick of {row.tick_e4 / 10_000}"
        if order.action is Action.SELL and self.venue is not Venue.KALSHI:
            held = self._account.held_e6(self.venue, order.uid, order.side)
            if held < order.size_e2 * 10_000:
                return f"only {held / 1_000_000} contracts are held"
        # a contract costs a dollar at the most, whatever the side and the fee
        elif order.action is Action.BUY and self._account.cash_e6(self.venue) < order.size_e2 * 10_000:
            return "not enough cash"
        return ""

    async def lookup(self, order: Order) -> Outcome:
        """The account's own record. It is written in one transaction on arrival: absent means it never arrived."""
        outcome = self._account.outcome(order.client_id)
        return outcome or Outcome(OutcomeState.NONE, (), "the order never reached the paper venue")

    async def news(self, timeout_s: float, orders: Sequence[Order] = ()) -> None:
        """There is none, because every answer is final: this only waits, on the age clock."""
        await self._sleep_until(self._clock.now_ns() + int(timeout_s * 1_000_000_000))

    async def positions(self) -> tuple[Position, ...]:
        """The account's positions at this venue."""
        return self._account.positions(self.venue)

    async def cash_e6(self) -> int:
        """The account's cash at this venue."""
        return self._account.cash_e6(self.venue)
