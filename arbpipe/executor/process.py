"""The executor process: intake, gates, plan, reserve, send; recovery before anything else; reconciliation at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import uvloop

from arbpipe.clock import ClockMode, stamp_ns, wall_ns
from arbpipe.errors import SafetyRefused
from arbpipe.executor.aftermath import Market
from arbpipe.executor.attempt import AttemptRunner, Policy, intents_of, new_attempt_id
from arbpipe.executor.gates import Conflicts, ExecutorFunnel, Gates
from arbpipe.executor.plan import Plan, Refusal, make_plan
from arbpipe.fixedpoint import format_usd, parse_money_e6
from arbpipe.identity import Side, Venue, side_of, slot_of
from arbpipe.ledger.book import AttemptRecord, Closing, IntentRecord, Ledger, Usage, day_start_ns
from arbpipe.ledger.reconcile import Difference, reconcile
from arbpipe.ledger.store import LedgerStore
from arbpipe.process import Process
from arbpipe.risk.breaker import Breaker
from arbpipe.risk.limits import Limits, Refused, Request, UsageView, check
from arbpipe.shm.generation import CoverEntry, Generation, Listing
from arbpipe.shm.layout import Role, Stage
from arbpipe.shm.locks import RoleLock
from arbpipe.shm.opportunity import Doorbell, Opportunity, OpportunityReader
from arbpipe.shm.row import Reason, Row, RowReader
from arbpipe.shm.stats import IDLE_FOR_EVER, Counter, ErrorCode, Histogram, ProcessState
from arbpipe.shm.tables import Held
from arbpipe.shm.usable import Freshness, UsableRule
from arbpipe.venues.base import Gateway

__all__ = ["Executor", "run_executor"]

_MS: Final = 1_000_000
_IDLE_S: Final = 0.02
_STEP_POLL_S: Final = 0.0002
_STOP_S: Final = 1.5
_TRIES: Final = 3


class Sleepers:
    """Sleeping on the age clock, in a way that a stepped replay can see: who sleeps, and until when."""

    def __init__(self, process: Process) -> None:
        self._clock = process.clock
        self._until: dict[int, int] = {}
        self._next = 0

    async def sleep_until(self, when_ns: int) -> None:
        """Return once the age clock shows ``when_ns``."""
        self._next += 1
        key = self._next
        self._until[key] = when_ns
        try:
            await self._clock.sleep_until(when_ns)
        finally:
            del self._until[key]

    @property
    def first_ns(self) -> int | None:
        """When the first sleeper wakes."""
        return min(self._until.values(), default=None)


class Executor:
    """One executor over one segment, one ledger, and the gateways it is given."""

    def __init__(
        self,
        process: Process,
        ledger: Ledger,
        gateways: Mapping[Venue, Gateway],
        usable: UsableRule,
        sleepers: Sleepers,
        breaker: Breaker,
    ) -> None:
        config = process.spec.config
        self._process = process
        self._segment = segment = process.segment
        self._line = process.line
        self._clock = process.clock
        self.ledger = ledger
        self._gateways = gateways
        self._usable = usable
        self._sleepers = sleepers
        self._breaker = breaker
        self._limits = Limits.of(config.limits)
        self._min_edge = parse_money_e6(config.detector.min_edge_usd)
        self._rows = RowReader(segment)
        self._conflicts = Conflicts(config.executor.cooldown_ms * _MS)
        self._gates = Gates(segment, self._conflicts)
        self._funnel = ExecutorFunnel(segment)
        self._held = Held(segment)
        self._to_intent = Histogram(segment, Stage.OPPORTUNITY_TO_INTENT, Role.EXECUTOR)
        self._to_paper = Histogram(segment, Stage.OPPORTUNITY_TO_PAPER, Role.EXECUTOR)
        self._generation_at = segment.section("catalog").offset
        self.generation: Generation | None = None
        self._listings: dict[int, Listing] = {}
        self._reader = OpportunityReader(segment, process.line)
        self._tasks: set[asyncio.Task[None]] = set()
        self._minute: list[int] = []
        self._runner = AttemptRunner(
            ledger,
            gateways,
            Policy(config.executor.complete_steps, config.executor.unwind_steps, self._limits.loss_budget),
            self._clock,
            sleepers.sleep_until,
            self._markets,
            self.listing,
        )

    # -- catalog -----------------------------------------------------------------------------------------------------

    def listing(self, uid: int) -> Listing | None:
        """An instrument by uid; those of held lots stay known after they left the catalog."""
        return self._listings.get(uid)

    def load_generation(self) -> None:
        """Work with the current generation; attempts in flight go on with what they planned."""
        number = self._segment.region.load_u64(self._generation_at)
        if number and (self.generation is None or self.generation.number != number):
            self.generation = Generation(self._segment.directory, number)
            self._listings.update(self.generation.by_uid)
            self._line.acknowledge(number)

    # -- recovery ----------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Before trading: settle what was in flight, then compare with the venues.

        Raises:
            SafetyRefused: the ledger and a venue disagree.
        """
        for attempt in self.ledger.open_attempts():
            uids = frozenset(int(uid, 16) for uid in attempt.record.plan["group"])
            self._conflicts.busy[attempt.record.attempt] = uids
            if attempt.state == "stuck":
                continue
            closing = await self._runner.settle(attempt.record)
            self._ended(attempt.record, closing)
        differences = await reconcile(self.ledger, self._gateways.values())
        if differences:
            self._differ(differences)
            raise SafetyRefused(f"the ledger does not agree with the venues: {differences[0].what}")
        self._store_held()

    def _differ(self, differences: Sequence[Difference]) -> None:
        for difference in differences:
            self._process.alerts.alert(ErrorCode.LEDGER, f"{difference.venue}: {difference.what}")

    def _store_held(self) -> None:
        self._held.store(self.ledger.held_uids())

    # -- intake ------------------------------------------------------------------------------------------------------

    def take_all(self) -> None:
        """Take every pending opportunity through the gates."""
        before = self._reader.overruns
        while (opportunity := self._reader.next()) is not None:
            self._take(opportunity)
        if self._reader.overruns != before:
            self._line.add(Counter.OVERRUNS, self._reader.overruns - before)
            self._line.error(ErrorCode.OVERRUN, "opportunities were overwritten before they were read")

    def _take(self, opportunity: Opportunity) -> None:
        self.load_generation()
        now = self._clock.now_ns()
        passed = self._gates.check(opportunity, self.generation, now)
        if isinstance(passed, Refusal):
            self._refuse(opportunity, passed, now)
            return
        cover, uids = passed
        plan = self._plan(opportunity, cover, now)
        if isinstance(plan, Refusal):
            self._refuse(opportunity, plan, now)
            return
        attempt = new_attempt_id()
        record = AttemptRecord(
            attempt,
            cover.cover_id,
            cover.name,
            cover.event,
            cover.k,
            plan.size_e2,
            plan.floor_e6,
            cover.tails_accepted,
            {
                "propositions": len(cover.propositions),
                "group": sorted(f"{uid:016x}" for uid in uids),
                "claims": [
                    [[f"{self._uid(claim):016x}", int(side_of(claim))] for claim in claims]
                    for claims in cover.propositions
                ],
            },
        )
        intents = intents_of(attempt, plan)
        refused = self.ledger.begin(record, intents, lambda usage: self._check(usage, plan))
        if refused is not None:
            self._refuse(opportunity, Refusal(refused.reason, refused.value, refused.threshold), now)
            return
        self._to_intent.record(stamp_ns() - opportunity.push_ns)
        self._conflicts.begin(attempt, opportunity, uids)
        self._funnel.attempted(cover.number, cover.cover_id, now)
        self._line.add(Counter.ATTEMPTS)
        self._store_held()
        concurrent = all(leg.depth_e2 >= 3 * leg.size_e2 for leg in plan.legs) and any(
            leg.listing.venue is Venue.KALSHI for leg in plan.legs
        )
        task = asyncio.get_running_loop().create_task(
            self._attempt(record, cover, opportunity, intents, concurrent)
        )
        self._tasks.add(task)
        self._line.set(Counter.IN_FLIGHT, len(self._tasks))
        task.add_done_callback(self._done)

    def _uid(self, claim: int) -> int:
        assert self.generation is not None
        return self.generation.by_slot[slot_of(claim)].uid

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._line.set(Counter.IN_FLIGHT, len(self._tasks))
        if not task.cancelled() and task.exception() is not None:
            # the ledger has the attempt open: its group stays busy, and the next start settles it
            error = task.exception()
            self._process.alerts.alert(ErrorCode.LEDGER, f"an attempt failed: {type(error).__name__}: {error}")
            self._breaker.trip(f"an attempt failed: {type(error).__name__}")

    def _refuse(self, opportunity: Opportunity, refusal: Refusal, now: int) -> None:
        self._line.add(Counter.EXPIRED if refusal.reason is Reason.EXPIRED else Counter.REFUSED)
        if self.generation is not None and refusal.reason is not Reason.GENERATION:
            self._funnel.refused(opportunity.cover, opportunity.cover_id, refusal, now)
        elif refusal.reason is Reason.GENERATION:
            self._line.add(Counter.UNKNOWN_GENERATION)

    def _check(self, usage: Usage, plan: Plan) -> Refused | None:
        view = UsageView(usage.event, usage.venue, usage.total, usage.tail_event, usage.tail_total, usage.cash)
        cover = plan.cover
        floor = plan.floor_e6 if not cover.tails_accepted else cover.floor_e6 * plan.size_e2 // 100
        return check(self._limits, view, Request(cover.event, plan.cash, cover.tails_accepted, floor))

    # -- planning ----------------------------------------------------------------------------------------------------

    def _plan(self, opportunity: Opportunity, cover: CoverEntry, now: int) -> Plan | Refusal:
        """Re-read every leg, verified versions only; price and prove; shrink to what the loss bounds and limits allow."""
        assert self.generation is not None
        rows: dict[int, Row] = {}
        for leg in opportunity.legs:
            slot = slot_of(leg.claim)
            listing = self.generation.by_slot[slot]
            row = self._rows.read(slot)
            reason, value, threshold = self._usable.check(listing.venue, leg.uid, slot, row, now)
            if reason or row is None:
                return Refusal(reason, value, threshold)
            if self._rows.verified(slot) != row.version:
                return Refusal(Reason.UNVERIFIED, self._rows.verified(slot), row.version)
            rows[slot] = row
        payoffs, regular = self.generation.payoffs(cover.group)
        generation = self.generation
        size = opportunity.size_e2
        for _ in range(_TRIES):
            plan = make_plan(
                cover,
                opportunity.legs,
                size,
                rows,
                lambda claim: generation.by_slot[slot_of(claim)],
                payoffs,
                regular,
                self._min_edge,
            )
            if isinstance(plan, Refusal):
                return plan
            smaller, refusal = self._fit(plan)
            if refusal is None:
                return plan
            if smaller <= 0:
                return refusal
            size = smaller
        return refusal or Refusal(Reason.LIMIT_UNHEDGED)

    def _fit(self, plan: Plan) -> tuple[int, Refusal | None]:
        """Does the plan respect the loss bounds and limits? If not: the size that would, in whole contracts."""
        limits = self._limits
        if plan.hard_e6 > limits.unhedged:
            size = plan.size_e2 * limits.unhedged // plan.hard_e6
            return size // 100 * 100, Refusal(Reason.LIMIT_UNHEDGED, plan.hard_e6, limits.unhedged)
        if plan.expected_e6 > limits.loss_budget:
            size = plan.size_e2 * limits.loss_budget // plan.expected_e6
            return size // 100 * 100, Refusal(Reason.LIMIT_UNHEDGED, plan.expected_e6, limits.loss_budget)
        refused = self._check(self.ledger.usage(), plan)
        if refused is None:
            return plan.size_e2, None
        at_stake = sum(plan.cash.values())
        size = plan.size_e2 * max(0, at_stake - refused.room_e6) // at_stake
        return size // 100 * 100, Refusal(refused.reason, refused.value, refused.threshold)

    def _markets(self, record: AttemptRecord) -> list[Market]:
        """Every usable, verified claim of the attempt's propositions now."""
        now = self._clock.now_ns()
        found = []
        for proposition, claims in enumerate(record.plan["claims"]):
            for text, side_number in claims:
                listing = self._listings.get(int(text, 16))
                if listing is None or (self.generation and listing.uid not in self.generation.by_uid):
                    continue
                row = self._rows.read(listing.slot)
                reason, _, _ = self._usable.check(listing.venue, listing.uid, listing.slot, row, now)
                if reason or row is None or row.fee is None or self._rows.verified(listing.slot) != row.version:
                    continue
                side = Side(side_number)
                found.append(Market(proposition, listing, side, row.asks(side), row.bids(side), row.fee))
        return found

    # -- attempts ----------------------------------------------------------------------------------------------------

    async def _attempt(
        self,
        record: AttemptRecord,
        cover: CoverEntry,
        opportunity: Opportunity,
        intents: Sequence[IntentRecord],
        concurrent: bool,
    ) -> None:
        closing = await self._runner.run(record, intents, concurrent=concurrent)
        self._to_paper.record(stamp_ns() - opportunity.push_ns)
        if closing.balanced_e6:
            self._funnel.filled(cover.number, cover.cover_id)
        self._ended(record, closing)
        self._store_held()

    def _ended(self, record: AttemptRecord, closing: Closing) -> None:
        stuck = bool(closing.exposure_e6)
        self._conflicts.end(
            record.attempt,
            record.cover_id,
            self._clock.now_ns(),
            empty=not closing.balanced_e6,
            keep=stuck,
        )
        if stuck:
            self._line.add(Counter.UNRESOLVED)
            self._process.alerts.alert(
                ErrorCode.EXPOSURE,
                f"attempt {record.attempt} on {record.cover} leaves {closing.exposure_e6 / 1e6} contracts unhedged; "
                f"{record.event} stops until they are resolved",
            )
        self._trip_if_due()

    def _trip_if_due(self) -> None:
        """The breaker's causes (design 10)."""
        config = self._process.spec.config.breaker
        lost = -self.ledger.realised_since(day_start_ns())
        if lost > parse_money_e6(config.max_daily_loss_usd) and not self._breaker.tripped:
            self._breaker.trip(f"lost ${format_usd(lost)} today, allowed are ${config.max_daily_loss_usd}")
            self._process.alerts.alert(ErrorCode.LEDGER, f"breaker tripped: {self._breaker.last}")
        if self._line.get(Counter.UNRESOLVED) > config.max_unresolved and not self._breaker.tripped:
            self._breaker.trip(f"{self._line.get(Counter.UNRESOLVED)} attempts are unresolved")
            self._process.alerts.alert(ErrorCode.EXPOSURE, f"breaker tripped: {self._breaker.last}")
        now = wall_ns()
        self._minute = [when for when in self._minute if now - when < 60 * 1_000_000_000] + [now]
        if len(self._minute) > config.max_attempts_per_minute and not self._breaker.tripped:
            self._breaker.trip(f"{len(self._minute)} attempts in a minute")
            self._process.alerts.alert(ErrorCode.LEDGER, f"breaker tripped: {self._breaker.last}")

    # -- loop --------------------------------------------------------------------------------------------------------

    async def loop(self, doorbell: Doorbell) -> None:
        """Work until told to stop; then finish what is in flight within a bound."""
        line, stepped = self._line, self._clock.mode is ClockMode.STEPPED
        wake = asyncio.Event()
        loop = asyncio.get_running_loop()

        def rung() -> None:
            doorbell.drain()
            wake.set()

        def stopped() -> None:
            loop.call_soon_threadsafe(wake.set)

        loop.add_reader(doorbell.fd, rung)
        self._process.on_stop(stopped)
        line.state(ProcessState.RUN)
        while not self._process.should_stop():
            line.waiting(0)  # before anything is taken: the driver of a replay must not think us idle
            wake.clear()
            self.load_generation()
            self.take_all()
            await self._settle_down()
            line.add(Counter.TURNS)
            line.beat()
            if stepped:
                await asyncio.sleep(_STEP_POLL_S)
            else:
                try:
                    await asyncio.wait_for(wake.wait(), _IDLE_S)
                except TimeoutError:
                    if not self._tasks:
                        self.ledger.store.checkpoint()
        loop.remove_reader(doorbell.fd)
        line.state(ProcessState.HALT)
        deadline = time.monotonic() + _STOP_S
        while self._tasks and time.monotonic() < deadline:
            await asyncio.wait(self._tasks, timeout=0.05)
            line.beat()

    async def _settle_down(self) -> None:
        """Say truthfully whether we are busy: idle, asleep until a time, or at work."""
        for _ in range(3):
            await asyncio.sleep(0)  # whoever is ready runs first
        if not self._tasks:
            self._line.waiting(IDLE_FOR_EVER if self._reader.tail == self._reader.head else 0)
        else:
            self._line.waiting(self._sleepers.first_ns or 0)


async def _run(process: Process, executor: Executor) -> None:
    executor.load_generation()
    while executor.generation is None and not process.should_stop():
        await asyncio.sleep(0.005)
        process.line.beat()
        executor.load_generation()
    if executor.generation is None:
        return
    await executor.recover()
    await executor.loop(Doorbell(process.segment.directory))
    differences = await reconcile(executor.ledger, executor._gateways.values())
    executor.ledger.note("reconciled", "", {"differences": [d.what for d in differences]})


def run_executor(process: Process) -> None:
    """Execute until told to stop. The executor's own lock lies beside the ledger and names the account."""
    from arbpipe.executor.paper import paper_gateways

    spec = process.spec
    config = spec.config
    path = spec.ledger_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = RoleLock(Path(spec.state), f"account-{spec.mode_name.lower()}")
    store = LedgerStore(path, spec.mode_name)
    try:
        store.verify()
        fresh = config.freshness
        usable = UsableRule(
            process.segment,
            Freshness(fresh.max_confirm_age_ms * _MS, fresh.max_lag_ms, fresh.max_heartbeat_age_ms * _MS),
        )
        breaker = Breaker(process.segment, Path(spec.state) / "breaker.json", ledger_empty=store.empty)
        sleepers = Sleepers(process)
        ledger = Ledger(store)
        holder: list[Executor] = []
        gateways = paper_gateways(
            process, usable, sleepers.sleep_until, lambda uid: holder[0].listing(uid) if holder else None
        )
        if store.empty:
            ledger.open_account(asyncio.run(_cash_of(gateways)))
        executor = Executor(process, ledger, gateways, usable, sleepers, breaker)
        holder.append(executor)
        uvloop.run(_run(process, executor))
    finally:
        store.close()
        lock.release()


async def _cash_of(gateways: Mapping[Venue, Gateway]) -> dict[Venue, int]:
    return {venue: await gateway.cash_e6() for venue, gateway in gateways.items()}
