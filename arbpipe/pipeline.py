"""A pipeline from start to summary: segment, supervisor and processes. ``run``, ``demo`` and ``replay`` are made of it.

The segment and, where none was named, the state folder are the pipeline's own; leaving it stops every process and removes
them. The ledger stays where the state folder was asked for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

from arbpipe.catalog.model import Catalog
from arbpipe.catalog.pairs import load_pairs
from arbpipe.config import Config
from arbpipe.instances import TEMPORARY_STATE, counts_of, make_folder, remove_dead_instances
from arbpipe.ledger.book import Ledger
from arbpipe.process import RunSpec
from arbpipe.shm.layout import Role
from arbpipe.shm.segment import Mode, Segment, default_directory
from arbpipe.shm.tables import FEED_ROLES, write_ranges
from arbpipe.summary import Summary, summarise
from arbpipe.supervisor import Supervisor

__all__ = ["LiveRun", "Pipeline"]

_START_S: Final = 20.0
_TICK_S: Final = 0.2


class Pipeline:
    """What every run has. Use as a context manager, and :meth:`run` inside it."""

    def __init__(
        self,
        config: Config,
        pairs: Path,
        *,
        mode: int,
        instance: str,
        state: Path | None = None,
        segment: Path | None = None,
    ) -> None:
        """Check what can be checked before anything starts.

        Raises:
            EnvironmentRefused: the pairs file cannot be used.
        """
        self.config = config
        self.mode = mode
        self.instance = instance
        self.catalog: Catalog = load_pairs(pairs, kalshi_direct_member=config.executor.kalshi_direct_member)
        self._own_state = state is None
        self.state = (state or Path(tempfile.mkdtemp(prefix=TEMPORARY_STATE))).resolve()
        self.directory = segment or default_directory(instance)
        self.spec = RunSpec(
            segment=str(self.directory),
            instance=instance,
            mode=mode,
            state=str(self.state),
            pairs=str(pairs.resolve()),
            config=config,
            supervisor=os.getpid(),
        )
        self.segment: Segment
        self.supervisor: Supervisor
        #: A temporary folder that goes with a run which is aborted or killed: its maker cannot remove it then.
        self.scratch: Path | None = None
        #: Ends at once what belongs to an aborted run and is no process of the pipeline. It runs in a signal handler.
        self.on_abort: Callable[[], None] | None = None
        self._interrupted = False
        self._summary: Summary | None = None

    @property
    def mode_name(self) -> str:
        """DEMO, REPLAY, PAPER or LIVE."""
        return Mode.NAMES[self.mode]

    @property
    def left_s(self) -> float:
        """How long the run still lasts; 0 when nobody knows."""
        return 0.0

    def interrupt(self) -> None:
        """End in order at the next opportunity."""
        self._interrupted = True

    def abort(self) -> None:
        """End at once: kill every process and remove what is ours."""
        if hasattr(self, "supervisor"):
            self.supervisor.kill()
            self.supervisor.stop()
        if self.on_abort is not None:
            self.on_abort()
        if hasattr(self, "segment"):
            self._clean()
        self._remove_state()
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)

    # -- what differs between runs -----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """The segment exists, no process does."""

    def _proceed(self) -> bool:
        """Everything is up: one turn of the run; return whether it goes on."""
        raise NotImplementedError

    def _differences(self, ledger: Ledger) -> list[str]:
        """Where the ledger and the venues' own books differ, asked after the executor ended."""
        raise NotImplementedError

    # -- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Pipeline:
        try:
            temporary = ((self.state if self._own_state else None), self.scratch)
            self.spec = msgspec.structs.replace(self.spec, temporary=[str(each) for each in temporary if each])
            make_folder(self.state, "ledger and logs")
            if self.spec.record:
                make_folder(Path(self.spec.record), "recordings")
            remove_dead_instances()
            self.segment = Segment.create(
                self.directory, counts_of(self.config), mode=self.mode, instance=self.instance
            )
        except BaseException:
            self._remove_state()
            raise
        try:
            write_ranges(self.segment)
            self._prepare()
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
        """Stop the processes in order, say what happened, remove what is the run's own. Idempotent."""
        if self._summary is None:
            self.supervisor.stop()
            try:
                self._summary = summarise(
                    self.segment,
                    self.spec,
                    instruments=len(self.catalog.instruments),
                    covers=len(self.catalog.covers),
                    restarts=self.supervisor.restarts,
                    differences=self._differences,
                )
            finally:
                self._clean()
        return self._summary

    def _clean(self) -> None:
        ours = not self.segment.replaced()
        self.segment.detach()
        if ours:  # what somebody put in its place is not ours to remove
            Segment.destroy(self.directory)
        if self.directory.parent.name.startswith("arbpipe-"):
            with contextlib.suppress(OSError):  # other instances live there, or another one removed it
                self.directory.parent.rmdir()
        self._remove_state()

    def _remove_state(self) -> None:
        if self._own_state:
            shutil.rmtree(self.state, ignore_errors=True)

    # -- running -----------------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Whether every process is in RUN and works with the catalog."""
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

    def run(self, tick: Callable[[Pipeline], None] | None = None) -> None:
        """Run to the end, or until interrupted. ``tick`` is called five times a second.

        Raises:
            TimedOut: the processes do not come up, or stop going on.
        """
        self.supervisor.wait_until(lambda: self._interrupted or self.ready(), _START_S, "the start of the pipeline")
        shown = 0.0
        while not self._interrupted and self._proceed():
            self.supervisor.watch()
            if tick is not None and time.monotonic() - shown > _TICK_S:
                shown = time.monotonic()
                tick(self)


class LiveRun(Pipeline):
    """Live feeds, and orders through gateways or on paper, for a time or until told to stop."""

    def __init__(
        self,
        config: Config,
        pairs: Path,
        *,
        mode: int,
        instance: str,
        live_orders: bool,
        differences: Callable[[Ledger], list[str]],
        state: Path | None = None,
        segment: Path | None = None,
        record: Path | None = None,
        seconds: float | None = None,
        watch: Callable[[], None] | None = None,
    ) -> None:
        """``differences`` compares the ledger with the venues' books at the end; ``seconds``: how long it lasts once
        everything is up; ``watch`` is called at every turn; ``record``: where feeds keep their frames."""
        super().__init__(config, pairs, mode=mode, instance=instance, state=state, segment=segment)
        self.spec = msgspec.structs.replace(
            self.spec,
            live_feeds=True,
            live_orders=live_orders,
            record=str(record.resolve()) if record else "",
        )
        self._compare = differences
        self._seconds = seconds
        self._watch = watch
        self._end: float | None = None

    @property
    def left_s(self) -> float:
        """How long the run still lasts; 0 when it has no end."""
        return max(0.0, self._end - time.monotonic()) if self._end is not None else 0.0

    def _proceed(self) -> bool:
        if self._end is None and self._seconds is not None:
            self._end = time.monotonic() + self._seconds
        if self._watch is not None:
            self._watch()
        time.sleep(0.01)
        return self._end is None or time.monotonic() < self._end

    def _differences(self, ledger: Ledger) -> list[str]:
        return self._compare(ledger)
