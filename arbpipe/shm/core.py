"""Chooses the core once: the native extension where it is built, else the Python twin, and says which.

``ARBPIPE_NATIVE``: ``auto`` (default), ``require`` (anything but native is a failure), ``python`` (the twin).
"""

from __future__ import annotations

import os
import platform
import sys

from arbpipe._python import (
    ROW_BUSY,
    Overrun,
    Region,
    log_drain,
    log_push,
    ring_push,
    ring_read,
    row_read,
    row_write,
    wait_word,
)
from arbpipe.errors import EnvironmentRefused

__all__ = [
    "CORE",
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
    "check_machine",
]

#: What ``status`` and the first line of every long-running command say.
CORE = "python (no native build)"


def check_machine() -> None:
    """Refuse a machine on which the twin is not correct, or a core that was required and is not there.

    Raises:
        EnvironmentRefused: not little-endian x86-64, or ``ARBPIPE_NATIVE`` asks for what is not built.
    """
    wanted = os.environ.get("ARBPIPE_NATIVE", "auto")
    if wanted not in ("auto", "require", "python"):
        raise EnvironmentRefused(f"ARBPIPE_NATIVE is {wanted!r}: use auto, require or python")
    if wanted == "require":
        raise EnvironmentRefused("ARBPIPE_NATIVE=require, but this version has no native core: unset it")
    machine = platform.machine()
    if sys.byteorder != "little" or machine not in ("x86_64", "AMD64"):
        raise EnvironmentRefused(
            f"the Python core needs little-endian x86-64 (this is {machine}, {sys.byteorder}-endian): "
            "no memory fence is reachable from Python on other machines"
        )
