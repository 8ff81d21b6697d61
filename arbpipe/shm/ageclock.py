"""The age clock of a segment: boot time live, the recording's clock in a replay.

Live and paper use CLOCK_BOOTTIME. A replay sets the ``clock`` section: *scaled* (the recording's time runs at
``speed``) or *stepped* (the time is what the driver last stored; nothing gets older between two frames).
"""

from __future__ import annotations

from typing import Final

from arbpipe.clock import ClockMode, boottime_ns
from arbpipe.shm.segment import Segment

__all__ = ["SegmentClock", "set_scaled", "set_stepped"]

_STEP_POLL_S: Final = 0.0005


class SegmentClock:
    """Reads the age clock of a segment; it may change mode only before the processes start."""

    def __init__(self, segment: Segment) -> None:
        place = segment.section("clock")
        record = place.record
        assert record is not None
        self._region = segment.region
        self._now = place.offset + record.offset("now_ns")
        self.mode = ClockMode(self._region.load_u32(place.offset + record.offset("mode")))
        self._speed_e6 = self._region.load_u64(place.offset + record.offset("speed_e6"))
        self._base_record = self._region.load_i64(place.offset + record.offset("base_record_ns"))
        self._base_boot = self._region.load_i64(place.offset + record.offset("base_boot_ns"))

    def now_ns(self) -> int:
        """The present for ages."""
        if self.mode is ClockMode.LIVE:
            return boottime_ns()
        if self.mode is ClockMode.STEPPED:
            return self._region.load_i64(self._now)
        return self._base_record + (boottime_ns() - self._base_boot) * self._speed_e6 // 1_000_000

    def real_seconds(self, age_ns: int) -> float:
        """How long to sleep, in real seconds, for ``age_ns`` to pass; in a stepped replay the polling interval."""
        if self.mode is ClockMode.STEPPED:
            return _STEP_POLL_S
        speed = self._speed_e6 if self.mode is ClockMode.SCALED else 1_000_000
        return max(age_ns, 0) / 1e9 * 1_000_000 / speed

    async def sleep_until(self, when_ns: int) -> None:
        """Return once the age clock shows at least ``when_ns``."""
        import asyncio  # 20 ms that probes, which read this clock too, do not spend

        while (left := when_ns - self.now_ns()) > 0:
            await asyncio.sleep(self.real_seconds(left))


def _store(segment: Segment, **values: int) -> None:
    place = segment.section("clock")
    assert place.record is not None
    for name, value in values.items():
        offset = place.offset + place.record.offset(name)
        if name == "mode":
            segment.region.store_u32(offset, value)
        else:
            segment.region.store_i64(offset, value)


def set_scaled(segment: Segment, record_ns: int, speed_e6: int) -> None:
    """From now on the age clock starts at ``record_ns`` and runs ``speed_e6 / 1e6`` times as fast as real time."""
    _store(segment, speed_e6=speed_e6, base_record_ns=record_ns, base_boot_ns=boottime_ns(), mode=int(ClockMode.SCALED))


def set_stepped(segment: Segment, now_ns: int) -> None:
    """From now on the age clock shows exactly ``now_ns``, until the next call."""
    _store(segment, now_ns=now_ns, mode=int(ClockMode.STEPPED))
