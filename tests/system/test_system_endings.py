"""However a run ends, by itself, by one signal, by two, or by SIGKILL of its supervisor, nothing of it is left for long."""

from __future__ import annotations

import os
import signal

import pytest
from paper_books import fills_of_ledger, fills_of_venue, sent_twice
from system_support import Box, Running, line_of, protected, slowness, wait_for

from arbpipe.shm.layout import Role

pytestmark = pytest.mark.system

CHILDREN = ("catalog", "feed-kalshi", "feed-polymarket", "detector", "executor")


def kill_supervisor(box: Box, replay: Running) -> None:
    """SIGKILL the command: its children end within two seconds, and status says who is dead, and exits 1."""
    directory = replay.directory()
    children = {line_of(replay.healthy(), role)["pid"] for role in CHILDREN}
    assert {process.pid for process in box.processes()} == {replay.pid, *children}
    with protected(directory):
        os.kill(replay.pid, signal.SIGKILL)
        replay.process.wait(5)
        wait_for("the end of every child", lambda: not box.processes(), 2.0 * slowness())
        status = box.status(directory)
        assert status.code == 1, status.err
        dead = [problem for problem in status.json["problems"] if " is dead (pid " in problem]
        assert sorted(problem.split()[0] for problem in dead) == sorted((*CHILDREN, Role.SUPERVISOR.label))
        assert not any(each["alive"] for each in status.json["processes"])
        people = box.run("status", "--segment", directory)
        assert (people.code, "DEGRADED" in people.out, people.out.count("  dead")) == (1, True, 6), people.out


def test_killed_supervisor_takes_its_children_along_and_the_next_run_recovers(box: Box) -> None:
    state = box.work / "state"
    replay = box.paper("--json", "--state", state, seconds=20, events=40)
    dead = replay.directory()
    replay.until("an attempt", lambda now: bool(now["counts"]["attempts"]), 15.0)
    kill_supervisor(box, replay)
    before = fills_of_venue(state)
    again = box.paper("--json", "--state", state, seconds=3, events=40).wait()
    assert again.code == 0, again.err
    assert (again.json["ledger_matches_venues"], again.json["unresolved"]) == (True, 0), again.json["differences"]
    assert not dead.exists(), "the dead instance is still there"
    assert sent_twice(state) == []
    assert fills_of_ledger(state) == fills_of_venue(state)
    assert set(before) <= set(fills_of_ledger(state))
    assert box.remains() == []


def test_nothing_is_left_of_a_replay_that_ended_by_itself(box: Box) -> None:
    done = box.paper(seconds=3).wait()
    assert done.code == 0, done.err
    assert "the ledger and the venues' own books agree: difference 0" in done.out
    assert box.remains() == []


def test_one_interrupt_ends_a_replay_in_order_with_its_summary(box: Box) -> None:
    replay = box.paper("--json", seconds=60)
    replay.healthy()
    replay.send(signal.SIGINT)
    done = replay.wait(10)
    assert done.code == 130, done.err
    assert (done.json["mode"], done.json["ledger_matches_venues"], done.json["restarts"]) == ("REPLAY", True, 0)
    assert "ending in order; once more ends at once" in done.err
    assert box.remains() == []


def test_a_second_interrupt_ends_a_replay_at_once(box: Box) -> None:
    replay = box.paper("--json", seconds=60)
    health = replay.healthy()
    # a stopped executor cannot end in order: without the second signal this would take three seconds
    os.kill(line_of(health, "executor")["pid"], signal.SIGSTOP)
    replay.send(signal.SIGINT)
    wait_for("word of the first signal", lambda: "once more ends at once" in replay.stderr, 5.0)
    replay.send(signal.SIGINT)
    done = replay.wait(1.5 * slowness())
    assert (done.code, done.out) == (130, ""), done.err
    assert box.remains() == []


def test_an_interrupt_before_anything_runs_leaves_nothing(box: Box) -> None:
    replay = box.paper("--json", seconds=60)
    replay.directory()  # it has a segment, its processes are just being started
    replay.send(signal.SIGINT)
    assert replay.wait(15).code == 130, replay.stderr
    assert box.remains() == []


def test_a_session_that_never_started_leaves_no_temporary_folder(box: Box) -> None:
    folder = box.work / "sample"
    assert box.run("sample", folder, "--seconds", 2).code == 0
    blocked = box.work / "file"
    blocked.write_text("no directory")
    done = box.run("replay", folder, "--segment", blocked / "segment", "--json")
    assert done.code == 4, done.err
    assert done.json["error"]["name"] == "environment"
    assert box.remains() == []
