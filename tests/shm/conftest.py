"""Fixtures of the shared-memory plane."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from plane_support import SMALL, plane, spawn

from arbpipe.shm.segment import Segment

__all__ = ["plane", "spawn"]


@pytest.fixture
def segment(plane: Path) -> Iterator[Segment]:
    """A small segment of this test alone."""
    with Segment.create(plane, SMALL) as made:
        yield made


@pytest.fixture(scope="module")
def shared_segment() -> Iterator[Segment]:
    """A small segment for all examples of the property tests of one module."""
    directory = Path(tempfile.mkdtemp(prefix="arbpipe-test-", dir="/dev/shm"))
    with Segment.create(directory, SMALL) as made:
        yield made
    shutil.rmtree(directory)


@pytest.fixture
def tiny_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A real tmpfs of 1 MB; skips where mounting is not permitted."""
    place = tmp_path / "tiny"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a tmpfs is not permitted here")
    yield place
    subprocess.run(["umount", "-l", place], check=True, capture_output=True)
