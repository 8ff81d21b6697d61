"""Asks Kalshi whether it trades: exchange status, maintenance calendar, and the facts of every listed market, without a key.

What is asked goes into :class:`~arbpipe.venues.kalshi.standing.Standing`; nothing is concluded here. A read that fails leaves
what is known, and what is known grows old there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from msgspec import Raw, Struct

from arbpipe.clock import boottime_ns, wall_ns
from arbpipe.errors import ArbpipeError
from arbpipe.feemodel import FeeTerms
from arbpipe.venues.kalshi.fees import taker_terms
from arbpipe.venues.kalshi.grid import finest_step_e4
from arbpipe.venues.kalshi.listing_fees import UNKNOWN_FEE, Change
from arbpipe.venues.kalshi.listing_wire import (
    EventFeeChangeRow,
    EventRow,
    MarketRow,
    PageError,
    Row,
    SeriesFeeChangeRow,
    SeriesRow,
    Unreadable,
    moment,
    read_page,
    read_row,
)
from arbpipe.venues.kalshi.listings import Listed, Why, price_ranges, reasons_against
from arbpipe.venues.kalshi.rest import ExchangeStatus, KalshiRest, Stamp, VenueRefused
from arbpipe.venues.kalshi.standing import FEE_AGE_NS, Exchange, Facts, Standing, Window

__all__ = ["KalshiWatch"]

_STATUS_S: Final = 2.0
_CALENDAR_S: Final = 600.0
_MARKETS_S: Final = 15.0
_FEES_S: Final = 120.0
_READ_S: Final = 5.0
#: Tickers in one question, and questions a second: an anonymous reader has about 50 (kalshi.md section 1).
_TOGETHER: Final = 100
_PAUSE_S: Final = 0.05
#: A fee must hold for as long as its comparison counts.
_FEE_AHEAD: Final = timedelta(seconds=FEE_AGE_NS // 10**9)
#: More pages of fee changes than this are no listing (F74).
_MOST_PAGES: Final = 200
#: What a market's own row does not decide: its event and series are read apart, the rest is looked at with each frame.
_ELSEWHERE: Final = frozenset({Why.PARENT, Why.FEE, Why.TICK, Why.SHARD})


class _Maintenance(Struct, frozen=True):
    start_datetime: Stamp
    end_datetime: Stamp


class _Schedule(Struct, frozen=True):
    maintenance_windows: list[_Maintenance] | None


class _ScheduleAnswer(Struct, frozen=True):
    schedule: _Schedule


class _SeriesAnswer(Struct, frozen=True):
    series: Raw


def _ms(when: datetime) -> int:
    return int(when.timestamp() * 1000)


class KalshiWatch:
    """One venue watched over one session. ``fee_of``: the fee that a listed market is priced with."""

    def __init__(
        self,
        rest: KalshiRest,
        standing: Standing,
        complain: Callable[[str], None],
        fee_of: Callable[[str], FeeTerms | None],
    ) -> None:
        self._rest = rest
        self.standing = standing
        self._complain = complain
        self._fee_of = fee_of
        self._events: dict[str, str] = {}  # market → event, of those that were read
        self._stirred = (asyncio.Event(), asyncio.Event())
        #: Markets that were reactivated unheard: their books are void.
        self.renewed: list[str] = []

    def stir(self) -> None:
        """Read the markets and their fees now: others are listed, or something about them changed."""
        for each in self._stirred:
            each.set()

    async def run(self) -> None:
        """Ask for ever; only cancelling ends it."""
        await self._rest.start()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._each(_STATUS_S, self.read_status))
                group.create_task(self._each(_CALENDAR_S, self.read_calendar))
                group.create_task(self._each(_MARKETS_S, self.read_markets, self._stirred[0]))
                group.create_task(self._each(_FEES_S, self.read_fees, self._stirred[1]))
        finally:
            await self._rest.stop()

    async def _each(self, seconds: float, work: Callable[[], object], stirred: asyncio.Event | None = None) -> None:
        while True:
            if stirred is not None:
                stirred.clear()
            wait_s = seconds
            try:
                done = work()
                assert asyncio.iscoroutine(done)
                await done
            except ArbpipeError as error:
                self._complain(f"kalshi: {error}; asked again")
                wait_s = min(seconds, _STATUS_S)  # what was missed is wanted sooner than the next round
            try:
                async with asyncio.timeout(wait_s):
                    await (asyncio.Event() if stirred is None else stirred).wait()
            except TimeoutError:
                pass

    # -- what is asked -----------------------------------------------------------------------------------------------

    async def read_status(self) -> None:
        """``GET /exchange/status``; its body comes with 503 and 504 as well.

        Raises:
            ArbpipeError: no answer, or one that says nothing.
        """
        answer = await self._rest.ask("GET", "/exchange/status", timeout_s=_READ_S)
        try:
            status = msgspec.json.decode(answer.body, type=ExchangeStatus)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise VenueRefused(f"kalshi's exchange status is HTTP {answer.status} and cannot be read") from None
        shards = {each.exchange_index: each for each in status.exchange_index_statuses or ()}
        states = {index: (each.exchange_active, each.trading_active) for index, each in shards.items()}
        if answer.status != 200:  # whatever its body says
            states = dict.fromkeys(states, (False, False))
            status = ExchangeStatus(False, False)
        self.standing.exchange(Exchange(status.exchange_active, status.trading_active, states), boottime_ns())

    async def read_calendar(self) -> None:
        """``GET /exchange/schedule``: the maintenance windows.

        Raises:
            ArbpipeError: no answer, or one that cannot be read.
        """
        answer = await self._rest.read("/exchange/schedule", _ScheduleAnswer, timeout_s=_READ_S)
        windows = answer.schedule.maintenance_windows or ()
        self.standing.calendar([Window(_ms(each.start_datetime), _ms(each.end_datetime)) for each in windows])

    async def read_markets(self) -> None:
        """Every listed market.

        Raises:
            ArbpipeError: no answer, or one that cannot be read; what was read before it is kept.
        """
        names = self.standing.tickers
        for first in range(0, len(names), _TOGETHER):
            some = names[first : first + _TOGETHER]
            began_ns = boottime_ns()
            rows = await self._rows("/markets", "markets", MarketRow, some)
            for ticker in some:
                row = rows.get(ticker)
                if self.standing.facts(ticker, None if row is None else _facts_of(row), began_ns):
                    self.renewed.append(ticker)
                if row is not None and self._events.get(ticker) != row.event_ticker:
                    self._events[ticker] = row.event_ticker
                    self._stirred[1].set()  # now its fee can be read

    async def read_fees(self) -> None:
        """The fee of every listed market: what is scheduled first, so that a change that takes effect meanwhile is in one of
        the two, then events and series. A series that cannot be read stops its own markets alone.

        Raises:
            ArbpipeError: no answer, or one that cannot be read; what was read before it is kept.
        """
        began_ns = boottime_ns()
        of_series = await self._series_changes()
        of_events = await self._event_changes()
        tickers = [ticker for ticker in self.standing.tickers if ticker in self._events]
        events = await self._rows("/events", "events", EventRow, dict.fromkeys(self._events[each] for each in tickers))
        series: dict[str, SeriesRow] = {}
        for name in dict.fromkeys(row.series_ticker for row in events.values()):
            try:
                raw = await self._rest.read(f"/series/{name}", _SeriesAnswer, timeout_s=_READ_S)
            except ArbpipeError as error:
                self._complain(f"kalshi: {error}; the markets of {name} do not trade")
                continue
            row = read_row(raw.series, SeriesRow)
            if not isinstance(row, Unreadable):
                series[name] = row
            await asyncio.sleep(_PAUSE_S)
        for ticker in tickers:
            event = events.get(self._events[ticker])
            parent = series.get(event.series_ticker) if event is not None else None
            scheduled = _changes(of_series, parent.ticker if parent else "")
            listed = Listed(
                MarketRow(ticker, self._events[ticker]),
                event,
                parent,
                scheduled,
                _changes(of_events, self._events[ticker]),
            )
            self.standing.fee(ticker, self._fee_doubt(listed), began_ns)

    def _fee_doubt(self, listed: Listed) -> str:
        """Why the fee that the market is priced with is not the venue's, now and for as long as this counts (F31)."""
        ours = self._fee_of(listed.market.ticker)
        if ours is None:
            return ""  # it does not trade anyway, and says why
        now = _now()
        for at in (now, now + _FEE_AHEAD):
            words = listed.fee(at)
            said = f"fee type {words.fee_type or 'unknown'}, multiplier {words.multiplier or 'unknown'}"
            if words.fee_type is None or words.multiplier is None:
                return f"its fee is not known ({said})"
            direct = ours.align_e6 < 10_000
            theirs = taker_terms(words.fee_type, words.multiplier, direct=direct)
            if theirs != ours:
                when = "" if at == now else f" from {at:%H:%M} UTC on at the latest"
                return f"the venue charges another fee{when} than it is priced with ({said}): correct it in pairs.toml"
        return ""

    # -- pages -------------------------------------------------------------------------------------------------------

    async def _rows(self, path: str, key: str, kind: type[Row], tickers: Iterable[str]) -> dict[str, Row]:
        found: dict[str, Row] = {}
        names = list(tickers)
        for first in range(0, len(names), _TOGETHER):
            some = names[first : first + _TOGETHER]
            query: dict[str, str | int] = {"tickers": ",".join(some), "limit": _TOGETHER}
            for row in await self._page(path, key, kind, query):
                name = getattr(row, "ticker", None) or getattr(row, "event_ticker", "")
                if name in some:
                    found[name] = row
            await asyncio.sleep(_PAUSE_S)
        return found

    async def _series_changes(self) -> list[tuple[str, Change]]:
        raw = await self._rest.read("/series/fee_changes", Raw, timeout_s=_READ_S)
        rows, _ = _page_of(raw, "series_fee_change_arr", "/series/fee_changes", cursor=False)
        read = [read_row(each, SeriesFeeChangeRow) for each in rows]
        return [
            _unread(row) if isinstance(row, Unreadable) else (row.series_ticker, Change.of_series(row)) for row in read
        ]

    async def _event_changes(self) -> list[tuple[str, Change]]:
        """Every page of the overrides that are scheduled."""
        found: list[tuple[str, Change]] = []
        cursor, seen = "", set[str]()
        for _ in range(_MOST_PAGES):
            query: dict[str, str | int] = {"limit": _TOGETHER, **({"cursor": cursor} if cursor else {})}
            raw = await self._rest.read("/events/fee_changes", Raw, query, timeout_s=_READ_S)
            rows, cursor = _page_of(raw, "event_fee_changes", "/events/fee_changes")
            for row in [read_row(each, EventFeeChangeRow) for each in rows]:
                found.append(_unread(row) if isinstance(row, Unreadable) else (row.event_ticker, Change.of_event(row)))
            if not cursor:
                return found
            if cursor in seen:
                raise VenueRefused(f"kalshi's listing /events/fee_changes comes back to cursor {cursor[:40]!r}")
            seen.add(cursor)
            await asyncio.sleep(_PAUSE_S)
        raise VenueRefused(f"kalshi's listing /events/fee_changes has no end within {_MOST_PAGES} pages")

    async def _page(self, path: str, key: str, kind: type[Row], query: dict[str, str | int]) -> list[Row]:
        raw = await self._rest.read(path, Raw, query, timeout_s=_READ_S)
        rows, _ = _page_of(raw, key, path)
        # a market without a readable row does not trade
        return [row for row in (read_row(each, kind) for each in rows) if not isinstance(row, Unreadable)]


def _facts_of(row: MarketRow) -> Facts:
    ranges = price_ranges(row)
    closes = moment(row.close_time)
    against = [each for each in reasons_against(Listed(row, None, None), _now()) if each.why not in _ELSEWHERE]
    status = row.status or "not stated"
    if status == "active":  # a close time that has passed is looked at by the clock
        others = [each.detail for each in against if each.why is Why.STATUS and closes is not None and closes > _now()]
        status = "; ".join([status, *others])
    return Facts(
        status=status,
        event_ticker=row.event_ticker,
        exchange_index=row.exchange_index,
        tick_e4=0 if isinstance(ranges, str) else finest_step_e4(ranges),
        close_ms=_ms(closes) if closes is not None else 0,
        against="; ".join(each.detail for each in against if each.why is not Why.STATUS),
    )


def _now() -> datetime:
    return datetime.fromtimestamp(wall_ns() / 1e9, UTC)


def _unread(row: Unreadable) -> tuple[str, Change]:
    """A change that cannot be read: what it concerns has no known fee."""
    return row.ticker, Change(None, UNKNOWN_FEE, known=False)


def _changes(all_of_them: Sequence[tuple[str, Change]], ticker: str) -> list[Change]:
    """The changes of one series or event; those that name nothing may be about any."""
    return [change for name, change in all_of_them if name in (ticker, "")]


def _page_of(raw: Raw, key: str, path: str, *, cursor: bool = True) -> tuple[list[Raw], str]:
    try:
        page = read_page(bytes(raw), key, cursor=cursor)
    except PageError as error:
        raise VenueRefused(f"kalshi's answer to GET {path}: {error}") from None
    return page.rows, page.cursor
