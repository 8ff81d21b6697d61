from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from plane_support import ROOT, SMALL
from unbuilt import tree_without_a_build

from arbpipe.errors import EnvironmentRefused, ExitCode
from arbpipe.shm import core
from arbpipe.shm.segment import Segment

ASK = "from arbpipe.shm import core; print(core.CORE); core.check_machine()"
BUILT = (ROOT / "arbpipe" / "_native.abi3.so").exists()


def ask(wanted: str | None, root: Path = ROOT, script: str = ASK) -> tuple[str, str]:
    """Which core a new process chooses, and the last line of its complaint."""
    environment = {"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"}
    if wanted is not None:
        environment["ARBPIPE_NATIVE"] = wanted
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=root)
    return done.stdout.strip(), (done.stderr.strip().splitlines() or [""])[-1]


@pytest.fixture
def without_a_build(tmp_path: Path) -> Path:
    """The package as it is where no compiler was: everything but the extension."""
    return tree_without_a_build(tmp_path)


@pytest.mark.skipif(not BUILT, reason="the native core is not built here")
@pytest.mark.parametrize("wanted", [None, "auto", "require"])
def test_the_native_core_is_chosen_where_it_is_built(wanted: str | None) -> None:
    assert ask(wanted) == ("native", "")


def test_the_twin_is_chosen_when_it_is_asked_for() -> None:
    assert ask("python") == ("python (asked for)", "")


@pytest.mark.parametrize("wanted", [None, "auto"])
def test_without_a_build_the_twin_runs_and_says_so(without_a_build: Path, wanted: str | None) -> None:
    assert ask(wanted, without_a_build) == ("python (no native build)", "")


def test_a_required_core_that_is_not_there_is_a_failure_that_says_what_to_do(without_a_build: Path) -> None:
    name, error = ask("require", without_a_build)
    assert name == "python (no native build)"
    assert "EnvironmentRefused: ARBPIPE_NATIVE=require, but arbpipe._native does not import" in error
    assert "apt install gcc python3-dev" in error


@pytest.mark.parametrize(
    "module", ["LAYOUT = (1, 2)", "LAYOUT = {layout}"], ids=["another layout", "a function that is missing"]
)
def test_an_extension_of_other_sources_is_not_used(without_a_build: Path, module: str) -> None:
    (without_a_build / "arbpipe" / "_native.py").write_text(module.format(layout=core.LAYOUT))
    assert ask(None, without_a_build) == ("python (native is stale)", "")
    assert "was built from other sources" in ask("require", without_a_build)[1]


def test_both_cores_have_the_layout_of_this_program() -> None:
    layout = "from arbpipe.shm import core; print(core.LAYOUT == core._OURS)"
    assert ask("python", script=layout) == ask(None, script=layout) == ("True", "")


def test_an_unknown_choice_is_refused_with_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBPIPE_NATIVE", "yes")
    with pytest.raises(EnvironmentRefused, match="'yes': use auto, require or python") as caught:
        core.check_machine()
    assert caught.value.code is ExitCode.ENVIRONMENT


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the twin had been chosen."""
    monkeypatch.delenv("ARBPIPE_NATIVE", raising=False)
    monkeypatch.setattr(core, "is_native", lambda: False)


@pytest.mark.parametrize("machine", ["aarch64", "arm64", "riscv64", "i686", ""])
def test_the_twin_refuses_a_machine_without_total_store_order_by_name(
    twin: None, machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(EnvironmentRefused, match=rf"little-endian x86-64 \(this is {machine},"):
        core.check_machine()


def test_the_twin_refuses_a_big_endian_machine(twin: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    with pytest.raises(EnvironmentRefused, match="big-endian"):
        core.check_machine()


def test_neither_create_nor_attach_works_on_an_unfit_machine(
    twin: None, plane: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Segment.create(plane, SMALL).detach()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(EnvironmentRefused, match="aarch64"):
        Segment.attach(plane)
    with pytest.raises(EnvironmentRefused, match="aarch64"):
        Segment.create(plane / "new", SMALL)
    assert not (plane / "new").exists()
