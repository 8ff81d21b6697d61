"""Records: named fields at fixed offsets. Arithmetic and ``struct``, no numpy."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import Final

from arbpipe.fixedpoint import ceil_to

__all__ = ["SIZES", "Field", "Record", "record"]

#: Bytes of one item of each code.
SIZES: Final = {"u8": 8, "i8": 8, "u4": 4, "i4": 4, "u2": 2, "u1": 1}
_STRUCT: Final = {"u8": "Q", "i8": "q", "u4": "I", "i4": "i", "u2": "H", "u1": "B"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record: ``count`` items of ``code``, or ``count`` bytes for code ``S``."""

    name: str
    code: str
    offset: int
    count: int = 1
    unit: str = ""

    @property
    def size(self) -> int:
        """Bytes of the whole field."""
        return self.count if self.code == "S" else SIZES[self.code] * self.count


@dataclass(frozen=True, slots=True)
class Record:
    """A fixed set of fields at fixed offsets in ``size`` bytes."""

    name: str
    size: int
    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        end = 0
        for field in sorted(self.fields, key=lambda f: f.offset):
            if field.offset < end:
                raise ValueError(f"{self.name}.{field.name} overlaps the field before it")
            if field.code != "S" and field.offset % SIZES[field.code]:
                raise ValueError(f"{self.name}.{field.name} at {field.offset} is not on its natural boundary")
            end = field.offset + field.size
        if end > self.size:
            raise ValueError(f"{self.name} has {end} bytes of fields in a record of {self.size}")

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"{self.name} has no field {name!r}")

    def offset(self, name: str, index: int = 0) -> int:
        """Byte offset of item ``index`` of a field inside the record."""
        field = self[name]
        return field.offset + (index * SIZES[field.code] if index else 0)

    def unpack(self, data: bytes | bytearray | memoryview | mmap.mmap, base: int = 0) -> dict[str, object]:
        """All fields as a dictionary (for probes and reports, not for the hot path)."""
        values: dict[str, object] = {}
        for field in self.fields:
            at = base + field.offset
            if field.code == "S":
                raw = bytes(data[at : at + field.count])
                values[field.name] = raw.split(b"\0", 1)[0].decode("utf-8", "replace")
            else:
                items = struct.unpack_from(f"<{field.count}{_STRUCT[field.code]}", data, at)
                values[field.name] = items[0] if field.count == 1 else items
        return values

    def spec(self) -> str:
        """Everything that makes this record what it is, as text for the digest."""
        fields = ",".join(f"{f.name}:{f.code}x{f.count}@{f.offset}[{f.unit}]" for f in self.fields)
        return f"{self.name}({self.size}):{fields}"


Part = tuple[str, str] | tuple[str, str, int] | tuple[str, str, int, str]


def record(name: str, size: int, *parts: Part) -> Record:
    """Make a record: the parts one after the other, each on its natural boundary.

    A part is ``(name, code)``, ``(name, code, count)`` or ``(name, code, count, unit)``.
    """
    fields: list[Field] = []
    at = 0
    for part in parts:
        field_name, code = part[0], part[1]
        count = part[2] if len(part) > 2 else 1
        unit = part[3] if len(part) > 3 else ""
        at = ceil_to(at, 1 if code == "S" else SIZES[code])
        field = Field(field_name, code, at, count, unit)
        fields.append(field)
        at += field.size
    return Record(name, size, tuple(fields))
