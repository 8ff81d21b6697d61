from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plane_support import SMALL

from arbpipe.feemodel import FeeTerms
from arbpipe.identity import Side
from arbpipe.shm import core
from arbpipe.shm.layout import CELL, DEPTH
from arbpipe.shm.row import Reason, Row, RowFlag, RowReader, RowWriter
from arbpipe.shm.segment import Segment

U32 = st.integers(0, 2**32 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
LEVELS = st.lists(st.tuples(st.integers(1, 9_999), st.integers(1, 2**31 - 1)), max_size=DEPTH + 3)
FEES = st.builds(
    FeeTerms, st.integers(0, 1_000_000), st.integers(1, 4), st.integers(1, 2**16 - 1), st.integers(1, 2**31)
)
ROWS = st.fixed_dictionaries(
    {
        "uid": st.integers(0, 2**64 - 1),
        "connection": U32,
        "epoch": U32,
        "venue_ms": I64,
        "recv_ns": I64,
        "publish_ns": I64,
        "flags": st.sampled_from([0, 0, 0, *RowFlag, RowFlag.CROSSED | RowFlag.HALTED]),
        "tick_e4": U32,
        "fee": st.none() | FEES,
        "yes_asks": LEVELS,
        "no_asks": LEVELS,
    }
)
FEE = FeeTerms(70_000, 1, 10_000, 10_000)
PLAIN: dict[str, Any] = {
    "uid": 77,
    "connection": 1,
    "epoch": 3,
    "venue_ms": 10,
    "recv_ns": 20,
    "publish_ns": 30,
    "flags": 0,
    "tick_e4": 100,
    "fee": FEE,
    "yes_asks": [(4_500, 1_000), (4_600, 2_500)],
    "no_asks": [(5_600, 300)],
}


@given(st.integers(0, SMALL.slots - 1), ROWS)
def test_what_is_published_is_what_is_read(shared_segment: Segment, slot: int, values: dict[str, Any]) -> None:
    version = RowWriter(shared_segment).publish(slot, **values)
    row = RowReader(shared_segment).read(slot)
    assert row is not None
    expected = dict(values, version=version)
    for side in ("yes_asks", "no_asks"):
        expected[side] = () if values["flags"] else tuple(values[side][:DEPTH])
    assert row._asdict() == expected


@pytest.mark.parametrize("flag", list(RowFlag))
def test_every_flag_wipes_the_levels(segment: Segment, flag: RowFlag) -> None:
    writer, reader = RowWriter(segment), RowReader(segment)
    writer.publish(5, **PLAIN)
    writer.publish(5, **dict(PLAIN, flags=flag))
    row = reader.read(5)
    assert row is not None
    assert row.flags == flag
    assert (row.yes_asks, row.no_asks) == ((), ())
    cell = segment.array("rows")[5]["cell0" if row.version % 2 == 0 else "cell1"].tobytes()
    assert not any(struct.unpack("<32i", cell[CELL.offset("yes_asks") :]))


def test_a_row_that_was_never_written_is_none(segment: Segment) -> None:
    reader = RowReader(segment)
    assert reader.read(0) is None
    assert (reader.version(0), reader.verified(0), reader.confirmed_ns(0)) == (0, 0, 0)


def test_a_row_that_moved_under_every_try_is_none(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    RowWriter(segment).publish(0, **PLAIN)
    monkeypatch.setattr(core, "row_fetch", lambda *_: None)
    assert RowReader(segment).read(0) is None


def test_a_slot_outside_the_segment_is_refused(segment: Segment) -> None:
    for slot in (-1, SMALL.slots):
        with pytest.raises(IndexError, match=rf"rows\[{slot}\]"):
            RowReader(segment).read(slot)
        with pytest.raises(IndexError, match=rf"rows\[{slot}\]"):
            RowWriter(segment).publish(slot, **PLAIN)


def test_neighbouring_rows_do_not_touch_each_other(segment: Segment) -> None:
    writer, reader = RowWriter(segment), RowReader(segment)
    for slot in (9, 11):
        writer.publish(slot, **dict(PLAIN, uid=slot))
    writer.publish(10, **dict(PLAIN, uid=10, yes_asks=[(9_999, 2**31 - 1)] * DEPTH))
    writer.confirm(10, 2**62)
    writer.verify(10, 2**62)
    for slot in (9, 11):
        row = reader.read(slot)
        assert row is not None
        assert (row.uid, row.version, reader.verified(slot), reader.confirmed_ns(slot)) == (slot, 1, 0, 0)


def test_a_verification_is_of_one_version_and_lapses_with_the_next(segment: Segment) -> None:
    writer, reader = RowWriter(segment), RowReader(segment)
    version = writer.publish(4, **PLAIN)
    assert reader.verified(4) != version
    writer.verify(4, version)
    assert reader.verified(4) == reader.version(4) == version
    assert writer.publish(4, **PLAIN) == version + 1
    assert reader.verified(4) != reader.version(4)


def test_a_confirmation_publishes_nothing(segment: Segment) -> None:
    writer, reader = RowWriter(segment), RowReader(segment)
    writer.publish(4, **PLAIN)
    before = reader.read(4)
    writer.confirm(4, 123_456)
    assert reader.confirmed_ns(4) == 123_456
    assert reader.read(4) == before


def test_an_unknown_fee_is_read_as_unknown_and_not_as_free(segment: Segment) -> None:
    RowWriter(segment).publish(4, **dict(PLAIN, fee=None))
    row = RowReader(segment).read(4)
    assert row is not None
    assert row.fee is None
    RowWriter(segment).publish(4, **dict(PLAIN, fee=FeeTerms(0, 1, 1, 1)))
    row = RowReader(segment).read(4)
    assert row is not None
    assert row.fee == FeeTerms(0, 1, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"yes_asks": [(4_500, 2**31)]},
        {"no_asks": [(2**31, 1)]},
        {"uid": 2**64},
        {"tick_e4": -1},
        {"epoch": 2**32},
        {"fee": FeeTerms(1, 1, 2**16, 1)},
    ],
)
def test_a_value_that_does_not_fit_is_an_error_and_the_row_stands(segment: Segment, change: dict[str, Any]) -> None:
    writer, reader = RowWriter(segment), RowReader(segment)
    writer.publish(4, **PLAIN)
    before = reader.read(4)
    with pytest.raises(ValueError, match="fit"):
        writer.publish(4, **(PLAIN | change))
    assert reader.read(4) == before


@given(LEVELS, LEVELS)
def test_bids_are_the_complement_of_the_other_sides_asks(
    yes_asks: list[tuple[int, int]], no_asks: list[tuple[int, int]]
) -> None:
    row = Row(1, 1, 0, 0, 0, 0, 0, 0, 1, FEE, tuple(yes_asks), tuple(no_asks))
    assert row.asks(Side.YES) == row.yes_asks
    assert row.asks(Side.NO) == row.no_asks
    assert [10_000 - price for price, _ in row.bids(Side.YES)] == [price for price, _ in no_asks]
    assert [10_000 - price for price, _ in row.bids(Side.NO)] == [price for price, _ in yes_asks]
    assert [size for _, size in row.bids(Side.YES)] == [size for _, size in no_asks]


def test_two_readers_have_buffers_of_their_own(segment: Segment) -> None:
    writer, one, other = RowWriter(segment), RowReader(segment), RowReader(segment)
    writer.publish(1, **dict(PLAIN, uid=1))
    writer.publish(2, **dict(PLAIN, uid=2))
    first = one.read(1)
    second = other.read(2)
    assert first is not None
    assert second is not None
    assert (first.uid, second.uid) == (1, 2)


def test_no_two_reasons_share_a_number_and_none_is_zero() -> None:
    numbers = [Reason.__members__[name].value for name in Reason.__members__]
    assert len(set(numbers)) == len(numbers)
    assert Reason(0) is Reason.NONE
