"""Role locks: one file per role, an exclusive OFD lock on it. The kernel drops it at death; nothing else proves life.

A pid alone is unsafe (reuse), so the pid in the file only names the holder in messages. F_OFD_GETLK probes from a
read-only descriptor, so ``status`` can ask without being able to take.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from arbpipe.errors import EnvironmentRefused, SafetyRefused

__all__ = ["RoleLock", "lock_holder", "held_locks"]

_FLOCK: Final = struct.Struct("@hhqqi4x")  # struct flock of Linux on 64-bit machines
_PREFIX: Final = "lock."


class RoleLock:
    """The exclusive right to a role in one directory, held as long as this object's descriptor is open."""

    def __init__(self, directory: Path, role: str) -> None:
        """Take the lock.

        Raises:
            SafetyRefused: another process holds it; the message names role and pid.
            EnvironmentRefused: the file cannot be opened, locked or written.
        """
        self.role = role
        self.path = directory / f"{_PREFIX}{role}"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._fd = os.open(self.path, flags, 0o640)
        except OSError as error:
            raise EnvironmentRefused(f"cannot open the lock file {self.path}: {error.strerror}") from None
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except OSError as error:
            os.close(self._fd)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise EnvironmentRefused(f"cannot lock {self.path}: {error.strerror}") from None
            pid = _pid_in(self.path)
            raise SafetyRefused(
                f"the role {role} in {directory} is held by pid {pid or 'unknown'}: stop that process first"
            ) from None
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            self.release()
            raise EnvironmentRefused(
                f"cannot write the pid to {self.path}: {error.strerror}: free space there and start again"
            ) from None

    def release(self) -> None:
        """Give the role up. The file stays: unlinking a lock file is a race."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _pid_in(path: Path) -> int:
    try:
        return int(path.read_text() or 0)
    except (OSError, ValueError):
        return 0


def lock_holder(directory: Path, role: str) -> int | None:
    """The pid named in the lock file if the lock is held (0 when it names none), else ``None``. Read-only.

    Raises:
        EnvironmentRefused: the file is there and cannot be opened; "cannot ask" is never "not held".
    """
    path = directory / f"{_PREFIX}{role}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentRefused(
            f"cannot tell whether the role {role} in {directory} is held: {path}: {error.strerror}"
        ) from None
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(fd)
    return None if _FLOCK.unpack(answer)[0] == fcntl.F_UNLCK else _pid_in(path)


def held_locks(directory: Path) -> dict[str, int]:
    """Every role whose lock is held in the directory, with the pid its file names."""
    found: dict[str, int] = {}
    if directory.is_dir():
        for path in sorted(directory.glob(f"{_PREFIX}*")):
            role = path.name.removeprefix(_PREFIX)
            pid = lock_holder(directory, role)
            if pid is not None:
                found[role] = pid
    return found
