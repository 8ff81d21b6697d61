"""Polymarket's user channel against a scripted venue."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polymarket_clob import CREDENTIALS, SECRET, Clob, Patience, gateway, hash_of, matched, order, trade
from stream_venue import Peer, StreamVenue, started, until

from arbpipe.errors import EnvironmentRefused
from arbpipe.venues.base import OutcomeState
from arbpipe.venues.frames import FrameError
from arbpipe.venues.polymarket.private import PolymarketPrivate, keys_of

AUTH = {"apiKey": "the-key", "secret": SECRET, "passphrase": "the-passphrase"}


class UserChannel(StreamVenue):
    """Answers PING, and ends a connection whose first message does not hold the credentials; ``deaf``: no PONG."""

    deaf = False
    auth: dict[str, str] = AUTH

    async def hears(self, peer: Peer, text: str) -> None:
        if text == "PING":
            if not self.deaf:
                await peer.say("PONG\n")
        elif json.loads(text) != {"auth": self.auth, "type": "user"}:
            await peer.socket.close()


def traded(taker: str, *makers: str, status: str = "MATCHED", **more: Any) -> dict[str, Any]:
    orders = [{"order_id": each, "matched_amount": "1", "price": "0.5"} for each in makers]
    return {"event_type": "trade", "type": "TRADE", "id": "t1", "taker_order_id": taker, "status": status} | {
        "maker_orders": orders,
        **more,
    }


def stated(order_hash: str, kind: str = "PLACEMENT", **more: Any) -> dict[str, Any]:
    return {"event_type": "order", "type": kind, "id": order_hash, "status": "LIVE", **more}


class Heard:
    """A stream on the venue, and what it told."""

    def __init__(self, url: str, **more: Any) -> None:
        self.news: list[str] = []
        self.stream = PolymarketPrivate(url, CREDENTIALS, None, self.news.append, **more)


def streaming(venue: UserChannel, work: Any, **more: Any) -> Heard:
    async def main() -> Heard:
        async with venue.serving() as url:
            it = Heard(url, **more)
            async with started(it.stream):
                await work(it)
            return it

    return asyncio.run(main())


# --- frames -----------------------------------------------------------------------------------------------------------


def keys(*events: Any, alone: bool = True) -> tuple[str, ...]:
    return keys_of(json.dumps(events[0] if alone else list(events)).encode() + b"\n")


def test_an_order_is_news_of_itself_and_a_trade_of_everybody_in_it() -> None:
    assert keys(stated("0xAB")) == ("0xab",)
    assert keys(traded("0xAB", "0xC", "0xD")) == ("0xab", "0xc", "0xd")
    assert keys(stated("0x1"), traded("0x2", "0x1"), alone=False) == ("0x1", "0x2")
    assert keys(traded("0x2", maker_orders=None)) == ("0x2",)


def test_only_what_changes_a_fill_or_its_finality_is_news() -> None:
    assert [keys(traded("0x1", status=each)) for each in ("MATCHED", "CONFIRMED", "FAILED", "of tomorrow")] == [
        ("0x1",)
    ] * 4
    assert keys(traded("0x1", status="TRADE_STATUS_CONFIRMED")) == ("0x1",)
    assert keys(traded("0x1", status="MINED")) == keys(traded("0x1", status="TRADE_STATUS_RETRYING")) == ()


def test_a_frame_without_event_type_is_read_by_its_type_and_an_unknown_one_is_no_error() -> None:
    for each in (stated("0x1", "UPDATE"), stated("0x1", "CANCELLATION"), traded("0x1")):
        del each["event_type"]
        assert keys(each) == ("0x1",)
    assert keys({"event_type": "of tomorrow", "id": 5} | {"id": "x"}) == ()
    assert keys({}) == ()


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (b"", "json"),
        (b"INVALID OPERATION", "json"),
        (b"\xff\xfe", "json"),
        (b"{", "json"),
        (b"5", "shape"),
        (b'[{"event_type":"order"},5]', "shape"),
        (b'{"event_type":"order"}', "shape"),
        (b'{"event_type":"order","id":5}', "shape"),
        (b'{"event_type":"trade","id":"t"}', "shape"),
        (b'{"event_type":"trade","taker_order_id":"0x1","maker_orders":[{}]}', "shape"),
    ],
)
def test_what_names_no_order_is_malformed(frame: bytes, kind: str) -> None:
    with pytest.raises(FrameError) as caught:
        keys_of(frame)
    assert caught.value.kind == kind


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.text(max_size=5), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_any_bytes_raise_nothing_but_frame_error(data: bytes) -> None:
    with contextlib.suppress(FrameError):
        assert all(each == each.lower() for each in keys_of(data))


# --- the connection ---------------------------------------------------------------------------------------------------


def test_the_credentials_go_first_for_all_markets_and_the_first_pong_makes_everything_news() -> None:
    venue = UserChannel()

    async def work(it: Heard) -> None:
        await until(lambda: it.news)

    it = streaming(venue, work)
    first, second = venue.peer.heard[:2]
    assert json.loads(first) == {"auth": AUTH, "type": "user"}
    assert second == "PING"
    assert it.news == [""]


def test_orders_and_trades_are_told_and_a_malformed_frame_is_counted_and_ignored() -> None:
    venue = UserChannel()

    async def work(it: Heard) -> None:
        await until(lambda: it.stream.is_live)
        await venue.peer.say(stated("0xA"), "INVALID OPERATION", {"event_type": "order"}, [traded("0xA", "0xB")])
        await until(lambda: len(it.news) >= 4)
        assert it.news == ["", "0xa", "0xa", "0xb"]
        assert (it.stream.malformed, it.stream.connections) == (2, 1)

    streaming(venue, work)


def test_after_a_lost_connection_the_credentials_are_sent_again_and_everything_is_news() -> None:
    venue = UserChannel()

    async def work(it: Heard) -> None:
        await until(lambda: it.stream.is_live)
        venue.peer.transport.abort()
        await until(lambda: it.news == ["", ""])
        assert len(venue.peers) == 2
        assert json.loads(venue.peer.heard[0])["auth"] == AUTH

    streaming(venue, work)


def test_wrong_credentials_tell_nothing_and_are_tried_again() -> None:
    venue = UserChannel()
    venue.auth = AUTH | {"passphrase": "another"}

    async def work(it: Heard) -> None:
        await until(lambda: len(venue.peers) >= 2)
        venue.auth = AUTH
        await until(lambda: it.news == [""])
        assert "closed by the venue" in it.stream.trouble
        assert SECRET not in it.stream.trouble

    streaming(venue, work)


def test_pings_go_on_and_a_connection_without_an_answer_is_given_up() -> None:
    venue = UserChannel()

    async def work(it: Heard) -> None:
        await until(lambda: venue.peers and venue.peer.heard.count("PING") >= 3)
        assert it.news == [""]  # later PONGs are no news
        venue.deaf = True
        await until(lambda: len(venue.peers) >= 2)
        assert it.stream.trouble == "no PONG"
        assert not it.stream.is_live

    streaming(venue, work, ping_s=0.05)


@pytest.mark.parametrize("url", ["", "127.0.0.1/ws", "https://host/ws", "wss://host"])
def test_what_is_no_socket_address_is_refused(url: str) -> None:
    with pytest.raises(EnvironmentRefused, match=r"polymarket\.ws_user"):
        Heard(url)


def test_a_stream_can_be_stopped_at_any_moment() -> None:
    async def main() -> None:
        venue = UserChannel()
        async with venue.serving() as url:
            for turns in range(12):
                it = Heard(url)
                it.stream.start()
                for _ in range(turns):
                    await asyncio.sleep(0)
                await asyncio.wait_for(it.stream.stop(), 2)

    asyncio.run(main())


# --- the gateway's own stream -----------------------------------------------------------------------------------------

#: Nothing is read again by itself within these tests: what is read in time is read because of the stream.
SLOW = Patience(post=2.0, trades=60.0, poll=60.0, absent=0.1, settle=60.0, lookup=60.0)


def with_stream(clob: Clob, venue: UserChannel, work: Any, **more: Any) -> Any:
    async def main() -> Any:
        async with venue.serving() as url, gateway(clob, ws_user_url=url, patience=SLOW, **more) as made:
            await until(lambda: made.stream and made.stream.is_live)
            return await asyncio.wait_for(work(made), 10)

    return asyncio.run(main())


def reads(clob: Clob, path: str) -> int:
    return sum(call.startswith(f"GET {path}") for call in clob.calls)


def test_trades_that_are_readable_late_are_read_when_the_stream_tells_of_them() -> None:
    clob, venue = Clob(), UserChannel()
    sent = hash_of(order())
    clob.trades = [trade(sent, 0, "10", "0.52")]
    clob.hidden_reads = 2
    clob.on_post = lambda body: (200, matched(sent, "5.2", "10", "trade-0"))

    async def tell() -> None:
        for count in (1, 2):
            await until(lambda count=count: reads(clob, "/data/trades") == count)
            await asyncio.sleep(0.05)
            await venue.peer.say(traded(sent))

    async def work(made: Any) -> Any:
        outcome, _ = await asyncio.gather(made.place(order()), tell())
        return outcome

    outcome = with_stream(clob, venue, work)
    assert outcome.state is OutcomeState.FILLED
    assert reads(clob, "/data/trades") == 3


def test_a_lookup_that_waits_goes_on_with_the_news() -> None:
    clob, venue = Clob(), UserChannel()
    sent = hash_of(order())
    clob.orders[sent] = {"id": sent, "status": "DELAYED", "size_matched": "0"}

    async def tell() -> None:
        await until(lambda: reads(clob, "/data/order") == 1)
        await asyncio.sleep(0.05)
        clob.orders[sent] = {"id": sent, "status": "MATCHED", "size_matched": "10", "associate_trades": ["trade-0"]}
        clob.trades = [trade(sent, 0, "10", "0.52", "CONFIRMED")]
        await venue.peer.say(stated(sent, "UPDATE"))

    async def work(made: Any) -> Any:
        outcome, _ = await asyncio.gather(made.lookup(order()), tell())
        return outcome

    outcome = with_stream(clob, venue, work)
    assert (outcome.state, outcome.fills[0].final) == (OutcomeState.FILLED, True)
    assert reads(clob, "/data/order") == 2


def test_news_wakes_whoever_waits_for_the_order_and_nobody_else() -> None:
    venue = UserChannel()
    mine, other = order(), order(client_id="ap-2-0-0")

    async def work(made: Any) -> None:
        waits = asyncio.ensure_future(made.news(30, [mine]))
        others = asyncio.ensure_future(made.news(30, [other]))
        unsendable = asyncio.ensure_future(made.news(30, [order(created_ms=0)]))
        await asyncio.sleep(0)
        await venue.peer.say(traded(hash_of(mine).upper().replace("0X", "0x"), status="CONFIRMED"))
        await asyncio.wait_for(waits, 5)
        assert not others.done()
        assert not unsendable.done()
        venue.peer.transport.abort()  # after the reconnect anything may have happened
        await asyncio.wait_for(others, 5)
        unsendable.cancel()

    with_stream(Clob(), venue, work)


def test_a_gateway_that_does_not_open_leaves_no_stream_behind() -> None:
    async def main() -> None:
        with pytest.raises(EnvironmentRefused, match=r"polymarket\.ws_user"):
            async with gateway(Clob(), ws_user_url="https://no.socket/ws"):
                raise AssertionError("it opened")

    asyncio.run(main())
