"""What each listed market may do now, ready for the hot path: the standing of a market as flags and a tick.

Two dictionaries that the feed reads with every frame. They change when :meth:`Allowed.look` is called, which also tells a
person once about a market that does not trade for a reason that does not pass by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from arbpipe.clock import boottime_ns, wall_ns
from arbpipe.shm.generation import Listing
from arbpipe.shm.row import RowFlag
from arbpipe.venues.kalshi.standing import Standing

__all__ = ["Allowed"]


class Allowed:
    """``flags``: of those markets that may not trade, whatever their books say. ``ticks``: the venue's grid, or the listing's
    where the venue has said none yet, in 1/10,000 dollar."""

    def __init__(self, standing: Standing, tell: Callable[[str], None]) -> None:
        self.standing = standing
        self.flags: dict[str, RowFlag] = {}
        self.ticks: dict[str, int] = {}
        self._tell = tell
        self._told: set[tuple[str, str]] = set()
        self._listed: Mapping[str, Listing] = {}

    def list(self, listed: Mapping[str, Listing]) -> None:
        """Work with these markets; what was known of those that stay is kept."""
        self._listed = listed
        self.standing.list(listed)
        self._told = {(ticker, why) for ticker, why in self._told if ticker in listed}
        self.flags.clear()
        self.ticks.clear()
        for ticker in listed:
            self.look(ticker)

    def look(self, ticker: str) -> bool:
        """Look at one listed market again; return whether it may do something else than before."""
        flags, why = self.standing.of(ticker, wall_ns() // 1_000_000, boottime_ns())
        if flags & RowFlag.NOT_TRADEABLE and (ticker, why) not in self._told:
            self._told.add((ticker, why))
            self._tell(f"kalshi:{ticker} does not trade: {why}")
        tick_e4 = self.standing.tick_e4(ticker) or self._listed[ticker].tick_e4
        if flags == self.flags.get(ticker, RowFlag.NONE) and tick_e4 == self.ticks.get(ticker):
            return False
        self.ticks[ticker] = tick_e4
        if flags:
            self.flags[ticker] = flags
        else:
            self.flags.pop(ticker, None)
        return True
