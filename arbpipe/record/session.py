"""One replay from beginning to end: segment, supervisor, clock, and the summary of what happened.

The segment and the state folder are the session's own (a private instance); leaving the session stops every process and
removes the segment. The ledger stays where the state folder was asked for.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from arbpipe.catalog.pairs import load_pairs
from arbpipe.config import Config
from arbpipe.errors import EnvironmentRefused, SafetyRefused
from arbpipe.identity import Venue
from arbpipe.ledger.book import Ledger
from arbpipe.ledger.reconcile import compare
from arbpipe.process import RunSpec, read_spec
from arbpipe.record.driver import ReplayDriver
from arbpipe.record.recording import open_recordings
from arbpipe.record.replay import step_times
from arbpipe.shm.ageclock import SegmentClock, set_scaled, set_stepped
from arbpipe.shm.layout import Counts, Role
from arbpipe.shm.locks import held_locks
from arbpipe.shm.segment import Mode, Segment, default_directory
from arbpipe.shm.stats import Counter, start_ticks
from arbpipe.shm.tables import FEED_ROLES, write_ranges
from arbpipe.summary import Summary, counter_of, near_misses_of, summarise
from arbpipe.supervisor import Supervisor
from arbpipe.venues.paper.account import PaperAccount

__all__ = ["ReplaySession", "Summary", "counts_of", "instance_of"]

_START_S = 15.0
_STUCK_S = 30.0
_LEAD_S = 1.0
#: Temporary folders of ours: a replay's state, and a demo's recordings with its state.
_TEMPORARY = ("arbpipe-state-", "arbpipe-demo-")


def counts_of(config: Config) -> Counts:
    """The segment's counts of a configuration.

    Raises:
        EnvironmentRefused: they do not fit together.
    """
    c = config.segment
    try:
        return Counts(
            slots=c.slots,
            connections=c.connections,
            log_capacity=c.log_capacity,
            ring_capacity=c.ring_capacity,
            covers=c.covers,
        )
    except ValueError as error:
        raise EnvironmentRefused(f"[segment] {error}") from None


def instance_of(mode: int) -> str:
    """A private instance name: two replays at once do not meet."""
    return f"{Mode.NAMES[mode].lower()}-{os.getpid()}-{secrets.token_hex(2)}"


def remove_dead_instances() -> None:
    """Remove what demos and replays left behind that were killed together with their supervisor.

    Only private instances (``demo-…``, ``replay-…``) whose maker is gone and whose locks nobody holds; their temporary
    state goes with them.
    """
    for directory in default_directory("any").parent.glob("*-*-*"):
        if not directory.name.startswith(("demo-", "replay-")) or _maker_lives(directory) or held_locks(directory):
            continue
        with contextlib.suppress(OSError, msgspec.DecodeError):
            for folder in map(Path, read_spec(directory / "run.json").temporary):
                if folder.name.startswith(_TEMPORARY):
                    shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError, SafetyRefused):
            Segment.destroy(directory)


def _maker_lives(directory: Path) -> bool:
    """Whether the process that made a private instance is there: one that just begins holds no lock yet."""
    pid = directory.name.split("-")[1]
    ticks = start_ticks(pid) if pid.isdecimal() else 0
    try:
        made_s = directory.stat().st_mtime
    except OSError:
        return False
    started_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    # a process that began after the directory last changed has its pid from the maker, and nothing else
    return ticks > 0 and started_s < made_s + 1.0


class ReplaySession:
    """A run of the whole pipeline over recordings. ``speed`` is a factor, or ``None`` for ``max``."""

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
        self.mode = mode
        self.config = config
        self.speed = speed
        self.catalog = load_pairs(pairs, kalshi_direct_member=config.executor.kalshi_direct_member)
        loaded = [recording for path in recordings for recording in open_recordings(path)]
        self.frames = sum(len(recording.frames) for recording in loaded)
        self._times = step_times(loaded)
        if not self._times:
            raise EnvironmentRefused("the recordings hold no frame at all")
        self.recorded_s = (self._times[-1] - self._times[0]) / 1e9
        self._own_state = state is None
        self.state = state or Path(tempfile.mkdtemp(prefix=_TEMPORARY[0])).resolve()
        self.instance = instance_of(mode)
        self.directory = segment or default_directory(self.instance)
        self.spec = RunSpec(
            segment=str(self.directory),
            instance=self.instance,
            mode=mode,
            state=str(self.state),
            pairs=str(pairs.resolve()),
            config=config,
            recordings={venue.label: [str(r.path.resolve()) for r in loaded if r.venue is venue] for venue in Venue},
            supervisor=os.getpid(),
        )
        self.segment: Segment
        self.supervisor: Supervisor
        self.driver: ReplayDriver
        #: A temporary folder that goes with a session which is aborted or killed: its maker cannot remove it then.
        self.scratch: Path | None = None
        self._summary: Summary | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """End the run in order at the next opportunity."""
        self._interrupted = True

    def abort(self) -> None:
        """End the run at once: kill every process and remove what is ours."""
        if hasattr(self, "supervisor"):
            self.supervisor.kill()
            self.supervisor.stop()
        if hasattr(self, "segment"):
            self._clean()
        self._remove_state()
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def __enter__(self) -> ReplaySession:
        try:
            temporary = ((self.state if self._own_state else None), self.scratch)
            self.spec = msgspec.structs.replace(self.spec, temporary=[str(each) for each in temporary if each])
            remove_dead_instances()
            self.segment = Segment.create(
                self.directory, counts_of(self.config), mode=self.mode, instance=self.instance
            )
        except BaseException:
            self._remove_state()
            raise
        try:
            write_ranges(self.segment)
            # before the first frame, so that no frame is taken for one that a restarted feed has to catch up with
            before = self._times[0] - 1
            if self.speed is None:
                set_stepped(self.segment, before)
            else:
                # the clock runs already while the processes start: the first frame lies far enough ahead
                set_scaled(self.segment, before - int(_LEAD_S * 1e9 * self.speed), int(self.speed * 1_000_000))
            self.driver = ReplayDriver(self.segment, self._times)
            self.supervisor = Supervisor(self.segment, self.spec)
            self.supervisor.__enter__()
        except BaseException:
            if hasattr(self, "supervisor"):  # some children may run already
                self.supervisor.kill()
                self.supervisor.stop()
            self._clean()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish()

    def finish(self) -> Summary:
        """Stop the processes, say what happened, remove what was the session's own. Idempotent."""
        if self._summary is None:
            self.supervisor.stop()
            try:
                self._summary = self._summarise()
            finally:
                self._clean()
        return self._summary

    def _clean(self) -> None:
        self.segment.detach()
        Segment.destroy(self.directory)
        if self.directory.parent.name.startswith("arbpipe-"):
            with contextlib.suppress(OSError):  # other instances live there, or another one removed it
                self.directory.parent.rmdir()
        self._remove_state()

    def _remove_state(self) -> None:
        if self._own_state:
            shutil.rmtree(self.state, ignore_errors=True)

    def clock_ns(self) -> int:
        """The age clock now."""
        return SegmentClock(self.segment).now_ns()

    # -- running -----------------------------------------------------------------------------------------------------

    def run(self, tick: Callable[[ReplaySession], None] | None = None) -> None:
        """Replay to the end. ``tick`` is called some times a second.

        Raises:
            TimedOut: the pipeline does not come up, or stops going on.
        """
        self.supervisor.wait_until(lambda: self._interrupted or self._ready(), _START_S, "the start of the pipeline")
        moved, shown = time.monotonic(), 0.0
        while not self.driver.finished() and not self._interrupted:
            self.supervisor.watch()
            if self.speed is None:
                burst = time.monotonic() + 0.02
                while time.monotonic() < burst:
                    if self.driver.step():
                        moved = time.monotonic()
                    else:
                        time.sleep(0.0001)
                if time.monotonic() - moved > _STUCK_S:
                    self.supervisor.wait_until(lambda: False, 0.0, "the next step of the replay")
            else:
                time.sleep(0.01)
            if tick is not None and time.monotonic() - shown > 0.2:
                shown = time.monotonic()
                tick(self)

    def _ready(self) -> bool:
        place = self.segment.section("processes")
        record = place.record
        assert record is not None
        generation = self.segment.region.load_u64(self.segment.section("catalog").offset)
        return (
            generation > 0
            and self.supervisor.running()
            and all(
                self.segment.region.load_u64(place.at(role) + record.offset("generation"))
                for role in (*FEED_ROLES, Role.DETECTOR, Role.EXECUTOR)
            )
        )

    # -- summary -----------------------------------------------------------------------------------------------------

    def counter(self, counter: Counter, *roles: Role) -> int:
        """A counter added up over roles (all feeds when none is named)."""
        return counter_of(self.segment, counter, *roles)

    def near_misses(self) -> list[dict[str, Any]]:
        """Each cover's best edge and what was missing, best first."""
        return near_misses_of(self.segment)

    def _paper(self, ledger: Ledger) -> list[str]:
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

    def _summarise(self) -> Summary:
        return summarise(
            self.segment,
            self.spec,
            instruments=len(self.catalog.instruments),
            covers=len(self.catalog.covers),
            restarts=self.supervisor.restarts,
            differences=self._paper,
        )
