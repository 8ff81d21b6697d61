"""One conformance suite for both cores: every claim about the native core is made about its twin, in the same words."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "shm"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from plane_support import plane, spawn

__all__ = ["core", "native", "plane", "spawn"]

CORES = ["arbpipe._native", "arbpipe._python"]


def load(name: str) -> ModuleType:
    """A core; skips where the native one is not built, unless it is required."""
    module = importlib.import_module(name)
    if not hasattr(module, "LAYOUT"):  # a folder of C sources
        if os.environ.get("ARBPIPE_NATIVE") == "require":
            pytest.fail("ARBPIPE_NATIVE=require, and arbpipe._native is not built")
        pytest.skip("the native core is not built here")
    return module


@pytest.fixture(scope="session", params=CORES, ids=["native", "python"])
def core(request: pytest.FixtureRequest) -> ModuleType:
    """Each core in turn."""
    return load(request.param)


@pytest.fixture(scope="session")
def native() -> ModuleType:
    """The native core."""
    return load("arbpipe._native")


@pytest.fixture(scope="session", params=CORES, ids=["native-writer", "python-writer"])
def writer_core(request: pytest.FixtureRequest) -> str:
    """The core of the process on the other side, by name."""
    load(request.param)
    name: str = request.param
    return name
