"""``pairs.toml`` changes while a replay runs: what left is revoked at once, what is broken changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from paper_books import attempted_events
from system_support import Box, Running, wait_for

pytestmark = pytest.mark.system

SECONDS = 10
EVENTS = 20


def blocks(text: str) -> list[str]:
    """The tables of a pairs.toml, the head first."""
    head, *rest = text.split("\n[[")
    return [head + "\n", *("[[" + each + "\n" for each in rest)]


def without_event(text: str, event: str) -> str:
    """The file without what it asserts about an event; its instruments stay."""
    kept = [each for each in blocks(text) if f'event = "{event}"' not in each]
    assert len(kept) < len(blocks(text)), event
    return "".join(kept)


def put(path: Path, text: str) -> None:
    """Replace a file in one step, as editors do."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def status(box: Box, segment: Path) -> dict[str, Any]:
    said: dict[str, Any] = box.status(segment).json
    return said


def covers_of(box: Box, segment: Path, event: str) -> list[str]:
    """The covers of an event that the running pipeline knows, as ``why`` tells."""
    done = box.run("why", event, "--segment", segment, "--json")
    return [each["cover"] for each in done.json.get("covers", ())]


class Changing:
    """A replay at real speed over a segment and a state of its own, and its pairs file."""

    def __init__(self, box: Box, seed: int) -> None:
        self.box = box
        sample = box.work / "sample"
        made = box.run("sample", sample, "--seed", seed, "--seconds", SECONDS, "--events", EVENTS)
        assert made.code == 0, made.err
        self.planned: list[dict[str, Any]] = json.loads((sample / "sample.json").read_text())["arbitrages"]
        self.pairs = box.work / "pairs.toml"
        self.text = (sample / "pairs.toml").read_text()
        self.pairs.write_text(self.text)
        self.state = box.work / "state"
        self.segment = box.work / "segment"
        self.sample = sample

    def start(self) -> Running:
        args = ("--speed", 1, "--pairs", self.pairs, "--state", self.state, "--segment", self.segment, "--json")
        replay = self.box.start("replay", self.sample, *args)
        wait_for("the first generation", lambda: self.generation() == 1, 15.0)
        return replay

    def generation(self) -> int:
        done = self.box.status(self.segment)
        return int(done.json["generation"]) if done.code in (0, 1) else 0

    def alerts(self) -> list[str]:
        log = self.state / "alerts.log"
        return log.read_text().splitlines() if log.exists() else []


def test_changes_of_the_pairs_file_take_effect_while_everything_runs(box: Box) -> None:
    run = Changing(box, seed=3)
    late = [each for each in run.planned if each["tails"] == "none" and each["start_ns"] > 5_000_000_000]
    gone, others = late[0]["event"], {each["event"] for each in late[1:]}
    early = [each["event"] for each in run.planned if each["start_ns"] < 5_000_000_000]
    assert gone not in early
    assert others - {gone}
    # a relation that is added in the middle: it is left out at the start
    added = next(each["event"] for each in reversed(late) if each["event"] != gone)
    run.pairs.write_text(without_event(run.text, added))
    replay = run.start()
    assert covers_of(box, run.segment, gone)
    assert box.run("why", added, "--segment", run.segment).code == 2

    put(run.pairs, without_event(without_event(run.text, added), gone))
    wait_for("the generation without the relation", lambda: run.generation() == 2, 2.0)
    assert box.run("why", gone, "--segment", run.segment).code == 2

    put(run.pairs, run.text.replace("schema = 1", "schema = ["))
    wait_for("an alert about the broken file", lambda: any("CATALOG" in line for line in run.alerts()), 2.0)
    [alert] = [line for line in run.alerts() if "CATALOG" in line]
    assert str(run.pairs) in alert
    assert "is not TOML: Invalid value" in alert
    assert "generation 2 stands" in alert
    assert run.generation() == 2

    put(run.pairs, without_event(run.text, gone))
    wait_for("the generation with the added relation", lambda: run.generation() == 3, 2.0)
    assert covers_of(box, run.segment, added)
    said = status(box, run.segment)
    assert said["generation"] == 3
    catalog = next(each for each in said["processes"] if each["role"] == "catalog")
    assert [error["code"] for error in catalog["errors"]] == ["catalog"]

    done = replay.wait(40)
    assert done.code == 0, done.err
    assert (done.json["unresolved"], done.json["ledger_matches_venues"]) == (0, True)
    attempted = [event for _, event, _ in attempted_events(run.state)]
    assert gone not in attempted
    assert added in attempted
    assert set(attempted) > {added}, "nothing else went on"
    assert box.remains() == []


def test_the_untouched_sample_attempts_what_the_change_revoked(box: Box) -> None:
    run = Changing(box, seed=3)
    late = [each for each in run.planned if each["tails"] == "none" and each["start_ns"] > 5_000_000_000]
    done = box.run("replay", run.sample, "--state", run.state, "--json")
    assert done.code == 0, done.err
    assert late[0]["event"] in [event for _, event, _ in attempted_events(run.state)]


def test_a_relation_that_is_revoked_while_its_edge_stands_is_attempted_no_further(box: Box) -> None:
    run = Changing(box, seed=3)
    replay = run.start()
    wait_for("the first attempt", lambda: status(box, run.segment)["counts"]["attempts"] > 0, 15.0)
    first = attempted_events(run.state)[0][1]
    put(run.pairs, without_event(run.text, first))
    wait_for("the generation without it", lambda: run.generation() == 2, 2.0)
    count = [event for _, event, _ in attempted_events(run.state)].count(first)
    done = replay.wait(40)
    assert (done.code, done.json["unresolved"]) == (0, 0), done.err
    attempted = [event for _, event, _ in attempted_events(run.state)]
    assert attempted.count(first) == count
    assert set(attempted) > {first}
