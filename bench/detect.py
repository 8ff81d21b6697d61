"""What does the first look cost: one changed claim, and everything?

For comparison: a good Rust bot is said to scan 16,384 markets in 42 us on such a machine, 2.6 ns a market.

One changed claim: a cost and a log entry are written, then the drain is timed, alone, at a random slot each time; the clock's
own cost is subtracted. The full sweep is timed over 16,384 and 65,536 two-leg covers, each of a pair of instruments (four
claims). Native and twin run in the same minute. A blocked detector (the real one) over 65,536 quiet instruments runs for some
seconds, and its CPU time is read.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import time
from time import perf_counter_ns
from types import ModuleType
from typing import Any

import numpy as np

from arbpipe.shm.layout import HEAD_BYTES, PROCESS, Role
from arbpipe.shm.stats import Counter
from bench.plane import cores, forked, plane
from bench.report import Report

CAPACITY = 4096


def kernel(core: ModuleType, instruments: int) -> tuple[Any, Any, int]:
    """A region and a kernel over so many instruments, two and two a pair; and where its log lies."""
    pairs, log = instruments // 2, 8 * instruments
    memory = bytearray(log + HEAD_BYTES + 4 * CAPACITY)
    region = core.Region(memory)
    costs = np.frombuffer(memory, np.int32, 2 * instruments)
    costs[:] = np.random.default_rng(1).integers(500_001, 990_000, 2 * instruments)
    a, b = np.arange(pairs), pairs + np.arange(pairs)
    claims = np.stack([2 * a, 2 * b, 2 * a + 1, 2 * b + 1], 1).reshape(-1).astype(np.uint32)
    made = core.Kernel(
        region,
        0,
        instruments,
        (log,),
        (0,),
        CAPACITY,
        np.arange(0, 4 * pairs + 1, 2, dtype=np.uint32),
        claims,
        np.arange(0, 2 * pairs + 1, 2, dtype=np.uint32),
        np.arange(2 * pairs, dtype=np.uint32),
        np.ones(pairs, np.uint32),
        5_000,
    )
    for cover, edge in made.sweep(pairs):
        made.settle(cover, edge)
    return region, made, log


def clock_ns() -> int:
    """What two readings of the clock cost."""
    found = []
    for _ in range(20_000):
        t0 = perf_counter_ns()
        found.append(perf_counter_ns() - t0)
    return sorted(found)[len(found) // 2]


def changes(core: ModuleType, instruments: int, count: int, among: int = 0) -> list[float]:
    """Microseconds of draining one changed claim, anywhere or ``among`` so many of the instruments."""
    region, made, log = kernel(core, instruments)
    dice = random.Random(1)
    busy = dice.sample(range(instruments), among or instruments)
    slots = [dice.choice(busy) for _ in range(count)]
    for slot in slots:  # the twin works out once what a slot touches
        made.touch([slot])
    overhead, found = clock_ns(), []
    for slot in slots:
        region.store_i32(8 * slot, 700_000)
        core.log_push(region, log, CAPACITY, slot)
        t0 = perf_counter_ns()
        made.drain()
        found.append(max(0, perf_counter_ns() - t0 - overhead) / 1000)
    made.release()
    return found


def sweeps(core: ModuleType, covers: int, count: int) -> list[float]:
    """Microseconds of looking at everything."""
    _, made, _ = kernel(core, 2 * covers)
    found = []
    for _ in range(count):
        t0 = perf_counter_ns()
        made.sweep(32)
        found.append((perf_counter_ns() - t0) / 1000)
    made.release()
    return found


def blocked_percent(instruments: int, seconds: float) -> tuple[float, float]:
    """Percent of a core that the real detector takes while nothing happens, and its sweeps a second."""
    with plane(instruments) as made:

        def work() -> None:
            detector, line = made.detector()
            while True:  # every near-miss is told once, before the measurement
                detector._next_sweep = 0
                if not detector.turn():
                    break
                while detector.turn():
                    pass
            while True:
                worked = detector.turn()
                line.add(Counter.TURNS)
                line.beat()
                if not worked:
                    detector.wait()

        with forked(work, cores()[1]) as pid:
            counters = made.segment.section("processes").at(Role.DETECTOR)
            sweeps_at = counters + PROCESS.offset("counters", int(Counter.SWEEPS))
            turns_at = counters + PROCESS.offset("counters", int(Counter.TURNS))
            while made.segment.region.load_u64(turns_at) < 20:  # counted only once everything is told
                made.beat()
                time.sleep(0.1)
            began, used, swept = time.monotonic(), cpu_s(pid), made.segment.region.load_u64(sweeps_at)
            while time.monotonic() - began < seconds:
                made.beat()
                time.sleep(0.5)
            took = time.monotonic() - began
            return 100 * (cpu_s(pid) - used) / took, (made.segment.region.load_u64(sweeps_at) - swept) / took


def cpu_s(pid: int) -> float:
    """User and system seconds of a process, from its scheduler statistics (nanoseconds, not ticks)."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9


def main(argv: list[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench detect", description=__doc__)
    parser.add_argument("--changes", type=int, default=20_000)
    parser.add_argument("--sweeps", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the blocked detector is watched")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    report = Report("detect")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores()[1]})
    medians: dict[tuple[str, str, int], float] = {}
    for name in ("native", "python"):
        core = importlib.import_module(f"arbpipe._{name}")
        if not hasattr(core, "LAYOUT"):
            continue
        for instruments in (1_024, 16_384, 65_536):
            case = report.add(
                f"{name} one changed claim of {instruments:,} instruments",
                "us",
                changes(core, instruments, options.changes),
            )
            medians[name, "change", instruments] = case.p50
        report.add(
            f"{name} one changed claim of 65,536, among 512 busy ones",
            "us",
            changes(core, 65_536, options.changes, 512),
        )
        for covers in (16_384, 65_536):
            case = report.add(f"{name} sweep of {covers:,} two-leg covers", "us", sweeps(core, covers, options.sweeps))
            medians[name, "sweep", covers] = case.p50
            report.figure(f"{name} sweep, per cover of {covers:,}", "ns", 1000 * case.p50 / covers)
            report.figure(f"{name} sweep, per instrument of {2 * covers:,}", "ns", 500 * case.p50 / covers)
    if ("native", "change", 1_024) in medians:
        first, last = medians["native", "change", 1_024], medians["native", "change", 65_536]
        for instruments in (1_024, 16_384, 65_536):
            report.aim(f"one changed claim of {instruments:,}", 0.6, medians["native", "change", instruments], "us")
        report.aim("one changed claim: 65,536 against 1,024 instruments", 1.5, last / first, "times")
        report.aim("sweep of 16,384 covers", 60, medians["native", "sweep", 16_384], "us")
        report.aim("sweep of 65,536 covers", 300, medians["native", "sweep", 65_536], "us")
        for covers in (16_384, 65_536):
            ratio = medians["python", "sweep", covers] / medians["native", "sweep", covers]
            report.aim(f"twin against native: sweep of {covers:,}", 4, ratio, "times")
    os.sched_setaffinity(0, before)
    percent, rate = blocked_percent(65_536, options.seconds)
    report.figure("blocked detector, 65,536 quiet instruments: sweeps", "1/s", rate)
    report.figure("blocked detector, 65,536 quiet instruments: CPU", "%", percent)
    report.aim("blocked detector over 65,536 quiet instruments", 0.5, percent, "% of a core")
    report.show(as_json=options.json)
    return 0
