"""The written files, judged by a reader that shares no code with the simulator."""

from __future__ import annotations

import ast
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from sim_checker import Catalog, lines_of, messages_of, replay

import arbpipe.sim
from arbpipe.sim.sample import Sample, write_sample

SEEDS = (1, 2, 3, 4, 5)
FILES = ("kalshi.jsonl", "polymarket.jsonl", "pairs.toml", "sample.json")
SampleOf = Callable[[int], Sample]


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path, sample_of: SampleOf) -> None:
    again = write_sample(tmp_path, seed=1)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (sample_of(1).kalshi.parent / name).read_bytes(), name
    assert again.kalshi_frames == sample_of(1).kalshi_frames


def test_another_seed_gives_other_files(sample_of: SampleOf) -> None:
    for name in FILES:
        assert (sample_of(1).kalshi.parent / name).read_bytes() != (sample_of(2).kalshi.parent / name).read_bytes()


def test_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path, sample_of: SampleOf) -> None:
    code = (
        f"from pathlib import Path; from arbpipe.sim.sample import write_sample; write_sample(Path({str(tmp_path)!r}))"
    )
    root = Path(arbpipe.sim.__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=20)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (sample_of(1).kalshi.parent / name).read_bytes(), name


@pytest.mark.parametrize("seed", SEEDS)
def test_planned_edges_are_there_and_nowhere_else(seed: int, sample_of: SampleOf) -> None:
    sample = sample_of(seed)
    catalog = Catalog.read(sample.pairs)
    manifest = json.loads(sample.manifest.read_text())
    started = manifest["started_ns"]
    planned = []
    for arbitrage in manifest["arbitrages"]:
        legs = {
            catalog.claim(leg["claim"]): (Fraction(leg["price"]), Fraction(leg["size"])) for leg in arbitrage["legs"]
        }
        classes = tuple(sorted(catalog.find(claim) for claim in legs))
        planned.append((started + arbitrage["start_ns"], started + arbitrage["end_ns"], classes, legs, arbitrage))
    seen = [0] * len(planned)
    ended = [False] * len(planned)
    for state in replay(sample.kalshi, sample.polymarket, catalog):
        current = [
            index
            for index, (start, end, classes, _, _) in enumerate(planned)
            if start <= state.t_ns < end and classes == state.cover.classes
        ]
        if not current:
            assert state.edge <= 0, f"unplanned edge {float(state.edge)} at {state.t_ns - started} in {state.cover}"
            for index, (_, end, classes, _, _) in enumerate(planned):
                ended[index] |= state.t_ns == end and classes == state.cover.classes
            continue
        (index,) = current
        *_, legs, arbitrage = planned[index]
        assert state.edge == Fraction(arbitrage["edge"]), arbitrage
        assert state.legs == legs, arbitrage
        assert min(size for _, size in state.legs.values()) == Fraction(arbitrage["size"])
        assert state.t_ns >= started + arbitrage["start_ns"]
        seen[index] += state.t_ns == started + arbitrage["start_ns"]
    assert all(seen), "an edge that does not begin with a frame at its start"
    assert all(ended), "an edge that does not end with a frame at its end"


@pytest.mark.parametrize("seed", SEEDS)
def test_arbitrages_are_small_short_frequent_and_of_every_kind(seed: int, sample_of: SampleOf) -> None:
    arbitrages = json.loads(sample_of(seed).manifest.read_text())["arbitrages"]
    assert 9 <= len(arbitrages) <= 17
    kinds = {each["kind"] for each in arbitrages}
    assert {"sum_yes", "sum_no", "ladder"} <= kinds
    assert kinds & {"kalshi_yes_polymarket_no", "kalshi_yes_polymarket_yes"}
    assert kinds & {"kalshi_no_polymarket_yes", "kalshi_no_polymarket_no"}
    for each in arbitrages:
        assert Fraction("0.005") <= Fraction(each["edge"]) <= Fraction("0.03")
        assert 20 <= Fraction(each["size"]) <= 400
        assert 0.39e9 <= each["end_ns"] - each["start_ns"] <= 3.05e9
    for first, second in itertools.pairwise(arbitrages):
        assert first["start_ns"] < second["start_ns"]
    for i, first in enumerate(arbitrages):
        for second in arbitrages[i + 1 :]:
            assert first["event"] != second["event"] or second["start_ns"] > first["end_ns"]


def test_all_four_classic_types_occur_over_the_seeds(sample_of: SampleOf) -> None:
    kinds = {each["kind"] for seed in SEEDS for each in json.loads(sample_of(seed).manifest.read_text())["arbitrages"]}
    assert {f"kalshi_{a}_polymarket_{b}" for a in ("yes", "no") for b in ("yes", "no")} <= kinds


@pytest.mark.parametrize("seed", SEEDS)
def test_recordings_have_the_agreed_form(seed: int, sample_of: SampleOf) -> None:
    sample = sample_of(seed)
    for path, venue, frames in (
        (sample.kalshi, "kalshi", sample.kalshi_frames),
        (sample.polymarket, "polymarket", sample.polymarket_frames),
    ):
        header, *lines = lines_of(path)
        expected = {"arbpipe_recording": 1, "venue": venue, "started_ns": 1_793_534_400 * 10**9}
        if venue == "kalshi":
            expected["use_yes_price"] = seed % 2 == 1
        assert header == expected
        assert [line["t_ns"] for line in lines] == sorted(line["t_ns"] for line in lines)
        assert lines[0]["event"] == "open"
        assert lines[-1]["event"] == "close"
        for line in lines:
            assert set(line) in ({"t_ns", "conn", "event"}, {"t_ns", "conn", "send"}, {"t_ns", "conn", "recv"})
        assert sum("recv" in line for line in lines) == frames


@pytest.mark.parametrize("seed", SEEDS)
def test_twenty_to_sixty_levels_change_in_a_second(seed: int, sample_of: SampleOf) -> None:
    sample = sample_of(seed)
    deltas = sum(m["type"] == "orderbook_delta" for _, _, m in messages_of(sample.kalshi))
    changes = sum(m["event_type"] == "price_change" for _, _, m in messages_of(sample.polymarket))
    assert 20 <= (deltas + changes) / 20 <= 60


def test_a_venue_frame_never_arrives_before_it_was_sent(sample_of: SampleOf) -> None:
    for t_ns, _, message in messages_of(sample_of(1).kalshi):
        assert message["sending_ts_ms"] * 1_000_000 <= t_ns
        assert message["msg"]["ts_ms"] <= message["sending_ts_ms"] if "ts_ms" in message["msg"] else True
    for t_ns, _, message in messages_of(sample_of(1).polymarket):
        assert int(message["timestamp"]) * 1_000_000 <= t_ns


@pytest.mark.parametrize(("events", "seconds"), [(1, 2.0), (2, 3.5), (5, 6.0)])
def test_small_worlds_hold_the_same_promise(tmp_path: Path, events: int, seconds: float) -> None:
    sample = write_sample(tmp_path, seed=9, events=events, seconds=seconds)
    catalog = Catalog.read(sample.pairs)
    assert len({cover.event for cover in catalog.covers}) == events
    edges = [state.edge for state in replay(sample.kalshi, sample.polymarket, catalog)]
    assert edges
    assert max(edges) <= Fraction("0.03")


@pytest.mark.parametrize(("events", "seconds"), [(0, 20.0), (8, 1.0), (8, float("nan"))])
def test_an_impossible_world_is_refused_and_says_so(tmp_path: Path, events: int, seconds: float) -> None:
    with pytest.raises(ValueError, match="at least"):
        write_sample(tmp_path, events=events, seconds=seconds)


def test_connections_split_at_the_limits_of_each_venue(tmp_path: Path) -> None:
    sample = write_sample(tmp_path, seed=2, events=260, seconds=2.0)
    tickers: dict[int, set[str]] = {}
    for _, conn, message in messages_of(sample.kalshi):
        if message["type"] == "orderbook_snapshot":
            tickers.setdefault(conn, set()).add(message["msg"]["market_ticker"])
    assets: dict[int, set[str]] = {}
    for _, conn, message in messages_of(sample.polymarket):
        if message["event_type"] == "book":
            assets.setdefault(conn, set()).add(message["asset_id"])
    listed = Catalog.read(sample.pairs).instruments
    assert len(tickers) > 1
    assert len(assets) > 1
    assert all(len(group) <= 500 for group in tickers.values())
    assert all(len(group) <= 400 for group in assets.values())
    assert sum(map(len, tickers.values())) == sum(key.startswith("kalshi:") for key in listed)
    assert sum(map(len, assets.values())) == 2 * sum(key.startswith("polymarket:") for key in listed)


def test_the_simulator_imports_nothing_else_of_the_project() -> None:
    # servers need libraries; what they must not need is anything that they check
    allowed = {*sys.stdlib_module_names, "aiohttp", "cryptography", "eth_account", "eth_utils"}
    files = sorted(Path(arbpipe.sim.__file__).parent.glob("*.py"))
    assert len(files) > 5
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name}: relative import"
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                assert top in allowed or name.startswith("arbpipe.sim"), f"{path.name} imports {name}"
