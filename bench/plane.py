"""What the shared-memory benches stand on: a segment full of pairs, both feeds' writers, and a detector to run over it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from arbpipe.alerts import Alerts
from arbpipe.clock import boottime_ns
from arbpipe.config import Config
from arbpipe.detector.process import Detector
from arbpipe.feemodel import FeeTerms
from arbpipe.fixedpoint import ceil_to
from arbpipe.identity import Venue
from arbpipe.process import RunSpec
from arbpipe.shm.ageclock import SegmentClock
from arbpipe.shm.generation import ARRAYS, Generation, encode_generation, write_generation
from arbpipe.shm.layout import Counts, Role
from arbpipe.shm.segment import Mode, Segment
from arbpipe.shm.stats import ProcessLine
from arbpipe.shm.tables import FEED_ROLES, write_ranges
from arbpipe.venues.publisher import Publisher

__all__ = ["FEE", "Plane", "cores", "forked", "plane"]

FEE = FeeTerms(70_000, 1, 1, 1)


class Plane:
    """A segment whose catalog holds ``instruments`` / 2 pairs of one Kalshi and one Polymarket instrument.

    Pair n has two two-leg covers' worth of claims: proposition 2n is "YES on either", 2n + 1 "NO on either", and cover n is
    both. YES costs 0.60 on both venues, NO 0.56 on Kalshi and 0.50 on Polymarket, so nothing is an opportunity until a bench
    makes one.
    """

    YES = ((6_000, 10_000),)
    NO: Final = {Venue.KALSHI: ((5_600, 10_000),), Venue.POLYMARKET: ((5_000, 10_000),)}

    def __init__(self, directory: Path, instruments: int) -> None:
        pairs = instruments // 2
        each = ceil_to(pairs, 128)
        counts = Counts(slots=2 * each, covers=max(pairs, 1), held=16, relations=16)
        self.segment = Segment.create(directory, counts, mode=Mode.REPLAY, instance="bench")
        write_ranges(self.segment)
        self.pairs = pairs
        self._publish_catalog(pairs, each)
        self.generation = Generation(directory, 1)
        self.publishers: dict[Venue, Publisher] = {}
        for role, venue in FEED_ROLES.items():
            line = ProcessLine(self.segment, role)
            line.begin()
            publisher = Publisher(self.segment, role, line, Alerts(directory / "alerts.log", "BENCH", "bench"))
            publisher.take_over()
            publisher.opened(0, boottime_ns())
            self.publishers[venue] = publisher
        self.epoch = 1
        for venue in Venue:
            for pair in range(pairs):
                self.publish(venue, pair, self.YES, self.NO[venue])
        self.beat()

    def _publish_catalog(self, pairs: int, each: int) -> None:
        n = np.arange(pairs)
        kalshi, poly = n, each + n
        arrays: dict[str, Any] = {name: np.zeros(0, dtype) for name, dtype in ARRAYS.items()}

        def put(name: str, values: Any) -> None:
            arrays[name] = np.ascontiguousarray(values, ARRAYS[name])

        slots = np.concatenate([kalshi, poly])
        put("uid", slots + 1)
        put("slot", slots)
        put("venue", np.repeat([int(Venue.KALSHI), int(Venue.POLYMARKET)], pairs))
        put("tradeable", np.ones(2 * pairs))
        put("tick_e4", np.full(2 * pairs, 100))
        put("min_size_e2", np.full(2 * pairs, 500))
        put("fee", np.tile([FEE.rate_e6, FEE.exponent, FEE.quantum_e6, FEE.align_e6], (2 * pairs, 1)))
        put("group", np.full(2 * pairs, -1))
        put("prop_ptr", np.arange(0, 4 * pairs + 1, 2))
        put("prop_claims", np.stack([2 * kalshi, 2 * poly, 2 * kalshi + 1, 2 * poly + 1], 1).reshape(-1))
        put("cover_ptr", np.arange(0, 2 * pairs + 1, 2))
        put("cover_props", np.arange(2 * pairs))
        put("cover_id", n + 1)
        put("cover_k", np.ones(pairs))
        for name in ("cover_group", "cover_event", "cover_tails", "cover_floor_e6"):
            put(name, np.zeros(pairs))
        put("cover_relations_ptr", np.zeros(pairs + 1))
        text = {"title": "", "yes_label": "Yes", "no_label": "No", "yes_token": "", "no_token": "", "version": ""}
        instruments = [{"native_id": f"I{s}", **text, "neg_risk": False, "min_size": "5", "reason": ""} for s in slots]
        covers = [{"name": f"pair {i}", "kind": "pair"} for i in range(pairs)]
        meta = {"instruments": instruments, "covers": covers, "events": ["bench"], "relations": {}}
        directory = self.segment.directory
        write_generation(directory, 1, *encode_generation(arrays, meta))
        self.segment.region.store_u64(self.segment.section("catalog").offset, 1)

    def publish(self, venue: Venue, pair: int, yes: Any, no: Any, recv_ns: int = 0) -> None:
        """One frame's worth of one instrument: row, costs, change, ring."""
        listing = self.generation.listings[pair + (self.pairs if venue is Venue.POLYMARKET else 0)]
        self.publishers[venue].publish(
            listing, 0, self.epoch, flags=0, venue_ms=0, recv_ns=recv_ns, tick_e4=100, yes_asks=yes, no_asks=no
        )  # type: ignore[arg-type]

    def beat(self) -> None:
        """Both feeds are alive and their connections confirmed."""
        for publisher in self.publishers.values():
            publisher.line.beat()
            publisher.connections.confirm(publisher.connection(0), boottime_ns())

    def detector(self, config: Config | None = None) -> tuple[Detector, ProcessLine]:
        """A detector over the segment, in this process."""
        line = ProcessLine(self.segment, Role.DETECTOR)
        line.begin()
        directory = self.segment.directory
        spec = RunSpec(str(directory), "bench", Mode.REPLAY, str(directory), "", config or Config())
        alerts = Alerts(directory / "alerts.log", "BENCH", "detector", line)
        process: Any = SimpleNamespace(
            spec=spec, segment=self.segment, line=line, clock=SegmentClock(self.segment), alerts=alerts
        )
        return Detector(process), line


@contextmanager
def plane(instruments: int) -> Iterator[Plane]:
    """A plane in a directory of its own on tmpfs."""
    directory = Path(f"/dev/shm/arbpipe-bench-{os.getpid()}-{secrets.token_hex(3)}")
    directory.mkdir()
    try:
        yield Plane(directory, instruments)
    finally:
        shutil.rmtree(directory)


def cores() -> tuple[int, int]:
    """Two cores to pin to; the same one twice where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


@contextmanager
def forked(work: Callable[[], None], core: int) -> Iterator[int]:
    """``work`` in a child pinned to a core, killed at the end; its pid."""
    pid = os.fork()
    if not pid:
        try:
            os.sched_setaffinity(0, {core})
            work()
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
