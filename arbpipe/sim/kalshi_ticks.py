"""Which prices an order may have: bands of a price and its step, by the name of the structure (kalshi.md section 3.3).

Prices are YES prices in 1/10,000 dollar (``_e4``). The two banded structures' bounds are the simulator's own: the venue
documents their names, and that a client must read ``price_ranges`` instead of a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from arbpipe.sim.units import ONE_E4, fixed_text, round_down, round_up

__all__ = ["STRUCTURES", "Band", "Grid"]


@dataclass(frozen=True, slots=True)
class Band:
    """Prices from ``start_e4`` to ``end_e4`` in steps of ``step_e4``, counted from 0."""

    start_e4: int
    end_e4: int
    step_e4: int


@dataclass(frozen=True, slots=True)
class Grid:
    """A structure: its name and its bands, which cover 0 to 1 dollar without a gap."""

    name: str
    bands: tuple[Band, ...]

    def allows(self, price_e4: int) -> bool:
        """Whether the price lies on the grid of a band that contains it."""
        return any(b.start_e4 <= price_e4 <= b.end_e4 and price_e4 % b.step_e4 == 0 for b in self.bands)

    def worse(self, buys_yes: bool, price_e4: int) -> int:
        """The nearest price on the grid that is no better: lower for a bid, higher for an ask; 0 or 1 dollar at the end."""
        round_to = round_down if buys_yes else round_up
        found = [round_to(price_e4, b.step_e4) for b in self.bands if b.start_e4 <= price_e4 <= b.end_e4]
        return max(found) if buys_yes else min(found)

    def shown(self) -> list[dict[str, str]]:
        """``price_ranges`` as the venue writes them."""
        return [
            {"start": _dollars(b.start_e4), "end": _dollars(b.end_e4), "step": _dollars(b.step_e4)} for b in self.bands
        ]


def _dollars(value_e4: int) -> str:
    return fixed_text(value_e4, 4, 4)


def _grid(name: str, *bands: tuple[int, int, int]) -> Grid:
    return Grid(name, tuple(Band(*band) for band in bands))


STRUCTURES: Final[Mapping[str, Grid]] = {
    grid.name: grid
    for grid in (
        _grid("linear_cent", (0, ONE_E4, 100)),
        _grid("deci_cent", (0, ONE_E4, 10)),
        _grid("tapered_deci_cent", (0, 1_000, 10), (1_000, 9_000, 100), (9_000, ONE_E4, 10)),
        _grid("center_half_edge_deci_cent", (0, 1_000, 10), (1_000, 9_000, 50), (9_000, ONE_E4, 10)),
        _grid(
            "banded_centi_cent",
            (0, 500, 1),
            (500, 2_000, 10),
            (2_000, 8_000, 100),
            (8_000, 9_500, 10),
            (9_500, ONE_E4, 1),
        ),
    )
}
