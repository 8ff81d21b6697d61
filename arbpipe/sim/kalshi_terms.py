"""What may change about a listed market while it lives: its place in the lifecycle, its grid, and what its fills cost.

Moments are microseconds since the epoch (``_us``), multipliers 1/100 (``_e2``), values 1/10,000 dollar (``_e4``).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from arbpipe.sim.kalshi_fees import FeeType
from arbpipe.sim.kalshi_ticks import STRUCTURES, Grid

__all__ = ["FeeTerms", "Life", "Phase", "multiplier_shown"]


class Phase(Enum):
    """What has been decided about a market; before a determination its status follows from the clock."""

    OPEN = "open"
    DETERMINED = "determined"
    DISPUTED = "disputed"
    AMENDED = "amended"
    FINALIZED = "finalized"


@dataclass(slots=True)
class Life:
    """A market's place in the lifecycle (kalshi.md sections 3.3 and 6).

    ``swept``: what rested at the close has been cancelled. ``settle_us``: when a determined market is finalized.
    ``waiver_us``: until then its fills cost nothing. ``hidden_until_us``: until then REST answers 404 for it.
    ``metadata``: members of the market object that an update set.
    """

    created_us: int
    open_us: int
    close_us: int
    grid: Grid
    timer_s: float = 60
    phase: Phase = Phase.OPEN
    deactivated: bool = False
    swept: bool = False
    result: str = ""
    value_e4: int | None = None
    determined_us: int | None = None
    settle_us: int | None = None
    settled_us: int | None = None
    updated_us: int = 0
    waiver_us: int | None = None
    hidden_until_us: int = 0
    metadata: dict[str, Any] = field(default_factory=dict)

    def status(self, now_us: int) -> str:
        """The status on the wire. Opening and closing are a matter of time and announced by nobody."""
        if self.phase is not Phase.OPEN:
            return str(self.phase.value)
        if now_us >= self.close_us:
            return "closed"
        if now_us < self.open_us:
            return "initialized"
        return "inactive" if self.deactivated else "active"

    def to_text(self) -> str:
        """Everything as JSON, for the store."""
        return json.dumps(asdict(self) | {"grid": self.grid.name, "phase": self.phase.value})

    @staticmethod
    def from_text(text: str) -> Life:
        """The reverse of :meth:`to_text`."""
        values = json.loads(text)
        return Life(**values | {"grid": STRUCTURES[values["grid"]], "phase": Phase(values["phase"])})


@dataclass(slots=True)
class FeeTerms:
    """How a series charges, or what an event says instead: None is "as the series". ``fee_type`` is the word on the wire."""

    fee_type: str | None
    multiplier_e2: int | None

    def over(self, series: FeeTerms) -> FeeTerms:
        """This override on top of the series' terms."""
        return FeeTerms(
            series.fee_type if self.fee_type is None else self.fee_type,
            series.multiplier_e2 if self.multiplier_e2 is None else self.multiplier_e2,
        )

    def charged(self) -> FeeType:
        """The formula that this server charges by. A word that it does not know is shown, and charged as quadratic."""
        known = {each.value: each for each in FeeType}
        return known.get(self.fee_type or "", FeeType.QUADRATIC)


def multiplier_shown(multiplier_e2: int | None) -> int | float | None:
    """A multiplier as the JSON number that the venue writes."""
    if multiplier_e2 is None:
        return None
    return multiplier_e2 // 100 if multiplier_e2 % 100 == 0 else multiplier_e2 / 100
