"""The two-cell latch: a seqlock that a killed writer cannot jam (shm.md 1.3, finding 5).

A version word selects the complete cell. The writer fills the *other* cell and then stores the next version; whenever
it dies, the version still points at a whole cell. A reader accepts a copy only if the version did not move meanwhile.
"""

from __future__ import annotations

from typing import Final

from arbpipe._python.region import Region
from arbpipe.shm.layout import CELL, ROW

__all__ = ["ROW_BUSY", "row_read", "row_write"]

#: What :func:`row_read` returns when the row moved under every try.
ROW_BUSY: Final = -1
_CELL0: Final = ROW.offset("cell0")
_SIZE: Final = CELL.size
_TRIES: Final = 64


def row_write(region: Region, offset: int, cell: bytes | bytearray) -> int:
    """Publish ``cell`` (192 bytes) in the row at ``offset``; return the new version. Single writer.

    Raises:
        ValueError: the cell has another length.
    """
    if len(cell) != _SIZE:
        raise ValueError(f"a cell of {len(cell)} bytes: {_SIZE} expected")
    version = region.load_u64(offset) + 1
    # The cell a reader may still be copying is (version - 1) & 1; this fills the other one.
    region.write(offset + _CELL0 + (version & 1) * _SIZE, cell)
    region.store_u64(offset, version)  # release: pairs with the first load in row_read
    return version


def row_read(region: Region, offset: int, into: bytearray) -> int:
    """Copy the current cell into ``into``; return its version, 0 if never written, ``ROW_BUSY`` after 64 tries."""
    for _ in range(_TRIES):
        version = region.load_u64(offset)  # acquire: pairs with the store in row_write
        if version == 0:
            return 0
        into[:] = region.read(offset + _CELL0 + (version & 1) * _SIZE, _SIZE)
        if region.load_u64(offset) == version:  # equal, not "same parity": version + 1 already refills our cell next
            return version
    return ROW_BUSY
