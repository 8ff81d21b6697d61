from __future__ import annotations

import dataclasses
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plane_support import ROOT, SMALL

from arbpipe.shm import layout
from arbpipe.shm.layout import CELL, HEADER, LINE, RECORDS, ROW, Counts, Field, Record, Role, digest, layout_of

SIZES = {"u8": 8, "i8": 8, "u4": 4, "i4": 4, "u2": 2, "u1": 1, "S": 1}
FIELDS = [(record.name, field.name) for record in RECORDS for field in record.fields]
#: Sections whose items have different writers: each item must fill whole lines.
PER_ITEM = ("processes", "connections", "venue_state", "quarantine", "latency", "changes")
#: Bytes per slot of the sections that the feeds share slot by slot (a column of the quarantine is one byte per slot).
PER_SLOT = {"quarantine": 1, "cost_e6": 8, "rows": ROW.size}


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    ranges = draw(st.integers(1, 4))
    return Counts(
        slots=128 * ranges * draw(st.integers(1, 8)),
        ranges=ranges,
        connections=ranges * draw(st.integers(1, 16)),
        log_capacity=2 ** draw(st.integers(1, 13)),
        ring_capacity=2 ** draw(st.integers(1, 8)),
        covers=draw(st.integers(1, 300)),
        relations=draw(st.integers(1, 300)),
        held=draw(st.integers(1, 300)),
        processes=draw(st.integers(len(Role), 20)),
    )


@given(counts())
def test_sections_begin_on_a_line_follow_the_header_and_never_overlap(each: Counts) -> None:
    sections, size = layout_of(each)
    end = HEADER.size + layout.SECTION_ENTRY.size * len(sections)
    for section in sections.values():
        assert section.offset % LINE == 0
        assert section.offset >= end
        end = section.offset + section.stride * section.count
    assert end <= size
    assert size % 4096 == 0


@given(counts())
def test_every_writer_has_128_byte_lines_of_its_own(each: Counts) -> None:
    sections, _ = layout_of(each)
    for name in PER_ITEM:
        assert sections[name].stride % LINE == 0, name
    for name, size in PER_SLOT.items():
        assert each.slots // each.ranges * size % LINE == 0, name
    for name, section in sections.items():
        assert section.at(section.count - 1) == section.offset + (section.count - 1) * section.stride, name


def test_the_detectors_and_the_executors_half_of_a_cover_line_lie_on_different_lines() -> None:
    lines: dict[bool, set[int]] = {False: set(), True: set()}
    for field in layout.COVER_STAT.fields:
        lines[field.name.startswith("x_")] |= {field.offset // LINE, (field.offset + field.size - 1) // LINE}
    assert not lines[False] & lines[True]


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.name)
def test_every_word_lies_on_its_natural_boundary_inside_its_record(record: Record) -> None:
    taken: set[int] = set()
    for field in record.fields:
        assert field.offset % SIZES[field.code] == 0
        extent = set(range(field.offset, field.offset + SIZES[field.code] * field.count))
        assert not extent & taken
        taken |= extent
    assert max(taken) < record.size


def test_the_cells_of_a_row_and_its_words_share_no_line() -> None:
    assert ROW.offset("cell0") % LINE == 0
    assert ROW.offset("cell1") == ROW.offset("cell0") + CELL.size
    assert ROW.offset("version") // LINE == ROW.offset("confirmed_ns") // LINE == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((Field("a", "u8", 0), Field("b", "u4", 4)), "r.b overlaps the field before it"),
        ((Field("a", "u8", 4),), "r.a at 4 is not on its natural boundary"),
        ((Field("a", "u2", 1),), "r.a at 1 is not on its natural boundary"),
        ((Field("a", "u8", 8, 2),), "r has 24 bytes of fields in a record of 16"),
    ],
)
def test_a_record_whose_fields_cannot_lie_so_is_refused(fields: tuple[Field, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Record("r", 16, fields)


def test_an_unknown_field_or_item_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match="header has no field 'colour'"):
        HEADER.offset("colour")
    rows = layout_of(SMALL)[0]["rows"]
    for index in (-1, SMALL.slots):
        with pytest.raises(IndexError, match=rf"rows\[{index}\]: it has 256 items"):
            rows.at(index)


def changed(record_name: str, field_name: str, change: str) -> tuple[Record, ...]:
    """All records, with one change to one field; an offset moves the field and all after it by one word."""
    records = []
    for record in RECORDS:
        if record.name != record_name:
            records.append(record)
            continue
        found = record[field_name]
        fields = []
        for field in record.fields:
            if change == "offset" and field.offset >= found.offset:
                fields.append(dataclasses.replace(field, offset=field.offset + 8))
            elif field is found and change == "name":
                fields.append(dataclasses.replace(field, name=field.name + "_"))
            elif field is found and change == "unit":
                fields.append(dataclasses.replace(field, unit=field.unit + "e6"))
            else:
                fields.append(field)
        records.append(Record(record.name, record.size + 8 * (change == "offset"), tuple(fields)))
    return tuple(records)


@pytest.mark.parametrize("change", ["name", "offset", "unit"])
def test_the_digest_changes_when_any_fields_name_offset_or_unit_changes(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {digest()}
    for record, field in FIELDS:
        monkeypatch.setattr(layout, "RECORDS", changed(record, field, change))
        digests.add(digest())
    assert len(digests) == 1 + len(FIELDS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NO_QUOTE", 1 << 29),
        ("DEPTH", 9),
        ("MAX_LEGS", 7),
        ("SUB_BUCKETS", 32),
        ("HEAD_BYTES", 512),
        ("VENUE_COLUMNS", ("executor", "feed", "operator")),
        ("QUARANTINE_COLUMNS", ("detector", "feed", "executor", "operator")),
        ("HISTOGRAMS", layout.HISTOGRAMS[::-1]),
    ],
)
def test_the_digest_changes_with_every_constant_that_gives_bytes_their_meaning(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest()
    monkeypatch.setattr(layout, name, value)
    assert digest() != before


def test_the_digest_changes_when_a_section_of_plain_words_has_another_item_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = digest()
    sections, size = layout_of(Counts())
    other = dict(sections, cost_e6=dataclasses.replace(sections["cost_e6"], code="i8"))
    monkeypatch.setattr(layout, "layout_of", lambda _counts: (other, size))
    assert digest() != before


def test_the_digest_is_the_same_in_every_process() -> None:
    code = "from arbpipe.shm.layout import digest; print(digest().hex())"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == digest().hex()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"log_capacity": 1000}, "log_capacity is 1000: it must be a power of two"),
        ({"log_capacity": 1}, "log_capacity is 1: it must be a power of two, and at least 2"),
        ({"ring_capacity": 96}, "ring_capacity is 96: it must be a power of two"),
        ({"slots": 2000}, "slots is 2000: it must be a multiple of 256"),
        ({"slots": 128}, "slots is 128: it must be a multiple of 256"),
        ({"connections": 7}, "connections is 7: it must be a multiple of 2"),
        ({"processes": len(Role) - 1}, f"processes is {len(Role) - 1}: at least {len(Role)} are needed"),
        *(
            ({field.name: value}, f"{field.name} is {value}: at least 1 is needed")
            for field in dataclasses.fields(Counts)
            for value in (0, -256)
        ),
    ],
)
def test_counts_that_cannot_be_laid_out_are_refused_with_the_value(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Counts(**values)


def test_a_record_unpacks_to_what_numpy_reads_from_the_same_bytes() -> None:
    data = np.random.default_rng(5).integers(0, 256, layout.PROCESS.size, np.uint8).tobytes()
    values: dict[str, Any] = layout.PROCESS.unpack(data)
    for field in layout.PROCESS.fields:
        if field.code == "S":
            raw = data[field.offset : field.offset + field.count]
            assert values[field.name] == raw.split(b"\0")[0].decode("utf-8", "replace")
        else:
            kind = np.dtype(f"<{field.code}")
            array = np.frombuffer(data, kind, field.count, field.offset).tolist()
            assert values[field.name] == (array[0] if field.count == 1 else tuple(array))


def test_the_magic_reads_as_text_in_a_dump() -> None:
    assert struct.pack("<Q", layout.MAGIC)[1:] == b"ARBPIPE"


def test_probes_reach_the_whole_plane_without_numpy() -> None:
    code = (
        "import sys, arbpipe.shm.usable, arbpipe.shm.opportunity, arbpipe.shm.stats, arbpipe.shm.ageclock\n"
        "import arbpipe.shm.generation\n"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
