"""How long does a frame take from the socket to a published row, and how many can one feed process take?

Two parts per venue. *Processing*: the feed's own work on each frame, in one process, hot. *Socket*: a server process sends the
same frames over a loopback WebSocket as fast as it can; the client counts what it applied. Frames are a generated sample
(``arbpipe sample``), or any recording that ``arbpipe replay`` reads.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
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
from bench.report import Report

_SERVER = """
import asyncio, json, sys
from aiohttp import web
frames = [json.loads(line)["recv"] for line in open(sys.argv[1]) if '"recv"' in line]
async def handle(request):
    ws = web.WebSocketResponse(compress=False)
    await ws.prepare(request)
    await ws.receive()
    for frame in frames:
        await ws.send_str(frame)
    await ws.send_str("END")
    await ws.receive()
    return ws
async def main():
    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


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


def _processing(bench: _Bench, rounds: int) -> list[float]:
    """Microseconds of the feed's own work, per frame."""
    samples = []
    for _ in range(rounds):
        bench.feed.opened(0, boottime_ns())
        for frame in bench.frames:
            began = stamp_ns()
            bench.feed.frame(0, frame, began, boottime_ns())
            samples.append((stamp_ns() - began) / 1000)
        bench.feed.closed(0, "bench", stamp_ns())
    return samples


class _User:
    def __init__(self, bench: _Bench, done: asyncio.Event) -> None:
        self.bench, self.done, self.began = bench, done, 0
        self.wire: Wire | None = None

    def wire_opened(self) -> None:
        assert self.wire is not None
        self.bench.feed.opened(0, boottime_ns())
        self.began = stamp_ns()
        self.wire.send("go")

    def wire_message(self, data: bytes) -> None:
        if data == b"END":
            self.done.set()
        else:
            self.bench.feed.frame(0, data, stamp_ns(), boottime_ns())

    def wire_closed(self, reason: str) -> None:
        pass


async def _socket(bench: _Bench, port: int) -> float:
    """Frames a second over a loopback WebSocket."""
    done = asyncio.Event()
    user = _User(bench, done)
    user.wire = Wire(f"ws://127.0.0.1:{port}/", user)
    work = asyncio.create_task(user.wire.run())
    await asyncio.wait_for(done.wait(), 120)
    seconds = (stamp_ns() - user.began) / 1e9
    user.wire.stop()
    await work
    return len(bench.frames) / seconds


def main(argv: list[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench feed", description=__doc__)
    parser.add_argument("--venue", choices=list(VENUES), help="only this venue")
    parser.add_argument("--seconds", type=float, default=120.0, help="length of the generated sample")
    parser.add_argument("--rounds", type=int, default=3)
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
                report.add(f"{name} processing per frame", "us", _processing(bench, options.rounds))
                server = subprocess.Popen(
                    [sys.executable, "-c", _SERVER, str(folder / f"{name}.jsonl")], stdout=subprocess.PIPE
                )
                assert server.stdout is not None
                try:
                    before = bench.line.get(Counter.FRAMES)
                    rate = uvloop.run(_socket(bench, int(server.stdout.readline())))
                    report.figure(f"{name} frames a second over a socket", "1/s", rate)
                    applied = bench.line.get(Counter.FRAMES) - before
                    report.figure(f"{name} frames lost", "frames", len(bench.frames) - applied)
                finally:
                    server.kill()
                    server.wait()
            finally:
                bench.close()
    report.show(as_json=options.json)
    return 0
