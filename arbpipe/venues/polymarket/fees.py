"""What a taker pays on Polymarket (polymarket.md section 5): ``shares × rate × (p × (1 − p))^exponent``."""

from __future__ import annotations

from typing import Final

from arbpipe.feemodel import MAX_EXPONENT, FeeTerms
from arbpipe.fixedpoint import FixedPointError, parse_scaled

__all__ = ["taker_terms"]

#: Fees have five decimals. The venue does not say which way it rounds: up is against us.
_FEE_QUANTUM_E6: Final = 10
_ALIGN_E6: Final = 1
_MAX_RATE_E6: Final = 1_000_000


def taker_terms(rate: str, exponent: int | str) -> FeeTerms | None:
    """The fee terms of a taker, or None where they are unknown (the instrument then does not trade).

    ``rate`` and ``exponent`` are those of the market's own ``feeSchedule``, the rate as a plain decimal (``"0.07"``;
    ``"0"`` is a real zero). None is returned for a rate that is not a decimal, negative, above 1 or finer than a
    millionth (a legacy ``base_fee`` of 1000 is no rate), and for an exponent outside 1 … 4.
    """
    try:
        rate_e6 = parse_scaled(rate, 6, "a fee rate")
        power = parse_scaled(str(exponent), 0, "a fee exponent")
    except FixedPointError:
        return None
    if not 0 <= rate_e6 <= _MAX_RATE_E6 or not 1 <= power <= MAX_EXPONENT:
        return None
    return FeeTerms(rate_e6=rate_e6, exponent=power, quantum_e6=_FEE_QUANTUM_E6, align_e6=_ALIGN_E6)
