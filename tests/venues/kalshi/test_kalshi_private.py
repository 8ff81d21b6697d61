"""Kalshi's private stream against a scripted venue."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Coroutine
from typing import Any

import pytest
from aiohttp import web
from kalshi_venue import KEY, ScriptedKalshi, created, fill, order, run, signer
from stream_venue import Peer, StreamVenue, started, until

from arbpipe.errors import EnvironmentRefused
from arbpipe.venues.base import OutcomeState
from arbpipe.venues.kalshi.account import KalshiPatience
from arbpipe.venues.kalshi.auth import wall_ms
from arbpipe.venues.kalshi.gateway import KalshiGateway
from arbpipe.venues.kalshi.private import KalshiPrivate

CHANNELS = ("fill", "user_orders")


class KalshiStream(StreamVenue):
    """Confirms subscriptions, unless it is ``mute`` or ``refuses`` with an error code."""

    mute = False
    refuses = 0

    async def hears(self, peer: Peer, text: str) -> None:
        command = json.loads(text)
        if self.refuses:
            await peer.say({"type": "error", "id": command["id"], "msg": {"code": self.refuses, "msg": "scripted"}})
        elif not self.mute:
            for sid, channel in enumerate(command["params"]["channels"], 1):
                await peer.say({"type": "subscribed", "id": command["id"], "msg": {"channel": channel, "sid": sid}})


def filled(client_id: str | None, order_id: str = "o1") -> dict[str, Any]:
    msg = {
        "trade_id": "t1",
        "order_id": order_id,
        "market_ticker": "M",
        "is_taker": True,
        "yes_price_dollars": "0.5600",
        "count_fp": "10.00",
        "fee_cost": "0.0173",
        "outcome_side": "yes",
        "book_side": "bid",
        "post_position_fp": "10.00",
        **({"client_order_id": client_id} if client_id else {}),
    }
    return {"type": "fill", "sid": 1, "msg": msg}


def changed(client_id: str, order_id: str = "o1") -> dict[str, Any]:
    money = dict.fromkeys(
        ("taker_fill_cost_dollars", "maker_fill_cost_dollars", "taker_fees_dollars", "maker_fees_dollars"), "0.000000"
    )
    sizes = dict.fromkeys(("fill_count_fp", "remaining_count_fp", "initial_count_fp"), "10.00")
    msg = {
        "order_id": order_id,
        "client_order_id": client_id,
        "ticker": "M",
        "status": "executed",
        "outcome_side": "yes",
        "book_side": "bid",
        "yes_price_dollars": "0.5600",
        **money,
        **sizes,
    }
    return {"type": "user_order", "sid": 2, "msg": msg}


class Heard:
    """A stream on the venue, and what it told."""

    def __init__(self, url: str, **more: Any) -> None:
        self.news: list[str] = []
        self.stream = KalshiPrivate(url, signer(), None, self.news.append, **more)


def streaming(venue: KalshiStream, work: Any, **more: Any) -> Heard:
    async def main() -> Heard:
        async with venue.serving() as url:
            it = Heard(url, **more)
            async with started(it.stream):
                await work(it)
            return it

    return asyncio.run(main())


def test_both_channels_are_subscribed_on_a_signed_connection_and_then_everything_is_news() -> None:
    venue = KalshiStream()
    stamps: list[int] = []

    def admits(request: web.Request) -> bool:
        stamp = request.headers["KALSHI-ACCESS-TIMESTAMP"]
        signature = base64.b64decode(request.headers["KALSHI-ACCESS-SIGNATURE"])
        KEY.public_key().verify(signature, f"{stamp}GET/ws".encode())
        stamps.append(int(stamp))
        return True

    venue.admits = admits

    async def work(it: Heard) -> None:
        await until(lambda: it.news)

    it = streaming(venue, work)
    (heard,) = venue.peer.heard
    assert json.loads(heard) == {"id": 1, "cmd": "subscribe", "params": {"channels": list(CHANNELS)}}
    assert it.news == [""]
    assert abs(stamps[0] - wall_ms()) < 5_000


def test_nothing_is_news_before_both_channels_are_confirmed() -> None:
    venue = KalshiStream()
    venue.mute = True

    async def work(it: Heard) -> None:
        await until(lambda: venue.peers and venue.peer.heard)
        await venue.peer.say({"type": "subscribed", "id": 1, "msg": {"channel": "fill", "sid": 1}})
        await venue.peer.say(filled("ap-1-0-0"))
        await until(lambda: it.news)
        assert it.news == ["ap-1-0-0"]
        assert not it.stream.is_live
        await venue.peer.say({"type": "subscribed", "id": 1, "msg": {"channel": "user_orders", "sid": 2}})
        await until(lambda: it.stream.is_live)
        assert it.news == ["ap-1-0-0", ""]

    streaming(venue, work)


def test_fills_and_orders_tell_the_client_id_and_where_there_is_none_the_order_id() -> None:
    venue = KalshiStream()

    async def work(it: Heard) -> None:
        await until(lambda: it.stream.is_live)
        await venue.peer.say(filled("ap-1-0-0"), changed("ap-2-0-0"), filled(None, "o9"), changed("", "o8"))
        await until(lambda: len(it.news) >= 5)
        assert it.news == ["", "ap-1-0-0", "ap-2-0-0", "o9", "o8"]

    streaming(venue, work)


def test_a_malformed_frame_is_counted_and_ignored_and_the_stream_goes_on() -> None:
    venue = KalshiStream()
    broken = filled("ap-0-0-0")
    broken["msg"]["count_fp"] = "many"

    async def work(it: Heard) -> None:
        await until(lambda: it.stream.is_live)
        unread = filled("ap-0-0-0")
        del unread["msg"]["order_id"]
        await venue.peer.say("nonsense", "[]", broken, unread, {"type": "of tomorrow", "sid": 1, "msg": {}})
        await venue.peer.say(filled("ap-1-0-0"))
        await until(lambda: len(it.news) > 1)
        assert it.news == ["", "ap-1-0-0"]
        assert it.stream.malformed == 4  # a type that nobody knows is no error
        assert it.stream.connections == 1

    streaming(venue, work)


def test_after_a_lost_connection_everything_is_news_again() -> None:
    venue = KalshiStream()

    async def work(it: Heard) -> None:
        await until(lambda: it.stream.is_live)
        venue.peer.transport.abort()
        await until(lambda: len(venue.peers) == 2 and it.stream.is_live)
        await venue.peer.say(filled("ap-1-0-0"))
        await until(lambda: len(it.news) > 2)
        assert it.news == ["", "", "ap-1-0-0"]
        assert it.stream.connections == 2
        signatures = [each.headers["KALSHI-ACCESS-SIGNATURE"] for each in venue.handshakes]
        assert len(set(signatures)) == 2  # signed anew

    streaming(venue, work)


def test_a_refused_key_tells_nothing_and_is_tried_again() -> None:
    venue = KalshiStream()
    venue.admits = lambda request: False

    async def work(it: Heard) -> None:
        await until(lambda: len(venue.handshakes) >= 2)
        assert it.news == []
        assert not it.stream.is_live
        assert "401" in it.stream.trouble
        venue.admits = lambda request: True
        await until(lambda: it.stream.is_live)
        assert it.news == [""]

    streaming(venue, work)


@pytest.mark.parametrize("code", [9, 10, 25])
def test_an_error_frame_ends_the_connection_and_a_new_one_subscribes_again(code: int) -> None:
    venue = KalshiStream()
    venue.refuses = code

    async def work(it: Heard) -> None:
        await until(lambda: len(venue.peers) >= 2)
        assert it.news == []
        venue.refuses = 0
        await until(lambda: it.stream.is_live)
        assert it.stream.trouble == f"error {code}: scripted"

    streaming(venue, work)


def test_a_subscription_that_is_not_confirmed_is_given_up() -> None:
    venue = KalshiStream()
    venue.mute = True

    async def work(it: Heard) -> None:
        await until(lambda: len(venue.peers) >= 2)
        assert "not confirmed" in it.stream.trouble
        assert it.news == []

    streaming(venue, work, answer_s=0.03)


@pytest.mark.parametrize("url", ["", "127.0.0.1/ws", "https://host/ws", "wss://host"])
def test_what_is_no_socket_address_is_refused(url: str) -> None:
    with pytest.raises(EnvironmentRefused, match=r"kalshi\.ws"):
        Heard(url)


def test_a_stream_can_be_stopped_at_any_moment() -> None:
    async def main() -> None:
        venue = KalshiStream()
        async with venue.serving() as url:
            await Heard(url).stream.stop()  # never started
            for turns in range(12):
                it = Heard(url)
                it.stream.start()
                for _ in range(turns):
                    await asyncio.sleep(0)
                await asyncio.wait_for(it.stream.stop(), 2)
        nobody = Heard("ws://127.0.0.1:1/ws")
        nobody.stream.start()
        await until(lambda: nobody.stream.trouble)
        await asyncio.wait_for(nobody.stream.stop(), 2)

    asyncio.run(main())


# --- the gateway's own stream -----------------------------------------------------------------------------------------

SLOW = KalshiPatience(order_s=1.0, read_s=1.0, fills_s=30.0, lookup_s=30.0, between_s=30.0, apart_s=0.05, fresh_ms=50)


def with_stream(venue: ScriptedKalshi, stream: KalshiStream, work: Any, **more: Any) -> Any:
    async def inside(venue: ScriptedKalshi, gateway: KalshiGateway) -> Any:
        assert gateway.stream is not None
        await until(lambda: gateway.stream and gateway.stream.is_live)
        return await asyncio.wait_for(work(gateway), 10)

    async def main() -> Any:
        async with stream.serving() as url, venue.gateway(ws_url=url, **more) as gateway:
            return await inside(venue, gateway)

    return asyncio.run(main())


def test_fills_that_are_listed_late_are_asked_for_when_the_stream_tells_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a minute until the next read: what is read in time is read because of the stream
    monkeypatch.setattr("arbpipe.venues.kalshi.account._FIRST_RETRY_S", 60.0)
    venue, stream = ScriptedKalshi(), KalshiStream()
    venue.create = created("10.00")
    venue.fills = [fill("o1", "f1", "10.00")]
    venue.fills_after = 2

    async def tell() -> None:
        for reads in (1, 2):
            await until(lambda reads=reads: len(venue.gets("/portfolio/fills")) == reads)
            await stream.peer.say(filled(None if reads == 1 else "ap-1-0-0"))

    async def work(gateway: KalshiGateway) -> Any:
        outcome, _ = await asyncio.gather(gateway.place(order()), tell())
        return outcome

    outcome = with_stream(venue, stream, work, patience=SLOW)
    assert outcome.state is OutcomeState.FILLED
    assert [each.fill_id for each in outcome.fills] == ["f1"]
    assert len(venue.gets("/portfolio/fills")) == 3


def test_news_wakes_whoever_waits_for_the_order_and_nobody_else() -> None:
    stream = KalshiStream()

    async def work(gateway: KalshiGateway) -> None:
        await gateway.news(0.01, [order()])  # connecting was news of everything
        waits = asyncio.ensure_future(gateway.news(30, [order("ap-1-0-0")]))
        others = asyncio.ensure_future(gateway.news(30, [order("ap-2-0-0")]))
        anyone = asyncio.ensure_future(gateway.news(30))
        await asyncio.sleep(0)
        await stream.peer.say(changed("ap-1-0-0"))
        await asyncio.wait_for(asyncio.gather(waits, anyone), 5)
        assert not others.done()
        stream.peer.transport.abort()  # after the reconnect anything may have happened
        await asyncio.wait_for(others, 5)

    with_stream(ScriptedKalshi(), stream, work)


def test_without_a_stream_news_is_a_time_out_and_the_gateway_works_as_before() -> None:
    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> Any:
        assert gateway.stream is None
        await asyncio.wait_for(gateway.news(0.01, [order()]), 5)
        return await gateway.place(order())

    assert run(ScriptedKalshi(), work).state is OutcomeState.NONE


def test_a_gateway_that_does_not_open_leaves_no_stream_behind() -> None:
    async def main() -> None:
        venue = ScriptedKalshi()
        async with venue.serving() as base:
            gateway = KalshiGateway(base, signer(), None, ws_url="https://no.socket/ws")
            with pytest.raises(EnvironmentRefused, match=r"kalshi\.ws"):
                await gateway.open()
            assert gateway.stream is None

    work: Coroutine[Any, Any, None] = main()
    asyncio.run(work)
