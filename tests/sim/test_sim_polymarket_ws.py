"""Both WebSocket channels, spoken to with aiohttp."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from polymarket_harness import Running, Trader, config_of

from arbpipe.sim.listing import Market
from arbpipe.sim.polymarket_books import MarketView

Socket = aiohttp.ClientWebSocketResponse


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory: Path = tmp_path_factory.mktemp("ws")
    server = Running(config_of(directory))
    yield server
    server.stop()


def talk(running: Running, path: str, conversation: Callable[[Socket], Awaitable[None]]) -> None:
    """Connect and hold one conversation, within five seconds."""

    async def inside() -> None:
        async with (
            asyncio.timeout(5),
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{running.url}{path}", ssl=running.ssl) as socket,
        ):
            await conversation(socket)
        # a TLS transport of aiohttp's client is closed a few turns of the loop after its session
        await asyncio.sleep(0.03)

    asyncio.run(inside())


async def hear(socket: Socket) -> Any:
    text = await socket.receive_str()
    return text if text == "PONG" else json.loads(text)


async def silent(socket: Socket) -> None:
    """Nothing waits: the next thing that comes is the answer to a PING."""
    await socket.send_str("PING")
    assert await hear(socket) == "PONG"


async def elsewhere(work: Callable[[], Any]) -> Any:
    """Run a blocking call beside the conversation."""
    return await asyncio.to_thread(work)


def subscribe(assets: list[str], **more: Any) -> dict[str, Any]:
    return {"assets_ids": assets, "type": "market", **more}


def test_all_first_books_come_in_one_array_with_the_recorded_keys(running: Running, recordings: Path) -> None:
    view = running.standard()
    recorded = json.loads((recordings / "polymarket" / "ws_market_frames_fed_2026-07-20.json").read_text())

    async def conversation(socket: Socket) -> None:
        await socket.send_json(subscribe([*view.assets, "123456"], custom_feature_enabled=True))
        text = await socket.receive_str()
        assert text.endswith("]\n")
        books = json.loads(text)
        assert [book["asset_id"] for book in books] == list(view.assets)
        assert list(books[0]) == list(recorded[0][0])
        rest = running.http.get("/book", params={"token_id": view.assets[1]}).json()
        assert books[1]["hash"] == rest["hash"]
        assert books[1]["timestamp"] == rest["timestamp"]

    talk(running, "/ws/market", conversation)


def test_a_v2_book_has_the_keys_of_the_recorded_canary(running: Running, recordings: Path) -> None:
    folder = recordings / "polymarket" / "protocol_v2_2026-10-05"
    lines = (folder / "ws-market-v2-session.descriptions-elided.jsonl").read_text().splitlines()
    canary = json.loads(json.loads(lines[1])["data"])[0]
    view = running.standard("v2")

    async def conversation(socket: Socket) -> None:
        await socket.send_json(subscribe([view.assets[0]]))
        (book,) = await hear(socket)
        assert list(book) == list(canary)
        assert book["version"] == "v2"

    talk(running, "/ws/market", conversation)


def test_frames_of_a_trade_have_the_recorded_keys(running: Running, recordings: Path) -> None:
    recorded = json.loads((recordings / "polymarket" / "ws_market_frames_fed_2026-07-20.json").read_text())
    keys: dict[str, set[str]] = {}
    for frame in recorded:
        for each in frame if isinstance(frame, list) else [frame]:
            keys.setdefault(each["event_type"], set(each))
            if "tick_size" not in each and each["event_type"] == "book":
                keys["book"] = set(each)
    view, trader = running.standard(), running.trader("ws trade")

    async def conversation(socket: Socket) -> None:
        await socket.send_json(subscribe(list(view.assets)))
        await hear(socket)
        await elsewhere(lambda: trader.order(view, "BUY", 5_000_000, 10_000_000))
        frames = [await hear(socket) for _ in range(4)]
        assert [frame["event_type"] for frame in frames] == ["price_change", "last_trade_price", "book", "book"]
        for frame in frames:
            assert set(frame) == keys[frame["event_type"]]
        changes = {change["asset_id"]: change for change in frames[0]["price_changes"]}
        assert changes[view.assets[0]]["size"] == "10"
        assert (changes[view.assets[1]]["price"], changes[view.assets[1]]["side"]) == ("0.5", "BUY")
        rest = await elsewhere(lambda: running.http.get("/book", params={"token_id": view.assets[0]}).json())
        assert frames[2]["hash"] == rest["hash"]

    talk(running, "/ws/market", conversation)


def test_both_tokens_change_even_for_a_subscriber_of_one(running: Running) -> None:
    view = running.standard()

    async def conversation(socket: Socket) -> None:
        await socket.send_json(subscribe([view.assets[1]]))
        await hear(socket)
        await elsewhere(lambda: running.quote(view, {4_500: 60, 4_000: 100}, {5_000: 20, 5_200: 1_000}))
        frame = await hear(socket)
        assert {change["asset_id"] for change in frame["price_changes"]} == set(view.assets)

    talk(running, "/ws/market", conversation)


def test_unsubscribing_ends_and_subscribing_again_brings_a_fresh_book(running: Running) -> None:
    view = running.standard()
    asset = view.assets[0]

    async def conversation(socket: Socket) -> None:
        await socket.send_json(subscribe([asset]))
        (before,) = await hear(socket)
        await socket.send_json({"operation": "unsubscribe", "assets_ids": [asset]})
        await silent(socket)
        await elsewhere(lambda: running.quote(view, {4_300: 7}, {5_000: 20}))
        await silent(socket)
        await socket.send_json({"operation": "subscribe", "assets_ids": [asset]})
        (after,) = await hear(socket)
        assert after["hash"] != before["hash"]
        assert after["bids"] == [{"price": "0.43", "size": "7"}]
        # a second subscription to the same asset is no new one
        await socket.send_json({"operation": "subscribe", "assets_ids": [asset]})
        await silent(socket)

    talk(running, "/ws/market", conversation)


def test_custom_features_are_sent_only_where_enabled(running: Running) -> None:
    view = running.standard()

    async def conversation(socket: Socket) -> None:
        await socket.send_json(subscribe([view.assets[1]], custom_feature_enabled=False))
        await hear(socket)
        await elsewhere(lambda: running.quote(view, {4_600: 1, 4_500: 50}, {5_000: 20}))
        kinds = []
        await socket.send_str("PING")
        while (frame := await hear(socket)) != "PONG":
            kinds.append(frame["event_type"])
        assert "price_change" in kinds
        assert "best_bid_ask" not in kinds
        again = {"operation": "subscribe", "assets_ids": [view.assets[1]], "custom_feature_enabled": True}
        await socket.send_json(again)
        await silent(socket)
        await elsewhere(lambda: running.quote(view, {4_700: 1, 4_500: 50}, {5_000: 20}))
        while (frame := await hear(socket))["event_type"] != "best_bid_ask":
            pass
        assert (frame["asset_id"], frame["best_bid"], frame["best_ask"]) == (view.assets[1], "0.5", "0.53")

    talk(running, "/ws/market", conversation)


def test_a_tick_change_is_told_and_orders_follow_it(running: Running) -> None:
    view = running.standard()
    trader = running.trader("ws tick")
    old_e4 = view.tick_e4
    new_e4, old, new = (100, "0.001", "0.01") if old_e4 == 10 else (10, "0.01", "0.001")

    async def conversation(socket: Socket) -> None:
        await socket.send_json(subscribe([view.assets[0]]))
        await hear(socket)
        change = running.server.exchange.set_tick
        await elsewhere(lambda: running.call(lambda: change(view.listing.condition_id, new_e4)))
        frame = await hear(socket)
        assert (frame["event_type"], frame["old_tick_size"], frame["new_tick_size"]) == ("tick_size_change", old, new)

    talk(running, "/ws/market", conversation)
    tick = running.http.get("/tick-size", params={"token_id": view.assets[0]}).json()["minimum_tick_size"]
    assert tick == float(new)
    on_grid, between = (4_300_000, 4_330_000) if new_e4 == 100 else (4_330_000, 4_335_000)
    fine = trader.order(view, "BUY", on_grid, 10_000_000, order_type="GTC")
    finer = trader.order(view, "BUY", between, 10_000_000, order_type="GTC")
    assert fine.status_code == 200
    assert finer.status_code == 400
    running.call(lambda: running.server.exchange.set_tick(view.listing.condition_id, old_e4))


def test_what_is_no_message_of_the_channel_is_answered_and_survived(running: Running) -> None:
    view = running.standard()

    async def conversation(socket: Socket) -> None:
        await socket.send_str("PING")
        assert await hear(socket) == "PONG"
        await socket.send_json(subscribe([view.assets[0]]))
        await hear(socket)
        for text in ("nonsense", "[1]", '{"operation":"dance"}'):
            await socket.send_str(text)
            assert await socket.receive_str() == "INVALID OPERATION"

    talk(running, "/ws/market", conversation)


def auth(trader: Trader, **spoil: str) -> dict[str, str]:
    keys = trader.keys
    return {"apiKey": keys.key, "secret": keys.secret, "passphrase": keys.passphrase} | spoil


@pytest.mark.parametrize("spoil", [{"secret": "AA=="}, {"passphrase": "x"}, {"apiKey": "x"}])
def test_the_user_channel_closes_on_wrong_credentials(running: Running, spoil: dict[str, str]) -> None:
    trader = running.trader("ws wrong")

    async def conversation(socket: Socket) -> None:
        await socket.send_json({"auth": auth(trader, **spoil), "type": "user"})
        assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)

    talk(running, "/ws/user", conversation)


def test_the_owner_hears_the_life_of_an_order_and_of_its_trades(running: Running) -> None:
    view, trader = running.standard(), running.trader("ws user")

    async def conversation(socket: Socket) -> None:
        await socket.send_json({"auth": auth(trader), "type": "user", "markets": []})
        await silent(socket)
        placed = await elsewhere(lambda: trader.order(view, "BUY", 5_000_000, 10_000_000).json())
        order = await hear(socket)
        assert (order["event_type"], order["type"], order["status"]) == ("order", "PLACEMENT", "MATCHED")
        assert (order["id"], order["size_matched"], order["order_owner"]) == (placed["orderID"], "10", trader.keys.key)
        trades = [await hear(socket) for _ in range(3)]
        assert [trade["status"] for trade in trades] == ["MATCHED", "MINED", "CONFIRMED"]
        assert {trade["id"] for trade in trades} == set(placed["tradeIDs"])
        assert trades[0]["transaction_hash"] == ""
        assert trades[2]["transaction_hash"].startswith("0x")
        assert (trades[0]["type"], trades[0]["trader_side"], trades[0]["size"]) == ("TRADE", "TAKER", "10")
        assert len(trades[0]["timestamp"]) == 13

    talk(running, "/ws/user", conversation)


def test_the_owner_hears_a_cancellation_and_a_fill_as_maker(running: Running) -> None:
    view, trader = running.standard(), running.trader("ws maker")

    async def conversation(socket: Socket) -> None:
        await socket.send_json({"auth": auth(trader), "type": "user", "markets": [view.listing.condition_id]})
        await silent(socket)
        await elsewhere(lambda: trader.order(view, "BUY", 4_700_000, 10_000_000, order_type="GTC"))
        order = await hear(socket)
        assert (order["type"], order["status"], order["order_type"]) == ("PLACEMENT", "LIVE", "GTC")
        await elsewhere(lambda: running.quote(view, {4_000: 100}, {4_700: 4}))
        trade, order = await hear(socket), await hear(socket)
        assert (trade["event_type"], trade["trader_side"], trade["status"]) == ("trade", "MAKER", "MATCHED")
        assert trade["maker_orders"][0]["matched_amount"] == "4"
        assert (order["type"], order["size_matched"], order["associate_trades"]) == ("UPDATE", "4", [trade["id"]])
        await elsewhere(lambda: trader.send("DELETE", "/cancel-all"))
        while (message := await hear(socket))["event_type"] != "order":
            pass
        assert (message["type"], message["status"]) == ("CANCELLATION", "CANCELED")

    talk(running, "/ws/user", conversation)


def test_nobody_hears_of_other_peoples_orders_or_other_markets(running: Running) -> None:
    first, second = running.standard(), running.standard("v2")
    trader, stranger = running.trader("ws quiet"), running.trader("ws stranger")

    async def conversation(socket: Socket) -> None:
        await socket.send_json({"auth": auth(trader), "type": "user", "markets": [first.listing.condition_id]})
        await silent(socket)
        await elsewhere(lambda: stranger.order(first, "BUY", 4_000_000, 10_000_000, order_type="GTC"))
        await elsewhere(lambda: trader.order(second, "BUY", 4_000_000, 10_000_000, order_type="GTC"))
        await silent(socket)
        await socket.send_json({"operation": "subscribe", "markets": [second.listing.condition_id]})
        await silent(socket)
        await elsewhere(lambda: trader.send("DELETE", "/cancel-all"))
        assert (await hear(socket))["type"] == "CANCELLATION"

    talk(running, "/ws/user", conversation)


def test_a_view_knows_its_market(running: Running) -> None:
    view: MarketView = running.view()
    market: Market = view.market
    assert view.label(view.assets[1]) == market.no_label
