"""The prices at which a market may trade: bands of YES prices, each with its step (kalshi.md 3.3, "Ticks").

A market with a finer step near 0 and 1 is traded like any other: every price that we send stands in the book, and so lies on
the grid of its band. The tick that rows and ``pairs.toml`` state is the finest one, on which all of them lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from arbpipe.fixedpoint import ONE_DOLLAR_E4, format_price
from arbpipe.venues.kalshi.messages import PriceRange

__all__ = ["finest_step_e4", "range_words", "tick_of"]


def finest_step_e4(ranges: Sequence[PriceRange]) -> int:
    """The grid on which every valid price of these bands lies, in 1/10,000 dollar; 0 where the bands make no sense."""
    step = 0
    for band in ranges:
        if band.step_e4 <= 0 or band.end_e4 <= band.start_e4 or (band.end_e4 - band.start_e4) % band.step_e4:
            return 0
        step = gcd(step, band.step_e4, band.start_e4)
    return step


def tick_of(ranges: Sequence[PriceRange]) -> int | str:
    """The tick of a market with these bands, or in words why there is none."""
    step_e4 = finest_step_e4(ranges)
    if not step_e4 or ONE_DOLLAR_E4 % step_e4:
        return f"its price steps make no grid of a dollar: {range_words(ranges)}"
    return step_e4


def range_words(ranges: Sequence[PriceRange]) -> str:
    """``0.0010 from 0.0000 to 0.1000, 0.0100 from …``."""
    return ", ".join(
        f"{format_price(band.step_e4)} from {format_price(band.start_e4)} to {format_price(band.end_e4)}"
        for band in ranges
    )
