"""What ``status`` says, as a value: read from shared memory alone, right also while every process is dead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arbpipe.clock import boottime_ns
from arbpipe.errors import ArbpipeError
from arbpipe.shm.ageclock import SegmentClock
from arbpipe.shm.generation import read_meta
from arbpipe.shm.layout import QUARANTINE_COLUMNS, Role, Stage
from arbpipe.shm.locks import lock_holder
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import IDLE_FOR_EVER, Counter, ErrorCode, ProcessState, merged_histogram, start_ticks
from arbpipe.shm.tables import (
    FEED_ROLES,
    BreakerView,
    Connections,
    ConnectionState,
    QuarantineReason,
    VenueState,
    VenueStates,
    ranges_of,
)

__all__ = ["health_of"]

_ROLES = (
    Role.SUPERVISOR,
    Role.CATALOG,
    Role.FEED_KALSHI,
    Role.FEED_POLYMARKET,
    Role.DETECTOR,
    Role.EXECUTOR,
)
#: Before the supervisor kills what hangs (2 s), so that a probe sees it.
_STALE_NS = 1_500_000_000


def health_of(directory: Path) -> dict[str, Any]:
    """Everything ``status --json`` prints; ``problems`` is empty when the pipeline is healthy.

    Raises:
        NotRunning: there is no segment.
        LayoutMismatch: the segment is another version's.
    """
    with Segment.attach(directory) as segment:
        problems: list[str] = []
        processes = [_process(segment, role, problems) for role in _ROLES]
        connections = _connections(segment, problems)
        breaker = BreakerView(segment)
        if breaker.tripped:
            problems.append(f"the breaker is tripped: {segment.fields('breaker')['last']}")
        for word, name in ((breaker.killed, "kill"), (breaker.paused, "pause")):
            if word:
                problems.append(f"the operator's {name} is set")
        venues = {}
        states = VenueStates(segment)
        for venue in FEED_ROLES.values():
            state = states.worst(venue)
            venues[venue.label] = state.name.lower()
            if state is not VenueState.TRADING:
                problems.append(f"{venue.label} is {state.name.lower()}")
        quarantine = _quarantine(segment, directory)
        problems += [f"{each['instrument']} is quarantined: {each['reason']}" for each in quarantine]
        generation = segment.region.load_u64(segment.section("catalog").offset)
        if not generation:
            problems.append("no catalog was published yet")
        latency = {}
        for stage in Stage:
            one = merged_histogram(segment, stage)
            latency[stage.name.lower()] = {
                "count": one["count"],
                **{name: one[name] / 1000 for name in ("p50", "p90", "p99", "max")},
            }
        executor = segment.fields("processes", Role.EXECUTOR)["counters"]
        detector = segment.fields("processes", Role.DETECTOR)["counters"]
        return {
            "schema": 1,
            "healthy": not problems,
            "problems": problems,
            "mode": segment.mode_name,
            "instance": segment.header["instance"],
            "segment": str(directory),
            "core": _cores(processes),
            "generation": generation,
            "processes": processes,
            "connections": connections,
            "venues": venues,
            "breaker": {"tripped": breaker.tripped, "killed": breaker.killed, "paused": breaker.paused},
            "quarantine": quarantine,
            "counts": {
                "opportunities": detector[Counter.OPPORTUNITIES],
                "attempts": executor[Counter.ATTEMPTS],
                "in_flight": executor[Counter.IN_FLIGHT],
                "refused": executor[Counter.REFUSED],
                "unresolved": executor[Counter.UNRESOLVED],
            },
            "latency_us": latency,
        }


def _cores(processes: list[dict[str, Any]]) -> str:
    """The core that runs; where processes differ, each with those that run it."""
    of: dict[str, list[str]] = {}
    for process in processes:
        if process["core"]:
            of.setdefault(process["core"], []).append(process["role"])
    if len(of) < 2:
        return next(iter(of), "unknown")
    return "mixed: " + "; ".join(f"{core} in {', '.join(roles)}" for core, roles in sorted(of.items()))


def _process(segment: Segment, role: Role, problems: list[str]) -> dict[str, Any]:
    line = segment.fields("processes", role)
    now = boottime_ns()
    holder = lock_holder(segment.directory, role.label)
    alive = bool(line["pid"]) and holder is not None and start_ticks(line["pid"]) == line["start_ticks"]
    age = (now - line["heartbeat_ns"]) / 1e9 if line["pid"] else None
    state = ProcessState(line["state"]).name
    if not line["pid"]:
        problems.append(f"{role.label} was never started")
    elif not alive:
        problems.append(f"{role.label} is dead (pid {line['pid']}, {age:.1f} s since its last beat)")
    elif age is not None and age * 1e9 > _STALE_NS:
        problems.append(f"{role.label} hangs: {age:.1f} s since its last beat")
    elif state != "RUN":
        problems.append(f"{role.label} is in {state}")
    errors = [
        {
            "code": ErrorCode(code).name.lower(),
            "count": line["error_count"][index],
            "text": _error_text(segment, role, index),
        }
        for index, code in enumerate(line["error_code"])
        if code
    ]
    return {
        "role": role.label,
        "pid": line["pid"],
        "alive": alive,
        "state": state,
        "cpus": line["cpus"],
        "core": line["core"],
        "restarts": line["restarts"],
        "heartbeat_age_s": round(age, 3) if age is not None else None,
        "cpu_s": line["cpu_ns"] / 1e9,
        "rss_mb": round(line["rss_bytes"] / 1e6, 1),
        "alerts": line["alerts"],
        "errors": errors,
    }


def _error_text(segment: Segment, role: Role, index: int) -> str:
    place = segment.section("processes")
    assert place.record is not None
    raw = segment.region.read(place.at(role) + place.record.offset("error_text") + 96 * index, 96)
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def _connections(segment: Segment, problems: list[str]) -> list[dict[str, Any]]:
    view, clock, found = Connections(segment), SegmentClock(segment), []
    for role, owned in ranges_of(segment).items():
        feed = segment.fields("processes", role)
        ended = feed["waiting_ns"] == IDLE_FOR_EVER and feed["pid"]
        for number in range(owned.connections):
            index = owned.first_connection + number
            line = segment.fields("connections", index)
            if not line["epoch"]:
                continue
            state = view.state(index)
            confirmed = max(line["confirmed_ns"], line["last_frame_ns"])
            age = (clock.now_ns() - confirmed) / 1e9 if confirmed else None
            if state is not ConnectionState.LIVE and not ended:
                problems.append(f"{role.label} connection {number} is {state.name.lower()}: {line['reason']}")
            found.append(
                {
                    "feed": role.label,
                    "connection": number,
                    "state": state.name.lower(),
                    "epoch": line["epoch"],
                    "age_s": round(age, 3) if age is not None else None,
                    "lag_ms": line["lag_ms"],
                    "gaps": line["gaps"],
                    "reason": line["reason"],
                }
            )
    return found


def _quarantine(segment: Segment, directory: Path) -> list[dict[str, Any]]:
    place = segment.section("quarantine")
    names: dict[int, str] | None = None
    found = []
    for column, who in enumerate(QUARANTINE_COLUMNS):
        data = segment.region.read(place.at(column), segment.counts.slots)
        if not any(data):
            continue
        names = _slot_names(segment, directory) if names is None else names
        found += [
            {
                "instrument": names.get(slot, f"slot {slot}"),
                "reason": QuarantineReason(value).name.lower(),
                "by": who,
            }
            for slot, value in enumerate(data)
            if value
        ]
    return found


def _slot_names(segment: Segment, directory: Path) -> dict[int, str]:
    generation = segment.region.load_u64(segment.section("catalog").offset)
    try:
        meta = read_meta(directory, generation)
    except ArbpipeError:
        return {}
    return {each["slot"]: f"{each['venue']}:{each['native_id']}" for each in meta["instruments"]}
