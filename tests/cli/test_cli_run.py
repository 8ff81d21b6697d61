"""``run``, ``sim`` and ``demo``: what their help promises, and what they refuse before anything starts."""

from __future__ import annotations

import tomllib

import pytest
from system_support import Box


def words_of(text: str) -> str:
    return " ".join(text.split())


def refused(box: Box, code: int, name: str, *args: object) -> str:
    """The one line on stderr of a command that must refuse and start nothing."""
    done = box.run(*args, "--json", timeout_s=20)
    assert (done.code, done.json["error"]["code"], done.json["error"]["name"]) == (code, code, name), done.err
    assert (done.err.count("\n"), done.err.startswith("arbpipe: ")) == (1, True), done.err
    assert done.json["error"]["message"] in done.err
    assert box.remains() == []
    return done.err


def test_help_of_run_says_what_is_sent_and_where_it_may_go(box: Box) -> None:
    out = words_of(box.run("run", "--help").out)
    assert "On paper nothing is sent" in out
    assert "this version accepts venues on loopback only" in out
    assert "--paper / --live On paper (default), or with orders." in out
    assert all(f" {option} " in out for option in ("--seconds", "--record", "--segment", "--config", "--json"))


def test_help_of_sim_says_what_lies_in_the_directory_afterwards(box: Box) -> None:
    out = words_of(box.run("sim", "--help").out)
    assert out.startswith("Usage: arbpipe sim [OPTIONS] DIRECTORY")
    assert "keys, ca.pem, pairs.toml, and an arbpipe.toml with which `arbpipe run --live` trades" in out
    assert "A directory that holds accounts goes on with them" in out


def test_help_of_demo_says_what_is_kept_and_what_is_not(box: Box) -> None:
    out = words_of(box.run("demo", "--help").out)
    assert "No account, no network, nothing is left behind." in out
    assert "--state DIRECTORY Keep ledger, venues' accounts and logs here." in out
    assert "--record DIRECTORY Keep the frames of both venues and their pairs.toml here, for `arbpipe replay`." in out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("run", "now"), "now"),
        (("run", "--seconds", "0"), "x>=1"),
        (("run", "--lvie"), "--lvie"),
        (("run", "--config", "."), "'.' is a directory"),
        (("run", "--record", "file"), "'file' is a file"),
        (("sim",), "DIRECTORY"),
        (("sim", "x", "--events", "0"), "1<=x<=500"),
        (("sim", "x", "--seed", "-1"), "x>=0"),
        (("sim", "file"), "'file' is a file"),
        (("demo", "--record", "file"), "'file' is a file"),
        (("demo", "--state", "file"), "'file' is a file"),
        (("demo", "--events", "501"), "1<=x<=500"),
    ],
)
def test_a_command_line_that_makes_no_sense_exits_2(box: Box, words: tuple[str, ...], named: str) -> None:
    (box.work / "file").write_text("")
    message = refused(box, 2, "usage", *words)
    assert named in message
    assert f"(see `arbpipe {words[0]} --help`)" in message
    assert sorted(path.name for path in box.work.iterdir()) == ["file"]


@pytest.mark.parametrize(
    "words",
    [
        ("sim", "file/below"),
        ("demo", "--state", "file/below"),
        ("demo", "--record", "file/below"),
    ],
)
def test_a_folder_that_cannot_be_made_is_refused_by_name(box: Box, words: tuple[str, ...]) -> None:
    (box.work / "file").write_text("")
    message = refused(box, 4, "environment", *words)
    assert "file/below" in message
    assert "name another folder" in message


def test_a_replay_whose_state_cannot_be_kept_is_refused_by_name(box: Box) -> None:
    sample = box.sample(seconds=2)
    (box.work / "file").write_text("")
    message = refused(box, 4, "environment", "replay", sample, "--state", "file/below")
    assert f"cannot make {box.work}/file/below for ledger and logs: Not a directory" in message


def test_run_without_a_key_says_which_file_to_name(box: Box) -> None:
    message = refused(box, 4, "environment", "run")
    assert "kalshi.private_key_file is not configured" in message
    assert not (box.home / ".local").exists()


def test_run_live_needs_the_switch_of_the_configuration_as_well(box: Box) -> None:
    assert box.run("config", "init").code == 0
    assert tomllib.loads((box.work / "arbpipe.toml").read_text())["executor"]["live"] is False
    assert "--live needs executor.live = true in the configuration as well" in refused(
        box, 5, "safety", "run", "--live"
    )


def test_run_live_with_the_real_venues_is_refused_even_when_switched_on(box: Box) -> None:
    (box.work / "arbpipe.toml").write_text("[executor]\nlive = true\n")
    message = refused(box, 5, "safety", "run", "--live")
    assert "kalshi.rest is https://external-api.kalshi.com" in message
    assert "simulated venues on loopback only" in message
    assert "arbpipe sim" in message
    assert "arbpipe run --paper" in message


def test_the_environment_can_switch_orders_on_but_not_let_them_leave_the_machine(box: Box) -> None:
    done = box.run("run", "--live", "--json", env={"ARBPIPE_EXECUTOR_LIVE": "true"})
    assert (done.code, "loopback only" in done.err) == (5, True), done.err
