"""The Python core is tested on the same private tmpfs directories and with the same children as the plane above it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "shm"))

from plane_support import plane, spawn

__all__ = ["plane", "spawn"]
