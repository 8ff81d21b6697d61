"""How long from a publication to the opportunity in the ring, as the publisher sees it?

Two processes on two cores: A publishes what makes an opportunity and polls the ring; B detects. All times are on A's clock,
from before the row is written until the entry is read.

- *first look*: the core alone. A writes row, costs and log entry and rings; B drains the log, refreshes best costs, sums, and
  on a hit pushes a ready entry. No row is re-read and no size computed: the floor of any detector on these primitives. B
  spins, or is *blocked*: asleep in the futex before each publication.
- *production*: A is the feeds' ``Publisher`` with its bookkeeping, B the real ``Detector.turn``, with every row re-read, exact
  fees, merged depth and the size. *Publishing* is A's own part of it.

In the same minute, written in C: a round trip of one cache line between the two cores.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from time import monotonic_ns

from arbpipe.config import Config, DetectorConfig
from arbpipe.detector.kernel import kernel_of
from arbpipe.identity import Venue
from arbpipe.shm import core
from arbpipe.shm.doorbell import DetectorBell
from arbpipe.shm.layout import OPPORTUNITY
from bench.plane import FEE, Plane, cores, forked, plane
from bench.report import Report

PAIRS = 512
HERE = Path(__file__).resolve().parent


def floor_us(rounds: int, pause_ns: int, how: str = "spin") -> list[float]:
    """Round trips of one cache line, in C."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "roundtrip"
        native = HERE.parent / "arbpipe" / "_native"
        sources = [HERE / "roundtrip.c", native / "wait.c"]
        subprocess.run(["cc", "-std=c11", "-O2", f"-I{native}", *sources, "-o", program], check=True)
        a, b = cores()
        done = subprocess.run(
            [program, str(a), str(b), str(rounds), str(pause_ns), how], capture_output=True, text=True, check=True
        )
    return [int(line) / 1000 for line in done.stdout.split()]


def first_look(made: Plane, spin_ns: int) -> Callable[[], None]:
    """B as the core alone."""

    def work() -> None:
        segment = made.segment
        logs = [segment.section("changes").at(number) for number in range(2)]
        words = tuple(logs)
        tails = tuple(segment.region.load_u64(log) for log in logs)
        kernel = kernel_of(segment, made.generation, logs, tails, 5_000)
        for cover, edge in kernel.sweep(made.pairs):
            kernel.settle(cover, edge)
        bell = DetectorBell(segment)
        region, base, capacity = segment.region, segment.section("opportunities").offset, segment.counts.ring_capacity
        entry = bytes(OPPORTUNITY.size)
        size, push, drain = OPPORTUNITY.size, core.ring_push, kernel.drain
        while True:
            found = drain()
            if found:
                for _hit in found:
                    push(region, base, capacity, size, entry)
            elif found is None:
                bell.wait(words, kernel.tails, spin_ns, 1_000_000_000)

    return work


def detector(made: Plane) -> Callable[[], None]:
    """B as it runs in production, spinning."""

    def work() -> None:
        wait = DetectorConfig(wait="spin", expiry_ms=10_000)
        each, line = made.detector(Config(detector=wait))
        gc.disable()  # as run_detector does
        while True:
            worked = each.turn()
            line.beat()
            if not worked:
                each.wait()

    return work


def by_the_core(made: Plane) -> Callable[[int, int], None]:
    """A as the core alone: row, both costs, log entry, bell; ``cost`` is that of YES on Kalshi."""
    segment = made.segment
    region, bell = segment.region, segment.section("doorbell").offset
    rows, costs, log = (
        segment.section("rows").offset,
        segment.section("cost_e6").offset,
        segment.section("changes").at(0),
    )
    capacity, stride = segment.counts.log_capacity, segment.section("rows").stride
    fields = (1, 0, 1, 0, 0, 0, 0, 100, FEE.rate_e6, FEE.exponent, FEE.quantum_e6, FEE.align_e6)
    no = made.NO[Venue.KALSHI]

    def publish(pair: int, cost: int) -> None:
        core.row_publish(region, rows + stride * pair, *fields, ((cost // 100, 2_000),), no)
        region.store_i32(costs + 8 * pair, cost)
        core.log_push(region, log, capacity, pair)
        core.bell_ring(region, bell)

    return publish


def by_the_feed(made: Plane) -> Callable[[int, int], None]:
    """A as the feeds publish."""
    no = made.NO[Venue.KALSHI]

    def publish(pair: int, cost: int) -> None:
        made.publish(Venue.KALSHI, pair, ((cost // 100, 2_000),), no, monotonic_ns())

    return publish


def measure(
    made: Plane, publish: Callable[[int, int], None], rounds: int, pause_s: float
) -> tuple[list[float], list[float], int]:
    """Microseconds from publication to pop, and of publishing alone; and how many never came."""
    took, published, lost = [], [], 0
    region, base = made.segment.region, made.segment.section("opportunities").offset
    capacity, read, size = made.segment.counts.ring_capacity, core.ring_read, OPPORTUNITY.size
    for number in range(rounds):
        if number % 256 == 0:
            made.beat()
        pair = number % made.pairs
        publish(pair, 600_000)  # as it was: no opportunity
        wait_until = monotonic_ns() + int(pause_s * 1e9)
        while monotonic_ns() < wait_until:  # awake, as a feed in a busy market is
            pass
        head = region.load_u64(base)
        cost = 455_000 - 100 * (number % 7)  # with 0.50 for NO and both fees a cent or so is left
        began = monotonic_ns()
        publish(pair, cost)
        done = monotonic_ns()
        end = done + 1_000_000_000
        while read(region, base, capacity, size, head) is None:
            if monotonic_ns() > end:
                lost += 1
                break
        else:
            took.append((monotonic_ns() - began) / 1000)
            published.append((done - began) / 1000)
    return took, published, lost


def main(argv: list[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench handover", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    report = Report("handover")
    a, b = cores()
    if a == b:
        print("one core only: both sides would wait for each other's time slice")
        return 1
    report.add("C: round trip of one cache line", "us", floor_us(options.rounds, 0))
    # what the machine itself takes away now and then shows only over as long a time as the other cases last
    report.add("C: the same, every 60 us", "us", floor_us(options.rounds, 60_000))
    report.add("C: the same, asleep in the futex", "us", floor_us(options.rounds // 10, 2_000_000, "sleep"))
    cases = (
        ("first look, spinning", lambda made: first_look(made, 1_000_000_000), by_the_core, options.rounds, 0.00005),
        ("first look, blocked", lambda made: first_look(made, 0), by_the_core, options.rounds // 10, 0.002),
        ("production, spinning", detector, by_the_feed, options.rounds // 4, 0.0005),
    )
    whole = {}
    for name, work, publisher, rounds, pause_s in cases:
        with plane(2 * PAIRS) as made, forked(work(made), b):
            os.sched_setaffinity(0, {a})
            time.sleep(0.5)
            took, published, lost = measure(made, publisher(made), rounds, pause_s)
        whole[name] = report.add(f"{name}: publish to pop", "us", took)
        report.add(f"{name}: publishing", "us", published)
        report.figure(f"{name}: never came", "publications", lost)
    spinning, production = whole["first look, spinning"], whole["production, spinning"]
    report.aim("first look, publish to pop, p50", 3, spinning.p50, "us")
    report.aim("first look, publish to pop, p99", 10, spinning.p99, "us")
    report.aim("first look, blocked, p50", 80, whole["first look, blocked"].p50, "us")
    report.aim("production, publish to pop, p50", 3, production.p50, "us")
    report.aim("production, publish to pop, p99", 10, production.p99, "us")
    report.show(as_json=options.json)
    return 0
