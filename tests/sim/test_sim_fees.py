from __future__ import annotations

import pytest

from arbpipe.sim.fees import KALSHI_RATES_E4, POLYMARKET_RATES_E4, cost_e12, fee_e12


@pytest.mark.parametrize(
    ("rate_e4", "price_e4", "contracts", "dollars_e6"),
    [
        (700, 5_200, 1, 17_472),  # kalshi.md section 4, recorded
        (700, 9_900, 1, 693),
        (700, 5_000, 100, 1_750_000),
        (700, 5_500, 10, 173_250),
        (500, 5_000, 100, 1_250_000),  # polymarket.md section 5
        (400, 5_000, 100, 1_000_000),
        (700, 3_800, 20, 329_840),
        (500, 1_000, 100, 450_000),
    ],
)
def test_fees_are_those_of_the_venues_worked_examples(
    rate_e4: int, price_e4: int, contracts: int, dollars_e6: int
) -> None:
    assert fee_e12(rate_e4, price_e4) * contracts == dollars_e6 * 10**6


def test_a_fee_is_the_same_for_a_price_and_its_complement() -> None:
    assert all(fee_e12(350, price) == fee_e12(350, 10_000 - price) for price in range(0, 10_001, 37))


def test_cost_is_price_plus_fee() -> None:
    assert cost_e12(500, 1_000) == 104_500_000_000


def test_rates_equal_the_texts_that_name_them() -> None:
    assert all(round(float(text) * 700) == rate for text, rate in KALSHI_RATES_E4.items())
    assert all(round(float(text) * 10_000) == rate for text, rate in POLYMARKET_RATES_E4.items())
