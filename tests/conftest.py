"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# no test depends on the machine's speed: a slow example is no failure
settings.register_profile("arbpipe", deadline=None)
settings.load_profile("arbpipe")


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
