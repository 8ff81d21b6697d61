"""The life of a market: what the channel says, what REST shows, what becomes of orders, and what a settlement pays."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from kalshi_support import ORDERS, Client, check_frame, check_rest, order_body, play, set_book, until

CHANNEL = "market_lifecycle_v2"
GTC = "good_till_canceled"


def first(client: Client) -> str:
    return next(iter(client.server.catalog.markets))


async def tell(client: Client, **command: Any) -> Any:
    status, answer = await client.control(**command)
    assert status == 200, answer
    return answer


async def status_of(client: Client, ticker: str) -> str:
    return str((await client.call("GET", f"/markets/{ticker}"))[1]["market"]["status"])


def test_every_event_has_its_frame_numbered_in_one_row_and_the_asyncapi_accepts_it(
    tmp_path: Path, recordings: Path
) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        event = client.server.catalog.markets[ticker].event_ticker
        async with client.stream(CHANNEL) as stream:
            happen = [
                {"event": "deactivated"},
                {"event": "activated"},
                {"event": "price_level_structure_updated", "structure": "deci_cent"},
                {"event": "metadata_updated", "strike_type": "between", "floor_strike": 95000, "cap_strike": 95250.5},
                {"event": "metadata_updated", "yes_sub_title": "above $95,000"},
                {"event": "close_date_updated", "close_in_s": 3600},
                {"event": "determined", "result": "scalar", "value": "0.2500", "timer_s": 60},
                {"event": "settled"},
            ]
            for each in happen:
                await tell(client, do="lifecycle", ticker=ticker, **each)
            await tell(
                client, do="fee_override", event_ticker=event, fee_type="quadratic_with_maker_fees", multiplier=0.5
            )
            await tell(client, do="fee_override", event_ticker=event)
            book = {"bids": [["0.4000", "100"]], "asks": [["0.4200", "50.00"]]}
            await tell(client, do="list_market", ticker="KXSIMNEW-26DEC01-A", exchange_index=0, **book)
            frames = await stream.pending()
            for frame in frames:
                check_frame(recordings, frame)
            assert [frame["seq"] for frame in frames] == list(range(1, len(frames) + 1))
            assert [frame["msg"].get("event_type", frame["type"]) for frame in frames] == [
                "deactivated",
                "activated",
                "price_level_structure_updated",
                "metadata_updated",
                "metadata_updated",
                "close_date_updated",
                "close_date_updated",
                "determined",
                "settled",
                "event_fee_update",
                "event_fee_update",
                "event_lifecycle",
                "created",
            ]
            settled = frames[8]["msg"]
            assert set(settled) == {"market_ticker", "event_type", "settled_ts"}, "a settlement carries no result"
            assert (frames[7]["msg"]["result"], frames[7]["msg"]["settlement_value"]) == ("scalar", "0.2500")
            assert (frames[9]["msg"]["fee_multiplier_override"], frames[10]["msg"]["fee_type_override"]) == (0.5, None)
        _, answer = await client.call("GET", f"/markets/{ticker}")
        check_rest(recordings, "GetMarketResponse", answer)
        market = answer["market"]
        assert (market["status"], market["result"], market["settlement_value_dollars"]) == (
            "finalized",
            "scalar",
            "0.2500",
        )
        assert (market["floor_strike"], market["yes_sub_title"]) == (95000, "above $95,000")

    play(tmp_path, scenario)


def test_status_and_filters_follow_the_clock_and_the_determination(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)

        async def filters(wanted: str) -> None:
            for name in ("unopened", "open", "paused", "closed", "settled"):
                _, answer = await client.call("GET", f"/markets?tickers={ticker}&status={name}")
                assert [each["ticker"] for each in answer["markets"]] == ([ticker] if name == wanted else []), name

        await filters("open")
        async with client.stream(CHANNEL) as stream:
            await tell(client, do="lifecycle", ticker=ticker, event="deactivated")
            await filters("paused")
            await tell(client, do="lifecycle", ticker=ticker, event="activated")
            await tell(client, do="lifecycle", ticker=ticker, event="close_date_updated", close_in_s=0.2)
            assert len(await stream.pending()) == 3
            await asyncio.sleep(0.4)
            assert await status_of(client, ticker) == "closed"
            assert await stream.pending() == [], "the close itself is silent"
            await filters("closed")
            await tell(client, do="lifecycle", ticker=ticker, event="determined", result="no")
            await filters("closed")
            await tell(client, do="lifecycle", ticker=ticker, event="disputed")
            assert await status_of(client, ticker) == "disputed"
            await tell(client, do="lifecycle", ticker=ticker, event="amended", result="yes", timer_s=0.1)
            assert await status_of(client, ticker) == "amended"
            await until(lambda: client.server.catalog.status(ticker) == "finalized")
            await filters("settled")
            last = (await stream.pending())[-1]["msg"]
            assert last["event_type"] == "settled"

    play(tmp_path, scenario)


def test_reactivation_cancels_every_resting_order_and_the_book_comes_back(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        set_book(client, ticker, {4_000: 500}, {6_000: 500})
        _, made = await client.call("POST", ORDERS, order_body(ticker, "bid", "0.5000", "1.00", GTC))
        async with client.stream("user_orders", "orderbook_delta", tickers=[ticker]) as stream:
            await tell(client, do="lifecycle", ticker=ticker, event="deactivated")
            status, answer = await client.call("POST", ORDERS, order_body(ticker, "bid", "0.6000", "1.00"))
            assert (status, answer["error"]["code"]) == (400, "MARKET_INACTIVE")
            _, shown = await client.call("GET", f"/portfolio/orders/{made['order_id']}")
            assert shown["order"]["status"] == "resting"
            await tell(client, do="lifecycle", ticker=ticker, event="activated")
            frames = await stream.pending()
            for frame in frames:
                check_frame(recordings, frame)
            told = [frame["msg"] for frame in frames if frame["type"] == "user_order"]
            assert [(each["status"], each["last_update_reason"]) for each in told] == [("canceled", "HaltCancel")]
        _, answer = await client.call("GET", f"/markets/{ticker}/orderbook")
        assert answer["orderbook_fp"] == {"yes_dollars": [["0.4000", "5.00"]], "no_dollars": [["0.4000", "5.00"]]}
        assert (await client.call("POST", ORDERS, order_body(ticker, "bid", "0.6000", "1.00")))[0] == 201

    play(tmp_path, scenario)


def test_after_the_close_even_a_cancel_fails_and_the_leftovers_go_with_close_cancel(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        set_book(client, ticker, {4_000: 500}, {6_000: 500})
        _, made = await client.call("POST", ORDERS, order_body(ticker, "bid", "0.5000", "1.00", GTC))
        cancel = f"{ORDERS}/{made['order_id']}?market_ticker={ticker}"
        client.server.catalog.markets[ticker].life.close_us = client.server.catalog.now_us()
        status, answer = await client.call("DELETE", cancel)
        assert (status, answer["error"]["code"]) == (400, "MARKET_INACTIVE")
        await until(lambda: client.server.store.order(made["order_id"]).reason == "CloseCancel")  # type: ignore[union-attr]
        assert (await client.call("GET", f"/markets/{ticker}/orderbook"))[1]["orderbook_fp"]["yes_dollars"] == []
        await tell(client, do="lifecycle", ticker=ticker, event="close_date_updated", close_in_s=60)
        assert await status_of(client, ticker) == "inactive", "it reopens with activated"
        await tell(client, do="lifecycle", ticker=ticker, event="activated")
        assert await status_of(client, ticker) == "active"
        assert (await client.call("POST", ORDERS, order_body(ticker, "bid", "0.6000", "1.00")))[1][
            "fill_count"
        ] == "1.00"

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("result", "value", "side", "paid"),
    [
        ("yes", None, "bid", "3.000000"),
        ("no", None, "bid", "0.000000"),
        ("no", None, "ask", "3.000000"),
        ("scalar", "0.2550", "bid", "0.760000"),
        ("scalar", "0.2550", "ask", "2.230000"),
    ],
)
def test_a_settlement_pays_what_the_result_says_once_and_the_position_is_gone(
    tmp_path: Path, recordings: Path, result: str, value: str | None, side: str, paid: str
) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        set_book(client, ticker, {5_000: 1_000}, {5_200: 1_000})
        price = "0.5200" if side == "bid" else "0.5000"
        await client.call("POST", ORDERS, order_body(ticker, side, price, "3.00"))
        before = await client.statement()
        more = {} if value is None else {"value": value}
        await tell(client, do="lifecycle", ticker=ticker, event="determined", result=result, timer_s=0.8, **more)
        assert (await client.statement())["cash"] == before["cash"], "a determination pays nothing yet"
        await until(lambda: client.server.catalog.status(ticker) == "finalized")
        await asyncio.sleep(0.3)
        after = await client.statement()
        (line,) = after["settlements"]
        assert (line["cash"], after["positions"]) == (paid, {})
        assert round((float(after["cash"]) - float(before["cash"])) * 1e6) == round(float(paid) * 1e6)
        _, answer = await client.call("GET", "/portfolio/settlements")
        check_rest(recordings, "GetSettlementsResponse", answer)
        (row,) = answer["settlements"]
        assert (row["market_result"], row["revenue"]) == (result, round(float(paid) * 100))
        assert (row["yes_count_fp"], row["no_count_fp"]) == (("3.00", "0.00") if side == "bid" else ("0.00", "3.00"))
        assert (await client.call("GET", "/portfolio/positions"))[1]["market_positions"] == []
        _, old = await client.call("GET", "/portfolio/positions?settlement_status=settled")
        assert [each["position_fp"] for each in old["market_positions"]] == ["0.00"]

    play(tmp_path, scenario)


def test_what_cannot_happen_now_is_refused_with_the_status_that_it_needs(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        for command, reason in (
            ({"event": "settled"}, f"{ticker} is active: settled needs a market that is determined"),
            ({"event": "determined"}, "determined needs result"),
            ({"event": "determined", "result": "scalar"}, "a scalar result needs value"),
            ({"event": "price_level_structure_updated"}, "needs structure"),
        ):
            status, answer = await client.control(do="lifecycle", ticker=ticker, **command)
            assert (status, reason in answer["error"]) == (400, True), answer
        await tell(client, do="lifecycle", ticker=ticker, event="determined", result="yes", timer_s=0.1)
        await until(lambda: client.server.catalog.status(ticker) == "finalized")
        status, answer = await client.control(do="lifecycle", ticker=ticker, event="activated")
        assert (status, "is finalized" in answer["error"]) == (400, True)
        status, answer = await client.control(do="lifecycle", ticker="NONE", event="activated")
        assert (status, "not listed" in answer["error"]) == (400, True)

    play(tmp_path, scenario)


def test_a_market_that_is_listed_later_trades_streams_and_may_be_missing_from_rest_at_first(
    tmp_path: Path, recordings: Path
) -> None:
    async def scenario(client: Client) -> None:
        ticker = "KXSIMNEW-26DEC01-A"
        async with client.stream(CHANNEL) as stream:
            book = {"bids": [["0.4000", "100"]], "asks": [["0.4200", "50.00"]]}
            await tell(client, do="list_market", ticker=ticker, hidden_s=1.0, **book)
            created = await stream.read(CHANNEL)
            assert (created["msg"]["event_type"], created["msg"]["market_ticker"]) == ("created", ticker)
            assert (await client.call("GET", f"/markets/{ticker}"))[0] == 404
            await asyncio.sleep(1.2)
            status, answer = await client.call("GET", f"/markets/{ticker}")
            check_rest(recordings, "GetMarketResponse", answer)
            for path, schema in (
                ("/series/KXSIMNEW", "GetSeriesResponse"),
                ("/events/KXSIMNEW-26DEC01", "GetEventResponse"),
            ):
                status, answer = await client.call("GET", path)
                assert status == 200
                check_rest(recordings, schema, answer)
            params = {"channels": ["orderbook_delta"], "market_tickers": [ticker]}
            await stream.send("subscribe", params)
            snapshot = (await stream.read("orderbook_snapshot"))["msg"]
            assert snapshot["yes_dollars_fp"] == [["0.4000", "100.00"]]
            _, made = await client.call("POST", ORDERS, order_body(ticker, "bid", "0.4200", "2.00"))
            assert made["fill_count"] == "2.00"
            assert (await stream.read("orderbook_delta"))["msg"]["delta_fp"] == "-2.00"
        status, answer = await client.control(do="list_market", ticker=ticker)
        assert (status, "listed already" in answer["error"]) == (400, True)
        off = {"bids": [["0.4050", "1"]]}
        status, answer = await client.control(do="list_market", ticker="KXSIMNEW-26DEC01-B", **off)
        assert (status, "off the grid" in answer["error"]) == (400, True)

    play(tmp_path, scenario)


def test_a_server_that_comes_back_knows_what_was_settled_listed_and_charged(tmp_path: Path) -> None:
    ticker = ""

    async def before(client: Client) -> None:
        nonlocal ticker
        ticker = first(client)
        set_book(client, ticker, {5_000: 1_000}, {5_200: 1_000})
        await client.call("POST", ORDERS, order_body(ticker, "bid", "0.5200", "3.00"))
        await tell(client, do="lifecycle", ticker=ticker, event="determined", result="yes", timer_s=0.1)
        await until(lambda: client.server.catalog.status(ticker) == "finalized")
        await tell(client, do="list_market", ticker="KXSIMNEW-26DEC01-A", bids=[["0.40", "5"]])
        await tell(client, do="series_fee_change", series_ticker="KXSIMRATE", fee_type="quadratic", multiplier="0.5")

    async def after(client: Client) -> None:
        assert await status_of(client, ticker) == "finalized"
        statement = await client.statement()
        assert [line["cash"] for line in statement["settlements"]] == ["3.000000"]
        _, answer = await client.call("GET", "/markets/KXSIMNEW-26DEC01-A/orderbook")
        assert answer["orderbook_fp"]["yes_dollars"] == [["0.4000", "5.00"]]
        _, answer = await client.call("GET", "/series/KXSIMRATE")
        assert answer["series"]["fee_multiplier"] == 0.5
        status, answer = await client.call("POST", ORDERS, order_body(ticker, "bid", "0.5200", "3.00"))
        assert (status, answer["error"]["code"]) == (400, "MARKET_INACTIVE")

    play(tmp_path, before)
    play(tmp_path, after)
