"""A plan never pays more than was detected, and its bounds are what an enumeration in fractions gives."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from math import ceil, floor

import pytest
from execution_bench import FREE, KALSHI_FEE, POLYMARKET_FEE, listing
from hypothesis import given
from hypothesis import strategies as st

from arbpipe.executor.plan import Plan, Refusal, fill_levels, make_plan, reserve_e6, worst_cash_e6
from arbpipe.feemodel import FeeTerms, cost_e6
from arbpipe.identity import Side, Venue
from arbpipe.shm.generation import CoverEntry, Listing
from arbpipe.shm.opportunity import Leg
from arbpipe.shm.row import Levels, Reason, Row
from arbpipe.venues.kalshi.fees import OrderFees, kalshi_fee, taker_terms

DOLLAR = 1_000_000
SLOTS = {
    0: listing("A"),
    1: listing("B", Venue.POLYMARKET, least=500),
    2: listing("C"),
}
#: slots 0 and 2 are the same thing, slot 1 too: YES of any of them is proposition 0, NO proposition 1
PAYS = {2 * slot + side: ([DOLLAR * (1 - side), DOLLAR * side], [0, 0]) for slot in SLOTS for side in (0, 1)}


def cover(k: int = 1, *, tails: bool = False, propositions: int = 2) -> CoverEntry:
    return CoverEntry(0, 9, "c", "pair", "e", k, 0, tails, 0, ((),) * propositions, (0,) * propositions, ())


def row(yes: Levels, no: Levels = (), fee: FeeTerms | None = FREE) -> Row:
    return Row(2, 1, 0, 1, 0, 0, 0, 0, 100, fee, tuple(yes), tuple(no))


def leg(claim: int, price: int, size: int, proposition: int | None = None, cost: int | None = None) -> Leg:
    return Leg(claim, claim & 1 if proposition is None else proposition, 1, 2, price, size, cost or price * size)


def plan_of(
    legs: Sequence[Leg],
    rows: dict[int, Row],
    size: int,
    *,
    tails: bool = False,
    pays: dict[int, tuple[list[int], list[int]]] | None = None,
    min_edge: int = 5_000,
    max_edge: int = DOLLAR,
    slots: dict[int, Listing] | None = None,
) -> Plan | Refusal:
    given_slots = slots or SLOTS
    return make_plan(
        cover(tails=tails), legs, size, rows, lambda claim: given_slots[claim >> 1], pays or PAYS, 2, min_edge, max_edge
    )


#: YES of A at 40 and 42 cents, NO of B at 50; five cents of edge and more
ROWS = {
    0: row(((4_000, 500), (4_200, 500)), ((6_100, 300), (6_300, 2_000))),
    1: row(((5_100, 800),), ((5_000, 2_000),)),
}
LEGS = (leg(0, 4_200, 1_000), leg(3, 5_000, 1_000))


def made(result: Plan | Refusal) -> Plan:
    assert isinstance(result, Plan), result
    return result


def test_a_plan_is_priced_through_the_levels_that_are_there_now() -> None:
    plan = made(plan_of(LEGS, ROWS, 1_000))
    assert [(each.claim, each.size_e2, each.limit_e4, each.cost_e6) for each in plan.legs] == [
        (0, 1_000, 4_200, 4_100_000),
        (3, 1_000, 5_000, 5_000_000),
    ]
    assert (plan.edge_e6, plan.floor_e6, plan.size_e2) == (900_000, 10 * DOLLAR, 1_000)
    # A: all at 42 cents, plus one micro-dollar of rounding for every level more that a row can show; B: its dollars, plus one
    # for every level
    assert plan.cash == {Venue.KALSHI: 4_200_135, Venue.POLYMARKET: 5_000_008}
    assert [each.depth_e2 for each in plan.legs] == [1_000, 2_000]


def test_no_level_above_the_opportunitys_limit_is_ever_paid() -> None:
    worse = {**ROWS, 0: row(((4_000, 500), (4_300, 5_000)))}
    assert plan_of(LEGS, worse, 1_000) == Refusal(Reason.DEPTH, 500, 1_000)


def test_depth_that_is_gone_refuses() -> None:
    assert plan_of(LEGS, {**ROWS, 1: row((), ((5_000, 999),))}, 1_000) == Refusal(Reason.DEPTH, 999, 1_000)
    assert plan_of(LEGS[:1], ROWS, 1_000) == Refusal(Reason.DEPTH, 0, 1_000)  # a proposition without a leg
    assert plan_of(LEGS, ROWS, 1_500) == Refusal(Reason.DEPTH, 1_000, 1_500)  # more than was detected


def test_an_edge_that_is_gone_refuses_at_one_micro_dollar_below_the_threshold() -> None:
    assert isinstance(plan_of(LEGS, ROWS, 1_000, min_edge=90_000), Plan)
    assert plan_of(LEGS, ROWS, 1_000, min_edge=90_001) == Refusal(Reason.EDGE, 90_000, 90_001)


def test_an_edge_above_the_most_refuses_at_one_micro_dollar_above_it() -> None:
    assert isinstance(plan_of(LEGS, ROWS, 1_000, max_edge=90_000), Plan)
    assert plan_of(LEGS, ROWS, 1_000, max_edge=89_999) == Refusal(Reason.EDGE_TOO_LARGE, 90_000, 89_999)


def test_a_size_below_a_venues_minimum_refuses() -> None:
    assert isinstance(plan_of(LEGS, ROWS, 500), Plan)
    assert plan_of(LEGS, ROWS, 499) == Refusal(Reason.MIN_SIZE, 499, 500)


def test_an_unknown_fee_is_never_zero() -> None:
    assert plan_of(LEGS, {**ROWS, 0: row(((4_000, 5_000),), fee=None)}, 1_000) == Refusal(Reason.FEE_UNKNOWN)


def test_f32_a_fee_that_row_and_listing_do_not_agree_about_is_not_known() -> None:
    for listed, shown in ((KALSHI_FEE, FREE), (FREE, KALSHI_FEE), (None, FREE)):
        slots = {**SLOTS, 0: listing("A", fee=listed)}
        rows = {**ROWS, 0: row(((4_000, 5_000),), fee=shown)}
        assert plan_of(LEGS, rows, 1_000, slots=slots) == Refusal(Reason.FEE_UNKNOWN)
    agreed = plan_of(LEGS, {**ROWS, 0: row(((4_000, 5_000),), fee=KALSHI_FEE)}, 1_000,
                     slots={**SLOTS, 0: listing("A", fee=KALSHI_FEE)})  # fmt: skip
    assert made(agreed).legs[0].cost_e6 == cost_e6(KALSHI_FEE, [(4_000, 1_000)])

    def mistaken(row_fee: FeeTerms | None) -> int:
        """Whatever the row says, nothing if it says nothing."""
        return cost_e6(row_fee or FREE, [(4_000, 1_000)])

    assert mistaken(FREE) < made(agreed).legs[0].cost_e6


def test_a_smaller_size_takes_the_cheaper_claim_of_a_proposition_first() -> None:
    legs = (leg(0, 4_200, 600), leg(4, 4_000, 400), leg(3, 5_000, 1_000))
    rows = {**ROWS, 2: row(((4_000, 400),))}
    whole = made(plan_of(legs, rows, 1_000))
    assert {(each.claim, each.size_e2) for each in whole.legs} == {(4, 400), (0, 600), (3, 1_000)}
    smaller = made(plan_of(legs, rows, 500))
    assert {(each.claim, each.size_e2) for each in smaller.legs} == {(4, 400), (0, 100), (3, 500)}


def test_a_wrong_pair_is_refused_by_its_payoffs() -> None:
    wrong = {**PAYS, 3: ([DOLLAR, 0], [0, 0])}
    assert plan_of(LEGS, ROWS, 1_000, pays=wrong) == Refusal(Reason.PROOF, 0, 10 * DOLLAR)
    del wrong[3]
    assert plan_of(LEGS, ROWS, 1_000, pays=wrong) == Refusal(Reason.PROOF, 0, 10 * DOLLAR)


def test_a_floor_below_the_cost_needs_accepted_tails() -> None:
    void = {claim: ([*least, 450_000], [*most, DOLLAR]) for claim, (least, most) in PAYS.items()}
    assert plan_of(LEGS, ROWS, 1_000, pays=void) == Refusal(Reason.PROOF, 9_000_000, 9_100_000)
    assert made(plan_of(LEGS, ROWS, 1_000, pays=void, tails=True)).floor_e6 == 9_000_000
    safe = {claim: ([*least, 455_000], [*most, DOLLAR]) for claim, (least, most) in PAYS.items()}
    assert made(plan_of(LEGS, ROWS, 1_000, pays=safe)).floor_e6 == 9_100_000  # exactly the cost


# --- bounds and money, by enumeration ---------------------------------------------------------------------------------

fees = st.sampled_from((FREE, KALSHI_FEE, POLYMARKET_FEE, FeeTerms(700_000, 2, 100, 10_000)))


@st.composite
def books(draw: st.DrawFn, around: int) -> list[tuple[int, int]]:
    prices = sorted(draw(st.sets(st.integers(around - 300, around + 300), min_size=1, max_size=4)))
    return [(price, draw(st.integers(1, 400))) for price in prices]


def exact_fee(fee: FeeTerms, price: int, size: int) -> int:
    p = Fraction(price, 10_000)
    exact = fee.rate_e6 * Fraction(size, 100) * (p * (1 - p)) ** fee.exponent
    return ceil(exact / fee.quantum_e6) * fee.quantum_e6


def walk(levels: Levels, size: int) -> list[tuple[int, int]]:
    """Hundredth by hundredth."""
    units = [price for price, available in levels for _ in range(available)][:size]
    return [(price, units.count(price)) for price in dict.fromkeys(units)]


@given(st.data())
def test_cost_and_both_loss_bounds_are_what_an_enumeration_gives(data: st.DataObject) -> None:
    size, rows, legs, slots = data.draw(st.integers(1, 500)), {}, [], {}
    for number in (0, 1):
        fee = data.draw(fees)
        asks, other = data.draw(books(4_500)), data.draw(books(5_600))
        rows[number] = row(asks, other, fee) if number == 0 else row(other, asks, fee)
        legs.append(leg(2 * number + number, asks[-1][0], size))
        slots[number] = listing(f"I{number}", Venue(number + 1), fee=fee)
    result = plan_of(legs, rows, size, min_edge=-DOLLAR, slots=slots)
    short = any(sum(s for _, s in rows[n].asks(Side(n))) < size for n in (0, 1))
    if isinstance(result, Refusal):
        assert short == (result.reason is Reason.DEPTH)
        assert result.reason in (Reason.DEPTH, Reason.PROOF)
        if result.reason is Reason.PROOF:  # no edge at all: the set costs more than it pays
            assert result.value < result.threshold
        return
    assert not short
    unwinds, reserves = [], []
    for number, planned in enumerate(result.legs):
        terms = rows[number].fee
        assert terms is not None
        fee = terms
        fills = walk(rows[number].asks(Side(number)), size)
        cost = sum(price * amount + exact_fee(fee, price, amount) for price, amount in fills)
        assert planned.cost_e6 == ceil(Fraction(cost, fee.align_e6)) * fee.align_e6 == cost_e6(fee, fills)
        assert planned.reserve_e6 >= planned.cost_e6
        bids = [(price, amount * 90 // 100) for price, amount in rows[number].bids(Side(number))]
        back = walk(bids, size)
        brings = sum(price * amount - exact_fee(fee, price, amount) for price, amount in back)
        brings = floor(Fraction(brings, fee.align_e6)) * fee.align_e6
        unwinds.append(max(0, planned.cost_e6 - max(0, brings)))
        reserves.append(planned.reserve_e6)
    hard = max(
        sum(reserve for reserve, filled in zip(reserves, chosen, strict=True) if filled)
        - (chosen[true] and size * 10_000)
        for chosen in product((False, True), repeat=2)
        for true in (0, 1)
    )
    assert result.hard_e6 == max(0, hard)
    assert result.expected_e6 == max(unwinds)  # of two legs, either may be all that we are left with
    assert result.edge_e6 == size * 10_000 - sum(each.cost_e6 for each in result.legs)


@given(
    fees,
    st.integers(1, 9_999),
    st.lists(st.tuples(st.integers(0, 9_998), st.integers(1, 5_000)), min_size=1, max_size=8),
)
def test_the_reservation_is_never_below_what_any_fill_inside_the_limit_costs(
    fee: FeeTerms, limit: int, parts: list[tuple[int, int]]
) -> None:
    fills = [(max(1, limit - below), size) for below, size in parts]
    assert worst_cash_e6(fee, sum(size for _, size in fills), limit) >= cost_e6(fee, fills)


@given(
    fees,
    st.integers(1_000, 9_999),
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 5_000)), min_size=1, max_size=8),
)
def test_a_purchase_in_dollars_never_takes_more_than_its_reservation(
    fee: FeeTerms, limit: int, parts: list[tuple[int, int]]
) -> None:
    size = sum(part for _, part in parts)
    slots = {**SLOTS, 1: listing("B", Venue.POLYMARKET, fee=fee)}
    rows = {0: row(((1, size),)), 1: row((), ((limit, size),), fee)}
    legs = (leg(0, 1, size), leg(3, limit, size))
    plan = made(plan_of(legs, rows, size, tails=True, min_edge=-100 * DOLLAR, slots=slots))
    paid = Fraction(0)
    for below, part in parts:  # the dollars of each part buy more shares than planned where they are cheaper
        price = Fraction(max(1, limit - below), 10_000)
        dollars = Fraction(limit * part, DOLLAR)
        fee_e6 = fee.rate_e6 * dollars / price * (price * (1 - price)) ** fee.exponent
        paid += dollars * DOLLAR + ceil(fee_e6 / fee.quantum_e6) * fee.quantum_e6
    assert plan.legs[1].reserve_e6 >= paid


def test_a_purchase_in_dollars_that_fills_cheaper_costs_more_fee_than_the_planned_shares() -> None:
    slots = {**SLOTS, 1: listing("B", Venue.POLYMARKET, fee=POLYMARKET_FEE)}
    rows = {0: row(((500, 1_000),)), 1: row((), ((9_000, 1_000),), POLYMARKET_FEE)}
    plan = made(plan_of((leg(0, 500, 1_000), leg(3, 9_000, 1_000)), rows, 1_000, min_edge=-DOLLAR, slots=slots))
    paid = 9 * DOLLAR + 18 * 12_500  # nine dollars buy 18 shares at 50 cents, each with 1.25 cents of fee
    assert plan.legs[1].reserve_e6 >= paid
    mistaken = worst_cash_e6(POLYMARKET_FEE, 1_000, 9_000)  # ten shares at 90 cents
    assert mistaken < paid


@pytest.mark.parametrize("buys", [True, False])
@given(levels=books(5_000), size=st.integers(0, 1_700), limit=st.integers(4_600, 5_400))
def test_an_order_takes_the_best_levels_inside_its_limit_and_no_more_than_its_size(
    buys: bool, levels: list[tuple[int, int]], size: int, limit: int
) -> None:
    if not buys:
        levels = levels[::-1]
    fills = fill_levels(levels, size, limit, buys=buys)
    inside = [level for level in levels if (level[0] <= limit if buys else level[0] >= limit)]
    assert fills == walk(inside, size)


@given(st.integers(100, 9_900), st.lists(st.integers(1, 500), min_size=1, max_size=64))
def test_a_reservation_covers_a_kalshi_order_that_falls_into_many_fills(limit: int, pieces: list[int]) -> None:
    """Each fill is rounded on its own, and dust below the grid gets nothing back (kalshi.md section 4)."""
    fee, terms = kalshi_fee("quadratic", "1"), taker_terms("quadratic", "1")
    assert fee is not None
    assert terms is not None
    order = OrderFees(fee)
    paid = sum(limit * piece + order.fill(limit, piece).net_e6 for piece in pieces)
    assert paid <= reserve_e6(listing("A"), terms, sum(pieces), limit)
