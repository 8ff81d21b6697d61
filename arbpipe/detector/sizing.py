"""How much of a cover is worth taking: exact fees, merged depth, every venue's minimum.

Pure: quotes in, a size or the reason why not out. All usable claims of a proposition are one ladder, ordered by what the
next contract costs with its fee; the walk takes the same quantity of every proposition until the next contract of all
of them together no longer clears the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from arbpipe.feemodel import FeeTerms, cost_e6
from arbpipe.fixedpoint import ONE_DOLLAR_E4, ceil_div
from arbpipe.shm.layout import MAX_LEGS
from arbpipe.shm.row import Levels, Reason

__all__ = ["Edge", "Quote", "Refusal", "Sized", "SizedLeg", "edge_at_minimum", "size_cover"]


class Quote(NamedTuple):
    """One usable claim of a proposition."""

    claim: int
    uid: int
    version: int
    levels: Levels
    fee: FeeTerms
    min_size_e2: int


class SizedLeg(NamedTuple):
    """How much of one claim to buy, at which worst price, for how much cash."""

    quote: Quote
    proposition: int
    size_e2: int
    price_e4: int
    cost_e6: int


class Sized(NamedTuple):
    """A size that clears. ``edge_e6`` is of the whole size; ``best_e6`` is the first contract's."""

    size_e2: int
    edge_e6: int
    best_e6: int
    legs: tuple[SizedLeg, ...]


class Refusal(NamedTuple):
    """Why nothing clears; ``value`` against ``threshold`` in the reason's own unit."""

    reason: Reason
    value: int
    threshold: int


class Edge(NamedTuple):
    """What a cover pays per contract, fees included, at ``size_e2``; negative when it costs."""

    edge_e6: int
    size_e2: int


class _Step(NamedTuple):
    unit_e6: int
    price_e4: int
    size_e2: int
    quote: Quote


def _unit_e6(fee: FeeTerms, price_e4: int) -> int:
    """What one more contract costs at this level, its fee rounded up to a micro-dollar."""
    variance = (price_e4 * (ONE_DOLLAR_E4 - price_e4)) ** fee.exponent
    return 100 * price_e4 + ceil_div(fee.rate_e6 * variance, 10 ** (8 * fee.exponent))


def _ladder(quotes: Sequence[Quote]) -> list[_Step]:
    steps = [_Step(_unit_e6(quote.fee, price), price, size, quote) for quote in quotes for price, size in quote.levels]
    steps.sort(key=lambda step: step.unit_e6)
    return steps


def size_cover(
    k: int, propositions: Sequence[Sequence[Quote]], *, min_edge_e6: int, max_edge_e6: int, max_size_e2: int
) -> Sized | Refusal:
    """The largest size whose marginal edge clears ``min_edge_e6`` (per contract), with its legs.

    A claim whose share falls below its venue's minimum is left out and the rest is sized again, so dust never hides a good
    quote. It stops before a ninth leg. ``EDGE_TOO_LARGE`` (above ``max_edge_e6`` on average over the smallest size that all
    of them may trade: a remnant at a silly price is no alarm) and ``ONE_INSTRUMENT`` (both sides of one instrument for less
    than a dollar) mean a wrong pair or a corrupt book: the caller raises the alarm.
    """
    left = [list(quotes) for quotes in propositions]
    while True:
        if not all(left):
            return Refusal(Reason.NO_QUOTE, 0, 0)
        result = _walk(k, left, min_edge_e6, max_edge_e6, max_size_e2)
        if isinstance(result, Refusal):
            return result
        dust = [leg for leg in result.legs if leg.size_e2 < leg.quote.min_size_e2]
        if not dust:
            break
        worst = min(dust, key=_first_to_leave)
        left[worst.proposition] = [quote for quote in left[worst.proposition] if quote.claim != worst.quote.claim]
        if not left[worst.proposition]:
            return Refusal(Reason.MIN_SIZE, worst.size_e2, worst.quote.min_size_e2)
    if 100 * result.edge_e6 < min_edge_e6 * result.size_e2:
        # rounding of the fees ate it: only for very small sizes
        return Refusal(Reason.EDGE, 100 * result.edge_e6 // result.size_e2, min_edge_e6)
    return result


def _first_to_leave(leg: SizedLeg) -> tuple[bool, int]:
    """Of dusty claims one leaves at a time, as its share may be all that another lacks for its own minimum: first
    those whose whole depth is below their minimum, then the cheapest, which had the first choice already."""
    quote = leg.quote
    depth = sum(size for _, size in quote.levels)
    return depth >= quote.min_size_e2, min(_unit_e6(quote.fee, price) for price, _ in quote.levels)


def _walk(
    k: int, propositions: Sequence[Sequence[Quote]], min_edge_e6: int, max_edge_e6: int, max_size_e2: int
) -> Sized | Refusal:
    ladders = [_ladder(quotes) for quotes in propositions]
    if not all(ladders):
        return Refusal(Reason.NO_QUOTE, 0, 0)
    at = [0] * len(ladders)
    left = [ladder[0].size_e2 for ladder in ladders]
    taken: dict[tuple[int, int], list[tuple[int, int]]] = {}
    quotes: dict[int, Quote] = {}
    sides: dict[int, int] = {}  # of every claim taken, not only of one step: all of them would be bought
    size, best = 0, None
    judged, judged_size = 0, 0  # edge and size of the first contracts, up to the smallest size that may be traded
    while size < max_size_e2:
        steps = [ladder[i] for ladder, i in zip(ladders, at, strict=True)]
        edge = k * 1_000_000 - sum(step.unit_e6 for step in steps)
        if best is None:
            best = edge
        if edge < min_edge_e6:
            break
        for step in steps:
            if sides.setdefault(step.quote.uid, step.quote.claim) != step.quote.claim:
                return Refusal(Reason.ONE_INSTRUMENT, edge, 0)
        if len(taken.keys() | {(number, step.quote.claim) for number, step in enumerate(steps)}) > MAX_LEGS:
            break
        quantity = min(*left, max_size_e2 - size)
        counted = min(quantity, max(step.quote.min_size_e2 for step in steps) - judged_size)
        if counted > 0:
            judged += edge * counted
            judged_size += counted
        for number, step in enumerate(steps):
            quotes[step.quote.claim] = step.quote
            taken.setdefault((number, step.quote.claim), []).append((step.price_e4, quantity))
            left[number] -= quantity
        size += quantity
        exhausted = False
        for number, ladder in enumerate(ladders):
            if not left[number]:
                at[number] += 1
                if at[number] == len(ladder):
                    exhausted = True
                else:
                    left[number] = ladder[at[number]].size_e2
        if exhausted:
            break
    if not size:
        return Refusal(Reason.EDGE, best or 0, min_edge_e6)
    if judged > max_edge_e6 * judged_size:
        return Refusal(Reason.EDGE_TOO_LARGE, judged // judged_size, max_edge_e6)
    legs = tuple(
        SizedLeg(
            quotes[claim],
            number,
            sum(quantity for _, quantity in fills),
            max(price for price, _ in fills),
            cost_e6(quotes[claim].fee, fills),
        )
        for (number, claim), fills in sorted(taken.items())
    )
    edge = k * size * ONE_DOLLAR_E4 - sum(leg.cost_e6 for leg in legs)
    return Sized(size, edge, best or 0, legs)


def edge_at_minimum(k: int, propositions: Sequence[Sequence[Quote]], size_e2: int = 0) -> Edge | Refusal:
    """The cover's edge per contract at the smallest size every listed claim may trade: what near-misses report.

    For each proposition the cheapest single claim at that size, through its depth, with exact fees (design 2, "edge").
    ``size_e2``: that size, where claims are listed that are not among the quotes; else the quotes' greatest minimum.
    """
    if not all(propositions):
        return Refusal(Reason.NO_QUOTE, 0, 0)
    size = max(size_e2, *(quote.min_size_e2 for quotes in propositions for quote in quotes))
    total = 0
    for quotes in propositions:
        costs = [cost for quote in quotes if (cost := _cost_at(quote, size)) is not None]
        if not costs:
            depth = max(sum(level for _, level in quote.levels) for quote in quotes)
            return Refusal(Reason.DEPTH, depth, size)
        total += min(costs)
    return Edge((k * size * ONE_DOLLAR_E4 - total) * 100 // size, size)


def _cost_at(quote: Quote, size_e2: int) -> int | None:
    fills, left = [], size_e2
    for price, size in quote.levels:
        taken = min(left, size)
        fills.append((price, taken))
        left -= taken
        if not left:
            return cost_e6(quote.fee, fills)
    return None
