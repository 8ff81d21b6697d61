"""A catalog generation in shared memory: an immutable file of flat arrays beside the segment, and its reader.

The catalog process writes ``catalog.<generation>`` under a temporary name, renames it, then stores the generation word.
Readers check the digest, map and acknowledge. Slots and claim ids mean something only inside one generation.

File: magic (8 bytes), generation (u64), digest (32 bytes, SHA-256 of all that follows), length of the JSON (u64), JSON
(``arrays``: name → [dtype, shape, offset]; ``meta``: names for people), then the arrays, each on a 64-byte boundary.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from arbpipe.errors import EnvironmentRefused, LayoutMismatch
from arbpipe.feemodel import FeeTerms
from arbpipe.identity import Venue

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "ARRAYS",
    "CoverEntry",
    "Generation",
    "HasListings",
    "Listing",
    "content_of",
    "encode_generation",
    "read_meta",
    "write_generation",
]

_MAGIC: Final = b"ARBPCAT1"
_HEAD: Final = struct.Struct("<8sQ32sQ")

#: Every array of a generation: dtype and what it says.
ARRAYS: Final = {
    "uid": "<u8",  # instruments: uid …
    "slot": "<u4",
    "venue": "u1",
    "tradeable": "u1",
    "tick_e4": "<u4",
    "min_size_e2": "<u4",
    "fee": "<u4",  # (n, 4): rate_e6, exponent (0 unknown), quantum_e6, align_e6
    "group": "<i4",  # conflict group, -1 when in no relation
    "prop_ptr": "<u4",  # propositions: claims of proposition p are prop_claims[prop_ptr[p]:prop_ptr[p+1]]
    "prop_claims": "<u4",
    "cover_ptr": "<u4",  # covers: propositions of cover c are cover_props[cover_ptr[c]:cover_ptr[c+1]]
    "cover_props": "<u4",
    "cover_id": "<u4",
    "cover_k": "<u4",
    "cover_group": "<u4",
    "cover_event": "<u4",
    "cover_tails": "u1",  # 1: tails accepted, the floor is cover_floor_e6
    "cover_floor_e6": "<i8",
    "cover_relations_ptr": "<u4",  # relation slots a cover rests on
    "cover_relations": "<u4",
    "pay_ptr": "<u4",  # payoffs: group g has pay_states[g] states and claims pay_claims[pay_ptr[g]:pay_ptr[g+1]]
    "pay_states": "<u4",
    "pay_regular": "<u4",  # how many of them are regular; the rest are tails
    "pay_claims": "<u4",
    "pay_matrix_ptr": "<u8",  # first of claims × states entries in pay_least / pay_most
    "pay_least": "<i4",
    "pay_most": "<i4",
}


class Listing(NamedTuple):
    """One instrument of a generation, as processes use it."""

    number: int
    uid: int
    slot: int
    venue: Venue
    native_id: str
    title: str
    yes_label: str
    no_label: str
    yes_token: str
    no_token: str
    version: str
    neg_risk: bool
    min_size_text: str
    tradeable: bool
    reason: str
    tick_e4: int
    min_size_e2: int
    fee: FeeTerms | None
    group: int


class HasListings(Protocol):
    """A generation, or anything else that lists instruments."""

    @property
    def listings(self) -> list[Listing]:
        """Every instrument that is listed."""
        ...


class CoverEntry(NamedTuple):
    """One cover of a generation."""

    number: int
    cover_id: int
    name: str
    kind: str
    event: str
    k: int
    group: int
    tails_accepted: bool
    floor_e6: int
    propositions: tuple[tuple[int, ...], ...]  # claim ids of each
    proposition_ids: tuple[int, ...]
    relations: tuple[int, ...]


def encode_generation(arrays: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any]) -> tuple[bytes, int]:
    """Everything of a generation file but its header, and the length of the JSON in it.

    Two catalogs that say the same give the same bytes, whatever their numbers.

    Raises:
        ValueError: an array is missing, unknown or of another dtype.
    """
    if set(arrays) != set(ARRAYS):
        raise ValueError(f"a generation needs exactly {sorted(ARRAYS)}, not {sorted(arrays)}")
    table: dict[str, list[Any]] = {}
    body = bytearray()
    for name in ARRAYS:
        array = arrays[name]
        if array.dtype.str != ARRAYS[name].replace("u1", "|u1"):
            raise ValueError(f"{name} is {array.dtype.str}: {ARRAYS[name]} expected")
        body += b"\0" * (-len(body) % 64)
        table[name] = [ARRAYS[name], list(array.shape), len(body)]
        body += array.tobytes()
    head = msgspec.json.encode({"arrays": table, "meta": meta})
    head += b" " * (-(_HEAD.size + len(head)) % 64)
    return head + bytes(body), len(head)


def _digest(head_length: int, content: bytes | memoryview) -> bytes:
    """Over the length too: another length would still parse (the JSON ends in blanks) and shift every array."""
    each = hashlib.sha256(head_length.to_bytes(8, "little"))
    each.update(content)
    return each.digest()


def write_generation(directory: Path, generation: int, content: bytes, head_length: int) -> Path:
    """Write ``catalog.<generation>`` from :func:`encode_generation` and rename it into place.

    Raises:
        EnvironmentRefused: no space or no permission.
    """
    temporary = directory / f".catalog.{generation}.{secrets.token_hex(4)}"
    path = directory / f"catalog.{generation}"
    try:
        with open(temporary, "wb", opener=lambda p, f: os.open(p, f | os.O_EXCL, 0o640)) as file:
            file.write(_HEAD.pack(_MAGIC, generation, _digest(head_length, content), head_length))
            file.write(content)
        os.rename(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EnvironmentRefused(f"cannot write {path}: {error.strerror}") from None
    return path


def content_of(directory: Path, generation: int) -> bytes:
    """The content of a generation file, to compare with another one's; empty if it is not there."""
    try:
        return (directory / f"catalog.{generation}").read_bytes()[_HEAD.size :]
    except OSError:
        return b""


def _open(path: Path) -> tuple[int, dict[str, Any], mmap.mmap, int]:
    try:
        with open(path, "rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise EnvironmentRefused(f"cannot map the catalog {path}: {error}") from None
    try:
        magic, generation, digest, head_length = _HEAD.unpack_from(mapping)
        if magic != _MAGIC:
            raise LayoutMismatch(f"{path} is not a catalog generation")
        if _digest(head_length, memoryview(mapping)[_HEAD.size :]) != digest:
            raise LayoutMismatch(f"{path} is damaged: its digest does not match")
        head = msgspec.json.decode(memoryview(mapping)[_HEAD.size : _HEAD.size + head_length])
    except struct.error:
        raise LayoutMismatch(f"{path} is shorter than its header") from None
    return generation, head, mapping, _HEAD.size + head_length


def read_meta(directory: Path, generation: int) -> dict[str, Any]:
    """The names of a generation, without numpy (for probes).

    Raises:
        EnvironmentRefused: there is no such generation.
        LayoutMismatch: the file is damaged.
    """
    _generation, head, mapping, _start = _open(directory / f"catalog.{generation}")
    mapping.close()
    meta: dict[str, Any] = head["meta"]
    return meta


class Generation:
    """One mapped generation. An attempt keeps its own until it ends; the mapping lives as long as this object."""

    def __init__(self, directory: Path, generation: int) -> None:
        """Map and check ``catalog.<generation>``.

        Raises:
            EnvironmentRefused: there is no such file.
            LayoutMismatch: it is damaged, or names another generation.
        """
        import numpy as np

        path = directory / f"catalog.{generation}"
        self.number, head, mapping, start = _open(path)
        if self.number != generation:
            raise LayoutMismatch(f"{path} says it is generation {self.number}")
        self._mapping = mapping
        self.meta: dict[str, Any] = head["meta"]
        self.arrays: dict[str, np.ndarray[Any, Any]] = {
            name: np.frombuffer(mapping, dtype, int(np.prod(shape)), start + offset).reshape(shape)
            for name, (dtype, shape, offset) in head["arrays"].items()
        }
        self.listings = self._listings()
        self.by_slot = {each.slot: each for each in self.listings}
        self.by_uid = {each.uid: each for each in self.listings}
        self.covers = self._covers()
        self._group_uids: dict[int, frozenset[int]] = {}

    def _listings(self) -> list[Listing]:
        a = self.arrays
        columns = zip(
            a["uid"].tolist(),
            a["slot"].tolist(),
            a["venue"].tolist(),
            a["tradeable"].tolist(),
            a["tick_e4"].tolist(),
            a["min_size_e2"].tolist(),
            a["fee"].tolist(),
            a["group"].tolist(),
            self.meta["instruments"],
            strict=True,
        )
        return [
            Listing(
                index,
                uid,
                slot,
                Venue(venue),
                m["native_id"],
                m["title"],
                m["yes_label"],
                m["no_label"],
                m["yes_token"],
                m["no_token"],
                m["version"],
                m["neg_risk"],
                m["min_size"],
                bool(tradeable),
                m["reason"],
                tick,
                least,
                FeeTerms(*fee) if fee[1] else None,
                group,
            )
            for index, (uid, slot, venue, tradeable, tick, least, fee, group, m) in enumerate(columns)
        ]

    def _covers(self) -> list[CoverEntry]:
        a = self.arrays
        prop_ptr, prop_claims = a["prop_ptr"].tolist(), a["prop_claims"].tolist()
        cover_ptr, cover_props = a["cover_ptr"].tolist(), a["cover_props"].tolist()
        rel_ptr, rels = a["cover_relations_ptr"].tolist(), a["cover_relations"].tolist()
        claims = [tuple(prop_claims[prop_ptr[p] : prop_ptr[p + 1]]) for p in range(len(prop_ptr) - 1)]
        entries = []
        for index, names in enumerate(self.meta["covers"]):
            props = tuple(cover_props[cover_ptr[index] : cover_ptr[index + 1]])
            entries.append(
                CoverEntry(
                    index,
                    int(a["cover_id"][index]),
                    names["name"],
                    names["kind"],
                    self.meta["events"][int(a["cover_event"][index])],
                    int(a["cover_k"][index]),
                    int(a["cover_group"][index]),
                    bool(a["cover_tails"][index]),
                    int(a["cover_floor_e6"][index]),
                    tuple(claims[p] for p in props),
                    props,
                    tuple(rels[rel_ptr[index] : rel_ptr[index + 1]]),
                )
            )
        return entries

    def group_uids(self, group: int) -> frozenset[int]:
        """The conflict group: every instrument that relations connect with these."""
        if group not in self._group_uids:
            self._group_uids[group] = frozenset(each.uid for each in self.listings if each.group == group)
        return self._group_uids[group]

    def payoffs(self, group: int) -> tuple[dict[int, tuple[list[int], list[int]]], int]:
        """What each claim of a group pays: claim id → (least, most) in micro-dollars per state; and how many of the
        states (the first ones) are regular."""
        a = self.arrays
        first, last = int(a["pay_ptr"][group]), int(a["pay_ptr"][group + 1])
        states, at = int(a["pay_states"][group]), int(a["pay_matrix_ptr"][group])
        table = {}
        for number, claim in enumerate(a["pay_claims"][first:last].tolist()):
            begin = at + number * states
            table[claim] = (
                a["pay_least"][begin : begin + states].tolist(),
                a["pay_most"][begin : begin + states].tolist(),
            )
        return table, int(a["pay_regular"][group])
