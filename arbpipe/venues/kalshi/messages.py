"""The messages of Kalshi's WebSocket and of its REST book, as values in our units.

Every WebSocket message has ``sid`` and ``seq``, 0 where the frame has none, so that the sequence is checked before
anything is routed by type. Fields that nothing here needs are not kept. ``_ms`` and ``_s`` are the venue's clock.
Import them from :mod:`arbpipe.venues.kalshi.codec`.
"""

from __future__ import annotations

from decimal import Decimal
from enum import Enum

from msgspec import Struct

from arbpipe.identity import Side

__all__ = [
    "BookSide",
    "Delta",
    "ErrorFrame",
    "EventFeeUpdate",
    "EventLifecycle",
    "Fill",
    "Level",
    "MarketLifecycle",
    "MarketPosition",
    "Ok",
    "OrderGroupUpdate",
    "PriceRange",
    "RestBook",
    "Snapshot",
    "Subscribed",
    "Ticker",
    "Trade",
    "UnknownFrame",
    "Unsubscribed",
    "UserOrder",
]

#: ``(price_e4, size_e2)``.
Level = tuple[int, int]


class BookSide(Enum):
    """The side of the one book, which is quoted on YES: a bid buys YES, an ask sells YES (it buys NO)."""

    BID = "bid"
    ASK = "ask"


class Snapshot(Struct, frozen=True, gc=False):
    """The whole book of one market. Prices are as sent: NO levels are mirrored only by the book.

    ``clock`` is None in frames of before October 2026 and 0 where the market has no recorded change. ``id`` is the
    command that asked (``get_snapshot``), else 0.
    """

    sid: int
    seq: int
    market_ticker: str
    yes: tuple[Level, ...]
    no: tuple[Level, ...]
    clock: int | None = None
    sending_ts_ms: int | None = None
    id: int = 0


class Delta(Struct, frozen=True, gc=False):
    """A signed change of one level; the price is as sent."""

    sid: int
    seq: int
    market_ticker: str
    price_e4: int
    delta_e2: int
    side: Side
    ts_ms: int | None = None
    clock: int | None = None
    sending_ts_ms: int | None = None


class RestBook(Struct, frozen=True, gc=False):
    """The book of ``GET /markets/{ticker}/orderbook``: own-side prices always, levels in the order sent."""

    yes: tuple[Level, ...]
    no: tuple[Level, ...]


class Subscribed(Struct, frozen=True, gc=False):
    """A channel got its ``sid``. The frame itself carries no number."""

    sid: int
    seq: int
    id: int
    channel: str


class Unsubscribed(Struct, frozen=True, gc=False):
    """A ``sid`` ended."""

    sid: int
    seq: int
    id: int


class Ok(Struct, frozen=True, gc=False):
    """A command was done. ``subscriptions`` is the answer to ``list_subscriptions``: ``(channel, sid)``."""

    sid: int
    seq: int
    id: int
    market_tickers: tuple[str, ...] = ()
    subscriptions: tuple[tuple[str, int], ...] = ()


class ErrorFrame(Struct, frozen=True, gc=False):
    """The venue refused a command or ended a subscription (codes: kalshi.md 2.3)."""

    sid: int
    seq: int
    id: int
    code: int
    text: str
    market_tickers: tuple[str, ...] = ()

    @property
    def terminal(self) -> bool:
        """True if the subscription is over: 10 channel error, 25 buffer overflow. Subscribe again."""
        return self.code in (10, 25)


class UnknownFrame(Struct, frozen=True, gc=False):
    """A frame of a type that nothing here reads. Its ``seq`` counts all the same."""

    type: str
    sid: int
    seq: int


class Ticker(Struct, frozen=True, gc=False):
    """The venue's own summary of one market."""

    sid: int
    seq: int
    market_ticker: str
    last_price_e4: int
    yes_bid_e4: int
    yes_ask_e4: int
    yes_bid_size_e2: int
    yes_ask_size_e2: int
    ts_ms: int | None


class Trade(Struct, frozen=True, gc=False):
    """A public trade; ``taker_side`` is the side that the taker bought."""

    sid: int
    seq: int
    trade_id: str
    market_ticker: str
    yes_price_e4: int
    no_price_e4: int
    qty_e6: int
    taker_side: Side
    is_block_trade: bool
    ts_ms: int | None


class Fill(Struct, frozen=True, gc=False):
    """One of our fills. ``trade_id`` is its identity; ``post_position_e6`` is signed, negative for NO."""

    sid: int
    seq: int
    trade_id: str
    order_id: str
    client_order_id: str | None
    market_ticker: str
    exchange_index: int | None
    is_taker: bool
    yes_price_e4: int
    qty_e6: int
    fee_e6: int
    outcome_side: Side
    book_side: BookSide
    post_position_e6: int
    ts_ms: int | None
    subaccount: int


class UserOrder(Struct, frozen=True, gc=False):
    """The state of one of our orders. ``status`` and ``last_update_reason`` are the venue's words, new ones too."""

    sid: int
    seq: int
    order_id: str
    client_order_id: str
    ticker: str
    exchange_index: int | None
    status: str
    outcome_side: Side
    book_side: BookSide
    yes_price_e4: int
    fill_qty_e6: int
    remaining_qty_e6: int
    initial_qty_e6: int
    taker_fill_cost_e6: int
    maker_fill_cost_e6: int
    taker_fees_e6: int
    maker_fees_e6: int
    last_update_reason: str | None
    last_updated_ms: int | None
    subaccount: int


class MarketPosition(Struct, frozen=True, gc=False):
    """Our position in one market; ``position_e6`` is negative for NO."""

    sid: int
    seq: int
    market_ticker: str
    position_e6: int
    position_cost_e6: int
    realized_pnl_e6: int
    fees_paid_e6: int
    subaccount: int


class PriceRange(Struct, frozen=True, gc=False):
    """A band of YES prices and the step of its grid."""

    start_e4: int
    end_e4: int
    step_e4: int


class MarketLifecycle(Struct, frozen=True, gc=False):
    """A market was created, stopped, moved, determined or settled. ``event_type`` is the venue's word.

    ``result`` and ``settlement_value`` (dollars, as sent) are provisional until REST says ``finalized``. Strikes are
    exact decimals. Times are seconds.
    """

    sid: int
    seq: int
    event_type: str
    market_ticker: str
    multivariate: bool
    exchange_index: int | None
    open_s: int | None
    close_s: int | None
    determination_s: int | None
    settled_s: int | None
    result: str | None
    settlement_value: str | None
    price_ranges: tuple[PriceRange, ...] | None
    strike_type: str | None
    floor_strike: Decimal | None
    cap_strike: Decimal | None
    yes_sub_title: str | None


class EventLifecycle(Struct, frozen=True, gc=False):
    """An event was listed."""

    sid: int
    seq: int
    event_ticker: str
    series_ticker: str
    title: str
    collateral_return_type: str
    exchange_index: int | None


class EventFeeUpdate(Struct, frozen=True, gc=False):
    """An event's fee overrides; None clears one. ``fee_multiplier_override`` is a plain decimal text."""

    sid: int
    seq: int
    event_ticker: str
    fee_type_override: str | None
    fee_multiplier_override: str | None


class OrderGroupUpdate(Struct, frozen=True, gc=False):
    """An order group changed; ``event_type`` is the venue's word."""

    sid: int
    seq: int
    event_type: str
    order_group_id: str
    limit_qty_e6: int | None
    ts_ms: int | None
