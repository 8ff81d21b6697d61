"""Kalshi's book frames, and a feed that is driven by them."""

from __future__ import annotations

from typing import Any

from feed_bench import Bench, encoded, kalshi, toml

from arbpipe.shm.generation import Generation
from arbpipe.shm.layout import NO_QUOTE
from arbpipe.venues.kalshi.feed import KalshiFeed

SECOND = 1_000_000_000


def snapshot(seq: int, ticker: str, yes: list[list[str]], no: list[list[str]], **more: Any) -> bytes:
    msg = {"market_ticker": ticker, "yes_dollars_fp": yes, "no_dollars_fp": no}
    return encoded({"type": "orderbook_snapshot", "sid": 1, "seq": seq, "msg": msg, **more})


def delta(seq: int, ticker: str, price: str, change: str, side: str = "yes", **more: Any) -> bytes:
    msg = {"market_ticker": ticker, "price_dollars": price, "delta_fp": change, "side": side}
    return encoded({"type": "orderbook_delta", "sid": 1, "seq": seq, "msg": msg, **more})


class Driven:
    """A feed, its generation and a clock that moves a second a frame."""

    def __init__(self, made: Bench, *tickers: str) -> None:
        self.bench = made
        self.feed = KalshiFeed(made.publisher, use_yes_price=False)
        self.generation: Generation = made.generation(toml(*map(kalshi, tickers or ("A", "B"))))
        self.feed.list(self.generation)
        self.now = 1_000 * SECOND
        self.feed.opened(0, self.now)
        self.seq = 0

    def slot(self, ticker: str) -> int:
        return self.bench.listing(self.generation, ticker).slot

    def raw(self, frame: bytes, number: int = 0) -> None:
        self.now += SECOND
        self.feed.frame(number, frame, 1, self.now)

    def snapshot(self, ticker: str, yes: list[list[str]], no: list[list[str]]) -> None:
        self.seq += 1
        self.raw(snapshot(self.seq, ticker, yes, no))

    def healthy(self, *tickers: str) -> None:
        for ticker in tickers:
            self.snapshot(ticker, [["0.4000", "10.00"]], [["0.5500", "20.00"]])

    def delta(self, ticker: str, price: str, change: str, side: str = "yes", **more: Any) -> None:
        self.seq += 1
        self.raw(delta(self.seq, ticker, price, change, side, **more))


def no_quote(made: Bench, slot: int) -> bool:
    row = made.row(slot)
    return bool(row.flags) and row.yes_asks == row.no_asks == () and made.cost(slot) == (NO_QUOTE, NO_QUOTE)
