"""One turn of the detector: what changed first, then the sweep's hits, and near-misses only while nothing happens."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from execution_bench import Plane, pair_plane

from arbpipe.alerts import Alerts
from arbpipe.config import Config, DetectorConfig
from arbpipe.detector.process import Detector
from arbpipe.identity import Venue
from arbpipe.process import RunSpec
from arbpipe.shm import core
from arbpipe.shm.ageclock import SegmentClock
from arbpipe.shm.doorbell import DetectorBell
from arbpipe.shm.layout import PROCESS, Role
from arbpipe.shm.opportunity import OpportunityReader
from arbpipe.shm.row import Reason
from arbpipe.shm.stats import Counter, ProcessLine
from arbpipe.shm.tables import Costs

A, B, POLY = "kalshi:A", "kalshi:B", "polymarket:0x01"


class Scene:
    """A plane whose costs and log entries follow its rows, and a detector over it."""

    def __init__(self, made: Plane, **config: Any) -> None:
        self.plane = made
        self.segment = made.segment
        self.ring = OpportunityReader(made.segment)
        self.line = ProcessLine(made.segment, Role.DETECTOR)
        self.line.begin()
        settings = Config(detector=DetectorConfig(sweep_ms=60_000, **config))
        spec = RunSpec(str(made.directory), "test", 1, str(made.directory), "", settings)
        process: Any = SimpleNamespace(
            spec=spec,
            segment=made.segment,
            line=self.line,
            clock=SegmentClock(made.segment),
            alerts=Alerts(made.directory / "alerts.log", "TEST", "detector", self.line),
        )
        self.detector = Detector(process)
        self.bell = DetectorBell(made.segment)
        self.costs = Costs(made.segment)

    def change(self, key: str, yes: int, no: int, size: int = 50_000, *, ring: bool = True) -> None:
        """Publish a row as a feed does; costs are the prices, without the fee, so never too high."""
        self.plane.quote(key, [(yes, size)], [(no, size)])
        listing = self.plane.listing(key)
        self.costs.store(listing.slot, 100 * yes, 100 * no)
        log = self.segment.section("changes").at(0 if listing.venue is Venue.KALSHI else 1)
        core.log_push(self.segment.region, log, self.segment.counts.log_capacity, listing.slot)
        if ring:
            self.bell.ring()

    def quiet(self) -> None:
        """Every book at prices that leave nothing, told to the end."""
        for key in (A, B, POLY):
            self.change(key, 5_500, 5_500)
        for _ in range(100):
            self.detector.turn()

    def stat(self, index: int) -> dict[str, Any]:
        return self.segment.fields("cover_stats", index)


@pytest.fixture
def scene() -> Iterator[Scene]:
    with pair_plane() as made:
        each = Scene(made)
        yield each
        each.detector.close()


def test_a_change_that_makes_an_opportunity_is_pushed_in_the_same_turn(scene: Scene) -> None:
    scene.quiet()
    assert scene.ring.next() is None
    scene.change(A, 4_600, 5_600)
    scene.change(POLY, 5_600, 5_000)
    assert scene.detector.turn()
    found = scene.ring.next()
    assert found is not None
    assert {leg.uid for leg in found.legs} == {scene.plane.listing(A).uid, scene.plane.listing(POLY).uid}
    assert scene.stat(found.cover)["pushed"] == 1
    assert scene.stat(found.cover)["reason"] == Reason.NONE
    assert not scene.detector.turn() or scene.ring.next() is None, "the same rows are pushed once"


def test_near_misses_of_a_sweep_are_priced_one_a_turn_after_everything_else(scene: Scene) -> None:
    covers = len(scene.plane.generation.covers)
    assert covers >= 2
    for key in (A, B, POLY):
        scene.change(key, 5_500, 5_500)
    scene.detector.turn()  # the generation, the log, the sweep, and nothing told yet but what the log touched
    told = [scene.stat(index)["seen"] for index in range(covers)]
    scene.detector._next_sweep = 0
    turns = 0
    while scene.detector.turn():
        now = [scene.stat(index)["seen"] for index in range(covers)]
        assert sum(now) - sum(told) <= 1
        told = now
        turns += 1
        assert turns < 1_000
    assert all(scene.stat(index)["reason"] == Reason.EDGE for index in range(covers))
    scene.detector._next_sweep = 0
    assert not scene.detector.turn(), "what was told is not told again"


def test_in_a_market_that_never_rests_near_misses_are_told_now_and_then(scene: Scene) -> None:
    scene.quiet()
    scene.detector._later.extend((index, -1) for index in range(2))
    turns = 0
    while scene.detector._later:
        scene.change(B, 5_500, 5_500 + turns % 2)
        assert scene.detector.turn()
        turns += 1
        assert turns < 300
    assert turns >= 128


def test_hits_are_looked_at_before_near_misses_of_the_same_drain(scene: Scene) -> None:
    scene.quiet()
    looked: list[int] = []
    real = scene.detector._look

    def look(index: int, edge: int) -> bool:
        looked.append(edge)
        return real(index, edge)

    scene.detector._look = look  # type: ignore[method-assign]
    scene.change(A, 4_600, 5_600)  # a hit across, and a little better on the other side without being one
    scene.change(POLY, 5_400, 5_000)
    scene.detector.turn()
    assert looked
    assert all(edge >= 5_000 for edge in looked), "a near-miss was priced while a hit waited"
    assert scene.detector._later, "nothing but hits was found: the test proved nothing"


def test_covers_without_a_price_come_again_but_fewer_at_a_time(scene: Scene) -> None:
    scene.quiet()
    for venue in Venue:
        scene.plane.connections.next_epoch(scene.plane.connection[venue])  # no row can be used any more
    for key in (A, B, POLY):
        scene.change(key, 5_400, 5_400)  # better than anything told, but of the old epoch
    for _ in range(10):
        scene.detector._next_sweep = 0
        while scene.detector.turn():
            pass
    assert scene.stat(0)["reason"] == Reason.OLD_EPOCH
    assert scene.detector._near == 2
    assert scene.ring.next() is None


def test_an_overrun_of_a_log_is_counted_and_swept(scene: Scene) -> None:
    scene.quiet()
    sweeps = scene.line.get(Counter.SWEEPS)
    for _ in range(scene.segment.counts.log_capacity):
        scene.change(B, 5_500, 5_500)
    scene.change(A, 4_600, 5_600)
    scene.change(POLY, 5_600, 5_000)
    scene.detector.turn()
    assert scene.line.get(Counter.OVERRUNS) == 1
    assert scene.line.get(Counter.SWEEPS) == sweeps + 1
    assert scene.ring.next() is not None
    assert [scene.line.cursor_value(index) for index in range(2)] == [
        scene.segment.region.load_u64(scene.segment.section("changes").at(index)) for index in range(2)
    ]


def test_waiting_ends_as_soon_as_something_is_published(scene: Scene) -> None:
    scene.quiet()
    timer = threading.Timer(0.03, scene.change, (A, 4_600, 5_600))
    timer.start()
    waits = 0
    while not scene.detector.turn():
        scene.detector.wait()
        waits += 1
        assert waits < 10_000
    timer.join()


def test_a_wait_lasts_no_longer_than_the_next_sweep_or_a_tenth_of_a_second(scene: Scene) -> None:
    scene.quiet()
    began = time.monotonic()
    scene.detector.wait()
    assert time.monotonic() - began < 2
    scene.detector._next_sweep = 0
    began = time.monotonic()
    scene.detector.wait()
    assert time.monotonic() - began < 0.05


@pytest.mark.skipif(not core.is_native(), reason="the twin never sleeps for long")
def test_a_native_detector_does_not_sleep_while_a_publisher_cannot_ring(scene: Scene) -> None:
    scene.quiet()
    bell = scene.bell
    assert bell.all_ring()
    place = scene.segment.section("processes")
    at = place.at(Role.FEED_KALSHI) + PROCESS.offset("core")
    scene.segment.region.write(at, b"python (asked for)".ljust(32, b"\0"))
    assert not bell.all_ring()
    waits, began = 0, time.monotonic()
    scene.change(A, 5_600, 5_600, ring=False)
    scene.detector.turn()
    while time.monotonic() - began < 0.05:
        scene.detector.wait()
        waits += 1
    assert waits > 5, "it slept for longer than a millisecond"


def test_a_spinning_detector_looks_up_every_millisecond() -> None:
    with pair_plane() as made:
        scene = Scene(made, wait="spin", cpus=(1,))
        scene.quiet()
        waits, began = 0, time.monotonic()
        while time.monotonic() - began < 0.1:
            scene.detector.wait()
            waits += 1
        assert waits > 10
        scene.detector.close()
