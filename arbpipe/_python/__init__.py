"""The Python form of the core: the operations on shared memory that need care, and the detector's kernel.

Correct on x86-64 only: each item store through a cast memoryview is one aligned ``mov``, the interpreter neither drops
nor reorders it, and TSO keeps store-store and load-load order (shm.md finding 3). No fence is reachable from Python, so
nothing here may depend on a store being visible before a later load: waiters poll. ``arbpipe.shm.core`` refuses other
machines.
"""

from arbpipe._python.region import Region
from arbpipe._python.ring import Overrun, log_drain, log_push, ring_push, ring_read
from arbpipe._python.row import ROW_BUSY, row_read, row_write
from arbpipe._python.wait import wait_word

__all__ = [
    "Region",
    "Overrun",
    "ROW_BUSY",
    "row_read",
    "row_write",
    "log_push",
    "log_drain",
    "ring_push",
    "ring_read",
    "wait_word",
]
