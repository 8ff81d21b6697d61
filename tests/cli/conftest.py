"""The same private world as in tests/system: these tests start the command too, but no pipeline."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "system"))

from system_support import Box, opened


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with opened(tmp_path / "box") as made:
        yield made
