"""Kalshi's WebSocket words, from the server's side and the client's (kalshi.md section 2, AsyncAPI of 2026-10-26).

One :class:`KalshiConnection` is one connection with one subscription (one ``sid``). It numbers what consumes a ``seq``:
``ok``, snapshots and deltas, over all markets of the subscription; ``subscribed`` and the list of subscriptions carry
none. Each market's ``clock`` skips values and several deltas of one exchange action share one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from arbpipe.sim.listing import KalshiListing, Market
from arbpipe.sim.quotes import Book, BookSide, Level
from arbpipe.sim.units import ONE_E4, fixed_text

__all__ = ["MARKETS_PER_CONNECTION", "KalshiConnection"]

MARKETS_PER_CONNECTION: Final = 500
_CHANNEL: Final = "orderbook_delta"
_SID: Final = 1


def _dump(message: dict[str, object]) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)


def _rfc3339(ts_ms: int) -> str:
    moment = datetime.fromtimestamp(ts_ms // 1_000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ts_ms % 1_000:03d}Z"


class KalshiConnection:
    """The frames of one connection. ``use_yes_price`` reports NO levels at the equivalent YES price.

    ``skip_ticker_ack`` leaves the list of tickers out of ``ok`` frames, as the subscribe parameter of that name does.
    """

    def __init__(self, *, use_yes_price: bool, skip_ticker_ack: bool) -> None:
        self._use_yes_price = use_yes_price
        self._skip_ticker_ack = skip_ticker_ack
        self._seq = 0
        self._command = 0
        self._tickers: list[str] = []
        self._clocks: dict[str, int] = {}

    def _listing(self, market: Market) -> KalshiListing:
        if not isinstance(market.listing, KalshiListing):
            raise TypeError(f"{market.key} is not listed on Kalshi: give it to its own venue's encoder")
        return market.listing

    def _next_command(self, name: str, params: dict[str, object] | None) -> tuple[int, str]:
        self._command += 1
        message: dict[str, object] = {"id": self._command, "cmd": name}
        if params is not None:
            message["params"] = params
        return self._command, _dump(message)

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def subscribe(self, tickers: Sequence[str]) -> tuple[int, str]:
        """The client's subscribe command: its id and its text."""
        self._tickers.extend(ticker for ticker in tickers if ticker not in self._tickers)
        params: dict[str, object] = {
            "channels": [_CHANNEL],
            "market_tickers": list(tickers),
            "use_yes_price": self._use_yes_price,
            "skip_ticker_ack": self._skip_ticker_ack,
        }
        return self._next_command("subscribe", params)

    def update(self, action: str, tickers: Sequence[str]) -> tuple[int, str]:
        """The client's ``update_subscription`` (``add_markets`` or ``get_snapshot``): its id and its text."""
        if action == "add_markets":
            self._tickers.extend(ticker for ticker in tickers if ticker not in self._tickers)
        params: dict[str, object] = {"sid": _SID, "action": action, "market_tickers": list(tickers)}
        return self._next_command("update_subscription", params)

    def list_subscriptions(self) -> tuple[int, str]:
        """The client's ``list_subscriptions``: its id and its text."""
        return self._next_command("list_subscriptions", None)

    def subscribed(self, command: int, sending_ms: int) -> str:
        """The answer to the first subscribe; carries no ``seq``."""
        msg = {"channel": _CHANNEL, "sid": _SID}
        return _dump({"type": "subscribed", "id": command, "msg": msg, "sending_ts_ms": sending_ms})

    def subscriptions(self, command: int, sending_ms: int) -> str:
        """The answer to ``list_subscriptions``: an ``ok`` whose ``msg`` is an array, without ``sid`` and ``seq``."""
        msg = [{"channel": _CHANNEL, "sid": _SID}]
        return _dump({"type": "ok", "id": command, "msg": msg, "sending_ts_ms": sending_ms})

    def ok(self, command: int, sending_ms: int) -> str:
        """The answer to a change of the subscription; consumes a ``seq``."""
        msg: dict[str, object] = {} if self._skip_ticker_ack else {"market_tickers": sorted(self._tickers)}
        seq = self._next_seq()
        return _dump({"type": "ok", "id": command, "sid": _SID, "seq": seq, "msg": msg, "sending_ts_ms": sending_ms})

    def _price(self, side: BookSide, price_e4: int) -> int:
        """A level's price as reported: NO bids stand at the NO price unless the subscription asked otherwise."""
        return ONE_E4 - price_e4 if side is BookSide.ASK and not self._use_yes_price else price_e4

    def _levels(self, book: Book, side: BookSide) -> list[list[str]]:
        reported = sorted((self._price(side, price), size) for price, size in book.levels(side).items())
        return [[fixed_text(price, 4, 4), fixed_text(size, 2, 2)] for price, size in reported]

    def set_clock(self, market: Market, clock: int) -> None:
        """Where the market's exchange clock stands before the first frame; 0 means that nothing ever changed."""
        self._clocks[self._listing(market).ticker] = clock

    def snapshot(self, market: Market, book: Book, sending_ms: int, command: int | None = None) -> str:
        """The whole book; with ``command`` it answers that ``get_snapshot``. An empty side's key is absent."""
        listing = self._listing(market)
        msg: dict[str, object] = {
            "market_ticker": listing.ticker,
            "market_id": listing.market_id,
            "clock": self._clocks.get(listing.ticker, 0),
        }
        for key, side in (("yes_dollars_fp", BookSide.BID), ("no_dollars_fp", BookSide.ASK)):
            if book.levels(side):
                msg[key] = self._levels(book, side)
        head: dict[str, object] = {"type": "orderbook_snapshot", "sid": _SID, "seq": self._next_seq()}
        if command is not None:
            head["id"] = command
        return _dump({**head, "msg": msg, "sending_ts_ms": sending_ms})

    def deltas(
        self, market: Market, book: Book, levels: Sequence[Level], *, tick: int, ts_ms: int, sending_ms: int
    ) -> list[str]:
        """One exchange action as signed changes against ``book``, which is updated.

        ``tick``: by how much the market's clock moves, at least 1. A level that stays as it is makes no frame.
        """
        listing = self._listing(market)
        clock = self._clocks.get(listing.ticker, 0) + max(tick, 1)
        frames: list[str] = []
        for level in levels:
            delta_e2 = level.size_e2 - book.levels(level.side).get(level.price_e4, 0)
            book.apply(level)
            if delta_e2 == 0:
                continue
            self._clocks[listing.ticker] = clock
            msg = {
                "market_ticker": listing.ticker,
                "market_id": listing.market_id,
                "clock": clock,
                "price_dollars": fixed_text(self._price(level.side, level.price_e4), 4, 4),
                "delta_fp": fixed_text(delta_e2, 2, 2),
                "side": "yes" if level.side is BookSide.BID else "no",
                "ts": _rfc3339(ts_ms),
                "ts_ms": ts_ms,
            }
            head = {"type": "orderbook_delta", "sid": _SID, "seq": self._next_seq()}
            frames.append(_dump({**head, "msg": msg, "sending_ts_ms": sending_ms}))
        return frames
