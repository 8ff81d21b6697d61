"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings (``ARBPIPE_RECORDINGS``); without it the test skips, in CI it fails."""
    folder = Path(os.environ.get("ARBPIPE_RECORDINGS", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        message = f"no recordings at {folder} (set ARBPIPE_RECORDINGS)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder.resolve()
