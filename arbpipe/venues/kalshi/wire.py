"""Kalshi's frames as they stand on the wire: only the fields that are read, texts still texts.

One tagged union, so that a frame is decoded once, straight into its type. Optional fields are those which the
specification of 2026-10-26 calls optional, those that are younger than the recordings (``clock``,
``sending_ts_ms``), and those without which the message is still safe to read.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Count = Annotated[int, Meta(ge=0)]
Number = Annotated[int, Meta(ge=1)]
YesNo = Literal["yes", "no"]
BidAsk = Literal["bid", "ask"]
Levels = list[tuple[str, str]] | None


class Frame(Struct, frozen=True, gc=False, tag_field="type", kw_only=True):
    sid: Count = 0
    seq: Count = 0


class DeltaMsg(Struct, frozen=True, gc=False):
    market_ticker: str
    price_dollars: str
    delta_fp: str
    side: str
    ts_ms: int | None = None
    clock: int | None = None


class DeltaFrame(Frame, frozen=True, gc=False, tag="orderbook_delta", kw_only=True):
    sid: Number
    seq: Number
    msg: DeltaMsg
    sending_ts_ms: int | None = None


class SnapshotMsg(Struct, frozen=True, gc=False):
    market_ticker: str
    yes_dollars_fp: Levels | UnsetType = UNSET
    no_dollars_fp: Levels | UnsetType = UNSET
    clock: int | None = None


class SnapshotFrame(Frame, frozen=True, gc=False, tag="orderbook_snapshot", kw_only=True):
    sid: Number
    seq: Number
    msg: SnapshotMsg
    sending_ts_ms: int | None = None
    id: int = 0


class Subscription(Struct, frozen=True, gc=False):
    channel: str
    sid: Number


class SubscribedFrame(Frame, frozen=True, gc=False, tag="subscribed", kw_only=True):
    msg: Subscription
    id: int = 0


class UnsubscribedFrame(Frame, frozen=True, gc=False, tag="unsubscribed", kw_only=True):
    id: int = 0


class OkMsg(Struct, frozen=True, gc=False):
    market_tickers: tuple[str, ...] | None = None


class OkFrame(Frame, frozen=True, gc=False, tag="ok", kw_only=True):
    msg: OkMsg | tuple[Subscription, ...] | None = None
    id: int = 0


class ErrorMsg(Struct, frozen=True, gc=False):
    code: int
    msg: str
    market_ticker: str = ""
    market_tickers: tuple[str, ...] | None = None


class ErrorResponseFrame(Frame, frozen=True, gc=False, tag="error", kw_only=True):
    msg: ErrorMsg
    id: int = 0


class TickerMsg(Struct, frozen=True, gc=False):
    market_ticker: str
    price_dollars: str
    yes_bid_dollars: str
    yes_ask_dollars: str
    yes_bid_size_fp: str
    yes_ask_size_fp: str
    ts_ms: int | None = None


class TickerFrame(Frame, frozen=True, gc=False, tag="ticker", kw_only=True):
    msg: TickerMsg


class TradeMsg(Struct, frozen=True, gc=False):
    trade_id: str
    market_ticker: str
    yes_price_dollars: str
    no_price_dollars: str
    count_fp: str
    taker_outcome_side: YesNo
    is_block_trade: bool = False
    ts_ms: int | None = None


class TradeFrame(Frame, frozen=True, gc=False, tag="trade", kw_only=True):
    msg: TradeMsg


class FillMsg(Struct, frozen=True, gc=False):
    trade_id: str
    order_id: str
    market_ticker: str
    is_taker: bool
    yes_price_dollars: str
    count_fp: str
    fee_cost: str
    outcome_side: YesNo
    book_side: BidAsk
    post_position_fp: str
    client_order_id: str | None = None
    exchange_index: int | None = None
    ts_ms: int | None = None
    subaccount: int = 0


class FillFrame(Frame, frozen=True, gc=False, tag="fill", kw_only=True):
    msg: FillMsg


class UserOrderMsg(Struct, frozen=True, gc=False):
    order_id: str
    ticker: str
    status: str
    outcome_side: YesNo
    book_side: BidAsk
    yes_price_dollars: str
    fill_count_fp: str
    remaining_count_fp: str
    initial_count_fp: str
    taker_fill_cost_dollars: str
    maker_fill_cost_dollars: str
    taker_fees_dollars: str
    maker_fees_dollars: str
    client_order_id: str
    exchange_index: int | None = None
    last_update_reason: str | None = None
    last_updated_ts_ms: int | None = None
    subaccount_number: int = 0


class UserOrderFrame(Frame, frozen=True, gc=False, tag="user_order", kw_only=True):
    msg: UserOrderMsg


class PositionMsg(Struct, frozen=True, gc=False):
    market_ticker: str
    position_fp: str
    position_cost_dollars: str
    realized_pnl_dollars: str
    fees_paid_dollars: str
    subaccount: int = 0


class PositionFrame(Frame, frozen=True, gc=False, tag="market_position", kw_only=True):
    msg: PositionMsg


class Range(Struct, frozen=True, gc=False):
    start: str
    end: str
    step: str


class Metadata(Struct, frozen=True, gc=False):
    strike_type: str | None = None
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None
    yes_sub_title: str | None = None


class LifecycleMsg(Struct, frozen=True, gc=False):
    event_type: str
    market_ticker: str
    exchange_index: int | None = None
    open_ts: int | None = None
    close_ts: int | None = None
    determination_ts: int | None = None
    settled_ts: int | None = None
    result: str | None = None
    settlement_value: str | None = None
    price_ranges: tuple[Range, ...] | None = None
    strike_type: str | None = None
    floor_strike: Decimal | None = None
    cap_strike: Decimal | None = None
    yes_sub_title: str | None = None
    additional_metadata: Metadata | None = None


class LifecycleFrame(Frame, frozen=True, gc=False, tag="market_lifecycle_v2", kw_only=True):
    msg: LifecycleMsg


class MultivariateFrame(Frame, frozen=True, gc=False, tag="multivariate_market_lifecycle", kw_only=True):
    msg: LifecycleMsg


class EventMsg(Struct, frozen=True, gc=False):
    event_ticker: str
    series_ticker: str
    title: str
    collateral_return_type: str
    exchange_index: int | None = None


class EventFrame(Frame, frozen=True, gc=False, tag="event_lifecycle", kw_only=True):
    msg: EventMsg


class FeeMsg(Struct, frozen=True, gc=False):
    event_ticker: str
    # Without a default: an absent override must not read as a cleared one.
    fee_type_override: str | None
    fee_multiplier_override: Decimal | None


class FeeFrame(Frame, frozen=True, gc=False, tag="event_fee_update", kw_only=True):
    msg: FeeMsg


class GroupMsg(Struct, frozen=True, gc=False):
    event_type: str
    order_group_id: str
    contracts_limit_fp: str | None = None
    ts_ms: int | None = None


class GroupFrame(Frame, frozen=True, gc=False, tag="order_group_updates", kw_only=True):
    msg: GroupMsg


AnyFrame = (
    DeltaFrame
    | SnapshotFrame
    | OkFrame
    | SubscribedFrame
    | UnsubscribedFrame
    | ErrorResponseFrame
    | TickerFrame
    | TradeFrame
    | FillFrame
    | UserOrderFrame
    | PositionFrame
    | LifecycleFrame
    | MultivariateFrame
    | EventFrame
    | FeeFrame
    | GroupFrame
)


class Header(Struct, frozen=True, gc=False):
    """What can still be read of a frame that is no :data:`AnyFrame`."""

    type: str
    sid: Count = 0
    seq: Count = 0


class MarketNames(Struct, frozen=True, gc=False):
    """The market that a message names, under either of the two keys in use."""

    market_ticker: str = ""
    ticker: str = ""


class MarketOf(Struct, frozen=True, gc=False):
    """Which market a malformed frame is about."""

    msg: MarketNames


class RestBookMsg(Struct, frozen=True, gc=False):
    """Both sides of a REST book."""

    yes_dollars: Levels | UnsetType = UNSET
    no_dollars: Levels | UnsetType = UNSET


class RestBody(Struct, frozen=True, gc=False):
    """The body of ``GET /markets/{ticker}/orderbook``."""

    orderbook_fp: RestBookMsg
