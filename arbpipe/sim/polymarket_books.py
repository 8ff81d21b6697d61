"""The public face of one market's book: what the engine changed, as Polymarket shows it (polymarket.md 3.1, 3.2).

The engine works in 1/1,000,000 share; the venue shows sizes in 1/100, cut off, and a level of less than 0.01 not at all.
Engine callbacks only collect; :meth:`MarketView.flush` turns what was collected into frames, so that a reader of the
book and a reader of the frames never see different books.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from arbpipe.sim.exchange import Book as EngineBook
from arbpipe.sim.listing import Market, PolymarketListing
from arbpipe.sim.orders import LevelChange, Match
from arbpipe.sim.polymarket_wire import MIN_ORDER_SIZE, PolymarketMarket
from arbpipe.sim.quotes import Book, BookSide, Level
from arbpipe.sim.timeline import Trade
from arbpipe.sim.units import ONE_E4, plain_text

__all__ = ["E2_E6", "Frame", "MarketView"]

#: Millionths of a share in a hundredth.
E2_E6: Final = 10_000
_REST_ORDER: Final = ("market", "asset_id", "timestamp", "hash", "bids", "asks")


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of the market channel and the assets whose subscribers get it; ``custom`` ones only on demand."""

    assets: frozenset[str]
    text: str
    custom: bool = False


class _ShownBook(Book):
    """A book that may be empty on a side or crossed for the time of one action; the engine guards the real one."""

    def touch(self, side: BookSide) -> int:
        levels = self.levels(side)
        if not levels:
            return ONE_E4 if side is BookSide.ASK else 0
        return min(levels) if side is BookSide.ASK else max(levels)

    def apply(self, level: Level) -> None:
        if level.size_e2 > 0:
            self.levels(level.side)[level.price_e4] = level.size_e2
        else:
            self.levels(level.side).pop(level.price_e4, None)


def _first_trade_price(market: Market, book: Book) -> str:
    """A last trade price for a market nobody has traded yet: mostly the touch, some with a needless zero, some none."""
    shape = random.Random(f"sim-last-trade:{market.key}").randrange(8)
    if shape == 0:
        return ""
    text = plain_text(book.touch(BookSide.ASK), 4)
    return text + "0" if shape <= 2 and len(text) <= 4 else text


class MarketView:
    """One market: its listing, its engine book, and what subscribers and REST callers see of it.

    Raises:
        TypeError: the market is not listed on Polymarket.
    """

    def __init__(self, market: Market, engine: EngineBook, now_ms: Callable[[], int]) -> None:
        if not isinstance(market.listing, PolymarketListing):
            raise TypeError(f"{market.key} is not listed on Polymarket: give it to its own venue's server")
        self.listing = market.listing
        self.engine = engine
        self.seconds_delay = 0
        self._now_ms = now_ms
        bids, asks = engine.levels()
        shown = _ShownBook(
            {price: qty // E2_E6 for price, qty in bids if qty >= E2_E6},
            {price: qty // E2_E6 for price, qty in asks if qty >= E2_E6},
        )
        self._wire = PolymarketMarket(market, shown, _first_trade_price(market, shown))
        self._last_trade_price = _first_trade_price(market, shown)
        self._changed_ms = now_ms()
        self._levels: dict[tuple[bool, int], int] = {}
        self._trades: list[tuple[Trade, str]] = []
        engine.observe(self._on_level, self._on_match)

    @property
    def market(self) -> Market:
        """The market as listed, with the tick that holds now."""
        return self._wire.market

    @property
    def assets(self) -> tuple[str, str]:
        """The ids of the YES and the NO token."""
        return self._wire.assets

    @property
    def tick_e4(self) -> int:
        """The smallest price step now, in 1/10,000 dollar."""
        return self._wire.market.tick_e4

    @property
    def last_trade_price(self) -> str:
        """The text of the last trade's YES price, empty when there was none."""
        return self._last_trade_price

    def label(self, asset: str) -> str:
        """The outcome that a token pays for."""
        return self.market.yes_label if asset == self.listing.yes_token else self.market.no_label

    def _on_level(self, change: LevelChange) -> None:
        self._levels[(change.buys_yes, change.price_e4)] = change.qty_e6

    def _on_match(self, match: Match) -> None:
        printed = Trade(match.price_e4, match.qty_e6 // E2_E6, match.taker_buys_yes)
        self._trades.append((printed, self.transaction_hash(match)))

    def print_trade(self, trade: Trade) -> None:
        """Show a trade between others, whose effect on the levels the engine has already been told."""
        text = f"{self.market.key}:{trade}:{self._now_ms()}"
        self._trades.append((trade, "0x" + hashlib.sha256(text.encode()).hexdigest()))

    def flush(self) -> list[Frame]:
        """The frames of everything since the last flush: smaller levels first, then larger ones, then the trades."""
        levels, trades = self._levels, self._trades
        self._levels, self._trades = {}, []
        book = self._wire.book
        changed: list[tuple[bool, Level]] = []
        for (is_bid, price_e4), qty_e6 in levels.items():
            side = BookSide.BID if is_bid else BookSide.ASK
            before, after = book.levels(side).get(price_e4, 0), qty_e6 // E2_E6
            if before != after:
                changed.append((after > before, Level(side, price_e4, after)))
        if not changed and not trades:
            return []
        ts_ms = self._changed_ms = max(self._now_ms(), self._changed_ms)
        touch = (book.touch(BookSide.BID), book.touch(BookSide.ASK))
        both = frozenset(self.assets)
        changed.sort(key=lambda each: each[0])
        frames = [Frame(both, self._wire.price_change(level, ts_ms)) for _, level in changed]
        for trade, transaction in trades:
            frames.extend(self._trade_frames(trade, transaction, ts_ms))
        if touch != (book.touch(BookSide.BID), book.touch(BookSide.ASK)):
            frames.extend(self._touch_frames(ts_ms))
        return frames

    def _trade_frames(self, trade: Trade, transaction: str, ts_ms: int) -> list[Frame]:
        self._last_trade_price = plain_text(trade.price_e4, 4)
        price, yes_book, no_book = self._wire.trade(trade, ts_ms, transaction)
        yes, no = self.assets
        # the last price is part of both tokens' hashes: whoever follows either token has to hear of it
        return [
            Frame(frozenset((yes, no)), price),
            Frame(frozenset((yes,)), yes_book),
            Frame(frozenset((no,)), no_book),
        ]

    def transaction_hash(self, match: Match) -> str:
        """The settlement transaction of a match."""
        text = f"{match.market}:{match.number}:{match.taker_order_id}:{match.maker_order_id}"
        return "0x" + hashlib.sha256(text.encode()).hexdigest()

    def _touch_frames(self, ts_ms: int) -> list[Frame]:
        book = self._wire.book
        bid_e4, ask_e4 = book.touch(BookSide.BID), book.touch(BookSide.ASK)
        frames = [Frame(frozenset((self.assets[0],)), self._wire.best_bid_ask(ts_ms), custom=True)]
        mirrored = {
            "market": self.listing.condition_id,
            "asset_id": self.assets[1],
            "best_bid": plain_text(ONE_E4 - ask_e4, 4),
            "best_ask": plain_text(ONE_E4 - bid_e4, 4),
            "spread": plain_text(ask_e4 - bid_e4, 4),
            "timestamp": str(ts_ms),
            "event_type": "best_bid_ask",
        }
        frames.append(Frame(frozenset((self.assets[1],)), json.dumps(mirrored, separators=(",", ":")), custom=True))
        return frames

    def set_tick(self, tick_e4: int) -> list[Frame]:
        """Change the smallest price step; the books follow, because their hash holds the tick."""
        old_e4, market = self.tick_e4, self._wire.market
        self._wire.market = dataclasses.replace(market, tick_e4=tick_e4)
        ts_ms = self._changed_ms = max(self._now_ms(), self._changed_ms)
        frames = []
        for asset in self.assets:
            message = {
                "market": self.listing.condition_id,
                "asset_id": asset,
                "old_tick_size": plain_text(old_e4, 4),
                "new_tick_size": plain_text(tick_e4, 4),
                "timestamp": str(ts_ms),
                "event_type": "tick_size_change",
            }
            frames.append(Frame(frozenset((asset,)), json.dumps(message, separators=(",", ":"))))
        return frames

    def first_book(self, asset: str) -> dict[str, object]:
        """The ``book`` object that answers a subscription to a token; it carries the time of the last change."""
        frames = self._wire.first_books(self._changed_ms)
        return frames[self.assets.index(asset)]

    def rest_book(self, asset: str) -> dict[str, object]:
        """The answer to ``GET /book``; hash and time are those of the last change."""
        first = self.first_book(asset)
        answer = {name: first[name] for name in _REST_ORDER}
        answer["min_order_size"] = MIN_ORDER_SIZE
        answer["tick_size"] = first["tick_size"]
        answer["neg_risk"] = self.listing.neg_risk
        answer["last_trade_price"] = first["last_trade_price"]
        if "version" in first:
            answer["version"] = first["version"]
        return answer
