"""The segment: footprint, create, attach, detach, destroy; and one way to reach every section.

A file on tmpfs, mapped by every process. It is built under a temporary name, the magic is stored last, then it is
renamed into place: nobody can attach to a half-made segment. Not ``multiprocessing.shared_memory``: see
``docs/decisions``.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from arbpipe.clock import wall_ns
from arbpipe.errors import EnvironmentRefused, LayoutMismatch, NotRunning, SafetyRefused
from arbpipe.shm import core, layout
from arbpipe.shm.layout import HEADER, SECTION_ENTRY, Counts, Section
from arbpipe.shm.locks import held_locks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Mode", "Segment", "boot_id", "default_directory", "footprint"]

_BYTE_ORDER: Final = 0x01020304
_FILE: Final = "segment"
_LOOK_S: Final = 0.1
_NUMPY: Final = {"u8": "<u8", "i8": "<i8", "u4": "<u4", "i4": "<i4", "u2": "<u2", "u1": "u1"}
_COUNT_FIELDS: Final = {
    "slots": "slots",
    "ranges": "ranges",
    "connections": "connections",
    "log_capacity": "log_capacity",
    "ring_capacity": "ring_capacity",
    "covers": "covers",
    "relations": "relations",
    "held": "held",
    "processes": "processes",
}


class Mode:
    """What the pipeline behind a segment is allowed to be; the number is stored in the header."""

    NAMES: Final = ("DEMO", "REPLAY", "PAPER", "LIVE")
    DEMO, REPLAY, PAPER, LIVE = range(4)


def boot_id() -> str:
    """The kernel's id of this boot: a segment of another boot is dead whatever it says."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def default_directory(instance: str = "main") -> Path:
    """Where a segment lies when nothing says otherwise (design 5).

    ``$RUNTIME_DIRECTORY`` (systemd), else ``/run/arbpipe`` if it exists, else ``/dev/shm/arbpipe-<uid>/<instance>``.
    """
    runtime = os.environ.get("RUNTIME_DIRECTORY")
    if runtime:
        return Path(runtime.split(":")[0])
    system = Path("/run/arbpipe")
    if instance == "main" and system.is_dir():
        return system
    return Path(f"/dev/shm/arbpipe-{os.getuid()}") / instance


def footprint(counts: Counts) -> int:
    """Bytes a segment with these counts takes."""
    return layout.layout_of(counts)[1]


class Segment:
    """One mapped segment. Use :meth:`create` or :meth:`attach`, and :meth:`detach` (or ``with``) at the end."""

    def __init__(self, directory: Path, mapping: mmap.mmap, counts: Counts, inode: tuple[int, int]) -> None:
        self.directory = directory
        self.counts = counts
        self.sections, self.size = layout.layout_of(counts)
        self._mapping = mapping
        self._inode = inode
        self._looked_s = 0.0
        self.region = core.Region(mapping)
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    # -- lifecycle ---------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, directory: Path, counts: Counts | None = None, *, mode: int = Mode.PAPER, instance: str = "main"
    ) -> Segment:
        """Build a segment in ``directory`` and attach to it, replacing one that nobody holds.

        Raises:
            SafetyRefused: a role of the directory is held; role and pid are named.
            EnvironmentRefused: no tmpfs space, no permission, or an unfit machine.
        """
        core.check_machine()
        counts = counts or Counts()
        held = {role: pid for role, pid in held_locks(directory).items() if pid != os.getpid()}
        if held:
            names = ", ".join(f"{role} (pid {pid})" for role, pid in held.items())
            raise SafetyRefused(f"the segment in {directory} is in use by {names}: stop it first")
        _sections, size = layout.layout_of(counts)
        path = directory / f".{_FILE}.{os.getpid()}.{secrets.token_hex(4)}"
        try:
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise EnvironmentRefused(f"cannot create a segment in {directory}: {error.strerror}") from None
        try:
            os.fchmod(fd, 0o640)  # whatever the umask says: the group reads (status, top)
            try:
                os.posix_fallocate(fd, 0, size)
            except OSError as error:
                what = "no space" if error.errno == errno.ENOSPC else (error.strerror or str(error))
                raise EnvironmentRefused(
                    f"{directory}: {what} for a segment of {size:,} bytes "
                    f"({shutil.disk_usage(directory).free:,} free): lower [segment] slots or free the tmpfs"
                ) from None
            mapping = mmap.mmap(fd, size)
            segment = cls(directory, mapping, counts, (os.fstat(fd).st_dev, os.fstat(fd).st_ino))
            segment._initialise(mode, instance)
            os.rename(path, directory / _FILE)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            raise
        finally:
            os.close(fd)
        return segment

    def _initialise(self, mode: int, instance: str) -> None:
        region, at = self.region, HEADER.offset
        region.store_u32(at("version"), layout.ABI_VERSION)
        region.store_u32(at("byte_order"), _BYTE_ORDER)
        region.store_u64(at("total_bytes"), self.size)
        region.store_u64(at("incarnation"), secrets.randbits(63) | 1)
        region.store_i64(at("created_ns"), wall_ns())
        region.store_u32(at("creator_pid"), os.getpid())
        region.store_u32(at("mode"), mode)
        region.store_u32(at("sections"), len(self.sections))
        for field, name in _COUNT_FIELDS.items():
            region.store_u32(at(field), getattr(self.counts, name))
        region.write(at("digest"), layout.digest())
        region.write(at("boot_id"), boot_id().encode()[:36])
        region.write(at("instance"), instance.encode()[:27])
        for number, section in enumerate(self.sections.values()):
            base = HEADER.size + number * SECTION_ENTRY.size
            region.write(base, section.name.encode()[:16])
            region.store_u64(base + SECTION_ENTRY.offset("offset"), section.offset)
            region.store_u64(base + SECTION_ENTRY.offset("stride"), section.stride)
            region.store_u64(base + SECTION_ENTRY.offset("count"), section.count)
        costs = self.sections["cost_e6"]
        region.write(costs.offset, layout.NO_QUOTE.to_bytes(4, "little") * (2 * self.counts.slots))
        region.store_u64(at("magic"), layout.MAGIC)  # last: before this nobody may attach

    @classmethod
    def attach(cls, directory: Path, *, writable: bool = False) -> Segment:
        """Map the segment of ``directory``; observers map it read-only.

        Raises:
            NotRunning: there is none.
            LayoutMismatch: it is of another version, layout, byte order or boot, or truncated; both sides are named.
        """
        core.check_machine()
        path = directory / _FILE
        # O_NONBLOCK: a FIFO of that name must not make us wait for its writer
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(path, flags)
        except FileNotFoundError:
            raise NotRunning(f"no segment at {path}: start `arbpipe demo` or name one with --segment") from None
        except OSError as error:
            what = "it is a symbolic link: remove it" if error.errno == errno.ELOOP else error.strerror
            raise EnvironmentRefused(f"cannot open the segment {path}: {what}") from None
        try:
            stat = os.fstat(fd)
            if stat.st_size < HEADER.size:
                raise LayoutMismatch(f"{path} has {stat.st_size} bytes, a header has {HEADER.size}: remove it")
            mapping = mmap.mmap(fd, stat.st_size, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        finally:
            os.close(fd)
        try:
            counts = _check_header(mapping, stat.st_size, path)
        except BaseException:
            mapping.close()
            raise
        return cls(directory, mapping, counts, (stat.st_dev, stat.st_ino))

    def detach(self) -> None:
        """Drop all views and unmap. Arrays from :meth:`array` must not be used afterwards."""
        self._arrays.clear()
        self.region.release()
        # an array that somebody still holds keeps the mapping alive: it goes with that array
        with contextlib.suppress(BufferError):
            self._mapping.close()

    @staticmethod
    def destroy(directory: Path) -> None:
        """Remove the segment, its catalogs and its lock files.

        Raises:
            SafetyRefused: a role is still held by another process.
        """
        held = {role: pid for role, pid in held_locks(directory).items() if pid != os.getpid()}
        if held:
            names = ", ".join(f"{role} (pid {pid})" for role, pid in held.items())
            raise SafetyRefused(f"not removing the segment in {directory}: in use by {names}: stop it first")
        if directory.is_dir():
            for path in directory.iterdir():
                if path.name.startswith(
                    ("segment", ".segment", "catalog.", ".catalog.", "lock.", "doorbell.", "run.json")
                ):
                    path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                directory.rmdir()

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def replaced(self) -> bool:
        """Whether another segment lies at this path by now (or none)."""
        try:
            stat = os.stat(self.directory / _FILE)
        except OSError:
            return True
        return (stat.st_dev, stat.st_ino) != self._inode

    def check_in_place(self) -> None:
        """What we map must be what everybody else finds; looked at ten times a second, however often it is asked.

        Raises:
            SafetyRefused: the file was replaced, removed or truncated since.
        """
        now = time.monotonic()
        if now - self._looked_s <= _LOOK_S:
            return
        self._looked_s = now
        if self.replaced():
            raise SafetyRefused(
                f"the segment in {self.directory} was replaced or removed while pid {os.getpid()} used it: "
                "what is written now reaches nobody; end this run and start again"
            )

    # -- reading -----------------------------------------------------------------------------------------------------

    @property
    def header(self) -> dict[str, Any]:
        """The header as a dictionary."""
        return HEADER.unpack(self.region.read(0, HEADER.size))

    @property
    def mode(self) -> int:
        """The pipeline's mode, a number of :class:`Mode`."""
        return self.region.load_u32(HEADER.offset("mode"))

    @property
    def mode_name(self) -> str:
        """DEMO, REPLAY, PAPER or LIVE."""
        return Mode.NAMES[self.mode]

    def section(self, name: str) -> Section:
        """A section by name.

        Raises:
            KeyError: no such section.
        """
        return self.sections[name]

    def fields(self, section: str, index: int = 0) -> dict[str, Any]:
        """One record of a section as a dictionary (probes and reports)."""
        place = self.sections[section]
        if place.record is None:
            raise KeyError(f"{section} has no record")
        return place.record.unpack(self.region.read(place.at(index), place.record.size))

    def each(self, section: str) -> Iterator[dict[str, Any]]:
        """All records of a section as dictionaries."""
        return (self.fields(section, index) for index in range(self.sections[section].count))

    def array(self, name: str) -> npt.NDArray[Any]:
        """A section as a numpy array over the mapping, without a copy: ``segment.array("rows")["version"]``.

        Sections of records give structured arrays of shape ``(count,)``; ``cost_e6`` gives int32 of shape
        ``(slots, 2)``, claim ids in order. Writable exactly when the segment is attached writable.
        """
        import numpy as np

        if name not in self._arrays:
            place = self.sections[name]
            if name == "cost_e6":
                flat = np.frombuffer(self._mapping, np.int32, 2 * place.count, place.offset)
                self._arrays[name] = flat.reshape(-1, 2)
            elif place.record is None and place.code:
                kind = np.dtype(_NUMPY[place.code])
                per_item = place.stride // kind.itemsize
                flat = np.frombuffer(self._mapping, kind, place.count * per_item, place.offset)
                self._arrays[name] = flat.reshape(place.count, per_item)
            else:
                self._arrays[name] = np.frombuffer(self._mapping, self._dtype(place), place.count, place.offset)
        return self._arrays[name]

    @staticmethod
    def _dtype(place: Section) -> np.dtype[Any]:
        import numpy as np

        if place.record is None:
            return np.dtype(("V", place.stride))
        fields = place.record.fields
        formats = [
            f"S{f.count}" if f.code == "S" else (_NUMPY[f.code] if f.count == 1 else (_NUMPY[f.code], (f.count,)))
            for f in fields
        ]
        spec = {
            "names": [f.name for f in fields],
            "formats": formats,
            "offsets": [f.offset for f in fields],
            "itemsize": place.stride,
        }
        return np.dtype(spec)  # type: ignore[call-overload,no-any-return]


def _check_header(mapping: mmap.mmap, size: int, path: Path) -> Counts:
    header: dict[str, Any] = HEADER.unpack(mapping)
    if header["magic"] != layout.MAGIC:
        raise LayoutMismatch(
            f"{path} is not an arbpipe segment, or was never finished "
            f"(magic {header['magic']:#018x}, this program {layout.MAGIC:#018x}): remove it"
        )
    if header["byte_order"] != _BYTE_ORDER:
        raise LayoutMismatch(
            f"{path} has byte order {header['byte_order']:#010x}, this program {_BYTE_ORDER:#010x}: remove it"
        )
    if header["version"] != layout.ABI_VERSION:
        raise LayoutMismatch(
            f"{path} has layout version {header['version']}, this program {layout.ABI_VERSION}: "
            "stop everything that uses it and start again with one version"
        )
    # from the mapping, not from the path (another file by now, perhaps), and raw: a digest may hold a zero byte
    theirs = mapping[HEADER.offset("digest") : HEADER.offset("digest") + 32]
    if theirs != layout.digest():
        raise LayoutMismatch(
            f"{path} has layout digest {theirs.hex()[:12]}, this program {layout.digest().hex()[:12]}: "
            "stop everything that uses it and start again with one version"
        )
    if header["boot_id"] != boot_id():
        raise LayoutMismatch(
            f"{path} is from boot {header['boot_id']}, this is boot {boot_id()}: start again, it will be replaced"
        )
    if header["total_bytes"] != size:
        raise LayoutMismatch(f"{path} has {size} bytes and should have {header['total_bytes']}: it was truncated")
    try:
        counts = Counts(**{name: header[field] for field, name in _COUNT_FIELDS.items()})
    except ValueError as error:
        raise LayoutMismatch(f"{path} has impossible counts ({error}): remove it") from None
    if layout.layout_of(counts)[1] != size:
        raise LayoutMismatch(f"{path} has {size} bytes, its counts ask for {layout.layout_of(counts)[1]}: remove it")
    return counts
