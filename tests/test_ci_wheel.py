"""CI refuses a wheel that promises a platform and holds no core."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / ".ci" / "check_wheel.py"
CORE = "arbpipe/_native.abi3.so"


def checked(folder: Path, name: str, *files: str) -> tuple[int, str]:
    path = folder / name
    with zipfile.ZipFile(path, "w") as wheel:
        for file in ("arbpipe/__init__.py", *files):
            wheel.writestr(file, "")
    done = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("arbpipe-0.1.0-cp311-abi3-linux_x86_64.whl", [CORE]),
        ("arbpipe-0.1.0-cp311-abi3-manylinux_2_34_aarch64.whl", [CORE]),
        ("arbpipe-0.1.0-py3-none-any.whl", []),
    ],
)
def test_a_wheel_that_holds_what_its_name_says_passes(tmp_path: Path, name: str, files: list[str]) -> None:
    assert checked(tmp_path, name, *files) == (0, "every wheel has its core\n")


@pytest.mark.parametrize(
    ("name", "files", "says"),
    [
        ("arbpipe-0.1.0-cp311-abi3-linux_x86_64.whl", [], f"is for linux_x86_64 and holds no {CORE}"),
        ("arbpipe-0.1.0-cp311-abi3-linux_x86_64.whl", ["arbpipe/_native.cpython-311-x86_64-linux-gnu.so"], "holds no"),
        ("arbpipe-0.1.0-cp312-cp312-linux_x86_64.whl", [CORE], "the core has the stable ABI of cp311"),
        ("arbpipe-0.1.0-py3-none-any.whl", [CORE], "is for any platform and holds"),
        ("arbpipe.whl", [CORE], "is not a wheel's name"),
    ],
)
def test_a_wheel_that_does_not_is_refused_and_says_why(tmp_path: Path, name: str, files: list[str], says: str) -> None:
    code, said = checked(tmp_path, name, *files)
    assert code == 1
    assert says in said


def test_no_wheel_at_all_is_a_failure() -> None:
    assert subprocess.run([sys.executable, SCRIPT], capture_output=True).returncode == 1
