"""An alert is one line and one mark; it never blocks and never gets lost in silence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from execution_bench import pair_plane

from arbpipe.alerts import Alerts
from arbpipe.shm.layout import Role
from arbpipe.shm.stats import ErrorCode, ProcessLine


def test_an_alert_is_one_line_with_time_mode_role_and_code(tmp_path: Path) -> None:
    alerts = Alerts(tmp_path / "alerts.log", "PAPER", "executor")
    alerts.alert(ErrorCode.LEDGER, "two\nlines\tand   blanks")
    alerts.alert(ErrorCode.EXPOSURE, "second")
    lines = (tmp_path / "alerts.log").read_text().splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"
    assert re.fullmatch(f"{stamp} PAPER executor LEDGER two lines and blanks", lines[0])
    assert re.fullmatch(f"{stamp} PAPER executor EXPOSURE second", lines[1])
    assert (tmp_path / "alerts.log").stat().st_mode & 0o007 == 0


def test_an_alert_is_counted_and_stands_in_the_error_table(tmp_path: Path) -> None:
    with pair_plane() as plane:
        line = ProcessLine(plane.segment, Role.EXECUTOR)
        line.begin()
        alerts = Alerts(tmp_path / "alerts.log", "PAPER", "executor", line)
        for _ in range(3):
            alerts.alert(ErrorCode.EXPOSURE, "unhedged")
        stats = plane.segment.fields("processes", Role.EXECUTOR)
        assert (stats["alerts"], stats["error_code"][0], stats["error_count"][0]) == (3, ErrorCode.EXPOSURE, 3)


@pytest.mark.parametrize("place", ["missing/alerts.log", "folder"])
def test_a_log_that_cannot_be_written_stops_nothing_and_is_said_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (tmp_path / "folder").mkdir()
    Alerts(tmp_path / place, "LIVE", "executor").alert(ErrorCode.EXPOSURE, "unhedged")
    said = capsys.readouterr().err
    assert f"cannot write {tmp_path / place}" in said
    assert "LIVE executor EXPOSURE unhedged" in said


def test_the_log_is_never_written_through_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "target").write_text("")
    (tmp_path / "alerts.log").symlink_to(tmp_path / "target")
    Alerts(tmp_path / "alerts.log", "PAPER", "executor").alert(ErrorCode.CRASH, "x")
    assert (tmp_path / "target").read_text() == ""
    assert "CRASH x" in capsys.readouterr().err
