"""One executor in this process, from the ring to the ledger, on a plane whose feeds the test plays."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from execution_bench import Plane, across, configured, pair_plane, run

from arbpipe.config import LimitsConfig
from arbpipe.errors import SafetyRefused
from arbpipe.executor.attempt import intents_of
from arbpipe.executor.plan import Plan, Refusal
from arbpipe.executor.process import Executor, Sleepers, run_executor
from arbpipe.identity import Venue
from arbpipe.ledger.book import AttemptRecord, Closing, Ledger
from arbpipe.ledger.reconcile import reconcile
from arbpipe.ledger.store import LedgerStore
from arbpipe.process import Process, RunSpec
from arbpipe.risk.breaker import Breaker
from arbpipe.shm.layout import Role
from arbpipe.shm.opportunity import Opportunity
from arbpipe.shm.row import Reason
from arbpipe.shm.segment import Mode
from arbpipe.shm.stats import Counter
from arbpipe.shm.tables import Held
from arbpipe.shm.usable import Freshness, UsableRule
from arbpipe.venues.base import Position
from arbpipe.venues.paper.account import PaperAccount
from arbpipe.venues.paper.build import paper_gateways


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A process takes over the signals; the tests get theirs back."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.fixture(autouse=True)
def _accounts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes every paper account that a test opened."""
    opened: list[PaperAccount] = []
    make = PaperAccount.__init__

    def watched(self: PaperAccount, *args: Any) -> None:
        make(self, *args)
        opened.append(self)

    monkeypatch.setattr(PaperAccount, "__init__", watched)
    yield
    for each in opened:
        each.close()


class Bench:
    """An executor and everything it stands on."""

    def __init__(self, plane: Plane, state: Path, **config: Any) -> None:
        self.plane = plane
        self.state = state
        self.spec = RunSpec(str(plane.directory), "main", Mode.PAPER, str(state), "", configured(**config))
        self.process = Process(Role.EXECUTOR, self.spec)
        usable = UsableRule(self.process.segment, Freshness(600_000_000_000, 1_000, 600_000_000_000))
        self.store = LedgerStore(self.spec.ledger_path(), "PAPER")
        breaker = Breaker(self.process.segment, state / "breaker.json", ledger_empty=self.store.empty)
        sleepers = Sleepers(self.process)
        self.ledger = Ledger(self.store)
        self.gateways = paper_gateways(self.process, usable, sleepers.sleep_until, lambda: self.executor.listings)
        if self.store.empty:
            self.ledger.open_account({venue: run(each.cash_e6()) for venue, each in self.gateways.items()})
        self.breaker = breaker
        self.executor = Executor(self.process, self.ledger, self.gateways, usable, sleepers, breaker)
        self.executor.load_generation()

    def take(self, *opportunities: Opportunity) -> None:
        """Push these, let the executor take them, and wait for its attempts."""

        async def work() -> None:
            for each in opportunities:
                self.plane.ring.push(each)
            self.executor.take_all()
            while tasks := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
                await asyncio.wait(tasks)

        run(work())

    def recover(self) -> None:
        async def work() -> None:
            await self.executor.recover()
            while tasks := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
                await asyncio.wait(tasks)

        run(work())

    def stats(self, cover: int) -> dict[str, Any]:
        return self.plane.segment.fields("cover_stats", cover)

    def get(self, counter: Counter) -> int:
        return self.process.line.get(counter)

    def differences(self) -> list[Any]:
        return run(reconcile(self.ledger, self.gateways.values()))

    def close(self) -> None:
        self.store.close()
        self.process.close()


@contextmanager
def bench(plane: Plane, state: Path, **config: Any) -> Iterator[Bench]:
    made = Bench(plane, state, **config)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def plane() -> Iterator[Plane]:
    with pair_plane() as made:
        yield made


def begun(made: Bench) -> AttemptRecord:
    """An attempt whose intents are stored and whose orders were never sent: the process died in between."""
    each = across(made.plane)
    cover = made.plane.generation.covers[each.cover]
    plan = made.executor._pricer.plan(each, cover, made.plane.generation, made.process.clock.now_ns())
    assert isinstance(plan, Plan)
    group = [f"{uid:016x}" for uid in sorted(made.plane.generation.group_uids(cover.group))]
    claims = [
        [[f"{made.plane.generation.by_slot[claim >> 1].uid:016x}", claim & 1] for claim in claims]
        for claims in cover.propositions
    ]
    record = AttemptRecord(
        "c" * 32, cover.cover_id, cover.name, cover.event, 1, plan.size_e2, plan.floor_e6, False,
        {"propositions": 2, "group": group, "claims": claims},
    )  # fmt: skip
    assert made.ledger.begin(record, intents_of(record.attempt, plan), lambda usage: None) is None
    return record


def test_an_opportunity_becomes_balanced_sets_that_the_venue_confirms(plane: Plane, tmp_path: Path) -> None:
    each = across(plane)
    with bench(plane, tmp_path) as made:
        made.take(each)
        totals = made.ledger.totals()
        assert (totals["attempts"], totals["balanced"], totals["open"]) == (1, 1, 0)
        # 10 sets: a dollar each, less 40 and 50 cents, less both venues' fees
        fees = 168_000 + 125_000
        assert totals["locked_e6"] == 10_000_000 - 9_000_000 - fees
        uids = {leg.uid for leg in each.legs}
        assert made.ledger.held_uids() == uids == Held(plane.segment).load()
        kalshi, poly = (made.ledger.positions(venue) for venue in Venue)
        assert kalshi == (Position(each.legs[0].uid, 10_000_000, 0),)
        assert poly == (Position(each.legs[1].uid, 0, 10_000_000),)
        assert made.differences() == []
        stats = made.stats(each.cover)
        assert (stats["x_attempts"], stats["x_filled"], stats["x_refused"]) == (1, 1, 0)
        assert made.ledger.usage().cash == made.ledger.cash()


def test_an_opportunity_pushed_again_is_taken_once(plane: Plane, tmp_path: Path) -> None:
    each = across(plane)
    with bench(plane, tmp_path) as made:
        made.take(each, each)
        made.take(each)
        assert made.ledger.totals()["attempts"] == 1
        assert made.get(Counter.REFUSED) == 2
        assert made.stats(each.cover)["x_gate"] == Reason.TAKEN


def test_an_expired_opportunity_is_refused_and_counted(plane: Plane, tmp_path: Path) -> None:
    each = across(plane, expires_ns=-1)
    with bench(plane, tmp_path) as made:
        made.take(each)
        stats = made.stats(each.cover)
        assert (stats["x_gate"], stats["x_refused"], stats["x_attempts"]) == (Reason.EXPIRED, 1, 0)
        assert (made.get(Counter.EXPIRED), made.get(Counter.REFUSED)) == (1, 0)
        assert made.ledger.totals()["attempts"] == 0


def test_an_unverified_row_is_never_bought(plane: Plane, tmp_path: Path) -> None:
    plane.quote("kalshi:A", [(3_900, 50_000)], [(6_200, 50_000)], verified=False)
    each = across(plane)
    with bench(plane, tmp_path) as made:
        made.take(each)
        stats = made.stats(each.cover)
        assert (stats["x_gate"], stats["x_refused"]) == (Reason.UNVERIFIED, 1)


def test_a_limit_shrinks_what_fits_and_refuses_what_does_not(plane: Plane, tmp_path: Path) -> None:
    each = across(plane)
    with bench(plane, tmp_path / "a", limits={"max_event_usd": "6"}) as made:
        made.take(each)
        assert made.ledger.totals()["balanced"] == 1
        size = made.store.db.execute("SELECT size_e2 FROM attempts").fetchone()[0]
        assert size == 600
        assert made.ledger.usage().total <= 6_000_000
    plane.quote("kalshi:A", [(4_000, 49_000)], [(6_200, 50_000)])
    with bench(plane, tmp_path / "b", limits={"max_event_usd": "0.5"}) as made:
        made.take(across(plane))
        stats = made.stats(each.cover)
        assert (stats["x_gate"], stats["x_threshold"], stats["x_refused"]) == (Reason.LIMIT_EVENT, 500_000, 1)
        assert made.ledger.totals()["attempts"] == 0


TIGHT = {
    "max_event_usd": "1",
    "max_venue_usd": "1",
    "max_total_usd": "1",
    "max_unhedged_usd": "1",
    "max_tail_event_usd": "1",
    "max_tail_total_usd": "1",
    "loss_budget_usd": "0.01",
}


@pytest.mark.parametrize("field", LimitsConfig.__struct_fields__)
def test_f60_every_limit_of_the_configuration_changes_what_is_done(tmp_path: Path, field: str) -> None:
    wide = dict.fromkeys(LimitsConfig.__struct_fields__, "100000")

    def planned(limits: dict[str, str]) -> int:
        """The size that is planned under these limits; 0 when it is refused."""
        with (
            pair_plane("accepted") as plane,
            bench(plane, tmp_path / str(len(list(tmp_path.iterdir()))), limits=limits) as made,
        ):
            each = across(plane)
            cover = plane.generation.covers[each.cover]
            plan = made.executor._pricer.plan(each, cover, plane.generation, made.process.clock.now_ns())
            return 0 if isinstance(plan, Refusal) else plan.size_e2

    assert planned(wide) == 1_000
    assert planned({**wide, field: TIGHT[field]}) < 1_000
    unread = wide  # the mistake: the value is loaded and shown, and the arithmetic never sees it
    assert planned(unread) == 1_000


def test_a_start_settles_what_was_in_flight_and_goes_on(plane: Plane, tmp_path: Path) -> None:
    with bench(plane, tmp_path) as made:
        record = begun(made)
        intent = made.ledger.intents(record.attempt)[0][0]
        run(made.gateways[Venue.KALSHI].place(intent.order))  # it reached the venue; nobody wrote down what came of it
    with bench(plane, tmp_path) as made:
        made.recover()
        totals = made.ledger.totals()
        assert (totals["attempts"], totals["balanced"], totals["open"]) == (1, 1, 0)
        assert made.differences() == []
        assert made.ledger.intents(record.attempt)[0][0].order.client_id == intent.order.client_id


def test_an_open_attempts_group_is_closed_to_others_while_it_is_settled(plane: Plane, tmp_path: Path) -> None:
    with bench(plane, tmp_path) as made:
        begun(made)
    with bench(plane, tmp_path) as made:

        async def work() -> None:
            await made.executor.recover()
            plane.ring.push(across(plane))
            made.executor.take_all()
            assert made.stats(across(plane).cover)["x_gate"] == Reason.BUSY
            while tasks := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
                await asyncio.wait(tasks)

        run(work())
        assert made.ledger.totals()["none"] == 1


def test_a_stuck_attempt_counts_once_however_often_it_is_found(plane: Plane, tmp_path: Path) -> None:
    with bench(plane, tmp_path) as made:
        record = begun(made)
        for intent, _ in made.ledger.intents(record.attempt):
            made.ledger.outcome(record.attempt, intent, run(made.gateways[intent.order.venue].lookup(intent.order)))
        made.ledger.close(record.attempt, Closing("exposure", 0, 0, 0, 0, 1))
    for _ in range(5):
        with bench(plane, tmp_path) as made:
            made.recover()
            assert made.get(Counter.UNRESOLVED) == 1
            made.take(across(plane))
            assert made.stats(across(plane).cover)["x_gate"] == Reason.BUSY
            assert not made.breaker.tripped


def test_a_ledger_that_disagrees_with_the_venue_does_not_trade(plane: Plane, tmp_path: Path) -> None:
    with bench(plane, tmp_path) as made:
        made.ledger._db.execute("UPDATE cash SET e6 = e6 + 1 WHERE venue = 1")
        with pytest.raises(SafetyRefused, match=r"the ledger does not agree with the venues: cash: the ledger has \$"):
            run(made.executor.recover())
        assert "LEDGER kalshi: cash" in (tmp_path / "alerts.log").read_text()


def test_f62_an_unwinds_loss_trips_the_breaker(plane: Plane, tmp_path: Path) -> None:
    with bench(plane, tmp_path, breaker={"max_daily_loss_usd": "1"}) as made:
        for number, loss in enumerate((1_000_000, 1)):
            record = begun(made) if not number else None
            if record is None:
                made.ledger._db.execute("UPDATE attempts SET realised_e6 = realised_e6 - 1")
            else:
                made.ledger.close(record.attempt, Closing("unwound", 0, 0, -loss, 0, 0))
            made.executor._trip_if_due()
            assert made.breaker.tripped == bool(number)
        assert made.breaker.last == "lost $1.000001 today, allowed are $1"


def test_f51_overwritten_opportunities_are_counted(plane: Plane, tmp_path: Path) -> None:
    each = across(plane, expires_ns=-1)
    with bench(plane, tmp_path) as made:
        made.take(*[each] * 40)
        seen = made.get(Counter.EXPIRED)
        assert seen + made.get(Counter.OVERRUNS) == 40
        assert made.get(Counter.OVERRUNS) >= 24


def test_the_whole_process_takes_reconciles_and_ends_in_order(plane: Plane, tmp_path: Path) -> None:
    spec = RunSpec(str(plane.directory), "main", Mode.PAPER, str(tmp_path), "", configured())
    process = Process(Role.EXECUTOR, spec)
    trouble: list[str] = []

    def play() -> None:
        deadline = time.monotonic() + 10
        while process.segment.fields("processes", Role.EXECUTOR)["state"] != 1 and time.monotonic() < deadline:
            time.sleep(0.002)
        plane.ring.push(across(plane))
        while not plane.segment.fields("cover_stats", across(plane).cover)["x_filled"]:
            if time.monotonic() > deadline:
                trouble.append("nothing was filled")
                break
            time.sleep(0.002)
        process._stop()

    player = threading.Thread(target=play)
    player.start()
    run_executor(process, paper_gateways)
    player.join()
    process.close()
    assert trouble == []
    store = LedgerStore(spec.ledger_path(), "PAPER", readonly=True)
    kinds = [row[0] for row in store.db.execute("SELECT kind FROM events ORDER BY seq")]
    assert kinds == ["opened", "attempt", "outcome", "outcome", "closed", "reconciled"]
    assert store.db.execute("SELECT body FROM events WHERE kind = 'reconciled'").fetchone() == (b'{"differences":[]}',)
    store.close()
