"""Samples for the simulator's tests, written once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from arbpipe.sim.sample import Sample, write_sample


@pytest.fixture(scope="session")
def sample_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Sample]:
    """The default sample of a seed."""
    root: Path = tmp_path_factory.mktemp("sim")
    made: dict[int, Sample] = {}

    def get(seed: int) -> Sample:
        if seed not in made:
            made[seed] = write_sample(root / str(seed), seed=seed)
        return made[seed]

    return get
