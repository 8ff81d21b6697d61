"""How long does a frame take from the socket to a published row, and how many can one feed process take?

Per venue: *processing*, the feed's own work on each kind of frame, in one process, hot; *socket*, a server process sends a
long stream over a loopback WebSocket as fast as the feed takes it, on another processor, and what was applied is counted; and
with ``--memory [FRAMES]`` (10,000,000 unless said) what a feed's memory does over so many frames. Frames are a generated sample
(``arbpipe sample``) and what :mod:`bench.stream` makes of it. The machine may not be quiet: every figure is of several rounds,
how far these lie apart is printed beside it, and so is what a fixed piece of Python took meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import tempfile
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path

import uvloop

from arbpipe.alerts import Alerts
from arbpipe.catalog.pairs import load_pairs
from arbpipe.catalog.publish import flatten
from arbpipe.clock import boottime_ns, stamp_ns
from arbpipe.identity import VENUES, Venue
from arbpipe.record.recording import FrameKind, open_recordings
from arbpipe.shm.generation import Generation, encode_generation, write_generation
from arbpipe.shm.layout import Counts
from arbpipe.shm.segment import Mode, Segment
from arbpipe.shm.stats import Counter, ProcessLine
from arbpipe.shm.tables import FEED_ROLES, ranges_of, write_ranges
from arbpipe.sim.sample import write_sample
from arbpipe.venues.kalshi.feed import KalshiFeed
from arbpipe.venues.polymarket.feed import PolymarketFeed
from arbpipe.venues.publisher import Publisher
from arbpipe.venues.wire import Wire
from bench.plane import cores
from bench.report import Report
from bench.stream import END, endless, serving, write_stream

_AIM_US, _AIM_RATE, _AIM_GROWTH_KB = 5, 100_000, 1_024
#: How a venue's frames are told apart, and what each kind is called.
_KINDS = {
    Venue.KALSHI: {b'{"type":"orderbook_delta"': "delta", b'{"type":"orderbook_snapshot"': "snapshot"},
    Venue.POLYMARKET: {b'"event_type":"price_change"': "delta", b'"event_type":"book"': "snapshot"},
}


class _Bench:
    """One feed over a private segment."""

    def __init__(self, venue: Venue, folder: Path, directory: Path) -> None:
        self.venue = venue
        role = next(role for role, of in FEED_ROLES.items() if of is venue)
        self.segment = Segment.create(directory, Counts(), mode=Mode.REPLAY, instance="bench")
        write_ranges(self.segment)
        catalog = load_pairs(folder / "pairs.toml")
        slots: dict[int, int] = {}
        for each in ranges_of(self.segment).values():
            mine = [i for i in catalog.instruments if i.venue is FEED_ROLES[each.role]]
            slots.update({i.uid: each.first_slot + n for n, i in enumerate(mine)})
        arrays, meta = flatten(catalog, slots, {r.id: n for n, r in enumerate(catalog.relations)})
        write_generation(directory, 1, *encode_generation(arrays, meta))
        self.line = ProcessLine(self.segment, role)
        self.line.begin()
        publisher = Publisher(self.segment, role, self.line, Alerts(directory / "alerts.log", "BENCH", "bench"))
        publisher.take_over()
        path = folder / f"{venue.label}.jsonl"
        recording = next(r for r in open_recordings(path) if r.venue is venue)
        self.frames = [f.data for f in recording.frames if f.kind is FrameKind.FRAME]
        self.feed: KalshiFeed | PolymarketFeed
        if venue is Venue.KALSHI:
            self.feed = KalshiFeed(publisher, use_yes_price=recording.use_yes_price)
        else:
            self.feed = PolymarketFeed(publisher)
        self.feed.list(Generation(directory, 1))

    def close(self) -> None:
        """Remove the segment."""
        directory = self.segment.directory
        self.segment.detach()
        (directory / "alerts.log").unlink(missing_ok=True)
        Segment.destroy(directory)


def _kind(venue: Venue, frame: bytes) -> str:
    return next((name for text, name in _KINDS[venue].items() if text in frame[:4_000]), "other")


def _processing(bench: _Bench, rounds: int) -> list[dict[str, list[float]]]:
    """Microseconds of the feed's own work per frame, by kind, for each round. One reading of the clock is in them."""
    found, kinds = [], [_kind(bench.venue, frame) for frame in bench.frames]
    for _ in range(rounds):
        samples: dict[str, list[float]] = defaultdict(list)
        bench.feed.opened(0, boottime_ns())
        for frame, kind in zip(bench.frames, kinds, strict=True):
            age_ns = boottime_ns()
            began = stamp_ns()
            bench.feed.frame(0, frame, began, age_ns)
            samples[kind].append((stamp_ns() - began) / 1000)
        bench.feed.closed(0, "bench", stamp_ns())
        found.append(samples)
    return found


def _report_processing(report: Report, bench: _Bench, rounds: list[dict[str, list[float]]]) -> None:
    name = bench.venue.label
    for kind in ("delta", "snapshot"):
        report.add(f"{name} processing of a {kind}", "us", [each for one in rounds for each in one[kind]])
        report.add(f"{name} p50 of a {kind}, round by round", "us", [statistics.median(one[kind]) for one in rounds])
    if bench.venue is Venue.KALSHI:
        best = min(statistics.median(one["delta"]) for one in rounds)
        report.aim(f"{name} p50 of a delta, best of {len(rounds)} rounds", _AIM_US, best, "us")


class _User:
    def __init__(self, bench: _Bench, done: asyncio.Event) -> None:
        self.bench, self.done, self.began, self.ended = bench, done, 0, 0
        self.frame = bench.feed.frame
        self.wire: Wire | None = None

    def wire_opened(self) -> None:
        assert self.wire is not None
        self.bench.feed.opened(0, boottime_ns())
        self.began = stamp_ns()
        self.wire.send("go")

    def wire_message(self, data: bytes) -> None:
        if data == END:
            self.ended = stamp_ns()
            self.done.set()
        else:
            self.frame(0, data, stamp_ns(), boottime_ns())

    def wire_closed(self, reason: str) -> None:
        pass


async def _socket(bench: _Bench, port: int) -> float:
    """The seconds one stream takes over a loopback WebSocket."""
    done = asyncio.Event()
    user = _User(bench, done)
    user.wire = Wire(f"ws://127.0.0.1:{port}/", user)
    work = asyncio.create_task(user.wire.run())
    await asyncio.wait_for(done.wait(), 300)
    user.wire.stop()
    await work
    return (user.ended - user.began) / 1e9


def _report_socket(report: Report, bench: _Bench, path: Path, count: int, rounds: int) -> None:
    name, line = bench.venue.label, bench.line
    write_stream(path, bench.venue, bench.frames, count)
    lost = faults = 0
    rates = []
    # the feed has a processor of its own, as in the pipeline; the server has another
    feed_cpu, server_cpu = cores()
    with serving(path, server_cpu) as port:
        everywhere = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {feed_cpu})
        for _ in range(rounds):
            before, wrong = line.get(Counter.FRAMES), _faults(bench)
            rates.append(count / uvloop.run(_socket(bench, port)))
            lost += count - (line.get(Counter.FRAMES) - before)
            faults += _faults(bench) - wrong
        os.sched_setaffinity(0, everywhere)
    path.unlink()
    report.add(f"{name} frames a second over a socket", "1/s", rates)
    report.figure(f"{name} frames lost of {rounds} x {count:,}", "frames", lost)
    if bench.venue is Venue.KALSHI:
        report.aim(f"{name} frames a second, best of {rounds} streams", _AIM_RATE, max(rates), "1/s", at_least=True)
    report.aim(f"{name} frames lost", 0, lost, "frames")
    report.aim(f"{name} gaps, bad frames, wrong hashes", 0, faults, "frames")


def _faults(bench: _Bench) -> int:
    return sum(bench.line.get(each) for each in (Counter.GAPS, Counter.BAD_FRAMES, Counter.HASH_MISMATCHES))


def _memory_kb() -> tuple[int, int]:
    """RSS, and what of it is this process's own memory. (PSS moves when others who share a library come and go.)"""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return int(fields["Rss"].split()[0]), int(fields["Anonymous"].split()[0])


def _report_memory(report: Report, bench: _Bench, count: int) -> None:
    """Ten looks at the memory over ``count`` frames; up to the first it warms up."""
    name, before = bench.venue.label, _faults(bench)
    bench.feed.opened(0, boottime_ns())
    stream, frame = endless(bench.venue, bench.frames), bench.feed.frame
    looks = []
    for part in range(1, 11):
        for raw in islice(stream, count // 10):
            frame(0, raw, stamp_ns(), boottime_ns())
        gc.collect()
        looks.append(_memory_kb())
        report.figure(f"{name} RSS after {part * (count // 10):,} frames", "KiB", looks[-1][0])
    bench.feed.closed(0, "bench", stamp_ns())
    report.aim(f"{name} gaps, bad frames, wrong hashes of {count:,}", 0, _faults(bench) - before, "frames")
    for number, what in enumerate(("RSS", "own memory")):
        growth = max(look[number] for look in looks) - looks[0][number]
        report.aim(f"{name} growth of {what} after the first tenth", _AIM_GROWTH_KB, growth, "KiB")


def _reference(report: Report) -> None:
    """What the same piece of Python takes again and again: how quiet the machine is."""
    found = []
    for _ in range(20):
        began, total = stamp_ns(), 0
        for number in range(50_000):
            total += number * number % 7
        found.append((stamp_ns() - began) / 50_000)
    report.add("reference: one turn of a fixed loop", "ns", found)


def main(argv: list[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench feed", description=__doc__)
    parser.add_argument("--venue", choices=list(VENUES), help="only this venue")
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the generated sample")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stream", type=int, default=300_000, metavar="FRAMES", help="frames sent over the socket")
    parser.add_argument(
        "--memory", type=int, nargs="?", const=10_000_000, metavar="FRAMES", help="watch the memory too"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    report = Report("feed")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_sample(folder, seed=1, events=40, seconds=options.seconds)
        for name, venue in VENUES.items():
            if options.venue not in (None, name):
                continue
            bench = _Bench(venue, folder, Path(f"/dev/shm/arbpipe-bench-{time.time_ns()}"))
            try:
                _reference(report)
                _report_processing(report, bench, _processing(bench, options.rounds))
                _report_socket(report, bench, folder / "stream", options.stream, options.rounds)
                if options.memory:
                    _report_memory(report, bench, options.memory)
            finally:
                bench.close()
    report.show(as_json=options.json)
    return 0
