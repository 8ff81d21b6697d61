"""Checked access to single words of a mapped buffer.

Never ``struct.pack_into`` for a word that another process reads: CPython zero-fills the destination first, and another
core sees the transient zero (shm.md finding 1). Item assignment through ``memoryview.cast`` is one store.
"""

from __future__ import annotations

import mmap

__all__ = ["Region"]


class Region:
    """Words and bytes of one mapped buffer. Offsets are in bytes; every access checks bounds and alignment."""

    __slots__ = ("_b", "_i32", "_i64", "_u32", "_u64", "readonly", "size")

    def __init__(self, buffer: mmap.mmap | bytearray | memoryview) -> None:
        """View ``buffer``, whose length must be a multiple of 8.

        Raises:
            ValueError: the length is not a multiple of 8.
        """
        view = memoryview(buffer).cast("B")
        if len(view) % 8:
            raise ValueError(f"a region of {len(view)} bytes: the length must be a multiple of 8")
        self.size = len(view)
        self.readonly = view.readonly
        self._b = view
        self._u64 = view.cast("Q")
        self._i64 = view.cast("q")
        self._u32 = view.cast("I")
        self._i32 = view.cast("i")

    def release(self) -> None:
        """Drop every view, so that the mapping can be closed. The region is unusable afterwards."""
        for view in (self._u64, self._i64, self._u32, self._i32, self._b):
            view.release()

    def _index(self, offset: int, size: int) -> int:
        if offset < 0 or offset + size > self.size:
            raise IndexError(f"offset {offset} (+{size}) is outside the region of {self.size} bytes")
        index, rest = divmod(offset, size)
        if rest:
            raise ValueError(f"offset {offset} is not a multiple of {size}")
        return index

    def load_u64(self, offset: int) -> int:
        """Load a 64-bit word (acquire)."""
        return self._u64[self._index(offset, 8)]

    def store_u64(self, offset: int, value: int) -> None:
        """Store a 64-bit word (release)."""
        self._u64[self._index(offset, 8)] = value

    def load_i64(self, offset: int) -> int:
        """Load a signed 64-bit word (acquire)."""
        return self._i64[self._index(offset, 8)]

    def store_i64(self, offset: int, value: int) -> None:
        """Store a signed 64-bit word (release)."""
        self._i64[self._index(offset, 8)] = value

    def load_u32(self, offset: int) -> int:
        """Load a 32-bit word (acquire)."""
        return self._u32[self._index(offset, 4)]

    def store_u32(self, offset: int, value: int) -> None:
        """Store a 32-bit word (release)."""
        self._u32[self._index(offset, 4)] = value

    def load_i32(self, offset: int) -> int:
        """Load a signed 32-bit word (acquire)."""
        return self._i32[self._index(offset, 4)]

    def store_i32(self, offset: int, value: int) -> None:
        """Store a signed 32-bit word (release)."""
        self._i32[self._index(offset, 4)] = value

    def load_u8(self, offset: int) -> int:
        """Load one byte."""
        return self._b[self._index(offset, 1)]

    def store_u8(self, offset: int, value: int) -> None:
        """Store one byte."""
        self._b[self._index(offset, 1)] = value

    def read(self, offset: int, length: int) -> bytes:
        """Copy ``length`` bytes out; no order is promised inside the copy."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise IndexError(f"offset {offset} (+{length}) is outside the region of {self.size} bytes")
        return self._b[offset : offset + length].tobytes()

    def write(self, offset: int, data: bytes | bytearray) -> None:
        """Copy bytes in; no order is promised inside the copy."""
        if offset < 0 or offset + len(data) > self.size:
            raise IndexError(f"offset {offset} (+{len(data)}) is outside the region of {self.size} bytes")
        self._b[offset : offset + len(data)] = data
