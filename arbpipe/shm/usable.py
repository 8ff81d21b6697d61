"""The only staleness rule (design 6): may this row be traded on now, and if not, why.

Usable ⇔ connection LIVE, same epoch, confirmed within ``max_confirm_age``, lag within ``max_lag``, owner alive, not
quarantined, venue and market trading. Detector and executor call the same function; nothing else decides freshness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from arbpipe.clock import boottime_ns
from arbpipe.identity import Venue
from arbpipe.shm.layout import CONNECTION, PROCESS, Role
from arbpipe.shm.row import Reason, Row, RowReader
from arbpipe.shm.segment import Segment
from arbpipe.shm.tables import ConnectionState, Quarantine, VenueState, VenueStates

__all__ = ["Freshness", "UsableRule"]


@dataclass(frozen=True, slots=True)
class Freshness:
    """The thresholds of the rule, from the configuration's ``[freshness]``."""

    max_confirm_age_ns: int
    max_lag_ms: int
    max_heartbeat_age_ns: int


_EPOCH: Final = CONNECTION.offset("epoch")
_CONFIRMED: Final = CONNECTION.offset("confirmed_ns")
_LAG: Final = CONNECTION.offset("lag_ms")
_LIVE: Final = int(ConnectionState.LIVE)
_FEED_OF: Final = {Venue.KALSHI: Role.FEED_KALSHI, Venue.POLYMARKET: Role.FEED_POLYMARKET}


class UsableRule:
    """Evaluates the rule against one segment."""

    def __init__(self, segment: Segment, limits: Freshness) -> None:
        self._region = segment.region
        self._limits = limits
        # asked for each claim of each cover that is looked at: a connection's four words share one look for their place
        self._connections = segment.section("connections")
        self._rows = RowReader(segment)
        self._quarantine = Quarantine(segment)
        self._venues = VenueStates(segment)
        processes = segment.section("processes")
        self._heartbeats = {
            venue: processes.at(role) + PROCESS.offset("heartbeat_ns") for venue, role in _FEED_OF.items()
        }

    def check(self, venue: Venue, uid: int, slot: int, row: Row | None, now_ns: int) -> tuple[Reason, int, int]:
        """Return ``(reason, value, threshold)``; ``Reason.NONE`` means usable. ``now_ns`` is the age clock's.

        A confirmation or heartbeat of 0 is "never", also while the clock itself is younger than the threshold.
        """
        if row is None:
            return Reason.NO_ROW, 0, 0
        if row.uid != uid:
            return Reason.WRONG_UID, 0, 0
        if row.flags:
            return Reason.FLAGGED, row.flags, 0
        if row.fee is None:
            return Reason.FEE_UNKNOWN, 0, 0
        region = self._region
        connection = self._connections.at(row.connection)
        state = region.load_u32(connection)
        if state != _LIVE:
            return Reason.CONNECTION_DOWN, state, _LIVE
        epoch = region.load_u32(connection + _EPOCH)
        if row.epoch != epoch:
            return Reason.OLD_EPOCH, row.epoch, epoch
        confirmed = max(region.load_i64(connection + _CONFIRMED), self._rows.confirmed_ns(slot))
        age = now_ns - confirmed
        if not confirmed or abs(age) > self._limits.max_confirm_age_ns:  # from the future: a clock jumped
            return Reason.NOT_CONFIRMED, age, self._limits.max_confirm_age_ns
        lag = region.load_i64(connection + _LAG)
        if lag > self._limits.max_lag_ms:
            return Reason.LAG, lag, self._limits.max_lag_ms
        beat_ns = region.load_i64(self._heartbeats[venue])
        silent = boottime_ns() - beat_ns
        if not beat_ns or silent > self._limits.max_heartbeat_age_ns:
            return Reason.OWNER_DEAD, silent, self._limits.max_heartbeat_age_ns
        quarantine = self._quarantine.reason(slot)
        if quarantine:
            return Reason.QUARANTINE, quarantine, 0
        venue_state = self._venues.worst(venue)
        if venue_state is not VenueState.TRADING:
            return Reason.VENUE_STATE, venue_state, 0
        return Reason.NONE, 0, 0
