"""Waiting without a fence: poll, with sleeps of at most one millisecond (design 5, "Waking")."""

from __future__ import annotations

import time
from typing import Final

from arbpipe._python.region import Region

__all__ = ["wait_word"]

_POLL_S: Final = 0.0003


def wait_word(region: Region, offset: int, expected: int, timeout_ns: int) -> bool:
    """Wait until the 64-bit word at ``offset`` differs from ``expected``; return whether it does."""
    deadline = time.monotonic_ns() + timeout_ns
    while region.load_u64(offset) == expected:
        if time.monotonic_ns() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
