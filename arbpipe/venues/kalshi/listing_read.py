"""Reading Kalshi's listing into a store: scheduled fees, series, then events and markets page by page.

The order matters for fees: what is scheduled is read before the series and events, so that a change which takes effect
in between is known twice and never missed. Fees and series are read anew by every run; events and markets go on where a
killed run was, and a finished listing is refreshed by what changed since (``min_updated_ts``), at the most for a day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from arbpipe.errors import UsageRefused
from arbpipe.venues.kalshi.listing_store import ListingStore, Progress, Run, Scope, StoredRow
from arbpipe.venues.kalshi.listing_wire import (
    EventFeeChangeRow,
    EventRow,
    MarketRow,
    Page,
    PageError,
    SeriesRow,
    Unreadable,
    moment,
    read_page,
    read_row,
)
from arbpipe.venues.kalshi.listings import is_combo
from arbpipe.venues.kalshi.outcomes import read_error
from arbpipe.venues.kalshi.pace import ReadPace
from arbpipe.venues.kalshi.rest import KalshiRest, NoAnswer, NotConnected, VenueRefused

__all__ = ["Fetcher", "ListingReader", "Reading", "Step", "next_run", "passed_changes"]

_TIMEOUT_S: Final = 30.0
_TRIES: Final = 8
_DIALS: Final = 3
_DAY_S: Final = 86_400
#: A refresh asks for a little more than it needs: the venue's clock is not ours.
_OVERLAP_S: Final = 120
#: Up to so many series are read one by one; more are picked out of the whole listing.
_SINGLY: Final = 40
_MAX_PAGES: Final = 20_000
_EVENT_STATUSES: Final = ("unopened", "open", "closed", "settled")
_EVENT_PAGE: Final = 200
_MARKET_PAGE: Final = 1_000

Query = Mapping[str, str | int]


class Step(NamedTuple):
    """Where a run is, for whoever shows it."""

    what: str
    pages: int
    rows: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What a run did. ``resumed``: it went on with one that had not come to its end."""

    run: Run
    resumed: bool
    pages: int
    combos: int
    gone: int
    refused: int


class _Task(NamedTuple):
    """One list to be read to its end."""

    name: str
    kind: str
    path: str
    key: str
    query: dict[str, str | int]


def next_run(last: Run | None, now_s: int, *, full: bool) -> tuple[Run, bool]:
    """The run to do now, and whether it goes on with the last one.

    A run that was not finished goes on unless it is a day old; a finished one is followed by a refresh, except that a
    day after the last full reading everything is read again. Clocks that went backwards mean a full reading.
    """
    if last is None:
        return Run(1, now_s, 0, now_s), False
    fresh = not full and last.full_s <= last.started_s <= now_s < last.full_s + _DAY_S
    if fresh and not last.finished:
        return last, True
    if fresh:
        return Run(last.number + 1, now_s, last.started_s - _OVERLAP_S, last.full_s), False
    return Run(last.number + 1, now_s, 0, now_s), False


class Fetcher:
    """Public reads at a pace. Reads are repeated: nothing depends on how often a page is asked for."""

    def __init__(self, rest: KalshiRest, pace: ReadPace) -> None:
        self._rest = rest
        self._pace = pace
        #: How often the venue said 429.
        self.refused = 0

    async def get(self, path: str, query: Query | None = None) -> bytes | None:
        """The body of a read; None for 404.

        Raises:
            VenueRefused: another status than 200 and 404, or 429, 408, 5xx and silence eight times in a row.
            NotConnected: no connection, three times in a row.
        """
        said = ""
        for tried in range(1, _TRIES + 1):
            await self._pace.take()
            try:
                answer = await self._rest.ask("GET", path, query, timeout_s=_TIMEOUT_S)
            except NoAnswer as error:
                if isinstance(error, NotConnected) and tried >= _DIALS:
                    raise
                said = str(error)
                self._pace.struck()
                continue
            if answer.status == 200:
                self._pace.passed()
                return answer.body
            if answer.status == 404:
                self._pace.passed()
                return None
            said = f"{answer.status} ({read_error(answer.body)})"
            if answer.status not in (408, 429) and answer.status < 500:
                raise VenueRefused(f"kalshi answered GET {path} with {said}")
            self.refused += answer.status == 429
            self._pace.struck()
        raise VenueRefused(
            f"kalshi does not answer GET {path}: {said}, {_TRIES} times; what was read is kept, the same command goes on"
        )

    async def page(self, path: str, query: Query, key: str, *, cursor: bool) -> Page:
        """A page of a list.

        Raises:
            VenueRefused: see :meth:`get`; also 404, and an answer that is no page.
        """
        body = await self.get(path, query)
        if body is None:
            raise VenueRefused(f"kalshi answered GET {path} with 404: the address in kalshi.rest may be another API's")
        try:
            return read_page(body, key, cursor=cursor)
        except PageError as error:
            raise VenueRefused(f"kalshi's answer to GET {path} is not the list it should be: {error}") from None

    async def single(self, path: str, key: str, query: Query | None = None) -> bytes | None:
        """One object, undecoded; None where there is none.

        Raises:
            VenueRefused: see :meth:`get`; also an answer without the object.
        """
        body = await self.get(path, query)
        if body is None:
            return None
        try:
            return bytes(msgspec.json.decode(body, type=dict[str, msgspec.Raw])[key])
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
            raise VenueRefused(f"kalshi's answer to GET {path} has no {key!r}") from None

    async def fee_changes(self, series: str = "", event: str = "") -> list[tuple[str, bytes]]:
        """All scheduled changes as ``(kind, row)``, kinds ``series`` and ``event``; of one series and event, or all.

        Raises:
            VenueRefused: see :meth:`page`; without this list no fee is known.
        """
        asked: dict[str, str | int] = {"series_ticker": series} if series else {}
        first = await self.page("/series/fee_changes", asked, "series_fee_change_arr", cursor=False)
        found = [("series", bytes(row)) for row in first.rows]
        asked = {"limit": 1_000} | ({"event_ticker": event} if event else {})
        seen: set[str] = set()
        while True:
            page = await self.page("/events/fee_changes", asked, "event_fee_changes", cursor=True)
            found += [("event", bytes(row)) for row in page.rows]
            if not page.cursor:
                return found
            if page.cursor in seen or len(seen) >= _MAX_PAGES:
                raise _looped("/events/fee_changes", page.cursor)
            seen.add(page.cursor)
            asked["cursor"] = page.cursor


class ListingReader:
    """One run over one scope."""

    def __init__(self, fetcher: Fetcher, store: ListingStore, scope: Scope, tell: Callable[[Step], None]) -> None:
        self._fetcher = fetcher
        self._store = store
        self._scope = scope
        self._tell = tell
        self._pages = 0
        self._combos = 0
        #: With a category and many series, the series whose events are kept; None keeps all.
        self._kept: set[str] | None = None
        self._events: set[str] = set()

    async def run(self, now_s: int, *, full: bool = False) -> Reading:
        """Read what is to be read, to the end.

        Raises:
            UsageRefused: a series or category that does not exist.
            VenueRefused: see :meth:`Fetcher.get`; also a listing that comes back to pages it gave before (F74).
        """
        run, resumed = next_run(self._store.last_run(), now_s, full=full)
        if not resumed:
            self._store.begin(run)
        self._tell(Step("fees", 0, 0))
        changes = await self._fetcher.fee_changes()
        if resumed or run.since_s:
            # events that were read before are older than a change that has taken effect and is listed no more
            changes += passed_changes(self._store.fee_changes("event"), changes, now_s)
        self._store.write_fee_changes(changes)
        tickers = await self._series(run, now_s)
        for task in self._tasks(tickers, run):
            if task.kind == "market" and self._kept is not None and not self._events:
                self._events = {row.ticker for row in self._store.rows("event")}
            await self._read(task, run, now_s)
        gone = self._store.finish(run)
        return Reading(run, resumed, self._pages, self._combos, gone, self._fetcher.refused)

    async def _series(self, run: Run, now_s: int) -> list[str]:
        """Read the series of the scope; returns those to read one by one, none for the whole listing."""
        scope = self._scope
        if scope.series:
            rows = []
            for ticker in scope.series:
                raw = await self._fetcher.single(f"/series/{quote(ticker, safe='')}", "series")
                if raw is None:
                    raise UsageRefused(f"--series {ticker}: kalshi lists no such series; copy it from a market's page")
                rows.append(_stored(raw, SeriesRow, ticker, now_s))
            self._store.write_series(rows, run)
            return list(scope.series)
        asked: dict[str, str | int] = {"category": scope.category} if scope.category else {}
        page = await self._fetcher.page("/series", asked, "series", cursor=False)
        if scope.category and not page.rows:
            raise UsageRefused(
                f"--category {scope.category!r}: kalshi lists no series of it; the name is exact, such as Economics"
            )
        rows = [_stored(bytes(raw), SeriesRow, f"?series:{number}", now_s) for number, raw in enumerate(page.rows)]
        self._store.write_series(rows, run)
        self._tell(Step("series", 1, len(rows)))
        tickers = [row.ticker for row in rows if not row.ticker.startswith("?") and not is_combo(row.ticker)]
        if not scope.category:
            return []
        if len(tickers) <= _SINGLY:
            return tickers
        self._kept = set(tickers)
        return []

    def _tasks(self, tickers: list[str], run: Run) -> list[_Task]:
        """All lists of events, then all lists of markets: a market is judged by its event."""
        status = self._scope.status
        event_query: dict[str, str | int] = {"limit": _EVENT_PAGE}
        market_query: dict[str, str | int] = {"limit": _MARKET_PAGE, "mve_filter": "exclude"}
        if run.since_s:
            # markets: incompatible with every filter but these (OpenAPI, GetMarkets)
            event_query["min_updated_ts"] = market_query["min_updated_ts"] = run.since_s
        else:
            market_query |= {"status": status} if status else {}
            event_query |= {"status": status} if status in _EVENT_STATUSES else {}
        found = []
        for kind, query in (("event", event_query), ("market", market_query)):
            for ticker in tickers or [""]:
                own: dict[str, str | int] = {"series_ticker": ticker} if ticker else {}
                found.append(_Task(f"{kind}s {ticker}".rstrip(), kind, f"/{kind}s", f"{kind}s", query | own))
        return found

    async def _read(self, task: _Task, run: Run, now_s: int) -> None:
        """One list to its end, from where it stands."""
        progress = self._store.progress(task.name)
        going_on = progress.pages > 0
        cursors: set[str] = set()
        kind: type[Any] = EventRow if task.kind == "event" else MarketRow
        while not progress.done:
            asked = task.query | ({"cursor": progress.cursor} if progress.cursor else {})
            page = await self._fetcher.page(task.path, asked, task.key, cursor=True)
            self._pages += 1
            rows = [
                _stored(bytes(raw), kind, f"?{task.name}:{progress.pages}:{at}", now_s)
                for at, raw in enumerate(page.rows)
            ]
            on_page = [row.ticker for row in rows]
            # F74: a cursor that the venue does not know gives page one again, with 200, and never an end
            again = bool(on_page) and progress.pages > 0 and not self._store.unseen(task.name, on_page)
            if again or page.cursor in cursors or progress.pages >= _MAX_PAGES:
                if not going_on or progress.restarted:
                    raise _looped(task.path, progress.cursor)
                progress, going_on = self._store.restart(task.name), False
                cursors.clear()
                continue
            if page.cursor:
                cursors.add(page.cursor)
            kept = [row for row in rows if self._keeps(task.kind, row)]
            progress = Progress(
                page.cursor, progress.pages + 1, progress.rows + len(kept), not page.cursor, progress.restarted
            )
            self._store.write_page(task.name, task.kind, kept, on_page, progress, run)
            self._tell(Step(task.name, progress.pages, progress.rows))

    def _keeps(self, kind: str, row: StoredRow) -> bool:
        # a row that cannot be read has no parent: it is kept and reported, whichever category it may be of
        if kind == "event":
            return self._kept is None or not row.parent or row.parent in self._kept
        if is_combo(row.ticker) or _is_combo_row(row.raw):
            self._combos += 1
            return False
        return self._kept is None or not row.parent or row.parent in self._events


def _is_combo_row(raw: bytes) -> bool:
    if b'"mve_' not in raw:
        return False
    row = read_row(raw, MarketRow)
    return isinstance(row, MarketRow) and is_combo(row.ticker, row)


def passed_changes(known: Iterable[bytes], listed: Iterable[tuple[str, bytes]], now_s: int) -> list[tuple[str, bytes]]:
    """Of the events' changes that were ``known``, those that have taken effect by ``now_s`` and are not ``listed`` now.

    One that is still to come and is not listed any more was called off.
    """
    now = datetime.fromtimestamp(now_s, UTC)
    there = {raw for _, raw in listed}
    found = []
    for raw in known:
        row = read_row(raw, EventFeeChangeRow)
        if isinstance(row, EventFeeChangeRow) and raw not in there:
            at = moment(row.scheduled_ts)
            if at is not None and at <= now:
                found.append(("event", raw))
    return found


def _stored(raw: bytes, kind: type[Any], nameless: str, now_s: int) -> StoredRow:
    row: object = read_row(raw, kind)
    if isinstance(row, SeriesRow):
        return StoredRow(row.ticker, "", raw, now_s)
    if isinstance(row, EventRow):
        return StoredRow(row.event_ticker, row.series_ticker, raw, now_s)
    if isinstance(row, MarketRow):
        return StoredRow(row.ticker, row.event_ticker, raw, now_s)
    return StoredRow(row.ticker if isinstance(row, Unreadable) and row.ticker else nameless, "", raw, now_s)


def _looped(path: str, cursor: str) -> VenueRefused:
    return VenueRefused(
        f"kalshi's listing {path} comes back to a page it gave before (cursor {cursor[:40]!r}): nothing is concluded "
        "from it; try again later, and with --full if it stays"
    )
