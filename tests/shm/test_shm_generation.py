from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from arbpipe.errors import EnvironmentRefused, LayoutMismatch
from arbpipe.feemodel import FeeTerms
from arbpipe.identity import Venue
from arbpipe.shm.generation import ARRAYS, Generation, content_of, encode_generation, read_meta, write_generation

HEADER_BYTES = 56
DOLLAR = 1_000_000

# Two instruments that say the same thing, and the two directions between them as one cover {X, ¬X}.
VALUES: dict[str, Any] = {
    "uid": [2**64 - 1, 7],
    "slot": [3, 130],
    "venue": [1, 2],
    "tradeable": [1, 0],
    "tick_e4": [100, 10],
    "min_size_e2": [1, 500],
    "fee": [[70_000, 1, 10_000, 10_000], [0, 0, 0, 0]],
    "group": [0, 0],
    "prop_ptr": [0, 2, 4],
    "prop_claims": [6, 260, 7, 261],
    "cover_ptr": [0, 2],
    "cover_props": [0, 1],
    "cover_id": [4_000_000_001],
    "cover_k": [1],
    "cover_group": [0],
    "cover_event": [1],
    "cover_tails": [1],
    "cover_floor_e6": [-5],
    "cover_relations_ptr": [0, 2],
    "cover_relations": [2, 9],
    "pay_ptr": [0, 4],
    "pay_states": [3],
    "pay_regular": [2],
    "pay_claims": [6, 7, 260, 261],
    "pay_matrix_ptr": [0, 12],
    "pay_least": [DOLLAR, 0, 0, 0, DOLLAR, 0, DOLLAR, 0, 500_000, 0, DOLLAR, 500_000],
    "pay_most": [DOLLAR, 0, 1, 0, DOLLAR, 2, DOLLAR, 0, 500_003, 0, DOLLAR, 500_004],
}
INSTRUMENT = {
    "native_id": "KX",
    "title": "Größe",
    "yes_label": "Yes",
    "no_label": "No",
    "yes_token": "",
    "no_token": "",
    "version": "",
    "neg_risk": False,
    "min_size": "0.01",
    "reason": "",
}
META: dict[str, Any] = {
    "instruments": [INSTRUMENT, dict(INSTRUMENT, native_id="0x1", neg_risk=True, reason="no fee")],
    "covers": [{"name": "both", "kind": "pair"}],
    "events": ["other", "fed"],
}


def arrays_of(**changes: Any) -> dict[str, npt.NDArray[Any]]:
    return {name: np.array((VALUES | changes)[name], dtype=np.dtype(ARRAYS[name])) for name in ARRAYS}


@pytest.fixture
def written(plane: Path) -> Path:
    """``catalog.5`` on tmpfs."""
    return write_generation(plane, 5, *encode_generation(arrays_of(), META))


def test_arrays_and_meta_come_back_as_they_were_written(written: Path) -> None:
    generation = Generation(written.parent, 5)
    assert generation.number == 5
    assert generation.meta == META == read_meta(written.parent, 5)
    for name, array in arrays_of().items():
        assert generation.arrays[name].dtype == array.dtype, name
        assert generation.arrays[name].shape == array.shape, name
        assert (generation.arrays[name] == array).all(), name


def test_a_listing_says_what_the_arrays_and_the_names_say(written: Path) -> None:
    generation = Generation(written.parent, 5)
    first, second = generation.listings
    assert (first.uid, first.slot, first.venue, first.tradeable) == (2**64 - 1, 3, Venue.KALSHI, True)
    assert (first.native_id, first.title, first.fee) == ("KX", "Größe", FeeTerms(70_000, 1, 10_000, 10_000))
    assert (second.venue, second.tradeable, second.fee, second.reason) == (Venue.POLYMARKET, False, None, "no fee")
    assert generation.by_slot[130] is generation.by_uid[7] is second


def test_a_cover_holds_the_claims_of_its_propositions_and_its_relations(written: Path) -> None:
    (cover,) = Generation(written.parent, 5).covers
    assert (cover.cover_id, cover.name, cover.kind, cover.event) == (4_000_000_001, "both", "pair", "fed")
    assert (cover.k, cover.tails_accepted, cover.floor_e6) == (1, True, -5)
    assert cover.propositions == ((6, 260), (7, 261))
    assert (cover.proposition_ids, cover.relations) == ((0, 1), (2, 9))


def test_payoffs_are_given_per_claim_and_state_with_the_number_of_regular_states(written: Path) -> None:
    table, regular = Generation(written.parent, 5).payoffs(0)
    assert regular == 2
    assert table[6] == ([DOLLAR, 0, 0], [DOLLAR, 0, 1])
    assert table[261] == ([0, DOLLAR, 500_000], [0, DOLLAR, 500_004])
    assert list(table) == [6, 7, 260, 261]


def test_a_conflict_group_is_every_instrument_that_relations_connect(written: Path) -> None:
    generation = Generation(written.parent, 5)
    assert generation.group_uids(0) == {2**64 - 1, 7}
    assert generation.group_uids(1) == frozenset()


def test_an_empty_catalog_is_a_generation_too(plane: Path) -> None:
    empty: dict[str, Any] = {name: np.empty(0, np.dtype(kind)) for name, kind in ARRAYS.items()}
    empty["fee"] = empty["fee"].reshape(0, 4)
    for name in ("prop_ptr", "cover_ptr", "cover_relations_ptr", "pay_ptr", "pay_matrix_ptr"):
        empty[name] = np.zeros(1, np.dtype(ARRAYS[name]))
    write_generation(plane, 1, *encode_generation(empty, {"instruments": [], "covers": [], "events": []}))
    generation = Generation(plane, 1)
    assert (generation.listings, generation.covers) == ([], [])
    assert generation.arrays["fee"].shape == (0, 4)


def test_every_array_lies_on_a_64_byte_boundary_of_the_file(written: Path) -> None:
    for name, array in Generation(written.parent, 5).arrays.items():
        if array.size:
            assert array.ctypes.data % 64 == 0, name


def test_a_mapped_generation_cannot_be_written(written: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        Generation(written.parent, 5).arrays["tick_e4"][0] = 1


def test_two_catalogs_that_say_the_same_have_the_same_content_whatever_their_number(written: Path) -> None:
    write_generation(written.parent, 6, *encode_generation(arrays_of(), META))
    write_generation(written.parent, 7, *encode_generation(arrays_of(tick_e4=[100, 100]), META))
    content, head_length = encode_generation(arrays_of(), META)
    assert content_of(written.parent, 5) == content_of(written.parent, 6) == content
    assert content_of(written.parent, 7) != content
    assert content_of(written.parent, 8) == b""
    assert head_length % 8 == 0


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_one_damaged_byte_anywhere_is_detected(written: Path) -> None:
    whole = written.read_bytes()
    places = [*range(HEADER_BYTES), *range(HEADER_BYTES, len(whole), 7), len(whole) - 1]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        written.write_bytes(damaged)
        with pytest.raises(LayoutMismatch, match=str(written)):
            Generation(written.parent, 5)
    written.write_bytes(whole)
    Generation(written.parent, 5)


def test_a_changed_length_of_the_names_is_damage_although_they_would_still_parse(plane: Path) -> None:
    content, head_length = encode_generation(arrays_of(), dict(META, note="x"))
    blanks = head_length - len(content[:head_length].rstrip())
    if not blanks:
        content, head_length = encode_generation(arrays_of(), dict(META, note="xy"))
    assert content[head_length - 1 : head_length] == b" "
    path = write_generation(plane, 5, content, head_length)
    data = bytearray(path.read_bytes())
    data[48:56] = (head_length - 1).to_bytes(8, "little")
    path.write_bytes(data)
    for read in (Generation, read_meta):
        with pytest.raises(LayoutMismatch, match="its digest does not match"):
            read(plane, 5)


@pytest.mark.parametrize("size", [1, 8, 55, 56, 57, 1_000])
def test_a_truncated_file_is_refused(written: Path, size: int) -> None:
    os.truncate(written, size)
    with pytest.raises(LayoutMismatch, match=str(written)):
        Generation(written.parent, 5)


def test_an_empty_or_missing_file_is_refused_with_its_path(written: Path) -> None:
    os.truncate(written, 0)
    for number in (5, 6):
        with pytest.raises(EnvironmentRefused, match=rf"cannot map the catalog .*catalog\.{number}"):
            Generation(written.parent, number)
        with pytest.raises(EnvironmentRefused, match=rf"cannot map the catalog .*catalog\.{number}"):
            read_meta(written.parent, number)


def test_a_generation_under_another_ones_number_is_refused_naming_both(written: Path) -> None:
    os.rename(written, written.parent / "catalog.6")
    with pytest.raises(LayoutMismatch, match=r"catalog\.6 says it is generation 5"):
        Generation(written.parent, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tick_e4": np.array([1, 2], np.int64)}, "tick_e4 is <i8: <u4 expected"),
        ({"venue": np.array([1, 2], np.uint16)}, "venue is <u2: u1 expected"),
        ({"colour": np.array([1])}, "a generation needs exactly"),
    ],
)
def test_an_array_that_is_unknown_or_of_another_type_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_generation(arrays_of() | change, META)
    missing = arrays_of()
    del missing["slot"]
    with pytest.raises(ValueError, match="a generation needs exactly"):
        encode_generation(missing, META)


def test_the_file_appears_whole_with_0640_and_no_temporary_file_stays(plane: Path) -> None:
    before = os.umask(0o022)
    path = write_generation(plane, 9, *encode_generation(arrays_of(), META))
    os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [each.name for each in plane.iterdir()] == ["catalog.9"]


def test_a_full_tmpfs_leaves_the_generation_before_and_no_temporary_file(tiny_tmpfs: Path) -> None:
    content, head_length = encode_generation(arrays_of(), META)
    write_generation(tiny_tmpfs, 1, content, head_length)
    with pytest.raises(EnvironmentRefused, match=r"cannot write .*catalog\.2: No space left"):
        write_generation(tiny_tmpfs, 2, content + bytes(2 << 20), head_length)
    assert [each.name for each in tiny_tmpfs.iterdir()] == ["catalog.1"]
    Generation(tiny_tmpfs, 1)


def test_a_mapped_generation_outlives_the_removal_of_its_file(written: Path) -> None:
    generation = Generation(written.parent, 5)
    written.unlink()
    assert generation.arrays["slot"].tolist() == [3, 130]
