"""Chooses the core once: the native extension where it is built, else the Python twin, and says which.

``ARBPIPE_NATIVE``: ``auto`` (default), ``require`` (anything but native is a failure), ``python`` (the twin).
"""

from __future__ import annotations

import os
import platform
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

from arbpipe.errors import EnvironmentRefused
from arbpipe.shm.layout import CORE_LAYOUT as _OURS

__all__ = [
    "CORE",
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
    "log_push",
    "log_drain",
    "ring_push",
    "ring_read",
    "bell_ring",
    "bell_wait",
    "histogram_record",
    "pause",
    "check_machine",
    "is_native",
]

_NATIVE: Final = "native"
#: What this module adds; everything else it exports is the chosen core's.
_OWN: Final = ("CORE", "check_machine", "is_native")
_NAMES: Final = tuple(name for name in __all__ if name not in _OWN)


def _choose() -> tuple[str, str]:
    """The core to use, and why it is not the native one (empty if it is)."""
    if os.environ.get("ARBPIPE_NATIVE", "auto") == "python":
        return "python (asked for)", "ARBPIPE_NATIVE=python asks for the twin"
    try:
        # a folder of C sources imports as an empty namespace: only the extension has a layout
        from arbpipe._native import LAYOUT
    except ImportError as error:
        return "python (no native build)", f"arbpipe._native does not import ({error})"
    native = sys.modules["arbpipe._native"]
    if LAYOUT != _OURS or not all(hasattr(native, name) for name in _NAMES):
        return (
            "python (native is stale)",
            f"{native.__file__} was built from other sources (layout {LAYOUT}, here {_OURS})",
        )
    return _NATIVE, ""


#: What ``status`` and the first line of every long-running command say; and what keeps the native core away.
CORE, _WHY = _choose()

if TYPE_CHECKING:
    from arbpipe._native import (
        LAYOUT,
        ROW_BUSY,
        Kernel,
        Outlet,
        Overrun,
        Region,
        bell_ring,
        bell_wait,
        histogram_record,
        log_drain,
        log_push,
        pause,
        ring_push,
        ring_read,
        row_fetch,
        row_publish,
        row_read,
        row_write,
    )
else:
    _chosen = import_module("arbpipe._native" if CORE == _NATIVE else "arbpipe._python")
    globals().update({name: getattr(_chosen, name) for name in _NAMES})


def is_native(core: str = CORE) -> bool:
    """Whether a core, by the name in a process's line, is the native one: it rings doorbells and may sleep on them."""
    return core == _NATIVE


def check_machine() -> None:
    """Refuse a core that was required and is not there, or a machine on which the twin is not correct.

    Raises:
        EnvironmentRefused: ``ARBPIPE_NATIVE`` asks for what is not built, or the twin would run elsewhere than on
            little-endian x86-64.
    """
    wanted = os.environ.get("ARBPIPE_NATIVE", "auto")
    if wanted not in ("auto", "require", "python"):
        raise EnvironmentRefused(f"ARBPIPE_NATIVE is {wanted!r}: use auto, require or python")
    if is_native():
        return
    if wanted == "require":
        raise EnvironmentRefused(
            f"ARBPIPE_NATIVE=require, but {_WHY}: install again where a C compiler is (apt install gcc python3-dev)"
        )
    machine = platform.machine()
    if sys.byteorder != "little" or machine not in ("x86_64", "AMD64"):
        raise EnvironmentRefused(
            f"the Python core needs little-endian x86-64 (this is {machine}, {sys.byteorder}-endian): "
            "no memory fence is reachable from Python on other machines; build the native core"
        )
