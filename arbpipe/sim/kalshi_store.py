"""The account of simulated Kalshi in SQLite: cash per shard and the rows of :mod:`arbpipe.sim.kalshi_rows`.

What is here survives a SIGKILL. Whoever changes anything does so inside :meth:`Store.transaction`. The store also
remembers, in memory and for :data:`MEMORY_S`, what each change replaced, so that it can tell how the account was a moment ago.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, astuple, fields
from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from arbpipe.sim.kalshi_rows import Fill, OrderRow, Position, Row, Settlement, Status, Transfer

__all__ = ["MEMORY_S", "Books", "Fill", "OrderRow", "Position", "Settlement", "Status", "Store", "Transfer"]

#: For how long the store remembers what the account was like.
MEMORY_S: Final = 120

_TABLES: Final[Mapping[str, tuple[type[Row], str]]] = {
    "orders": (OrderRow, "order_id"),
    "fills": (Fill, "fill_id"),
    "positions": (Position, "ticker"),
    "settlements": (Settlement, "ticker"),
    "transfers": (Transfer, "transfer_id"),
}
_FLAGS: Final = frozenset({"buys_yes", "is_taker", "cancel_on_pause", "post_only", "complete"})

AnyRow = TypeVar("AnyRow", bound=Row)


class Books(Protocol):
    """What can be read of an account, now or as it was."""

    def cash(self, index: int | None = None) -> tuple[int, int]:
        """(cash in micro-dollars, moment of the last change) of a shard, or of all together."""

    def shards(self) -> dict[int, int]:
        """The cash of every shard that was ever funded, by index."""

    def orders(self, status: Status | None = None) -> list[OrderRow]:
        """Orders, oldest first."""

    def order(self, order_id: str) -> OrderRow | None:
        """An order by id."""

    def fills(self, order_id: str | None = None) -> list[Fill]:
        """Fills, oldest first."""

    def position(self, ticker: str) -> Position:
        """The position in a market; a flat one when nothing was ever traded."""

    def positions(self) -> list[Position]:
        """All positions, flat ones that were traded included."""

    def settlements(self) -> list[Settlement]:
        """What settled markets paid, oldest first."""


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    return int(value) if isinstance(value, bool) else value


def _row(row_type: type[AnyRow], row: tuple[Any, ...]) -> AnyRow:
    values = dict(zip((field.name for field in fields(row_type)), row, strict=True))
    for name in _FLAGS & values.keys():
        values[name] = bool(values[name])
    if "status" in values:
        values["status"] = Status(values["status"])
    return row_type(**values)


class Store:
    """One account in one file. ``cash_e6`` is what a new account starts with on shard 0, ``shard_cash`` on the others.

    A file that exists keeps its own cash; a shard that it does not know yet is funded.

    Raises:
        sqlite3.Error: the file cannot be opened or is no account.
    """

    def __init__(
        self,
        path: Path,
        cash_e6: int,
        shard_cash: Mapping[int, int] | None = None,
        steady_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._steady_ns = steady_ns
        self._replaced: deque[tuple[int, str, object, object]] = deque()
        self._pending: list[tuple[int, str, object, object]] = []
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare({0: cash_e6, **(shard_cash or {})})
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, cash: Mapping[int, int]) -> None:
        # WAL with NORMAL: a killed process loses nothing that was committed
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        with self.transaction():
            for table, (row_type, key) in _TABLES.items():
                columns = ", ".join(f"{f.name}{' PRIMARY KEY' if f.name == key else ''}" for f in fields(row_type))
                self._db.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
                known = {row[1] for row in self._db.execute(f"PRAGMA table_info({table})")}
                for field in fields(row_type):
                    if field.name not in known and field.default is not MISSING:
                        default = _plain(field.default)
                        self._db.execute(f"ALTER TABLE {table} ADD COLUMN {field.name} DEFAULT {default!r}")
            self._db.execute("CREATE TABLE IF NOT EXISTS burned (client_order_id PRIMARY KEY)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS cash (id INTEGER PRIMARY KEY CHECK (id = 1), cash_e6, updated_us)"
            )
            self._db.execute("CREATE TABLE IF NOT EXISTS shard_cash (exchange_index PRIMARY KEY, cash_e6, updated_us)")
            self._db.execute("CREATE TABLE IF NOT EXISTS documents (kind, name, text, PRIMARY KEY (kind, name))")
            self._db.execute("CREATE INDEX IF NOT EXISTS resting ON orders (status, number)")
            for index, cash_e6 in cash.items():
                if index == 0:
                    self._db.execute("INSERT OR IGNORE INTO cash VALUES (1, ?, 0)", (cash_e6,))
                else:
                    self._db.execute("INSERT OR IGNORE INTO shard_cash VALUES (?, ?, 0)", (index, cash_e6))

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
            self._pending.clear()
            raise
        self._db.execute("COMMIT")
        self._replaced.extend(self._pending)
        self._pending.clear()
        oldest_ns = self._steady_ns() - MEMORY_S * 10**9
        while self._replaced and self._replaced[0][0] < oldest_ns:
            self._replaced.popleft()

    def replaced_since(self, steady_ns: int) -> list[tuple[str, object, object]]:
        """(table, key, what stood there before) of every change after that moment, newest first."""
        return [(table, key, old) for at, table, key, old in reversed(self._replaced) if at > steady_ns]

    def _remember(self, table: str, key: object, old: object) -> None:
        self._pending.append((self._steady_ns(), table, key, old))

    def _put(self, table: str, row: Row) -> None:
        row_type, key = _TABLES[table]
        name = getattr(row, key)
        self._remember(table, name, self._one(row_type, table, key, name))
        names = ", ".join(field.name for field in fields(row_type))
        values = tuple(_plain(value) for value in astuple(row))
        marks = ", ".join("?" * len(values))
        self._db.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", values)

    def _many(self, row_type: type[AnyRow], table: str, where: str, values: tuple[object, ...] = ()) -> list[AnyRow]:
        names = ", ".join(field.name for field in fields(row_type))
        found = self._db.execute(f"SELECT {names} FROM {table} WHERE {where}", values).fetchall()
        return [_row(row_type, each) for each in found]

    def _one(self, row_type: type[AnyRow], table: str, key: str, name: object) -> AnyRow | None:
        found = self._many(row_type, table, f"{key} = ?", (name,))
        return found[0] if found else None

    def _next(self, table: str) -> int:
        return int(self._db.execute(f"SELECT COALESCE(MAX(number), 0) + 1 FROM {table}").fetchone()[0])

    # -- cash ---------------------------------------------------------------------------------------------------------

    def _shard_rows(self) -> dict[int, tuple[int, int]]:
        found = {0: self._db.execute("SELECT cash_e6, updated_us FROM cash").fetchone()}
        for index, cash_e6, updated_us in self._db.execute("SELECT * FROM shard_cash ORDER BY exchange_index"):
            found[index] = (cash_e6, updated_us)
        return found

    def cash(self, index: int | None = None) -> tuple[int, int]:
        """(cash in micro-dollars, moment of the last change) of a shard, or of all together."""
        shards = self._shard_rows()
        chosen = list(shards.values()) if index is None else [shards.get(index, (0, 0))]
        return sum(cash_e6 for cash_e6, _ in chosen), max(updated_us for _, updated_us in chosen)

    def shards(self) -> dict[int, int]:
        """The cash of every shard that was ever funded, by index."""
        return {index: cash_e6 for index, (cash_e6, _) in self._shard_rows().items()}

    def add_cash(self, change_e6: int, now_us: int, index: int = 0) -> None:
        """Move the cash of a shard."""
        self._remember("cash", index, self._shard_rows().get(index))
        if index == 0:
            self._db.execute("UPDATE cash SET cash_e6 = cash_e6 + ?, updated_us = ?", (change_e6, now_us))
            return
        self._db.execute("INSERT OR IGNORE INTO shard_cash VALUES (?, 0, 0)", (index,))
        self._db.execute(
            "UPDATE shard_cash SET cash_e6 = cash_e6 + ?, updated_us = ? WHERE exchange_index = ?",
            (change_e6, now_us, index),
        )

    # -- orders -------------------------------------------------------------------------------------------------------

    def next_order_number(self) -> int:
        """The number of the next order."""
        return self._next("orders")

    def put_order(self, row: OrderRow) -> None:
        """Insert or replace an order."""
        self._put("orders", row)

    def drop_order(self, order_id: str) -> None:
        """Forget an order that was never accepted."""
        self._remember("orders", order_id, self.order(order_id))
        self._db.execute("DELETE FROM orders WHERE order_id = ?", (order_id,))

    def order(self, order_id: str) -> OrderRow | None:
        """An order by id."""
        return self._one(OrderRow, "orders", "order_id", order_id)

    def orders(self, status: Status | None = None) -> list[OrderRow]:
        """Orders, oldest first."""
        if status is None:
            return self._many(OrderRow, "orders", "1 ORDER BY number")
        return self._many(OrderRow, "orders", "status = ? ORDER BY number", (status.value,))

    def burn(self, client_order_id: str) -> bool:
        """Use up a client order id; False when it was used before."""
        try:
            self._db.execute("INSERT INTO burned VALUES (?)", (client_order_id,))
        except sqlite3.IntegrityError:
            return False
        return True

    def is_burned(self, client_order_id: str) -> bool:
        """Whether a client order id was used before."""
        found = self._db.execute("SELECT 1 FROM burned WHERE client_order_id = ?", (client_order_id,)).fetchone()
        return found is not None

    # -- fills, positions, settlements, transfers ---------------------------------------------------------------------

    def next_fill_number(self) -> int:
        """The number of the next fill."""
        return self._next("fills")

    def put_fill(self, fill: Fill) -> None:
        """Insert a fill."""
        self._put("fills", fill)

    def fills(self, order_id: str | None = None) -> list[Fill]:
        """Fills, oldest first."""
        if order_id is None:
            return self._many(Fill, "fills", "1 ORDER BY number")
        return self._many(Fill, "fills", "order_id = ? ORDER BY number", (order_id,))

    def put_position(self, position: Position) -> None:
        """Insert or replace a position."""
        self._put("positions", position)

    def position(self, ticker: str) -> Position:
        """The position in a market; a flat one when nothing was ever traded."""
        return self._one(Position, "positions", "ticker", ticker) or Position(ticker)

    def positions(self) -> list[Position]:
        """All positions, flat ones that were traded included."""
        return self._many(Position, "positions", "1 ORDER BY ticker")

    def next_settlement_number(self) -> int:
        """The number of the next settlement."""
        return self._next("settlements")

    def put_settlement(self, settlement: Settlement) -> None:
        """Insert a settlement."""
        self._put("settlements", settlement)

    def settlements(self) -> list[Settlement]:
        """What settled markets paid, oldest first."""
        return self._many(Settlement, "settlements", "1 ORDER BY number")

    def next_transfer_number(self) -> int:
        """The number of the next transfer."""
        return self._next("transfers")

    def put_transfer(self, transfer: Transfer) -> None:
        """Insert or replace a transfer."""
        self._put("transfers", transfer)

    def transfers(self) -> list[Transfer]:
        """Transfers between shards, oldest first."""
        return self._many(Transfer, "transfers", "1 ORDER BY number")

    # -- documents ----------------------------------------------------------------------------------------------------

    def put_document(self, kind: str, name: str, text: str) -> None:
        """Insert or replace a text that has no row type of its own."""
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, name, text))

    def documents(self, kind: str) -> dict[str, str]:
        """The texts of a kind by name, oldest first."""
        return dict(self._db.execute("SELECT name, text FROM documents WHERE kind = ? ORDER BY rowid", (kind,)))
