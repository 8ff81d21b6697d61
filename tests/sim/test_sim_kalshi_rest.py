"""Simulated Kalshi's REST answers: the venue's own schemas, the recorded refusals, and what orders do to the account."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kalshi_support import (
    ORDERS,
    PREFIX,
    Client,
    check_rest,
    kalshi_client,
    order_body,
    signed,
)

Scenario = Callable[[Client], Awaitable[None]]


def play(folder: Path, scenario: Scenario, **changes: Any) -> None:
    async def run() -> None:
        async with kalshi_client(folder, **changes) as client:
            await scenario(client)

    asyncio.run(run())


def recorded(recordings: Path, name: str) -> tuple[int, Any]:
    """(status, body) of a recording; ``service`` was removed from errors in August 2026."""
    folder = recordings / "kalshi" / "rest_demo_2026-06-11"
    body = json.loads((folder / f"{name}.json").read_text())
    if isinstance(body.get("error"), dict):
        body["error"].pop("service", None)
    return json.loads((folder / f"{name}.meta.json").read_text())["status"], body


def first(client: Client) -> str:
    return next(iter(client.server.catalog.markets))


def set_book(client: Client, ticker: str, bids: dict[int, int], asks: dict[int, int]) -> None:
    """Replace the market maker's quotes: prices in 1/10,000 dollar, sizes in 1/100 contract."""
    book = client.server.catalog.book(ticker)
    for buys_yes in (True, False):
        for price in book.quotes(buys_yes):
            book.set_quote(buys_yes, price, 0)
    for buys_yes, levels in ((True, bids), (False, asks)):
        for price, size in levels.items():
            book.set_quote(buys_yes, price, size * 10_000)


def test_every_answer_is_what_the_venues_openapi_says(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        series, event = ticker.split("-")[0], client.server.catalog.markets[ticker].event_ticker
        set_book(client, ticker, {5_000: 1_000}, {5_200: 1_000})
        bodies = [
            order_body(ticker, "bid", "0.5200", "3.00", client_order_id="a1"),
            order_body(ticker, "bid", "0.4000", "2.00", "good_till_canceled", expiration_time=2_000_000_000),
        ]
        for body in bodies:
            status, answer = await client.call("POST", ORDERS, body)
            assert status == 201
            check_rest(recordings, "CreateOrderV2Response", answer)
        resting = answer["order_id"]
        for path, schema in (
            ("/exchange/status", "ExchangeStatus"),
            ("/exchange/schedule", "GetExchangeScheduleResponse"),
            ("/exchange/user_data_timestamp", "GetUserDataTimestampResponse"),
            ("/series", "GetSeriesListResponse"),
            (f"/series/{series}", "GetSeriesResponse"),
            ("/series/fee_changes", "GetSeriesFeeChangesResponse"),
            ("/events?with_nested_markets=true", "GetEventsResponse"),
            (f"/events/{event}", "GetEventResponse"),
            ("/markets", "GetMarketsResponse"),
            (f"/markets/{ticker}", "GetMarketResponse"),
            (f"/markets/{ticker}/orderbook?depth=2", "GetMarketOrderbookResponse"),
            (f"/markets/orderbooks?tickers={ticker}", "GetMarketOrderbooksResponse"),
            ("/portfolio/balance", "GetBalanceResponse"),
            ("/portfolio/positions", "GetPositionsResponse"),
            ("/portfolio/fills", "GetFillsResponse"),
            ("/portfolio/orders", "GetOrdersResponse"),
            (f"/portfolio/orders/{resting}", "GetOrderResponse"),
            ("/portfolio/settlements", "GetSettlementsResponse"),
            ("/account/limits", "GetAccountApiLimitsResponse"),
            ("/account/endpoint_costs", "GetAccountEndpointCostsResponse"),
        ):
            status, answer = await client.call("GET", path)
            assert status == 200, path
            check_rest(recordings, schema, answer)
            if "orders" in answer or "fills" in answer or "market_positions" in answer:
                assert all(answer[key] for key in ("orders", "fills", "market_positions") if key in answer)
        status, answer = await client.call("DELETE", f"{ORDERS}/{resting}?market_ticker={ticker}")
        assert (status, answer["reduced_by"]) == (200, "2.00")
        check_rest(recordings, "CancelOrderV2Response", answer)
        batch = {"orders": [order_body(ticker, "bid", "0.4000", "1.00", "good_till_canceled"), {"ticker": "NONE"}]}
        status, answer = await client.call("POST", f"{ORDERS}/batched", batch)
        assert (status, answer["orders"][1]["error"]["code"]) == (201, "invalid_order")
        check_rest(recordings, "BatchCreateOrdersV2Response", answer)
        named = {"orders": [{"order_id": answer["orders"][0]["order_id"]}, {"order_id": "unknown"}]}
        status, answer = await client.call("DELETE", f"{ORDERS}/batched", named)
        assert [each["reduced_by"] for each in answer["orders"]] == ["1.00", "0.00"]
        check_rest(recordings, "BatchCancelOrdersV2Response", answer)

    play(tmp_path, scenario)


def test_refusals_are_the_recorded_bodies(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        market = client.server.catalog.markets[ticker]
        set_book(client, ticker, {4_700: 300}, {5_200: 300})
        assert market.tick_e4 == 100
        gtc = "good_till_canceled"
        resting = order_body(ticker, "bid", "0.0100", "1.00", gtc, client_order_id="burned")
        _, made = await client.call("POST", ORDERS, resting)
        cancel = f"{ORDERS}/{made['order_id']}"
        taken = order_body(ticker, "bid", "0.9900", "1.00")
        _, done = await client.call("POST", ORDERS, taken)
        cases: list[tuple[str, str, str, Any]] = [
            ("orders__duplicate_client_order_id", "POST", ORDERS, resting),
            ("orders__insufficient_balance", "POST", ORDERS, order_body(ticker, "bid", "0.9900", "10099.00", gtc)),
            (
                "orders__invalid_price_structure",
                "POST",
                ORDERS,
                order_body(ticker, "bid", "0.5150", "1.00", gtc, post_only=True),
            ),
            (
                "orders__post_only_cross",
                "POST",
                ORDERS,
                order_body(ticker, "bid", "0.9900", "1.00", gtc, post_only=True),
            ),
            ("orders__numeric_field_types", "POST", ORDERS, {"count": 1} | resting | {"count": 1, "price": 0.01}),
            ("orders__cancel_executed", "DELETE", f"{ORDERS}/{done['order_id']}", None),
            ("orders__cancel_unknown_id", "DELETE", f"{ORDERS}/00000000-0000-0000-0000-000000000000", None),
            ("markets__limit_over_max", "GET", "/markets?limit=1001", None),
        ]
        for name, method, path, body in cases:
            assert await client.call(method, path, body) == recorded(recordings, name), name
        status, answer = await client.call("DELETE", cancel)
        assert (status, set(answer)) == (200, {"order_id", "client_order_id", "reduced_by", "ts_ms"})
        assert await client.call("DELETE", cancel) == recorded(recordings, "orders__cancel_already_canceled")
        reused = recorded(recordings, "orders__reuse_canceled_client_id")
        assert await client.call("POST", ORDERS, resting) == reused

    play(tmp_path, scenario)


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_authentication_fails_as_recorded_and_accepts_both_kinds_of_key(
    tmp_path: Path, recordings: Path, kind: str
) -> None:
    def make() -> Any:
        return rsa.generate_private_key(65_537, 2_048) if kind == "rsa" else Ed25519PrivateKey.generate()

    async def scenario(client: Client) -> None:
        path = "/portfolio/balance"
        whole = PREFIX + path
        good = signed(client.key, "GET", whole)
        expectations: list[tuple[str, dict[str, str]]] = [
            ("auth__bad_signature", signed(make(), "GET", whole)),
            ("auth__bad_signature", signed(client.key, "GET", whole + "/other")),
            ("auth__bad_signature", signed(client.key, "POST", whole)),
            ("auth__bad_signature", {**good, "KALSHI-ACCESS-SIGNATURE": "no base64!"}),
            ("auth__unknown_key_id", signed(client.key, "GET", whole, key_id="00000000-0000-0000-0000-000000000000")),
            ("auth__skew_minus30s", signed(client.key, "GET", whole, skew_ms=-30_000)),
            ("auth__skew_plus5min", signed(client.key, "GET", whole, skew_ms=300_000)),
            (
                "auth__missing_signature_header",
                {name: value for name, value in good.items() if not name.endswith("SIGNATURE")},
            ),
        ]
        for name, headers in expectations:
            assert await client.call("GET", path, headers=headers) == recorded(recordings, name), name
        for skew_ms in (-5_000, 0, 5_000):
            headers = signed(client.key, "GET", whole, skew_ms=skew_ms)
            status, answer = await client.call("GET", path, headers=headers)
            assert (status, answer["balance_dollars"]) == (200, "1000.0000")
            await asyncio.sleep(0.25)
        status, _ = await client.call("GET", f"{path}?subaccount=0")
        assert status == 200, "the query string is not signed"
        assert (await client.call("GET", "/markets?limit=1", headers={}))[0] == 200

    play(tmp_path, scenario, key=make())


def test_a_buy_and_a_sell_move_cash_position_and_fees_as_the_venue_states_them(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        set_book(client, ticker, {5_000: 10_000}, {5_200: 10_000})
        _, bought = await client.call("POST", ORDERS, order_body(ticker, "bid", "0.9900", "4.00"))
        assert (bought["fill_count"], bought["remaining_count"]) == ("4.00", "0.00")
        assert (bought["average_fill_price"], bought["average_fee_paid"]) == ("0.5200", "0.017475")
        statement = await client.statement()
        # 1000 - 2.08 - 0.0699
        assert (statement["cash"], statement["positions"]) == ("997.850100", {ticker: "4.00"})
        _, sold = await client.call("POST", ORDERS, order_body(ticker, "ask", "0.0100", "4.00", reduce_only=True))
        assert sold["fill_count"] == "4.00"
        statement = await client.statement()
        # + 2.00 - 0.07
        assert (statement["cash"], statement["positions"]) == ("999.780100", {})
        fills = statement["fills"]
        assert [fill["released"] for fill in fills] == ["0.00", "4.00"]
        assert sum(round(float(fill["cash"]) * 1e6) for fill in fills) == -219_900
        _, positions = await client.call("GET", "/portfolio/positions")
        assert positions["market_positions"][0]["realized_pnl_dollars"] == "-0.080000"
        _, flat = await client.call("GET", "/portfolio/positions?count_filter=position")
        assert flat["market_positions"] == []

    play(tmp_path, scenario)


def test_buying_no_against_held_yes_releases_a_dollar_a_pair_and_opens_the_rest(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        set_book(client, ticker, {6_000: 10_000}, {6_200: 10_000})
        await client.call("POST", ORDERS, order_body(ticker, "bid", "0.6200", "3.00"))
        await client.call("POST", ORDERS, order_body(ticker, "ask", "0.6000", "5.00"))
        statement = await client.statement()
        assert statement["positions"] == {ticker: "-2.00"}
        assert statement["fills"][1]["released"] == "3.00"
        # pays 5 x 0.40, gets 3 x 1.00, fee 0.084
        assert statement["fills"][1]["cash"] == "0.916000"
        _, answer = await client.call("GET", "/portfolio/positions")
        (position,) = answer["market_positions"]
        assert (position["position_fp"], position["market_exposure_dollars"]) == ("-2.00", "0.800000")
        assert position["realized_pnl_dollars"] == "-0.060000"

    play(tmp_path, scenario)


def test_fok_is_killed_with_409_ioc_without_a_match_is_201_and_both_burn_the_id(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        set_book(client, ticker, {5_000: 100}, {5_200: 100})
        killed = order_body(ticker, "bid", "0.5200", "1.01", "fill_or_kill", client_order_id="k")
        status, answer = await client.call("POST", ORDERS, killed)
        assert (status, answer["error"]["code"]) == (409, "fill_or_kill_insufficient_resting_volume")
        nothing = order_body(ticker, "bid", "0.5100", "1.00", client_order_id="n")
        status, answer = await client.call("POST", ORDERS, nothing)
        assert (status, answer["fill_count"], answer["remaining_count"]) == (201, "0.00", "0.00")
        assert "average_fill_price" not in answer
        for body in (killed, nothing):
            status, answer = await client.call("POST", ORDERS, body)
            assert (status, answer["error"]["code"]) == (409, "order_already_exists")
        statement = await client.statement()
        assert (statement["cash"], statement["fills"]) == ("1000.000000", [])
        assert [order["client_order_id"] for order in statement["orders"]] == ["n"]

    play(tmp_path, scenario)


def test_a_refused_order_leaves_no_trace_and_its_id_may_be_used(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        set_book(client, ticker, {5_000: 100}, {5_200: 100})
        body = order_body(ticker, "bid", "0.5200", "1.00", "good_till_canceled", post_only=True, client_order_id="p")
        assert (await client.call("POST", ORDERS, body))[0] == 400
        assert (await client.statement())["orders"] == []
        assert (await client.call("POST", ORDERS, {**body, "price": "0.5100"}))[0] == 201

    play(tmp_path, scenario)


def test_self_trade_prevention_ends_the_taker_or_cancels_the_maker(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        set_book(client, ticker, {4_000: 500}, {6_000: 500})
        gtc = "good_till_canceled"
        _, own = await client.call("POST", ORDERS, order_body(ticker, "bid", "0.5000", "1.00", gtc))
        status, answer = await client.call("POST", ORDERS, order_body(ticker, "ask", "0.5000", "1.00"))
        assert (status, answer["fill_count"], answer["remaining_count"]) == (201, "0.00", "0.00")
        _, shown = await client.call("GET", f"/portfolio/orders/{own['order_id']}")
        assert shown["order"]["status"] == "resting"
        taker = order_body(ticker, "ask", "0.4000", "1.00")
        status, answer = await client.call("POST", ORDERS, {**taker, "self_trade_prevention_type": "maker"})
        assert (answer["fill_count"], answer["average_fill_price"]) == ("1.00", "0.4000")
        _, shown = await client.call("GET", f"/portfolio/orders/{own['order_id']}")
        assert shown["order"]["status"] == "canceled"

    play(tmp_path, scenario)


def test_a_resting_order_holds_cash_and_is_filled_as_a_maker_without_a_fee(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        set_book(client, ticker, {4_000: 500}, {6_000: 500})
        body = order_body(ticker, "bid", "0.5000", "2.00", "good_till_canceled")
        _, made = await client.call("POST", ORDERS, body)
        assert (await client.call("GET", "/portfolio/balance"))[1]["balance_dollars"] == "999.0000"
        set_book(client, ticker, {4_000: 500}, {4_900: 150})
        _, shown = await client.call("GET", f"/portfolio/orders/{made['order_id']}")
        order = shown["order"]
        assert (order["status"], order["fill_count_fp"], order["remaining_count_fp"]) == ("resting", "1.50", "0.50")
        assert (order["maker_fill_cost_dollars"], order["maker_fees_dollars"]) == ("0.750000", "0.000000")
        statement = await client.statement()
        assert (statement["cash"], statement["held"]) == ("999.250000", "0.250000")

    play(tmp_path, scenario)


def test_reduce_only_is_capped_to_the_position_and_needs_ioc(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        set_book(client, ticker, {5_000: 10_000}, {5_200: 10_000})
        sell = order_body(ticker, "ask", "0.5000", "9.00", reduce_only=True)
        _, none = await client.call("POST", ORDERS, sell)
        assert (none["fill_count"], none["remaining_count"]) == ("0.00", "0.00")
        await client.call("POST", ORDERS, order_body(ticker, "bid", "0.5200", "2.50"))
        _, some = await client.call("POST", ORDERS, sell)
        assert (some["fill_count"], some["remaining_count"]) == ("2.50", "0.00")
        status, answer = await client.call("POST", ORDERS, {**sell, "time_in_force": "good_till_canceled"})
        assert (status, answer["error"]["code"]) == (400, "invalid_order")

    play(tmp_path, scenario)


def test_an_order_that_only_closes_needs_no_cash(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        set_book(client, ticker, {1_000: 2_000_000}, {1_100: 2_000_000})
        assert (await client.call("POST", ORDERS, order_body(ticker, "bid", "0.1100", "8500.00")))[0] == 201
        # 8500 NO would cost more than what is left; selling 8500 held YES costs nothing
        assert (await client.call("POST", ORDERS, order_body(ticker, "ask", "0.1000", "8501.00")))[0] == 201
        status, answer = await client.call("POST", ORDERS, order_body(ticker, "ask", "0.1000", "8500.00"))
        assert (status, answer["error"]["code"]) == (400, "insufficient_balance")

    play(tmp_path, scenario)


def test_expired_orders_are_cancelled_and_a_past_expiration_is_refused(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        gtc = "good_till_canceled"
        body = order_body(ticker, "bid", "0.0100", "1.00", gtc, expiration_time=int(time.time()) + 1)
        _, made = await client.call("POST", ORDERS, body)
        assert (await client.call("POST", ORDERS, {**body, "expiration_time": 1_700_000_000}))[0] == 400
        for _ in range(60):
            _, shown = await client.call("GET", f"/portfolio/orders/{made['order_id']}")
            if shown["order"]["status"] == "canceled":
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the order did not expire")

    play(tmp_path, scenario)


def test_pages_cover_everything_once_and_a_garbage_cursor_gives_the_first(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        seen: list[str] = []
        cursor = ""
        while True:
            _, answer = await client.call("GET", f"/markets?limit=5&cursor={cursor}")
            seen += [market["ticker"] for market in answer["markets"]]
            cursor = answer["cursor"]
            if not cursor:
                break
        assert seen == list(client.server.catalog.markets)
        _, garbage = await client.call("GET", "/markets?limit=5&cursor=garbage-cursor-fixture")
        assert [market["ticker"] for market in garbage["markets"]] == seen[:5]
        _, some = await client.call("GET", f"/markets?tickers={seen[2]},{seen[4]}")
        assert [market["ticker"] for market in some["markets"]] == [seen[2], seen[4]]
        assert (await client.call("GET", "/markets?status=closed"))[1]["markets"] == []
        assert (await client.call("GET", "/markets?status=active"))[0] == 400

    play(tmp_path, scenario)


def test_buckets_of_the_basic_tier_run_dry_with_the_recorded_kind_of_body(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        body = order_body(ticker, "bid", "0.0100", "1.00", "good_till_canceled")
        answers = [await client.call("POST", ORDERS, body) for _ in range(14)]
        limited = [answer for status, answer in answers if status == 429]
        assert limited
        assert limited[0] == {"error": "too many requests"}
        assert [status for status, _ in answers[:10]] == [201] * 10
        batch = {"orders": [body] * 11}
        assert (await client.call("POST", f"{ORDERS}/batched", batch))[0] == 429
        assert (await client.call("GET", "/portfolio/balance"))[0] == 200
        assert (await client.call("GET", "/portfolio/balance"))[0] == 429

    play(tmp_path, scenario, tier="basic")


def test_retired_unknown_and_paused_are_told_apart(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        status, answer = await client.call("POST", "/portfolio/orders", {"ticker": ticker})
        assert (status, answer["error"]["code"]) == (410, "deprecated_v1_order_endpoint")
        assert answer["error"]["message"] == "Please switch to the V2 endpoints"
        for path in ("/markets/NONE", "/events/NONE", "/series/NONE", "/portfolio/orders/none", "/nowhere"):
            status, answer = await client.call("GET", path)
            assert (status, answer["error"]["code"]) == (404, "not_found"), path
        body = order_body(ticker, "bid", "0.0100", "1.00", "good_till_canceled")
        _, made = await client.call("POST", ORDERS, body)
        client.server.account.trading = False
        status, answer = await client.call("POST", ORDERS, body)
        assert (status, answer["error"]["code"]) == (409, "trading_is_paused")
        assert (await client.call("DELETE", f"{ORDERS}/{made['order_id']}"))[0] == 200
        client.server.account.exchange = False
        status, answer = await client.call("POST", ORDERS, body)
        assert (status, answer["error"]["code"]) == (409, "exchange_is_paused")

    play(tmp_path, scenario)


def test_cancel_all_cancels_every_resting_order(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        for ticker in list(client.server.catalog.markets)[:3]:
            await client.call("POST", ORDERS, order_body(ticker, "bid", "0.0100", "1.00", "good_till_canceled"))
        assert await client.call("DELETE", ORDERS) == (204, None)
        assert (await client.call("GET", "/portfolio/orders?status=resting"))[1]["orders"] == []
        assert (await client.statement())["held"] == "0.000000"

    play(tmp_path, scenario)
