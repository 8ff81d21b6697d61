"""The breaker counts causes, survives everything, and is only ever acknowledged by a person."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from execution_bench import Plane, pair_plane

from arbpipe.risk.breaker import Breaker


@pytest.fixture
def made() -> Iterator[Plane]:
    with pair_plane() as each:
        yield each


def counts(plane: Plane) -> tuple[int, int]:
    """(trips, acknowledged) in memory."""
    return plane.segment.fields("breaker")["trips"], plane.segment.fields("operator")["acknowledged"]


def breaker(plane: Plane, path: Path, *, empty: bool = True) -> Breaker:
    return Breaker(plane.segment, path / "breaker.json", ledger_empty=empty)


def test_every_cause_counts_also_while_tripped(made: Plane, tmp_path: Path) -> None:
    each = breaker(made, tmp_path)
    assert counts(made) == (0, 0)
    for number in (1, 2, 3):
        each.trip(f"cause {number}")
        assert each.tripped
        assert counts(made) == (number, 0)
    assert each.last == "cause 3" == made.segment.fields("breaker")["last"]
    assert json.loads((tmp_path / "breaker.json").read_bytes()) == {"trips": 3, "acknowledged": 0, "last": "cause 3"}


def test_f63_it_stays_tripped_over_a_restart_and_for_ever(made: Plane, tmp_path: Path) -> None:
    breaker(made, tmp_path).trip("lost too much")
    for _ in range(3):
        with pair_plane() as fresh:  # another boot: a segment of zeros
            again = breaker(fresh, tmp_path)
            assert again.tripped
            assert again.last == "lost too much"
            assert counts(fresh) == (1, 0)

    mistaken = Breaker.__new__(Breaker)  # the mistake: state in memory only, so a restart is a reset
    mistaken._trips = 0
    assert mistaken._trips != counts(made)[0]


def test_what_a_person_acknowledged_is_not_tripped_and_the_next_cause_is(made: Plane, tmp_path: Path) -> None:
    (tmp_path / "breaker.json").write_text('{"trips": 4, "acknowledged": 4, "last": "old"}')
    each = breaker(made, tmp_path, empty=False)
    assert not each.tripped
    each.trip("new")
    assert counts(made) == (5, 4)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"trips": 1}', '{"trips": -1, "acknowledged": -1}', '{"trips": "0", "acknowledged": 0}', "\0" * 40,
     '{"trips": 0, "acknowledged": 0, "more": 1}'],
)  # fmt: skip
def test_a_damaged_file_is_tripped(made: Plane, tmp_path: Path, content: str) -> None:
    (tmp_path / "breaker.json").write_text(content)
    each = breaker(made, tmp_path)
    assert each.tripped
    assert "is damaged" in each.last


def test_an_unreadable_file_is_tripped(made: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "no")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert breaker(made, tmp_path).tripped


def test_a_missing_file_is_tripped_unless_the_ledger_is_empty(made: Plane, tmp_path: Path) -> None:
    assert not breaker(made, tmp_path, empty=True).tripped
    (tmp_path / "breaker.json").unlink()
    each = breaker(made, tmp_path, empty=False)
    assert each.tripped
    assert "is missing" in each.last


def full(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """From now on this call finds no space."""

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, name, fails)


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_f63_a_full_disk_does_not_keep_the_breaker_from_tripping_now_or_at_the_next_start(
    made: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "breaker.json").write_text('{"trips": 4, "acknowledged": 4, "last": "old"}')
    each = breaker(made, tmp_path, empty=False)
    assert counts(made) == (4, 4)
    before = (tmp_path / "breaker.json").read_bytes()
    with monkeypatch.context() as patched:
        full(patched, call)
        each.trip("lost too much")
    assert each.tripped
    assert counts(made) == (5, 4)
    assert each.last == f"lost too much (and {tmp_path / 'breaker.json'} cannot be written: No space left on device)"
    assert made.segment.fields("breaker")["last"] == each.last[:95]
    assert not (tmp_path / "breaker.json").exists()
    with pair_plane() as fresh:  # another boot
        again = breaker(fresh, tmp_path, empty=False)
        assert again.tripped
        assert "is missing" in again.last

    # the mistake: the old file stays, and says at the next start that everything was acknowledged
    (tmp_path / "breaker.json").write_bytes(before)
    with pair_plane() as fresh:
        assert not breaker(fresh, tmp_path, empty=False).tripped


def test_the_first_cause_that_the_disk_takes_again_is_written_with_all_before_it(
    made: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = breaker(made, tmp_path)
    with monkeypatch.context() as patched:
        full(patched, "rename")
        each.trip("first")
    each.trip("second")
    assert json.loads((tmp_path / "breaker.json").read_bytes()) == {"trips": 2, "acknowledged": 0, "last": "second"}
