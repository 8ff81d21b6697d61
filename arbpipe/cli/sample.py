"""``arbpipe sample``."""

from __future__ import annotations

from pathlib import Path

import click

from arbpipe.cli.common import emit_json, json_option, say
from arbpipe.errors import EnvironmentRefused

__all__ = ["command"]


@click.command("sample")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="The same seed, the same bytes.")
@click.option("--events", type=click.IntRange(1, 500), default=8, show_default=True, help="How many events to make up.")
@click.option("--seconds", type=click.FloatRange(2, 3600), default=20.0, show_default=True, help="How long it lasts.")
@json_option
def command(directory: Path, seed: int, events: int, seconds: float, as_json: bool) -> None:
    """Write a seeded recording of both venues to DIRECTORY: kalshi.jsonl, polymarket.jsonl, pairs.toml, sample.json."""
    from arbpipe.sim.sample import write_sample

    try:
        directory.mkdir(parents=True, exist_ok=True)
        sample = write_sample(directory, seed=seed, events=events, seconds=seconds)
    except OSError as error:
        raise EnvironmentRefused(f"cannot write a sample to {directory}: {error.strerror}") from None
    if as_json:
        emit_json(
            {
                "schema": 1,
                "directory": str(directory),
                "seed": seed,
                "events": events,
                "seconds": seconds,
                "kalshi_frames": sample.kalshi_frames,
                "polymarket_frames": sample.polymarket_frames,
                "arbitrages": len(sample.arbitrages),
            }
        )
        return
    click.echo(
        f"{directory}: {sample.kalshi_frames} Kalshi and {sample.polymarket_frames} Polymarket frames, "
        f"{len(sample.arbitrages)} arbitrages planned (sample.json)"
    )
    say(f"replay it with: arbpipe replay {directory}")
