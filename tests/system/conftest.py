"""A private world for real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from system_support import Box, opened


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with opened(tmp_path / "box") as made:
        yield made
