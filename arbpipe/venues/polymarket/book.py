"""One Polymarket token's book: integers to quote from, and the texts that were sent, for the checksum.

The two tokens of a market have mirrored books: a bid of one is an ask of the other (:func:`complement`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from arbpipe.fixedpoint import ONE_DOLLAR_E4, FixedPointError, format_price, parse_book_size_e2, parse_price_e4
from arbpipe.venues.frames import FrameError
from arbpipe.venues.polymarket.codec import Book, Change, ChangeSide, TextLevel
from arbpipe.venues.polymarket.hashing import HashTerms, level_fragment

__all__ = ["Level", "TokenBook", "complement"]

#: ``(price_e4, size_e2)``.
Level = tuple[int, int]


def complement(levels: Iterable[Level]) -> list[Level]:
    """Bids of one token as the asks of the other, or the reverse; best first stays best first."""
    return [(ONE_DOLLAR_E4 - price_e4, size_e2) for price_e4, size_e2 in levels]


class _Levels:
    """One side: three parallel lists, best level last. ``sign`` is 1 for bids and −1 for asks: keys always ascend.

    That is also the order in which the checksum wants them: bids ascending, asks descending.
    """

    __slots__ = ("_joined", "_keys", "_texts", "quotes", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self._keys: list[int] = []
        self._texts: list[str] = []
        self.quotes: list[Level] = []
        self._joined: str | None = ""

    def clear(self) -> None:
        self._keys.clear()
        self._texts.clear()
        self.quotes.clear()
        self._joined = ""

    def load(self, levels: Iterable[tuple[int, int, str]]) -> int | None:
        """Take ``(price_e4, size_e2, text)`` in any order; return the price that stands twice, if one does."""
        ordered = sorted(levels, key=lambda level: level[0] * self.sign)
        self._keys = [price_e4 * self.sign for price_e4, _, _ in ordered]
        self._texts = [text for _, _, text in ordered]
        self.quotes = [(price_e4, size_e2) for price_e4, size_e2, _ in ordered]
        self._joined = None
        for key, following in zip(self._keys, self._keys[1:], strict=False):
            if key == following:
                return key * self.sign
        return None

    def put(self, price_e4: int, size_e2: int, text: str) -> None:
        self._joined = None
        key = price_e4 * self.sign
        at = bisect_left(self._keys, key)
        if at < len(self._keys) and self._keys[at] == key:
            self._texts[at] = text
            self.quotes[at] = (price_e4, size_e2)
        else:
            self._keys.insert(at, key)
            self._texts.insert(at, text)
            self.quotes.insert(at, (price_e4, size_e2))

    def remove(self, price_e4: int) -> None:
        key = price_e4 * self.sign
        at = bisect_left(self._keys, key)
        if at < len(self._keys) and self._keys[at] == key:
            self._joined = None
            del self._keys[at], self._texts[at], self.quotes[at]

    def top(self, depth: int) -> list[Level]:
        top = self.quotes[: -depth - 1 : -1]
        if 0 not in [size for _, size in top]:
            return top
        return [level for level in reversed(self.quotes) if level[1]][:depth]

    def joined(self) -> str:
        if self._joined is None:
            self._joined = ",".join(self._texts)
        return self._joined


class TokenBook:
    """The bids and asks of one token.

    Invariant: while :attr:`valid`, the levels are those that the venue sent last, their texts verbatim. While it is
    not, the book has no level at all, and changes are ignored until the next ``book``. A level too small for 1/100
    share stays for the checksum and is never quoted.

    Errors name the asset id, not the market: a token does not know its market before its first ``book``.
    """

    __slots__ = ("_asks", "_bids", "_valid", "asset_id", "last_trade_price", "market", "tick_size")

    def __init__(self, asset_id: str) -> None:
        self.asset_id = asset_id
        #: The condition id, the price step and the last trade as the venue wrote them; None while unknown.
        self.market: str | None = None
        self.tick_size: str | None = None
        self.last_trade_price: str | None = None
        self._bids = _Levels(1)
        self._asks = _Levels(-1)
        self._valid = False

    @property
    def valid(self) -> bool:
        """True from a ``book`` until :meth:`clear` or an error."""
        return self._valid

    def clear(self) -> None:
        """Forget everything that was received; the book is not valid until the next ``book``."""
        self._drop_levels()
        self.market = self.tick_size = self.last_trade_price = None

    def apply_book(self, book: Book) -> None:
        """Replace every level. A tick size or last trade that the frame does not carry stays what it was.

        Raises:
            FrameError: kind ``asset`` if it is another token's (the book is unchanged); ``price``, ``size`` or
                ``level`` (a price twice on one side): the levels are then dropped.
        """
        self._check_asset(book.asset_id)
        self._drop_levels()
        bids, asks = self._read(book.bids), self._read(book.asks)
        for side, levels in ((self._bids, bids), (self._asks, asks)):
            twice = side.load(levels)
            if twice is not None:
                self._drop_levels()
                raise self._error("level", f"price {format_price(twice)} stands twice on one side of a book")
        self.market = book.market
        if book.tick_size is not None:
            self.tick_size = book.tick_size
        if book.last_trade_price is not None:
            self.last_trade_price = book.last_trade_price
        self._valid = True

    def apply_change(self, change: Change) -> None:
        """Set one level to its new size; zero removes it. Ignored while the book is not valid.

        Raises:
            FrameError: kind ``asset`` if it is another token's (the book is unchanged); ``price`` or ``size``: the
                levels are then dropped.
        """
        if change.asset_id != self.asset_id:
            self._check_asset(change.asset_id)
        if not self._valid:
            return
        price_e4, size_e2, text = self._level(change.price, change.size)
        side = self._bids if change.side is ChangeSide.BUY else self._asks
        if text:
            side.put(price_e4, size_e2, text)
        else:
            side.remove(price_e4)

    def set_last_trade(self, price: str) -> None:
        """Note the market's last trade, of either token, as the venue wrote it: the checksum contains it."""
        self.last_trade_price = price

    def asks(self, depth: int = 8) -> list[Level]:
        """What a buyer of the token can take, best first; sizes are floored and saturate at ``MAX_SIZE_E2``."""
        return self._asks.top(depth)

    def bids(self, depth: int = 8) -> list[Level]:
        """What a seller of the token can take, best first; sizes are floored and saturate at ``MAX_SIZE_E2``."""
        return self._bids.top(depth)

    @property
    def crossed(self) -> bool:
        """True if the best bid is not below the best ask, levels too small to quote included."""
        bids, asks = self._bids.quotes, self._asks.quotes
        return bool(bids) and bool(asks) and bids[-1][0] >= asks[-1][0]

    def fragments(self) -> tuple[str, str]:
        """Bids ascending and asks descending as the checksum contains them; joined once for each changed side."""
        return self._bids.joined(), self._asks.joined()

    def hash_terms(self, *, min_order_size: str, neg_risk: bool, version: str) -> HashTerms | None:
        """The terms of the checksum now; None while the market, tick size or last trade is unknown.

        Raises:
            ValueError: ``version`` is neither ``v1`` nor ``v2``.
        """
        if self.market is None or self.tick_size is None or self.last_trade_price is None:
            return None
        return HashTerms(
            self.market, self.asset_id, min_order_size, neg_risk, self.tick_size, self.last_trade_price, version
        )

    def _drop_levels(self) -> None:
        self._valid = False
        self._bids.clear()
        self._asks.clear()

    def _read(self, levels: Iterable[TextLevel]) -> list[tuple[int, int, str]]:
        read = [self._level(price, size) for price, size in levels]
        return [level for level in read if level[2]]

    def _level(self, price: str, size: str) -> tuple[int, int, str]:
        """The level as integers and as its text, which is empty if the size is exactly zero."""
        try:
            price_e4 = parse_price_e4(price)
        except FixedPointError as error:
            self._drop_levels()
            raise self._error("price", str(error)) from None
        try:
            size_e2 = parse_book_size_e2(size)
        except FixedPointError as error:
            self._drop_levels()
            raise self._error("size", str(error)) from None
        if not size_e2 and not size.strip("-0."):
            return price_e4, 0, ""
        if not 0 < price_e4 < ONE_DOLLAR_E4:
            self._drop_levels()
            raise self._error("price", f"nobody can trade at {price!r}")
        return price_e4, size_e2, level_fragment(price, size)

    def _check_asset(self, asset_id: str) -> None:
        if asset_id != self.asset_id:
            raise FrameError(
                "asset",
                f"a frame of token {asset_id[:80]} was given to the book of {self.asset_id}; route by asset_id",
                asset_id,
            )

    def _error(self, kind: str, detail: str) -> FrameError:
        return FrameError(kind, f"token {self.asset_id}: {detail[:120]}; ask for a fresh book", self.asset_id)
