"""On which grid do a market's prices lie?"""

from __future__ import annotations

import pytest

from arbpipe.venues.kalshi.grid import finest_step_e4, range_words, tick_of
from arbpipe.venues.kalshi.messages import PriceRange


def bands(*edges: tuple[int, int, int]) -> list[PriceRange]:
    return [PriceRange(*each) for each in edges]


TAPERED = bands((0, 1_000, 10), (1_000, 9_000, 100), (9_000, 10_000, 10))


@pytest.mark.parametrize(
    ("edges", "step"),
    [
        ([(0, 10_000, 100)], 100),
        ([(0, 1_000, 10), (1_000, 9_000, 100), (9_000, 10_000, 10)], 10),
        ([(0, 10_000, 25)], 25),
        ([(50, 10_050, 100)], 50),
        ([], 0),
        ([(0, 10_000, 0)], 0),
        ([(0, 10_000, 300)], 0),
        ([(500, 500, 100)], 0),
    ],
)
def test_the_grid_is_the_finest_on_which_every_valid_price_lies(edges: list[tuple[int, int, int]], step: int) -> None:
    assert finest_step_e4([PriceRange(*each) for each in edges]) == step


def test_every_price_of_a_tapered_market_lies_on_its_tick() -> None:
    tick = tick_of(TAPERED)
    assert tick == 10
    prices = [price for band in TAPERED for price in range(band.start_e4, band.end_e4 + 1, band.step_e4)]
    assert all(price % tick == 0 for price in prices)


def test_a_grid_that_does_not_divide_a_dollar_is_none_and_says_which() -> None:
    said = tick_of(bands((0, 9_900, 300)))
    assert said == "its price steps make no grid of a dollar: 0.0300 from 0.0000 to 0.9900"
    assert range_words(TAPERED[:1]) == "0.0010 from 0.0000 to 0.1000"
