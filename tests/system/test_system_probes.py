"""``status`` and ``why`` beside a pipeline that trades: what they say is what the ledger and shared memory hold."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from paper_books import attempted_events, opened_database
from system_support import Box, Done, Running, line_of, opened, wait_for

from arbpipe.shm.core import CORE

pytestmark = pytest.mark.system


@dataclass(frozen=True)
class Trading:
    box: Box
    replay: Running
    state: Path
    segment: Path
    attempt: str
    event: str
    cover: str

    def why(self, what: str, *more: object) -> Done:
        return self.box.run("why", what, "--segment", self.segment, *more)


@pytest.fixture(scope="module")
def trading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trading]:
    """A replay at real speed that closed an attempt with balanced sets, and goes on."""
    with opened(tmp_path_factory.mktemp("probes") / "box") as box:
        state = box.work / "state"
        replay = box.paper("--json", "--state", state, seconds=60, events=40)
        replay.healthy()

        def closed() -> tuple[str, str, str] | None:
            with opened_database(state, "ledger") as database:
                found: tuple[str, str, str] | None = database.execute(
                    "SELECT id, event, cover FROM attempts WHERE balanced_e6 > 0 LIMIT 1"
                ).fetchone()
                return found

        attempt, event, cover = wait_for("a closed attempt", closed, 20.0)
        yield Trading(box, replay, state, replay.directory(), attempt, event, cover)
        replay.send(signal.SIGINT)
        assert replay.wait(15).code == 130, replay.stderr
        assert box.remains() == []


def test_status_of_a_trading_pipeline_is_healthy_and_complete(trading: Trading) -> None:
    trading.replay.healthy()
    said = trading.box.status(trading.segment)
    assert said.code == 0, said.out
    health: dict[str, Any] = said.json
    assert (health["mode"], health["generation"], health["problems"]) == ("REPLAY", 1, [])
    assert line_of(health, "supervisor")["pid"] == trading.replay.pid
    assert all(each["alive"] and each["state"] == "RUN" and each["rss_mb"] > 1 for each in health["processes"])
    assert {each["state"] for each in health["connections"]} == {"live"}
    assert health["venues"] == {"kalshi": "trading", "polymarket": "trading"}
    assert health["latency_us"]["frame_to_row"]["count"] > 0


def test_status_for_people_fits_80_columns_and_is_plain(trading: Trading) -> None:
    done = trading.box.run("status", "--segment", trading.segment)
    first, *rest = done.out.splitlines()
    assert first == f"arbpipe REPLAY healthy  core: {CORE}  {trading.segment}"
    assert max(map(len, rest)) <= 80
    assert "\x1b" not in done.out
    assert len(done.out.splitlines()) <= 24


def test_why_tells_the_funnel_of_a_cover(trading: Trading) -> None:
    done = trading.why(trading.cover, "--json")
    assert done.code == 0, done.err
    [cover] = done.json["covers"]
    assert (cover["cover"], cover["event"]) == (trading.cover, trading.event)
    assert cover["opportunities"] >= cover["attempts"] >= cover["taken"] >= 1
    assert float(cover["best_edge_usd"]) > 0.005
    people = trading.why(trading.cover)
    assert (people.code, people.err) == (0, "")
    assert people.out.startswith(f"{trading.cover}  (")
    assert re.search(r"\d+ attempts, \d+ with balanced sets", people.out)


def test_why_finds_a_cover_by_a_part_of_its_name(trading: Trading) -> None:
    part = trading.cover.removeprefix("sim-").upper()
    assert trading.cover in [each["cover"] for each in trading.why(part, "--json").json["covers"]]


def test_why_names_the_gate_that_refused_with_value_and_threshold(trading: Trading) -> None:
    covers = trading.why("sim-", "--json").json["covers"]
    assert len(covers) > 20
    refused = [each for each in covers if each["opportunities"] == 0 and each["best_edge_usd"] is not None]
    assert refused
    assert all(each["missing"] == "edge" and float(each["best_edge_usd"]) < 0.005 for each in refused)
    gates = [each["executor_gate"] for each in covers if each["executor_gate"]]
    assert all(gate["value"] and gate["threshold"] for gate in gates)


def test_why_of_an_event_tells_each_of_its_covers(trading: Trading) -> None:
    covers = trading.why(trading.event, "--json").json["covers"]
    assert {each["event"] for each in covers} == {trading.event}
    assert trading.cover in [each["cover"] for each in covers]
    assert all(each["cover"] in trading.why(trading.event).out for each in covers)


def test_why_of_an_attempt_tells_its_story_by_a_prefix_of_its_id(trading: Trading) -> None:
    done = trading.why(trading.attempt[:10], "--json")
    assert done.code == 0, done.err
    assert done.json["attempt"] == trading.attempt
    kinds = [event["kind"] for event in done.json["events"]]
    assert (kinds[0], kinds[-1]) == ("attempt", "closed")
    assert kinds.count("outcome") >= 2
    people = trading.why(trading.attempt[:10]).out
    assert trading.attempt[:8] in people
    assert "planned" in people
    assert "sets held, locked $" in people


def test_why_of_nonsense_is_a_usage_error(trading: Trading) -> None:
    done = trading.why("no such thing", "--json")
    assert (done.code, done.json["error"]["name"]) == (2, "usage")
    assert "'no such thing' is neither a cover, an event nor the beginning of exactly one attempt's id" in done.err


def test_why_reads_a_ledger_without_a_pipeline(trading: Trading) -> None:
    ledger = trading.state / "ledger-replay.sqlite"
    done = trading.box.run("why", trading.attempt, "--ledger", ledger, "--json")
    assert (done.code, done.json["attempt"]) == (0, trading.attempt), done.err
    assert trading.attempt in {row[0] for row in attempts(trading.state)}
    assert trading.event in [event for _, event, _ in attempted_events(trading.state)]


def attempts(state: Path) -> list[tuple[str]]:
    with opened_database(state, "ledger") as database:
        return database.execute("SELECT id FROM attempts").fetchall()
