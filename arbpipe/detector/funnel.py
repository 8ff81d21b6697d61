"""What became of each cover, in shared memory: best edge seen and what was missing (design 12, ``arbpipe why``).

One line per cover belongs to the detector, the next one to the executor.
"""

from __future__ import annotations

from arbpipe.shm.layout import COVER_STAT
from arbpipe.shm.row import Reason
from arbpipe.shm.segment import Segment

__all__ = ["CoverFunnel"]


class CoverFunnel:
    """The detector's half of ``cover_stats``. ``index`` is the cover's index in the current generation."""

    def __init__(self, segment: Segment) -> None:
        self._region = segment.region
        self._place = segment.section("cover_stats")
        self._at = {field.name: field.offset for field in COVER_STAT.fields}

    def adopt(self, index: int, cover_id: int) -> None:
        """The line now speaks of ``cover_id``; what it said about another cover is cleared."""
        base = self._place.at(index)
        if self._region.load_u32(base + self._at["cover_id"]) == cover_id:
            return
        self._region.store_u32(base + self._at["cover_id"], cover_id)
        self._region.store_u32(base + self._at["seen"], 0)
        self._region.store_u64(base + self._at["pushed"], 0)
        for name in ("best_edge_e6", "best_size_e2", "best_ns", "last_edge_e6", "last_ns", "value", "threshold"):
            self._region.store_i64(base + self._at[name], 0)
        for name in ("reason", "best_reason"):
            self._region.store_u32(base + self._at[name], Reason.NONE)

    def priced(self, index: int, edge_e6: int, size_e2: int, now_ns: int, reason: Reason) -> None:
        """The cover was priced exactly; ``reason`` is what was missing, ``NONE`` if nothing was."""
        region, base, at = self._region, self._place.at(index), self._at
        region.store_u32(base + at["seen"], region.load_u32(base + at["seen"]) + 1)
        region.store_i64(base + at["last_edge_e6"], edge_e6)
        region.store_i64(base + at["last_ns"], now_ns)
        region.store_u32(base + at["reason"], reason)
        if not region.load_i64(base + at["best_ns"]) or edge_e6 > region.load_i64(base + at["best_edge_e6"]):
            region.store_i64(base + at["best_edge_e6"], edge_e6)
            region.store_i64(base + at["best_size_e2"], size_e2)
            region.store_u32(base + at["best_reason"], reason)
            region.store_i64(base + at["best_ns"], now_ns)

    def refused(self, index: int, reason: Reason, value: int, threshold: int, now_ns: int) -> None:
        """The cover could not be priced, or what was priced was refused."""
        region, base, at = self._region, self._place.at(index), self._at
        region.store_u32(base + at["reason"], reason)
        region.store_i64(base + at["value"], value)
        region.store_i64(base + at["threshold"], threshold)
        region.store_i64(base + at["last_ns"], now_ns)

    def pushed(self, index: int) -> None:
        """An opportunity of this cover went to the executor."""
        at = self._place.at(index) + self._at["pushed"]
        self._region.store_u64(at, self._region.load_u64(at) + 1)
