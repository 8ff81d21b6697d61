"""The twin stays honest: one interface, the same bytes after the same operations, and a wrong variant of either is noticed."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from core_mutants import HERE, Change, load_core, native_mutant, twin_mutant

from arbpipe.shm.layout import CELL, HEAD_BYTES, HISTOGRAM, LINE, NO_QUOTE, ROW

ROOT = HERE.parents[1]
SLOTS, LOG, RING, STRIDE = 6, 8, 4, 64
ROWS = 0
COSTS = ROWS + SLOTS * ROW.size
LOGS = (COSTS + LINE, COSTS + LINE + HEAD_BYTES + LINE)
RINGS = LOGS[1] + HEAD_BYTES + LINE
BELL = RINGS + HEAD_BYTES + RING * STRIDE
LATENCY = BELL + 2 * LINE
COUNTERS = LATENCY + HISTOGRAM.size
SIZE = COUNTERS + LINE

Operation = Callable[["Side"], Any]


class Side:
    """One core over memory of its own."""

    def __init__(self, core: ModuleType, arrays: list[Any]) -> None:
        self.core = core
        self.memory = bytearray(SIZE)
        self.region = core.Region(self.memory)
        self.kernel = core.Kernel(self.region, COSTS, SLOTS, LOGS, (0, 0), LOG, *arrays, 5_000)
        self.outlets = [
            core.Outlet(
                self.region,
                slot * ROW.size,
                COSTS + 8 * slot,
                LOGS[slot % 2],
                LOG,
                BELL,
                LATENCY,
                (COUNTERS, COUNTERS + 8)[: slot % 3],
                slot,
                2**63 + slot,
                *(20_000 * slot, slot % 5, 3, 4, 150 * (slot % 4)),
            )
            for slot in range(SLOTS)
        ]

    def do(self, operation: Operation) -> Any:
        """What it returns, or the kind of error and what it says of a lost entry."""
        try:
            return operation(self)
        except self.core.Overrun as error:
            return "overrun", error.head, str(error)
        except (ValueError, IndexError, TypeError) as error:
            return type(error)


def world(dice: random.Random) -> list[Any]:
    props = [dice.sample(range(2 * SLOTS), dice.randrange(5)) for _ in range(dice.randrange(1, 9))]
    covers = [
        [dice.randrange(len(props)) for _ in range(dice.choice((1, 2, 2, 3, 8)))] for _ in range(dice.randrange(7))
    ]
    arrays: list[Any] = []
    for rows in (props, covers):
        arrays.append(np.cumsum([0, *map(len, rows)], dtype=np.uint32))
        arrays.append(np.array([item for row in rows for item in row], np.uint32))
    return [*arrays, np.array([dice.randrange(1, 4) for _ in covers], np.uint32)]


def words_of(levels: list[tuple[int, int]]) -> array[int]:
    """Levels as a book keeps them that is in a hurry."""
    return array("q", b"".join(struct.pack("<II", price % 2**32, size % 2**32) for price, size in levels))


def operation(dice: random.Random) -> Operation:
    """One call with arguments that are mostly good."""
    slot, log, n = dice.randrange(SLOTS), dice.choice(LOGS), dice.randrange(40)
    row = slot * ROW.size + (dice.choice((4, 8, -8, SIZE)) if dice.random() < 0.02 else 0)
    cell = dice.randbytes(CELL.size if dice.random() < 0.95 else dice.randrange(400))
    levels = [[(dice.randrange(10_000), dice.randrange(4)) for _ in range(dice.randrange(11))] for _ in range(2)]
    fields = [dice.randrange(2**16 if dice.random() < 0.98 else 2**66) for _ in range(12)]
    cost = [dice.choice((NO_QUOTE, 1, 497_499, 497_500, 497_501)) for _ in range(2)]
    offset = dice.choice((8 * dice.randrange(SIZE // 8), SIZE - 8, SIZE - 4, SIZE, dice.randrange(-9, SIZE + 9)))
    kind = dice.choice(("u64", "i64", "u32", "i32", "u8"))
    value = dice.choice((0, 1, -1, -(2**31) - 1, 2**8, 2**31, 2**32 - 1, 2**63, 2**64, 1.5, "x", None))
    data = dice.randbytes(dice.randrange(20))
    dice_ns = dice.randrange(-5, 2 ** dice.randrange(4, 63))

    def burst(side: Side) -> Any:
        return [side.core.log_push(side.region, log, LOG, (slot + i) % SLOTS) for i in range(n % 13)]

    def tell(side: Side) -> Any:
        found = side.kernel.sweep(n % 5)
        for cover, edge in found:
            side.kernel.settle(cover, edge)
        return found

    def store_cost(side: Side) -> Any:
        side.region.store_i32(COSTS + 8 * slot, cost[0])
        side.region.store_i32(COSTS + 8 * slot + 4, cost[1])
        return side.core.log_push(side.region, log, LOG, slot)

    def word(side: Side) -> Any:
        before = bytes(side.memory)
        result = side.do(lambda s: getattr(s.region, f"store_{kind}")(offset, value))
        loaded = side.do(lambda s: getattr(s.region, f"load_{kind}")(offset))
        side.memory[:] = before  # a random word anywhere would only wreck versions and heads
        # where two things are wrong at once, which one is named first is not of the interface
        return "refused" if isinstance(result, type) else result, loaded

    said = [dice.randrange(2) for _ in range(5)]
    asks = [[(price, dice.randrange(300)) for price, _ in side] for side in levels]
    if dice.random() < 0.1:
        asks[0].append((dice.choice((10_000, 10_001, -1)), dice.choice((1, -1, 2**31))))
    said[0] = said[0] if dice.random() < 0.98 else 2**32
    flags, at = dice.choice((0, 0, 0, 0, 1)), dice.randrange(SLOTS)
    shape, then = dice.choice((list, tuple, words_of)), dice.choice(("once", "again", "costs", "flag"))

    def published(side: Side) -> Any:
        outlet = side.outlets[at]

        def say(flags: int, asks: list[Any], verified: bool) -> Any:
            return side.do(lambda _: outlet.publish(*said[:2], flags, *said[2:], *map(shape, asks), verified))

        versions = [say(flags, asks, n % 2 == 0)]
        if then == "costs":  # the row would say the same, its costs do not
            side.region.store_u64(COSTS + 8 * at, NO_QUOTE | NO_QUOTE << 32)
        elif then == "flag":  # a flag is all the news
            versions.append(say(0, [[], []], n % 2 == 0))
            versions.append(say(1, [[], []], n % 2 == 0))
        if then != "once":
            versions.append(say(flags, asks, n % 3 == 0))
        fields = HISTOGRAM.unpack(side.memory, LATENCY)
        # what the clock said differs; how many there are does not
        side.memory[LATENCY:COUNTERS] = bytes(HISTOGRAM.size)
        for cell in (ROW.offset("cell0"), ROW.offset("cell1")):
            stamp = at * ROW.size + cell + CELL.offset("publish_ns")
            side.memory[stamp : stamp + 8] = bytes(8)
        return versions, fields["count"], sum(fields["buckets"])

    def copied(side: Side) -> Any:
        into = bytearray(b"\x55" * (CELL.size if n else 7))
        return side.core.row_read(side.region, row, into), bytes(into)

    choices: list[tuple[int, Operation]] = [
        (8, store_cost),
        (3, burst),
        (3, tell),
        (6, lambda s: s.kernel.drain()),
        (4, lambda s: s.kernel.sweep(n % 5)),
        (3, lambda s: s.kernel.settle(n % 7, n * 100 + 2_000)),
        (2, lambda s: s.kernel.touch([slot, n % SLOTS, n])),
        (2, lambda s: s.kernel.best_e6()),
        (2, lambda s: s.kernel.tails),
        (3, lambda s: s.core.row_write(s.region, row, cell)),
        (3, lambda s: s.core.row_publish(s.region, row, *fields, *levels)),
        (3, lambda s: s.core.row_fetch(s.region, row)),
        (3, copied),
        (8, published),
        (2, lambda s: s.core.histogram_record(s.region, LATENCY, dice_ns)),
        (2, lambda s: s.region.add_run(COUNTERS + 16, n - 20, offset)),
        (2, lambda s: s.region.store_run(COUNTERS + 16, offset, n - 20)),
        (3, lambda s: s.core.log_drain(s.region, log, LOG, n)),
        (4, lambda s: s.core.ring_push(s.region, RINGS, RING, STRIDE, cell[:STRIDE])),
        (4, lambda s: s.core.ring_read(s.region, RINGS, RING, STRIDE, n % 12)),
        (1, lambda s: s.core.bell_ring(s.region, BELL)),
        (1, lambda s: s.core.bell_wait(s.region, BELL, (log,), (n,), 0, 1)),
        (3, word),
        (1, lambda s: (s.region.size, s.region.readonly, s.region.read(offset, n))),
        (
            1,
            lambda s: (
                s.region.write(SIZE - n, data) if n >= len(data) + 10 else s.region.write(SIZE - n, data[: n - 5])
            ),
        ),
    ]
    weights, operations = zip(*choices, strict=True)
    chosen: Operation = dice.choices(operations, weights)[0]
    return chosen


def disagreement(one: ModuleType, other: ModuleType, seeds: range) -> str | None:
    """The first thing in which two cores differ over random sequences of operations; ``None`` if in nothing."""
    for seed in seeds:
        dice = random.Random(seed)
        arrays = world(dice)
        sides = [Side(core, arrays) for core in (one, other)]
        try:
            for step in range(60):
                each = operation(dice)
                said = [side.do(each) for side in sides]
                if said[0] != said[1]:
                    return f"seed {seed} step {step}: {said}"
                if sides[0].memory != sides[1].memory:
                    return f"seed {seed} step {step}: the bytes differ"
        finally:
            for side in sides:
                side.kernel.release()
    return None


SEEDS = range(400)


def test_the_same_operations_give_the_same_answers_and_byte_identical_memory(native: ModuleType) -> None:
    assert disagreement(native, load_core("arbpipe._python"), range(1_500)) is None


NATIVE_MUTANTS: list[Change] = [
    ("row.c", "load_relaxed(version) + 1;", "load_relaxed(version) + 2;"),
    ("row.c", "ROW_CELL0 + (next & 1) * CELL_SIZE", "ROW_CELL0 + (~next & 1) * CELL_SIZE"),
    ("row.c", "if (before == 0)", "if (before <= 1)"),
    ("log.c", "(at & (capacity - 1)), slot", "((at + 1) & (capacity - 1)), slot"),
    ("log.c", "at < tail || at - tail >= capacity", "at < tail || at - tail >= capacity - 1"),
    ("ring.c", "stride * (at & (capacity - 1)), entry", "stride * (~at & (capacity - 1)), entry"),
    ("ring.c", "at - position >= capacity", "at - position >= capacity - 1"),
    ("py_region.c", "if (offset % align)", "if (offset % align > 4)"),
    ("py_region.c", "offset > region->buffer.len - length", "offset >= region->buffer.len - length"),
    ("py_region.c", "*value < least || *value > most", "*value > most"),
    ("py_row.c", "words[2 * count + 1] > 0", "words[2 * count + 1] >= 0"),
    ("py_row.c", "made.cell.flags = (uint32_t)u[6]", "made.cell.flags = (uint32_t)u[7]"),
    ("py_row.c", "if (length != CELL_SIZE)\n        return", "if (length > CELL_SIZE)\n        return"),
    ("kernel.c", "best = cost < best ? cost : best;", "best = cost;"),
    ("kernel.c", "if (edge >= k->bar_e6[cover])", "if (edge > k->bar_e6[cover])"),
    ("kernel.c", "if (!alone)", "if (0)"),
    ("kernel.c", "best[n] = left < right ? left : right;", "best[n] = left;"),
    ("kernel.c", "edge[n] = pays[n] - best[a[n]] - best[b[n]];", "edge[n] = pays[n] - best[a[n]];"),
    ("kernel.c", "if (count > 2)", "if (count > 3)"),
    ("kernel.c", "k->near_at = cover + 1;", "k->near_at = cover;"),
    ("kernel.c", "if (k->edge_e6[cover] >= k->threshold_e6)", "if (k->edge_e6[cover] > k->threshold_e6)"),
    ("kernel.c", "k->tail[log] = head;", "k->tail[log] = taken == TAKEN_OK ? head : k->tail[log];"),
    ("kernel.c", "if (last[cover] == mark)", "if (0)"),
    ("outlet.c", "size < left ? size : left", "left"),
    ("outlet.c", "if (!cell->fee_exponent || !size_e2)", "if (!size_e2)"),
    ("outlet.c", "if (left)\n        return NO_QUOTE;", ""),
    ("outlet.c", "price * (ONE_DOLLAR_E4 - price));", "price * ONE_DOLLAR_E4);"),
    ("outlet.c", "fee[digit] += level[digit];", "fee[digit] = level[digit];"),
    ("outlet.c", "(100 * money_e6 + fee_e8) / size_e2", "(100 * money_e6 + fee_e8 + size_e2 - 1) / size_e2"),
    ("outlet.c", "yes | no << 32", "no | yes << 32"),
    ("outlet.c", "load_relaxed(outlet->costs) == costs && ", ""),
    ("outlet.c", "offsetof(struct cell, venue_ms), REST", "offsetof(struct cell, recv_ns), REST"),
    ("outlet.c", "REST = offsetof(struct cell, flags)", "REST = offsetof(struct cell, tick_e4)"),
    ("outlet.c", "if (cell->flags) {", "if (0) {"),
    ("outlet.c", "        if (verified)\n            store_release(check, stands);\n        return", "        return"),
    ("outlet.c", "    if (verified)\n        store_release(check, stands);\n    store", "    store"),
    ("outlet.c", "n < outlet->counted", "n < 1"),
    ("outlet.c", "    log_push(outlet->log, outlet->log_capacity, outlet->slot);\n", ""),
    ("outlet.c", "57u - (unsigned)", "58u - (unsigned)"),
    ("outlet.c", "value < load_relaxed(least)", "value > load_relaxed(least)"),
    ("py_outlet.c", "(uint32_t)asks[2 * n] > ONE_DOLLAR_E4 || ", ""),
    ("py_outlet.c", " || asks[2 * n + 1] < 0)", ")"),
    ("py_row.c", "buffer.len < 8 * DEPTH ? buffer.len : 8 * DEPTH", "buffer.len < 8 ? buffer.len : 8"),
    ("py_region.c", "load_relaxed(word + n) + (uint64_t)values[n]", "(uint64_t)values[n]"),
    ("py_kernel.c", "? edge + 1 : kernel->threshold_e6", "? edge : kernel->threshold_e6"),
    ("py_kernel.c", "if (bar > kernel->bar_e6[cover])", "if (1)"),
    ("py_kernel.c", "if (edge > kernel->edge_e6[cover])", "if (0)"),
]
TWIN_MUTANTS: list[Change] = [
    ("row.py", "version = region.load_u64(offset) + 1", "version = region.load_u64(offset) + 2"),
    ("row.py", "region.write(offset + _CELL0 + (version & 1) * _SIZE, cell)", "region.write(offset + _CELL0, cell)"),
    ("row.py", "if level[1] <= 0:", "if level[1] < 0:"),
    ("row.py", "            into[:] = copy\n", "            into[:8] = copy[:8]\n"),
    ("outlet.py", "or not self._least:", "or self._least == 150:"),
    ("outlet.py", "self._cost(flags, yes) |", "self._cost(flags, no) |"),
    ("outlet.py", "region.load_u64(self._costs) == costs and ", ""),
    ("outlet.py", 'slice(CELL.offset("venue_ms"), ', 'slice(CELL.offset("recv_ns"), '),
    ("outlet.py", 'CELL.offset("flags"))', 'CELL.offset("tick_e4"))'),
    ("outlet.py", "() if flags else yes, () if flags else no", "yes, no"),
    ("outlet.py", "            if verified:\n                region.store_u64(row + _VERIFIED, version)\n", ""),
    ("outlet.py", "0 <= price <= ONE_DOLLAR_E4 and 0 <= size", "0 <= size"),
    ("outlet.py", "value.bit_length() - 7", "value.bit_length() - 6"),
    ("row.py", "range(min(len(words), DEPTH))", "range(min(len(words), 1))"),
    ("region.py", "(self._u64[n] + amount) & 0xFFFF_FFFF_FFFF_FFFF", "amount & 0xFFFF_FFFF_FFFF_FFFF"),
    ("ring.py", "if head < tail or head - tail >= capacity:", "if head < tail or head - tail >= capacity - 1:"),
    ("ring.py", "    region.store_u64(base, head + 1)  # release: pairs with the head load in log_drain\n    return head + 1",
     "    region.store_u64(base, head + 1)\n    return head"),
    ("ring.py", "if position > head or head - position >= capacity:", "if head - position >= capacity:"),
    ("region.py", "offset > self.size - length:", "offset > self.size:"),
    ("region.py", "if offset % align:", "if offset % min(align, 4):"),
    ("kernel.py", "min([cost[claim] for claim in claims], default=NO_QUOTE)", "cost[claims[-1]] if claims else NO_QUOTE"),
    ("kernel.py", "if look >= bar[cover]:", "if look > bar[cover]:"),
    ("kernel.py", "        found.sort()\n", ""),
    ("kernel.py", "np.minimum(left, right, out=self._best[:-1])", "np.copyto(self._best[:-1], left)"),
    ("kernel.py", "np.flatnonzero(lengths > 2).tolist()", "np.flatnonzero(lengths > 3).tolist()"),
    ("kernel.py", "self._near_at = turn[-1] + 1", "self._near_at = turn[-1]"),
    ("kernel.py", "min(told + 1, self._threshold)", "min(told, self._threshold)"),
    ("kernel.py", "max(self._bar_at[cover], min", "(min"),
    ("kernel.py", "told = min(edge_e6, self._edge_at[cover])", "told = edge_e6"),
    ("kernel.py", "self._tails[index], lost = gap.head, True", "lost = True"),
    ("kernel.py", "hits = self._edge[above] >= self._threshold", "hits = self._edge[above] > self._threshold"),
]  # fmt: skip


@pytest.mark.parametrize("change", NATIVE_MUTANTS, ids=lambda change: f"{change[0]}: {change[2][:40]}")
def test_a_wrong_native_core_is_noticed(native: ModuleType, change: Change, tmp_path: Path) -> None:
    assert disagreement(load_core(native_mutant(tmp_path, change)), load_core("arbpipe._python"), SEEDS) is not None


@pytest.mark.parametrize("change", TWIN_MUTANTS, ids=lambda change: f"{change[0]}: {change[2][:40]}")
def test_a_wrong_twin_is_noticed(native: ModuleType, change: Change, tmp_path: Path) -> None:
    assert disagreement(native, load_core(twin_mutant(tmp_path, change)), SEEDS) is not None


@pytest.mark.parametrize("name", ["arbpipe._native", "arbpipe._python"])
def test_the_stub_is_the_interface_of_both(native: ModuleType, name: str, tmp_path: Path) -> None:
    (tmp_path / "the_core.py").write_text(f"from {name} import *\nfrom {name} import __all__\n")
    if name == "arbpipe._native":
        exported = sorted(each for each in vars(native) if not each.startswith("_"))
        (tmp_path / "the_core.py").write_text(f"from {name} import {', '.join(exported)}\n__all__ = {exported}\n")
    shutil.copy(ROOT / "arbpipe" / "_native.pyi", tmp_path / "the_core.pyi")
    done = subprocess.run(
        [Path(sys.executable).with_name("stubtest"), "the_core"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "MYPYPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
