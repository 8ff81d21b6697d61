"""A stored listing put together: every market with its event, series and fees, and counts of what does not trade."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from arbpipe.venues.kalshi.listing_fees import NO_OVERRIDE, Change
from arbpipe.venues.kalshi.listing_store import ListingStore, StoredRow
from arbpipe.venues.kalshi.listing_wire import (
    EventFeeChangeRow,
    EventRow,
    MarketRow,
    SeriesFeeChangeRow,
    SeriesRow,
    Unreadable,
    read_row,
)
from arbpipe.venues.kalshi.listings import Listed, Reason, Why, filter_status, reasons_against

__all__ = ["Against", "Parents", "Report", "Tally", "parents_of", "report_of"]

#: A change that nobody can read or date: the fee it is about is unknown.
_UNKNOWN_CHANGE: Final = Change(None, NO_OVERRIDE, known=False)
#: A row that was read so soon after a change may still show the fee before it. Counting a change twice does no harm.
_LAG: Final = timedelta(minutes=2)


class Parents:
    """What markets hang on: readable series and events by ticker, and all scheduled changes."""

    def __init__(
        self, series: Iterable[StoredRow], events: Iterable[StoredRow], changes: Iterable[tuple[str, bytes]]
    ) -> None:
        """``changes`` are ``(kind, row)`` with kinds ``series`` and ``event``, as the store keeps them."""
        #: (kind, ticker) → since when changes count: what took effect before the row was read is in the row.
        self._since: dict[tuple[str, str], datetime] = {}
        self.series: dict[str, SeriesRow] = {}
        self.events: dict[str, EventRow] = {}
        self.unreadable: list[Unreadable] = []
        for row in series:
            one = read_row(row.raw, SeriesRow)
            if isinstance(one, Unreadable):
                self.unreadable.append(one)
            else:
                self.series[one.ticker] = one
                self._since["series", one.ticker] = _since(row)
        for row in events:
            event = read_row(row.raw, EventRow)
            if isinstance(event, Unreadable):
                self.unreadable.append(event)
            else:
                self.events[event.event_ticker] = event
                self._since["event", event.event_ticker] = _since(row)
        self._of_series: defaultdict[str, list[Change]] = defaultdict(list)
        self._of_event: defaultdict[str, list[Change]] = defaultdict(list)
        #: A change that does not even say what it is about may be about anything.
        self._everywhere: list[Change] = []
        for kind, raw in changes:
            self._add(kind, raw)

    def _add(self, kind: str, raw: bytes) -> None:
        if kind == "series":
            row = read_row(raw, SeriesFeeChangeRow)
            if not isinstance(row, Unreadable):
                self._of_series[row.series_ticker].append(Change.of_series(row))
                return
            named, where = row.ticker, self._of_series
        else:
            change = read_row(raw, EventFeeChangeRow)
            if not isinstance(change, Unreadable):
                self._of_event[change.event_ticker].append(Change.of_event(change))
                return
            named, where = change.ticker, self._of_event
        self.unreadable.append(Unreadable(named, f"a scheduled fee of the {kind} cannot be read"))
        (where[named] if named else self._everywhere).append(_UNKNOWN_CHANGE)

    def listed(self, raw: bytes) -> Listed | Unreadable:
        """A market with what it hangs on."""
        market = read_row(raw, MarketRow)
        if isinstance(market, Unreadable):
            return market
        event = self.events.get(market.event_ticker)
        series = self.series.get(event.series_ticker) if event is not None else None
        return Listed(
            market,
            event,
            series,
            self._everywhere + self._counting("series", series.ticker if series else ""),
            self._counting("event", market.event_ticker),
        )

    def _counting(self, kind: str, ticker: str) -> list[Change]:
        """The changes that may not be in the row yet."""
        changes = (self._of_series if kind == "series" else self._of_event).get(ticker, [])
        since = self._since.get((kind, ticker))
        return [change for change in changes if since is None or change.at is None or change.at >= since]


def _since(row: StoredRow) -> datetime:
    return datetime.fromtimestamp(row.read_s, UTC) - _LAG


class Against(NamedTuple):
    """How many markets one reason stands against, and one of them."""

    why: Why
    markets: int
    ticker: str
    detail: str


@dataclass(slots=True)
class Tally:
    """Counts of one series or category."""

    events: set[str] = field(default_factory=set)
    markets: int = 0
    tradeable: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What a listing holds at one moment. A market may have several reasons against it."""

    series: int
    markets: int
    tradeable: int
    events: int
    by_series: dict[str, Tally]
    by_category: dict[str, Tally]
    against: list[Against]
    unreadable: list[Unreadable]


def parents_of(store: ListingStore) -> Parents:
    """What the markets of a store hang on."""
    return Parents(
        store.rows("series"),
        store.rows("event"),
        [(kind, raw) for kind in ("series", "event") for raw in store.fee_changes(kind)],
    )


def report_of(store: ListingStore, status: str, now: datetime) -> Report:
    """Counts over the markets that belong to ``status`` (a value of the venue's filter; empty: all) at ``now``.

    A market that cannot be read, or whose status is not known, is counted whatever the filter.
    """
    parents = parents_of(store)
    by_series: defaultdict[str, Tally] = defaultdict(Tally)
    by_category: defaultdict[str, Tally] = defaultdict(Tally)
    counts: Counter[Why] = Counter()
    first: dict[Why, tuple[str, Reason]] = {}
    unreadable = list(parents.unreadable)
    markets = tradeable = 0
    for ticker, judged, reasons in _judged(store, parents, status, now):
        if isinstance(judged, Unreadable):
            unreadable.append(judged)
            series, category = "(unreadable)", "(unknown)"
        else:
            series = judged.series.ticker if judged.series else "(unknown)"
            category = (judged.series.category if judged.series else None) or "(unknown)"
        markets += 1
        tradeable += not reasons
        for tally in (by_series[series], by_category[category]):
            tally.markets += 1
            tally.tradeable += not reasons
            if isinstance(judged, Listed):
                tally.events.add(judged.market.event_ticker)
        for why in {reason.why for reason in reasons}:
            counts[why] += 1
        for reason in reasons:
            first.setdefault(reason.why, (ticker, reason))
    against = [Against(why, count, first[why][0], first[why][1].detail) for why, count in counts.most_common()]
    events = len(set().union(*(tally.events for tally in by_category.values())))
    return Report(
        len(parents.series), markets, tradeable, events, dict(by_series), dict(by_category), against, unreadable
    )


def _judged(
    store: ListingStore, parents: Parents, status: str, now: datetime
) -> Iterator[tuple[str, Listed | Unreadable, list[Reason]]]:
    for row in store.rows("market"):
        listed = parents.listed(row.raw)
        if isinstance(listed, Unreadable):
            yield row.ticker, listed, [Reason(Why.UNREADABLE, listed.reason)]
            continue
        if not status or filter_status(listed.market, now) in (status, None):
            yield row.ticker, listed, reasons_against(listed, now)
