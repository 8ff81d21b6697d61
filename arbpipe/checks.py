"""What a check of the surroundings says: one line each, what it means, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Check", "Verdict"]


class Verdict(Enum):
    """``WARNING``: it works, but a person should know. ``FAILURE``: trading must not begin."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. ``todo`` is empty where there is nothing to do."""

    name: str
    verdict: Verdict
    says: str
    todo: str = ""
