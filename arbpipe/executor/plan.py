"""Pricing an opportunity again from fresh rows: legs, worst cash, both loss bounds. Pure: rows in, a plan or a reason out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from arbpipe.executor.proof import Holding, Payoffs, prove_basket, worst_loss_e6
from arbpipe.feemodel import FeeTerms, cost_e6, proceeds_e6
from arbpipe.fixedpoint import ceil_div, ceil_to
from arbpipe.identity import Side, Venue, side_of, slot_of
from arbpipe.shm.generation import CoverEntry, Listing
from arbpipe.shm.layout import DEPTH
from arbpipe.shm.opportunity import Leg
from arbpipe.shm.row import Levels, Reason, Row

__all__ = ["Plan", "PlanLeg", "Refusal", "fill_levels", "make_plan", "worst_cash_e6", "reserve_e6"]

#: Bids we would unwind at are counted 10 % thinner than they are.
_HAIRCUT = 10
#: Into so many fills an order may fall without taking more cash than was reserved; at Kalshi this holds back $0.0065.
_PIECES = 64


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which gate refused, with its value and threshold in its own unit."""

    reason: Reason
    value: int = 0
    threshold: int = 0


@dataclass(frozen=True, slots=True)
class PlanLeg:
    """One order to be. ``cost_e6``: through the levels shown; ``reserve_e6``: all of it at the limit price."""

    claim: int
    proposition: int
    listing: Listing
    side: Side
    size_e2: int
    limit_e4: int
    cost_e6: int
    reserve_e6: int
    depth_e2: int
    unwind_loss_e6: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A cover priced again. ``edge_e6`` is of the whole size; ``hard_e6`` and ``expected_e6`` are the two loss bounds."""

    cover: CoverEntry
    size_e2: int
    legs: tuple[PlanLeg, ...]
    edge_e6: int
    floor_e6: int
    hard_e6: int
    expected_e6: int

    @property
    def cash(self) -> Mapping[Venue, int]:
        """The most cash each venue may take."""
        amounts: dict[Venue, int] = {}
        for leg in self.legs:
            amounts[leg.listing.venue] = amounts.get(leg.listing.venue, 0) + leg.reserve_e6
        return amounts


def fill_levels(levels: Levels, size_e2: int, limit_e4: int, *, buys: bool = True) -> list[tuple[int, int]]:
    """What an order of this size and limit takes from these levels, best first; possibly less than its size."""
    left, fills = size_e2, []
    for price, available in levels:
        if left <= 0 or (price > limit_e4 if buys else price < limit_e4):
            break
        taken = min(left, available)
        fills.append((price, taken))
        left -= taken
    return fills


def worst_cash_e6(fee: FeeTerms, size_e2: int, limit_e4: int) -> int:
    """The most cash a buy order can take: all of it at its limit, its fee rounded up once for every level of a row."""
    pieces = min(size_e2, DEPTH)
    return ceil_to(cost_e6(fee, [(limit_e4, size_e2)]) + (pieces - 1) * fee.quantum_e6, fee.align_e6)


def make_plan(
    cover: CoverEntry,
    legs: Sequence[Leg],
    size_e2: int,
    rows: Mapping[int, Row],
    listing_of: Callable[[int], Listing],
    payoffs: Payoffs,
    regular: int,
    min_edge_e6: int,
    max_edge_e6: int,
) -> Plan | Refusal:
    """Price ``size_e2`` of the opportunity's legs at today's rows, and prove the basket.

    A smaller size than the opportunity's takes the cheaper claims of each proposition first. The limits are the
    opportunity's own worst prices: a plan never pays more than was detected.
    """
    planned: list[PlanLeg] = []
    for proposition in range(len(cover.propositions)):
        mine = sorted(
            (leg for leg in legs if leg.proposition == proposition), key=lambda leg: leg.cost_e6 / max(leg.size_e2, 1)
        )
        left = size_e2
        for leg in mine:
            size = min(left, leg.size_e2)
            if not size:
                continue
            made = _leg(leg, size, rows[slot_of(leg.claim)], listing_of(leg.claim))
            if isinstance(made, Refusal):
                return made
            planned.append(made)
            left -= size
        if left:
            return Refusal(Reason.DEPTH, size_e2 - left, size_e2)
    basket = [Holding(leg.claim, leg.size_e2, leg.cost_e6) for leg in planned]
    proof = prove_basket(cover.k, size_e2, basket, payoffs, regular)
    if not proof.pays:
        return Refusal(Reason.PROOF, proof.worst_regular_e6, cover.k * size_e2 * 10_000)
    cost = sum(leg.cost_e6 for leg in planned)
    edge = cover.k * size_e2 * 10_000 - cost
    if 100 * edge < min_edge_e6 * size_e2:
        return Refusal(Reason.EDGE, 100 * edge // size_e2, min_edge_e6)
    if 100 * edge > max_edge_e6 * size_e2:
        return Refusal(Reason.EDGE_TOO_LARGE, 100 * edge // size_e2, max_edge_e6)
    if not cover.tails_accepted and proof.floor_e6 < cost:
        return Refusal(Reason.PROOF, proof.floor_e6, cost)
    losses = [leg.unwind_loss_e6 for leg in planned]
    return Plan(
        cover,
        size_e2,
        tuple(planned),
        edge,
        min(proof.floor_e6, proof.worst_regular_e6),
        worst_loss_e6([Holding(leg.claim, leg.size_e2, leg.reserve_e6) for leg in planned], payoffs, regular),
        # every proper subset of legs may be what we are left with: the dearest is all but the cheapest to unwind
        sum(losses) - min(losses) if len(losses) > 1 else 0,
    )


def _leg(leg: Leg, size_e2: int, row: Row, listing: Listing) -> PlanLeg | Refusal:
    side = side_of(leg.claim)
    if row.fee is None or row.fee != listing.fee:
        # the feed has not republished under the new terms yet: neither of the two is known to be right
        return Refusal(Reason.FEE_UNKNOWN)
    if size_e2 < listing.min_size_e2:
        return Refusal(Reason.MIN_SIZE, size_e2, listing.min_size_e2)
    fills = fill_levels(row.asks(side), size_e2, leg.price_e4)
    filled = sum(size for _, size in fills)
    if filled < size_e2:
        return Refusal(Reason.DEPTH, filled, size_e2)
    cost = cost_e6(row.fee, fills)
    bids = [(price, size * (100 - _HAIRCUT) // 100) for price, size in row.bids(side)]
    back = fill_levels(bids, size_e2, 0, buys=False)
    return PlanLeg(
        leg.claim,
        leg.proposition,
        listing,
        side,
        size_e2,
        leg.price_e4,
        cost,
        reserve_e6(listing, row.fee, size_e2, leg.price_e4),
        sum(size for price, size in row.asks(side) if price <= leg.price_e4),
        max(0, cost - max(0, proceeds_e6(row.fee, back))),
    )


def reserve_e6(listing: Listing, fee: FeeTerms, size_e2: int, limit_e4: int) -> int:
    """The most cash a buy at this venue can take, in up to :data:`_PIECES` fills: each is rounded on its own, and what is
    rounded too much is not always paid back (``split_allowance_e6`` of Kalshi's fees).

    A Polymarket buy is in dollars: where it fills cheaper it gets more shares, and their fee, ``rate · dollars · (1 − p)``,
    is below the rate times its dollars (exponent 1 and above).
    """
    worst = worst_cash_e6(fee, size_e2, limit_e4)
    if listing.venue is not Venue.POLYMARKET:
        return worst + _PIECES * (fee.quantum_e6 + fee.align_e6)
    dollars = limit_e4 * size_e2
    return max(worst, dollars + ceil_div(dollars * fee.rate_e6, 1_000_000) + DEPTH * fee.quantum_e6)
