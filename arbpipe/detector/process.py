"""The detector process: drain the change logs, look, price, push; sweep everything every 100 ms as the safety net."""

from __future__ import annotations

from typing import Final

from arbpipe.clock import stamp_ns
from arbpipe.detector.funnel import CoverFunnel
from arbpipe.detector.kernel import kernel_of
from arbpipe.detector.sizing import Edge, Quote, Refusal, Sized, edge_at_minimum, size_cover
from arbpipe.fixedpoint import format_usd, parse_money_e6, parse_size_e2
from arbpipe.identity import side_of, slot_of
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
#: What the detector spins before it sleeps, and how long it sleeps at most: a third of the heartbeat's patience is far more.
_SPIN_NS: Final = 20_000
_SLEEP_NS: Final = 100 * _MS
#: A spinning detector looks up this often.
_LOOK_UP_NS: Final = _MS


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
        self._words = (*self._logs, self._generation_at)
        self._spins = config.detector.wait == "spin"
        self._generation: Generation | None = None
        self._kernel: core.Kernel | None = None
        self._pushed: dict[tuple[int, ...], int] = {}
        self._near = _NEAR_MOST
        self._least_size: list[int] = []
        self._next_sweep = 0
        self._swept = False

    def turn(self) -> bool:
        """One pass; return whether anything was done."""
        if self._segment.region.load_u64(self._generation_at) != (self._generation.number if self._generation else 0):
            self._load_generation()
        if self._kernel is None:
            return False
        worked = self._drain()
        now = stamp_ns()
        if now >= self._next_sweep:
            self._next_sweep = now + self._sweep_ns
            self._sweep()
            if not self._swept:
                # what was logged before we came is covered by this sweep
                self._swept = True
                for index, tail in enumerate(self._tails):
                    self._line.cursor(index, tail)
        return worked

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
            for cover, edge in found:
                self._look(cover, edge)
        tails = self._kernel.tails
        for index, tail in enumerate(tails):
            if tail != self._tails[index]:
                self._line.cursor(index, tail)  # after the work: whoever waits for us may go on now
        self._tails = tails
        return True

    def _sweep(self) -> None:
        assert self._kernel is not None
        self._line.add(Counter.SWEEPS)
        # a few near-misses each time, in turn
        told = waiting = 0
        for cover, edge in self._kernel.sweep(self._near):
            waiting += edge < self._min_edge
            told += self._look(cover, edge) and edge < self._min_edge
        if waiting:
            self._near = _NEAR_MOST if told else max(_NEAR_LEAST, self._near // 2)

    def wait(self) -> None:
        """Sleep, or spin, until something changes or the next sweep is due."""
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
        hit = first_look_e6 >= self._min_edge
        assert self._kernel is not None
        assert self._generation is not None
        cover = self._generation.covers[index]
        now = self._process.clock.now_ns()
        quotes, rows, missing = self._quotes(cover, now)
        edge = edge_at_minimum(cover.k, quotes, self._least_size[index])
        # only with every claim in it is the look the best that the cover can say of itself
        told = isinstance(edge, Edge) and missing is None
        if told:
            self._kernel.settle(index, first_look_e6)
        if hit:
            self._line.add(Counter.HITS)
            self._take(cover, quotes, rows, edge, missing, now)
        elif isinstance(edge, Refusal):
            refusal = missing if edge.reason is Reason.NO_QUOTE and missing else edge
            self._funnel.refused(index, refusal.reason, refusal.value, refusal.threshold, now)
        else:
            self._funnel.priced(index, edge.edge_e6, edge.size_e2, now, Reason.EDGE)
        return told

    def _quotes(self, cover: CoverEntry, now: int) -> tuple[list[list[Quote]], dict[int, Row], Refusal | None]:
        """Every usable claim of every proposition; a claim that fails is left out and the cover goes on without it."""
        assert self._generation is not None
        quotes: list[list[Quote]] = []
        rows: dict[int, Row] = {}
        missing: Refusal | None = None
        for claims in cover.propositions:
            found = []
            for claim in claims:
                slot = slot_of(claim)
                listing = self._generation.by_slot[slot]
                row = rows.get(slot) or self._rows.read(slot)
                reason, value, threshold = self._usable.check(listing.venue, listing.uid, slot, row, now)
                if reason or row is None or row.fee is None:
                    missing = missing or Refusal(reason, value, threshold)
                    continue
                rows[slot] = row
                levels = row.asks(side_of(claim))
                if levels:
                    found.append(Quote(claim, row.uid, row.version, levels, row.fee, listing.min_size_e2))
                else:
                    missing = missing or Refusal(Reason.NO_QUOTE, 0, 0)
            quotes.append(found)
        return quotes, rows, missing

    def _take(
        self,
        cover: CoverEntry,
        quotes: list[list[Quote]],
        rows: dict[int, Row],
        edge: Edge | Refusal,
        missing: Refusal | None,
        now: int,
    ) -> None:
        sized = size_cover(
            cover.k,
            quotes,
            min_edge_e6=self._min_edge,
            max_edge_e6=self._max_edge,
            max_size_e2=self._max_size,
        )
        if isinstance(edge, Edge):
            self._funnel.priced(cover.number, edge.edge_e6, edge.size_e2, now, _reason_of(sized))
        if isinstance(sized, Refusal):
            if sized.reason is Reason.NO_QUOTE and missing:
                sized = missing
            self._funnel.refused(cover.number, sized.reason, sized.value, sized.threshold, now)
            if sized.reason in (Reason.EDGE_TOO_LARGE, Reason.ONE_INSTRUMENT):
                self._alarm(cover, quotes, sized)
            return
        key = (cover.cover_id, *(word for leg in sized.legs for word in (leg.quote.uid, leg.quote.version)))
        before = self._pushed.get(key)
        if before is not None and now - before < self._repush_ns:
            return
        if len(self._pushed) > 4096:
            self._pushed.clear()
        self._pushed[key] = now
        self._push(cover, sized, rows, now)
        if before is None:
            # a repetition says nothing about how fast we see a change
            self._latency.record(stamp_ns() - max(rows[slot_of(leg.quote.claim)].publish_ns for leg in sized.legs))

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


def _reason_of(sized: Sized | Refusal) -> Reason:
    return sized.reason if isinstance(sized, Refusal) else Reason.NONE


def run_detector(process: Process) -> None:
    """Detect until told to stop."""
    detector = Detector(process)
    process.line.state(ProcessState.RUN)
    process.line.waiting(IDLE_FOR_EVER)
    try:
        while not process.should_stop():
            worked = detector.turn()
            process.line.add(Counter.TURNS)
            process.line.beat()
            if not worked:
                detector.wait()
    finally:
        detector.close()
