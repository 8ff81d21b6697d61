from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plane_support import SMALL, Spawn

from arbpipe.errors import EnvironmentRefused
from arbpipe.shm.layout import LINE, MAX_LEGS, OPPORTUNITY, Role
from arbpipe.shm.opportunity import Doorbell, Leg, Opportunity, OpportunityReader, OpportunityWriter
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import ProcessLine

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
I32, I64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
LEGS = st.lists(st.builds(Leg, U32, U32, U64, U64, I32, I32, I64), min_size=1, max_size=MAX_LEGS).map(tuple)
OPPORTUNITIES = st.builds(Opportunity, U64, U64, U32, U32, I32, I64, I64, I64, I64, I64, I64, LEGS)

# The opportunity at position n has n in every field of head and legs: anything else is torn or repeated.
DETECTOR = """
import sys, time
from pathlib import Path
from arbpipe.shm.opportunity import Doorbell, Leg, Opportunity, OpportunityWriter
from arbpipe.shm.segment import Segment
directory, count, manner = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
segment = Segment.attach(directory, writable=True)
tail = segment.section("opportunities").offset + 128
writer = OpportunityWriter(segment, Doorbell(directory))
print("ready", flush=True)
sys.stdin.readline()
for n in range(count):
    while manner == "paced" and n - segment.region.load_u64(tail) >= segment.counts.ring_capacity - 1:
        time.sleep(0)
    writer.push(Opportunity(0, n, n, n, n, n, n, n, n, n, n, (Leg(n, n, n, n, n, n, n),) * (1 + n % 8)))
"""


def numbered(n: int) -> Opportunity:
    return Opportunity(n, n, n, n, n, n, n, n, n, n, n, (Leg(n, n, n, n, n, n, n),) * (1 + n % 8))


@pytest.fixture
def doorbell(segment: Segment) -> Iterator[Doorbell]:
    bell = Doorbell(segment.directory)
    yield bell
    bell.close()


@pytest.fixture
def writer(segment: Segment, doorbell: Doorbell) -> OpportunityWriter:
    return OpportunityWriter(segment, doorbell)


def stored_tail(segment: Segment) -> int:
    return segment.region.load_u64(segment.section("opportunities").offset + LINE)


# -- the entry ---------------------------------------------------------------------------------------------------------


@given(OPPORTUNITIES)
def test_an_entry_gives_back_the_opportunity_that_was_packed(opportunity: Opportunity) -> None:
    entry = opportunity.pack()
    assert len(entry) == OPPORTUNITY.size
    assert Opportunity.unpack(entry) == opportunity


@given(OPPORTUNITIES)
def test_the_entry_has_every_field_where_the_layout_says(opportunity: Opportunity) -> None:
    values = OPPORTUNITY.unpack(opportunity.pack())
    for name in Opportunity._fields[:-1]:
        assert values[name] == getattr(opportunity, name), name
    assert values["n_legs"] == len(opportunity.legs)


@pytest.mark.parametrize("legs", [0, MAX_LEGS + 1])
def test_no_legs_and_more_than_eight_are_refused(legs: int) -> None:
    opportunity = numbered(0)._replace(legs=(Leg(1, 1, 1, 1, 1, 1, 1),) * legs)
    with pytest.raises(ValueError, match=f"an opportunity of {legs} legs: 1 to 8 fit"):
        opportunity.pack()


# -- the ring ----------------------------------------------------------------------------------------------------------


def test_a_push_returns_the_position_and_writes_it_into_the_entry(segment: Segment, writer: OpportunityWriter) -> None:
    reader = OpportunityReader(segment)
    assert [writer.push(numbered(n)._replace(position=999)) for n in range(3)] == [0, 1, 2]
    assert [reader.next() for _ in range(4)] == [numbered(0), numbered(1), numbered(2), None]


def test_the_executors_reader_begins_at_the_head(segment: Segment, writer: OpportunityWriter) -> None:
    for n in range(5):
        writer.push(numbered(n))
    line = ProcessLine(segment, Role.EXECUTOR)
    reader = OpportunityReader(segment, line)
    assert reader.next() is None
    assert reader.tail == reader.head == stored_tail(segment) == line.cursor_value(OpportunityReader.CURSOR) == 5
    writer.push(numbered(5))
    assert reader.next() == numbered(5)
    assert reader.overruns == 0


def test_the_tail_is_stored_before_an_entry_is_returned(
    segment: Segment, writer: OpportunityWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ProcessLine(segment, Role.EXECUTOR)
    reader = OpportunityReader(segment, line)
    writer.push(numbered(0))
    writer.push(numbered(1))

    def dies(_entry: bytes) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Opportunity, "unpack", dies)
        with pytest.raises(KeyboardInterrupt):
            reader.next()
    assert stored_tail(segment) == line.cursor_value(OpportunityReader.CURSOR) == 1
    assert reader.next() == numbered(1)


@pytest.mark.parametrize("role", [None, Role.DETECTOR, Role.REPLAY])
def test_an_observer_leaves_the_executors_tail_alone(
    segment: Segment, writer: OpportunityWriter, role: Role | None
) -> None:
    observer = OpportunityReader(segment, None if role is None else ProcessLine(segment, role))
    writer.push(numbered(0))
    assert observer.next() == numbered(0)
    assert stored_tail(segment) == 0


def test_a_reader_that_was_overrun_skips_to_the_oldest_valid_entry_and_counts_the_lost(
    segment: Segment, writer: OpportunityWriter
) -> None:
    reader = OpportunityReader(segment, ProcessLine(segment, Role.EXECUTOR))
    capacity = SMALL.ring_capacity
    for n in range(capacity):
        writer.push(numbered(n))
    first = reader.next()
    assert first == numbered(1), "the entry at head − capacity may be half overwritten"
    assert reader.overruns == 1
    for n in range(capacity, 5 * capacity):
        writer.push(numbered(n))
    rest = []
    while (one := reader.next()) is not None:
        rest.append(one)
    assert rest == [numbered(n) for n in range(4 * capacity + 1, 5 * capacity)]
    assert reader.overruns + 1 + len(rest) == 5 * capacity
    assert stored_tail(segment) == 5 * capacity


def test_a_head_that_went_back_is_counted_and_does_not_hang_the_reader(
    segment: Segment, writer: OpportunityWriter
) -> None:
    for n in range(3):
        writer.push(numbered(n))
    reader = OpportunityReader(segment, ProcessLine(segment, Role.EXECUTOR))
    segment.region.store_u64(segment.section("opportunities").offset, 0)
    assert reader.next() is None
    assert (reader.overruns, reader.tail) == (1, 0)
    writer.push(numbered(0))
    assert reader.next() == numbered(0)


@pytest.mark.system
def test_across_processes_an_executor_that_keeps_up_gets_every_opportunity_once_and_whole(
    segment: Segment, spawn: Spawn
) -> None:
    count = 4_000
    reader = OpportunityReader(segment, ProcessLine(segment, Role.EXECUTOR))
    detector = spawn(DETECTOR, segment.directory, count, "paced")
    assert detector.line() == "ready"
    detector.tell("go")
    seen = 0
    end = time.monotonic() + 20
    while seen < count and time.monotonic() < end:
        one = reader.next()
        if one is not None:
            assert one == numbered(seen)
            seen += 1
    assert (seen, reader.overruns) == (count, 0)


@pytest.mark.system
def test_across_processes_a_slow_executor_gets_whole_opportunities_in_order_and_counts_the_rest(
    segment: Segment, spawn: Spawn
) -> None:
    count = 20_000
    reader = OpportunityReader(segment, ProcessLine(segment, Role.EXECUTOR))
    detector = spawn(DETECTOR, segment.directory, count, "free")
    assert detector.line() == "ready"
    detector.tell("go")
    seen, last = 0, -1
    end = time.monotonic() + 20
    while reader.tail < count and time.monotonic() < end:
        one = reader.next()
        if one is not None:
            assert one == numbered(one.position)
            assert one.position > last
            last, seen = one.position, seen + 1
            if seen % 16 == 0:
                time.sleep(0.001)
    assert seen + reader.overruns == count
    assert reader.overruns > 0


# -- the doorbell ------------------------------------------------------------------------------------------------------


def test_a_ring_wakes_a_poll_and_draining_quiets_it(doorbell: Doorbell, segment: Segment) -> None:
    detector = Doorbell(segment.directory)
    poll = select.poll()
    poll.register(doorbell.fd, select.POLLIN)
    assert poll.poll(0) == []
    detector.ring()
    assert poll.poll(1_000) == [(doorbell.fd, select.POLLIN)]
    doorbell.drain()
    assert poll.poll(0) == []
    doorbell.drain()
    detector.close()


@pytest.mark.system
def test_a_push_in_another_process_wakes_the_executor(segment: Segment, doorbell: Doorbell, spawn: Spawn) -> None:
    reader = OpportunityReader(segment)
    detector = spawn(DETECTOR, segment.directory, 1, "free")
    assert detector.line() == "ready"
    poll = select.poll()
    poll.register(doorbell.fd, select.POLLIN)
    detector.tell("go")
    assert poll.poll(10_000), "the doorbell did not ring"
    assert reader.next() == numbered(0)


def test_a_full_pipe_is_a_rung_bell_and_does_not_block(doorbell: Doorbell) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(doorbell.fd, bytes(4_096))
    with pytest.raises(BlockingIOError):
        os.write(doorbell.fd, b"1")
    begin = time.monotonic()
    for _ in range(100):
        doorbell.ring()
    assert time.monotonic() - begin < 1
    doorbell.drain()
    assert select.select([doorbell.fd], [], [], 0) == ([], [], [])


def test_a_ring_that_nobody_hears_does_not_fail(segment: Segment) -> None:
    bell = Doorbell(segment.directory)
    bell.ring()
    bell.close()


@pytest.mark.parametrize("kind", ["file", "link", "directory"])
def test_anything_but_a_fifo_in_the_doorbells_place_is_refused(plane: Path, kind: str) -> None:
    path = plane / "doorbell.executor"
    if kind == "file":
        path.write_text("")
    elif kind == "link":
        os.mkfifo(plane / "elsewhere")
        path.symlink_to(plane / "elsewhere")
    else:
        path.mkdir()
    with pytest.raises(EnvironmentRefused, match=str(path)):
        Doorbell(plane)
