"""From a book to shared memory: what both feeds do after they applied a frame.

Owns the rows, costs, changes and connection lines of one range. One publish per instrument and frame; nothing is published
while the feed re-reads a recording after a restart (*muted*).
"""

from __future__ import annotations

from typing import Final

from arbpipe.alerts import Alerts
from arbpipe.clock import stamp_ns
from arbpipe.identity import Venue
from arbpipe.shm.core import Outlet
from arbpipe.shm.generation import Listing
from arbpipe.shm.layout import Role, Stage
from arbpipe.shm.row import Outlets, Quotes, RowFlag, RowWriter
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

assert Counter.SEQUENCED == Counter.FRAMES + 1, "heard() counts both in one call"


def _terms(listing: Listing) -> tuple[object, ...]:
    """What an outlet is made for."""
    return listing.uid, listing.fee, listing.min_size_e2


class LagMeter:
    """How far the venue's clock runs behind ours, against its rolling minimum over one to two minutes."""

    _WINDOW_MS: Final = 60_000

    __slots__ = ("_current", "_previous", "_window_end")

    def __init__(self) -> None:
        self._current = self._previous = 1 << 62
        self._window_end = 0

    def lag_ms(self, local_ms: int, venue_ms: int) -> int:
        """The lag of one frame in milliseconds, never negative."""
        difference = local_ms - venue_ms
        if local_ms >= self._window_end:
            self._previous, self._current = self._current, difference
            self._window_end = local_ms + self._WINDOW_MS
        elif difference < self._current:
            self._current = difference
        least = self._current if self._current < self._previous else self._previous
        return difference - least


class CrossWatch:
    """One crossed frame: no quote until the next. Crossed twice, or for 250 ms: quarantine (design 6)."""

    _LIMIT_NS: Final = 250_000_000

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: dict[str, tuple[int, int]] = {}

    def __bool__(self) -> bool:
        """Whether any instrument is crossed now: while none is, a frame that is not crossed need not be seen."""
        return bool(self._since)

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
        #: A venue that speaks to us trades; False where somebody asks the venue itself.
        self.frames_say_trading = True
        self.connections = Connections(segment)
        self._range = ranges_of(segment)[role]
        self._rows = RowWriter(segment)
        self._outlets = Outlets(
            segment,
            self._range.log,
            Histogram(segment, Stage.FRAME_TO_ROW, role).at,
            (line.counter_at(Counter.PUBLISHED), line.counter_at(Counter.CHANGES)),
        )
        self._of: dict[int, tuple[Listing, Outlet]] = {}  # slot → what is published there
        self._first = self._range.first_connection
        self._count = self._range.connections
        self._frames_at = line.counter_at(Counter.FRAMES)
        self._tally = segment.region.add_run
        self._store = segment.region.store_run
        self._costs = Costs(segment)
        self._quarantine = Quarantine(segment, "feed")
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
        if not 0 <= number < self._count:
            raise IndexError(f"connection {number}: {self._count} are configured ([segment] connections)")
        return self._first + number

    def opened(self, number: int, age_ns: int) -> int:
        """The connection is open in a new epoch: everything before it is void. Return the epoch."""
        index = self.connection(number)
        epoch = self.connections.next_epoch(index)
        self.connections.confirm(index, 0)
        self.connections.note(index, lag_ms=0, last_frame_ns=age_ns)
        if not self.muted:
            self.connections.set_state(index, ConnectionState.LIVE)
            if self.frames_say_trading:
                self.venue_state(VenueState.TRADING)
        return epoch

    def venue_state(self, state: VenueState) -> None:
        """What the venue allows, as far as its feed knows."""
        self._venues.set(self.venue, state)

    def closed(self, number: int, reason: str) -> None:
        """The connection is gone; one store invalidates all its books."""
        index = self.connection(number)
        self.connections.set_state(index, ConnectionState.DOWN, reason)
        self.connections.next_epoch(index)

    def heard(self, line_at: int, age_ns: int, lag_ms: int, frames: int, gaps: int) -> None:
        """A frame in sequence: it counts, and every book of its connection is as of ``age_ns``.

        ``line_at``: :meth:`Connections.line_at`; ``lag_ms`` as :class:`LagMeter` says it; ``frames`` and ``gaps`` of this
        connection so far.
        """
        self._tally(self._frames_at, 1, 1)
        self._store(line_at, age_ns, lag_ms, age_ns, frames, gaps)

    # -- rows --------------------------------------------------------------------------------------------------------

    def publish(
        self,
        listing: Listing,
        number: int,
        epoch: int,
        flags: RowFlag,
        venue_ms: int,
        recv_ns: int,
        tick_e4: int,
        yes_asks: Quotes,
        no_asks: Quotes,
        verified: bool = False,
    ) -> int:
        """Publish one instrument's row, cost and change; return the version that stands for it now.

        A row that would say the same as the one that stands is not published again: its version stands. ``verified``:
        the check of what is published has passed already.
        """
        if self.muted:
            return 0
        known = self._of.get(listing.slot)
        outlet = known[1] if known is not None and known[0] is listing else self._outlet(listing)
        if not listing.tradeable and listing.fee is not None:
            flags |= RowFlag.NOT_TRADEABLE
        if not 0 <= number < self._count:
            self.connection(number)  # raises
        return outlet.publish(
            self._first + number, epoch, flags, venue_ms, recv_ns, tick_e4, yes_asks, no_asks, verified
        )

    def _outlet(self, listing: Listing) -> Outlet:
        """The outlet of a listing, made anew only if its terms are new: a generation lists all of them again."""
        known = self._of.get(listing.slot)
        if known is None or _terms(known[0]) != _terms(listing):
            outlet = self._outlets.make(listing.slot, listing.uid, listing.fee, listing.min_size_e2)
        else:
            outlet = known[1]
        self._of[listing.slot] = (listing, outlet)
        return outlet

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
        if listing.slot in self._of:
            # the row too: an attempt of an older generation reads it, and nobody will correct its prices any more
            self.withdraw(listing, 0, 0, RowFlag.NOT_TRADEABLE, stamp_ns())
        self._costs.no_quote(listing.slot)
        self.quarantine(listing.slot, QuarantineReason.NONE)
        self._of.pop(listing.slot, None)

    # -- errors ------------------------------------------------------------------------------------------------------

    def bad(self, code: ErrorCode, text: str) -> None:
        """Count an error; the first of its kind is an alert."""
        # the table forgets a kind when three others came; the alert log must not fill up with it for that
        if self.line.error(code, text) and code not in self._alerted:
            self._alerted.add(code)
            self.alerts.alert(code, text, noted=True)
