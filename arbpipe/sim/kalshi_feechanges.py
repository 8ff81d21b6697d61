"""Fees that change while simulated Kalshi runs: of a series at a scheduled moment, of an event at once or at one.

Kept in the store, so a server that is started again charges as before.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass

from arbpipe.sim.kalshi_catalog import Catalog, Json, rfc3339
from arbpipe.sim.kalshi_store import Store
from arbpipe.sim.kalshi_terms import FeeTerms, multiplier_shown

__all__ = ["FeeChange", "FeeChanges"]


@dataclass(slots=True)
class FeeChange:
    """One change. ``event_ticker`` is empty for a series. None is "as the series" and only an event's."""

    id: str
    series_ticker: str
    event_ticker: str
    fee_type: str | None
    multiplier_e2: int | None
    scheduled_us: int
    done: bool = False


class FeeChanges:
    """The list of changes, and who applies them. ``announce`` tells the lifecycle channel."""

    def __init__(self, catalog: Catalog, store: Store, announce: Callable[[str, Json], None]) -> None:
        self._catalog = catalog
        self._store = store
        self._announce = announce
        self.changes = [FeeChange(**json.loads(text)) for text in store.documents("fee").values()]
        for change in sorted(self.changes, key=lambda each: each.scheduled_us):
            if change.done:
                self._apply(change)

    def _save(self, change: FeeChange) -> None:
        with self._store.transaction():
            self._store.put_document("fee", change.id, json.dumps(asdict(change)))

    def _apply(self, change: FeeChange) -> None:
        if change.event_ticker:
            terms = self._catalog.event_fees.setdefault(change.event_ticker, FeeTerms(None, None))
        else:
            terms = self._catalog.series_fees.setdefault(change.series_ticker, FeeTerms(None, None))
        terms.fee_type, terms.multiplier_e2 = change.fee_type, change.multiplier_e2

    def schedule(
        self, series: str, event: str, fee_type: str | None, multiplier_e2: int | None, scheduled_us: int
    ) -> FeeChange:
        """Note a change; one whose moment has come is applied at once."""
        change = FeeChange(str(uuid.uuid4()), series, event, fee_type, multiplier_e2, scheduled_us)
        self.changes.append(change)
        self._save(change)
        self.tick()
        return change

    def tick(self) -> None:
        """Apply what is due, and tell of an event's."""
        now_us = self._catalog.now_us()
        for change in sorted(self.changes, key=lambda each: each.scheduled_us):
            if change.done or change.scheduled_us > now_us:
                continue
            change.done = True
            self._apply(change)
            self._save(change)
            if change.event_ticker:
                self._announce(
                    "event_fee_update",
                    {
                        "event_ticker": change.event_ticker,
                        "fee_type_override": change.fee_type,
                        "fee_multiplier_override": multiplier_shown(change.multiplier_e2),
                    },
                )

    def of_series(self, series: str | None, *, historical: bool) -> list[Json]:
        """The answer of ``GET /series/fee_changes``: what is coming, and with ``historical`` what has been."""
        return [
            {
                "id": each.id,
                "series_ticker": each.series_ticker,
                "fee_type": each.fee_type,
                "fee_multiplier": multiplier_shown(each.multiplier_e2),
                "scheduled_ts": rfc3339(each.scheduled_us),
            }
            for each in self.changes
            if not each.event_ticker and series in (None, each.series_ticker) and (historical or not each.done)
        ]

    def of_events(self, event: str | None) -> list[Json]:
        """The entries of ``GET /events/fee_changes``, newest first."""
        return [
            {
                "id": each.id,
                "event_ticker": each.event_ticker,
                "series_ticker": each.series_ticker,
                "fee_type_override": each.fee_type,
                "fee_multiplier_override": multiplier_shown(each.multiplier_e2),
                "scheduled_ts": rfc3339(each.scheduled_us),
            }
            for each in reversed(self.changes)
            if each.event_ticker and event in (None, each.event_ticker)
        ]
