"""The public answers of simulated Kalshi: the exchange, the listing, books, trades and fees (kalshi.md section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from aiohttp import web

from arbpipe.sim.kalshi_catalog import Json, ListedMarket, count, dollars, rfc3339
from arbpipe.sim.kalshi_errors import refuse, refuse_query
from arbpipe.sim.kalshi_limits import DEFAULT_COST, ENDPOINT_COSTS
from arbpipe.sim.kalshi_rest import Answer, Rest, Route
from arbpipe.sim.kalshi_shapes import csv, flag, integer, moments, page
from arbpipe.sim.kalshi_store import Fill
from arbpipe.sim.units import ONE_E4

__all__ = ["MarketAnswers"]

#: The words of the status filter, and the statuses that each one means.
_MARKET_STATUSES: Final[Mapping[str, tuple[str, ...]]] = {
    "unopened": ("initialized",),
    "open": ("active",),
    "paused": ("inactive",),
    "closed": ("closed", "determined", "disputed", "amended"),
    "settled": ("finalized",),
}
_EVENT_STATUSES: Final = ("unopened", "open", "closed", "settled")

Item = TypeVar("Item")


class MarketAnswers:
    """What anybody may ask."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._catalog = rest.catalog
        #: Books that a cache still serves: when they were read, and what they were.
        self._cached: dict[tuple[str, int], tuple[int, Json]] = {}

    def routes(self) -> list[Route]:
        """Verb, path and handler."""
        return [
            ("GET", "/exchange/status", self.exchange_status),
            ("GET", "/exchange/schedule", self.exchange_schedule),
            ("GET", "/exchange/user_data_timestamp", self.user_data_timestamp),
            ("GET", "/series", self.series_list),
            ("GET", "/series/fee_changes", self.series_fee_changes),
            ("GET", "/series/{ticker}", self.series),
            ("GET", "/events", self.events),
            ("GET", "/events/fee_changes", self.event_fee_changes),
            ("GET", "/events/{ticker}", self.event),
            ("GET", "/markets", self.markets),
            ("GET", "/markets/trades", self.trades),
            ("GET", "/markets/orderbooks", self.orderbooks),
            ("GET", "/markets/{ticker}", self.market),
            ("GET", "/markets/{ticker}/orderbook", self.orderbook),
            ("GET", "/account/endpoint_costs", self.endpoint_costs),
        ]

    def _page(self, items: Sequence[Item], query: Mapping[str, str], limit: int) -> tuple[list[Item], str]:
        return page(items, query, limit, loops=self._rest.faults.live("cursor_loop") is not None)

    # -- the exchange -------------------------------------------------------------------------------------------------

    async def exchange_status(self, request: web.Request) -> Answer:
        """Whether the exchange and trading are on, in all and per shard."""
        return self._rest.pauses.status()

    async def exchange_schedule(self, request: web.Request) -> Answer:
        """Open around the clock but for planned maintenances."""
        return self._rest.pauses.schedule()

    async def user_data_timestamp(self, request: web.Request) -> Answer:
        """As of when the portfolio's answers are."""
        return {"as_of_time": rfc3339((self._rest.clock.now_ns() - self._rest.lag_ns()) // 1_000)}

    async def endpoint_costs(self, request: web.Request) -> Answer:
        """What does not cost the default."""
        costs = [{"cost": cost, "method": method, "path": path} for method, path, cost in ENDPOINT_COSTS]
        return {"default_cost": DEFAULT_COST, "endpoint_costs": costs}

    # -- the listing --------------------------------------------------------------------------------------------------

    async def series_list(self, request: web.Request) -> Answer:
        """All series, or those of one category."""
        shown = [self._catalog.series(ticker) for ticker in self._catalog.series_tickers()]
        category = request.query.get("category")
        return {"series": [each for each in shown if not category or each["category"] == category]}

    async def series(self, request: web.Request) -> Answer:
        """One series."""
        try:
            return {"series": self._catalog.series(request.match_info["ticker"])}
        except KeyError:
            raise refuse(404, "not_found") from None

    async def series_fee_changes(self, request: web.Request) -> Answer:
        """Which series' fees are going to change."""
        query = request.query
        historical = flag(query, "show_historical")
        found = self._rest.fees.of_series(query.get("series_ticker") or None, historical=historical)
        return {"series_fee_change_arr": found}

    async def event_fee_changes(self, request: web.Request) -> Answer:
        """Which events' fees were or will be changed."""
        limit = integer(request.query, "limit", "GetEventFeeChanges", default=100, least=1, most=1_000)
        found = self._rest.fees.of_events(request.query.get("event_ticker") or None)
        shown, cursor = self._page(found, request.query, limit)
        return {"event_fee_changes": shown, "cursor": cursor}

    def _is_visible(self, listed: ListedMarket) -> bool:
        return self._catalog.now_us() >= listed.life.hidden_until_us

    def _event_tickers(self) -> list[str]:
        return [each for each in self._catalog.event_tickers() if self._visible_in(each)]

    def _visible_in(self, event_ticker: str) -> list[str]:
        """The markets of an event that REST shows already."""
        tickers = self._catalog.tickers_of(event_ticker)
        return [ticker for ticker in tickers if self._is_visible(self._catalog.markets[ticker])]

    async def events(self, request: web.Request) -> Answer:
        """Events by page; an event has a status when any of its markets has it."""
        query = request.query
        limit = integer(query, "limit", "GetEvents", default=200, least=1, most=200)
        wanted, series, status = csv(query.get("tickers")), query.get("series_ticker"), query.get("status", "")
        if status and status not in _EVENT_STATUSES:
            raise refuse_query("GetEvents", "Status", "oneof")
        found = [
            ticker
            for ticker in self._event_tickers()
            if (
                not status or any(self._catalog.status(t) in _MARKET_STATUSES[status] for t in self._visible_in(ticker))
            )
            and (not wanted or ticker in wanted)
            and (not series or self._catalog.event(ticker, nested=False)["series_ticker"] == series)
        ]
        shown, cursor = self._page(found, query, limit)
        nested = flag(query, "with_nested_markets")
        return {"events": [self._catalog.event(ticker, nested=nested) for ticker in shown], "cursor": cursor}

    async def event(self, request: web.Request) -> Answer:
        """One event, with its markets beside it unless they are nested or excluded."""
        ticker, nested = request.match_info["ticker"], flag(request.query, "with_nested_markets")
        if not self._visible_in(ticker):
            raise refuse(404, "not_found")
        beside = not nested and not flag(request.query, "exclude_markets")
        markets = [self._catalog.market(each) for each in self._visible_in(ticker)] if beside else []
        return {"event": self._catalog.event(ticker, nested=nested), "markets": markets}

    async def markets(self, request: web.Request) -> Answer:
        """Markets by page."""
        query = request.query
        limit = integer(query, "limit", "GetMarkets", default=100, least=0, most=1_000) or 100
        status = query.get("status", "")
        if status and status not in _MARKET_STATUSES:
            raise refuse_query("GetMarkets", "Status", "oneof")
        wanted = csv(query.get("tickers"))
        series, event = query.get("series_ticker"), query.get("event_ticker")
        spans = [
            (name, *moments(query, "GetMarkets", name))
            for name in ("created", "close", "settled", "updated")
            if query.get(f"min_{name}_ts") or query.get(f"max_{name}_ts")
        ]
        found = [
            ticker
            for ticker, listed in self._catalog.markets.items()
            if (not status or self._catalog.status(ticker) in _MARKET_STATUSES[status])
            and self._is_visible(listed)
            and query.get("mve_filter") != "only"
            and (not wanted or ticker in wanted)
            and (not series or listed.series_ticker == series)
            and (not event or listed.event_ticker == event)
            and all(least <= _moment(listed, name) <= most for name, least, most in spans)
        ]
        shown, cursor = self._page(found, query, limit)
        return {"markets": [self._catalog.market(ticker) for ticker in shown], "cursor": cursor}

    async def market(self, request: web.Request) -> Answer:
        """One market."""
        return {"market": self._catalog.market(self._ticker(request))}

    async def trades(self, request: web.Request) -> Answer:
        """Public trades, newest first. Whatever trades here, the account is a party to."""
        query = request.query
        limit = integer(query, "limit", "GetTrades", default=100, least=1, most=1_000)
        least, most = moments(query, "GetTrades")
        tickers = csv(query.get("ticker"))
        found = [
            each
            for each in reversed(self._rest.store.fills())
            if (not tickers or each.ticker in tickers)
            and least <= each.ts_us // 1_000_000 <= most
            and not flag(query, "is_block_trade")
        ]
        shown, cursor = self._page(found, query, limit)
        return {"trades": [_trade(each) for each in shown], "cursor": cursor}

    def _book(self, ticker: str, depth: int) -> Json:
        """The book, or as it was when a cache last looked."""
        stale = self._rest.faults.live("stale_books")
        if stale is None:
            self._cached.clear()
            return self._catalog.orderbook(ticker, depth)
        now_ns = self._rest.clock.steady_ns()
        at_ns, book = self._cached.get((ticker, depth), (None, {}))
        if at_ns is None or now_ns - at_ns > round(stale["seconds"] * 1e9):
            book = self._catalog.orderbook(ticker, depth)
            self._cached[ticker, depth] = (now_ns, book)
        else:
            self._rest.faults.count("stale_books")
        return book

    async def orderbook(self, request: web.Request) -> Answer:
        """One market's book."""
        depth = integer(request.query, "depth", "GetMarketOrderbook", default=0, least=0, most=100)
        return {"orderbook_fp": self._book(self._ticker(request), depth)}

    async def orderbooks(self, request: web.Request) -> Answer:
        """The books of up to 100 markets; unknown ones are left out."""
        tickers = [each for each in request.query.getall("tickers", []) for each in each.split(",") if each]
        if not 1 <= len(tickers) <= 100:
            raise refuse_query("GetMarketOrderbooks", "Tickers", "min" if not tickers else "max")
        known = [each for each in tickers if each in self._catalog.markets]
        known = [each for each in known if self._is_visible(self._catalog.markets[each])]
        return {"orderbooks": [{"ticker": each, "orderbook_fp": self._book(each, 0)} for each in known]}

    def _ticker(self, request: web.Request) -> str:
        ticker = request.match_info["ticker"]
        listed = self._catalog.markets.get(ticker)
        if listed is None or not self._is_visible(listed):
            raise refuse(404, "not_found")
        return ticker


def _moment(listed: ListedMarket, name: str) -> int:
    """A moment of a market in Unix seconds; one that has not come is before everything."""
    life = listed.life
    moment = {"created": life.created_us, "close": life.close_us, "updated": life.updated_us}.get(name, life.settled_us)
    return -1 if moment is None else moment // 1_000_000


def _trade(each: Fill) -> Json:
    """A fill without whose it was."""
    taker_buys_yes = each.buys_yes is each.is_taker
    return {
        "trade_id": each.fill_id,
        "ticker": each.ticker,
        "count_fp": count(each.count_e2),
        "yes_price_dollars": dollars(each.price_e4),
        "no_price_dollars": dollars(ONE_E4 - each.price_e4),
        "taker_side": "yes" if taker_buys_yes else "no",
        "taker_outcome_side": "yes" if taker_buys_yes else "no",
        "taker_book_side": "bid" if taker_buys_yes else "ask",
        "created_time": rfc3339(each.ts_us),
        "is_block_trade": False,
    }
