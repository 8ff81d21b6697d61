"""Exact fixed-point numbers: every quantity that decides money is an ``int`` whose name states its unit.

========== ============================= ==============================
suffix     unit                          used for
========== ============================= ==============================
``_e4``    1/10,000 dollar               prices
``_e2``    1/100 contract                quotes and order sizes
``_e6``    1/1,000,000 dollar, contract  money; fills and positions
========== ============================= ==============================

``price_e4 * size_e2`` is money in micro-dollars, exactly. Text becomes a number once, here; a text that does not fit
the unit is an error and never rounded silently. Only book sizes may be floored (smaller is safe).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

__all__ = [
    "ONE_DOLLAR_E4",
    "ONE_DOLLAR_E6",
    "MAX_SIZE_E2",
    "FixedPointError",
    "parse_scaled",
    "parse_price_e4",
    "parse_size_e2",
    "parse_book_size_e2",
    "parse_money_e6",
    "parse_qty_e6",
    "format_scaled",
    "format_price",
    "format_size",
    "format_usd",
    "ceil_div",
    "ceil_to",
    "floor_to",
]

ONE_DOLLAR_E4: Final = 10_000
ONE_DOLLAR_E6: Final = 1_000_000
#: Book sizes saturate here: a row stores them as int32. Smaller is safe.
MAX_SIZE_E2: Final = (1 << 31) - 1


class FixedPointError(ValueError):
    """A text is not a decimal number, or does not fit the unit exactly."""


def _split(text: str, unit: str) -> tuple[bool, str, str]:
    negative = text.startswith("-")
    body = text[1:] if negative else text
    whole, dot, fraction = body.partition(".")
    # isascii: str.isdigit also accepts digits of other scripts, which int() would read as well
    if not (body.isascii() and (whole.isdigit() or (not whole and dot)) and (fraction.isdigit() or not fraction)):
        raise FixedPointError(f"{text!r} is not a decimal number ({unit} expected)")
    if not whole and not fraction:
        raise FixedPointError(f"{text!r} is not a decimal number ({unit} expected)")
    if len(body) > 40:
        raise FixedPointError(f"a number of {len(body)} characters is refused ({unit} expected)")
    return negative, whole or "0", fraction


def parse_scaled(text: str, decimals: int, unit: str = "a decimal", *, floor: bool = False) -> int:
    """Return ``text`` times ``10**decimals`` as an exact integer.

    With ``floor`` surplus decimals are cut towards minus infinity; without it a non-zero surplus is an error.

    Raises:
        FixedPointError: not a plain decimal number (no exponent, no sign ``+``, no blanks), longer than 40
            characters, or with more than ``decimals`` significant decimals while ``floor`` is false.
    """
    negative, whole, fraction = _split(text, unit)
    kept, surplus = fraction[:decimals], fraction[decimals:].strip("0")
    value = int(whole + kept.ljust(decimals, "0"))
    if surplus and not floor:
        raise FixedPointError(f"{text!r} has more than {decimals} decimals ({unit} expected)")
    if negative:
        return -value - 1 if surplus else -value
    return value


@lru_cache(maxsize=65_536)
def parse_price_e4(text: str) -> int:
    """Dollars as text to 1/10,000 dollar: 0 to 1 inclusive, exact. Memoised, because prices live on a small grid.

    Raises:
        FixedPointError: not a number, off the 1/10,000 grid, or outside 0 … 1.
    """
    value = parse_scaled(text, 4, "a price in dollars")
    if not 0 <= value <= ONE_DOLLAR_E4:
        raise FixedPointError(f"price {text!r} is outside 0 … 1 dollar")
    return value


def parse_size_e2(text: str) -> int:
    """Contracts as text to 1/100 contract, exact; used for orders.

    Raises:
        FixedPointError: not a number, negative, or finer than 1/100 contract.
    """
    value = parse_scaled(text, 2, "a size in contracts")
    if value < 0:
        raise FixedPointError(f"size {text!r} is negative")
    return value


@lru_cache(maxsize=65_536)
def parse_book_size_e2(text: str) -> int:
    """Contracts of a book level to 1/100 contract, floored and saturated at ``MAX_SIZE_E2`` (smaller is safe).

    Raises:
        FixedPointError: not a number, or negative.
    """
    value = parse_scaled(text, 2, "a size in contracts", floor=True)
    if value < 0:
        raise FixedPointError(f"size {text!r} is negative")
    return min(value, MAX_SIZE_E2)


def parse_money_e6(text: str) -> int:
    """Dollars as text to micro-dollars, exact, any sign.

    Raises:
        FixedPointError: not a number, or finer than a micro-dollar.
    """
    return parse_scaled(text, 6, "an amount in dollars")


def parse_qty_e6(text: str) -> int:
    """Contracts as text to 1/1,000,000 contract, exact, any sign; used for fills and positions.

    Raises:
        FixedPointError: not a number, or finer than 1/1,000,000 contract.
    """
    return parse_scaled(text, 6, "a quantity in contracts")


def format_scaled(value: int, decimals: int) -> str:
    """``value / 10**decimals`` as text with exactly ``decimals`` decimals; the inverse of :func:`parse_scaled`."""
    sign = "-" if value < 0 else ""
    whole, fraction = divmod(abs(value), 10**decimals)
    return f"{sign}{whole}.{fraction:0{decimals}d}" if decimals else f"{sign}{whole}"


def format_price(price_e4: int) -> str:
    """A price as Kalshi writes it: ``0.5600``."""
    return format_scaled(price_e4, 4)


def format_size(size_e2: int) -> str:
    """A size as Kalshi writes it: ``10.00``."""
    return format_scaled(size_e2, 2)


def format_usd(money_e6: int) -> str:
    """An amount in dollars with all six decimals: ``-0.017500``."""
    return format_scaled(money_e6, 6)


def ceil_div(a: int, b: int) -> int:
    """``a / b`` rounded up, for positive ``b``."""
    return -(-a // b)


def ceil_to(value: int, quantum: int) -> int:
    """The least multiple of ``quantum`` that is not below ``value``."""
    return -(-value // quantum) * quantum


def floor_to(value: int, quantum: int) -> int:
    """The greatest multiple of ``quantum`` that is not above ``value``."""
    return value // quantum * quantum
