"""How many pairs a fill nets: Kalshi holds one signed position a market, and says nowhere what a fill released.

Positive is YES, negative is NO. Buying NO against held YES pays out a dollar a pair; selling YES that is not held is
buying NO, which takes that dollar again. Both follow from the position *before* the fill, so the positions are kept here:
seeded from the venue once, then moved by our own fills, each once, in their order. An order of somebody else in the same
market moves the real position and not this one: what then is booked differs from the venue's cash, and reconciliation
shows the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from arbpipe.fixedpoint import ONE_DOLLAR_E4
from arbpipe.identity import Side
from arbpipe.venues.base import Action, Fill, Order

__all__ = ["NetPositions", "VenueFill", "book_fill", "buys_yes", "released_e6"]


@dataclass(frozen=True, slots=True)
class VenueFill:
    """One of our fills as the venue lists it. ``time_us``: its creation by the venue's clock, micro-seconds."""

    fill_id: str
    order_id: str
    ticker: str
    buys_yes: bool
    qty_e6: int
    yes_price_e4: int
    fee_e6: int
    time_us: int

    @property
    def delta_e6(self) -> int:
        """What it did to the signed position."""
        return self.qty_e6 if self.buys_yes else -self.qty_e6


def buys_yes(side: Side, action: Action) -> bool:
    """Whether an order is a bid of the one book, which is quoted on YES."""
    return (side is Side.YES) == (action is Action.BUY)


def released_e6(before_e6: int, side: Side, action: Action, qty_e6: int) -> int:
    """Pairs netted by a fill of ``qty_e6`` contracts at a signed position; negative where netted ones are taken again."""
    held = {Side.YES: max(before_e6, 0), Side.NO: max(-before_e6, 0)}
    held[side] += qty_e6 if action is Action.BUY else -qty_e6
    # a negative holding of one side is a holding of the other: the same formula, with the other sign
    return min(held.values())


def book_fill(order: Order, fill: VenueFill, released: int) -> Fill:
    """A fill in our terms: the venue's own price, count and fee; cash rounded against us below a micro-dollar."""
    price_e4 = fill.yes_price_e4 if order.side is Side.YES else ONE_DOLLAR_E4 - fill.yes_price_e4
    if order.action is Action.BUY:
        value = -(-(price_e4 * fill.qty_e6) // ONE_DOLLAR_E4)
        cash = -value - fill.fee_e6 + released
    else:
        value = price_e4 * fill.qty_e6 // ONE_DOLLAR_E4
        cash = value - fill.fee_e6 + released
    return Fill(fill.fill_id, fill.qty_e6, price_e4, fill.fee_e6, cash, released)


class NetPositions:
    """The signed positions, and which fills they contain."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._seed: dict[str, int] = {}
        self._seeded_us = 0
        self._released: dict[str, int] = {}

    def seed(self, positions: Mapping[str, int], as_of_us: int) -> None:
        """Begin with what the venue states, complete up to ``as_of_us`` of its own clock."""
        self._at = dict(positions)
        self._seed = dict(positions)
        self._seeded_us = as_of_us
        self._released.clear()

    def position_e6(self, ticker: str) -> int:
        """The signed position after every fill that was applied."""
        return self._at.get(ticker, 0)

    def knows(self, fill: VenueFill) -> bool:
        """Whether this fill's release is settled already, or follows from the fill alone."""
        return fill.fill_id in self._released or fill.time_us > self._seeded_us

    def apply(self, order: Order, fills: Iterable[VenueFill]) -> tuple[Fill, ...]:
        """Book the fills of one order, in their order. A fill that was applied before gives the same as then (F44)."""
        booked = []
        for fill in fills:
            released = self._released.get(fill.fill_id)
            if released is None:
                before = self._at.get(fill.ticker, 0)
                released = released_e6(before, order.side, order.action, fill.qty_e6)
                self._at[fill.ticker] = before + fill.delta_e6
                self._released[fill.fill_id] = released
            booked.append(book_fill(order, fill, released))
        return tuple(booked)

    def learn_before(self, order: Order, fills: Iterable[VenueFill], account: Iterable[VenueFill]) -> None:
        """Settle fills that the seed contains (orders of before a restart): walk back from the seeded position.

        ``account``: every fill of the account in that market since the oldest of ``fills``, in any order.
        """
        wanted = {fill.fill_id for fill in fills if not self.knows(fill)}
        if not wanted:
            return
        inside = {fill.fill_id: fill for fill in account if fill.time_us <= self._seeded_us}
        inside.update((fill.fill_id, fill) for fill in fills if fill.fill_id in wanted)
        before = self._seed.get(order.native_id, 0)
        # the newest first; of one instant, the reverse of the order in which apply() would take them
        for fill in sorted(inside.values(), key=lambda each: (each.time_us, each.fill_id), reverse=True):
            before -= fill.delta_e6
            if fill.fill_id in wanted:
                self._released[fill.fill_id] = released_e6(before, order.side, order.action, fill.qty_e6)
