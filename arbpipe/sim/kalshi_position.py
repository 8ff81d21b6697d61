"""How a fill moves a position, and averages over fills as the venue writes them. Pure."""

from __future__ import annotations

from arbpipe.sim.kalshi_rows import Position
from arbpipe.sim.units import ONE_E4, fixed_text

__all__ = ["average", "moved"]


def average(total_e6: int, count_e2: int) -> str:
    """Dollars per contract in 4 decimals, as recorded, or up to 6 where 4 would not say it exactly."""
    average_e6 = (200 * total_e6 + count_e2) // (2 * count_e2)
    text = fixed_text(average_e6, 6, 6)
    return text[:-2] + text[-2:].rstrip("0")


def moved(position: Position, buys_yes: bool, unit_e4: int, size_e2: int, fee_e6: int, now_us: int) -> Position:
    """The position after buying ``size_e2`` of one side at ``unit_e4`` a contract: closes what it can, then opens."""
    sign = 1 if buys_yes else -1
    held_e2 = abs(position.position_e2)
    closed_e2 = min(size_e2, held_e2) if position.position_e2 * sign < 0 else 0
    gone_e6 = position.cost_e6 * closed_e2 // held_e2 if closed_e2 else 0
    opened_e2 = size_e2 - closed_e2
    return Position(
        ticker=position.ticker,
        position_e2=position.position_e2 + sign * size_e2,
        cost_e6=position.cost_e6 - gone_e6 + unit_e4 * opened_e2,
        traded_e6=position.traded_e6 + unit_e4 * size_e2,
        realized_e6=position.realized_e6 + (ONE_E4 - unit_e4) * closed_e2 - gone_e6,
        fees_e6=position.fees_e6 + fee_e6,
        volume_e2=position.volume_e2 + size_e2,
        updated_us=now_us,
    )
