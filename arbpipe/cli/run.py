"""``arbpipe run``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from arbpipe.cli.common import config_option, emit_json, json_option, say, segment_option
from arbpipe.cli.replay import outcome_code, run_session
from arbpipe.errors import EnvironmentRefused, SafetyRefused

__all__ = ["command"]


@click.command("run")
@click.option("--paper/--live", "paper", default=True, help="On paper (default), or with orders.")
@click.option("--seconds", type=click.FloatRange(1), help="End after so long. Default: run until Ctrl-C or SIGTERM.")
@click.option(
    "--record",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the frames of both venues in this folder, for `arbpipe replay`.",
)
@segment_option
@config_option
@json_option
def command(
    paper: bool,
    seconds: float | None,
    record: Path | None,
    segment: Path | None,
    config_path: str | None,
    as_json: bool,
) -> int:
    """Run the pipeline on the configured venues until it is told to stop.

    On paper nothing is sent; fills are simulated from the live rows. With --live orders go out, and for that this version
    accepts venues on loopback only (`arbpipe sim`): the checks that real money needs do not exist yet.
    """
    from arbpipe.cli.summary import summary_lines
    from arbpipe.clock import wall_ns
    from arbpipe.config import find_config, load
    from arbpipe.live import check_loopback, kalshi_signer, polymarket_signer, tls_context
    from arbpipe.pipeline import LiveRun
    from arbpipe.shm.core import CORE
    from arbpipe.shm.segment import Mode

    loaded = load(find_config(config_path, os.environ))
    config = loaded.config
    if not paper:
        if not config.executor.live:
            raise SafetyRefused("--live needs executor.live = true in the configuration as well")
        check_loopback(config)
    # better said now than by a process that keeps failing; Kalshi's market data needs a key too
    kalshi_signer(config)
    tls_context(config)
    if not paper:
        polymarket_signer(config)
    pairs = loaded.resolve(config.paths.pairs)
    if not pairs.is_file():
        raise EnvironmentRefused(f"no pairs file at {pairs}: write one (docs/pairs-toml.md) or set paths.pairs")
    state = loaded.resolve(config.paths.state)
    began_ns = wall_ns()
    pipeline = LiveRun(
        config,
        pairs,
        mode=Mode.PAPER if paper else Mode.LIVE,
        instance="main",
        live_orders=not paper,
        state=state,
        segment=segment,
        record=record,
        differences=lambda ledger: _last_reconciliation(ledger, began_ns),
        seconds=seconds,
    )
    say(f"arbpipe {pipeline.mode_name}  core: {CORE}  ledger {pipeline.spec.ledger_path()}")
    values, _interrupted = run_session(pipeline, None, as_json)
    if as_json:
        emit_json(values)
    else:
        for line in summary_lines(values):
            click.echo(line)
    return outcome_code(values, False)  # a person ends it: that is how it is meant to end


def _last_reconciliation(ledger: Any, since_ns: int) -> list[str]:
    """What the executor found when it compared the ledger with the venues at its end; an earlier run's word does not count."""
    import msgspec

    row = ledger.store.db.execute(
        "SELECT body FROM events WHERE kind = 'reconciled' AND at_ns >= ? ORDER BY seq DESC LIMIT 1", (since_ns,)
    ).fetchone()
    if row is None:
        return ["the executor ended before it could compare the ledger with the venues"]
    differences: list[str] = msgspec.json.decode(row[0])["differences"]
    return differences
