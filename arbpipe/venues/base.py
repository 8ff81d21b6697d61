"""What the executor knows of a venue: orders, outcomes, fills, positions, cash. Nothing else of a venue reaches it.

An order names its own ``client_id``, a function of (attempt, leg, step): sending the same order again is the same order.
A gateway never guesses: what it cannot know is :attr:`OutcomeState.UNKNOWN`, and unknown stays reserved at its worst.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from arbpipe.identity import Side, Venue

__all__ = ["Action", "Fill", "Gateway", "Order", "Outcome", "OutcomeState", "Position", "TimeInForce"]


class Action(Enum):
    """What an order does with contracts of its side."""

    BUY = "buy"
    SELL = "sell"


class TimeInForce(Enum):
    """How long an order lives: what it cannot take at once is gone, it fills whole or not at all, or it rests, for good
    or until :attr:`Order.expires_ms`."""

    IOC = "immediate_or_cancel"
    FOK = "fill_or_kill"
    GTC = "good_till_canceled"
    GTD = "good_till_date"

    @property
    def rests(self) -> bool:
        """Whether what such an order cannot take at once stays in the book."""
        return self in (TimeInForce.GTC, TimeInForce.GTD)


class OutcomeState(Enum):
    """What became of an order (design 9.5). ``RESTING``: it is in the book, and its fills so far are all that are stated."""

    FILLED = "filled"
    PARTIAL = "partial"
    NONE = "none"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    RESTING = "resting"

    @property
    def settled(self) -> bool:
        """Whether nothing about this order can change any more."""
        return self not in (OutcomeState.UNKNOWN, OutcomeState.RESTING)


@dataclass(frozen=True, slots=True)
class Order:
    """An order for contracts of one side, limited in that side's own price. The executor's are all immediate-or-cancel,
    and the ledger keeps no others.

    ``reduce_only``: it may only lower a position that is held (immediate-or-cancel only). ``size_e2`` contracts,
    ``price_e4`` the worst price.
    ``expires_ms``: when an order that rests until a date leaves the book (CLOCK_REALTIME); 0 for every other.
    ``created_ms``: when the intent was made (CLOCK_REALTIME); stored with it, so that what a venue computes from it (an order
    hash) is the same after a restart.
    """

    client_id: str
    venue: Venue
    uid: int
    native_id: str
    side: Side
    action: Action
    size_e2: int
    price_e4: int
    reduce_only: bool = False
    created_ms: int = 0
    time_in_force: TimeInForce = TimeInForce.IOC
    expires_ms: int = 0


@dataclass(frozen=True, slots=True)
class Fill:
    """One fill in the venue's own figures. ``cash_e6`` is what it did to our cash, fee included (buys are negative).

    ``released_e6``: so many pairs of YES and NO were netted by this fill and paid out at a dollar each, which is part of
    ``cash_e6``; negative where selling what was netted before took that dollar again. ``final``: it cannot be reverted.
    """

    fill_id: str
    qty_e6: int
    price_e4: int
    fee_e6: int
    cash_e6: int
    released_e6: int = 0
    final: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the venue says about an order. ``reverted``: fills it stated earlier and now says never happened (a trade that
    failed on chain); only the venue's explicit word puts a fill there, never its absence from a list."""

    state: OutcomeState
    fills: tuple[Fill, ...] = ()
    reason: str = ""
    reverted: tuple[str, ...] = ()

    @property
    def qty_e6(self) -> int:
        """Contracts filled."""
        return sum(fill.qty_e6 for fill in self.fills)


@dataclass(frozen=True, slots=True)
class Position:
    """What the account holds of one instrument; a venue that nets has at most one of the two."""

    uid: int
    yes_e6: int
    no_e6: int


class Gateway(Protocol):
    """Orders of one venue."""

    venue: Venue

    @property
    def sent_ns(self) -> int:
        """When the latest order's request was written (CLOCK_MONOTONIC); 0 where nothing ever is."""
        ...

    async def open(self) -> None:
        """Connect and make sure that orders could be sent; called once before anything else.

        Raises:
            ArbpipeError: the venue cannot be reached or refuses the credentials.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; nothing is cancelled."""
        ...

    async def place(self, order: Order) -> Outcome:
        """Send an order and wait for its outcome. Idempotent by ``client_id``. Never raises for what a venue does."""
        ...

    async def lookup(self, order: Order) -> Outcome:
        """What became of an order that may or may not have been sent; UNKNOWN without the venue's own evidence."""
        ...

    async def news(self, timeout_s: float, orders: Sequence[Order] = ()) -> None:
        """Wait until the venue has news of one of these orders (without them: of any of ours), ``timeout_s`` at most.

        What the news is, :meth:`lookup` says; there may be none. News since the last look at one of the orders counts, so
        nothing is missed between asking and waiting. Never raises for what a venue does.
        """
        ...

    async def positions(self) -> tuple[Position, ...]:
        """Everything the account holds, as the venue states it."""
        ...

    async def cash_e6(self) -> int:
        """The account's cash, as the venue states it."""
        ...
