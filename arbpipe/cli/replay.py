"""``arbpipe replay``."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from arbpipe.cli.common import config_option, emit_json, json_option, say, segment_option
from arbpipe.errors import ExitCode, UsageRefused

__all__ = ["command", "outcome_code", "run_session"]


def _speed(_ctx: click.Context, _param: click.Parameter, value: str) -> float | None:
    """``max`` is None; else a positive factor."""
    if value == "max":
        return None
    try:
        factor = float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a number nor max") from None
    if not 0.001 <= factor <= 1000:
        raise click.BadParameter(f"{value} is outside 0.001 … 1000; use max to go as fast as possible")
    return factor


def run_session(session: Any, tick: Callable[[Any], None] | None, as_json: bool) -> tuple[dict[str, Any], bool]:
    """Run a session with signals in hand: once, an orderly end; twice, at once. Return the summary and if it was cut."""
    times = 0

    def on_signal(_number: int, _frame: object) -> None:
        nonlocal times
        times += 1
        if times == 1:
            session.interrupt()
            say("ending in order; once more ends at once")
        else:
            session.abort()
            os._exit(ExitCode.INTERRUPTED)

    # before anything starts: a signal in the middle of starting must not leave a process behind
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        with session:
            session.run(tick)
            values = session.finish().as_json()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return values, times > 0


def outcome_code(values: dict[str, Any], interrupted: bool) -> int:
    """130 when a person ended it, 1 when ledger and venue disagree or something stayed unresolved, else 0."""
    if interrupted:
        return ExitCode.INTERRUPTED
    bad = values["ledger_matches_venues"] is False or values.get("unresolved") or values.get("open_exposure_contracts")
    return ExitCode.FAILED if bad else ExitCode.OK


@click.command("replay")
@click.argument("recordings", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--pairs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The pairs.toml. Default: the one in the folder of the first recording.",
)
@click.option(
    "--book",
    "books",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Polymarket REST book: what its market's hashes contain beyond the frames. May be repeated; needs --venue.",
)
@click.option("--venue", type=click.Choice(["kalshi", "polymarket"]), help="Rebuild this venue's books only.")
@click.option(
    "--speed",
    default="max",
    show_default=True,
    callback=_speed,
    metavar="X|max",
    help="Times real speed, or as fast as the whole pipeline follows.",
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep ledger, paper account and logs here, and go on with what is there. Default: a temporary folder.",
)
@segment_option
@config_option
@json_option
def command(
    recordings: tuple[Path, ...],
    pairs: Path | None,
    books: tuple[Path, ...],
    venue: str | None,
    speed: float | None,
    state: Path | None,
    segment: Path | None,
    config_path: str | None,
    as_json: bool,
) -> int:
    """Run RECORDINGS through feed processes, detector and paper executor, and say what would have been taken.

    A recording is a file of frames, a folder that `arbpipe sample` wrote, or a folder of REST books of both venues.
    """
    from arbpipe.cli.summary import summary_lines

    if venue is not None:
        from arbpipe.identity import VENUES
        from arbpipe.record.books import rebuild_books

        if pairs is not None:
            raise UsageRefused("--venue rebuilds books only: leave out --pairs, or leave out --venue")
        values = rebuild_books(recordings, VENUES[venue], books)
        interrupted = False
    else:
        if books:
            raise UsageRefused("--book belongs to --venue polymarket: with pairs, pairs.toml states what hashes need")
        values, interrupted = _pipeline(recordings, pairs, speed, state, segment, config_path, as_json)
    if as_json:
        emit_json(values)
    else:
        for line in summary_lines(values):
            click.echo(line)
    return outcome_code(values, interrupted)


def _pipeline(
    recordings: tuple[Path, ...],
    pairs: Path | None,
    speed: float | None,
    state: Path | None,
    segment: Path | None,
    config_path: str | None,
    as_json: bool,
) -> tuple[dict[str, Any], bool]:
    from arbpipe.config import find_config, load
    from arbpipe.record.session import ReplaySession
    from arbpipe.shm.core import CORE

    first = recordings[0]
    pairs = pairs or (first if first.is_dir() else first.parent) / "pairs.toml"
    if not pairs.is_file():
        raise UsageRefused(
            f"no pairs file at {pairs}: name one with --pairs, or rebuild one venue's books with --venue"
        )
    loaded = load(find_config(config_path, os.environ))
    session = ReplaySession(recordings, pairs, loaded.config, speed=speed, state=state, segment=segment)
    if not as_json:
        say(f"arbpipe REPLAY  core: {CORE}  {session.frames} events over {session.recorded_s:.1f} s")
    return run_session(session, None, as_json)
