"""What a taker pays on each venue, in the simulator's own arithmetic, to know whether an edge is real.

Both venues charge ``rate * size * p * (1 - p)``: Kalshi's rate is 0.07 times the series' multiplier (kalshi.md
section 4), Polymarket's is the market's own (polymarket.md section 5, exponent 1). Rounding, at most 0.0001 dollar an
order on Kalshi and 0.00001 dollar a fill on Polymarket, is left out here: an edge is stated per contract.
"""

from __future__ import annotations

from typing import Final

from arbpipe.sim.units import ONE_E4

__all__ = ["KALSHI_RATES_E4", "POLYMARKET_RATES_E4", "fee_e12", "cost_e12"]

#: Fee multiplier as the catalog writes it, and the rate it makes in 1/10,000.
KALSHI_RATES_E4: Final = {"1": 700, "0.5": 350}
#: Rate as the catalog writes it, and in 1/10,000.
POLYMARKET_RATES_E4: Final = {"0.03": 300, "0.04": 400, "0.05": 500, "0.07": 700}


def fee_e12(rate_e4: int, price_e4: int) -> int:
    """The fee of one contract at ``price_e4`` in 10^-12 dollar, exact. Either side's price gives the same."""
    return rate_e4 * price_e4 * (ONE_E4 - price_e4)


def cost_e12(rate_e4: int, price_e4: int) -> int:
    """Price and fee of one contract in 10^-12 dollar, exact."""
    return price_e4 * 10**8 + fee_e12(rate_e4, price_e4)
