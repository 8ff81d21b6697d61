"""Costs are never below the exact value, and above it by no more than the documented rounding."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arbpipe.feemodel import MAX_EXPONENT, FeeTerms, average_cost_e6, cost_e6, fee_e6, proceeds_e6
from arbpipe.venues.polymarket.fees import taker_terms

Fills = list[tuple[int, int]]

terms = st.builds(
    FeeTerms,
    rate_e6=st.one_of(st.sampled_from((0, 50_000, 70_000, 1_000_000)), st.integers(0, 1_000_000)),
    exponent=st.integers(1, MAX_EXPONENT),
    quantum_e6=st.sampled_from((1, 10, 100, 10_000)),
    align_e6=st.sampled_from((1, 100, 10_000)),
)
prices = st.integers(0, 10_000)
sizes = st.integers(1, 1_000_000)
fills = st.lists(st.tuples(prices, sizes), max_size=8)


def exact_fee(fee: FeeTerms, price_e4: int, size_e2: int) -> Fraction:
    """The formula in dollars: rate · contracts · (p · (1 − p))^exponent."""
    p = Fraction(price_e4, 10_000)
    return Fraction(fee.rate_e6, 10**6) * Fraction(size_e2, 100) * (p * (1 - p)) ** fee.exponent


def exact_price(levels: Fills) -> Fraction:
    return sum((Fraction(price, 10_000) * Fraction(size, 100) for price, size in levels), Fraction())


@given(terms, prices, sizes)
def test_a_fee_is_the_exact_fee_rounded_up_to_its_quantum(fee: FeeTerms, price: int, size: int) -> None:
    exact = exact_fee(fee, price, size) * 10**6
    charged = fee_e6(fee, price, size)
    assert charged % fee.quantum_e6 == 0
    assert exact <= charged < exact + fee.quantum_e6
    assert charged == fee_e6(fee, 10_000 - price, size)


@given(terms, fills)
def test_a_cost_is_never_below_the_exact_one_nor_above_its_rounding(fee: FeeTerms, levels: Fills) -> None:
    exact = (exact_price(levels) + sum(exact_fee(fee, *level) for level in levels)) * 10**6
    cost = cost_e6(fee, levels)
    assert cost % fee.align_e6 == 0
    assert exact <= cost < exact + len(levels) * fee.quantum_e6 + fee.align_e6
    # one quantum a fill and one alignment an order, and not one more
    assert cost == -(-sum(price * size + fee_e6(fee, price, size) for price, size in levels) // fee.align_e6) * (
        fee.align_e6
    )


@given(terms, fills)
def test_proceeds_are_never_above_the_exact_ones(fee: FeeTerms, levels: Fills) -> None:
    exact = (exact_price(levels) - sum(exact_fee(fee, *level) for level in levels)) * 10**6
    proceeds = proceeds_e6(fee, levels)
    assert proceeds % fee.align_e6 == 0
    assert exact - len(levels) * fee.quantum_e6 - fee.align_e6 < proceeds <= exact


def taken(levels: Fills, size_e2: int) -> Fills | None:
    """The fills of one order of ``size_e2``, best level first."""
    found, left = [], size_e2
    for price, size in levels:
        if left:
            found.append((price, min(size, left)))
            left -= min(size, left)
    return None if left else found


books = st.lists(st.tuples(st.integers(1, 9_999), st.integers(1, 500)), min_size=1, max_size=6).map(sorted)


@given(terms, books, st.integers(1, 600), st.integers(0, 1_500))
@example(FeeTerms(1_000_000, 1, 1, 1), [(9_998, 100), (9_999, 100)], 100, 100)
def test_the_average_cost_is_a_lower_bound_for_every_larger_size(
    fee: FeeTerms, levels: Fills, least: int, more: int
) -> None:
    bound = average_cost_e6(fee, levels, least)
    at_least = taken(levels, least)
    assert (bound is None) == (at_least is None)
    if bound is None or at_least is None:
        return
    exact = (exact_price(at_least) + sum(exact_fee(fee, *fill) for fill in at_least)) * 10**8 / least
    assert exact - 1 < bound <= exact
    larger = taken(levels, least + more)
    if larger is not None:
        assert bound * (least + more) <= 100 * cost_e6(fee, larger)


def test_a_book_that_is_too_thin_has_no_average_cost() -> None:
    fee = FeeTerms(70_000, 1, 1, 100)
    assert average_cost_e6(fee, [(5_000, 99)], 100) is None
    assert average_cost_e6(fee, [], 1) is None
    assert average_cost_e6(fee, [(5_000, 100)], 100) == 517_500


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-1, 1, 1, 1), "fee rate"),
        ((1_000_001, 1, 1, 1), "fee rate 1.000001 is outside"),
        ((0, 0, 1, 1), "fee exponent 0 is outside 1 … 4"),
        ((0, 5, 1, 1), "fee exponent 5"),
        ((0, 1, 0, 1), "fee rounding 0/1"),
        ((0, 1, 1, 0), "fee rounding 1/0"),
    ],
)
def test_terms_outside_their_range_are_refused(values: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeeTerms(*values)


def test_polymarkets_fee_is_neither_free_nor_two_percent() -> None:
    fee = taker_terms("0.05", 1)
    assert fee is not None
    cost = cost_e6(fee, [(4_000, 10_000)])
    assert cost == 40_000_000 + 1_200_000  # 100 contracts at 0.40: 0.05 · 100 · 0.24 dollars
    assert cost not in (40_000_000, 40_800_000)  # the mistakes: no fee at all, and 2 % of the price
