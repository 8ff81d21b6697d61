"""The core's kernel over a generation and a segment. What it computes is the business of ``tests/core``."""

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

from arbpipe.catalog.pairs import parse_pairs
from arbpipe.catalog.publish import flatten
from arbpipe.detector.kernel import kernel_of
from arbpipe.identity import instrument_uid
from arbpipe.shm.generation import ARRAYS, Generation, encode_generation, write_generation
from arbpipe.shm.layout import Counts
from arbpipe.shm.segment import Segment
from arbpipe.shm.tables import Costs, write_ranges

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


def first_looks(made: Generation, costs: list[tuple[int, int]], threshold_e6: int = 1) -> list[tuple[int, int]]:
    """What the first sweep over a segment with these costs, slot by slot, says."""
    folder = Path(tempfile.mkdtemp(prefix="arbpipe-test-", dir="/dev/shm"))
    with Segment.create(folder, Counts(slots=256, covers=16)) as segment:
        write_ranges(segment)
        for slot, (yes, no) in enumerate(costs):
            Costs(segment).store(slot, yes, no)
        logs = [segment.section("changes").at(number) for number in range(2)]
        try:
            kernel = kernel_of(segment, made, logs, (0, 0), threshold_e6)
            found = kernel.sweep(100)
            kernel.release()
        finally:
            shutil.rmtree(folder)
    return found


def test_the_kernel_looks_at_the_costs_of_the_segment_through_the_arrays_of_the_generation(tmp_path: Path) -> None:
    with generation([[0, 4], [3], [5, 1]], [(1, [0, 1]), (2, [0, 1, 2]), (1, [1])], tmp_path) as made:
        costs = [(400_000, 900_000), (1, 500_000), (390_000, 800_000)]
        assert first_looks(made, costs) == [(0, 1_000_000 - 890_000), (1, 2_000_000 - 1_690_000), (2, 500_000)]
        assert first_looks(made, costs, 300_000)[:2] == [(1, 310_000), (2, 500_000)]


def test_a_generation_without_covers_has_nothing_to_look_at(tmp_path: Path) -> None:
    with generation([], [], tmp_path) as made:
        assert first_looks(made, [(1, 1)]) == []


def test_a_slot_that_the_segment_does_not_have_is_refused(tmp_path: Path) -> None:
    with (
        generation([[2 * 256]], [(1, [0])], tmp_path) as made,
        pytest.raises(ValueError, match="the items stay below 512"),
    ):
        first_looks(made, [])


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
    found = first_looks(made, [(300_000, 690_000), (310_000, 680_000), (320_000, 670_000)])
    edges = {(made.covers[cover].k, made.covers[cover].kind): edge for cover, edge in found}
    # each is one of the other two not happening: the sums are what the claims cost, whatever stands in for whom
    assert edges == {(1, "sum_yes"): 1_000_000 - 930_000, (2, "sum_no"): 2_000_000 - 2_040_000}
