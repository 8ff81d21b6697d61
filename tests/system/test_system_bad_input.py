"""Bad input: what is wrong inside a recording is counted and the rest goes on; what cannot be used starts nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from system_support import Box, instances, wait_for
from unbuilt import tree_without_a_build

pytestmark = pytest.mark.system

Line = dict[str, Any]


@pytest.fixture
def sample(box: Box) -> Path:
    folder = box.work / "sample"
    assert box.run("sample", folder, "--seed", 2, "--seconds", 4, "--events", 6).code == 0
    return folder


def lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, content: list[Line]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in content))


def received(content: list[Line], kind: str) -> list[int]:
    """Where frames of a type stand."""
    return [number for number, line in enumerate(content) if kind in line.get("recv", "")]


def after(content: list[Line], number: int, frame: str) -> None:
    """Insert a frame that was received right after another one."""
    line = content[number]
    content.insert(number + 1, {"t_ns": line["t_ns"], "conn": line["conn"], "recv": frame})


def malformed(content: list[Line], number: int) -> None:
    after(content, number, '{"type":"orderbook_delta","sid":1,')


def unknown_type(content: list[Line], number: int) -> None:
    after(content, number, '{"type":"weather_report","event_type":"weather_report","msg":{"rain":"yes"}}')


def out_of_range(content: list[Line], number: int) -> None:
    frame = content[number]["recv"]
    changed = re.sub(r'("price(?:_dollars)?":)"[0-9.]+"', r'\1"7.5000"', frame, count=1)
    assert changed != frame, frame
    content[number]["recv"] = changed


def alerts_of(state: Path) -> list[tuple[str, str]]:
    """(role, code) of every line of the alert log."""
    log = state / "alerts.log"
    return [(line.split()[2], line.split()[3]) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.mark.parametrize(
    ("file", "kind", "spoil", "bad_frames"),
    [
        ("kalshi.jsonl", "orderbook_delta", malformed, 1),
        ("kalshi.jsonl", "orderbook_delta", unknown_type, 0),
        ("kalshi.jsonl", "orderbook_delta", out_of_range, 1),
        ("polymarket.jsonl", "price_change", malformed, 1),
        ("polymarket.jsonl", "price_change", unknown_type, 0),
        ("polymarket.jsonl", "price_change", out_of_range, 1),
    ],
)
def test_a_bad_frame_is_counted_and_alerted_once_and_the_rest_goes_on(
    box: Box, sample: Path, file: str, kind: str, spoil: Callable[[list[Line], int], None], bad_frames: int
) -> None:
    content = lines(sample / file)
    places = received(content, kind)
    assert len(places) > 20
    for number in (places[-3], places[-6]):  # twice, late: most of the recording is before it, some after
        spoil(content, number)
    write(sample / file, content)
    frames = sum("recv" in line for name in ("kalshi.jsonl", "polymarket.jsonl") for line in lines(sample / name))
    state = box.work / "state"
    done = box.run("replay", sample, "--state", state, "--json")
    assert done.code == 0, done.err
    role = f"feed-{file.removesuffix('.jsonl')}"
    assert done.json["frames"] == frames, "not every frame was applied"
    assert done.json["bad_frames"] == 2 * bad_frames
    assert alerts_of(state).count((role, "BAD_FRAME")) == 1
    assert all(alerts_of(state).count(each) == 1 for each in alerts_of(state) if each[0].startswith("feed-"))
    assert (done.json["restarts"], done.json["unresolved"], done.json["ledger_matches_venues"]) == (0, 0, True)
    assert done.json["opportunities"] > 0
    assert box.remains() == []


def test_frames_of_an_instrument_that_nobody_lists_are_an_alert_and_nothing_more(box: Box, sample: Path) -> None:
    pairs = sample / "pairs.toml"
    tables = pairs.read_text().split("\n[[")
    event = json.loads((sample / "sample.json").read_text())["arbitrages"][0]["event"]
    number = event.rsplit("-", 1)[1]
    claims = {
        each for table in tables if f'event = "{event}"' in table for each in re.findall(r'"(\w+:[^"#]+)#', table)
    }
    kept = [
        table
        for table in tables
        if f'event = "{event}"' not in table and not any(f'id = "{each.split(":")[1]}"' in table for each in claims)
    ]
    assert len(kept) < len(tables) - 1, number
    pairs.write_text("\n[[".join(kept))
    state = box.work / "state"
    done = box.run("replay", sample, "--state", state, "--json")
    assert done.code == 0, done.err
    unknown = [role for role, code in alerts_of(state) if code == "UNKNOWN_INSTRUMENT"]
    assert sorted(unknown) == ["feed-kalshi", "feed-polymarket"]
    assert (done.json["bad_frames"], done.json["gaps"], done.json["hash_mismatches"]) == (0, 0, 0)
    assert event not in json.dumps(done.json["near_misses"])


def refused(box: Box, *args: object, code: int = 4, env: dict[str, str] | None = None) -> str:
    """Run what must be refused before anything starts; return its one line on stderr."""
    running = box.start(*args, "--json", env=env)
    seen: set[Path] = set()

    def ended() -> bool:
        seen.update(instances(running.pid))
        return running.process.poll() is not None

    wait_for("the refusal", ended, 20.0)
    done = running.wait()
    assert done.code == code, done.err
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("arbpipe: ")
    assert done.json["schema"] == 1
    assert done.json["error"]["code"] == code
    assert f"arbpipe: {done.json['error']['message']}\n" == done.err
    assert seen == set(), "a segment was made"
    assert box.remains() == []
    return done.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\x00\xff\x13garbage\n", "line 1 is not JSON"),
        (b'{"weather":"fine"}\n', "is not a recording that arbpipe reads"),
        (b'{"arbpipe_recording":9,"venue":"kalshi"}\n', "version 9"),
        (b'{"arbpipe_recording":1,"venue":"tote"}\n', "'tote'"),
        (b'{"arbpipe_recording":1,"venue":"kalshi"}\n{"t_ns":1,"recv":\n', "line 2"),
        (b'{"arbpipe_recording":1,"venue":"kalshi"}\n', "no frame at all"),
        (b"[1, 2", "is not a JSON array"),
    ],
)
def test_a_recording_that_cannot_be_used_is_refused_by_name(
    box: Box, sample: Path, content: bytes, message: str
) -> None:
    bad = box.work / "bad.jsonl"
    bad.write_bytes(content)
    said = refused(box, "replay", bad, "--pairs", sample / "pairs.toml")
    assert message in said
    if "no frame" not in message:
        assert str(bad) in said


def test_a_recording_that_is_not_there_is_a_usage_error(box: Box) -> None:
    assert "nowhere.jsonl" in refused(box, "replay", box.work / "nowhere.jsonl", code=2)


def pair_table(text: str) -> str:
    """The first pair of a pairs.toml."""
    return next("[[" + table for table in text.split("\n[[") if table.startswith("pair]]"))


def unknown_label(text: str) -> str:
    return re.sub(r'(\na = "kalshi:[^"#]+)#\w+"', r'\1#Perhaps"', text, count=1)


def duplicate_pair(text: str) -> str:
    return text + "\n" + pair_table(text)


def same_instruments_twice(text: str) -> str:
    return text + "\n" + re.sub(r'name = "[^"]+"', 'name = "again"', pair_table(text), count=1)


def no_partition(text: str) -> str:
    """An "exactly one" of YES and NO of an equal instrument: the same thing twice, said apart."""
    pair = pair_table(text)
    a, b = (re.search(rf'\n{side} = "([^"]+)"', pair) for side in "ab")
    assert a is not None
    assert b is not None
    return text + (
        f'\n[[partition]]\nname = "wrong"\nevent = "wrong"\nclaims = ["{a[1]}", "{b[1]}"]\n'
        'holds = "exactly_one"\ntails = "none"\napprover = "jane"\n'
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (unknown_label, "Perhaps"),
        (duplicate_pair, "the same two instruments"),
        (same_instruments_twice, "again"),
        (no_partition, 'partition "wrong"'),
        (lambda text: text.replace("schema = 1", "schema = 7"), "schema"),
        (lambda text: "this is no TOML", "is not TOML"),
    ],
)
def test_a_pairs_file_that_cannot_be_used_is_refused_by_entry(
    box: Box, sample: Path, spoil: Callable[[str], str], message: str
) -> None:
    pairs = box.work / "bad-pairs.toml"
    text = (sample / "pairs.toml").read_text()
    pairs.write_text(spoil(text))
    assert pairs.read_text() != text
    said = refused(box, "replay", sample, "--pairs", pairs)
    assert message in said
    assert str(pairs) in said


def test_no_pairs_file_is_a_usage_error_that_says_what_to_do(box: Box, sample: Path) -> None:
    (sample / "pairs.toml").unlink()
    assert "--pairs" in refused(box, "replay", sample, code=2)


def test_an_unknown_variable_under_our_prefix_stops_the_start_and_names_the_nearest(box: Box, sample: Path) -> None:
    said = refused(box, "replay", sample, env={"ARBPIPE_DETECTOR_MAX_EGDE_USD": "0.04"})
    assert "ARBPIPE_DETECTOR_MAX_EGDE_USD" in said
    assert "did you mean ARBPIPE_DETECTOR_MAX_EDGE_USD" in said


def without_a_build(box: Box) -> str:
    """The package as it is where no compiler was, as a PYTHONPATH."""
    return str(tree_without_a_build(box.work / "tree"))


def test_a_core_that_must_be_native_and_is_not_stops_the_start(box: Box, sample: Path) -> None:
    said = refused(box, "replay", sample, env={"ARBPIPE_NATIVE": "require", "PYTHONPATH": without_a_build(box)})
    assert "ARBPIPE_NATIVE=require" in said


def test_without_a_build_everything_runs_and_says_so_first(box: Box, sample: Path) -> None:
    env = {"PYTHONPATH": without_a_build(box)}
    segment = box.work / "segment"
    first = box.start("replay", sample, "--speed", 1, "--segment", segment, env=env)
    wait_for("the replay", lambda: box.status(segment).code == 0, 15.0)
    status = box.run("status", "--segment", segment, env=env)
    assert "core: python (no native build)" in status.out.splitlines()[0]
    assert {each["core"] for each in box.status(segment).json["processes"]} == {"python (no native build)"}
    assert first.wait(30).code == 0, first.stderr
    assert "core: python (no native build)" in first.stderr.splitlines()[0]


def test_a_second_replay_on_the_same_segment_is_refused_naming_role_and_pid(box: Box, sample: Path) -> None:
    segment = box.work / "segment"
    first = box.start("replay", sample, "--speed", 1, "--segment", segment, "--json")
    wait_for("the first replay", lambda: box.status(segment).code == 0, 15.0)
    second = box.run("replay", sample, "--segment", segment, "--json")
    assert second.code == 5, second.err
    assert second.json["error"]["name"] == "safety"
    assert f"supervisor (pid {first.pid})" in second.err
    assert second.err.count("\n") == 1
    assert first.wait(30).code == 0, first.stderr
    assert box.remains() == []


@pytest.mark.parametrize("swap", ["replaced", "removed"])
def test_a_segment_that_is_swapped_under_a_run_ends_it_and_what_lies_there_is_left_alone(
    box: Box, sample: Path, swap: str
) -> None:
    segment = box.work / "segment"
    run = box.start("replay", sample, "--speed", 1, "--segment", segment, "--json")
    wait_for("the replay", lambda: box.status(segment).code == 0, 15.0)
    copy = (segment / "segment").read_bytes()
    (segment / "segment").unlink()
    if swap == "replaced":
        (segment / "segment").write_bytes(copy)
    done = run.wait(30)
    assert done.code == 5, done.err
    assert f"the segment in {segment} was replaced or removed while pid" in done.err
    assert (segment / "segment").exists() == (swap == "replaced")
    wait_for("every process is gone", lambda: not box.processes(), 5.0)
