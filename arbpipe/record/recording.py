"""Reading recordings. Five forms are understood, told apart by their content, never by their name:

1. ours: JSON lines, the first one ``{"arbpipe_recording":1,"venue":…,"started_ns":…}``, then ``{"t_ns","conn","recv"}``,
   ``{…,"send"}`` or ``{…,"event":"open"|"close"}``;
2. Kalshi frames, one JSON object a line (blank lines are skipped), timed by their own ``sending_ts_ms`` or ``ts_ms``;
3. Polymarket frames as one JSON array, timed by their own ``timestamp``;
4. JSON lines of ``{"t": ISO time, "dir": "recv"|"send", "data": text}`` (Polymarket);
5. a folder with ``kalshi/orderbook_<ticker>.json`` and ``polymarket/book_<condition>.json``: REST books of one moment.

A recording without times gets a frame counter: one millisecond a frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from arbpipe.errors import EnvironmentRefused
from arbpipe.identity import VENUES, Venue

__all__ = ["Frame", "FrameKind", "Recording", "open_recordings"]

_MS: Final = 1_000_000
_COUNTER_START_NS: Final = 1_000_000_000
_MOST_MS: Final = 1 << 42  # the year 2109; nanoseconds of it still fit 64 bits


class FrameKind(Enum):
    """What happened at a time."""

    OPEN = "open"
    CLOSE = "close"
    FRAME = "frame"
    REST = "rest"


class Frame(NamedTuple):
    """One event of a recording. ``native_id`` is set for REST books only."""

    t_ns: int
    connection: int
    kind: FrameKind
    data: bytes = b""
    native_id: str = ""


@dataclass(slots=True)
class Recording:
    """All events of one venue, in order, times never decreasing."""

    path: Path
    venue: Venue
    use_yes_price: bool = False
    has_clock: bool = True
    frames: list[Frame] = field(default_factory=list)


def open_recordings(path: Path) -> list[Recording]:
    """Read a file or folder.

    Raises:
        EnvironmentRefused: it is not there, or is in none of the five forms.
    """
    if path.is_dir():
        return _folder(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EnvironmentRefused(f"cannot read the recording {path}: {error.strerror}") from None
    start = data.lstrip()[:1]
    if start == b"[":
        return [_polymarket_array(path, data)]
    lines = [(number, line) for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    if not lines:
        raise EnvironmentRefused(f"the recording {path} is empty")
    first = _object(path, *lines[0])
    if "arbpipe_recording" in first:
        return [_ours(path, first, lines)]
    if "dir" in first and "data" in first:
        return [_directed(path, lines)]
    if "type" in first:
        return [_kalshi_lines(path, lines)]
    raise EnvironmentRefused(
        f"{path} is not a recording that arbpipe reads: its first line has the keys {', '.join(sorted(first))}"
    )


def _object(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise EnvironmentRefused(f"{path} line {number} is not JSON ({error}): the recording is damaged") from None
    if not isinstance(value, dict):
        raise EnvironmentRefused(f"{path} line {number} is not a JSON object: the recording is damaged")
    return value


class _OurLine(msgspec.Struct):
    t_ns: int
    conn: int = 0
    recv: str | None = None
    send: str | None = None
    event: str | None = None


def _ours(path: Path, header: dict[str, Any], lines: list[tuple[int, bytes]]) -> Recording:
    if header["arbpipe_recording"] != 1:
        raise EnvironmentRefused(
            f"{path} is a recording of version {header['arbpipe_recording']!r}; this arbpipe reads version 1"
        )
    venue = VENUES.get(str(header.get("venue")))
    if venue is None:
        raise EnvironmentRefused(f"{path}: venue {header.get('venue')!r} is not one of {', '.join(VENUES)}")
    recording = Recording(path, venue, use_yes_price=bool(header.get("use_yes_price", False)))
    decoder = msgspec.json.Decoder(_OurLine)
    last = 0
    for number, line in lines[1:]:
        try:
            entry = decoder.decode(line)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise EnvironmentRefused(f"{path} line {number}: {error}: the recording is damaged") from None
        if entry.t_ns < last:
            raise EnvironmentRefused(f"{path} line {number}: time {entry.t_ns} is before the line above it")
        last = entry.t_ns
        if entry.recv is not None:
            recording.frames.append(Frame(last, entry.conn, FrameKind.FRAME, entry.recv.encode()))
        elif entry.event in ("open", "close"):
            recording.frames.append(Frame(last, entry.conn, FrameKind(entry.event)))
        elif entry.send is None:
            raise EnvironmentRefused(f"{path} line {number}: neither recv, send nor a known event")
    return recording


def _timed(recording: Recording, frames: list[tuple[int, bytes]]) -> Recording:
    """Give frames without a time (0) the last one known, or the first one that comes; else count."""
    known = [t for t, _ in frames if t]
    recording.has_clock = bool(known)
    now = known[0] if known else _COUNTER_START_NS
    recording.frames.append(Frame(now, 0, FrameKind.OPEN))
    for t, data in frames:
        now = max(now, t) if known else now + _MS
        recording.frames.append(Frame(now, 0, FrameKind.FRAME, data))
    return recording


def _ms(stamp: object) -> int:
    """A venue's time in milliseconds, or 0 where it is none: the frame then gets the time of its neighbours."""
    if isinstance(stamp, str) and stamp.isascii() and stamp.isdigit() and len(stamp) < 16:
        stamp = int(stamp)
    return stamp if type(stamp) is int and 0 < stamp < _MOST_MS else 0


def _kalshi_lines(path: Path, lines: list[tuple[int, bytes]]) -> Recording:
    frames: list[tuple[int, bytes]] = []
    for number, line in lines:
        frame = _object(path, number, line)
        inner = frame.get("msg")
        ms = _ms(frame.get("sending_ts_ms")) or _ms(inner.get("ts_ms") if isinstance(inner, dict) else None)
        frames.append((ms * _MS, line.strip()))
    return _timed(Recording(path, Venue.KALSHI), frames)


def _polymarket_array(path: Path, data: bytes) -> Recording:
    try:
        items = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise EnvironmentRefused(f"{path} is not a JSON array of frames: {error}") from None
    frames: list[tuple[int, bytes]] = []
    for item in items:
        try:
            value = msgspec.json.decode(item)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise EnvironmentRefused(
                f"{path} frame {len(frames) + 1} is not JSON ({error}): the recording is damaged"
            ) from None
        first = value[0] if isinstance(value, list) and value else value
        stamp = first.get("timestamp") if isinstance(first, dict) else None
        frames.append((_ms(stamp) * _MS, bytes(item)))
    return _timed(Recording(path, Venue.POLYMARKET), frames)


def _directed(path: Path, lines: list[tuple[int, bytes]]) -> Recording:
    frames = []
    for number, line in lines:
        entry = _object(path, number, line)
        try:
            when = datetime.fromisoformat(str(entry["t"]))
            if entry["dir"] == "recv":
                frames.append((round(when.timestamp() * 1000) * _MS, str(entry["data"]).encode()))
        except (KeyError, ValueError) as error:
            raise EnvironmentRefused(f"{path} line {number}: {error!r}: the recording is damaged") from None
    return _timed(Recording(path, Venue.POLYMARKET), frames)


def _folder(path: Path) -> list[Recording]:
    found: list[Recording] = []
    for venue, pattern, prefix in (
        (Venue.KALSHI, "kalshi/orderbook_*.json", "orderbook_"),
        (Venue.POLYMARKET, "polymarket/book_*.json", "book_"),
    ):
        files = sorted(path.glob(pattern))
        if not files:
            continue
        recording = Recording(path, venue, has_clock=False)
        now = _COUNTER_START_NS
        recording.frames.append(Frame(now, 0, FrameKind.OPEN))
        for file in files:
            now += _MS
            native_id = file.stem.removeprefix(prefix)
            recording.frames.append(Frame(now, 0, FrameKind.REST, file.read_bytes(), native_id))
        found.append(recording)
    if not found:
        inside = sorted(file for file in path.glob("*.jsonl") if file.is_file())
        found = [recording for file in inside for recording in open_recordings(file)]
    if not found:
        raise EnvironmentRefused(
            f"{path} has neither *.jsonl recordings nor kalshi/orderbook_*.json or polymarket/book_*.json"
        )
    return found
