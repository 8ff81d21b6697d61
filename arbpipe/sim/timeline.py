"""One event's life: bursts of quotes around a latent fair value, and planned arbitrages at given times.

Pure and seeded. In a burst all retreats come before all advances, so every state on the way is no better for any cover
than the state before or the state after it; both have no edge, because both venues quote around the same fair value.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from arbpipe.sim.covers import Cover, covers_of, offer_side, quotes_of
from arbpipe.sim.listing import Event, Kind, Market, Venue
from arbpipe.sim.plan import Move, Plan, plan_arbitrage
from arbpipe.sim.quotes import Book, BookSide, Level, advance, draw_size_e2, open_book, retreat, trim
from arbpipe.sim.units import ONE_E4, round_down, round_up

__all__ = ["MS", "Trade", "Draft", "Window", "Taken", "Timeline"]

MS: Final = 1_000_000
#: How long before an arbitrage its event prepares, and how long a burst may last.
_SETUP_NS: Final = 160 * MS
_BURST_NS: Final = 150 * MS
_WIDE_E4: Final = 150


@dataclass(frozen=True, slots=True)
class Trade:
    """A taker's trade on the YES book: price in 1/10,000 dollar, size in 1/100 contract."""

    price_e4: int
    size_e2: int
    taker_buys: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """What one exchange action changed on one market, ``offset_ns`` after the start."""

    offset_ns: int
    position: int
    levels: tuple[Level, ...]
    trade: Trade | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """When an arbitrage is wanted, and of which shape (as in :class:`Cover`) or, for pairs, on which Kalshi side."""

    start_ns: int
    end_ns: int
    shape: str
    kalshi_holds: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """A plan that was carried out: the ordinals of the drafts that begin and end it."""

    plan: Plan
    first: int
    last: int


class Timeline:
    """The drafts of one event, in order; ``opening`` are its books at the start."""

    def __init__(self, rng: random.Random, event: Event) -> None:
        self._rng = rng
        self._event = event
        self._fair_e4 = self._open_fair()
        self._books = [self._open_book(market) for market in event.markets]
        self.opening = tuple(book.copy() for book in self._books)
        self.drafts: list[Draft] = []
        self.taken: list[Taken] = []
        self._now_ns = 0

    def _open_fair(self) -> list[int]:
        rng, count = self._rng, self._event.outcomes
        if self._event.kind is Kind.PARTITION:
            spare = ONE_E4 - 1_400 * count
            cuts = sorted(rng.randrange(spare) for _ in range(count - 1))
            return [1_400 + high - low for low, high in zip([0, *cuts], [*cuts, spare], strict=True)]
        if self._event.kind is Kind.LADDER:
            first = rng.randrange(2_500, 5_500)
            return [first + sum(rng.randrange(250, 500) for _ in range(rung)) for rung in range(count)]
        return [rng.randrange(2_000, 8_000)]

    def _fair_of(self, market: Market) -> int:
        fair_e4 = self._fair_e4[market.outcome]
        return ONE_E4 - fair_e4 if market.inverted else fair_e4

    def _limit(self, market: Market, side: BookSide) -> int:
        """The best price on the grid that is still worse than fair."""
        fair_e4 = self._fair_of(market)
        if side is BookSide.BID:
            return round_down(fair_e4 - 1, market.tick_e4)
        return round_up(fair_e4 + 1, market.tick_e4)

    def _desired(self, market: Market, side: BookSide) -> int:
        slack = self._rng.randrange(2 if market.tick_e4 >= 100 else 9)
        return self._limit(market, side) + side.outward * slack * market.tick_e4

    def _open_book(self, market: Market) -> Book:
        bid_e4 = self._desired(market, BookSide.BID)
        return open_book(self._rng, bid_e4, self._desired(market, BookSide.ASK), market.tick_e4)

    def _emit(self, position: int, levels: Sequence[Level], trade: Trade | None = None) -> None:
        for level in levels:
            self._books[position].apply(level)
        self.drafts.append(Draft(self._now_ns, position, tuple(levels), trade))

    def _spread(self, steps: Sequence[tuple[int, Level]], until_ns: int) -> None:
        """Emit the steps in order, with uneven gaps, before ``until_ns``."""
        for done, (position, level) in enumerate(steps):
            gap_ns = max((until_ns - self._now_ns) // (len(steps) - done + 1), 2_000)
            self._now_ns += self._rng.randrange(1_000, min(gap_ns, 9 * MS))
            self._emit(position, (level,))

    def _drift(self) -> None:
        """Move the latent fair values; a partition keeps its sum, a ladder its order."""
        rng, fair = self._rng, self._fair_e4
        if self._event.kind is Kind.PARTITION:
            giver, taker = rng.sample(range(len(fair)), 2)
            moved = min(rng.randrange(20, 110), max(fair[giver] - 1_300, 0))
            fair[giver] -= moved
            fair[taker] += moved
            return
        shift = rng.choice((-1, 1)) * rng.randrange(20, 130)
        if fair[0] + shift <= 1_800 or fair[-1] + shift >= 8_200:
            shift = -shift
        self._fair_e4 = [value + shift for value in fair]

    def _requote(self, until_ns: int) -> None:
        """Bring every quote back around fair: first all retreats, then all advances."""
        rng = self._rng
        sides = [(i, side) for i in range(len(self._event.markets)) for side in BookSide]
        rng.shuffle(sides)
        back: list[tuple[int, Level]] = []
        forth: list[tuple[int, Level]] = []
        after = [book.copy() for book in self._books]
        for position, side in sides:
            market = self._event.markets[position]
            limit_e4 = self._limit(market, side)
            for level in retreat(rng, after[position], side, limit_e4, market.tick_e4):
                after[position].apply(level)
                back.append((position, level))
        for position, side in sides:
            market = self._event.markets[position]
            if (after[position].touch(side) - self._limit(market, side)) * side.outward > _WIDE_E4:
                price_e4 = self._desired(market, side)
                for level in advance(after[position], side, price_e4, draw_size_e2(rng)):
                    after[position].apply(level)
                    forth.append((position, level))
                forth.extend((position, level) for level in trim(after[position], side))
        self._spread([*back, *forth], until_ns)

    def _noise(self, frozen: frozenset[tuple[int, BookSide]]) -> None:
        """One ordinary change that moves no best price inwards.

        A frozen side keeps its best level, and gets no new level that could take that level's place when it goes.
        """
        rng = self._rng
        position = rng.randrange(len(self._event.markets))
        market, book = self._event.markets[position], self._books[position]
        side = rng.choice(tuple(BookSide))
        levels, touch_e4 = book.levels(side), book.touch(side)
        still = (position, side) in frozen
        dice = rng.randrange(10)
        if dice == 0 and not still and market.venue is Venue.POLYMARKET and levels[touch_e4] > 1_000:
            size_e2 = rng.randrange(100, levels[touch_e4] // 2)
            rest = Level(side, touch_e4, levels[touch_e4] - size_e2)
            self._emit(position, (rest,), Trade(touch_e4, size_e2, side is BookSide.ASK))
            return
        deeper = sorted((price for price in levels if price != touch_e4), key=lambda price: price * side.outward)
        if dice <= 2 and len(deeper) >= 4:
            self._emit(position, (Level(side, deeper[-1], 0),))
        elif dice <= 4 and not still:
            price_e4 = touch_e4 + side.outward * market.tick_e4 * rng.randrange(1, 6)
            if market.tick_e4 <= price_e4 <= ONE_E4 - market.tick_e4:
                self._emit(position, (Level(side, price_e4, draw_size_e2(rng)),))
        elif dice == 5 and len(deeper) >= 2:
            # one order moves from a level to another: two changes of one exchange action
            down, up = rng.sample(deeper, 2)
            moved = levels[down] // 3
            if moved > 0:
                self._emit(position, (Level(side, down, levels[down] - moved), Level(side, up, levels[up] + moved)))
        else:
            prices = deeper if still else [touch_e4, *deeper]
            if prices:
                price_e4 = rng.choice(prices)
                self._emit(position, (Level(side, price_e4, draw_size_e2(rng)),))

    def _burst(self) -> None:
        until_ns = self._now_ns + _BURST_NS
        if self._rng.randrange(4) == 0:
            self._drift()
            self._requote(until_ns)
            return
        for _ in range(self._rng.randrange(4, 13)):
            self._now_ns += self._rng.randrange(MS // 10, 11 * MS)
            self._noise(frozenset())

    def _covers(self, window: Window) -> Iterator[tuple[Cover, list[int]]]:
        """Draws of a cover of the wanted shape, with a market for each of its propositions."""
        rng, event = self._rng, self._event
        wanted = [cover for cover in covers_of(event) if cover.shape == window.shape]
        venues = list(Venue)
        for _ in range(40):
            cover = rng.choice(wanted)
            if cover.shape == "pair":
                first = Venue.KALSHI if window.kalshi_holds else Venue.POLYMARKET
                second = Venue.POLYMARKET if window.kalshi_holds else Venue.KALSHI
                chosen = [first, second]
            else:
                chosen = rng.sample(venues, 2) + [rng.choice(venues) for _ in cover.propositions[2:]]
            yield (
                cover,
                [event.position(v, outcome) for v, (outcome, _) in zip(chosen, cover.propositions, strict=True)],
            )

    def _plan(self, window: Window) -> Plan | None:
        for cover, legs in self._covers(window):
            plan = plan_arbitrage(self._rng, self._event, quotes_of(self._books), cover, legs)
            if plan is not None:
                return plan
        return None

    def _retreats(self, moves: Sequence[Move]) -> list[tuple[int, Level]]:
        steps: list[tuple[int, Level]] = []
        for move in moves:
            market = self._event.markets[move.position]
            changes = retreat(self._rng, self._books[move.position], move.side, move.price_e4, market.tick_e4)
            steps.extend((move.position, level) for level in changes)
        return steps

    def _arbitrage(self, window: Window) -> None:
        plan = self._plan(window)
        if plan is None:
            return
        steps = self._retreats(plan.retreats)
        steps.extend((move.position, Level(move.side, move.price_e4, move.size_e2)) for move in plan.advances)
        self._spread(steps, window.start_ns)
        trigger, rng = plan.trigger, self._rng
        # uneven offsets: no arbitrage begins on a round number
        self._now_ns = max(self._now_ns + MS, window.start_ns + rng.randrange(MS))
        first = len(self.drafts)
        self._emit(trigger.position, (Level(trigger.side, trigger.price_e4, trigger.size_e2),))
        frozen = frozenset(
            (leg.position, offer_side(self._event.markets[leg.position], holds))
            for leg, (_, holds) in zip(plan.legs, plan.cover.propositions, strict=True)
        )
        while self._now_ns + 200 * MS < window.end_ns:
            self._now_ns += rng.randrange(40 * MS, 190 * MS)
            self._noise(frozen)
        self._now_ns = max(self._now_ns + MS, window.end_ns)
        last = len(self.drafts)
        market = self._event.markets[trigger.position]
        trade = None
        if market.venue is Venue.POLYMARKET and rng.randrange(2):
            trade = Trade(trigger.price_e4, trigger.size_e2, trigger.side is BookSide.ASK)
        self._emit(trigger.position, (Level(trigger.side, trigger.price_e4, 0),), trade)
        self.taken.append(Taken(plan, first, last))
        self._requote(self._now_ns + _BURST_NS)

    def run(self, windows: Sequence[Window], first_ns: int, end_ns: int) -> None:
        """Fill the timeline from ``first_ns`` to ``end_ns``; the windows must be in order and well apart."""
        rng = self._rng
        pause_ns = 650 * MS * (2 + len(self._event.markets) // 2)
        self._now_ns = first_ns + rng.randrange(pause_ns)
        for window in [*windows, None]:
            limit_ns = end_ns if window is None else window.start_ns - _SETUP_NS
            while self._now_ns + 2 * _BURST_NS < limit_ns:
                self._burst()
                self._now_ns += rng.randrange(pause_ns // 2, pause_ns)
            if window is None:
                return
            last_draft_ns = self.drafts[-1].offset_ns if self.drafts else 0
            self._now_ns = max(last_draft_ns + MS, limit_ns)
            self._arbitrage(window)
            self._now_ns += rng.randrange(pause_ns // 4, pause_ns)
