"""What to do about unequal legs: never too much, never what is not final, and the cheaper of the two ways."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from execution_bench import FREE, KALSHI_FEE, POLYMARKET_FEE, listing
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.executor.aftermath import Held, Market, Step, StepKind, StepOrder, balance, next_step
from arbpipe.feemodel import cost_e6, proceeds_e6
from arbpipe.identity import Side, Venue
from arbpipe.shm.row import Levels
from arbpipe.venues.base import Action

CENT = 10_000  # a hundredth of a contract in millionths
KALSHI = listing("K")
POLY = listing("P", Venue.POLYMARKET, least=500)
POLY_2 = listing("Q", Venue.POLYMARKET, least=500)


def step(
    held: Sequence[Held],
    markets: Sequence[Market],
    *,
    budget: int = 5_000_000,
    complete: bool = True,
    unwind: bool = True,
    lost: int = 0,
    must: bool = False,
) -> Step:
    return next_step(
        1,
        2,
        held,
        markets,
        loss_budget_e6=budget,
        may_complete=complete,
        may_unwind=unwind,
        lost_e6=lost,
        must=must,
    )


def market(proposition: int, asks: Levels, bids: Levels) -> Market:
    return Market(proposition, (KALSHI, POLY)[proposition], Side(proposition), asks, bids, FREE)


def have(proposition: int, contracts: float, cost: int = 0, *, final: bool = True) -> Held:
    qty = round(contracts * 1_000_000)
    return Held(proposition, (KALSHI, POLY)[proposition], Side(proposition), qty, cost, final)


# --- by hypothesis ----------------------------------------------------------------------------------------------------


@st.composite
def levels(draw: st.DrawFn, *, rising: bool) -> list[tuple[int, int]]:
    prices = draw(st.sets(st.integers(1, 9_999), max_size=3))
    return [(price, draw(st.integers(1, 3_000))) for price in sorted(prices, reverse=not rising)]


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Held], list[Market], int, int]:
    propositions = draw(st.integers(2, 4))
    held, markets = [], []
    for proposition in range(propositions):
        for number in range(draw(st.integers(1, 2))):
            venue = draw(st.sampled_from(list(Venue)))
            least = draw(st.sampled_from((1, 100, 500)))
            each, side = listing(f"{proposition}.{number}", venue, least=least), draw(st.sampled_from(list(Side)))
            qty = draw(st.one_of(st.just(0), st.just(5_000_000), st.integers(0, 20_000_000)))
            if qty:
                held.append(
                    Held(proposition, each, side, qty, qty * draw(st.integers(0, 99)) // 100, draw(st.booleans()))
                )
            if draw(st.booleans()):
                fee = draw(st.sampled_from((FREE, KALSHI_FEE, POLYMARKET_FEE)))
                asks, bids = draw(levels(rising=True)), draw(levels(rising=False))
                markets.append(Market(proposition, each, side, asks, bids, fee))
    return held, markets, propositions, draw(st.integers(1, max(1, propositions - 1)))


def bought_for(book: Market, size: int) -> int | None:
    """What ``size`` costs, contract part by contract part; ``None`` if the asks are too thin."""
    units = [price for price, available in book.asks for _ in range(available)]
    if len(units) < size:
        return None
    return cost_e6(book.fee, [(price, units[:size].count(price)) for price in dict.fromkeys(units[:size])])


@settings(max_examples=150, deadline=None)
@given(
    situations(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 20_000_000),
    st.integers(-2_000_000, 20_000_000),
    st.booleans(),
)
def test_a_step_never_does_too_much_and_takes_the_way_that_ends_higher(
    made: tuple[list[Held], list[Market], int, int], complete: bool, unwind: bool, budget: int, lost: int, must: bool
) -> None:
    held, markets, propositions, k = made

    def take(may_complete: bool, may_unwind: bool, *, at_any_price: bool) -> Step:
        return next_step(
            k,
            propositions,
            held,
            markets,
            loss_budget_e6=budget,
            may_complete=may_complete,
            may_unwind=may_unwind,
            lost_e6=lost,
            must=at_any_price,
        )

    sums = [sum(each.qty_e6 for each in held if each.proposition == p) for p in range(propositions)]
    low, high = min(sums), max(sums)
    assert balance(propositions, held) == (sums, low, high)
    got = take(complete, unwind, at_any_price=must)
    assert (got.kind is StepKind.DONE) == (high - low < CENT)
    assert bool(got.orders) == (got.kind in (StepKind.COMPLETE, StepKind.UNWIND))
    for order in got.orders:
        assert order.size_e2 >= order.listing.min_size_e2
    if got.kind is StepKind.COMPLETE:
        assert complete
        for p in range(propositions):
            bought = sum(order.size_e2 for order in got.orders if order.proposition == p)
            assert bought == (high - sums[p]) // CENT
        assert all(order.action is Action.BUY for order in got.orders)
    if got.kind is StepKind.UNWIND:
        assert unwind
        assert all(order.action is Action.SELL for order in got.orders)
        for p in range(propositions):
            sold = sum(order.size_e2 for order in got.orders if order.proposition == p)
            assert sold * CENT <= sums[p] - low
        for each in held:
            sold = sum(
                order.size_e2
                for order in got.orders
                if (order.proposition, order.listing.uid, order.side) == (each.proposition, each.listing.uid, each.side)
            )
            assert sold * CENT <= (each.qty_e6 if each.final else 0)
    if got.kind is StepKind.DONE:
        return
    # where each way ends: completing's price, found by trying every market of each short proposition
    cost, possible = 0, complete
    for p in range(propositions):
        need = (high - sums[p]) // CENT
        if need:
            offers = [
                price
                for book in markets
                if book.proposition == p and need >= book.listing.min_size_e2
                for price in [bought_for(book, need)]
                if price is not None
            ]
            possible &= bool(offers)
            cost += min(offers, default=0)
    unwinding = take(False, unwind, at_any_price=True)
    brings = sum(order.cash_e6 for order in unwinding.orders)
    spent = sum(each.cost_e6 for each in held) + lost
    ends = {StepKind.COMPLETE: k * high - cost - spent} if possible else {}
    if unwinding.kind is StepKind.UNWIND:
        ends[StepKind.UNWIND] = k * low + brings - spent
    best = max(ends, key=lambda kind: ends[kind], default=StepKind.STUCK)
    affordable = bool(ends) and (must or ends[best] >= -budget)
    assert got.kind is (best if affordable else StepKind.STUCK)


# --- one by one -------------------------------------------------------------------------------------------------------


def test_equal_legs_and_nothing_held_are_done() -> None:
    assert step([], []) == Step(StepKind.DONE)
    assert step([have(0, 3), have(1, 3)], []) == Step(StepKind.DONE)
    assert step([have(0, 3), have(1, 3.009999)], []) == Step(StepKind.DONE)
    assert step([have(0, 3), have(1, 3.01)], []) == Step(StepKind.STUCK)


def test_what_is_missing_is_bought_when_that_nets_more() -> None:
    markets = [market(0, [(4_500, 5_000)], [(4_000, 5_000)]), market(1, [(5_600, 300), (5_800, 900)], [(5_300, 9_000)])]
    got = step([have(0, 10, 4_400_000), have(1, 4, 2_200_000)], markets)
    cash = -(5_600 * 300 + 5_800 * 300)
    assert got == Step(StepKind.COMPLETE, (StepOrder(1, POLY, Side.NO, Action.BUY, 600, 5_800, cash),))


def test_too_much_is_sold_when_completing_costs_more_than_it_brings() -> None:
    markets = [market(0, [], [(4_300, 200), (4_200, 900)]), market(1, [(6_100, 5_000)], [])]
    got = step([have(0, 10, 4_400_000), have(1, 4, 2_200_000)], markets)
    cash = 4_300 * 200 + 4_200 * 400
    assert got == Step(StepKind.UNWIND, (StepOrder(0, KALSHI, Side.YES, Action.SELL, 600, 4_200, cash),))


def test_completing_and_unwinding_that_bring_the_same_is_completing() -> None:
    held = [have(0, 10, 4_400_000), have(1, 0)]
    assert step(held, [market(0, [], [(4_000, 9_000)]), market(1, [(6_000, 9_000)], [])]).kind is StepKind.COMPLETE
    assert step(held, [market(0, [], [(4_000, 9_000)]), market(1, [(6_001, 9_000)], [])]).kind is StepKind.UNWIND


def test_no_way_below_the_loss_budget_is_taken_until_it_must_be() -> None:
    held = [have(0, 10, 6_000_000)]
    completing = [market(0, [], [(100, 9_000)]), market(1, [(9_000, 9_000)], [])]  # ends at -5.00, unwinding at -5.90
    assert step(held, completing, budget=5_000_000).kind is StepKind.COMPLETE
    assert step(held, completing, budget=4_999_999) == Step(StepKind.STUCK)
    assert step(held, completing, budget=4_999_999, must=True).kind is StepKind.COMPLETE
    unwinding = [market(0, [], [(1_100, 9_000)]), market(1, [(9_000, 9_000)], [])]  # now that ends at -4.90
    assert step(held, unwinding, budget=4_900_000).kind is StepKind.UNWIND
    assert step(held, unwinding, budget=4_899_999) == Step(StepKind.STUCK)
    assert step(held, unwinding, budget=4_899_999, must=True).kind is StepKind.UNWIND


def test_what_earlier_steps_lost_counts_against_the_budget() -> None:
    held = [have(0, 10, 6_000_000)]
    markets = [market(0, [], [(100, 9_000)]), market(1, [(9_000, 9_000)], [])]
    assert step(held, markets, budget=5_000_000, lost=0).kind is StepKind.COMPLETE
    assert step(held, markets, budget=5_000_000, lost=1) == Step(StepKind.STUCK)
    assert step(held, markets, budget=5_000_001, lost=1).kind is StepKind.COMPLETE


def test_unwinding_that_ends_higher_is_taken_although_completing_is_within_the_budget() -> None:
    held = [have(0, 10, 6_000_000)]
    markets = [market(0, [], [(5_900, 9_000)]), market(1, [(4_200, 9_000)], [])]  # -0.20 completed, -0.10 unwound
    assert step(held, markets).kind is StepKind.UNWIND


def test_without_any_way_a_step_is_stuck_even_if_it_must() -> None:
    assert step([have(0, 10, 6_000_000)], [], must=True) == Step(StepKind.STUCK)


def test_what_may_not_be_done_is_not_done() -> None:
    held, markets = [have(0, 10, 4_000_000)], [market(0, [], [(4_000, 9_000)]), market(1, [(5_000, 9_000)], [])]
    assert step(held, markets).kind is StepKind.COMPLETE
    assert step(held, markets, complete=False).kind is StepKind.UNWIND
    assert step(held, markets, complete=False, unwind=False).kind is StepKind.STUCK


@pytest.mark.parametrize(("contracts", "kind"), [(4.99, StepKind.STUCK), (5, StepKind.UNWIND)])
def test_dust_is_what_no_order_is_small_enough_for(contracts: float, kind: StepKind) -> None:
    markets = [market(0, [], []), market(1, [(5_000, 90_000)], [(4_900, 90_000)])]
    assert step([have(1, contracts, 100)], markets, complete=False).kind is kind


def test_thin_bids_are_sold_into_as_far_as_they_go_and_not_below_the_minimum() -> None:
    thin = [market(1, [], [(4_900, 600)])]
    got = step([have(1, 20, 100)], thin)
    assert [(order.size_e2, order.limit_e4) for order in got.orders] == [(600, 4_900)]
    assert step([have(1, 20, 100)], [market(1, [], [(4_900, 499)])]).kind is StepKind.STUCK


def test_a_claim_below_the_minimum_leaves_the_purchase_to_another_venue() -> None:
    markets = [
        market(1, [(4_000, 9_000)], []),
        Market(1, KALSHI, Side.NO, [(4_500, 9_000)], [], FREE),
    ]
    got = step([have(0, 3, 100)], markets)
    assert [(order.listing, order.size_e2) for order in got.orders] == [(KALSHI, 300)]


def test_f47_what_is_not_final_is_never_sold() -> None:
    bids = [market(0, [], [(4_000, 9_000)]), market(1, [], [(4_000, 9_000)])]
    held = [have(0, 10, 4_000_000, final=False), have(1, 3, 1_000_000)]
    assert step(held, bids) == Step(StepKind.STUCK)
    final = [have(0, 10, 4_000_000), have(1, 3, 1_000_000)]
    assert step(final, bids).orders[0].size_e2 == 700

    def mistaken() -> int:
        """Sell the surplus, whatever the venue says about it."""
        _, low, high = balance(2, held)
        return (high - low) // CENT

    settled = sum(each.qty_e6 for each in held if each.proposition == 0 and each.final) // CENT
    assert mistaken() > settled == 0


def test_f47_only_the_final_part_of_a_surplus_is_sold() -> None:
    other = Held(1, POLY_2, Side.NO, 8_000_000, 100, False)
    bids = [market(1, [], [(4_000, 9_000)]), Market(1, POLY_2, Side.NO, [], [(9_000, 9_000)], FREE)]
    got = step([have(1, 6, 100), other], bids)
    assert [(order.listing, order.size_e2) for order in got.orders] == [(POLY, 600)]
    assert got.orders[0].cash_e6 == proceeds_e6(FREE, [(4_000, 600)])
