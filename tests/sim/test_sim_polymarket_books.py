"""What the public sees of a book: every hash verifies on a book rebuilt from the frames alone."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from test_sim_polymarket_wire import book_hash

from arbpipe.sim.exchange import Book
from arbpipe.sim.listing import Market, PolymarketListing, Venue, make_events
from arbpipe.sim.orders import Order, Tif
from arbpipe.sim.polymarket_books import Frame, MarketView
from arbpipe.sim.timeline import Trade


def market_of(version: str) -> Market:
    for event in make_events(1, 8):
        for market in event.markets:
            if isinstance(market.listing, PolymarketListing) and market.listing.version == version:
                return market
    raise AssertionError(version)


class Follower:
    """A client of one asset: keeps strings as received and checks each hash."""

    def __init__(self, view: MarketView, asset: str) -> None:
        self.asset = asset
        self.verified = 0
        first: dict[str, Any] = view.rest_book(asset)
        self.head = {key: first[key] for key in ("market", "asset_id", "min_order_size", "tick_size", "neg_risk")}
        self.head["version"] = first.get("version", "v1")
        self.last = first["last_trade_price"]
        self._load(first)

    def _load(self, book: dict[str, Any]) -> None:
        self.bids = {level["price"]: level["size"] for level in book["bids"]}
        self.asks = {level["price"]: level["size"] for level in book["asks"]}
        self._verify(book["hash"], book["timestamp"])

    def _verify(self, claimed: str, timestamp: str) -> None:
        bids = sorted(self.bids.items(), key=lambda level: float(level[0]))
        asks = sorted(self.asks.items(), key=lambda level: -float(level[0]))
        assert book_hash({**self.head, "timestamp": timestamp}, bids, asks, self.last) == claimed
        self.verified += 1

    def hear(self, frame: Frame) -> None:
        if self.asset not in frame.assets:
            return
        message = json.loads(frame.text)
        kind = message["event_type"]
        if kind == "last_trade_price":
            self.last = message["price"]
        elif kind == "book":
            self._load(message)
        elif kind == "tick_size_change":
            assert message["old_tick_size"] == self.head["tick_size"]
            self.head["tick_size"] = message["new_tick_size"]
        elif kind == "price_change":
            for change in message["price_changes"]:
                if change["asset_id"] == self.asset:
                    side = self.bids if change["side"] == "BUY" else self.asks
                    if change["size"] == "0":
                        del side[change["price"]]
                    else:
                        side[change["price"]] = change["size"]
                    self._verify(change["hash"], message["timestamp"])
                    assert change["best_bid"] == max(self.bids, key=float, default="0")
                    assert change["best_ask"] == min(self.asks, key=float, default="1")


def view_of(version: str) -> tuple[Book, MarketView]:
    book = Book("m")
    for price in (4_000, 4_500):
        book.set_quote(True, price, 100_000_000)
    for price in (5_000, 5_200):
        book.set_quote(False, price, 20_000_000)
    clock = iter(range(1_000, 1_000_000))
    return book, MarketView(market_of(version), book, lambda: next(clock))


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_client_of_either_token_can_verify_every_change(version: str, side: int) -> None:
    book, view = view_of(version)
    follower = Follower(view, view.assets[side])
    rng = random.Random(f"{version}{side}")
    for number in range(300):
        dice = rng.randrange(4)
        if dice == 0:
            order = Order(
                str(number), "a", rng.random() < 0.5, rng.randrange(3_900, 5_300), rng.randrange(1, 30_000_000)
            )
            book.execute(order)
        elif dice == 1:
            price = rng.randrange(40, 53) * 100
            book.execute(
                Order(str(number), str(number), rng.random() < 0.5, price, rng.randrange(1, 9_000_000), Tif.GTC)
            )
        elif dice == 2:
            bid = book.best(True) or 100
            price = rng.randrange(bid // 100 + 1, 60) * 100
            if price > (max(book.quotes(True), default=0)):
                book.set_quote(False, price, rng.randrange(0, 40_000_000))
        else:
            price = rng.randrange(35, 50) * 100
            if price < min(book.quotes(False), default=10_000):
                book.set_quote(True, price, rng.randrange(0, 40_000_000))
        for frame in view.flush():
            follower.hear(frame)
        rest: dict[str, Any] = view.rest_book(follower.asset)
        assert {level["price"]: level["size"] for level in rest["bids"]} == follower.bids
        assert {level["price"]: level["size"] for level in rest["asks"]} == follower.asks
    assert follower.verified > 200


def test_sizes_are_cut_to_hundredths_and_dust_is_not_shown() -> None:
    book, view = view_of("v1")
    book.execute(Order("1", "a", True, 5_000, 11_111_111))
    view.flush()
    asks = view.rest_book(view.assets[0])["asks"]
    assert asks == [{"price": "0.52", "size": "20"}, {"price": "0.5", "size": "8.88"}]
    book.execute(Order("2", "a", True, 5_000, 8_880_000))
    frames = [json.loads(frame.text) for frame in view.flush()]
    assert frames[0]["price_changes"][0] | {"hash": ""} == {
        "asset_id": view.assets[0],
        "price": "0.5",
        "size": "0",
        "side": "SELL",
        "hash": "",
        "best_bid": "0.45",
        "best_ask": "0.52",
    }


def test_a_trade_is_a_change_then_a_price_then_both_books() -> None:
    book, view = view_of("v1")
    book.execute(Order("1", "a", False, 4_500, 10_000_000))
    frames = [json.loads(frame.text) for frame in view.flush() if not frame.custom]
    assert [frame["event_type"] for frame in frames] == ["price_change", "last_trade_price", "book", "book"]
    assert (frames[1]["price"], frames[1]["size"], frames[1]["side"]) == ("0.45", "10", "SELL")
    assert frames[1]["transaction_hash"].startswith("0x")
    assert {frame["asset_id"] for frame in frames[2:]} == set(view.assets)
    assert view.last_trade_price == "0.45"


def test_a_trade_between_others_is_printed_once() -> None:
    book, view = view_of("v1")
    book.set_quote(False, 5_000, 15_000_000)
    view.print_trade(Trade(5_000, 500, True))
    kinds = [json.loads(frame.text)["event_type"] for frame in view.flush() if not frame.custom]
    assert kinds == ["price_change", "last_trade_price", "book", "book"]
    assert view.flush() == []


def test_the_touch_is_told_on_demand_only_and_mirrored_for_the_other_token() -> None:
    book, view = view_of("v1")
    book.set_quote(True, 4_600, 1_000_000)
    custom = [json.loads(frame.text) for frame in view.flush() if frame.custom]
    touches = {frame["asset_id"]: (frame["best_bid"], frame["best_ask"], frame["spread"]) for frame in custom}
    assert touches == {view.assets[0]: ("0.46", "0.5", "0.04"), view.assets[1]: ("0.5", "0.54", "0.04")}


def test_hashes_verify_across_a_tick_change() -> None:
    book, view = view_of("v1")
    follower = Follower(view, view.assets[1])
    new_e4 = 10 if view.tick_e4 == 100 else 100
    for frame in view.set_tick(new_e4):
        follower.hear(frame)
    assert view.tick_e4 == new_e4
    book.set_quote(True, 4_400, 1_000_000)
    for frame in view.flush():
        follower.hear(frame)
    assert follower.verified == 2


def test_a_side_may_run_empty() -> None:
    book, view = view_of("v1")
    book.execute(Order("1", "a", True, 5_200, 40_000_000))
    last = [json.loads(frame.text) for frame in view.flush() if "price_changes" in frame.text][-1]
    assert last["price_changes"][0]["best_ask"] == "1"
    assert last["price_changes"][1]["best_bid"] == "0"
    assert view.rest_book(view.assets[0])["asks"] == []


def test_a_market_of_another_venue_is_refused() -> None:
    kalshi = next(m for e in make_events(1, 1) for m in e.markets if m.venue is Venue.KALSHI)
    with pytest.raises(TypeError, match="not listed on Polymarket"):
        MarketView(kalshi, Book("m"), lambda: 0)
