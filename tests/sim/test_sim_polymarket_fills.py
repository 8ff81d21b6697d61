"""Fees and dollars of fills: worked examples of the venue, and bounds over random orders."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from arbpipe.sim.polymarket_fills import fee_e6, fills_of, most_needed_e6
from arbpipe.sim.polymarket_orders import Terms


@pytest.mark.parametrize(
    ("rate_e4", "price_e4", "shares", "fee"),
    [
        (700, 5_000, 100, 1_750_000),
        (500, 5_000, 100, 1_250_000),
        (400, 5_000, 100, 1_000_000),
        (700, 3_800, 20, 329_840),
        (500, 1_000, 100, 450_000),
        # 0.087185 is a tie in the fifth decimal: up
        (700, 4_700, 5, 87_190),
        (0, 5_000, 100, 0),
    ],
)
def test_the_worked_examples(rate_e4: int, price_e4: int, shares: int, fee: int) -> None:
    assert fee_e6(rate_e4, price_e4, shares * 1_000_000) == fee


def test_a_fee_is_never_below_its_least_and_never_below_the_formula() -> None:
    rng = random.Random(1)
    assert fee_e6(300, 1, 1) == 10
    for _ in range(500):
        rate, price, qty = rng.choice((300, 400, 500, 700)), rng.randrange(1, 10_000), rng.randrange(1, 10**9)
        exact = Fraction(rate, 10**4) * Fraction(price, 10**4) * Fraction(10**4 - price, 10**4) * qty
        fee = fee_e6(rate, price, qty)
        assert fee % 10 == 0
        assert exact <= fee < exact + 10


def test_many_fills_round_the_dollars_once() -> None:
    parts = [(3_333, 1_000_001)] * 7
    bought = fills_of(parts, is_buy=True, rate_e4=0)
    assert sum(fill.cash_e6 for fill in bought) == -(-7 * 3_333 * 1_000_001 // 10_000)
    sold = fills_of(parts, is_buy=False, rate_e4=0)
    assert sum(fill.cash_e6 for fill in sold) == 7 * 3_333 * 1_000_001 // 10_000


def test_no_way_of_filling_costs_more_than_was_demanded() -> None:
    rng = random.Random(2)
    for _ in range(400):
        rate, limit = rng.choice((0, 300, 700)), rng.randrange(200, 9_900)
        asks = sorted((rng.randrange(100, limit + 1), rng.randrange(1, 50_000_000)) for _ in range(rng.randrange(1, 5)))
        in_dollars = rng.random() < 0.5
        cash = rng.randrange(1, 500) * 10_000
        terms = Terms(limit, rng.randrange(1, 10_000) * 10_000, cash if in_dollars else None)
        parts, left_qty, left_cash = [], terms.qty_e6, cash * 10_000
        for price, offered in asks:
            qty = min(offered, left_cash // price) if in_dollars else min(offered, left_qty)
            if qty:
                parts.append((price, qty))
            left_qty, left_cash = left_qty - qty, left_cash - qty * price
        paid = sum(fill.cash_e6 + fill.fee_e6 for fill in fills_of(parts, is_buy=True, rate_e4=rate))
        assert paid <= most_needed_e6(terms, rate, asks)
