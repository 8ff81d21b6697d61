"""The detector's doorbell: feeds and catalog ring after they published, the detector sleeps until they do (design 5, "Waking").

Only a native core can ring, because only it has the full fence between a publication and the look whether somebody waits. So a
native waiter sleeps at most a millisecond while any process that publishes runs the Python core, and a Python waiter polls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from arbpipe.shm import core
from arbpipe.shm.layout import DOORBELL, PROCESS, Role
from arbpipe.shm.segment import Segment
from arbpipe.shm.tables import FEED_ROLES

__all__ = ["DetectorBell"]

_PYTHON_WRITER_NS: Final = 1_000_000
_WRITERS: Final = (*FEED_ROLES, Role.CATALOG)
assert DOORBELL.offset("waiting") == DOORBELL.offset("rings") + DOORBELL.size // 2


class DetectorBell:
    """Both ends: :meth:`ring` for whoever publishes, :meth:`wait` for the detector alone."""

    def __init__(self, segment: Segment) -> None:
        self._region = segment.region
        self._bell = segment.section("doorbell").offset
        processes = segment.section("processes")
        self._pids = [processes.at(role) + PROCESS.offset("pid") for role in _WRITERS]
        self._cores = [processes.at(role) + PROCESS.offset("core") for role in _WRITERS]

    def ring(self) -> bool:
        """Wake the detector if it sleeps; return whether it did. Call it after what it shall see is stored."""
        return core.bell_ring(self._region, self._bell)

    def begin(self) -> None:
        """A new detector does not wait yet, whatever its predecessor died in."""
        self._region.store_u32(self._bell + DOORBELL.offset("waiting"), 0)

    def wait(self, words: Sequence[int], expected: Sequence[int], spin_ns: int, timeout_ns: int) -> bool:
        """Sleep until one of the 64-bit ``words`` (offsets) is not what was ``expected``; return whether one is.

        ``spin_ns`` of it are spent looking without sleeping. A signal ends it early.
        """
        if not self.all_ring():
            timeout_ns = min(timeout_ns, _PYTHON_WRITER_NS)
        return core.bell_wait(self._region, self._bell, words, expected, spin_ns, timeout_ns)

    def all_ring(self) -> bool:
        """Whether every process that publishes here runs a core that can ring."""
        region = self._region
        for pid, name in zip(self._pids, self._cores, strict=True):
            if region.load_u32(pid) and not core.is_native(
                region.read(name, 32).rstrip(b"\0").decode("ascii", "replace")
            ):
                return False
        return True
