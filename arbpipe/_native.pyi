"""The core: words, rows, rings, the doorbell and the detector's first look over one mapped buffer.

``arbpipe._native`` (C) and ``arbpipe._python`` (its twin) both have exactly this interface; ``arbpipe.shm.core`` chooses.
Offsets are in bytes. Every call checks bounds and alignment: a bad offset raises IndexError (outside) or ValueError
(misaligned), and nothing is read. A number that does not fit its word is a ValueError, a store into a read-only region a
TypeError, any use after ``release`` a ValueError.
"""

from array import array
from collections.abc import Sequence
from typing import Final, TypeAlias, final

from typing_extensions import Buffer

__all__ = [
    "LAYOUT",
    "ROW_BUSY",
    "Kernel",
    "Outlet",
    "Overrun",
    "Region",
    "bell_ring",
    "bell_wait",
    "histogram_record",
    "log_drain",
    "log_push",
    "pause",
    "ring_push",
    "ring_read",
    "row_fetch",
    "row_publish",
    "row_read",
    "row_write",
]

#: Best first: pairs ``(price_e4, size_e2)``, or an array of words ``price_e4 | size_e2 << 32``.
_Quotes: TypeAlias = Sequence[tuple[int, int]] | array[int]
LAYOUT: Final[tuple[int, int, int, int, int, int, int, int, int]]
ROW_BUSY: Final = -1

class Overrun(Exception):
    head: int

@final
class Region:
    def __init__(self, buffer: Buffer, /) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def readonly(self) -> bool: ...
    def release(self) -> None: ...
    def lock(self) -> None: ...
    def load_u64(self, offset: int, /) -> int: ...
    def store_u64(self, offset: int, value: int, /) -> None: ...
    def load_i64(self, offset: int, /) -> int: ...
    def store_i64(self, offset: int, value: int, /) -> None: ...
    def load_u32(self, offset: int, /) -> int: ...
    def store_u32(self, offset: int, value: int, /) -> None: ...
    def load_i32(self, offset: int, /) -> int: ...
    def store_i32(self, offset: int, value: int, /) -> None: ...
    def load_u8(self, offset: int, /) -> int: ...
    def store_u8(self, offset: int, value: int, /) -> None: ...
    def store_run(self, offset: int, /, *values: int) -> None: ...
    def add_run(self, offset: int, /, *amounts: int) -> None: ...
    def read(self, offset: int, length: int, /) -> bytes: ...
    def write(self, offset: int, data: Buffer, /) -> None: ...

@final
class Kernel:
    def __init__(
        self,
        region: Region,
        costs: int,
        slots: int,
        logs: Sequence[int],
        tails: Sequence[int],
        capacity: int,
        prop_ptr: Buffer,
        prop_claims: Buffer,
        cover_ptr: Buffer,
        cover_props: Buffer,
        cover_k: Buffer,
        threshold_e6: int,
        /,
    ) -> None: ...
    @property
    def tails(self) -> tuple[int, ...]: ...
    def best_e6(self) -> list[int]: ...
    def drain(self) -> list[tuple[int, int]] | None: ...
    def touch(self, slots: Sequence[int], /) -> list[tuple[int, int]]: ...
    def sweep(self, near: int, /) -> list[tuple[int, int]]: ...
    def settle(self, cover: int, edge_e6: int, /) -> None: ...
    def release(self) -> None: ...

@final
class Outlet:
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
    ) -> None: ...
    def publish(
        self,
        connection: int,
        epoch: int,
        flags: int,
        venue_ms: int,
        recv_ns: int,
        tick_e4: int,
        yes_asks: _Quotes,
        no_asks: _Quotes,
        verified: bool,
        /,
    ) -> int: ...

def row_write(region: Region, offset: int, cell: Buffer, /) -> int: ...
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
    yes_asks: _Quotes,
    no_asks: _Quotes,
    /,
) -> int: ...
def row_read(region: Region, offset: int, into: bytearray, /) -> int: ...
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
): ...
def histogram_record(region: Region, base: int, value_ns: int, /) -> None: ...
def log_push(region: Region, base: int, capacity: int, slot: int, /) -> int: ...
def log_drain(region: Region, base: int, capacity: int, tail: int, /) -> tuple[list[int], int]: ...
def ring_push(region: Region, base: int, capacity: int, stride: int, entry: Buffer, /) -> int: ...
def ring_read(region: Region, base: int, capacity: int, stride: int, position: int, /) -> bytes | None: ...
def bell_ring(region: Region, bell: int, /) -> bool: ...
def bell_wait(
    region: Region, bell: int, words: Sequence[int], expected: Sequence[int], spin_ns: int, timeout_ns: int, /
) -> bool: ...
def pause(times: int, /) -> None: ...
