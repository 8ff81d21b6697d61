"""What do a row's write and read cost, in both cores?

Each sample is the mean of a batch of calls, the empty loop subtracted; so p99 is of batches, not of single calls. Beside
them, as the floor, one load of a word through the same binding.
"""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable
from time import perf_counter_ns
from types import ModuleType
from typing import Any

from arbpipe.shm.layout import CELL, HEAD_BYTES, LINE, ROW
from bench.plane import cores
from bench.report import Report

BATCH = 200
LEVELS = [[(4_500 + 10 * n, 1_000 + n) for n in range(8)], [(5_000 + 10 * n, 2_000 + n) for n in range(8)]]


def batches(call: Callable[[], Any], count: int) -> list[float]:
    """Nanoseconds a call, one figure a batch."""
    found, loop = [], range(BATCH)

    def nothing() -> None:
        pass

    for _ in range(count):
        t0 = perf_counter_ns()
        for _ in loop:
            nothing()
        t1 = perf_counter_ns()
        for _ in loop:
            call()
        t2 = perf_counter_ns()
        found.append(max(0.0, (t2 - t1 - (t1 - t0)) / BATCH))
    return found


def cases_of(core: ModuleType) -> dict[str, Callable[[], Any]]:
    """The calls, over memory of their own."""
    region = core.Region(bytearray(8192))
    log, ring, bell = 1024, 2048, 4096
    assert ring + HEAD_BYTES + 2 * 512 <= bell <= 8192 - 2 * LINE
    cell, into, entry = bytes(range(CELL.size)), bytearray(CELL.size), bytes(512)
    fields = (2**63 + 5, 3, 7, 1_790_000_000_000, 10**15, 10**15 + 7, 0, 100, 70_000, 1, 100, 100)
    core.row_publish(region, ROW.size, *fields, *LEVELS)
    return {
        "load a word (floor)": lambda: region.load_u64(0),
        "write from a ready buffer": lambda: core.row_write(region, 0, cell),
        "write from integers, 16 levels": lambda: core.row_publish(region, 0, *fields, *LEVELS),
        "read into a buffer": lambda: core.row_read(region, ROW.size, into),
        "read to integers, 16 levels": lambda: core.row_fetch(region, ROW.size),
        "log push": lambda: core.log_push(region, log, 64, 5),
        "ring push, 512 bytes": lambda: core.ring_push(region, ring, 2, 512, entry),
        "ring the bell, nobody waits": lambda: core.bell_ring(region, bell),
    }


def main(argv: list[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m bench row", description=__doc__)
    parser.add_argument("--batches", type=int, default=2_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    os.sched_setaffinity(0, {cores()[1]})
    report = Report("row")
    for name in ("native", "python"):
        core = importlib.import_module(f"arbpipe._{name}")
        if not hasattr(core, "LAYOUT"):
            continue
        cases = cases_of(core)
        medians = {}
        for case, call in cases.items():
            count = options.batches if name == "native" else options.batches // 4
            medians[case] = report.add(f"{name} {case}", "ns", batches(call, count)).p50
        if name == "native":
            report.aim("native write from a ready buffer", 100, medians["write from a ready buffer"], "ns")
            report.aim("native write from Python integers", 700, medians["write from integers, 16 levels"], "ns")
            report.aim("native read", 250, medians["read into a buffer"], "ns")
    report.show(as_json=options.json)
    return 0
