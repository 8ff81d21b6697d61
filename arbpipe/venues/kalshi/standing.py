"""May this market trade now, as far as Kalshi says? Pure bookkeeping: what the venue stated goes in, flags come out.

Three sources: the exchange's status and its maintenance calendar (kalshi.md 3.2 and 6), the market's own facts by REST, and
the lifecycle frames (2.6), which arrive first and say least. Activation and close happen by the clock and are announced by
nobody, so the close time is a fact. What is not known does not trade.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from arbpipe.shm.row import RowFlag
from arbpipe.shm.tables import VenueState
from arbpipe.venues.kalshi.grid import finest_step_e4
from arbpipe.venues.kalshi.messages import MarketLifecycle

__all__ = ["Exchange", "Facts", "Standing", "Window"]

#: Nothing is begun so shortly before the venue goes into maintenance: an order could be on its way when it does.
_BEFORE_MAINTENANCE_MS: Final = 60_000
_STATUS_AGE_NS: Final = 10_000_000_000
_HALTS: Final = frozenset({"deactivated", "closed", "determined", "settled"})


@dataclass(frozen=True, slots=True)
class Exchange:
    """``GET /exchange/status``: ``(exchange_active, trading_active)`` of all shards that it names, and of shard 0, for which
    the top level speaks."""

    exchange_active: bool
    trading_active: bool
    shards: Mapping[int, tuple[bool, bool]] = field(default_factory=dict)

    def of(self, shard: int | None) -> tuple[bool, bool]:
        """One shard's state; of one that is not named, and of an unknown one, the worst of all."""
        top = (self.exchange_active, self.trading_active)
        if shard is not None and shard in self.shards:
            return self.shards[shard]
        if shard == 0 or not self.shards:
            return top
        every = [top, *self.shards.values()]
        return all(exchange for exchange, _ in every), all(trading for _, trading in every)

    @property
    def best(self) -> tuple[bool, bool]:
        """The state of the shard that may do most."""
        every = [self.of(shard) for shard in self.shards] or [(self.exchange_active, self.trading_active)]
        return any(exchange for exchange, _ in every), any(exchange and trading for exchange, trading in every)


@dataclass(frozen=True, slots=True)
class Window:
    """A maintenance window by the venue's clock, milliseconds since 1970."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What the venue states of one market. ``tick_e4``: the finest step of its price ranges, 0 where they make no grid.
    ``close_ms``: 0 where it names none. ``fee_doubt``: why the fee we price with is not the venue's; empty if it is."""

    status: str
    event_ticker: str
    exchange_index: int | None
    tick_e4: int
    close_ms: int
    fee_doubt: str = ""


@dataclass(slots=True)
class _Market:
    facts: Facts | None = None
    halted: str = ""  # the lifecycle event that stopped it
    changed: str = ""  # what is not any more as it was approved


class Standing:
    """The standing of every listed market. ``strict``: without the venue's own statements nothing trades, which is how a live
    feed works; a recording has none, and there only its own frames count."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._markets: dict[str, _Market] = {}
        self._exchange: Exchange | None = None
        self._exchange_ns = 0
        self._windows: tuple[Window, ...] = ()
        self._changed = False
        self._closes_ms = 0  # the next close time of any market; 0 where there is none

    def list(self, tickers: Iterable[str]) -> None:
        """Work with these markets; what is known of others is forgotten."""
        self._markets = {ticker: self._markets.get(ticker) or _Market() for ticker in tickers}
        self._changed = True

    def stirred(self, wall_ms: int) -> bool:
        """Whether some market's flags may be others than when this was last asked: the venue said something new, or a close
        time has passed."""
        passed = 0 < self._closes_ms <= wall_ms
        if not (self._changed or passed):
            return False
        self._changed = False
        coming = [
            m.facts.close_ms for m in self._markets.values() if m.facts is not None and m.facts.close_ms > wall_ms
        ]
        self._closes_ms = min(coming, default=0)
        return True

    @property
    def tickers(self) -> tuple[str, ...]:
        """The listed markets."""
        return tuple(self._markets)

    # -- what the venue states ---------------------------------------------------------------------------------------

    def exchange(self, status: Exchange, age_ns: int) -> None:
        """The exchange's status as of ``age_ns`` (CLOCK_BOOTTIME)."""
        self._changed |= status != self._exchange
        self._exchange, self._exchange_ns = status, age_ns

    def calendar(self, windows: Sequence[Window]) -> None:
        """The maintenance windows that are announced."""
        self._windows = tuple(windows)

    def facts(self, ticker: str, facts: Facts | None) -> None:
        """What the venue states of a market; None if it does not list it (any more)."""
        market = self._markets.get(ticker)
        if market is not None:
            self._changed |= facts != market.facts
            market.facts = facts
            if facts is not None and facts.status == "active" and market.halted == "deactivated":
                market.halted = ""  # its activation was announced while we were not connected

    def lifecycle(self, message: MarketLifecycle) -> bool:
        """One lifecycle frame; return whether the market's book is void after it (reactivation cancels every resting order;
        a book of before a change of the grid may hold prices that nobody can trade at)."""
        market = self._markets.get(message.market_ticker)
        if market is None:
            return False
        self._changed = True
        kind, facts = message.event_type, market.facts
        if kind in _HALTS:
            market.halted = kind
        elif kind == "activated":
            void = bool(market.halted) or facts is None or facts.status != "active"
            market.halted = ""
            if facts is not None:
                market.facts = replace(facts, status="active")
            return void
        elif kind == "close_date_updated" and facts is not None and message.close_s is not None:
            market.facts = replace(facts, close_ms=message.close_s * 1000)
        elif kind == "price_level_structure_updated" and facts is not None:
            market.facts = replace(facts, tick_e4=finest_step_e4(message.price_ranges or ()))
            return True
        elif kind == "metadata_updated":
            market.changed = "its strike or its title changed while it was listed"
        return False

    def fee_changed(self, event_ticker: str) -> tuple[str, ...]:
        """An event's fees were overridden, or the override was cleared: its markets, whose fee is in doubt until it is read
        again."""
        self._changed = True
        hit = []
        for ticker, market in self._markets.items():
            if market.facts is None or market.facts.event_ticker == event_ticker:
                hit.append(ticker)
                if market.facts is not None:
                    market.facts = replace(market.facts, fee_doubt=f"the fees of {event_ticker} were changed")
        return tuple(hit)

    # -- what follows ------------------------------------------------------------------------------------------------

    def venue(self, age_ns: int, wall_ms: int) -> tuple[VenueState, str]:
        """The venue's state, and why it is not TRADING."""
        if not self._strict:
            return VenueState.TRADING, ""
        for window in self._windows:
            if window.start_ms - _BEFORE_MAINTENANCE_MS <= wall_ms < window.end_ms:
                return VenueState.PAUSED, "maintenance, by the venue's calendar"
        if self._exchange is None or age_ns - self._exchange_ns > _STATUS_AGE_NS:
            return VenueState.UNKNOWN, "the exchange's status is not known"
        exchange, trading = self._exchange.best
        if not exchange:
            return VenueState.CLOSED, "the exchange is paused"
        if not trading:
            return VenueState.PAUSED, "trading is paused"
        return VenueState.TRADING, ""

    def of(self, ticker: str, wall_ms: int) -> tuple[RowFlag, str]:
        """A market's flags, and why it may not trade."""
        market = self._markets.get(ticker)
        if market is None:
            return RowFlag.NONE, ""
        if market.halted:
            return RowFlag.HALTED, market.halted
        if market.changed:
            return RowFlag.NOT_TRADEABLE, market.changed
        if not self._strict:
            return RowFlag.NONE, ""
        facts = market.facts
        if facts is None:
            return RowFlag.HALTED, "the venue has not stated that it trades"
        if facts.status != "active":
            return RowFlag.HALTED, f"its status is {facts.status[:40]!r}"
        if facts.close_ms and wall_ms >= facts.close_ms:
            return RowFlag.HALTED, "its close time has passed"
        if self._exchange is not None and not all(self._exchange.of(facts.exchange_index)):
            return RowFlag.HALTED, f"exchange shard {facts.exchange_index} is paused"
        if not facts.tick_e4:
            return RowFlag.NOT_TRADEABLE, "its price ranges make no grid"
        if facts.fee_doubt:
            return RowFlag.NOT_TRADEABLE, facts.fee_doubt
        return RowFlag.NONE, ""

    def tick_e4(self, ticker: str) -> int:
        """The market's grid as the venue states it; 0 where it is not known."""
        market = self._markets.get(ticker)
        return market.facts.tick_e4 if market is not None and market.facts is not None else 0
