"""Unequal legs: is completing or unwinding cheaper, and with which orders? Pure: holdings and quotes in, a step out.

Design 9.6: bounded steps, within the loss budget; what is too small to trade is dust, valued at zero; what cannot be resolved
is exposure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from arbpipe.executor.plan import fill_levels
from arbpipe.feemodel import FeeTerms, cost_e6, proceeds_e6
from arbpipe.identity import Side
from arbpipe.shm.generation import Listing
from arbpipe.shm.row import Levels
from arbpipe.venues.base import Action

__all__ = ["Held", "Market", "Step", "StepKind", "StepOrder", "balance", "next_step"]

_E2_TO_E6 = 10_000


@dataclass(frozen=True, slots=True)
class Held:
    """What one leg holds by now. ``cost_e6`` is what its contracts have cost, fees included."""

    proposition: int
    listing: Listing
    side: Side
    qty_e6: int
    cost_e6: int
    final: bool = True


@dataclass(frozen=True, slots=True)
class Market:
    """A usable claim of a proposition: what buying it costs and what selling it brings, best first."""

    proposition: int
    listing: Listing
    side: Side
    asks: Levels
    bids: Levels
    fee: FeeTerms


class StepKind(Enum):
    """What to do next about unequal legs."""

    DONE = "done"
    COMPLETE = "complete"
    UNWIND = "unwind"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class StepOrder:
    """An order of a step."""

    proposition: int
    listing: Listing
    side: Side
    action: Action
    size_e2: int
    limit_e4: int
    cash_e6: int


@dataclass(frozen=True, slots=True)
class Step:
    """The next step and its orders."""

    kind: StepKind
    orders: tuple[StepOrder, ...] = ()


def balance(propositions: int, held: Sequence[Held]) -> tuple[list[int], int, int]:
    """Contracts per proposition (e6), the balanced quantity (the least of them) and the greatest."""
    filled = [sum(each.qty_e6 for each in held if each.proposition == p) for p in range(propositions)]
    return filled, min(filled), max(filled)


def next_step(
    k: int,
    propositions: int,
    held: Sequence[Held],
    markets: Sequence[Market],
    *,
    loss_budget_e6: int,
    may_complete: bool,
    may_unwind: bool,
    lost_e6: int = 0,
    must: bool = False,
) -> Step:
    """The cheaper of completing and unwinding what is unequal now, or DONE, or STUCK when neither can be done.

    ``lost_e6`` is what earlier steps of the attempt lost already. A way that ends below the loss budget is not taken yet
    (STUCK: prices may come back) unless ``must``: then the cheaper one is taken whatever it costs, because what is
    unequal can cost more. Differences below 1/100 contract are nothing anybody can trade.
    """
    filled, low, high = balance(propositions, held)
    if high - low < _E2_TO_E6:
        return Step(StepKind.DONE)
    complete = _complete(filled, high, markets) if may_complete else None
    unwind = _unwind(filled, low, held, markets) if may_unwind else None
    spent = sum(each.cost_e6 for each in held) + lost_e6
    ways: list[tuple[int, Step]] = []
    if complete:
        cash = sum(order.cash_e6 for order in complete)
        ways.append((k * high + cash - spent, Step(StepKind.COMPLETE, tuple(complete))))
    if unwind:
        cash = sum(order.cash_e6 for order in unwind)
        ways.append((k * low + cash - spent, Step(StepKind.UNWIND, tuple(unwind))))
    if not ways:
        return Step(StepKind.STUCK)
    ends_at, step = max(ways, key=lambda way: way[0])
    return step if must or ends_at >= -loss_budget_e6 else Step(StepKind.STUCK)


def _complete(filled: Sequence[int], high: int, markets: Sequence[Market]) -> list[StepOrder] | None:
    """Buy what is missing: one claim for each proposition that is short; ``None`` unless all of it can be bought."""
    orders = []
    for proposition, have in enumerate(filled):
        need = (high - have) // _E2_TO_E6
        if not need:
            continue
        best: StepOrder | None = None
        for market in markets:
            if market.proposition != proposition or need < market.listing.min_size_e2:
                continue
            fills = fill_levels(market.asks, need, 10_000)
            if sum(size for _, size in fills) < need:
                continue
            cash = -cost_e6(market.fee, fills)
            if best is None or cash > best.cash_e6:
                best = StepOrder(
                    proposition, market.listing, market.side, Action.BUY, need, max(p for p, _ in fills), cash
                )
        if best is None:
            return None
        orders.append(best)
    return orders or None


def _unwind(filled: Sequence[int], low: int, held: Sequence[Held], markets: Sequence[Market]) -> list[StepOrder] | None:
    """Sell what is too much, as far as bids, finality and minimum sizes allow; ``None`` if nothing can be sold."""
    quotes = {(market.listing.uid, market.side): market for market in markets}
    orders = []
    for proposition, have in enumerate(filled):
        excess = (have - low) // _E2_TO_E6
        for each in held:
            if each.proposition != proposition or not each.final or excess <= 0:
                continue
            market = quotes.get((each.listing.uid, each.side))
            size = min(excess, each.qty_e6 // _E2_TO_E6)
            if market is None or size < each.listing.min_size_e2 or size <= 0:
                continue
            fills = fill_levels(market.bids, size, 0, buys=False)
            sold = sum(part for _, part in fills)
            if sold < each.listing.min_size_e2 or not sold:
                continue
            orders.append(
                StepOrder(
                    proposition,
                    each.listing,
                    each.side,
                    Action.SELL,
                    sold,
                    min(price for price, _ in fills),
                    proceeds_e6(market.fee, fills),
                )
            )
            excess -= sold
    return orders or None
