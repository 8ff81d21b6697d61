from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plane_support import Spawn

from arbpipe._python.region import Region
from arbpipe._python.ring import Overrun, log_drain, log_push, ring_push, ring_read
from arbpipe.shm.layout import HEAD_BYTES, LINE

STRIDE = 64

# The slot number of position n is n, and every word of the entry at position n is n: anything else is torn or repeated.
# "paced" waits for the reader's tail (on the line after the head), "free" never looks.
SETUP = """
import mmap, sys, time
from arbpipe._python import Region, log_push, ring_push
path, capacity, count, manner = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
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
def shared(plane: Path) -> Iterator[tuple[Path, Region]]:
    """A file with room for a ring of 64 entries, and the region over it."""
    path = plane / "ring"
    path.write_bytes(bytes(HEAD_BYTES + 64 * STRIDE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        region = Region(mapping)
        yield path, region
        region.release()


def new_log(capacity: int) -> Region:
    return Region(bytearray(HEAD_BYTES + 4 * capacity))


def entry_of(position: int) -> bytes:
    return position.to_bytes(8, "little") * (STRIDE // 8)


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=7), max_size=12))
def test_a_reader_that_keeps_up_gets_every_slot_once_and_in_order(batches: list[list[int]]) -> None:
    region, tail, seen = new_log(8), 0, []
    for batch in batches:
        for slot in batch:
            log_push(region, 0, 8, slot)
        slots, tail = log_drain(region, 0, 8, tail)
        seen += slots
    assert seen == [slot for batch in batches for slot in batch]
    assert tail == len(seen)


@given(st.sampled_from([2, 4, 8]), st.integers(0, 30), st.integers(0, 30))
def test_a_log_entry_is_valid_exactly_while_the_head_is_less_than_a_capacity_ahead(
    capacity: int, head: int, tail: int
) -> None:
    region = new_log(capacity)
    for n in range(head):
        assert log_push(region, 0, capacity, n) == n + 1
    if tail <= head and head - tail < capacity:
        assert log_drain(region, 0, capacity, tail) == (list(range(tail, head)), head)
    else:
        with pytest.raises(Overrun) as caught:
            log_drain(region, 0, capacity, tail)
        assert caught.value.head == head


def test_an_overrun_during_the_copy_is_an_overrun() -> None:
    class WrittenMeanwhile(Region):
        armed = True

        def load_u32(self, offset: int) -> int:
            value = super().load_u32(offset)
            if WrittenMeanwhile.armed:
                WrittenMeanwhile.armed = False
                for n in range(8):
                    log_push(self, 0, 8, 100 + n)
            return value

    region = WrittenMeanwhile(bytearray(HEAD_BYTES + 4 * 8))
    log_push(region, 0, 8, 1)
    with pytest.raises(Overrun) as caught:
        log_drain(region, 0, 8, 0)
    assert caught.value.head == 9


@given(st.sampled_from([2, 4, 8]), st.integers(0, 30), st.integers(0, 30))
def test_a_ring_entry_is_there_not_yet_there_or_overrun_and_nothing_else(
    capacity: int, head: int, position: int
) -> None:
    region = Region(bytearray(HEAD_BYTES + STRIDE * capacity))
    for n in range(head):
        assert ring_push(region, 0, capacity, STRIDE, entry_of(n)) == n
    if position == head:
        assert ring_read(region, 0, capacity, STRIDE, position) is None
    elif position < head and head - position < capacity:
        assert ring_read(region, 0, capacity, STRIDE, position) == entry_of(position)
    else:
        with pytest.raises(Overrun, match=f"the writer stands at {head}"):
            ring_read(region, 0, capacity, STRIDE, position)


def test_an_entry_that_is_overwritten_during_the_copy_is_an_overrun() -> None:
    class WrittenMeanwhile(Region):
        def read(self, offset: int, length: int) -> bytes:
            first = super().read(offset, length // 2)
            for n in range(1, 5):
                ring_push(self, 0, 4, STRIDE, entry_of(n))
            return first + super().read(offset + length // 2, length // 2)

    region = WrittenMeanwhile(bytearray(HEAD_BYTES + STRIDE * 4))
    ring_push(region, 0, 4, STRIDE, entry_of(0))
    with pytest.raises(Overrun):
        ring_read(region, 0, 4, STRIDE, 0)


@pytest.mark.parametrize("length", [0, STRIDE - 1, STRIDE + 1])
def test_an_entry_of_another_length_is_refused_and_the_head_stays(length: int) -> None:
    region = Region(bytearray(HEAD_BYTES + STRIDE * 4))
    with pytest.raises(ValueError, match=f"an entry of {length} bytes: {STRIDE} expected"):
        ring_push(region, 0, 4, STRIDE, bytes(length))
    assert ring_read(region, 0, 4, STRIDE, 0) is None


@pytest.mark.system
def test_across_processes_a_log_reader_that_keeps_up_gets_the_exact_sequence(
    shared: tuple[Path, Region], spawn: Spawn
) -> None:
    path, region = shared
    capacity, count = 64, 20_000
    writer = spawn(LOG_WRITER, path, capacity, count, "paced")
    assert writer.line() == "ready"
    writer.tell("go")
    seen: list[int] = []
    end = time.monotonic() + 20
    while len(seen) < count and time.monotonic() < end:
        slots, tail = log_drain(region, 0, capacity, len(seen))
        seen += slots
        region.store_u64(LINE, tail)
    assert seen == list(range(count))


@pytest.mark.system
def test_across_processes_a_slow_log_reader_is_told_of_every_overrun_and_gets_nothing_twice(
    shared: tuple[Path, Region], spawn: Spawn
) -> None:
    path, region = shared
    capacity, count = 32, 100_000
    writer = spawn(LOG_WRITER, path, capacity, count, "free")
    assert writer.line() == "ready"
    writer.tell("go")
    tail = seen = lost = overruns = 0
    end = time.monotonic() + 20
    while tail < count and time.monotonic() < end:
        try:
            slots, after = log_drain(region, 0, capacity, tail)
        except Overrun as overrun:
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
    shared: tuple[Path, Region], spawn: Spawn
) -> None:
    path, region = shared
    capacity, count = 8, 10_000
    writer = spawn(RING_WRITER, path, capacity, count, "paced")
    assert writer.line() == "ready"
    writer.tell("go")
    position = 0
    end = time.monotonic() + 20
    while position < count and time.monotonic() < end:
        entry = ring_read(region, 0, capacity, STRIDE, position)
        if entry is not None:
            assert entry == entry_of(position)
            position += 1
            region.store_u64(LINE, position)
    assert position == count


@pytest.mark.system
def test_across_processes_a_slow_ring_reader_gets_whole_entries_or_an_overrun(
    shared: tuple[Path, Region], spawn: Spawn
) -> None:
    path, region = shared
    capacity, count = 4, 100_000
    writer = spawn(RING_WRITER, path, capacity, count, "free")
    assert writer.line() == "ready"
    writer.tell("go")
    position = seen = skipped = 0
    end = time.monotonic() + 20
    while position < count and time.monotonic() < end:
        try:
            entry = ring_read(region, 0, capacity, STRIDE, position)
        except Overrun as overrun:
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
