"""The two-cell latch: a seqlock that a killed writer cannot jam (shm.md 1.3, finding 5).

A version word selects the complete cell. The writer fills the *other* cell and then stores the next version; whenever
it dies, the version still points at a whole cell. A reader accepts a copy only if the version did not move meanwhile.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from arbpipe._python.region import Region
from arbpipe.shm.layout import CELL, CORE_LAYOUT, DEPTH, ROW

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["LAYOUT", "ROW_BUSY", "Quotes", "cell_of", "pairs_of", "row_fetch", "row_publish", "row_read", "row_write"]

#: What :func:`row_read` returns when the row moved under every try.
ROW_BUSY: Final = -1
_CELL0: Final = ROW.offset("cell0")
_SIZE: Final = CELL.size
_TRIES: Final = 64
#: Best first: pairs ``(price_e4, size_e2)``, or an array of words ``price_e4 | size_e2 << 32``.
Quotes: TypeAlias = "Sequence[tuple[int, int]] | array[int]"
_PAIR: Final = struct.Struct("<ii")
_FIELDS: Final = struct.Struct("<QIIqqqIIIHHII32i")
#: What the two cores must agree on.
LAYOUT: Final = CORE_LAYOUT
if _FIELDS.size != CELL.size:
    raise AssertionError("the cell's struct does not have the cell's size")


def row_write(region: Region, offset: int, cell: Buffer, /) -> int:
    """Publish ``cell`` (192 bytes) in the row at ``offset``; return the new version. Single writer.

    Raises:
        ValueError: the cell has another length.
    """
    region._at(offset, ROW.size, 8)
    length = memoryview(cell).nbytes
    if length != _SIZE:
        raise ValueError(f"a cell of {length} bytes: {_SIZE} expected")
    version = region.load_u64(offset) + 1
    # The cell a reader may still be copying is (version - 1) & 1; this fills the other one.
    region.write(offset + _CELL0 + (version & 1) * _SIZE, cell)
    region.store_u64(offset, version)  # release: pairs with the first load in row_read
    return version


def row_publish(
    region: Region,
    offset: int,
    uid: int,
    connection: int,
    epoch: int,
    venue_ms: int,
    recv_ns: int,
    publish_ns: int,
    flags: int,
    tick_e4: int,
    fee_rate_e6: int,
    fee_exponent: int,
    fee_quantum_e6: int,
    fee_align_e6: int,
    yes_asks: Quotes,
    no_asks: Quotes,
    /,
) -> int:
    """Publish a cell made of its fields; levels beyond the eighth are left out. Single writer.

    Raises:
        ValueError: a number does not fit its field, or a level is not a pair.
    """
    fields = (uid, connection, epoch, venue_ms, recv_ns, publish_ns, flags, tick_e4)
    fee = (fee_rate_e6, fee_exponent, fee_quantum_e6, fee_align_e6)
    return row_write(region, offset, cell_of(*fields, *fee, yes_asks, no_asks))


def cell_of(
    uid: int,
    connection: int,
    epoch: int,
    venue_ms: int,
    recv_ns: int,
    publish_ns: int,
    flags: int,
    tick_e4: int,
    fee_rate_e6: int,
    fee_exponent: int,
    fee_quantum_e6: int,
    fee_align_e6: int,
    yes_asks: Quotes,
    no_asks: Quotes,
) -> bytes:
    """A cell made of its fields; levels beyond the eighth are left out.

    Raises:
        ValueError: a number does not fit its field, or a level is not a pair.
    """
    try:
        return _FIELDS.pack(
            uid,
            connection,
            epoch,
            venue_ms,
            recv_ns,
            publish_ns,
            flags,
            tick_e4,
            fee_rate_e6,
            fee_exponent,
            fee_quantum_e6,
            fee_align_e6,
            0,
            *_flat(yes_asks),
            *_flat(no_asks),
        )
    except struct.error as error:
        if "not an integer" in str(error):
            raise TypeError(f"a field of the cell is no whole number: {error}") from None
        raise ValueError(f"a number does not fit its field of the cell: {error}") from None


def pairs_of(levels: Quotes) -> Sequence[tuple[int, int]]:
    """The first eight as pairs, whichever way they are given.

    Raises:
        TypeError: a buffer of anything but 64-bit words.
    """
    if isinstance(levels, (tuple, list)):
        return levels[:DEPTH]
    try:
        words = memoryview(levels)  # type: ignore[arg-type]
    except TypeError:
        return levels[:DEPTH]  # type: ignore[return-value]
    if words.format != "q" or words.ndim != 1:
        raise TypeError("levels as a buffer: an array of type q is expected")
    return [_PAIR.unpack(words[n : n + 1]) for n in range(min(len(words), DEPTH))]


def _flat(levels: Quotes) -> list[int]:
    flat = [word for price, size in pairs_of(levels) for word in (price, size)]
    return flat + [0] * (2 * DEPTH - len(flat))


def row_read(region: Region, offset: int, into: bytearray, /) -> int:
    """Copy the current cell into ``into``; return its version, 0 if never written, ``ROW_BUSY`` after 64 tries.

    Raises:
        ValueError: the buffer has another length than a cell.
    """
    region._at(offset, ROW.size, 8)
    if len(into) != _SIZE:
        raise ValueError(f"a buffer of {len(into)} bytes: {_SIZE} expected")
    for _ in range(_TRIES):
        version = region.load_u64(offset)  # acquire: pairs with the store in row_write
        if version == 0:
            return 0
        copy = region.read(offset + _CELL0 + (version & 1) * _SIZE, _SIZE)
        if region.load_u64(offset) == version:  # equal, not "same parity": version + 1 already refills our cell next
            into[:] = copy
            return version
    return ROW_BUSY


def row_fetch(
    region: Region, offset: int, /
) -> (
    tuple[
        int,
        int,
        int,
        int,
        int,
        int,
        int,
        int,
        int,
        int,
        int,
        int,
        int,
        tuple[tuple[int, int], ...],
        tuple[tuple[int, int], ...],
    ]
    | None
):
    """The version and every field of the current cell, levels up to the first without size; ``None`` when there is none."""
    cell = bytearray(_SIZE)
    version = row_read(region, offset, cell)
    if version <= 0:
        return None
    fields = _FIELDS.unpack(cell)
    yes, no = _levels(fields[13 : 13 + 2 * DEPTH]), _levels(fields[13 + 2 * DEPTH :])
    return version, *fields[:12], yes, no


def _levels(words: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    levels = []
    for level in zip(words[::2], words[1::2], strict=True):
        if level[1] <= 0:
            break
        levels.append(level)
    return tuple(levels)
