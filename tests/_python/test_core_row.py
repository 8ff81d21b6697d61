from __future__ import annotations

import mmap
import os
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plane_support import Spawn

from arbpipe._python.region import Region
from arbpipe._python.row import ROW_BUSY, row_read, row_write
from arbpipe.shm.layout import CELL, ROW

WORDS = CELL.size // 8
CELLS = struct.Struct(f"<{WORDS}Q")

# Word i of the cell of version v is v · (i + 1): one relation over all fields, and over the version word too.
WRITER = """
import mmap, os, struct, sys
from arbpipe._python import Region, row_write
from arbpipe.shm.layout import CELL
with open(sys.argv[1], "r+b") as file:
    region = Region(mmap.mmap(file.fileno(), 0))
words = struct.Struct("<%dQ" % (CELL.size // 8))
factors = range(1, CELL.size // 8 + 1)
def write():
    while True:
        n = region.load_u64(0) + 1
        row_write(region, 0, words.pack(*map(n.__mul__, factors)))
"""
BUSY_WRITER = WRITER + 'print("ready", flush=True)\nwrite()\n'
# One owner after the other: each line from the test forks the next, which says where the version word stood.
OWNERS = (
    WRITER
    + """
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        before = region.load_u64(0)
        first = row_write(region, 0, words.pack(*map((before + 1).__mul__, factors)))
        os.write(1, b"%d %d %d\\n" % (os.getpid(), before, first))
        write()
    _, status = os.waitpid(pid, 0)
    os.write(1, b"died of %d\\n" % os.WTERMSIG(status))
"""
)


def whole(version: int, cell: bytes | bytearray) -> bool:
    """Whether every word of the copy belongs to ``version``."""
    return CELLS.unpack(cell) == tuple(version * (index + 1) for index in range(WORDS))


def cell_of(version: int) -> bytes:
    return CELLS.pack(*(version * (index + 1) for index in range(WORDS)))


@pytest.fixture
def row_file(plane: Path) -> Path:
    path = plane / "row"
    path.write_bytes(bytes(ROW.size))
    return path


@pytest.fixture
def row(row_file: Path) -> Iterator[Region]:
    """The row of ``row_file``, as a reader maps it."""
    with row_file.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        region = Region(mapping)
        yield region
        region.release()


def read_in_halves(region: Region, *, check_the_version: bool) -> tuple[int, bytes] | None:
    """A slow reader: half the cell, some work, the other half. Without the check it is the mutant."""
    version = region.load_u64(0)
    at, half = ROW.offset("cell0") + (version & 1) * CELL.size, CELL.size // 2
    first = region.read(at, half)
    time.sleep(0.0001)  # also where both share one core, the writer runs now
    second = region.read(at + half, half)
    if check_the_version and region.load_u64(0) != version:
        return None
    return version, first + second


@given(st.lists(st.binary(min_size=CELL.size, max_size=CELL.size), min_size=1, max_size=6))
def test_the_last_cell_written_is_the_one_that_is_read(cells: list[bytes]) -> None:
    region, into = Region(bytearray(ROW.size)), bytearray(CELL.size)
    for number, cell in enumerate(cells, 1):
        assert row_write(region, 0, cell) == number
        assert row_read(region, 0, into) == number
        assert into == cell


def test_a_row_that_was_never_written_has_version_0_and_leaves_the_buffer_alone() -> None:
    into = bytearray(b"\x77" * CELL.size)
    assert row_read(Region(bytearray(ROW.size)), 0, into) == 0
    assert into == b"\x77" * CELL.size


@pytest.mark.parametrize("length", [0, CELL.size - 1, CELL.size + 1])
def test_a_cell_of_another_length_is_refused_and_nothing_is_published(length: int) -> None:
    buffer = bytearray(ROW.size)
    with pytest.raises(ValueError, match=f"a cell of {length} bytes: {CELL.size} expected"):
        row_write(Region(buffer), 0, bytes(length))
    assert buffer == bytes(ROW.size)


def test_a_write_never_touches_the_cell_that_the_version_selects() -> None:
    region = Region(bytearray(ROW.size))
    row_write(region, 0, cell_of(1))
    row_write(region, 0, cell_of(2))
    selected = ROW.offset("cell0")  # version 2: cell 0

    class DiesBeforeTheVersion(Region):
        def store_u64(self, offset: int, value: int) -> None:
            raise KeyboardInterrupt

    dying = DiesBeforeTheVersion(region._b)
    with pytest.raises(KeyboardInterrupt):
        row_write(dying, 0, cell_of(3))
    assert region.read(selected, CELL.size) == cell_of(2)
    into = bytearray(CELL.size)
    assert (row_read(region, 0, into), whole(2, into)) == (2, True)


def test_a_row_that_moves_under_every_try_is_busy_and_not_torn() -> None:
    class MovesUnderTheReader(Region):
        reads = 0

        def read(self, offset: int, length: int) -> bytes:
            data = super().read(offset, length)
            MovesUnderTheReader.reads += 1
            row_write(self, 0, cell_of(self.load_u64(0) + 1))
            return data

    region = MovesUnderTheReader(bytearray(ROW.size))
    row_write(region, 0, cell_of(1))
    assert row_read(region, 0, bytearray(CELL.size)) == ROW_BUSY
    assert MovesUnderTheReader.reads == 64


@pytest.mark.system
def test_no_copy_is_torn_while_a_writer_process_writes_as_fast_as_it_can(
    row: Region, row_file: Path, spawn: Spawn
) -> None:
    writer = spawn(BUSY_WRITER, row_file)
    assert writer.line() == "ready"
    into, torn, reads, versions = bytearray(CELL.size), 0, 0, set()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        version = row_read(row, 0, into)
        if version > 0:
            reads += 1
            versions.add(version)
            torn += not whole(version, into)
    assert torn == 0
    assert reads > 1_000
    assert len(versions) > 100, "the writer did not run beside the reader: the test proved nothing"


@pytest.mark.system
def test_the_same_reader_without_the_version_check_does_find_torn_copies(
    row: Region, row_file: Path, spawn: Spawn
) -> None:
    writer = spawn(BUSY_WRITER, row_file)
    assert writer.line() == "ready"
    torn = 0
    end = time.monotonic() + 10
    while torn < 5 and time.monotonic() < end:
        copy = read_in_halves(row, check_the_version=False)
        assert copy is not None
        torn += copy[0] > 0 and not whole(*copy)
    assert torn >= 5


@pytest.mark.system
def test_a_slow_reader_with_the_version_check_refuses_every_torn_copy(
    row: Region, row_file: Path, spawn: Spawn
) -> None:
    writer = spawn(BUSY_WRITER, row_file)
    assert writer.line() == "ready"
    refused = 0
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        copy = read_in_halves(row, check_the_version=True)
        refused += copy is None
        assert copy is None or copy[0] == 0 or whole(*copy)
    assert refused > 0


@pytest.mark.system
def test_sixty_killed_writers_leave_a_whole_row_and_each_new_owner_goes_on_from_the_version_word(
    row: Region, row_file: Path, spawn: Spawn
) -> None:
    owners = spawn(OWNERS, row_file)
    into, last = bytearray(CELL.size), 0
    for number in range(60):
        owners.tell("next")
        pid, before, first = map(int, owners.line().split())
        assert (before, first) == (last, last + 1)
        time.sleep(0.0011 + 0.00037 * (number % 7))  # it is in the middle of its work, somewhere else each time
        os.kill(pid, signal.SIGKILL)
        assert owners.line() == f"died of {int(signal.SIGKILL)}"
        last = row_read(row, 0, into)
        assert last >= first
        assert whole(last, into)
