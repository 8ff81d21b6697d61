"""What fills cost: dollars, fees and the most an order may need (polymarket.md sections 2.3, 2.7 and 5). Pure.

Prices are the token's in 1/10,000 dollar, shares and dollars 1/1,000,000. A taker's fee is
``shares * rate * p * (1 - p)`` dollars, rounded up to 0.00001, at least that; makers pay none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from arbpipe.sim.polymarket_orders import Terms
from arbpipe.sim.units import ONE_E4

__all__ = ["Fill", "fee_e6", "fills_of", "most_needed_e6"]

#: Fees move in steps of 0.00001 dollar. The direction of rounding is not documented: up is the venue's side.
_FEE_STEP_E6: Final = 10


@dataclass(frozen=True, slots=True)
class Fill:
    """One fill: shares, dollars without the fee, and the fee."""

    price_e4: int
    qty_e6: int
    cash_e6: int
    fee_e6: int


def fee_e6(rate_e4: int, price_e4: int, qty_e6: int) -> int:
    """A taker's fee of one fill in micro-dollars."""
    if rate_e4 == 0 or qty_e6 == 0:
        return 0
    exact_e18 = rate_e4 * price_e4 * (ONE_E4 - price_e4) * qty_e6
    return max(_FEE_STEP_E6, -(-exact_e18 // (10**12 * _FEE_STEP_E6)) * _FEE_STEP_E6)


def fills_of(parts: Iterable[tuple[int, int]], *, is_buy: bool, rate_e4: int) -> list[Fill]:
    """The fills of one action of an order from its ``(price_e4, qty_e6)`` parts.

    The dollars of the action as a whole are rounded once, up for a buy and down for a sell, and each fill gets the
    difference it makes: many small fills cost no more than one, and a budget is never exceeded by rounding.
    """
    fills: list[Fill] = []
    exact_e10 = 0
    for price_e4, qty_e6 in parts:
        before = _rounded(exact_e10, is_buy)
        exact_e10 += price_e4 * qty_e6
        fills.append(Fill(price_e4, qty_e6, _rounded(exact_e10, is_buy) - before, fee_e6(rate_e4, price_e4, qty_e6)))
    return fills


def _rounded(exact_e10: int, up: bool) -> int:
    return -(-exact_e10 // ONE_E4) if up else exact_e10 // ONE_E4


def most_needed_e6(terms: Terms, rate_e4: int, asks: Sequence[tuple[int, int]]) -> int:
    """The most dollars a buy can take, fee included. ``asks`` are what it can meet now, as ``(price_e4, qty_e6)``.

    Of an order in shares, price and fee together are largest at the limit. Of an order in dollars the fee is largest
    at the best price, where the same dollars buy the most shares.
    """
    # one step of rounding for every fill that is possible, and one for the rest that may fill later
    spare_e6 = _FEE_STEP_E6 * (len(asks) + 1) if rate_e4 else 0
    if terms.cash_e6 is None:
        return _rounded(terms.limit_e4 * terms.qty_e6, True) + fee_e6(rate_e4, terms.limit_e4, terms.qty_e6) + spare_e6
    best_e4 = min([terms.limit_e4, *(price for price, _ in asks)])
    return terms.cash_e6 + -(-terms.cash_e6 * rate_e4 * (ONE_E4 - best_e4) // 10**8) + spare_e6
