"""The small tables: connections, ranges, venue state, quarantine, breaker and operator words, held uids.

Each word has one writer. Where several roles have a say about the same thing (venue state, quarantine) each writes its
own column and the worst column counts.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from arbpipe.identity import Venue
from arbpipe.shm.layout import (
    CONNECTION,
    LINE,
    NO_QUOTE,
    QUARANTINE_COLUMNS,
    RANGE,
    VENUE_COLUMNS,
    Counts,
    Role,
)
from arbpipe.shm.segment import Segment

__all__ = [
    "FEED_ROLES",
    "BreakerView",
    "Connections",
    "ConnectionState",
    "Costs",
    "Held",
    "Quarantine",
    "QuarantineReason",
    "Range",
    "Revoked",
    "VenueState",
    "VenueStates",
    "ranges_of",
    "write_ranges",
]

FEED_ROLES: Final = {Role.FEED_KALSHI: Venue.KALSHI, Role.FEED_POLYMARKET: Venue.POLYMARKET}


class ConnectionState(IntEnum):
    """A connection's books may be used in LIVE only."""

    DOWN = 0
    CONNECTING = 1
    LIVE = 2
    STALE = 3


class VenueState(IntEnum):
    """What a venue allows; the greatest over the columns counts."""

    TRADING = 0
    UNKNOWN = 1
    PAUSED = 2
    CLOSED = 3


class QuarantineReason(IntEnum):
    """Why an instrument may not trade until somebody clears it; 0 is clear."""

    NONE = 0
    CROSSED = 1
    UNVERIFIABLE = 2
    EDGE_TOO_LARGE = 3
    OPERATOR = 4
    BAD_FRAME = 5
    EXPOSURE = 6


class Range:
    """The slots, connections and change log of one feed."""

    __slots__ = ("connections", "first_connection", "first_slot", "log", "role", "slots")

    def __init__(self, record: dict[str, Any]) -> None:
        self.role = Role(record["role"])
        self.first_slot: int = record["first_slot"]
        self.slots: int = record["slots"]
        self.first_connection: int = record["first_connection"]
        self.connections: int = record["connections"]
        self.log: int = record["log"]


def write_ranges(segment: Segment) -> None:
    """Share slots and connections out over the feeds. Called once, by the process that created the segment."""
    counts: Counts = segment.counts
    place = segment.section("ranges")
    for index, role in enumerate(FEED_ROLES):
        base = place.at(index)
        values = {
            "role": int(role),
            "first_slot": index * (counts.slots // counts.ranges),
            "slots": counts.slots // counts.ranges,
            "first_connection": index * (counts.connections // counts.ranges),
            "connections": counts.connections // counts.ranges,
            "log": index,
        }
        for name, value in values.items():
            segment.region.store_u32(base + RANGE.offset(name), value)


def ranges_of(segment: Segment) -> dict[Role, Range]:
    """The ranges by feed role."""
    return {each.role: each for each in (Range(record) for record in segment.each("ranges"))}


_IN_A_RUN: Final = ("confirmed_ns", "lag_ms", "last_frame_ns", "frames", "gaps")
assert [CONNECTION.offset(name) for name in _IN_A_RUN] == [CONNECTION.offset(_IN_A_RUN[0]) + 8 * n for n in range(5)]


class Connections:
    """The lines of ``connections``. Writers touch only the lines of their own range."""

    def __init__(self, segment: Segment) -> None:
        self._region = segment.region
        self._place = segment.section("connections")
        self._confirmed = CONNECTION.offset("confirmed_ns")

    def state(self, index: int) -> ConnectionState:
        """The state word."""
        return ConnectionState(self._region.load_u32(self._place.at(index)))

    def epoch(self, index: int) -> int:
        """The epoch of the connection's books."""
        return self._region.load_u32(self._place.at(index) + CONNECTION.offset("epoch"))

    def confirmed_ns(self, index: int) -> int:
        """When a frame in sequence last confirmed every book of the connection; 0 where frames do not."""
        return self._region.load_i64(self._place.at(index) + self._confirmed)

    def lag_ms(self, index: int) -> int:
        """The venue's clock against its rolling minimum."""
        return self._region.load_i64(self._place.at(index) + CONNECTION.offset("lag_ms"))

    def set_state(self, index: int, state: ConnectionState, reason: str = "") -> None:
        """One store invalidates (or opens) every book of the connection."""
        base = self._place.at(index)
        self._region.store_u32(base, state)
        self._region.write(base + CONNECTION.offset("reason"), reason.encode()[:47].ljust(48, b"\0"))

    def next_epoch(self, index: int) -> int:
        """Begin a new epoch: every row published before it is void."""
        at = self._place.at(index) + CONNECTION.offset("epoch")
        epoch = self._region.load_u32(at) + 1
        self._region.store_u32(at, epoch)
        return epoch

    def confirm(self, index: int, age_ns: int) -> None:
        """A frame in sequence: every book of the connection is as of ``age_ns``."""
        self._region.store_i64(self._place.at(index) + self._confirmed, age_ns)

    def line_at(self, index: int) -> int:
        """Where ``confirmed_ns``, ``lag_ms``, ``last_frame_ns``, ``frames``, ``gaps`` begin, for one store of all five."""
        return self._place.at(index) + self._confirmed

    def note(self, index: int, **values: int) -> None:
        """Store any of ``lag_ms``, ``last_frame_ns``, ``frames``, ``gaps``, ``reconnects``."""
        base = self._place.at(index)
        for name, value in values.items():
            self._region.store_i64(base + CONNECTION.offset(name), value)


class Costs:
    """The detector's first look: int32 per claim, in one run."""

    def __init__(self, segment: Segment) -> None:
        self._region = segment.region
        self._base = segment.section("cost_e6").offset

    def store(self, slot: int, yes_e6: int, no_e6: int) -> None:
        """Store both claims of a slot, in one word: no sweep sees the one without the other."""
        self._region.store_u64(self._base + 8 * slot, yes_e6 & 0xFFFF_FFFF | (no_e6 & 0xFFFF_FFFF) << 32)

    def no_quote(self, slot: int) -> None:
        """Nobody may buy either claim now."""
        self.store(slot, NO_QUOTE, NO_QUOTE)

    def load(self, claim: int) -> int:
        """The cost word of one claim."""
        return self._region.load_i32(self._base + 4 * claim)


class Quarantine:
    """One byte per slot and column; the column names are those of ``QUARANTINE_COLUMNS``."""

    def __init__(self, segment: Segment, column: str | None = None) -> None:
        self._region = segment.region
        place = segment.section("quarantine")
        self._columns = [place.at(number) for number in range(len(QUARANTINE_COLUMNS))]
        self._column = QUARANTINE_COLUMNS.index(column) if column else -1

    def set(self, slot: int, reason: QuarantineReason) -> None:
        """Set this writer's byte."""
        if self._column < 0:
            raise ValueError("this view of the quarantine has no column to write")
        self._region.store_u8(self._columns[self._column] + slot, reason)

    def reason(self, slot: int) -> QuarantineReason:
        """The first column's reason that is not NONE."""
        for column in self._columns:
            value = self._region.load_u8(column + slot)
            if value:
                return QuarantineReason(value)
        return QuarantineReason.NONE


class VenueStates:
    """What each venue allows, by column."""

    def __init__(self, segment: Segment, column: str | None = None) -> None:
        self._region = segment.region
        place = segment.section("venue_state")
        self._columns = [place.at(number) for number in range(len(VENUE_COLUMNS))]
        self._column = VENUE_COLUMNS.index(column) if column else -1

    def set(self, venue: Venue, state: VenueState) -> None:
        """Set this writer's word."""
        if self._column < 0:
            raise ValueError("this view of the venue states has no column to write")
        self._region.store_u32(self._columns[self._column] + LINE * venue, state)

    def worst(self, venue: Venue) -> VenueState:
        """The greatest state over the columns."""
        return VenueState(max([self._region.load_u32(column + LINE * venue) for column in self._columns]))


class BreakerView:
    """Breaker and operator words as everybody reads them: tripped means that the two counts differ."""

    def __init__(self, segment: Segment) -> None:
        self._region = segment.region
        breaker, operator = segment.section("breaker"), segment.section("operator")
        assert breaker.record is not None
        assert operator.record is not None
        self.trips_at = breaker.offset + breaker.record.offset("trips")
        self.last_at = breaker.offset + breaker.record.offset("last")
        self.acknowledged_at = operator.offset + operator.record.offset("acknowledged")
        self.kill_at = operator.offset + operator.record.offset("kill")
        self.pause_at = operator.offset + operator.record.offset("pause")

    @property
    def tripped(self) -> bool:
        """Whether a cause is not acknowledged."""
        return self._region.load_u64(self.trips_at) != self._region.load_u64(self.acknowledged_at)

    @property
    def killed(self) -> bool:
        """Whether the operator's kill word is set."""
        return self._region.load_u32(self.kill_at) != 0

    @property
    def paused(self) -> bool:
        """Whether the operator's pause word is set."""
        return self._region.load_u32(self.pause_at) != 0


class Revoked:
    """A byte per relation slot: 1 stops new attempts that rest on the relation, at once."""

    def __init__(self, segment: Segment) -> None:
        self._region = segment.region
        self._base = segment.section("revoked").offset

    def set(self, relation_slot: int, revoked: bool) -> None:
        """Revoke, or allow again."""
        self._region.store_u8(self._base + relation_slot, int(revoked))

    def is_set(self, relation_slot: int) -> bool:
        """Whether attempts that rest on the relation are stopped."""
        return self._region.load_u8(self._base + relation_slot) != 0


class Held:
    """The uids the executor has an interest in: open attempts and unmatched lots. They stay listed until flat."""

    def __init__(self, segment: Segment) -> None:
        self._region = segment.region
        self._head = segment.section("held_head").offset
        place = segment.section("held")
        self._base, self._capacity = place.offset, place.stride // 8

    def store(self, uids: set[int]) -> None:
        """Replace the set. ``busy`` is odd while it is rewritten and another even number after each rewrite, so that a
        reader that races, also one that a whole rewrite overtook, keeps its last view.

        Raises:
            ValueError: more uids than the section holds.
        """
        if len(uids) > self._capacity:
            raise ValueError(f"{len(uids)} held instruments, room for {self._capacity}")
        busy = self._region.load_u64(self._head + 8) | 1  # odd already when the last writer was killed in here
        self._region.store_u64(self._head + 8, busy)
        for index, uid in enumerate(sorted(uids)):
            self._region.store_u64(self._base + 8 * index, uid)
        self._region.store_u64(self._head, len(uids))
        self._region.store_u64(self._head + 8, busy + 1)

    def load(self) -> set[int] | None:
        """The set, or ``None`` while it is being rewritten (keep what you knew)."""
        before = self._region.load_u64(self._head + 8)
        if before & 1:
            return None
        count = self._region.load_u64(self._head)
        uids = {self._region.load_u64(self._base + 8 * index) for index in range(min(count, self._capacity))}
        return uids if self._region.load_u64(self._head + 8) == before else None
