"""A market maker's ladder on one market, and the moves that change it without ever crossing or emptying a side.

All prices are YES prices: a bid for YES at p is an offer of NO at 1 - p, on either venue. A *retreat* makes a side's
best price worse (safe: it can only take an edge away), an *advance* makes it better.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from arbpipe.sim.units import ONE_E4

__all__ = ["BookSide", "Level", "Book", "draw_size_e2", "open_book", "retreat", "advance", "trim"]

_LEAST_LEVELS: Final = 3
_MOST_LEVELS: Final = 8


class BookSide(Enum):
    """A side of the YES book."""

    BID = "bid"
    ASK = "ask"

    @property
    def outward(self) -> int:
        """+1 or -1: the direction of worse prices."""
        return 1 if self is BookSide.ASK else -1

    @property
    def other(self) -> BookSide:
        """The opposite side."""
        return BookSide.BID if self is BookSide.ASK else BookSide.ASK


@dataclass(frozen=True, slots=True)
class Level:
    """The new size in 1/100 contract at one price in 1/10,000 dollar; size 0 removes the level."""

    side: BookSide
    price_e4: int
    size_e2: int


@dataclass(slots=True)
class Book:
    """Both sides of one market: price to size. No level is ever zero or negative, no side is empty, never crossed."""

    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)

    def levels(self, side: BookSide) -> dict[int, int]:
        """Price in 1/10,000 dollar to size in 1/100 contract."""
        return self.asks if side is BookSide.ASK else self.bids

    def touch(self, side: BookSide) -> int:
        """The best price of a side in 1/10,000 dollar."""
        return min(self.asks) if side is BookSide.ASK else max(self.bids)

    def copy(self) -> Book:
        """A book of its own with the same levels."""
        return Book(dict(self.bids), dict(self.asks))

    def apply(self, level: Level) -> None:
        """Set or remove one level.

        Raises:
            ValueError: the change would cross the book, empty the side, or remove what is not there.
        """
        levels = self.levels(level.side)
        if level.size_e2 > 0:
            levels[level.price_e4] = level.size_e2
        elif level.price_e4 not in levels or len(levels) == 1:
            raise ValueError(f"cannot remove {level}: the side holds {sorted(levels)}; retreat before removing")
        else:
            del levels[level.price_e4]
        if max(self.bids, default=0) >= min(self.asks, default=ONE_E4):
            raise ValueError(f"{level} crosses the book: retreat the other side first")


def draw_size_e2(rng: random.Random, least: int = 5, most: int = 900) -> int:
    """A size in 1/100 contract: mostly whole contracts, sometimes odd decimals, now and then a very large order."""
    whole = rng.randrange(least, most) * 100
    shape = rng.randrange(10)
    if shape < 5:
        return whole
    if shape < 7:
        return whole + 10 * rng.randrange(1, 10)
    if shape < 9:
        return whole + rng.randrange(1, 100)
    return whole * rng.randrange(20, 90) + 50


def _step(rng: random.Random, tick_e4: int) -> int:
    return tick_e4 * (rng.randrange(1, 9) if tick_e4 < 100 else rng.randrange(1, 3))


def _inside(price_e4: int, tick_e4: int) -> bool:
    return tick_e4 <= price_e4 <= ONE_E4 - tick_e4


def open_book(rng: random.Random, bid_e4: int, ask_e4: int, tick_e4: int) -> Book:
    """A full ladder on both sides from the given best prices outwards."""
    book = Book()
    for side, touch_e4 in ((BookSide.BID, bid_e4), (BookSide.ASK, ask_e4)):
        price_e4 = touch_e4
        for _ in range(rng.randrange(4, _MOST_LEVELS)):
            if _inside(price_e4, tick_e4):
                book.levels(side)[price_e4] = draw_size_e2(rng)
            price_e4 += side.outward * _step(rng, tick_e4)
    return book


def retreat(rng: random.Random, book: Book, side: BookSide, limit_e4: int, tick_e4: int) -> list[Level]:
    """The changes after which no level of ``side`` is better than ``limit_e4``; deeper levels come before any goes.

    The changes are returned, not applied. The result is empty when the side already stands there.
    """
    levels = book.levels(side)
    better = [price for price in levels if (price - limit_e4) * side.outward < 0]
    if not better:
        return []
    kept = {price for price in levels if price not in better}
    added: list[Level] = []
    price_e4 = limit_e4
    while len(kept) < _LEAST_LEVELS and _inside(price_e4, tick_e4):
        if price_e4 not in kept:
            kept.add(price_e4)
            added.append(Level(side, price_e4, draw_size_e2(rng)))
        price_e4 += side.outward * _step(rng, tick_e4)
    better.sort(key=lambda price: price * side.outward)
    return [*added, *(Level(side, price, 0) for price in better)]


def advance(book: Book, side: BookSide, price_e4: int, size_e2: int) -> list[Level]:
    """The change that makes ``price_e4`` the best of the side, or nothing when the side is already as good."""
    if (price_e4 - book.touch(side)) * side.outward >= 0:
        return []
    return [Level(side, price_e4, size_e2)]


def trim(book: Book, side: BookSide) -> list[Level]:
    """The removal of the deepest level of a ladder that has grown too long."""
    levels = book.levels(side)
    if len(levels) <= _MOST_LEVELS:
        return []
    deepest = max(levels, key=lambda price: price * side.outward)
    return [Level(side, deepest, 0)]
