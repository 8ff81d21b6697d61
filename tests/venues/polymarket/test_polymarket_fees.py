"""Worked Polymarket fees come out to the digit; what is unknown is None."""

from __future__ import annotations

import pytest

from arbpipe.feemodel import FeeTerms, cost_e6, fee_e6
from arbpipe.venues.polymarket.fees import taker_terms


def terms(rate: str, exponent: int | str = 1) -> FeeTerms:
    found = taker_terms(rate, exponent)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("rate", "price_e4", "size_e2", "expected"),
    [
        ("0.07", 5_000, 10_000, 1_750_000),
        ("0.05", 5_000, 10_000, 1_250_000),
        ("0.04", 5_000, 10_000, 1_000_000),
        ("0.07", 3_800, 2_000, 329_840),
        ("0.07", 4_700, 500, 87_190),  # 0.087185, a tie at five decimals: up is against us
        ("0.05", 1_000, 10_000, 450_000),
        ("0.07", 10, 1, 10),  # never below 0.00001
    ],
)
def test_worked_fees_come_out_to_the_digit(rate: str, price_e4: int, size_e2: int, expected: int) -> None:
    assert fee_e6(terms(rate), price_e4, size_e2) == expected
    assert cost_e6(terms(rate), [(price_e4, size_e2)]) == price_e4 * size_e2 + expected


def test_the_old_crypto_formula_has_exponent_two() -> None:
    assert fee_e6(terms("0.25", "2"), 5_000, 10_000) == 1_562_500


def test_a_rate_of_zero_is_a_real_zero() -> None:
    assert fee_e6(terms("0"), 5_000, 10_000) == 0


@pytest.mark.parametrize(
    ("rate", "exponent"),
    [
        ("1000", 1),
        ("", 1),
        ("-0.05", 1),
        ("5e-2", 1),
        ("0.0500001", 1),
        ("0.05", 0),
        ("0.05", 5),
        ("0.05", "1.5"),
        ("0.05", ""),
        ("0.05", True),
    ],
)
def test_a_rate_or_exponent_out_of_range_is_unknown(rate: str, exponent: int | str) -> None:
    assert taker_terms(rate, exponent) is None


@pytest.mark.parametrize("rate", ["", "n/a", "1000", "-0.05"])
def test_f32_an_unknown_fee_is_none_and_never_zero(rate: str) -> None:
    def wrong(rate_text: str) -> int:
        try:
            return fee_e6(FeeTerms(round(float(rate_text) * 1e6), 1, 10, 1), 5_000, 10_000)
        except ValueError:
            return 0

    assert wrong("0.05") == fee_e6(terms("0.05"), 5_000, 10_000)
    assert taker_terms(rate, 1) is None
    assert wrong(rate) == 0  # the mistake trades it as free


def test_f30_polymarket_is_neither_free_nor_two_percent() -> None:
    def wrong_free(price_e4: int, size_e2: int) -> int:
        return 0

    def wrong_two_percent(price_e4: int, size_e2: int) -> int:
        return price_e4 * size_e2 // 50

    right = fee_e6(terms("0.05"), 5_000, 10_000)
    assert right == 1_250_000
    assert wrong_free(5_000, 10_000) < right
    assert wrong_two_percent(5_000, 10_000) < right
