"""What the tests of executor, ledger, risk and paper venue share: listings, a scripted venue, a plane with both feeds."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from arbpipe.catalog.pairs import parse_pairs
from arbpipe.catalog.publish import flatten
from arbpipe.clock import boottime_ns
from arbpipe.config import Config
from arbpipe.feemodel import FeeTerms, cost_e6, fee_e6, proceeds_e6
from arbpipe.identity import Side, Venue, claim_id, instrument_uid
from arbpipe.ledger.book import AttemptRecord, Ledger
from arbpipe.ledger.store import LedgerStore
from arbpipe.shm.generation import Generation, Listing, encode_generation, write_generation
from arbpipe.shm.layout import Counts
from arbpipe.shm.opportunity import Doorbell, Leg, Opportunity, OpportunityWriter
from arbpipe.shm.row import Levels, RowReader, RowWriter
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import ProcessLine
from arbpipe.shm.tables import FEED_ROLES, Connections, ConnectionState, ranges_of, write_ranges
from arbpipe.venues.base import Action, Fill, Order, Outcome, OutcomeState, Position

T = TypeVar("T")

FREE = FeeTerms(0, 1, 1, 1)
KALSHI_FEE = FeeTerms(70_000, 1, 1, 100)
POLYMARKET_FEE = FeeTerms(50_000, 1, 10, 1)
COUNTS = Counts(slots=256, connections=8, log_capacity=64, ring_capacity=16, covers=16, relations=16, held=16)
CASH = {Venue.KALSHI: 1_000_000_000, Venue.POLYMARKET: 1_000_000_000}


def listing(name: str, venue: Venue = Venue.KALSHI, *, fee: FeeTerms | None = FREE, least: int = 1) -> Listing:
    """An instrument without a plane; its slot is 0."""
    uid = instrument_uid(venue.label, name)
    return Listing(
        0, uid, 0, venue, name, "", "Yes", "No", "", "", "", False, f"{least / 100:g}", True, "", 100, least, fee, 0
    )


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(work)


class StepClock:
    """An age clock that only sleeping moves."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000

    def now_ns(self) -> int:
        return self.ns

    async def sleep_until(self, when_ns: int) -> None:
        self.ns = max(self.ns, when_ns)
        await asyncio.sleep(0)


# --- a venue that does what its script says ---------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here, like SIGKILL: nothing that runs afterwards may write."""


@dataclass
class Crash:
    """Kills at the ``at``-th point that is passed; after that, at every point."""

    at: int = -1
    passed: int = 0

    def point(self) -> None:
        """A place where the process can die."""
        dead = 0 <= self.at <= self.passed
        self.passed += 1
        if dead:
            raise Killed


class CrashingStore(LedgerStore):
    """Dies before or after a transaction."""

    def __init__(self, path: Path, crash: Crash) -> None:
        super().__init__(path, "PAPER")
        self._crash = crash

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        self._crash.point()
        with super().transaction() as db:
            yield db
        self._crash.point()


@dataclass
class Book:
    """The venue's side: what it executed, by client id, and what that did to the account."""

    cash: dict[Venue, int] = field(default_factory=lambda: dict(CASH))
    positions: dict[tuple[Venue, int, Side], int] = field(default_factory=dict)
    executed: dict[str, list[Outcome]] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)

    def execute(self, order: Order, fills: Sequence[tuple[int, int]], fee: FeeTerms, *, final: bool = True) -> Outcome:
        """Fill an order; idempotent by client id."""
        if order.client_id in self.executed:
            return self.executed[order.client_id][0]
        buys = order.action is Action.BUY
        booked, total = [], 0
        for number, (price, size) in enumerate(fills):
            part = fills[: number + 1]
            cash = -cost_e6(fee, part) if buys else proceeds_e6(fee, part)
            charge = fee_e6(fee, price, size)
            booked.append(Fill(f"{order.client_id}/{number}", size * 10_000, price, charge, cash - total, final=final))
            total = cash
        key = (order.venue, order.uid, order.side)
        done = sum(size for _, size in fills)
        self.positions[key] = self.positions.get(key, 0) + (done if buys else -done) * 10_000
        assert self.positions[key] >= 0, "the venue sold what was not held"
        self.cash[order.venue] += total
        full = done == order.size_e2
        state = OutcomeState.FILLED if full else OutcomeState.PARTIAL if done else OutcomeState.NONE
        outcome = Outcome(state, tuple(booked))
        self.executed.setdefault(order.client_id, []).append(outcome)
        self.orders.append(order)
        return outcome

    def confirm(self, order: Order) -> None:
        """What the order filled is final from now on."""
        outcome = self.executed[order.client_id][0]
        fills = tuple(replace(fill, final=True) for fill in outcome.fills)
        self.executed[order.client_id][0] = replace(outcome, fills=fills)

    def revert(self, order: Order) -> None:
        """Every trade of the order failed on chain: nothing moved, and the venue says so."""
        outcome = self.executed[order.client_id][0]
        assert not any(fill.final for fill in outcome.fills), "a final fill cannot be reverted"
        self.positions[order.venue, order.uid, order.side] -= (
            outcome.qty_e6 if order.action is Action.BUY else -outcome.qty_e6
        )
        self.cash[order.venue] -= sum(fill.cash_e6 for fill in outcome.fills)
        gone = tuple(fill.fill_id for fill in outcome.fills)
        self.executed[order.client_id][0] = Outcome(OutcomeState.NONE, (), "failed on chain", gone)


#: What the venue does with an order: its fills, or ``None`` to reject it.
Script = Callable[[Order], Sequence[tuple[int, int]] | None]


@dataclass
class FakeGateway:
    """A venue by script. ``answers`` False: the order is executed and the answer lost. ``blind``: lookups know nothing.

    ``final`` False: what the order fills is matched and not final. ``asked``: called before a lookup is answered.
    """

    venue: Venue
    book: Book
    script: Script
    fee: FeeTerms = FREE
    answers: Callable[[Order], bool] = lambda order: True
    blind: bool = False
    turns: Callable[[Order], int] = lambda order: 0
    final: Callable[[Order], bool] = lambda order: True
    asked: Callable[[Order], None] = lambda order: None
    clock: StepClock = field(default_factory=StepClock)
    crash: Crash = field(default_factory=Crash)
    sent: list[Order] = field(default_factory=list)

    @property
    def sent_ns(self) -> int:
        """Nothing is ever written."""
        return 0

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def place(self, order: Order) -> Outcome:
        self.crash.point()
        for _ in range(self.turns(order)):
            await asyncio.sleep(0)
        self.sent.append(order)
        fills = self.script(order)
        if fills is None:
            outcome = Outcome(OutcomeState.REJECTED, (), "refused by script")
            self.book.executed.setdefault(order.client_id, [outcome])
        else:
            outcome = self.book.execute(order, fills, self.fee, final=self.final(order))
        self.crash.point()
        return outcome if self.answers(order) else Outcome(OutcomeState.UNKNOWN, (), "time-out")

    async def lookup(self, order: Order) -> Outcome:
        self.crash.point()
        self.asked(order)
        if self.blind:
            return Outcome(OutcomeState.UNKNOWN, (), "still no evidence")
        known = self.book.executed.get(order.client_id)
        return known[0] if known else Outcome(OutcomeState.NONE, (), "never arrived")

    async def news(self, timeout_s: float, orders: Sequence[Order] = ()) -> None:
        """None ever comes; only time passes."""
        await self.clock.sleep_until(self.clock.now_ns() + int(timeout_s * 1_000_000_000))

    async def positions(self) -> tuple[Position, ...]:
        held: dict[int, list[int]] = {}
        for (venue, uid, side), qty in self.book.positions.items():
            if venue is self.venue and qty:
                held.setdefault(uid, [0, 0])[side] = qty
        return tuple(Position(uid, *sides) for uid, sides in held.items())

    async def cash_e6(self) -> int:
        return self.book.cash[self.venue]


def everything(order: Order) -> list[tuple[int, int]]:
    """A script: every order is filled whole at its limit."""
    return [(order.price_e4, order.size_e2)]


def open_ledger(path: Path, cash: dict[Venue, int] | None = None) -> Ledger:
    """A new ledger with an opened account, or the one that is there."""
    ledger = Ledger(LedgerStore(path, "PAPER"))
    if ledger.store.empty:
        ledger.open_account(dict(cash or CASH))
    return ledger


def record_of(
    attempt: str = "a" * 32, *, event: str = "e", k: int = 1, size: int = 1_000, tails: bool = False, legs: int = 2
) -> AttemptRecord:
    """An attempt's record without claims."""
    plan = {"propositions": legs, "group": [], "claims": [[] for _ in range(legs)]}
    return AttemptRecord(attempt, 7, "cover", event, k, size, k * size * 10_000, tails, plan)


# --- both feeds played by hand ----------------------------------------------------------------------------------------


class Plane:
    """A segment with one generation, both feeds LIVE, and rows that the test publishes."""

    def __init__(self, directory: Path, pairs: str) -> None:
        self.directory = directory
        self.segment = Segment.create(directory, COUNTS)
        write_ranges(self.segment)
        self.ranges = ranges_of(self.segment)
        self.catalog = parse_pairs(pairs, "pairs.toml")
        taken = {role: each.first_slot for role, each in self.ranges.items()}
        roles = {venue: role for role, venue in FEED_ROLES.items()}
        slots: dict[int, int] = {}
        for each in self.catalog.instruments:
            slots[each.uid] = taken[roles[each.venue]]
            taken[roles[each.venue]] += 1
        arrays, meta = flatten(self.catalog, slots, {each.id: at for at, each in enumerate(self.catalog.relations)})
        write_generation(directory, 1, *encode_generation(arrays, meta))
        self.segment.region.store_u64(self.segment.section("catalog").offset, 1)
        self.generation = Generation(directory, 1)
        self.connections = Connections(self.segment)
        self.rows = RowWriter(self.segment)
        self.reader = RowReader(self.segment)
        self.feeds = {venue: ProcessLine(self.segment, role) for venue, role in roles.items()}
        self.connection = {venue: self.ranges[role].first_connection for venue, role in roles.items()}
        for venue, line in self.feeds.items():
            line.begin()
            self.connections.next_epoch(self.connection[venue])
            self.connections.set_state(self.connection[venue], ConnectionState.LIVE)
            self.connections.confirm(self.connection[venue], boottime_ns())
        self.bell = Doorbell(directory)
        self.ring = OpportunityWriter(self.segment, self.bell)

    def listing(self, key: str) -> Listing:
        """``venue:native id``."""
        venue, _, native = key.partition(":")
        return self.generation.by_uid[instrument_uid(venue, native)]

    def quote(self, key: str, yes: Levels, no: Levels, *, verified: bool = True, epoch: int = 1) -> int:
        """Publish a row; return its version."""
        each = self.listing(key)
        version = self.rows.publish(
            each.slot,
            uid=each.uid,
            connection=self.connection[each.venue],
            epoch=epoch,
            venue_ms=1,
            recv_ns=1,
            publish_ns=1,
            flags=0,
            tick_e4=each.tick_e4,
            fee=each.fee,
            yes_asks=yes,
            no_asks=no,
        )
        if verified:
            self.rows.verify(each.slot, version)
        return version

    def opportunity(
        self, cover: int, legs: Sequence[tuple[int, str, Side, int, int]], *, expires_ns: int = 60_000_000_000
    ) -> Opportunity:
        """``legs``: (proposition, ``venue:id``, side, price_e4, size_e2); versions are those of the rows now."""
        made = []
        for proposition, key, side, price, size in legs:
            each = self.listing(key)
            cost = cost_e6(each.fee or FREE, [(price, size)])
            version = self.reader.version(each.slot)
            made.append(Leg(claim_id(each.slot, side), proposition, each.uid, version, price, size, cost))
        entry = self.generation.covers[cover]
        size = sum(leg.size_e2 for leg in made if leg.proposition == 0)
        edge = entry.k * size * 10_000 - sum(leg.cost_e6 for leg in made)
        expiry = boottime_ns() + expires_ns
        return Opportunity(0, 1, cover, entry.cover_id, size, edge, expiry, 1, 1, 1, 1, tuple(made))

    def close(self) -> None:
        self.bell.close()
        self.segment.detach()


@contextmanager
def plane(pairs: str) -> Iterator[Plane]:
    """A plane in a private directory under /dev/shm, which is gone afterwards whatever happened."""
    directory = Path(tempfile.mkdtemp(prefix="arbpipe-test-", dir="/dev/shm"))
    try:
        made = Plane(directory, pairs)
        try:
            yield made
        finally:
            made.close()
    finally:
        shutil.rmtree(directory)


def configured(**sections: dict[str, Any]) -> Config:
    """A configuration that never finds a quote old, an edge too large or a rest too short, with these values."""
    given: dict[str, dict[str, Any]] = {
        "freshness": {"max_confirm_age_ms": 600_000, "max_heartbeat_age_ms": 600_000},
        "paper": {"delay_ms": 1, "reject_permille": 0, "partial_permille": 0},
        "executor": {"cooldown_ms": 0},
        "detector": {"max_edge_usd": "0.5"},
    }
    for name, values in sections.items():
        given[name] = {**given.get(name, {}), **values}
    return msgspec.convert(given, Config)


def cover_number(made: Plane, wanted: Sequence[tuple[str, Side]]) -> int:
    """The cover whose propositions hold exactly one of these claims each, in order."""
    claims = [claim_id(made.listing(key).slot, side) for key, side in wanted]
    for cover in made.generation.covers:
        if len(cover.propositions) == len(claims) and all(
            claim in proposition for claim, proposition in zip(claims, cover.propositions, strict=True)
        ):
            return cover.number
    raise LookupError(f"no cover of {wanted} among {[cover.name for cover in made.generation.covers]}")


#: Two relations of one event: A is 0x01, and A implies B.
PAIRS = """schema = 1
[[instrument]]
venue = "kalshi"
id = "A"
tick = "0.01"
fee = { type = "quadratic", multiplier = "1" }
[[instrument]]
venue = "kalshi"
id = "B"
tick = "0.01"
fee = { type = "quadratic", multiplier = "1" }
[[instrument]]
venue = "polymarket"
id = "0x01"
version = "v1"
yes = { label = "Yes", token = "TOKEN_YES" }
no = { label = "No", token = "TOKEN_NO" }
tick = "0.001"
min_size = "5"
neg_risk = false
fee = { rate = "0.05", exponent = 1 }
[[pair]]
name = "one"
event = "e"
a = "kalshi:A#Yes"
b = "polymarket:0x01#Yes"
relation = "same"
tails = "TAILS"
approver = "jane"
[[pair]]
name = "two"
event = "e"
a = "kalshi:A#Yes"
b = "kalshi:B#Yes"
relation = "implies"
tails = "none"
approver = "jane"
"""


@contextmanager
def pair_plane(tails: str = "none") -> Iterator[Plane]:
    """A plane on which YES of A costs 40 cents and NO of 0x01 50 cents."""
    text = PAIRS.replace("TAILS", tails)
    for name in ("TOKEN_YES", "TOKEN_NO"):  # of protocol v1: hashes, with the top bit set
        number = int.from_bytes(hashlib.sha256(name.encode()).digest(), "big") | 1 << 255
        text = text.replace(name, str(number))
    with plane(text) as made:
        made.quote("kalshi:A", [(4_000, 50_000)], [(6_200, 50_000)])
        made.quote("kalshi:B", [(5_200, 50_000)], [(5_000, 50_000)])
        made.quote("polymarket:0x01", [(5_200, 50_000)], [(5_000, 50_000)])
        yield made


def across(made: Plane, size: int = 1_000, **how: int) -> Opportunity:
    """YES of A and NO of 0x01."""
    legs = ((0, "kalshi:A", Side.YES, 4_000, size), (1, "polymarket:0x01", Side.NO, 5_000, size))
    return made.opportunity(cover_number(made, [("kalshi:A", Side.YES), ("polymarket:0x01", Side.NO)]), legs, **how)
