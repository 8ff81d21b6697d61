"""Asking the venue whether it trades: what is read, what follows, and what a failed read leaves standing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web
from kalshi_venue import PREFIX, iso

from arbpipe.clock import boottime_ns, wall_ns
from arbpipe.errors import ArbpipeError
from arbpipe.feemodel import FeeTerms
from arbpipe.shm.row import RowFlag
from arbpipe.shm.tables import VenueState
from arbpipe.venues.kalshi.auth import wall_ms
from arbpipe.venues.kalshi.fees import taker_terms
from arbpipe.venues.kalshi.rest import KalshiRest
from arbpipe.venues.kalshi.standing import Standing
from arbpipe.venues.kalshi.watch import KalshiWatch

HOUR_MS = 3_600_000
CENTS = [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]


def market(ticker: str = "KXA-1-X", **more: Any) -> dict[str, Any]:
    base = {
        "ticker": ticker,
        "event_ticker": "KXA-1",
        "market_type": "binary",
        "status": "active",
        "result": "",
        "notional_value_dollars": "1.0000",
        "settlement_bounds_type": "default",
        "rules_primary": "If it happens, then the market resolves to Yes.",
        "price_level_structure": "linear_cent",
        "price_ranges": CENTS,
        "exchange_index": 0,
        "open_time": "2026-01-01T00:00:00Z",
        "close_time": iso(wall_ms() + HOUR_MS),
    }
    return base | more


class ScriptedExchange:
    """Public reads as the tests say; every request kept. No request may be signed."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "/exchange/status": {"exchange_active": True, "trading_active": True},
            "/exchange/schedule": {"schedule": {"standard_hours": [], "maintenance_windows": []}},
            "/markets": {"markets": [market()], "cursor": ""},
            "/events": {"events": [{"event_ticker": "KXA-1", "series_ticker": "KXA"}], "cursor": ""},
            "/series/KXA": {"series": {"ticker": "KXA", "fee_type": "quadratic", "fee_multiplier": 1}},
            "/series/fee_changes": {"series_fee_change_arr": []},
            "/events/fee_changes": {"event_fee_changes": [], "cursor": ""},
        }
        self.status: dict[str, int] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert "KALSHI-ACCESS-KEY" not in request.headers
        path = request.path.removeprefix(PREFIX)
        self.requests.append((path, dict(request.query)))
        answer = self.answers.get(path)
        if callable(answer):
            answer = answer(request.query)
        return web.json_response(answer, status=self.status.get(path, 200))


Work = Callable[[ScriptedExchange, KalshiWatch], Coroutine[Any, Any, Any]]
OURS = taker_terms("quadratic", "1")


def run(venue: ScriptedExchange, work: Work, fee: FeeTerms | None = OURS, *tickers: str) -> list[str]:
    """Do ``work`` with a watch of ``venue``; returns what it complained about."""
    complaints: list[str] = []

    async def main() -> None:
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", venue.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        rest = KalshiRest(f"http://127.0.0.1:{runner.addresses[0][1]}{PREFIX}", None, None, now_ms=wall_ms)
        standing = Standing(strict=True, lag_ns=0)
        standing.list(tickers or ("KXA-1-X",))
        standing.hearing(True, 1)
        try:
            await rest.start()
            await work(venue, KalshiWatch(rest, standing, complaints.append, lambda ticker: fee))
        finally:
            await rest.stop()
            await runner.cleanup()

    asyncio.run(main())
    return complaints


def of(watch: KalshiWatch, ticker: str = "KXA-1-X") -> tuple[RowFlag, str]:
    """What stands against a market now."""
    return watch.standing.of(ticker, wall_ms(), boottime_ns())


def flags_after(venue: ScriptedExchange, fee: FeeTerms | None = OURS) -> tuple[RowFlag, str]:
    """What stands against the market once status and facts were read."""
    found: list[tuple[RowFlag, str]] = []

    async def work(venue: ScriptedExchange, watch: KalshiWatch) -> None:
        await watch.read_status()
        await watch.read_markets()
        await watch.read_fees()
        found.append(of(watch))

    run(venue, work, fee)
    return found[0]


# --- the exchange -----------------------------------------------------------------------------------------------------


def test_status_comes_with_errors_too_and_counts() -> None:
    venue = ScriptedExchange()
    venue.answers["/exchange/status"] = {"exchange_active": False, "trading_active": False}
    venue.status["/exchange/status"] = 503

    async def work(venue: ScriptedExchange, watch: KalshiWatch) -> None:
        await watch.read_status()
        assert watch.standing.venue(boottime_ns(), wall_ms())[0] is VenueState.CLOSED
        venue.answers["/exchange/status"] = {"exchange_active": True, "trading_active": True}
        await watch.read_status()  # of a venue that fails its own words are no evidence
        assert watch.standing.venue(boottime_ns(), wall_ms())[0] is VenueState.CLOSED

    run(venue, work)


@pytest.mark.parametrize("answer", [{}, [], "text", {"exchange_active": "yes", "trading_active": 1}, None])
def test_a_status_that_says_nothing_leaves_the_venue_unknown(answer: Any) -> None:
    venue = ScriptedExchange()
    venue.answers["/exchange/status"] = answer

    async def work(venue: ScriptedExchange, watch: KalshiWatch) -> None:
        with pytest.raises(ArbpipeError, match="cannot be read"):
            await watch.read_status()
        assert watch.standing.venue(boottime_ns(), wall_ms())[0] is VenueState.UNKNOWN

    run(venue, work)


def test_a_pause_of_one_shard_halts_its_markets_and_not_the_venue() -> None:
    venue = ScriptedExchange()
    shards = [
        {"exchange_index": index, "description": "", "exchange_active": True, "trading_active": index != 3}
        for index in (0, 3)
    ]
    venue.answers["/exchange/status"] = {
        "exchange_active": True,
        "trading_active": True,
        "exchange_index_statuses": shards,
    }
    assert flags_after(venue)[0] is RowFlag.NONE
    venue.answers["/markets"] = {"markets": [market(exchange_index=3)], "cursor": ""}
    flags, why = flags_after(venue)
    assert (flags, why) == (RowFlag.HALTED, "exchange shard 3 is paused")


def test_f70_a_maintenance_window_of_the_calendar_pauses_the_venue() -> None:
    venue = ScriptedExchange()
    now = wall_ms()
    window = {"start_datetime": iso(now - 1_000), "end_datetime": iso(now + HOUR_MS)}
    venue.answers["/exchange/schedule"] = {"schedule": {"standard_hours": [], "maintenance_windows": [window]}}

    async def work(venue: ScriptedExchange, watch: KalshiWatch) -> None:
        await watch.read_status()
        assert watch.standing.venue(boottime_ns(), now)[0] is VenueState.TRADING
        await watch.read_calendar()
        assert watch.standing.venue(boottime_ns(), now) == (
            VenueState.PAUSED,
            "maintenance, by the venue's calendar",
        )

        def mistaken(status: dict[str, bool]) -> bool:  # the mistake: what is not paused yet trades
            return status["trading_active"]

        assert mistaken(venue.answers["/exchange/status"])

    run(venue, work)


# --- facts ------------------------------------------------------------------------------------------------------------


def test_a_market_that_is_active_and_charged_as_it_is_priced_trades() -> None:
    assert flags_after(ScriptedExchange()) == (RowFlag.NONE, "")


@pytest.mark.parametrize(
    ("change", "flag", "says"),
    [
        ({"status": "inactive"}, RowFlag.HALTED, "inactive"),
        ({"status": "tomorrows_word"}, RowFlag.HALTED, "tomorrows_word"),
        ({"status": None}, RowFlag.HALTED, "not stated"),
        ({"price_ranges": None}, RowFlag.NOT_TRADEABLE, "no grid"),
        ({"price_ranges": [{"start": "0", "end": "1", "step": "0"}]}, RowFlag.NOT_TRADEABLE, "no grid"),
        ({"close_time": "2026-01-01T00:00:00Z"}, RowFlag.HALTED, "close time has passed"),
        ({"ticker": "KXA-1-Y"}, RowFlag.HALTED, "has not stated"),
        ({"ticker": 7}, RowFlag.HALTED, "has not stated"),
        ({"event_ticker": "KXB-1"}, RowFlag.NOT_TRADEABLE, "its fee is not known"),
        ({"settlement_bounds_type": "floor"}, RowFlag.NOT_TRADEABLE, "settlement_bounds_type"),
        ({"market_type": "scalar"}, RowFlag.NOT_TRADEABLE, "scalar"),
        ({"notional_value_dollars": "100.0000"}, RowFlag.NOT_TRADEABLE, "notional_value_dollars"),
        ({"result": "yes"}, RowFlag.HALTED, "it has a result"),
        ({"close_time": None}, RowFlag.NOT_TRADEABLE, "close_time is missing"),
        ({"open_time": "2036-01-01T00:00:00Z", "close_time": "2036-02-01T00:00:00Z"}, RowFlag.HALTED, "opens later"),
    ],
)
def test_f72_what_is_not_known_of_a_market_does_not_trade(change: dict[str, Any], flag: RowFlag, says: str) -> None:
    venue = ScriptedExchange()
    venue.answers["/markets"] = {"markets": [market(**change)], "cursor": ""}
    found, why = flags_after(venue)
    assert found is flag
    assert says in why

    def mistaken(row: dict[str, Any]) -> bool:  # the mistake: whatever is not one of the words that stop it trades
        return row.get("status") not in ("inactive", "closed", "determined", "finalized")

    if change.get("status") == "tomorrows_word":
        assert mistaken(market(**change))


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/events", {"events": [{"event_ticker": "KXA-1", "series_ticker": "KXA", "fee_multiplier_override": 0.5}]}),
        ("/events", {"events": [{"event_ticker": "KXA-1", "series_ticker": "KXA", "fee_type_override": "flat"}]}),
        ("/events", {"events": []}),
        ("/series/KXA", {"series": {"ticker": "KXA", "fee_type": "quadratic", "fee_multiplier": 2}}),
        ("/series/KXA", {"series": {"ticker": "KXA", "fee_type": "brand_new", "fee_multiplier": 1}}),
        ("/series/KXA", {"series": {"ticker": "KXA", "fee_type": "quadratic"}}),
        ("/series/KXA", {"series": {}}),
    ],
)
def test_f31_a_fee_that_is_not_the_one_we_price_with_stops_the_market(path: str, answer: dict[str, Any]) -> None:
    """Series multiplier, event override and unknown types: each found at the venue, not only in a file of ours."""
    venue = ScriptedExchange()
    venue.answers[path] = answer | ({"cursor": ""} if path == "/events" else {})
    flags, why = flags_after(venue)
    assert flags is RowFlag.NOT_TRADEABLE
    assert "fee" in why

    def mistaken(listed: FeeTerms | None) -> bool:  # the mistake: the fee of the day when the file was written
        return listed is not None

    assert mistaken(OURS)


def test_a_change_that_is_scheduled_counts_for_as_long_before_as_a_comparison_counts() -> None:
    def change(in_s: int, multiplier: float = 2) -> dict[str, Any]:
        when = iso(wall_ns() // 1_000_000 + 1000 * in_s)
        return {
            "id": "1",
            "series_ticker": "KXA",
            "fee_type": "quadratic",
            "fee_multiplier": multiplier,
            "scheduled_ts": when,
        }

    venue = ScriptedExchange()
    for in_s, multiplier, stopped in ((900, 2, False), (300, 2, True), (-5, 2, True), (-5, 1, False)):
        venue.answers["/series/fee_changes"] = {"series_fee_change_arr": [change(in_s, multiplier)]}
        assert (flags_after(venue)[0] is RowFlag.NOT_TRADEABLE) is stopped, (in_s, multiplier)
    venue.answers["/series/fee_changes"] = {"series_fee_change_arr": [{"series_ticker": "KXA", "scheduled_ts": 5}]}
    assert flags_after(venue)[0] is RowFlag.NOT_TRADEABLE  # a change that cannot be read may be any
    venue.answers["/series/fee_changes"] = {"series_fee_change_arr": [{"series_ticker": "KXOTHER", "scheduled_ts": 5}]}
    assert flags_after(venue)[0] is RowFlag.NONE


def test_a_market_without_a_fee_of_ours_is_not_stopped_a_second_time() -> None:
    assert flags_after(ScriptedExchange(), None) == (RowFlag.NONE, "")


def test_f74_a_listing_of_fee_changes_that_comes_round_again_concludes_nothing() -> None:
    venue = ScriptedExchange()
    venue.answers["/events/fee_changes"] = {"event_fee_changes": [], "cursor": "again"}

    async def work(venue: ScriptedExchange, watch: KalshiWatch) -> None:
        await watch.read_markets()
        with pytest.raises(ArbpipeError, match="comes back to cursor 'again'"):
            await watch.read_fees()
        assert of(watch)[0] is RowFlag.HALTED

        def mistaken(most: int) -> int:  # the mistake: on until the cursor is empty, here cut off by hand
            pages, cursor = 0, "again"
            while cursor and pages < most:
                pages, cursor = pages + 1, venue.answers["/events/fee_changes"]["cursor"]
            return pages

        assert mistaken(10_000) == 10_000

    run(venue, work)
    assert [path for path, _ in venue.requests].count("/events/fee_changes") == 2


def test_many_markets_are_asked_for_a_hundred_at_a_time() -> None:
    venue = ScriptedExchange()
    tickers = [f"KXA-1-{number}" for number in range(250)]
    venue.answers["/markets"] = lambda query: {
        "markets": [market(each) for each in query["tickers"].split(",")],
        "cursor": "",
    }

    async def work(venue: ScriptedExchange, watch: KalshiWatch) -> None:
        await watch.read_markets()
        await watch.read_fees()
        assert all(of(watch, ticker)[0] is RowFlag.NONE for ticker in tickers)

    run(venue, work, OURS, *tickers)
    asked = [query["tickers"].split(",") for path, query in venue.requests if path == "/markets"]
    assert [len(each) for each in asked] == [100, 100, 50]


def test_a_listing_of_fee_changes_without_an_end_ends_and_concludes_nothing() -> None:
    venue = ScriptedExchange()
    pages = iter(range(10_000))
    venue.answers["/events/fee_changes"] = lambda query: {"event_fee_changes": [], "cursor": f"c{next(pages)}"}

    async def work(venue: ScriptedExchange, watch: KalshiWatch) -> None:
        await watch.read_markets()
        with pytest.raises(ArbpipeError, match="has no end within"):
            await watch.read_fees()

    run(venue, work)


def test_a_series_that_cannot_be_read_stops_its_own_markets_alone() -> None:
    venue = ScriptedExchange()
    venue.answers["/markets"] = {"markets": [market(), market("KXB-1-X", event_ticker="KXB-1")], "cursor": ""}
    venue.answers["/events"] = {
        "events": [
            {"event_ticker": "KXA-1", "series_ticker": "KXA"},
            {"event_ticker": "KXB-1", "series_ticker": "KXB"},
        ],
        "cursor": "",
    }
    venue.status["/series/KXB"] = 404

    async def work(venue: ScriptedExchange, watch: KalshiWatch) -> None:
        await watch.read_status()
        await watch.read_markets()
        await watch.read_fees()
        assert of(watch) == (RowFlag.NONE, "")
        assert of(watch, "KXB-1-X")[0] is RowFlag.NOT_TRADEABLE

    complaints = run(venue, work, OURS, "KXA-1-X", "KXB-1-X")
    assert ["the markets of KXB do not trade" in each for each in complaints] == [True]


def test_what_is_scheduled_is_read_before_what_is_so() -> None:
    """A change that takes effect between the two is then in one of them at least."""
    venue = ScriptedExchange()
    flags_after(venue)
    paths = [path for path, _ in venue.requests]
    assert paths.index("/series/fee_changes") < paths.index("/events/fee_changes") < paths.index("/events")
    assert paths.index("/events") < paths.index("/series/KXA")


# --- running ----------------------------------------------------------------------------------------------------------


def test_it_asks_on_its_own_and_again_when_it_is_stirred_and_outlives_failures() -> None:
    venue = ScriptedExchange()
    venue.status["/markets"] = 500

    async def until(what: Callable[[], bool]) -> None:
        for _ in range(2_000):
            if what():
                return
            await asyncio.sleep(0.005)
        raise AssertionError("it did not happen in time")

    async def work(venue: ScriptedExchange, watch: KalshiWatch) -> None:
        running = asyncio.create_task(watch.run())
        try:
            await until(lambda: any(path == "/markets" for path, _ in venue.requests))
            assert of(watch)[0] is RowFlag.HALTED
            venue.status.clear()
            watch.stir()
            await until(lambda: of(watch)[0] is RowFlag.NONE)
            assert watch.standing.venue(boottime_ns(), wall_ms())[0] is VenueState.TRADING
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    complaints = run(venue, work)
    assert complaints
    assert "GET /markets with 500" in complaints[0]
