"""The covers of an event and what they cost: which sets of contracts together pay at least ``pays`` dollars.

A proposition is (outcome, holds). The rule is the project's design, section 2: a pair covers {X, not X}; exactly one of
n covers all YES (pays 1) and all NO (pays n - 1); a ladder whose rungs each imply the next covers {later, not earlier}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arbpipe.sim.fees import cost_e12
from arbpipe.sim.listing import Event, Kind, Market
from arbpipe.sim.quotes import Book, BookSide
from arbpipe.sim.units import ONE_E4, ONE_E12

__all__ = [
    "Proposition",
    "Cover",
    "Quotes",
    "covers_of",
    "offer_side",
    "offer_price",
    "offer_cost_e12",
    "Pricer",
    "quotes_of",
]

Proposition = tuple[int, bool]
#: Best bid and best ask for YES in 1/10,000 dollar, for each market of the event.
Quotes = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Cover:
    """Propositions of which at least ``pays`` are true however the event ends. ``shape`` names the reason."""

    shape: str
    propositions: tuple[Proposition, ...]
    pays: int


def covers_of(event: Event) -> tuple[Cover, ...]:
    """Every cover that the event's relations give, each once."""
    count = event.outcomes
    covers = [Cover("pair", ((outcome, True), (outcome, False)), 1) for outcome in range(count)]
    if event.kind is Kind.PARTITION:
        covers.append(Cover("sum_yes", tuple((outcome, True) for outcome in range(count)), 1))
        covers.append(Cover("sum_no", tuple((outcome, False) for outcome in range(count)), count - 1))
    elif event.kind is Kind.LADDER:
        for earlier in range(count):
            for later in range(earlier + 1, count):
                covers.append(Cover("ladder", ((later, True), (earlier, False)), 1))
    return tuple(covers)


def offer_side(market: Market, holds: bool) -> BookSide:
    """The side of the YES book whose orders offer this proposition: asks offer YES, bids offer NO."""
    return BookSide.ASK if holds != market.inverted else BookSide.BID


def offer_price(side: BookSide, book_price_e4: int) -> int:
    """What the taker pays, in 1/10,000 dollar, for one contract offered by a level of that side."""
    return book_price_e4 if side is BookSide.ASK else ONE_E4 - book_price_e4


def offer_cost_e12(market: Market, side: BookSide, book_price_e4: int) -> int:
    """Price and fee of one contract offered by a level of that side, in 10^-12 dollar."""
    return cost_e12(market.rate_e4, offer_price(side, book_price_e4))


def quotes_of(books: Sequence[Book]) -> list[tuple[int, int]]:
    """The best prices of every book."""
    return [(book.touch(BookSide.BID), book.touch(BookSide.ASK)) for book in books]


class Pricer:
    """The cheapest offer of each proposition of one event at given quotes."""

    def __init__(self, event: Event, quotes: Quotes) -> None:
        self._event = event
        self._quotes = quotes

    def cost_of(self, position: int, proposition: Proposition) -> int:
        """What one market's offer of the proposition costs, in 10^-12 dollar with the fee."""
        market = self._event.markets[position]
        side = offer_side(market, proposition[1])
        bid_e4, ask_e4 = self._quotes[position]
        return offer_cost_e12(market, side, ask_e4 if side is BookSide.ASK else bid_e4)

    def cheapest(self, proposition: Proposition) -> int:
        """The position of the market whose offer of the proposition costs least."""
        candidates = [i for i, market in enumerate(self._event.markets) if market.outcome == proposition[0]]
        return min(candidates, key=lambda position: self.cost_of(position, proposition))

    def edge_e12(self, cover: Cover) -> int:
        """Payout less the cheapest cost of every proposition, in 10^-12 dollar a contract; below 0 without an edge."""
        cost = sum(self.cost_of(self.cheapest(proposition), proposition) for proposition in cover.propositions)
        return cover.pays * ONE_E12 - cost
