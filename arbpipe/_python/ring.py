"""Two rings that never block and never lie: the change log (slot numbers) and the opportunity ring (entries).

Positions are 64-bit, start at 0 and are never wrapped; only the index is masked. The writer overwrites the oldest
entry. Entry ``n`` is valid only if ``head − n < capacity`` still holds *after* it was copied: the writer fills an entry
before it moves the head, so at ``head − n == capacity`` the entry may be half overwritten.
"""

from __future__ import annotations

from typing import Final

from arbpipe._python.region import Region
from arbpipe.shm.layout import HEAD_BYTES

__all__ = ["Overrun", "log_drain", "log_push", "ring_push", "ring_read"]

_HEAD: Final = 0


class Overrun(Exception):
    """The reader was too slow: the entry it asked for is gone. ``head`` is where the writer stands now."""

    def __init__(self, head: int) -> None:
        super().__init__(f"overrun: the writer stands at {head}")
        self.head = head


def log_push(region: Region, base: int, capacity: int, slot: int) -> int:
    """Append a slot number to the change log at ``base``; return the new head. Single writer."""
    head = region.load_u64(base + _HEAD)
    region.store_u32(base + HEAD_BYTES + 4 * (head & (capacity - 1)), slot)
    region.store_u64(base + _HEAD, head + 1)  # release: pairs with the head load in log_drain
    return head + 1


def log_drain(region: Region, base: int, capacity: int, tail: int) -> tuple[list[int], int]:
    """All slot numbers from position ``tail`` on, and the position after them.

    Raises:
        Overrun: entries from ``tail`` on were overwritten; sweep everything and go on at ``head``.
    """
    head = region.load_u64(base + _HEAD)  # acquire: pairs with the store in log_push
    if head == tail:
        return [], tail
    if head < tail or head - tail >= capacity:
        raise Overrun(head)
    entries = base + HEAD_BYTES
    slots = [region.load_u32(entries + 4 * (n & (capacity - 1))) for n in range(tail, head)]
    now = region.load_u64(base + _HEAD)
    if now - tail >= capacity:
        raise Overrun(now)
    return slots, head


def ring_push(region: Region, base: int, capacity: int, stride: int, entry: bytes | bytearray) -> int:
    """Write ``entry`` at the head of the ring; return its position. Single writer.

    Raises:
        ValueError: the entry has another length than ``stride``.
    """
    if len(entry) != stride:
        raise ValueError(f"an entry of {len(entry)} bytes: {stride} expected")
    head = region.load_u64(base + _HEAD)
    region.write(base + HEAD_BYTES + stride * (head & (capacity - 1)), entry)
    region.store_u64(base + _HEAD, head + 1)  # release: pairs with the head load in ring_read
    return head


def ring_read(region: Region, base: int, capacity: int, stride: int, position: int) -> bytes | None:
    """The entry at ``position``, or ``None`` if it is not written yet.

    Raises:
        Overrun: the entry was overwritten.
    """
    head = region.load_u64(base + _HEAD)  # acquire: pairs with the store in ring_push
    if position == head:
        return None
    if position > head or head - position >= capacity:
        raise Overrun(head)
    entry = region.read(base + HEAD_BYTES + stride * (position & (capacity - 1)), stride)
    now = region.load_u64(base + _HEAD)
    if now - position >= capacity:
        raise Overrun(now)
    return entry
