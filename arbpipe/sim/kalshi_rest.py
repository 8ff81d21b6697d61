"""The REST half of simulated Kalshi: routes, authentication, rate limits, answers (kalshi.md section 3)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from arbpipe.sim.kalshi_account import Account
from arbpipe.sim.kalshi_auth import Keyring
from arbpipe.sim.kalshi_catalog import Catalog, Json, count, dollars, rfc3339
from arbpipe.sim.kalshi_errors import Refusal, refuse, refuse_query
from arbpipe.sim.kalshi_limits import DEFAULT_COST, ENDPOINT_COSTS, Limits
from arbpipe.sim.kalshi_orders import parse_body, parse_order, parse_orders
from arbpipe.sim.kalshi_shapes import event_position, fill_object, flag, integer, market_position, order_object, page
from arbpipe.sim.kalshi_store import OrderRow, Status, Store

__all__ = ["PREFIX", "Rest", "json_answer"]

PREFIX: Final = "/trade-api/v2"
_MOST_BODY: Final = 1 << 20
_MARKET_STATUSES: Final = ("unopened", "open", "paused", "closed", "settled")
_V2_ORDERS: Final = "https://docs.kalshi.com/api-reference/orders/create-order-v2"

_dump: Final = partial(json.dumps, separators=(",", ":"))

Answer = Json | web.StreamResponse
Handler = Callable[[web.Request], Awaitable[Answer]]


def json_answer(body: Json, status: int = 200) -> web.Response:
    """A JSON answer, written compactly as the venue does."""
    return web.json_response(body, status=status, dumps=_dump)


@dataclass(slots=True)
class Rest:
    """Everything an answer needs. ``now_ns`` is the venue's epoch clock, ``steady_ns`` one that never goes back."""

    account: Account
    store: Store
    catalog: Catalog
    keyring: Keyring
    limits: Limits
    user_id: str
    now_ns: Callable[[], int]
    steady_ns: Callable[[], int]

    def routes(self) -> list[web.RouteDef]:
        """All routes below the prefix, and ``/sim/statement``."""
        public: list[tuple[str, str, Handler]] = [
            ("GET", "/exchange/status", self.exchange_status),
            ("GET", "/exchange/schedule", self.exchange_schedule),
            ("GET", "/exchange/user_data_timestamp", self.user_data_timestamp),
            ("GET", "/series", self.series_list),
            ("GET", "/series/fee_changes", self.fee_changes),
            ("GET", "/series/{ticker}", self.series),
            ("GET", "/events", self.events),
            ("GET", "/events/{ticker}", self.event),
            ("GET", "/markets", self.markets),
            ("GET", "/markets/orderbooks", self.orderbooks),
            ("GET", "/markets/{ticker}", self.market),
            ("GET", "/markets/{ticker}/orderbook", self.orderbook),
            ("GET", "/account/endpoint_costs", self.endpoint_costs),
        ]
        private: list[tuple[str, str, Handler]] = [
            ("GET", "/account/limits", self.account_limits),
            ("GET", "/portfolio/balance", self.balance),
            ("GET", "/portfolio/positions", self.positions),
            ("GET", "/portfolio/fills", self.fills),
            ("GET", "/portfolio/orders", self.orders),
            ("GET", "/portfolio/orders/{order_id}", self.order),
            ("GET", "/portfolio/settlements", self.settlements),
            ("POST", "/portfolio/orders", self.retired),
            ("POST", "/portfolio/events/orders", self.create),
            ("DELETE", "/portfolio/events/orders", self.cancel_all),
            ("POST", "/portfolio/events/orders/batched", self.create_batch),
            ("DELETE", "/portfolio/events/orders/batched", self.cancel_batch),
            ("DELETE", "/portfolio/events/orders/{order_id}", self.cancel),
        ]
        return [
            *(web.route(verb, PREFIX + path, self._answering(run, private=False)) for verb, path, run in public),
            *(web.route(verb, PREFIX + path, self._answering(run, private=True)) for verb, path, run in private),
            web.get("/sim/statement", self.statement),
        ]

    def _answering(self, run: Handler, *, private: bool) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                if private:
                    self.verify(request)
                if not request.path.endswith("/batched"):
                    self._charge(request, signed=private or self.keyring.is_signed(request.headers))
                given = await run(request)
            except Refusal as refusal:
                return json_answer(refusal.body, status=refusal.status)
            return given if isinstance(given, web.StreamResponse) else json_answer(given)

        return answer

    def verify(self, request: web.Request) -> None:
        """Check who sent a request.

        Raises:
            Refusal: 401.
        """
        self.keyring.verify(request.headers, request.method, request.rel_url.raw_path, self.now_ns() // 1_000_000)

    def _charge(self, request: web.Request, *, signed: bool, times: int = 1) -> None:
        self.limits.charge(request.method, request.path, self.steady_ns(), signed=signed, times=times)

    def _moment(self) -> str:
        return rfc3339(self.now_ns() // 1_000)

    # -- the exchange -------------------------------------------------------------------------------------------------

    async def exchange_status(self, request: web.Request) -> Answer:
        """Whether the exchange and trading are on, in all and per shard."""
        active = {"exchange_active": self.account.exchange, "trading_active": self.account.trading}
        shard = {"exchange_index": 0, "description": "Default", **active, "intra_exchange_transfers_active": True}
        return {**active, "intra_exchange_transfers_active": True, "exchange_index_statuses": [shard]}

    async def exchange_schedule(self, request: web.Request) -> Answer:
        """Open around the clock; no maintenance is planned."""
        always = [{"open_time": "00:00", "close_time": "00:00"}]
        days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
        week: Json = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2036-01-01T00:00:00Z"}
        return {"schedule": {"standard_hours": [week | dict.fromkeys(days, always)], "maintenance_windows": []}}

    async def user_data_timestamp(self, request: web.Request) -> Answer:
        """How fresh the portfolio's answers are: always now."""
        return {"as_of_time": self._moment()}

    # -- the listing --------------------------------------------------------------------------------------------------

    async def series_list(self, request: web.Request) -> Answer:
        """All series, or those of one category."""
        shown = [self.catalog.series(ticker) for ticker in self.catalog.series_tickers()]
        category = request.query.get("category")
        return {"series": [each for each in shown if not category or each["category"] == category]}

    async def series(self, request: web.Request) -> Answer:
        """One series."""
        try:
            return {"series": self.catalog.series(request.match_info["ticker"])}
        except KeyError:
            raise refuse(404, "not_found") from None

    async def fee_changes(self, request: web.Request) -> Answer:
        """No fee is going to change."""
        return {"series_fee_change_arr": []}

    async def events(self, request: web.Request) -> Answer:
        """Events by page; all of them are open."""
        query = request.query
        limit = integer(query, "limit", "GetEvents", default=200, least=1, most=200)
        wanted = _csv(query.get("tickers"))
        series, status = query.get("series_ticker"), query.get("status", "open")
        if status not in ("unopened", "open", "closed", "settled"):
            raise refuse_query("GetEvents", "Status", "oneof")
        found = [
            ticker
            for ticker in self.catalog.event_tickers()
            if status == "open"
            and (not wanted or ticker in wanted)
            and (not series or self.catalog.event(ticker, nested=False)["series_ticker"] == series)
        ]
        shown, cursor = page(found, query, limit)
        nested = flag(query, "with_nested_markets")
        return {"events": [self.catalog.event(ticker, nested=nested) for ticker in shown], "cursor": cursor}

    async def event(self, request: web.Request) -> Answer:
        """One event, with its markets beside it unless they are nested or excluded."""
        ticker, nested = request.match_info["ticker"], flag(request.query, "with_nested_markets")
        try:
            event = self.catalog.event(ticker, nested=nested)
        except KeyError:
            raise refuse(404, "not_found") from None
        beside = not nested and not flag(request.query, "exclude_markets")
        markets = [self.catalog.market(each) for each in self.catalog.tickers_of(ticker)] if beside else []
        return {"event": event, "markets": markets}

    async def markets(self, request: web.Request) -> Answer:
        """Markets by page; all of them are open."""
        query = request.query
        limit = integer(query, "limit", "GetMarkets", default=100, least=0, most=1_000) or 100
        status = query.get("status", "")
        if status and status not in _MARKET_STATUSES:
            raise refuse_query("GetMarkets", "Status", "oneof")
        wanted = _csv(query.get("tickers"))
        series, event = query.get("series_ticker"), query.get("event_ticker")
        found = [
            ticker
            for ticker, listed in self.catalog.markets.items()
            if status in ("", "open")
            and query.get("mve_filter") != "only"
            and (not wanted or ticker in wanted)
            and (not series or listed.series_ticker == series)
            and (not event or listed.event_ticker == event)
        ]
        shown, cursor = page(found, query, limit)
        return {"markets": [self.catalog.market(ticker) for ticker in shown], "cursor": cursor}

    async def market(self, request: web.Request) -> Answer:
        """One market."""
        return {"market": self.catalog.market(self._ticker(request))}

    async def orderbook(self, request: web.Request) -> Answer:
        """One market's book."""
        depth = integer(request.query, "depth", "GetMarketOrderbook", default=0, least=0, most=100)
        return {"orderbook_fp": self.catalog.orderbook(self._ticker(request), depth)}

    async def orderbooks(self, request: web.Request) -> Answer:
        """The books of up to 100 markets; unknown ones are left out."""
        tickers = [each for each in request.query.getall("tickers", []) for each in each.split(",") if each]
        if not 1 <= len(tickers) <= 100:
            raise refuse_query("GetMarketOrderbooks", "Tickers", "min" if not tickers else "max")
        known = [ticker for ticker in tickers if ticker in self.catalog.markets]
        return {"orderbooks": [{"ticker": each, "orderbook_fp": self.catalog.orderbook(each)} for each in known]}

    def _ticker(self, request: web.Request) -> str:
        ticker = request.match_info["ticker"]
        if ticker not in self.catalog.markets:
            raise refuse(404, "not_found")
        return ticker

    # -- the account --------------------------------------------------------------------------------------------------

    async def endpoint_costs(self, request: web.Request) -> Answer:
        """What does not cost the default."""
        costs = [{"cost": cost, "method": method, "path": path} for method, path, cost in ENDPOINT_COSTS]
        return {"default_cost": DEFAULT_COST, "endpoint_costs": costs}

    async def account_limits(self, request: web.Request) -> Answer:
        """The account's buckets."""
        return self.limits.shown()

    async def balance(self, request: web.Request) -> Answer:
        """Cash that is not held back by resting orders; cents are truncated."""
        available_e6 = self.account.available_e6()
        value_e6 = sum(position.cost_e6 for position in self.store.positions())
        text = _dollars4(available_e6)
        return {
            "balance": available_e6 // 10_000,
            "balance_dollars": text,
            "portfolio_value": value_e6 // 10_000,
            "updated_ts": self.now_ns() // 10**9,
            "balance_breakdown": [{"exchange_index": 0, "balance": text}],
        }

    async def positions(self, request: web.Request) -> Answer:
        """Positions that are not flat, or were traded when ``count_filter`` says so."""
        query = request.query
        limit = integer(query, "limit", "GetPositions", default=100, least=1, most=1_000)
        filters = _csv(query.get("count_filter"))
        if not filters <= {"position", "total_traded"}:
            raise refuse_query("GetPositions", "CountFilter", "oneof")
        ticker, event = query.get("ticker"), query.get("event_ticker")
        settled_only = query.get("settlement_status", "unsettled") == "settled"
        known = self.catalog.markets
        found = [
            each
            for each in self.store.positions()
            if not settled_only
            and each.ticker in known
            and (each.position_e2 != 0 or "position" not in filters)
            and (not ticker or each.ticker == ticker)
            and (not event or known[each.ticker].event_ticker == event)
        ]
        shown, cursor = page(found, query, limit)
        events = dict.fromkeys(known[each.ticker].event_ticker for each in shown)
        return {
            "market_positions": [market_position(each) for each in shown],
            "event_positions": [
                event_position(name, [each for each in shown if known[each.ticker].event_ticker == name])
                for name in events
            ],
            "cursor": cursor,
        }

    async def fills(self, request: web.Request) -> Answer:
        """Fills, newest first."""
        query = request.query
        limit = integer(query, "limit", "GetFills", default=100, least=1, most=1_000)
        least, most = _moments(query, "GetFills")
        tickers, order_id = _csv(query.get("ticker")), query.get("order_id")
        found = [
            each
            for each in reversed(self.store.fills(order_id or None))
            if (not tickers or each.ticker in tickers) and least <= each.ts_us // 1_000_000 <= most
        ]
        shown, cursor = page(found, query, limit)
        return {"fills": [fill_object(each) for each in shown], "cursor": cursor}

    async def orders(self, request: web.Request) -> Answer:
        """Orders, newest first."""
        query = request.query
        limit = integer(query, "limit", "GetOrders", default=100, least=1, most=1_000)
        least, most = _moments(query, "GetOrders")
        status = query.get("status")
        if status and status not in {each.value for each in Status}:
            raise refuse_query("GetOrders", "Status", "oneof")
        tickers, events = _csv(query.get("ticker")), _csv(query.get("event_ticker"))

        def fits(order: OrderRow) -> bool:
            listed = self.catalog.markets.get(order.ticker)
            return (
                (not tickers or order.ticker in tickers)
                and (not events or (listed is not None and listed.event_ticker in events))
                and least <= order.created_us // 1_000_000 <= most
            )

        rows = self.store.orders(Status(status) if status else None)
        shown, cursor = page([row for row in reversed(rows) if fits(row)], query, limit)
        return {"orders": [order_object(row, self.user_id) for row in shown], "cursor": cursor}

    async def order(self, request: web.Request) -> Answer:
        """One order."""
        found = self.store.order(request.match_info["order_id"])
        if found is None:
            raise refuse(404, "not_found")
        return {"order": order_object(found, self.user_id)}

    async def settlements(self, request: web.Request) -> Answer:
        """Nothing settles here."""
        integer(request.query, "limit", "GetSettlements", default=100, least=1, most=1_000)
        return {"settlements": [], "cursor": ""}

    async def statement(self, request: web.Request) -> web.Response:
        """The whole account, without authentication: for tests, on loopback."""
        return json_answer(self.account.statement())

    # -- orders -------------------------------------------------------------------------------------------------------

    async def retired(self, request: web.Request) -> Answer:
        """Orders of the first version are gone."""
        raise refuse(410, "deprecated_v1_order_endpoint", _V2_ORDERS, message="Please switch to the V2 endpoints")

    async def create(self, request: web.Request) -> Answer:
        """Create an order."""
        body = parse_body(await _body(request), "CreateOrderV2Request")
        return json_answer(self.account.create(parse_order(body, self.now_ns() // 10**9)), status=201)

    async def create_batch(self, request: web.Request) -> Answer:
        """Create orders one by one; the whole batch must fit into the bucket."""
        orders = parse_orders(await _body(request), "BatchCreateOrdersV2Request")
        self._charge(request, signed=True, times=len(orders))
        answers: list[Json] = []
        for order in orders:
            try:
                answers.append(self.account.create(parse_order(order, self.now_ns() // 10**9)))
            except Refusal as refusal:
                answers.append({"client_order_id": order.get("client_order_id"), "error": _error(refusal)})
        return json_answer({"orders": answers}, status=201)

    async def cancel(self, request: web.Request) -> Answer:
        """Cancel one order."""
        done = self.account.cancel(request.match_info["order_id"])
        answer: Json = {
            "order_id": done.order.order_id,
            "reduced_by": count(done.reduced_e2),
            "ts_ms": done.ts_ms,
        }
        if done.order.client_order_id:
            answer["client_order_id"] = done.order.client_order_id
        return answer

    async def cancel_batch(self, request: web.Request) -> Answer:
        """Cancel the named orders one by one."""
        orders = parse_orders(await _body(request), "BatchCancelOrdersV2Request")
        self._charge(request, signed=True, times=len(orders))
        answers: list[Json] = []
        for order in orders:
            order_id = str(order.get("order_id", ""))
            try:
                done = self.account.cancel(order_id)
                answers.append({"order_id": order_id, "reduced_by": count(done.reduced_e2), "ts_ms": done.ts_ms})
            except Refusal as refusal:
                answers.append({"order_id": order_id, "reduced_by": count(0), "error": _error(refusal)})
        return {"orders": answers}

    async def cancel_all(self, request: web.Request) -> Answer:
        """Cancel every resting order."""
        for order in self.store.orders(Status.RESTING):
            self.account.cancel(order.order_id)
        return web.Response(status=204)


async def _body(request: web.Request) -> bytes:
    if (request.content_length or 0) > _MOST_BODY:
        raise refuse(413, "request_too_large")
    return await request.read()


def _csv(text: str | None) -> set[str]:
    return {each for each in (text or "").split(",") if each}


def _moments(query: Mapping[str, str], operation: str) -> tuple[int, int]:
    """``min_ts`` and ``max_ts`` in seconds."""
    ever = 1 << 40
    least = integer(query, "min_ts", operation, default=0, least=0, most=ever)
    return least, integer(query, "max_ts", operation, default=ever, least=0, most=ever)


def _dollars4(value_e6: int) -> str:
    """Money as four decimals, rounded down."""
    return dollars(value_e6 // 100)


def _error(refusal: Refusal) -> object:
    """The reason of a refusal as a member of a batch's answer."""
    return refusal.body.get("error", refusal.body)
