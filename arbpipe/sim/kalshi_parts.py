"""What commands to a simulated Kalshi act on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from arbpipe.sim.kalshi_catalog import Catalog
from arbpipe.sim.kalshi_faults import Faults
from arbpipe.sim.kalshi_feechanges import FeeChanges
from arbpipe.sim.kalshi_lifecycle import Lifecycle
from arbpipe.sim.kalshi_limits import Limits
from arbpipe.sim.kalshi_pauses import Pauses
from arbpipe.sim.kalshi_quoting import QuotedWorld
from arbpipe.sim.kalshi_ws import Hub

__all__ = ["Parts"]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one server. ``later`` calls a function after so many seconds."""

    faults: Faults
    hub: Hub
    catalog: Catalog
    world: QuotedWorld
    lifecycle: Lifecycle
    fees: FeeChanges
    pauses: Pauses
    limits: Limits
    later: Callable[[float, Callable[[], None]], object]
