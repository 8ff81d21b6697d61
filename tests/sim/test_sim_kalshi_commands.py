"""Every fault of simulated Kalshi does what it says, to connections, orders and reads, and is over when it is used up."""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kalshi_support import ORDERS, PREFIX, Client, check_frame, check_rest, order_body, play, set_book, signed, until

from arbpipe.sim.kalshi_commands import COMMANDS
from arbpipe.sim.kalshi_control import ControlError
from arbpipe.sim.listing import Venue
from arbpipe.sim.market import World

DOCS = Path(__file__).resolve().parents[2] / "docs" / "simulators.md"


def tickers_of(client: Client, count: int = 2) -> list[str]:
    return list(client.server.catalog.markets)[:count]


def move(client: Client, ticker: str, size: int) -> None:
    """One delta: the market maker's size at a price that nobody else quotes."""
    client.server.catalog.book(ticker).set_quote(True, 100, size * 10_000)


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The clock of durations, set by hand; servers that start after this use it."""
    clock = {"ns": 10**12}
    monkeypatch.setattr("arbpipe.sim.kalshi_clock.VenueClock.steady_ns", staticmethod(lambda: clock["ns"]))
    return clock


SECOND = 10**9


# -- streams ----------------------------------------------------------------------------------------------------------


def test_a_gap_loses_frames_whose_numbers_are_used_and_a_duplicate_repeats_one(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        one, two = tickers_of(client)
        async with client.stream("orderbook_delta", tickers=[one, two]) as stream:
            start = (await stream.pending())[-1]["seq"]
            assert (await client.control(do="gap", frames=2))[1]["connections"] == 1
            for number, ticker in enumerate((one, two, one)):
                move(client, ticker, 100 + number)
            assert [frame["seq"] for frame in await stream.pending()] == [start + 3]
            await client.control(do="duplicate")
            move(client, one, 200)
            move(client, one, 201)
            assert [frame["seq"] for frame in await stream.pending()] == [start + 4, start + 4, start + 5]
            await client.control(do="gap", channel="trade")
            move(client, one, 300)
            assert [frame["seq"] for frame in await stream.pending()] == [start + 6], "another channel's gap"

    play(tmp_path, scenario)


def test_a_fault_without_a_connection_waits_for_the_next_one_unless_it_is_cleared(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        for clear in (False, True):
            assert (await client.control(do="gap"))[1]["connections"] == 0
            if clear:
                await client.control(do="gap", clear=True)
            async with client.stream("orderbook_delta", tickers=[one]) as stream:
                assert len(await stream.pending()) == clear, "the snapshot is lost only without the clear"

    play(tmp_path, scenario)


@pytest.mark.parametrize("then", ["deliver", "drop"])
def test_a_frozen_connection_answers_pings_and_delivers_late_or_never(tmp_path: Path, then: str) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        async with client.stream("orderbook_delta", tickers=[one]) as stream:
            start = (await stream.pending())[-1]["seq"]
            await client.control(do="freeze", seconds=1.0, then=then)
            before_ms = time.time_ns() // 1_000_000
            move(client, one, 100)
            after_ms = time.time_ns() // 1_000_000
            await stream.socket.ping(b"alive")
            assert await stream.quiet(0.2)
            await asyncio.sleep(1.1)
            move(client, one, 101)
            frames = await stream.pending()
            if then == "drop":
                assert [frame["seq"] for frame in frames] == [start + 2]
            else:
                assert [frame["seq"] for frame in frames] == [start + 1, start + 2]
                assert before_ms <= frames[0]["sending_ts_ms"] <= after_ms, "it says when it should have gone"

    play(tmp_path, scenario)


@pytest.mark.parametrize("then", ["deliver", "drop"])
def test_a_frozen_book_is_silent_while_the_others_go_on_without_a_gap(tmp_path: Path, then: str) -> None:
    async def scenario(client: Client) -> None:
        one, two = tickers_of(client)
        async with client.stream("orderbook_delta", tickers=[one, two]) as stream:
            start = (await stream.pending())[-1]["seq"]
            await client.control(do="freeze", seconds=1.0, tickers=[one], then=then)
            for number, ticker in enumerate((one, two, one, two)):
                move(client, ticker, 100 + number)
            frames = await stream.pending()
            assert [(frame["msg"]["market_ticker"], frame["seq"]) for frame in frames] == [
                (two, start + 1),
                (two, start + 2),
            ]
            await asyncio.sleep(1.2)
            move(client, one, 200)
            late = [(frame["msg"]["delta_fp"], frame["seq"]) for frame in await stream.pending()]
            if then == "drop":
                assert late == [("0.98", start + 5)], "the numbers of what was lost are used"
            else:
                assert [seq for _, seq in late] == [start + 3, start + 4, start + 5]

    play(tmp_path, scenario)


def test_subscriptions_end_with_errors_25_and_10_and_can_be_made_again(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        async with client.stream("orderbook_delta", "trade", tickers=[one]) as stream:
            await stream.pending()
            await client.control(do="channel_error", channel="trade")
            (error,) = await stream.pending()
            assert (error["msg"]["code"], error["sid"]) == (10, 2)
            check_frame(recordings, error)
            await client.control(do="slow_consumer")
            (error,) = await stream.pending()
            assert (error["msg"]["code"], error["sid"]) == (25, 1)
            check_frame(recordings, error)
            move(client, one, 100)
            assert await stream.pending() == []
            await stream.send("subscribe", {"channels": ["orderbook_delta"], "market_tickers": [one]})
            assert (await stream.read("orderbook_snapshot"))["seq"] == 1

    play(tmp_path, scenario)


def test_the_next_command_is_refused_and_the_market_limit_gives_error_26(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        one, two = tickers_of(client)
        async with client.stream("orderbook_delta", tickers=[one]) as stream:
            await stream.pending()
            for code in (1, 18, 27):
                await client.control(do="command_error", code=code)
                await stream.send("update_subscription", {"sid": 1, "action": "add_markets", "market_tickers": [two]})
                error = await stream.read("error")
                assert (error["msg"]["code"], error["id"]) == (code, stream.command)
                check_frame(recordings, error)
            await client.control(do="market_limit", markets=1)
            await stream.send("update_subscription", {"sid": 1, "action": "add_markets", "market_tickers": [two]})
            error = await stream.read("error")
            assert error["msg"]["code"] == 26
            check_frame(recordings, error)
            await client.control(do="market_limit", clear=True)
            await stream.send("update_subscription", {"sid": 1, "action": "add_markets", "market_tickers": [two]})
            assert (await stream.read())["type"] == "ok"

    play(tmp_path, scenario)


@pytest.mark.parametrize("hard", [False, True])
def test_a_connection_is_closed_or_just_gone(tmp_path: Path, hard: bool) -> None:
    async def scenario(client: Client) -> None:
        async with client.stream("trade") as stream:
            await client.control(do="disconnect", hard=hard)
            message = await stream.socket.receive(timeout=5)
            assert message.type is (aiohttp.WSMsgType.CLOSED if hard else aiohttp.WSMsgType.CLOSE), message
            assert stream.socket.close_code == (1006 if hard else 1001)
        async with client.stream("trade") as again:
            assert await again.pending() == []

    play(tmp_path, scenario)


def test_garbage_comes_before_the_next_frame_and_an_unknown_type_has_a_number(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        async with client.stream("orderbook_delta", tickers=[one]) as stream:
            start = (await stream.pending())[-1]["seq"]
            await client.control(do="garbage")
            await client.control(do="garbage", kind="unknown_type")
            move(client, one, 100)
            first, second, third = [await stream.text() for _ in range(3)]
            with pytest.raises(ValueError, match="Expecting value"):
                json.loads(first)
            assert json.loads(second)["type"] not in ("orderbook_delta", "orderbook_snapshot")
            assert [json.loads(each)["seq"] for each in (second, third)] == [start + 1, start + 2]

    play(tmp_path, scenario)


# -- orders -----------------------------------------------------------------------------------------------------------


async def orders_of(client: Client, ticker: str) -> list[Any]:
    _, answer = await client.call("GET", f"/portfolio/orders?ticker={ticker}")
    return list(answer["orders"])


async def hung_up(client: Client, body: Any) -> None:
    """Send an order on a connection of its own, and leave after 0.5 s without an answer."""
    connector = aiohttp.TCPConnector(ssl=False)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=0.5)) as http:
        url = f"https://127.0.0.1:{client.server.port}{PREFIX}{ORDERS}"
        with pytest.raises(asyncio.TimeoutError):
            await http.post(url, json=body, headers=signed(client.key, "POST", PREFIX + ORDERS))


def test_a_late_acknowledgement_answers_late_what_was_matched_at_once(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        set_book(client, one, {5_000: 1_000}, {5_200: 1_000})
        await client.control(do="late_ack", seconds=1.0)
        sent = asyncio.create_task(client.call("POST", ORDERS, order_body(one, "bid", "0.5200", "1.00")))
        await until(lambda: client.server.store.fills() != [])
        assert not sent.done()
        status, answer = await sent
        assert (status, answer["fill_count"]) == (201, "1.00")

    play(tmp_path, scenario)


def test_a_fill_after_the_time_out_happens_although_the_client_hung_up_and_happens_once(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        set_book(client, one, {5_000: 1_000}, {5_200: 1_000})
        await client.control(do="fill_after_timeout", seconds=2.0)
        await hung_up(client, order_body(one, "bid", "0.5200", "1.00", client_order_id="late"))
        assert await orders_of(client, one) == [], "the lookup finds nothing yet"
        await until(lambda: client.server.store.fills() != [])
        (order,) = await orders_of(client, one)
        assert (order["client_order_id"], order["fill_count_fp"]) == ("late", "1.00")
        again = order_body(one, "bid", "0.5200", "1.00", client_order_id="late")
        status, answer = await client.call("POST", ORDERS, again)
        assert (status, answer["error"]["code"]) == (409, "order_already_exists")

    play(tmp_path, scenario)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_an_error_after_acceptance_hides_a_fill_and_spares_what_is_refused_anyway(tmp_path: Path, status: int) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        set_book(client, one, {5_000: 1_000}, {5_200: 1_000})
        await client.control(do="error_after_acceptance", status=status)
        assert (await client.call("POST", ORDERS, order_body(one, "bid", "0.5150", "1.00")))[0] == 400
        good = order_body(one, "bid", "0.5200", "1.00")
        assert (await client.call("POST", ORDERS, good))[0] == status
        assert [fill.count_e2 for fill in client.server.store.fills()] == [100]
        assert (await client.call("POST", ORDERS, good))[0] == 201, "used up"

    play(tmp_path, scenario)


def test_a_dropped_connection_hides_a_fill(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        set_book(client, one, {5_000: 1_000}, {5_200: 1_000})
        await client.control(do="drop_after_acceptance")
        with pytest.raises(aiohttp.ClientError):
            await client.call("POST", ORDERS, order_body(one, "bid", "0.5200", "1.00"))
        assert [fill.count_e2 for fill in client.server.store.fills()] == [100]

    play(tmp_path, scenario)


@pytest.mark.parametrize("status", [504, None])
def test_a_late_arrival_trades_after_a_lookup_found_nothing(tmp_path: Path, status: int | None) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        set_book(client, one, {5_000: 1_000}, {5_200: 1_000})
        await client.control(do="late_arrival", seconds=1.5, **({"status": status} if status else {}))
        body = order_body(one, "bid", "0.5200", "1.00", client_order_id="slow")
        if status:
            assert (await client.call("POST", ORDERS, body))[0] == status
        else:
            with pytest.raises(aiohttp.ClientError):
                await client.call("POST", ORDERS, body)
        assert await orders_of(client, one) == []
        await until(lambda: client.server.store.fills() != [])
        assert [order["client_order_id"] for order in await orders_of(client, one)] == ["slow"]

    play(tmp_path, scenario)


def test_a_late_arrival_whose_id_was_used_meanwhile_trades_once(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        set_book(client, one, {5_000: 1_000}, {5_200: 1_000})
        await client.control(do="late_arrival", seconds=1.0, status=503)
        body = order_body(one, "bid", "0.5200", "1.00", client_order_id="twice")
        assert (await client.call("POST", ORDERS, body))[0] == 503
        assert (await client.call("POST", ORDERS, body))[0] == 201
        await asyncio.sleep(1.3)
        assert [fill.count_e2 for fill in client.server.store.fills()] == [100]

    play(tmp_path, scenario)


def test_faults_of_other_writes_leave_new_orders_alone(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        set_book(client, one, {5_000: 1_000}, {5_200: 1_000})
        await client.control(do="error_after_acceptance", status=504, on="cancel")
        resting = order_body(one, "bid", "0.4000", "1.00", "good_till_canceled")
        status, made = await client.call("POST", ORDERS, resting)
        assert status == 201
        cancel = f"{ORDERS}/{made['order_id']}?market_ticker={one}"
        assert (await client.call("DELETE", cancel))[0] == 504
        assert (await client.call("DELETE", cancel))[0] == 404, "it was cancelled all the same"

    play(tmp_path, scenario)


def test_a_status_is_given_to_the_requests_that_it_is_meant_for_and_nothing_is_done(
    tmp_path: Path, recordings: Path, steady: dict[str, int]
) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        set_book(client, one, {5_000: 1_000}, {5_200: 1_000})
        await client.control(do="status", status=502, method="POST", path="/portfolio", times=2)
        assert (await client.call("GET", "/portfolio/orders"))[0] == 200
        for _ in range(2):
            assert (await client.call("POST", ORDERS, order_body(one, "bid", "0.5200", "1.00")))[0] == 502
        assert client.server.store.orders() == []
        assert (await client.call("POST", ORDERS, order_body(one, "bid", "0.5200", "1.00")))[0] == 201
        await client.control(do="status", status=429)
        assert await client.call("GET", "/markets") == (429, {"error": "too many requests"})
        await client.control(do="status", status=503, path="/exchange/status")
        status, answer = await client.call("GET", "/exchange/status")
        assert status == 503
        check_rest(recordings, "ExchangeStatus", answer)
        await client.control(do="rate_limit", for_s=3)
        assert (await client.call("GET", "/markets"))[0] == 429
        steady["ns"] += 3 * SECOND
        assert (await client.call("GET", "/markets"))[0] == 200

    play(tmp_path, scenario)


def test_a_handshake_is_refused_by_a_status_for_the_stream_only(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await client.control(do="status", status=503, path="/ws")
        assert (await client.call("GET", "/markets?limit=1"))[0] == 200
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            async with client.stream():
                pass
        await client.control(do="status", status=503)
        async with client.stream("trade") as stream:
            assert await stream.pending() == []

    play(tmp_path, scenario)


def test_a_set_book_stays_while_the_scenario_moves_on_and_then_follows_it_again(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        world = client.server.world
        steps = world.steps(0)
        ticker = steps[0].market.native_id
        free = World(seed=1, events=8, seconds=20, venue=Venue.KALSHI)
        await client.control(do="quotes", ticker=ticker, bids=[["0.9000", "5.00"]], asks=[["0.9100", "5.00"]])
        for step in [each for each in steps if each.market.native_id == ticker][:5]:
            world.apply(step)
            free.apply(step)
        book = client.server.catalog.book(ticker)
        assert book.levels() == ([(9_000, 5_000_000)], [(9_100, 5_000_000)])
        await client.control(do="reset")
        assert book.levels() == free.books[steps[0].market.key].levels()
        crossed = {"bids": [["0.5000", "1"]], "asks": [["0.5000", "1"]]}
        status, answer = await client.control(do="quotes", ticker=ticker, **crossed)
        assert (status, "cross" in answer["error"]) == (400, True)

    play(tmp_path, scenario)


# -- reads and clock --------------------------------------------------------------------------------------------------


def test_lagging_reads_show_the_account_as_it_was_and_say_as_of_when(tmp_path: Path, steady: dict[str, int]) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        set_book(client, one, {5_000: 1_000}, {5_200: 1_000})
        _, made = await client.call("POST", ORDERS, order_body(one, "bid", "0.4000", "1.00", "good_till_canceled"))
        _, before = await client.call("GET", "/portfolio/balance")
        steady["ns"] += 60 * SECOND
        await client.control(do="lagging_reads", seconds=30)
        await client.call("DELETE", f"{ORDERS}/{made['order_id']}?market_ticker={one}")
        _, taken = await client.call("POST", ORDERS, order_body(one, "bid", "0.5200", "2.00"))
        for path, member in (("/portfolio/orders", "orders"), (f"/portfolio/orders/{made['order_id']}", "order")):
            _, answer = await client.call("GET", path)
            found = answer[member]
            assert (found[0] if isinstance(found, list) else found)["status"] == "resting"
        assert (await client.call("GET", f"/portfolio/orders/{taken['order_id']}"))[0] == 404
        for path, member in (("/portfolio/fills", "fills"), ("/portfolio/positions", "market_positions")):
            assert (await client.call("GET", path))[1][member] == []
        _, balance = await client.call("GET", "/portfolio/balance")
        assert balance["balance_dollars"] == before["balance_dollars"]
        _, stamp = await client.call("GET", "/exchange/user_data_timestamp")
        as_of = datetime.fromisoformat(stamp["as_of_time"].replace("Z", "+00:00")).timestamp()
        assert 29 < time.time() - as_of < 45, "it says as of when"
        steady["ns"] += 31 * SECOND
        assert len((await client.call("GET", "/portfolio/fills"))[1]["fills"]) == 1, "reads arrive there"
        await client.control(do="lagging_reads", clear=True)
        assert (await client.call("GET", "/portfolio/fills"))[1]["fills"][0]["count_fp"] == "2.00"

    play(tmp_path, scenario)


def test_a_skewed_clock_refuses_good_signatures_and_stamps_what_happens(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        set_book(client, one, {5_000: 1_000}, {5_200: 1_000})
        await client.control(do="clock_skew", seconds=-60)
        status, answer = await client.call("GET", "/portfolio/orders")
        assert (status, answer["error"]["code"]) == (401, "header_timestamp_expired")
        headers = signed(client.key, "POST", PREFIX + ORDERS, skew_ms=-60_000)
        _, made = await client.call("POST", ORDERS, order_body(one, "bid", "0.5200", "1.00"), headers=headers)
        assert abs(made["ts_ms"] - (time.time() - 60) * 1_000) < 5_000
        await client.control(do="clock_skew", clear=True)
        assert (await client.call("GET", "/portfolio/orders"))[0] == 200

    play(tmp_path, scenario)


def test_a_looping_cursor_never_ends_a_listing(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await client.control(do="cursor_loop")
        for path, member in (("/markets?limit=5", "markets"), ("/events?limit=3", "events")):
            cursor, seen = "", []
            for _ in range(12):
                _, answer = await client.call("GET", f"{path}&cursor={cursor}")
                seen += [json.dumps(each["title"]) for each in answer[member]]
                cursor = answer["cursor"]
                assert cursor
            assert len(set(seen)) < len(seen), "the same ones come again"
        await client.control(do="reset")
        _, answer = await client.call("GET", "/markets?limit=1000")
        assert answer["cursor"] == ""

    play(tmp_path, scenario)


def test_a_cached_book_is_as_it_was(tmp_path: Path, steady: dict[str, int]) -> None:
    async def scenario(client: Client) -> None:
        (one,) = tickers_of(client, 1)
        set_book(client, one, {5_000: 1_000}, {5_200: 1_000})
        await client.control(do="stale_books")
        _, before = await client.call("GET", f"/markets/{one}/orderbook")
        set_book(client, one, {3_000: 1_000}, {7_000: 1_000})
        assert (await client.call("GET", f"/markets/{one}/orderbook"))[1] == before
        steady["ns"] += 16 * SECOND
        _, after = await client.call("GET", f"/markets/{one}/orderbook")
        assert after["orderbook_fp"]["yes_dollars"] == [["0.3000", "10.00"]]

    play(tmp_path, scenario)


# -- the commands themselves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ({"do": "dance"}, "no command 'dance': give do, one of gap, duplicate"),
        ({}, "no command None"),
        ({"do": "gap", "colour": 1}, "gap has no colour: it takes frames, channel"),
        ({"do": "gap", "frames": 0}, "gap: frames is 0: give an integer from 1 on"),
        ({"do": "gap", "channel": "ticker"}, "gap: channel is 'ticker': give one of"),
        ({"do": "freeze"}, "freeze needs seconds: a number of seconds above 0"),
        ({"do": "freeze", "seconds": 1, "tickers": ["NONE"]}, "NONE not listed"),
        ({"do": "slow_consumer", "clear": True}, "slow_consumer cannot be cleared"),
        ({"do": "command_error", "code": 6}, "give one of 1, 2"),
        ({"do": "late_ack", "seconds": True}, "seconds is True"),
    ],
)
def test_a_command_that_makes_no_sense_is_answered_with_what_would(
    tmp_path: Path, command: dict[str, Any], reason: str
) -> None:
    async def scenario(client: Client) -> None:
        with pytest.raises(ControlError, match=re.escape(reason)):
            client.server.faults.do(command)
        if command:
            status, answer = await client.control(**command)
            assert (status, answer["ok"], answer["names"]) == (400, False, list(COMMANDS))
            assert reason in answer["error"]

    play(tmp_path, scenario)


def test_what_is_armed_and_what_was_used_can_be_asked_and_reset_clears_it(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        await client.control(do="status", status=500, times=2)
        await client.control(do="lagging_reads", seconds=5, for_s=60)
        await client.call("GET", "/markets")
        status, shown = await client.control()
        assert status == 200
        first, second = shown["armed"]
        assert (first["do"], first["times_left"], first["used"]) == ("status", 1, 1)
        assert (second["do"], second["seconds"], second["times_left"]) == ("lagging_reads", 5.0, None)
        assert 50 < second["seconds_left"] <= 60
        assert shown["used"] == {"status": 1}
        assert set(shown["commands"]) == set(COMMANDS)
        await client.control(do="gap", frames=3)
        await client.control(do="pause")
        async with client.stream("trade"):
            await client.control(do="freeze", seconds=60)
            _, shown = await client.control()
            assert shown["streams"] == {
                "waiting": [],
                "connections": [{"gap": {"orderbook_delta": 3}, "freeze": ["everything"]}],
            }
            assert shown["exchange"]["trading_active"] is False
            assert (await client.control(do="reset"))[1]["cleared"] == 2
            _, shown = await client.control()
            assert (shown["armed"], shown["streams"]["connections"]) == ([], [{}])
            assert shown["exchange"]["trading_active"] is True
        url = f"https://127.0.0.1:{client.server.port}/sim/control"
        async with client.http.post(url, data=b"gap!") as answer:
            assert (answer.status, "the body is no JSON" in (await answer.json())["error"]) == (400, True)

    play(tmp_path, scenario)


def test_the_page_names_every_command_and_every_parameter() -> None:
    commands = DOCS.read_text(encoding="utf-8").split("## Commands")[1]
    rows = {found[1]: found[2] for found in re.finditer(r"^\| `(\w+)` \| ([^|]*)\|", commands, re.MULTILINE)}
    assert set(rows) == set(COMMANDS)
    for name, command in COMMANDS.items():
        assert set(re.findall(r"`(\w+)", rows[name])) == set(command.params), name
