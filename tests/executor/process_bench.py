"""One executor in this process, over the plane's segment, a ledger file and the paper venue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from execution_bench import Plane, across, configured, run

from arbpipe.executor.attempt import intents_of
from arbpipe.executor.plan import Plan
from arbpipe.executor.process import Executor, Sleepers
from arbpipe.identity import Venue
from arbpipe.ledger.book import AttemptRecord, Ledger
from arbpipe.ledger.reconcile import reconcile
from arbpipe.ledger.store import LedgerStore
from arbpipe.process import Process, RunSpec
from arbpipe.risk.breaker import Breaker
from arbpipe.shm.layout import Role
from arbpipe.shm.opportunity import Opportunity
from arbpipe.shm.segment import Mode
from arbpipe.shm.stats import Counter
from arbpipe.shm.usable import Freshness, UsableRule
from arbpipe.venues.base import Order, Outcome, OutcomeState
from arbpipe.venues.paper.build import paper_gateways


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
            await finished()

        run(work())

    def recover(self) -> None:
        """Start, and wait for what was in flight."""

        async def work() -> None:
            await self.executor.recover()
            await finished()

        run(work())

    def retry(self) -> None:
        """One turn's look at what is stuck, and wait for it."""

        async def work() -> None:
            self.executor.retry_stuck()
            await finished()

        run(work())

    def blind(self) -> None:
        """From now on no venue knows what became of an order."""

        async def nothing(order: Order) -> Outcome:
            return Outcome(OutcomeState.UNKNOWN, (), "no evidence")

        for gateway in self.gateways.values():
            vars(gateway)["lookup"] = nothing

    def see(self) -> None:
        """The venues know again."""
        for gateway in self.gateways.values():
            del vars(gateway)["lookup"]

    def placing(self, venue: Venue, place: Callable[[Order], Awaitable[Outcome]]) -> None:
        """Put this in front of a venue's orders."""
        vars(self.gateways[venue])["place"] = place

    @property
    def alerts(self) -> str:
        """What a person was told."""
        path = self.state / "alerts.log"
        return path.read_text() if path.exists() else ""

    def stats(self, cover: int) -> dict[str, Any]:
        return self.plane.segment.fields("cover_stats", cover)

    def get(self, counter: Counter) -> int:
        return self.process.line.get(counter)

    def differences(self) -> list[Any]:
        return run(reconcile(self.ledger, self.gateways.values()))

    def close(self) -> None:
        self.store.close()
        self.process.close()


async def finished() -> None:
    """Wait until nothing but the caller runs."""
    while tasks := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
        await asyncio.wait(tasks)


def requote(plane: Plane) -> None:
    """The prices of the first rows again, as rows of their own."""
    plane.quote("kalshi:A", [(4_000, 50_000)], [(6_200, 50_000)])
    plane.quote("polymarket:0x01", [(5_200, 50_000)], [(5_000, 50_000)])


@contextmanager
def bench(plane: Plane, state: Path, **config: Any) -> Iterator[Bench]:
    made = Bench(plane, state, **config)
    try:
        yield made
    finally:
        made.close()


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
