"""The breaker: a count of causes that only a person acknowledges. On disk before memory; damaged means tripped."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import msgspec

from arbpipe.shm.segment import Segment
from arbpipe.shm.tables import BreakerView

__all__ = ["Breaker"]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    trips: Annotated[int, msgspec.Meta(ge=0)]
    acknowledged: Annotated[int, msgspec.Meta(ge=0)]
    last: str = ""


class Breaker:
    """The executor's breaker. ``trip`` is called with a cause; each cause adds one, also while tripped."""

    def __init__(self, segment: Segment, path: Path, *, ledger_empty: bool) -> None:
        """Load the file into the segment. Damaged counts as tripped; missing too, unless the ledger has no event."""
        self._region = segment.region
        self._path = path
        self.view = BreakerView(segment)
        try:
            state = msgspec.json.decode(path.read_bytes(), type=_File)
        except FileNotFoundError:
            state = _File(0, 0) if ledger_empty else _File(1, 0, f"the breaker's file {path} is missing")
        except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
            state = _File(1, 0, f"the breaker's file {path} is damaged: {error}")
        self._trips, self._acknowledged, self._last = state.trips, state.acknowledged, state.last
        self._region.store_u64(self.view.acknowledged_at, state.acknowledged)
        self._store()

    @property
    def tripped(self) -> bool:
        """Whether a cause is not acknowledged."""
        return self.view.tripped

    @property
    def last(self) -> str:
        """The latest cause, as a sentence."""
        return self._last

    def trip(self, cause: str) -> None:
        """Stop new attempts until a person acknowledges; orders that reduce risk still pass.

        Disk before memory; a disk that takes nothing more does not keep the breaker from tripping, and the cause says so.
        """
        self._trips += 1
        self._last = cause
        try:
            self._write()
        except OSError as error:
            # the old file says less than the truth; a missing one counts as tripped at the next start
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._last = f"{cause} (and {self._path} cannot be written: {error.strerror})"
        self._show()

    def _store(self) -> None:
        self._write()
        self._show()

    def _write(self) -> None:
        data = msgspec.json.encode(_File(self._trips, self._acknowledged, self._last))
        temporary = self._path.with_name(self._path.name + ".new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            os.write(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, self._path)

    def _show(self) -> None:
        self._region.write(self.view.last_at, self._last.encode()[:95].ljust(96, b"\0"))
        self._region.store_u64(self.view.trips_at, self._trips)
