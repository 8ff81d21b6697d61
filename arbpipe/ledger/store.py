"""The event chain and its tables in one SQLite file.

``events`` is append-only; each row carries the SHA-256 of the row before it and of itself. Tables (attempts, intents,
fills, lots, cash) are written in the transaction of the event they derive from.
``synchronous=NORMAL`` with WAL: a killed process loses nothing; a power cut loses at most the last instants (design 9.3).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from arbpipe.clock import wall_ns
from arbpipe.errors import ArbpipeError, EnvironmentRefused, LayoutMismatch

__all__ = ["LedgerDamaged", "LedgerStore", "SCHEMA_VERSION"]

SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, kind TEXT NOT NULL, attempt TEXT NOT NULL, body BLOB NOT NULL,
    previous BLOB NOT NULL, hash BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (
    id TEXT PRIMARY KEY, opened_ns INTEGER NOT NULL, closed_ns INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL,
    cover_id INTEGER NOT NULL, cover TEXT NOT NULL, event TEXT NOT NULL, k INTEGER NOT NULL, size_e2 INTEGER NOT NULL,
    floor_e6 INTEGER NOT NULL, tails INTEGER NOT NULL, reserved_e6 INTEGER NOT NULL, plan BLOB NOT NULL,
    result TEXT NOT NULL DEFAULT '', balanced_e6 INTEGER NOT NULL DEFAULT 0, locked_e6 INTEGER NOT NULL DEFAULT 0,
    realised_e6 INTEGER NOT NULL DEFAULT 0, dust_e6 INTEGER NOT NULL DEFAULT 0, exposure_e6 INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS open_attempts ON attempts (state) WHERE state != 'closed';
CREATE TABLE IF NOT EXISTS intents (
    client_id TEXT PRIMARY KEY, attempt TEXT NOT NULL, leg INTEGER NOT NULL, step INTEGER NOT NULL,
    proposition INTEGER NOT NULL, venue INTEGER NOT NULL, uid TEXT NOT NULL, native_id TEXT NOT NULL,
    side INTEGER NOT NULL, action TEXT NOT NULL, size_e2 INTEGER NOT NULL, price_e4 INTEGER NOT NULL,
    reserved_e6 INTEGER NOT NULL, created_ms INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS intents_of ON intents (attempt);
CREATE TABLE IF NOT EXISTS fills (
    venue INTEGER NOT NULL, fill_id TEXT NOT NULL, client_id TEXT NOT NULL, qty_e6 INTEGER NOT NULL,
    price_e4 INTEGER NOT NULL, fee_e6 INTEGER NOT NULL, cash_e6 INTEGER NOT NULL, released_e6 INTEGER NOT NULL,
    final INTEGER NOT NULL, PRIMARY KEY (venue, fill_id));
CREATE INDEX IF NOT EXISTS fills_of ON fills (client_id);
CREATE TABLE IF NOT EXISTS lots (
    id INTEGER PRIMARY KEY, attempt TEXT NOT NULL, event TEXT NOT NULL, venue INTEGER NOT NULL, uid TEXT NOT NULL,
    side INTEGER NOT NULL, proposition INTEGER NOT NULL, qty_e6 INTEGER NOT NULL, cost_e6 INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS lots_of ON lots (uid, side);
CREATE TABLE IF NOT EXISTS cash (venue INTEGER PRIMARY KEY, e6 INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class LedgerDamaged(ArbpipeError):
    """The chain of events does not hold: something changed a stored event."""

    code = ArbpipeError.code


class LedgerStore:
    """The file. :meth:`transaction` is the only way to write; :meth:`append` is used inside it."""

    def __init__(self, path: Path, mode: str, *, readonly: bool = False) -> None:
        """Open or create the ledger of a mode.

        Raises:
            EnvironmentRefused: the file cannot be opened, or is not a database.
            LayoutMismatch: another schema version, or another mode's ledger.
        """
        self.path = path
        try:
            if readonly:
                self.db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.exists() and not path.stat().st_size:
                    # SQLite would take it for a new database, and a lost ledger would pass for one without events (F65)
                    raise EnvironmentRefused(
                        f"the ledger {path} is a file of 0 bytes: restore it from a backup, or remove it if nothing was "
                        "ever traded with it"
                    )
                self.db = sqlite3.connect(path, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from None
        try:
            self._open(mode, readonly=readonly)
        except sqlite3.Error as error:
            self.db.close()
            raise _unusable(path, error) from None
        except BaseException:
            self.db.close()
            raise

    def _open(self, mode: str, *, readonly: bool) -> None:
        """Check whose ledger it is, before anything in it is touched, and make what a new one lacks."""
        version = self.db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise LayoutMismatch(
                f"{self.path} has ledger version {version}, this arbpipe {SCHEMA_VERSION}: use the arbpipe that wrote it, "
                "or name another state folder"
            )
        if not readonly:
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=NORMAL")
            self.db.execute("PRAGMA wal_autocheckpoint=0")
            self.db.executescript(_SCHEMA)
        known = dict(self.db.execute("SELECT name, value FROM meta").fetchall())
        if known.get("mode", mode) != mode:
            raise LayoutMismatch(
                f"{self.path} is a ledger of mode {known['mode']}, not {mode}: name another state folder"
            )
        if not readonly and not known:
            self.db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            self.db.execute("INSERT INTO meta VALUES ('mode', ?)", (mode,))
        self._head = self._last_hash()

    def close(self) -> None:
        """Checkpoint and close."""
        if self.db.in_transaction:
            self.db.execute("ROLLBACK")
        self.db.close()

    def checkpoint(self) -> None:
        """Move the log into the file; called when idle, never on the hot path."""
        self.db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _last_hash(self) -> tuple[int, bytes]:
        row = self.db.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
        return (row[0], row[1]) if row else (0, b"\0" * 32)

    @property
    def empty(self) -> bool:
        """Whether no event was ever stored."""
        return self._head[0] == 0

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. On any error the chain's head is what the file says."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield self.db
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            self._head = self._last_hash()
            raise

    def append(self, kind: str, attempt: str, body: dict[str, Any]) -> int:
        """Add an event to the chain; return its number. Only inside :meth:`transaction`."""
        if not self.db.in_transaction:
            raise RuntimeError("an event outside a transaction could be stored without what derives from it")
        seq, previous = self._head[0] + 1, self._head[1]
        at, data = wall_ns(), msgspec.json.encode(body)
        digest = _digest(seq, at, kind, attempt, data, previous)
        self.db.execute(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", (seq, at, kind, attempt, data, previous, digest)
        )
        self._head = (seq, digest)
        return seq

    def verify(self) -> int:
        """Walk the whole chain; return the number of events.

        Raises:
            LedgerDamaged: naming the first event that does not hold.
        """
        previous, expected = b"\0" * 32, 1
        for seq, at, kind, attempt, data, before, digest in self.db.execute("SELECT * FROM events ORDER BY seq"):
            if seq != expected or before != previous or digest != _digest(seq, at, kind, attempt, data, previous):
                raise LedgerDamaged(
                    f"{self.path}: event {seq} was changed, or the one before it is missing: do not trade on this "
                    "ledger; restore a backup and let it be reconciled with the venues"
                )
            previous, expected = digest, expected + 1
        return expected - 1


def _unusable(path: Path, error: Exception) -> EnvironmentRefused:
    return EnvironmentRefused(f"cannot open the ledger {path}: {error}; restore it from a backup or move it away")


def _digest(seq: int, at_ns: int, kind: str, attempt: str, body: bytes, previous: bytes) -> bytes:
    head = f"{seq}\n{at_ns}\n{kind}\n{attempt}\n".encode()
    return hashlib.sha256(head + previous + body).digest()
