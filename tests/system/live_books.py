"""What the simulated venues and the ledger wrote down, read from their SQLite files by plain SQL, and who runs the venues."""

from __future__ import annotations

import socket
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
from system_support import Box

__all__ = [
    "VENUES",
    "Executed",
    "booked_in_ledger",
    "executed_at_venues",
    "executed_twice",
    "listens",
    "opened_on",
    "ports_of",
    "simulator",
    "unsettled",
    "without_fault",
]

#: Label → number in the ledger.
VENUES: Final = {"kalshi": 1, "polymarket": 2}
#: (venue, fill ids, quantity, fee, cash) of one order: 1e-6 contracts and dollars, cash as it moves the account.
Executed = tuple[int, tuple[str, ...], int, int, int]


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        yield database


def _by_order(fills: Iterable[tuple[int, str, str, int, int, int]]) -> list[Executed]:
    """Fills (venue, order, id, quantity, fee, cash) added up by order: a venue rounds an order's dollars once."""
    orders: dict[tuple[int, str], list[tuple[str, int, int, int]]] = defaultdict(list)
    for venue, order, *fill in fills:
        orders[venue, order].append(tuple(fill))  # type: ignore[arg-type]
    found = []
    for (venue, _), its in orders.items():
        names, *amounts = zip(*sorted(its), strict=True)
        quantity, fee, cash = (sum(each) for each in amounts)
        found.append((venue, names, quantity, fee, cash))
    return sorted(found)


def executed_at_venues(venues: Path) -> list[Executed]:
    """Every order with a fill that the simulators keep in their folder; what failed on chain is none."""
    with _opened(venues / "kalshi.sqlite") as database:
        fills = database.execute("SELECT 1, order_id, fill_id, count_e2 * 10000, fee_e6, cash_e6 FROM fills").fetchall()
    with _opened(venues / "polymarket.sqlite") as database:
        fills += database.execute(
            "SELECT 2, order_id, id, qty_e6, fee_e6, CASE is_buy WHEN 1 THEN -cash_e6 ELSE cash_e6 END - fee_e6"
            " FROM trades WHERE status != 'FAILED'"
        ).fetchall()
    return _by_order(fills)


def booked_in_ledger(ledger: Path) -> list[Executed]:
    """The same, as the ledger booked it."""
    with _opened(ledger) as database:
        return _by_order(
            database.execute("SELECT venue, client_id, fill_id, qty_e6, fee_e6, cash_e6 FROM fills").fetchall()
        )


def executed_twice(venues: Path, ledger: Path) -> list[str]:
    """Orders at the venues that no intent explains, and intents for which a venue has more than one order."""
    with _opened(ledger) as database:
        intents = dict(database.execute("SELECT client_id, venue FROM intents").fetchall())
        client_of = dict(database.execute("SELECT fill_id, client_id FROM fills").fetchall())
    orders: dict[str, set[str]] = defaultdict(set)
    with _opened(venues / "kalshi.sqlite") as database:
        for order, client in database.execute("SELECT order_id, client_order_id FROM orders"):
            orders[client].add(order)
    with _opened(venues / "polymarket.sqlite") as database:
        # an order is known by its hash there; the ledger knows the trade, and by it the intent
        for order, trade in database.execute("SELECT order_id, id FROM trades"):
            orders[client_of.get(trade, f"trade {trade}")].add(order)
        (sent,) = database.execute("SELECT count(*) FROM orders").fetchone()
    meant = sum(venue == VENUES["polymarket"] for venue in intents.values())
    wrong = [f"{client}: {sorted(ids)}" for client, ids in orders.items() if len(ids) > 1 or client not in intents]
    return sorted(wrong) + ([f"{sent} orders at Polymarket for {meant} intents"] if sent > meant else [])


def opened_on(ledger: Path, venue: str) -> list[int]:
    """When (CLOCK_REALTIME ns) each attempt began that meant to order at a venue from the first."""
    query = (
        "SELECT opened_ns FROM attempts WHERE id IN (SELECT attempt FROM intents WHERE venue = ? AND step = 0)"
        " ORDER BY opened_ns"
    )
    with _opened(ledger) as database:
        return [row[0] for row in database.execute(query, (VENUES[venue],))]


def unsettled(ledger: Path, before_ns: int) -> list[str]:
    """Attempts that began before a moment (CLOCK_REALTIME) and are not over."""
    with _opened(ledger) as database:
        query = "SELECT id FROM attempts WHERE state != 'closed' AND opened_ns < ?"
        return [row[0] for row in database.execute(query, (before_ns,))]


def simulator(box: Box, venue: str) -> psutil.Process | None:
    """The process of a simulated venue."""
    for process in box.processes():
        try:
            if f"arbpipe.sim.{venue}_server" in process.cmdline():
                return process
        except psutil.Error:  # it ended meanwhile
            continue
    return None


def ports_of(box: Box) -> set[int]:
    """The TCP ports on which processes of the box listen."""
    found = set()
    for process in box.processes():
        try:
            found |= {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
    return found


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a port of this machine."""
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0


def without_fault(summary: dict[str, Any]) -> None:
    """Assert what holds at the end of every run against the simulators, whatever was killed meanwhile."""
    assert summary["ledger_matches_venues"] is True, summary["differences"]
    assert {key: summary[key] for key in ("unresolved", "unknown_open", "open_exposure_contracts")} == {
        "unresolved": 0,
        "unknown_open": 0,
        "open_exposure_contracts": 0,
    }
