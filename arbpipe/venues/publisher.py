"""From a book to shared memory: what both feeds do after they applied a frame.

Owns the rows, costs, changes and connection lines of one range. One publish per instrument and frame; nothing is published
while the feed re-reads a recording after a restart (*muted*).
"""

from __future__ import annotations

from typing import Final

from arbpipe.alerts import Alerts
from arbpipe.clock import stamp_ns
from arbpipe.feemodel import average_cost_e6
from arbpipe.identity import Venue
from arbpipe.shm import core
from arbpipe.shm.doorbell import DetectorBell
from arbpipe.shm.generation import Listing
from arbpipe.shm.layout import NO_QUOTE, Role, Stage
from arbpipe.shm.row import Levels, RowFlag, RowWriter
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import Counter, ErrorCode, Histogram, ProcessLine
from arbpipe.shm.tables import (
    FEED_ROLES,
    Connections,
    ConnectionState,
    Costs,
    Quarantine,
    QuarantineReason,
    VenueState,
    VenueStates,
    ranges_of,
)

__all__ = ["CrossWatch", "LagMeter", "Publisher"]


class LagMeter:
    """How far the venue's clock runs behind ours, against its rolling minimum over one to two minutes."""

    _WINDOW_MS: Final = 60_000

    def __init__(self) -> None:
        self._current = self._previous = 1 << 62
        self._window_end = 0

    def lag_ms(self, local_ms: int, venue_ms: int) -> int:
        """The lag of one frame in milliseconds, never negative."""
        difference = local_ms - venue_ms
        if local_ms >= self._window_end:
            self._previous, self._current = self._current, difference
            self._window_end = local_ms + self._WINDOW_MS
        self._current = min(self._current, difference)
        return difference - min(self._current, self._previous)


class CrossWatch:
    """One crossed frame: no quote until the next. Crossed twice, or for 250 ms: quarantine (design 6)."""

    _LIMIT_NS: Final = 250_000_000

    def __init__(self) -> None:
        self._since: dict[str, tuple[int, int]] = {}

    def see(self, native_id: str, crossed: bool, age_ns: int) -> bool:
        """Note one frame's verdict; return whether the instrument must be quarantined."""
        if not crossed:
            self._since.pop(native_id, None)
            return False
        first, times = self._since.get(native_id, (age_ns, 0))
        self._since[native_id] = (first, times + 1)
        return times + 1 >= 2 or age_ns - first >= self._LIMIT_NS


class Publisher:
    """The writing half of one feed."""

    def __init__(self, segment: Segment, role: Role, line: ProcessLine, alerts: Alerts) -> None:
        self.venue: Venue = FEED_ROLES[role]
        self.line = line
        self.alerts = alerts
        self.muted = False
        self.connections = Connections(segment)
        self._range = ranges_of(segment)[role]
        self._region = segment.region
        self._rows = RowWriter(segment)
        self._costs = Costs(segment)
        self._quarantine = Quarantine(segment, "feed")
        self._log = segment.section("changes").at(self._range.log)
        self._log_capacity = segment.counts.log_capacity
        self._bell = DetectorBell(segment)
        self._latency = Histogram(segment, Stage.FRAME_TO_ROW, role)
        self._last: dict[int, tuple[object, ...]] = {}  # slot → what its row says
        self._versions: dict[int, int] = {}  # slot → version of that row
        self._quarantined: set[int] = set()
        self._venues = VenueStates(segment, "feed")
        self._alerted: set[ErrorCode] = set()

    # -- ownership ---------------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """A new owner: every connection DOWN in a new epoch, every claim NO_QUOTE, the venue's state unknown.

        Version words and ring heads stay.
        """
        self._venues.set(self.venue, VenueState.UNKNOWN)
        for index in range(self._range.first_connection, self._range.first_connection + self._range.connections):
            if self.connections.epoch(index) or self.connections.state(index) is not ConnectionState.DOWN:
                self.connections.set_state(index, ConnectionState.DOWN, "new owner")
                self.connections.next_epoch(index)
                self.connections.confirm(index, 0)
        for slot in range(self._range.first_slot, self._range.first_slot + self._range.slots):
            self._costs.no_quote(slot)
            self._quarantine.set(slot, QuarantineReason.NONE)

    def connection(self, number: int) -> int:
        """The line of the feed's connection ``number``.

        Raises:
            IndexError: more connections than the range holds.
        """
        if not 0 <= number < self._range.connections:
            raise IndexError(f"connection {number}: {self._range.connections} are configured ([segment] connections)")
        return self._range.first_connection + number

    def opened(self, number: int, age_ns: int) -> int:
        """The connection is open in a new epoch: everything before it is void. Return the epoch."""
        index = self.connection(number)
        epoch = self.connections.next_epoch(index)
        self.connections.confirm(index, 0)
        self.connections.note(index, lag_ms=0, last_frame_ns=age_ns)
        if not self.muted:
            self.connections.set_state(index, ConnectionState.LIVE)
            # frames are all a feed knows so far: a venue that speaks to us trades
            self._venues.set(self.venue, VenueState.TRADING)
        return epoch

    def closed(self, number: int, reason: str) -> None:
        """The connection is gone; one store invalidates all its books."""
        index = self.connection(number)
        self.connections.set_state(index, ConnectionState.DOWN, reason)
        self.connections.next_epoch(index)

    # -- rows --------------------------------------------------------------------------------------------------------

    def publish(
        self,
        listing: Listing,
        number: int,
        epoch: int,
        *,
        flags: RowFlag,
        venue_ms: int,
        recv_ns: int,
        tick_e4: int,
        yes_asks: Levels,
        no_asks: Levels,
    ) -> int:
        """Publish one instrument's row, cost and change; return the version that stands for it now.

        A row that would say the same as the one before is not published again: its version stands.
        """
        if self.muted:
            return 0
        slot = listing.slot
        if not listing.tradeable:
            flags |= RowFlag.NOT_TRADEABLE if listing.fee is not None else RowFlag.NONE
        if flags:
            yes_asks = no_asks = ()
        terms = (listing.fee, listing.min_size_e2, listing.tradeable)
        says = (listing.uid, number, epoch, flags, tick_e4, terms, tuple(yes_asks), tuple(no_asks))
        if self._last.get(slot) == says:
            return self._versions[slot]
        now = stamp_ns()
        version = self._rows.publish(
            slot,
            uid=listing.uid,
            connection=self.connection(number),
            epoch=epoch,
            venue_ms=venue_ms,
            recv_ns=recv_ns,
            publish_ns=now,
            flags=flags,
            tick_e4=tick_e4,
            fee=listing.fee,
            yes_asks=yes_asks,
            no_asks=no_asks,
        )
        self._costs.store(slot, self._cost(listing, flags, yes_asks), self._cost(listing, flags, no_asks))
        core.log_push(self._region, self._log, self._log_capacity, slot)
        self._bell.ring()
        self._latency.record(stamp_ns() - recv_ns)
        self.line.add(Counter.PUBLISHED)
        self.line.add(Counter.CHANGES)
        self._last[slot] = says
        self._versions[slot] = version
        return version

    @staticmethod
    def _cost(listing: Listing, flags: RowFlag, asks: Levels) -> int:
        if flags or listing.fee is None or not listing.tradeable or not listing.min_size_e2:
            return NO_QUOTE
        cost = average_cost_e6(listing.fee, asks, listing.min_size_e2)
        return NO_QUOTE if cost is None else cost

    def withdraw(self, listing: Listing, number: int, epoch: int, flag: RowFlag, recv_ns: int) -> None:
        """No quote on this instrument until a later publish."""
        self.publish(
            listing,
            number,
            epoch,
            flags=flag,
            venue_ms=0,
            recv_ns=recv_ns,
            tick_e4=listing.tick_e4,
            yes_asks=(),
            no_asks=(),
        )

    def verified(self, slot: int, version: int) -> None:
        """The check of the published version passed."""
        if version and not self.muted:
            self._rows.verify(slot, version)

    def confirm_row(self, slot: int, age_ns: int) -> None:
        """A frame of this very instrument: its row is as of ``age_ns``."""
        if not self.muted:
            self._rows.confirm(slot, age_ns)

    def quarantine(self, slot: int, reason: QuarantineReason) -> None:
        """Set or clear this feed's quarantine byte."""
        if (slot in self._quarantined) == bool(reason):
            return
        (self._quarantined.add if reason else self._quarantined.discard)(slot)
        self._quarantine.set(slot, reason)

    def forget(self, listing: Listing) -> None:
        """The instrument is listed no more: NO_QUOTE is written before the generation is acknowledged."""
        if listing.slot in self._last:
            # the row too: an attempt of an older generation reads it, and nobody will correct its prices any more
            self.withdraw(listing, 0, 0, RowFlag.NOT_TRADEABLE, stamp_ns())
        self._costs.no_quote(listing.slot)
        self.quarantine(listing.slot, QuarantineReason.NONE)
        self._last.pop(listing.slot, None)

    # -- errors ------------------------------------------------------------------------------------------------------

    def bad(self, code: ErrorCode, text: str) -> None:
        """Count an error; the first of its kind is an alert."""
        # the table forgets a kind when three others came; the alert log must not fill up with it for that
        if self.line.error(code, text) and code not in self._alerted:
            self._alerted.add(code)
            self.alerts.alert(code, text, noted=True)
