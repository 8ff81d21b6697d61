"""What a process says about itself in shared memory: state, heartbeat, counters, cursors, errors, latencies.

Each process writes its own line and nobody else's; ``status``, the supervisor and the replay driver read them all.
"""

from __future__ import annotations

import os
import resource
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from arbpipe.clock import boottime_ns, wall_ns
from arbpipe.shm import core
from arbpipe.shm.layout import (
    HISTOGRAMS,
    N_BUCKETS,
    N_ERRORS,
    PROCESS,
    SUB_BUCKETS,
    Role,
    Stage,
)
from arbpipe.shm.segment import Segment

__all__ = [
    "IDLE_FOR_EVER",
    "Counter",
    "ErrorCode",
    "Histogram",
    "ProcessLine",
    "ProcessState",
    "bucket_of",
    "histogram_of",
    "merged_histogram",
    "percentile_ns",
    "start_ticks",
]

IDLE_FOR_EVER: Final = (1 << 63) - 1


class ProcessState(IntEnum):
    """The command-and-control states: BOOT → RUN → HALT, or FAIL from any of them."""

    BOOT = 0
    RUN = 1
    HALT = 2
    FAIL = 3


class Counter(IntEnum):
    """Indices into a process's counters. One enum for all roles, so that ``status --json`` has one vocabulary."""

    TURNS = 0
    FRAMES = 1
    SEQUENCED = 2
    GAPS = 3
    HASH_CHECKED = 4
    HASH_MISMATCHES = 5
    HASH_UNCHECKED = 6
    CROSSED = 7
    BAD_FRAMES = 8
    PUBLISHED = 9
    CHANGES = 10
    OVERRUNS = 11
    HITS = 12
    OPPORTUNITIES = 13
    SWEEPS = 14
    ATTEMPTS = 15
    REFUSED = 16
    EXPIRED = 17
    IN_FLIGHT = 18
    UNKNOWN_GENERATION = 19
    ALARMS = 20
    LEGS_FILLED = 21
    UNRESOLVED = 22
    UNKNOWN_FRAMES = 23


class ErrorCode(IntEnum):
    """What can stand in the error table of a process."""

    NONE = 0
    BAD_FRAME = 1
    UNKNOWN_INSTRUMENT = 2
    SEQUENCE_GAP = 3
    HASH_MISMATCH = 4
    CROSSED_BOOK = 5
    OVERRUN = 6
    COVER_REFUTED = 7
    EDGE_TOO_LARGE = 8
    LEDGER = 9
    GATEWAY = 10
    CATALOG = 11
    CRASH = 12
    EXPOSURE = 13
    VENUE = 14
    BREAKER = 15


def start_ticks(pid: int | str = "self") -> int:
    """Field 22 of ``/proc/PID/stat``: with the pid it names one process for ever; 0 if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


class ProcessLine:
    """The writer of one process's line."""

    def __init__(self, segment: Segment, role: Role) -> None:
        place = segment.section("processes")
        self.role = role
        self._region = segment.region
        self._base = place.at(role)
        self._counters = self._base + PROCESS.offset("counters")
        self._cursors = self._base + PROCESS.offset("cursors")
        self._heartbeat = self._base + PROCESS.offset("heartbeat_ns")
        self._last_usage_ns = 0

    def begin(self) -> None:
        """Claim the line: pid, start, restarts + 1, state BOOT. The last holder's counters and errors stay."""
        region, base = self._region, self._base
        had_pid = region.load_u32(base + PROCESS.offset("pid"))
        restarts = region.load_u32(base + PROCESS.offset("restarts"))
        waiting = base + PROCESS.offset("waiting_ns")
        region.store_i64(waiting, 0)
        # the heartbeat before the pid: a watcher that sees our pid must not see our predecessor's last beat
        region.store_i64(self._heartbeat, boottime_ns())
        self.state(ProcessState.BOOT)
        region.write(base + PROCESS.offset("role"), self.role.label.encode()[:23].ljust(24, b"\0"))
        # the core too: who waits for our ring must not take us for a predecessor who could ring
        region.write(base + PROCESS.offset("core"), core.CORE.encode()[:31].ljust(32, b"\0"))
        region.store_u32(base + PROCESS.offset("pid"), os.getpid())
        region.store_u64(base + PROCESS.offset("start_ticks"), start_ticks())
        region.store_i64(base + PROCESS.offset("started_ns"), boottime_ns())
        region.store_u32(base + PROCESS.offset("restarts"), restarts + 1 if had_pid else 0)
        # the other counters stand: what this run of the pipeline saw is the sum over its processes
        self.set(Counter.IN_FLIGHT, 0)
        self.beat(usage=True)

    def state(self, state: ProcessState) -> None:
        """Store the state."""
        self._region.store_u32(self._base + PROCESS.offset("state"), state)

    def beat(self, *, usage: bool = False) -> None:
        """One completed turn of the work loop: heartbeat now; CPU, memory and affinity once a second."""
        now = boottime_ns()
        self._region.store_i64(self._heartbeat, now)
        if usage or now - self._last_usage_ns > 1_000_000_000:
            self._last_usage_ns = now
            used = resource.getrusage(resource.RUSAGE_SELF)
            self._region.store_u64(
                self._base + PROCESS.offset("cpu_ns"), int((used.ru_utime + used.ru_stime) * 1_000_000_000)
            )
            with open("/proc/self/statm", "rb") as statm:
                pages = int(statm.read().split()[1])
            self._region.store_u64(self._base + PROCESS.offset("rss_bytes"), pages * 4096)
            cpus = ",".join(str(cpu) for cpu in sorted(os.sched_getaffinity(0)))
            self._region.write(self._base + PROCESS.offset("cpus"), cpus.encode()[:31].ljust(32, b"\0"))

    def add(self, counter: Counter, amount: int = 1) -> None:
        """Add to a counter, which is this process's own."""
        self._region.add_run(self._counters + 8 * counter, amount)

    def counter_at(self, counter: Counter) -> int:
        """Where a counter lies, for what counts many of them in one call (:meth:`Region.add_run`, an outlet)."""
        return self._counters + 8 * counter

    def set(self, counter: Counter, value: int) -> None:
        """Set a counter that is a gauge."""
        self._region.store_u64(self._counters + 8 * counter, value)

    def get(self, counter: Counter) -> int:
        """A counter's value."""
        return self._region.load_u64(self._counters + 8 * counter)

    def cursor(self, index: int, value: int) -> None:
        """Store how far this process has consumed log or ring ``index`` (released after the work was done)."""
        self._region.store_u64(self._cursors + 8 * index, value)

    def cursor_value(self, index: int) -> int:
        """The cursor this process, or its predecessor in the role, stored last."""
        return self._region.load_u64(self._cursors + 8 * index)

    def acknowledge(self, generation: int) -> None:
        """This process works with ``generation`` and with no older one."""
        self._region.store_u64(self._base + PROCESS.offset("generation"), generation)

    def progress(self, age_ns: int) -> None:
        """Everything up to this age-clock time was replayed."""
        self._region.store_i64(self._base + PROCESS.offset("progress_ns"), age_ns)

    def waiting(self, until_ns: int) -> None:
        """Idle until this age-clock time (``IDLE_FOR_EVER``: until something arrives); 0 means busy."""
        self._region.store_i64(self._base + PROCESS.offset("waiting_ns"), until_ns)

    def alerted(self) -> None:
        """Count an alert."""
        at = self._base + PROCESS.offset("alerts")
        self._region.store_u32(at, self._region.load_u32(at) + 1)

    def error(self, code: ErrorCode, text: str) -> bool:
        """Note an error; return whether it is the first of its code in the table (then the caller logs it)."""
        region, base, now = self._region, self._base, wall_ns()
        codes = [region.load_u32(base + PROCESS.offset("error_code", i)) for i in range(N_ERRORS)]
        if code in codes:
            index = codes.index(code)
            count_at = base + PROCESS.offset("error_count", index)
            region.store_u32(count_at, region.load_u32(count_at) + 1)
            region.store_i64(base + PROCESS.offset("error_last_ns", index), now)
            return False
        lasts = [region.load_i64(base + PROCESS.offset("error_last_ns", i)) for i in range(N_ERRORS)]
        index = lasts.index(min(lasts))
        region.store_u32(base + PROCESS.offset("error_code", index), code)
        region.store_u32(base + PROCESS.offset("error_count", index), 1)
        region.store_i64(base + PROCESS.offset("error_first_ns", index), now)
        region.store_i64(base + PROCESS.offset("error_last_ns", index), now)
        region.write(base + PROCESS.offset("error_text") + 96 * index, text.encode()[:95].ljust(96, b"\0"))
        return True


def bucket_of(value_ns: int) -> int:
    """The bucket of a value: exact below 128, then 64 per octave."""
    if value_ns < 2 * SUB_BUCKETS:
        return max(value_ns, 0)
    shift = value_ns.bit_length() - 7
    return min(SUB_BUCKETS * shift + (value_ns >> shift), N_BUCKETS - 1)


def _middle_of(bucket: int) -> int:
    if bucket < 2 * SUB_BUCKETS:
        return bucket
    shift = bucket // SUB_BUCKETS - 1
    return ((bucket - SUB_BUCKETS * shift) << shift) + (1 << shift) // 2


class Histogram:
    """The writer of one latency histogram."""

    def __init__(self, segment: Segment, stage: Stage, role: Role) -> None:
        self._region = segment.region
        #: Where the histogram lies in the segment.
        self.at = segment.section("latency").at(HISTOGRAMS.index((stage, role)))

    def record(self, value_ns: int) -> None:
        """Count one latency."""
        core.histogram_record(self._region, self.at, value_ns)


def histogram_of(segment: Segment, index: int) -> dict[str, Any]:
    """Line ``index`` of the latency section: ``count``, ``max_ns``, ``buckets`` …"""
    return segment.fields("latency", index)


def percentile_ns(buckets: list[int], fraction: float) -> int:
    """The value below which ``fraction`` of the counted latencies lie (middle of its bucket); 0 when empty."""
    total = sum(buckets)
    if not total:
        return 0
    wanted, seen = fraction * total, 0
    for bucket, count in enumerate(buckets):
        seen += count
        if count and seen >= wanted:
            return _middle_of(bucket)
    return 0


def merged_histogram(segment: Segment, stage: Stage) -> dict[str, int]:
    """``count``, ``p50``, ``p90``, ``p99``, ``max`` in nanoseconds of one stage over all roles that record it."""
    buckets = [0] * N_BUCKETS
    most = 0
    for index, (each, _role) in enumerate(HISTOGRAMS):
        if each is stage:
            one = histogram_of(segment, index)
            most = max(most, one["max_ns"])
            buckets = [a + b for a, b in zip(buckets, one["buckets"], strict=True)]
    return {
        "count": sum(buckets),
        "p50": min(percentile_ns(buckets, 0.5), most),
        "p90": min(percentile_ns(buckets, 0.9), most),
        "p99": min(percentile_ns(buckets, 0.99), most),
        "max": most,
    }
