from __future__ import annotations

import contextlib
import gc
import importlib
import mmap
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

#: The arrays of a generation without propositions and covers.
NOTHING = [np.zeros(size, np.uint32) for size in (1, 0, 1, 0, 0)]

WORDS = {"u64": (8, "<Q", 0, 2**64 - 1), "i64": (8, "<q", -(2**63), 2**63 - 1), "u32": (4, "<I", 0, 2**32 - 1)}
WORDS |= {"i32": (4, "<i", -(2**31), 2**31 - 1), "u8": (1, "<B", 0, 255)}


@given(st.sampled_from(sorted(WORDS)), st.integers(0, 7), st.data())
def test_a_word_is_stored_little_endian_where_it_was_asked_and_nowhere_else(
    core: ModuleType, kind: str, index: int, data: st.DataObject
) -> None:
    size, code, least, most = WORDS[kind]
    value = data.draw(st.integers(least, most))
    buffer = bytearray(b"\xa5" * 64)
    region = core.Region(buffer)
    getattr(region, f"store_{kind}")(index * size, value)
    assert getattr(region, f"load_{kind}")(index * size) == value
    expected = bytearray(b"\xa5" * 64)
    expected[index * size : (index + 1) * size] = struct.pack(code, value)
    assert buffer == expected


@pytest.mark.parametrize("kind", sorted(WORDS))
def test_a_word_outside_the_region_is_refused(core: ModuleType, kind: str) -> None:
    region = core.Region(bytearray(64))
    for offset in (-8, 64, 2**40):
        with pytest.raises(IndexError, match="outside the region of 64 bytes"):
            getattr(region, f"load_{kind}")(offset)
        with pytest.raises(IndexError, match="outside the region of 64 bytes"):
            getattr(region, f"store_{kind}")(offset, 1)


@pytest.mark.parametrize(("kind", "offset"), [("u64", 4), ("i64", 1), ("u32", 2), ("i32", 7)])
def test_a_word_off_its_natural_boundary_is_refused(core: ModuleType, kind: str, offset: int) -> None:
    region = core.Region(bytearray(64))
    with pytest.raises(ValueError, match=f"offset {offset} is not a multiple"):
        getattr(region, f"load_{kind}")(offset)
    with pytest.raises(ValueError, match=f"offset {offset} is not a multiple"):
        getattr(region, f"store_{kind}")(offset, 1)


def test_a_value_that_does_not_fit_its_word_is_an_error_and_changes_nothing(core: ModuleType) -> None:
    buffer = bytearray(16)
    with pytest.raises(ValueError, match=r"invalid value|does not fit"):
        core.Region(buffer).store_u32(0, 2**32)
    assert buffer == bytes(16)


@pytest.mark.parametrize("kind", sorted(WORDS))
def test_what_is_no_whole_number_is_a_type_error(core: ModuleType, kind: str) -> None:
    region = core.Region(bytearray(64))
    for wrong in (1.5, "1", None):
        with pytest.raises(TypeError):
            getattr(region, f"store_{kind}")(0, wrong)
        with pytest.raises(TypeError):
            getattr(region, f"load_{kind}")(wrong)


def test_numbers_of_numpy_are_numbers(core: ModuleType) -> None:
    region = core.Region(bytearray(64))
    region.store_u64(np.int64(8), np.uint64(7))
    assert region.load_u64(np.int32(8)) == 7


def test_bytes_are_copied_only_inside_the_region(core: ModuleType) -> None:
    region = core.Region(bytearray(32))
    region.write(5, b"claim")
    assert region.read(5, 5) == b"claim"
    assert region.read(32, 0) == b""
    for offset, length in ((-1, 4), (30, 3), (0, -1), (33, 0)):
        with pytest.raises(IndexError, match="outside the region"):
            region.read(offset, length)
    for offset in (-1, 30):
        with pytest.raises(IndexError, match="outside the region"):
            region.write(offset, b"abc")
    assert region.read(28, 4) == bytes(4)


def test_a_length_that_is_no_whole_number_of_words_is_refused(core: ModuleType) -> None:
    with pytest.raises(ValueError, match="a region of 12 bytes"):
        core.Region(bytearray(12))


def test_a_read_only_mapping_cannot_be_written(core: ModuleType, plane: Path) -> None:
    path = plane / "words"
    path.write_bytes(bytes(64))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        region = core.Region(mapping)
        assert region.readonly
        for store in (region.store_u64, region.store_i64, region.store_u32, region.store_i32, region.store_u8):
            with pytest.raises(TypeError, match="read-only"):
                store(0, 1)
        with pytest.raises(TypeError, match="read-only"):
            region.write(0, b"x")
        region.release()
    assert path.read_bytes() == bytes(64)


def test_a_released_region_lets_its_mapping_close_and_is_unusable(core: ModuleType, plane: Path) -> None:
    path = plane / "words"
    path.write_bytes(bytes(64))
    with path.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    region = core.Region(mapping)
    with pytest.raises(BufferError):
        mapping.close()
    region.release()
    mapping.close()
    with pytest.raises(ValueError, match="released"):
        region.load_u64(0)


def test_a_region_stays_while_a_kernel_reads_it(core: ModuleType) -> None:
    region = core.Region(bytearray(4096))
    kernel = core.Kernel(region, 0, 8, [256], [0], 16, *NOTHING, 1)
    with pytest.raises(BufferError, match="1 kernels still read the region"):
        region.release()
    kernel.release()
    for use in (kernel.drain, kernel.best_e6, lambda: kernel.sweep(1), lambda: kernel.touch([0]), lambda: kernel.tails):
        with pytest.raises(ValueError, match="the kernel is released"):
            use()
    kernel.release()
    region.release()
    region.release()


@pytest.mark.parametrize("offset", [-8, -1, 1, 4, 63, 64, 4096, 2**31, 2**62, 2**63, -(2**70), 2**70])
def test_a_bad_offset_raises_from_every_function_and_changes_nothing(core: ModuleType, offset: int) -> None:
    buffer = bytearray(b"\x11" * 64)  # shorter than any row, ring or bell
    region = core.Region(buffer)
    calls = [
        lambda: core.row_write(region, offset, bytes(192)),
        lambda: core.row_publish(region, offset, *[1] * 12, (), ()),
        lambda: core.row_read(region, offset, bytearray(192)),
        lambda: core.row_fetch(region, offset),
        lambda: core.log_push(region, offset, 8, 1),
        lambda: core.log_drain(region, offset, 8, 0),
        lambda: core.ring_push(region, offset, 4, 64, bytes(64)),
        lambda: core.ring_read(region, offset, 4, 64, 0),
        lambda: core.bell_ring(region, offset),
        lambda: core.histogram_record(region, offset, 1),
        lambda: region.store_run(offset, *[1] * 9),
        lambda: region.add_run(offset, *[1] * 9),
        lambda: core.bell_wait(region, offset, [0], [0], 0, 1000),
        lambda: core.Kernel(region, offset, 1 << 20, [], [], 16, *NOTHING, 1),
        lambda: core.Kernel(region, 0, 8, [offset], [0], 16, *NOTHING, 1),
    ]
    for call in calls:
        with pytest.raises((IndexError, ValueError)):
            call()
    assert buffer == b"\x11" * 64


@pytest.mark.parametrize("capacity", [-4, 0, 1, 3, 12, 2**20, 2**40, 2**62, 2**64])
def test_a_capacity_that_is_no_power_of_two_or_does_not_fit_is_refused(core: ModuleType, capacity: int) -> None:
    region = core.Region(bytearray(4096))
    for call in (
        lambda: core.log_push(region, 0, capacity, 1),
        lambda: core.log_drain(region, 0, capacity, 0),
        lambda: core.ring_push(region, 0, capacity, 64, bytes(64)),
        lambda: core.ring_read(region, 0, capacity, 64, 0),
        lambda: core.Kernel(region, 0, 8, [256], [0], capacity, *NOTHING, 1),
    ):
        with pytest.raises((IndexError, ValueError)):
            call()


@pytest.mark.parametrize("stride", [-8, 0, 4, 60, 8192, 2**62])
def test_a_stride_that_is_no_whole_number_of_words_is_refused(core: ModuleType, stride: int) -> None:
    region = core.Region(bytearray(4096))
    with pytest.raises((IndexError, ValueError)):
        core.ring_push(region, 0, 4, stride, bytes(64))
    with pytest.raises((IndexError, ValueError)):
        core.ring_read(region, 0, 4, stride, 0)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=16), st.data())
def test_a_run_of_words_is_stored_and_added_to_in_one_call(core: ModuleType, values: list[int], data: Any) -> None:
    region = core.Region(bytearray(8 * 18))
    region.store_run(8, *values)
    assert [region.load_i64(8 * n) for n in range(18)] == [0, *values, *[0] * (17 - len(values))]
    amounts = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=len(values), max_size=len(values)))
    region.add_run(8, *amounts)
    sums = [(a + b) % 2**64 for a, b in zip(values, amounts, strict=True)]
    assert [region.load_u64(8 * n) for n in range(18)] == [0, *sums, *[0] * (17 - len(sums))]


@pytest.mark.parametrize("values", [(), (1,) * 17, (1, 2**63), (1, -(2**63) - 1), (1, "2"), (1, 2.0)], ids=str)
def test_a_run_with_one_wrong_value_stores_none_of_them(core: ModuleType, values: tuple[Any, ...]) -> None:
    buffer = bytearray(8 * 20)
    region = core.Region(buffer)
    for run in (region.store_run, region.add_run):
        with pytest.raises((TypeError, ValueError)):
            run(8, *values)
    assert buffer == bytes(8 * 20)


def test_a_region_of_the_other_kind_is_refused_by_the_native_core(native: ModuleType) -> None:
    other = importlib.import_module("arbpipe._python").Region(bytearray(1024))
    for call in (
        lambda: native.row_fetch(other, 0),
        lambda: native.bell_ring(None, 0),
        lambda: native.Kernel(other, 0, 8, [], [], 16, *NOTHING, 1),
    ):
        with pytest.raises(TypeError, match="a Region of this core is expected"):
            call()


def test_a_locked_region_is_resident_or_the_system_says_why_not(core: ModuleType, plane: Path) -> None:
    path = plane / "words"
    path.write_bytes(bytes(1 << 16))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        region = core.Region(mapping)
        before = locked_kb()
        limits = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        region.lock()
        assert locked_kb() - before >= 64
        region.release()
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, limits[1]))
        try:
            region = core.Region(mapping)
            if os.geteuid() or not _may_lock_everything():
                with pytest.raises(OSError, match=r"."):
                    region.lock()
            region.release()
        finally:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, limits)


def locked_kb() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmLck:"):
            return int(line.split()[1])
    raise AssertionError("the kernel does not say how much is locked")


def _may_lock_everything() -> bool:
    """CAP_IPC_LOCK: no limit holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> 14 & 1)
    return False


class Meddler:
    """A number whose ``__index__`` does something first."""

    def __init__(self, action: Callable[[], object], value: int) -> None:
        self.action, self.value = action, value

    def __index__(self) -> int:
        self.action()
        return self.value


def test_an_argument_that_releases_the_region_while_it_is_converted_harms_nothing(core: ModuleType) -> None:
    size = 1 << 20  # an allocation of its own, which is unmapped as soon as it is let go

    def each(call: Callable[[Any, Callable[[object], Meddler]], object]) -> None:
        mapping = mmap.mmap(-1, size)
        region = core.Region(mapping)

        def meddling(value: int) -> Meddler:
            def let_go() -> None:
                region.release()
                with contextlib.suppress(BufferError, ValueError):
                    mapping.close()

            return Meddler(let_go, value)

        with contextlib.suppress(ValueError, BufferError, TypeError, IndexError):
            call(region, meddling)
        gc.collect()

    for kind in WORDS:
        each(lambda region, evil, kind=kind: getattr(region, f"store_{kind}")(8, evil(1)))
        each(lambda region, evil, kind=kind: getattr(region, f"store_{kind}")(evil(8), 1))
        each(lambda region, evil, kind=kind: getattr(region, f"load_{kind}")(evil(8)))
    each(lambda region, evil: region.read(0, evil(8)))
    each(lambda region, evil: core.row_publish(region, 0, *[1] * 11, evil(1), (), ()))
    each(lambda region, evil: core.row_publish(region, 0, *[1] * 12, (), [(1, evil(1))]))
    each(lambda region, evil: region.store_run(8, 1, evil(1)))
    each(lambda region, evil: region.add_run(evil(8), 1, 1))
    each(lambda region, evil: core.histogram_record(region, 0, evil(1)))
    outlet = (0, 512, 1024, 16, 2048, 4096, (520,))
    terms = (9, 7, 70_000, 1, 100, 100)
    each(lambda region, evil: core.Outlet(region, *outlet, *terms, evil(1)).publish(1, 1, 0, 1, 1, 1, (), (), True))
    each(lambda region, evil: core.Outlet(region, *outlet, *terms, 1).publish(1, 1, 0, evil(1), 1, 1, (), (), True))
    each(
        lambda region, evil: core.Outlet(region, *outlet, *terms, 1).publish(1, 1, 0, 1, 1, 1, (), [(1, evil(1))], True)
    )
    each(lambda region, evil: core.log_push(region, 0, 16, evil(1)))
    each(lambda region, evil: core.log_drain(region, 0, 16, evil(0)))
    each(lambda region, evil: core.ring_read(region, 0, 4, 64, evil(0)))
    each(lambda region, evil: core.bell_wait(region, 0, [512], [evil(0)], 0, 1000))
    each(lambda region, evil: core.bell_wait(region, 0, [512], [0], evil(0), 1000))
    each(lambda region, evil: core.bell_wait(region, 0, [512], [0], 0, evil(1000)))
    each(lambda region, evil: core.Kernel(region, 0, 4, [256], [evil(0)], 16, *NOTHING, 1).sweep(2))
    each(lambda region, evil: core.Kernel(region, 0, 4, [256], [0], evil(16), *NOTHING, 1).sweep(2))


def test_an_argument_that_releases_the_kernel_while_it_is_converted_harms_nothing(core: ModuleType) -> None:
    arrays = [np.array(each, np.uint32) for each in ([0, 1, 2], [0, 1], [0, 2], [0, 1], [1])]
    for call in (
        lambda kernel, evil: kernel.touch([evil(0), 1]),
        lambda kernel, evil: kernel.sweep(evil(2)),
        lambda kernel, evil: kernel.settle(0, evil(2)),
        lambda kernel, evil: kernel.settle(evil(0), 2),
    ):
        region = core.Region(bytearray(4096))
        kernel = core.Kernel(region, 0, 8, [256], [0], 16, *arrays, 1)
        with contextlib.suppress(ValueError, TypeError):
            call(kernel, lambda value, kernel=kernel: Meddler(kernel.release, value))
        kernel.release()
        region.release()  # nobody uses it any more


def test_a_sequence_that_is_longer_than_memory_is_refused(native: ModuleType) -> None:
    region = native.Region(bytearray(4096))
    kernel = native.Kernel(region, 0, 8, [256], [0], 16, *NOTHING, 1)
    with pytest.raises(MemoryError):
        kernel.touch(range(1 << 62))


def test_what_is_made_is_not_made_again(native: ModuleType) -> None:
    region = native.Region(bytearray(4096))
    with pytest.raises(TypeError, match="made already"):
        region.__init__(bytearray(8))
    kernel = native.Kernel(region, 0, 8, [256], [0], 16, *NOTHING, 1)
    with pytest.raises(TypeError, match="made already"):
        kernel.__init__(region, 0, 8, [256], [0], 16, *NOTHING, 1)
    kernel.release()
    region.release()
