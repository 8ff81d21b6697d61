"""Frames become exactly one message or a FrameError."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.fixedpoint import MAX_SIZE_E2
from arbpipe.identity import Side
from arbpipe.venues.frames import FrameError
from arbpipe.venues.kalshi import codec
from arbpipe.venues.kalshi.book import KalshiBook
from arbpipe.venues.kalshi.codec import decode, decode_rest_book

DELTA: dict[str, Any] = {
    "type": "orderbook_delta",
    "sid": 2,
    "seq": 3,
    "sending_ts_ms": 1669149841123,
    "msg": {
        "market_ticker": "FED-T3",
        "market_id": "9b0f",
        "clock": 4182061,
        "price_dollars": "0.9600",
        "delta_fp": "-54.00",
        "side": "yes",
        "ts": "2022-11-22T20:44:01Z",
        "ts_ms": 1669149841000,
    },
}
SNAPSHOT: dict[str, Any] = {
    "type": "orderbook_snapshot",
    "sid": 2,
    "seq": 2,
    "msg": {
        "market_ticker": "FED-T3",
        "clock": 4182057,
        "yes_dollars_fp": [["0.0800", "300.00"], ["0.2200", "333.00"]],
        "no_dollars_fp": [["0.5400", "20.00"]],
    },
}
FILL: dict[str, Any] = {
    "type": "fill",
    "sid": 2,
    "msg": {
        "trade_id": "t",
        "order_id": "o",
        "market_ticker": "M",
        "is_taker": True,
        "side": "no",
        "yes_price_dollars": "0.1600",
        "count_fp": "1.16",
        "fee_cost": "0.011000",
        "outcome_side": "no",
        "book_side": "ask",
        "post_position_fp": "-4.36",
        "ts_ms": 5,
        "subaccount": 0,
    },
}
USER_ORDER: dict[str, Any] = {
    "type": "user_order",
    "sid": 3,
    "msg": {
        "order_id": "o",
        "user_id": "u",
        "ticker": "M",
        "status": "a status of tomorrow",
        "outcome_side": "yes",
        "book_side": "bid",
        "yes_price_dollars": "0.5600",
        "fill_count_fp": "1.00",
        "remaining_count_fp": "2.00",
        "initial_count_fp": "3.00",
        "taker_fill_cost_dollars": "0.560000",
        "maker_fill_cost_dollars": "0.000000",
        "taker_fees_dollars": "0.017300",
        "maker_fees_dollars": "0.000000",
        "client_order_id": "c",
        "last_update_reason": "Trade",
    },
}
TICKER: dict[str, Any] = {
    "type": "ticker",
    "sid": 4,
    "msg": {
        "market_ticker": "M",
        "price_dollars": "0.4800",
        "yes_bid_dollars": "0.0000",
        "yes_ask_dollars": "1.0000",
        "yes_bid_size_fp": "0.00",
        "yes_ask_size_fp": "0.00",
        "ts_ms": 7,
    },
}
LIFECYCLE: dict[str, Any] = {
    "type": "market_lifecycle_v2",
    "sid": 5,
    "seq": 9,
    "msg": {
        "event_type": "created",
        "market_ticker": "M",
        "open_ts": 1,
        "close_ts": 2,
        "price_ranges": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
        "additional_metadata": {"strike_type": "greater", "floor_strike": 85.5, "yes_sub_title": "86 or above"},
    },
}
REST = {"orderbook_fp": {"yes_dollars": [["0.4700", "3.00"], ["0.0100", "9.00"]], "no_dollars": [["0.4800", "3.00"]]}}


def raw(frame: object) -> bytes:
    return msgspec.json.encode(frame)


def changed(frame: dict[str, Any], **fields: object) -> bytes:
    """The frame with ``msg`` fields replaced; None removes one."""
    msg = {**frame["msg"], **fields}
    return raw({**frame, "msg": {key: value for key, value in msg.items() if value is not None}})


def kind_of(read: Callable[[bytes], object], data: bytes) -> str:
    """The kind of the FrameError that ``read`` raises, or "" if it reads the data; anything else fails the test."""
    try:
        read(data)
    except FrameError as error:
        return error.kind
    return ""


def refused(data: bytes) -> FrameError:
    with pytest.raises(FrameError) as caught:
        decode(data)
    return caught.value


def test_a_delta_is_read_in_integers() -> None:
    assert decode(raw(DELTA)) == codec.Delta(
        2, 3, "FED-T3", 9600, -5400, Side.YES, 1669149841000, 4182061, 1669149841123
    )


def test_fields_younger_than_the_recordings_are_optional() -> None:
    old = {key: value for key, value in DELTA.items() if key != "sending_ts_ms"}
    message = decode(changed(old, clock=None, ts_ms=None))
    assert isinstance(message, codec.Delta)
    assert (message.clock, message.sending_ts_ms, message.ts_ms) == (None, None, None)


def test_the_buffers_of_a_socket_are_accepted() -> None:
    data = raw(DELTA)
    assert decode(bytearray(data)) == decode(memoryview(data)) == decode(data)


def test_a_snapshot_keeps_prices_as_sent_and_absent_sides_are_empty() -> None:
    message = decode(raw(SNAPSHOT))
    assert message == codec.Snapshot(2, 2, "FED-T3", ((800, 30000), (2200, 33300)), ((5400, 2000),), 4182057)
    empty = decode(changed(SNAPSHOT, yes_dollars_fp=None, no_dollars_fp=None))
    assert isinstance(empty, codec.Snapshot)
    assert (empty.yes, empty.no) == ((), ())


def test_a_snapshot_whose_side_was_renamed_is_not_read_as_empty() -> None:
    for name in ("yes", "yes_dollars", "bids"):
        error = refused(changed(SNAPSHOT, yes_dollars_fp=None, **{name: [["0.0800", "300.00"]]}))
        assert (error.kind, error.native_id) == ("shape", "FED-T3")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"side": "bid"}, "side"),
        ({"side": None}, "side"),
        ({"price_dollars": None}, "shape"),
        ({"delta_fp": None}, "shape"),
        ({"price_dollars": 0.96}, "shape"),
        ({"price_dollars": "0.96001"}, "price"),
        ({"price_dollars": "1.0100"}, "price"),
        ({"price_dollars": "1.0000"}, "price"),
        ({"price_dollars": "0.0000"}, "price"),
        ({"price_dollars": "1e-2"}, "price"),
        ({"delta_fp": "-54.001"}, "size"),
        ({"delta_fp": "+54.00"}, "size"),
        ({"delta_fp": "NaN"}, "size"),
        ({"ts_ms": "5"}, "shape"),
    ],
)
def test_a_delta_with_a_wrong_or_missing_field_is_refused_and_names_its_market(
    fields: dict[str, Any], kind: str
) -> None:
    error = refused(changed(DELTA, **fields))
    assert (error.kind, error.native_id) == (kind, "FED-T3")
    assert "FED-T3" in error.detail


def test_a_book_frame_without_its_numbers_is_refused() -> None:
    for key in ("sid", "seq"):
        assert refused(raw({**DELTA, key: 0})).kind == "shape"
        assert refused(raw({name: value for name, value in SNAPSHOT.items() if name != key})).kind == "shape"


def test_a_frame_that_names_no_market_puts_no_single_market_in_doubt() -> None:
    assert refused(raw({**DELTA, "msg": []})).native_id == ""
    assert refused(b'{"type":"orderbook_del').kind == "json"
    assert refused(b"").kind == "json"
    assert refused(b"\xff\xfe").kind == "json"
    assert refused(b'{"sid":1,"seq":4}').kind == "shape"
    assert refused(b"[]").kind == "shape"


def test_an_unknown_type_still_counts() -> None:
    assert decode(b'{"type":"pyth_value","sid":3,"seq":8,"msg":{"x":[1]}}') == codec.UnknownFrame("pyth_value", 3, 8)


def test_control_frames_are_read() -> None:
    assert decode(raw({"type": "subscribed", "id": 1, "msg": {"channel": "fill", "sid": 2}})) == codec.Subscribed(
        2, 0, 1, "fill"
    )
    assert decode(raw({"type": "ok", "id": 2, "sid": 1, "seq": 7, "msg": {"market_tickers": ["A"]}})) == codec.Ok(
        1, 7, 2, ("A",)
    )
    assert decode(raw({"type": "ok", "id": 2, "sid": 1, "seq": 7})) == codec.Ok(1, 7, 2)
    listed = {"type": "ok", "id": 6, "msg": [{"channel": "orderbook_delta", "sid": 1}]}
    assert decode(raw(listed)) == codec.Ok(0, 0, 6, (), (("orderbook_delta", 1),))
    assert decode(raw({"type": "unsubscribed", "id": 5, "sid": 1, "seq": 90})) == codec.Unsubscribed(1, 90, 5)
    error = decode(raw({"type": "error", "id": 3, "sid": 1, "seq": 91, "msg": {"code": 25, "msg": "overflow"}}))
    assert error == codec.ErrorFrame(1, 91, 3, 25, "overflow")
    assert isinstance(error, codec.ErrorFrame)
    assert error.terminal


def test_private_frames_are_read_in_integers() -> None:
    fill = decode(raw(FILL))
    assert isinstance(fill, codec.Fill)
    assert (fill.yes_price_e4, fill.qty_e6, fill.fee_e6, fill.post_position_e6) == (1600, 1_160_000, 11_000, -4_360_000)
    assert (fill.outcome_side, fill.book_side, fill.seq) == (Side.NO, codec.BookSide.ASK, 0)
    order = decode(raw(USER_ORDER))
    assert isinstance(order, codec.UserOrder)
    assert (order.status, order.fill_qty_e6, order.taker_fees_e6) == ("a status of tomorrow", 1_000_000, 17_300)
    position = {
        "type": "market_position",
        "sid": 6,
        "msg": {
            "market_ticker": "M",
            "position_fp": "-2.50",
            "position_cost_dollars": "1.100000",
            "realized_pnl_dollars": "-0.05",
            "fees_paid_dollars": "0.0112",
        },
    }
    assert decode(raw(position)) == codec.MarketPosition(6, 0, "M", -2_500_000, 1_100_000, -50_000, 11_200, 0)


def test_a_private_frame_that_is_malformed_names_its_market() -> None:
    assert refused(changed(USER_ORDER, outcome_side="maybe")).native_id == "M"
    assert refused(changed(USER_ORDER, fill_count_fp="x")).kind == "size"
    assert refused(changed(FILL, fee_cost="0.0110001")).kind == "money"


def test_public_frames_are_read() -> None:
    ticker = decode(raw(TICKER))
    assert isinstance(ticker, codec.Ticker)
    assert (ticker.yes_bid_e4, ticker.yes_ask_e4, ticker.yes_ask_size_e2) == (0, 10_000, 0)
    trade = {
        "trade_id": "t",
        "market_ticker": "M",
        "yes_price_dollars": "0.36",
        "no_price_dollars": "0.64",
        "count_fp": "136.00",
        "taker_outcome_side": "no",
        "is_block_trade": False,
        "ts_ms": 4,
    }
    assert decode(raw({"type": "trade", "sid": 1, "seq": 2, "msg": trade})) == codec.Trade(
        1, 2, "t", "M", 3600, 6400, 136_000_000, Side.NO, False, 4
    )
    group = {"event_type": "triggered", "order_group_id": "g", "contracts_limit_fp": "10.00", "ts_ms": 3}
    assert decode(raw({"type": "order_group_updates", "sid": 1, "seq": 2, "msg": group})) == codec.OrderGroupUpdate(
        1, 2, "triggered", "g", 10_000_000, 3
    )


def test_lifecycle_frames_carry_exact_strikes_and_grids() -> None:
    created = decode(raw(LIFECYCLE))
    assert isinstance(created, codec.MarketLifecycle)
    assert created.price_ranges == (codec.PriceRange(0, 10_000, 100),)
    assert (created.strike_type, created.floor_strike) == ("greater", Decimal("85.5"))
    assert not created.multivariate
    strike = {"event_type": "metadata_updated", "market_ticker": "M", "floor_strike": 0.1, "yes_sub_title": "x"}
    updated = decode(raw({**LIFECYCLE, "type": "multivariate_market_lifecycle", "msg": strike}))
    assert isinstance(updated, codec.MarketLifecycle)
    assert (updated.floor_strike, updated.multivariate) == (Decimal("0.1"), True)
    event = {"event_ticker": "E", "series_ticker": "S", "title": "t", "collateral_return_type": "MECNET"}
    assert decode(raw({"type": "event_lifecycle", "sid": 1, "seq": 2, "msg": event})) == codec.EventLifecycle(
        1, 2, "E", "S", "t", "MECNET", None
    )


def test_an_absent_fee_override_is_not_a_cleared_one() -> None:
    def update(**msg: object) -> bytes:
        return raw({"type": "event_fee_update", "sid": 1, "seq": 2, "msg": {"event_ticker": "E", **msg}})

    read = decode(update(fee_type_override=None, fee_multiplier_override=0.5))
    assert read == codec.EventFeeUpdate(1, 2, "E", None, "0.5")
    assert refused(update(fee_type_override=None)).kind == "shape"


def test_a_rest_book_may_have_any_order_and_null_sides() -> None:
    book = decode_rest_book(raw(REST))
    assert book == codec.RestBook(((4700, 300), (100, 900)), ((4800, 300),))
    assert decode_rest_book(b'{"orderbook_fp":{"yes_dollars":null}}') == codec.RestBook((), ())
    for body in (b"null", b'{"orderbook_fp":null}', b"{}", b"[]", b'{"orderbook_fp":{"yes":[["0.1","1"]]}}', b"x"):
        with pytest.raises(FrameError):
            decode_rest_book(body)


def test_f01_a_delta_parsed_like_a_snapshot_freezes_the_book() -> None:
    def wrong(frame: bytes, book: dict[str, str]) -> None:
        msg = msgspec.json.decode(frame)["msg"]
        for price, size in msg.get("yes_dollars_fp", []):  # a delta has no such key: nothing happens
            book[price] = size

    frames = [raw(SNAPSHOT), changed(DELTA, price_dollars="0.2200", delta_fp="-33.00", clock=4182061)]
    frozen: dict[str, str] = {}
    right = KalshiBook("FED-T3", use_yes_price=False)
    for frame in frames:
        wrong(frame, frozen)
        message = decode(frame)
        if isinstance(message, codec.Snapshot):
            right.apply_snapshot(message)
        elif isinstance(message, codec.Delta):
            right.apply_delta(message)
    assert right.best_bid(Side.YES) == (2200, 30000)
    assert frozen["0.2200"] == "333.00"  # the mistake still shows the size of the snapshot


def test_f07_sub_cent_prices_survive() -> None:
    def wrong(price_dollars: str) -> int:
        return round(float(price_dollars) * 100) * 100

    message = decode(changed(DELTA, price_dollars="0.5040"))
    assert isinstance(message, codec.Delta)
    assert message.price_e4 == 5040
    assert wrong("0.5040") == 5000


def test_f12_large_sizes_are_contracts_and_neither_capped_in_16_bits_nor_dollars() -> None:
    def wrong(size_fp: str) -> int:
        return min(int(float(size_fp) * 100), 65_535)

    sizes = ["1406474.86", "99999999999.00"]
    message = decode(changed(SNAPSHOT, yes_dollars_fp=[["0.0800", sizes[0]], ["0.0900", sizes[1]]]))
    assert isinstance(message, codec.Snapshot)
    assert message.yes == ((800, 140_647_486), (900, 9_999_999_999_900))
    book = KalshiBook("FED-T3", use_yes_price=False)
    book.apply_snapshot(message)
    assert book.asks(Side.NO) == [(9100, MAX_SIZE_E2), (9200, 140_647_486)]  # saturated at the row's limit, exact below
    assert wrong(sizes[0]) == 65_535


@pytest.mark.parametrize("frame", [DELTA, SNAPSHOT, FILL, USER_ORDER, TICKER, LIFECYCLE], ids=lambda f: f["type"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_frames_raise_nothing_but_frame_error(frame: dict[str, Any], data: st.DataObject) -> None:
    mutated = bytearray(raw(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        width = data.draw(st.integers(0, 6))
        mutated[at : at + width] = data.draw(
            st.sampled_from([b"", b"null", b"[]", b"{}", b"-1", b'"', b"1e999", b"\xff", b"\\ud800", b"9" * 30, b","])
        )
        if not mutated:
            break
    assert kind_of(decode, bytes(mutated)) in {"", "json", "shape", "price", "size", "money", "side"}


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_arbitrary_bytes_raise_nothing_but_frame_error(data: bytes) -> None:
    for read in (decode, decode_rest_book):
        with pytest.raises(FrameError):
            read(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["0.5000", "1.00", "yes", "M"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(
        ["orderbook_delta", "orderbook_snapshot", "ok", "error", "fill", "user_order", "trade", "new"]
    ),
    sid=st.integers(-1, 3) | st.none(),
    msg=st.dictionaries(
        st.sampled_from(
            ["market_ticker", "price_dollars", "delta_fp", "side", "yes_dollars_fp", "no_dollars_fp", "code"]
        ),
        json_values,
    )
    | json_values,
)
def test_any_json_value_anywhere_raises_nothing_but_frame_error(kind: str, sid: int | None, msg: object) -> None:
    frame = raw({"type": kind, "sid": sid, "seq": 1, "msg": msg})
    assert kind_of(decode, frame) in {"", "json", "shape", "price", "size", "money", "side"}


def test_deep_nesting_is_a_frame_error() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    for data in (deep, b'{"type":"ok","msg":' + deep + b"}", b'{"type":"ok","x":' + deep + b"}"):
        assert refused(data).kind in {"json", "shape"}
    renamed = b'{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{"market_ticker":"M","n":1e999}}'
    assert refused(renamed).kind == "json"
