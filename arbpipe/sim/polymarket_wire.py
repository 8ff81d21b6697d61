"""Polymarket's market channel, frame by frame (polymarket.md sections 3.1 to 3.3; key order as recorded).

The NO book is the exact mirror of the YES book. ``hash`` is the SHA-1 of the whole book of that asset after the change;
it holds the *market's* last trade price as it is, on the NO side too (not mirrored: checked on recorded changes).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from arbpipe.sim.listing import Market, PolymarketListing
from arbpipe.sim.quotes import Book, BookSide, Level
from arbpipe.sim.timeline import Trade
from arbpipe.sim.units import ONE_E4, plain_text

__all__ = [
    "ASSETS_PER_CONNECTION",
    "MIN_ORDER_SIZE",
    "PING",
    "PONG",
    "PolymarketMarket",
    "subscribe",
    "dump_array",
    "new_market",
]

ASSETS_PER_CONNECTION: Final = 400
MIN_ORDER_SIZE: Final = "5"
PING: Final = "PING"
PONG: Final = "PONG"


def _dump(message: object) -> str:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False)


def subscribe(assets: Sequence[str]) -> str:
    """The client's first message of a connection."""
    message = {
        "assets_ids": list(assets),
        "type": "market",
        "custom_feature_enabled": True,
        "initial_dump": True,
        "level": 2,
    }
    return _dump(message)


def dump_array(frames: Sequence[dict[str, object]]) -> str:
    """All first books in one array, with the line feed that the venue appends."""
    return _dump(list(frames)) + "\n"


@dataclass(frozen=True, slots=True)
class _Token:
    asset_id: str
    mirrored: bool

    def levels(self, book: Book, side: BookSide) -> list[dict[str, str]]:
        """One side of this token's book as sent: bids ascending, asks descending, the best always last."""
        source = book.levels(side.other if self.mirrored else side)
        prices = [(ONE_E4 - price if self.mirrored else price, size) for price, size in source.items()]
        prices.sort(reverse=side is BookSide.ASK)
        return [{"price": plain_text(price, 4), "size": plain_text(size, 2)} for price, size in prices]

    def best(self, book: Book, side: BookSide) -> str:
        """The best price of a side; an empty side is 0 for bids and 1 for asks."""
        levels = self.levels(book, side)
        if levels:
            return levels[-1]["price"]
        return "0" if side is BookSide.BID else "1"


class PolymarketMarket:
    """The frames about one market. Owns its book and the text of its last trade price; the caller gives the times.

    Raises:
        TypeError: the market is not listed on Polymarket.
    """

    def __init__(self, market: Market, book: Book, last_trade_price: str) -> None:
        if not isinstance(market.listing, PolymarketListing):
            raise TypeError(f"{market.key} is not listed on Polymarket: give it to its own venue's encoder")
        self.market = market
        self.book = book
        self._listing = market.listing
        self._last_trade_price = last_trade_price
        self._yes = _Token(market.listing.yes_token, False)
        self._no = _Token(market.listing.no_token, True)

    @property
    def assets(self) -> tuple[str, str]:
        """The ids of the YES and the NO token."""
        return self._yes.asset_id, self._no.asset_id

    def _hash(self, token: _Token, ts_ms: int) -> str:
        summary: dict[str, object] = {
            "market": self._listing.condition_id,
            "asset_id": token.asset_id,
            "timestamp": str(ts_ms),
            "hash": "",
            "bids": token.levels(self.book, BookSide.BID),
            "asks": token.levels(self.book, BookSide.ASK),
            "min_order_size": MIN_ORDER_SIZE,
            "tick_size": plain_text(self.market.tick_e4, 4),
            "neg_risk": self._listing.neg_risk,
            "last_trade_price": self._last_trade_price,
        }
        if self._listing.version == "v2":
            summary["version"] = "v2"
        return hashlib.sha1(_dump(summary).encode(), usedforsecurity=False).hexdigest()

    def first_books(self, ts_ms: int) -> list[dict[str, object]]:
        """The ``book`` objects of both tokens as they stand in the array that answers a subscription."""
        return [self._first_book(token, ts_ms) for token in (self._yes, self._no)]

    def _first_book(self, token: _Token, ts_ms: int) -> dict[str, object]:
        frame: dict[str, object] = {
            "market": self._listing.condition_id,
            "asset_id": token.asset_id,
            "timestamp": str(ts_ms),
            "hash": self._hash(token, ts_ms),
            "bids": token.levels(self.book, BookSide.BID),
            "asks": token.levels(self.book, BookSide.ASK),
            "tick_size": plain_text(self.market.tick_e4, 4),
            "event_type": "book",
            "last_trade_price": self._last_trade_price,
        }
        if self._listing.version == "v2":
            frame["version"] = "v2"
        return frame

    def _later_book(self, token: _Token, ts_ms: int) -> str:
        frame: dict[str, object] = {
            "market": self._listing.condition_id,
            "asset_id": token.asset_id,
            "bids": token.levels(self.book, BookSide.BID),
            "asks": token.levels(self.book, BookSide.ASK),
            "hash": self._hash(token, ts_ms),
            "timestamp": str(ts_ms),
            "event_type": "book",
        }
        if self._listing.version == "v2":
            frame["version"] = "v2"
        return _dump(frame)

    def price_change(self, level: Level, ts_ms: int) -> str:
        """Apply one level to the book and say so for both tokens; size ``0`` removes a level."""
        self.book.apply(level)
        entries = []
        for token in (self._yes, self._no):
            side = level.side.other if token.mirrored else level.side
            entries.append(
                {
                    "asset_id": token.asset_id,
                    "price": plain_text(ONE_E4 - level.price_e4 if token.mirrored else level.price_e4, 4),
                    "size": plain_text(level.size_e2, 2),
                    "side": "BUY" if side is BookSide.BID else "SELL",
                    "hash": self._hash(token, ts_ms),
                    "best_bid": token.best(self.book, BookSide.BID),
                    "best_ask": token.best(self.book, BookSide.ASK),
                }
            )
        condition = self._listing.condition_id
        return _dump(
            {"market": condition, "price_changes": entries, "timestamp": str(ts_ms), "event_type": "price_change"}
        )

    def trade(self, trade: Trade, ts_ms: int, transaction_hash: str) -> list[str]:
        """A trade printed on the YES token, after its change of the book: the price, then a new book of both tokens."""
        self._last_trade_price = plain_text(trade.price_e4, 4)
        printed = {
            "market": self._listing.condition_id,
            "asset_id": self._yes.asset_id,
            "price": self._last_trade_price,
            "size": plain_text(trade.size_e2, 2),
            "fee_rate_bps": "0",
            "side": "BUY" if trade.taker_buys else "SELL",
            "timestamp": str(ts_ms),
            "event_type": "last_trade_price",
            "transaction_hash": transaction_hash,
        }
        return [_dump(printed), self._later_book(self._yes, ts_ms), self._later_book(self._no, ts_ms)]

    def best_bid_ask(self, ts_ms: int) -> str:
        """The touch of the YES token."""
        bid_e4, ask_e4 = self.book.touch(BookSide.BID), self.book.touch(BookSide.ASK)
        return _dump(
            {
                "market": self._listing.condition_id,
                "asset_id": self._yes.asset_id,
                "best_bid": plain_text(bid_e4, 4),
                "best_ask": plain_text(ask_e4, 4),
                "spread": plain_text(ask_e4 - bid_e4, 4),
                "timestamp": str(ts_ms),
                "event_type": "best_bid_ask",
            }
        )


def new_market(number: int, condition_id: str, assets: tuple[str, str], ts_ms: int) -> str:
    """A market that has just been listed; the venue tells everybody, whatever they subscribed to."""
    question = f"Will simulated question {number} resolve Yes?"
    slug = f"will-simulated-question-{number}-resolve-yes"
    event = {
        "id": str(900_000 + number),
        "ticker": f"simulated-question-{number}",
        "slug": f"simulated-question-{number}",
        "title": f"Simulated question {number}?",
        "description": "An invented question.",
    }
    return _dump(
        {
            "id": str(5_900_000 + number),
            "question": question,
            "market": condition_id,
            "slug": slug,
            "description": "An invented question.",
            "assets_ids": list(assets),
            "outcomes": ["Yes", "No"],
            "event_message": event,
            "timestamp": str(ts_ms),
            "event_type": "new_market",
            "tags": [],
            "condition_id": condition_id,
            "active": True,
            "clob_token_ids": list(assets),
            "sports_market_type": "",
            "line": "",
            "game_start_time": "",
            "order_price_min_tick_size": "0.01",
            "group_item_title": "",
            "taker_base_fee": "1000",
            "fees_enabled": True,
            "fee_schedule": {"exponent": "1", "rate": "0.05", "taker_only": True, "rebate_rate": "0.25"},
        }
    )
