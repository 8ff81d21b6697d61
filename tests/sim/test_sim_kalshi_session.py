"""A WebSocket session without a socket: numbering, errors, merging, and frames that the venue's AsyncAPI accepts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kalshi_support import check_frame

from arbpipe.sim.kalshi_account import Account
from arbpipe.sim.kalshi_catalog import Catalog
from arbpipe.sim.kalshi_orders import parse_order
from arbpipe.sim.kalshi_session import Session
from arbpipe.sim.kalshi_store import Store
from arbpipe.sim.kalshi_ws import Hub
from arbpipe.sim.listing import Venue
from arbpipe.sim.market import World

NOW_US = 1_793_534_400_000_000
USER = "947ace78-c1b9-5824-9f38-8cbfdd878c8f"


class Desk:
    """A venue without a server, and the frames that one session got."""

    def __init__(self, folder: Path) -> None:
        self.world = World(seed=1, events=4, seconds=5, venue=Venue.KALSHI)
        self.catalog = Catalog(self.world.events, self.world.books, NOW_US * 1_000)
        self.store = Store(folder / "account.sqlite", 10**9)
        self.hub = Hub(self.catalog, 1_000, self._client_id_of)
        self.account = Account(self.store, self.catalog, self.hub, lambda: NOW_US)
        self.tickers = list(self.catalog.markets)
        self.raw: list[str] = []
        self.session = Session(self.catalog, USER, self.raw.append, lambda: NOW_US, self.hub.clock_of)
        self.hub.sessions.add(self.session)

    def _client_id_of(self, order_id: str) -> str:
        order = self.store.order(order_id)
        return order.client_order_id if order else ""

    def send(self, command: Any) -> list[Any]:
        """The frames that answer a command."""
        before = len(self.raw)
        self.session.receive(command if isinstance(command, str) else json.dumps(command))
        return [json.loads(frame) for frame in self.raw[before:]]

    def frames(self) -> list[Any]:
        return [json.loads(frame) for frame in self.raw]

    def subscribe(self, *tickers: str, channels: tuple[str, ...] = ("orderbook_delta",), **more: Any) -> list[Any]:
        params: dict[str, Any] = {"channels": list(channels), **more}
        if tickers:
            params["market_tickers"] = list(tickers)
        return self.send({"id": 1, "cmd": "subscribe", "params": params})

    def update(self, action: str, *tickers: str, command: int = 2, sid: int = 1) -> list[Any]:
        params = {"sid": sid, "action": action, "market_tickers": list(tickers)}
        return self.send({"id": command, "cmd": "update_subscription", "params": params})

    def order(self, ticker: str, side: str, price: str, count: str, tif: str = "immediate_or_cancel") -> None:
        body = {
            "ticker": ticker,
            "side": side,
            "price": price,
            "count": count,
            "time_in_force": tif,
            "self_trade_prevention_type": "taker_at_cross",
            "client_order_id": f"c{len(self.raw)}",
        }
        self.account.create(parse_order(body, NOW_US // 10**6))


@pytest.fixture
def desk(tmp_path: Path) -> Any:
    made = Desk(tmp_path)
    yield made
    made.store.close()


def test_every_frame_is_what_the_venues_asyncapi_says(desk: Desk, recordings: Path) -> None:
    everything = (
        "orderbook_delta",
        "ticker",
        "trade",
        "fill",
        "user_orders",
        "market_positions",
        "market_lifecycle_v2",
    )
    desk.subscribe(*desk.tickers[:2], channels=everything, send_initial_snapshot=True)
    desk.update("add_markets", desk.tickers[2], command=3)
    desk.update("get_snapshot", desk.tickers[0], command=4)
    desk.send({"id": 5, "cmd": "list_subscriptions"})
    desk.order(desk.tickers[0], "bid", "0.9900", "2.00")
    desk.order(desk.tickers[0], "bid", "0.0100", "2.00", "good_till_canceled")
    desk.send({"id": 6, "cmd": "nonsense", "params": {}})
    desk.send({"id": 7, "cmd": "unsubscribe", "params": {"sids": [1, 4]}})
    frames = desk.frames()
    for frame in frames:
        check_frame(recordings, frame)
        assert frame["sending_ts_ms"] == NOW_US // 1_000
    seen = {frame["type"] for frame in frames}
    assert seen == {
        "subscribed",
        "ok",
        "orderbook_snapshot",
        "orderbook_delta",
        "ticker",
        "trade",
        "fill",
        "user_order",
        "market_position",
        "error",
        "unsubscribed",
    }


def test_seq_is_dense_per_sid_over_all_markets_and_counts_control_frames(desk: Desk) -> None:
    desk.subscribe(*desk.tickers[:2], channels=("orderbook_delta", "trade"))
    for step in desk.world.steps(0)[:40]:
        desk.world.apply(step)
    desk.update("add_markets", desk.tickers[2])
    desk.update("nonsense", desk.tickers[2])
    desk.update("delete_markets", desk.tickers[0])
    desk.update("get_snapshot", desk.tickers[1], command=9)
    desk.order(desk.tickers[1], "bid", "0.9900", "1.00")
    desk.send({"id": 10, "cmd": "unsubscribe", "params": {"sids": [1]}})
    for sid, least in ((1, 20), (2, 1)):
        numbers = [frame["seq"] for frame in desk.frames() if frame.get("sid") == sid]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= least
    kinds = {frame["type"] for frame in desk.frames() if frame.get("sid") == 1}
    assert kinds == {"orderbook_snapshot", "orderbook_delta", "ok", "error", "unsubscribed"}


def test_private_frames_and_subscribed_carry_no_seq(desk: Desk) -> None:
    answers = desk.subscribe(channels=("fill", "user_orders", "market_positions", "ticker"))
    assert [frame["type"] for frame in answers] == ["subscribed"] * 4
    desk.order(desk.tickers[0], "bid", "0.9900", "1.00")
    frames = desk.frames()
    assert {frame["type"] for frame in frames} == {"subscribed", "fill", "user_order", "market_position", "ticker"}
    assert not [frame for frame in frames if "seq" in frame]


def book_of(frames: list[Any], ticker: str) -> dict[str, dict[str, int]]:
    """A client's book of one market, in 1/100 contract by the price as text."""
    book: dict[str, dict[str, int]] = {"yes": {}, "no": {}}
    for frame in frames:
        msg = frame.get("msg")
        if not isinstance(msg, dict) or msg.get("market_ticker") != ticker:
            continue
        if frame["type"] == "orderbook_snapshot":
            book = {
                side: {price: round(float(size) * 100) for price, size in msg.get(f"{side}_dollars_fp", [])}
                for side in book
            }
        elif frame["type"] == "orderbook_delta":
            side = book[msg["side"]]
            size = side.get(msg["price_dollars"], 0) + round(float(msg["delta_fp"]) * 100)
            assert size >= 0
            side[msg["price_dollars"]] = size
            if size == 0:
                del side[msg["price_dollars"]]
    return book


@pytest.mark.parametrize("use_yes_price", [False, True])
def test_a_book_kept_from_deltas_is_the_book_of_rest_in_both_pricing_modes(desk: Desk, use_yes_price: bool) -> None:
    desk.subscribe(*desk.tickers, use_yes_price=use_yes_price)
    for step in desk.world.steps(0):
        desk.world.apply(step)
    for number, ticker in enumerate(desk.tickers):
        desk.order(ticker, "bid" if number % 2 else "ask", "0.9900" if number % 2 else "0.0100", "7.00")
    frames = desk.frames()
    for ticker in desk.tickers:
        rest = desk.catalog.orderbook(ticker)
        kept = book_of(frames, ticker)
        for side in ("yes", "no"):
            shown: dict[str, int] = {price: round(float(size) * 100) for price, size in rest[f"{side}_dollars"]}  # type: ignore[attr-defined]
            if side == "no" and use_yes_price:
                shown = {f"{1 - float(price):.4f}": size for price, size in shown.items()}
            assert kept[side] == shown, ticker


def test_a_snapshots_clock_is_that_of_the_last_delta_and_zero_before_any(desk: Desk) -> None:
    ticker = desk.tickers[0]
    assert desk.subscribe(ticker)[1]["msg"]["clock"] == 0
    desk.order(ticker, "bid", "0.9900", "900.00")
    deltas = [frame["msg"] for frame in desk.frames() if frame["type"] == "orderbook_delta"]
    assert len(deltas) > 1
    assert len({delta["clock"] for delta in deltas}) == 1, "the changes of one action share a clock"
    assert {delta["client_order_id"] for delta in deltas} == {"c2"}
    (snapshot,) = desk.update("get_snapshot", ticker, command=7)
    assert (snapshot["id"], snapshot["msg"]["clock"]) == (7, deltas[0]["clock"])


def test_an_empty_side_has_no_key_in_a_snapshot(desk: Desk) -> None:
    ticker = desk.tickers[0]
    book = desk.catalog.book(ticker)
    for price in book.quotes(True):
        book.set_quote(True, price, 0)
    snapshot = desk.subscribe(ticker)[1]["msg"]
    assert "yes_dollars_fp" not in snapshot
    assert snapshot["no_dollars_fp"]


def test_subscribing_again_merges_into_the_sid_and_answers_ok(desk: Desk) -> None:
    desk.subscribe(desk.tickers[0])
    answers = desk.subscribe(desk.tickers[0], desk.tickers[1])
    assert [(frame["type"], frame["seq"]) for frame in answers] == [("ok", 2), ("orderbook_snapshot", 3)]
    assert answers[0]["msg"]["market_tickers"] == sorted(desk.tickers[:2])
    listed = desk.send({"id": 3, "cmd": "list_subscriptions"})
    assert listed[0]["msg"] == [{"channel": "orderbook_delta", "sid": 1}]


def test_skip_ticker_ack_leaves_the_list_out(desk: Desk) -> None:
    desk.subscribe(desk.tickers[0], skip_ticker_ack=True)
    assert desk.update("add_markets", desk.tickers[1])[0]["msg"] == {}


def test_a_deleted_market_sends_nothing_more(desk: Desk) -> None:
    desk.subscribe(*desk.tickers[:2])
    desk.update("delete_markets", desk.tickers[0])
    before = len(desk.raw)
    desk.order(desk.tickers[0], "bid", "0.9900", "1.00")
    assert len(desk.raw) == before


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("no json", 1),
        ("[]", 1),
        ({"id": 2, "cmd": "subscribe"}, 2),
        ({"id": 2, "cmd": "subscribe", "params": {}}, 3),
        ({"id": 2, "cmd": "unsubscribe", "params": {}}, 4),
        ({"id": 2, "cmd": "dance", "params": {}}, 5),
        ({"id": 2, "cmd": "unsubscribe", "params": {"sids": [9]}}, 7),
        ({"id": 2, "cmd": "subscribe", "params": {"channels": ["weather"]}}, 8),
        ({"id": 2, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"], "market_tickers": ["NONE"]}}, 11),
        ({"id": 2, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"]}}, 14),
        ({"id": 2, "cmd": "update_subscription", "params": {"sids": [1, 1], "action": "add_markets"}}, 12),
        ({"id": 2, "cmd": "update_subscription", "params": {"sid": 1, "action": "dance"}}, 13),
        ({"id": 2, "cmd": "update_subscription", "params": {"sid": 1, "action": "add_markets"}}, 14),
        ({"id": 2, "cmd": "update_subscription", "params": {"sid": 1}}, 15),
    ],
)
def test_a_bad_command_gets_the_venues_error_code(desk: Desk, recordings: Path, command: Any, code: int) -> None:
    desk.subscribe(desk.tickers[0])
    (frame,) = desk.send(command)
    assert (frame["type"], frame["msg"]["code"]) == ("error", code)
    assert frame.get("id") == (2 if isinstance(command, dict) else None)
    check_frame(recordings, frame)


def test_a_reader_that_is_too_slow_loses_its_subscriptions_with_error_25(desk: Desk) -> None:
    desk.subscribe(desk.tickers[0])
    desk.session.overflow()
    assert desk.frames()[-1]["msg"]["code"] == 25
    before = len(desk.raw)
    desk.order(desk.tickers[0], "bid", "0.9900", "1.00")
    assert len(desk.raw) == before
