"""Drives one feed from recordings, at the pace of the segment's age clock.

Scaled: each frame is applied when the clock reaches its time. Stepped: the driver moves the clock to the next time only
after everybody is done, so a replay at ``max`` never runs ahead of detector and executor. A restarted feed re-reads its
recordings up to now without publishing (*muted*), then opens its connections and publishes the books as they stand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from arbpipe.clock import stamp_ns
from arbpipe.record.recording import Frame, FrameKind, Recording
from arbpipe.shm.generation import HasListings
from arbpipe.venues.kalshi.feed import KalshiFeed
from arbpipe.venues.polymarket.feed import PolymarketFeed
from arbpipe.venues.publisher import Publisher

__all__ = ["Feed", "ReplayedFeed", "merged", "step_times"]


class Feed(Protocol):
    """What a venue's feed offers to whoever brings the frames."""

    def list(self, generation: HasListings) -> None:
        """Work with a new generation."""

    def opened(self, number: int, age_ns: int) -> None:
        """A connection is open."""

    def closed(self, number: int, reason: str, recv_ns: int) -> None:
        """A connection is gone."""

    def frame(self, number: int, raw: bytes, recv_ns: int, age_ns: int) -> None:
        """One frame arrived."""

    def resume(self, age_ns: int) -> None:
        """Publishing begins."""


def merged(recordings: Iterable[Recording]) -> list[Frame]:
    """The frames of one venue's recordings in the order of their times; connections are renumbered apart."""
    frames: list[Frame] = []
    base = 0
    for recording in recordings:
        highest = 0
        for frame in recording.frames:
            highest = max(highest, frame.connection)
            frames.append(frame._replace(connection=base + frame.connection))
        base += highest + 1
    frames.sort(key=lambda frame: frame.t_ns)
    return frames


def step_times(recordings: Iterable[Recording]) -> list[int]:
    """Every time at which something happens in any of the recordings."""
    return sorted({frame.t_ns for recording in recordings for frame in recording.frames})


class ReplayedFeed:
    """One venue's feed and its frames. ``apply_until`` is the whole of it."""

    def __init__(self, feed: KalshiFeed | PolymarketFeed, publisher: Publisher, frames: list[Frame]) -> None:
        self._feed = feed
        self._publisher = publisher
        self._frames = frames
        self._next = 0

    @property
    def next_ns(self) -> int | None:
        """The time of the next frame, or ``None`` at the end."""
        return self._frames[self._next].t_ns if self._next < len(self._frames) else None

    def catch_up(self, age_ns: int) -> None:
        """Re-read everything strictly before now without publishing, then publish what stands."""
        self._publisher.muted = True
        self.apply_until(age_ns - 1)
        self._publisher.muted = False
        self._feed.resume(age_ns)

    def apply_until(self, age_ns: int, most: int = 1 << 62) -> int:
        """Apply frames whose time has come, ``most`` at the most; return how many."""
        done = 0
        while done < most and self._next < len(self._frames):
            frame = self._frames[self._next]
            if frame.t_ns > age_ns:
                break
            self._apply(frame)
            self._next += 1
            done += 1
        return done

    def _apply(self, frame: Frame) -> None:
        now = stamp_ns()
        if frame.kind is FrameKind.FRAME:
            self._feed.frame(frame.connection, frame.data, now, frame.t_ns)
        elif frame.kind is FrameKind.OPEN:
            self._feed.opened(frame.connection, frame.t_ns)
        elif frame.kind is FrameKind.CLOSE:
            self._feed.closed(frame.connection, "recorded close", now)
        elif isinstance(self._feed, KalshiFeed):
            self._feed.rest_book(frame.connection, frame.native_id, frame.data, now, frame.t_ns)
        else:
            self._feed.rest_book(frame.connection, frame.data, now, frame.t_ns)
