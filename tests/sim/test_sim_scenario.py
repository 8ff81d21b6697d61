from __future__ import annotations

import itertools

import pytest

from arbpipe.sim.scenario import FIRST_CHANGE_NS, make_scenario


@pytest.mark.parametrize("seed", [1, 2])
def test_changes_follow_each_other_and_keep_every_book_sound(seed: int) -> None:
    scenario = make_scenario(seed=seed, events=12, seconds=10.0)
    books = {key: book.copy() for key, book in scenario.opening.items()}
    offsets = [change.offset_ns for change in scenario.changes]
    assert all(first < second for first, second in itertools.pairwise(offsets))
    assert FIRST_CHANGE_NS <= offsets[0] < offsets[-1] < scenario.duration_ns
    for change in scenario.changes:
        for level in change.levels:
            assert level.price_e4 % change.market.tick_e4 == 0
            books[change.market.key].apply(level)  # raises if crossed, emptied or unknown
        book = books[change.market.key]
        assert all(size > 0 for side in (book.bids, book.asks) for size in side.values())
        assert min(len(book.bids), len(book.asks)) >= 2


def test_a_scenario_is_a_function_of_its_arguments() -> None:
    assert make_scenario(seed=5, events=4, seconds=5.0) == make_scenario(seed=5, events=4, seconds=5.0)
    assert make_scenario(seed=5, events=4, seconds=5.0).changes != make_scenario(seed=6, events=4, seconds=5.0).changes


def test_each_arbitrage_begins_and_ends_with_a_change_of_one_of_its_legs() -> None:
    scenario = make_scenario(seed=3)
    changed = {change.offset_ns: change.market.key for change in scenario.changes}
    for arbitrage in scenario.arbitrages:
        legs = {leg.market.key for leg in arbitrage.legs}
        assert changed[arbitrage.start_ns] in legs
        assert changed[arbitrage.start_ns] == changed[arbitrage.end_ns]


def test_both_venues_take_part_in_every_arbitrage() -> None:
    for arbitrage in make_scenario(seed=4).arbitrages:
        assert len({leg.market.venue for leg in arbitrage.legs}) == 2
