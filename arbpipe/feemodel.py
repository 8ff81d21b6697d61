"""The fee formula that both venues share, without the venue.

Kalshi (kalshi.md section 4) and Polymarket (polymarket.md section 5) charge ``rate · size · (p · (1 − p))^exponent``;
they differ in the rate and in the rounding. A venue's ``fees`` module turns what its listing says into
:class:`FeeTerms`; everything that decides money (detector, executor) uses the terms and knows no venue. Unknown terms
are ``None``, and ``None`` is never zero: such an instrument does not trade.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from arbpipe.fixedpoint import ONE_DOLLAR_E4, ceil_div, ceil_to

__all__ = ["MAX_EXPONENT", "MAX_RATE_E6", "FeeTerms", "fee_e6", "average_cost_e6", "cost_e6", "proceeds_e6"]

MAX_EXPONENT: Final = 4
MAX_RATE_E6: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class FeeTerms:
    """How a taker pays on one instrument.

    ``rate_e6``: the rate times a million (0.07 is 70,000). ``exponent``: 1 … 4. ``quantum_e6``: one fill's fee is
    rounded up to a multiple of this. ``align_e6``: the cash an order moves is rounded against us to a multiple of this.
    """

    rate_e6: int
    exponent: int
    quantum_e6: int
    align_e6: int

    def __post_init__(self) -> None:
        if not 0 <= self.rate_e6 <= MAX_RATE_E6:
            raise ValueError(f"fee rate {self.rate_e6 / 1e6} is outside 0 … 1")
        if not 1 <= self.exponent <= MAX_EXPONENT:
            raise ValueError(f"fee exponent {self.exponent} is outside 1 … {MAX_EXPONENT}")
        if self.quantum_e6 < 1 or self.align_e6 < 1:
            raise ValueError(f"fee rounding {self.quantum_e6}/{self.align_e6} must be at least one micro-dollar")


def fee_e6(terms: FeeTerms, price_e4: int, size_e2: int) -> int:
    """The fee in micro-dollars of one fill of ``size_e2`` at ``price_e4``, rounded up to the terms' quantum.

    The formula is symmetric in the price and its complement, so either side's price may be given.
    """
    variance_e8 = price_e4 * (ONE_DOLLAR_E4 - price_e4)
    # rate/1e6 · size/1e2 · (variance/1e8)^exponent dollars = … · 1e6 micro-dollars
    numerator = terms.rate_e6 * size_e2 * variance_e8**terms.exponent
    return ceil_to(ceil_div(numerator, 100 * 10 ** (8 * terms.exponent)), terms.quantum_e6)


def cost_e6(terms: FeeTerms, fills: Iterable[tuple[int, int]]) -> int:
    """The cash one buy order takes: price and fee of all its ``(price_e4, size_e2)`` fills, aligned against us."""
    total = 0
    for price_e4, size_e2 in fills:
        total += price_e4 * size_e2 + fee_e6(terms, price_e4, size_e2)
    return ceil_to(total, terms.align_e6)


def proceeds_e6(terms: FeeTerms, fills: Iterable[tuple[int, int]]) -> int:
    """The cash one sell order brings: price less fee of all its fills, aligned against us (it may be negative)."""
    total = 0
    for price_e4, size_e2 in fills:
        total += price_e4 * size_e2 - fee_e6(terms, price_e4, size_e2)
    return total // terms.align_e6 * terms.align_e6


def average_cost_e6(terms: FeeTerms, levels: Iterable[tuple[int, int]], size_e2: int) -> int | None:
    """A lower bound on the cost per contract of buying ``size_e2`` through ``levels``; ``None`` if they are too thin.

    Price and unrounded fee, rounded down: what the detector's first look needs must never be too high (design 5,
    ``cost_e6``). Price plus fee rises with the price for every rate below 1, so larger sizes cost no less. The native
    core computes the same when it publishes (``_native/outlet.c``).
    """
    left, money, fee_parts = size_e2, 0, 0
    for price_e4, level_e2 in levels:
        taken = min(left, level_e2)
        money += price_e4 * taken
        fee_parts += taken * (price_e4 * (ONE_DOLLAR_E4 - price_e4)) ** terms.exponent
        left -= taken
        if not left:
            # both in micro-dollars per contract; the fee's scale is 1e-8 per exponent
            per_contract = 100 * money * 10 ** (8 * terms.exponent) + terms.rate_e6 * fee_parts
            average: int = per_contract // (size_e2 * 10 ** (8 * terms.exponent))
            return average
    return None
