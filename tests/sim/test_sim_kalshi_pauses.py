"""Pauses and maintenance: what is refused, what survives, what the schedule says, who is thrown out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kalshi_support import ORDERS, Client, check_rest, order_body, play, set_book, until

from arbpipe.sim.listing import Venue
from arbpipe.sim.market import World

GTC = "good_till_canceled"


def first(client: Client) -> str:
    return next(iter(client.server.catalog.markets))


@pytest.mark.parametrize("kind", ["trading", "exchange"])
def test_a_pause_refuses_orders_lets_others_rest_and_cancels_those_that_asked_for_it(
    tmp_path: Path, recordings: Path, kind: str
) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        set_book(client, ticker, {4_000: 500}, {6_000: 500})
        _, stays = await client.call("POST", ORDERS, order_body(ticker, "bid", "0.5000", "1.00", GTC))
        goes = order_body(ticker, "bid", "0.4500", "1.00", GTC, cancel_order_on_pause=True)
        _, gone = await client.call("POST", ORDERS, goes)
        assert (await client.control(do="pause", kind=kind))[1]["cancelled"] == 1
        reasons = {each.order_id: each.reason for each in client.server.store.orders()}
        assert reasons == {stays["order_id"]: "", gone["order_id"]: "HaltCancel"}
        _, status = await client.call("GET", "/exchange/status")
        check_rest(recordings, "ExchangeStatus", status)
        assert (status["exchange_active"], status["trading_active"]) == (kind == "trading", False)
        refused = (409, f"{kind}_is_paused")
        code, answer = await client.call("POST", ORDERS, order_body(ticker, "bid", "0.6000", "1.00"))
        assert (code, answer["error"]["code"]) == refused
        amended: Any = {"ticker": ticker, "side": "bid", "price": "0.4800", "count": "1.00"}
        code, answer = await client.call("POST", f"{ORDERS}/{stays['order_id']}/amend", amended)
        assert (code, answer["error"]["code"]) == refused
        code, answer = await client.call("DELETE", f"{ORDERS}/{stays['order_id']}?market_ticker={ticker}")
        assert code == (200 if kind == "trading" else 409)
        await client.control(do="resume")
        assert (await client.call("POST", ORDERS, order_body(ticker, "bid", "0.6000", "1.00")))[0] == 201

    play(tmp_path, scenario)


def test_a_pause_of_one_shard_leaves_the_others_alone(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        markets = client.server.catalog.markets
        two = next(ticker for ticker, listed in markets.items() if listed.exchange_index == 2)
        other = next(ticker for ticker, listed in markets.items() if listed.exchange_index == 0)
        for ticker in (two, other):
            set_book(client, ticker, {4_000: 500}, {6_000: 500})
        await client.control(do="pause", exchange_index=2)
        assert (await client.call("POST", ORDERS, order_body(two, "bid", "0.6000", "1.00")))[0] == 409
        assert (await client.call("POST", ORDERS, order_body(other, "bid", "0.6000", "1.00")))[0] == 201
        _, status = await client.call("GET", "/exchange/status")
        check_rest(recordings, "ExchangeStatus", status)
        assert status["trading_active"] is True, "the top level is shard 0"
        shown = {each["exchange_index"]: each["trading_active"] for each in status["exchange_index_statuses"]}
        assert shown == {0: True, 2: False}
        await client.control(do="resume", exchange_index=2)
        assert (await client.call("POST", ORDERS, order_body(two, "bid", "0.6000", "1.00")))[0] == 201

    play(tmp_path, scenario, shards={"KXSIMGAME": 2}, shard_cash_e6={2: 10**8})


def test_a_maintenance_is_announced_closes_every_session_and_sets_the_clocks_back(
    tmp_path: Path, recordings: Path
) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        client.server.catalog.book(ticker).set_quote(True, 100, 10_000)
        async with client.stream("orderbook_delta", tickers=[ticker]) as stream:
            before = (await stream.pending())[0]["msg"]["clock"]
            assert before > 1_000
            await client.control(do="maintenance", in_s=1.0, seconds=1.0, clock_back=500)
            _, schedule = await client.call("GET", "/exchange/schedule")
            check_rest(recordings, "GetExchangeScheduleResponse", schedule)
            assert len(schedule["schedule"]["maintenance_windows"]) == 1
            assert (await client.call("GET", "/exchange/status"))[1]["trading_active"] is True
            message = await stream.socket.receive(timeout=5)
            assert message.type is aiohttp.WSMsgType.CLOSE
        _, status = await client.call("GET", "/exchange/status")
        check_rest(recordings, "ExchangeStatus", status)
        assert (status["trading_active"], "exchange_estimated_resume_time" in status) == (False, True)
        await until(lambda: client.server.account.trading)
        _, schedule = await client.call("GET", "/exchange/schedule")
        assert schedule["schedule"]["maintenance_windows"] == []
        async with client.stream("orderbook_delta", tickers=[ticker]) as stream:
            assert (await stream.pending())[0]["msg"]["clock"] == before - 500

    play(tmp_path, scenario)


def test_a_book_stands_still_while_trading_is_paused_and_catches_up_when_it_goes_on(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        world = client.server.world
        steps = world.steps(0)
        ticker = steps[0].market.native_id
        mine = [step for step in steps if step.market.native_id == ticker][:3]
        free = World(seed=1, events=8, seconds=20, venue=Venue.KALSHI)
        before = client.server.catalog.book(ticker).levels()
        await client.control(do="pause")
        for step in mine:
            world.apply(step)
            free.apply(step)
        assert client.server.catalog.book(ticker).levels() == before
        await client.control(do="resume")
        wanted = free.books[steps[0].market.key].levels()
        assert before != wanted == client.server.catalog.book(ticker).levels()

    play(tmp_path, scenario)
