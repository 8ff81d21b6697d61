"""Worlds: the same steps every time, never a crossed book, nothing between cycles that nobody planned."""

from __future__ import annotations

import asyncio

import pytest

from arbpipe.sim.covers import Pricer, covers_of
from arbpipe.sim.exchange import Order, Tif
from arbpipe.sim.listing import Venue
from arbpipe.sim.market import REPEAT_GAP_NS, Step, World


def test_the_event_log_is_the_same_text_for_the_same_seed_and_another_for_another() -> None:
    assert World(seed=3, events=4, seconds=5).event_log(2) == World(seed=3, events=4, seconds=5).event_log(2)
    assert World(seed=3, events=4, seconds=5).event_log(1) != World(seed=4, events=4, seconds=5).event_log(1)


def test_what_an_account_trades_changes_no_step() -> None:
    world = World(seed=3, events=2, seconds=5)
    before = world.event_log()
    for book in world.books.values():
        book.submit(Order("mine", "me", True, 9_900, 10**9, Tif.IOC))
    for step in world.steps(0):
        world.apply(step)
    assert world.event_log() == before


def test_two_venues_of_one_seed_are_the_two_halves_of_one_world() -> None:
    both = World(seed=5, events=4, seconds=5).event_log().splitlines()
    halves = [World(seed=5, events=4, seconds=5, venue=venue).event_log().splitlines() for venue in Venue]
    assert sorted(both) == sorted(halves[0] + halves[1])


def test_steps_are_in_order_over_cycles_and_every_cycle_ends_in_its_opening_books() -> None:
    world = World(seed=2, events=4, seconds=5)
    opening = {key: book.levels() for key, book in world.books.items()}
    last_ns = -1
    for cycle in range(3):
        for step in world.steps(cycle):
            assert step.offset_ns >= last_ns
            assert world.cycle_at(step.offset_ns) == cycle
            last_ns = step.offset_ns
            world.apply(step)
        assert {key: book.levels() for key, book in world.books.items()} == opening
    assert world.start_ns(1) == world.duration_ns(0) + REPEAT_GAP_NS


def test_later_cycles_have_other_arbitrages() -> None:
    world = World(seed=2, events=8, seconds=20)
    windows = [[(a.start_ns, a.kind) for a in world.arbitrages(cycle)] for cycle in range(3)]
    assert all(windows)
    assert windows[0] != windows[1] != windows[2]


def test_no_cover_has_an_edge_at_any_step_from_one_cycle_to_the_next() -> None:
    for seed in range(6):
        world = World(seed=seed, events=4, seconds=5)
        turns: list[Step] = []
        for step in world.steps(0):
            if step.offset_ns >= world.duration_ns(0):
                turns.append(step)
            else:
                world.apply(step)
        back = [step for step in turns if step.offset_ns == world.duration_ns(0)]
        forth = [step for step in turns if step.offset_ns > world.duration_ns(0)]
        for phase in (list(reversed(back)), forth):
            for step in phase:
                world.apply(step)
                for event in world.events:
                    quotes = []
                    for market in event.markets:
                        bids, asks = world.books[market.key].levels()
                        quotes.append((bids[0][0], asks[0][0]))
                    edges = [Pricer(event, quotes).edge_e12(cover) for cover in covers_of(event)]
                    assert max(edges) <= 0, f"seed {seed}: an edge of {max(edges)} in {event.name} between cycles"


def test_a_world_that_starts_late_agrees_with_one_that_ran_all_the_time() -> None:
    offset_ns = 7_300_000_000
    ran, late = World(seed=2, events=4, seconds=5), World(seed=2, events=4, seconds=5)
    for cycle in range(2):
        for step in ran.steps(cycle):
            if step.offset_ns <= offset_ns:
                ran.apply(step)
    late.forward(offset_ns)
    assert {k: b.levels() for k, b in late.books.items()} == {k: b.levels() for k, b in ran.books.items()}


def test_a_running_world_applies_every_step_once_and_in_time() -> None:
    world = World(seed=2, events=2, seconds=2)
    seen: list[Step] = []
    base = 10**18
    clock = [base]

    def now_ns() -> int:
        # a clock that stands at the step that is due: nothing has to wait
        done = len(seen)
        steps = world.steps(0)
        clock[0] = base + (steps[done].offset_ns if done < len(steps) else 0)
        return clock[0]

    asyncio.run(world.run(started_ns=base, cycles=1, on_step=seen.append, now_ns=now_ns))
    assert seen == world.steps(0)


def test_a_world_does_not_run_at_no_speed() -> None:
    with pytest.raises(ValueError, match="above 0"):
        asyncio.run(World(seed=1, events=1, seconds=2).run(started_ns=0, speed=0))
