"""The first look agrees with summing up every cover by hand, after every change."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.catalog.pairs import parse_pairs
from arbpipe.catalog.publish import flatten
from arbpipe.detector.kernel import Kernel
from arbpipe.identity import instrument_uid
from arbpipe.shm.generation import ARRAYS, Generation, encode_generation, write_generation
from arbpipe.shm.layout import NO_QUOTE

SLOTS = 6

Cover = tuple[int, Sequence[int]]  # k, propositions


@contextmanager
def generation(
    propositions: Sequence[Sequence[int]], covers: Sequence[Cover], directory: Path | None = None
) -> Iterator[Generation]:
    """A generation of bare propositions (claim ids) and covers; the kernel looks at nothing else."""
    arrays: dict[str, npt.NDArray[Any]] = {name: np.zeros(0, dtype) for name, dtype in ARRAYS.items()}

    def put(name: str, values: Sequence[int]) -> None:
        arrays[name] = np.array(values, ARRAYS[name])

    put("prop_ptr", [0, *np.cumsum([len(each) for each in propositions], dtype=int)])
    put("prop_claims", [claim for each in propositions for claim in each])
    put("cover_ptr", [0, *np.cumsum([len(each) for _, each in covers], dtype=int)])
    put("cover_props", [prop for _, each in covers for prop in each])
    put("cover_k", [k for k, _ in covers])
    for name in ("cover_id", "cover_group", "cover_event", "cover_tails", "cover_floor_e6"):
        put(name, [0] * len(covers))
    put("cover_relations_ptr", [0] * (len(covers) + 1))
    meta = {
        "instruments": [],
        "covers": [{"name": str(n), "kind": "pair"} for n in range(len(covers))],
        "events": ["e"],
        "relations": {},
    }
    folder = Path(tempfile.mkdtemp(dir=directory))
    try:
        write_generation(folder, 1, *encode_generation(arrays, meta))
        yield Generation(folder, 1)
    finally:
        shutil.rmtree(folder)


def by_hand(costs: npt.NDArray[np.int32], propositions: Sequence[Sequence[int]], cover: Cover) -> int:
    k, props = cover
    cheapest = [min([int(costs[claim >> 1][claim & 1]) for claim in propositions[p]], default=NO_QUOTE) for p in props]
    return k * 1_000_000 - sum(cheapest)


claims = st.integers(0, 2 * SLOTS - 1)
costs_e6 = st.one_of(st.just(NO_QUOTE), st.integers(1, 1_100_000))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[list[int]], list[Cover]]:
    propositions = draw(st.lists(st.lists(claims, max_size=4, unique=True), min_size=1, max_size=8))
    numbers = st.integers(0, len(propositions) - 1)
    covers: list[Cover] = draw(
        st.lists(st.tuples(st.integers(1, 7), st.lists(numbers, max_size=8, unique=True)), max_size=6)
    )
    return propositions, covers


@settings(max_examples=150)
@given(worlds(), st.data())
def test_sweep_and_touch_agree_with_a_sum_by_hand_after_every_change(
    world: tuple[list[list[int]], list[Cover]], data: st.DataObject
) -> None:
    propositions, covers = world
    costs = np.full((SLOTS, 2), NO_QUOTE, np.int32)
    with generation(propositions, covers) as made:
        kernel = Kernel(costs, made)
        known = kernel.sweep().tolist()
        assert known == [by_hand(costs, propositions, cover) for cover in covers]
        for _ in range(data.draw(st.integers(1, 6))):
            changed = data.draw(st.sets(st.integers(0, SLOTS - 1), max_size=3))
            for slot in changed:
                costs[slot] = data.draw(costs_e6), data.draw(costs_e6)
            touched, edges = kernel.touch(changed)
            wanted = [
                number
                for number, (_, props) in enumerate(covers)
                if any(claim >> 1 in changed for prop in props for claim in propositions[prop])
            ]
            assert touched == wanted
            for cover, edge in zip(touched, edges, strict=True):
                known[cover] = edge
            # so what was not touched is unchanged, and everything else is right
            assert known == [by_hand(costs, propositions, cover) for cover in covers]
            if data.draw(st.booleans()):
                assert kernel.sweep().tolist() == known
        used = {prop for _, props in covers for prop in props}
        if covers:
            assert [int(kernel.best_e6[prop]) for prop in sorted(used)] == [
                min([int(costs[c >> 1][c & 1]) for c in propositions[prop]], default=NO_QUOTE) for prop in sorted(used)
            ]


def test_a_generation_without_covers_has_nothing_to_look_at(tmp_path: Path) -> None:
    with generation([], [], tmp_path) as made:
        kernel = Kernel(np.full((4, 2), 1, np.int32), made)
        assert kernel.sweep().tolist() == []
        assert kernel.touch([0, 3]) == ([], [])


def test_a_leg_nobody_may_buy_kills_the_largest_cover(tmp_path: Path) -> None:
    covers = [(7, list(range(8)))]
    with generation([[2 * n] for n in range(8)], covers, tmp_path) as made:
        costs = np.full((8, 2), 1, np.int32)
        kernel = Kernel(costs, made)
        assert kernel.sweep().tolist() == [7_000_000 - 8]
        costs[5] = NO_QUOTE
        assert kernel.touch([5]) == ([0], [7_000_000 - 7 - NO_QUOTE])
        costs[:] = NO_QUOTE  # eight of them leave 32 bits
        assert kernel.sweep().tolist() == [7_000_000 - 8 * NO_QUOTE]


@pytest.mark.parametrize("first", ["sweep", "touch"])
def test_a_change_of_depth_alone_touches_its_covers(tmp_path: Path, first: str) -> None:
    with generation([[0, 4], [3]], [(1, [0, 1])], tmp_path) as made:
        kernel = Kernel(np.array([[400_000, 1], [1, 500_000], [450_000, 1]], np.int32), made)
        if first == "sweep":
            kernel.sweep()
        else:
            kernel.touch([0, 1, 2])
        assert kernel.touch([2]) == ([0], [100_000])


def test_a_parsed_catalog_is_looked_at_like_any_other(tmp_path: Path) -> None:
    instrument = (
        '[[instrument]]\nvenue = "kalshi"\nid = "{}"\ntick = "0.01"\nfee = {{ type = "quadratic", multiplier = "1" }}\n'
    )
    text = "schema = 1\n" + "".join(instrument.format(name) for name in "ABC")
    names = ", ".join(f'"kalshi:{name}#Yes"' for name in "ABC")
    text += f'[[partition]]\nname = "p"\nevent = "e"\nclaims = [{names}]\nholds = "exactly_one"\n'
    catalog = parse_pairs(text + 'tails = "none"\napprover = "jane"\n', "pairs.toml")
    slots = {instrument_uid("kalshi", name): slot for slot, name in enumerate("ABC")}
    arrays, meta = flatten(catalog, slots, {relation.id: 0 for relation in catalog.relations})
    write_generation(tmp_path, 4, *encode_generation(arrays, meta))
    made = Generation(tmp_path, 4)
    costs = np.array([[300_000, 690_000], [310_000, 680_000], [320_000, 670_000]], np.int32)
    edges = dict(
        zip([(cover.k, cover.kind) for cover in made.covers], Kernel(costs, made).sweep().tolist(), strict=True)
    )
    # each is one of the other two not happening: the sums are what the claims cost, whatever stands in for whom
    assert edges == {(1, "sum_yes"): 1_000_000 - 930_000, (2, "sum_no"): 2_000_000 - 2_040_000}
