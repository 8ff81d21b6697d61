"""Fixtures of the executor's tests."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from attempt_scene import Scene
from execution_bench import Plane, pair_plane

from arbpipe.venues.paper.account import PaperAccount


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    made: list[Scene] = []
    numbers = count()

    def make(*args: Any, **kwargs: Any) -> Scene:
        made.append(Scene(tmp_path / f"ledger-{next(numbers)}.sqlite", *args, **kwargs))
        return made[-1]

    yield make
    for each in made:
        each.ledger.store.close()


@pytest.fixture
def plane() -> Iterator[Plane]:
    """A plane with one opportunity on it."""
    with pair_plane() as made:
        yield made


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process takes over the signals, and its paper account stays open: afterwards both are as they were."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    opened: list[PaperAccount] = []
    make = PaperAccount.__init__

    def watched(self: PaperAccount, *args: Any) -> None:
        make(self, *args)
        opened.append(self)

    monkeypatch.setattr(PaperAccount, "__init__", watched)
    yield
    for each in opened:
        each.close()
    for number, handler in before.items():
        signal.signal(number, handler)
