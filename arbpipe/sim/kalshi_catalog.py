"""What simulated Kalshi lists: series, events and markets as its REST answers show them (OpenAPI 3.34.0).

The markets are the scenario's. Each of its events is a Kalshi event; a fee multiplier other than the series' stands on
the event as an override. Everything is on exchange shard 0 unless the configuration says otherwise.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from arbpipe.sim.exchange import Book
from arbpipe.sim.kalshi_fees import FeeType
from arbpipe.sim.kalshi_terms import FeeTerms, Life, Phase, multiplier_shown
from arbpipe.sim.kalshi_ticks import STRUCTURES
from arbpipe.sim.listing import Event, KalshiListing, Kind, Market, Venue
from arbpipe.sim.market import E6_PER_E2
from arbpipe.sim.units import ONE_E4, fixed_text

__all__ = ["Json", "ListedMarket", "Catalog", "NewMarket", "dollars", "count", "money", "rfc3339"]

Json = dict[str, object]

_DAY_NS: Final = 86_400 * 10**9
_MARKET_NAMESPACE: Final = uuid.UUID("0d6a8a52-51a5-5f0e-9a54-2f6f6c3c8a10")
_OTHER_SERIES: Final = ("Simulated series", "Simulated", "custom")
_SERIES: Final = {
    "KXSIMRATE": ("Rate decision", "Economics", "monthly"),
    "KXSIMGAME": ("Professional game", "Sports", "custom"),
    "KXSIMRACE": ("Seat winner", "Elections", "one_off"),
    "KXSIMTEMP": ("Daily high temperature", "Climate and Weather", "daily"),
}


def dollars(value_e4: int) -> str:
    """A price as four decimals."""
    return fixed_text(value_e4, 4, 4)


def money(value_e6: int) -> str:
    """Money as six decimals."""
    return fixed_text(value_e6, 6, 6)


def count(value_e2: int) -> str:
    """A number of contracts as two decimals."""
    return fixed_text(value_e2, 2, 2)


def rfc3339(ts_us: int) -> str:
    """Microseconds since the epoch as the venue writes moments."""
    moment = datetime.fromtimestamp(ts_us // 1_000_000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ts_us % 1_000_000:06d}Z"


@dataclass(slots=True)
class Tape:
    """What was traded in a market since the server started: last price (1/10,000 dollar) and volume (1/100 contract)."""

    last_e4: int = 0
    size_e2: int = 0
    volume_e2: int = 0


@dataclass(frozen=True, slots=True)
class ListedMarket:
    """One market with what its orders need: its place in the lifecycle with its grid, and the fees of its event."""

    market: Market
    event: Event
    ticker: str
    market_id: str
    event_ticker: str
    series_ticker: str
    exchange_index: int
    series_fees: FeeTerms
    event_fees: FeeTerms
    life: Life
    tape: Tape

    @property
    def tick_e4(self) -> int:
        """The coarsest step of its grid, in 1/10,000 dollar."""
        return max(band.step_e4 for band in self.life.grid.bands)

    @property
    def fee_type(self) -> FeeType:
        """The formula that its fills are charged by."""
        return self.event_fees.over(self.series_fees).charged()

    @property
    def multiplier_e2(self) -> int:
        """The multiplier of its fees now, in 1/100."""
        return self.event_fees.over(self.series_fees).multiplier_e2 or 0

    def multiplier_at(self, now_us: int) -> int:
        """The multiplier of a fill at that moment, in 1/100: nothing while the market's fees are waived."""
        waiver_us = self.life.waiver_us
        return 0 if waiver_us is not None and now_us < waiver_us else self.multiplier_e2


@dataclass(frozen=True, slots=True)
class NewMarket:
    """A market that is listed while the server runs. Moments in microseconds since the epoch."""

    ticker: str
    event_ticker: str
    series_ticker: str
    title: str
    structure: str
    exchange_index: int
    open_us: int
    close_us: int
    hidden_until_us: int = 0


def best_levels(book: Book) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Best bid and best ask as ``(price_e4, size_e2)``; None for an empty side."""
    bids, asks = book.levels()
    bid = (bids[0][0], bids[0][1] // E6_PER_E2) if bids else None
    ask = (asks[0][0], asks[0][1] // E6_PER_E2) if asks else None
    return bid, ask


class Catalog:
    """The listing. ``books`` are keyed by :attr:`Market.key`; ``started_ns`` (epoch) dates the listing.

    ``markets`` maps tickers to markets, in catalog order. ``now_us`` is the venue's clock. ``structures`` names the grid of a
    series, event or market (the narrowest counts), ``shards`` the exchange shard of a series.

    Raises:
        ValueError: an unknown structure.
    """

    def __init__(
        self,
        events: Sequence[Event],
        books: Mapping[str, Book],
        started_ns: int,
        *,
        now_us: Callable[[], int] | None = None,
        structures: Mapping[str, str] | None = None,
        shards: Mapping[str, int] | None = None,
    ) -> None:
        self.markets: dict[str, ListedMarket] = {}
        self.now_us = now_us or (lambda: started_ns // 1_000)
        self.series_fees: dict[str, FeeTerms] = {}
        self.event_fees: dict[str, FeeTerms] = {}
        self._books = dict(books)
        self._open_us = (started_ns - _DAY_NS) // 1_000
        self._close_us = (started_ns + 30 * _DAY_NS) // 1_000
        self._structures = dict(structures or {})
        self._shards = dict(shards or {})
        unknown = sorted(set(self._structures.values()) - set(STRUCTURES))
        if unknown:
            raise ValueError(f"no price structure {', '.join(unknown)}: choose from {', '.join(STRUCTURES)}")
        for event in events:
            for market in event.markets:
                if market.venue is Venue.KALSHI:
                    self._list(event, market)

    def _list(self, event: Event, market: Market) -> None:
        """Take in a market of the scenario."""
        listing = market.listing
        if not isinstance(listing, KalshiListing):
            raise TypeError(f"{market.key} is not listed on Kalshi: give the catalog Kalshi's markets")
        ticker = listing.ticker
        series = ticker.split("-", 1)[0]
        # a pair is an event of one market; its own ticker keeps two pairs of one month apart
        event_ticker = ticker if event.kind is Kind.PAIR else ticker.rsplit("-", 1)[0]
        multiplier_e2 = {"1": 100, "0.5": 50}[listing.multiplier]
        self.event_fees.setdefault(event_ticker, FeeTerms(None, None if multiplier_e2 == 100 else multiplier_e2))
        natural = "linear_cent" if market.tick_e4 == 100 else "deci_cent"
        named = (self._structures.get(name) for name in (ticker, event_ticker, series))
        structure = next((name for name in named if name is not None), natural)
        life = Life(self._open_us, self._open_us, self._close_us, STRUCTURES[structure], updated_us=self._open_us)
        self._enter(event, market, event_ticker, series, self._shards.get(series, 0), life)

    def _enter(
        self, event: Event, market: Market, event_ticker: str, series: str, exchange_index: int, life: Life
    ) -> ListedMarket:
        listing = market.listing
        assert isinstance(listing, KalshiListing)
        listed = ListedMarket(
            market=market,
            event=event,
            ticker=listing.ticker,
            market_id=listing.market_id,
            event_ticker=event_ticker,
            series_ticker=series,
            exchange_index=exchange_index,
            series_fees=self.series_fees.setdefault(series, FeeTerms(FeeType.QUADRATIC.value, 100)),
            event_fees=self.event_fees.setdefault(event_ticker, FeeTerms(None, None)),
            life=life,
            tape=Tape(),
        )
        self.markets[listing.ticker] = listed
        return listed

    def add(self, new: NewMarket) -> ListedMarket:
        """List a market while the server runs, with an empty book.

        Raises:
            ValueError: the ticker is listed already, or the structure is unknown.
        """
        if new.ticker in self.markets:
            raise ValueError(f"{new.ticker} is listed already: give another ticker")
        if new.structure not in STRUCTURES:
            raise ValueError(f"no price structure {new.structure!r}: choose from {', '.join(STRUCTURES)}")
        grid = STRUCTURES[new.structure]
        market_id = str(uuid.uuid5(_MARKET_NAMESPACE, new.ticker))
        listing = KalshiListing(new.ticker, market_id, "1")
        tick_e4 = max(band.step_e4 for band in grid.bands)
        market = Market(Venue.KALSHI, 0, False, new.title, "Yes", "No", tick_e4, 700, listing)
        family = self.tickers_of(new.event_ticker)
        event = (
            self.markets[family[0]].event if family else Event(-1, new.event_ticker, Kind.PAIR, 1, (market,), "none")
        )
        now_us = self.now_us()
        life = Life(now_us, new.open_us, new.close_us, grid, updated_us=now_us, hidden_until_us=new.hidden_until_us)
        self._books[market.key] = Book(market.key)
        return self._enter(event, market, new.event_ticker, new.series_ticker, new.exchange_index, life)

    def status(self, ticker: str) -> str:
        """The market's status on the wire."""
        return self.markets[ticker].life.status(self.now_us())

    def shards(self) -> list[int]:
        """The exchange shards that there are: 0, and where a market lives."""
        return sorted({0, *self._shards.values(), *(each.exchange_index for each in self.markets.values())})

    def book(self, ticker: str) -> Book:
        """The book of a market."""
        return self._books[self.markets[ticker].market.key]

    def market(self, ticker: str) -> Json:
        """The market object with its live prices. An empty side is price 0 or 1 with size 0, as recorded."""
        listed = self.markets[ticker]
        bid, ask = best_levels(self.book(ticker))
        bid_e4, bid_e2 = bid or (0, 0)
        ask_e4, ask_e2 = ask or (ONE_E4, 0)
        life = listed.life
        closes = rfc3339(life.close_us)
        title = listed.market.title
        answer: Json = {
            "ticker": ticker,
            "event_ticker": listed.event_ticker,
            "market_type": "binary",
            "title": title,
            "yes_sub_title": title,
            "no_sub_title": title,
            "created_time": rfc3339(life.created_us),
            "updated_time": rfc3339(life.updated_us),
            "open_time": rfc3339(life.open_us),
            "close_time": closes,
            "expected_expiration_time": closes,
            "latest_expiration_time": closes,
            "settlement_timer_seconds": int(life.timer_s),
            "status": life.status(self.now_us()),
            "yes_bid_dollars": dollars(bid_e4),
            "yes_bid_size_fp": count(bid_e2),
            "yes_ask_dollars": dollars(ask_e4),
            "yes_ask_size_fp": count(ask_e2),
            "no_bid_dollars": dollars(ONE_E4 - ask_e4),
            "no_ask_dollars": dollars(ONE_E4 - bid_e4),
            "last_price_dollars": dollars(listed.tape.last_e4),
            "previous_yes_bid_dollars": dollars(0),
            "previous_yes_ask_dollars": dollars(0),
            "previous_price_dollars": dollars(0),
            "volume_fp": count(listed.tape.volume_e2),
            "volume_24h_fp": count(listed.tape.volume_e2),
            "open_interest_fp": count(listed.tape.volume_e2),
            "notional_value_dollars": dollars(ONE_E4),
            "result": life.result,
            "can_close_early": True,
            "early_close_condition": "This market closes early when the outcome is known.",
            "expiration_value": "",
            "occurrence_datetime": closes,
            "settlement_bounds_type": "default",
            "rules_primary": f"If {title}, then the market resolves to Yes.",
            "rules_secondary": "Simulated: it settles on command.",
            "price_level_structure": life.grid.name,
            "price_ranges": life.grid.shown(),
            "exchange_index": listed.exchange_index,
        }
        if listed.event.kind is Kind.LADDER and "-T" in ticker:
            answer["strike_type"] = "greater"
            answer["floor_strike"] = int(ticker.rsplit("-T", 1)[1])
        if life.value_e4 is not None:
            answer["settlement_value_dollars"] = dollars(life.value_e4)
        if life.settled_us is not None and life.phase is Phase.FINALIZED:
            answer["settlement_ts"] = rfc3339(life.settled_us)
        if life.waiver_us is not None:
            answer["fee_waiver_expiration_time"] = rfc3339(life.waiver_us)
        return answer | life.metadata

    def tickers_of(self, event_ticker: str) -> list[str]:
        """The tickers of an event's markets."""
        return [each.ticker for each in self.markets.values() if each.event_ticker == event_ticker]

    def event_tickers(self) -> list[str]:
        """All event tickers, in catalog order."""
        return list(dict.fromkeys(each.event_ticker for each in self.markets.values()))

    def event(self, event_ticker: str, *, nested: bool) -> Json:
        """The event object, with its markets when ``nested``.

        Raises:
            KeyError: no such event.
        """
        tickers = self.tickers_of(event_ticker)
        if not tickers:
            raise KeyError(event_ticker)
        first = self.markets[tickers[0]]
        exclusive = first.event.kind is Kind.PARTITION
        answer: Json = {
            "event_ticker": event_ticker,
            "series_ticker": first.series_ticker,
            "title": first.market.title if len(tickers) == 1 else first.event.name,
            "sub_title": first.event.name,
            "collateral_return_type": "MECNET" if exclusive else "",
            "mutually_exclusive": exclusive,
            "category": _SERIES.get(first.series_ticker, _OTHER_SERIES)[1],
            "strike_period": "",
            "settlement_sources": [],
            "last_updated_ts": rfc3339(self._open_us),
            "exchange_index": first.exchange_index,
        }
        if first.event_fees.fee_type is not None:
            answer["fee_type_override"] = first.event_fees.fee_type
        if first.event_fees.multiplier_e2 is not None:
            answer["fee_multiplier_override"] = multiplier_shown(first.event_fees.multiplier_e2)
        if nested:
            answer["markets"] = [self.market(ticker) for ticker in tickers]
        return answer

    def series_tickers(self) -> list[str]:
        """All series, in catalog order."""
        return list(dict.fromkeys(each.series_ticker for each in self.markets.values()))

    def series(self, series_ticker: str) -> Json:
        """The series object.

        Raises:
            KeyError: no such series.
        """
        if series_ticker not in self.series_tickers():
            raise KeyError(series_ticker)
        title, category, frequency = _SERIES.get(series_ticker, _OTHER_SERIES)
        fees = self.series_fees[series_ticker]
        return {
            "ticker": series_ticker,
            "frequency": frequency,
            "title": title,
            "category": category,
            "categories": [category],
            "tags": None,
            "settlement_sources": [],
            "contract_url": "",
            "contract_terms_url": "",
            "fee_type": fees.fee_type,
            "fee_multiplier": multiplier_shown(fees.multiplier_e2),
            "additional_prohibitions": [],
            "last_updated_ts": rfc3339(self._open_us),
            "exchange_index": self._shards.get(series_ticker, 0),
        }

    def orderbook(self, ticker: str, depth: int = 0) -> Json:
        """``orderbook_fp``: both sides as bids, prices ascending as recorded; the best ``depth`` levels, 0 for all."""
        bids, asks = self.book(ticker).levels()
        yes = [(price, size // E6_PER_E2) for price, size in bids]
        no = [(ONE_E4 - price, size // E6_PER_E2) for price, size in asks]
        if depth:
            yes, no = yes[:depth], no[:depth]

        def shown(levels: list[tuple[int, int]]) -> list[list[str]]:
            return [[dollars(price), count(size)] for price, size in sorted(levels)]

        return {"yes_dollars": shown(yes), "no_dollars": shown(no)}
