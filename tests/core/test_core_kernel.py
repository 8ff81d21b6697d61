"""Both kernels report the same covers and best costs, and an enumeration of claims and states says they are right."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from core_mutants import load_core
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.feemodel import FeeTerms, average_cost_e6
from arbpipe.shm.layout import HEAD_BYTES, NO_QUOTE

SLOTS, CAPACITY = 8, 16
LOGS = (8 * SLOTS, 8 * SLOTS + 256 + HEAD_BYTES)
SIZE = LOGS[1] + HEAD_BYTES + 4 * CAPACITY
THRESHOLD = 5_000
DOLLAR = 1_000_000

Levels = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class World:
    """States, propositions as sets of states, claims of each proposition, covers of propositions."""

    states: int
    truth: list[frozenset[int]]
    claims: list[list[int]]
    covers: list[list[int]]

    def k(self, cover: list[int]) -> int:
        """How many of a cover's propositions are true in every state."""
        return min(sum(state in self.truth[prop] for prop in cover) for state in range(self.states))


class Rig:
    """One core's kernel over memory of its own."""

    def __init__(self, core: ModuleType, world: World) -> None:
        self.core = core
        self.memory = bytearray(SIZE)
        self.region = core.Region(self.memory)
        self.costs = np.frombuffer(self.memory, np.int32, 2 * SLOTS).reshape(-1, 2)
        self.costs[:] = NO_QUOTE
        self.kernel = core.Kernel(self.region, 0, SLOTS, LOGS, (0, 0), CAPACITY, *arrays_of(world), THRESHOLD)

    def change(self, slot: int, yes: int, no: int) -> None:
        self.costs[slot] = yes, no
        self.core.log_push(self.region, LOGS[slot & 1], CAPACITY, slot)

    def close(self) -> None:
        self.kernel.release()


def arrays_of(world: World) -> list[Any]:
    def csr(rows: list[list[int]]) -> list[Any]:
        ptr = np.cumsum([0, *map(len, rows)], dtype=np.uint32)
        return [ptr, np.array([item for row in rows for item in row], np.uint32)]

    return [*csr(world.claims), *csr(world.covers), np.array([world.k(cover) for cover in world.covers], np.uint32)]


def oracle(world: World, cost: dict[int, int], cover: list[int]) -> int | None:
    """The best that buying one contract of one claim of each proposition leaves in the worst state; by trying all of it.

    ``None``: some proposition has no claim that can be bought.
    """
    choices = [[claim for claim in world.claims[prop] if cost[claim] != NO_QUOTE] for prop in cover]
    if not all(choices):
        return None
    cheap = [
        sorted(each, key=cost.__getitem__)[:2] for each in choices
    ]  # which of two is enough to try, not eight to the eighth
    return max(
        min(
            sum(DOLLAR * (state in world.truth[prop]) - cost[claim] for prop, claim in zip(cover, chosen, strict=True))
            for state in range(world.states)
        )
        for chosen in itertools.product(*cheap)
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    states = draw(st.integers(1, 5))
    truth = draw(st.lists(st.frozensets(st.integers(0, states - 1)), min_size=1, max_size=10))
    claim = st.integers(0, 2 * SLOTS - 1)
    claims = [draw(st.lists(claim, max_size=5, unique=True)) for _ in truth]
    prop = st.integers(0, len(truth) - 1)
    covers = draw(st.lists(st.lists(prop, min_size=0, max_size=8), max_size=8))
    return World(states, truth, claims, covers)


fees = st.builds(FeeTerms, st.integers(0, 200_000), st.integers(1, 2), st.just(1), st.just(1))
#: Sizes as rows hold them: also saturated, and also too small for the smallest order.
books = st.lists(
    st.tuples(st.integers(1, 9_999), st.one_of(st.integers(1, 900), st.just(2**31 - 1))),
    max_size=4,
    unique_by=lambda x: x[0],
).map(sorted)


def cost_of(fee: FeeTerms, levels: Levels, size_e2: int = 500) -> int:
    cost = average_cost_e6(fee, levels, size_e2)
    return NO_QUOTE if cost is None else cost


def cost_by_hand(fee: FeeTerms, levels: Levels, size_e2: int = 500) -> int:
    left, money = size_e2, Fraction(0)
    for price, size in levels:
        taken = min(left, size)
        p = Fraction(price, 10_000)
        money += Fraction(taken, 100) * (p + Fraction(fee.rate_e6, DOLLAR) * (p * (1 - p)) ** fee.exponent)
        left -= taken
    return NO_QUOTE if left else int(money * DOLLAR / Fraction(size_e2, 100))


def settle(rigs: list[Rig], found: list[tuple[int, int]], told: bool) -> None:
    for cover, edge in found:
        if told:
            for rig in rigs:
                rig.kernel.settle(cover, edge)


@settings(max_examples=150, deadline=None)
@given(worlds(), st.data())
def test_both_kernels_and_the_enumeration_of_states_agree_after_every_change(world: World, data: st.DataObject) -> None:
    rigs = [Rig(load_core(name), world) for name in ("arbpipe._python", "arbpipe._native")]
    if not hasattr(rigs[1].core, "LAYOUT"):
        pytest.skip("the native core is not built here")
    cost = dict.fromkeys(range(2 * SLOTS), NO_QUOTE)
    bar = dict.fromkeys(range(len(world.covers)), -(1 << 63))

    def edge_of(cover: int) -> int:
        """What the look must say; where the enumeration finds nothing to buy, only that it is hopeless."""
        legs = [min((cost[claim] for claim in world.claims[prop]), default=NO_QUOTE) for prop in world.covers[cover]]
        return world.k(world.covers[cover]) * DOLLAR - sum(legs)

    def check(found: list[tuple[int, int]]) -> None:
        for cover, edge in found:
            known = oracle(world, cost, world.covers[cover])
            if known is None:
                assert edge < -DOLLAR * 100
            else:
                assert edge == known

    for step in range(data.draw(st.integers(1, 5))):
        changed = data.draw(st.lists(st.integers(0, SLOTS - 1), max_size=CAPACITY - 1))
        for slot in changed:
            for side in (0, 1):
                fee, levels = data.draw(fees), data.draw(books)
                cost[2 * slot + side] = cost_of(fee, levels)
                assert cost[2 * slot + side] == cost_by_hand(fee, levels)
            for rig in rigs:
                rig.change(slot, cost[2 * slot], cost[2 * slot + 1])
        found = [rig.kernel.drain() for rig in rigs]
        assert found[0] == found[1]
        assert (found[0] is None) == (not changed)
        touched = {
            number
            for number, cover in enumerate(world.covers)
            if any(claim >> 1 in changed for prop in cover for claim in world.claims[prop])
        }
        if changed:
            assert found[0] == sorted((n, edge_of(n)) for n in touched if edge_of(n) >= bar[n])
            check(found[0])
        near = data.draw(st.integers(0, 4))
        swept = [rig.kernel.sweep(near) for rig in rigs]
        assert swept[0] == swept[1]
        assert rigs[0].kernel.best_e6() == rigs[1].kernel.best_e6()
        assert rigs[0].kernel.best_e6() == [min((cost[c] for c in claims), default=NO_QUOTE) for claims in world.claims]
        hits = [(n, edge_of(n)) for n in range(len(world.covers)) if edge_of(n) >= THRESHOLD]
        assert swept[0][: len(hits)] == hits
        misses = swept[0][len(hits) :]
        waiting = [n for n in range(len(world.covers)) if bar[n] <= edge_of(n) < THRESHOLD]
        assert len(misses) == min(near, len(waiting)) == len({n for n, _ in misses})
        assert all(n in waiting and edge == edge_of(n) for n, edge in misses)
        check(swept[0])
        if data.draw(st.booleans()):
            for cover, edge in (found[0] or []) + swept[0]:
                bar[cover] = max(bar[cover], min(edge + 1, THRESHOLD))
                for rig in rigs:
                    rig.kernel.settle(cover, edge)
        assert rigs[0].kernel.tails == rigs[1].kernel.tails, step
    assert rigs[0].memory == rigs[1].memory
    for rig in rigs:
        rig.close()


def pairs(count: int) -> World:
    """``count`` covers X + ¬X, each of an instrument of its own."""
    truth = [frozenset([n & 1]) for n in range(2 * count)]
    return World(2, truth, [[2 * n] if not side else [2 * n + 1] for n in range(count) for side in (0, 1)],
                 [[2 * n, 2 * n + 1] for n in range(count)])  # fmt: skip


def test_near_misses_are_told_in_turn_and_not_again_once_settled(core: ModuleType) -> None:
    rig = Rig(core, pairs(5))
    rig.costs[:5] = 505_000
    edge = DOLLAR - 2 * 505_000
    assert [rig.kernel.sweep(2) for _ in range(4)] == [
        [(0, edge), (1, edge)],
        [(2, edge), (3, edge)],
        [(4, edge), (0, edge)],
        [(1, edge), (2, edge)],
    ]
    for cover in (3, 4, 0):
        rig.kernel.settle(cover, edge)
    assert rig.kernel.sweep(9) == [(1, edge), (2, edge)]
    rig.change(3, 504_999, 505_000)  # better than what was settled
    assert rig.kernel.drain() == [(3, edge + 1)]
    rig.change(4, 505_000, 505_001)
    assert rig.kernel.drain() == []
    rig.close()


def test_a_settled_hit_stays_a_hit(core: ModuleType) -> None:
    rig = Rig(core, pairs(2))
    rig.costs[:2] = 490_000
    assert rig.kernel.sweep(9) == [(0, 20_000), (1, 20_000)]
    rig.kernel.settle(0, 20_000)
    rig.kernel.settle(0, -5)
    assert rig.kernel.sweep(9) == [(0, 20_000), (1, 20_000)]
    rig.change(0, 499_000, 499_000)
    assert rig.kernel.drain() == []
    with pytest.raises(IndexError, match="cover 2: there are 2"):
        rig.kernel.settle(2, 0)
    rig.close()


def test_an_overrun_moves_every_tail_to_its_head_and_says_so(core: ModuleType) -> None:
    rig = Rig(core, pairs(3))
    rig.change(1, 1, 1)
    for _ in range(CAPACITY):
        rig.change(2, 490_000, 490_000)
    with pytest.raises(core.Overrun, match=f"the writer stands at {CAPACITY}"):
        rig.kernel.drain()
    assert rig.kernel.tails == (CAPACITY, 1)
    assert rig.kernel.drain() is None
    assert [cover for cover, _ in rig.kernel.sweep(0)] == [1, 2]
    rig.close()


def test_a_slot_that_no_writer_of_ours_would_log_touches_nothing(core: ModuleType) -> None:
    rig = Rig(core, pairs(3))
    rig.costs[0] = 1
    for slot in (SLOTS, 2**32 - 1):
        core.log_push(rig.region, LOGS[0], CAPACITY, slot)
    assert rig.kernel.drain() == []
    assert rig.kernel.touch([SLOTS, 0, 2**32 - 1]) == [(0, DOLLAR - 2)]
    with pytest.raises(ValueError, match="does not fit"):
        rig.kernel.touch([2**32])
    rig.close()


def test_a_leg_nobody_may_buy_kills_the_largest_cover(core: ModuleType) -> None:
    world = World(8, [frozenset(range(8)) - {n} for n in range(8)], [[2 * n] for n in range(8)], [list(range(8))])
    rig = Rig(core, world)
    rig.costs[:] = 1
    assert rig.kernel.sweep(0) == [(0, 7 * DOLLAR - 8)]
    rig.change(5, NO_QUOTE, 1)
    assert rig.kernel.drain() == [(0, 7 * DOLLAR - 7 - NO_QUOTE)]
    rig.costs[:] = NO_QUOTE  # eight of them leave 32 bits
    assert rig.kernel.sweep(1) == [(0, 7 * DOLLAR - 8 * NO_QUOTE)]
    rig.close()


@pytest.mark.parametrize(
    ("number", "bad"),
    [
        (0, [1, 2]),
        (0, [0, 3]),
        (0, [0, 2, 1, 2]),
        (0, []),
        (1, [0, 2 * SLOTS]),
        (2, [0, 2]),
        (3, [1]),
        (3, [0, 0]),
        (4, []),
        (4, [1, 1]),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(core: ModuleType, number: int, bad: list[int]) -> None:
    good = [[0, 2], [0, 1], [0, 1], [0], [1]]
    region = core.Region(bytearray(SIZE))

    def make(values: list[list[int]]) -> Any:
        arrays = [np.array(each, np.uint32) for each in values]
        return core.Kernel(region, 0, SLOTS, LOGS, (0, 0), CAPACITY, *arrays, THRESHOLD)

    make(good).release()
    with pytest.raises(ValueError, match="propositions|covers|cover_k"):  # noqa: RUF043 - alternatives are meant
        make([*good[:number], bad, *good[number + 1 :]])


def test_only_contiguous_arrays_of_32_bit_numbers_are_taken(core: ModuleType) -> None:
    good = [np.array(each, np.uint32) for each in ([0, 2], [0, 1], [0, 1], [0], [1])]
    region = core.Region(bytearray(SIZE))
    for bad in (np.array([0, 2], np.uint64), np.array([0, 9, 2, 9], np.uint32)[::2], b"12345678", None):
        with pytest.raises((ValueError, TypeError, BufferError)):
            core.Kernel(region, 0, SLOTS, LOGS, (0, 0), CAPACITY, bad, *good[1:], THRESHOLD)
    for logs, tails in (((0,), ()), (range(0, 9 * 8, 8), range(9))):
        with pytest.raises(ValueError, match="as many of both, at most 8"):
            core.Kernel(region, 0, SLOTS, logs, tails, CAPACITY, *good, THRESHOLD)
