"""What an order offers and asks, in integers, rounded as the venue wants it (polymarket.md 2.3). Pure.

Every order is FAK: it trades at once and never rests, so a process that dies between two requests leaves nothing in a
book. The alternative, GTC and an immediate cancel, is denominated in shares, but costs a second request, cannot be
cancelled while the venue delays it or is cancel-less, and stands in the book of a dead process.

The price of that choice: a FAK buy is in dollars. We offer the dollars of the wanted size at the limit price, cut to
whole cents (the venue takes no finer ones), and ask for the shares those dollars buy at the limit. So

- never more dollars than size × limit, and never a price above the limit: the implied price lies below the next price
  that any grid allows, so a dearer offer cannot be met;
- up to a cent's worth of shares less than wanted, when nothing is better than the limit;
- more shares than wanted when the offers are better than the limit. What was received is taken from the venue's trades,
  and the legs after this one are sent for that (design 9.4).

A FAK sell is in shares and is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from arbpipe.fixedpoint import ONE_DOLLAR_E4, format_price, format_scaled, format_size

__all__ = ["AmountError", "Amounts", "buy_amounts", "decimals_of", "grid_of", "sell_amounts"]

#: Tick in 1/10,000 dollar → decimals of a computed amount, from the documented table.
_DECIMALS: Final = {1_000: 3, 100: 4, 50: 5, 25: 6, 10: 5, 1: 6}
#: The venue refuses a computed amount of a market order with more decimals, whatever the tick (py-clob-client-v2
#: issue 99, July 2026, against the table): fewer are accepted under either rule.
_MARKET_DECIMALS: Final = 4
_CENT_E6: Final = 10_000


class AmountError(ValueError):
    """The order cannot be expressed on this venue; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """``maker`` is what we give, ``taker`` what we get at the limit; 1/1,000,000 dollar and share."""

    maker: int
    taker: int


def decimals_of(tick_e4: int) -> int:
    """How many decimals the computed amount of a market order may have on this tick.

    Raises:
        AmountError: the tick is not in the venue's table.
    """
    decimals = _DECIMALS.get(tick_e4)
    if decimals is None:
        raise AmountError(f"tick {format_price(tick_e4)} is not one of the venue's: its rounding is unknown")
    return min(decimals, _MARKET_DECIMALS)


def grid_of(price_e4: int, tick_e4: int) -> int:
    """The tick to round by: the listed one, or the coarsest finer one that holds the price.

    A tick becomes finer near 0 and 1 while the market trades; prices that were read from the book are on the new grid,
    while the listing still names the old one. The venue judges, by the tick that holds when the order arrives.

    Raises:
        AmountError: the tick is unknown, the price is on no grid at or below it, or not within it and 1 less it.
    """
    decimals_of(tick_e4)
    for grid in sorted((each for each in _DECIMALS if each <= tick_e4), reverse=True):
        if price_e4 % grid == 0:
            if not grid <= price_e4 <= ONE_DOLLAR_E4 - grid:
                break
            return grid
    raise AmountError(f"price {format_price(price_e4)} is on no grid of tick {format_price(tick_e4)} or finer")


def buy_amounts(price_e4: int, size_e2: int, tick_e4: int) -> Amounts:
    """Dollars offered and shares asked by a FAK buy of ``size_e2`` at no more than ``price_e4``.

    Raises:
        AmountError: an unknown tick, a price off the grid, or a size too small for the price to be kept.
    """
    grid = grid_of(price_e4, tick_e4)
    _positive(size_e2)
    dollars = price_e4 * size_e2 // _CENT_E6 * _CENT_E6
    unit: int = 10 ** (6 - decimals_of(grid))
    shares = dollars * ONE_DOLLAR_E4 // (price_e4 * unit) * unit
    # shares rounded down make the implied price a hair more than the limit; the next price of the finest grid
    # must stay out of reach, also if the tick becomes finer after we signed
    if not shares or dollars * ONE_DOLLAR_E4 >= shares * (price_e4 + 1):
        raise AmountError(
            f"{format_size(size_e2)} shares at {format_price(price_e4)} are ${format_scaled(dollars, 6)}: too little to "
            "keep the limit when it is rounded; a larger size is needed"
        )
    return Amounts(dollars, shares)


def sell_amounts(price_e4: int, size_e2: int, tick_e4: int) -> Amounts:
    """Shares offered and dollars asked by a FAK sell of ``size_e2`` at no less than ``price_e4``.

    Raises:
        AmountError: as :func:`buy_amounts`.
    """
    grid = grid_of(price_e4, tick_e4)
    _positive(size_e2)
    shares = size_e2 * 10_000
    unit: int = 10 ** (6 - decimals_of(grid))
    dollars = price_e4 * size_e2 // unit * unit
    if not dollars or dollars * ONE_DOLLAR_E4 <= shares * (price_e4 - 1):
        raise AmountError(
            f"{format_size(size_e2)} shares at {format_price(price_e4)} bring ${format_scaled(dollars, 6)}: too little to "
            "keep the limit when it is rounded; a larger size is needed"
        )
    return Amounts(shares, dollars)


def _positive(size_e2: int) -> None:
    if size_e2 <= 0:
        raise AmountError(f"size {format_size(size_e2)} must be above zero")
