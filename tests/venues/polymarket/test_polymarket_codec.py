"""Frames become messages in their order or a FrameError."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.venues.frames import FrameError
from arbpipe.venues.polymarket import codec
from arbpipe.venues.polymarket.book import TokenBook
from arbpipe.venues.polymarket.codec import ChangeSide, decode, decode_rest_book

CHANGE: dict[str, Any] = {
    "asset_id": "1",
    "price": "0.911",
    "size": "50000",
    "side": "BUY",
    "hash": "h",
    "best_bid": "0.924",
    "best_ask": "0.925",
}
PRICE_CHANGE: dict[str, Any] = {
    "market": "0xm",
    "price_changes": [CHANGE, {**CHANGE, "asset_id": "2", "price": "0.089", "side": "SELL"}],
    "timestamp": "1784578702354",
    "event_type": "price_change",
}
BOOK: dict[str, Any] = {
    "market": "0xm",
    "asset_id": "1",
    "timestamp": "1784578686071",
    "hash": "h",
    "bids": [{"price": "0.10", "size": "7.8"}],
    "asks": [{"price": "0.92", "size": "1"}, {"price": "0.9", "size": "21006065"}],
    "tick_size": "0.001",
    "event_type": "book",
    "last_trade_price": "0.040",
}


def raw(frame: object) -> bytes:
    return msgspec.json.encode(frame)


def kind_of(read: Callable[[bytes], object], data: bytes) -> str:
    """The kind of the FrameError that ``read`` raises, or "" if it reads the data; anything else fails the test."""
    try:
        read(data)
    except FrameError as error:
        return error.kind
    return ""


def apply_all(data: bytes) -> None:
    """Decode and give every message to the book it is about; every book is valid beforehand."""
    for message in decode(data):
        if isinstance(message, codec.Book):
            TokenBook(message.asset_id).apply_book(message)
        elif isinstance(message, codec.PriceChange):
            for change in message.changes:
                book = TokenBook(change.asset_id)
                book.apply_book(codec.Book("0xm", change.asset_id, "1", "h", (("0.911", "5"),), ()))
                book.apply_change(change)
                book.asks()


def refused(data: bytes) -> FrameError:
    with pytest.raises(FrameError) as caught:
        decode(data)
    return caught.value


def test_texts_are_kept_verbatim() -> None:
    (book,) = decode(raw(BOOK))
    assert book == codec.Book(
        "0xm",
        "1",
        "1784578686071",
        "h",
        (("0.10", "7.8"),),
        (("0.92", "1"), ("0.9", "21006065")),
        "0.001",
        "0.040",
    )
    (change,) = decode(raw(PRICE_CHANGE))
    assert isinstance(change, codec.PriceChange)
    assert [(one.price, one.side) for one in change.changes] == [("0.911", ChangeSide.BUY), ("0.089", ChangeSide.SELL)]


def test_a_frame_is_an_object_or_an_array_and_may_end_in_a_line_feed() -> None:
    both = decode(raw([BOOK, PRICE_CHANGE]) + b"\n")
    assert [type(one) for one in both] == [codec.Book, codec.PriceChange]
    assert decode(memoryview(raw(BOOK) + b"\n")) == decode(bytearray(raw([BOOK])))
    assert decode(b"[]") == ()


def test_pong_is_no_json() -> None:
    assert decode(b"PONG") == decode(b"PONG\n") == (codec.Pong(),)
    assert refused(b"PING").kind == "json"


def test_unknown_types_are_passed_on_also_inside_an_array() -> None:
    new = {"event_type": "a type of tomorrow", "market": 5}
    assert decode(raw(new)) == (codec.UnknownFrame("a type of tomorrow"),)
    mixed = decode(raw([BOOK, new, PRICE_CHANGE]))
    assert [type(one) for one in mixed] == [codec.Book, codec.UnknownFrame, codec.PriceChange]


def test_the_other_events_are_read() -> None:
    events = [
        {"event_type": "last_trade_price", "market": "0xm", "asset_id": "1", "price": "0.925", "size": "2",
         "side": "BUY", "timestamp": "1"},
        {"event_type": "tick_size_change", "market": "0xm", "asset_id": "1", "old_tick_size": "0.01",
         "new_tick_size": "0.001", "timestamp": "1"},
        {"event_type": "best_bid_ask", "market": "0xm", "asset_id": "1", "best_bid": "0", "best_ask": "1",
         "spread": "1", "timestamp": "1"},
        {"event_type": "market_resolved", "market": "0xm", "assets_ids": ["1", "2"], "winning_asset_id": "1",
         "winning_outcome": "Yes", "timestamp": "1"},
    ]  # fmt: skip
    trade, tick, best, resolved = decode(raw(events))
    assert trade == codec.LastTradePrice("0xm", "1", "0.925", "1", "2", ChangeSide.BUY)
    assert tick == codec.TickSizeChange("0xm", "1", "0.01", "0.001", "1")
    assert best == codec.BestBidAsk("0xm", "1", "0", "1", "1", "1")
    assert resolved == codec.MarketResolved("0xm", "1", ("1", "2"), "1", "Yes")


def test_a_malformed_object_names_its_market_and_a_malformed_array_names_none() -> None:
    broken = {**BOOK, "bids": None}
    error = refused(raw(broken))
    assert (error.kind, error.native_id) == ("shape", "0xm")
    assert refused(raw([broken])).native_id == "0xm"
    assert refused(raw([BOOK, broken])).native_id == ""  # the good book of the array is lost too: doubt both


def test_the_price_change_of_2025_is_refused() -> None:
    old = {"event_type": "price_change", "asset_id": "1", "market": "0xm", "changes": [CHANGE], "timestamp": "1"}
    assert refused(raw(old)).kind == "shape"


@pytest.mark.parametrize("data", [b"", b"null", b"1", b'"x"', b"[null]", b"[[]]", b"{}", b"[{}]", b"\xff", b"[1,"])
def test_what_is_no_event_is_refused(data: bytes) -> None:
    assert refused(data).kind in {"json", "shape"}


def test_numbers_in_place_of_texts_are_refused() -> None:
    for key in ("price", "size"):
        assert refused(raw({**PRICE_CHANGE, "price_changes": [{**CHANGE, key: 0.5}]})).kind == "shape"


def test_a_rest_book_without_its_names_is_empty_and_not_an_empty_book() -> None:
    full = decode_rest_book(raw({**BOOK, "min_order_size": "5", "neg_risk": True}))
    assert (full.min_order_size, full.neg_risk, full.version) == ("5", True, None)
    for body in (b"null", b'{"bids":[],"asks":[]}', b'{"error":"No orderbook exists for the requested token id"}'):
        with pytest.raises(FrameError) as caught:
            decode_rest_book(body)
        assert caught.value.kind == "empty"
    for bad in (b"", b"[]", raw({**BOOK, "bids": None}), raw({**BOOK, "hash": None})):
        with pytest.raises(FrameError) as caught:
            decode_rest_book(bad)
        assert caught.value.kind in {"json", "shape"}


def test_the_recorded_v2_session_is_read(recordings: Path) -> None:
    path = recordings / "polymarket" / "protocol_v2_2026-10-05" / "ws-market-v2-session.descriptions-elided.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines() if line]
    received = [one for line in lines if line["dir"] == "recv" for one in decode(line["data"].encode())]
    assert isinstance(received[0], codec.Book)
    assert (received[0].version, received[0].bids, received[0].last_trade_price) == ("v2", (), "")
    assert received[1:-1] == [codec.Pong()] * 4
    assert isinstance(received[-1], codec.NewMarket)
    assert received[-1].outcomes == ("Yes", "No")


def test_f02_a_side_is_buy_or_sell_and_nothing_else() -> None:
    def wrong(change: dict[str, Any], asks: dict[str, str]) -> None:
        if change["side"] == "ASK":  # a name the venue never sends
            asks[change["price"]] = change["size"]

    for side in ("ASK", "BID", "buy", "", "SELL "):
        error = refused(raw({**PRICE_CHANGE, "price_changes": [{**CHANGE, "side": side}]}))
        assert (error.kind, error.native_id) == ("side", "0xm")
    sell = {**CHANGE, "price": "0.93", "size": "7", "side": "SELL"}
    ignored: dict[str, str] = {}
    wrong(sell, ignored)
    book = TokenBook("1")
    for message in decode(raw([BOOK, {**PRICE_CHANGE, "price_changes": [sell]}])):
        if isinstance(message, codec.Book):
            book.apply_book(message)
        elif isinstance(message, codec.PriceChange):
            book.apply_change(message.changes[0])
    assert (9_300, 700) in book.asks()
    assert not ignored  # the mistake dropped it


@pytest.mark.parametrize("frame", [PRICE_CHANGE, BOOK, [BOOK, PRICE_CHANGE]], ids=["change", "book", "array"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_frames_raise_nothing_but_frame_error(frame: object, data: st.DataObject) -> None:
    mutated = bytearray(raw(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(mutated) - 1, 0)))
        width = data.draw(st.integers(0, 6))
        mutated[at : at + width] = data.draw(
            st.sampled_from([b"", b"null", b"[]", b"{}", b"-1", b'"', b"1e999", b"\xff", b"\\ud800", b"9" * 50, b","])
        )
    assert kind_of(apply_all, bytes(mutated)) in {"", "json", "shape", "side", "price", "size", "level"}


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_arbitrary_bytes_raise_nothing_but_frame_error(data: bytes) -> None:
    for read in (decode, decode_rest_book):
        assert kind_of(read, data) in {"", "json", "shape", "empty"}


def test_deep_nesting_is_a_frame_error() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for data in (deep, b'{"event_type":"book","x":' + deep + b"}", b'[{"event_type":"new","x":' + deep + b"}]"):
        assert refused(data).kind in {"json", "shape"}
