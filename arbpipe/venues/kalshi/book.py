"""One Kalshi market's book, in integers.

Kalshi publishes bids only, of both sides. Buying a side takes the other side's bids, so a side's asks are the
complement of the other side's bids. Levels are kept at own-side prices, whichever way the connection prices them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Final

from arbpipe.fixedpoint import MAX_SIZE_E2, ONE_DOLLAR_E4, format_price, format_size
from arbpipe.identity import Side
from arbpipe.venues.frames import FrameError
from arbpipe.venues.kalshi.messages import Delta, Level, RestBook, Snapshot

__all__ = ["KalshiBook"]

_YES, _NO = Side.YES, Side.NO  # looking a member up costs more than using it
_PRICE: Final = (1 << 32) - 1


class _Bids:
    """The bids of one side, as the other side's buyer sees them: by ask price, ascending, so the best is the first."""

    __slots__ = ("prices", "quotes", "sizes")

    def __init__(self) -> None:
        self.prices: list[int] = []
        self.sizes: list[int] = []  # exact: a size above the row's limit must still shrink correctly
        self.quotes = array("q")  # ready for the row: see KalshiBook.yes_quotes; the same object for ever

    def clear(self) -> None:
        self.prices.clear()
        self.sizes.clear()
        del self.quotes[:]

    def load(self, levels: tuple[Level, ...], *, mirror: bool) -> int | None:
        """Take the levels; return the price that stands twice, if one does. ``mirror``: they are ask prices already."""
        # a level without size is none
        book = {price if mirror else ONE_DOLLAR_E4 - price: size for price, size in levels if size}
        if len(book) != len(levels):
            seen = [price for price, _ in levels]
            if len(set(seen)) != len(seen):
                return next(price for price in seen if seen.count(price) > 1)
        self.prices = sorted(book)
        self.sizes = [book[price] for price in self.prices]
        self.quotes[:] = array(
            "q",
            [
                price | (size if size < MAX_SIZE_E2 else MAX_SIZE_E2) << 32
                for price, size in zip(self.prices, self.sizes, strict=True)
            ],
        )
        return None


class KalshiBook:
    """The bids of both sides of one market.

    Invariant: while :attr:`valid`, no level is zero or negative and no price stands twice on a side. While it is not,
    the book has no level at all, and changes are ignored until the next snapshot.
    """

    __slots__ = ("_clock", "_sides", "_use_yes_price", "crossed", "no_quotes", "ticker", "valid", "yes_quotes")

    def __init__(self, ticker: str, *, use_yes_price: bool) -> None:
        """``use_yes_price`` must be what the subscription asked for: NO levels then arrive at YES prices."""
        self.ticker = ticker
        self._use_yes_price = use_yes_price
        self._sides = (_Bids(), _Bids())
        self._clock = 0
        #: True from a snapshot until :meth:`clear` or an error.
        self.valid = False
        #: True if the best YES bid and the best NO bid add up to a dollar or more: no healthy book does that.
        self.crossed = False
        #: What a buyer of YES can take, best first, as a row stores it: ``price_e4 | size_e2 << 32``, sizes saturated at
        #: ``MAX_SIZE_E2``. The book's own: good until the next frame, not to be changed; and the same for NO.
        self.yes_quotes, self.no_quotes = self._sides[1].quotes, self._sides[0].quotes

    def clear(self) -> None:
        """Forget every level; the book is not valid until the next snapshot."""
        self.valid = False
        self._clock = 0
        self.crossed = False
        for side in self._sides:
            side.clear()

    def apply_snapshot(self, snapshot: Snapshot | RestBook) -> None:
        """Replace the book. A REST book always has own-side prices and is never mirrored.

        Raises:
            FrameError: kind ``ticker`` if it is another market's (the book is unchanged); kind ``level`` if a price
                stands twice on one side (the book is then cleared).
        """
        mirror = False
        clock = 0
        if isinstance(snapshot, Snapshot):
            self._check_ticker(snapshot.market_ticker)
            mirror = self._use_yes_price
            clock = snapshot.clock or 0
        self.clear()
        for side, levels in ((_YES, snapshot.yes), (_NO, snapshot.no)):
            twice = self._sides[side].load(levels, mirror=mirror and side is _NO)
            if twice is not None:
                self.clear()
                raise FrameError(
                    "level",
                    f"{self.ticker}: price {format_price(twice)} stands twice on side {side.name} of one snapshot;"
                    " ask for a new one",
                    self.ticker,
                )
        self._clock = clock
        self.valid = True
        self.crossed = self._is_crossed()

    def apply_delta(self, delta: Delta) -> None:
        """Change one level. Ignored while the book is not valid.

        Raises:
            FrameError: kind ``ticker`` if it is another market's (the book is unchanged); kind ``level`` if the level
                would become negative, and kind ``clock`` if the market's clock says that it is older than the snapshot
                (the book is then cleared in both cases).
        """
        if delta.market_ticker != self.ticker:
            self._check_ticker(delta.market_ticker)
        if not self.valid:
            return
        clock = delta.clock
        if clock is not None and self._clock and clock <= self._clock:
            # in sequence a change after a snapshot is younger than it (kalshi.md 2.4), except where maintenance set the
            # clock back: whoever ignores such changes holds a frozen book, whoever applies what is contained a wrong one
            was = self._clock
            self.clear()
            raise FrameError(
                "clock",
                f"{self.ticker}: a change of clock {clock} follows a snapshot of clock {was};"
                " the clock was set back, ask for a snapshot",
                self.ticker,
            )
        side = delta.side
        ask_e4 = delta.price_e4
        if side == _YES or not self._use_yes_price:
            ask_e4 = ONE_DOLLAR_E4 - ask_e4
        bids, delta_e2 = self._sides[side], delta.delta_e2
        prices = bids.prices
        at = bisect_left(prices, ask_e4)
        stands = at < len(prices) and prices[at] == ask_e4
        size_e2 = bids.sizes[at] + delta_e2 if stands else delta_e2
        if size_e2 > 0:
            quote = ask_e4 | (size_e2 if size_e2 < MAX_SIZE_E2 else MAX_SIZE_E2) << 32
            if stands:
                bids.sizes[at] = size_e2
                bids.quotes[at] = quote
            else:
                prices.insert(at, ask_e4)
                bids.sizes.insert(at, size_e2)
                bids.quotes.insert(at, quote)
        elif size_e2 < 0:
            self.clear()
            raise FrameError(
                "level",
                f"{self.ticker}: {side.name} bid at {format_price(ONE_DOLLAR_E4 - ask_e4)} would be"
                f" {format_size(size_e2)} contracts after a change of {format_size(delta_e2)}; a frame was lost,"
                " ask for a snapshot",
                self.ticker,
            )
        elif stands:
            del prices[at], bids.sizes[at], bids.quotes[at]
        if not at:  # the best level may be another
            self.crossed = self._is_crossed()

    def asks(self, side: Side, depth: int = 8) -> list[Level]:
        """What a buyer of ``side`` can take, best first; sizes saturate at ``MAX_SIZE_E2``."""
        return [(quote & _PRICE, quote >> 32) for quote in self._sides[1 - side].quotes[:depth]]

    def bids(self, side: Side, depth: int = 8) -> list[Level]:
        """What a seller of ``side`` can take, best first; sizes saturate at ``MAX_SIZE_E2``."""
        return [(ONE_DOLLAR_E4 - price, size) for price, size in self.asks(side.other, depth)]

    def best_bid(self, side: Side) -> Level | None:
        """The best bid of ``side``; None if it has none."""
        best = self.bids(side, 1)
        return best[0] if best else None

    def _is_crossed(self) -> bool:
        yes, no = self._sides[0].prices, self._sides[1].prices
        return bool(yes) and bool(no) and yes[0] + no[0] <= ONE_DOLLAR_E4

    def _check_ticker(self, market_ticker: str) -> None:
        if market_ticker != self.ticker:
            raise FrameError(
                "ticker",
                f"a frame of {market_ticker} was given to the book of {self.ticker}; route frames by their ticker",
                market_ticker,
            )
