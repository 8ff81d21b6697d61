"""Checked access to single words of a mapped buffer.

Never ``struct.pack_into`` for a word that another process reads: CPython zero-fills the destination first, and another
core sees the transient zero (shm.md finding 1). Item assignment through ``memoryview.cast`` is one store.
"""

from __future__ import annotations

import os
from operator import index
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Region"]

_RUN_MOST: Final = 16


@final
class Region:
    """Words and bytes of one mapped buffer. Offsets are in bytes; every access checks bounds and alignment."""

    __slots__ = ("_b", "_i32", "_i64", "_u32", "_u64", "_uses", "readonly", "size")

    def __init__(self, buffer: Buffer, /) -> None:
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
        self._uses = 0

    def release(self) -> None:
        """Drop every view, so that the mapping can be closed. The region is unusable afterwards.

        Raises:
            BufferError: a kernel still reads it.
        """
        if self._uses:
            raise BufferError(f"{self._uses} kernels still read the region: release them first")
        for view in (self._u64, self._i64, self._u32, self._i32, self._b):
            view.release()

    def lock(self) -> None:
        """Keep the region in memory (mlock).

        Raises:
            OSError: refused, usually by RLIMIT_MEMLOCK.
        """
        import ctypes  # 10 ms that only this needs

        import numpy as np

        address = np.frombuffer(self._b, np.uint8).ctypes.data
        library = ctypes.CDLL(None, use_errno=True)
        if library.mlock(ctypes.c_void_p(address), ctypes.c_size_t(self.size)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _writable(self) -> None:
        """Refuse what a native core would refuse before it stores anything."""
        self._b[:0]  # a released view says so
        if self.readonly:
            raise TypeError("cannot modify read-only memory")

    def _at(self, offset: int, length: int, align: int) -> int:
        offset = index(offset)
        if offset < 0 or length < 0 or offset > self.size - length:
            raise IndexError(f"offset {offset} (+{length}) is outside the region of {self.size} bytes")
        if offset % align:
            raise ValueError(f"offset {offset} is not a multiple of {align}")
        return offset

    def load_u64(self, offset: int, /) -> int:
        """Load a 64-bit word (acquire)."""
        return self._u64[self._at(offset, 8, 8) >> 3]

    def store_u64(self, offset: int, value: int, /) -> None:
        """Store a 64-bit word (release)."""
        self._u64[self._at(offset, 8, 8) >> 3] = value

    def load_i64(self, offset: int, /) -> int:
        """Load a signed 64-bit word (acquire)."""
        return self._i64[self._at(offset, 8, 8) >> 3]

    def store_i64(self, offset: int, value: int, /) -> None:
        """Store a signed 64-bit word (release)."""
        self._i64[self._at(offset, 8, 8) >> 3] = value

    def load_u32(self, offset: int, /) -> int:
        """Load a 32-bit word (acquire)."""
        return self._u32[self._at(offset, 4, 4) >> 2]

    def store_u32(self, offset: int, value: int, /) -> None:
        """Store a 32-bit word (release)."""
        self._u32[self._at(offset, 4, 4) >> 2] = value

    def load_i32(self, offset: int, /) -> int:
        """Load a signed 32-bit word (acquire)."""
        return self._i32[self._at(offset, 4, 4) >> 2]

    def store_i32(self, offset: int, value: int, /) -> None:
        """Store a signed 32-bit word (release)."""
        self._i32[self._at(offset, 4, 4) >> 2] = value

    def load_u8(self, offset: int, /) -> int:
        """Load one byte."""
        return self._b[self._at(offset, 1, 1)]

    def store_u8(self, offset: int, value: int, /) -> None:
        """Store one byte."""
        self._b[self._at(offset, 1, 1)] = value

    def store_run(self, offset: int, /, *values: int) -> None:
        """Store signed 64-bit words one after the other (release each)."""
        at, numbers = self._run(offset, values)
        for n, value in enumerate(numbers, at):
            self._i64[n] = value

    def add_run(self, offset: int, /, *amounts: int) -> None:
        """Add to 64-bit words one after the other, modulo 2^64. Single writer: not atomic."""
        at, numbers = self._run(offset, amounts)
        for n, amount in enumerate(numbers, at):
            self._u64[n] = (self._u64[n] + amount) & 0xFFFF_FFFF_FFFF_FFFF

    def _run(self, offset: int, values: tuple[int, ...]) -> tuple[int, list[int]]:
        """Where a run of words begins, and its values, all checked before the first is stored."""
        if not 1 <= len(values) <= _RUN_MOST:
            raise TypeError(f"a run of {len(values)} words: 1 to {_RUN_MOST} are possible")
        numbers = [index(value) for value in values]
        for number in numbers:
            if not -(1 << 63) <= number < 1 << 63:
                raise ValueError(f"{number} does not fit the word it is stored in")
        at = self._at(offset, 8 * len(numbers), 8) >> 3
        self._writable()
        return at, numbers

    def read(self, offset: int, length: int, /) -> bytes:
        """Copy ``length`` bytes out; no order is promised inside the copy."""
        self._at(offset, length, 1)
        return self._b[offset : offset + length].tobytes()

    def write(self, offset: int, data: Buffer, /) -> None:
        """Copy bytes in; no order is promised inside the copy."""
        view = memoryview(data).cast("B")
        self._at(offset, len(view), 1)
        self._b[offset : offset + len(view)] = view
