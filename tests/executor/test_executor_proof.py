"""The second proof against an enumeration in fractions that shares nothing with it."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbpipe.executor.proof import Holding, Payoffs, Proof, prove_basket, worst_loss_e6

DOLLAR = 1_000_000
least = st.one_of(st.just(0), st.just(DOLLAR), st.integers(0, DOLLAR))


@st.composite
def baskets(draw: st.DrawFn, most: int = 8) -> tuple[list[Holding], Payoffs, int]:
    """2 to ``most`` legs with sizes of their own, some regular states, perhaps tails."""
    regular, tails = draw(st.integers(1, 4)), draw(st.integers(0, 2))
    row = st.lists(least, min_size=regular + tails, max_size=regular + tails)
    basket, payoffs = [], {}
    for claim in range(draw(st.integers(2, most))):
        pays = draw(row)
        payoffs[claim] = (pays, [DOLLAR] * len(pays))
        basket.append(Holding(claim, draw(st.integers(1, 100_000)), draw(st.integers(0, 10**9))))
    return basket, payoffs, regular


def dollars(basket: list[Holding], payoffs: Payoffs, state: int) -> Fraction:
    """What the basket pays in one state, in micro-dollars, exact."""
    return sum((Fraction(each.size_e2, 100) * payoffs[each.claim][0][state] for each in basket), Fraction(0))


@given(baskets(), st.integers(1, 7), st.integers(1, 100_000))
def test_a_basket_pays_exactly_when_every_regular_state_pays_k_dollars_a_set(
    made: tuple[list[Holding], Payoffs, int], k: int, size: int
) -> None:
    basket, payoffs, regular = made
    states = [dollars(basket, payoffs, state) for state in range(len(payoffs[0][0]))]
    proof = prove_basket(k, size, basket, payoffs, regular)
    assert proof.pays == all(state >= Fraction(k * size, 100) * DOLLAR for state in states[:regular])
    assert proof.worst_regular_e6 <= min(states[:regular]) < proof.worst_regular_e6 + 1
    floor = min(states[regular:] or states[:regular])
    assert proof.floor_e6 <= floor < proof.floor_e6 + 1


@given(baskets(6), st.lists(st.fractions(0, 1), min_size=6, max_size=6))
def test_the_hard_bound_is_the_worst_corner_and_no_partial_fill_is_worse(
    made: tuple[list[Holding], Payoffs, int], parts: list[Fraction]
) -> None:
    basket, payoffs, regular = made

    def loss(filled: tuple[Fraction, ...], state: int) -> Fraction:
        return sum(
            (
                part * (each.cost_e6 - Fraction(each.size_e2, 100) * payoffs[each.claim][0][state])
                for part, each in zip(filled, basket, strict=False)
            ),
            Fraction(0),
        )

    corners = product((Fraction(0), Fraction(1)), repeat=len(basket))
    worst = max(loss(corner, state) for corner in corners for state in range(regular))
    bound = worst_loss_e6(basket, payoffs, regular)
    assert worst <= bound < worst + 1
    assert all(loss(tuple(parts), state) <= bound for state in range(regular))


def test_the_hard_bound_of_forty_legs_is_exact_and_needs_no_enumeration() -> None:
    # each state is paid by one leg; the rest are what they cost: 2^40 corners could not be tried
    legs = 40
    payoffs = {n: ([DOLLAR * (n == state) for state in range(legs)], [DOLLAR] * legs) for n in range(legs)}
    basket = [Holding(n, 100 + n, 10_000 + n) for n in range(legs)]
    costs = [each.cost_e6 for each in basket]
    assert worst_loss_e6(basket, payoffs, legs) == sum(costs) - min(costs)
    assert worst_loss_e6(basket, payoffs, 1) == sum(costs) - costs[0]


def test_a_leg_that_pays_more_than_it_costs_makes_up_for_no_other_that_may_not_be_filled_with_it() -> None:
    payoffs = {0: ([DOLLAR], [DOLLAR]), 1: ([0], [0])}
    basket = [Holding(0, 1_000, 4_000_000), Holding(1, 1_000, 5_500_000)]
    assert worst_loss_e6(basket, payoffs, 1) == 5_500_000

    mistaken = sum(each.cost_e6 - each.size_e2 * payoffs[each.claim][0][0] // 100 for each in basket)  # all filled
    assert mistaken < 0


def test_a_part_of_a_micro_dollar_is_a_loss() -> None:
    assert worst_loss_e6([Holding(0, 1, 1)], {0: ([1], [1])}, 1) == 1


def test_two_claims_of_one_proposition_add_up_to_one_leg() -> None:
    payoffs = {0: ([DOLLAR, 0], [DOLLAR, 0]), 1: ([DOLLAR, 0], [DOLLAR, 0]), 2: ([0, DOLLAR], [0, DOLLAR])}
    basket = [Holding(0, 300, 1), Holding(1, 700, 1), Holding(2, 1_000, 1)]
    assert prove_basket(1, 1_000, basket, payoffs, 2) == Proof(True, 10 * DOLLAR, 10 * DOLLAR)
    short = [Holding(0, 300, 1), Holding(1, 699, 1), Holding(2, 1_000, 1)]
    assert not prove_basket(1, 1_000, short, payoffs, 2).pays


def test_tails_set_the_floor_and_not_whether_it_pays() -> None:
    payoffs = {0: ([DOLLAR, 0, 500_000, 0], [0] * 4), 1: ([0, DOLLAR, 500_000, 250_000], [0] * 4)}
    basket = [Holding(0, 1_000, 1), Holding(1, 1_000, 1)]
    assert prove_basket(1, 1_000, basket, payoffs, 2) == Proof(True, 2_500_000, 10 * DOLLAR)


def test_a_claim_that_does_not_pay_where_the_cover_says_is_refused() -> None:
    # YES here and YES there: the second leg was meant to be NO
    payoffs = {0: ([DOLLAR, 0], [DOLLAR, 0]), 2: ([DOLLAR, 0], [DOLLAR, 0]), 3: ([0, DOLLAR], [0, DOLLAR])}
    right = [Holding(0, 1_000, 1), Holding(3, 1_000, 1)]
    wrong = [Holding(0, 1_000, 1), Holding(2, 1_000, 1)]
    assert prove_basket(1, 1_000, right, payoffs, 2).pays
    assert prove_basket(1, 1_000, wrong, payoffs, 2) == Proof(False, 0, 0)


@pytest.mark.parametrize(
    ("basket", "regular"), [([], 1), ([Holding(0, 100, 1), Holding(9, 100, 1)], 1), ([Holding(0, 100, 1)], 0)]
)
def test_what_is_not_known_proves_nothing(basket: list[Holding], regular: int) -> None:
    assert prove_basket(1, 100, basket, {0: ([DOLLAR], [DOLLAR])}, regular) == Proof(False, 0, 0)


def test_a_tail_counts_only_for_a_basket_that_holds_a_claim_it_touches() -> None:
    payoffs = {
        0: ([1_000_000, 0, -1], [1_000_000, 0, -1]),
        1: ([0, 1_000_000, -1], [0, 1_000_000, -1]),
        2: ([1_000_000, 0, 0], [1_000_000, 0, 1_000_000]),
    }
    untouched = prove_basket(1, 100, [Holding(0, 100, 480_000), Holding(1, 100, 480_000)], payoffs, 2)
    assert (untouched.pays, untouched.floor_e6) == (True, 1_000_000)
    touched = prove_basket(1, 100, [Holding(2, 100, 480_000), Holding(1, 100, 480_000)], payoffs, 2)
    assert (touched.pays, touched.floor_e6) == (True, 0)
