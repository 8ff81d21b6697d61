"""One publication: everything it stores, when it stores nothing, and its costs against exact fractions."""

from __future__ import annotations

import mmap
import subprocess
import time
from array import array
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from core_mutants import HERE, NATIVE
from hypothesis import given
from hypothesis import strategies as st
from test_core_c import PURE, compiled, pytestmark  # noqa: F401

from arbpipe.feemodel import MAX_EXPONENT, MAX_RATE_E6, FeeTerms, average_cost_e6
from arbpipe.shm.layout import CELL, DEPTH, HEAD_BYTES, HISTOGRAM, LINE, NO_QUOTE, ROW
from arbpipe.shm.stats import bucket_of

COSTS = ROW.size
COUNTERS = COSTS + 8
LOG = ROW.size + LINE
BELL = LOG + HEAD_BYTES + LINE
LATENCY = BELL + 2 * LINE
SIZE = LATENCY + HISTOGRAM.size
YES = ((4_500, 2_000), (4_600, 100))
NO = ((6_000, 1_000),)
#: 0.07, linear: what Kalshi charges a taker.
TERMS = (70_000, 1, 100, 100)
GOOD: dict[str, Any] = {
    "connection": 3,
    "epoch": 2,
    "flags": 0,
    "venue_ms": 5,
    "recv_ns": 7,
    "tick_e4": 100,
    "yes_asks": YES,
    "no_asks": NO,
    "verified": True,
}


class Place:
    """An outlet over memory of its own."""

    def __init__(self, core: ModuleType, *, terms: tuple[int, ...] = TERMS, least: int = 100) -> None:
        self.core = core
        self.memory = bytearray(SIZE)
        self.region = core.Region(self.memory)
        self.outlet = core.Outlet(
            self.region, 0, COSTS, LOG, 16, BELL, LATENCY, (COUNTERS, COUNTERS + 8), 9, 2**64 - 3, *terms, least
        )

    def publish(self, **changes: Any) -> int:
        version: int = self.outlet.publish(*(GOOD | changes).values())
        return version

    def row(self) -> tuple[Any, ...]:
        fetched: tuple[Any, ...] = self.core.row_fetch(self.region, 0)
        return fetched

    @property
    def verified(self) -> int:
        word: int = self.region.load_u64(ROW.offset("verified"))
        return word

    def costs(self) -> tuple[int, int]:
        return self.region.load_i32(COSTS), self.region.load_i32(COSTS + 4)

    def counted(self) -> tuple[int, int, int]:
        """Changes logged, publications counted, latencies counted."""
        words = (self.region.load_u64(at) for at in (LOG, COUNTERS, LATENCY))
        logged, first, latencies = words
        assert self.region.load_u64(COUNTERS + 8) == first
        return logged, first, latencies


@pytest.fixture
def place(core: ModuleType) -> Place:
    return Place(core)


def test_a_publication_is_a_row_its_check_its_costs_a_change_and_a_latency(place: Place) -> None:
    began = time.monotonic_ns()
    assert place.publish(recv_ns=began) == 1
    ended = time.monotonic_ns()
    row = place.row()
    assert row[:6] == (1, 2**64 - 3, 3, 2, 5, began)
    assert began <= row[6] <= ended
    assert row[7:] == (0, 100, *TERMS, YES, NO)
    assert place.verified == 1
    # 0.45 + 0.07 · 0.45 · 0.55 and 0.60 + 0.07 · 0.60 · 0.40, rounded down
    assert place.costs() == (467_325, 616_800)
    assert place.core.log_drain(place.region, LOG, 16, 0) == ([9], 1)
    assert place.counted() == (1, 1, 1)
    least, most = (place.region.load_u64(LATENCY + HISTOGRAM.offset(name)) for name in ("min_ns", "max_ns"))
    assert 0 < least == most <= ended - began
    assert place.region.load_u64(LATENCY + HISTOGRAM.offset("buckets") + 8 * bucket_of(most)) == 1


def test_what_is_not_checked_yet_is_not_verified(place: Place) -> None:
    place.publish(verified=False)
    assert (place.row()[0], place.verified) == (1, 0)
    place.publish(tick_e4=10)
    place.publish(tick_e4=20, verified=False)
    assert (place.row()[0], place.verified) == (3, 2)


def test_a_row_that_says_the_same_keeps_its_version_and_not_a_byte_changes(place: Place) -> None:
    place.publish()
    before = bytes(place.memory)
    assert place.publish(venue_ms=99, recv_ns=98) == 1  # stamps are no news
    assert place.publish(verified=False) == 1
    assert place.publish(yes_asks=[*YES], no_asks=list(NO)) == 1
    assert place.memory == before


def test_the_check_of_a_row_that_stands_can_come_later(place: Place) -> None:
    place.publish(verified=False)
    assert place.publish() == 1
    assert place.verified == 1


@pytest.mark.parametrize(
    "news",
    [
        {"connection": 4},
        {"epoch": 3},
        {"flags": 2},
        {"tick_e4": 10},
        {"yes_asks": YES[:1]},
        {"yes_asks": ((4_501, 2_000), YES[1])},
        {"yes_asks": ((4_500, 1_999), YES[1])},
        {"yes_asks": (YES[0], (4_600, 101))},
        {"no_asks": ()},
        {"no_asks": ((6_000, 1_001),)},
        {"no_asks": (*NO, (6_100, 1))},
    ],
    ids=str,
)
def test_everything_else_is_news(place: Place, news: dict[str, Any]) -> None:
    place.publish()
    assert place.publish(**news) == 2
    assert place.publish() == 3
    assert place.counted() == (3, 3, 3)


@pytest.mark.parametrize("level", range(DEPTH))
@pytest.mark.parametrize("side", ["yes_asks", "no_asks"])
def test_a_change_of_any_of_the_eight_levels_is_news_and_of_the_ninth_is_none(
    place: Place, side: str, level: int
) -> None:
    asks = [(4_000 + 10 * n, 50) for n in range(DEPTH + 1)]
    place.publish(**{side: asks})
    for changed, version in ((DEPTH, 1), (level, 2)):
        news = list(asks)
        news[changed] = (asks[changed][0], 51)
        assert place.publish(**{side: news}) == version


def test_costs_that_somebody_withdrew_are_published_again(place: Place) -> None:
    place.publish()
    place.region.store_u64(COSTS, NO_QUOTE | NO_QUOTE << 32)  # a new owner begins so
    assert place.publish() == 2
    assert place.costs() == (467_325, 616_800)


def test_an_outlet_of_a_new_owner_goes_on_from_the_version_that_stands(place: Place) -> None:
    place.publish()
    again = place.core.Outlet(place.region, 0, COSTS, LOG, 16, BELL, LATENCY, (), 9, 2**64 - 3, *TERMS, 100)
    assert again.publish(*GOOD.values()) == 1
    assert again.publish(*(GOOD | {"epoch": 3}).values()) == 2
    assert place.counted() == (2, 1, 2)


@pytest.mark.parametrize("flags", [1, 2, 64, 2**32 - 1])
def test_a_flagged_row_has_no_level_and_no_cost(place: Place, flags: int) -> None:
    place.publish()
    place.publish(flags=flags)
    assert place.row()[-2:] == ((), ())
    assert bytes(CELL.size - CELL.offset("yes_asks")) in bytes(place.memory[: ROW.size])
    assert place.costs() == (NO_QUOTE, NO_QUOTE)
    assert place.publish(flags=flags, yes_asks=YES[:1]) == 2  # what is hidden is no news


@pytest.mark.parametrize(
    ("terms", "least"), [((0, 0, 0, 0), 100), (TERMS, 0), (TERMS, 2_101), (TERMS, 2**64 - 1)], ids=str
)
def test_an_unknown_fee_or_smallest_size_or_a_book_too_thin_is_no_quote(
    core: ModuleType, terms: tuple[int, ...], least: int
) -> None:
    place = Place(core, terms=terms, least=least)
    place.publish()
    assert place.costs() == (NO_QUOTE, NO_QUOTE)
    assert place.row()[-2:] == (YES, NO)


def test_levels_may_come_as_an_array_of_words(place: Place) -> None:
    place.publish()
    words = [array("q", [price | size << 32 for price, size in side]) for side in (YES, NO)]
    before = bytes(place.memory)
    assert place.publish(yes_asks=words[0], no_asks=words[1]) == 1
    assert place.memory == before
    words[0].extend([4_700 | 2**31 - 1 << 32] * 20)
    assert place.publish(yes_asks=words[0], no_asks=array("q")) == 2
    assert place.row()[-2:] == (YES + ((4_700, 2**31 - 1),) * 6, ())


sizes = st.integers(0, 300) | st.integers(0, 2**31 - 1) | st.just(2**31 - 1)
levels = st.lists(st.tuples(st.integers(0, 10_000) | st.sampled_from([0, 5_000, 10_000]), sizes), max_size=8)


@given(
    st.integers(0, MAX_RATE_E6) | st.just(MAX_RATE_E6),
    st.integers(1, MAX_EXPONENT),
    st.integers(1, 500) | st.integers(1, 2**34) | st.just(2**34 - 8),
    levels | st.just([(5_000, 2**31 - 1)] * 8),
)
def test_the_cost_is_the_exact_average_of_the_smallest_size_rounded_down(
    core: ModuleType, rate: int, exponent: int, least: int, asks: list[tuple[int, int]]
) -> None:
    place = Place(core, terms=(rate, exponent, 1, 1), least=least)
    place.publish(yes_asks=asks, no_asks=asks[::-1])
    for got, side in zip(place.costs(), (asks, asks[::-1]), strict=True):
        left, dollars = least, Fraction(0)
        for price, size in side:
            taken, p = min(left, size), Fraction(price, 10_000)
            dollars += Fraction(taken, 100) * (p + Fraction(rate, 10**6) * (p * (1 - p)) ** exponent)
            left -= taken
        wanted = NO_QUOTE if left else dollars / Fraction(least, 100) * 10**6 // 1
        assert got == wanted
        again = average_cost_e6(FeeTerms(rate, exponent, 1, 1), side, least)
        assert got == (NO_QUOTE if again is None else again)


# --- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"connection": -1},
        {"connection": 2**32},
        {"epoch": 2**32},
        {"flags": 2**32},
        {"tick_e4": -1},
        {"venue_ms": 2**63},
        {"recv_ns": -(2**63) - 1},
        {"yes_asks": ((10_001, 1),)},
        {"yes_asks": ((-1, 1),)},
        {"no_asks": ((1, -1),)},
        {"no_asks": ((1, 2**31),)},
        {"no_asks": ((1, 2, 3),)},
        {"no_asks": array("q", [-1])},
        {"no_asks": array("q", [10_001 | 1 << 32])},
        {"yes_asks": ((1, "2"),)},
        {"yes_asks": 5},
        {"yes_asks": b"12345678"},
        {"yes_asks": array("d", [1.0])},
        {"yes_asks": array("i", [1, 2])},
        {"epoch": "2"},
        {"epoch": 1.0},
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_and_nothing_is_published(place: Place, wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        place.publish(**wrong)
    assert place.memory == bytes(SIZE)
    with pytest.raises(TypeError):
        place.outlet.publish(1, 2, 3)


@pytest.mark.parametrize(
    ("number", "wrong", "error"),
    [
        (1, SIZE - ROW.size + 8, IndexError),
        (1, -512, IndexError),
        (2, COSTS + 4, ValueError),
        (3, SIZE - 8, IndexError),
        (4, 12, ValueError),
        (4, 2**50, (IndexError, ValueError)),
        (5, SIZE - LINE, IndexError),
        (6, LATENCY + 8, IndexError),
        (7, (4,), ValueError),
        (7, (0,) * 5, ValueError),
        (7, (SIZE,), IndexError),
        (7, 5, TypeError),
        (8, 2**32, ValueError),
        (9, 2**64, ValueError),
        (10, MAX_RATE_E6 + 1, ValueError),
        (11, MAX_EXPONENT + 1, ValueError),
        (12, 2**16, ValueError),
        (13, 2**32, ValueError),
        (14, -1, ValueError),
        (14, None, TypeError),
        (0, None, TypeError),
    ],
    ids=str,
)
def test_an_outlet_of_wrong_places_or_terms_is_not_made(core: ModuleType, number: int, wrong: Any, error: Any) -> None:
    region = core.Region(bytearray(SIZE))
    arguments: list[Any] = [region, 0, COSTS, LOG, 16, BELL, LATENCY, (COUNTERS,), 9, 7, *TERMS, 100]
    core.Outlet(*arguments)
    arguments[number] = wrong
    with pytest.raises(error):
        core.Outlet(*arguments)
    with pytest.raises(TypeError):
        core.Outlet(*arguments[:-1])


def test_an_outlet_of_a_region_that_is_released_or_read_only_publishes_nothing(core: ModuleType) -> None:
    place = Place(core)
    place.region.release()
    with pytest.raises(ValueError, match="released"):
        place.publish()
    with mmap.mmap(-1, SIZE, prot=mmap.PROT_READ) as mapping:
        region = core.Region(mapping)
        with pytest.raises(TypeError, match="read-only"):
            core.Outlet(region, 0, COSTS, LOG, 16, BELL, LATENCY, (), 9, 7, *TERMS, 100)
        region.release()


def test_an_outlet_whose_region_was_made_again_over_something_shorter_publishes_nothing(native: ModuleType) -> None:
    place = Place(native)
    place.region.release()
    place.region.__init__(short := bytearray(SIZE - 8))
    with pytest.raises(IndexError, match="outside"):
        place.publish()
    assert short == bytes(SIZE - 8)


def test_an_outlet_is_made_once_and_one_that_is_not_made_publishes_nothing(native: ModuleType) -> None:
    place = Place(native)
    with pytest.raises(TypeError, match="made already"):
        place.outlet.__init__(place.region, 0, COSTS, LOG, 16, BELL, LATENCY, (), 9, 7, *TERMS, 100)
    empty = native.Outlet.__new__(native.Outlet)
    with pytest.raises(ValueError, match="not made"):
        empty.publish(*GOOD.values())


# --- latencies ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 1_000), min_size=1, max_size=6))
def test_a_histogram_counts_each_value_in_its_bucket(core: ModuleType, values: list[int]) -> None:
    region = core.Region(bytearray(HISTOGRAM.size))
    for value in values:
        core.histogram_record(region, 0, value)
    seen = [max(value, 0) for value in values]
    fields = HISTOGRAM.unpack(region.read(0, HISTOGRAM.size))
    assert (fields["count"], fields["total_ns"]) == (len(seen), sum(seen) % 2**64)
    assert (fields["min_ns"], fields["max_ns"]) == (min(seen), max(seen))
    wanted = [0] * len(fields["buckets"])
    for value in seen:
        wanted[bucket_of(value)] += 1
    assert list(fields["buckets"]) == wanted


@pytest.mark.parametrize("offset", [-8, 4, 8, 2**62])
def test_a_histogram_outside_the_region_is_refused(core: ModuleType, offset: int) -> None:
    region = core.Region(bytearray(HISTOGRAM.size))
    with pytest.raises((IndexError, ValueError)):
        core.histogram_record(region, offset, 5)
    with pytest.raises(ValueError, match="does not fit"):
        core.histogram_record(region, 0, 2**63)


# --- the order of the stores --------------------------------------------------------------------------------------------

ROW_AND_CHECK = """    stands = row_write(outlet->row, made->words);
    if (verified)
        store_release(check, stands);
"""
COST = "    store_release(outlet->costs, costs);\n"
CHANGE = "    log_push(outlet->log, outlet->log_capacity, outlet->slot);\n"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (ROW_AND_CHECK + COST, COST + ROW_AND_CHECK),
        (COST + CHANGE, CHANGE + COST),
        (ROW_AND_CHECK + COST + CHANGE, CHANGE + ROW_AND_CHECK + COST),
    ],
    ids=["cost before row", "change before cost", "change before row"],
)
def test_a_reader_beside_the_writer_notices_stores_in_another_order(tmp_path: Path, right: str, wrong: str) -> None:
    for source in (*PURE, NATIVE / "core.h"):
        text = source.read_text()
        if source.name == "outlet.c":
            assert text.count(right) == 1
            text = text.replace(right, wrong)
        (tmp_path / source.name).write_text(text)
    sources = [tmp_path / source.name for source in PURE]
    arguments = [f"-I{tmp_path}", "-O1", "-DARBPIPE_NO_CLONES", HERE / "native_test.c", *sources, "-lpthread"]
    program = compiled(tmp_path / "wrong", *arguments)
    done = subprocess.run([program, "order"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "head <= cost && cost <= checked && checked <= version" in done.stdout
