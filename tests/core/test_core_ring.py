from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plane_support import Spawn

from arbpipe.shm.layout import HEAD_BYTES, LINE

STRIDE = 64

# The slot number of position n is n, and every word of the entry at position n is n: anything else is torn or repeated.
# "paced" waits for the reader's tail (on the line after the head), "free" never looks.
SETUP = """
import importlib, mmap, sys, time
core = importlib.import_module(sys.argv[1])
Region, log_push, ring_push = core.Region, core.log_push, core.ring_push
path, capacity, count, manner = sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
with open(path, "r+b") as file:
    region = Region(mmap.mmap(file.fileno(), 0))
print("ready", flush=True)
sys.stdin.readline()
for n in range(count):
    while manner == "paced" and n - region.load_u64(128) >= capacity - 1:
        time.sleep(0)
"""
LOG_WRITER = SETUP + "    log_push(region, 0, capacity, n)\n"
RING_WRITER = SETUP + '    ring_push(region, 0, capacity, 64, n.to_bytes(8, "little") * 8)\n'


@pytest.fixture
def shared(core: ModuleType, plane: Path) -> Iterator[tuple[Path, Any]]:
    """A file with room for a ring of 64 entries, and the region over it."""
    path = plane / "ring"
    path.write_bytes(bytes(HEAD_BYTES + 64 * STRIDE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        region = core.Region(mapping)
        yield path, region
        region.release()


def new_log(core: ModuleType, capacity: int) -> Any:
    return core.Region(bytearray(HEAD_BYTES + 4 * capacity))


def entry_of(position: int) -> bytes:
    return position.to_bytes(8, "little") * (STRIDE // 8)


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=7), max_size=12))
def test_a_reader_that_keeps_up_gets_every_slot_once_and_in_order(core: ModuleType, batches: list[list[int]]) -> None:
    region, tail, seen = new_log(core, 8), 0, []
    for batch in batches:
        for slot in batch:
            core.log_push(region, 0, 8, slot)
        slots, tail = core.log_drain(region, 0, 8, tail)
        seen += slots
    assert seen == [slot for batch in batches for slot in batch]
    assert tail == len(seen)


@given(st.sampled_from([2, 4, 8]), st.integers(0, 30), st.integers(0, 30))
def test_a_log_entry_is_valid_exactly_while_the_head_is_less_than_a_capacity_ahead(
    core: ModuleType, capacity: int, head: int, tail: int
) -> None:
    region = new_log(core, capacity)
    for n in range(head):
        assert core.log_push(region, 0, capacity, n) == n + 1
    if tail <= head and head - tail < capacity:
        assert core.log_drain(region, 0, capacity, tail) == (list(range(tail, head)), head)
    else:
        with pytest.raises(core.Overrun) as caught:
            core.log_drain(region, 0, capacity, tail)
        assert caught.value.head == head


@given(st.sampled_from([2, 4, 8]), st.integers(0, 30), st.integers(0, 30))
def test_a_ring_entry_is_there_not_yet_there_or_overrun_and_nothing_else(
    core: ModuleType, capacity: int, head: int, position: int
) -> None:
    region = core.Region(bytearray(HEAD_BYTES + STRIDE * capacity))
    for n in range(head):
        assert core.ring_push(region, 0, capacity, STRIDE, entry_of(n)) == n
    if position == head:
        assert core.ring_read(region, 0, capacity, STRIDE, position) is None
    elif position < head and head - position < capacity:
        assert core.ring_read(region, 0, capacity, STRIDE, position) == entry_of(position)
    else:
        with pytest.raises(core.Overrun, match=f"the writer stands at {head}"):
            core.ring_read(region, 0, capacity, STRIDE, position)


@pytest.mark.parametrize("length", [0, STRIDE - 1, STRIDE + 1])
def test_an_entry_of_another_length_is_refused_and_the_head_stays(core: ModuleType, length: int) -> None:
    region = core.Region(bytearray(HEAD_BYTES + STRIDE * 4))
    with pytest.raises(ValueError, match=f"an entry of {length} bytes: {STRIDE} expected"):
        core.ring_push(region, 0, 4, STRIDE, bytes(length))
    assert core.ring_read(region, 0, 4, STRIDE, 0) is None


@pytest.mark.system
def test_across_processes_a_log_reader_that_keeps_up_gets_the_exact_sequence(
    core: ModuleType, writer_core: str, shared: tuple[Path, Any], spawn: Spawn
) -> None:
    path, region = shared
    capacity, count = 64, 20_000
    writer = spawn(LOG_WRITER, writer_core, path, capacity, count, "paced")
    assert writer.line() == "ready"
    writer.tell("go")
    seen: list[int] = []
    end = time.monotonic() + 20
    while len(seen) < count and time.monotonic() < end:
        slots, tail = core.log_drain(region, 0, capacity, len(seen))
        seen += slots
        region.store_u64(LINE, tail)
    assert seen == list(range(count))


@pytest.mark.system
def test_across_processes_a_slow_log_reader_is_told_of_every_overrun_and_gets_nothing_twice(
    core: ModuleType, writer_core: str, shared: tuple[Path, Any], spawn: Spawn
) -> None:
    path, region = shared
    capacity, count = 32, 100_000
    writer = spawn(LOG_WRITER, writer_core, path, capacity, count, "free")
    assert writer.line() == "ready"
    writer.tell("go")
    tail = seen = lost = overruns = 0
    end = time.monotonic() + 20
    while tail < count and time.monotonic() < end:
        try:
            slots, after = core.log_drain(region, 0, capacity, tail)
        except core.Overrun as overrun:
            overruns += 1
            lost += overrun.head - tail
            tail = overrun.head
            continue
        assert slots == list(range(tail, after))
        seen += len(slots)
        tail = after
        if seen % 5 == 0:
            time.sleep(0.0005)
    assert seen + lost == count
    assert overruns > 0


@pytest.mark.system
def test_across_processes_a_ring_reader_that_keeps_up_gets_the_exact_sequence(
    core: ModuleType, writer_core: str, shared: tuple[Path, Any], spawn: Spawn
) -> None:
    path, region = shared
    capacity, count = 8, 10_000
    writer = spawn(RING_WRITER, writer_core, path, capacity, count, "paced")
    assert writer.line() == "ready"
    writer.tell("go")
    position = 0
    end = time.monotonic() + 20
    while position < count and time.monotonic() < end:
        entry = core.ring_read(region, 0, capacity, STRIDE, position)
        if entry is not None:
            assert entry == entry_of(position)
            position += 1
            region.store_u64(LINE, position)
    assert position == count


@pytest.mark.system
def test_across_processes_a_slow_ring_reader_gets_whole_entries_or_an_overrun(
    core: ModuleType, writer_core: str, shared: tuple[Path, Any], spawn: Spawn
) -> None:
    path, region = shared
    capacity, count = 4, 100_000
    writer = spawn(RING_WRITER, writer_core, path, capacity, count, "free")
    assert writer.line() == "ready"
    writer.tell("go")
    position = seen = skipped = 0
    end = time.monotonic() + 20
    while position < count and time.monotonic() < end:
        try:
            entry = core.ring_read(region, 0, capacity, STRIDE, position)
        except core.Overrun as overrun:
            skipped += overrun.head - capacity + 1 - position
            position = overrun.head - capacity + 1
            continue
        if entry is not None:
            assert entry == entry_of(position)
            seen += 1
            position += 1
    assert seen + skipped == count
    assert seen > 0
    assert skipped > 0
