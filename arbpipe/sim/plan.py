"""How a planned arbitrage is arranged so that exactly one cover gains an edge, through exactly one order.

First every quote that would give another cover an edge retreats, and the opposite side of the legs makes room. Then all
legs but one advance: the cover still has no edge. The last order, the *trigger*, makes the edge; removing it ends it.
So at each instant before, between and after, no other cover has an edge: until the trigger a state is never better for
any cover than the state before or the state after.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from arbpipe.sim.covers import Cover, Pricer, Proposition, covers_of, offer_cost_e12, offer_price, offer_side
from arbpipe.sim.listing import Event
from arbpipe.sim.quotes import BookSide, draw_size_e2
from arbpipe.sim.units import CENT_E12, ONE_E12, round_down

__all__ = ["Leg", "Move", "Plan", "plan_arbitrage"]

_LEAST_EDGE_E12: Final = 6 * CENT_E12 // 10
_MOST_EDGE_E12: Final = 28 * CENT_E12 // 10
#: Every cover but the planned one stays at least this far below an edge.
_MARGIN_E12: Final = 3 * CENT_E12 // 10
_LEAST_PRICE_E4: Final = 200
_MOST_PRICE_E4: Final = 9_800


@dataclass(frozen=True, slots=True)
class Leg:
    """One contract to buy: ``price_e4`` is the price to the taker, in 1/10,000 dollar; ``size_e2`` the touch."""

    position: int
    yes: bool
    price_e4: int
    size_e2: int


@dataclass(frozen=True, slots=True)
class Move:
    """The best price that one side of one market moves to; with a size it is an order of that size at that price."""

    position: int
    side: BookSide
    price_e4: int
    size_e2: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The moves in order, the edge they make (10^-12 dollar per contract) and for how many contracts (``size_e2``)."""

    cover: Cover
    legs: tuple[Leg, ...]
    retreats: tuple[Move, ...]
    advances: tuple[Move, ...]
    trigger: Move
    edge_e12: int
    size_e2: int


class _Board:
    """Best prices that a plan may change."""

    def __init__(self, event: Event, quotes: list[tuple[int, int]]) -> None:
        self.event = event
        self.quotes = quotes

    def pricer(self) -> Pricer:
        return Pricer(self.event, self.quotes)

    def price(self, position: int, side: BookSide) -> int:
        bid_e4, ask_e4 = self.quotes[position]
        return ask_e4 if side is BookSide.ASK else bid_e4

    def put(self, position: int, side: BookSide, price_e4: int) -> None:
        bid_e4, ask_e4 = self.quotes[position]
        self.quotes[position] = (bid_e4, price_e4) if side is BookSide.ASK else (price_e4, ask_e4)

    def step(self, position: int) -> int:
        tick_e4 = self.event.markets[position].tick_e4
        return max(tick_e4, round_down(50, tick_e4))


def _leg_cost(board: _Board, position: int, proposition: Proposition, book_price_e4: int) -> int:
    market = board.event.markets[position]
    return offer_cost_e12(market, offer_side(market, proposition[1]), book_price_e4)


def _improve(board: _Board, position: int, proposition: Proposition, share_e12: int) -> None:
    """Move one leg's price inwards by about ``share_e12``, never by more."""
    market = board.event.markets[position]
    side = offer_side(market, proposition[1])
    moved_e4 = round_down(max(share_e12, 0) // 10**8, market.tick_e4)
    board.put(position, side, board.price(position, side) - side.outward * moved_e4)


def _best_trigger(board: _Board, position: int, proposition: Proposition, rest_e12: int, goal_e12: int) -> int | None:
    """The price of the trigger whose edge comes nearest to the goal and stays within the bounds."""
    market = board.event.markets[position]
    side = offer_side(market, proposition[1])
    price_e4 = board.price(position, side)
    best: tuple[int, int] | None = None
    while _LEAST_PRICE_E4 <= price_e4 <= _MOST_PRICE_E4:
        price_e4 -= side.outward * market.tick_e4
        edge_e12 = rest_e12 - _leg_cost(board, position, proposition, price_e4)
        if edge_e12 > _MOST_EDGE_E12:
            break
        if edge_e12 >= _LEAST_EDGE_E12:
            best = min(best or (ONE_E12, 0), (abs(edge_e12 - goal_e12), price_e4))
    return None if best is None else best[1]


def _silence_others(rng: random.Random, board: _Board, cover: Cover, legs: list[int]) -> bool:
    """Retreat whatever would give another cover an edge, or undercut a planned leg. False when there is no room."""
    others = [other for other in covers_of(board.event) if other != cover]
    for _ in range(400):
        pricer = board.pricer()
        pushed: list[tuple[int, Proposition]] = []
        for position, proposition in zip(legs, cover.propositions, strict=True):
            limit_e12 = pricer.cost_of(position, proposition) + CENT_E12 // 5
            for rival, market in enumerate(board.event.markets):
                if rival == position or market.outcome != proposition[0]:
                    continue
                if pricer.cost_of(rival, proposition) < limit_e12:
                    pushed.append((rival, proposition))
        for other in others:
            if pricer.edge_e12(other) > -_MARGIN_E12:
                free = [proposition for proposition in other.propositions if proposition not in cover.propositions]
                chosen = rng.choice(free)
                pushed.append((pricer.cheapest(chosen), chosen))
        if not pushed:
            return True
        position, proposition = pushed[0]
        side = offer_side(board.event.markets[position], proposition[1])
        price_e4 = board.price(position, side) + side.outward * board.step(position)
        if not _LEAST_PRICE_E4 <= price_e4 <= _MOST_PRICE_E4:
            return False
        board.put(position, side, price_e4)
    return False


def plan_arbitrage(
    rng: random.Random, event: Event, quotes: list[tuple[int, int]], cover: Cover, legs: list[int]
) -> Plan | None:
    """Arrange an edge of 0.6 to 2.8 cents on ``cover``, bought at the markets ``legs`` (a position per proposition).

    ``quotes`` are the best prices now, at which no cover has an edge. Returns ``None`` when this choice of legs leaves
    no room; the caller draws another.
    """
    board = _Board(event, list(quotes))
    propositions = cover.propositions
    goal_e12 = rng.randrange(80, 240) * 10**8
    spent = [board.pricer().cost_of(position, each) for position, each in zip(legs, propositions, strict=True)]
    total_e12 = sum(spent) - cover.pays * ONE_E12 + goal_e12
    trigger = rng.randrange(len(legs))
    movers = 1 if cover.shape == "pair" else len(legs)
    # the trigger's share exceeds the edge by a cent, so that there is none without it
    share_e12 = total_e12 if movers == 1 else max(total_e12 // movers, goal_e12 + CENT_E12)
    if movers > 1:
        for index, position in enumerate(legs):
            if index != trigger:
                _improve(board, position, propositions[index], (total_e12 - share_e12) // (movers - 1))
    costs = [
        _leg_cost(board, position, each, board.price(position, offer_side(event.markets[position], each[1])))
        for position, each in zip(legs, propositions, strict=True)
    ]
    rest_e12 = cover.pays * ONE_E12 - (sum(costs) - costs[trigger])
    trigger_price_e4 = _best_trigger(board, legs[trigger], propositions[trigger], rest_e12, goal_e12)
    if trigger_price_e4 is None:
        return None
    trigger_side = offer_side(event.markets[legs[trigger]], propositions[trigger][1])
    waiting_price_e4 = board.price(legs[trigger], trigger_side)
    board.put(legs[trigger], trigger_side, trigger_price_e4)
    for position, proposition in zip(legs, propositions, strict=True):
        side = offer_side(event.markets[position], proposition[1])
        gap_e4 = event.markets[position].tick_e4 * rng.randrange(1, 3)
        room_e4 = board.price(position, side) - side.outward * gap_e4
        if (board.price(position, side.other) - room_e4) * side.other.outward < 0:
            board.put(position, side.other, room_e4)
    if not _silence_others(rng, board, cover, legs):
        return None
    final = board.pricer()
    edge_e12 = final.edge_e12(cover)
    if any(not _LEAST_PRICE_E4 <= price <= _MOST_PRICE_E4 for quote in board.quotes for price in quote):
        return None
    if not _LEAST_EDGE_E12 <= edge_e12 <= _MOST_EDGE_E12:
        return None
    board.put(legs[trigger], trigger_side, waiting_price_e4)
    if board.pricer().edge_e12(cover) > -_MARGIN_E12:
        return None
    board.put(legs[trigger], trigger_side, trigger_price_e4)
    return _moves(rng, board, quotes, cover, legs, trigger, edge_e12)


def _moves(
    rng: random.Random,
    board: _Board,
    before: list[tuple[int, int]],
    cover: Cover,
    legs: list[int],
    trigger: int,
    edge_e12: int,
) -> Plan:
    """The order in which quotes go from ``before`` to the board: retreats, advances of the legs, the trigger."""
    leg_sides = {
        (position, offer_side(board.event.markets[position], each[1]))
        for position, each in zip(legs, cover.propositions, strict=True)
    }
    retreats = []
    for position, (bid_e4, ask_e4) in enumerate(before):
        for side, old_e4 in ((BookSide.BID, bid_e4), (BookSide.ASK, ask_e4)):
            new_e4 = board.price(position, side)
            if new_e4 != old_e4 and (position, side) not in leg_sides:
                retreats.append(Move(position, side, new_e4))
    rng.shuffle(retreats)
    planned: list[Leg] = []
    orders: list[Move] = []
    for position, (_, holds) in zip(legs, cover.propositions, strict=True):
        side = offer_side(board.event.markets[position], holds)
        price_e4 = board.price(position, side)
        size_e2 = min(draw_size_e2(rng, 20, 400), 40_000)
        planned.append(Leg(position, side is BookSide.ASK, offer_price(side, price_e4), size_e2))
        orders.append(Move(position, side, price_e4, size_e2))
    advances = tuple(move for index, move in enumerate(orders) if index != trigger)
    size_e2 = min(leg.size_e2 for leg in planned)
    return Plan(cover, tuple(planned), tuple(retreats), advances, orders[trigger], edge_e12, size_e2)
