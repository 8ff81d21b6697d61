"""Two rings that never block and never lie: the change log (slot numbers) and the opportunity ring (entries).

Positions are 64-bit, start at 0 and are never wrapped; only the index is masked. The writer overwrites the oldest
entry. Entry ``n`` is valid only if ``head − n < capacity`` still holds *after* it was copied: the writer fills an entry
before it moves the head, so at ``head − n == capacity`` the entry may be half overwritten.
"""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING, Final

from arbpipe._python.region import Region
from arbpipe.shm.layout import HEAD_BYTES

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Overrun", "log_drain", "log_place", "log_push", "overrun", "ring_push", "ring_read"]

_STRIDE_MOST: Final = 4096


class Overrun(Exception):
    """The reader was too slow: the entry it asked for is gone. ``head`` is where the writer stands now."""

    head: int = 0


def overrun(head: int) -> Overrun:
    """The error, with its text."""
    error = Overrun(f"overrun: the writer stands at {head}")
    error.head = head
    return error


def _check(region: Region, base: int, capacity: int, stride: int) -> None:
    if capacity < 2 or capacity & (capacity - 1):
        raise ValueError(f"capacity {capacity}: a power of two of at least 2 is expected")
    region._at(base, HEAD_BYTES + capacity * stride, 8)


def _check_stride(stride: int) -> None:
    if not 8 <= stride <= _STRIDE_MOST or stride % 8:
        raise ValueError(f"stride {stride}: a multiple of 8 up to {_STRIDE_MOST} is expected")


def _check_position(position: int) -> None:
    if not 0 <= position < 1 << 64:
        raise ValueError(f"{position} does not fit the word it is stored in")


def log_place(region: Region, base: int, capacity: int) -> tuple[int, int]:
    """A change log's place, checked."""
    base, capacity = index(base), index(capacity)
    _check(region, base, capacity, 4)
    return base, capacity


def log_push(region: Region, base: int, capacity: int, slot: int, /) -> int:
    """Append a slot number to the change log at ``base``; return the new head. Single writer."""
    _check(region, base, capacity, 4)
    head = region.load_u64(base)
    region.store_u32(base + HEAD_BYTES + 4 * (head & (capacity - 1)), slot)
    region.store_u64(base, head + 1)  # release: pairs with the head load in log_drain
    return head + 1


def log_drain(region: Region, base: int, capacity: int, tail: int, /) -> tuple[list[int], int]:
    """All slot numbers from position ``tail`` on, and the position after them.

    Raises:
        Overrun: entries from ``tail`` on were overwritten; sweep everything and go on at ``head``.
    """
    _check(region, base, capacity, 4)
    _check_position(tail)
    head = region.load_u64(base)  # acquire: pairs with the store in log_push
    if head == tail:
        return [], tail
    if head < tail or head - tail >= capacity:
        raise overrun(head)
    entries = base + HEAD_BYTES
    slots = [region.load_u32(entries + 4 * (n & (capacity - 1))) for n in range(tail, head)]
    now = region.load_u64(base)
    if now - tail >= capacity:
        raise overrun(now)
    return slots, head


def ring_push(region: Region, base: int, capacity: int, stride: int, entry: Buffer, /) -> int:
    """Write ``entry`` at the head of the ring; return its position. Single writer.

    Raises:
        ValueError: the entry has another length than ``stride``.
    """
    _check_stride(stride)
    length = memoryview(entry).nbytes
    if length != stride:
        raise ValueError(f"an entry of {length} bytes: {stride} expected")
    _check(region, base, capacity, stride)
    head = region.load_u64(base)
    region.write(base + HEAD_BYTES + stride * (head & (capacity - 1)), entry)
    region.store_u64(base, head + 1)  # release: pairs with the head load in ring_read
    return head


def ring_read(region: Region, base: int, capacity: int, stride: int, position: int, /) -> bytes | None:
    """The entry at ``position``, or ``None`` if it is not written yet.

    Raises:
        Overrun: the entry was overwritten.
    """
    _check_stride(stride)
    _check(region, base, capacity, stride)
    _check_position(position)
    head = region.load_u64(base)  # acquire: pairs with the store in ring_push
    if position == head:
        return None
    if position > head or head - position >= capacity:
        raise overrun(head)
    entry = region.read(base + HEAD_BYTES + stride * (position & (capacity - 1)), stride)
    now = region.load_u64(base)
    if now - position >= capacity:
        raise overrun(now)
    return entry
