"""Processes and venues that die while orders are on the wire: back at once, nothing twice, and the books agree."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from live_books import (
    VENUES,
    booked_in_ledger,
    executed_at_venues,
    executed_twice,
    listens,
    opened_on,
    simulator,
    unsettled,
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


def ended(demo: Running, ledger: Path) -> Done:
    """End it in order, once whatever the fault caught has been settled with the venues.

    That an order never arrived takes seconds to prove, and longer than an orderly end waits; what found no proof at first is
    asked again every half minute.
    """
    now = time.time_ns()
    wait_for("the end of what the fault caught", lambda: not unsettled(ledger, now), 75.0)
    demo.send(signal.SIGINT)
    done = demo.wait(20)
    assert done.code == 130, done.err
    return done


def kill_and_wait(demo: Running, role: str) -> float:
    """SIGKILL a role; return after how many seconds it runs again."""
    before = line_of(demo.healthy(), role)

    def back(now: dict[str, Any]) -> bool:
        line = line_of(now, role)
        again = line["restarts"] == before["restarts"] + 1
        return bool(again and line["pid"] != before["pid"] and line["alive"] and line["state"] == "RUN")

    os.kill(before["pid"], signal.SIGKILL)
    began = time.monotonic()
    demo.until(f"{role} back in RUN", back, 15.0)
    return time.monotonic() - began


def more_attempts_than(count: int, health: dict[str, Any]) -> bool:
    return bool(health["counts"]["attempts"] > count)


def all_live(health: dict[str, Any], venue: str) -> bool:
    """Whether every connection to a venue is live."""
    return all(each["state"] == "live" for each in health["connections"] if each["feed"] == f"feed-{venue}")


def settled(state: Path) -> None:
    """Assert that ledger and venues tell the same, order by order, and that nothing was executed twice."""
    ledger, venues = state / "ledger-demo.sqlite", state / "venues"
    assert executed_twice(venues, ledger) == []
    executed = executed_at_venues(venues)
    assert booked_in_ledger(ledger) == executed
    assert len(executed) >= 4


def test_every_killed_process_is_back_within_a_second_and_no_order_is_executed_twice(box: Box) -> None:
    state = box.work / "state"
    demo = box.start("demo", "--seconds", 120, "--json", "--state", state)
    trading(demo)
    kills = 0
    for role in KILLED:
        attempts = demo.healthy()["counts"]["attempts"]
        took, allowed = [kill_and_wait(demo, role)], slowness()
        # what runs beside us may slow down one start, not three
        while min(took) > allowed and len(took) < 3:
            demo.healthy()
            took.append(kill_and_wait(demo, role))
            allowed = max(allowed, slowness())
        assert min(took) <= allowed, f"{role} took {took} s to be back, allowed are {allowed:.1f}"
        kills += len(took)
        demo.until(f"attempts after {role} was killed", partial(more_attempts_than, attempts), 10.0 * allowed)
    done = ended(demo, state / "ledger-demo.sqlite")
    without_fault(done.json)
    assert (done.json["restarts"], done.json["venue_restarts"]) == (kills, 0)
    settled(state)
    assert box.remains() == []


@pytest.mark.parametrize("venue", VENUES)
def test_while_a_venue_is_down_nothing_is_attempted_there_and_then_trading_goes_on(box: Box, venue: str) -> None:
    state = box.work / "state"
    ledger = state / "ledger-demo.sqlite"
    demo = box.start("demo", "--seconds", 120, "--json", "--state", state)
    trading(demo)
    process = simulator(box, venue)
    assert process is not None
    [port] = {each.laddr.port for each in process.net_connections("tcp") if each.status == "LISTEN"}
    margin_ns = int(0.2e9 * slowness())
    earlier = len(opened_on(ledger, venue))
    # its edge stands for a while yet: rows that were still believed would be tried again after the cool-down of 1 s
    wait_for("an attempt with this venue", lambda: len(opened_on(ledger, venue)) > earlier, 25.0)
    process.kill()
    down_ns = time.time_ns()
    demo.send(signal.SIGSTOP)  # whoever starts the venue again
    wait_for("the outage", lambda: not listens(port), 1.0)
    demo.until(f"{venue} shown as down", lambda now: not all_live(now, venue), 2.0 * slowness())
    time.sleep(3.0)
    demo.send(signal.SIGCONT)
    wait_for("the venue's return to its port", lambda: listens(port), 15.0)
    up_ns = time.time_ns()
    assert up_ns - down_ns > 2 * margin_ns, "the outage was too short to tell anything"
    demo.healthy(15.0)
    wait_for("an attempt after the outage", lambda: opened_on(ledger, venue)[-1] > up_ns, 25.0)
    done = ended(demo, ledger)
    during = [when for when in opened_on(ledger, venue) if down_ns + margin_ns < when < up_ns]
    assert during == [], [f"{(when - down_ns) / 1e6:.0f} ms after the kill" for when in during]
    without_fault(done.json)
    assert (done.json["venue_restarts"], done.json["restarts"]) == (1, 0)
    settled(state)
    assert box.remains() == []
