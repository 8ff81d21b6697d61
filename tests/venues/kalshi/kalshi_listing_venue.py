"""A scripted listing of Kalshi on loopback. Every request is checked against the venue's OpenAPI, and so are the rows."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from aiohttp import web
from jsonschema import Draft202012Validator

sys.path.append(str(Path(__file__).resolve().parents[2] / "sim"))

from kalshi_support import check_rest

from arbpipe.venues.kalshi.auth import wall_ms
from arbpipe.venues.kalshi.listing_read import Fetcher, ListingReader, Reading, Step
from arbpipe.venues.kalshi.listing_store import ListingStore, Scope
from arbpipe.venues.kalshi.pace import ReadPace
from arbpipe.venues.kalshi.rest import KalshiRest

T = TypeVar("T")
PREFIX = "/trade-api/v2"
PAST, SOON, LATER = "2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"


def series_row(ticker: str = "KXTEST", **changes: Any) -> dict[str, Any]:
    return {
        "ticker": ticker,
        "frequency": "daily",
        "title": "A test",
        "category": "Economics",
        "categories": ["Economics"],
        "tags": None,
        "settlement_sources": None,
        "contract_url": "",
        "contract_terms_url": "",
        "fee_type": "quadratic",
        "fee_multiplier": 1,
        "additional_prohibitions": None,
    } | changes


def event_row(ticker: str = "KXTEST-26", series: str = "KXTEST", **changes: Any) -> dict[str, Any]:
    return {
        "event_ticker": ticker,
        "series_ticker": series,
        "title": "What happens in 2026",
        "sub_title": "In 2026",
        "collateral_return_type": "MECNET",
        "mutually_exclusive": True,
        "settlement_sources": None,
        "exchange_index": 0,
    } | changes


def market_row(ticker: str = "KXTEST-26-A", event: str = "KXTEST-26", **changes: Any) -> dict[str, Any]:
    return {
        "ticker": ticker,
        "event_ticker": event,
        "market_type": "binary",
        "yes_sub_title": "Above 3",
        "no_sub_title": "Above 3",
        "created_time": PAST,
        "updated_time": PAST,
        "open_time": PAST,
        "close_time": SOON,
        "latest_expiration_time": LATER,
        "settlement_timer_seconds": 60,
        "status": "active",
        "notional_value_dollars": "1.0000",
        "yes_bid_dollars": "0.4000",
        "yes_bid_size_fp": "10.00",
        "yes_ask_dollars": "0.4200",
        "yes_ask_size_fp": "7.50",
        "no_bid_dollars": "0.5800",
        "no_ask_dollars": "0.6000",
        "last_price_dollars": "0.4100",
        "previous_yes_bid_dollars": "0.0000",
        "previous_yes_ask_dollars": "0.0000",
        "previous_price_dollars": "0.0000",
        "volume_fp": "1.00",
        "volume_24h_fp": "1.00",
        "open_interest_fp": "1.00",
        "result": "",
        "can_close_early": False,
        "expiration_value": "",
        "rules_primary": "If it is above 3, then the market resolves to Yes.",
        "rules_secondary": "",
        "price_level_structure": "linear_cent",
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
        "settlement_bounds_type": "default",
        "strike_type": "greater",
        "floor_strike": 3,
        "exchange_index": 0,
    } | changes


def without(row: dict[str, Any], *members: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in members}


@cache
def _api(path: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)


def check_query(recordings: Path, path: str, query: dict[str, str]) -> None:
    """The venue's OpenAPI knows each parameter, and each value is of its type, range and enumeration."""
    api = _api(recordings / "kalshi" / "spec" / "openapi-3.34.0.yaml")
    template = path if path in api["paths"] else _template(api, path)
    known = {}
    for each in api["paths"][template]["get"].get("parameters", []):
        full = api["components"]["parameters"][each["$ref"].split("/")[-1]] if "$ref" in each else each
        known[full["name"]] = full["schema"]
    for name, value in query.items():
        assert name in known, f"GET {path} has no parameter {name}"
        schema = known[name]
        typed: Any = {"integer": int, "boolean": lambda text: {"true": True, "false": False}[text]}.get(
            schema["type"], str
        )(value)
        errors = list(Draft202012Validator(schema).iter_errors(typed))
        assert not errors, f"GET {path}: {name}={value}: {errors[0].message}"
    if path == "/markets" and "min_updated_ts" in query:
        assert set(query) <= {"min_updated_ts", "mve_filter", "series_ticker", "limit", "cursor"}
        assert query["mve_filter"] == "exclude"


def _template(api: Any, path: str) -> str:
    return next(
        each
        for each in api["paths"]
        if "{" in each
        and each.count("/") == path.count("/")
        and path.startswith(each[: each.index("{")])
        and "fee_changes" not in path
    )


class ListingVenue:
    """What the venue lists. ``page`` is how many rows a page has at the most; ``faults`` may answer first."""

    def __init__(self, recordings: Path | None = None) -> None:
        self.recordings = recordings
        self.series = [series_row()]
        self.events = [event_row()]
        self.markets: list[Any] = [market_row()]
        self.series_changes: list[Any] = []
        self.event_changes: list[Any] = []
        self.page = 1_000
        self.faults: list[Callable[[str, dict[str, str]], web.Response | None]] = []
        self.requests: list[tuple[str, dict[str, str]]] = []

    def asked(self, path: str) -> list[dict[str, str]]:
        """The queries of the reads of one path."""
        return [query for where, query in self.requests if where == path]

    def _page(self, rows: list[Any], query: dict[str, str]) -> tuple[list[Any], str]:
        """A cursor is the index of the next row behind a c; one that makes no sense gives page one, as recorded."""
        cursor = query.get("cursor", "")
        start = int(cursor[1:]) if cursor[:1] == "c" and cursor[1:].isdigit() else 0
        end = start + min(self.page, int(query.get("limit", "100")))
        return rows[start:end], f"c{end}" if end < len(rows) else ""

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            return self._checked(request)
        except AssertionError as error:
            # 400 is final for a reader: the test fails at once and says why
            said = {"code": "not_as_the_vendor_says", "message": str(error)[:300]}
            return web.json_response({"error": said}, status=400)

    def _checked(self, request: web.Request) -> web.Response:
        path, query = request.path.removeprefix(PREFIX), dict(request.query)
        self.requests.append((path, query))
        assert request.method == "GET"
        assert not any(name.startswith("KALSHI-") for name in request.headers), "public reads are not signed"
        if self.recordings is not None:
            check_query(self.recordings, path, query)
        for fault in self.faults:
            answer = fault(path, query)
            if answer is not None:
                return answer
        body, schema = self._answer(path, query)
        if body is None:
            return web.json_response({"error": {"code": "not_found", "message": "not found"}}, status=404)
        if self.recordings is not None:
            check_rest(self.recordings, schema, body)
        return web.json_response(body)

    def _answer(self, path: str, query: dict[str, str]) -> tuple[Any, str]:
        of_series = query.get("series_ticker")
        if path == "/series/fee_changes":
            return {"series_fee_change_arr": self.series_changes or []}, "GetSeriesFeeChangesResponse"
        if path == "/events/fee_changes":
            rows, cursor = self._page(self.event_changes, query)
            return {"event_fee_changes": rows, "cursor": cursor}, "GetEventFeeChangesResponse"
        if path == "/series":
            rows = [each for each in self.series if query.get("category") in (None, *(each.get("categories") or []))]
            return {"series": rows}, "GetSeriesListResponse"
        if path == "/events":
            rows, cursor = self._page(
                [each for each in self.events if of_series in (None, each.get("series_ticker"))], query
            )
            return {"events": rows, "cursor": cursor}, "GetEventsResponse"
        if path == "/markets":
            rows = [
                each
                for each in self.markets
                if of_series is None or (isinstance(each, dict) and str(each.get("ticker")).split("-")[0] == of_series)
            ]
            rows, cursor = self._page(rows, query)
            return {"markets": rows, "cursor": cursor}, "GetMarketsResponse"
        kind, _, ticker = path.strip("/").partition("/")
        if kind == "series":
            found = next((each for each in self.series if each["ticker"] == ticker), None)
            return found and {"series": found}, "GetSeriesResponse"
        if kind == "events":
            found = next((each for each in self.events if each["event_ticker"] == ticker), None)
            return found and {"event": found, "markets": []}, "GetEventResponse"
        found = next((each for each in self.markets if each["ticker"] == ticker), None)
        return found and {"market": found}, "GetMarketResponse"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve; yields the address."""
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}{PREFIX}"
        finally:
            await runner.cleanup()


@contextmanager
def in_a_thread(server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """An asynchronous server in a thread of its own, for tests that start the command as a process."""
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()
    started: list[T] = []
    ready = threading.Event()

    async def main() -> None:
        async with server as made:
            started.append(made)
            ready.set()
            await ended.wait()

    def work() -> None:
        try:
            loop.run_until_complete(main())
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait(30)
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)


class Clock:
    """A clock that sleeping moves, and nothing else."""

    def __init__(self) -> None:
        self.ns = 0
        self.slept: list[float] = []

    def now_ns(self) -> int:
        return self.ns

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.ns += round(seconds * 10**9)
        await asyncio.sleep(0)


def read_listing(
    venue: ListingVenue,
    path: Path,
    scope: Scope | None = None,
    *,
    now_s: int = 1_000_000,
    full: bool = False,
    steps: list[Step] | None = None,
    clock: Clock | None = None,
) -> Reading:
    """One run of the reader over a scripted venue. The address of the scope is made up, as the port changes."""
    scope = scope or Scope("kalshi")
    clock = clock or Clock()

    async def main() -> Reading:
        async with venue.serving() as base:
            rest = KalshiRest(base, None, None, now_ms=wall_ms)
            await rest.start()
            store = ListingStore(path, scope)
            try:
                pace = ReadPace(40, now_ns=clock.now_ns, sleep=clock.sleep)
                told: list[Step] = [] if steps is None else steps
                return await ListingReader(Fetcher(rest, pace), store, scope, told.append).run(now_s, full=full)
            finally:
                store.close()
                await rest.stop()

    return asyncio.run(main())
