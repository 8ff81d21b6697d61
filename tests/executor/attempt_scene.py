"""One attempt's stage: a ledger file, two scripted venues and a clock that only sleeping moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from execution_bench import (
    CASH,
    FREE,
    Book,
    Crash,
    CrashingStore,
    FakeGateway,
    Script,
    StepClock,
    everything,
    listing,
    record_of,
    run,
)

from arbpipe.executor.aftermath import Market
from arbpipe.executor.attempt import AttemptRunner, Policy, intents_of
from arbpipe.executor.plan import Plan, PlanLeg
from arbpipe.identity import Side, Venue
from arbpipe.ledger.book import AttemptRecord, Closing, IntentRecord, Ledger
from arbpipe.ledger.reconcile import reconcile
from arbpipe.ledger.store import LedgerStore
from arbpipe.shm.generation import CoverEntry, Listing
from arbpipe.venues.base import Order

KALSHI, POLY = listing("K"), listing("P", Venue.POLYMARKET, least=500)
LISTED = {KALSHI.uid: KALSHI, POLY.uid: POLY}
A = "a" * 32
#: YES on Kalshi at 40 cents and NO on Polymarket at 55, ten of each
LEGS = ((KALSHI, Side.YES, 4_000), (POLY, Side.NO, 5_500))
#: completing costs a cent more than planned, unwinding loses two
MARKETS = (
    Market(0, KALSHI, Side.YES, ((4_100, 90_000),), ((3_800, 90_000),), FREE),
    Market(1, POLY, Side.NO, ((5_600, 90_000),), ((5_300, 90_000),), FREE),
)
DEAR = tuple(Market(each.proposition, each.listing, each.side, ((9_900, 90_000),), each.bids, FREE) for each in MARKETS)


def intents(attempt: str = A, size: int = 1_000) -> tuple[IntentRecord, ...]:
    legs = tuple(
        PlanLeg(0, number, each, side, size, price, price * size, price * size, 9_000, 0)
        for number, (each, side, price) in enumerate(LEGS)
    )
    cover = CoverEntry(0, 7, "cover", "pair", "e", 1, 0, False, 0, ((), ()), (0, 1), ())
    return intents_of(attempt, Plan(cover, size, legs, 0, 0, 0, 0))


class Scene:
    """A ledger file, a venue, and runners that come and go."""

    def __init__(
        self,
        path: Path,
        script: Script | Mapping[Venue, Script] = everything,
        markets: Sequence[Market] = MARKETS,
        *,
        crash: Crash | None = None,
        steps: int = 3,
        cash: Mapping[Venue, int] = CASH,
        **manners: Any,
    ) -> None:
        self.path = path
        self.book = Book(dict(cash))
        self.clock = StepClock()
        self.markets = markets
        self.crash = crash or Crash()
        self.steps = steps
        scripts = script if isinstance(script, Mapping) else dict.fromkeys(Venue, script)
        self.gateways = {
            venue: FakeGateway(venue, self.book, scripts[venue], crash=self.crash, clock=self.clock, **manners)
            for venue in Venue
        }
        store = LedgerStore(path, "PAPER")
        Ledger(store).open_account(dict(cash))
        store.close()
        self.ledger = self.reopen()

    def reopen(self) -> Ledger:
        """What a new process does."""
        self.ledger = Ledger(CrashingStore(self.path, self.crash))
        return self.ledger

    def runner(self) -> AttemptRunner:
        return AttemptRunner(
            self.ledger,
            self.gateways,
            Policy(self.steps, self.steps, 5_000_000),
            self.clock,
            self.clock.sleep_until,
            lambda record: self.markets,
            self.listing,
        )

    def listing(self, uid: int) -> Listing | None:
        return LISTED.get(uid)

    def attempt(self, *, concurrent: bool = True, record: AttemptRecord | None = None) -> Closing:
        """Begin and run one attempt."""
        wanted = intents()
        assert self.ledger.begin(record or record_of(), wanted, lambda usage: None) is None
        return run(self.runner().run(record or record_of(), wanted, concurrent=concurrent))

    def recover(self) -> list[Closing]:
        """What the next process does with what is open."""
        return [run(self.runner().settle(each.record)) for each in self.ledger.open_attempts() if each.state == "open"]

    def agree(self) -> None:
        """The ledger equals the venue's books, and no order was executed twice."""
        assert run(reconcile(self.ledger, self.gateways.values())) == []
        assert all(len(outcomes) == 1 for outcomes in self.book.executed.values())
        assert len({order.client_id for order in self.book.orders}) == len(self.book.orders)
        self.ledger.store.verify()

    @property
    def sent(self) -> list[Order]:
        return self.book.orders

    def held(self) -> dict[str, int]:
        """Contracts (e6) by native id."""
        names = {each.uid: each.native_id for each in LISTED.values()}
        return {names[uid]: qty for (_, uid, _), qty in self.book.positions.items() if qty}


def first_step(script: Script, later: Script = everything) -> Script:
    """One script for the first orders, another for completing and unwinding."""
    return lambda order: (script if order.client_id.endswith("-0") else later)(order)


def partly(size: int) -> Script:
    return lambda order: [(order.price_e4, min(size, order.size_e2))] if size else []
