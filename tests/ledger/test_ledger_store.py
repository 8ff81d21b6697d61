"""One file: a chain that shows every change, a mode and a version that are never mistaken, and nothing lost in silence."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from execution_bench import open_ledger, record_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbpipe.errors import EnvironmentRefused, LayoutMismatch
from arbpipe.ledger.store import LedgerDamaged, LedgerStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with five events, closed."""
    made = tmp_path / "ledger.sqlite"
    ledger = open_ledger(made)
    for number in range(4):
        ledger.begin(record_of(f"{number:032x}"), (), lambda usage: None)
    ledger.store.close()
    return made


@pytest.fixture
def store(path: Path) -> Iterator[LedgerStore]:
    made = LedgerStore(path, "PAPER")
    yield made
    made.close()


COLUMNS = ("seq", "at_ns", "kind", "attempt", "body", "previous", "hash")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(COLUMNS), st.integers(1, 5), st.integers(0, 10_000), st.integers(1, 255))
def test_a_change_of_any_byte_of_any_event_is_found(
    store: LedgerStore, column: str, seq: int, place: int, flip: int
) -> None:
    assert store.verify() == 5
    (value,) = store.db.execute(f"SELECT {column} FROM events WHERE seq = ?", (seq,)).fetchone()
    changed: object
    if isinstance(value, int):
        changed = value ^ flip << (place % 6 * 8 if column == "at_ns" else 8)
    else:
        raw = bytearray(value.encode() if isinstance(value, str) else value) or bytearray(1)
        raw[place % len(raw)] ^= flip if isinstance(value, bytes) else flip % 127 + 1 & 0x7F
        changed = bytes(raw) if isinstance(value, bytes) else raw.decode("ascii", "replace")
    if changed == value:
        return
    store.db.execute("BEGIN")
    store.db.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", (changed, seq))
    with pytest.raises(LedgerDamaged, match=r"event \d+ was changed, or the one before it is missing: do not trade"):
        store.verify()
    store.db.execute("ROLLBACK")


@pytest.mark.parametrize("seq", [1, 2, 4])
def test_an_event_taken_out_is_found(store: LedgerStore, seq: int) -> None:
    store.db.execute("DELETE FROM events WHERE seq = ?", (seq,))
    with pytest.raises(LedgerDamaged, match=re.escape(f"event {seq + 1} was changed")):
        store.verify()


def test_two_events_that_change_places_are_found(store: LedgerStore) -> None:
    for old, new in ((2, 99), (3, 2), (99, 3)):
        store.db.execute("UPDATE events SET seq = ? WHERE seq = ?", (new, old))
    with pytest.raises(LedgerDamaged):
        store.verify()


def test_a_cut_tail_is_not_something_the_chain_can_show(store: LedgerStore) -> None:
    # the chain proves what is there; that the end is missing shows when the ledger is compared with the venues
    store.db.execute("DELETE FROM events WHERE seq > 3")
    assert store.verify() == 3


def test_an_event_is_only_stored_with_what_follows_from_it(store: LedgerStore) -> None:
    with pytest.raises(RuntimeError, match="outside a transaction"):
        store.append("note", "", {})

    def fails_halfway() -> None:
        with store.transaction():
            store.append("note", "", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_halfway()
    assert store.verify() == 5
    with store.transaction():
        assert store.append("note", "", {}) == 6
    assert store.verify() == 6


def test_f65_a_ledger_survives_a_restart_with_its_events(path: Path) -> None:
    again = LedgerStore(path, "PAPER")
    assert (again.verify(), again.empty) == (5, False)
    again.close()


def test_f65_what_was_committed_is_there_without_an_orderly_end(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "l.sqlite")
    ledger.note("one", "", {})
    # nobody closes it: a second process reads the log that a killed one left
    reader = LedgerStore(tmp_path / "l.sqlite", "PAPER")
    assert reader.verify() == 2
    reader.close()
    ledger.store.close()


@pytest.mark.parametrize("content", [b"", b"garbage " * 600, b"SQLite format 3\0" + b"\xff" * 4_080])
@pytest.mark.parametrize("readonly", [False, True])
def test_f65_a_file_that_is_no_ledger_is_refused_and_left_as_it_is(
    tmp_path: Path, content: bytes, readonly: bool
) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(content)
    with pytest.raises(EnvironmentRefused, match=f"{path}.*(restore it from a backup)"):
        LedgerStore(path, "PAPER", readonly=readonly)
    assert path.read_bytes() == content


def test_f65_a_lost_ledger_taken_for_a_new_one_is_empty(tmp_path: Path) -> None:
    """The mistake: SQLite opens a file of 0 bytes as a new database, and everything that was held is forgotten."""
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"")
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE IF NOT EXISTS events (seq INTEGER)")
    assert db.execute("SELECT COUNT(*) FROM events").fetchone() == (0,)
    db.close()


def test_another_modes_ledger_is_refused(path: Path) -> None:
    with pytest.raises(LayoutMismatch, match=f"{path} is a ledger of mode PAPER, not LIVE: name another state folder"):
        LedgerStore(path, "LIVE")


def test_another_schema_version_is_refused_and_not_touched(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("DROP TABLE meta")
    db.execute("PRAGMA user_version=2")
    db.commit()
    db.close()
    for readonly in (False, True):
        with pytest.raises(LayoutMismatch, match=f"{path} has ledger version 2, this arbpipe 1: use the arbpipe that"):
            LedgerStore(path, "PAPER", readonly=readonly)
    db = sqlite3.connect(path)
    assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchall()
    db.close()


def test_a_folder_in_the_ledgers_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").mkdir()
    with pytest.raises(EnvironmentRefused, match="cannot open the ledger"):
        LedgerStore(tmp_path / "ledger.sqlite", "PAPER")
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentRefused, match="cannot open the ledger"):
        LedgerStore(tmp_path / "file" / "ledger.sqlite", "PAPER")


def test_a_reader_cannot_write_and_makes_no_ledger(path: Path, tmp_path: Path) -> None:
    reader = LedgerStore(path, "PAPER", readonly=True)
    assert reader.verify() == 5
    with pytest.raises(sqlite3.OperationalError, match="readonly"), reader.transaction():
        reader.append("note", "", {})
    reader.close()
    with pytest.raises(EnvironmentRefused, match="cannot open the ledger"):
        LedgerStore(tmp_path / "none.sqlite", "PAPER", readonly=True)
    assert not (tmp_path / "none.sqlite").exists()


def test_a_reader_sees_what_is_written_meanwhile(path: Path, store: LedgerStore) -> None:
    reader = LedgerStore(path, "PAPER", readonly=True)
    with store.transaction():
        store.append("note", "", {})
        assert reader.verify() == 5
    assert reader.verify() == 6
    reader.close()


def test_a_new_ledger_is_empty_until_its_first_event(tmp_path: Path) -> None:
    store = LedgerStore(tmp_path / "folder" / "l.sqlite", "PAPER")
    assert (store.empty, store.verify()) == (True, 0)
    with store.transaction():
        store.append("note", "", {"a": 1})
    assert not store.empty
    store.checkpoint()
    store.close()
