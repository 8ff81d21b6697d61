"""The detector process: drain the change logs, look, price, push; sweep everything every 100 ms as the safety net."""

from __future__ import annotations

import gc
from collections import deque
from typing import Final

from arbpipe.clock import stamp_ns
from arbpipe.detector.funnel import CoverFunnel
from arbpipe.detector.kernel import kernel_of
from arbpipe.detector.sizing import Edge, Quote, Refusal, Sized, edge_at_minimum, size_cover
from arbpipe.fixedpoint import format_usd, parse_money_e6, parse_size_e2
from arbpipe.identity import slot_of
from arbpipe.process import Process
from arbpipe.shm import core
from arbpipe.shm.doorbell import DetectorBell
from arbpipe.shm.generation import CoverEntry, Generation
from arbpipe.shm.layout import Role, Stage
from arbpipe.shm.opportunity import Doorbell, Leg, Opportunity, OpportunityWriter
from arbpipe.shm.row import Reason, Row, RowReader
from arbpipe.shm.stats import IDLE_FOR_EVER, Counter, ErrorCode, Histogram, ProcessState
from arbpipe.shm.tables import Quarantine, QuarantineReason, ranges_of
from arbpipe.shm.usable import Freshness, UsableRule

__all__ = ["Detector", "run_detector"]

_MS: Final = 1_000_000
#: Near-misses told per sweep; fewer while they turn out to have no price, as those come again.
_NEAR_MOST: Final = 32
_NEAR_LEAST: Final = 2
_LATER: Final = 256
#: In a market that never rests, one near-miss is told every so many turns.
_BUSY_TURNS: Final = 64
#: What the detector spins before it sleeps, and how long it sleeps at most: a third of the heartbeat's patience is far more.
_SPIN_NS: Final = 20_000
_SLEEP_NS: Final = 100 * _MS
#: A spinning detector looks up this often.
_LOOK_UP_NS: Final = _MS
#: Garbage in cycles is collected this often, while nothing happens.
_COLLECT_NS: Final = 1_000 * _MS


class Detector:
    """One detector over one segment. :meth:`turn` is one pass of the work loop."""

    def __init__(self, process: Process) -> None:
        config = process.spec.config
        self._process = process
        self._segment = segment = process.segment
        self._line = process.line
        self._min_edge = parse_money_e6(config.detector.min_edge_usd)
        self._max_edge = parse_money_e6(config.detector.max_edge_usd)
        self._max_size = parse_size_e2(config.detector.max_size)
        self._expiry_ns = config.detector.expiry_ms * _MS
        self._repush_ns = config.detector.repush_ms * _MS
        self._sweep_ns = config.detector.sweep_ms * _MS
        fresh = config.freshness
        self._usable = UsableRule(
            segment, Freshness(fresh.max_confirm_age_ms * _MS, fresh.max_lag_ms, fresh.max_heartbeat_age_ms * _MS)
        )
        self._rows = RowReader(segment)
        self._quarantine = Quarantine(segment, "detector")
        self._funnel = CoverFunnel(segment)
        self._writer = OpportunityWriter(segment, Doorbell(segment.directory))
        self._latency = Histogram(segment, Stage.ROW_TO_OPPORTUNITY, Role.DETECTOR)
        self._generation_at = segment.section("catalog").offset
        self._logs = [segment.section("changes").at(each.log) for each in ranges_of(segment).values()]
        # the tail begins at the head: the first sweep sees everything that was published before
        self._tails = tuple(segment.region.load_u64(log) for log in self._logs)
        self._bell = DetectorBell(segment)
        self._bell.begin()
        self._words = (*self._logs, self._generation_at)
        self._spins = config.detector.wait == "spin"
        self._generation: Generation | None = None
        self._kernel: core.Kernel | None = None
        self._pushed: dict[tuple[int, ...], int] = {}
        self._near = _NEAR_MOST
        self._told = True
        self._busy = 0  # turns in a row in which something had changed
        self._later: deque[tuple[int, int]] = deque(maxlen=_LATER)
        self._least_size: list[int] = []
        self._next_sweep = 0
        self._next_collection = 0
        self._swept = False

    def turn(self) -> bool:
        """One pass; return whether anything was done."""
        if self._segment.region.load_u64(self._generation_at) != (self._generation.number if self._generation else 0):
            self._load_generation()
        if self._kernel is None:
            return False
        if not self._next_sweep:  # a new generation: every best cost is known before a change is judged by them
            self._sweep_now()
        worked = self._drain()
        if stamp_ns() >= self._next_sweep:
            self._sweep_now()
        self._busy = self._busy + 1 if worked else 0
        if self._busy % _BUSY_TURNS:
            return True
        return self._tell_one() or worked

    def _sweep_now(self) -> None:
        self._next_sweep = stamp_ns() + self._sweep_ns
        self._sweep()
        if not self._swept:
            # what was logged before we came is covered by this sweep
            self._swept = True
            for index, tail in enumerate(self._tails):
                self._line.cursor(index, tail)

    def _load_generation(self) -> None:
        number = self._segment.region.load_u64(self._generation_at)
        self._generation = generation = Generation(self._segment.directory, number)
        if self._kernel is not None:
            self._kernel.release()
        self._kernel = kernel_of(self._segment, generation, self._logs, self._tails, self._min_edge)
        for cover in generation.covers:
            self._funnel.adopt(cover.number, cover.cover_id)
        self._least_size = [
            max(generation.by_slot[slot_of(claim)].min_size_e2 for claims in cover.propositions for claim in claims)
            for cover in generation.covers
        ]
        self._pushed.clear()
        self._later.clear()
        self._near, self._told = _NEAR_MOST, True
        gc.collect()
        gc.freeze()  # the catalog stays for long: no later collection looks at it
        self._line.acknowledge(number)
        self._next_sweep = 0

    def _drain(self) -> bool:
        assert self._kernel is not None
        try:
            found = self._kernel.drain()
        except core.Overrun:
            self._line.add(Counter.OVERRUNS)
            self._line.error(ErrorCode.OVERRUN, "a change log overran the detector: swept instead")
            self._sweep()
        else:
            if found is None:
                return False
            self._look_at(found)
        tails = self._kernel.tails
        for index, tail in enumerate(tails):
            if tail != self._tails[index]:
                self._line.cursor(index, tail)  # after the work: whoever waits for us may go on now
        self._tails = tails
        return True

    def _sweep(self) -> None:
        assert self._kernel is not None
        self._line.add(Counter.SWEEPS)
        if not self._later:
            self._near = _NEAR_MOST if self._told else max(_NEAR_LEAST, self._near // 2)
            self._told = False
        self._look_at(self._kernel.sweep(0 if self._later else self._near))
        self._told |= not self._later  # nothing waits, so nothing was without a price

    def _look_at(self, found: list[tuple[int, int]]) -> None:
        """Hits now; near-misses one at a time while nothing changes, as pricing one takes longer than a hit may wait.

        What does not fit into the queue comes again with a sweep.
        """
        for cover, edge in found:
            if edge >= self._min_edge:
                self._look(cover, edge)
            else:
                self._later.append((cover, edge))

    def _tell_one(self) -> bool:
        """Price the next near-miss of the last sweep, if there is one."""
        if not self._later:
            return False
        self._told |= self._look(*self._later.popleft())
        return True

    def wait(self) -> None:
        """Sleep, or spin, until something changes or the next sweep is due."""
        now = stamp_ns()
        if now >= self._next_collection:
            self._next_collection = now + _COLLECT_NS
            gc.collect(1)
        left = min(self._next_sweep - stamp_ns(), _SLEEP_NS) if self._kernel is not None else _SLEEP_NS
        if left <= 0:
            return
        known = self._generation.number if self._generation else 0
        if self._spins:
            left = min(left, _LOOK_UP_NS)
        self._bell.wait(self._words, (*self._tails, known), left if self._spins else min(_SPIN_NS, left), left)

    def close(self) -> None:
        """Let go of the segment."""
        if self._kernel is not None:
            self._kernel.release()
            self._kernel = None

    def _look(self, index: int, first_look_e6: int) -> bool:
        """Price a cover exactly: its first look is a hit, or a near-miss not told yet. Return whether it had a price."""
        assert self._kernel is not None
        assert self._generation is not None
        cover = self._generation.covers[index]
        now = self._process.clock.now_ns()
        quotes, rows, missing = self._quotes(cover, now)
        sized = self._take(cover, quotes, rows, now) if first_look_e6 >= self._min_edge else None
        # what was seen is told after what can be taken was pushed
        edge = edge_at_minimum(cover.k, quotes, self._least_size[index])
        told = isinstance(edge, Edge) and missing is None
        if told:
            # only with every claim in it is the look the best that the cover can say of itself
            self._kernel.settle(index, first_look_e6)
        if isinstance(edge, Edge):
            reason = Reason.EDGE if sized is None else sized.reason if isinstance(sized, Refusal) else Reason.NONE
            self._funnel.priced(index, edge.edge_e6, edge.size_e2, now, reason)
        refusal = sized if sized is not None else edge
        if isinstance(refusal, Refusal):
            if refusal.reason is Reason.NO_QUOTE and missing:
                refusal = missing
            self._funnel.refused(index, refusal.reason, refusal.value, refusal.threshold, now)
            if refusal.reason in (Reason.EDGE_TOO_LARGE, Reason.ONE_INSTRUMENT):
                self._alarm(cover, quotes, refusal)
        return told

    def _quotes(self, cover: CoverEntry, now: int) -> tuple[list[list[Quote]], dict[int, Row], Refusal | None]:
        """Every usable claim of every proposition; a claim that fails is left out and the cover goes on without it."""
        assert self._generation is not None
        quotes: list[list[Quote]] = []
        rows: dict[int, Row] = {}
        refused: dict[int, Refusal] = {}
        missing: Refusal | None = None
        by_slot = self._generation.by_slot
        for claims in cover.propositions:
            found = []
            for claim in claims:
                slot = claim >> 1
                row = rows.get(slot)
                if row is None and slot not in refused:  # both sides of an instrument are of one row, and one verdict
                    listing = by_slot[slot]
                    row = self._rows.read(slot)
                    reason, value, threshold = self._usable.check(listing.venue, listing.uid, slot, row, now)
                    if reason or row is None:
                        refused[slot] = Refusal(reason, value, threshold)
                        row = None
                    else:
                        rows[slot] = row
                if row is None or row.fee is None:
                    missing = missing or refused.get(slot)
                    continue
                levels = row.no_asks if claim & 1 else row.yes_asks
                if levels:
                    found.append(Quote(claim, row.uid, row.version, levels, row.fee, by_slot[slot].min_size_e2))
                else:
                    missing = missing or Refusal(Reason.NO_QUOTE, 0, 0)
            quotes.append(found)
        return quotes, rows, missing

    def _take(self, cover: CoverEntry, quotes: list[list[Quote]], rows: dict[int, Row], now: int) -> Sized | Refusal:
        """Size a hit, and push it unless the same rows were pushed a moment ago."""
        self._line.add(Counter.HITS)
        sized = size_cover(
            cover.k,
            quotes,
            min_edge_e6=self._min_edge,
            max_edge_e6=self._max_edge,
            max_size_e2=self._max_size,
        )
        if isinstance(sized, Refusal):
            return sized
        key = (cover.cover_id, *(word for leg in sized.legs for word in (leg.quote.uid, leg.quote.version)))
        before = self._pushed.get(key)
        if before is not None and now - before < self._repush_ns:
            return sized
        if len(self._pushed) > 4096:
            self._pushed.clear()
        self._pushed[key] = now
        self._push(cover, sized, rows, now)
        if before is None:
            # a repetition says nothing about how fast we see a change
            self._latency.record(stamp_ns() - max(rows[slot_of(leg.quote.claim)].publish_ns for leg in sized.legs))
        return sized

    def _push(self, cover: CoverEntry, sized: Sized, rows: dict[int, Row], now: int) -> None:
        assert self._generation is not None
        used = [rows[slot_of(leg.quote.claim)] for leg in sized.legs]
        published = max(row.publish_ns for row in used)
        detected = stamp_ns()
        legs = tuple(
            Leg(
                leg.quote.claim,
                leg.proposition,
                leg.quote.uid,
                leg.quote.version,
                leg.price_e4,
                leg.size_e2,
                leg.cost_e6,
            )
            for leg in sized.legs
        )
        self._writer.push(
            Opportunity(
                0,
                self._generation.number,
                cover.number,
                cover.cover_id,
                sized.size_e2,
                sized.edge_e6,
                now + self._expiry_ns,
                max(row.recv_ns for row in used),
                published,
                detected,
                stamp_ns(),
                legs,
            )
        )
        self._funnel.pushed(cover.number)
        self._line.add(Counter.OPPORTUNITIES)

    def _alarm(self, cover: CoverEntry, quotes: list[list[Quote]], refusal: Refusal) -> None:
        """A wrong pair or a corrupt book: its instruments stop until a person has looked (design 2)."""
        assert self._generation is not None
        by_uid: dict[int, set[int]] = {}
        for quote in (quote for each in quotes for quote in each):
            by_uid.setdefault(quote.uid, set()).add(quote.claim)
        if refusal.reason is Reason.ONE_INSTRUMENT:
            slots = {slot_of(claim) for claims in by_uid.values() if len(claims) > 1 for claim in claims}
        else:
            slots = {slot_of(claim) for claims in by_uid.values() for claim in claims}
        for slot in slots:
            self._quarantine.set(slot, QuarantineReason.EDGE_TOO_LARGE)
        names = ", ".join(
            f"{self._generation.by_slot[slot].venue.label}:{self._generation.by_slot[slot].native_id}"
            for slot in sorted(slots)
        )
        self._line.add(Counter.ALARMS)
        self._process.alerts.alert(
            ErrorCode.EDGE_TOO_LARGE,
            f"{cover.name}: an edge of {format_usd(refusal.value)} a contract ({refusal.reason.name}) is a wrong pair "
            f"or a wrong book: quarantined {names}",
        )


def run_detector(process: Process) -> None:
    """Detect until told to stop."""
    detector = Detector(process)
    process.line.state(ProcessState.RUN)
    process.line.waiting(IDLE_FOR_EVER)
    # a full collection walks the whole catalog and would hold an opportunity up for tens of milliseconds
    gc.disable()
    try:
        while not process.should_stop():
            worked = detector.turn()
            process.line.add(Counter.TURNS)
            process.line.beat()
            if not worked:
                detector.wait()
    finally:
        detector.close()
