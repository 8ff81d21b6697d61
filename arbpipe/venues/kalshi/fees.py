"""What Kalshi charges (kalshi.md section 4): ``multiplier × rate × contracts × p × (1 − p)``, rounded fill by fill.

Two views of one rule. :class:`OrderFees` is the venue's rule to the digit: each fill's trade fee is rounded up to a
micro-dollar, the balance is brought back to its grid, and what that took too much is paid back in steps of the grid by
an accumulator per order. :func:`taker_terms` is what detector and executor plan with; :func:`split_allowance_e6` says by
how much an order that fills in pieces may cost more than such a plan. What was really charged is booked from the
venue's own figures, never from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from arbpipe.feemodel import FeeTerms
from arbpipe.fixedpoint import ONE_DOLLAR_E4, FixedPointError, ceil_div, ceil_to, floor_to, format_scaled, parse_scaled

__all__ = [
    "FEE_TYPES",
    "MAKER_FEE_TYPE",
    "MAX_MULTIPLIER_E6",
    "FillFee",
    "KalshiFee",
    "OrderFees",
    "balance_grid_e6",
    "kalshi_fee",
    "split_allowance_e6",
    "taker_terms",
]

_TAKER_RATE_E6: Final = 70_000
_MAKER_RATE_E6: Final = {
    "quadratic": 0,
    "quadratic_with_maker_fees": 17_500,
    "quadratic_with_combo_maker_fees": 35_000,
}
#: The types with a published formula. ``flat`` has none, and is as unknown as a type of tomorrow.
FEE_TYPES: Final = tuple(_MAKER_RATE_E6)
#: The type under which makers of single markets pay.
MAKER_FEE_TYPE: Final = "quadratic_with_maker_fees"
#: No multiplier above 1 was ever seen; above 10 the number is not a multiplier.
MAX_MULTIPLIER_E6: Final = 10_000_000

_TRADE_FEE_QUANTUM_E6: Final = 1
_ALIGN_DIRECT_E6: Final = 100
_ALIGN_NON_DIRECT_E6: Final = 10_000
#: rate (1e-6) · multiplier (1e-6) · price (1e-4) · its complement (1e-4) · size (1e-2)
_MODEL_DECIMALS: Final = 22


def balance_grid_e6(*, direct: bool) -> int:
    """The step of a member's balance in micro-dollars: $0.0001 for direct members (API accounts), a cent for others."""
    return _ALIGN_DIRECT_E6 if direct else _ALIGN_NON_DIRECT_E6


@dataclass(frozen=True, slots=True)
class KalshiFee:
    """A known fee: rates and multiplier in millionths. ``multiplier_e6`` 0 is a real zero."""

    fee_type: str
    taker_rate_e6: int
    maker_rate_e6: int
    multiplier_e6: int

    def _model(self, price_e4: int, size_e2: int, taker: bool) -> int:
        """The model fee in units of 1e-22 dollar, exact.

        Raises:
            ValueError: a price outside 0 … 1 dollar, or a size that is not positive.
        """
        if not 0 <= price_e4 <= ONE_DOLLAR_E4:
            raise ValueError(f"price_e4 {price_e4} is outside 0 … {ONE_DOLLAR_E4}")
        if size_e2 <= 0:
            raise ValueError(f"size_e2 {size_e2} is not positive")
        rate_e6 = self.taker_rate_e6 if taker else self.maker_rate_e6
        return rate_e6 * self.multiplier_e6 * price_e4 * (ONE_DOLLAR_E4 - price_e4) * size_e2

    def model_fee_usd(self, price_e4: int, size_e2: int, *, taker: bool = True) -> str:
        """The unrounded fee of the formula as decimal text in dollars, exact, with six decimals at least."""
        whole, _, decimals = format_scaled(self._model(price_e4, size_e2, taker), _MODEL_DECIMALS).partition(".")
        return f"{whole}.{decimals.rstrip('0').ljust(6, '0')}"

    def trade_fee_e6(self, price_e4: int, size_e2: int, *, taker: bool = True) -> int:
        """The fee of the formula, rounded up to a micro-dollar. Either side's price may be given.

        Raises:
            ValueError: see :meth:`_model`: a price outside 0 … 1 dollar, or a size that is not positive.
        """
        return ceil_div(self._model(price_e4, size_e2, taker), 10 ** (_MODEL_DECIMALS - 6))


@dataclass(frozen=True, slots=True)
class FillFee:
    """The parts of one fill's fee in micro-dollars; ``net_e6`` is what the venue calls ``fee_cost``, never negative."""

    trade_e6: int
    rounding_e6: int
    rebate_e6: int

    @property
    def net_e6(self) -> int:
        """Trade fee and rounding, less the rebate."""
        return self.trade_e6 + self.rounding_e6 - self.rebate_e6


class OrderFees:
    """The fees of one order, fill by fill (kalshi.md section 4; docs "Fee Rounding" of October 2026).

    The accumulator is the order's: it is carried from fills as a taker to fills as a maker, and never to another order.
    A rebate is a whole number of grid steps. It is due as soon as a step has come together (the published text leaves
    the case of exactly one step open) and never so large that the fill's net fee would be negative.
    """

    def __init__(self, fee: KalshiFee, *, direct: bool = True) -> None:
        self._fee = fee
        self._grid_e6 = balance_grid_e6(direct=direct)
        #: Rounding that was taken and not paid back yet, micro-dollars.
        self.carried_e6 = 0

    def fill(self, price_e4: int, size_e2: int, *, taker: bool = True, buys: bool = True) -> FillFee:
        """The fee of the next fill. ``price_e4`` is the price of the side that is bought or sold, not always YES.

        Raises:
            ValueError: a price outside 0 … 1 dollar, or a size that is not positive.
        """
        trade_e6 = self._fee.trade_fee_e6(price_e4, size_e2, taker=taker)
        money_e6 = price_e4 * size_e2
        raw_e6 = (-money_e6 if buys else money_e6) - trade_e6
        rounding_e6 = raw_e6 - floor_to(raw_e6, self._grid_e6)
        pool_e6 = self.carried_e6 + rounding_e6
        rebate_e6 = floor_to(min(pool_e6, trade_e6 + rounding_e6), self._grid_e6)
        self.carried_e6 = pool_e6 - rebate_e6
        return FillFee(trade_e6, rounding_e6, rebate_e6)


def kalshi_fee(fee_type: str, multiplier: str) -> KalshiFee | None:
    """The fee of a listing, or None where it is unknown (the market then does not trade; F32).

    ``multiplier`` is the series' or the event's ``fee_multiplier`` as a plain decimal. None is returned for a fee type
    without a known formula and for a multiplier that is not a decimal, negative, finer than a millionth or above
    ``MAX_MULTIPLIER_E6``.
    """
    maker_rate_e6 = _MAKER_RATE_E6.get(fee_type)
    if maker_rate_e6 is None:
        return None
    try:
        multiplier_e6 = parse_scaled(multiplier, 6, "a fee multiplier")
    except FixedPointError:
        return None
    if not 0 <= multiplier_e6 <= MAX_MULTIPLIER_E6:
        return None
    return KalshiFee(fee_type, _TAKER_RATE_E6, maker_rate_e6, multiplier_e6)


def taker_terms(fee_type: str, multiplier: str, *, direct: bool = True) -> FeeTerms | None:
    """The fee terms of a taker, or None where they are unknown, as :func:`kalshi_fee` says.

    ``feemodel.cost_e6`` with these terms is what a purchase costs when each of its ``(price, size)`` pairs is one fill.
    Against the venue's rule for the same fills it is never too low while every fill's price is a whole number of grid
    steps (cents, for direct members) or its trade fee is at least one step. It may be too high by the rate's own
    rounding, a quarter of a micro-dollar a contract, plus a micro-dollar a fill, aligned up to the grid. Where a level
    fills in several pieces, or in sub-cent dust, :func:`split_allowance_e6` must be added to have an upper bound.
    """
    fee = kalshi_fee(fee_type, multiplier)
    if fee is None:
        return None
    return FeeTerms(
        rate_e6=ceil_div(fee.taker_rate_e6 * fee.multiplier_e6, 1_000_000),
        exponent=1,
        quantum_e6=_TRADE_FEE_QUANTUM_E6,
        align_e6=balance_grid_e6(direct=direct),
    )


def split_allowance_e6(terms: FeeTerms, levels: Sequence[tuple[int, int]], fills: int) -> int:
    """What ``feemodel.cost_e6`` of ``levels`` may fall short by if the order fills in up to ``fills`` pieces.

    ``levels`` are ``(price_e4, size_e2)``; a level may be cut into any pieces of 1/100 contract. Each piece is rounded
    up to a micro-dollar on its own. That is all where prices are on the balance's grid: then every fill's fee is a
    whole number of grid steps and whatever was taken is paid back. Off the grid a fill whose fee is smaller than a step
    pays nothing back, so each further piece may cost one step.

    Raises:
        ValueError: fewer fills than levels.
    """
    if fills < len(levels):
        raise ValueError(f"{fills} fills cannot take {len(levels)} levels")
    allowance_e6 = ceil_to((fills - len(levels)) * terms.quantum_e6, terms.align_e6)
    if any(price_e4 % terms.align_e6 for price_e4, _ in levels):
        allowance_e6 += fills * terms.align_e6
    return allowance_e6
