from __future__ import annotations

import itertools
import mmap
import os
import signal
import struct
import time
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from core_mutants import HERE, LONG, Change, load_core, native_mutant, twin_mutant
from hypothesis import given
from hypothesis import strategies as st
from plane_support import Spawn

from arbpipe.shm.layout import CELL, DEPTH, ROW

WORDS = CELL.size // 8
CELLS = struct.Struct(f"<{WORDS}Q")
#: A whole cell of version v, as one number, is v times this (words do not overflow: v stays far below 2^59).
RELATION = sum((index + 1) << 64 * index for index in range(WORDS))

# Word i of the cell of version v is v · (i + 1): one relation over all fields, and over the version word too.
WRITER = (
    f"HERE = {str(HERE)!r}"
    """
import mmap, os, struct, sys
sys.path.insert(0, HERE)
from core_mutants import load_core
core = load_core(sys.argv[1])
row_write = core.row_write
from arbpipe.shm.layout import CELL
with open(sys.argv[2], "r+b") as file:
    region = core.Region(mmap.mmap(file.fileno(), 0))
words = struct.Struct("<%dQ" % (CELL.size // 8))
factors = range(1, CELL.size // 8 + 1)
def write():
    while True:
        n = region.load_u64(0) + 1
        row_write(region, 0, words.pack(*map(n.__mul__, factors)))
"""
)
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


@given(st.lists(st.binary(min_size=CELL.size, max_size=CELL.size), min_size=1, max_size=6))
def test_the_last_cell_written_is_the_one_that_is_read(core: ModuleType, cells: list[bytes]) -> None:
    region, into = core.Region(bytearray(ROW.size)), bytearray(CELL.size)
    for number, cell in enumerate(cells, 1):
        assert core.row_write(region, 0, cell) == number
        assert core.row_read(region, 0, into) == number
        assert into == cell


def test_a_row_that_was_never_written_has_version_0_and_leaves_the_buffer_alone(core: ModuleType) -> None:
    into = bytearray(b"\x77" * CELL.size)
    assert core.row_read(core.Region(bytearray(ROW.size)), 0, into) == 0
    assert into == b"\x77" * CELL.size


@pytest.mark.parametrize("length", [0, CELL.size - 1, CELL.size + 1])
def test_a_cell_of_another_length_is_refused_and_nothing_is_published(core: ModuleType, length: int) -> None:
    buffer = bytearray(ROW.size)
    with pytest.raises(ValueError, match=f"a cell of {length} bytes: {CELL.size} expected"):
        core.row_write(core.Region(buffer), 0, bytes(length))
    assert buffer == bytes(ROW.size)


@pytest.mark.parametrize("version", range(1, 6))
def test_a_write_never_touches_the_cell_that_the_version_selects(core: ModuleType, version: int) -> None:
    buffer = bytearray(ROW.size)
    region = core.Region(buffer)
    for number in range(1, version + 1):
        core.row_write(region, 0, cell_of(number))
    selected = slice(
        ROW.offset("cell0") + (version & 1) * CELL.size, ROW.offset("cell0") + ((version & 1) + 1) * CELL.size
    )
    before = bytes(buffer[selected])
    core.row_write(region, 0, cell_of(99))
    assert bytes(buffer[selected]) == before == cell_of(version)


LEVELS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 2**31 - 1)), max_size=11)


@given(
    st.tuples(*[st.integers(0, 2**64 - 1), *[st.integers(0, 2**32 - 1)] * 2, *[st.integers(-(2**63), 2**63 - 1)] * 3]),
    st.tuples(*[st.integers(0, 2**32 - 1)] * 3, *[st.integers(0, 2**16 - 1)] * 2, st.integers(0, 2**32 - 1)),
    LEVELS,
    LEVELS,
)
def test_a_cell_made_of_its_fields_lies_as_the_layout_says_and_is_fetched_as_it_was(
    core: ModuleType,
    first: tuple[int, ...],
    second: tuple[int, ...],
    yes: list[tuple[int, int]],
    no: list[tuple[int, int]],
) -> None:
    region, into = core.Region(bytearray(ROW.size)), bytearray(CELL.size)
    assert core.row_fetch(region, 0) is None
    assert core.row_publish(region, 0, *first, *second, yes, no) == 1
    assert core.row_read(region, 0, into) == 1
    fields = CELL.unpack(bytes(into))
    names = [field.name for field in CELL.fields if field.name not in ("reserved", "yes_asks", "no_asks")]
    assert tuple(fields[name] for name in names) == first + second
    for name, levels in (("yes_asks", yes), ("no_asks", no)):
        flat = [word for level in levels[:DEPTH] for word in level]
        assert list(fields[name]) == flat + [0] * (2 * DEPTH - len(flat))
    fetched = core.row_fetch(region, 0)
    assert fetched[:13] == (1, *first, *second)
    for got, levels in zip(fetched[13:], (yes, no), strict=True):
        assert got == tuple(itertools.takewhile(lambda level: level[1] > 0, levels[:DEPTH]))


@pytest.mark.parametrize(
    "levels", [[(1, 2, 3)], [(1,)], [1], [("a", 1)], 7, [(2**31, 1)], [(1, -(2**31) - 1)], [(None, 1)]]
)
def test_what_is_no_level_is_refused_and_nothing_is_published(core: ModuleType, levels: Any) -> None:
    buffer = bytearray(ROW.size)
    for both in ((levels, ()), ((), levels)):
        with pytest.raises((ValueError, TypeError)):
            core.row_publish(core.Region(buffer), 0, *[1] * 12, *both)
    assert buffer == bytes(ROW.size)


# -- torn reads ----------------------------------------------------------------------------------------------------------

#: Reads of one pairing: the long form's numbers are the issue's; the short form ends after a second anyway.
MOST = {"native": 100_000_000, "python": 10_000_000} if LONG else {"native": 2_000_000, "python": 200_000}
SHORT_S = 1.5

# A reader whose copy takes long enough for a writer to come round twice; the version check is what saves it.
SLOW = {
    "native": (
        "row.c",
        "copy_words(into, row + ROW_CELL0 + (before & 1) * CELL_SIZE, CELL_SIZE);",
        "const uint8_t *cell = row + ROW_CELL0 + (before & 1) * CELL_SIZE;\n"
        "copy_words(into, cell, CELL_SIZE / 2);\n"
        "for (int n = 0; n < 400; n++) cpu_pause();\n"
        "copy_words((uint8_t *)into + CELL_SIZE / 2, cell + CELL_SIZE / 2, CELL_SIZE / 2);",
    ),
    "python": (
        "row.py",
        "copy = region.read(offset + _CELL0 + (version & 1) * _SIZE, _SIZE)",
        "half = offset + _CELL0 + (version & 1) * _SIZE\n"
        "        copy = region.read(half, _SIZE // 2)\n"
        "        __import__('time').sleep(0.0001)\n"
        "        copy += region.read(half + _SIZE // 2, _SIZE // 2)",
    ),
}
UNCHECKED = {
    "native": ("row.c", "if (load_relaxed(word) == before)", "if (before)"),
    "python": ("row.py", "if region.load_u64(offset) == version:", "if version:"),
}


def kind_of(core: ModuleType) -> str:
    return "python" if core.__name__ == "arbpipe._python" else "native"


def mutant_of(core: ModuleType, folder: Path, *changes: dict[str, Change]) -> ModuleType:
    kind = kind_of(core)
    make = native_mutant if kind == "native" else twin_mutant
    return load_core(make(folder, *(change[kind] for change in changes)))


class Torn(NamedTuple):
    reads: int
    torn: int
    busy: int
    versions: int


def read_against_a_busy_writer(
    reader: ModuleType,
    writer_core: str,
    path: Path,
    spawn: Spawn,
    reads: int,
    seconds: float,
    torn_most: int = 1 << 62,
    chunk: int = 2_000,
) -> Torn:
    """Read until there were so many reads, or so many torn ones, or the time is over."""
    writer = spawn(BUSY_WRITER, writer_core, path)
    assert writer.line() == "ready"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        region = reader.Region(mapping)
        into = bytearray(CELL.size)
        row_read, number = reader.row_read, int.from_bytes
        done = torn = busy = versions = last = 0
        end = time.monotonic() + seconds
        while done < reads and torn < torn_most and time.monotonic() < end:
            for _ in range(chunk):
                version = row_read(region, 0, into)
                if version <= 0:
                    busy += version < 0
                    continue
                # word i is version · (i + 1), all of them at once
                torn += number(into, "little") != version * RELATION
                done += 1
                versions += version != last
                last = version
        region.release()
    writer.kill()
    return Torn(done, torn, busy, versions)


@pytest.mark.system
def test_no_copy_is_torn_while_a_writer_process_writes_as_fast_as_it_can(
    core: ModuleType, writer_core: str, row_file: Path, spawn: Spawn
) -> None:
    most = MOST[kind_of(core)]
    seen = read_against_a_busy_writer(core, writer_core, row_file, spawn, most, 3_600 if LONG else SHORT_S)
    print(f"{kind_of(core)} reader, {writer_core} writer: {seen}")
    assert seen.torn == 0
    assert seen.reads >= (most if LONG else 1_000)
    assert seen.versions > seen.reads // 1_000, "the writer did not run beside the reader: the test proved nothing"


@pytest.mark.system
def test_the_same_reader_without_the_version_check_does_find_torn_copies(
    core: ModuleType, writer_core: str, row_file: Path, spawn: Spawn, tmp_path: Path
) -> None:
    slow = mutant_of(core, tmp_path, SLOW)
    seen = read_against_a_busy_writer(slow, writer_core, row_file, spawn, 20_000, 0.5, chunk=10)
    assert seen.torn == 0
    unchecked = mutant_of(core, tmp_path, SLOW, UNCHECKED)
    seen = read_against_a_busy_writer(unchecked, writer_core, row_file, spawn, 1 << 62, 20.0, torn_most=5, chunk=10)
    assert seen.torn >= 5


# -- killed writers ------------------------------------------------------------------------------------------------------

KILLS = 2_000 if LONG else 100


@pytest.mark.system
def test_killed_writers_leave_a_whole_row_and_each_new_owner_goes_on_from_the_version_word(
    writer_core: str, row_file: Path, spawn: Spawn
) -> None:
    readers = [load_core(name) for name in ("arbpipe._python", writer_core)]
    owners = spawn(OWNERS, writer_core, row_file)
    with row_file.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        regions = [reader.Region(mapping) for reader in readers]
        into, last = bytearray(CELL.size), 0
        for number in range(KILLS):
            owners.tell("next")
            pid, before, first = map(int, owners.line().split())
            assert (before, first) == (last, last + 1)
            time.sleep(0.0007 + 0.00037 * (number % 7))  # it is in the middle of its work, somewhere else each time
            os.kill(pid, signal.SIGKILL)
            assert owners.line() == f"died of {int(signal.SIGKILL)}"
            last = 0
            for reader, region in zip(readers, regions, strict=True):
                version = reader.row_read(region, 0, into)
                assert version >= first
                assert last in (0, version)
                assert whole(version, into)
                last = version
        for region in regions:
            region.release()
    print(f"{KILLS} kills of a {writer_core} writer: every row whole, {last} versions")
