from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

import pytest
from plane_support import Spawn

from arbpipe.errors import EnvironmentRefused, SafetyRefused
from arbpipe.shm.locks import RoleLock, held_locks, lock_holder

HOLDER = """
import sys
from pathlib import Path
from arbpipe.errors import SafetyRefused
from arbpipe.shm.locks import RoleLock
try:
    lock = RoleLock(Path(sys.argv[1]), "detector")
except SafetyRefused as error:
    print(error, flush=True)
    sys.exit(5)
print("held", flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
sys.stdin.readline()
"""


@pytest.mark.system
def test_a_second_owner_is_refused_naming_the_role_and_the_pid(plane: Path, spawn: Spawn) -> None:
    first = spawn(HOLDER, plane)
    assert first.line() == "held"
    with pytest.raises(SafetyRefused, match=f"the role detector in {plane} is held by pid {first.pid}: stop"):
        RoleLock(plane, "detector")
    second = spawn(HOLDER, plane)
    assert f"held by pid {first.pid}" in second.line()
    assert second.end() == 5
    assert lock_holder(plane, "detector") == first.pid


@pytest.mark.system
def test_a_killed_owner_holds_nothing_and_the_next_takes_its_place(plane: Path, spawn: Spawn) -> None:
    first = spawn(HOLDER, plane)
    assert first.line() == "held"
    assert held_locks(plane) == {"detector": first.pid}
    first.kill()
    assert lock_holder(plane, "detector") is None
    assert held_locks(plane) == {}
    second = spawn(HOLDER, plane)
    assert second.line() == "held"
    assert lock_holder(plane, "detector") == second.pid


@pytest.mark.system
def test_a_released_role_is_free_while_its_former_owner_lives(plane: Path, spawn: Spawn) -> None:
    first = spawn(HOLDER, plane)
    assert first.line() == "held"
    first.tell("release")
    assert first.line() == "released"
    lock = RoleLock(plane, "detector")
    assert lock_holder(plane, "detector") == os.getpid()
    lock.release()
    lock.release()
    assert lock_holder(plane, "detector") is None
    assert (plane / "lock.detector").exists()


def test_a_probe_changes_neither_file_nor_lock_and_needs_no_right_to_write(plane: Path) -> None:
    lock = RoleLock(plane, "executor")
    os.chmod(plane / "lock.executor", 0o440)
    before = (plane / "lock.executor").stat()
    for _ in range(3):
        assert lock_holder(plane, "executor") == os.getpid()
    after = (plane / "lock.executor").stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    with pytest.raises(SafetyRefused):
        RoleLock(plane, "executor")
    lock.release()


def test_a_probe_of_a_role_nobody_ever_held_creates_no_file(plane: Path) -> None:
    assert lock_holder(plane, "detector") is None
    assert held_locks(plane) == {}
    assert held_locks(plane / "nowhere") == {}
    assert list(plane.iterdir()) == []


def test_roles_are_held_one_by_one(plane: Path) -> None:
    locks = [RoleLock(plane, role) for role in ("feed-kalshi", "feed-polymarket", "detector")]
    locks[1].release()
    assert held_locks(plane) == {"detector": os.getpid(), "feed-kalshi": os.getpid()}
    for lock in locks:
        lock.release()


def test_a_lock_held_without_a_pid_in_its_file_is_held_all_the_same(plane: Path) -> None:
    lock = RoleLock(plane, "detector")
    os.truncate(lock.path, 0)
    assert lock_holder(plane, "detector") == 0
    assert held_locks(plane) == {"detector": 0}
    with pytest.raises(SafetyRefused, match="held by pid unknown"):
        RoleLock(plane, "detector")
    lock.release()


def test_a_pid_in_the_file_without_a_lock_is_nobody(plane: Path) -> None:
    (plane / "lock.detector").write_text("1\n")
    assert lock_holder(plane, "detector") is None
    lock = RoleLock(plane, "detector")
    assert lock.path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_shorter_pid_leaves_no_digit_of_the_one_before(plane: Path) -> None:
    (plane / "lock.detector").write_text("123456789012\n")
    lock = RoleLock(plane, "detector")
    assert lock.path.read_text() == f"{os.getpid()}\n"
    lock.release()


def test_the_lock_file_is_0640(plane: Path) -> None:
    before = os.umask(0o022)
    lock = RoleLock(plane, "detector")
    os.umask(before)
    assert stat.S_IMODE(lock.path.stat().st_mode) == 0o640
    lock.release()


def test_a_symbolic_link_as_lock_file_is_refused_by_owner_and_probe(plane: Path) -> None:
    (plane / "target").write_text("")
    (plane / "lock.detector").symlink_to(plane / "target")
    with pytest.raises(EnvironmentRefused, match="cannot open the lock file"):
        RoleLock(plane, "detector")
    with pytest.raises(EnvironmentRefused, match="cannot tell whether the role detector"):
        held_locks(plane)


def test_a_directory_that_is_missing_is_refused_with_the_path(plane: Path) -> None:
    with pytest.raises(EnvironmentRefused, match=f"cannot open the lock file {plane}/gone/lock.detector"):
        RoleLock(plane / "gone", "detector")


def test_a_full_tmpfs_refuses_the_role_and_does_not_keep_it(tiny_tmpfs: Path) -> None:
    (tiny_tmpfs / "lock.detector").touch()
    with (tiny_tmpfs / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(4096))
    assert shutil.disk_usage(tiny_tmpfs).free == 0
    with pytest.raises(EnvironmentRefused, match="cannot write the pid"):
        RoleLock(tiny_tmpfs, "detector")
    assert lock_holder(tiny_tmpfs, "detector") is None
