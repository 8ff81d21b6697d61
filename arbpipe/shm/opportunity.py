"""The opportunity ring's entries, and its two ends."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from pathlib import Path
from typing import Final, NamedTuple

from arbpipe.errors import EnvironmentRefused
from arbpipe.shm import core
from arbpipe.shm.layout import HEAD_BYTES, LEG, LINE, MAX_LEGS, OPPORTUNITY, Role
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import ProcessLine

__all__ = ["Doorbell", "Leg", "Opportunity", "OpportunityReader", "OpportunityWriter"]

_HEAD: Final = struct.Struct("<QQIIIiqqqqqq")
_LEG: Final = struct.Struct("<IIQQiiq")
_LEGS_AT: Final = OPPORTUNITY.offset("legs")
if _HEAD.size > _LEGS_AT or _LEG.size != LEG.size or _LEGS_AT + MAX_LEGS * LEG.size > OPPORTUNITY.size:
    raise AssertionError("the structs of an opportunity do not have the layout's sizes")


class Leg(NamedTuple):
    """One claim to buy. ``price_e4`` is the worst level taken, ``cost_e6`` the whole leg with fees."""

    claim: int
    proposition: int
    uid: int
    version: int
    price_e4: int
    size_e2: int
    cost_e6: int


class Opportunity(NamedTuple):
    """A cover whose edge clears the threshold. Times: ``expiry_ns`` on the age clock, the stamps CLOCK_MONOTONIC."""

    position: int
    generation: int
    cover: int
    cover_id: int
    size_e2: int
    edge_e6: int
    expiry_ns: int
    recv_ns: int
    publish_ns: int
    detect_ns: int
    push_ns: int
    legs: tuple[Leg, ...]

    def pack(self) -> bytes:
        """The ring entry.

        Raises:
            ValueError: more than 8 legs.
        """
        if not 1 <= len(self.legs) <= MAX_LEGS:
            raise ValueError(f"an opportunity of {len(self.legs)} legs: 1 to {MAX_LEGS} fit")
        head = _HEAD.pack(
            self.position,
            self.generation,
            self.cover,
            self.cover_id,
            len(self.legs),
            self.size_e2,
            self.edge_e6,
            self.expiry_ns,
            self.recv_ns,
            self.publish_ns,
            self.detect_ns,
            self.push_ns,
        )
        legs = b"".join(_LEG.pack(*leg) for leg in self.legs)
        return (head.ljust(_LEGS_AT, b"\0") + legs).ljust(OPPORTUNITY.size, b"\0")

    @classmethod
    def unpack(cls, entry: bytes) -> Opportunity:
        """The opportunity in a ring entry."""
        head = _HEAD.unpack_from(entry)
        n_legs = head[4]
        legs = tuple(Leg(*_LEG.unpack_from(entry, _LEGS_AT + index * LEG.size)) for index in range(n_legs))
        return cls._make((*head[:4], *head[5:], legs))


class Doorbell:
    """A FIFO in the segment's directory: the executor sleeps on it, the detector writes a byte (design 5, "Waking").

    Both sides open it O_RDWR | O_NONBLOCK, so neither blocks on the other's absence; a full pipe is a rung bell.
    """

    def __init__(self, directory: Path) -> None:
        """Open the FIFO, and make it first where there is none.

        Raises:
            EnvironmentRefused: it cannot be made or opened, or something else lies in its place.
        """
        path = directory / "doorbell.executor"
        try:
            with contextlib.suppress(FileExistsError):
                os.mkfifo(path, 0o660)
            self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise EnvironmentRefused(f"cannot open the doorbell {path}: {error.strerror}") from None
        if not stat.S_ISFIFO(os.fstat(self.fd).st_mode):
            os.close(self.fd)
            raise EnvironmentRefused(f"{path} is not a FIFO: remove it")

    def ring(self) -> None:
        """Wake the executor."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.fd, b"\1")

    def drain(self) -> None:
        """Take every pending byte."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self.fd, 4096)) == 4096:
                pass

    def close(self) -> None:
        """Close the descriptor; the FIFO goes with the segment's directory."""
        os.close(self.fd)


class OpportunityWriter:
    """The detector's end."""

    def __init__(self, segment: Segment, doorbell: Doorbell) -> None:
        self._region = segment.region
        self._base = segment.section("opportunities").offset
        self._capacity = segment.counts.ring_capacity
        self._doorbell = doorbell

    def push(self, opportunity: Opportunity) -> int:
        """Publish and ring; return the position. Never blocks: the oldest entry is overwritten."""
        position = self._region.load_u64(self._base)
        entry = opportunity._replace(position=position).pack()
        core.ring_push(self._region, self._base, self._capacity, OPPORTUNITY.size, entry)
        self._doorbell.ring()
        return position


class OpportunityReader:
    """The executor's end. It begins at the head: what was pushed before it started is not its business."""

    CURSOR: Final = 0

    def __init__(self, segment: Segment, line: ProcessLine | None = None) -> None:
        self._region = segment.region
        self._base = segment.section("opportunities").offset
        self._capacity = segment.counts.ring_capacity
        self._line = line
        self.tail = self._region.load_u64(self._base)
        self.overruns = 0
        self.store_tail()

    @property
    def head(self) -> int:
        """Where the writer stands."""
        return self._region.load_u64(self._base)

    def store_tail(self) -> None:
        """Say how far this consumer is; stored before an attempt begins, so that a restart does not repeat it."""
        if self._line is not None and self._line.role is Role.EXECUTOR:
            self._region.store_u64(self._base + LINE, self.tail)
            self._line.cursor(self.CURSOR, self.tail)

    def next(self) -> Opportunity | None:
        """The next entry, or ``None``. Overwritten entries are skipped and counted. The tail is stored first."""
        while True:
            try:
                entry = core.ring_read(self._region, self._base, self._capacity, OPPORTUNITY.size, self.tail)
            except core.Overrun as overrun:
                if overrun.head < self.tail:  # the head went back, which no writer does: begin again where it is
                    self.overruns += 1
                    self.tail = overrun.head
                else:
                    oldest = max(overrun.head - self._capacity + 1, self.tail + 1)
                    self.overruns += oldest - self.tail
                    self.tail = oldest
                self.store_tail()
                continue
            if entry is None:
                return None
            self.tail += 1
            self.store_tail()
            return Opportunity.unpack(entry)


assert HEAD_BYTES == 2 * LINE
