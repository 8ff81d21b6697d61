"""Alerts: one line in ``alerts.log`` and a mark in the process's line of shared memory. Never silent, never blocking."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from arbpipe.shm.stats import ErrorCode, ProcessLine

__all__ = ["Alerts"]


class Alerts:
    """Writes alerts of one process. ``mode`` (DEMO, REPLAY, PAPER, LIVE) stands in every line."""

    def __init__(self, path: Path, mode: str, role: str, line: ProcessLine | None = None) -> None:
        self._path = path
        self._mode = mode
        self._role = role
        self._line = line

    def alert(self, code: ErrorCode, text: str, *, noted: bool = False) -> None:
        """Append ``time mode role code text`` to the log, and count it; ``noted``: the error table has it already.

        A log that cannot be written must not stop the pipeline: the alert then goes to stderr and stays counted.
        """
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        clean = " ".join(text.split())
        entry = f"{when} {self._mode} {self._role} {code.name} {clean}\n"
        if self._line is not None:
            self._line.alerted()
            if not noted:
                self._line.error(code, clean)
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
            try:
                os.write(fd, entry.encode())
            finally:
                os.close(fd)
        except OSError as error:
            print(f"arbpipe: cannot write {self._path} ({error.strerror}): {entry}", end="", file=sys.stderr)
