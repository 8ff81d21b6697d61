"""Keeping the frames of a live feed in our recording format, so that ``replay`` can run them again.

Written by the feed process itself, after the frame was applied: a slow disk makes the file late, never the row. What is
written are frames as they came; requests, keys and headers never pass through here.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO

from arbpipe.clock import wall_ns
from arbpipe.identity import Venue
from arbpipe.venues.kalshi.feed import KalshiFeed
from arbpipe.venues.kalshi.standing import Standing
from arbpipe.venues.polymarket.feed import PolymarketFeed
from arbpipe.venues.publisher import Publisher

__all__ = ["Capture", "CapturedKalshi", "CapturedPolymarket"]


class Capture:
    """One venue's recording file. A restarted feed goes on in a file of its own: the first file's times stay whole."""

    def __init__(self, directory: Path, venue: Venue, *, use_yes_price: bool) -> None:
        """Create ``<venue>.jsonl``, or ``<venue>.<n>.jsonl`` where that is there already."""
        directory.mkdir(parents=True, exist_ok=True)
        self._file = self._open(directory, venue.label)
        header: dict[str, object] = {"arbpipe_recording": 1, "venue": venue.label, "started_ns": wall_ns()}
        if venue is Venue.KALSHI:
            header["use_yes_price"] = use_yes_price
        self._write(header)
        self._last = 0

    @staticmethod
    def _open(directory: Path, name: str) -> IO[str]:
        number = 0
        while True:
            path = directory / (f"{name}.jsonl" if not number else f"{name}.{number}.jsonl")
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            except FileExistsError:
                number += 1
                continue
            return os.fdopen(fd, "w", encoding="utf-8", buffering=1 << 16)

    def _write(self, entry: dict[str, object]) -> None:
        self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")

    def _now(self) -> int:
        self._last = max(self._last, wall_ns())
        return self._last

    def event(self, connection: int, what: str) -> None:
        """A connection opened or closed."""
        self._write({"t_ns": self._now(), "conn": connection, "event": what})

    def frame(self, connection: int, raw: bytes) -> None:
        """A frame arrived."""
        self._write({"t_ns": self._now(), "conn": connection, "recv": raw.decode("utf-8", "replace")})

    def flush(self) -> None:
        """Hand what is buffered to the kernel."""
        self._file.flush()

    def close(self) -> None:
        """End the recording."""
        self._file.close()


class CapturedKalshi(KalshiFeed):
    """A Kalshi feed that keeps what it applies."""

    def __init__(self, publisher: Publisher, capture: Capture, standing: Standing | None = None) -> None:
        super().__init__(publisher, use_yes_price=True, standing=standing)
        self._capture = capture

    def opened(self, number: int, age_ns: int) -> None:
        super().opened(number, age_ns)
        self._capture.event(number, "open")

    def closed(self, number: int, reason: str, recv_ns: int) -> None:
        super().closed(number, reason, recv_ns)
        self._capture.event(number, "close")

    def frame(self, number: int, raw: bytes, recv_ns: int, age_ns: int) -> None:
        super().frame(number, raw, recv_ns, age_ns)
        self._capture.frame(number, raw)


class CapturedPolymarket(PolymarketFeed):
    """A Polymarket feed that keeps what it applies."""

    def __init__(self, publisher: Publisher, capture: Capture) -> None:
        super().__init__(publisher)
        self._capture = capture

    def opened(self, number: int, age_ns: int) -> None:
        super().opened(number, age_ns)
        self._capture.event(number, "open")

    def closed(self, number: int, reason: str, recv_ns: int) -> None:
        super().closed(number, reason, recv_ns)
        self._capture.event(number, "close")

    def frame(self, number: int, raw: bytes, recv_ns: int, age_ns: int) -> None:
        super().frame(number, raw, recv_ns, age_ns)
        self._capture.frame(number, raw)
