"""The clocks of one simulated Kalshi: the venue's epoch clock, which a fault may set wrong, and one that never goes back."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["VenueClock"]


class VenueClock:
    """What time the venue believes it is: the epoch, off by as many seconds as ``skew_s`` says."""

    def __init__(self, skew_s: Callable[[], float] = lambda: 0.0, epoch_ns: Callable[[], int] = time.time_ns) -> None:
        self._skew_s = skew_s
        self._epoch_ns = epoch_ns

    def now_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self._epoch_ns() + round(self._skew_s() * 1e9)

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return self.now_ns() // 1_000

    @staticmethod
    def steady_ns() -> int:
        """A clock that only goes forward, for durations."""
        return time.monotonic_ns()
