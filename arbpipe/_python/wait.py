"""Waiting without a fence: poll, with sleeps of well under a millisecond (design 5, "Waking").

The twin never marks itself as waiting and never rings: both need a full fence between a store and a load. So a waiter must
not sleep for long while any writer is Python, and says so itself (:mod:`arbpipe.shm.doorbell`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from operator import index
from typing import Final

from arbpipe._python.region import Region
from arbpipe.shm.layout import LINE

__all__ = ["bell_ring", "bell_wait", "pause"]

_POLL_S: Final = 0.0003
_WORDS: Final = 16


def bell_ring(region: Region, bell: int, /) -> bool:
    """Wake nobody: whoever may be waiting polls. Return False."""
    region._at(bell, 2 * LINE, 8)
    region._writable()
    return False


def bell_wait(
    region: Region, bell: int, words: Sequence[int], expected: Sequence[int], spin_ns: int, timeout_ns: int, /
) -> bool:
    """Wait until one of the 64-bit words at ``words`` differs from what is ``expected``; return whether one does.

    Raises:
        ValueError: not as many words as expected values, or more than 16, or a negative time.
    """
    region._at(bell, 2 * LINE, 8)
    if len(words) != len(expected) or len(words) > _WORDS:
        raise ValueError(f"{len(words)} words and {len(expected)} expected values: as many of both, at most {_WORDS}")
    for span in (spin_ns, timeout_ns):
        if not 0 <= index(span) < 1 << 62:
            raise ValueError(f"{span} ns is no time to wait")
    region._writable()
    begin = time.monotonic_ns()
    while True:
        for offset, value in zip(words, expected, strict=True):
            if region.load_u64(offset) != value:
                return True
        waited = time.monotonic_ns() - begin
        if waited >= timeout_ns:
            return False
        if waited >= spin_ns:
            time.sleep(min(_POLL_S, (timeout_ns - waited) / 1e9))


def pause(times: int, /) -> None:
    """Let a little time pass in a spin loop."""
    for _ in range(times):
        pass
