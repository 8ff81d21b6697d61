"""What an account's resting orders hold back, and what an order would only close; per exchange shard.

Pure reads of :class:`~arbpipe.sim.kalshi_store.Books`, so they hold for the account now and for the account as it was.
"""

from __future__ import annotations

from collections.abc import Callable

from arbpipe.sim.kalshi_store import Books, Status

__all__ = ["available_e6", "closing_e2", "held_e6", "opposite_e2"]

ShardOf = Callable[[str], int]


def opposite_e2(books: Books, ticker: str, buys_yes: bool) -> int:
    """How many contracts of the other side are held, in 1/100."""
    position_e2 = books.position(ticker).position_e2
    return max(0, -position_e2 if buys_yes else position_e2)


def closing_e2(books: Books, ticker: str, buys_yes: bool, *, without: str = "") -> int:
    """How many contracts an order could close, beyond what resting orders (but the one ``without``) already would."""
    promised = sum(
        each.left_e2
        for each in books.orders(Status.RESTING)
        if each.ticker == ticker and each.buys_yes is buys_yes and each.order_id != without
    )
    return max(0, opposite_e2(books, ticker, buys_yes) - promised)


def held_e6(books: Books, shard_of: ShardOf, index: int | None = None, *, without: str = "") -> int:
    """What resting orders hold back: their cost at the limit, less what they would only close. Of one shard, or of all."""
    closing: dict[tuple[str, bool], int] = {}
    total_e6 = 0
    for order in books.orders(Status.RESTING):
        if order.order_id == without or (index is not None and shard_of(order.ticker) != index):
            continue
        key = (order.ticker, order.buys_yes)
        if key not in closing:
            closing[key] = opposite_e2(books, order.ticker, order.buys_yes)
        free_e2 = min(order.left_e2, closing[key])
        closing[key] -= free_e2
        total_e6 += order.unit_e4 * (order.left_e2 - free_e2)
    return total_e6


def available_e6(books: Books, shard_of: ShardOf, index: int | None = None, *, without: str = "") -> int:
    """Cash that is not held back, of one shard or of all."""
    return books.cash(index)[0] - held_e6(books, shard_of, index, without=without)
