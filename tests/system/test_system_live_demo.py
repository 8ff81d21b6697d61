"""``arbpipe demo`` on the wire: real servers, real signatures, and a ledger that agrees with the venues' own statements.

Seeds 1 to 4 run always. ``ARBPIPE_LONG=1 pytest tests/system/test_system_live_demo.py`` runs seeds 1 to 20.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from live_books import without_fault
from system_support import Box, Done, opened

pytestmark = pytest.mark.system

SEEDS = range(1, 21 if os.environ.get("ARBPIPE_LONG") == "1" else 5)


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Done]]:
    """Every seed for 8 s, two at a time."""
    with opened(tmp_path_factory.mktemp("demos") / "box") as box:

        def one(seed: int) -> Done:
            return box.run("demo", "--seconds", 8, "--seed", seed, "--json", timeout_s=120)

        with ThreadPoolExecutor(2) as pool:
            yield dict(zip(SEEDS, pool.map(one, SEEDS), strict=True))
        assert box.remains() == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_demo_ends_flat_reconciled_and_without_a_fault(seed: int, demos: dict[int, Done]) -> None:
    done = demos[seed]
    assert done.code == 0, (done.err, done.out)
    summary = done.json
    without_fault(summary)
    clean = ("gaps", "hash_mismatches", "crossed", "bad_frames", "restarts", "venue_restarts")
    assert {key: summary[key] for key in clean} == dict.fromkeys(clean, 0)
    assert summary["mode"] == "DEMO"
    assert summary["hash_checked"] > 0
    assert summary["sequenced"] > 0


@pytest.mark.parametrize("seed", SEEDS)
def test_every_order_of_a_demo_went_over_the_wire_and_was_measured(seed: int, demos: dict[int, Done]) -> None:
    summary = demos[seed].json
    latency = summary["latency_us"]
    for stage in ("opportunity_to_wire", "frame_to_wire"):
        assert 0 < latency[stage]["count"] <= summary["attempts"], stage
        assert 0 < latency[stage]["p50"] <= latency[stage]["max"]
    assert latency["frame_to_wire"]["p50"] >= latency["opportunity_to_wire"]["p50"]
    assert latency["opportunity_to_paper"]["count"] == 0


def test_demos_trade_and_most_attempts_end_in_balanced_sets(demos: dict[int, Done]) -> None:
    summaries = [done.json for done in demos.values()]
    attempts, balanced = (sum(each[key] for each in summaries) for key in ("attempts", "balanced"))
    assert attempts >= len(summaries)
    assert balanced > attempts / 2


def test_a_demo_for_people_tells_an_opportunity_in_full_and_what_to_type_next(box: Box) -> None:
    done = box.run("demo", "--seconds", 5)
    assert done.code == 0, done.err
    assert done.out.startswith("arbpipe DEMO  core: ")
    assert "\none opportunity in full:\n" in done.out
    assert "the ledger and the venues' own books agree: difference 0" in done.out
    assert "\nnext: arbpipe sim my-venues\n" in done.out
    assert "\x1b" not in done.out + done.err
    assert box.remains() == []


def test_a_recorded_demo_replays_frame_by_frame(box: Box) -> None:
    record = box.work / "recorded"
    done = box.run("demo", "--seconds", 6, "--seed", 3, "--json", "--record", record)
    assert done.code == 0, done.err
    assert sorted(path.name for path in record.iterdir()) == ["kalshi.jsonl", "pairs.toml", "polymarket.jsonl"]
    replayed = box.run("replay", record, "--json")
    assert replayed.code == 0, replayed.err
    live, again = done.json, replayed.json
    assert {key: again[key] for key in ("frames", "sequenced", "instruments", "covers")} == {
        key: live[key] for key in ("frames", "sequenced", "instruments", "covers")
    }
    assert {key: again[key] for key in ("gaps", "hash_mismatches", "crossed", "bad_frames")} == {
        "gaps": 0,
        "hash_mismatches": 0,
        "crossed": 0,
        "bad_frames": 0,
    }
    assert again["opportunities"] > 0
    seen = {each["cover"] for each in live["near_misses"] if each["taken"]}
    assert seen
    assert seen <= {each["cover"] for each in again["near_misses"] if each["opportunities"]}
    assert box.remains() == []


def test_the_simulators_do_the_same_for_a_seed_in_every_process() -> None:
    def events(seed: int, hashing: int) -> list[str]:
        code = (
            "import sys, json, hashlib; from arbpipe.sim.market import World; from arbpipe.sim.listing import Venue\n"
            f"logs = [World(seed={seed}, events=8, seconds=20.0, venue=v).event_log(2) for v in Venue]\n"
            "print(json.dumps([[hashlib.sha256(log.encode()).hexdigest(), log.count(chr(10))] for log in logs]))"
        )
        made = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(hashing)},
            capture_output=True,
            check=True,
            timeout=60,
        )
        logs: list[Any] = json.loads(made.stdout)
        assert all(count > 100 for _, count in logs)
        return [digest for digest, _ in logs]

    first = events(5, 1)
    assert first == events(5, 2)
    assert set(first).isdisjoint(events(6, 1))
    assert hashlib.sha256(b"").hexdigest() not in first
