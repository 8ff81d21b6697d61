"""A seeded world: the catalog, the opening books, every change of both venues in order, and the planned arbitrages.

Pure: no clock, no I/O, no global randomness. Knows nothing of messages; the encoders and, later, matching engines and
servers turn its changes into a venue's words.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from arbpipe.sim.listing import Event, Kind, Market, Venue, make_events
from arbpipe.sim.quotes import Book, Level
from arbpipe.sim.timeline import MS, Taken, Timeline, Trade, Window

__all__ = ["Change", "Claim", "Arbitrage", "Scenario", "make_scenario", "LEAST_SECONDS", "FIRST_CHANGE_NS"]

LEAST_SECONDS: Final = 2.0
#: Until then nothing changes: connections open, subscribe and receive their first books.
FIRST_CHANGE_NS: Final = 400 * MS
_FIRST_WINDOW_NS: Final = 800 * MS
_LAST_NS: Final = 300 * MS
_REST_NS: Final = 900 * MS
_TURNS: Final = ("pair", "sum_yes", "pair", "ladder", "sum_no")
_HOMES: Final = {
    "pair": tuple(Kind),
    "sum_yes": (Kind.PARTITION,),
    "sum_no": (Kind.PARTITION,),
    "ladder": (Kind.LADDER,),
}


@dataclass(frozen=True, slots=True)
class Change:
    """What one exchange action changed on one market, ``offset_ns`` after the start; no two share an offset.

    The levels are to be applied in order and hold absolute sizes; with a trade they are what the trade left.
    """

    offset_ns: int
    market: Market
    levels: tuple[Level, ...]
    trade: Trade | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A leg of an arbitrage: what to buy, its price in 1/10,000 dollar and the size of the touch in 1/100 contract."""

    market: Market
    yes: bool
    price_e4: int
    size_e2: int


@dataclass(frozen=True, slots=True)
class Arbitrage:
    """A planned edge: it begins with the change at ``start_ns`` and ends with the change at ``end_ns``.

    ``edge_e12``: payout less prices and fees in 10^-12 dollar per contract. ``size_e2``: the least touch of the legs.
    """

    event: Event
    kind: str
    start_ns: int
    end_ns: int
    edge_e12: int
    size_e2: int
    legs: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that happens. ``opening`` holds the books at the start by market key; treat it as read-only."""

    seed: int
    duration_ns: int
    events: tuple[Event, ...]
    opening: Mapping[str, Book]
    changes: tuple[Change, ...]
    arbitrages: tuple[Arbitrage, ...]

    def markets(self, venue: Venue) -> tuple[Market, ...]:
        """All markets of one venue, in catalog order."""
        return tuple(market for event in self.events for market in event.markets if market.venue is venue)


def _schedule(rng: random.Random, events: Sequence[Event], duration_ns: int) -> dict[int, list[Window]]:
    """When an arbitrage begins in which event: one every 1.5 s on average, shapes in turn, the longest rested first."""
    windows: dict[int, list[Window]] = {event.index: [] for event in events}
    free_ns = {event.index: 0 for event in events}
    turn, pairs = 0, 0
    start_ns = _FIRST_WINDOW_NS + rng.randrange(400 * MS)
    while start_ns + 420 * MS < duration_ns - _LAST_NS:
        length_ns = min(rng.randrange(420 * MS, 3_000 * MS), duration_ns - _LAST_NS - start_ns)
        for _ in _TURNS:
            shape = _TURNS[turn % len(_TURNS)]
            turn += 1
            ready = [e for e in events if e.kind in _HOMES[shape] and free_ns[e.index] <= start_ns]
            if not ready:
                continue
            rng.shuffle(ready)
            event = min(ready, key=lambda each: free_ns[each.index])
            windows[event.index].append(Window(start_ns, start_ns + length_ns, shape, pairs % 2 == 0))
            free_ns[event.index] = start_ns + length_ns + _REST_NS
            pairs += shape == "pair"
            break
        start_ns += rng.randrange(1_000 * MS, 2_000 * MS)
    return windows


def _name_kind(shape: str, legs: Sequence[Claim]) -> str:
    """The shape, or for a pair the side bought on each venue: ``kalshi_yes_polymarket_no``."""
    if shape != "pair":
        return shape
    sides = {leg.market.venue: "yes" if leg.yes else "no" for leg in legs}
    return f"kalshi_{sides[Venue.KALSHI]}_polymarket_{sides[Venue.POLYMARKET]}"


def _arbitrage(event: Event, taken: Taken, offsets: Sequence[int]) -> Arbitrage:
    legs = tuple(Claim(event.markets[leg.position], leg.yes, leg.price_e4, leg.size_e2) for leg in taken.plan.legs)
    kind = _name_kind(taken.plan.cover.shape, legs)
    plan = taken.plan
    return Arbitrage(event, kind, offsets[taken.first], offsets[taken.last], plan.edge_e12, plan.size_e2, legs)


def make_scenario(*, seed: int = 1, events: int = 8, seconds: float = 20.0) -> Scenario:
    """Draw a whole world. The same arguments give the same scenario.

    Raises:
        ValueError: fewer than one event, or less than ``LEAST_SECONDS`` seconds.
    """
    if events < 1:
        raise ValueError(f"a scenario needs at least 1 event, not {events}: ask for 1 or more")
    if not seconds >= LEAST_SECONDS:
        raise ValueError(f"a scenario lasts at least {LEAST_SECONDS} s, not {seconds}: ask for more seconds")
    duration_ns = round(seconds * 1_000) * MS
    listed = make_events(seed, events)
    windows = _schedule(random.Random(f"sim-schedule:{seed}:{events}:{duration_ns}"), listed, duration_ns)
    timelines = []
    for event in listed:
        timeline = Timeline(random.Random(f"sim-event:{seed}:{event.index}"), event)
        timeline.run(windows[event.index], FIRST_CHANGE_NS, duration_ns - 50 * MS)
        timelines.append(timeline)
    order = sorted(
        (draft.offset_ns, index, ordinal)
        for index, timeline in enumerate(timelines)
        for ordinal, draft in enumerate(timeline.drafts)
    )
    offsets: list[list[int]] = [[0] * len(timeline.drafts) for timeline in timelines]
    changes: list[Change] = []
    previous_ns = 0
    for wanted_ns, index, ordinal in order:
        # one instant, one change: the order of two venues is never left to a tie
        previous_ns = max(wanted_ns, previous_ns + 1_000)
        offsets[index][ordinal] = previous_ns
        draft = timelines[index].drafts[ordinal]
        changes.append(Change(previous_ns, listed[index].markets[draft.position], draft.levels, draft.trade))
    arbitrages = [
        _arbitrage(event, taken, offsets[event.index])
        for event, timeline in zip(listed, timelines, strict=True)
        for taken in timeline.taken
    ]
    opening = {
        market.key: book
        for event, timeline in zip(listed, timelines, strict=True)
        for market, book in zip(event.markets, timeline.opening, strict=True)
    }
    arbitrages.sort(key=lambda each: each.start_ns)
    return Scenario(seed, duration_ns, listed, opening, tuple(changes), tuple(arbitrages))
