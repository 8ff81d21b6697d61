from __future__ import annotations

import random

import pytest

from arbpipe.sim.quotes import Book, BookSide, Level, advance, open_book, retreat, trim


def test_a_change_that_would_cross_or_empty_a_book_is_refused() -> None:
    book = Book({4_000: 100}, {4_200: 100})
    with pytest.raises(ValueError, match="crosses the book"):
        book.copy().apply(Level(BookSide.BID, 4_200, 100))
    with pytest.raises(ValueError, match="cannot remove"):
        book.copy().apply(Level(BookSide.ASK, 4_200, 0))
    with pytest.raises(ValueError, match="cannot remove"):
        book.copy().apply(Level(BookSide.ASK, 4_300, 0))


@pytest.mark.parametrize("tick_e4", [10, 100])
@pytest.mark.parametrize("side", list(BookSide))
def test_a_retreat_ends_behind_its_limit_and_is_never_better_on_the_way(side: BookSide, tick_e4: int) -> None:
    for seed in range(50):
        rng = random.Random(seed)
        book = open_book(rng, 4_900, 5_000, tick_e4)
        limit_e4 = book.touch(side) + side.outward * tick_e4 * rng.randrange(1, 40)
        touch_e4 = book.touch(side)
        for level in retreat(rng, book, side, limit_e4, tick_e4):
            book.apply(level)
            assert (book.touch(side) - touch_e4) * side.outward >= 0
            touch_e4 = book.touch(side)
        assert (touch_e4 - limit_e4) * side.outward >= 0
        assert len(book.levels(side)) >= 3
        assert all(price % tick_e4 == 0 and size > 0 for price, size in book.levels(side).items())


def test_a_retreat_of_what_stands_behind_already_is_nothing() -> None:
    book = Book({4_000: 100}, {4_200: 100})
    assert retreat(random.Random(1), book, BookSide.ASK, 4_100, 100) == []


def test_an_advance_is_one_level_and_only_inwards() -> None:
    book = Book({4_000: 100}, {4_600: 100})
    assert advance(book, BookSide.BID, 4_300, 50) == [Level(BookSide.BID, 4_300, 50)]
    assert advance(book, BookSide.ASK, 4_600, 50) == []


def test_trim_takes_the_deepest_level_of_a_long_ladder() -> None:
    book = Book({100 * step: 100 for step in range(10, 19)}, {5_000: 100})
    assert trim(book, BookSide.BID) == [Level(BookSide.BID, 1_000, 0)]
    assert trim(book, BookSide.ASK) == []
