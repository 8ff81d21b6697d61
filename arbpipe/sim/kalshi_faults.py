"""Faults that wait for their moment: armed by command, then used up, or in force until a time or until cleared.

Pure: the clock is given, and nothing here knows what a fault does. The commands are in :mod:`arbpipe.sim.kalshi_commands`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Armed", "Faults", "Params"]

Params = Mapping[str, Any]


@dataclass(slots=True)
class Armed:
    """A fault that waits. ``left``: how often it may still be used, None while it lasts. ``until_ns``: on the given clock."""

    number: int
    name: str
    params: Params
    left: int | None
    until_ns: int | None
    used: int = 0


class Faults:
    """What is armed, oldest first. ``steady_ns`` is a clock that never goes back."""

    def __init__(self, steady_ns: Callable[[], int]) -> None:
        self._steady_ns = steady_ns
        self._armed: list[Armed] = []
        self._used: dict[str, int] = {}
        self._count = 0

    def arm(self, name: str, params: Params, *, times: int | None = None, for_s: float | None = None) -> Armed:
        """Add a fault: ``times`` uses, or in force for ``for_s`` seconds, or until cleared when both are None."""
        self._count += 1
        until_ns = None if for_s is None else self._steady_ns() + round(for_s * 1e9)
        armed = Armed(self._count, name, params, times, until_ns)
        self._armed.append(armed)
        return armed

    def _is_alive(self, armed: Armed) -> bool:
        over = armed.until_ns is not None and armed.until_ns <= self._steady_ns()
        return not over and (armed.left is None or armed.left > 0)

    def find(self, name: str, fits: Callable[[Params], bool] = lambda _: True) -> Armed | None:
        """The oldest fault of that name that fits, not used by this."""
        self._armed = [each for each in self._armed if self._is_alive(each)]
        return next((each for each in self._armed if each.name == name and fits(each.params)), None)

    def use(self, armed: Armed) -> None:
        """Count one use; a fault without uses left is gone."""
        armed.used += 1
        self.count(armed.name)
        if armed.left is not None:
            armed.left -= 1
            if armed.left == 0:
                self._armed = [each for each in self._armed if each is not armed]

    def count(self, name: str) -> None:
        """Count one use of a fault that is never armed because it acts at once."""
        self._used[name] = self._used.get(name, 0) + 1

    def take(self, name: str, fits: Callable[[Params], bool] = lambda _: True) -> Params | None:
        """Use the oldest fault of that name that fits; its parameters, or None."""
        armed = self.find(name, fits)
        if armed is None:
            return None
        self.use(armed)
        return armed.params

    def live(self, name: str) -> Params | None:
        """The parameters of a fault that is in force; the newest of that name wins. Nothing is counted."""
        alive = [each for each in self._armed if each.name == name and self._is_alive(each)]
        return alive[-1].params if alive else None

    def clear(self, name: str | None = None) -> int:
        """Disarm all faults of that name, or all; how many there were."""
        gone = [each for each in self._armed if self._is_alive(each) and name in (None, each.name)]
        self._armed = [each for each in self._armed if name is not None and each.name != name]
        return len(gone)

    def shown(self) -> dict[str, object]:
        """What is armed and what was used, for ``GET /sim/control``."""
        now_ns = self._steady_ns()
        armed = [
            {
                "number": each.number,
                "do": each.name,
                **each.params,
                "times_left": each.left,
                "seconds_left": None if each.until_ns is None else round((each.until_ns - now_ns) / 1e9, 3),
                "used": each.used,
            }
            for each in self._armed
            if self._is_alive(each)
        ]
        return {"armed": armed, "used": dict(self._used)}
