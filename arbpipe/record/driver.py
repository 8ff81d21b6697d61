"""The replay driver: owns the age clock of a replay and says when everybody is done.

Stepped (``max``): the clock moves to the next time only when the feeds replayed up to now, the detector worked off every
change, and the executor has nothing to do before that time. So a replay never runs ahead of the pipeline, and what a run
does follows from the recording alone.
"""

from __future__ import annotations

from arbpipe.shm.ageclock import SegmentClock, set_stepped
from arbpipe.shm.layout import PROCESS, Role
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import IDLE_FOR_EVER
from arbpipe.shm.tables import FEED_ROLES, ranges_of

__all__ = ["ReplayDriver"]


class ReplayDriver:
    """Looks at the pipeline's progress, and steps the clock."""

    def __init__(self, segment: Segment, times: list[int]) -> None:
        self._segment = segment
        self._region = segment.region
        self._times = times
        self._next = 0
        place = segment.section("processes")
        self._base = {role: place.at(role) for role in Role}
        self._logs = {
            index: segment.section("changes").at(each.log) for index, each in enumerate(ranges_of(segment).values())
        }
        self._ring = segment.section("opportunities").offset
        self._clock = SegmentClock(segment)

    @property
    def end_ns(self) -> int:
        """The time of the last frame."""
        return self._times[-1] if self._times else 0

    def _word(self, role: Role, name: str, index: int = 0) -> int:
        return self._region.load_i64(self._base[role] + PROCESS.offset(name, index))

    def feeds_done(self, until_ns: int) -> bool:
        """Whether both feeds replayed everything up to a time."""
        return all(self._word(role, "progress_ns") >= until_ns for role in FEED_ROLES)

    def detector_done(self) -> bool:
        """Whether the detector worked off every change that was logged."""
        return all(
            self._region.load_u64(log) == self._word(Role.DETECTOR, "cursors", index)
            for index, log in self._logs.items()
        )

    def executor_idle_until(self, now_ns: int) -> int:
        """Until when the executor has nothing to do; at most ``now_ns`` if it is at work.

        ``waiting`` is read before and after the cursor: the executor clears it before it takes anything.
        """
        before = self._word(Role.EXECUTOR, "waiting_ns")
        if self._word(Role.EXECUTOR, "cursors") != self._region.load_i64(self._ring):
            return now_ns
        after = self._word(Role.EXECUTOR, "waiting_ns")
        return min(before, after)

    def step(self) -> bool:
        """Move the clock on if everybody is done; return whether it moved."""
        now = self._clock.now_ns()
        if not self.feeds_done(now) or not self.detector_done():
            return False
        idle_until = self.executor_idle_until(now)
        if idle_until <= now:
            return False
        while self._next < len(self._times) and self._times[self._next] <= now:
            self._next += 1
        frame = self._times[self._next] if self._next < len(self._times) else IDLE_FOR_EVER
        target = min(frame, idle_until)
        if target >= IDLE_FOR_EVER:
            return False
        set_stepped(self._segment, target)
        return True

    def finished(self) -> bool:
        """Whether every frame was applied and everything that followed from it is over."""
        now = self._clock.now_ns()
        return (
            now >= self.end_ns
            and self.feeds_done(min(now, self.end_ns))
            and self.detector_done()
            and self.executor_idle_until(now) >= IDLE_FOR_EVER
        )
