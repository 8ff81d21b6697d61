"""``arbpipe demo``."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from arbpipe.cli.common import emit_json, json_option, say, styled
from arbpipe.cli.replay import outcome_code, run_session
from arbpipe.cli.summary import near_miss_lines, summary_lines

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
    help="Keep ledger, paper account and logs here. Default: a temporary folder that is removed.",
)
@json_option
def command(seconds: float, events: int, seed: int, state: Path | None, as_json: bool) -> int:
    """Show the whole pipeline at work on a made-up market: feeds, detector and executor as processes, on paper.

    A seeded recording of both venues is written and replayed at real speed. No account, no network, nothing is left behind.
    """
    from arbpipe.config import load
    from arbpipe.record.session import ReplaySession
    from arbpipe.shm.core import CORE
    from arbpipe.shm.segment import Mode
    from arbpipe.sim.sample import write_sample

    config = load(None).config
    with tempfile.TemporaryDirectory(prefix="arbpipe-demo-") as scratch:
        folder = Path(scratch)
        sample = write_sample(folder, seed=seed, events=events, seconds=seconds)
        kept = state or folder / "state"
        session = ReplaySession(
            [folder / "kalshi.jsonl", folder / "polymarket.jsonl"],
            folder / "pairs.toml",
            config,
            mode=Mode.DEMO,
            speed=1.0,
            state=kept,
        )
        session.scratch = folder
        say(f"arbpipe DEMO  core: {CORE}")
        say(f"seed {seed}: {events} events, {len(sample.arbitrages)} arbitrages planned in {seconds:g} s")
        show = None if as_json else _screen()
        values, interrupted = run_session(session, show.tick if show else None, as_json)
        if show:
            show.close()
        story = _story(session)
    if as_json:
        emit_json(values)
        return outcome_code(values, interrupted)
    for line in summary_lines(values):
        click.echo(line)
    if story:
        click.echo("\none opportunity in full:")
        for line in story:
            click.echo(line)
    click.echo("\nnext: arbpipe sample my-sample && arbpipe replay my-sample")
    return outcome_code(values, interrupted)


def _story(session: Any) -> list[str]:
    from arbpipe.cli.story import best_attempt, story_lines
    from arbpipe.ledger.store import LedgerStore

    if not session.spec.ledger_path().exists():
        return []
    store = LedgerStore(session.spec.ledger_path(), session.spec.mode_name)
    try:
        attempt = best_attempt(store)
        return story_lines(store, attempt) if attempt else []
    finally:
        store.close()


def _screen() -> _Table | _Plain:
    return _Table() if styled() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else _Plain()


def _figures(session: Any) -> tuple[str, list[dict[str, Any]]]:
    from arbpipe.shm.layout import Role
    from arbpipe.shm.stats import Counter

    detector = session.segment.fields("processes", Role.DETECTOR)["counters"]
    executor = session.segment.fields("processes", Role.EXECUTOR)["counters"]
    left = max(0.0, (session.driver.end_ns - session.clock_ns()) / 1e9)
    text = (
        f"{left:4.1f} s left  frames {session.counter(Counter.FRAMES)}  seen {detector[Counter.OPPORTUNITIES]}  "
        f"attempts {executor[Counter.ATTEMPTS]}  restarts {session.supervisor.restarts}"
    )
    return text, session.near_misses()


class _Plain:
    """A line every two seconds on stderr."""

    def __init__(self) -> None:
        self._ticks = 0

    def tick(self, session: Any) -> None:
        """Called five times a second."""
        if self._ticks % 10 == 0:
            say(_figures(session)[0])
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

    def tick(self, session: Any) -> None:
        """Called five times a second."""
        from rich.text import Text

        text, near = _figures(session)
        self._live.update(
            Text("\n".join([f"arbpipe {session.spec.mode_name}  {text}", "", *near_miss_lines(near, 14)]))
        )

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._live.stop()
