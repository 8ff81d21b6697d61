"""What a run did, as one value with stable keys: counts, near-misses, money, latencies (``replay --json``, ``demo --json``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arbpipe.fixedpoint import format_usd
from arbpipe.ledger.book import Ledger
from arbpipe.ledger.store import LedgerStore
from arbpipe.process import RunSpec
from arbpipe.shm import core
from arbpipe.shm.generation import read_meta
from arbpipe.shm.layout import Role, Stage
from arbpipe.shm.row import Reason
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import Counter, merged_histogram
from arbpipe.shm.tables import FEED_ROLES

__all__ = ["Summary", "counter_of", "latencies_of", "near_misses_of", "summarise"]


@dataclass(slots=True)
class Summary:
    """What a replay did; :meth:`as_json` has the stable keys of ``replay --json``."""

    values: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The keys in a stable order."""
        return {"schema": 1, **self.values}


def counter_of(segment: Segment, counter: Counter, *roles: Role) -> int:
    """A counter added up over roles (all feeds when none is named)."""
    return sum(segment.fields("processes", role)["counters"][counter] for role in (roles or tuple(FEED_ROLES)))


def near_misses_of(segment: Segment) -> list[dict[str, Any]]:
    """Each cover's best edge and what was missing, best first."""
    generation = segment.region.load_u64(segment.section("catalog").offset)
    if not generation:
        return []
    found = []
    for index, names in enumerate(read_meta(segment.directory, generation)["covers"]):
        stat = segment.fields("cover_stats", index)
        priced = bool(stat["best_ns"])
        missing = Reason(stat["best_reason"] if priced else stat["reason"])
        # what was taken in the end missed nothing, whatever refused it before or after
        gate = Reason(stat["x_gate"]) if not stat["x_filled"] else Reason.NONE
        found.append(
            {
                "cover": names["name"],
                "kind": names["kind"],
                "best_edge_usd": format_usd(stat["best_edge_e6"]) if priced else None,
                "size": stat["best_size_e2"] / 100 if priced else None,
                "missing": missing.name.lower() if missing else (gate.name.lower() if gate else None),
                "opportunities": stat["pushed"],
                "attempts": stat["x_attempts"],
                "taken": stat["x_filled"],
            }
        )
    found.sort(key=lambda each: float(each["best_edge_usd"] or "-inf"), reverse=True)
    return found


def latencies_of(segment: Segment) -> dict[str, dict[str, float]]:
    """Percentiles in microseconds per stage; ``count`` says of how many."""
    table = {}
    for stage in Stage:
        one = merged_histogram(segment, stage)
        table[stage.name.lower()] = {
            "p50": one["p50"] / 1000,
            "p99": one["p99"] / 1000,
            "max": one["max"] / 1000,
            "count": one["count"],
        }
    return table


def summarise(
    segment: Segment,
    spec: RunSpec,
    *,
    instruments: int,
    covers: int,
    restarts: int,
    differences: Callable[[Ledger], list[str]],
) -> Summary:
    """Read everything after the processes ended. ``differences`` compares the ledger with the venues' own books."""
    path = spec.ledger_path()
    names = (
        "attempts",
        "locked_e6",
        "realised_e6",
        "dust_e6",
        "exposure_e6",
        "balanced",
        "unwound",
        "open",
        "none",
        "dust",
    )
    totals = dict.fromkeys(names, 0)
    unknown, found = 0, list[str]()
    if path.exists():
        store = LedgerStore(path, spec.mode_name)
        try:
            if not store.empty:
                store.verify()
                ledger = Ledger(store)
                totals, unknown = ledger.totals(), ledger.unknown_intents()
                found = differences(ledger)
        finally:
            store.close()
    alerts = Path(spec.state) / "alerts.log"
    return Summary(
        {
            "mode": spec.mode_name,
            "core": core.CORE,
            "frames": counter_of(segment, Counter.FRAMES),
            "sequenced": counter_of(segment, Counter.SEQUENCED),
            "instruments": instruments,
            "covers": covers,
            "gaps": counter_of(segment, Counter.GAPS),
            "hash_checked": counter_of(segment, Counter.HASH_CHECKED),
            "hash_mismatches": counter_of(segment, Counter.HASH_MISMATCHES),
            "hash_unchecked": counter_of(segment, Counter.HASH_UNCHECKED),
            "crossed": counter_of(segment, Counter.CROSSED),
            "bad_frames": counter_of(segment, Counter.BAD_FRAMES),
            "opportunities": counter_of(segment, Counter.OPPORTUNITIES, Role.DETECTOR),
            "near_misses": near_misses_of(segment),
            "attempts": totals["attempts"],
            "balanced": totals["balanced"],
            "unwound": totals["unwound"],
            "dust": totals["dust"],
            "empty": totals["none"],
            "unresolved": totals["open"],
            "unknown_open": unknown,
            "open_exposure_contracts": totals["exposure_e6"] / 1e6,
            "dust_contracts": totals["dust_e6"] / 1e6,
            "locked_pnl_usd": format_usd(totals["locked_e6"]),
            "realised_pnl_usd": format_usd(totals["realised_e6"]),
            "ledger_matches_venues": not found,
            "differences": found,
            "restarts": restarts,
            "alerts": len(alerts.read_text().splitlines()) if alerts.exists() else 0,
            "latency_us": latencies_of(segment),
        }
    )
