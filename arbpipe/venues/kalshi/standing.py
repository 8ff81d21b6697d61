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

__all__ = ["FACTS_AGE_NS", "FEE_AGE_NS", "Exchange", "Facts", "Standing", "Window"]

#: Nothing is begun so shortly before the venue goes into maintenance: an order could be on its way when it does.
_BEFORE_MAINTENANCE_MS: Final = 60_000
_STATUS_AGE_NS: Final = 10_000_000_000
#: How old a statement about a market, and about its fee, may be.
FACTS_AGE_NS: Final = 60_000_000_000
FEE_AGE_NS: Final = 400_000_000_000
#: After these no read brings a market back, only its own activation.
_ENDS: Final = frozenset({"closed", "determined", "settled"})
_STOPS: Final = _ENDS | {"deactivated"}


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
    ``close_ms``: 0 where it names none. ``against``: why no market of its kind is traded; empty if nothing is."""

    status: str
    event_ticker: str
    exchange_index: int | None
    tick_e4: int
    close_ms: int
    against: str = ""


@dataclass(slots=True)
class _Market:
    facts: Facts | None = None
    facts_ns: int = 0  # when the read that stated them began
    doubt: str = ""  # why the fee we price with is not the venue's
    fee_ns: int = 0  # when the read that compared it began; 0: never yet
    halted: str = ""  # the lifecycle event that stopped it
    said_ns: int = 0  # when a frame last said something of it
    fee_said_ns: int = 0  # when a frame last said something of its fee
    changed: str = ""  # what is not any more as it was approved


class Standing:
    """The standing of every listed market. ``strict``: without the venue's own statements nothing trades, which is how a live
    feed works; a recording has none, and there only its own frames count. ``lag_ns``: for so long after a frame a read may
    still show what was before it, so it takes back nothing that the frame said. ``age_ns`` is CLOCK_BOOTTIME."""

    def __init__(self, *, strict: bool, lag_ns: int = 30_000_000_000) -> None:
        self._strict = strict
        self.lag_ns = lag_ns
        self._markets: dict[str, _Market] = {}
        self._exchange: Exchange | None = None
        self._exchange_ns = 0
        self._windows: tuple[Window, ...] = ()
        self._heard_ns = 0  # since when every lifecycle frame has been heard; 0: they are not heard
        self._changed = False
        self._closes_ms = 0  # the next close time of any market; 0 where there is none
        self._expires_ns = 0  # when the next statement is too old

    def list(self, tickers: Iterable[str]) -> None:
        """Work with these markets; what is known of others is forgotten."""
        self._markets = {ticker: self._markets.get(ticker) or _Market() for ticker in tickers}
        self._changed = True

    def stirred(self, wall_ms: int, age_ns: int) -> bool:
        """Whether some market's flags may be others than when this was last asked: the venue said something new, a close time
        has passed, or a statement has grown too old."""
        if not (self._changed or 0 < self._closes_ms <= wall_ms or 0 < self._expires_ns < age_ns):
            return False
        self._changed = False
        known = [market for market in self._markets.values() if market.facts is not None]
        self._closes_ms = min((m.facts.close_ms for m in known if m.facts and m.facts.close_ms > wall_ms), default=0)
        ends = [m.facts_ns + FACTS_AGE_NS for m in known] + [m.fee_ns + FEE_AGE_NS for m in known if m.fee_ns]
        self._expires_ns = min((end for end in ends if end >= age_ns), default=0)
        return True

    @property
    def tickers(self) -> tuple[str, ...]:
        """The listed markets."""
        return tuple(self._markets)

    # -- what the venue states ---------------------------------------------------------------------------------------

    def exchange(self, status: Exchange, age_ns: int) -> None:
        """The exchange's status as of ``age_ns``."""
        self._changed |= status != self._exchange
        self._exchange, self._exchange_ns = status, age_ns

    def calendar(self, windows: Sequence[Window]) -> None:
        """The maintenance windows that are announced."""
        self._windows = tuple(windows)

    def hearing(self, on: bool, age_ns: int) -> None:
        """The lifecycle channel is subscribed from now on, or is not any more. What was read before it was is too old: what
        happened in between was said to nobody."""
        self._heard_ns = age_ns if on else 0
        self._changed = True

    def missed(self, age_ns: int) -> None:
        """A frame was lost that may have been about any market: what was read before now does not count."""
        if self._heard_ns:
            self.hearing(True, age_ns)

    def facts(self, ticker: str, facts: Facts | None, began_ns: int) -> bool:
        """What a read that began at ``began_ns`` states of a market; None if the venue does not list it (any more). Return
        whether its book is void: it was reactivated unheard, which cancels every resting order."""
        market = self._markets.get(ticker)
        if market is None:
            return False
        if market.facts is not None and market.said_ns and began_ns < market.said_ns + self.lag_ns:
            market.facts_ns = began_ns  # as fresh as can be, but a frame knew better
            return False
        did_not_count = market.facts_ns < self._heard_ns or began_ns - market.facts_ns > FACTS_AGE_NS
        self._changed |= facts != market.facts or did_not_count
        market.facts, market.facts_ns = facts, began_ns
        unheard = bool(market.halted) and market.halted not in _ENDS and facts is not None and facts.status == "active"
        if unheard:
            market.halted = ""
            self._changed = True
        return unheard

    def fee(self, ticker: str, doubt: str, began_ns: int) -> None:
        """Whether the fee that a market is priced with is the venue's, by a read that began at ``began_ns``; ``doubt`` says
        why it is not."""
        market = self._markets.get(ticker)
        if market is None or (not doubt and market.fee_said_ns and began_ns < market.fee_said_ns + self.lag_ns):
            return
        self._changed |= doubt != market.doubt or began_ns - market.fee_ns > FEE_AGE_NS or not market.fee_ns
        market.doubt, market.fee_ns = doubt, began_ns

    def lifecycle(self, message: MarketLifecycle, age_ns: int) -> bool:
        """One lifecycle frame; return whether the market's book is void after it (reactivation cancels every resting order;
        a book of before a change of the grid may hold prices that nobody can trade at)."""
        market = self._markets.get(message.market_ticker)
        if market is None:
            return False
        self._changed = True
        market.said_ns = age_ns
        kind, facts = message.event_type, market.facts
        if kind == "activated":
            void = bool(market.halted) or facts is None or facts.status != "active"
            market.halted = ""
            if facts is not None:
                market.facts = replace(facts, status="active")
            return void
        if kind == "close_date_updated":
            if facts is not None and message.close_s is not None:
                market.facts = replace(facts, close_ms=message.close_s * 1000)
        elif kind == "price_level_structure_updated":
            if facts is not None:
                market.facts = replace(facts, tick_e4=finest_step_e4(message.price_ranges or ()))
            return True
        elif kind == "metadata_updated":
            market.changed = "its strike or its title changed while it was listed"
        elif kind in _STOPS or (self._strict and kind != "created"):
            market.halted = kind  # where reads can take it back a word of tomorrow stops it as well
        return False

    def fee_changed(self, event_ticker: str, age_ns: int) -> tuple[str, ...]:
        """An event's fees were overridden, or the override was cleared: its markets, whose fee is in doubt until it is read
        again."""
        self._changed = True
        hit = []
        for ticker, market in self._markets.items():
            if market.facts is None or market.facts.event_ticker == event_ticker:
                hit.append(ticker)
                market.doubt, market.fee_said_ns = f"the fees of {event_ticker} were changed", age_ns
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

    def of(self, ticker: str, wall_ms: int, age_ns: int) -> tuple[RowFlag, str]:
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
        if not self._heard_ns:
            return RowFlag.HALTED, "what happens to it is not heard"
        if facts is None or market.facts_ns < self._heard_ns:
            return RowFlag.HALTED, "the venue has not stated that it trades"
        if age_ns - market.facts_ns > FACTS_AGE_NS:
            return RowFlag.HALTED, "what the venue stated of it is too old"
        if facts.status != "active":
            return RowFlag.HALTED, f"its status is {facts.status[:60]!r}"
        if facts.close_ms and wall_ms >= facts.close_ms:
            return RowFlag.HALTED, "its close time has passed"
        if self._exchange is not None and not all(self._exchange.of(facts.exchange_index)):
            return RowFlag.HALTED, f"exchange shard {facts.exchange_index} is paused"
        if not facts.tick_e4:
            return RowFlag.NOT_TRADEABLE, "its price ranges make no grid"
        if facts.against:
            return RowFlag.NOT_TRADEABLE, facts.against
        if market.doubt:
            return RowFlag.NOT_TRADEABLE, market.doubt
        if not market.fee_ns or age_ns - market.fee_ns > FEE_AGE_NS:
            return RowFlag.HALTED, "whether its fee is the one it is priced with was not read lately"
        return RowFlag.NONE, ""

    def tick_e4(self, ticker: str) -> int:
        """The market's grid as the venue states it; 0 where it is not known."""
        market = self._markets.get(ticker)
        return market.facts.tick_e4 if market is not None and market.facts is not None else 0
