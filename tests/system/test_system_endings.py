"""However a run ends, by itself, by one signal, by two, or by SIGKILL of its supervisor, nothing of it is left for long."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paper_books import fills_of_ledger, fills_of_venue, sent_twice
from system_support import Box, Running, line_of, slowness, wait_for

from arbpipe.shm.layout import Role

pytestmark = pytest.mark.system

CHILDREN = ("catalog", "feed-kalshi", "feed-polymarket", "detector", "executor")


@contextmanager
def protected(directory: Path) -> Iterator[None]:
    """Hold a lock of no role in a segment's directory: another run that starts meanwhile does not clear it away."""
    with open(directory / "lock.witness", "wb") as file:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        yield


def kill_supervisor(box: Box, demo: Running) -> None:
    """SIGKILL the demo command: its children end within two seconds, and status says who is dead, and exits 1."""
    directory = demo.directory()
    children = {line_of(demo.healthy(), role)["pid"] for role in CHILDREN}
    assert {process.pid for process in box.processes()} == {demo.pid, *children}
    with protected(directory):
        os.kill(demo.pid, signal.SIGKILL)
        demo.process.wait(5)
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
    demo = box.start("demo", "--seconds", 20, "--events", 40, "--json", "--state", state)
    dead = demo.directory()
    demo.until("an attempt", lambda now: bool(now["counts"]["attempts"]), 15.0)
    kill_supervisor(box, demo)
    before = fills_of_venue(state)
    again = box.run("demo", "--seconds", 3, "--events", 40, "--json", "--state", state)
    assert again.code == 0, again.err
    assert (again.json["ledger_matches_venues"], again.json["unresolved"]) == (True, 0), again.json["differences"]
    assert not dead.exists(), "the dead instance is still there"
    assert sent_twice(state) == []
    assert fills_of_ledger(state) == fills_of_venue(state)
    assert set(before) <= set(fills_of_ledger(state))
    assert box.remains() == []


def test_nothing_is_left_of_a_demo_that_ended_by_itself(box: Box) -> None:
    done = box.run("demo", "--seconds", 3)
    assert done.code == 0, done.err
    assert "the ledger and the paper venue agree: difference 0" in done.out
    assert "\nnext: arbpipe " in done.out
    assert box.remains() == []


def test_one_interrupt_ends_a_demo_in_order_with_its_summary(box: Box) -> None:
    demo = box.start("demo", "--seconds", 60, "--json")
    demo.healthy()
    demo.send(signal.SIGINT)
    done = demo.wait(10)
    assert done.code == 130, done.err
    assert (done.json["mode"], done.json["ledger_matches_venues"], done.json["restarts"]) == ("DEMO", True, 0)
    assert "ending in order; once more ends at once" in done.err
    assert box.remains() == []


def test_a_second_interrupt_ends_a_demo_at_once(box: Box) -> None:
    demo = box.start("demo", "--seconds", 60, "--json")
    health = demo.healthy()
    # a stopped executor cannot end in order: without the second signal this would take three seconds
    os.kill(line_of(health, "executor")["pid"], signal.SIGSTOP)
    demo.send(signal.SIGINT)
    wait_for("word of the first signal", lambda: "once more ends at once" in demo.stderr, 5.0)
    demo.send(signal.SIGINT)
    done = demo.wait(1.5 * slowness())
    assert (done.code, done.out) == (130, ""), done.err
    assert box.remains() == []


def test_an_interrupt_before_anything_runs_leaves_nothing(box: Box) -> None:
    demo = box.start("demo", "--seconds", 60, "--json")
    demo.directory()  # it has a segment, its processes are just being started
    demo.send(signal.SIGINT)
    assert demo.wait(15).code == 130, demo.stderr
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
