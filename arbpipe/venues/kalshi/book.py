"""One Kalshi market's book, in integers.

Kalshi publishes bids only, of both sides. Buying a side takes the other side's bids, so a side's asks are the
complement of the other side's bids. Levels are kept at own-side prices, whichever way the connection prices them.
"""

from __future__ import annotations

from bisect import bisect_left

from arbpipe.fixedpoint import MAX_SIZE_E2, ONE_DOLLAR_E4, format_price, format_size
from arbpipe.identity import Side
from arbpipe.venues.frames import FrameError
from arbpipe.venues.kalshi.messages import Delta, Level, RestBook, Snapshot

__all__ = ["KalshiBook"]


class _Bids:
    """The bids of one side: three parallel lists, prices ascending, so the best level is the last."""

    __slots__ = ("as_asks", "prices", "sizes")

    def __init__(self) -> None:
        self.prices: list[int] = []
        self.sizes: list[int] = []  # exact: a size above the row's limit must still shrink correctly
        self.as_asks: list[Level] = []  # what the other side's buyer sees, kept ready: it is read after every frame

    def clear(self) -> None:
        self.prices.clear()
        self.sizes.clear()
        self.as_asks.clear()

    def load(self, levels: tuple[Level, ...], *, mirror: bool) -> int | None:
        """Take the levels; return the price that stands twice, if one does."""
        book = {}
        for price_e4, size_e2 in levels:
            own = ONE_DOLLAR_E4 - price_e4 if mirror else price_e4
            if own in book:
                return price_e4
            book[own] = size_e2
        self.prices = sorted(price for price, size in book.items() if size)
        self.sizes = [book[price] for price in self.prices]
        self.as_asks = [(ONE_DOLLAR_E4 - price, min(book[price], MAX_SIZE_E2)) for price in self.prices]
        return None

    def add(self, price_e4: int, delta_e2: int) -> int:
        """Change one level; return its new size. A negative one is returned and not stored."""
        prices = self.prices
        at = bisect_left(prices, price_e4)
        if at < len(prices) and prices[at] == price_e4:
            size = self.sizes[at] + delta_e2
            if size > 0:
                self.sizes[at] = size
                self.as_asks[at] = (ONE_DOLLAR_E4 - price_e4, size if size < MAX_SIZE_E2 else MAX_SIZE_E2)
            elif size == 0:
                del prices[at], self.sizes[at], self.as_asks[at]
            return size
        if delta_e2 > 0:
            prices.insert(at, price_e4)
            self.sizes.insert(at, delta_e2)
            self.as_asks.insert(at, (ONE_DOLLAR_E4 - price_e4, delta_e2 if delta_e2 < MAX_SIZE_E2 else MAX_SIZE_E2))
        return delta_e2


class KalshiBook:
    """The bids of both sides of one market.

    Invariant: while :attr:`valid`, no level is zero or negative and no price stands twice on a side. While it is not,
    the book has no level at all, and changes are ignored until the next snapshot.
    """

    __slots__ = ("_clock", "_sides", "_use_yes_price", "_valid", "ticker")

    def __init__(self, ticker: str, *, use_yes_price: bool) -> None:
        """``use_yes_price`` must be what the subscription asked for: NO levels then arrive at YES prices."""
        self.ticker = ticker
        self._use_yes_price = use_yes_price
        self._sides = (_Bids(), _Bids())
        self._clock = 0
        self._valid = False

    @property
    def valid(self) -> bool:
        """True from a snapshot until :meth:`clear` or an error."""
        return self._valid

    def clear(self) -> None:
        """Forget every level; the book is not valid until the next snapshot."""
        self._valid = False
        self._clock = 0
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
        for side, levels in ((Side.YES, snapshot.yes), (Side.NO, snapshot.no)):
            twice = self._sides[side].load(levels, mirror=mirror and side is Side.NO)
            if twice is not None:
                self.clear()
                raise FrameError(
                    "level",
                    f"{self.ticker}: price {format_price(twice)} stands twice on side {side.name} of one snapshot;"
                    " ask for a new one",
                    self.ticker,
                )
        self._clock = clock
        self._valid = True

    def apply_delta(self, delta: Delta) -> None:
        """Change one level. Ignored while the book is not valid, and when the snapshot already contains it.

        Raises:
            FrameError: kind ``ticker`` if it is another market's (the book is unchanged); kind ``level`` if the level
                would become negative (the book is then cleared).
        """
        if delta.market_ticker != self.ticker:
            self._check_ticker(delta.market_ticker)
        if not self._valid:
            return
        clock = delta.clock
        if clock is not None and self._clock and clock <= self._clock:
            return
        side = delta.side
        price_e4 = delta.price_e4
        if self._use_yes_price and side == Side.NO:
            price_e4 = ONE_DOLLAR_E4 - price_e4
        size = self._sides[side].add(price_e4, delta.delta_e2)
        if size < 0:
            self.clear()
            raise FrameError(
                "level",
                f"{self.ticker}: {side.name} bid at {format_price(price_e4)} would be {format_size(size)} contracts"
                f" after a change of {format_size(delta.delta_e2)}; a frame was lost, ask for a snapshot",
                self.ticker,
            )

    def asks(self, side: Side, depth: int = 8) -> list[Level]:
        """What a buyer of ``side`` can take, best first; sizes saturate at ``MAX_SIZE_E2``."""
        return self._sides[1 - side].as_asks[: -depth - 1 : -1]

    def bids(self, side: Side, depth: int = 8) -> list[Level]:
        """What a seller of ``side`` can take, best first; sizes saturate at ``MAX_SIZE_E2``."""
        return [(ONE_DOLLAR_E4 - price, size) for price, size in self._sides[side].as_asks[: -depth - 1 : -1]]

    def best_bid(self, side: Side) -> Level | None:
        """The best bid of ``side``; None if it has none."""
        best = self.bids(side, 1)
        return best[0] if best else None

    @property
    def crossed(self) -> bool:
        """True if the best YES bid and the best NO bid add up to a dollar or more: no healthy book does that."""
        yes, no = self._sides[0].prices, self._sides[1].prices
        return bool(yes) and bool(no) and yes[-1] + no[-1] >= ONE_DOLLAR_E4

    def _check_ticker(self, market_ticker: str) -> None:
        if market_ticker != self.ticker:
            raise FrameError(
                "ticker",
                f"a frame of {market_ticker} was given to the book of {self.ticker}; route frames by their ticker",
                market_ticker,
            )
