"""Reading one listed market: ticks, quotes, strikes, result, fee, and every reason why it does not trade.

Pure: rows in, values out, the present as an argument. What is unknown is a reason, said in words, and never an error
(F72): a status, type or bound that nobody has seen yet means that this market does not trade.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from itertools import pairwise
from typing import Final

from arbpipe.fixedpoint import (
    ONE_DOLLAR_E4,
    FixedPointError,
    format_price,
    parse_book_size_e2,
    parse_price_e4,
    parse_scaled,
)
from arbpipe.venues.kalshi.fees import kalshi_fee
from arbpipe.venues.kalshi.grid import tick_of
from arbpipe.venues.kalshi.listing_fees import UNKNOWN_FEE, Change, FeeWords, event_override, fee_at, series_fee
from arbpipe.venues.kalshi.listing_wire import EventRow, MarketRow, SeriesRow, moment, plain
from arbpipe.venues.kalshi.messages import PriceRange

__all__ = [
    "Listed",
    "Reason",
    "Why",
    "best_quotes",
    "filter_status",
    "is_combo",
    "is_tradeable_kind",
    "price_ranges",
    "reasons_against",
    "result_words",
    "strike_words",
]

_COMBO_PREFIX: Final = "KXMVE"


class Why(Enum):
    """Why a market does not trade; the value is what reports count by."""

    UNREADABLE = "the row cannot be read"
    COMBO = "a combination of markets"
    NOT_BINARY = "not a binary contract of one dollar"
    UNKNOWN_VALUE = "a value that is not known yet"
    MISSING = "a member is missing"
    TICK = "no price grid"
    SETTLEMENT = "settlement is bounded"
    SHARD = "the shard is unknown"
    PARENT = "its event or series is not in the listing"
    FEE = "the fee is unknown"
    STATUS = "not trading now"


#: Reasons that pass with time; all others are about the market itself.
_PASSING: Final = frozenset({Why.STATUS})


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why a market does not trade, and its details in words."""

    why: Why
    detail: str


@dataclass(frozen=True, slots=True)
class Listed:
    """A market with what it hangs on. ``event`` or ``series`` is None where it was not listed or cannot be read."""

    market: MarketRow
    event: EventRow | None
    series: SeriesRow | None
    series_changes: Sequence[Change] = ()
    event_changes: Sequence[Change] = ()

    def fee(self, at: datetime) -> FeeWords:
        """The fee that holds at ``at``; a part that is None is unknown.

        A waiver (``fee_waiver_expiration_time``) is not counted on: the plan then costs more than the trade.
        """
        if self.event is None or self.series is None:
            return UNKNOWN_FEE
        override = event_override(self.event)
        return fee_at(series_fee(self.series), self.series_changes, override, self.event_changes, at)

    @property
    def exchange_index(self) -> int | None:
        """The shard: the market's word, else its event's; None where nobody says. Never 0 by default."""
        said = self.market.exchange_index
        if said is None and self.event is not None:
            said = self.event.exchange_index
        return said if said is not None and said >= 0 else None


# -- ticks ---------------------------------------------------------------------------------------------------------------


def price_ranges(market: MarketRow) -> tuple[PriceRange, ...] | str:
    """The price bands in order, or in words what is wrong with them. Never taken from ``price_level_structure``."""
    if not market.price_ranges:
        return "price_ranges is missing or empty"
    found = []
    for row in market.price_ranges:
        try:
            band = PriceRange(parse_price_e4(row.start), parse_price_e4(row.end), parse_price_e4(row.step))
        except FixedPointError as error:
            return f"price_ranges: {error}"
        if band.start_e4 >= band.end_e4 or not band.step_e4 or (band.end_e4 - band.start_e4) % band.step_e4:
            return f"price_ranges: {row.start} … {row.end} is no whole number of steps of {row.step}"
        found.append(band)
    found.sort(key=lambda band: band.start_e4)
    for before, after in pairwise(found):
        if before.end_e4 != after.start_e4:
            return f"price_ranges: {format_price(before.end_e4)} is followed by {format_price(after.start_e4)}"
    return tuple(found)


# -- values --------------------------------------------------------------------------------------------------------------


def best_quotes(market: MarketRow) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """YES bid and YES ask as ``(price_e4, size_e2)``; None for a side that is empty or cannot be read.

    An empty side is written as bid 0.0000 or ask 1.0000, older ones as ask 0.0000, with size 0.00: the size tells.
    """
    return (
        _quote(market.yes_bid_dollars, market.yes_bid_size_fp),
        _quote(market.yes_ask_dollars, market.yes_ask_size_fp),
    )


def _quote(price: str | None, size: str | None) -> tuple[int, int] | None:
    if price is None or size is None:
        return None
    try:
        price_e4, size_e2 = parse_price_e4(price), parse_book_size_e2(size)
    except FixedPointError:
        return None
    return (price_e4, size_e2) if size_e2 and 0 < price_e4 < ONE_DOLLAR_E4 else None


def result_words(market: MarketRow) -> str:
    """The result, told apart: none, provisional (anything before ``finalized``) or final."""
    if not market.result:
        return "none yet"
    value = f" at ${market.settlement_value_dollars}" if market.settlement_value_dollars else ""
    return f"{market.result}{value}, {'final' if market.status == 'finalized' else 'provisional'}"


_STRIKES: Final[dict[str, Callable[[str, str], str]]] = {
    "greater": lambda floor, cap: f"more than {floor}",
    "greater_or_equal": lambda floor, cap: f"{floor} or more",
    "less": lambda floor, cap: f"less than {cap}",
    "less_or_equal": lambda floor, cap: f"{cap} or less",
    "between": lambda floor, cap: f"from {floor} to {cap}",
}


def strike_words(market: MarketRow) -> str:
    """The strike with its exact numbers; the direction comes from ``strike_type``, never from the ticker."""
    if market.strike_type is None:
        return "none given"
    floor, cap = plain(market.floor_strike) or "?", plain(market.cap_strike) or "?"
    words = _STRIKES.get(market.strike_type)
    if words is not None:
        return words(floor, cap)
    if market.functional_strike:
        return f"{market.strike_type}: {market.functional_strike}"
    if market.custom_strike:
        return f"{market.strike_type}: " + ", ".join(f"{key} {value}" for key, value in market.custom_strike.items())
    return market.strike_type


def is_combo(ticker: str, market: MarketRow | None = None) -> bool:
    """Whether it is a combination of markets: quoted on request, never part of this listing."""
    return ticker.startswith(_COMBO_PREFIX) or (
        market is not None and bool(market.mve_collection_ticker or market.mve_selected_legs)
    )


_FILTERS: Final = {
    "initialized": "unopened",
    "active": "open",
    "inactive": "paused",
    "closed": "closed",
    "determined": "closed",
    "disputed": "closed",
    "amended": "closed",
    "finalized": "settled",
}


def filter_status(market: MarketRow, now: datetime) -> str | None:
    """Which value of the ``status`` filter the market belongs to at ``now``; None for a status that is not known.

    Closing is silent: a market that was read as active is closed when its ``close_time`` has passed.
    """
    found = _FILTERS.get(market.status or "")
    closes = moment(market.close_time)
    return "closed" if found in ("open", "paused") and closes is not None and closes <= now else found


# -- judgement -----------------------------------------------------------------------------------------------------------

#: Member → values it may have; anything else does not trade. None in a set: the member may be absent.
_KNOWN: Final[dict[str, frozenset[str | None]]] = {
    "status": frozenset(_FILTERS),
    "market_type": frozenset({"binary", "scalar"}),
    "result": frozenset({"", "yes", "no", "scalar"}),
    "settlement_bounds_type": frozenset({None, "default", "floor"}),
    "strike_type": frozenset({None, *_STRIKES, "functional", "custom", "structured"}),
}
_STRIKE_NEEDS: Final = {
    "greater": ("floor_strike",),
    "greater_or_equal": ("floor_strike",),
    "less": ("cap_strike",),
    "less_or_equal": ("cap_strike",),
    "between": ("floor_strike", "cap_strike"),
}


def reasons_against(listed: Listed, now: datetime) -> list[Reason]:
    """Every reason why the market does not trade at ``now``; empty when there is none."""
    market = listed.market
    found: list[Reason] = []
    if is_combo(market.ticker, market):
        found.append(Reason(Why.COMBO, "combinations are quoted on request"))
    found += _of_values(market)
    found += _of_kind(market)
    ranges = price_ranges(market)
    tick = ranges if isinstance(ranges, str) else tick_of(ranges)
    if isinstance(tick, str):
        found.append(Reason(Why.TICK, tick))
    if listed.exchange_index is None:
        found.append(Reason(Why.SHARD, "exchange_index is missing; which shard holds the money is not known"))
    found += _of_parents(listed, now)
    found += _of_time(market, now)
    return found


def is_tradeable_kind(reasons: Sequence[Reason]) -> bool:
    """Whether nothing but time stands against the market."""
    return all(reason.why in _PASSING for reason in reasons)


def _of_values(market: MarketRow) -> list[Reason]:
    found = []
    for member, known in _KNOWN.items():
        value = getattr(market, member)
        if value is None and None not in known:
            found.append(Reason(Why.MISSING, f"{member} is missing"))
        elif value not in known:
            found.append(Reason(Why.UNKNOWN_VALUE, f'{member} "{value}" is not known'))
    for member in _STRIKE_NEEDS.get(market.strike_type or "", ()):
        if plain(getattr(market, member)) is None:
            found.append(Reason(Why.MISSING, f"strike_type {market.strike_type} without a usable {member}"))
    if not market.rules_primary:
        found.append(Reason(Why.MISSING, "rules_primary is missing: nobody can say what it pays for"))
    return found


def _of_kind(market: MarketRow) -> list[Reason]:
    found = []
    if market.market_type == "scalar":
        found.append(Reason(Why.NOT_BINARY, "market_type scalar"))
    try:
        worth_e6 = parse_scaled(market.notional_value_dollars or "", 6, "the value of a contract")
    except FixedPointError:
        worth_e6 = None
    if worth_e6 != 1_000_000:
        found.append(
            Reason(Why.NOT_BINARY, f"notional_value_dollars is {market.notional_value_dollars!r} and not 1.0000")
        )
    if market.settlement_bounds_type == "floor":
        found.append(Reason(Why.SETTLEMENT, 'settlement_bounds_type "floor": NO does not pay a whole dollar'))
    return found


def _of_parents(listed: Listed, now: datetime) -> list[Reason]:
    if listed.event is None:
        return [Reason(Why.PARENT, f"event {listed.market.event_ticker} is not in the listing or cannot be read")]
    if listed.series is None:
        return [Reason(Why.PARENT, f"series {listed.event.series_ticker} is not in the listing or cannot be read")]
    fee = listed.fee(now)
    if fee.fee_type is None or fee.multiplier is None:
        return [Reason(Why.FEE, f"fee_type {fee.fee_type or 'unknown'}, multiplier {fee.multiplier or 'unknown'}")]
    if kalshi_fee(fee.fee_type, fee.multiplier) is None:
        return [Reason(Why.FEE, f'no formula for fee_type "{fee.fee_type}" with multiplier {fee.multiplier}')]
    return []


def _of_time(market: MarketRow, now: datetime) -> list[Reason]:
    found = []
    opens, closes = moment(market.open_time), moment(market.close_time)
    if market.status in _FILTERS and market.status != "active":
        found.append(Reason(Why.STATUS, f"status {market.status}"))
    elif closes is None:
        found.append(Reason(Why.MISSING, "close_time is missing"))
    elif closes <= now:
        found.append(Reason(Why.STATUS, "close_time has passed"))
    elif opens is not None and opens > now:
        found.append(Reason(Why.STATUS, "it opens later"))
    if market.result in ("yes", "no", "scalar") and market.status == "active":
        found.append(Reason(Why.STATUS, f"it has a result ({market.result}) while active"))
    return found
