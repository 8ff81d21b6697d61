"""The listing on disk: one SQLite file for one scope, written page by page together with the cursor of the next.

A killed run loses nothing that was written, and the next one goes on behind the last page. Rows are kept as the venue
wrote them, so that a newer program reads more in them than the one that stored them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from arbpipe.errors import EnvironmentRefused

__all__ = ["ListingStore", "Progress", "Run", "Scope", "StoredRow"]

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE task (name TEXT PRIMARY KEY, cursor TEXT NOT NULL, pages INTEGER NOT NULL, rows INTEGER NOT NULL,
    done INTEGER NOT NULL, restarted INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE seen (task TEXT NOT NULL, ticker TEXT NOT NULL, PRIMARY KEY (task, ticker)) WITHOUT ROWID;
CREATE TABLE row (kind TEXT NOT NULL, ticker TEXT NOT NULL, parent TEXT NOT NULL, raw BLOB NOT NULL,
    read_s INTEGER NOT NULL, run INTEGER NOT NULL, PRIMARY KEY (kind, ticker)) WITHOUT ROWID;
CREATE TABLE fee_change (kind TEXT NOT NULL, raw BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a store lists: the venue's address, the chosen series (none: all), a category and a market status."""

    address: str
    series: tuple[str, ...] = ()
    category: str = ""
    status: str = "open"

    def text(self) -> str:
        """The scope as one line of JSON; equal scopes have equal lines."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Run:
    """One reading. ``since_s`` is 0 for a full one, else it reads only what changed after that Unix second.

    ``full_s`` is when the last full reading began that this one builds upon.
    """

    number: int
    started_s: int
    since_s: int
    full_s: int
    finished: bool = False


class Progress(NamedTuple):
    """How far one list of a run has come. ``cursor`` asks for the next page."""

    cursor: str = ""
    pages: int = 0
    rows: int = 0
    done: bool = False
    restarted: bool = False


class StoredRow(NamedTuple):
    """A row as the venue wrote it, not before the Unix second ``read_s``.

    ``ticker`` is made up where the row has none; ``parent`` (of a market its event, of an event its series) is empty
    where it has none.
    """

    ticker: str
    parent: str
    raw: bytes
    read_s: int


class ListingStore:
    """The file. One process at a time writes it."""

    def __init__(self, path: Path, scope: Scope | None) -> None:
        """Open or create; without a ``scope`` open whatever is there.

        Raises:
            EnvironmentRefused: it cannot be opened, is no such store, holds another scope, or another run writes it.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=1.0, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise EnvironmentRefused(f"the listing store {path} cannot be opened: {error}") from None
        try:
            self._open(scope)
        except sqlite3.OperationalError as error:
            self._db.close()
            raise EnvironmentRefused(
                f"the listing store {path} cannot be used ({error}): another run may be writing it; wait for it, or "
                "name another file with --store"
            ) from None
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise EnvironmentRefused(f"{path} is no listing store ({error}): name another file with --store") from None
        except EnvironmentRefused:
            self._db.close()
            raise

    def _open(self, scope: Scope | None) -> None:
        # one writer: the lock is held until the file is closed, or until the process is gone
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("BEGIN EXCLUSIVE")
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if (
            scope is not None
            and not version
            and not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        ):
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
            self._put("scope", scope.text())
            version = _VERSION
        self._db.execute("COMMIT")
        held = "" if version != _VERSION else self._get("scope")
        if version != _VERSION:
            raise EnvironmentRefused(
                f"{self._path} is no listing store of version {_VERSION} (it says {version}): name another file with --store"
            )
        if scope is not None and held != scope.text():
            raise EnvironmentRefused(
                f"the listing store {self._path} holds another listing ({held}, asked for {scope.text()}): name another "
                "file with --store"
            )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # -- runs ------------------------------------------------------------------------------------------------------------

    def last_run(self) -> Run | None:
        """The run that was begun last."""
        text = self._get("run")
        if not text:
            return None
        number, started_s, since_s, full_s, finished = json.loads(text)
        return Run(number, started_s, since_s, full_s, bool(finished))

    def begin(self, run: Run) -> None:
        """Begin a run: what the last one had left to do is forgotten, its rows are kept."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM task")
            self._db.execute("DELETE FROM seen")
            self._put_run(run)

    def finish(self, run: Run) -> int:
        """End a run. A full one forgets the rows that it did not see; returns how many."""
        gone = 0
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if not run.since_s:
                gone = self._db.execute("DELETE FROM row WHERE run < ?", (run.number,)).rowcount
            self._db.execute("DELETE FROM seen")
            self._put_run(replace(run, finished=True))
        return gone

    def _put_run(self, run: Run) -> None:
        self._put("run", json.dumps([run.number, run.started_s, run.since_s, run.full_s, run.finished]))

    # -- pages -----------------------------------------------------------------------------------------------------------

    def progress(self, task: str) -> Progress:
        """How far a list has come in this run."""
        row = self._db.execute(
            "SELECT cursor, pages, rows, done, restarted FROM task WHERE name = ?", (task,)
        ).fetchone()
        return Progress(row[0], row[1], row[2], bool(row[3]), bool(row[4])) if row else Progress()

    def unseen(self, task: str, tickers: Sequence[str]) -> int:
        """How many of these were not on an earlier page of the list."""
        names = set(tickers)
        query = "SELECT 1 FROM seen WHERE task = ? AND ticker = ?"
        return sum(self._db.execute(query, (task, name)).fetchone() is None for name in names)

    def write_page(
        self, task: str, kind: str, rows: Sequence[StoredRow], on_page: Sequence[str], progress: Progress, run: Run
    ) -> None:
        """Store a page and how far the list has come, both or neither. ``on_page`` names all rows, also dropped ones."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._write_rows(kind, rows, run)
            self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", [(task, ticker) for ticker in on_page])
            self._put_progress(task, progress)

    def restart(self, task: str) -> Progress:
        """Read a list from its first page again: its cursor means nothing any more."""
        again = Progress(restarted=True)
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM seen WHERE task = ?", (task,))
            self._put_progress(task, again)
        return again

    def write_series(self, rows: Sequence[StoredRow], run: Run) -> None:
        """Replace what is known of these series."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._write_rows("series", rows, run)

    def write_fee_changes(self, changes: Sequence[tuple[str, bytes]]) -> None:
        """Replace all scheduled changes by these ``(kind, row)``."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("DELETE FROM fee_change")
            self._db.executemany("INSERT INTO fee_change VALUES (?, ?)", changes)

    def _write_rows(self, kind: str, rows: Sequence[StoredRow], run: Run) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO row VALUES (?, ?, ?, ?, ?, ?)", [(kind, *row, run.number) for row in rows]
        )

    def _put_progress(self, task: str, progress: Progress) -> None:
        self._db.execute("INSERT OR REPLACE INTO task VALUES (?, ?, ?, ?, ?, ?)", (task, *progress))

    # -- reading ---------------------------------------------------------------------------------------------------------

    def rows(self, kind: str) -> Iterator[StoredRow]:
        """All rows of a kind (``series``, ``event``, ``market``), by ticker."""
        for row in self._db.execute(
            "SELECT ticker, parent, raw, read_s FROM row WHERE kind = ? ORDER BY ticker", (kind,)
        ):
            yield StoredRow(row[0], row[1], bytes(row[2]), row[3])

    def row(self, kind: str, ticker: str) -> StoredRow | None:
        """One row."""
        found = self._db.execute(
            "SELECT ticker, parent, raw, read_s FROM row WHERE kind = ? AND ticker = ?", (kind, ticker)
        ).fetchone()
        return StoredRow(found[0], found[1], bytes(found[2]), found[3]) if found else None

    def fee_changes(self, kind: str) -> list[bytes]:
        """All scheduled changes of a kind (``series``, ``event``)."""
        return [bytes(row[0]) for row in self._db.execute("SELECT raw FROM fee_change WHERE kind = ?", (kind,))]

    def _get(self, key: str) -> str:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    def _put(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
