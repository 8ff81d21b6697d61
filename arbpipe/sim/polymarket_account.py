"""What the venue remembers of its customers: wallets, API keys, cash, positions, orders and trades, in SQLite.

Invariant: everything one order changes is written in one transaction, so a killed simulator resumes with an account that
some sequence of whole orders explains. Cash (pUSD) and shares are integers of 1e-6; ``pending_e6`` are shares bought in
trades that are not CONFIRMED yet and cannot be sold (polymarket.md 3.4).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from arbpipe.sim.polymarket_auth import Credentials

__all__ = ["SCHEMA", "Wallet", "OrderRow", "TradeRow", "Position", "AccountStore", "OPEN_STATES", "FINAL_TRADES"]

SCHEMA: Final = 1
#: States of an order that may still trade.
OPEN_STATES: Final = ("LIVE", "DELAYED")
#: States of a trade that do not change any more.
FINAL_TRADES: Final = ("CONFIRMED", "FAILED")

_TABLES: Final = """
CREATE TABLE wallets (signer TEXT PRIMARY KEY, funder TEXT NOT NULL UNIQUE, signature_type INTEGER NOT NULL,
    opening_e6 INTEGER NOT NULL, cash_e6 INTEGER NOT NULL);
CREATE TABLE api_keys (key TEXT PRIMARY KEY, secret TEXT NOT NULL, passphrase TEXT NOT NULL, signer TEXT NOT NULL,
    nonce INTEGER NOT NULL, UNIQUE (signer, nonce));
CREATE TABLE heartbeats (owner TEXT PRIMARY KEY, id TEXT NOT NULL, at_ms INTEGER NOT NULL);
CREATE TABLE positions (funder TEXT NOT NULL, token TEXT NOT NULL, settled_e6 INTEGER NOT NULL,
    pending_e6 INTEGER NOT NULL, PRIMARY KEY (funder, token)) WITHOUT ROWID;
CREATE TABLE orders (id TEXT PRIMARY KEY, number INTEGER NOT NULL, owner TEXT NOT NULL, signer TEXT NOT NULL,
    funder TEXT NOT NULL, condition TEXT NOT NULL, token TEXT NOT NULL, is_buy INTEGER NOT NULL,
    price_e4 INTEGER NOT NULL, qty_e6 INTEGER NOT NULL, cash_e6 INTEGER, matched_e6 INTEGER NOT NULL,
    moved_e6 INTEGER NOT NULL, order_type TEXT NOT NULL, post_only INTEGER NOT NULL, expiration INTEGER NOT NULL,
    status TEXT NOT NULL, created_ms INTEGER NOT NULL);
CREATE TABLE trades (id TEXT PRIMARY KEY, number INTEGER NOT NULL, order_id TEXT NOT NULL, owner TEXT NOT NULL,
    funder TEXT NOT NULL, condition TEXT NOT NULL, token TEXT NOT NULL, is_buy INTEGER NOT NULL,
    price_e4 INTEGER NOT NULL, qty_e6 INTEGER NOT NULL, cash_e6 INTEGER NOT NULL, fee_e6 INTEGER NOT NULL,
    is_taker INTEGER NOT NULL, other_order TEXT NOT NULL, tx_hash TEXT NOT NULL, status TEXT NOT NULL,
    match_ms INTEGER NOT NULL, update_ms INTEGER NOT NULL);
CREATE INDEX open_orders ON orders (status);
CREATE INDEX open_trades ON trades (status);
"""


@dataclass(frozen=True, slots=True)
class Wallet:
    """One customer. ``funder`` holds the money and is the maker of orders; for an EOA it is the signer itself."""

    signer: str
    funder: str
    signature_type: int
    opening_e6: int
    cash_e6: int


@dataclass(frozen=True, slots=True)
class OrderRow:
    """One order. ``price_e4`` is its token's; ``cash_e6`` the budget of an order in dollars, else ``None``.

    ``matched_e6``: shares traded. ``moved_e6``: dollars traded, before fees.
    """

    id: str
    number: int
    owner: str
    signer: str
    funder: str
    condition: str
    token: str
    is_buy: int
    price_e4: int
    qty_e6: int
    cash_e6: int | None
    matched_e6: int
    moved_e6: int
    order_type: str
    post_only: int
    expiration: int
    status: str
    created_ms: int

    @property
    def left_e6(self) -> int:
        """Shares that may still trade, 0 for an order that is over."""
        return max(0, self.qty_e6 - self.matched_e6) if self.status in OPEN_STATES else 0


@dataclass(frozen=True, slots=True)
class TradeRow:
    """One fill of one of our orders, at its token's price. ``cash_e6`` is the notional, ``fee_e6`` the fee beside it."""

    id: str
    number: int
    order_id: str
    owner: str
    funder: str
    condition: str
    token: str
    is_buy: int
    price_e4: int
    qty_e6: int
    cash_e6: int
    fee_e6: int
    is_taker: int
    other_order: str
    tx_hash: str
    status: str
    match_ms: int
    update_ms: int


@dataclass(frozen=True, slots=True)
class Position:
    """Shares of one token, in 1/1,000,000."""

    funder: str
    token: str
    settled_e6: int
    pending_e6: int


_ORDER_COLUMNS: Final = tuple(field.name for field in fields(OrderRow))
_TRADE_COLUMNS: Final = tuple(field.name for field in fields(TradeRow))


def _insert(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


class AccountStore:
    """The database of one simulated venue in one file; one process writes it.

    Raises:
        ValueError: the file was written by another version.
    """

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA):
            self._db.close()
            raise ValueError(f"{path} has schema {version}, this simulator writes {SCHEMA}: use a new directory")
        if version == 0:
            self._db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is written, or nothing when it raises."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # -- wallets and keys ---------------------------------------------------------------------------------------------

    def add_wallet(self, signer: str, funder: str, signature_type: int, cash_e6: int) -> None:
        """Register a wallet with its first cash; a wallet that is known keeps what it has."""
        self._db.execute(
            "INSERT INTO wallets VALUES (?, ?, ?, ?, ?) ON CONFLICT (signer) DO NOTHING",
            (signer, funder, signature_type, cash_e6, cash_e6),
        )

    def wallet(self, signer: str) -> Wallet | None:
        """The wallet of a signer."""
        row = self._db.execute("SELECT * FROM wallets WHERE signer = ?", (signer,)).fetchone()
        return Wallet(*row) if row else None

    def wallets(self) -> list[Wallet]:
        """All wallets."""
        return [Wallet(*row) for row in self._db.execute("SELECT * FROM wallets ORDER BY signer")]

    def add_key(self, credentials: Credentials) -> None:
        """Store an API key.

        Raises:
            sqlite3.IntegrityError: this signer has a key with this nonce.
        """
        known = (credentials.key, credentials.secret, credentials.passphrase, credentials.signer, credentials.nonce)
        self._db.execute("INSERT INTO api_keys VALUES (?, ?, ?, ?, ?)", known)

    def key(self, key: str) -> Credentials | None:
        """The credentials of an API key."""
        row = self._db.execute("SELECT * FROM api_keys WHERE key = ?", (key,)).fetchone()
        return Credentials(*row) if row else None

    def keys_of(self, signer: str) -> list[Credentials]:
        """All keys of a signer."""
        found = self._db.execute("SELECT * FROM api_keys WHERE signer = ? ORDER BY nonce", (signer,))
        return [Credentials(*row) for row in found]

    def delete_key(self, key: str) -> None:
        """Forget an API key."""
        self._db.execute("DELETE FROM api_keys WHERE key = ?", (key,))

    def heartbeat(self, owner: str) -> tuple[str, int] | None:
        """The heartbeat id that an API key must send next, and when its last one came (unix ms)."""
        row = self._db.execute("SELECT id, at_ms FROM heartbeats WHERE owner = ?", (owner,)).fetchone()
        return (row[0], row[1]) if row else None

    def set_heartbeat(self, owner: str, heartbeat_id: str, at_ms: int) -> None:
        """Arm or renew the dead-man switch of an API key."""
        self._db.execute("INSERT OR REPLACE INTO heartbeats VALUES (?, ?, ?)", (owner, heartbeat_id, at_ms))

    def overdue(self, before_ms: int) -> list[str]:
        """The API keys whose last heartbeat came before that time."""
        found = self._db.execute("SELECT owner FROM heartbeats WHERE at_ms < ? ORDER BY owner", (before_ms,))
        return [row[0] for row in found]

    # -- money --------------------------------------------------------------------------------------------------------

    def move_cash(self, funder: str, delta_e6: int) -> None:
        """Change a wallet's cash."""
        self._db.execute("UPDATE wallets SET cash_e6 = cash_e6 + ? WHERE funder = ?", (delta_e6, funder))

    def move_shares(self, funder: str, token: str, settled_e6: int, pending_e6: int) -> None:
        """Change a position by so many settled and pending shares."""
        self._db.execute(
            "INSERT INTO positions VALUES (?, ?, ?, ?) ON CONFLICT (funder, token) DO UPDATE SET"
            " settled_e6 = settled_e6 + excluded.settled_e6, pending_e6 = pending_e6 + excluded.pending_e6",
            (funder, token, settled_e6, pending_e6),
        )

    def positions(self, funder: str) -> list[Position]:
        """All positions of a wallet that were ever held."""
        found = self._db.execute("SELECT * FROM positions WHERE funder = ? ORDER BY token", (funder,))
        return [Position(*row) for row in found]

    def position(self, funder: str, token: str) -> Position:
        """One position; nothing held is zero shares."""
        row = self._db.execute("SELECT * FROM positions WHERE funder = ? AND token = ?", (funder, token)).fetchone()
        return Position(*row) if row else Position(funder, token, 0, 0)

    # -- orders and trades --------------------------------------------------------------------------------------------

    def _select(self, table: str, where: Mapping[str, object], open_only: bool) -> tuple[str, list[object]]:
        clauses = [f"{column} = ?" for column in where]
        if open_only:
            clauses.append(f"status IN ({', '.join(repr(state) for state in OPEN_STATES)})")
        columns = _ORDER_COLUMNS if table == "orders" else _TRADE_COLUMNS
        condition = " AND ".join(clauses) or "1"
        return f"SELECT {', '.join(columns)} FROM {table} WHERE {condition} ORDER BY number", list(where.values())

    def next_number(self, table: str) -> int:
        """The next running number of ``orders`` or ``trades``."""
        (number,) = self._db.execute(f"SELECT coalesce(max(number), 0) + 1 FROM {table}").fetchone()
        return int(number)

    def add_order(self, order: OrderRow) -> None:
        """Store a new order."""
        self._db.execute(_insert("orders", _ORDER_COLUMNS), [getattr(order, name) for name in _ORDER_COLUMNS])

    def update_order(self, order: OrderRow) -> None:
        """Write what can change of an order: what it traded, and its state."""
        self._db.execute(
            "UPDATE orders SET matched_e6 = ?, moved_e6 = ?, status = ? WHERE id = ?",
            (order.matched_e6, order.moved_e6, order.status, order.id),
        )

    def order(self, order_id: str) -> OrderRow | None:
        """One order in any state."""
        found = self.orders({"id": order_id})
        return found[0] if found else None

    def orders(self, where: Mapping[str, object], *, open_only: bool = False) -> list[OrderRow]:
        """Orders by column values, oldest first. Column names are the caller's own, never a client's."""
        return [OrderRow(*row) for row in self._db.execute(*self._select("orders", where, open_only))]

    def add_trade(self, trade: TradeRow) -> None:
        """Store a new trade."""
        self._db.execute(_insert("trades", _TRADE_COLUMNS), [getattr(trade, name) for name in _TRADE_COLUMNS])

    def update_trade(self, trade: TradeRow) -> None:
        """Write what can change of a trade: its state and when."""
        self._db.execute(
            "UPDATE trades SET status = ?, update_ms = ? WHERE id = ?", (trade.status, trade.update_ms, trade.id)
        )

    def trades(self, where: Mapping[str, object]) -> list[TradeRow]:
        """Trades by column values, oldest first. Column names are the caller's own, never a client's."""
        return [TradeRow(*row) for row in self._db.execute(*self._select("trades", where, False))]

    def unsettled(self) -> list[TradeRow]:
        """Trades that are not final, oldest first."""
        columns = ", ".join(_TRADE_COLUMNS)
        marks = ", ".join("?" * len(FINAL_TRADES))
        query = f"SELECT {columns} FROM trades WHERE status NOT IN ({marks}) ORDER BY number"
        return [TradeRow(*row) for row in self._db.execute(query, FINAL_TRADES)]
