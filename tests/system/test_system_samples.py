"""Seeded samples through the whole pipeline as fast as it goes: everything planned is seen, and nothing else is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from system_support import Box, Done, opened

from arbpipe.catalog.model import Catalog
from arbpipe.catalog.pairs import load_pairs

pytestmark = pytest.mark.system

SEEDS = range(1, 21)
FILES = ("kalshi.jsonl", "polymarket.jsonl", "pairs.toml", "sample.json")


@dataclass(frozen=True)
class Replayed:
    folder: Path
    done: Done

    @property
    def planned(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.folder / "sample.json").read_text())["arbitrages"]
        return found


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Replayed]]:
    """Seeds 1 to 20, 8 s of market each, two at a time."""
    with opened(tmp_path_factory.mktemp("samples") / "box") as box:

        def one(seed: int) -> Replayed:
            folder = box.work / f"seed-{seed}"
            made = box.run("sample", folder, "--seed", seed, "--seconds", 8, "--json")
            assert made.code == 0, made.err
            return Replayed(folder, box.run("replay", folder, "--speed", "max", "--json"))

        with ThreadPoolExecutor(2) as pool:
            yield dict(zip(SEEDS, pool.map(one, SEEDS), strict=True))
        assert box.remains() == []


def cover_of(catalog: Catalog, planned: dict[str, Any]) -> str:
    """The cover that a planned arbitrage makes: the one whose propositions its legs fill, one each."""
    legs = {leg["claim"] for leg in planned["legs"]}
    for cover in catalog.covers:
        sets = [
            {catalog.claim_text(claim) for claim in catalog.propositions[number].claims}
            for number in cover.propositions
        ]
        if cover.event == planned["event"] and len(sets) == len(legs) and all(legs & each for each in sets):
            return cover.name
    raise AssertionError(f"no cover of {planned['event']} has the legs {sorted(legs)}")


def test_the_same_seed_gives_byte_identical_folders(box: Box) -> None:
    for name in ("one", "two"):
        assert box.run("sample", box.work / name, "--seed", 7, "--seconds", 4).code == 0
    assert sorted(path.name for path in (box.work / "one").iterdir()) == sorted(FILES)
    for name in FILES:
        assert (box.work / "one" / name).read_bytes() == (box.work / "two" / name).read_bytes(), name


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sample_ends_flat_reconciled_and_without_a_fault(seed: int, replayed: dict[int, Replayed]) -> None:
    done = replayed[seed].done
    assert done.code == 0, done.err
    clean = ("unresolved", "open_exposure_contracts", "hash_mismatches", "gaps", "crossed", "bad_frames", "restarts")
    assert {key: done.json[key] for key in clean} == dict.fromkeys(clean, 0)
    assert done.json["ledger_matches_venues"] is True, done.json["differences"]
    assert done.json["hash_checked"] > 0
    assert done.json["attempts"] >= done.json["balanced"] + done.json["unwound"] + done.json["empty"]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_planned_arbitrage_is_seen_and_nothing_else_is(seed: int, replayed: dict[int, Replayed]) -> None:
    sample = replayed[seed]
    catalog = load_pairs(sample.folder / "pairs.toml")
    planned = {cover_of(catalog, each) for each in sample.planned}
    seen = {each["cover"] for each in sample.done.json["near_misses"] if each["opportunities"]}
    assert planned - seen == set(), "planned and never seen"
    assert seen - planned == set(), "phantoms: seen and never planned"
    with_an_edge = {each["cover"] for each in sample.done.json["near_misses"] if float(each["best_edge_usd"] or -1) > 0}
    assert with_an_edge == planned


def test_what_rules_leave_open_is_never_attempted_and_the_rest_mostly_is(replayed: dict[int, Replayed]) -> None:
    tried = offered = 0
    for sample in replayed.values():
        catalog = load_pairs(sample.folder / "pairs.toml")
        attempts = {each["cover"]: each["attempts"] for each in sample.done.json["near_misses"]}
        for planned in sample.planned:
            cover = cover_of(catalog, planned)
            if planned["tails"] == "accepted":
                assert attempts[cover] == 0, cover
            else:
                offered += 1
                tried += attempts[cover] > 0
    assert offered > 50
    assert tried >= 0.9 * offered


def test_a_replay_for_people_says_the_same_as_the_json(box: Box, replayed: dict[int, Replayed]) -> None:
    sample = replayed[1]
    done = box.run("replay", sample.folder)
    assert done.code == 0, done.err
    again = sample.done.json
    assert f"{again['frames']} frames, {again['instruments']} instruments, {again['covers']} covers" in done.out
    assert "the ledger and the venues' own books agree: difference 0" in done.out
    assert "\x1b" not in done.out + done.err
    assert max(map(len, done.out.splitlines())) <= 80
    assert re.search(r"^frame to row +\d+ ", done.out, re.MULTILINE)
