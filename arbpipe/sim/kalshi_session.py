"""One WebSocket connection to simulated Kalshi, without the socket: commands in, numbered frames out.

One ``sid`` per channel. ``seq`` counts per sid over all its markets from 1, dense; ``ok``, ``unsubscribed``, snapshots
and the errors of a subscription consume a number on sequenced channels. ``subscribed``, ``ticker``, ``fill``,
``user_order`` and ``market_position`` carry none (kalshi.md sections 2.2 to 2.5). ``market_lifecycle_v2`` speaks when a
command opens, closes or settles a market; by itself nothing in the simulated world does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import Final

from arbpipe.sim import kalshi_frames as frames
from arbpipe.sim.exchange import LevelChange
from arbpipe.sim.kalshi_catalog import Catalog, Json
from arbpipe.sim.kalshi_store import Fill, OrderRow, Position
from arbpipe.sim.kalshi_tap import Tap

__all__ = ["CHANNELS", "MOST_MARKETS", "NUMBERED", "ErrorCode", "Session"]

#: The venue documents that there is a cap (error 26) but not its number.
MOST_MARKETS: Final = 10_000
_BOOK: Final = "orderbook_delta"
_LIFECYCLE: Final = "market_lifecycle_v2"
NUMBERED: Final = frozenset({_BOOK, "trade", _LIFECYCLE})
CHANNELS: Final = NUMBERED | {"ticker", "fill", "user_orders", "market_positions"}
_ACTIONS: Final = ("add_markets", "delete_markets", "get_snapshot")


class ErrorCode(IntEnum):
    """The codes of ``error`` frames that this server gives."""

    UNABLE = 1
    PARAMS_REQUIRED = 2
    CHANNELS_REQUIRED = 3
    SIDS_REQUIRED = 4
    UNKNOWN_COMMAND = 5
    UNKNOWN_SID = 7
    UNKNOWN_CHANNEL = 8
    AUTH_REQUIRED = 9
    CHANNEL_ERROR = 10
    INVALID_PARAMETER = 11
    ONE_SID = 12
    UNSUPPORTED_ACTION = 13
    TICKER_REQUIRED = 14
    ACTION_REQUIRED = 15
    COMMAND_TIMEOUT = 18
    BUFFER_OVERFLOW = 25
    MARKET_LIMIT = 26
    TOO_MANY_REQUESTS = 27


_TEXTS: Final = {
    ErrorCode.UNABLE: "Unable to process message",
    ErrorCode.PARAMS_REQUIRED: "Params required",
    ErrorCode.CHANNELS_REQUIRED: "Channels required",
    ErrorCode.SIDS_REQUIRED: "Subscription IDs required",
    ErrorCode.UNKNOWN_COMMAND: "Unknown command",
    ErrorCode.UNKNOWN_SID: "Unknown subscription ID",
    ErrorCode.UNKNOWN_CHANNEL: "Unknown channel name",
    ErrorCode.AUTH_REQUIRED: "Authentication required",
    ErrorCode.CHANNEL_ERROR: "Channel error",
    ErrorCode.INVALID_PARAMETER: "Invalid parameter",
    ErrorCode.ONE_SID: "Exactly one subscription ID is required",
    ErrorCode.UNSUPPORTED_ACTION: "Unsupported action",
    ErrorCode.TICKER_REQUIRED: "Market Ticker required",
    ErrorCode.ACTION_REQUIRED: "Action required",
    ErrorCode.COMMAND_TIMEOUT: "Command timeout",
    ErrorCode.BUFFER_OVERFLOW: "Subscription buffer overflow",
    ErrorCode.MARKET_LIMIT: "Subscription market limit exceeded",
    ErrorCode.TOO_MANY_REQUESTS: "Too many requests",
}


class _Bad(Exception):
    """A command that gets an error frame."""

    def __init__(self, code: ErrorCode, sid: int | None = None, tickers: list[str] | None = None) -> None:
        super().__init__(code.name)
        self.code = code
        self.sid = sid
        self.tickers = tickers


@dataclass(slots=True)
class _Subscription:
    """``tickers`` None means every market."""

    channel: str
    sid: int
    use_yes_price: bool
    skip_ack: bool
    tickers: dict[str, None] | None
    seq: int = 0

    def wants(self, ticker: str) -> bool:
        return self.tickers is None or ticker in self.tickers

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq


@dataclass(slots=True, eq=False)
class Session:
    """A connection. ``send`` takes each frame's text; ``clock_of`` gives a market's exchange clock.

    ``most_markets``: the cap of a subscription. ``refusal``: the error code with which a fault wants the next command
    refused, else None. ``hang_up`` ends the connection: with a close frame, or without one when its argument is True.
    """

    catalog: Catalog
    user_id: str
    send: Callable[[str], None]
    now_us: Callable[[], int]
    clock_of: Callable[[str], int]
    most_markets: Callable[[], int] = lambda: MOST_MARKETS
    refusal: Callable[[], ErrorCode | None] = lambda: None
    hang_up: Callable[[bool], None] = lambda _hard: None
    tap: Tap = field(init=False)
    _by_channel: dict[str, _Subscription] = field(default_factory=dict)
    _last_sid: int = 0

    def __post_init__(self) -> None:
        self.tap = Tap(self.send)

    # -- commands -----------------------------------------------------------------------------------------------------

    def receive(self, text: str) -> None:
        """Act on a command; a bad one is answered with an error frame."""
        command = 0
        try:
            message = _object(text)
            given = message.get("id")
            command = given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else 0
            handler = {
                "subscribe": self._subscribe,
                "update_subscription": self._update,
                "unsubscribe": self._unsubscribe,
                "list_subscriptions": self._list,
            }.get(str(message.get("cmd")))
            if handler is None:
                raise _Bad(ErrorCode.UNKNOWN_COMMAND)
            params = message.get("params")
            if not isinstance(params, dict):
                if message.get("cmd") != "list_subscriptions":
                    raise _Bad(ErrorCode.PARAMS_REQUIRED)
                params = {}
            refused = self.refusal()
            if refused is not None:
                sid = params.get("sid")
                raise _Bad(refused, sid if isinstance(sid, int) else None)
            handler(command, params)
        except _Bad as bad:
            self._error(command, bad)

    def _subscribe(self, command: int, params: Json) -> None:
        channels = params.get("channels")
        if not isinstance(channels, list) or not channels:
            raise _Bad(ErrorCode.CHANNELS_REQUIRED)
        for channel in channels:
            if channel not in CHANNELS:
                raise _Bad(ErrorCode.UNKNOWN_CHANNEL)
        tickers = self._tickers(params)
        if _BOOK in channels and not tickers:
            raise _Bad(ErrorCode.TICKER_REQUIRED)
        for channel in dict.fromkeys(channels):
            held = self._by_channel.get(channel)
            if held is not None:
                self._add(command, held, tickers)
                continue
            self._last_sid += 1
            only = dict.fromkeys(tickers) if tickers and channel != _LIFECYCLE else None
            held = _Subscription(
                channel=channel,
                sid=self._last_sid,
                use_yes_price=params.get("use_yes_price") is True,
                skip_ack=params.get("skip_ticker_ack") is True,
                tickers=only,
            )
            self._by_channel[channel] = held
            self._write("subscribed", command, None, {"channel": channel, "sid": held.sid}, sequenced=False)
            if channel == _BOOK:
                self._snapshots(held, tickers, 0)
            elif channel == "ticker" and params.get("send_initial_snapshot") is True:
                self._initial_tickers(held)

    def _update(self, command: int, params: Json) -> None:
        held = self._one_sid(params)
        action = params.get("action")
        if action is None:
            raise _Bad(ErrorCode.ACTION_REQUIRED, held.sid)
        if action not in _ACTIONS:
            raise _Bad(ErrorCode.UNSUPPORTED_ACTION, held.sid)
        tickers = self._tickers(params, held.sid)
        if not tickers:
            raise _Bad(ErrorCode.TICKER_REQUIRED, held.sid)
        if action == "add_markets":
            self._add(command, held, tickers)
        elif action == "delete_markets":
            for ticker in tickers if held.tickers is not None else ():
                held.tickers.pop(ticker, None)  # type: ignore[union-attr]
            self._ok(command, held)
        else:
            foreign = [ticker for ticker in tickers if not held.wants(ticker)]
            if held.channel != _BOOK or foreign:
                raise _Bad(ErrorCode.INVALID_PARAMETER, held.sid, foreign)
            self._snapshots(held, tickers, command)

    def _unsubscribe(self, command: int, params: Json) -> None:
        sids = params.get("sids")
        if not isinstance(sids, list) or not sids:
            raise _Bad(ErrorCode.SIDS_REQUIRED)
        held = [self._by_sid(sid) for sid in sids]
        for each in held:
            del self._by_channel[each.channel]
            self._write("unsubscribed", command, each, None)

    def _list(self, command: int, params: Json) -> None:
        held = sorted(self._by_channel.values(), key=lambda each: each.sid)
        listed = [{"channel": each.channel, "sid": each.sid} for each in held]
        self._write("ok", command, None, listed, sequenced=False)

    def _add(self, command: int, held: _Subscription, tickers: list[str]) -> None:
        new = [ticker for ticker in tickers if not held.wants(ticker)]
        if held.tickers is not None:
            if len(held.tickers) + len(new) > self.most_markets():
                raise _Bad(ErrorCode.MARKET_LIMIT, held.sid, new)
            held.tickers.update(dict.fromkeys(new))
        self._ok(command, held)
        if held.channel == _BOOK:
            self._snapshots(held, new, 0)

    def _by_sid(self, sid: object) -> _Subscription:
        found = next((each for each in self._by_channel.values() if each.sid == sid), None)
        if found is None:
            raise _Bad(ErrorCode.UNKNOWN_SID)
        return found

    def _one_sid(self, params: Json) -> _Subscription:
        sid, sids = params.get("sid"), params.get("sids")
        given = [sid] if sid is not None else []
        given += sids if isinstance(sids, list) else []
        if len(given) != 1:
            raise _Bad(ErrorCode.ONE_SID)
        return self._by_sid(given[0])

    def _tickers(self, params: Json, sid: int | None = None) -> list[str]:
        one, many = params.get("market_ticker"), params.get("market_tickers")
        if one is not None and many is not None:
            raise _Bad(ErrorCode.INVALID_PARAMETER, sid)
        wanted = [one] if one is not None else many if many is not None else []
        if not isinstance(wanted, list) or not all(isinstance(each, str) for each in wanted):
            raise _Bad(ErrorCode.INVALID_PARAMETER, sid)
        tickers = list(dict.fromkeys(str(each) for each in wanted))
        unknown = [ticker for ticker in tickers if ticker not in self.catalog.markets]
        if unknown:
            raise _Bad(ErrorCode.INVALID_PARAMETER, sid, unknown)
        if len(tickers) > self.most_markets():
            raise _Bad(ErrorCode.MARKET_LIMIT, sid)
        return tickers

    # -- frames -------------------------------------------------------------------------------------------------------

    def _write(
        self, kind: str, command: int, held: _Subscription | None, msg: object, *, sequenced: bool = True
    ) -> None:
        ticker = msg.get("market_ticker") if isinstance(msg, dict) else None
        emit = partial(self._emit, kind, command, held, msg, sequenced, self.now_us() // 1_000)
        if not (isinstance(ticker, str) and self.tap.holds(ticker, emit)):
            emit(True)

    def _emit(
        self, kind: str, command: int, held: _Subscription | None, msg: object, sequenced: bool, now_ms: int, send: bool
    ) -> None:
        """Number a frame and send it; a frame that is not sent consumes its number all the same."""
        numbered = held if sequenced else None
        for garbage in self.tap.take_garbage(numbered is not None):
            self._spoil(garbage, numbered, now_ms)
        frame: Json = {"type": kind}
        if command:
            frame["id"] = command
        if held is not None:
            frame["sid"] = held.sid
        if numbered is not None:
            frame["seq"] = numbered.next_seq()
        if msg is not None:
            frame["msg"] = msg
        frame["sending_ts_ms"] = now_ms
        if send:
            text = json.dumps(frame, separators=(",", ":"), ensure_ascii=False)
            self.tap.send(text, numbered.channel if numbered is not None else None)

    def _spoil(self, kind: str, numbered: _Subscription | None, now_ms: int) -> None:
        """Send what no client knows: bytes that are no JSON, or a frame of an unknown type that has a number."""
        if kind == "not_json" or numbered is None:
            self.tap.send('{"type":"orderbook_delta","sid":1,"seq":')
            return
        frame: Json = {
            "type": "orderbook_hologram",
            "sid": numbered.sid,
            "seq": numbered.next_seq(),
            "msg": {"depth": 3},
        }
        self.tap.send(json.dumps(frame | {"sending_ts_ms": now_ms}, separators=(",", ":")))

    def _ok(self, command: int, held: _Subscription) -> None:
        msg: Json = {} if held.skip_ack or held.tickers is None else {"market_tickers": sorted(held.tickers)}
        self._write("ok", command, held, msg, sequenced=held.channel in NUMBERED)

    def _error(self, command: int, bad: _Bad) -> None:
        held = next((each for each in self._by_channel.values() if each.sid == bad.sid), None)
        msg: Json = {"code": int(bad.code), "msg": _TEXTS[bad.code]}
        if bad.tickers:
            msg["market_tickers"] = bad.tickers
        self._write("error", command, held, msg, sequenced=held is not None and held.channel in NUMBERED)

    def _snapshots(self, held: _Subscription, tickers: list[str], command: int) -> None:
        for ticker in tickers:
            listed, book = self.catalog.markets[ticker], self.catalog.book(ticker)
            msg = frames.snapshot(listed, book, self.clock_of(ticker), use_yes_price=held.use_yes_price)
            self._write("orderbook_snapshot", command, held, msg)

    def _initial_tickers(self, held: _Subscription) -> None:
        for ticker, listed in self.catalog.markets.items():
            if held.wants(ticker):
                msg = frames.ticker(listed, self.catalog.book(ticker), self.now_us())
                self._write("ticker", 0, held, msg, sequenced=False)

    # -- what happens at the venue ------------------------------------------------------------------------------------

    def level_changed(self, ticker: str, change: LevelChange, clock: int, client_order_id: str) -> None:
        """A level of a book changed."""
        listed = self.catalog.markets[ticker]
        held = self._by_channel.get(_BOOK)
        if held is not None and held.wants(ticker):
            msg = frames.delta(listed, change, clock, self.now_us(), client_order_id, use_yes_price=held.use_yes_price)
            self._write("orderbook_delta", 0, held, msg)
        held = self._by_channel.get("ticker")
        if held is not None and held.wants(ticker):
            msg = frames.ticker(listed, self.catalog.book(ticker), self.now_us())
            self._write("ticker", 0, held, msg, sequenced=False)

    def filled(self, fill: Fill, order: OrderRow) -> None:
        """A fill of the account, which is also a public trade."""
        self._private("trade", "trade", fill.ticker, lambda: frames.trade(fill))
        self._private("fill", "fill", fill.ticker, lambda: frames.fill(fill, order, self._shard_of(fill.ticker)))

    def order_changed(self, order: OrderRow) -> None:
        """An order of the account changed."""
        shard = self._shard_of(order.ticker)
        build = partial(frames.user_order, order, self.user_id, shard)
        self._private("user_orders", "user_order", order.ticker, build)

    def _shard_of(self, ticker: str) -> int:
        listed = self.catalog.markets.get(ticker)
        return 0 if listed is None else listed.exchange_index

    def position_changed(self, position: Position) -> None:
        """A position of the account changed."""
        channel, kind = "market_positions", "market_position"
        self._private(channel, kind, position.ticker, lambda: frames.position(position, self.user_id))

    def _private(self, channel: str, kind: str, ticker: str, build: Callable[[], Json]) -> None:
        held = self._by_channel.get(channel)
        if held is not None and held.wants(ticker):
            self._write(kind, 0, held, build(), sequenced=channel in NUMBERED)

    def announce(self, kind: str, msg: Json) -> None:
        """Something happened to a market or to an event: a frame of the lifecycle channel."""
        held = self._by_channel.get(_LIFECYCLE)
        if held is not None:
            self._write(kind, 0, held, msg)

    def overflow(self) -> None:
        """The client reads too slowly: every subscription ends with error 25 (terminal)."""
        self.end(ErrorCode.BUFFER_OVERFLOW)

    def end(self, code: ErrorCode, channel: str | None = None) -> None:
        """End the subscription of a channel, or all of them, with an error frame."""
        for held in [each for each in self._by_channel.values() if channel in (None, each.channel)]:
            self._error(0, _Bad(code, held.sid))
            del self._by_channel[held.channel]


def _object(text: str) -> Mapping[str, object]:
    try:
        message = json.loads(text)
    except ValueError:
        raise _Bad(ErrorCode.UNABLE) from None
    if not isinstance(message, dict):
        raise _Bad(ErrorCode.UNABLE)
    return message
