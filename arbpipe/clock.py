"""The one seam for time. Ages and stamps are two clocks, and no decision calls :mod:`time` on its own.

*Ages* ("confirmed 3 s ago", "expires in 200 ms") use CLOCK_BOOTTIME live, because CLOCK_MONOTONIC stops in suspend
(design 3), and the recording's clock in a replay. *Stamps* (latency between two places on this box) always use
CLOCK_MONOTONIC, also in a replay.
"""

from __future__ import annotations

import time
from enum import IntEnum
from typing import Protocol

__all__ = ["AgeClock", "BootClock", "ClockMode", "boottime_ns", "stamp_ns", "wall_ns"]


class ClockMode(IntEnum):
    """How the segment's age clock runs."""

    LIVE = 0
    SCALED = 1
    STEPPED = 2


class AgeClock(Protocol):
    """Anything that says what time it is for ages, in nanoseconds."""

    def now_ns(self) -> int:
        """The present, in nanoseconds of an arbitrary but fixed origin."""
        ...


def boottime_ns() -> int:
    """CLOCK_BOOTTIME: runs through suspend; the clock of heartbeats and live ages."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def stamp_ns() -> int:
    """CLOCK_MONOTONIC: the clock of latency stamps, the same in every process of the box."""
    return time.monotonic_ns()


def wall_ns() -> int:
    """CLOCK_REALTIME: for logs, ledgers and comparison with a venue's clock only."""
    return time.time_ns()


class BootClock:
    """The live age clock."""

    def now_ns(self) -> int:
        """CLOCK_BOOTTIME now."""
        return boottime_ns()
