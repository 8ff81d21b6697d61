from __future__ import annotations

import mmap
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbpipe._python.region import Region

WORDS = {"u64": (8, "<Q", 0, 2**64 - 1), "i64": (8, "<q", -(2**63), 2**63 - 1), "u32": (4, "<I", 0, 2**32 - 1)}
WORDS |= {"i32": (4, "<i", -(2**31), 2**31 - 1), "u8": (1, "<B", 0, 255)}


@given(st.sampled_from(sorted(WORDS)), st.integers(0, 7), st.data())
def test_a_word_is_stored_little_endian_where_it_was_asked_and_nowhere_else(
    kind: str, index: int, data: st.DataObject
) -> None:
    size, code, least, most = WORDS[kind]
    value = data.draw(st.integers(least, most))
    buffer = bytearray(b"\xa5" * 64)
    region = Region(buffer)
    getattr(region, f"store_{kind}")(index * size, value)
    assert getattr(region, f"load_{kind}")(index * size) == value
    expected = bytearray(b"\xa5" * 64)
    expected[index * size : (index + 1) * size] = struct.pack(code, value)
    assert buffer == expected


@pytest.mark.parametrize("kind", sorted(WORDS))
def test_a_word_outside_the_region_is_refused(kind: str) -> None:
    region = Region(bytearray(64))
    for offset in (-8, 64, 2**40):
        with pytest.raises(IndexError, match="outside the region of 64 bytes"):
            getattr(region, f"load_{kind}")(offset)
        with pytest.raises(IndexError, match="outside the region of 64 bytes"):
            getattr(region, f"store_{kind}")(offset, 1)


@pytest.mark.parametrize(("kind", "offset"), [("u64", 4), ("i64", 1), ("u32", 2), ("i32", 7)])
def test_a_word_off_its_natural_boundary_is_refused(kind: str, offset: int) -> None:
    region = Region(bytearray(64))
    with pytest.raises(ValueError, match=f"offset {offset} is not a multiple"):
        getattr(region, f"load_{kind}")(offset)
    with pytest.raises(ValueError, match=f"offset {offset} is not a multiple"):
        getattr(region, f"store_{kind}")(offset, 1)


def test_a_value_that_does_not_fit_its_word_is_an_error_and_changes_nothing() -> None:
    buffer = bytearray(16)
    with pytest.raises(ValueError, match="invalid value"):
        Region(buffer).store_u32(0, 2**32)
    assert buffer == bytes(16)


def test_bytes_are_copied_only_inside_the_region() -> None:
    region = Region(bytearray(32))
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


def test_a_length_that_is_no_whole_number_of_words_is_refused() -> None:
    with pytest.raises(ValueError, match="a region of 12 bytes"):
        Region(bytearray(12))


def test_a_read_only_mapping_cannot_be_written(plane: Path) -> None:
    path = plane / "words"
    path.write_bytes(bytes(64))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapping:
        region = Region(mapping)
        assert region.readonly
        for store in (region.store_u64, region.store_i64, region.store_u32, region.store_i32, region.store_u8):
            with pytest.raises(TypeError, match="read-only"):
                store(0, 1)
        with pytest.raises(TypeError, match="read-only"):
            region.write(0, b"x")
        region.release()
    assert path.read_bytes() == bytes(64)


def test_a_released_region_lets_its_mapping_close_and_is_unusable(plane: Path) -> None:
    path = plane / "words"
    path.write_bytes(bytes(64))
    with path.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    region = Region(mapping)
    with pytest.raises(BufferError):
        mapping.close()
    region.release()
    mapping.close()
    with pytest.raises(ValueError, match="released"):
        region.load_u64(0)
