"""``arbpipe demo``."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from arbpipe.cli.common import emit_json, json_option, say, styled
from arbpipe.cli.replay import outcome_code, run_session
from arbpipe.cli.summary import near_miss_lines, summary_lines
from arbpipe.errors import EnvironmentRefused

__all__ = ["command"]


@click.command("demo")
@click.option("--seconds", type=click.FloatRange(2, 3600), default=20.0, show_default=True, help="How long it runs.")
@click.option("--events", type=click.IntRange(1, 500), default=8, show_default=True, help="How many events to make up.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True, help="The same seed, the same market."
)
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep ledger, venues' accounts and logs here. Default: a temporary folder that is removed.",
)
@click.option(
    "--record",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the frames of both venues and their pairs.toml here, for `arbpipe replay`.",
)
@json_option
def command(seconds: float, events: int, seed: int, state: Path | None, record: Path | None, as_json: bool) -> int:
    """Show the whole pipeline at work, with orders, against two simulated venues on this machine.

    Real servers on loopback: TLS, WebSockets, REST, signed orders, accounts that keep their own books. No account, no
    network, nothing is left behind.
    """
    from arbpipe.config import load
    from arbpipe.instances import TEMPORARY_DEMO, instance_of, make_folder, remove_dead_instances
    from arbpipe.pipeline import LiveRun
    from arbpipe.shm.core import CORE
    from arbpipe.shm.segment import Mode
    from arbpipe.simulated import SimulatedVenues, statement_differences

    if record is not None:
        make_folder(record, "recordings")
        if any(record.glob("*.jsonl")):
            raise EnvironmentRefused(f"{record} holds recordings already, of other books: name a new folder")
    remove_dead_instances()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _cut_short)  # until there is a pipeline that can end in order
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_DEMO) as scratch:
        kept = state or Path(scratch) / "state"
        with SimulatedVenues((kept / "venues").resolve(), seed=seed, events=events) as venues:
            if record is not None:
                (record / "pairs.toml").write_text(venues.pairs.read_text(encoding="utf-8"), encoding="utf-8")
            pipeline = LiveRun(
                venues.configured(load(None).config),
                venues.pairs,
                mode=Mode.DEMO,
                instance=instance_of(Mode.DEMO),
                live_orders=True,
                state=kept,
                record=record,
                seconds=seconds,
                watch=venues.watch,
                differences=lambda ledger: statement_differences(ledger, venues),
            )
            pipeline.scratch = Path(scratch)
            pipeline.on_abort = venues.kill
            say(f"arbpipe DEMO  core: {CORE}")
            say(f"seed {seed}: {events} events, {venues.arbitrages} arbitrages planned every {venues.cycle_s:g} s")
            show = None if as_json else _screen()
            values, interrupted = run_session(pipeline, show.tick if show else None, as_json)
            if show:
                show.close()
            values["venue_restarts"] = venues.restarts
        story = _story(pipeline)
    if as_json:
        emit_json(values)
        return outcome_code(values, interrupted)
    for line in summary_lines(values):
        click.echo(line)
    if story:
        click.echo("\none opportunity in full:")
        for line in story:
            click.echo(line)
    click.echo("\nnext: arbpipe sim my-venues")
    click.echo("      and in another terminal: arbpipe run --live --config my-venues/arbpipe.toml")
    return outcome_code(values, interrupted)


def _cut_short(_number: int, _frame: object) -> None:
    """Give up while the venues start or end: once, so that what is there can be removed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _story(pipeline: Any) -> list[str]:
    from arbpipe.cli.story import best_attempt, story_lines
    from arbpipe.ledger.store import LedgerStore

    if not pipeline.spec.ledger_path().exists():
        return []
    store = LedgerStore(pipeline.spec.ledger_path(), pipeline.spec.mode_name)
    try:
        attempt = best_attempt(store)
        return story_lines(store, attempt) if attempt else []
    finally:
        store.close()


def _screen() -> _Table | _Plain:
    return _Table() if styled() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else _Plain()


def _figures(pipeline: Any) -> tuple[str, list[dict[str, Any]]]:
    from arbpipe.shm.layout import Role
    from arbpipe.shm.stats import Counter
    from arbpipe.summary import counter_of, near_misses_of

    detector = pipeline.segment.fields("processes", Role.DETECTOR)["counters"]
    executor = pipeline.segment.fields("processes", Role.EXECUTOR)["counters"]
    text = (
        f"{pipeline.left_s:4.1f} s left  frames {counter_of(pipeline.segment, Counter.FRAMES)}  "
        f"seen {detector[Counter.OPPORTUNITIES]}  attempts {executor[Counter.ATTEMPTS]}  "
        f"restarts {pipeline.supervisor.restarts}"
    )
    return text, near_misses_of(pipeline.segment)


class _Plain:
    """A line every two seconds on stderr."""

    def __init__(self) -> None:
        self._ticks = 0

    def tick(self, pipeline: Any) -> None:
        """Called five times a second."""
        if self._ticks % 10 == 0:
            say(_figures(pipeline)[0])
        self._ticks += 1

    def close(self) -> None:
        """Nothing to clean up."""


class _Table:
    """A table that is redrawn in place, 80 columns wide."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(stderr=True), refresh_per_second=5, transient=True)
        self._live.start()

    def tick(self, pipeline: Any) -> None:
        """Called five times a second."""
        from rich.text import Text

        text, near = _figures(pipeline)
        self._live.update(Text("\n".join([f"arbpipe {pipeline.mode_name}  {text}", "", *near_miss_lines(near, 14)])))

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._live.stop()
