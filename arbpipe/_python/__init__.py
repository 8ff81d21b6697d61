"""The Python form of the core: the operations on shared memory that need care, and the detector's kernel.

The twin of ``arbpipe._native``: the same interface (``arbpipe/_native.pyi``), byte-identical segments. Correct on x86-64
only: each item store through a cast memoryview is one aligned ``mov``, the interpreter neither drops nor reorders it, and
TSO keeps store-store and load-load order (shm.md finding 3). No fence is reachable from Python, so nothing here may depend
on a store being visible before a later load: waiters poll. ``arbpipe.shm.core`` refuses other machines.
"""

from arbpipe._python.kernel import Kernel
from arbpipe._python.outlet import Outlet, histogram_record
from arbpipe._python.region import Region
from arbpipe._python.ring import Overrun, log_drain, log_push, ring_push, ring_read
from arbpipe._python.row import LAYOUT, ROW_BUSY, row_fetch, row_publish, row_read, row_write
from arbpipe._python.wait import bell_ring, bell_wait, pause

__all__ = [
    "LAYOUT",
    "Region",
    "Overrun",
    "Kernel",
    "Outlet",
    "ROW_BUSY",
    "row_read",
    "row_fetch",
    "row_write",
    "row_publish",
    "histogram_record",
    "log_push",
    "log_drain",
    "ring_push",
    "ring_read",
    "bell_ring",
    "bell_wait",
    "pause",
]
