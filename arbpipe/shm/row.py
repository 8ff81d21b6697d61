"""What a row says: packing for the feed, reading for detector and executor, and the one staleness rule.

The cell is the unit that is published (:func:`arbpipe.shm.core.row_publish`); ``verified`` and ``confirmed_ns`` lie outside the
cells and are single words of the same writer.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Final, NamedTuple, TypeAlias

from arbpipe.feemodel import FeeTerms
from arbpipe.identity import Side
from arbpipe.shm import core
from arbpipe.shm.layout import ROW
from arbpipe.shm.segment import Segment

__all__ = ["Levels", "Outlets", "Quotes", "Row", "RowFlag", "RowReader", "RowWriter"]

#: ``(price_e4, size_e2)`` best first.
Levels = Sequence[tuple[int, int]]
#: What a row is made of: levels, or an array (type ``q``) of words ``price_e4 | size_e2 << 32``.
Quotes: TypeAlias = "Levels | array[int]"

_VERIFIED: Final = ROW.offset("verified")
_CONFIRMED: Final = ROW.offset("confirmed_ns")


class RowFlag(IntFlag):
    """Why a row may not trade although it is there; 0 means it may."""

    NONE = 0
    NO_BOOK = 1
    CROSSED = 2
    HALTED = 4
    BAD_FRAME = 8
    TICK_CHANGE = 16
    UNVERIFIABLE = 32
    NOT_TRADEABLE = 64


class Row(NamedTuple):
    """One consistent copy of a row."""

    version: int
    uid: int
    connection: int
    epoch: int
    venue_ms: int
    recv_ns: int
    publish_ns: int
    flags: int
    tick_e4: int
    fee: FeeTerms | None
    yes_asks: tuple[tuple[int, int], ...]
    no_asks: tuple[tuple[int, int], ...]

    def asks(self, side: Side) -> tuple[tuple[int, int], ...]:
        """What buying ``side`` costs, best first."""
        return self.yes_asks if side is Side.YES else self.no_asks

    def bids(self, side: Side) -> tuple[tuple[int, int], ...]:
        """What selling ``side`` brings, best first: the complement of the other side's asks (design 5)."""
        return tuple((10_000 - price, size) for price, size in self.asks(side.other))


class RowWriter:
    """Publishes the rows of one range. Single writer: the holder of the range's role lock."""

    def __init__(self, segment: Segment) -> None:
        self._region = segment.region
        self._place = segment.section("rows")

    def publish(
        self,
        slot: int,
        *,
        uid: int,
        connection: int,
        epoch: int,
        venue_ms: int,
        recv_ns: int,
        publish_ns: int,
        flags: int,
        tick_e4: int,
        fee: FeeTerms | None,
        yes_asks: Quotes,
        no_asks: Quotes,
    ) -> int:
        """Publish one whole row; return its version.

        A row with flags has no levels: a stale price must not be left standing.
        """
        rate, exponent, quantum, align = (
            (fee.rate_e6, fee.exponent, fee.quantum_e6, fee.align_e6) if fee else (0, 0, 0, 0)
        )
        if flags:
            yes_asks = no_asks = ()
        return core.row_publish(
            self._region,
            self._place.at(slot),
            uid,
            connection,
            epoch,
            venue_ms,
            recv_ns,
            publish_ns,
            flags,
            tick_e4,
            rate,
            exponent,
            quantum,
            align,
            yes_asks,
            no_asks,
        )

    def verify(self, slot: int, version: int) -> None:
        """The check of this version passed."""
        self._region.store_u64(self._place.at(slot) + _VERIFIED, version)

    def confirm(self, slot: int, age_ns: int) -> None:
        """The venue's own word that this row is current as of ``age_ns``."""
        self._region.store_i64(self._place.at(slot) + _CONFIRMED, age_ns)


class Outlets:
    """Makes the outlets of one range: an outlet publishes one instrument's row, costs and change in one call (design 5)."""

    def __init__(self, segment: Segment, log: int, latency: int, counters: Sequence[int]) -> None:
        """``log``: the number of the range's change log. Each publication is counted in the histogram at ``latency`` and
        in each of the ``counters``, which are places too."""
        self._region = segment.region
        self._rows = segment.section("rows")
        self._costs = segment.section("cost_e6").offset
        self._log = segment.section("changes").at(log)
        self._capacity = segment.counts.log_capacity
        self._bell = segment.section("doorbell").offset
        self._latency = latency
        self._counters = tuple(counters)

    def make(self, slot: int, uid: int, fee: FeeTerms | None, min_size_e2: int) -> core.Outlet:
        """The outlet of the instrument ``uid`` in ``slot``. It has no cost without a fee or a smallest size: unknown is
        never zero."""
        terms = (fee.rate_e6, fee.exponent, fee.quantum_e6, fee.align_e6) if fee else (0, 0, 0, 0)
        return core.Outlet(
            self._region,
            self._rows.at(slot),
            self._costs + 8 * slot,
            self._log,
            self._capacity,
            self._bell,
            self._latency,
            self._counters,
            slot,
            uid,
            *terms,
            max(min_size_e2, 0),
        )


class RowReader:
    """Reads rows."""

    def __init__(self, segment: Segment) -> None:
        self._region = segment.region
        self._place = segment.section("rows")
        self._fees: dict[tuple[int, ...], FeeTerms] = {}  # a few in all; making one checks it

    def read(self, slot: int) -> Row | None:
        """A consistent copy, or ``None`` when it was never written or moved under every try."""
        found = core.row_fetch(self._region, self._place.at(slot))
        if found is None:
            return None
        fee = None
        if found[10]:  # exponent 0: the fee is unknown
            terms = found[9:13]
            fee = self._fees.get(terms)
            if fee is None:
                fee = self._fees[terms] = FeeTerms(*terms)
        return Row(*found[:9], fee, found[13], found[14])

    def version(self, slot: int) -> int:
        """The version word alone."""
        return self._region.load_u64(self._place.at(slot))

    def verified(self, slot: int) -> int:
        """The last version whose check passed."""
        return self._region.load_u64(self._place.at(slot) + _VERIFIED)

    def confirmed_ns(self, slot: int) -> int:
        """When the row itself was last confirmed, on the age clock; 0 never."""
        return self._region.load_i64(self._place.at(slot) + _CONFIRMED)


class Reason(IntEnum):
    """Why something was not taken: the funnel's vocabulary, from the quote to the fill (design 12)."""

    NONE = 0
    NO_ROW = 1
    WRONG_UID = 2
    NO_QUOTE = 3
    CONNECTION_DOWN = 4
    OLD_EPOCH = 5
    NOT_CONFIRMED = 6
    LAG = 7
    OWNER_DEAD = 8
    QUARANTINE = 9
    VENUE_STATE = 10
    FLAGGED = 11
    FEE_UNKNOWN = 12
    EDGE = 20
    DEPTH = 21
    MIN_SIZE = 22
    EDGE_TOO_LARGE = 23
    ONE_INSTRUMENT = 24
    TAKEN = 30
    EXPIRED = 31
    KILLED = 32
    PAUSED = 33
    BREAKER = 34
    BUSY = 35
    REVOKED = 36
    COOLDOWN = 37
    UNVERIFIED = 38
    PROOF = 39
    GENERATION = 40
    LIMIT_EVENT = 50
    LIMIT_VENUE = 51
    LIMIT_TOTAL = 52
    LIMIT_TAIL = 53
    LIMIT_CASH = 54
    LIMIT_RATE = 55
    LIMIT_UNHEDGED = 56
    NOT_FILLED = 60
