"""Text becomes a number exactly or not at all: checked against :mod:`decimal`."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_FLOOR, Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbpipe.fixedpoint import (
    MAX_SIZE_E2,
    FixedPointError,
    ceil_div,
    ceil_to,
    floor_to,
    format_price,
    format_scaled,
    format_size,
    format_usd,
    parse_book_size_e2,
    parse_money_e6,
    parse_price_e4,
    parse_qty_e6,
    parse_scaled,
    parse_size_e2,
)

EXACT = Context(prec=100)
NOT_NUMBERS = (
    *("", "-", ".", "-.", "+1", "+0.5", "--1", "1-", "1e3", "1E-2", "1.2.3", "1,5", "1_000", "0x10", "NaN", "inf"),
    *(" 1", "1 ", "1\n", "\t1", "1. 5", "\N{NO-BREAK SPACE}1", "٣", "1.٣", "²", "１", "½", "1\0"),
)

wholes = st.integers(min_value=0, max_value=10**20)
signs = st.sampled_from(("", "-"))


@st.composite
def plain_texts(draw: st.DrawFn) -> str:
    whole = draw(st.one_of(st.just(""), wholes.map(str), wholes.map(lambda n: f"00{n}")))
    fraction = draw(st.text("0123456789", max_size=12))
    dot = "." if fraction or not whole else draw(st.sampled_from(("", ".")))
    return draw(signs) + (whole or ("" if fraction else "0")) + dot + fraction


@given(plain_texts(), st.integers(0, 8))
def test_a_parsed_text_is_exactly_the_decimal_or_is_refused(text: str, decimals: int) -> None:
    wanted = EXACT.scaleb(Decimal(text), decimals)
    if wanted == EXACT.to_integral_value(wanted):
        assert parse_scaled(text, decimals) == int(wanted)
    else:
        with pytest.raises(FixedPointError, match=f"more than {decimals} decimals"):
            parse_scaled(text, decimals)


@given(plain_texts(), st.integers(0, 8))
def test_flooring_goes_towards_minus_infinity(text: str, decimals: int) -> None:
    wanted = EXACT.scaleb(Decimal(text), decimals).to_integral_value(ROUND_FLOOR)
    assert parse_scaled(text, decimals, floor=True) == int(wanted)


def test_a_negative_surplus_is_floored_away_from_zero() -> None:
    assert parse_scaled("-0.001", 2, floor=True) == -1
    assert parse_scaled("-1.239", 2, floor=True) == -124
    assert parse_scaled("-1.230", 2, floor=True) == -123
    assert parse_scaled("1.239", 2, floor=True) == 123
    assert parse_scaled("-0.000", 2, floor=True) == 0


@given(st.integers(-(10**18), 10**18), st.integers(0, 9))
def test_formatting_is_the_inverse_of_parsing(value: int, decimals: int) -> None:
    text = format_scaled(value, decimals)
    assert parse_scaled(text, decimals) == value
    assert Decimal(text) == EXACT.scaleb(Decimal(value), -decimals)
    assert len(text.partition(".")[2]) == decimals


@pytest.mark.parametrize("text", NOT_NUMBERS)
@pytest.mark.parametrize(
    "parse", [parse_price_e4, parse_size_e2, parse_book_size_e2, parse_money_e6, parse_qty_e6], ids=lambda f: f.__name__
)
def test_what_is_no_plain_decimal_is_refused(parse: Callable[[str], int], text: str) -> None:
    with pytest.raises(FixedPointError, match="is not a decimal number"):
        parse(text)


def test_a_number_of_more_than_40_characters_is_refused() -> None:
    assert parse_scaled("1" * 40, 0) == int("1" * 40)
    assert parse_scaled("-" + "1" * 40, 0) == -int("1" * 40)
    for text in ("1" * 41, "0." + "0" * 39, "-" + "1" * 41, "1" * 100_000):
        with pytest.raises(FixedPointError, match="characters is refused"):
            parse_scaled(text, 2)


def test_the_message_names_the_value_and_the_unit() -> None:
    with pytest.raises(FixedPointError, match=r"'0\.12345' has more than 4 decimals \(a price in dollars expected\)"):
        parse_price_e4("0.12345")
    with pytest.raises(FixedPointError, match=r"'x' is not a decimal number \(a size in contracts expected\)"):
        parse_size_e2("x")


def test_a_price_lies_on_the_grid_between_0_and_1_inclusive() -> None:
    assert [parse_price_e4(text) for text in ("0", "0.504", "1", "1.0000", ".5", "0.00010")] == [
        *(0, 5_040, 10_000, 10_000, 5_000, 1),
    ]
    for text in ("1.0001", "-0.0001", "2"):
        with pytest.raises(FixedPointError, match="outside 0 … 1 dollar"):
            parse_price_e4(text)
    for _ in range(2):  # a refusal is no memory of a number
        with pytest.raises(FixedPointError):
            parse_price_e4("0.00001")


def test_an_order_size_is_exact_and_a_book_size_is_floored_and_saturates() -> None:
    assert (parse_size_e2("10"), parse_size_e2("0.01"), parse_book_size_e2("0.019")) == (1_000, 1, 1)
    with pytest.raises(FixedPointError, match="more than 2 decimals"):
        parse_size_e2("0.019")
    assert parse_book_size_e2("21474836.47") == MAX_SIZE_E2
    assert parse_book_size_e2("21474836.48") == MAX_SIZE_E2
    assert parse_book_size_e2("9" * 40) == MAX_SIZE_E2
    for parse in (parse_size_e2, parse_book_size_e2):
        with pytest.raises(FixedPointError, match="is negative"):
            parse("-1")
    with pytest.raises(FixedPointError, match="is negative"):
        parse_book_size_e2("-0.001")


def test_money_and_quantities_are_exact_to_a_millionth_with_any_sign() -> None:
    assert (parse_money_e6("-0.0175"), parse_qty_e6("216.216215")) == (-17_500, 216_216_215)
    for parse in (parse_money_e6, parse_qty_e6):
        with pytest.raises(FixedPointError, match="more than 6 decimals"):
            parse("0.0000001")


def test_the_venues_forms_are_written_with_all_their_decimals() -> None:
    assert (format_price(5_600), format_size(1_000), format_usd(-17_500)) == ("0.5600", "10.00", "-0.017500")
    assert format_scaled(-7, 0) == "-7"


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6))
def test_rounding_helpers_bracket_the_value(value: int, quantum: int) -> None:
    low, high = floor_to(value, quantum), ceil_to(value, quantum)
    assert low <= value <= high
    assert low % quantum == high % quantum == 0
    assert high - low == (quantum if value % quantum else 0)
    assert (ceil_div(value, quantum) - 1) * quantum < value <= ceil_div(value, quantum) * quantum
