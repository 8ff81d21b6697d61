"""One publication of one instrument: everything a feed stores when its row says something new, in the order on which readers
rely: the row, its check, its costs, the change log; then what only statistics read.

Whether it says something new is asked of shared memory itself: of the cell that stands and of the costs beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from operator import index
from typing import Final, final

from arbpipe._python.region import Region
from arbpipe._python.ring import log_place, log_push
from arbpipe._python.row import Quotes, cell_of, pairs_of, row_write
from arbpipe._python.wait import bell_ring
from arbpipe.feemodel import MAX_EXPONENT, MAX_RATE_E6, FeeTerms, average_cost_e6
from arbpipe.fixedpoint import ONE_DOLLAR_E4
from arbpipe.shm.layout import CELL, HISTOGRAM, LINE, N_BUCKETS, NO_QUOTE, ROW, SUB_BUCKETS

__all__ = ["Outlet", "histogram_record"]

_CELL0: Final = ROW.offset("cell0")
_VERIFIED: Final = ROW.offset("verified")
_COUNTERS: Final = 4
#: The three stamps are no part of what a cell says.
_STAMPS: Final = slice(CELL.offset("venue_ms"), CELL.offset("flags"))
_MOST_SIZE: Final = (1 << 31) - 1
_LONGEST_NS: Final = (1 << 63) - 1


@final
class Outlet:
    """Where one instrument is published, and its terms. Single writer."""

    __slots__ = (
        "_bell",
        "_capacity",
        "_costs",
        "_counters",
        "_fee",
        "_latency",
        "_least",
        "_log",
        "_region",
        "_row",
        "_slot",
        "_terms",
        "_uid",
    )

    def __init__(
        self,
        region: Region,
        row: int,
        costs: int,
        log: int,
        log_capacity: int,
        bell: int,
        latency: int,
        counters: Sequence[int],
        slot: int,
        uid: int,
        fee_rate_e6: int,
        fee_exponent: int,
        fee_quantum_e6: int,
        fee_align_e6: int,
        min_size_e2: int,
        /,
    ) -> None:
        """``fee_exponent`` 0: the fee is unknown; ``min_size_e2`` 0: so is the smallest size. Neither has a cost.

        Raises:
            IndexError: a place outside the region.
            ValueError: a misaligned place, or a number that does not fit its field.
        """
        if hasattr(self, "_region"):
            raise TypeError("the outlet is made already")
        if not isinstance(region, Region):
            raise TypeError("a Region of this core is expected")
        numbers = [
            index(each) for each in (slot, uid, fee_rate_e6, fee_exponent, fee_quantum_e6, fee_align_e6, min_size_e2)
        ]
        limits = (2**32 - 1, 2**64 - 1, MAX_RATE_E6, MAX_EXPONENT, 2**16 - 1, 2**32 - 1, 2**64 - 1)
        for number, most in zip(numbers, limits, strict=True):
            if not 0 <= number <= most:
                raise ValueError(f"{number} does not fit the word it is stored in")
        self._slot, self._uid, rate, exponent, quantum, align, self._least = numbers
        self._terms = (rate, exponent, quantum, align)
        self._fee = FeeTerms(rate, exponent, 1, 1) if exponent else None
        if len(counters) > _COUNTERS:
            raise ValueError(f"{len(counters)} counters: at most {_COUNTERS}")
        self._row = region._at(row, ROW.size, 8)
        self._costs = region._at(costs, 8, 8)
        self._log, self._capacity = log_place(region, log, log_capacity)
        self._bell = region._at(bell, 2 * LINE, 8)
        self._latency = region._at(latency, HISTOGRAM.size, 8)
        self._counters = [region._at(each, 8, 8) for each in counters]
        region._writable()
        self._region = region

    def publish(
        self,
        connection: int,
        epoch: int,
        flags: int,
        venue_ms: int,
        recv_ns: int,
        tick_e4: int,
        yes_asks: Quotes,
        no_asks: Quotes,
        verified: bool,
        /,
    ) -> int:
        """Publish row, costs and change unless the row says it already; return the version that stands.

        A row with flags has no levels and no costs. ``verified``: its check has passed already. Quotes beyond the
        eighth are left out.

        Raises:
            ValueError: a number does not fit its field, or a level is no quote.
        """
        region, row = self._region, self._row
        yes, no = _quotes(yes_asks), _quotes(no_asks)
        now = time.monotonic_ns()
        fields = (self._uid, connection, epoch, venue_ms, recv_ns, now, flags, tick_e4)
        cell = cell_of(*fields, *self._terms, () if flags else yes, () if flags else no)
        region._writable()
        costs = self._cost(flags, yes) | self._cost(flags, no) << 32
        version = region.load_u64(row)
        if version and region.load_u64(self._costs) == costs and _same(cell, self._stands(version)):
            if verified:
                region.store_u64(row + _VERIFIED, version)
            return version
        version = row_write(region, row, cell)
        if verified:
            region.store_u64(row + _VERIFIED, version)
        region.store_u64(self._costs, costs)  # one word: no sweep sees one side's without the other's
        log_push(region, self._log, self._capacity, self._slot)
        bell_ring(region, self._bell)
        histogram_record(region, self._latency, min(time.monotonic_ns() - recv_ns, _LONGEST_NS))
        for counter in self._counters:
            region.add_run(counter, 1)
        return version

    def _stands(self, version: int) -> bytes:
        return self._region.read(self._row + _CELL0 + (version & 1) * CELL.size, CELL.size)

    def _cost(self, flags: int, asks: list[tuple[int, int]]) -> int:
        if flags or self._fee is None or not self._least:
            return NO_QUOTE
        cost = average_cost_e6(self._fee, asks, self._least)
        return NO_QUOTE if cost is None else cost


def _quotes(levels: Quotes) -> list[tuple[int, int]]:
    """The first eight, each a price from 0 to a dollar and a size that is not negative."""
    quotes = []
    for level in pairs_of(levels):
        price, size = map(index, level)
        if not (0 <= price <= ONE_DOLLAR_E4 and 0 <= size <= _MOST_SIZE):
            raise ValueError(f"({price}, {size}) is no quote: a price_e4 of 0 to 10000 and a size_e2 are expected")
        quotes.append((price, size))
    return quotes


def _same(one: bytes, other: bytes) -> bool:
    return one[: _STAMPS.start] == other[: _STAMPS.start] and one[_STAMPS.stop :] == other[_STAMPS.stop :]


def histogram_record(region: Region, base: int, value_ns: int, /) -> None:
    """Count a latency: a bucket of its own below 128 ns, then ``SUB_BUCKETS`` per octave. Single writer."""
    base = region._at(base, HISTOGRAM.size, 8)
    region._writable()
    value_ns = index(value_ns)
    if not -(1 << 63) <= value_ns < 1 << 63:
        raise ValueError(f"{value_ns} does not fit the word it is stored in")
    value = bucket = max(value_ns, 0)
    if value >= 2 * SUB_BUCKETS:
        shift = value.bit_length() - 7
        bucket = min(SUB_BUCKETS * shift + (value >> shift), N_BUCKETS - 1)
    count, total, most, least = (base + HISTOGRAM.offset(name) for name in ("count", "total_ns", "max_ns", "min_ns"))
    at = base + HISTOGRAM.offset("buckets") + 8 * bucket
    region.add_run(at, 1)
    if not region.load_u64(count) or value < region.load_u64(least):
        region.store_u64(least, value)
    region.add_run(count, 1)
    region.add_run(total, value)
    if value > region.load_u64(most):
        region.store_u64(most, value)
