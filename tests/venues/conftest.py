"""One feed on a real segment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from feed_bench import Bench, bench

from arbpipe.identity import Venue


@pytest.fixture
def kalshi_bench() -> Iterator[Bench]:
    with bench(Venue.KALSHI) as made:
        yield made


@pytest.fixture
def polymarket_bench() -> Iterator[Bench]:
    with bench(Venue.POLYMARKET) as made:
        yield made
