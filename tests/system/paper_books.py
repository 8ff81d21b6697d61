"""What the ledger and the paper venue wrote down, read from their SQLite files by plain SQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

__all__ = ["attempted_events", "fills_of_ledger", "fills_of_venue", "opened_database", "sent_twice"]

Fill = tuple[str, int, int, int, int, int]


@contextmanager
def opened_database(state: Path, kind: str, mode: str = "replay") -> Iterator[sqlite3.Connection]:
    """``ledger`` or ``paper-venue`` of a state folder, read-only."""
    with closing(sqlite3.connect(f"file:{state / f'{kind}-{mode}.sqlite'}?mode=ro", uri=True)) as database:
        yield database


def fills_of_venue(state: Path, mode: str = "replay") -> list[Fill]:
    """(fill id, quantity, price, fee, cash, released) of every order the paper venue executed."""
    found = []
    with opened_database(state, "paper-venue", mode) as database:
        for (outcome,) in database.execute("SELECT outcome FROM orders"):
            for fill in json.loads(outcome)["fills"]:
                found.append(
                    (
                        fill["fill_id"],
                        fill["qty_e6"],
                        fill["price_e4"],
                        fill["fee_e6"],
                        fill["cash_e6"],
                        fill["released_e6"],
                    )
                )
    return sorted(found)


def fills_of_ledger(state: Path, mode: str = "replay") -> list[Fill]:
    """The same, as the ledger booked it."""
    with opened_database(state, "ledger", mode) as database:
        return sorted(
            database.execute("SELECT fill_id, qty_e6, price_e4, fee_e6, cash_e6, released_e6 FROM fills").fetchall()
        )


def sent_twice(state: Path, mode: str = "replay") -> list[str]:
    """Client ids that the paper venue has more than once, or that the ledger never meant to send."""
    with opened_database(state, "paper-venue", mode) as database:
        executed = [row[0] for row in database.execute("SELECT client_id FROM orders")]
    with opened_database(state, "ledger", mode) as database:
        meant = {row[0] for row in database.execute("SELECT client_id FROM intents")}
    return sorted({each for each in executed if executed.count(each) > 1 or each not in meant})


def attempted_events(state: Path, mode: str = "replay") -> list[tuple[int, str, str]]:
    """(CLOCK_REALTIME ns, event, cover) of every attempt, oldest first."""
    with opened_database(state, "ledger", mode) as database:
        return database.execute("SELECT opened_ns, event, cover FROM attempts ORDER BY opened_ns").fetchall()
