"""The layout of the segment, as arithmetic: records, offsets, sections, and the digest that binds them.

No numpy here: probes (``status``, ``why``) read the segment with this module and ``struct`` alone, and start in about
0.1 s. Every word lies on its natural boundary (asserted where a record is made), every writer on 128-byte lines of its
own (shm.md 1.5).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Final

from arbpipe.fixedpoint import ceil_to
from arbpipe.identity import Venue
from arbpipe.shm.records import Field, Record, record

__all__ = [
    "ABI_VERSION",
    "LINE",
    "MAGIC",
    "NO_QUOTE",
    "DEPTH",
    "MAX_LEGS",
    "Counts",
    "Section",
    "Role",
    "Stage",
    "HISTOGRAMS",
    "HEADER",
    "SECTION_ENTRY",
    "PROCESS",
    "RANGE",
    "CONNECTION",
    "ROW",
    "CELL",
    "CORE_LAYOUT",
    "OPPORTUNITY",
    "LEG",
    "COVER_STAT",
    "HISTOGRAM",
    "DOORBELL",
    "layout_of",
    "digest",
]

MAGIC: Final = 0x4550_4950_4252_4101  # "\x01ARBPIPE" little-endian; the header's last store
ABI_VERSION: Final = 1
LINE: Final = 128
#: Cost of a claim nobody may buy now (design 5). Two of them already exceed every cover's k.
NO_QUOTE: Final = 1 << 30
DEPTH: Final = 8
MAX_LEGS: Final = 8
N_ERRORS: Final = 3
N_COUNTERS: Final = 24
N_CURSORS: Final = 8
HEAD_BYTES: Final = 2 * LINE  # a ring's or log's head on one line, its consumer's words on the next
VENUE_COLUMNS: Final = ("feed", "executor", "operator")
QUARANTINE_COLUMNS: Final = ("feed", "detector", "executor", "operator")


class Role(IntEnum):
    """A process of the pipeline; the number is its line in ``processes``."""

    SUPERVISOR = 0
    CATALOG = 1
    FEED_KALSHI = 2
    FEED_POLYMARKET = 3
    DETECTOR = 4
    EXECUTOR = 5
    REPLAY = 6

    @property
    def label(self) -> str:
        """The name on command lines, lock files and in messages."""
        return self.name.lower().replace("_", "-")


class Stage(IntEnum):
    """What a latency histogram measures; nanoseconds of CLOCK_MONOTONIC stamps of one box."""

    FRAME_TO_ROW = 1
    ROW_TO_OPPORTUNITY = 2
    OPPORTUNITY_TO_INTENT = 3
    OPPORTUNITY_TO_PAPER = 4
    OPPORTUNITY_TO_WIRE = 5
    FRAME_TO_WIRE = 6


#: Line of ``latency`` → (stage, the one role that records into it).
HISTOGRAMS: Final = (
    (Stage.FRAME_TO_ROW, Role.FEED_KALSHI),
    (Stage.FRAME_TO_ROW, Role.FEED_POLYMARKET),
    (Stage.ROW_TO_OPPORTUNITY, Role.DETECTOR),
    (Stage.OPPORTUNITY_TO_INTENT, Role.EXECUTOR),
    (Stage.OPPORTUNITY_TO_PAPER, Role.EXECUTOR),
    (Stage.OPPORTUNITY_TO_WIRE, Role.EXECUTOR),
    (Stage.FRAME_TO_WIRE, Role.EXECUTOR),
)
#: Log-linear buckets: 64 per octave bound the relative error of a bucket's middle by 1/128 < 1 %.
SUB_BUCKETS: Final = 64
N_BUCKETS: Final = SUB_BUCKETS * 32  # to 64 · 2^31 ns, more than two minutes


HEADER: Final = record(
    "header",
    1024,
    ("magic", "u8"),
    ("version", "u4"),
    ("byte_order", "u4"),
    ("total_bytes", "u8"),
    ("incarnation", "u8"),
    ("created_ns", "i8", 1, "CLOCK_REALTIME"),
    ("creator_pid", "u4"),
    ("mode", "u4"),
    ("slots", "u4"),
    ("connections", "u4"),
    ("ranges", "u4"),
    ("log_capacity", "u4"),
    ("ring_capacity", "u4"),
    ("covers", "u4"),
    ("relations", "u4"),
    ("held", "u4"),
    ("processes", "u4"),
    ("sections", "u4"),
    ("digest", "S", 32),
    ("boot_id", "S", 36),
    ("instance", "S", 28),
)
SECTION_ENTRY: Final = record("section", 40, ("name", "S", 16), ("offset", "u8"), ("stride", "u8"), ("count", "u8"))

PROCESS: Final = record(
    "process",
    1024,
    ("role", "S", 24),
    ("pid", "u4"),
    ("restarts", "u4"),
    ("start_ticks", "u8", 1, "field 22 of /proc/PID/stat"),
    ("started_ns", "i8", 1, "CLOCK_BOOTTIME"),
    ("heartbeat_ns", "i8", 1, "CLOCK_BOOTTIME"),
    ("state", "u4"),
    ("alerts", "u4"),
    ("cpu_ns", "u8"),
    ("rss_bytes", "u8"),
    ("generation", "u8", 1, "catalog generation acknowledged"),
    ("progress_ns", "i8", 1, "age clock: replayed up to"),
    ("waiting_ns", "i8", 1, "age clock: idle until; 0 busy, max idle"),
    ("cpus", "S", 32),
    ("core", "S", 32),
    ("counters", "u8", N_COUNTERS),
    ("cursors", "u8", N_CURSORS),
    ("error_code", "u4", N_ERRORS),
    ("error_count", "u4", N_ERRORS),
    ("error_first_ns", "i8", N_ERRORS, "CLOCK_REALTIME"),
    ("error_last_ns", "i8", N_ERRORS, "CLOCK_REALTIME"),
    ("error_text", "S", 96 * N_ERRORS),
)
RANGE: Final = record(
    "range",
    LINE,
    ("role", "u4"),
    ("first_slot", "u4"),
    ("slots", "u4"),
    ("first_connection", "u4"),
    ("connections", "u4"),
    ("log", "u4"),
)
CONNECTION: Final = record(
    "connection",
    LINE,
    ("state", "u4"),
    ("epoch", "u4"),
    ("confirmed_ns", "i8", 1, "age clock"),
    ("lag_ms", "i8"),
    ("last_frame_ns", "i8", 1, "age clock"),
    ("frames", "u8"),
    ("gaps", "u8"),
    ("reconnects", "u8"),
    ("reason", "S", 48),
)
CELL: Final = record(
    "cell",
    192,
    ("uid", "u8"),
    ("connection", "u4"),
    ("epoch", "u4"),
    ("venue_ms", "i8", 1, "the venue's clock"),
    ("recv_ns", "i8", 1, "CLOCK_MONOTONIC"),
    ("publish_ns", "i8", 1, "CLOCK_MONOTONIC"),
    ("flags", "u4"),
    ("tick_e4", "u4"),
    ("fee_rate_e6", "u4"),
    ("fee_exponent", "u2", 1, "0: fee unknown"),
    ("fee_quantum_e6", "u2"),
    ("fee_align_e6", "u4"),
    ("reserved", "u4"),
    ("yes_asks", "i4", 2 * DEPTH, "(price_e4, size_e2) best first; size 0 ends"),
    ("no_asks", "i4", 2 * DEPTH, "(price_e4, size_e2) best first; size 0 ends"),
)
ROW: Final = record(
    "row",
    512,
    ("version", "u8"),
    ("verified", "u8", 1, "the version whose check passed"),
    ("confirmed_ns", "i8", 1, "age clock"),
    ("unused", "u8", 13),
    ("cell0", "u1", CELL.size),
    ("cell1", "u1", CELL.size),
)
#: What a core is built for; the native one carries its own, and is not used where they differ.
CORE_LAYOUT: Final = (
    LINE,
    ROW.size,
    ROW.offset("cell0"),
    CELL.size,
    HEAD_BYTES,
    NO_QUOTE,
    DEPTH,
    SUB_BUCKETS,
    N_BUCKETS,
)
LEG: Final = record(
    "leg",
    40,
    ("claim", "u4"),
    ("proposition", "u4"),
    ("uid", "u8"),
    ("version", "u8"),
    ("price_e4", "i4", 1, "worst price of the leg"),
    ("size_e2", "i4"),
    ("cost_e6", "i8", 1, "fees included"),
)
OPPORTUNITY: Final = record(
    "opportunity",
    512,
    ("position", "u8"),
    ("generation", "u8"),
    ("cover", "u4", 1, "index in the generation"),
    ("cover_id", "u4"),
    ("n_legs", "u4"),
    ("size_e2", "i4"),
    ("edge_e6", "i8", 1, "of the whole size"),
    ("expiry_ns", "i8", 1, "age clock"),
    ("recv_ns", "i8", 1, "CLOCK_MONOTONIC"),
    ("publish_ns", "i8", 1, "CLOCK_MONOTONIC"),
    ("detect_ns", "i8", 1, "CLOCK_MONOTONIC"),
    ("push_ns", "i8", 1, "CLOCK_MONOTONIC"),
    ("legs", "u1", LEG.size * MAX_LEGS),
)
#: One line of the detector, one of the executor (the funnel of design 12).
COVER_STAT: Final = Record(
    "cover_stat",
    2 * LINE,
    (
        Field("cover_id", "u4", 0),
        Field("seen", "u4", 4),
        Field("best_edge_e6", "i8", 8, 1, "per contract"),
        Field("best_size_e2", "i8", 16),
        Field("best_ns", "i8", 24, 1, "age clock"),
        Field("last_edge_e6", "i8", 32, 1, "per contract"),
        Field("last_ns", "i8", 40, 1, "age clock"),
        Field("reason", "u4", 48),
        Field("best_reason", "u4", 52),
        Field("value", "i8", 56),
        Field("threshold", "i8", 64),
        Field("pushed", "u8", 72),
        Field("x_cover_id", "u4", LINE),
        Field("x_gate", "u4", LINE + 4),
        Field("x_value", "i8", LINE + 8),
        Field("x_threshold", "i8", LINE + 16),
        Field("x_refused", "u8", LINE + 24),
        Field("x_attempts", "u8", LINE + 32),
        Field("x_filled", "u8", LINE + 40),
        Field("x_last_ns", "i8", LINE + 48, 1, "age clock"),
    ),
)
HISTOGRAM: Final = record(
    "histogram",
    LINE + 8 * N_BUCKETS,
    ("count", "u8"),
    ("total_ns", "u8"),
    ("max_ns", "u8"),
    ("min_ns", "u8"),
    ("unused", "u8", 12),
    ("buckets", "u8", N_BUCKETS),
)
_BREAKER: Final = record("breaker", LINE, ("trips", "u8"), ("causes", "u8"), ("last", "S", 96))
_OPERATOR: Final = record("operator", LINE, ("acknowledged", "u8"), ("kill", "u4"), ("pause", "u4"))
#: The ring count has several writers, which add to it atomically; the mark is the detector's.
DOORBELL: Final = Record("doorbell", 2 * LINE, (Field("rings", "u4", 0), Field("waiting", "u4", LINE)))
_CATALOG: Final = record("catalog", LINE, ("generation", "u8"), ("published_ns", "i8", 1, "CLOCK_BOOTTIME"))
_CLOCK: Final = record(
    "clock",
    LINE,
    ("mode", "u4", 1, "0 live, 1 scaled, 2 stepped"),
    ("unused", "u4"),
    ("speed_e6", "u8"),
    ("base_record_ns", "i8"),
    ("base_boot_ns", "i8", 1, "CLOCK_BOOTTIME"),
    ("now_ns", "i8", 1, "age clock while stepped"),
)
_HELD: Final = record("held", LINE, ("count", "u8"), ("busy", "u8", 1, "odd while the set is rewritten"))

RECORDS: Final = (
    HEADER,
    SECTION_ENTRY,
    PROCESS,
    RANGE,
    CONNECTION,
    CELL,
    ROW,
    LEG,
    OPPORTUNITY,
    COVER_STAT,
    HISTOGRAM,
    _BREAKER,
    _OPERATOR,
    _CATALOG,
    DOORBELL,
    _CLOCK,
    _HELD,
)
for _record_of_segment in RECORDS:
    if _record_of_segment.size % 8:
        raise AssertionError(f"{_record_of_segment.name} is not a whole number of words")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of everything a segment holds. All are powers of two or multiples that keep writers on own lines.

    ``slots`` is shared out evenly over ``ranges``; each range's slots are a multiple of 128, so that no line of any
    per-slot section has two writers.
    """

    slots: int = 2048
    ranges: int = 2
    connections: int = 64
    log_capacity: int = 4096
    ring_capacity: int = 128
    covers: int = 4096
    relations: int = 4096
    held: int = 1024
    processes: int = 16

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) < 1:
                raise ValueError(f"{each.name} is {getattr(self, each.name)}: at least 1 is needed")
        for name in ("log_capacity", "ring_capacity"):
            value = getattr(self, name)
            if value < 2 or value & (value - 1):
                raise ValueError(f"{name} is {value}: it must be a power of two, and at least 2")
        if self.slots % (128 * self.ranges):
            raise ValueError(f"slots is {self.slots}: it must be a multiple of {128 * self.ranges} (128 per feed)")
        if self.connections % self.ranges:
            raise ValueError(f"connections is {self.connections}: it must be a multiple of {self.ranges}")
        if self.processes < len(Role):
            raise ValueError(f"processes is {self.processes}: at least {len(Role)} are needed")


@dataclass(frozen=True, slots=True)
class Section:
    """A run of ``count`` items of ``stride`` bytes at ``offset``; ``record`` is ``None`` for plain words."""

    name: str
    offset: int
    stride: int
    count: int
    record: Record | None
    code: str = ""

    def at(self, index: int) -> int:
        """Byte offset of one item in the segment.

        Raises:
            IndexError: outside the section.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name}[{index}]: it has {self.count} items")
        return self.offset + index * self.stride


def layout_of(counts: Counts) -> tuple[dict[str, Section], int]:
    """The sections of a segment with these counts, and its size in bytes (the footprint)."""
    plan: list[tuple[str, int, int, Record | None, str]] = [
        ("clock", _CLOCK.size, 1, _CLOCK, ""),
        ("processes", PROCESS.size, counts.processes, PROCESS, ""),
        ("ranges", RANGE.size, counts.ranges, RANGE, ""),
        ("connections", CONNECTION.size, counts.connections, CONNECTION, ""),
        ("breaker", _BREAKER.size, 1, _BREAKER, ""),
        ("operator", _OPERATOR.size, 1, _OPERATOR, ""),
        ("catalog", _CATALOG.size, 1, _CATALOG, ""),
        ("doorbell", DOORBELL.size, 1, DOORBELL, ""),
        # the feeds share a column of venue_state, so each venue's word has a line of its own
        ("venue_state", LINE * (max(Venue) + 1), len(VENUE_COLUMNS), None, "u4"),
        ("quarantine", ceil_to(counts.slots, LINE), len(QUARANTINE_COLUMNS), None, "u1"),
        ("revoked", counts.relations, 1, None, "u1"),
        ("held_head", _HELD.size, 1, _HELD, ""),
        ("held", 8 * counts.held, 1, None, "u8"),
        ("latency", HISTOGRAM.size, len(HISTOGRAMS), HISTOGRAM, ""),
        ("cover_stats", COVER_STAT.size, counts.covers, COVER_STAT, ""),
        ("cost_e6", 8, counts.slots, None, "i4"),
        ("changes", ceil_to(HEAD_BYTES + 4 * counts.log_capacity, LINE), counts.ranges, None, ""),
        ("opportunities", HEAD_BYTES + OPPORTUNITY.size * counts.ring_capacity, 1, None, ""),
        ("rows", ROW.size, counts.slots, ROW, ""),
    ]
    sections: dict[str, Section] = {}
    at = ceil_to(HEADER.size + SECTION_ENTRY.size * len(plan), LINE)
    for name, stride, count, kind, code in plan:
        sections[name] = Section(name, at, stride, count, kind, code)
        at = ceil_to(at + stride * count, LINE)
    return sections, ceil_to(at, 4096)


def digest() -> bytes:
    """SHA-256 over every record's names, offsets and units, the sections of the default counts, and the constants a
    reader depends on.

    Two builds agree on it exactly when they agree on the meaning of every byte.
    """
    sections, _ = layout_of(Counts())
    text = "\n".join(each.spec() for each in RECORDS)
    text += "\n" + ",".join(f"{s.name}:{s.code}[{s.count}x{s.stride}]@{s.offset}" for s in sections.values())
    text += f"\n{NO_QUOTE},{DEPTH},{MAX_LEGS},{SUB_BUCKETS},{HEAD_BYTES},{VENUE_COLUMNS},{QUARANTINE_COLUMNS}"
    text += "\n" + ",".join(f"{role.name}={role.value}" for role in Role)
    text += "\n" + ",".join(f"{stage.name}/{role.name}" for stage, role in HISTOGRAMS)
    return hashlib.sha256(text.encode()).digest()
