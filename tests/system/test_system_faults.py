"""A process that dies or freezes in the middle of trading is back at once, and nothing is taken twice for it."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest
from paper_books import fills_of_ledger, fills_of_venue, sent_twice
from system_support import Box, Running, line_of, slowness

pytestmark = pytest.mark.system

#: The executor first: its attempts need the longest time to be seen again.
KILLED = ("executor", "detector", "feed-kalshi", "feed-polymarket", "catalog")


def back(health: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether the process that was ``before`` runs again: another pid, alive, RUN, one restart more."""
    now = line_of(health, before["role"])
    return bool(
        now["pid"] != before["pid"]
        and now["alive"]
        and now["state"] == "RUN"
        and now["restarts"] == before["restarts"] + 1
    )


def kill_and_wait(replay: Running, role: str) -> None:
    """SIGKILL a role; it is back within a second, and opportunities (of the executor: attempts) go on within ten."""
    health = replay.healthy()
    before, counts = line_of(health, role), health["counts"]
    allowed = 1.0 * slowness()
    os.kill(before["pid"], signal.SIGKILL)
    replay.until(f"{role} back in RUN", lambda now: back(now, before), allowed)
    what = "attempts" if role == "executor" else "opportunities"
    replay.until(f"{what} after {role} was killed", lambda now: bool(now["counts"][what] > counts[what]), 10.0)


def test_every_killed_process_is_back_within_a_second_and_nothing_is_taken_twice(box: Box) -> None:
    state = box.work / "state"
    replay = box.paper("--json", "--state", state, seconds=20, events=40)
    for role in KILLED:
        kill_and_wait(replay, role)
    done = replay.wait(40)
    assert done.code == 0, done.err
    summary = done.json
    assert summary["restarts"] == len(KILLED)
    assert (summary["ledger_matches_venues"], summary["unresolved"]) == (True, 0), summary["differences"]
    assert summary["open_exposure_contracts"] == 0
    assert sent_twice(state) == []
    fills = fills_of_venue(state)
    assert fills_of_ledger(state) == fills
    assert len(fills) >= 4
    assert box.remains() == []


def test_a_frozen_detector_is_shown_killed_and_restarted(box: Box) -> None:
    replay = box.paper("--json", seconds=15)
    before = line_of(replay.healthy(), "detector")
    allowed = slowness()
    os.kill(before["pid"], signal.SIGSTOP)
    began = time.monotonic()
    shown = replay.until(
        "status that shows the frozen detector",
        lambda now: any(problem.startswith("detector hangs") for problem in now["problems"]),
        2.0,
    )
    assert line_of(shown, "detector")["pid"] == before["pid"]
    assert shown["healthy"] is False
    replay.until("a new detector", lambda now: back(now, before), 2.0 + allowed - (time.monotonic() - began))
    replay.healthy()
    done = replay.wait(30)
    assert (done.code, done.json["restarts"]) == (0, 1), done.err
    assert box.remains() == []
