"""Which fee holds at a given time: a series' fee, an event's overrides, and what is scheduled (kalshi.md 3.2 and 4).

Pure functions of what was read. An unknown part makes the whole unknown, and unknown is never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from arbpipe.venues.kalshi.listing_wire import (
    EventFeeChangeRow,
    EventRow,
    SeriesFeeChangeRow,
    SeriesRow,
    moment,
    plain,
)

__all__ = ["NO_OVERRIDE", "UNKNOWN_FEE", "Change", "FeeWords", "event_override", "fee_at", "series_fee", "upcoming"]


@dataclass(frozen=True, slots=True)
class FeeWords:
    """Fee type and multiplier in the venue's words. As a fee, None is unknown; as an override, None is none."""

    fee_type: str | None
    multiplier: str | None


UNKNOWN_FEE = FeeWords(None, None)
NO_OVERRIDE = FeeWords(None, None)


@dataclass(frozen=True, slots=True)
class Change:
    """Words that hold from ``at`` on. ``at`` None: nobody knows when. ``known`` is false where they cannot be read."""

    at: datetime | None
    words: FeeWords
    known: bool = True

    @classmethod
    def of_series(cls, row: SeriesFeeChangeRow) -> Change:
        """A scheduled fee of a series; a missing part makes it unknown."""
        words = FeeWords(row.fee_type, plain(row.fee_multiplier))
        return cls(moment(row.scheduled_ts), words, words.fee_type is not None and words.multiplier is not None)

    @classmethod
    def of_event(cls, row: EventFeeChangeRow) -> Change:
        """Scheduled overrides of an event; null clears one."""
        words = FeeWords(row.fee_type_override, plain(row.fee_multiplier_override))
        return cls(moment(row.scheduled_ts), words, row.fee_multiplier_override is None or words.multiplier is not None)


def series_fee(row: SeriesRow) -> FeeWords:
    """What the series says now."""
    return FeeWords(row.fee_type, plain(row.fee_multiplier))


def event_override(row: EventRow) -> FeeWords | None:
    """What the event says now; None where its multiplier is no number that can be used."""
    words = FeeWords(row.fee_type_override, plain(row.fee_multiplier_override))
    return None if row.fee_multiplier_override is not None and words.multiplier is None else words


def fee_at(
    series: FeeWords,
    series_changes: Iterable[Change],
    override: FeeWords | None,
    event_changes: Iterable[Change],
    at: datetime,
) -> FeeWords:
    """The fee that holds at ``at``; a part that is None is unknown.

    A change replaces what stood before it from its moment on, the latest one counts, and each part of an override
    covers the same part of the series' fee alone. A change that cannot be read, one without a moment, and two that
    contradict each other at one moment make the fee unknown, the first and the last from that moment on.
    """
    base = _latest(series, series_changes, at)
    over = _latest(override, event_changes, at)
    if base is None or over is None:
        return UNKNOWN_FEE
    return FeeWords(
        over.fee_type if over.fee_type is not None else base.fee_type,
        over.multiplier if over.multiplier is not None else base.multiplier,
    )


def _latest(now: FeeWords | None, changes: Iterable[Change], at: datetime) -> FeeWords | None:
    last: datetime | None = None
    words = now
    for change in changes:
        if change.at is None:
            return None
        if change.at > at or (last is not None and change.at < last):
            continue
        found = change.words if change.known else None
        words = found if last is None or change.at > last or found == words else None
        last = change.at
    return words


def upcoming(changes: Sequence[Change], now: datetime) -> list[datetime]:
    """The moments after ``now`` at which something changes, in order."""
    return sorted({change.at for change in changes if change.at is not None and change.at > now})
