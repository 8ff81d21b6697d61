"""How far may the venue's clock be ahead of ours?"""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbpipe.venues.kalshi.ahead import MOST_SKEW_MS, ahead_ms

START = 1_790_000_000_000


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 99 Nov 2026 00:00:00 GMT"])
def test_what_states_no_time_leaves_the_most_that_the_venue_accepts(date: str) -> None:
    assert ahead_ms(START, date) == MOST_SKEW_MS


@given(st.integers(-5_000, 5_000), st.integers(0, 999), st.integers(0, 2_000))
def test_the_bound_is_never_below_what_is_so_and_a_second_and_the_way_above_it_at_most(
    skew_ms: int, phase_ms: int, way_ms: int
) -> None:
    asked = START + phase_ms
    date = formatdate((asked + way_ms + skew_ms) // 1000, usegmt=True)
    assert max(0, skew_ms) <= ahead_ms(asked, date) <= max(0, skew_ms + way_ms + 1_000)
