"""Processes and venues that die while orders are on the wire: back at once, nothing twice, and the books agree."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from live_books import (
    VENUES,
    executed_twice,
    fills_of_ledger,
    fills_of_venues,
    listens,
    opened_on,
    simulator,
    without_fault,
)
from system_support import Box, Done, Running, line_of, slowness, wait_for

pytestmark = pytest.mark.system

#: The executor first: what it had in flight must be found again at the venues.
KILLED = ("executor", "detector", "feed-kalshi", "feed-polymarket", "catalog")


def trading(demo: Running, timeout_s: float = 20.0) -> dict[str, Any]:
    """Wait until the demo is healthy and tried something."""
    demo.healthy()
    return demo.until("an attempt", lambda now: bool(now["counts"]["attempts"]), timeout_s)


def ended(demo: Running) -> Done:
    """End it in order."""
    demo.send(signal.SIGINT)
    done = demo.wait(20)
    assert done.code == 130, done.err
    return done


def settled(state: Path) -> None:
    """Assert that ledger and venues tell the same, fill by fill, and that nothing was executed twice."""
    ledger, venues = state / "ledger-demo.sqlite", state / "venues"
    assert executed_twice(venues, ledger) == []
    fills = fills_of_venues(venues)
    assert fills_of_ledger(ledger) == fills
    assert len(fills) >= 4


def test_every_killed_process_is_back_within_a_second_and_no_order_is_executed_twice(box: Box) -> None:
    state = box.work / "state"
    demo = box.start("demo", "--seconds", 120, "--json", "--state", state)
    trading(demo)
    for role in KILLED:
        health = demo.healthy()
        before, attempts = line_of(health, role), health["counts"]["attempts"]
        allowed = slowness()
        os.kill(before["pid"], signal.SIGKILL)

        def back(now: dict[str, Any], before: dict[str, Any] = before) -> bool:
            line = line_of(now, before["role"])
            again = line["restarts"] == before["restarts"] + 1
            return bool(again and line["pid"] != before["pid"] and line["alive"] and line["state"] == "RUN")

        demo.until(f"{role} back in RUN", back, allowed)
        demo.until(
            f"attempts after {role} was killed",
            lambda now, attempts=attempts: bool(now["counts"]["attempts"] > attempts),  # type: ignore[misc]
            10.0 * allowed,
        )
    done = ended(demo)
    without_fault(done.json)
    assert (done.json["restarts"], done.json["venue_restarts"]) == (len(KILLED), 0)
    settled(state)
    assert box.remains() == []


@pytest.mark.parametrize("venue", VENUES)
def test_while_a_venue_is_down_nothing_is_attempted_there_and_then_trading_goes_on(box: Box, venue: str) -> None:
    state = box.work / "state"
    ledger = state / "ledger-demo.sqlite"
    demo = box.start("demo", "--seconds", 120, "--json", "--state", state)
    trading(demo)
    wait_for("an attempt with this venue", lambda: opened_on(ledger, venue), 20.0)
    process = simulator(box, venue)
    assert process is not None
    [port] = {each.laddr.port for each in process.net_connections("tcp") if each.status == "LISTEN"}
    margin_ns = int(0.2e9 * slowness())
    process.kill()
    down_ns = time.time_ns()
    wait_for("the outage", lambda: not listens(port), 1.0)
    demo.until(f"{venue} shown as down", lambda now: not now["healthy"], 2.0 * slowness())
    wait_for("the venue's return to its port", lambda: listens(port), 15.0)
    up_ns = time.time_ns()
    assert up_ns - down_ns > 2 * margin_ns, "the outage was too short to tell anything"
    demo.healthy(15.0)
    wait_for("an attempt after the outage", lambda: opened_on(ledger, venue)[-1] > up_ns, 25.0)
    done = ended(demo)
    during = [when for when in opened_on(ledger, venue) if down_ns + margin_ns < when < up_ns]
    assert during == [], [f"{(when - down_ns) / 1e6:.0f} ms after the kill" for when in during]
    without_fault(done.json)
    assert (done.json["venue_restarts"], done.json["restarts"]) == (1, 0)
    settled(state)
    assert box.remains() == []
