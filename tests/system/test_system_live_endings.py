"""However a live demo ends, nothing of it is left: no process, no port, no segment, no folder; and its accounts go on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from live_books import (
    VENUES,
    booked_in_ledger,
    executed_at_venues,
    executed_twice,
    listens,
    ports_of,
    simulator,
    without_fault,
)
from system_support import Box, Running, line_of, protected, slowness, wait_for

pytestmark = pytest.mark.system

CHILDREN = ("catalog", "feed-kalshi", "feed-polymarket", "detector", "executor")


def everybody(box: Box, demo: Running) -> set[int]:
    """The pids of a healthy demo: itself, its children, both simulators."""
    health = demo.healthy()
    simulators = {process.pid for venue in VENUES if (process := simulator(box, venue)) is not None}
    assert len(simulators) == len(VENUES)
    return {demo.pid, *simulators, *(line_of(health, role)["pid"] for role in CHILDREN)}


def left_nothing(box: Box, ports: set[int]) -> None:
    """Assert that nothing of what ran in the box is left."""
    assert box.remains() == []
    assert [port for port in ports if listens(port)] == []


def kill(box: Box, demo: Running) -> Path:
    """SIGKILL the demo command: all its children and both venues are gone within two seconds. Return its segment."""
    directory, ports = demo.directory(), ports_of(box)
    assert {process.pid for process in box.processes()} == everybody(box, demo)
    assert len(ports) == len(VENUES)
    allowed = 2.0 * slowness()
    with protected(directory):
        os.kill(demo.pid, signal.SIGKILL)
        demo.process.wait(5)
        wait_for("the end of every child and both venues", lambda: not box.processes(), allowed)
        assert [port for port in ports if listens(port)] == []
        assert box.status(directory).code == 1
    return directory


def secrets_of(venues: Path) -> dict[str, bytes]:
    names = ("kalshi-key.pem", "polymarket-key.hex", "accounts.json", "pairs.toml")
    return {name: (venues / name).read_bytes() for name in names}


def test_a_killed_demo_takes_venues_and_children_along_and_the_next_one_goes_on_with_its_accounts(box: Box) -> None:
    state = box.work / "state"
    ledger, venues = state / "ledger-demo.sqlite", state / "venues"
    demo = box.start("demo", "--seconds", 60, "--json", "--state", state)
    demo.healthy()
    demo.until("an attempt", lambda now: bool(now["counts"]["attempts"]), 20.0)
    dead = kill(box, demo)
    before, keys = executed_at_venues(venues), secrets_of(venues)
    again = box.run("demo", "--seconds", 4, "--json", "--state", state)
    assert again.code == 0, (again.err, again.out)
    without_fault(again.json)
    assert not dead.exists(), "the dead instance is still there"
    assert secrets_of(venues) == keys
    after = executed_at_venues(venues)
    assert set(before) < set(after), "the next demo did not trade"
    assert booked_in_ledger(ledger) == after
    assert executed_twice(venues, ledger) == []
    assert box.remains() == []


def test_accounts_of_another_world_or_without_keys_are_refused_before_anything_starts(box: Box) -> None:
    state = box.work / "state"
    venues = state / "venues"
    assert box.run("demo", "--seconds", 2, "--json", "--state", state).code == 0
    kept = secrets_of(venues)

    def refused(*args: object) -> str:
        done = box.run("demo", "--seconds", 2, "--json", "--state", state, *args)
        assert (done.code, done.json["error"]["name"]) == (4, "environment"), done.err
        assert done.err.count("\n") == 1
        assert not (venues / "kalshi.json").exists(), "a venue was started"
        assert box.remains() == []
        return done.err

    assert "accounts of seed 1 with 8 events" in refused("--seed", 2)
    assert "give --seed 1 --events 8" in refused("--events", 9)
    assert secrets_of(venues) == kept
    (venues / "polymarket-key.hex").unlink()
    assert "not their key polymarket-key.hex" in refused()
    (venues / "accounts.json").write_text("{")
    assert "accounts.json cannot be read" in refused()
    (venues / "accounts.json").unlink()
    assert "kalshi.sqlite, polymarket.sqlite without accounts.json" in refused()


def test_a_second_demo_on_the_same_state_is_refused_naming_the_pid_and_disturbs_nothing(box: Box) -> None:
    state = box.work / "state"
    demo = box.start("demo", "--seconds", 60, "--json", "--state", state)
    running = everybody(box, demo)
    second = box.run("demo", "--seconds", 2, "--json", "--state", state)
    assert (second.code, second.json["error"]["name"]) == (5, "safety"), second.err
    assert f"are run by pid {demo.pid}" in second.err
    demo.healthy()
    assert {process.pid for process in box.processes()} == running
    demo.send(signal.SIGINT)
    done = demo.wait(15)
    assert (done.code, done.json["restarts"], done.json["venue_restarts"]) == (130, 0, 0), done.err
    without_fault(done.json)


def test_nothing_is_left_of_a_demo_that_ended_by_itself(box: Box) -> None:
    demo = box.start("demo", "--seconds", 3, "--json")
    demo.healthy()
    ports = ports_of(box)
    done = demo.wait()
    assert done.code == 0, done.err
    left_nothing(box, ports)


def test_ctrl_c_reaches_the_whole_group_and_still_ends_in_order_with_the_venues_statements(box: Box) -> None:
    demo = box.start("demo", "--seconds", 60, "--json", group=True)
    demo.healthy()
    demo.until("an attempt", lambda now: bool(now["counts"]["attempts"]), 20.0)
    ports = ports_of(box)
    os.killpg(demo.pid, signal.SIGINT)  # as a terminal does it
    done = demo.wait(15)
    assert done.code == 130, done.err
    summary: dict[str, Any] = done.json
    without_fault(summary)
    assert (summary["mode"], summary["restarts"], summary["venue_restarts"]) == ("DEMO", 0, 0)
    assert "ending in order; once more ends at once" in done.err
    left_nothing(box, ports)


def test_a_second_interrupt_ends_a_demo_and_its_venues_at_once(box: Box) -> None:
    demo = box.start("demo", "--seconds", 60, "--json")
    health, ports = demo.healthy(), ports_of(box)
    # a stopped executor cannot end in order: without the second signal this would take three seconds
    os.kill(line_of(health, "executor")["pid"], signal.SIGSTOP)
    demo.send(signal.SIGINT)
    wait_for("word of the first signal", lambda: "once more ends at once" in demo.stderr, 5.0)
    allowed = 1.5 * slowness()
    demo.send(signal.SIGINT)
    done = demo.wait(allowed)
    assert (done.code, done.out) == (130, ""), done.err
    left_nothing(box, ports)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_venues_start_leaves_nothing(box: Box, number: signal.Signals) -> None:
    demo = box.start("demo", "--seconds", 60, "--json")
    wait_for("a venue that begins", lambda: any(simulator(box, venue) for venue in VENUES), 15.0)
    demo.send(number)
    done = demo.wait(15)
    assert done.code == 130, done.err
    assert "Traceback" not in done.err
    wait_for("the end of the venues", lambda: not box.processes(), 2.0)
    assert box.remains() == []


def test_a_folder_that_holds_recordings_is_not_mixed_with_those_of_a_demo(box: Box) -> None:
    record = box.work / "recorded"
    record.mkdir()
    (record / "kalshi.jsonl").write_text("{}\n")
    done = box.run("demo", "--seconds", 2, "--json", "--record", record)
    assert (done.code, done.json["error"]["name"]) == (4, "environment"), done.err
    assert str(record) in done.err
    assert [path.name for path in record.iterdir()] == ["kalshi.jsonl"]
    assert json.loads((record / "kalshi.jsonl").read_text()) == {}
    assert box.remains() == []
