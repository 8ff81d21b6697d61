"""An order as Kalshi takes it (kalshi.md 3.4, V2): its request, its checks, and what a batch answers.

Every number is a string. There is one book a market, quoted on YES: a bid buys YES, an ask sells it, which is buying NO at
one dollar less the price.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from arbpipe.fixedpoint import ONE_DOLLAR_E4, format_price, format_size
from arbpipe.identity import Side, Venue
from arbpipe.venues.base import Order, TimeInForce
from arbpipe.venues.kalshi.netting import buys_yes

__all__ = [
    "BATCH_PATH",
    "ORDERS_PATH",
    "BatchAnswer",
    "BatchEntry",
    "BatchError",
    "Cancelled",
    "batch_body",
    "batch_cancel_body",
    "fence_body",
    "order_body",
    "order_refusal",
]

ORDERS_PATH: Final = "/portfolio/events/orders"
BATCH_PATH: Final = "/portfolio/events/orders/batched"
_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
#: The prices at which nobody trades who does not give contracts away; a cent is on every grid (kalshi.md 3.3).
_FENCE_BID_E4: Final = 100
_FENCE_ASK_E4: Final = ONE_DOLLAR_E4 - 100


class _NewOrder(Struct, frozen=True, omit_defaults=True):
    """The body of ``POST /portfolio/events/orders``."""

    ticker: str
    client_order_id: str
    side: str
    count: str
    price: str
    # no default: it must be written
    time_in_force: str
    self_trade_prevention_type: str
    reduce_only: bool = False
    exchange_index: int | None = None


class BatchError(Struct, frozen=True):
    """Why one order of a batch was refused."""

    code: str = ""
    message: str = ""
    details: str = ""


class BatchEntry(Struct, frozen=True):
    """What a batch answers for one of its orders: either the order's figures or an error."""

    order_id: str | None = None
    client_order_id: str | None = None
    fill_count: str | None = None
    remaining_count: str | None = None
    reduced_by: str | None = None
    error: BatchError | None = None


class BatchAnswer(Struct, frozen=True):
    """The answer to a batch, of creations or of cancellations."""

    orders: list[BatchEntry]


class Cancelled(Struct, frozen=True):
    """The answer 200 to a cancellation."""

    order_id: str
    reduced_by: str


class _CancelEntry(Struct, frozen=True, omit_defaults=True):
    order_id: str
    market_ticker: str
    subaccount: int
    exchange_index: int | None = None


def order_refusal(order: Order) -> str:
    """Why the venue could never take this order; empty if it could."""
    if order.venue is not Venue.KALSHI:
        return f"the order is for {order.venue.label}"
    if not _CLIENT_ID.fullmatch(order.client_id):
        return f"client id {order.client_id[:80]!r} is not 1 … 64 of A-Z a-z 0-9 _ -"
    if not 0 < order.price_e4 < ONE_DOLLAR_E4:
        return f"price {order.price_e4}/10000 is not inside 0 … 1 dollar"
    if order.size_e2 <= 0:
        return f"size {order.size_e2}/100 is not positive"
    if order.reduce_only and order.time_in_force is not TimeInForce.IOC:
        return f"reduce_only goes with immediate-or-cancel alone, not with {order.time_in_force.value}"
    if order.time_in_force is TimeInForce.GTD:
        return "orders that rest until a date are not sent here"
    return "" if order.native_id else "the order names no ticker"


def _new(order: Order, shard: int | None, *, reduce_only: bool) -> _NewOrder:
    return _NewOrder(
        ticker=order.native_id,
        client_order_id=order.client_id,
        side="bid" if buys_yes(order.side, order.action) else "ask",
        count=format_size(order.size_e2),
        price=format_price(order.price_e4 if order.side is Side.YES else ONE_DOLLAR_E4 - order.price_e4),
        time_in_force=order.time_in_force.value,
        self_trade_prevention_type="taker_at_cross",
        reduce_only=reduce_only,
        exchange_index=shard,
    )


def order_body(order: Order, shard: int | None, *, reduce_only: bool) -> bytes:
    """The request of an order. ``shard``: its market's exchange index where it is known."""
    return msgspec.json.encode(_new(order, shard, reduce_only=reduce_only))


def fence_body(order: Order, shard: int | None) -> bytes:
    """An order that uses up ``order``'s client id and fills nothing: a hundredth of a contract on the same side of the book,
    at the price where nobody trades."""
    bid = buys_yes(order.side, order.action)
    return msgspec.json.encode(
        _NewOrder(
            ticker=order.native_id,
            client_order_id=order.client_id,
            side="bid" if bid else "ask",
            count=format_size(1),
            price=format_price(_FENCE_BID_E4 if bid else _FENCE_ASK_E4),
            time_in_force=TimeInForce.IOC.value,
            self_trade_prevention_type="taker_at_cross",
            exchange_index=shard,
        )
    )


def batch_body(orders: Sequence[tuple[Order, int | None, bool]]) -> bytes:
    """The request of several orders: each with its shard and whether it is reduce-only."""
    return msgspec.json.encode({"orders": [_new(order, shard, reduce_only=only) for order, shard, only in orders]})


def batch_cancel_body(orders: Sequence[tuple[str, str, int | None]]) -> bytes:
    """The request that cancels several orders: each by its id, with its market and the market's shard."""
    return msgspec.json.encode({"orders": [_CancelEntry(name, ticker, 0, shard) for name, ticker, shard in orders]})
