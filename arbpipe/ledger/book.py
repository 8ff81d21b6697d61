"""The ledger's verbs: begin an attempt, record what a venue said, close it; and what follows from it all.

Each verb is one transaction: an event in the chain and the tables it changes. Exposure is what is reserved by orders whose
outcome is not known plus what the lots we hold have cost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, TypeVar

import msgspec

from arbpipe.clock import wall_ns
from arbpipe.identity import Side, Venue
from arbpipe.ledger.records import AttemptRecord, Closing, IntentRecord, OpenAttempt, Usage
from arbpipe.ledger.store import LedgerStore
from arbpipe.venues.base import Action, Fill, Order, Outcome, OutcomeState, Position, TimeInForce

__all__ = ["AttemptRecord", "Closing", "IntentRecord", "Ledger", "OpenAttempt", "Usage"]


T = TypeVar("T")


class Ledger:
    """One ledger. Only the executor writes; readers open the store read-only."""

    def __init__(self, store: LedgerStore) -> None:
        self.store = store
        self._db = store.db

    # -- writing -----------------------------------------------------------------------------------------------------

    def open_account(self, cash_e6: dict[Venue, int]) -> None:
        """The first event: what each venue says we own. Later cash only moves by what venues state."""
        with self.store.transaction() as db:
            self.store.append("opened", "", {"cash_e6": {venue.label: amount for venue, amount in cash_e6.items()}})
            for venue, amount in cash_e6.items():
                db.execute("INSERT INTO cash VALUES (?, ?)", (int(venue), amount))

    def begin(
        self, record: AttemptRecord, intents: Iterable[IntentRecord], check: Callable[[Usage], T | None]
    ) -> T | None:
        """Check limits and store reservation and all intents, in one transaction; nothing is stored on a refusal."""
        intents = tuple(intents)
        with self.store.transaction() as db:
            refusal = check(self.usage())
            if refusal is not None:
                return refusal
            self.store.append("attempt", record.attempt, {**asdict(record), "intents": [_plain(i) for i in intents]})
            db.execute(
                "INSERT INTO attempts (id, opened_ns, state, cover_id, cover, event, k, size_e2, floor_e6, tails,"
                " reserved_e6, plan) VALUES (?, ?, 'open', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    record.attempt,
                    wall_ns(),
                    record.cover_id,
                    record.cover,
                    record.event,
                    record.k,
                    record.size_e2,
                    record.floor_e6,
                    int(record.tails),
                    sum(intent.reserved_e6 for intent in intents),
                    msgspec.json.encode(record.plan),
                ),
            )
            for intent in intents:
                _insert_intent(db, record.attempt, intent)
        return None

    def add_intents(self, attempt: str, intents: Iterable[IntentRecord]) -> bool:
        """A further step of an attempt: completing or unwinding orders. Limits do not hold back what lowers risk, but cash
        that is not there cannot be spent: then nothing is stored, and the answer is False."""
        intents = tuple(intents)
        with self.store.transaction() as db:
            cash = self.usage().cash
            for intent in intents:
                cash[intent.order.venue] = cash.get(intent.order.venue, 0) - intent.reserved_e6
            if any(intent.reserved_e6 and cash[intent.order.venue] < 0 for intent in intents):
                return False
            self.store.append("step", attempt, {"intents": [_plain(intent) for intent in intents]})
            for intent in intents:
                _insert_intent(db, attempt, intent)
        return True

    def resize(self, attempt: str, client_id: str, size_e2: int, reserved_e6: int) -> None:
        """An intent that was not sent yet goes out smaller, for what the legs before it really got."""
        with self.store.transaction() as db:
            self.store.append(
                "resized", attempt, {"client_id": client_id, "size_e2": size_e2, "reserved_e6": reserved_e6}
            )
            db.execute(
                "UPDATE intents SET size_e2 = ?, reserved_e6 = ? WHERE client_id = ? AND state = 'intended'",
                (size_e2, reserved_e6, client_id),
            )

    def outcome(self, attempt: str, intent: IntentRecord, outcome: Outcome) -> None:
        """What a venue said about an order. A fill that is already known counts once (F44); it may become final, and a
        fill that the venue says never happened is taken back (F43)."""
        order = intent.order
        with self.store.transaction() as db:
            known = {
                row[0]: bool(row[1])
                for row in db.execute("SELECT fill_id, final FROM fills WHERE client_id = ?", (order.client_id,))
            }
            fresh = [fill for fill in outcome.fills if fill.fill_id not in known]
            settled = [fill.fill_id for fill in outcome.fills if fill.final and known.get(fill.fill_id) is False]
            gone = [fill_id for fill_id in outcome.reverted if fill_id in known]
            self.store.append(
                "outcome",
                attempt,
                {
                    "client_id": order.client_id,
                    "state": outcome.state.value,
                    "reason": outcome.reason,
                    "fills": [asdict(fill) for fill in fresh],
                    "final": settled,
                    "reverted": gone,
                },
            )
            db.execute(
                "UPDATE intents SET state = ?, reason = ? WHERE client_id = ?",
                (outcome.state.value, outcome.reason, order.client_id),
            )
            for fill in fresh:
                self._book(db, attempt, intent, fill)
            for fill_id in settled:
                db.execute("UPDATE fills SET final = 1 WHERE venue = ? AND fill_id = ?", (int(order.venue), fill_id))
            for fill_id in gone:
                self._take_back(db, attempt, intent, fill_id)

    def _book(self, db: sqlite3.Connection, attempt: str, intent: IntentRecord, fill: Fill) -> None:
        order = intent.order
        db.execute(
            "INSERT INTO fills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                int(order.venue),
                fill.fill_id,
                order.client_id,
                fill.qty_e6,
                fill.price_e4,
                fill.fee_e6,
                fill.cash_e6,
                fill.released_e6,
                int(fill.final),
            ),
        )
        db.execute("UPDATE cash SET e6 = e6 + ? WHERE venue = ?", (fill.cash_e6, int(order.venue)))
        if order.action is Action.BUY:
            self._add_lot(db, attempt, intent, order.side, fill.qty_e6, fill.released_e6 - fill.cash_e6)
            if fill.released_e6:
                # Kalshi paid a dollar for each pair: both halves leave, this attempt's own first
                _reduce(db, order, order.side, fill.released_e6, attempt)
                _reduce(db, order, order.side.other, fill.released_e6, attempt)
            return
        # selling what was netted before is buying the other side at a dollar less: that part is a lot again
        rebought = -fill.released_e6
        _reduce(db, order, order.side, fill.qty_e6 - rebought, attempt)
        if rebought:
            cost = rebought - fill.price_e4 * rebought // 10_000 + -(-fill.fee_e6 * rebought // fill.qty_e6)
            self._add_lot(db, attempt, intent, order.side.other, rebought, cost)

    def _take_back(self, db: sqlite3.Connection, attempt: str, intent: IntentRecord, fill_id: str) -> None:
        """Undo a fill that never became final: its cash and its contracts."""
        order = intent.order
        key = (int(order.venue), fill_id)
        qty, cash = db.execute(
            "SELECT qty_e6, cash_e6 FROM fills WHERE venue = ? AND fill_id = ? AND NOT final AND NOT released_e6", key
        ).fetchone() or (0, 0)
        if not qty:
            raise ValueError(
                f"{order.native_id}: fill {fill_id} was final or netted and cannot be taken back: reconcile"
            )
        db.execute("DELETE FROM fills WHERE venue = ? AND fill_id = ?", key)
        db.execute("UPDATE cash SET e6 = e6 - ? WHERE venue = ?", (cash, int(order.venue)))
        if order.action is Action.BUY:
            _reduce(db, order, order.side, qty, attempt)
        else:
            # what they had cost went with the sale; a dollar each is never too little
            self._add_lot(db, attempt, intent, order.side, qty, qty)

    @staticmethod
    def _add_lot(
        db: sqlite3.Connection, attempt: str, intent: IntentRecord, side: Side, qty_e6: int, cost_e6: int
    ) -> None:
        order = intent.order
        event = db.execute("SELECT event FROM attempts WHERE id = ?", (attempt,)).fetchone()[0]
        db.execute(
            "INSERT INTO lots (attempt, event, venue, uid, side, proposition, qty_e6, cost_e6)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                attempt,
                event,
                int(order.venue),
                str(order.uid),
                int(side),
                intent.proposition,
                qty_e6,
                cost_e6,
            ),
        )

    def close(self, attempt: str, closing: Closing) -> None:
        """The attempt is over; an exposure stays ``stuck`` and keeps its conflict group."""
        state = "stuck" if closing.exposure_e6 else "closed"
        with self.store.transaction() as db:
            self.store.append("closed", attempt, asdict(closing))
            db.execute(
                "UPDATE attempts SET state = ?, closed_ns = ?, result = ?, balanced_e6 = ?, locked_e6 = ?,"
                " realised_e6 = ?, dust_e6 = ?, exposure_e6 = ? WHERE id = ?",
                (
                    state,
                    wall_ns(),
                    closing.result,
                    closing.balanced_e6,
                    closing.locked_e6,
                    closing.realised_e6,
                    closing.dust_e6,
                    closing.exposure_e6,
                    attempt,
                ),
            )

    def note(self, kind: str, attempt: str, body: dict[str, Any]) -> None:
        """An event without tables of its own: reconciliations, alerts, breaker trips."""
        with self.store.transaction():
            self.store.append(kind, attempt, body)

    # -- reading -----------------------------------------------------------------------------------------------------

    def usage(self) -> Usage:
        """Cash at risk now."""
        event: dict[str, int] = {}
        tail_event: dict[str, int] = {}
        venue: dict[Venue, int] = dict.fromkeys(Venue, 0)
        reserved: dict[Venue, int] = dict.fromkeys(Venue, 0)
        rows = self._db.execute(
            "SELECT a.event, a.tails, i.venue, SUM(i.reserved_e6), 1 FROM intents i JOIN attempts a ON a.id = i.attempt"
            " WHERE i.state IN ('intended', 'unknown') GROUP BY 1, 2, 3"
            " UNION ALL SELECT l.event, a.tails, l.venue, SUM(l.cost_e6), 0 FROM lots l"
            " JOIN attempts a ON a.id = l.attempt GROUP BY 1, 2, 3"
        ).fetchall()
        for name, tails, number, amount, is_reserved in rows:
            where = Venue(number)
            event[name] = event.get(name, 0) + amount
            venue[where] += amount
            if tails:
                tail_event[name] = tail_event.get(name, 0) + amount
            if is_reserved:
                reserved[where] += amount
        cash = {each: amount - reserved[each] for each, amount in self.cash().items()}
        return Usage(event, venue, sum(venue.values()), tail_event, sum(tail_event.values()), cash)

    def cash(self) -> dict[Venue, int]:
        """Cash per venue, as the venues' own figures add up."""
        return {Venue(venue): amount for venue, amount in self._db.execute("SELECT venue, e6 FROM cash")}

    def fees(self) -> dict[Venue, tuple[int, int]]:
        """How many fills each venue gave and what they cost in fees."""
        rows = self._db.execute("SELECT venue, COUNT(*), SUM(fee_e6) FROM fills GROUP BY venue")
        return {Venue(venue): (count, fee) for venue, count, fee in rows}

    def positions(self, venue: Venue) -> tuple[Position, ...]:
        """What the lots add up to at one venue."""
        held: dict[int, list[int]] = {}
        for uid, side, qty in self._db.execute(
            "SELECT uid, side, SUM(qty_e6) FROM lots WHERE venue = ? GROUP BY uid, side", (int(venue),)
        ):
            held.setdefault(int(uid), [0, 0])[side] = qty
        return tuple(
            Position(uid, *sides) for uid, sides in sorted(held.items(), key=lambda e: str(e[0])) if any(sides)
        )

    def open_attempts(self) -> tuple[OpenAttempt, ...]:
        """Every attempt that is not closed, oldest first."""
        found = []
        for row in self._db.execute(
            "SELECT id, cover_id, cover, event, k, size_e2, floor_e6, tails, plan, state FROM attempts"
            " WHERE state != 'closed' ORDER BY opened_ns"
        ).fetchall():
            record = AttemptRecord(
                row[0], row[1], row[2], row[3], row[4], row[5], row[6], bool(row[7]), msgspec.json.decode(row[8])
            )
            found.append(OpenAttempt(record, row[9], self.intents(record.attempt)))
        return tuple(found)

    def intents(self, attempt: str) -> tuple[tuple[IntentRecord, OutcomeState | None], ...]:
        """The intents of an attempt in the order they were made; ``None`` while no outcome is known."""
        found = []
        for row in self._db.execute(
            "SELECT client_id, leg, step, proposition, venue, uid, native_id, side, action, size_e2, price_e4,"
            " reserved_e6, state, created_ms FROM intents WHERE attempt = ? ORDER BY step, leg",
            (attempt,),
        ).fetchall():
            action = Action(row[8])
            order = Order(
                row[0],
                Venue(row[4]),
                int(row[5]),
                row[6],
                Side(row[7]),
                action,
                row[9],
                row[10],
                action is Action.SELL,
                row[13],
            )
            state = None if row[12] == "intended" else OutcomeState(row[12])
            found.append((IntentRecord(order, row[1], row[2], row[3], row[11]), state))
        return tuple(found)

    def fills(self, attempt: str) -> dict[str, tuple[Fill, ...]]:
        """The fills of an attempt, by client id."""
        found: dict[str, list[Fill]] = {}
        for row in self._db.execute(
            "SELECT f.client_id, f.fill_id, f.qty_e6, f.price_e4, f.fee_e6, f.cash_e6, f.released_e6, f.final"
            " FROM fills f JOIN intents i ON i.client_id = f.client_id WHERE i.attempt = ? ORDER BY f.rowid",
            (attempt,),
        ):
            fill = Fill(row[1], row[2], row[3], row[4], row[5], row[6], bool(row[7]))
            found.setdefault(row[0], []).append(fill)
        return {client_id: tuple(fills) for client_id, fills in found.items()}

    def held_uids(self) -> set[int]:
        """Instruments of open attempts and of lots."""
        rows = self._db.execute(
            "SELECT DISTINCT uid FROM lots WHERE qty_e6 UNION SELECT DISTINCT i.uid FROM intents i"
            " JOIN attempts a ON a.id = i.attempt WHERE a.state != 'closed'"
        )
        return {int(row[0]) for row in rows}

    def realised_since(self, since_ns: int) -> int:
        """Realised P&L of attempts closed since a time (CLOCK_REALTIME), in micro-dollars."""
        row = self._db.execute(
            "SELECT COALESCE(SUM(realised_e6 + MIN(locked_e6, 0)), 0) FROM attempts WHERE closed_ns >= ?", (since_ns,)
        ).fetchone()
        return int(row[0])

    def unknown_intents(self) -> int:
        """How many orders have no known outcome."""
        row = self._db.execute("SELECT COUNT(*) FROM intents WHERE state IN ('intended', 'unknown')").fetchone()
        return int(row[0])

    def totals(self) -> dict[str, int]:
        """Counts and sums over all attempts, for summaries."""
        row = self._db.execute(
            "SELECT COUNT(*), COALESCE(SUM(locked_e6), 0), COALESCE(SUM(realised_e6), 0),"
            " COALESCE(SUM(dust_e6), 0), COALESCE(SUM(exposure_e6), 0),"
            " COALESCE(SUM(result = 'balanced'), 0), COALESCE(SUM(result = 'unwound'), 0),"
            " COALESCE(SUM(state = 'open'), 0), COALESCE(SUM(result = 'none'), 0),"
            " COALESCE(SUM(result = 'dust'), 0) FROM attempts"
        ).fetchone()
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
        return dict(zip(names, (int(value) for value in row), strict=True))


def _plain(intent: IntentRecord) -> dict[str, Any]:
    order = intent.order
    return {
        "client_id": order.client_id,
        "leg": intent.leg,
        "step": intent.step,
        "proposition": intent.proposition,
        "venue": order.venue.label,
        "uid": f"{order.uid:016x}",
        "native_id": order.native_id,
        "side": order.side.name,
        "action": order.action.value,
        "size_e2": order.size_e2,
        "price_e4": order.price_e4,
        "reserved_e6": intent.reserved_e6,
        "created_ms": order.created_ms,
    }


def _insert_intent(db: sqlite3.Connection, attempt: str, intent: IntentRecord) -> None:
    order = intent.order
    if order.time_in_force is not TimeInForce.IOC:
        raise ValueError(
            f"intent {order.client_id} is {order.time_in_force.value}: the ledger keeps immediate-or-cancel only"
        )
    db.execute(
        "INSERT INTO intents (client_id, attempt, leg, step, proposition, venue, uid, native_id, side, action, size_e2,"
        " price_e4, reserved_e6, created_ms, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'intended')",
        (
            order.client_id,
            attempt,
            intent.leg,
            intent.step,
            intent.proposition,
            int(order.venue),
            str(order.uid),
            order.native_id,
            int(order.side),
            order.action.value,
            order.size_e2,
            order.price_e4,
            intent.reserved_e6,
            order.created_ms,
        ),
    )


def _reduce(db: sqlite3.Connection, order: Order, side: Side, qty_e6: int, attempt: str) -> None:
    """Take contracts out of the lots of one side: this attempt's first, then the oldest.

    Raises:
        ValueError: more than is held; the ledger and the venue disagree, and the transaction is rolled back.
    """
    left = qty_e6
    if not left:
        return
    rows = db.execute(
        "SELECT id, qty_e6, cost_e6 FROM lots WHERE venue = ? AND uid = ? AND side = ? ORDER BY attempt != ?, id",
        (int(order.venue), str(order.uid), int(side), attempt),
    ).fetchall()
    for lot, qty, cost in rows:
        taken = min(left, qty)
        if taken == qty:
            db.execute("DELETE FROM lots WHERE id = ?", (lot,))
        else:
            rest = cost - cost * taken // qty
            db.execute("UPDATE lots SET qty_e6 = ?, cost_e6 = ? WHERE id = ?", (qty - taken, rest, lot))
        left -= taken
        if not left:
            return
    raise ValueError(
        f"{order.native_id}: the venue moved {qty_e6 / 1e6} contracts of {side.name}, {left / 1e6} more than the ledger "
        "holds: reconcile before anything else"
    )
