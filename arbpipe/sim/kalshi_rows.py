"""The rows of simulated Kalshi's account: orders, fills, positions, settlements, transfers.

All integers: prices 1/10,000 dollar (``_e4``), counts 1/100 contract (``_e2``), money 1/1,000,000 dollar (``_e6``), moments
in microseconds since the epoch (``_us``). A new member goes to the end and has a default: files of older versions gain it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Fill", "OrderRow", "Position", "Row", "Settlement", "Status", "Transfer"]


class Status(Enum):
    """Where an order stands; the value is the word on the wire."""

    RESTING = "resting"
    CANCELED = "canceled"
    EXECUTED = "executed"


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order that was accepted. ``number`` counts them from 1. ``carried_e6`` is the fee accumulator."""

    order_id: str
    number: int
    client_order_id: str
    ticker: str
    buys_yes: bool
    price_e4: int
    count_e2: int
    filled_e2: int
    left_e2: int
    status: Status
    self_trade: str
    created_us: int
    updated_us: int
    expiration_s: int | None = None
    taker_cost_e6: int = 0
    maker_cost_e6: int = 0
    taker_fees_e6: int = 0
    maker_fees_e6: int = 0
    carried_e6: int = 0
    reason: str = ""
    cancel_on_pause: bool = False
    post_only: bool = False

    @property
    def unit_e4(self) -> int:
        """What one contract costs at the limit, on the side that is bought."""
        return self.price_e4 if self.buys_yes else 10_000 - self.price_e4


@dataclass(frozen=True, slots=True)
class Fill:
    """A fill of one of the account's orders. ``position_e2`` is the position after it, ``released_e2`` the pairs paid out."""

    fill_id: str
    number: int
    order_id: str
    ticker: str
    buys_yes: bool
    price_e4: int
    count_e2: int
    is_taker: bool
    fee_e6: int
    position_e2: int
    released_e2: int
    cash_e6: int
    ts_us: int


@dataclass(frozen=True, slots=True)
class Position:
    """One signed number per market: above zero YES, below zero NO. ``cost_e6`` is what the open contracts cost."""

    ticker: str
    position_e2: int = 0
    cost_e6: int = 0
    traded_e6: int = 0
    realized_e6: int = 0
    fees_e6: int = 0
    volume_e2: int = 0
    updated_us: int = 0


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a settled market paid. ``value_e4``: what one YES paid; ``revenue_e6`` is whole cents and went to the cash."""

    ticker: str
    number: int
    event_ticker: str
    exchange_index: int
    result: str
    value_e4: int
    yes_e2: int
    yes_cost_e6: int
    no_e2: int
    no_cost_e6: int
    fees_e6: int
    revenue_e6: int
    ts_us: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """Cash that goes from one exchange shard to another; it leaves and arrives in one step, at ``due_us`` or later."""

    transfer_id: str
    number: int
    client_transfer_id: str
    source: int
    destination: int
    amount_e6: int
    complete: bool
    created_us: int
    due_us: int


Row = OrderRow | Fill | Position | Settlement | Transfer
