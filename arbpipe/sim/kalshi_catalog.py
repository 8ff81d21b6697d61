"""What simulated Kalshi lists: series, events and markets as its REST answers show them (OpenAPI 3.34.0).

The markets are the scenario's. Each of its events is a Kalshi event; a fee multiplier other than the series' stands on
the event as an override. Everything is exchange shard 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from arbpipe.sim.exchange import Book
from arbpipe.sim.kalshi_fees import FeeType
from arbpipe.sim.listing import Event, KalshiListing, Kind, Market, Venue
from arbpipe.sim.market import E6_PER_E2
from arbpipe.sim.units import ONE_E4, fixed_text

__all__ = ["Json", "ListedMarket", "Catalog", "dollars", "count", "rfc3339"]

Json = dict[str, object]

_DAY_NS: Final = 86_400 * 10**9
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
    """One market with what its orders need: tick in 1/10,000 dollar, fee type, and multiplier in 1/100."""

    market: Market
    event: Event
    ticker: str
    market_id: str
    event_ticker: str
    series_ticker: str
    tick_e4: int
    fee_type: FeeType
    multiplier_e2: int
    tape: Tape


def _listed(event: Event, market: Market) -> ListedMarket:
    listing = market.listing
    if not isinstance(listing, KalshiListing):
        raise TypeError(f"{market.key} is not listed on Kalshi: give the catalog Kalshi's markets")
    ticker = listing.ticker
    return ListedMarket(
        market=market,
        event=event,
        ticker=ticker,
        market_id=listing.market_id,
        # a pair is an event of one market; its own ticker keeps two pairs of one month apart
        event_ticker=ticker if event.kind is Kind.PAIR else ticker.rsplit("-", 1)[0],
        series_ticker=ticker.split("-", 1)[0],
        tick_e4=market.tick_e4,
        fee_type=FeeType.QUADRATIC,
        multiplier_e2={"1": 100, "0.5": 50}[listing.multiplier],
        tape=Tape(),
    )


def best_levels(book: Book) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Best bid and best ask as ``(price_e4, size_e2)``; None for an empty side."""
    bids, asks = book.levels()
    bid = (bids[0][0], bids[0][1] // E6_PER_E2) if bids else None
    ask = (asks[0][0], asks[0][1] // E6_PER_E2) if asks else None
    return bid, ask


class Catalog:
    """The listing. ``books`` are keyed by :attr:`Market.key`; ``started_ns`` (epoch) dates the listing.

    ``markets`` maps tickers to markets, in catalog order.
    """

    def __init__(self, events: Sequence[Event], books: Mapping[str, Book], started_ns: int) -> None:
        self.markets: dict[str, ListedMarket] = {}
        for event in events:
            for market in event.markets:
                if market.venue is Venue.KALSHI:
                    listed = _listed(event, market)
                    self.markets[listed.ticker] = listed
        self._books = books
        self._open_us = (started_ns - _DAY_NS) // 1_000
        self._close_us = (started_ns + 30 * _DAY_NS) // 1_000

    def book(self, ticker: str) -> Book:
        """The book of a market."""
        return self._books[self.markets[ticker].market.key]

    def market(self, ticker: str) -> Json:
        """The market object with its live prices. An empty side is price 0 or 1 with size 0, as recorded."""
        listed = self.markets[ticker]
        bid, ask = best_levels(self.book(ticker))
        bid_e4, bid_e2 = bid or (0, 0)
        ask_e4, ask_e2 = ask or (ONE_E4, 0)
        opened, closes = rfc3339(self._open_us), rfc3339(self._close_us)
        step = dollars(listed.tick_e4)
        title = listed.market.title
        answer: Json = {
            "ticker": ticker,
            "event_ticker": listed.event_ticker,
            "market_type": "binary",
            "title": title,
            "yes_sub_title": title,
            "no_sub_title": title,
            "created_time": opened,
            "updated_time": opened,
            "open_time": opened,
            "close_time": closes,
            "expected_expiration_time": closes,
            "latest_expiration_time": closes,
            "settlement_timer_seconds": 60,
            "status": "active",
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
            "result": "",
            "can_close_early": True,
            "early_close_condition": "This market closes early when the outcome is known.",
            "expiration_value": "",
            "occurrence_datetime": closes,
            "settlement_bounds_type": "default",
            "rules_primary": f"If {title}, then the market resolves to Yes.",
            "rules_secondary": "Simulated: it settles nowhere.",
            "price_level_structure": "linear_cent" if listed.tick_e4 == 100 else "deci_cent",
            "price_ranges": [{"start": dollars(0), "end": dollars(ONE_E4), "step": step}],
            "exchange_index": 0,
        }
        if listed.event.kind is Kind.LADDER:
            answer["strike_type"] = "greater"
            answer["floor_strike"] = int(ticker.rsplit("-T", 1)[1])
        return answer

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
            "category": _SERIES[first.series_ticker][1],
            "strike_period": "",
            "settlement_sources": [],
            "last_updated_ts": rfc3339(self._open_us),
            "exchange_index": 0,
        }
        if first.multiplier_e2 != 100:
            answer["fee_multiplier_override"] = first.multiplier_e2 / 100
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
        title, category, frequency = _SERIES[series_ticker]
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
            "fee_type": FeeType.QUADRATIC.value,
            "fee_multiplier": 1,
            "additional_prohibitions": [],
            "last_updated_ts": rfc3339(self._open_us),
            "exchange_index": 0,
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
