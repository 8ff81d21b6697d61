"""Real recordings through real processes: what is in them comes out, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from system_support import ROOT, Box

from arbpipe.catalog.model import Catalog
from arbpipe.catalog.pairs import load_pairs

pytestmark = pytest.mark.system

PAIRS = ROOT / "tests" / "replay" / "snapshot_2026-07-20.pairs.toml"
ORACLE = ROOT / "tests" / "replay" / "snapshot_oracle.py"
BOOK = "book_0x8bf1c1536ecb1c08fe13c6b71e8ab1f58bf3461c4cb79f5f1679f869a06aef86.json"


def test_kalshi_session_is_in_sequence_without_a_gap_a_cross_or_a_bad_frame(box: Box, recordings: Path) -> None:
    done = box.run("replay", recordings / "kalshi" / "ws_session_demo_2026-07-01.jsonl", "--venue", "kalshi", "--json")
    assert done.code == 0, done.err
    said = {key: done.json[key] for key in ("frames", "sequenced", "gaps", "crossed", "bad_frames", "alerts")}
    assert said == {"frames": 2898, "sequenced": 2894, "gaps": 0, "crossed": 0, "bad_frames": 0, "alerts": 0}
    assert done.json["latency_us"]["frame_to_row"]["count"] > 100, "no rows were published"
    assert box.remains() == []


def test_every_hash_of_the_recorded_polymarket_side_is_right_and_the_other_side_has_no_book(
    box: Box, recordings: Path
) -> None:
    frames = recordings / "polymarket" / "ws_market_frames_fed_2026-07-20.json"
    book = recordings / "pairs" / "snapshot_2026-07-20" / "polymarket" / BOOK
    done = box.run("replay", frames, "--venue", "polymarket", "--book", book, "--json")
    assert done.code == 0, done.err
    said = {key: done.json[key] for key in ("hash_checked", "hash_mismatches", "hash_unchecked", "bad_frames")}
    assert said == {"hash_checked": 26, "hash_mismatches": 0, "hash_unchecked": 24, "bad_frames": 0}


def test_without_the_rest_book_no_hash_is_called_right(box: Box, recordings: Path) -> None:
    frames = recordings / "polymarket" / "ws_market_frames_fed_2026-07-20.json"
    done = box.run("replay", frames, "--venue", "polymarket", "--json")
    assert (done.code, done.json["hash_checked"], done.json["hash_mismatches"]) == (0, 0, 0), done.err
    assert done.json["hash_unchecked"] == 50


def oracle(snapshot: Path) -> dict[frozenset[frozenset[str]], tuple[str, str]]:
    """The oracle's answer: cover as sets of claim keys → (edge, size)."""
    out = subprocess.run(
        [sys.executable, str(ORACLE), str(snapshot), "--json"], check=True, capture_output=True, timeout=30
    ).stdout
    return {
        frozenset(frozenset(claims) for claims in each["cover"]): (each["edge_usd"], each["size"])
        for each in json.loads(out)
    }


def cover_keys(catalog: Catalog) -> dict[str, frozenset[frozenset[str]]]:
    """Our covers: name → sets of claim keys (venue:id#label)."""
    return {
        cover.name: frozenset(
            frozenset(catalog.claim_text(claim) for claim in catalog.propositions[number].claims)
            for number in cover.propositions
        )
        for cover in catalog.covers
    }


def misses(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["cover"]: each for each in values["near_misses"]}


def test_every_cover_of_the_snapshot_has_the_edge_and_size_of_the_independent_oracle(
    box: Box, recordings: Path
) -> None:
    snapshot = recordings / "pairs" / "snapshot_2026-07-20"
    expected = oracle(snapshot)
    keys = cover_keys(load_pairs(PAIRS))
    done = box.run("replay", snapshot, "--pairs", PAIRS, "--json")
    assert done.code == 0, done.err
    found = misses(done.json)
    assert len(expected) == 7
    assert len(set(keys.values())) == len(keys)
    assert {keys[name]: (each["best_edge_usd"], f"{each['size']:.2f}") for name, each in found.items()} == expected
    # what was missing is said: no edge, or for the one that has an edge the limit on tail risk
    for name, each in found.items():
        assert each["missing"] == ("limit_tail" if float(each["best_edge_usd"]) > 0 else "edge"), name
    assert done.json["attempts"] == 0
    assert [name for name, each in found.items() if each["opportunities"]] == ["ballon-dor-kane: YES+NO"]


def test_with_room_for_tail_risk_the_one_cover_with_an_edge_is_attempted(box: Box, recordings: Path) -> None:
    config = box.work / "tails.toml"
    config.write_text('[limits]\nmax_tail_event_usd = "500"\nmax_tail_total_usd = "500"\n')
    snapshot = recordings / "pairs" / "snapshot_2026-07-20"
    done = box.run("replay", snapshot, "--pairs", PAIRS, "--config", config, "--json")
    assert done.code == 0, done.err
    attempts = {name: each["attempts"] for name, each in misses(done.json).items() if each["attempts"]}
    assert list(attempts) == ["ballon-dor-kane: YES+NO"]
    assert done.json["attempts"] == sum(attempts.values()) >= 1
    assert (done.json["unresolved"], done.json["ledger_matches_venues"]) == (0, True)
