from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest
from plane_support import SMALL

from arbpipe import _python
from arbpipe.errors import EnvironmentRefused, ExitCode
from arbpipe.shm import core
from arbpipe.shm.segment import Segment


def test_this_machine_is_fit() -> None:
    core.check_machine()


@pytest.mark.parametrize("machine", ["aarch64", "arm64", "riscv64", "i686", ""])
def test_a_machine_without_total_store_order_is_refused_by_name(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(EnvironmentRefused, match=rf"little-endian x86-64 \(this is {machine},"):
        core.check_machine()


def test_a_big_endian_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(EnvironmentRefused, match="big-endian"):
        core.check_machine()


def test_a_required_core_that_is_not_there_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBPIPE_NATIVE", "require")
    with pytest.raises(EnvironmentRefused, match="no native core") as caught:
        core.check_machine()
    assert caught.value.code is ExitCode.ENVIRONMENT


@pytest.mark.parametrize("value", ["auto", "python"])
def test_the_twin_runs_where_it_is_allowed(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBPIPE_NATIVE", value)
    core.check_machine()


def test_an_unknown_choice_is_refused_with_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBPIPE_NATIVE", "yes")
    with pytest.raises(EnvironmentRefused, match="'yes': use auto, require or python"):
        core.check_machine()


def test_neither_create_nor_attach_works_on_an_unfit_machine(plane: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Segment.create(plane, SMALL).detach()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(EnvironmentRefused, match="aarch64"):
        Segment.attach(plane)
    with pytest.raises(EnvironmentRefused, match="aarch64"):
        Segment.create(plane / "new", SMALL)
    assert not (plane / "new").exists()


def test_the_core_says_which_one_runs_and_offers_all_of_it() -> None:
    assert core.CORE.startswith("python")
    for name in _python.__all__:
        assert getattr(core, name) is getattr(_python, name)
