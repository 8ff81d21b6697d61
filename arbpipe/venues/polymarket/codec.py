"""Polymarket's market-channel frames to messages: pure (polymarket.md 3.1, and ``GET /book`` of 3.2).

:func:`decode` returns the messages of a frame in their order, or raises :class:`FrameError`, whatever the bytes.
Kinds: ``json`` (not JSON), ``shape`` (a field is missing or of the wrong type), ``side`` (neither BUY nor SELL),
``empty`` (no REST book). Unknown fields are ignored, unknown types become :class:`UnknownFrame`.

Prices, sizes and timestamps stay the texts that were sent: the checksum is over them, and :mod:`.book` makes them
integers. ``timestamp`` is the venue's clock in milliseconds. Messages are named by ``market``, the condition id.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, get_args

import msgspec
from msgspec import Raw, Struct, field

from arbpipe.venues.frames import FrameError

__all__ = [
    "decode",
    "decode_rest_book",
    "Message",
    "Book",
    "PriceChange",
    "Change",
    "ChangeSide",
    "LastTradePrice",
    "TickSizeChange",
    "BestBidAsk",
    "NewMarket",
    "MarketResolved",
    "Pong",
    "UnknownFrame",
    "TextLevel",
]

#: ``(price, size)`` as sent.
TextLevel = tuple[str, str]

_MAX_DETAIL: Final = 200
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class ChangeSide(Enum):
    """The side of a change: BUY is a bid, SELL is an ask. The venue never sends another word."""

    BUY = "BUY"
    SELL = "SELL"


class Book(Struct, frozen=True, gc=False):
    """The whole book of one token. Fields that this frame did not carry are None, not a default."""

    market: str
    asset_id: str
    timestamp: str
    hash: str
    bids: tuple[TextLevel, ...]
    asks: tuple[TextLevel, ...]
    tick_size: str | None = None
    last_trade_price: str | None = None
    min_order_size: str | None = None
    neg_risk: bool | None = None
    version: str | None = None


class Change(Struct, frozen=True, gc=False):
    """One level of one token: ``size`` is its new absolute size, zero removes it. ``hash`` is of the whole new book."""

    asset_id: str
    price: str
    size: str
    side: ChangeSide
    hash: str
    best_bid: str | None = None
    best_ask: str | None = None


class _Event(Struct, frozen=True, gc=False, tag_field="event_type"):
    pass


class PriceChange(_Event, frozen=True, gc=False, tag="price_change"):
    """Changes of one market, usually one for each of its two tokens."""

    market: str
    timestamp: str
    changes: tuple[Change, ...] = field(name="price_changes")


class LastTradePrice(_Event, frozen=True, gc=False, tag="last_trade_price"):
    """A trade on one token; ``side`` is the taker's. The price belongs to the checksum of both tokens, not mirrored."""

    market: str
    asset_id: str
    price: str
    timestamp: str
    size: str | None = None
    side: ChangeSide | None = None
    fee_rate_bps: str | None = None
    transaction_hash: str | None = None


class TickSizeChange(_Event, frozen=True, gc=False, tag="tick_size_change"):
    """The price grid of one token changed."""

    market: str
    asset_id: str
    old_tick_size: str
    new_tick_size: str
    timestamp: str


class BestBidAsk(_Event, frozen=True, gc=False, tag="best_bid_ask"):
    """The venue's own best prices. An empty side is sent as bid 0 or ask 1: never a quote."""

    market: str
    asset_id: str
    best_bid: str
    best_ask: str
    timestamp: str
    spread: str | None = None


class NewMarket(_Event, frozen=True, gc=False, tag="new_market"):
    """A market was listed, anywhere on the venue. ``outcomes`` are the labels of ``assets_ids``, in their order."""

    market: str
    timestamp: str
    assets_ids: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    question: str = ""
    slug: str = ""
    order_price_min_tick_size: str | None = None


class MarketResolved(_Event, frozen=True, gc=False, tag="market_resolved"):
    """A market was resolved, anywhere on the venue."""

    market: str
    timestamp: str
    assets_ids: tuple[str, ...] = ()
    winning_asset_id: str | None = None
    winning_outcome: str | None = None


class Pong(Struct, frozen=True, gc=False):
    """The server's answer to our PING. It proves the socket, not the data."""


class UnknownFrame(Struct, frozen=True, gc=False):
    """A message of a type that nothing here reads."""

    event_type: str


Message = (
    PriceChange | Book | LastTradePrice | TickSizeChange | BestBidAsk | NewMarket | MarketResolved | Pong | UnknownFrame
)


class _Level(Struct, frozen=True, gc=False):
    price: str
    size: str


class _RestBook(Struct, frozen=True, gc=False):
    market: str
    asset_id: str
    timestamp: str
    hash: str
    bids: list[_Level]
    asks: list[_Level]
    tick_size: str | None = None
    last_trade_price: str | None = None
    min_order_size: str | None = None
    neg_risk: bool | None = None
    version: str | None = None


class _BookEvent(_RestBook, frozen=True, gc=False, tag_field="event_type", tag="book"):
    """The same book as a stream event."""


_Known = PriceChange | _BookEvent | LastTradePrice | TickSizeChange | BestBidAsk | NewMarket | MarketResolved


class _RestHead(Struct, frozen=True, gc=False):
    market: str | None = None
    asset_id: str | None = None


class _Header(Struct, frozen=True, gc=False):
    event_type: str


class _Market(Struct, frozen=True, gc=False):
    market: str = ""


_KNOWN_TYPES: Final = frozenset(str(one.__struct_config__.tag) for one in get_args(_Known))

_decode_one: Final = msgspec.json.Decoder(_Known).decode
_decode_many: Final = msgspec.json.Decoder(list[_Known]).decode
_decode_parts: Final = msgspec.json.Decoder(list[Raw]).decode
_decode_header: Final = msgspec.json.Decoder(_Header).decode
_decode_market: Final = msgspec.json.Decoder(_Market).decode
_decode_rest: Final = msgspec.json.Decoder(_RestBook).decode
_decode_rest_head: Final = msgspec.json.Decoder(_RestHead | None).decode


def decode(raw: bytes | bytearray | memoryview) -> tuple[Message, ...]:
    """One WebSocket frame, an object or an array of objects or the text ``PONG``, to its messages.

    Raises:
        FrameError: see the module. ``native_id`` is the ``market`` of a malformed single object. A malformed element
            of an array takes the whole array with it, so then ``native_id`` is ``""``: every book is in doubt.
    """
    data = bytes(raw).strip()
    if data == b"PONG":
        return (Pong(),)
    if data[:1] == b"[":
        return _decode_array(data)
    try:
        event = _decode_one(data)
    except _UNREADABLE as error:
        return (_refuse(data, error),)
    return (_message(event),)


def decode_rest_book(raw: bytes | bytearray | memoryview) -> Book:
    """The body of ``GET /book``: the only place that carries ``min_order_size`` and ``neg_risk``.

    Raises:
        FrameError: ``empty`` for a null body and for one without ``market`` or ``asset_id`` (the venue has no book for
            the token, which is not an empty book); otherwise as :func:`decode`.
    """
    data = bytes(raw).strip()
    try:
        head = _decode_rest_head(data)
    except _UNREADABLE as error:
        raise FrameError(_kind(error), _cut(f"REST book: {error}; not applied")) from None
    if head is None or not head.market or not head.asset_id:
        raise FrameError("empty", _cut(f"REST book without market or asset_id: {data[:80]!r}; the venue has none"))
    try:
        return _book(_decode_rest(data))
    except _UNREADABLE as error:
        raise FrameError(_kind(error), _cut(f"REST book: {error}; not applied"), head.market) from None


def _decode_array(data: bytes) -> tuple[Message, ...]:
    try:
        events = _decode_many(data)
    except _UNREADABLE as error:
        return _decode_each(data, error)
    return tuple([_message(event) for event in events])


def _decode_each(data: bytes, error: Exception) -> tuple[Message, ...]:
    """An array with an element that is unknown or malformed: find out which of the two."""
    try:
        parts = _decode_parts(data)
    except _UNREADABLE:
        raise FrameError(_kind(error), _cut(f"a frame is unreadable: {error}; every book is in doubt")) from None
    messages: list[Message] = []
    for part in parts:
        try:
            event = _decode_one(part)
        except _UNREADABLE as reason:
            messages.append(_refuse(bytes(part), reason, alone=len(parts) == 1))
        else:
            messages.append(_message(event))
    return tuple(messages)


def _message(event: _Known) -> Message:
    return _book(event) if isinstance(event, _BookEvent) else event


def _book(event: _RestBook) -> Book:
    return Book(
        event.market,
        event.asset_id,
        event.timestamp,
        event.hash,
        tuple([(level.price, level.size) for level in event.bids]),
        tuple([(level.price, level.size) for level in event.asks]),
        event.tick_size,
        event.last_trade_price,
        event.min_order_size,
        event.neg_risk,
        event.version,
    )


def _refuse(data: bytes, error: Exception, *, alone: bool = True) -> UnknownFrame:
    """A message did not decode: say why, or that it is of a type nobody here reads."""
    kind = _kind(error)
    if kind == "json":
        raise FrameError(kind, _cut(f"a frame is not JSON: {error}; every book is in doubt")) from None
    try:
        event_type = _decode_header(data).event_type
    except _UNREADABLE:
        raise FrameError("shape", _cut(f"a frame has no event_type: {error}; every book is in doubt")) from None
    if event_type not in _KNOWN_TYPES:
        return UnknownFrame(event_type)
    try:
        market = _decode_market(data).market
    except _UNREADABLE:
        market = ""
    detail = _cut(f"{event_type} of {market or 'an unnamed market'}: {error}; ask for a fresh book")
    raise FrameError(kind, detail, market if alone else "") from None


def _kind(error: Exception) -> str:
    if not isinstance(error, msgspec.ValidationError):
        return "json"
    return "side" if str(error).endswith(".side`") else "shape"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_DETAIL else text[: _MAX_DETAIL - 1] + "…"
