"""The account of simulated Kalshi in SQLite: cash, orders, fills, positions. What is here survives a SIGKILL.

One row type per table, all integers: prices 1/10,000 dollar (``_e4``), counts 1/100 contract (``_e2``), money 1/1,000,000
dollar (``_e6``), moments in microseconds since the epoch (``_us``). Whoever changes anything does so inside
:meth:`Store.transaction`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Final

__all__ = ["Fill", "OrderRow", "Position", "Status", "Store"]


class Status(Enum):
    """Where an order stands; the value is the word on the wire."""

    RESTING = "resting"
    CANCELED = "canceled"
    EXECUTED = "executed"


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order that was accepted. ``number`` counts them from 1. ``carried_e6`` is the fee accumulator."""

    order_id: str
    number: int
    client_order_id: str
    ticker: str
    buys_yes: bool
    price_e4: int
    count_e2: int
    filled_e2: int
    left_e2: int
    status: Status
    self_trade: str
    created_us: int
    updated_us: int
    expiration_s: int | None = None
    taker_cost_e6: int = 0
    maker_cost_e6: int = 0
    taker_fees_e6: int = 0
    maker_fees_e6: int = 0
    carried_e6: int = 0
    reason: str = ""

    @property
    def unit_e4(self) -> int:
        """What one contract costs at the limit, on the side that is bought."""
        return self.price_e4 if self.buys_yes else 10_000 - self.price_e4


@dataclass(frozen=True, slots=True)
class Fill:
    """A fill of one of the account's orders. ``position_e2`` is the position after it, ``released_e2`` the pairs paid out."""

    fill_id: str
    number: int
    order_id: str
    ticker: str
    buys_yes: bool
    price_e4: int
    count_e2: int
    is_taker: bool
    fee_e6: int
    position_e2: int
    released_e2: int
    cash_e6: int
    ts_us: int


@dataclass(frozen=True, slots=True)
class Position:
    """One signed number per market: above zero YES, below zero NO. ``cost_e6`` is what the open contracts cost."""

    ticker: str
    position_e2: int = 0
    cost_e6: int = 0
    traded_e6: int = 0
    realized_e6: int = 0
    fees_e6: int = 0
    volume_e2: int = 0
    updated_us: int = 0


_TABLES: Final = {
    "orders": (OrderRow, "order_id"),
    "fills": (Fill, "fill_id"),
    "positions": (Position, "ticker"),
}


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    return int(value) if isinstance(value, bool) else value


def _order(row: tuple[object, ...]) -> OrderRow:
    values = dict(zip((field.name for field in fields(OrderRow)), row, strict=True))
    values["buys_yes"] = bool(values["buys_yes"])
    values["status"] = Status(values["status"])
    return OrderRow(**values)  # type: ignore[arg-type]


def _fill(row: tuple[object, ...]) -> Fill:
    values = dict(zip((field.name for field in fields(Fill)), row, strict=True))
    values["buys_yes"], values["is_taker"] = bool(values["buys_yes"]), bool(values["is_taker"])
    return Fill(**values)  # type: ignore[arg-type]


class Store:
    """One account in one file. ``cash_e6`` is what a new account starts with; a file that exists keeps its own.

    Raises:
        sqlite3.Error: the file cannot be opened or is no account.
    """

    def __init__(self, path: Path, cash_e6: int) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(cash_e6)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, cash_e6: int) -> None:
        # WAL with NORMAL: a killed process loses nothing that was committed
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        with self.transaction():
            for table, (row_type, key) in _TABLES.items():
                columns = ", ".join(f"{f.name}{' PRIMARY KEY' if f.name == key else ''}" for f in fields(row_type))
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            self._db.execute("CREATE TABLE IF NOT EXISTS burned (client_order_id PRIMARY KEY)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS cash (id INTEGER PRIMARY KEY CHECK (id = 1), cash_e6, updated_us)"
            )
            self._db.execute("CREATE INDEX IF NOT EXISTS resting ON orders (status, number)")
            self._db.execute("INSERT OR IGNORE INTO cash VALUES (1, ?, 0)", (cash_e6,))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _put(self, table: str, row: OrderRow | Fill | Position) -> None:
        values = tuple(_plain(value) for value in astuple(row))
        marks = ", ".join("?" * len(values))
        self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", values)

    def _rows(self, table: str, where: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        return self._db.execute(f"SELECT * FROM {table} WHERE {where}", values).fetchall()

    def _next(self, table: str) -> int:
        return int(self._db.execute(f"SELECT COALESCE(MAX(number), 0) + 1 FROM {table}").fetchone()[0])

    # -- cash ---------------------------------------------------------------------------------------------------------

    def cash(self) -> tuple[int, int]:
        """(cash in micro-dollars, moment of the last change)."""
        cash_e6, updated_us = self._db.execute("SELECT cash_e6, updated_us FROM cash").fetchone()
        return int(cash_e6), int(updated_us)

    def add_cash(self, change_e6: int, now_us: int) -> None:
        """Move the cash."""
        self._db.execute("UPDATE cash SET cash_e6 = cash_e6 + ?, updated_us = ?", (change_e6, now_us))

    # -- orders -------------------------------------------------------------------------------------------------------

    def next_order_number(self) -> int:
        """The number of the next order."""
        return self._next("orders")

    def put_order(self, row: OrderRow) -> None:
        """Insert or replace an order."""
        self._put("orders", row)

    def drop_order(self, order_id: str) -> None:
        """Forget an order that was never accepted."""
        self._db.execute("DELETE FROM orders WHERE order_id = ?", (order_id,))

    def order(self, order_id: str) -> OrderRow | None:
        """An order by id."""
        rows = self._rows("orders", "order_id = ?", (order_id,))
        return _order(rows[0]) if rows else None

    def orders(self, status: Status | None = None) -> list[OrderRow]:
        """Orders, oldest first."""
        if status is None:
            return [_order(row) for row in self._rows("orders", "1 ORDER BY number", ())]
        return [_order(row) for row in self._rows("orders", "status = ? ORDER BY number", (status.value,))]

    def burn(self, client_order_id: str) -> bool:
        """Use up a client order id; False when it was used before."""
        try:
            self._db.execute("INSERT INTO burned VALUES (?)", (client_order_id,))
        except sqlite3.IntegrityError:
            return False
        return True

    def is_burned(self, client_order_id: str) -> bool:
        """Whether a client order id was used before."""
        return bool(self._rows("burned", "client_order_id = ?", (client_order_id,)))

    # -- fills and positions ------------------------------------------------------------------------------------------

    def next_fill_number(self) -> int:
        """The number of the next fill."""
        return self._next("fills")

    def put_fill(self, fill: Fill) -> None:
        """Insert a fill."""
        self._put("fills", fill)

    def fills(self, order_id: str | None = None) -> list[Fill]:
        """Fills, oldest first."""
        if order_id is None:
            return [_fill(row) for row in self._rows("fills", "1 ORDER BY number", ())]
        return [_fill(row) for row in self._rows("fills", "order_id = ? ORDER BY number", (order_id,))]

    def put_position(self, position: Position) -> None:
        """Insert or replace a position."""
        self._put("positions", position)

    def position(self, ticker: str) -> Position:
        """The position in a market; a flat one when nothing was ever traded."""
        rows = self._rows("positions", "ticker = ?", (ticker,))
        return Position(*rows[0]) if rows else Position(ticker)  # type: ignore[arg-type]

    def positions(self) -> list[Position]:
        """All positions, flat ones that were traded included."""
        return [Position(*row) for row in self._rows("positions", "1 ORDER BY ticker", ())]  # type: ignore[arg-type]
