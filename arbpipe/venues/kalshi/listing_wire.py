"""What Kalshi's listing says, row by row, as it stands on the wire (kalshi.md 3.2 and 3.3; OpenAPI 3.34.0).

Only what identifies a row is required. Every other member may be absent and is then None, which never means zero:
whoever needs it says so and does not trade. Members that are not named here are ignored, so nothing is named that
nobody uses. A row that cannot be read is an :class:`Unreadable` with its reason, so that one bad row costs no page.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

__all__ = [
    "EventFeeChangeRow",
    "EventRow",
    "MarketRow",
    "Page",
    "PageError",
    "RangeRow",
    "Row",
    "SeriesFeeChangeRow",
    "SeriesRow",
    "Unreadable",
    "moment",
    "plain",
    "read_page",
    "read_row",
]

Stamp = Annotated[datetime, Meta(tz=True)]

#: Before this the venue cannot have meant a moment: an unset time is written as the year 1.
_FIRST_YEAR: Final = 1970
_PLAIN_DIGITS: Final = 40


class PageError(ValueError):
    """An answer is not the page it should be: no JSON object, no list, or no cursor where there must be one."""


class RangeRow(Struct, frozen=True):
    """A band of YES prices in dollars and the step inside it."""

    start: str
    end: str
    step: str


class SeriesRow(Struct, frozen=True):
    """One series. ``fee_multiplier`` is a JSON number, kept as an exact decimal."""

    ticker: str
    title: str | None = None
    category: str | None = None
    fee_type: str | None = None
    fee_multiplier: Decimal | None = None


class EventRow(Struct, frozen=True):
    """One event. A null or absent override is no override; each of the two stands on its own."""

    event_ticker: str
    series_ticker: str
    title: str | None = None
    sub_title: str | None = None
    mutually_exclusive: bool | None = None
    fee_type_override: str | None = None
    fee_multiplier_override: Decimal | None = None
    exchange_index: int | None = None


class MarketRow(Struct, frozen=True):
    """One market. Strikes are JSON numbers, kept as exact decimals; ``*_dollars`` and ``*_fp`` are decimal text.

    ``no_sub_title`` is left out on purpose: in matches it names the YES side. So is ``price_level_structure``: the
    ranges say what the name only hints at.
    """

    ticker: str
    event_ticker: str
    market_type: str | None = None
    yes_sub_title: str | None = None
    status: str | None = None
    result: str | None = None
    open_time: Stamp | None = None
    close_time: Stamp | None = None
    expected_expiration_time: Stamp | None = None
    latest_expiration_time: Stamp | None = None
    occurrence_datetime: Stamp | None = None
    settlement_timer_seconds: int | None = None
    settlement_value_dollars: str | None = None
    settlement_bounds_type: str | None = None
    fee_waiver_expiration_time: Stamp | None = None
    can_close_early: bool | None = None
    early_close_condition: str | None = None
    notional_value_dollars: str | None = None
    yes_bid_dollars: str | None = None
    yes_bid_size_fp: str | None = None
    yes_ask_dollars: str | None = None
    yes_ask_size_fp: str | None = None
    strike_type: str | None = None
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None
    functional_strike: str | None = None
    custom_strike: dict[str, Any] | None = None
    rules_primary: str | None = None
    rules_secondary: str | None = None
    price_ranges: list[RangeRow] | None = None
    is_provisional: bool | None = None
    mve_collection_ticker: str | None = None
    mve_selected_legs: list[Any] | None = None
    exchange_index: int | None = None


class SeriesFeeChangeRow(Struct, frozen=True):
    """A series' fee from ``scheduled_ts`` on."""

    series_ticker: str
    fee_type: str | None = None
    fee_multiplier: Decimal | None = None
    scheduled_ts: Stamp | None = None


class EventFeeChangeRow(Struct, frozen=True):
    """An event's overrides from ``scheduled_ts`` on; null clears. They are required: absent is not cleared."""

    event_ticker: str
    fee_type_override: str | None
    fee_multiplier_override: Decimal | None
    scheduled_ts: Stamp | None = None


Row = TypeVar("Row", SeriesRow, EventRow, MarketRow, SeriesFeeChangeRow, EventFeeChangeRow)

#: Which member names a row of each kind.
_NAMED_BY: Final[dict[type[Any], str]] = {
    SeriesRow: "ticker",
    EventRow: "event_ticker",
    MarketRow: "ticker",
    SeriesFeeChangeRow: "series_ticker",
    EventFeeChangeRow: "event_ticker",
}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that is not what it should be. ``ticker`` is empty where even that cannot be read."""

    ticker: str
    reason: str


class Page(NamedTuple):
    """The rows of one answer, undecoded, and the cursor of the next page; empty at the end."""

    rows: list[Raw]
    cursor: str


def read_page(body: bytes, key: str, *, cursor: bool) -> Page:
    """One page: the list under ``key``, where null is empty, and with ``cursor`` the cursor, which must be there.

    Raises:
        PageError: no JSON object, no list under ``key`` (a list that was removed is not an empty one), or no cursor
            (a cursor that was removed is not the end).
    """
    try:
        members = msgspec.json.decode(body, type=dict[str, Raw])
        if key not in members:
            raise PageError(f"it has no member {key!r}")
        rows = msgspec.json.decode(members[key], type=list[Raw] | None)
        following = msgspec.json.decode(members["cursor"], type=str | None) if "cursor" in members else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PageError(f"it cannot be read: {error}") from None
    if cursor and "cursor" not in members:
        raise PageError("it has no member 'cursor', so nobody can say whether there is more")
    return Page(rows or [], following or "")


def read_row(raw: bytes | Raw, kind: type[Row]) -> Row | Unreadable:
    """One row, or why it cannot be read."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = str(error)
    name = ""
    try:
        found = msgspec.json.decode(raw)
        name = found.get(_NAMED_BY[kind], "") if isinstance(found, dict) else ""
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    return Unreadable(name if isinstance(name, str) else "", reason)


def moment(stamp: datetime | None) -> datetime | None:
    """A moment, or None where the venue says nothing or writes the year 1."""
    return stamp if stamp is not None and stamp.year >= _FIRST_YEAR else None


def plain(number: Decimal | None) -> str | None:
    """A JSON number as plain decimal text, without exponent; None for what is no finite number of a sane length."""
    if number is None or not number.is_finite() or not -_PLAIN_DIGITS < number.adjusted() < _PLAIN_DIGITS:
        return None
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text if len(text) <= _PLAIN_DIGITS else None
