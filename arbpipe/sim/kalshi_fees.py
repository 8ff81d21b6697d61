"""What a fill costs on Kalshi, in the simulator's own arithmetic (kalshi.md section 4: model, rounding, accumulator).

Prices are 1/10,000 dollar, sizes 1/100 contract, so that price times size is exactly micro-dollars (``_e6``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from arbpipe.sim.units import ONE_E4

__all__ = ["DIRECT_GRID_E6", "INTERMEDIARY_GRID_E6", "FeeType", "FillFee", "fill_fee", "most_fee_e6", "trade_fee_e6"]

#: Balances of direct members (API accounts) move in steps of 0.0001 dollar, those of others in cents.
DIRECT_GRID_E6: Final = 100
INTERMEDIARY_GRID_E6: Final = 10_000


class FeeType(Enum):
    """How a series charges; the value is the word on the wire."""

    QUADRATIC = "quadratic"
    QUADRATIC_WITH_MAKER_FEES = "quadratic_with_maker_fees"
    QUADRATIC_WITH_COMBO_MAKER_FEES = "quadratic_with_combo_maker_fees"


_TAKER_E4: Final = 700
_MAKER_E4: Final = {
    FeeType.QUADRATIC: 0,
    FeeType.QUADRATIC_WITH_MAKER_FEES: 175,
    FeeType.QUADRATIC_WITH_COMBO_MAKER_FEES: 350,
}


@dataclass(frozen=True, slots=True)
class FillFee:
    """The fee of one fill and what its order carries on to the next one, both micro-dollars."""

    net_e6: int
    carried_e6: int


def trade_fee_e6(fee_type: FeeType, multiplier_e2: int, price_e4: int, size_e2: int, *, taker: bool) -> int:
    """The model fee, rounded up to a micro-dollar. ``multiplier_e2``: the series' multiplier in 1/100."""
    rate_e4 = _TAKER_E4 if taker else _MAKER_E4[fee_type]
    # 1/100 · 1/10,000 · 1/10,000² · 1/100 contract = 10^-16 dollar
    exact_e16 = multiplier_e2 * rate_e4 * price_e4 * (ONE_E4 - price_e4) * size_e2
    return -(-exact_e16 // 10**10)


def fill_fee(trade_fee: int, revenue_e6: int, carried_e6: int, grid_e6: int = DIRECT_GRID_E6) -> FillFee:
    """The net fee of a fill after the balance is aligned to its grid and earlier roundings of the order are paid back.

    ``revenue_e6``: what the fill itself moves, negative for a purchase. ``carried_e6``: the order's accumulator so far.
    """
    raw_e6 = revenue_e6 - trade_fee
    rounding_e6 = raw_e6 % grid_e6
    pool_e6 = carried_e6 + rounding_e6
    owed_e6 = trade_fee + rounding_e6
    rebate_e6 = min(pool_e6 - pool_e6 % grid_e6, owed_e6 - owed_e6 % grid_e6)
    return FillFee(owed_e6 - rebate_e6, pool_e6 - rebate_e6)


def most_fee_e6(
    fee_type: FeeType,
    multiplier_e2: int,
    price_e4: int,
    size_e2: int,
    fills: int = 1,
    grid_e6: int = DIRECT_GRID_E6,
) -> int:
    """A bound on the fee of an order that may fill at ``price_e4`` or better in at most ``fills`` fills.

    ``price_e4`` is the price of the side that is bought. The formula is largest at 0.50, so a better price nearer to
    it counts. Below whole cents the money of each fill may miss the balance's grid, and a grid step that is larger
    than the fee is never paid back: each fill may cost one.
    """
    worst_e4 = min(price_e4, ONE_E4 // 2)
    fee_e6 = trade_fee_e6(fee_type, multiplier_e2, worst_e4, size_e2, taker=True)
    return fee_e6 + (grid_e6 + 1) * fills
