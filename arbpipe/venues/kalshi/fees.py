"""What a taker pays on Kalshi (kalshi.md section 4): ``multiplier × 0.07 × contracts × p × (1 − p)``."""

from __future__ import annotations

from typing import Final

from arbpipe.feemodel import FeeTerms
from arbpipe.fixedpoint import FixedPointError, ceil_div, parse_scaled

__all__ = ["MAX_MULTIPLIER_E6", "TAKER_FEE_TYPES", "taker_terms"]

#: The types whose taker formula is the same; they differ in what makers pay. ``flat`` has no published formula.
TAKER_FEE_TYPES: Final = frozenset(
    {"quadratic", "quadratic_with_maker_fees", "quadratic_with_combo_maker_fees"},
)
#: No multiplier above 1 was ever seen; above 10 the number is not a multiplier.
MAX_MULTIPLIER_E6: Final = 10_000_000

_TAKER_RATE_E6: Final = 70_000
_TRADE_FEE_QUANTUM_E6: Final = 1
_ALIGN_DIRECT_E6: Final = 100
_ALIGN_NON_DIRECT_E6: Final = 10_000


def taker_terms(fee_type: str, multiplier: str, *, direct: bool = True) -> FeeTerms | None:
    """The fee terms of a taker, or None where they are unknown (the instrument then does not trade).

    ``multiplier`` is the series' or the event's ``fee_multiplier`` as a plain decimal; ``"0"`` is a real zero.
    A fill's fee is rounded up to a micro-dollar, then the order's cash to $0.0001 (``direct`` members, that is API
    accounts) or to a cent. None is returned for a fee type that is not known and for a multiplier that is not a
    decimal, negative, finer than a millionth or above ``MAX_MULTIPLIER_E6``.
    """
    if fee_type not in TAKER_FEE_TYPES:
        return None
    try:
        multiplier_e6 = parse_scaled(multiplier, 6, "a fee multiplier")
    except FixedPointError:
        return None
    if not 0 <= multiplier_e6 <= MAX_MULTIPLIER_E6:
        return None
    return FeeTerms(
        rate_e6=ceil_div(_TAKER_RATE_E6 * multiplier_e6, 1_000_000),
        exponent=1,
        quantum_e6=_TRADE_FEE_QUANTUM_E6,
        align_e6=_ALIGN_DIRECT_E6 if direct else _ALIGN_NON_DIRECT_E6,
    )
