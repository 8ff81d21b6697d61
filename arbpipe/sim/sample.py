"""Sample recordings: a scenario written as the files that a real capture and a person's catalog would be.

``kalshi.jsonl`` and ``polymarket.jsonl`` hold the traffic, ``pairs.toml`` the catalog, ``sample.json`` the planned
arbitrages. Time starts at a fixed moment; the same arguments give the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from arbpipe.sim.pairs_file import pairs_toml
from arbpipe.sim.recording import record_kalshi, record_polymarket
from arbpipe.sim.scenario import Arbitrage, make_scenario
from arbpipe.sim.units import plain_text

__all__ = ["STARTED_NS", "Sample", "write_sample"]

#: 2026-11-01T12:00:00Z
STARTED_NS: Final = 1_793_534_400 * 10**9


@dataclass(frozen=True, slots=True)
class Sample:
    """Where a sample lies, how many frames each venue sent, and the arbitrages that are in it."""

    kalshi: Path
    polymarket: Path
    pairs: Path
    manifest: Path
    kalshi_frames: int
    polymarket_frames: int
    arbitrages: tuple[Arbitrage, ...]


def _describe(arbitrage: Arbitrage) -> dict[str, object]:
    return {
        "event": arbitrage.event.name,
        "kind": arbitrage.kind,
        "tails": arbitrage.event.tails,
        "start_ns": arbitrage.start_ns,
        "end_ns": arbitrage.end_ns,
        "edge": plain_text(arbitrage.edge_e12, 12),
        "size": plain_text(arbitrage.size_e2, 2),
        "legs": [
            {
                "claim": leg.market.claim(leg.yes),
                "price": plain_text(leg.price_e4, 4),
                "size": plain_text(leg.size_e2, 2),
            }
            for leg in arbitrage.legs
        ],
    }


def write_sample(directory: Path, *, seed: int = 1, events: int = 8, seconds: float = 20.0) -> Sample:
    """Write the four files into ``directory``, which is made if need be; files of that name are replaced.

    ``start_ns`` and ``end_ns`` of a planned arbitrage are offsets from ``STARTED_NS``: the arrival of the frame that
    makes the edge and of the one that ends it. Its ``edge`` is dollars per contract after both venues' fees, before
    rounding; its ``size`` is contracts.

    Raises:
        ValueError: fewer than one event or too few seconds (see :func:`arbpipe.sim.scenario.make_scenario`).
        OSError: the directory cannot be made or written.
    """
    scenario = make_scenario(seed=seed, events=events, seconds=seconds)
    kalshi, polymarket = record_kalshi(scenario, STARTED_NS), record_polymarket(scenario, STARTED_NS)
    manifest = {
        "seed": seed,
        "events": events,
        "seconds": float(seconds),
        "started_ns": STARTED_NS,
        "arbitrages": [_describe(arbitrage) for arbitrage in scenario.arbitrages],
    }
    directory.mkdir(parents=True, exist_ok=True)
    sample = Sample(
        kalshi=directory / "kalshi.jsonl",
        polymarket=directory / "polymarket.jsonl",
        pairs=directory / "pairs.toml",
        manifest=directory / "sample.json",
        kalshi_frames=kalshi.frames,
        polymarket_frames=polymarket.frames,
        arbitrages=scenario.arbitrages,
    )
    texts = (
        (sample.kalshi, kalshi.text()),
        (sample.polymarket, polymarket.text()),
        (sample.pairs, pairs_toml(scenario.events)),
        (sample.manifest, json.dumps(manifest, indent=2) + "\n"),
    )
    for path, text in texts:
        path.write_text(text, encoding="utf-8", newline="\n")
    return sample
