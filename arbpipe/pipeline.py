"""A running pipeline: segment, supervisor and processes, from start to summary. ``run`` and ``demo`` are made of it."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from arbpipe.catalog.pairs import load_pairs
from arbpipe.config import Config
from arbpipe.ledger.book import Ledger
from arbpipe.process import RunSpec
from arbpipe.shm.layout import Role
from arbpipe.shm.segment import Mode, Segment, default_directory
from arbpipe.shm.tables import FEED_ROLES, write_ranges
from arbpipe.summary import Summary, summarise
from arbpipe.supervisor import Supervisor

__all__ = ["Pipeline"]

_START_S: Final = 20.0
_TEMPORARY: Final = "arbpipe-state-"


class Pipeline:
    """Live feeds, detector and executor under one supervisor; leaving it stops everything and removes the segment.

    ``differences`` compares the ledger with the venues' own books once the executor has ended.
    """

    def __init__(
        self,
        config: Config,
        pairs: Path,
        *,
        mode: int,
        instance: str,
        live_orders: bool,
        state: Path | None = None,
        segment: Path | None = None,
        record: Path | None = None,
        differences: Callable[[Ledger], list[str]] | None = None,
        seconds: float | None = None,
        watch: Callable[[], None] | None = None,
    ) -> None:
        """Check what can be checked before anything starts. ``seconds``: how long :meth:`run` lasts once everything is up;
        ``watch`` is called at every turn of it.

        Raises:
            EnvironmentRefused: the pairs file cannot be used.
        """
        from arbpipe.record.session import counts_of

        self.config = config
        self.mode = mode
        self.catalog = load_pairs(pairs, kalshi_direct_member=config.executor.kalshi_direct_member)
        self._counts = counts_of(config)
        self._own_state = state is None
        self.state = state or Path(tempfile.mkdtemp(prefix=_TEMPORARY))
        self.directory = segment or default_directory(instance)
        self._differences = differences or (lambda _ledger: [])
        self.spec = RunSpec(
            segment=str(self.directory),
            instance=instance,
            mode=mode,
            state=str(self.state.resolve()),
            pairs=str(pairs.resolve()),
            config=config,
            live_feeds=True,
            live_orders=live_orders,
            record=str(record.resolve()) if record else "",
            supervisor=os.getpid(),
        )
        self.segment: Segment
        self.supervisor: Supervisor
        self._seconds = seconds
        self._watch = watch
        self._end: float | None = None
        self._interrupted = False
        self._summary: Summary | None = None

    def interrupt(self) -> None:
        """End in order at the next opportunity."""
        self._interrupted = True

    def abort(self) -> None:
        """End at once: kill every process and remove what is ours."""
        self.supervisor.kill()
        self.supervisor.stop()
        self._clean()

    def __enter__(self) -> Pipeline:
        self.segment = Segment.create(self.directory, self._counts, mode=self.mode, instance=self.spec.instance)
        try:
            write_ranges(self.segment)
            self.supervisor = Supervisor(self.segment, self.spec)
            self.supervisor.__enter__()
        except BaseException:
            self._clean()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish()

    def finish(self) -> Summary:
        """Stop the processes in order, say what happened, remove the segment. Idempotent."""
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
        self.segment.detach()
        Segment.destroy(self.directory)
        if self.directory.parent.name.startswith("arbpipe-") and not any(self.directory.parent.iterdir()):
            self.directory.parent.rmdir()
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
        """Run until interrupted, or until the time is over. ``tick`` is called five times a second.

        Raises:
            TimedOut: the processes do not come up.
        """
        self.supervisor.wait_until(lambda: self._interrupted or self.ready(), _START_S, "the start of the pipeline")
        end = self._end = time.monotonic() + self._seconds if self._seconds is not None else None
        shown = 0.0
        while not self._interrupted and (end is None or time.monotonic() < end):
            self.supervisor.watch()
            if self._watch is not None:
                self._watch()
            if tick is not None and time.monotonic() - shown > 0.2:
                shown = time.monotonic()
                tick(self)
            time.sleep(0.01)

    @property
    def left_s(self) -> float:
        """How long the run still lasts; 0 when it has no end."""
        return max(0.0, self._end - time.monotonic()) if self._end is not None else 0.0

    @property
    def mode_name(self) -> str:
        """DEMO, PAPER or LIVE."""
        return Mode.NAMES[self.mode]
