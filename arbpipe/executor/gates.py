"""The gates an opportunity passes before anything is planned (design 9.1): expiry, kill, breaker, conflicts, cool-down.

Each refusal is a reason with a value and a threshold, counted in the executor's half of ``cover_stats``: ``arbpipe why``
tells the first gate that refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from arbpipe.executor.plan import Refusal
from arbpipe.identity import side_of
from arbpipe.shm.generation import CoverEntry, Generation
from arbpipe.shm.layout import COVER_STAT
from arbpipe.shm.opportunity import Leg, Opportunity
from arbpipe.shm.row import Reason
from arbpipe.shm.segment import Segment
from arbpipe.shm.tables import BreakerView, Revoked

__all__ = ["Conflicts", "ExecutorFunnel", "Gates"]

_MOST_DOUBLINGS = 6


@dataclass(slots=True)
class Conflicts:
    """Conflict groups in use, cool-downs, and what was taken already. Groups are sets of uids: they outlive a generation."""

    cooldown_ns: int
    busy: dict[str, frozenset[int]] = field(default_factory=dict)  # attempt → uids
    _until: dict[int, int] = field(default_factory=dict)  # cover id → age clock
    _rest: dict[frozenset[int], int] = field(default_factory=dict)  # conflict group → age clock
    _empty: dict[int, int] = field(default_factory=dict)  # cover id → attempts in a row that got nothing
    _taken: dict[tuple[int, int], int] = field(default_factory=dict)  # (uid, side) → version of the row that was used

    def conflict(self, uids: frozenset[int]) -> bool:
        """Whether an open attempt touches any of these instruments."""
        return any(uids & others for others in self.busy.values())

    def cooling_ns(self, cover_id: int, uids: frozenset[int], now_ns: int) -> int:
        """How long the cover, or its whole conflict group, still rests; 0 if neither does."""
        rests = [until for group, until in self._rest.items() if group & uids]
        return max(0, self._until.get(cover_id, 0) - now_ns, *(until - now_ns for until in rests))

    def taken(self, opportunity: Opportunity) -> bool:
        """Whether an attempt, on whichever cover, already used one of these very quotes: the same side of the same row."""
        return any(self._taken.get(_quote(leg)) == leg.version for leg in opportunity.legs)

    def begin(self, attempt: str, opportunity: Opportunity, uids: frozenset[int]) -> None:
        """An attempt starts."""
        self.busy[attempt] = uids
        for leg in opportunity.legs:
            self._taken[_quote(leg)] = leg.version

    def end(self, attempt: str, cover_id: int, now_ns: int, *, empty: bool, keep: bool = False) -> None:
        """An attempt is over: its group rests, and after one that got nothing the cover rests twice as long each time
        (F48). ``keep``: its exposure stays, and so does the group."""
        uids = self.busy.get(attempt) if keep else self.busy.pop(attempt, None)
        if uids is not None:
            # a group may gain or lose members with a generation, so what counts is overlap; what rested is forgotten
            self._rest = {group: until for group, until in self._rest.items() if until > now_ns}
            self._rest[uids] = now_ns + self.cooldown_ns
        self._empty[cover_id] = self._empty.get(cover_id, 0) + 1 if empty else 0
        doublings = min(self._empty[cover_id], _MOST_DOUBLINGS)
        self._until[cover_id] = now_ns + self.cooldown_ns * 2**doublings


def _quote(leg: Leg) -> tuple[int, int]:
    return leg.uid, side_of(leg.claim)


class ExecutorFunnel:
    """The executor's half of ``cover_stats``."""

    def __init__(self, segment: Segment) -> None:
        self._region = segment.region
        self._place = segment.section("cover_stats")
        self._at = {each.name: each.offset for each in COVER_STAT.fields}

    def _line(self, index: int, cover_id: int) -> int:
        base = self._place.at(index)
        if self._region.load_u32(base + self._at["x_cover_id"]) != cover_id:
            self._region.store_u32(base + self._at["x_cover_id"], cover_id)
            self._region.store_u32(base + self._at["x_gate"], 0)
            for name in ("x_value", "x_threshold", "x_refused", "x_attempts", "x_filled", "x_last_ns"):
                self._region.store_i64(base + self._at[name], 0)
        return base

    def refused(self, index: int, cover_id: int, refusal: Refusal, now_ns: int) -> None:
        """An opportunity stopped at a gate."""
        base = self._line(index, cover_id)
        self._region.store_u32(base + self._at["x_gate"], refusal.reason)
        self._region.store_i64(base + self._at["x_value"], refusal.value)
        self._region.store_i64(base + self._at["x_threshold"], refusal.threshold)
        self._region.store_i64(base + self._at["x_last_ns"], now_ns)
        self._add(base, "x_refused")

    def attempted(self, index: int, cover_id: int, now_ns: int) -> None:
        """An attempt began."""
        base = self._line(index, cover_id)
        self._region.store_u32(base + self._at["x_gate"], Reason.NONE)
        self._region.store_i64(base + self._at["x_last_ns"], now_ns)
        self._add(base, "x_attempts")

    def filled(self, index: int, cover_id: int) -> None:
        """An attempt ended with balanced sets."""
        self._add(self._line(index, cover_id), "x_filled")

    def _add(self, base: int, name: str) -> None:
        at = base + self._at[name]
        self._region.store_u64(at, self._region.load_u64(at) + 1)


class Gates:
    """What must be true before an opportunity is even looked at."""

    def __init__(self, segment: Segment, conflicts: Conflicts) -> None:
        self._breaker = BreakerView(segment)
        self._revoked = Revoked(segment)
        self._conflicts = conflicts

    def check(
        self, opportunity: Opportunity, generation: Generation | None, now_ns: int
    ) -> tuple[CoverEntry, frozenset[int]] | Refusal:
        """The cover and its conflict group, or the first gate that refuses."""
        if now_ns > opportunity.expiry_ns:
            return Refusal(Reason.EXPIRED, now_ns, opportunity.expiry_ns)
        if self._breaker.killed:
            return Refusal(Reason.KILLED)
        if self._breaker.paused:
            return Refusal(Reason.PAUSED)
        if self._breaker.tripped:
            return Refusal(Reason.BREAKER)
        if generation is None or generation.number != opportunity.generation:
            return Refusal(Reason.GENERATION, opportunity.generation, generation.number if generation else 0)
        cover = generation.covers[opportunity.cover]
        for leg in opportunity.legs:
            listing = generation.by_slot.get(leg.claim >> 1)
            if listing is None or listing.uid != leg.uid:
                return Refusal(Reason.WRONG_UID, leg.uid & 0x7FFF_FFFF_FFFF_FFFF, leg.claim)
        for relation in cover.relations:
            if self._revoked.is_set(relation):
                return Refusal(Reason.REVOKED, relation)
        uids = generation.group_uids(cover.group)
        if self._conflicts.conflict(uids):
            return Refusal(Reason.BUSY)
        cooling = self._conflicts.cooling_ns(cover.cover_id, uids, now_ns)
        if cooling:
            return Refusal(Reason.COOLDOWN, cooling)
        if self._conflicts.taken(opportunity):
            return Refusal(Reason.TAKEN)
        return cover, uids
