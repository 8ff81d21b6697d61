"""A scenario that moves matching engines on a clock: the market makers of both venues, cycle after cycle.

A :class:`World` holds one :class:`~arbpipe.sim.exchange.Book` per market. Its steps are pure: they depend on the seed
and on nothing that anybody trades, so two servers with the same arguments and the same start show two venues of one
world, and :meth:`World.event_log` is the same text every time.

A cycle is a whole scenario. The next one has the same catalog and other arbitrages (the schedule is drawn from a
duration that grows by 1 ms a cycle). Between two cycles every market goes from where it stands to its opening book in
two moves 300 ms apart, first back and then forth, so that no edge appears that nobody planned.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from arbpipe.sim.exchange import Book
from arbpipe.sim.listing import Market, Venue
from arbpipe.sim.quotes import Book as Ladder
from arbpipe.sim.quotes import BookSide, Level
from arbpipe.sim.scenario import Arbitrage, Scenario, make_scenario
from arbpipe.sim.timeline import MS, Trade
from arbpipe.sim.units import plain_text

__all__ = ["E6_PER_E2", "REPEAT_GAP_NS", "Step", "World"]

#: 1/1,000,000 contract in 1/100 contract.
E6_PER_E2: Final = 10_000
#: From the end of a cycle to the start of the next: back at once, forth after 300 ms, then a rest.
REPEAT_GAP_NS: Final = 500 * MS
_FORTH_NS: Final = 300 * MS
_LONGER_NS: Final = 1 * MS


@dataclass(frozen=True, slots=True)
class Step:
    """What the market maker of one market does at one moment, ``offset_ns`` of scenario time after the world's start.

    ``levels`` are absolute sizes, in order. ``trade`` is a trade of others that the levels already account for.
    """

    offset_ns: int
    market: Market
    levels: tuple[Level, ...]
    trade: Trade | None = None

    def line(self) -> str:
        """The step as one line of text."""
        levels = " ".join(
            f"{level.side.value}:{plain_text(level.price_e4, 4)}={plain_text(level.size_e2, 2)}"
            for level in self.levels
        )
        text = f"{self.offset_ns} {self.market.key} {levels}"
        if self.trade is not None:
            verb = "buy" if self.trade.taker_buys else "sell"
            text += f" trade:{verb}:{plain_text(self.trade.price_e4, 4)}x{plain_text(self.trade.size_e2, 2)}"
        return text


def _retreat(ladder: Ladder, opening: Ladder) -> tuple[Level, ...]:
    """The changes after which no side is better than now nor better than the opening book; no side is emptied."""
    changes: list[Level] = []
    for side in BookSide:
        now, wanted, touch_e4 = ladder.levels(side), opening.levels(side), ladder.touch(side)
        kept = {price: size for price, size in wanted.items() if (price - touch_e4) * side.outward >= 0}
        kept = kept or {touch_e4: now[touch_e4]}
        changes += [Level(side, price, size) for price, size in sorted(kept.items()) if now.get(price) != size]
        changes += [Level(side, price, 0) for price in sorted(now) if price not in kept]
    return tuple(changes)


def _restore(ladder: Ladder, opening: Ladder) -> tuple[Level, ...]:
    """The changes that turn a ladder that retreated into the opening book."""
    changes: list[Level] = []
    for side in BookSide:
        now, wanted = ladder.levels(side), opening.levels(side)
        changes += [Level(side, price, size) for price, size in sorted(wanted.items()) if now.get(price) != size]
        changes += [Level(side, price, 0) for price in sorted(now) if price not in wanted]
    return tuple(changes)


class World:
    """The books of one venue, or of both, and the steps that move them.

    ``books`` are keyed by :attr:`Market.key`, hold the opening quotes from the start, and may be traded on at any time.

    Args:
        seconds: length of the first cycle in scenario time.
        venue: only this venue's markets; None for both.

    Raises:
        ValueError: fewer than one event or too few seconds (see :func:`arbpipe.sim.scenario.make_scenario`).
    """

    def __init__(self, *, seed: int = 1, events: int = 8, seconds: float = 60.0, venue: Venue | None = None) -> None:
        self._seed = seed
        self._count = events
        self._cycle = 0
        self._done = 0
        self._first_ns = round(seconds * 1_000) * MS
        self._scenarios = {0: make_scenario(seed=seed, events=events, seconds=seconds)}
        self.events = self._scenarios[0].events
        self.markets = tuple(m for e in self.events for m in e.markets if venue is None or m.venue is venue)
        self._keys = {market.key for market in self.markets}
        self.books: dict[str, Book] = {}
        for market in self.markets:
            book = Book(market.key)
            opening = self._scenarios[0].opening[market.key]
            for side in BookSide:
                for price_e4, size_e2 in opening.levels(side).items():
                    book.set_quote(side is BookSide.BID, price_e4, size_e2 * E6_PER_E2)
            self.books[market.key] = book

    def duration_ns(self, cycle: int) -> int:
        """How long a cycle's scenario lasts, without the gap after it."""
        return self._first_ns + cycle * _LONGER_NS

    def start_ns(self, cycle: int) -> int:
        """When a cycle begins, in scenario time after the world's start."""
        return cycle * (self._first_ns + REPEAT_GAP_NS) + _LONGER_NS * cycle * (cycle - 1) // 2

    def cycle_at(self, offset_ns: int) -> int:
        """The cycle that runs at a moment, its gap included; 0 before the start."""
        cycle = max(offset_ns, 0) // (self._first_ns + REPEAT_GAP_NS)
        while cycle > 0 and self.start_ns(cycle) > offset_ns:
            cycle -= 1
        return cycle

    def scenario(self, cycle: int) -> Scenario:
        """The scenario of a cycle; the last few are kept."""
        if cycle not in self._scenarios:
            seconds = self.duration_ns(cycle) / 1e9
            self._scenarios[cycle] = make_scenario(seed=self._seed, events=self._count, seconds=seconds)
            for old in [key for key in self._scenarios if key < cycle - 2]:
                del self._scenarios[old]
        return self._scenarios[cycle]

    def arbitrages(self, cycle: int) -> tuple[Arbitrage, ...]:
        """The planned arbitrages of a cycle; their times count from the cycle's start."""
        return self.scenario(cycle).arbitrages

    def steps(self, cycle: int) -> list[Step]:
        """All steps of a cycle and of the gap after it, in order, for this world's markets."""
        scenario, base_ns = self.scenario(cycle), self.start_ns(cycle)
        ladders = {key: scenario.opening[key].copy() for key in self._keys}
        steps: list[Step] = []
        for change in scenario.changes:
            if change.market.key in self._keys:
                for level in change.levels:
                    ladders[change.market.key].apply(level)
                steps.append(Step(base_ns + change.offset_ns, change.market, change.levels, change.trade))
        end_ns = base_ns + self.duration_ns(cycle)
        for market in self.markets:
            back = _retreat(ladders[market.key], scenario.opening[market.key])
            if back:
                steps.append(Step(end_ns, market, back))
            ladder = ladders[market.key].copy()
            for level in back:
                levels = ladder.levels(level.side)
                if level.size_e2:
                    levels[level.price_e4] = level.size_e2
                else:
                    levels.pop(level.price_e4)
            ladders[market.key] = ladder
        for market in self.markets:
            forth = _restore(ladders[market.key], scenario.opening[market.key])
            if forth:
                steps.append(Step(end_ns + _FORTH_NS, market, forth))
        return steps

    def event_log(self, cycles: int = 1) -> str:
        """Every step of the first cycles as text, a line each: byte-identical for the same arguments."""
        return "".join(step.line() + "\n" for cycle in range(cycles) for step in self.steps(cycle))

    def apply(self, step: Step) -> None:
        """Let the market maker of one market act."""
        book = self.books[step.market.key]
        for level in step.levels:
            book.set_quote(level.side is BookSide.BID, level.price_e4, level.size_e2 * E6_PER_E2)

    def forward(self, offset_ns: int) -> None:
        """Enter the cycle of that moment and apply its steps up to then, all at once; only before :meth:`run`."""
        self._cycle = self.cycle_at(offset_ns)
        self._done = 0
        for step in self.steps(self._cycle):
            if step.offset_ns > offset_ns:
                break
            self.apply(step)
            self._done += 1

    async def run(
        self,
        *,
        started_ns: int,
        speed: float = 1.0,
        cycles: int | None = None,
        on_step: Callable[[Step], None] | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Apply every step when its time comes: ``started_ns`` (epoch) plus its offset divided by ``speed``.

        Call :meth:`forward` first where the start lies in the past: what was missed is made up for at once, so that
        the world agrees with one that ran all the time. ``on_step`` is called after each step. Ends after ``cycles``
        cycles, else never.

        Raises:
            ValueError: the speed is not above zero.
        """
        if not speed > 0:
            raise ValueError(f"a world cannot run at speed {speed}: give a number above 0")
        while cycles is None or self._cycle < cycles:
            steps = await asyncio.to_thread(self.steps, self._cycle)
            for step in steps[self._done :]:
                wait_ns = started_ns + round(step.offset_ns / speed) - now_ns()
                if wait_ns > 0:
                    await asyncio.sleep(wait_ns / 1e9)
                elif self._done % 100 == 99:
                    await asyncio.sleep(0)
                self.apply(step)
                self._done += 1
                if on_step is not None:
                    on_step(step)
            self._cycle += 1
            self._done = 0
