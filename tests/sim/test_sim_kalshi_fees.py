"""Fees of fills, against the worked table of kalshi.md section 4."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbpipe.sim.kalshi_fees import (
    DIRECT_GRID_E6,
    INTERMEDIARY_GRID_E6,
    FeeType,
    fill_fee,
    most_fee_e6,
    trade_fee_e6,
)

MAKER = FeeType.QUADRATIC_WITH_MAKER_FEES


@pytest.mark.parametrize(
    ("price_e4", "size_e2", "taker", "trade_e6", "net_e6"),
    [
        (5_200, 100, True, 17_472, 17_500),
        (9_900, 100, True, 693, 700),
        (1_700, 552, True, 54_522, 54_600),
        (1_600, 116, True, 10_914, 11_000),
        (5_000, 10_000, True, 1_750_000, 1_750_000),
        (5_500, 1_000, True, 173_250, 173_300),
        (6_700, 200, False, 7_739, 7_800),
        (1_200, 200, False, 3_696, 3_700),
        (1_230, 37, True, 2_794, 2_890),
    ],
)
def test_fees_are_those_of_the_worked_table(
    price_e4: int, size_e2: int, taker: bool, trade_e6: int, net_e6: int
) -> None:
    fee = trade_fee_e6(MAKER, 100, price_e4, size_e2, taker=taker)
    assert fee == trade_e6
    assert fill_fee(fee, -price_e4 * size_e2, 0).net_e6 == net_e6


def test_four_fills_of_one_order_cost_what_one_fill_of_four_costs() -> None:
    carried, fees = 0, []
    for _ in range(4):
        fee = fill_fee(trade_fee_e6(FeeType.QUADRATIC, 100, 5_200, 100, taker=True), -520_000, carried)
        carried = fee.carried_e6
        fees.append(fee.net_e6)
    assert fees == [17_500, 17_500, 17_500, 17_400]
    whole = fill_fee(trade_fee_e6(FeeType.QUADRATIC, 100, 5_200, 400, taker=True), -2_080_000, 0)
    assert sum(fees) == whole.net_e6


def test_an_account_that_is_not_direct_moves_in_cents() -> None:
    fee = trade_fee_e6(FeeType.QUADRATIC, 100, 550, 100, taker=True)
    assert (fee, fill_fee(fee, -55_000, 0, INTERMEDIARY_GRID_E6).net_e6) == (3_639, 5_000)


def test_makers_pay_nothing_a_quarter_or_half_of_the_takers_rate() -> None:
    fees = [trade_fee_e6(kind, 100, 5_000, 10_000, taker=False) for kind in FeeType]
    assert fees == [0, 437_500, 875_000]
    assert trade_fee_e6(FeeType.QUADRATIC, 50, 5_000, 10_000, taker=True) == 875_000


fills = st.lists(st.tuples(st.integers(1, 9_999), st.integers(1, 5_000)), min_size=1, max_size=12)


@given(fills, st.booleans())
def test_every_balance_is_on_the_grid_and_no_fee_is_negative(each: list[tuple[int, int]], buys: bool) -> None:
    carried = balance = 0
    for price_e4, size_e2 in each:
        revenue = -price_e4 * size_e2 if buys else price_e4 * size_e2
        fee = fill_fee(trade_fee_e6(FeeType.QUADRATIC, 100, price_e4, size_e2, taker=True), revenue, carried)
        carried = fee.carried_e6
        balance += revenue - fee.net_e6
        assert fee.net_e6 >= 0
        assert carried >= 0
        assert balance % DIRECT_GRID_E6 == 0


@given(fills)
def test_the_planning_bound_holds_for_any_split_at_the_limit_or_better(each: list[tuple[int, int]]) -> None:
    limit = max(price for price, _ in each)
    size = sum(size for _, size in each)
    carried = spent = 0
    for price_e4, size_e2 in each:
        fee = fill_fee(
            trade_fee_e6(FeeType.QUADRATIC, 100, price_e4, size_e2, taker=True), -price_e4 * size_e2, carried
        )
        carried = fee.carried_e6
        spent += fee.net_e6
    assert spent <= most_fee_e6(FeeType.QUADRATIC, 100, limit, size, len(each))


def test_a_grid_step_that_is_larger_than_the_fee_is_never_paid_back() -> None:
    carried = 0
    for _ in range(5):
        fee = fill_fee(trade_fee_e6(FeeType.QUADRATIC, 100, 1, 1, taker=True), -1, carried)
        carried = fee.carried_e6
        assert fee.net_e6 == 99
