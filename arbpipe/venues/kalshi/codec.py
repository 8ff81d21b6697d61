"""Kalshi's frames to messages: pure, one msgspec decode a frame (kalshi.md 2.3 … 2.6 and 3.2).

:func:`decode` returns exactly one message or raises :class:`FrameError`, whatever the bytes. Kinds: ``json`` (not
JSON), ``shape`` (a field is missing or of the wrong type), ``price``, ``size``, ``money``, ``side``, ``empty``
(no REST book). Unknown fields are
ignored, unknown types become :class:`UnknownFrame`: both appear without notice.

A frame that raises took its ``seq`` with it; the next one then shows as a gap, which is the safe reading.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, get_args

import msgspec
from msgspec import UNSET, UnsetType

from arbpipe.fixedpoint import (
    ONE_DOLLAR_E4,
    FixedPointError,
    parse_price_e4,
    parse_scaled,
    parse_size_e2,
)
from arbpipe.venues.frames import FrameError
from arbpipe.venues.kalshi import wire
from arbpipe.venues.kalshi.convert import CONVERT, SIDES, cut, number_error, read_number
from arbpipe.venues.kalshi.messages import (
    BookSide,
    Delta,
    ErrorFrame,
    EventFeeUpdate,
    EventLifecycle,
    Fill,
    Level,
    MarketLifecycle,
    MarketPosition,
    Ok,
    OrderGroupUpdate,
    PriceRange,
    RestBook,
    Snapshot,
    Subscribed,
    Ticker,
    Trade,
    UnknownFrame,
    Unsubscribed,
    UserOrder,
)

__all__ = [
    "decode",
    "decode_rest_book",
    "number_of",
    "Message",
    "Snapshot",
    "Delta",
    "RestBook",
    "Level",
    "Subscribed",
    "Unsubscribed",
    "Ok",
    "ErrorFrame",
    "UnknownFrame",
    "Ticker",
    "Trade",
    "Fill",
    "UserOrder",
    "BookSide",
    "MarketPosition",
    "MarketLifecycle",
    "PriceRange",
    "EventLifecycle",
    "EventFeeUpdate",
    "OrderGroupUpdate",
]

Message = (
    Delta
    | Snapshot
    | Ok
    | Subscribed
    | Unsubscribed
    | ErrorFrame
    | UnknownFrame
    | Ticker
    | Trade
    | Fill
    | UserOrder
    | MarketPosition
    | MarketLifecycle
    | EventLifecycle
    | EventFeeUpdate
    | OrderGroupUpdate
)

_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_DeltaFrame: Final = wire.DeltaFrame
_SnapshotFrame: Final = wire.SnapshotFrame
_decode_frame: Final = msgspec.json.Decoder(wire.AnyFrame).decode
_decode_header: Final = msgspec.json.Decoder(wire.Header).decode
_decode_market: Final = msgspec.json.Decoder(wire.MarketOf).decode
_decode_rest_body: Final = msgspec.json.Decoder(wire.RestBody).decode


def decode(raw: bytes | bytearray | memoryview) -> Message:
    """One WebSocket frame to one message.

    Raises:
        FrameError: see the module; ``native_id`` is the market's ticker where the frame still names it.
    """
    try:
        frame = _decode_frame(raw)
    except _UNREADABLE as error:
        return _refuse(raw, error)
    if type(frame) is _DeltaFrame:
        # nine frames of ten: no function of our own is called on the way
        msg = frame.msg
        try:
            price_e4 = parse_price_e4(msg.price_dollars)
            if 0 < price_e4 < ONE_DOLLAR_E4:
                return Delta(
                    frame.sid,
                    frame.seq,
                    msg.market_ticker,
                    price_e4,
                    _change_e2(msg.delta_fp),
                    SIDES[msg.side],
                    msg.ts_ms,
                    msg.clock,
                    frame.sending_ts_ms,
                )
        except (KeyError, FixedPointError):
            pass
        raise _delta_error(frame)
    if type(frame) is _SnapshotFrame:
        return _snapshot(frame, raw)
    return CONVERT[type(frame)](frame)


def number_of(raw: bytes | bytearray | memoryview) -> tuple[int, int]:
    """``(sid, seq)`` of a frame that could not be read otherwise; zeros where not even these can be."""
    try:
        header = _decode_header(raw)
    except _UNREADABLE:
        return 0, 0
    return header.sid, header.seq


def decode_rest_book(raw: bytes | bytearray | memoryview) -> RestBook:
    """The body of ``GET /markets/{ticker}/orderbook``: own-side prices, levels in the order sent.

    A side that is null or absent is empty.

    Raises:
        FrameError: ``empty`` for a null body; otherwise as :func:`decode`, without a ``native_id``.
    """
    try:
        book = _decode_rest_body(raw).orderbook_fp
    except _UNREADABLE as error:
        if bytes(raw).strip() == b"null":
            raise FrameError("empty", "the book's body is null: no book, not an empty one; ask again") from None
        raise FrameError(_kind(error), cut(f"REST order book: {error}; not applied")) from None
    sides = {"yes_dollars": book.yes_dollars, "no_dollars": book.no_dollars}
    _refuse_renamed_sides(sides, raw, "orderbook_fp", "")
    return RestBook(_levels(book.yes_dollars, ""), _levels(book.no_dollars, ""))


_size_e2: Final = lru_cache(maxsize=65_536)(parse_size_e2)


@lru_cache(maxsize=65_536)
def _change_e2(text: str) -> int:
    return parse_scaled(text, 2, "a change in contracts")


# --- the book ---------------------------------------------------------------------------------------------------------


def _levels(levels: wire.Levels | UnsetType, native_id: str) -> tuple[Level, ...]:
    if not levels:  # null, absent or []: an empty side
        return ()
    read = []
    for price_text, size_text in levels:
        try:
            size_e2, price_e4 = _size_e2(size_text), parse_price_e4(price_text)
        except FixedPointError:
            # one of them again, to say which
            read_number("size", parse_size_e2, size_text, native_id)
            read_number("price", parse_price_e4, price_text, native_id)
            raise
        if size_e2:  # placeholders of size 0 are no quote, whatever their price
            if not 0 < price_e4 < ONE_DOLLAR_E4:
                raise _outside(price_text, native_id)
            read.append((price_e4, size_e2))
    return tuple(read)


def _outside(text: str, native_id: str) -> FrameError:
    detail = f"{native_id}: nobody can bid {text!r}; the book is in doubt, ask for a snapshot"
    return FrameError("price", detail, native_id)


def _delta_error(frame: wire.DeltaFrame) -> FrameError:
    """What is wrong with a change that :func:`decode` refuses."""
    msg = frame.msg
    ticker = msg.market_ticker
    if msg.side not in SIDES:
        return FrameError("side", f"{ticker}: side {msg.side[:20]!r} is neither yes nor no; ask for a snapshot", ticker)
    for kind, parse, text in (("price", parse_price_e4, msg.price_dollars), ("size", _change_e2, msg.delta_fp)):
        try:
            parse(text)
        except FixedPointError as error:
            return number_error(kind, error, ticker)
    return _outside(msg.price_dollars, ticker)


def _snapshot(frame: wire.SnapshotFrame, raw: bytes | bytearray | memoryview) -> Snapshot:
    msg = frame.msg
    ticker = msg.market_ticker
    sides = {"yes_dollars_fp": msg.yes_dollars_fp, "no_dollars_fp": msg.no_dollars_fp}
    _refuse_renamed_sides(sides, raw, "msg", ticker)
    return Snapshot(
        frame.sid,
        frame.seq,
        ticker,
        _levels(msg.yes_dollars_fp, ticker),
        _levels(msg.no_dollars_fp, ticker),
        msg.clock,
        frame.sending_ts_ms,
        frame.id,
    )


def _refuse_renamed_sides(
    sides: dict[str, wire.Levels | UnsetType], raw: bytes | bytearray | memoryview, key: str, native_id: str
) -> None:
    """A side whose key is absent is empty, but a side whose key was renamed must not read as empty."""
    if UNSET not in sides.values():
        return
    try:
        fields = msgspec.json.decode(raw)[key]
    except _UNREADABLE as error:
        raise FrameError("json", cut(f"{native_id}: {error}; not applied"), native_id) from None
    for name, value in fields.items():
        if sides.get(name, UNSET) is UNSET and isinstance(value, list) and value:
            detail = f"{native_id}: a side is absent, but there is a list {name[:40]!r}; were the fields renamed?"
            raise FrameError("shape", detail, native_id)


_KNOWN_TYPES: Final = frozenset(str(frame.__struct_config__.tag) for frame in get_args(wire.AnyFrame))


# --- refusals ---------------------------------------------------------------------------------------------------------


def _refuse(raw: bytes | bytearray | memoryview, error: Exception) -> UnknownFrame:
    """The frame did not decode: say why, or that it is of a type nobody here reads."""
    if _kind(error) == "json":
        raise FrameError("json", cut(f"a frame is not JSON: {error}; the connection is in doubt")) from None
    try:
        header = _decode_header(raw)
    except _UNREADABLE:
        raise FrameError("shape", cut(f"a frame has no type: {error}; the connection is in doubt")) from None
    if header.type not in _KNOWN_TYPES:
        return UnknownFrame(header.type, header.sid, header.seq)
    try:
        named = _decode_market(raw).msg
        native_id = named.market_ticker or named.ticker
    except _UNREADABLE:
        native_id = ""
    raise FrameError(_kind(error), cut(f"{header.type} {native_id}: {error}; not applied"), native_id) from None


def _kind(error: Exception) -> str:
    if not isinstance(error, msgspec.ValidationError):
        return "json"
    return "side" if "side`" in str(error) else "shape"
