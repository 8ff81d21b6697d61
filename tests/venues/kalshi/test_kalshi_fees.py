"""Recorded Kalshi fees are reproduced to the digit; what is unknown is None."""

from __future__ import annotations

import pytest

from arbpipe.feemodel import FeeTerms, cost_e6, fee_e6
from arbpipe.fixedpoint import ceil_to
from arbpipe.venues.kalshi.fees import taker_terms

MAKER = FeeTerms(rate_e6=17_500, exponent=1, quantum_e6=1, align_e6=100)


def terms(multiplier: str = "1", *, direct: bool = True) -> FeeTerms:
    found = taker_terms("quadratic", multiplier, direct=direct)
    assert found is not None
    return found


def net_fee_e6(of: FeeTerms, *fills: tuple[int, int]) -> int:
    return cost_e6(of, fills) - sum(price_e4 * size_e2 for price_e4, size_e2 in fills)


@pytest.mark.parametrize(
    ("price_e4", "size_e2", "trade_fee", "net_fee"),
    [
        (5200, 100, 17_472, 17_500),
        (9900, 100, 693, 700),
        (1700, 552, 54_522, 54_600),
        (8400, 116, 10_914, 11_000),
        (5000, 10_000, 1_750_000, 1_750_000),
        (5500, 1_000, 173_250, 173_300),
        (1230, 37, 2_794, 2_890),
    ],
)
def test_recorded_taker_fees_come_out_to_the_digit(price_e4: int, size_e2: int, trade_fee: int, net_fee: int) -> None:
    assert fee_e6(terms(), price_e4, size_e2) == trade_fee
    assert net_fee_e6(terms(), (price_e4, size_e2)) == net_fee


@pytest.mark.parametrize(
    ("price_e4", "size_e2", "trade_fee", "net_fee"), [(6700, 200, 7_739, 7_800), (1200, 200, 3_696, 3_700)]
)
def test_recorded_maker_fees_fit_the_same_formula(price_e4: int, size_e2: int, trade_fee: int, net_fee: int) -> None:
    assert (fee_e6(MAKER, price_e4, size_e2), net_fee_e6(MAKER, (price_e4, size_e2))) == (trade_fee, net_fee)


def test_four_fills_of_one_order_cost_what_one_fill_of_four_does() -> None:
    assert net_fee_e6(terms(), *[(5200, 100)] * 4) == net_fee_e6(terms(), (5200, 400)) == 69_900


def test_a_non_direct_member_pays_to_the_cent() -> None:
    assert net_fee_e6(terms(direct=False), (5500, 1_000)) == 180_000
    assert fee_e6(terms(direct=False), 550, 100) == 3_639
    assert net_fee_e6(terms(direct=False), (550, 100)) == 5_000


def test_the_multiplier_scales_the_rate_and_zero_is_a_real_zero() -> None:
    assert terms("0.5").rate_e6 == 35_000
    assert terms("0").rate_e6 == 0
    assert terms("0.333333").rate_e6 == 23_334  # rounded against us


@pytest.mark.parametrize("kind", ["quadratic", "quadratic_with_maker_fees", "quadratic_with_combo_maker_fees"])
def test_takers_pay_alike_under_every_known_type(kind: str) -> None:
    assert taker_terms(kind, "1") == FeeTerms(70_000, 1, 1, 100)


@pytest.mark.parametrize(
    ("kind", "multiplier"),
    [("quadratic", "-1"), ("quadratic", "11"), ("quadratic", ""), ("quadratic", "1e0"), ("quadratic", "0.00000001")],
)
def test_a_multiplier_out_of_range_is_unknown(kind: str, multiplier: str) -> None:
    assert taker_terms(kind, multiplier) is None


def test_f31_fees_are_per_order_and_neither_per_contract_nor_to_a_cent() -> None:
    def wrong_per_contract(price_e4: int, contracts: int) -> int:
        return contracts * net_fee_e6(terms(), (price_e4, 100))

    def wrong_to_a_cent(price_e4: int, contracts: int) -> int:
        return ceil_to(net_fee_e6(terms(), (price_e4, 100 * contracts)), 10_000)

    def wrong_charged_once(price_e4: int, contracts: int) -> int:
        return net_fee_e6(terms(), (price_e4, 100))

    right = net_fee_e6(terms(), (5200, 400))
    assert right == 69_900
    for wrong in (wrong_per_contract, wrong_to_a_cent, wrong_charged_once):
        assert wrong(5200, 4) != right
    halved = net_fee_e6(terms("0.5"), (5200, 400))
    assert halved < right  # ignoring the series' multiplier charges the wrong fee


def test_f32_an_unknown_fee_is_none_and_never_zero() -> None:
    def wrong(kind: str) -> FeeTerms:
        return {"quadratic": terms()}.get(kind, FeeTerms(0, 1, 1, 100))

    for kind in ("flat", "margin_market_maker_program_fees", "", "a type of tomorrow"):
        assert taker_terms(kind, "1") is None
        assert fee_e6(wrong(kind), 5000, 10_000) == 0  # the mistake trades it as free
