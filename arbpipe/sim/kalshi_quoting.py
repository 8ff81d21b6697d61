"""The market maker of simulated Kalshi: the scenario's quotes, kept on each market's grid and out of markets that are shut.

Where the grid of a market is the scenario's own and the market trades, a step goes through unchanged. Otherwise a quote
goes to the nearest price on the grid that is no better, and what a market missed while it was shut is made up for later.
"""

from __future__ import annotations

from collections.abc import Callable

from arbpipe.sim.kalshi_catalog import Catalog
from arbpipe.sim.kalshi_ticks import Grid
from arbpipe.sim.listing import Venue
from arbpipe.sim.market import E6_PER_E2, Step, World
from arbpipe.sim.quotes import BookSide
from arbpipe.sim.units import ONE_E4

__all__ = ["QuotedWorld"]

#: Sizes in 1/1,000,000 contract by (buys YES, price in 1/10,000 dollar).
Ladder = dict[tuple[bool, int], int]


class QuotedWorld(World):
    """A world of Kalshi's markets only. Call :meth:`bind` before the first step."""

    def __init__(self, *, seed: int, events: int, seconds: float) -> None:
        super().__init__(seed=seed, events=events, seconds=seconds, venue=Venue.KALSHI)
        self._catalog: Catalog | None = None
        self._may_quote: Callable[[str], bool] = lambda _: True
        #: What the scenario wants, whatever the grid, and what a command wants instead.
        self._wanted: dict[str, Ladder] = {}
        self._instead: dict[str, Ladder] = {}
        self._missed: set[str] = set()
        self._withdrawn: dict[str, Ladder] = {}

    def bind(self, catalog: Catalog, may_quote: Callable[[str], bool]) -> None:
        """Quote on the grids of ``catalog``, and only where ``may_quote`` says so for the ticker."""
        self._catalog = catalog
        self._may_quote = may_quote
        for ticker in catalog.markets:
            self._wanted[ticker] = self._shown(ticker)
            self.regrid(ticker)

    def _listing(self) -> Catalog:
        assert self._catalog is not None, "bind comes before the first step"
        return self._catalog

    def _grid(self, ticker: str) -> Grid:
        return self._listing().markets[ticker].life.grid

    def _shown(self, ticker: str) -> Ladder:
        book = self._listing().book(ticker)
        return {(side, price): size for side in (True, False) for price, size in book.quotes(side).items()}

    def apply(self, step: Step) -> None:
        """Let the market maker of one market act."""
        ticker = step.market.native_id
        wanted = self._wanted.setdefault(ticker, {})
        places = []
        for level in step.levels:
            place = (level.side is BookSide.BID, level.price_e4)
            wanted[place] = level.size_e2 * E6_PER_E2
            if level.size_e2 == 0:
                del wanted[place]
            places.append(place)
        if ticker in self._instead:
            return
        if not self._may_quote(ticker):
            self._missed.add(ticker)
            return
        if ticker in self._missed:
            self.refresh(ticker)
            return
        grid, book = self._grid(ticker), self._listing().book(ticker)
        for buys_yes, price_e4 in places:
            on_e4 = grid.worse(buys_yes, price_e4)
            if 0 < on_e4 < ONE_E4:
                book.set_quote(buys_yes, on_e4, self._size_at(wanted, grid, buys_yes, on_e4))

    @staticmethod
    def _size_at(wanted: Ladder, grid: Grid, buys_yes: bool, on_e4: int) -> int:
        """The sizes of all quotes that the grid moves to one price."""
        return sum(
            size for (side, price), size in wanted.items() if side is buys_yes and grid.worse(side, price) == on_e4
        )

    def _on_grid(self, ticker: str, ladder: Ladder) -> Ladder:
        grid = self._grid(ticker)
        moved: Ladder = {}
        for (buys_yes, price_e4), size_e6 in ladder.items():
            on_e4 = grid.worse(buys_yes, price_e4)
            if 0 < on_e4 < ONE_E4:
                moved[buys_yes, on_e4] = moved.get((buys_yes, on_e4), 0) + size_e6
        return moved

    def _show(self, ticker: str, ladder: Ladder) -> None:
        """Make these the quotes: first what goes, then what comes."""
        book = self._listing().book(ticker)
        for buys_yes, price_e4 in self._shown(ticker):
            if (buys_yes, price_e4) not in ladder:
                book.set_quote(buys_yes, price_e4, 0)
        for (buys_yes, price_e4), size_e6 in ladder.items():
            book.set_quote(buys_yes, price_e4, size_e6)

    def set_ladder(self, ticker: str, ladder: Ladder) -> None:
        """Quote this and leave the scenario aside, until :meth:`release`; a market without a scenario keeps it."""
        self._instead[ticker] = dict(ladder)
        self._missed.add(ticker)
        if self._may_quote(ticker):
            self.refresh(ticker)

    def release(self) -> None:
        """Quote what the scenario wants again, wherever it wants something."""
        for ticker in [each for each in self._instead if each in self._wanted]:
            del self._instead[ticker]
            self._missed.add(ticker)
            if self._may_quote(ticker):
                self.refresh(ticker)

    def regrid(self, ticker: str) -> None:
        """The grid has changed: quotes that are off it move to it."""
        shown = self._shown(ticker)
        moved = self._on_grid(ticker, shown)
        if moved != shown:
            self._show(ticker, moved)

    def refresh(self, ticker: str) -> None:
        """Make up for what a market missed, or show again what was withdrawn from it."""
        withdrawn = self._withdrawn.pop(ticker, None)
        if ticker in self._missed:
            self._missed.discard(ticker)
            self._show(
                ticker,
                self._on_grid(ticker, self._instead[ticker] if ticker in self._instead else self._wanted[ticker]),
            )
        elif withdrawn is not None:
            self._show(ticker, self._on_grid(ticker, withdrawn))

    def withdraw(self, ticker: str) -> None:
        """Empty the market maker's side of a book, until :meth:`refresh`."""
        shown = self._shown(ticker)
        if shown:
            self._withdrawn[ticker] = shown
            self._show(ticker, {})
