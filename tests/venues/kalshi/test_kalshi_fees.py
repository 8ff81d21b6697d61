"""Recorded Kalshi fees are reproduced to the digit; what is unknown is None; a plan is an upper bound or says by how much
it is not."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbpipe.feemodel import FeeTerms, cost_e6, fee_e6
from arbpipe.fixedpoint import ceil_to, format_usd, parse_money_e6, parse_price_e4, parse_size_e2
from arbpipe.venues.kalshi.fees import (
    FEE_TYPES,
    KalshiFee,
    OrderFees,
    balance_grid_e6,
    kalshi_fee,
    split_allowance_e6,
    taker_terms,
)

MAKERS_PAY = "quadratic_with_maker_fees"
MAKER_SHARE = {
    "quadratic": Fraction(0),
    "quadratic_with_maker_fees": Fraction(1, 4),
    "quadratic_with_combo_maker_fees": Fraction(1, 2),
}


def terms(multiplier: str = "1", *, direct: bool = True) -> FeeTerms:
    found = taker_terms("quadratic", multiplier, direct=direct)
    assert found is not None
    return found


def known(fee_type: str = MAKERS_PAY, multiplier: str = "1") -> KalshiFee:
    found = kalshi_fee(fee_type, multiplier)
    assert found is not None
    return found


def net_fee_e6(of: FeeTerms, *fills: tuple[int, int]) -> int:
    return cost_e6(of, fills) - sum(price_e4 * size_e2 for price_e4, size_e2 in fills)


class Published:
    """The rule in fractions of dollars, written from the venue's page "Fee Rounding" alone; no code of ours."""

    def __init__(self, fee_type: str, multiplier: Fraction, grid: Fraction) -> None:
        self.share, self.multiplier, self.grid = MAKER_SHARE[fee_type], multiplier, grid
        self.accumulator = Fraction(0)

    def model(self, price: Fraction, count: Fraction, taker: bool) -> Fraction:
        rate = Fraction("0.07") * (1 if taker else self.share)
        return self.multiplier * rate * count * price * (1 - price)

    def fill(self, price: Fraction, count: Fraction, taker: bool, buys: bool) -> Fraction:
        micro = Fraction(1, 1_000_000)
        revenue = -price * count if buys else price * count
        trade_fee = math.ceil(self.model(price, count, taker) / micro) * micro
        aligned_change = math.floor((revenue - trade_fee) / self.grid) * self.grid
        rounding_fee = (revenue - trade_fee) - aligned_change
        self.accumulator += rounding_fee
        rebate = Fraction(0)
        while self.accumulator >= self.grid and trade_fee + rounding_fee - rebate >= self.grid:
            rebate += self.grid
            self.accumulator -= self.grid
        return trade_fee + rounding_fee - rebate


#: kalshi.md section 4: (price, count, taker, trade fee, net fee); the first six were recorded on real accounts.
WORKED = [
    ("0.52", "1", True, "0.017472", "0.0175"),
    ("0.99", "1", True, "0.000693", "0.0007"),
    ("0.17", "5.52", True, "0.054522", "0.0546"),
    ("0.84", "1.16", True, "0.010914", "0.0110"),
    ("0.67", "2", False, "0.007739", "0.0078"),
    ("0.12", "2", False, "0.003696", "0.0037"),
    ("0.50", "100", True, "1.75", "1.7500"),
    ("0.55", "10", True, "0.17325", "0.1733"),
    ("0.123", "0.37", True, "0.002794", "0.002890"),
]


@pytest.mark.parametrize(("price", "count", "taker", "trade_fee", "net_fee"), WORKED)
def test_the_recorded_and_the_worked_fees_come_out_to_the_digit(
    price: str, count: str, taker: bool, trade_fee: str, net_fee: str
) -> None:
    price_e4, size_e2 = parse_price_e4(price), parse_size_e2(count)
    paid = OrderFees(known()).fill(price_e4, size_e2, taker=taker)
    assert (paid.trade_e6, paid.net_e6) == (parse_money_e6(trade_fee), parse_money_e6(net_fee))
    published = Published(MAKERS_PAY, Fraction(1), Fraction("0.0001"))
    assert published.fill(Fraction(price), Fraction(count), taker, True) == Fraction(net_fee)
    if taker:
        assert fee_e6(terms(), price_e4, size_e2) == paid.trade_e6
        assert net_fee_e6(terms(), (price_e4, size_e2)) == paid.net_e6


def test_the_model_fee_is_shown_unrounded() -> None:
    assert known().model_fee_usd(1_700, 552) == "0.05452104"
    assert known().model_fee_usd(6_700, 200, taker=False) == "0.0077385"
    assert known().model_fee_usd(5_000, 10_000) == "1.750000"


def test_the_fees_of_the_recorded_fills_are_those_that_the_rule_gives(recordings: Path) -> None:
    """Every fill of the recordings was its order's only one."""
    seen = set()
    listed = json.loads((recordings / "kalshi/rest_demo_2026-06-11/fills__after_taker.json").read_text())["fills"]
    for fill in listed:
        price = fill["yes_price_dollars" if fill["outcome_side"] == "yes" else "no_price_dollars"]
        paid = OrderFees(known()).fill(
            parse_price_e4(price), parse_size_e2(fill["count_fp"]), taker=bool(fill["is_taker"])
        )
        assert format_usd(paid.net_e6) == fill["fee_cost"]
        seen.add(fill["order_id"])
    assert len(seen) == len(listed) == 3
    session = (recordings / "kalshi/ws_session_demo_2026-07-01.jsonl").read_text().splitlines()
    frames = [json.loads(line) for line in session if '"fill"' in line]
    fills = [frame["msg"] for frame in frames if frame.get("type") == "fill"]
    assert len({fill["order_id"] for fill in fills}) == len(fills) == 2
    for fill in fills:
        paid = [
            OrderFees(known(kind)).fill(
                parse_price_e4(fill["yes_price_dollars"]), parse_size_e2(fill["count_fp"]), taker=fill["is_taker"]
            )
            for kind in FEE_TYPES
        ]
        assert parse_money_e6(fill["fee_cost"]) in [each.net_e6 for each in paid]


def test_four_fills_of_one_order_cost_what_one_fill_of_four_does() -> None:
    order = OrderFees(known())
    assert [order.fill(5_200, 100).net_e6 for _ in range(4)] == [17_500, 17_500, 17_500, 17_400]
    assert OrderFees(known()).fill(5_200, 400).net_e6 == 69_900
    assert net_fee_e6(terms(), *[(5200, 100)] * 4) == net_fee_e6(terms(), (5200, 400)) == 69_900


def test_the_accumulator_is_carried_from_taking_to_resting() -> None:
    order = OrderFees(known())
    assert order.fill(5_200, 100).rounding_e6 == order.carried_e6 == 28
    paid = order.fill(6_700, 200, taker=False)
    assert (paid.rounding_e6, order.carried_e6) == (61, 89)
    assert order.fill(5_200, 100).rebate_e6 == 100
    assert order.carried_e6 == 17


def test_rounding_that_comes_to_exactly_one_step_is_paid_back() -> None:
    order = OrderFees(known("quadratic", "0"))
    paid = [order.fill(5_005, 10).net_e6 for _ in range(2)]
    assert (paid, order.carried_e6) == ([50, 50], 100)  # a fee below a step cannot pay a step back
    assert (order.fill(5_005, 10).net_e6, order.carried_e6) == (50, 150)
    order = OrderFees(known("quadratic", "1"))
    order.carried_e6 = 72
    assert (order.fill(5_200, 100).rebate_e6, order.carried_e6) == (100, 0)


def test_a_non_direct_member_pays_to_the_cent() -> None:
    assert OrderFees(known(), direct=False).fill(5_500, 1_000).net_e6 == 180_000
    paid = OrderFees(known(), direct=False).fill(550, 100)
    assert (paid.trade_e6, paid.rounding_e6, paid.net_e6) == (3_639, 1_361, 5_000)
    assert net_fee_e6(terms(direct=False), (5500, 1_000)) == 180_000
    assert net_fee_e6(terms(direct=False), (550, 100)) == 5_000


def test_makers_pay_nothing_a_quarter_or_half_of_what_takers_pay() -> None:
    fees = [known(kind).trade_fee_e6(5_000, 10_000, taker=False) for kind in FEE_TYPES]
    assert fees == [0, 437_500, 875_000]
    assert {known(kind).trade_fee_e6(5_000, 10_000) for kind in FEE_TYPES} == {1_750_000}


@pytest.mark.parametrize(("price_e4", "size_e2"), [(-1, 100), (10_001, 100), (5_000, 0), (5_000, -1)])
def test_a_fill_that_cannot_be_is_an_error(price_e4: int, size_e2: int) -> None:
    with pytest.raises(ValueError, match=r"price_e4|size_e2"):
        OrderFees(known()).fill(price_e4, size_e2)


prices = st.integers(1, 9_999)
cents = st.integers(1, 99).map(lambda cent: 100 * cent)
sizes = st.one_of(st.integers(1, 300), st.integers(1, 500_000))
multipliers = st.sampled_from(["1", "0.5", "0", "0.333333", "2", "1.000001"])


@given(
    st.lists(st.tuples(prices, sizes, st.booleans(), st.booleans()), min_size=1, max_size=12),
    st.sampled_from(FEE_TYPES),
    multipliers,
    st.booleans(),
)
def test_any_order_costs_what_the_published_rule_says(
    fills: list[tuple[int, int, bool, bool]], fee_type: str, multiplier: str, direct: bool
) -> None:
    ours = OrderFees(known(fee_type, multiplier), direct=direct)
    grid = Fraction(balance_grid_e6(direct=direct), 1_000_000)
    theirs = Published(fee_type, Fraction(multiplier), grid)
    balance = Fraction(0)
    for price_e4, size_e2, taker, buys in fills:
        price, count = Fraction(price_e4, 10_000), Fraction(size_e2, 100)
        paid = ours.fill(price_e4, size_e2, taker=taker, buys=buys)
        assert Fraction(paid.net_e6, 1_000_000) == theirs.fill(price, count, taker, buys) >= 0
        assert Fraction(ours.carried_e6, 1_000_000) == theirs.accumulator
        assert Fraction(ours._fee.model_fee_usd(price_e4, size_e2, taker=taker)) == theirs.model(price, count, taker)
        balance += (-1 if buys else 1) * price * count - Fraction(paid.net_e6, 1_000_000)
        assert balance % grid == 0


# -- what is planned against what is charged -----------------------------------------------------------------------------


def charged_e6(multiplier: str, direct: bool, fills: list[tuple[int, int]]) -> int:
    order = OrderFees(known("quadratic", multiplier), direct=direct)
    return sum(price_e4 * size_e2 + order.fill(price_e4, size_e2).net_e6 for price_e4, size_e2 in fills)


@st.composite
def cut_levels(draw: st.DrawFn, price: st.SearchStrategy[int]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Levels of a book, and the pieces in which an order takes them."""
    levels = draw(st.lists(st.tuples(price, sizes), min_size=1, max_size=4))
    pieces = []
    for price_e4, size_e2 in levels:
        cuts = sorted(draw(st.sets(st.integers(1, max(size_e2 - 1, 1)), max_size=min(6, size_e2 - 1))))
        pieces += [(price_e4, end - start) for start, end in zip([0, *cuts], [*cuts, size_e2], strict=True)]
    return levels, pieces


@given(cut_levels(prices), multipliers, st.booleans())
def test_the_plan_and_its_allowance_are_never_below_what_any_split_of_the_order_costs(
    cut: tuple[list[tuple[int, int]], list[tuple[int, int]]], multiplier: str, direct: bool
) -> None:
    levels, pieces = cut
    plan = terms(multiplier, direct=direct)
    planned = cost_e6(plan, levels) + split_allowance_e6(plan, levels, len(pieces))
    assert planned >= charged_e6(multiplier, direct, pieces)


@given(cut_levels(cents), multipliers)
def test_at_whole_cents_a_split_adds_a_micro_dollar_a_piece_at_most(
    cut: tuple[list[tuple[int, int]], list[tuple[int, int]]], multiplier: str
) -> None:
    levels, pieces = cut
    plan = terms(multiplier)
    allowance = split_allowance_e6(plan, levels, len(pieces))
    assert allowance == ceil_to(len(pieces) - len(levels), 100)
    assert cost_e6(plan, levels) + allowance >= charged_e6(multiplier, True, pieces)
    if len(pieces) == len(levels):
        assert allowance == 0


@given(st.lists(st.tuples(cents, sizes), min_size=1, max_size=8), multipliers)
def test_the_plan_of_the_fills_themselves_is_never_too_low_and_hardly_too_high(
    fills: list[tuple[int, int]], multiplier: str
) -> None:
    planned = cost_e6(terms(multiplier), fills)
    charged = charged_e6(multiplier, True, fills)
    assert planned >= charged
    own_rounding = sum(size_e2 for _, size_e2 in fills) // 400 + 1 + len(fills)
    assert planned - charged <= ceil_to(own_rounding, 100)
    if multiplier in ("1", "0.5", "0", "2"):
        assert planned == charged


def test_the_plan_alone_is_too_low_for_an_order_that_fills_in_many_pieces() -> None:
    """Why the allowance exists: the bound without it fails here."""
    levels, pieces = [(5_200, 4)], [(5_200, 1)] * 4
    assert charged_e6("1", True, pieces) == cost_e6(terms(), levels) == 21_500
    dust = [(1, 1)] * 5  # a step of the balance's grid is larger than the fee, so nothing is ever paid back
    assert charged_e6("1", True, dust) == 500
    assert cost_e6(terms(), [(1, 5)]) == 100
    assert cost_e6(terms(), [(1, 5)]) + split_allowance_e6(terms(), [(1, 5)], 5) >= 500
    with pytest.raises(ValueError, match="1 fills cannot take 2 levels"):
        split_allowance_e6(terms(), [(5_200, 1), (5_300, 1)], 1)


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
    """F31; the right fee is the accumulator's, over four fills of one contract."""

    def wrong_per_contract(price_e4: int, contracts: int) -> int:
        return contracts * net_fee_e6(terms(), (price_e4, 100))

    def wrong_to_a_cent(price_e4: int, contracts: int) -> int:
        return ceil_to(net_fee_e6(terms(), (price_e4, 100 * contracts)), 10_000)

    def wrong_charged_once(price_e4: int, contracts: int) -> int:
        return net_fee_e6(terms(), (price_e4, 100))

    order = OrderFees(known())
    right = sum(order.fill(5_200, 100).net_e6 for _ in range(4))
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
        assert kalshi_fee(kind, "1") is None
        assert fee_e6(wrong(kind), 5000, 10_000) == 0  # the mistake trades it as free
