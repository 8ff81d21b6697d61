"""Private instances of a pipeline: their names, their size, and what is left of those that were killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Final

import msgspec

from arbpipe.config import Config
from arbpipe.errors import EnvironmentRefused, SafetyRefused
from arbpipe.process import read_spec
from arbpipe.shm.layout import Counts
from arbpipe.shm.locks import held_locks
from arbpipe.shm.segment import Mode, Segment, default_directory
from arbpipe.shm.stats import start_ticks

__all__ = ["TEMPORARY_DEMO", "TEMPORARY_STATE", "counts_of", "instance_of", "make_folder", "remove_dead_instances"]

#: How our temporary folders begin: a run's state, and all that a demo needs.
TEMPORARY_STATE: Final = "arbpipe-state-"
TEMPORARY_DEMO: Final = "arbpipe-demo-"


def counts_of(config: Config) -> Counts:
    """The segment's counts of a configuration.

    Raises:
        EnvironmentRefused: they do not fit together.
    """
    c = config.segment
    try:
        return Counts(
            slots=c.slots,
            connections=c.connections,
            log_capacity=c.log_capacity,
            ring_capacity=c.ring_capacity,
            covers=c.covers,
            held=c.slots,  # everything listed may be held
        )
    except ValueError as error:
        raise EnvironmentRefused(f"[segment] {error}") from None


def make_folder(path: Path, what: str) -> None:
    """Make a folder that somebody named, with its parents, unless it is there.

    Raises:
        EnvironmentRefused: it cannot be made, or something else is there; ``what`` says what it is for.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentRefused(f"cannot make {path} for {what}: {error.strerror}: name another folder") from None


def instance_of(mode: int) -> str:
    """A private instance name: two replays at once do not meet."""
    return f"{Mode.NAMES[mode].lower()}-{os.getpid()}-{secrets.token_hex(2)}"


def remove_dead_instances() -> None:
    """Remove what demos and replays left behind that were killed together with their supervisor.

    Only private instances (``demo-…``, ``replay-…``) whose maker is gone and whose locks nobody holds; their temporary
    state goes with them.
    """
    for directory in default_directory("any").parent.glob("*-*-*"):
        if not directory.name.startswith(("demo-", "replay-")) or _maker_lives(directory) or held_locks(directory):
            continue
        with contextlib.suppress(OSError, msgspec.DecodeError):
            for folder in map(Path, read_spec(directory / "run.json").temporary):
                if folder.name.startswith((TEMPORARY_STATE, TEMPORARY_DEMO)):
                    shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError, SafetyRefused):
            Segment.destroy(directory)


def _maker_lives(directory: Path) -> bool:
    """Whether the process that made a private instance is there: one that just begins holds no lock yet."""
    pid = directory.name.split("-")[1]
    ticks = start_ticks(pid) if pid.isdecimal() else 0
    try:
        made_s = directory.stat().st_mtime
    except OSError:
        return False
    started_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    # a process that began after the directory last changed has its pid from the maker, and nothing else
    return ticks > 0 and started_s < made_s + 1.0
