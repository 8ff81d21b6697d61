"""What an order is, and what a matching engine says happened to it: the words of :mod:`arbpipe.sim.exchange`.

Prices are YES prices in 1/10,000 dollar (``_e4``), quantities 1/1,000,000 contract (``_e6``), cash 1/1,000,000 dollar.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

__all__ = ["ONE_E4", "Tif", "SelfTrade", "End", "Order", "Resting", "Match", "LevelChange", "Execution"]

ONE_E4: Final = 10_000


class Tif(Enum):
    """How long an order lives."""

    IOC = "IOC"  #: takes what it can, the rest is cancelled
    FOK = "FOK"  #: all at once or nothing
    GTC = "GTC"  #: takes what it can, the rest stands in the book


class SelfTrade(Enum):
    """What happens where an order would trade with another order of its own account."""

    TAKER = "taker"  #: the incoming order ends there; what it took before stands
    MAKER = "maker"  #: the resting order is cancelled and the incoming one goes on
    ALLOW = "allow"  #: they trade


class End(Enum):
    """Where a submitted order stands after :meth:`Book.execute`."""

    FILLED = "filled"  #: nothing is left of it (a budget counts as spent when it buys no further lot)
    RESTING = "resting"  #: the rest stands in the book (GTC)
    CANCELLED = "cancelled"  #: the rest of an IOC order was cancelled
    KILLED = "killed"  #: a FOK order could not be filled in full: nothing traded
    SELF_TRADE = "self_trade"  #: the rest was cancelled where it met an order of its own account
    POST_ONLY = "post_only"  #: it would have traded and must not: nothing happened


@dataclass(frozen=True, slots=True)
class Order:
    """An order of an account, limited by ``price_e4`` (a YES price) and ``qty_e6``.

    ``max_cash_e6``: at most this much cash before fees, counted in the price of the side that is bought (YES for
    ``buys_yes``, else NO); only for IOC and FOK. A FOK order with a budget is filled in full when the budget or the
    quantity is used up. ``lot_e6``: fills that the budget limits are floored to a multiple of this.
    """

    order_id: str
    account: str
    buys_yes: bool
    price_e4: int
    qty_e6: int
    tif: Tif = Tif.IOC
    max_cash_e6: int | None = None
    lot_e6: int = 1
    post_only: bool = False
    self_trade: SelfTrade = SelfTrade.TAKER

    def __post_init__(self) -> None:
        if not 0 < self.price_e4 < ONE_E4:
            raise ValueError(
                f"order {self.order_id}: price {self.price_e4} is outside 1 … {ONE_E4 - 1} (1/10,000 dollar)"
            )
        if self.qty_e6 <= 0 or self.lot_e6 <= 0:
            raise ValueError(f"order {self.order_id}: quantity {self.qty_e6} and lot {self.lot_e6} must be above zero")
        if self.max_cash_e6 is not None and (self.max_cash_e6 <= 0 or self.tif is Tif.GTC):
            raise ValueError(
                f"order {self.order_id}: a budget ({self.max_cash_e6}) must be above zero and the order IOC or FOK"
            )
        if self.post_only and self.tif is not Tif.GTC:
            raise ValueError(f"order {self.order_id}: post_only needs GTC, not {self.tif.value}")


@dataclass(slots=True)
class Resting:
    """An order that stands in the book and what is left of it, in 1/1,000,000 contract."""

    order: Order
    left_e6: int


@dataclass(frozen=True, slots=True)
class Match:
    """One trade, at the price of the side that rested. An order id and account of ``None`` are the market maker's.

    ``number`` counts the book's matches from 1.
    """

    number: int
    market: str
    taker_order_id: str | None
    taker_account: str | None
    maker_order_id: str | None
    maker_account: str | None
    taker_buys_yes: bool
    price_e4: int
    qty_e6: int


@dataclass(frozen=True, slots=True)
class LevelChange:
    """The new total size of one level, and by how much it moved; ``qty_e6`` 0 means that the level is gone.

    ``buys_yes``: the side of the book (bids or asks). All changes of one action share ``action``, which counts up.
    ``order_id``: the order that was submitted or cancelled in that action, None for the market maker's quote.
    """

    market: str
    buys_yes: bool
    price_e4: int
    qty_e6: int
    delta_e6: int
    action: int
    order_id: str | None


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of a submitted order. ``cancelled`` are own resting orders that self-trade prevention removed."""

    end: End
    matches: tuple[Match, ...]
    left_e6: int
    cancelled: tuple[Resting, ...] = ()

    @property
    def filled_e6(self) -> int:
        """How much was traded."""
        return sum(match.qty_e6 for match in self.matches)
