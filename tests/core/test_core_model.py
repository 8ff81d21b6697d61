"""The protocols, step by step as the C sources write them, in every order that C11 allows: no bad end, and one as soon as a
fence or a step is left out.

The labels are those of the comments in ``arbpipe/_native`` and of ``docs/shared-memory.md``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from core_mutants import NATIVE
from memory_model import Access, End, add, explore, fence, load, sleep_while, store, wake

Bad = Callable[[End], bool]


def without(steps: Sequence[Access | None]) -> list[Access]:
    return [step for step in steps if step is not None]


def bad_ends(memory: dict[str, int], threads: Sequence[Sequence[Access]], bad: Bad) -> tuple[int, int]:
    ends, states = explore(memory, threads)
    return sum(map(bad, ends)), states


# -- the checker itself --------------------------------------------------------------------------------------------------


def litmus(order: str, between: str | None) -> set[tuple[int, int]]:
    """Store buffering: what two threads can read that each store one word and load the other's."""

    def thread(mine: str, theirs: str) -> list[Access]:
        return without([store(mine, 1, order), fence(between) if between else None, load("r", theirs)])

    ends, _ = explore({"x": 0, "y": 0}, [thread("x", "y"), thread("y", "x")])
    return {(end.registers[0]["r"], end.registers[1]["r"]) for end in ends}


def test_the_model_has_store_buffers_and_only_a_full_fence_empties_them() -> None:
    assert (0, 0) in litmus("relaxed", None)
    assert (0, 0) in litmus("release", "release")
    assert (0, 0) in litmus("release", "acquire")
    assert litmus("relaxed", "full") == {(0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize(
    ("writes", "reads", "stale"),
    [("relaxed", "acquire", True), ("release", "relaxed", True), ("release", "acquire", False)],
)
def test_the_model_knows_message_passing(writes: str, reads: str, stale: bool) -> None:
    ends, _ = explore(
        {"data": 0, "flag": 0},
        [[store("data", 1), store("flag", 1, writes)], [load("f", "flag", reads), load("d", "data")]],
    )
    assert any(end.registers[1] == {"f": 1, "d": 0} for end in ends) == stale


def test_a_release_store_does_not_keep_later_stores_below_it_and_a_release_fence_does() -> None:
    """The first trap of a seqlock (shm.md 1.1)."""
    for step, early in (([store("odd", 1, "release")], True), ([store("odd", 1), fence("release")], False)):
        ends, _ = explore(
            {"odd": 0, "data": 0}, [[*step, store("data", 1)], [load("d", "data", "acquire"), load("o", "odd")]]
        )
        assert any(end.registers[1] == {"d": 1, "o": 0} for end in ends) == early


def test_a_thread_reads_its_own_store_before_anybody_else_does() -> None:
    ends, _ = explore({"x": 0}, [[store("x", 1), load("r", "x")], [load("s", "x")]])
    assert {end.registers[0]["r"] for end in ends} == {1}
    assert {end.registers[1]["s"] for end in ends} == {0, 1}


# -- the two-cell latch (row.c) ------------------------------------------------------------------------------------------

LATCH = {"version": 1, "c0a": 0, "c0b": 0, "c1a": 1, "c1b": 1}


def row_writer(
    versions: Sequence[int], *, r1: bool = True, r2: str = "release", same_cell: bool = False
) -> list[Access]:
    steps: list[Access | None] = []
    for v in versions:
        cell = (v + same_cell) & 1
        steps += [
            fence("release") if r1 else None,
            store(f"c{cell}a", v),
            store(f"c{cell}b", v),
            store("version", v, r2),
        ]
    return without(steps)


def row_reader(*, r4: str = "acquire", r3: bool = True) -> list[Access]:
    """C11 does not order a load behind the one that its address depends on, so both cells are loaded and one is chosen."""
    return without(
        [
            load("v", "version", r4),
            *[load(f"{cell}{word}", f"c{cell}{word}") for cell in (0, 1) for word in "ab"],
            fence("acquire") if r3 else None,
            load("again", "version"),
        ]
    )


def torn(end: End, accepts: Callable[[int, int], bool] = lambda v, again: v == again) -> bool:
    r = end.registers[1]
    cell = r["v"] & 1
    return accepts(r["v"], r["again"]) and not r[f"{cell}a"] == r[f"{cell}b"] == r["v"]


VERSIONS = (2, 3, 4)


def test_no_reader_accepts_a_torn_cell() -> None:
    bad, states = bad_ends(LATCH, [row_writer(VERSIONS), row_reader()], torn)
    assert bad == 0
    assert states > 300, "the model is too small to mean anything"


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        ({"r1": False}, {}),
        ({"r2": "relaxed"}, {}),
        ({"same_cell": True}, {}),
        ({}, {"r3": False}),
        ({}, {"r4": "relaxed"}),
    ],
    ids=["no R1", "no R2", "one cell", "no R3", "no R4"],
)
def test_a_torn_cell_is_accepted_when_a_step_of_the_latch_is_left_out(
    writer: dict[str, Any], reader: dict[str, Any]
) -> None:
    assert bad_ends(LATCH, [row_writer(VERSIONS, **writer), row_reader(**reader)], torn)[0] > 0


@pytest.mark.parametrize(
    "accepts", [lambda v, again: True, lambda v, again: v & 1 == again & 1], ids=["no check", "same parity"]
)
def test_a_torn_cell_is_accepted_when_the_versions_are_not_compared(accepts: Callable[[int, int], bool]) -> None:
    assert bad_ends(LATCH, [row_writer(VERSIONS), row_reader()], lambda end: torn(end, accepts))[0] > 0


@pytest.mark.parametrize("steps", range(len(row_writer(VERSIONS)) + 1))
def test_a_writer_that_dies_after_any_step_leaves_the_selected_cell_whole(steps: int) -> None:
    def broken(end: End) -> bool:
        cell = end.memory["version"] & 1
        return torn(end) or not end.memory[f"c{cell}a"] == end.memory[f"c{cell}b"] == end.memory["version"]

    assert bad_ends(LATCH, [row_writer(VERSIONS)[:steps], row_reader()], broken)[0] == 0


def test_the_next_owner_of_a_dead_writer_tears_nothing() -> None:
    """It goes on from the version word and fills the whole cell; the dead one left half of one that nobody selects."""
    died = {**LATCH, "c0a": 99}
    assert bad_ends(died, [row_writer(VERSIONS), row_reader()], torn)[0] == 0


# -- the change log (log.c) ----------------------------------------------------------------------------------------------

LOG = {"head": 0, "e0": 0, "e1": 0, "cost": 0}
CAPACITY = 2


def log_writer(pushes: int, *, l1: bool = True, l2: str = "release") -> list[Access]:
    steps: list[Access | None] = []
    for n in range(pushes):
        steps += [
            store("cost", n + 1),  # what the entry tells about: published before it
            fence("release") if l1 else None,
            store(f"e{n % CAPACITY}", n + 1),
            store("head", n + 1, l2),
        ]
    return without(steps)


def log_reader(tail: int, *, l4: str = "acquire", l3: bool = True, again: str = "acquire") -> list[Access]:
    """``swept`` is what a sweep after the second look at the head reads."""
    return without(
        [
            load("head", "head", l4),
            load("entry", f"e{tail % CAPACITY}"),
            load("cost", "cost"),
            fence("acquire") if l3 else None,
            load("again", "head", again),
            load("swept", "cost"),
        ]
    )


def wrong_entry(tail: int, *, checks: bool = True) -> Bad:
    def bad(end: End) -> bool:
        r = end.registers[1]
        taken = r["head"] > tail and r["head"] - tail < CAPACITY and (not checks or r["again"] - tail < CAPACITY)
        return taken and (r["entry"] != tail + 1 or r["cost"] < tail + 1)

    return bad


@pytest.mark.parametrize("tail", [0, 1, 2])
def test_a_drained_entry_is_the_one_asked_for_and_what_it_tells_of_is_there(tail: int) -> None:
    bad, states = bad_ends(LOG, [log_writer(4), log_reader(tail)], wrong_entry(tail))
    assert bad == 0
    assert states > 300


@pytest.mark.parametrize(
    ("writer", "reader"),
    [({"l1": False}, {}), ({"l2": "relaxed"}, {}), ({}, {"l3": False}), ({}, {"l4": "relaxed"})],
    ids=["no L1", "no L2", "no L3", "no L4"],
)
def test_a_wrong_entry_is_drained_when_a_step_of_the_log_is_left_out(
    writer: dict[str, Any], reader: dict[str, Any]
) -> None:
    assert bad_ends(LOG, [log_writer(4, **writer), log_reader(0, **reader)], wrong_entry(0))[0] > 0


def test_a_wrong_entry_is_drained_when_the_head_is_not_read_again() -> None:
    assert bad_ends(LOG, [log_writer(4), log_reader(0)], wrong_entry(0, checks=False))[0] > 0


@pytest.mark.parametrize("again", ["acquire", "relaxed"])
def test_a_sweep_after_an_overrun_sees_what_the_skipped_entries_tell_of(again: str) -> None:
    """The reader goes on at the head of its second look; relaxed, its sweep could read costs from before it."""

    def blind(end: End) -> bool:
        r = end.registers[1]
        return r["again"] >= CAPACITY and r["swept"] < r["again"]

    assert (bad_ends(LOG, [log_writer(4), log_reader(0, again=again)], blind)[0] > 0) == (again == "relaxed")


def test_at_exactly_one_capacity_behind_the_entry_may_be_half_overwritten() -> None:
    """``head − n <= capacity`` is the tempting mistake."""

    def bad(end: End) -> bool:
        r = end.registers[1]
        return r["head"] > 0 and max(r["head"], r["again"]) <= CAPACITY and r["entry"] != 1

    assert bad_ends(LOG, [log_writer(4), log_reader(0)], bad)[0] > 0


# -- the opportunity ring (ring.c) ---------------------------------------------------------------------------------------

RING = {"head": 0, "e0a": 0, "e0b": 0, "e1a": 0, "e1b": 0}


def ring_writer(pushes: int, *, q1: bool = True, q2: str = "release") -> list[Access]:
    steps: list[Access | None] = []
    for n in range(pushes):
        steps += [
            fence("release") if q1 else None,
            store(f"e{n % CAPACITY}a", n + 1),
            store(f"e{n % CAPACITY}b", n + 1),
            store("head", n + 1, q2),
        ]
    return without(steps)


def ring_reader(position: int, *, q4: str = "acquire", q3: bool = True) -> list[Access]:
    return without(
        [
            load("head", "head", q4),
            load("a", f"e{position % CAPACITY}a"),
            load("b", f"e{position % CAPACITY}b"),
            fence("acquire") if q3 else None,
            load("again", "head"),
        ]
    )


def wrong_opportunity(position: int, *, checks: bool = True) -> Bad:
    def bad(end: End) -> bool:
        r = end.registers[1]
        taken = r["head"] > position and r["head"] - position < CAPACITY
        taken = taken and (not checks or r["again"] - position < CAPACITY)
        return taken and not r["a"] == r["b"] == position + 1

    return bad


@pytest.mark.parametrize("position", [0, 1, 2])
def test_an_opportunity_that_is_taken_is_whole_and_the_one_asked_for(position: int) -> None:
    bad, states = bad_ends(RING, [ring_writer(4), ring_reader(position)], wrong_opportunity(position))
    assert bad == 0
    assert states > 300


@pytest.mark.parametrize(
    ("writer", "reader"),
    [({"q1": False}, {}), ({"q2": "relaxed"}, {}), ({}, {"q3": False}), ({}, {"q4": "relaxed"})],
    ids=["no Q1", "no Q2", "no Q3", "no Q4"],
)
def test_a_torn_opportunity_is_taken_when_a_step_of_the_ring_is_left_out(
    writer: dict[str, Any], reader: dict[str, Any]
) -> None:
    assert bad_ends(RING, [ring_writer(4, **writer), ring_reader(0, **reader)], wrong_opportunity(0))[0] > 0


def test_a_torn_opportunity_is_taken_when_the_head_is_not_read_again() -> None:
    assert bad_ends(RING, [ring_writer(4), ring_reader(0)], wrong_opportunity(0, checks=False))[0] > 0


@pytest.mark.parametrize("steps", range(len(ring_writer(3)) + 1))
def test_a_detector_that_dies_after_any_step_leaves_a_ring_that_tells_the_truth(steps: int) -> None:
    assert bad_ends(RING, [ring_writer(3)[:steps], ring_reader(0)], wrong_opportunity(0))[0] == 0


# -- the doorbell (wait.c) -----------------------------------------------------------------------------------------------

BELL = {"rings": 0, "waiting": 0, "news0": 0, "news1": 0}


def ringer(number: int, *, b1: bool = True, adds: bool = True, wakes: bool = True) -> list[Access]:
    return without(
        [
            store(f"news{number}", 1, "release"),
            fence("full") if b1 else None,
            load("w", "waiting"),
            add("rings", needs=("w",), when=lambda r: r["w"] == 1) if adds else None,
            wake("rings", needs=("w",), when=lambda r: r["w"] == 1) if wakes else None,
        ]
    )


def waiter(
    *, b2: bool = True, b4: str = "acquire", looks: bool = True, first: bool = False, ringers: int = 1
) -> list[Access]:
    """Marks itself, reads the count, looks once more, sleeps. Without ``looks`` the last look is left out; with ``first`` it
    comes before the count is read."""
    news = [f"n{i}" for i in range(ringers)]
    look = [load(news[i], f"news{i}", "acquire") for i in range(ringers)] if looks else []
    count = load("s", "rings", b4)
    return without(
        [
            store("waiting", 1),
            fence("full") if b2 else None,
            *(look if first else ()),
            count,
            *(() if first else look),
            sleep_while(
                "rings",
                "s",
                needs=tuple(news) if looks else (),
                when=lambda r: not looks or not any(r[n] for n in news),
            ),
            *[load(f"after{i}", f"news{i}", "acquire") for i in range(ringers)],
            store("waiting", 0),
        ]
    )


def lost(end: End) -> bool:
    """The waiter sleeps although something was published and everybody has rung."""
    return bool(end.asleep)


@pytest.mark.parametrize("ringers", [1, 2])
def test_no_wake_up_is_lost(ringers: int) -> None:
    threads = [waiter(ringers=ringers), *(ringer(n) for n in range(ringers))]
    bad, states = bad_ends(BELL, threads, lost)
    assert bad == 0
    assert states > 40


def test_who_wakes_sees_what_it_was_woken_for() -> None:
    ends, _ = explore(BELL, [waiter(), ringer(0)])
    assert all(end.registers[0]["after0"] == 1 for end in ends)


@pytest.mark.parametrize(
    ("sleeps", "rings"),
    [
        ({"b2": False}, {}),
        ({}, {"b1": False}),
        ({}, {"adds": False}),
        ({}, {"wakes": False}),
        ({"b4": "relaxed"}, {}),
        ({"looks": False}, {}),
        ({"first": True}, {}),
    ],
    ids=["no B2", "no B1", "no B3", "no wake", "no B4", "no last look", "last look too early"],
)
def test_a_wake_up_is_lost_when_a_step_of_the_doorbell_is_left_out(
    sleeps: dict[str, Any], rings: dict[str, Any]
) -> None:
    assert bad_ends(BELL, [waiter(**sleeps), ringer(0, **rings)], lost)[0] > 0


def test_a_count_that_is_loaded_and_stored_in_two_steps_loses_a_ring() -> None:
    """Why several feeds may ring one bell only with an atomic add: who compares the count with an older one would sleep on."""

    def rings_in_two_steps(number: int) -> list[Access]:
        return [
            store(f"news{number}", 1, "release"),
            fence("full"),
            load("w", "waiting"),
            load("c", "rings", needs=("w",)),
            store("rings", lambda r: r["c"] + 1, "release", needs=("w", "c"), when=lambda r: r["w"] == 1),
            wake("rings", needs=("w",), when=lambda r: r["w"] == 1),
        ]

    def counted_once(end: End) -> bool:
        return end.registers[1]["w"] == end.registers[2]["w"] == 1 and end.memory["rings"] == 1

    assert bad_ends(BELL, [waiter(ringers=2), ringer(0), ringer(1)], counted_once)[0] == 0
    assert bad_ends(BELL, [waiter(ringers=2), rings_in_two_steps(0), rings_in_two_steps(1)], counted_once)[0] > 0


def test_every_synchronisation_point_of_the_sources_names_its_partner_and_is_in_the_model() -> None:
    points: dict[str, str] = {}
    for source in NATIVE.glob("*.c"):
        for name, partner in re.findall(r"\b([RLQB]\d),? pairs with ([RLQB]\d)", source.read_text()):
            points[name] = partner
    assert sorted(points) == [
        "B1",
        "B2",
        "B3",
        "B4",
        "L1",
        "L2",
        "L3",
        "L4",
        "Q1",
        "Q2",
        "Q3",
        "Q4",
        "R1",
        "R2",
        "R3",
        "R4",
    ]
    assert all(points[partner] == name for name, partner in points.items())
