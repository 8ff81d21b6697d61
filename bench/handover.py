"""How long from a publication to the opportunity in the ring, as the publisher sees it?

Two processes on two cores: A publishes a row that makes an opportunity (row, cost, change, bell) and polls the ring; B detects.
All times are on A's clock, from before the row is written until the entry is read. Three forms of B:

- *first look*: the core alone. Drain the log, refresh best costs, sum, and on a hit push a ready entry. No row is read, no size
  is computed: the floor of any detector on these primitives.
- *detector*: the real one, ``Detector.turn``, with every row re-read, exact fees, merged depth and the size.
- *blocked*: the first look again, asleep in the futex before each publication.

In the same minute, written in C: a round trip of one cache line between the two cores.
"""

from __future__ import annotations

import argparse
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
from arbpipe.shm.opportunity import OpportunityReader
from bench.plane import Plane, cores, forked, plane
from bench.report import Report

PAIRS = 512
HERE = Path(__file__).resolve().parent


def floor_us(rounds: int) -> list[float]:
    """Round trips of one cache line, in C."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "roundtrip"
        native = HERE.parent / "arbpipe" / "_native"
        subprocess.run(["cc", "-std=c11", "-O2", f"-I{native}", HERE / "roundtrip.c", "-o", program], check=True)
        a, b = cores()
        done = subprocess.run([program, str(a), str(b), str(rounds)], capture_output=True, text=True, check=True)
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
        while True:
            worked = each.turn()
            line.beat()
            if not worked:
                each.wait()

    return work


def measure(made: Plane, rounds: int, pause_s: float) -> tuple[list[float], list[float], int]:
    """Microseconds from publication to pop, and of publishing alone; and how many never came."""
    ring = OpportunityReader(made.segment)
    took, published, lost = [], [], 0
    region, base, head = made.segment.region, made.segment.section("opportunities").offset, 0
    capacity, read = made.segment.counts.ring_capacity, core.ring_read
    for number in range(rounds):
        if number % 256 == 0:
            made.beat()
        pair = number % made.pairs
        made.publish(Venue.KALSHI, pair, made.YES, made.NO)  # as it was: no opportunity
        wait_until = monotonic_ns() + int(pause_s * 1e9)
        while monotonic_ns() < wait_until:
            if pause_s >= 0.001:
                time.sleep(pause_s / 2)
        head = region.load_u64(base)
        yes = ((4_600 - number % 7, 2_000 + number % 11),)  # with 0.50 for NO and both fees a cent or so is left
        began = monotonic_ns()
        made.publish(Venue.KALSHI, pair, yes, made.NO, began)
        done = monotonic_ns()
        end = done + 1_000_000_000
        while read(region, base, capacity, OPPORTUNITY.size, head) is None:
            if monotonic_ns() > end:
                lost += 1
                break
        else:
            took.append((monotonic_ns() - began) / 1000)
            published.append((done - began) / 1000)
    del ring
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
    report.add("C: round trip of one cache line", "us", floor_us(options.rounds))
    cases = (
        ("first look, spinning", lambda made: first_look(made, 1_000_000_000), options.rounds, 0.00005),
        ("first look, blocked", lambda made: first_look(made, 0), options.rounds // 10, 0.002),
        ("detector, spinning", detector, options.rounds // 4, 0.0005),
    )
    medians = {}
    for name, work, rounds, pause_s in cases:
        with plane(2 * PAIRS) as made, forked(work(made), b):
            os.sched_setaffinity(0, {a})
            time.sleep(0.5)
            took, published, lost = measure(made, rounds, pause_s)
        medians[name] = report.add(f"{name}: publish to pop", "us", took)
        if name == "first look, spinning":
            report.add("of that, publishing", "us", published)
        report.figure(f"{name}: never came", "publications", lost)
    spinning = medians["first look, spinning"]
    report.aim("first look, publish to pop, p50", 3, spinning.p50, "us")
    report.aim("first look, publish to pop, p99", 10, spinning.p99, "us")
    report.aim("first look, blocked, p50", 80, medians["first look, blocked"].p50, "us")
    report.aim("detector with exact pricing, publish to pop, p50", 3, medians["detector, spinning"].p50, "us")
    report.aim("detector with exact pricing, publish to pop, p99", 10, medians["detector, spinning"].p99, "us")
    report.show(as_json=options.json)
    return 0
