"""The paper venue's own books: orders, fills, positions, cash and what was taken from which level. One SQLite file.

Every order is one transaction, so a killed process leaves the order whole or absent. Kalshi nets YES and NO of one
market at a dollar a pair (kalshi.md 6, "Positions net"); Polymarket keeps both.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Final

from arbpipe.feemodel import FeeTerms, cost_e6, fee_e6, proceeds_e6
from arbpipe.fixedpoint import ONE_DOLLAR_E4
from arbpipe.identity import Side, Venue
from arbpipe.venues.base import Action, Fill, Order, Outcome, OutcomeState, Position

__all__ = ["PaperAccount"]

_E2_TO_E6: Final = 10_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS cash (venue INTEGER PRIMARY KEY, e6 INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS orders (client_id TEXT PRIMARY KEY, venue INTEGER NOT NULL, outcome TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS orders_of_venue ON orders (venue);
CREATE TABLE IF NOT EXISTS positions (venue INTEGER, uid TEXT, yes_e6 INTEGER, no_e6 INTEGER, PRIMARY KEY (venue, uid));
CREATE TABLE IF NOT EXISTS taken (uid TEXT, side INTEGER, price_e4 INTEGER, size_e2 INTEGER NOT NULL,
    seen_e2 INTEGER NOT NULL, PRIMARY KEY (uid, side, price_e4));
"""
Levels = list[tuple[int, int]]


class PaperAccount:
    """The account at all venues; each gateway uses its own venue's part."""

    def __init__(self, path: Path, cash_e6: dict[Venue, int]) -> None:
        """Open the file, or create it with this cash."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        for venue, amount in cash_e6.items():
            self._db.execute("INSERT OR IGNORE INTO cash VALUES (?, ?)", (int(venue), amount))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # -- statements --------------------------------------------------------------------------------------------------

    def cash_e6(self, venue: Venue) -> int:
        """The venue's statement of cash."""
        row = self._db.execute("SELECT e6 FROM cash WHERE venue = ?", (int(venue),)).fetchone()
        return int(row[0])

    def positions(self, venue: Venue) -> tuple[Position, ...]:
        """The venue's statement of positions."""
        rows = self._db.execute(
            "SELECT uid, yes_e6, no_e6 FROM positions WHERE venue = ? AND (yes_e6 OR no_e6) ORDER BY uid",
            (int(venue),),
        )
        return tuple(Position(int(uid), yes, no) for uid, yes, no in rows)

    def outcome(self, client_id: str) -> Outcome | None:
        """What became of an order; ``None`` if it never arrived."""
        row = self._db.execute("SELECT outcome FROM orders WHERE client_id = ?", (client_id,)).fetchone()
        if row is None:
            return None
        data = json.loads(row[0])
        fills = tuple(Fill(**fill) for fill in data["fills"])
        return Outcome(OutcomeState(data["state"]), fills, data["reason"])

    def orders(self, venue: Venue) -> int:
        """How many orders arrived at the venue so far, whatever became of them."""
        row = self._db.execute("SELECT count(*) FROM orders WHERE venue = ?", (int(venue),)).fetchone()
        return int(row[0])

    # -- execution ---------------------------------------------------------------------------------------------------

    def reject(self, order: Order, reason: str) -> Outcome:
        """Book an order that the venue refuses."""
        return self._book(order, OutcomeState.REJECTED, [], reason)

    def execute(self, order: Order, levels: Levels, fee: FeeTerms, most_e2: int) -> Outcome:
        """Fill an order against what the book shows less what was taken before, ``most_e2`` contracts at the most.

        ``levels``: what the order can hit, best first, in the order's own price (asks for a buy, bids for a sell).
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            earlier = self.outcome(order.client_id)
            if earlier is not None:
                self._db.execute("ROLLBACK")
                return earlier
            fills = self._match(order, levels, most_e2)
            outcome = self._fill(order, fills, fee)
            self._insert(order, outcome)
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return outcome

    def _match(self, order: Order, levels: Levels, most_e2: int) -> Levels:
        """What the order takes. A level that vanished is forgotten; a level that shrank was taken by others first."""
        buys = order.action is Action.BUY
        # a sell of one side takes the bids of that side, which are the other side's asks (design 5)
        side = order.side if buys else order.side.other
        key = str(order.uid)
        known = {
            price: (taken, seen)
            for price, taken, seen in self._db.execute(
                "SELECT price_e4, size_e2, seen_e2 FROM taken WHERE uid = ? AND side = ?", (key, int(side))
            )
        }
        shown = {price if buys else ONE_DOLLAR_E4 - price for price, _ in levels}
        for gone in set(known) - shown:
            self._db.execute("DELETE FROM taken WHERE uid = ? AND side = ? AND price_e4 = ?", (key, int(side), gone))
        left, fills = min(order.size_e2, most_e2), []
        for price, size in levels:
            inside = price <= order.price_e4 if buys else price >= order.price_e4
            if not inside or left <= 0:
                break
            at = price if buys else ONE_DOLLAR_E4 - price
            taken, seen = known.get(at, (0, size))
            taken = max(0, taken - max(0, seen - size))
            quantity = min(left, max(0, size - taken))
            if quantity:
                fills.append((price, quantity))
                left -= quantity
            if quantity or taken:
                self._db.execute(
                    "INSERT OR REPLACE INTO taken VALUES (?, ?, ?, ?, ?)",
                    (key, int(side), at, taken + quantity, size),
                )
        return fills

    def _fill(self, order: Order, fills: Levels, fee: FeeTerms) -> Outcome:
        """Book the fills: cash and positions move, and Kalshi pays a dollar for each pair it nets."""
        booked: list[Fill] = []
        buys = order.action is Action.BUY
        total = 0
        for number, (price, size) in enumerate(fills):
            # the alignment is of the order's whole cash, so each fill gets what it adds to it (kalshi.md 4, "acc")
            part = fills[: number + 1]
            cash = -cost_e6(fee, part) if buys else proceeds_e6(fee, part)
            released = self._move(order, size * _E2_TO_E6)
            booked.append(
                Fill(
                    f"{order.client_id}.{number}",
                    size * _E2_TO_E6,
                    price,
                    fee_e6(fee, price, size),
                    cash - total + released,
                    released,
                )
            )
            total = cash
        self._db.execute(
            "UPDATE cash SET e6 = e6 + ? WHERE venue = ?", (sum(fill.cash_e6 for fill in booked), int(order.venue))
        )
        done = sum(size for _, size in fills)
        state = (
            OutcomeState.NONE if not done else OutcomeState.FILLED if done == order.size_e2 else OutcomeState.PARTIAL
        )
        return Outcome(state, tuple(booked), "" if done else "nothing to hit within the limit")

    def _move(self, order: Order, qty_e6: int) -> int:
        """Change the position; return the pairs that were netted (in e6).

        Kalshi has one signed position a market. Buying NO against held YES pays a dollar a pair; selling YES that is not
        held is buying NO, which takes that dollar again: then the number is negative.
        """
        key = (int(order.venue), str(order.uid))
        row = self._db.execute("SELECT yes_e6, no_e6 FROM positions WHERE venue = ? AND uid = ?", key).fetchone()
        held = {Side.YES: row[0] if row else 0, Side.NO: row[1] if row else 0}
        held[order.side] += qty_e6 if order.action is Action.BUY else -qty_e6
        released = 0
        if order.venue is Venue.KALSHI:
            # a negative holding is the other side's: the same formula, with the other sign
            released = min(held[Side.YES], held[Side.NO])
            held[Side.YES] -= released
            held[Side.NO] -= released
        self._db.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)", (*key, held[Side.YES], held[Side.NO]))
        return released

    def held_e6(self, venue: Venue, uid: int, side: Side) -> int:
        """How many contracts of a side the account holds."""
        row = self._db.execute(
            "SELECT yes_e6, no_e6 FROM positions WHERE venue = ? AND uid = ?", (int(venue), str(uid))
        ).fetchone()
        return int(row[side]) if row else 0

    def _insert(self, order: Order, outcome: Outcome) -> None:
        data = {
            "state": outcome.state.value,
            "reason": outcome.reason,
            "fills": [asdict(fill) for fill in outcome.fills],
        }
        self._db.execute("INSERT INTO orders VALUES (?, ?, ?)", (order.client_id, int(order.venue), json.dumps(data)))

    def _book(self, order: Order, state: OutcomeState, fills: list[Fill], reason: str) -> Outcome:
        earlier = self.outcome(order.client_id)
        if earlier is not None:
            return earlier
        outcome = Outcome(state, tuple(fills), reason)
        self._insert(order, outcome)
        return outcome
