"""From the wire to messages: texts become integers, for all frames but those of the book.

Every function takes the wire frame and raises :class:`FrameError` for a number that does not fit its unit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from arbpipe.fixedpoint import FixedPointError, parse_money_e6, parse_price_e4, parse_qty_e6, parse_size_e2
from arbpipe.identity import Side
from arbpipe.venues.frames import FrameError
from arbpipe.venues.kalshi import wire
from arbpipe.venues.kalshi.messages import (
    BookSide,
    ErrorFrame,
    EventFeeUpdate,
    EventLifecycle,
    Fill,
    MarketLifecycle,
    MarketPosition,
    Ok,
    OrderGroupUpdate,
    PriceRange,
    Subscribed,
    Ticker,
    Trade,
    Unsubscribed,
    UserOrder,
)

__all__ = ["CONVERT", "MAX_DETAIL", "SIDES", "cut", "number_error", "read_number"]

SIDES: Final = {"yes": Side.YES, "no": Side.NO}
#: No message quotes more than this of a frame.
MAX_DETAIL: Final = 200


def read_number(kind: str, parse: Callable[[str], int], text: str, native_id: str) -> int:
    """``parse(text)``; a text that does not fit the unit is a :class:`FrameError` of ``kind``."""
    try:
        return parse(text)
    except FixedPointError as error:
        raise number_error(kind, error, native_id) from None


def _price(text: str, native_id: str) -> int:
    return read_number("price", parse_price_e4, text, native_id)


def _qty(text: str, native_id: str) -> int:
    return read_number("size", parse_qty_e6, text, native_id)


def _money(text: str, native_id: str) -> int:
    return read_number("money", parse_money_e6, text, native_id)


def _subscribed(frame: wire.SubscribedFrame) -> Subscribed:
    return Subscribed(frame.msg.sid, frame.seq, frame.id, frame.msg.channel)


def _unsubscribed(frame: wire.UnsubscribedFrame) -> Unsubscribed:
    return Unsubscribed(frame.sid, frame.seq, frame.id)


def _ok(frame: wire.OkFrame) -> Ok:
    if isinstance(frame.msg, tuple):
        return Ok(frame.sid, frame.seq, frame.id, (), tuple((one.channel, one.sid) for one in frame.msg))
    return Ok(frame.sid, frame.seq, frame.id, (frame.msg and frame.msg.market_tickers) or ())


def _error_frame(frame: wire.ErrorResponseFrame) -> ErrorFrame:
    msg = frame.msg
    tickers = msg.market_tickers or ((msg.market_ticker,) if msg.market_ticker else ())
    return ErrorFrame(frame.sid, frame.seq, frame.id, msg.code, msg.msg, tickers)


def _ticker(frame: wire.TickerFrame) -> Ticker:
    msg = frame.msg
    name = msg.market_ticker
    return Ticker(
        sid=frame.sid,
        seq=frame.seq,
        market_ticker=name,
        last_price_e4=_price(msg.price_dollars, name),
        yes_bid_e4=_price(msg.yes_bid_dollars, name),
        yes_ask_e4=_price(msg.yes_ask_dollars, name),
        yes_bid_size_e2=read_number("size", parse_size_e2, msg.yes_bid_size_fp, name),
        yes_ask_size_e2=read_number("size", parse_size_e2, msg.yes_ask_size_fp, name),
        ts_ms=msg.ts_ms,
    )


def _trade(frame: wire.TradeFrame) -> Trade:
    msg = frame.msg
    name = msg.market_ticker
    return Trade(
        sid=frame.sid,
        seq=frame.seq,
        trade_id=msg.trade_id,
        market_ticker=name,
        yes_price_e4=_price(msg.yes_price_dollars, name),
        no_price_e4=_price(msg.no_price_dollars, name),
        qty_e6=_qty(msg.count_fp, name),
        taker_side=SIDES[msg.taker_outcome_side],
        is_block_trade=msg.is_block_trade,
        ts_ms=msg.ts_ms,
    )


def _fill(frame: wire.FillFrame) -> Fill:
    msg = frame.msg
    name = msg.market_ticker
    return Fill(
        sid=frame.sid,
        seq=frame.seq,
        trade_id=msg.trade_id,
        order_id=msg.order_id,
        client_order_id=msg.client_order_id,
        market_ticker=name,
        exchange_index=msg.exchange_index,
        is_taker=msg.is_taker,
        yes_price_e4=_price(msg.yes_price_dollars, name),
        qty_e6=_qty(msg.count_fp, name),
        fee_e6=_money(msg.fee_cost, name),
        outcome_side=SIDES[msg.outcome_side],
        book_side=BookSide(msg.book_side),
        post_position_e6=_qty(msg.post_position_fp, name),
        ts_ms=msg.ts_ms,
        subaccount=msg.subaccount,
    )


def _user_order(frame: wire.UserOrderFrame) -> UserOrder:
    msg = frame.msg
    name = msg.ticker
    return UserOrder(
        sid=frame.sid,
        seq=frame.seq,
        order_id=msg.order_id,
        client_order_id=msg.client_order_id,
        ticker=name,
        exchange_index=msg.exchange_index,
        status=msg.status,
        outcome_side=SIDES[msg.outcome_side],
        book_side=BookSide(msg.book_side),
        yes_price_e4=_price(msg.yes_price_dollars, name),
        fill_qty_e6=_qty(msg.fill_count_fp, name),
        remaining_qty_e6=_qty(msg.remaining_count_fp, name),
        initial_qty_e6=_qty(msg.initial_count_fp, name),
        taker_fill_cost_e6=_money(msg.taker_fill_cost_dollars, name),
        maker_fill_cost_e6=_money(msg.maker_fill_cost_dollars, name),
        taker_fees_e6=_money(msg.taker_fees_dollars, name),
        maker_fees_e6=_money(msg.maker_fees_dollars, name),
        last_update_reason=msg.last_update_reason,
        last_updated_ms=msg.last_updated_ts_ms,
        subaccount=msg.subaccount_number,
    )


def _position(frame: wire.PositionFrame) -> MarketPosition:
    msg = frame.msg
    name = msg.market_ticker
    return MarketPosition(
        sid=frame.sid,
        seq=frame.seq,
        market_ticker=name,
        position_e6=_qty(msg.position_fp, name),
        position_cost_e6=_money(msg.position_cost_dollars, name),
        realized_pnl_e6=_money(msg.realized_pnl_dollars, name),
        fees_paid_e6=_money(msg.fees_paid_dollars, name),
        subaccount=msg.subaccount,
    )


def _lifecycle(frame: wire.LifecycleFrame | wire.MultivariateFrame) -> MarketLifecycle:
    msg = frame.msg
    name = msg.market_ticker
    # a created market has its strike in additional_metadata, metadata_updated has it on top
    strike = msg if msg.additional_metadata is None else msg.additional_metadata
    ranges = msg.price_ranges
    return MarketLifecycle(
        sid=frame.sid,
        seq=frame.seq,
        event_type=msg.event_type,
        market_ticker=name,
        multivariate=isinstance(frame, wire.MultivariateFrame),
        exchange_index=msg.exchange_index,
        open_s=msg.open_ts,
        close_s=msg.close_ts,
        determination_s=msg.determination_ts,
        settled_s=msg.settled_ts,
        result=msg.result,
        settlement_value=msg.settlement_value,
        price_ranges=None
        if ranges is None
        else tuple(PriceRange(_price(r.start, name), _price(r.end, name), _price(r.step, name)) for r in ranges),
        strike_type=strike.strike_type,
        floor_strike=strike.floor_strike,
        cap_strike=strike.cap_strike,
        yes_sub_title=strike.yes_sub_title,
    )


def _event(frame: wire.EventFrame) -> EventLifecycle:
    msg = frame.msg
    return EventLifecycle(
        frame.sid,
        frame.seq,
        msg.event_ticker,
        msg.series_ticker,
        msg.title,
        msg.collateral_return_type,
        msg.exchange_index,
    )


def _fee_update(frame: wire.FeeFrame) -> EventFeeUpdate:
    msg = frame.msg
    multiplier = msg.fee_multiplier_override
    text = None if multiplier is None else f"{multiplier:f}"
    return EventFeeUpdate(frame.sid, frame.seq, msg.event_ticker, msg.fee_type_override, text)


def _group(frame: wire.GroupFrame) -> OrderGroupUpdate:
    msg = frame.msg
    limit = None if msg.contracts_limit_fp is None else _qty(msg.contracts_limit_fp, "")
    return OrderGroupUpdate(frame.sid, frame.seq, msg.event_type, msg.order_group_id, limit, msg.ts_ms)


Converted = (
    Ok
    | Subscribed
    | Unsubscribed
    | ErrorFrame
    | Ticker
    | Trade
    | Fill
    | UserOrder
    | MarketPosition
    | MarketLifecycle
    | EventLifecycle
    | EventFeeUpdate
    | OrderGroupUpdate
)

#: What to do with a frame of each type.
CONVERT: Final[dict[type[wire.Frame], Callable[[Any], Converted]]] = {
    wire.SubscribedFrame: _subscribed,
    wire.UnsubscribedFrame: _unsubscribed,
    wire.OkFrame: _ok,
    wire.ErrorResponseFrame: _error_frame,
    wire.TickerFrame: _ticker,
    wire.TradeFrame: _trade,
    wire.FillFrame: _fill,
    wire.UserOrderFrame: _user_order,
    wire.PositionFrame: _position,
    wire.LifecycleFrame: _lifecycle,
    wire.MultivariateFrame: _lifecycle,
    wire.EventFrame: _event,
    wire.FeeFrame: _fee_update,
    wire.GroupFrame: _group,
}


def number_error(kind: str, error: FixedPointError, native_id: str) -> FrameError:
    """The :class:`FrameError` for a number that does not fit its unit."""
    return FrameError(kind, cut(f"{native_id}: {error}; ask for a snapshot"), native_id)


def cut(text: str) -> str:
    """``text`` without what exceeds ``MAX_DETAIL``: errors quote frames, and frames may be long."""
    return text if len(text) <= MAX_DETAIL else text[: MAX_DETAIL - 1] + "…"
