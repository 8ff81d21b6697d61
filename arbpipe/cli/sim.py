"""``arbpipe sim``."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import click

from arbpipe.cli.common import emit_json, json_option, say

__all__ = ["command"]


@click.command("sim")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="The same seed, the same market."
)
@click.option("--events", type=click.IntRange(1, 500), default=8, show_default=True, help="How many events to make up.")
@click.option("--seconds", type=click.FloatRange(1), help="End after so long. Default: run until Ctrl-C.")
@json_option
def command(directory: Path, seed: int, events: int, seconds: float | None, as_json: bool) -> None:
    """Start the simulated venues alone, for people who write bots; what they need to connect lies in DIRECTORY.

    Two real servers on loopback: TLS, REST, WebSockets, signatures verified. DIRECTORY gets keys, ca.pem, pairs.toml, and an
    arbpipe.toml with which `arbpipe run --live` trades with them. A directory that holds accounts goes on with them.
    """
    from arbpipe.config import Config, to_toml
    from arbpipe.simulated import SimulatedVenues

    ended = False

    def end(_number: int, _frame: object) -> None:
        nonlocal ended
        ended = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with SimulatedVenues(directory.resolve(), seed=seed, events=events) as venues:
        config = venues.configured(Config())
        import msgspec

        config = msgspec.structs.replace(
            config,
            executor=msgspec.structs.replace(config.executor, live=True),
            paths=msgspec.structs.replace(config.paths, pairs="pairs.toml", state="state"),
        )
        path = directory / "arbpipe.toml"
        path.write_text(to_toml(config, "the simulated venues of this directory"), encoding="utf-8")
        if as_json:
            emit_json(
                {
                    "schema": 1,
                    "directory": str(directory.resolve()),
                    "kalshi": {"rest": config.kalshi.rest, "ws": config.kalshi.ws, "key_id": config.kalshi.key_id},
                    "polymarket": {
                        "clob": config.polymarket.clob,
                        "ws_market": config.polymarket.ws_market,
                        "ws_user": config.polymarket.ws_user,
                    },
                    "ca_file": config.network.ca_file,
                    "config": str(path.resolve()),
                }
            )
        else:
            click.echo(f"Kalshi      {config.kalshi.rest}")
            click.echo(f"            {config.kalshi.ws}")
            click.echo(f"Polymarket  {config.polymarket.clob}")
            click.echo(f"            {config.polymarket.ws_market}")
            click.echo(f"trust       {config.network.ca_file}")
        say(f"trade with them: arbpipe run --live --config {path}")
        deadline = time.monotonic() + seconds if seconds is not None else None
        while not ended and (deadline is None or time.monotonic() < deadline):
            venues.watch()
            time.sleep(0.05)
