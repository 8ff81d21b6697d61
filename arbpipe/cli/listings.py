"""``arbpipe listings kalshi`` reads what is listed; ``arbpipe listings show`` tells one market in words."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from arbpipe.cli.common import config_option, emit_json, json_option, say
from arbpipe.errors import ArbpipeError, EnvironmentRefused, UsageRefused

if TYPE_CHECKING:
    from arbpipe.config import Config
    from arbpipe.venues.kalshi.listing_read import Fetcher, Reading, Step
    from arbpipe.venues.kalshi.listing_report import Report
    from arbpipe.venues.kalshi.listing_store import Scope
    from arbpipe.venues.kalshi.listings import Listed

__all__ = ["command"]

_STATUSES = ("unopened", "open", "paused", "closed", "settled", "all")
_DEFAULT_RATE = 20
_MOST_RATE = 40
T = TypeVar("T")


@click.group("listings")
def command() -> None:
    """Read what a venue lists: rules, times, ticks and fees."""


def _rate_option(function: Callable[..., object]) -> Callable[..., object]:
    return click.option(
        "--rate",
        type=click.IntRange(1, _MOST_RATE),
        default=_DEFAULT_RATE,
        show_default=True,
        help="Reads a second; they need no key.",
    )(function)


@command.command("kalshi")
@click.option("--series", "series", multiple=True, metavar="S", help="Only this series. May be repeated.")
@click.option("--category", default="", metavar="C", help="Only this category, exactly as Kalshi writes it.")
@click.option("--status", type=click.Choice(_STATUSES), default="open", show_default=True, help="Markets that are so.")
@click.option(
    "--store",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the listing in this file. Default: one for each listing, in paths.state.",
)
@click.option("--full", is_flag=True, help="Read everything again instead of going on or reading what changed.")
@_rate_option
@config_option
@json_option
def kalshi(
    series: tuple[str, ...],
    category: str,
    status: str,
    store: Path | None,
    full: bool,
    rate: int,
    config_path: str | None,
    as_json: bool,
) -> None:
    """Read Kalshi's series, events and markets, and say what is there and what does not trade.

    A run that was ended goes on where it was; a finished listing is refreshed. Combinations (KXMVE…) are left out.
    """
    from arbpipe.cli.listing_text import report_json, report_lines
    from arbpipe.config import find_config, load
    from arbpipe.venues.kalshi.listing_store import Scope

    if series and category:
        raise UsageRefused("--series and --category exclude each other: give one of them")
    loaded = load(find_config(config_path, os.environ))
    scope = Scope(loaded.config.kalshi.rest, tuple(sorted(set(series))), category, "" if status == "all" else status)
    if store is None:
        name = hashlib.sha256(scope.text().encode()).hexdigest()[:12]
        store = loaded.resolve(loaded.config.paths.state) / "listings" / f"kalshi-{name}.sqlite"
    reading, report = _read(loaded.config, scope, store, full, rate)
    values = report_json(scope, str(store), reading, report)
    if as_json:
        emit_json(values)
        return
    for line in report_lines(values):
        click.echo(line)


def _read(config: Config, scope: Scope, path: Path, full: bool, rate: int) -> tuple[Reading, Report]:
    import sqlite3

    from arbpipe.venues.kalshi.listing_read import ListingReader
    from arbpipe.venues.kalshi.listing_report import report_of
    from arbpipe.venues.kalshi.listing_store import ListingStore

    store = ListingStore(path, scope)
    try:
        with _progress() as tell:

            async def work(fetcher: Fetcher) -> Reading:
                return await ListingReader(fetcher, store, scope, tell).run(int(time.time()), full=full)

            reading = _online(config, rate, work)
        return reading, report_of(store, scope.status, datetime.now(UTC))
    except sqlite3.Error as error:
        raise EnvironmentRefused(
            f"the listing store {path} cannot be used: {error}; make room or name another file with --store"
        ) from None
    except KeyboardInterrupt:
        say("what was read is kept: the same command goes on there")
        raise
    finally:
        store.close()


def _online(config: Config, rate: int, work: Callable[[Fetcher], Awaitable[T]]) -> T:
    from arbpipe.live import tls_context
    from arbpipe.venues.kalshi.auth import wall_ms
    from arbpipe.venues.kalshi.listing_read import Fetcher
    from arbpipe.venues.kalshi.pace import ReadPace
    from arbpipe.venues.kalshi.rest import KalshiRest

    async def main() -> T:
        rest = KalshiRest(config.kalshi.rest, None, tls_context(config), now_ms=wall_ms)
        await rest.start()
        try:
            return await work(Fetcher(rest, ReadPace(rate)))
        finally:
            await rest.stop()

    return asyncio.run(main())


@contextmanager
def _progress() -> Iterator[Callable[[Step], None]]:
    """A bar on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("kalshi", total=None, said="")

        def tell(step: Step) -> None:
            bar.update(task, description=f"kalshi {step.what}", said=f"{step.rows} rows, {step.pages} pages")

        yield tell


@command.command("show")
@click.argument("ticker")
@click.option(
    "--store",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Look into this listing instead of asking Kalshi.",
)
@click.option("--toml", "as_toml", is_flag=True, help="The [[instrument]] table for pairs.toml, or why there is none.")
@config_option
@json_option
def show(ticker: str, store: Path | None, as_toml: bool, config_path: str | None, as_json: bool) -> None:
    """Tell one Kalshi market in words: rules, ticks, fees now and scheduled, times, shard."""
    from arbpipe.cli.listing_text import instrument_table, market_json, market_lines
    from arbpipe.config import find_config, load

    if as_toml and as_json:
        raise UsageRefused("--toml and --json exclude each other: give one of them")
    config = load(find_config(config_path, os.environ)).config
    listed = _stored_market(ticker, store) if store is not None else _live_market(config, ticker)
    now = datetime.now(UTC)
    if as_toml:
        click.echo(instrument_table(listed, now), nl=False)
    elif as_json:
        emit_json(market_json(listed, now))
    else:
        for line in market_lines(listed, now):
            click.echo(line)


def _stored_market(ticker: str, path: Path) -> Listed:
    from arbpipe.venues.kalshi.listing_report import parents_of
    from arbpipe.venues.kalshi.listing_store import ListingStore

    store = ListingStore(path, None)
    try:
        row = store.row("market", ticker)
        if row is None:
            raise UsageRefused(f"{ticker} is not in {path}: without --store Kalshi itself is asked")
        return _readable(ticker, parents_of(store).listed(row.raw))
    finally:
        store.close()


def _live_market(config: Config, ticker: str) -> Listed:
    from urllib.parse import quote

    from arbpipe.venues.kalshi.listing_report import Parents
    from arbpipe.venues.kalshi.listing_store import StoredRow

    def at(path: str, name: str) -> str:
        return f"/{path}/{quote(name, safe='')}"

    def rows(raw: bytes | None) -> list[StoredRow]:
        return [StoredRow("", "", raw, began_s)] if raw is not None else []

    began_s = int(time.time())

    async def work(fetcher: Fetcher) -> Listed:
        raw = await fetcher.single(at("markets", ticker), "market")
        if raw is None:
            raise UsageRefused(f"kalshi lists no market {ticker}: copy the ticker from the market's page")
        market = _readable(ticker, Parents([], [], []).listed(raw)).market
        event = await fetcher.single(at("events", market.event_ticker), "event", {"exclude_markets": "true"})
        hung = Parents([], rows(event), [])
        known = hung.events.get(market.event_ticker)
        if event is None or known is None:
            return _readable(ticker, hung.listed(raw))
        # changes before what they change: one that takes effect in between is then known twice and never missed
        changes = await fetcher.fee_changes(known.series_ticker, known.event_ticker)
        series = await fetcher.single(at("series", known.series_ticker), "series")
        event = await fetcher.single(at("events", market.event_ticker), "event", {"exclude_markets": "true"})
        return _readable(ticker, Parents(rows(series), rows(event), changes).listed(raw))

    return _online(config, _DEFAULT_RATE, work)


def _readable(ticker: str, found: Listed | object) -> Listed:
    from arbpipe.venues.kalshi.listings import Listed

    if not isinstance(found, Listed):
        raise ArbpipeError(f"kalshi's row of {ticker} cannot be read: {getattr(found, 'reason', found)}")
    return found
