"""Numbers as text, the simulator's own way: prices in 1/10,000 dollar, sizes in 1/100 contract, money in 10^-12 dollar.

An edge is kept in 10^-12 dollar per contract (``_e12``) because ``rate_e4 * price_e4 * (10,000 - price_e4)`` is that,
exactly.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ONE_E4", "ONE_E12", "CENT_E12", "fixed_text", "plain_text", "round_down", "round_up"]

ONE_E4: Final = 10_000
ONE_E12: Final = 10**12
CENT_E12: Final = 10**10


def fixed_text(value: int, scale: int, decimals: int) -> str:
    """``value / 10**scale`` with exactly ``decimals`` decimals, as Kalshi writes numbers (``0.5600``, ``-54.00``).

    Raises:
        ValueError: the value has more decimals than that.
    """
    surplus = 10 ** (scale - decimals)
    if value % surplus:
        raise ValueError(f"{value}e-{scale} does not fit {decimals} decimals: choose a price or size on the grid")
    digits = str(abs(value) // surplus).rjust(decimals + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def plain_text(value: int, scale: int) -> str:
    """``value / 10**scale`` without trailing zeros, as Polymarket writes numbers (``0.5``, ``7.8``, ``120``)."""
    text = fixed_text(value, scale, scale)
    return text.rstrip("0").rstrip(".")


def round_down(value: int, step: int) -> int:
    """The greatest multiple of ``step`` that is not above ``value``."""
    return value - value % step


def round_up(value: int, step: int) -> int:
    """The least multiple of ``step`` that is not below ``value``."""
    return value + (-value) % step
