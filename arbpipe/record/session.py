"""One replay: the pipeline over recordings, on the recordings' own clock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from arbpipe.config import Config
from arbpipe.errors import EnvironmentRefused
from arbpipe.identity import Venue
from arbpipe.instances import instance_of
from arbpipe.ledger.book import Ledger
from arbpipe.ledger.reconcile import compare
from arbpipe.pipeline import Pipeline
from arbpipe.record.driver import ReplayDriver
from arbpipe.record.recording import open_recordings
from arbpipe.record.replay import step_times
from arbpipe.shm.ageclock import SegmentClock, set_scaled, set_stepped
from arbpipe.shm.segment import Mode
from arbpipe.venues.paper.account import PaperAccount

__all__ = ["ReplaySession"]

_STUCK_S: Final = 30.0
_LEAD_S: Final = 1.0


class ReplaySession(Pipeline):
    """A run of the whole pipeline over recordings, on paper. ``speed`` is a factor, or ``None`` for ``max``."""

    def __init__(
        self,
        recordings: Sequence[Path],
        pairs: Path,
        config: Config,
        *,
        mode: int = Mode.REPLAY,
        speed: float | None = None,
        state: Path | None = None,
        segment: Path | None = None,
    ) -> None:
        """Read and check everything before anything starts.

        Raises:
            EnvironmentRefused: a recording or the pairs file cannot be used.
        """
        loaded = [recording for path in recordings for recording in open_recordings(path)]
        self._times = step_times(loaded)
        if not self._times:
            raise EnvironmentRefused("the recordings hold no frame at all")
        self.frames = sum(len(recording.frames) for recording in loaded)
        self.recorded_s = (self._times[-1] - self._times[0]) / 1e9
        self.speed = speed
        super().__init__(config, pairs, mode=mode, instance=instance_of(mode), state=state, segment=segment)
        self.spec = msgspec.structs.replace(
            self.spec,
            recordings={venue.label: [str(r.path.resolve()) for r in loaded if r.venue is venue] for venue in Venue},
        )
        self.driver: ReplayDriver
        self._moved = 0.0

    def clock_ns(self) -> int:
        """The age clock now."""
        return SegmentClock(self.segment).now_ns()

    @property
    def left_s(self) -> float:
        """How much of the recordings is still to come."""
        return max(0.0, (self.driver.end_ns - self.clock_ns()) / 1e9)

    def _prepare(self) -> None:
        # before the first frame, so that no frame is taken for one that a restarted feed has to catch up with
        before = self._times[0] - 1
        if self.speed is None:
            set_stepped(self.segment, before)
        else:
            # the clock runs already while the processes start: the first frame lies far enough ahead
            set_scaled(self.segment, before - int(_LEAD_S * 1e9 * self.speed), int(self.speed * 1_000_000))
        self.driver = ReplayDriver(self.segment, self._times)

    def _proceed(self) -> bool:
        if self.driver.finished():
            return False
        if self.speed is not None:
            time.sleep(0.01)
            return True
        now = time.monotonic()
        self._moved = self._moved or now
        while time.monotonic() < now + 0.02:
            if self.driver.step():
                self._moved = time.monotonic()
            else:
                time.sleep(0.0001)
        if time.monotonic() - self._moved > _STUCK_S:
            self.supervisor.wait_until(lambda: False, 0.0, "the next step of the replay")
        return True

    def _differences(self, ledger: Ledger) -> list[str]:
        """What the ledger and the paper venue disagree about, read after every process ended."""
        account = PaperAccount(self.spec.ledger_path("paper-venue"), {})
        try:
            cash = ledger.cash()
            return [
                difference.what
                for venue in Venue
                for difference in compare(
                    venue.label,
                    ledger.positions(venue),
                    account.positions(venue),
                    cash.get(venue, 0),
                    account.cash_e6(venue),
                )
            ]
        finally:
            account.close()
