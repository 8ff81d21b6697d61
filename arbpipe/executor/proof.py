"""The second proof: does this basket pay what the cover promises? By payoffs, not by the catalog's state sets.

The catalog proved the cover with bitmasks; here the least payoffs of the claims actually chosen are added up state by
state, before money is spent (design 2, "Tails decide"). Both would have to be wrong in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Holding", "Proof", "prove_basket", "worst_loss_e6"]


class Holding(NamedTuple):
    """``size_e2`` contracts of a claim for ``cost_e6``."""

    claim: int
    size_e2: int
    cost_e6: int


class Proof(NamedTuple):
    """``pays``: k dollars a set in every regular state. ``floor_e6``: the least the basket pays in any tail."""

    pays: bool
    floor_e6: int
    worst_regular_e6: int


Payoffs = Mapping[int, tuple[Sequence[int], Sequence[int]]]


def prove_basket(k: int, size_e2: int, basket: Sequence[Holding], payoffs: Payoffs, regular: int) -> Proof:
    """Add up what the basket pays at least in each state. ``payoffs``: claim → (least, most) per state, regular first.

    A negative payoff marks a tail that does not touch the claim. A tail that touches no claim of the basket says nothing
    about it; in one that touches some, the others count as nothing. A claim without a known payoff proves nothing.
    """
    if not basket or any(holding.claim not in payoffs for holding in basket) or regular < 1:
        return Proof(False, 0, 0)
    pays = []
    for state in range(len(payoffs[basket[0].claim][0])):
        least = [(holding.size_e2, payoffs[holding.claim][0][state]) for holding in basket]
        if state < regular or any(amount >= 0 for _, amount in least):
            pays.append(sum(size * max(0, amount) for size, amount in least) // 100)
    worst = min(pays[:regular])
    floor = min(pays[regular:], default=worst)
    return Proof(worst >= k * size_e2 * 10_000, floor, worst)


def worst_loss_e6(basket: Sequence[Holding], payoffs: Payoffs, regular: int) -> int:
    """The hard bound (design 9.2): the most that can be lost over every combination of leg fills and every regular
    state, with cash paid, payoff received and bids gone.

    A partly filled leg lies between not filled and filled, and the loss is linear in each leg, so in each state the worst
    is every leg filled that costs more than it pays there at least, and no other.
    """
    worst_e8 = max(
        (
            sum(max(0, 100 * each.cost_e6 - each.size_e2 * payoffs[each.claim][0][state]) for each in basket)
            for state in range(regular)
        ),
        default=0,
    )
    return -(-worst_e8 // 100)
