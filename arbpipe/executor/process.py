"""The executor process: intake, gates, plan, reserve, send; recovery before anything else; reconciliation at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import uvloop

from arbpipe.clock import ClockMode, stamp_ns, wall_ns
from arbpipe.errors import SafetyRefused
from arbpipe.executor.aftermath import Market
from arbpipe.executor.attempt import AttemptRunner, Policy, intents_of, new_attempt_id
from arbpipe.executor.gates import Conflicts, ExecutorFunnel, Gates
from arbpipe.executor.plan import Refusal
from arbpipe.executor.pricing import Pricer
from arbpipe.fixedpoint import format_usd, parse_money_e6
from arbpipe.identity import Venue, side_of, slot_of
from arbpipe.ledger.book import AttemptRecord, Closing, IntentRecord, Ledger
from arbpipe.ledger.days import day_start_ns
from arbpipe.ledger.reconcile import Difference, reconcile
from arbpipe.ledger.store import LedgerStore
from arbpipe.process import Process
from arbpipe.risk.breaker import Breaker
from arbpipe.shm.generation import CoverEntry, Generation, Listing
from arbpipe.shm.layout import Role, Stage
from arbpipe.shm.locks import RoleLock
from arbpipe.shm.opportunity import Doorbell, Opportunity, OpportunityReader
from arbpipe.shm.row import Reason
from arbpipe.shm.stats import IDLE_FOR_EVER, Counter, ErrorCode, Histogram, ProcessState
from arbpipe.shm.tables import Held
from arbpipe.shm.usable import Freshness, UsableRule
from arbpipe.venues.base import Gateway, OutcomeState

__all__ = ["Executor", "GatewayFactory", "run_executor"]

_MS: Final = 1_000_000
_IDLE_S: Final = 0.02
_STEP_POLL_S: Final = 0.0002
_STOP_S: Final = 5.0
_ORPHAN_STOP_S: Final = 0.8
_RETRY_STUCK_NS: Final = 30 * 1_000_000_000


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
        self.gateways = gateways
        self._sleepers = sleepers
        self._breaker = breaker
        self._pricer = Pricer(segment, config, usable, ledger, process.clock)
        self._conflicts = Conflicts(config.executor.cooldown_ms * _MS)
        self._gates = Gates(segment, self._conflicts)
        self._funnel = ExecutorFunnel(segment)
        self._held = Held(segment)
        self._to_intent = Histogram(segment, Stage.OPPORTUNITY_TO_INTENT, Role.EXECUTOR)
        self._to_wire = Histogram(segment, Stage.OPPORTUNITY_TO_WIRE, Role.EXECUTOR)
        self._frame_to_wire = Histogram(segment, Stage.FRAME_TO_WIRE, Role.EXECUTOR)
        self._to_paper = Histogram(segment, Stage.OPPORTUNITY_TO_PAPER, Role.EXECUTOR)
        self._generation_at = segment.section("catalog").offset
        self.generation: Generation | None = None
        self._listings: dict[int, Listing] = {}
        self._reader = OpportunityReader(segment, process.line)
        self._tasks: set[asyncio.Task[None]] = set()
        self._minute: list[int] = []
        self._working: set[str] = set()  # attempts that a task works on
        self._failed: set[str] = set()  # attempts whose task failed once
        self._stuck: set[str] = set()  # attempts whose exposure was alerted
        self._next_retry_ns = 0
        self._errors = 0  # attempts in a row with an order refused or unknown
        self._runner = AttemptRunner(
            ledger,
            gateways,
            Policy(
                config.executor.complete_steps,
                config.executor.unwind_steps,
                parse_money_e6(config.limits.loss_budget_usd),
            ),
            self._clock,
            sleepers.sleep_until,
            self._markets_of,
            self.listing,
        )

    # -- catalog -----------------------------------------------------------------------------------------------------

    def listing(self, uid: int) -> Listing | None:
        """An instrument by uid; those of held lots stay known after they left the catalog."""
        return self._listings.get(uid)

    @property
    def listings(self) -> Mapping[int, Listing]:
        """Every instrument known by now, by uid."""
        return self._listings

    def load_generation(self) -> None:
        """Work with the current generation; attempts in flight go on with what they planned."""
        number = self._segment.region.load_u64(self._generation_at)
        if number and (self.generation is None or self.generation.number != number):
            self.generation = Generation(self._segment.directory, number)
            self._listings.update(self.generation.by_uid)
            self._line.acknowledge(number)

    def _markets_of(self, record: AttemptRecord) -> list[Market]:
        listed = self.generation.by_uid if self.generation else self._listings
        return self._pricer.markets(record, self._listings, listed)

    # -- recovery ----------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Before trading: what was in flight is asked of the venues, then the ledger is compared with them; legs that are
        unequal go on from there while their conflict groups stay closed.

        Raises:
            SafetyRefused: the ledger and a venue disagree.
        """
        pending = []
        for attempt in self.ledger.open_attempts():
            record = attempt.record
            self._conflicts.busy[record.attempt] = frozenset(int(uid, 16) for uid in record.plan["group"])
            await self._runner.look_up(record)
            pending.append(record)
        differences = await reconcile(self.ledger, self.gateways.values())
        if differences:
            self._differ(differences)
            raise SafetyRefused(f"the ledger does not agree with the venues: {differences[0].what}")
        for record in pending:
            self._spawn(self._settle(record), record)
        self._store_held()
        self._trip_if_due()  # a kill between a loss and its trip must not forget the trip

    def retry_stuck(self) -> None:
        """Exposure is not for ever: what was unknown may be known by now, and what had no market may have one."""
        now = self._clock.now_ns()
        if now < self._next_retry_ns:
            return
        self._next_retry_ns = now + _RETRY_STUCK_NS
        for attempt in self.ledger.open_attempts():
            if attempt.state == "stuck" and attempt.record.attempt not in self._working:
                self._spawn(self._settle(attempt.record), attempt.record)

    async def _settle(self, record: AttemptRecord) -> None:
        self._ended(record, await self._runner.settle(record))
        self._store_held()

    def _differ(self, differences: Sequence[Difference]) -> None:
        for difference in differences:
            self._process.alerts.alert(ErrorCode.LEDGER, f"{difference.venue}: {difference.what}")

    def _store_held(self) -> None:
        try:
            self._held.store(self.ledger.held_uids())
        except ValueError as error:
            # they stay listed as they are; what must not happen is that an attempt is lost over it
            self._process.alerts.alert(ErrorCode.CATALOG, f"{error}: raise [segment] slots")

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
        assert self.generation is not None
        plan = self._pricer.plan(opportunity, cover, self.generation, now)
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
        refused = self.ledger.begin(record, intents, lambda usage: self._pricer.check(usage, plan))
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
        self._spawn(self._attempt(record, cover, opportunity, intents, concurrent), record)

    def _spawn(self, work: Coroutine[None, None, None], record: AttemptRecord) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        self._working.add(record.attempt)
        self._line.set(Counter.IN_FLIGHT, len(self._tasks))
        task.add_done_callback(lambda done: self._done(done, record))

    def _uid(self, claim: int) -> int:
        assert self.generation is not None
        return self.generation.by_slot[slot_of(claim)].uid

    def _done(self, task: asyncio.Task[None], record: AttemptRecord) -> None:
        self._tasks.discard(task)
        self._working.discard(record.attempt)
        self._line.set(Counter.IN_FLIGHT, len(self._tasks))
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self._process.alerts.alert(ErrorCode.LEDGER, f"an attempt failed: {type(error).__name__}: {error}")
        self._breaker.trip(f"an attempt failed: {type(error).__name__}")
        if record.attempt not in self._failed:
            # once more from what the ledger says; a second failure leaves it open, its group busy, for the next start
            self._failed.add(record.attempt)
            self._spawn(self._settle(record), record)

    def _refuse(self, opportunity: Opportunity, refusal: Refusal, now: int) -> None:
        self._line.add(Counter.EXPIRED if refusal.reason is Reason.EXPIRED else Counter.REFUSED)
        if self.generation is not None and refusal.reason is not Reason.GENERATION:
            self._funnel.refused(opportunity.cover, opportunity.cover_id, refusal, now)
        elif refusal.reason is Reason.GENERATION:
            self._line.add(Counter.UNKNOWN_GENERATION)

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
        sent = self._runner.sent_ns.pop(record.attempt, 0)
        if sent:
            self._to_wire.record(sent - opportunity.push_ns)
            self._frame_to_wire.record(sent - opportunity.recv_ns)
        else:
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
        if stuck and record.attempt not in self._stuck:
            self._process.alerts.alert(
                ErrorCode.EXPOSURE,
                f"attempt {record.attempt} on {record.cover} leaves {closing.exposure_e6 / 1e6} contracts unhedged; "
                "its conflict group stops until they are resolved, which is tried again every half minute",
            )
        if record.attempt not in self._stuck:  # trying a stuck one again is no attempt, and its errors were counted
            self._minute.append(wall_ns())
            refused = any(
                state in (OutcomeState.REJECTED, OutcomeState.UNKNOWN)
                for _, state in self.ledger.intents(record.attempt)
            )
            self._errors = self._errors + 1 if refused else 0
        (self._stuck.add if stuck else self._stuck.discard)(record.attempt)
        self._trip_if_due()

    def _trip_if_due(self) -> None:
        """The breaker's causes (design 10)."""
        config = self._process.spec.config.breaker
        now = wall_ns()
        self._minute = [when for when in self._minute if now - when < 60 * 1_000_000_000]
        lost = -self.ledger.realised_since(day_start_ns(zone=config.day_zone))
        unresolved = sum(attempt.state == "stuck" for attempt in self.ledger.open_attempts())
        self._line.set(Counter.UNRESOLVED, unresolved)
        causes = (
            (
                lost > parse_money_e6(config.max_daily_loss_usd),
                f"lost ${format_usd(lost)} today, allowed are ${config.max_daily_loss_usd}",
            ),
            (unresolved > config.max_unresolved, f"{unresolved} attempts are unresolved"),
            (self._errors > config.max_consecutive_errors, f"{self._errors} attempts in a row had an order refused"),
            (len(self._minute) > config.max_attempts_per_minute, f"{len(self._minute)} attempts in a minute"),
        )
        for due, cause in causes:
            if due and not self._breaker.tripped:
                self._breaker.trip(cause)
                self._process.alerts.alert(ErrorCode.BREAKER, f"breaker tripped: {self._breaker.last}")

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
            self.retry_stuck()
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
        # told to stop we finish what is in flight; without a supervisor the next start does
        deadline = time.monotonic() + (_ORPHAN_STOP_S if self._process.orphaned() else _STOP_S)
        while self._tasks and time.monotonic() < deadline:
            await asyncio.wait(self._tasks, timeout=0.05)
            line.beat()
        # what is still at work must not send another order once the ledger is compared with the venues; its intents are
        # stored, and the next start goes on from them
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=0.5)

    async def _settle_down(self) -> None:
        """Say truthfully whether we are busy: idle, asleep until a time, or at work."""
        for _ in range(3):
            await asyncio.sleep(0)  # whoever is ready runs first
        if not self._tasks:
            self._line.waiting(IDLE_FOR_EVER if self._reader.tail == self._reader.head else 0)
        else:
            self._line.waiting(self._sleepers.first_ns or 0)


async def _beat(process: Process) -> None:
    """While the work loop does not run yet: opening gateways and looking orders up may take longer than a hang may."""
    while True:
        process.line.beat()
        await asyncio.sleep(0.1)


async def _run(process: Process, executor: Executor) -> None:
    beating = asyncio.get_running_loop().create_task(_beat(process))
    for gateway in executor.gateways.values():
        await gateway.open()
    try:
        await _work(process, executor, beating)
    finally:
        beating.cancel()
        for gateway in executor.gateways.values():
            await gateway.close()


async def _work(process: Process, executor: Executor, beating: asyncio.Task[None]) -> None:
    executor.load_generation()
    while executor.generation is None and not process.should_stop():
        await asyncio.sleep(0.005)
        process.line.beat()
        executor.load_generation()
    if executor.generation is None:
        return
    if executor.ledger.store.empty:
        executor.ledger.open_account({venue: await each.cash_e6() for venue, each in executor.gateways.items()})
    await executor.recover()
    beating.cancel()  # from here on a beat is a completed turn of the work loop
    await executor.loop(Doorbell(process.segment.directory))
    differences = await reconcile(executor.ledger, executor.gateways.values())
    executor.ledger.note("reconciled", "", {"differences": [d.what for d in differences]})


class GatewayFactory(Protocol):
    """Builds the gateways of a run."""

    def __call__(
        self,
        process: Process,
        usable: UsableRule,
        sleep_until: Callable[[int], Awaitable[None]],
        listings: Callable[[], Mapping[int, Listing]],
    ) -> dict[Venue, Gateway]:
        """``sleep_until`` sleeps on the age clock; ``listings`` are the instruments known by now, by uid."""
        ...


def run_executor(process: Process, make_gateways: GatewayFactory) -> None:
    """Execute until told to stop. The executor's own lock lies beside the ledger and names the account."""
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
        breaker = Breaker(
            process.segment, Path(spec.state) / f"breaker-{spec.mode_name.lower()}.json", ledger_empty=store.empty
        )
        sleepers = Sleepers(process)
        ledger = Ledger(store)
        holder: list[Executor] = []
        gateways = make_gateways(process, usable, sleepers.sleep_until, lambda: holder[0].listings if holder else {})
        executor = Executor(process, ledger, gateways, usable, sleepers, breaker)
        holder.append(executor)
        uvloop.run(_run(process, executor))
    finally:
        store.close()
        lock.release()
