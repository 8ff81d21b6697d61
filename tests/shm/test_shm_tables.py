from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plane_support import SMALL, Spawn

from arbpipe.feemodel import FeeTerms
from arbpipe.identity import Venue
from arbpipe.shm.core import Region, log_push
from arbpipe.shm.layout import HISTOGRAMS, LINE, NO_QUOTE, Counts, Role
from arbpipe.shm.opportunity import Doorbell, Leg, Opportunity, OpportunityReader, OpportunityWriter
from arbpipe.shm.row import RowWriter
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import Counter, ErrorCode, Histogram, ProcessLine
from arbpipe.shm.tables import (
    FEED_ROLES,
    BreakerView,
    Connections,
    ConnectionState,
    Costs,
    Held,
    Quarantine,
    QuarantineReason,
    Revoked,
    VenueState,
    VenueStates,
    ranges_of,
    write_ranges,
)

HELD_WRITER = """
import random
import sys
import time
from pathlib import Path
from arbpipe.shm.segment import Segment
from arbpipe.shm.tables import Held
held = Held(Segment.attach(Path(sys.argv[1]), writable=True))
small, large = {3, 5}, set(range(100, 130))
held.store(small)
print("ready", flush=True)
while True:
    # now and then it rests, so that a reader of any speed meets all three
    for uids in (large, small):
        held.store(uids)
        if random.random() < 0.2:
            time.sleep(0.0005)
"""


# -- connections and ranges --------------------------------------------------------------------------------------------


def test_a_new_connection_is_down_in_epoch_0_and_never_confirmed(segment: Segment) -> None:
    connections = Connections(segment)
    assert connections.state(0) is ConnectionState.DOWN
    assert (connections.epoch(0), connections.confirmed_ns(0), connections.lag_ms(0)) == (0, 0, 0)


def test_epochs_only_go_up_one_by_one(segment: Segment) -> None:
    connections = Connections(segment)
    assert [connections.next_epoch(1) for _ in range(3)] == [1, 2, 3]
    assert [connections.epoch(number) for number in range(4)] == [0, 3, 0, 0]


def test_a_connection_outside_the_segment_is_refused(segment: Segment) -> None:
    with pytest.raises(IndexError, match=r"connections\[4\]: it has 4 items"):
        Connections(segment).state(4)


def test_a_shorter_reason_leaves_nothing_of_the_one_before(segment: Segment) -> None:
    connections = Connections(segment)
    connections.set_state(0, ConnectionState.STALE, "a gap in the sequence")
    connections.set_state(0, ConnectionState.LIVE)
    assert segment.fields("connections", 0)["reason"] == ""


def test_the_ranges_share_out_all_slots_and_connections_without_overlap(segment: Segment) -> None:
    write_ranges(segment)
    ranges = ranges_of(segment)
    assert set(ranges) == set(FEED_ROLES)
    slots = [slot for r in ranges.values() for slot in range(r.first_slot, r.first_slot + r.slots)]
    lines = [n for r in ranges.values() for n in range(r.first_connection, r.first_connection + r.connections)]
    assert sorted(slots) == list(range(SMALL.slots))
    assert sorted(lines) == list(range(SMALL.connections))
    assert sorted(r.log for r in ranges.values()) == [0, 1]


# -- costs, revocations, breaker ---------------------------------------------------------------------------------------


def test_costs_lie_in_the_order_of_claim_ids(segment: Segment) -> None:
    costs = Costs(segment)
    costs.store(3, 450_000, 560_000)
    assert [costs.load(claim) for claim in (5, 6, 7, 8)] == [NO_QUOTE, 450_000, 560_000, NO_QUOTE]
    assert segment.array("cost_e6").reshape(-1)[6:8].tolist() == [450_000, 560_000]
    costs.no_quote(3)
    assert (segment.array("cost_e6") == NO_QUOTE).all()


def test_two_claims_without_quote_exceed_every_cover(segment: Segment) -> None:
    assert int(segment.array("cost_e6")[0].astype(np.int64).sum()) > 8 * 1_000_000


def test_a_revocation_stands_until_it_is_taken_back(segment: Segment) -> None:
    revoked = Revoked(segment)
    revoked.set(3, True)
    assert [revoked.is_set(n) for n in (2, 3, 4)] == [False, True, False]
    revoked.set(3, False)
    assert not revoked.is_set(3)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_tripped_means_that_the_two_counts_differ(shared_segment: Segment, trips: int, acknowledged: int) -> None:
    view = BreakerView(shared_segment)
    shared_segment.region.store_u64(view.trips_at, trips)
    shared_segment.region.store_u64(view.acknowledged_at, acknowledged)
    assert view.tripped == (trips != acknowledged)


def test_a_cause_while_tripped_is_not_acknowledged_by_a_reset_of_the_count_before(segment: Segment) -> None:
    view, seen = BreakerView(segment), []
    for word, value in (
        (view.trips_at, 1),
        (view.trips_at, 2),
        (view.acknowledged_at, 1),  # the count the operator was shown
        (view.acknowledged_at, 2),
    ):
        segment.region.store_u64(word, value)
        seen.append(view.tripped)
    assert seen == [True, True, True, False]


def test_kill_and_pause_are_two_words(segment: Segment) -> None:
    view, seen = BreakerView(segment), []
    for kill, pause in ((0, 0), (1, 0), (0, 1), (1, 1)):
        segment.region.store_u32(view.kill_at, kill)
        segment.region.store_u32(view.pause_at, pause)
        seen.append((view.killed, view.paused))
    assert seen == [(False, False), (True, False), (False, True), (True, True)]


# -- columns -----------------------------------------------------------------------------------------------------------


def test_nobody_clears_another_ones_quarantine(segment: Segment) -> None:
    feed, operator = Quarantine(segment, "feed"), Quarantine(segment, "operator")
    feed.set(9, QuarantineReason.CROSSED)
    operator.set(9, QuarantineReason.OPERATOR)
    feed.set(9, QuarantineReason.NONE)
    assert Quarantine(segment).reason(9) is QuarantineReason.OPERATOR
    assert Quarantine(segment).reason(8) is QuarantineReason.NONE
    operator.set(9, QuarantineReason.NONE)
    assert Quarantine(segment).reason(9) is QuarantineReason.NONE


def test_the_worst_column_of_a_venue_counts(segment: Segment) -> None:
    feed, executor, view = VenueStates(segment, "feed"), VenueStates(segment, "executor"), VenueStates(segment)
    feed.set(Venue.KALSHI, VenueState.PAUSED)
    executor.set(Venue.KALSHI, VenueState.UNKNOWN)
    assert view.worst(Venue.KALSHI) is VenueState.PAUSED
    assert view.worst(Venue.POLYMARKET) is VenueState.TRADING
    feed.set(Venue.KALSHI, VenueState.TRADING)
    assert view.worst(Venue.KALSHI) is VenueState.UNKNOWN


def test_a_view_without_a_column_cannot_write(segment: Segment) -> None:
    with pytest.raises(ValueError, match="no column to write"):
        Quarantine(segment).set(0, QuarantineReason.OPERATOR)
    with pytest.raises(ValueError, match="no column to write"):
        VenueStates(segment).set(Venue.KALSHI, VenueState.CLOSED)


def test_a_column_nobody_has_is_refused(segment: Segment) -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        Quarantine(segment, "intruder")
    with pytest.raises(ValueError, match="not in tuple"):
        VenueStates(segment, "detector")


# -- held --------------------------------------------------------------------------------------------------------------


class Interrupting:
    """A region that does something before the ``at``-th word access of a kind."""

    def __init__(self, buffer: mmap.mmap) -> None:
        self.inner = Region(buffer)
        self._kind, self._left = "", 0

    def release(self) -> None:
        self.inner.release()

    def arm(self, kind: str, at: int, action: Callable[[], None]) -> None:
        self._kind, self._left, self._action = kind, at, action

    def _tick(self, kind: str) -> None:
        if kind == self._kind:
            self._left -= 1
            if self._left == 0:
                self._action()

    def load_u64(self, offset: int) -> int:
        self._tick("load")
        return self.inner.load_u64(offset)

    def store_u64(self, offset: int, value: int) -> None:
        self._tick("store")
        self.inner.store_u64(offset, value)


@pytest.fixture
def interrupting(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Interrupting, Held]]:
    """A second holder of the same bytes, whose accesses can be interrupted."""
    region = Interrupting(segment._mapping)
    held = Held(segment)
    monkeypatch.setattr(held, "_region", region)
    yield region, held
    region.release()


@given(st.sets(st.integers(1, 2**64 - 1), max_size=SMALL.held))
def test_the_held_set_is_read_as_it_was_stored(shared_segment: Segment, uids: set[int]) -> None:
    Held(shared_segment).store(uids)
    assert Held(shared_segment).load() == uids


def test_more_held_instruments_than_fit_are_refused_and_the_set_stands(segment: Segment) -> None:
    held = Held(segment)
    held.store({1, 2})
    with pytest.raises(ValueError, match=f"{SMALL.held + 1} held instruments, room for {SMALL.held}"):
        held.store(set(range(1, SMALL.held + 2)))
    assert held.load() == {1, 2}


@pytest.mark.parametrize("at", range(1, 8))
def test_a_whole_rewrite_between_any_two_words_of_a_load_gives_none_and_never_a_mixture(
    segment: Segment, interrupting: tuple[Interrupting, Held], at: int
) -> None:
    region, racing = interrupting
    old, new = {1, 2, 3}, {11, 12, 13, 14, 15}
    Held(segment).store(old)
    region.arm("load", at, lambda: Held(segment).store(new))
    assert racing.load() == (new if at == 1 else old if at > 6 else None)
    assert Held(segment).load() == (old if at > 6 else new)


@pytest.mark.parametrize("at", range(2, 6))
def test_a_writer_killed_in_the_middle_leaves_none_until_the_next_one_stores(
    segment: Segment, interrupting: tuple[Interrupting, Held], at: int
) -> None:
    region, dying = interrupting

    def die() -> None:
        raise KeyboardInterrupt

    Held(segment).store({1, 2, 3})
    region.arm("store", at, die)
    with pytest.raises(KeyboardInterrupt):
        dying.store({11, 12})
    assert Held(segment).load() is None
    Held(segment).store({7})
    assert Held(segment).load() == {7}


@pytest.mark.system
def test_across_processes_a_racing_rewrite_gives_the_old_set_the_new_set_or_none(
    segment: Segment, spawn: Spawn
) -> None:
    writer = spawn(HELD_WRITER, segment.directory)
    assert writer.line() == "ready"
    small, large, seen = {3, 5}, set(range(100, 130)), {"none": 0, "small": 0, "large": 0}
    held = Held(segment)
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        uids = held.load()
        assert uids in (None, small, large)
        seen["none" if uids is None else "small" if uids == small else "large"] += 1
    assert all(seen.values()), seen


# -- one writer per line -----------------------------------------------------------------------------------------------

FEE = FeeTerms(1, 1, 1, 1)
OPPORTUNITY = Opportunity(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, (Leg(1, 2, 3, 4, 5, 6, 7),))


def as_feed(segment: Segment, role: Role) -> None:
    """Everything a feed writes, at both ends of its range."""
    mine, line = ranges_of(segment)[role], ProcessLine(segment, role)
    rows, costs, connections = RowWriter(segment), Costs(segment), Connections(segment)
    quarantine, venues = Quarantine(segment, "feed"), VenueStates(segment, "feed")
    stage = next(stage for stage, owner in HISTOGRAMS if owner is role)
    for slot in (mine.first_slot, mine.first_slot + mine.slots - 1):
        values: dict[str, Any] = {"uid": 2**64 - 1, "connection": 1, "epoch": 1, "venue_ms": 1, "recv_ns": 1}
        levels = [(1, 1)] * 8
        for _ in range(2):
            rows.publish(slot, **values, publish_ns=1, flags=0, tick_e4=1, fee=FEE, yes_asks=levels, no_asks=levels)
        rows.verify(slot, 1)
        rows.confirm(slot, 1)
        costs.store(slot, 1, 2)
        quarantine.set(slot, QuarantineReason.CROSSED)
    for number in (mine.first_connection, mine.first_connection + mine.connections - 1):
        connections.set_state(number, ConnectionState.STALE, "y" * 99)
        connections.next_epoch(number)
        connections.confirm(number, 1)
        connections.note(number, lag_ms=1, last_frame_ns=1, frames=1, gaps=1, reconnects=1)
    for n in range(segment.counts.log_capacity):
        log_push(segment.region, segment.section("changes").at(mine.log), segment.counts.log_capacity, n + 1)
    venues.set(FEED_ROLES[role], VenueState.PAUSED)
    Histogram(segment, stage, role).record(1)
    Histogram(segment, stage, role).record(1 << 62)
    write_line(line)


def write_line(line: ProcessLine) -> None:
    line.begin()
    line.add(Counter.FRAMES)
    line.add(Counter.UNKNOWN_FRAMES)
    for index in range(8):
        line.cursor(index, 9)
    line.acknowledge(1)
    line.progress(1)
    line.waiting(1)
    line.alerted()
    for code in (ErrorCode.GATEWAY, ErrorCode.CRASH, ErrorCode.VENUE):
        line.error(code, "z" * 200)


def as_detector(segment: Segment, role: Role) -> None:
    write_line(ProcessLine(segment, role))
    doorbell = Doorbell(segment.directory)
    writer = OpportunityWriter(segment, doorbell)
    for _ in range(SMALL.ring_capacity):
        writer.push(OPPORTUNITY)
    doorbell.close()
    for slot in (0, SMALL.slots - 1):
        Quarantine(segment, "detector").set(slot, QuarantineReason.EDGE_TOO_LARGE)
    stage = next(stage for stage, owner in HISTOGRAMS if owner is role)
    Histogram(segment, stage, role).record(5)


def as_executor(segment: Segment, role: Role) -> None:
    line = ProcessLine(segment, role)
    write_line(line)
    OpportunityReader(segment, line).store_tail()
    Held(segment).store(set(range(1, SMALL.held + 1)))
    segment.region.store_u64(BreakerView(segment).trips_at, 1)
    for venue in Venue:
        VenueStates(segment, "executor").set(venue, VenueState.UNKNOWN)
    for slot in (0, SMALL.slots - 1):
        Quarantine(segment, "executor").set(slot, QuarantineReason.EXPOSURE)
    for stage, owner in HISTOGRAMS:
        if owner is role:
            Histogram(segment, stage, owner).record(5)


def as_catalog(segment: Segment, role: Role) -> None:
    write_line(ProcessLine(segment, role))
    for relation in (0, SMALL.relations - 1):
        Revoked(segment).set(relation, True)


def as_operator(segment: Segment, _role: Role) -> None:
    view = BreakerView(segment)
    segment.region.store_u64(view.acknowledged_at, 1)
    segment.region.store_u32(view.kill_at, 1)
    segment.region.store_u32(view.pause_at, 1)
    for venue in Venue:
        VenueStates(segment, "operator").set(venue, VenueState.CLOSED)
    for slot in (0, SMALL.slots - 1):
        Quarantine(segment, "operator").set(slot, QuarantineReason.OPERATOR)


WRITERS: list[tuple[str, Callable[[Segment, Role], None], Role]] = [
    ("feed-kalshi", as_feed, Role.FEED_KALSHI),
    ("feed-polymarket", as_feed, Role.FEED_POLYMARKET),
    ("detector", as_detector, Role.DETECTOR),
    ("executor", as_executor, Role.EXECUTOR),
    ("catalog", as_catalog, Role.CATALOG),
    ("operator", as_operator, Role.SUPERVISOR),
]


@pytest.mark.parametrize("log_capacity", [2, 64])
def test_no_128_byte_line_is_written_by_two_roles(segment: Segment, log_capacity: int) -> None:
    counts = Counts(**{name: getattr(SMALL, name) for name in SMALL.__slots__} | {"log_capacity": log_capacity})
    with Segment.create(segment.directory, counts) as own:
        write_ranges(own)
        owner: dict[int, str] = {}
        for name, act, role in WRITERS:
            before = np.frombuffer(own.region.read(0, own.size), np.uint8).copy()
            act(own, role)
            after = np.frombuffer(own.region.read(0, own.size), np.uint8)
            lines = set((np.flatnonzero(before != after) // LINE).tolist())
            assert lines, name
            for line in lines:
                assert owner.setdefault(line, name) == name, f"line at {line * LINE}: {owner[line]} and {name}"
