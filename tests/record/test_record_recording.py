"""Every form of recording is told apart by its content, and what is damaged is refused with its line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from arbpipe.errors import EnvironmentRefused
from arbpipe.identity import Venue
from arbpipe.record.recording import Frame, FrameKind, Recording, open_recordings

MS = 1_000_000
HEADER = {"arbpipe_recording": 1, "venue": "kalshi", "started_ns": 5, "use_yes_price": True}


def written(tmp_path: Path, *lines: Any, name: str = "any.bin") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in lines), encoding="utf-8")
    return path


def only(path: Path) -> Recording:
    (recording,) = open_recordings(path)
    return recording


def refusal(path: Path) -> str:
    with pytest.raises(EnvironmentRefused) as caught:
        open_recordings(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


# --- 1: ours ----------------------------------------------------------------------------------------------------------


def test_our_own_form_keeps_times_connections_and_events(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        HEADER,
        {"t_ns": 7, "conn": 0, "event": "open"},
        {"t_ns": 8, "conn": 0, "send": '{"cmd":"subscribe"}'},
        {"t_ns": 8, "conn": 1, "recv": '{"type":"ok"}'},
        "",
        {"t_ns": 9, "event": "close"},
    )
    recording = only(path)
    assert (recording.path, recording.venue, recording.use_yes_price, recording.has_clock) == (
        *(path, Venue.KALSHI, True, True),
    )
    assert recording.frames == [
        Frame(7, 0, FrameKind.OPEN),
        Frame(8, 1, FrameKind.FRAME, b'{"type":"ok"}'),
        Frame(9, 0, FrameKind.CLOSE),
    ]
    assert only(written(tmp_path, {**HEADER, "use_yes_price": False, "venue": "polymarket"})).frames == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([{**HEADER, "arbpipe_recording": 2}], "of version 2; this arbpipe reads version 1"),
        ([{**HEADER, "venue": "betfair"}], "venue 'betfair' is not one of kalshi, polymarket"),
        ([{"arbpipe_recording": 1}], "venue None"),
        ([HEADER, "", '{"t_ns":1,"recv":'], "line 3: "),
        ([HEADER, {"t_ns": "1", "recv": "x"}], "line 2: "),
        ([HEADER, {"recv": "x"}], "line 2: "),
        ([HEADER, {"t_ns": 5, "recv": "x"}, "", {"t_ns": 4, "recv": "x"}], "line 4: time 4 is before the line above"),
        ([HEADER, {"t_ns": 5}], "line 2: neither recv, send nor a known event"),
        ([HEADER, {"t_ns": 5, "event": "boom"}], "line 2: neither recv, send nor a known event"),
    ],
)
def test_our_own_form_damaged_is_refused_with_its_line(tmp_path: Path, lines: list[Any], words: str) -> None:
    assert words in refusal(written(tmp_path, *lines))


# --- 2: Kalshi frames -------------------------------------------------------------------------------------------------


def test_the_recorded_kalshi_session_is_timed_by_its_own_frames(recordings: Path) -> None:
    path = recordings / "kalshi" / "ws_session_demo_2026-07-01.jsonl"
    recording = only(path)
    assert (recording.venue, recording.has_clock, recording.use_yes_price) == (Venue.KALSHI, True, False)
    assert recording.frames[0].kind is FrameKind.OPEN
    frames = recording.frames[1:]
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    assert [frame.data for frame in frames] == lines
    assert {frame.kind for frame in frames} == {FrameKind.FRAME}
    latest = 0
    for frame in frames:
        stamp = json.loads(frame.data)["msg"].get("ts_ms")
        latest = max(latest, stamp or 0)
        if latest:
            assert frame.t_ns == latest * MS
    times = [frame.t_ns for frame in recording.frames]
    assert times == sorted(times)
    first = next(stamp for line in lines if (stamp := json.loads(line)["msg"].get("ts_ms")))
    assert times[0] == times[1] == first * MS  # what came before the first known time comes with it


def test_the_senders_clock_is_preferred_and_time_never_goes_back(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"type": "a"},
        {"type": "b", "sending_ts_ms": 20, "msg": {"ts_ms": 10}},
        {"type": "c", "msg": {"ts_ms": 15}},
        {"type": "d", "msg": "text"},
        {"type": "e", "sending_ts_ms": "x", "msg": {"ts_ms": True}},
        {"type": "f", "sending_ts_ms": 10**30},
        {"type": "g", "msg": {"ts_ms": 30}},
    )
    assert [frame.t_ns // MS for frame in only(path).frames] == [20, 20, 20, 20, 20, 20, 20, 30]


def test_a_recording_without_times_counts_a_millisecond_a_frame(tmp_path: Path) -> None:
    recording = only(written(tmp_path, {"type": "ok"}, "", {"type": "ok"}))
    assert not recording.has_clock
    assert [frame.t_ns for frame in recording.frames] == [1_000 * MS, 1_001 * MS, 1_002 * MS]


def test_a_damaged_kalshi_line_is_refused_with_its_number_in_the_file(tmp_path: Path) -> None:
    assert "line 5 is not JSON" in refusal(written(tmp_path, {"type": "ok"}, "", {"type": "ok"}, "", '{"type":'))
    assert "line 3 is not a JSON object" in refusal(written(tmp_path, {"type": "ok"}, "", "[]"))
    assert "line 2 is not JSON" in refusal(written(tmp_path, "", "hello"))


# --- 3 and 4: Polymarket frames ---------------------------------------------------------------------------------------


def test_the_recorded_polymarket_array_is_timed_by_its_own_frames(recordings: Path) -> None:
    path = recordings / "polymarket" / "ws_market_frames_fed_2026-07-20.json"
    recording = only(path)
    assert (recording.venue, recording.has_clock) == (Venue.POLYMARKET, True)
    frames = recording.frames[1:]
    assert len(frames) == 27
    for frame, wanted in zip(frames, json.loads(path.read_text()), strict=True):
        assert json.loads(frame.data) == wanted
        one = wanted[0] if isinstance(wanted, list) else wanted
        assert frame.t_ns == int(one["timestamp"]) * MS
    assert recording.frames[0] == Frame(frames[0].t_ns, 0, FrameKind.OPEN)


def test_an_array_without_times_is_counted_and_a_damaged_one_refused(tmp_path: Path) -> None:
    recording = only(written(tmp_path, '[{"timestamp":"soon"},[],"PONG",{"timestamp":"٣"}, 5]'))
    assert not recording.has_clock
    assert [frame.data for frame in recording.frames[1:]] == [
        *(b'{"timestamp":"soon"}', b"[]", b'"PONG"', '{"timestamp":"٣"}'.encode(), b"5"),
    ]
    assert "is not a JSON array of frames" in refusal(written(tmp_path, "[1,"))
    assert not only(written(tmp_path, '[{"timestamp":"' + "9" * 5_000 + '"}]')).has_clock


def test_the_recorded_v2_session_keeps_what_was_received_at_its_time(recordings: Path) -> None:
    path = recordings / "polymarket" / "protocol_v2_2026-10-05" / "ws-market-v2-session.descriptions-elided.jsonl"
    recording = only(path)
    received = [line for line in map(json.loads, path.read_text().splitlines()) if line["dir"] == "recv"]
    assert recording.venue is Venue.POLYMARKET
    assert [frame.data.decode() for frame in recording.frames[1:]] == [line["data"] for line in received]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    for frame, line in zip(recording.frames[1:], received, strict=True):
        since = datetime.fromisoformat(line["t"]) - epoch
        assert frame.t_ns == (since.days * 86_400 + since.seconds) * 1_000 * MS + since.microseconds * 1_000


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"t": "yesterday", "dir": "recv", "data": "x"}, "line 3: "),
        ({"dir": "recv", "data": "x"}, "line 3: KeyError('t')"),
        ({"t": "2026-10-05T23:15:25Z", "dir": "recv"}, "line 3: KeyError('data')"),
        ("{", "line 3 is not JSON"),
    ],
)
def test_a_damaged_directed_line_is_refused_with_its_number(tmp_path: Path, line: Any, words: str) -> None:
    good = {"t": "2026-10-05T23:15:25.682Z", "dir": "recv", "data": "PONG"}
    assert words in refusal(written(tmp_path, good, "", line))


# --- 5: REST books ----------------------------------------------------------------------------------------------------


def test_the_recorded_folder_of_rest_books_is_one_recording_a_venue(recordings: Path) -> None:
    folder = recordings / "pairs" / "snapshot_2026-07-20"
    kalshi, polymarket = open_recordings(folder)
    for recording, venue, pattern, prefix in (
        (kalshi, Venue.KALSHI, "kalshi/orderbook_*.json", "orderbook_"),
        (polymarket, Venue.POLYMARKET, "polymarket/book_*.json", "book_"),
    ):
        files = sorted(folder.glob(pattern))
        assert len(files) > 20
        assert (recording.venue, recording.has_clock) == (venue, False)
        assert recording.frames[0].kind is FrameKind.OPEN
        for at, (frame, file) in enumerate(zip(recording.frames[1:], files, strict=True), 1):
            assert frame == Frame(
                (1_000 + at) * MS, 0, FrameKind.REST, file.read_bytes(), file.stem.removeprefix(prefix)
            )


def test_a_folder_of_recordings_is_all_of_them_in_the_order_of_their_names(tmp_path: Path) -> None:
    written(tmp_path, {"type": "ok"}, name="b.jsonl")
    written(tmp_path, {**HEADER, "venue": "polymarket"}, name="a.jsonl")
    (tmp_path / "notes.txt").write_text("no recording")
    assert [recording.path.name for recording in open_recordings(tmp_path)] == ["a.jsonl", "b.jsonl"]


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    assert "cannot read the recording" in refusal(tmp_path / "absent")
    assert "is empty" in refusal(written(tmp_path, "", " "))
    assert "its first line has the keys a, b" in refusal(written(tmp_path, {"b": 1, "a": 2}))
    folder = tmp_path / "folder"
    folder.mkdir()
    assert "has neither *.jsonl recordings nor" in refusal(folder)
