"""Manners of the command: help, exit codes, plain output in a pipe, and a probe that costs next to nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from system_support import Box, slowness

from arbpipe import __version__
from arbpipe.cli import COMMANDS
from arbpipe.shm import layout
from arbpipe.shm.layout import HEADER, Counts
from arbpipe.shm.segment import Mode, Segment

HEAVY = ("numpy", "asyncio", "rich", "uvloop", "multiprocessing")


@pytest.fixture
def segment(tmp_path: Path) -> Iterator[Path]:
    """A segment nobody is behind."""
    directory = tmp_path / "segment"
    Segment.create(directory, Counts(slots=256), mode=Mode.PAPER, instance="manners").detach()
    yield directory
    Segment.destroy(directory)


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS), ("config", "init"), ("config", "show")])
def test_every_command_has_a_help_that_fits_the_width(box: Box, words: tuple[str, ...]) -> None:
    done = box.run(*words, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: {' '.join(('arbpipe', *words))}")
    assert max(map(len, done.out.splitlines())) <= 100


def test_the_overview_names_every_command_and_every_exit_code(box: Box) -> None:
    out = box.run("--help").out
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert re.findall(r"\b(\d+)\s+[a-z]", out) == ["0", "1", "2", "3", "4", "5", "6", "7", "130"]


def test_the_version_is_printed(box: Box) -> None:
    done = box.run("--version")
    assert (done.code, done.out) == (0, f"arbpipe, version {__version__}\n")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("stat",), "did you mean status?"),
        (("zzz",), "there is no command 'zzz'"),
        (("status", "--nonsense"), "--nonsense"),
        (("replay",), "RECORDINGS"),
        (("demo", "--seconds", "1"), "2<=x<=3600"),
        (("demo", "--seconds", "soon"), "soon"),
        (("sample",), "DIRECTORY"),
        (("sample", "x", "--events", "0"), "events"),
        (("replay", ".", "--speed", "fast"), "neither a number nor max"),
        (("replay", ".", "--speed", "0"), "0.001"),
        (("replay", ".", "--venue", "tote"), "tote"),
        (("completion", "tcsh"), "tcsh"),
        (("why",), "WHAT"),
        (("config", "drop"), "drop"),
    ],
)
def test_usage_errors_exit_2_with_one_line_that_names_the_help(box: Box, words: tuple[str, ...], named: str) -> None:
    done = box.run(*words)
    assert (done.code, done.out) == (2, ""), done.err
    assert named in done.err
    assert done.err.startswith("arbpipe: ")
    assert "--help`)" in done.err


def test_with_json_an_error_is_an_object_on_stdout(box: Box) -> None:
    done = box.run("status", "--json", "--nonsense")
    assert done.code == 2
    assert done.json["schema"] == 1
    assert (done.json["error"]["code"], done.json["error"]["name"]) == (2, "usage")
    assert "--nonsense" in done.json["error"]["message"]


def test_options_that_contradict_each_other_are_a_usage_error(box: Box) -> None:
    (box.work / "book.json").write_text("{}")
    done = box.run("replay", ".", "--book", "book.json")
    assert (done.code, "--venue polymarket" in done.err) == (2, True)
    done = box.run("replay", ".", "--venue", "kalshi", "--pairs", "book.json")
    assert (done.code, "--pairs" in done.err) == (2, True)


@pytest.mark.parametrize(("shell", "mark"), [("bash", "complete "), ("zsh", "#compdef arbpipe"), ("fish", "complete ")])
def test_completion_scripts_name_the_command(box: Box, shell: str, mark: str) -> None:
    done = box.run("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert mark in done.out
    assert "_ARBPIPE_COMPLETE" in done.out


def test_completion_completes_commands(box: Box) -> None:
    env = {"_ARBPIPE_COMPLETE": "bash_complete", "COMP_WORDS": "arbpipe st", "COMP_CWORD": "1"}
    code = "from arbpipe.cli import root; root.main(prog_name='arbpipe')"
    done = subprocess.run(
        [sys.executable, "-c", code], env=box.environment(env), capture_output=True, text=True, timeout=20
    )
    assert done.stdout.split() == ["plain,status"], done.stderr


def test_an_unknown_variable_under_our_prefix_is_refused_naming_the_nearest(box: Box) -> None:
    done = box.run("config", "show", "--json", env={"ARBPIPE_LIMITS_MAX_TOTAL_UDS": "1"})
    assert (done.code, done.json["error"]["name"]) == (4, "environment")
    assert "did you mean ARBPIPE_LIMITS_MAX_TOTAL_USD" in done.err


# -- status --------------------------------------------------------------------------------------------------------------


def test_status_without_a_segment_exits_3_and_says_what_to_start(box: Box) -> None:
    done = box.run("status", "--json", "--segment", box.work / "none")
    assert (done.code, done.json["error"]["name"]) == (3, "not_running")
    assert "arbpipe demo" in done.err


def test_status_finds_the_segment_by_environment(box: Box, segment: Path) -> None:
    done = box.run("status", "--json", env={"ARBPIPE_SEGMENT": str(segment)})
    assert (done.code, done.json["segment"], done.json["instance"]) == (1, str(segment), "manners")


def test_status_of_a_segment_that_nobody_runs_on_says_so(box: Box, segment: Path) -> None:
    said = box.status(segment).json
    assert said["healthy"] is False
    assert "supervisor was never started" in said["problems"]
    assert "no catalog was published yet" in said["problems"]


def test_a_segment_of_another_version_is_refused_naming_both(box: Box, segment: Path) -> None:
    with open(segment / "segment", "r+b") as file:
        file.seek(HEADER.offset("version"))
        file.write((layout.ABI_VERSION + 1).to_bytes(4, "little"))
    done = box.status(segment)
    assert (done.code, done.json["error"]["name"]) == (6, "mismatch")
    assert f"layout version {layout.ABI_VERSION + 1}, this program {layout.ABI_VERSION}" in done.err


def test_status_answers_within_half_a_second(box: Box, segment: Path) -> None:
    allowed = 0.5 * slowness()
    fastest = min(box.run("status", "--segment", segment).seconds for _ in range(3))
    assert fastest < allowed


@pytest.mark.parametrize(("words", "also"), [(("status",), ("sqlite3",)), (("why", "nothing"), ())])
def test_probes_import_nothing_heavy(box: Box, segment: Path, words: tuple[str, ...], also: tuple[str, ...]) -> None:
    code = (
        "import sys, json\nfrom arbpipe.cli import main\n"
        f"try:\n    main([*{words!r}, '--segment', {str(segment)!r}])\n"
        f"finally:\n    print('loaded', json.dumps([each for each in {HEAVY + also!r} if each in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=box.environment(), capture_output=True, text=True, timeout=20
    )
    assert done.returncode in (1, 3), done.stderr
    assert json.loads(done.stdout.splitlines()[-1].removeprefix("loaded ")) == []


def test_nothing_is_coloured_in_a_pipe_or_under_no_color(box: Box, segment: Path) -> None:
    for env in ({}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm-256color"}):
        done = box.run("status", "--segment", segment, env=env)
        assert "\x1b" not in done.out + done.err


def test_status_is_readable_at_80_columns(box: Box, segment: Path) -> None:
    out = box.run("status", "--segment", segment).out
    first, *rest = out.splitlines()
    assert re.match(r"arbpipe PAPER DEGRADED  core: unknown  /", first), "mode and core stand in the first line"
    assert max(map(len, rest)) <= 80


def test_a_closed_pipe_is_no_error(box: Box, segment: Path) -> None:
    command = f"{sys.executable} -m arbpipe status --segment {segment} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], env=box.environment(), capture_output=True, text=True, timeout=20)
    assert "Traceback" not in done.stderr
    assert done.stdout.startswith("arbpipe PAPER")
