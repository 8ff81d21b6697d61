"""The ``msg`` bodies of simulated Kalshi's WebSocket frames (kalshi.md section 2, AsyncAPI 2.0.0 of 2026-10-26).

Pure: rows and books in, JSON objects out. What numbers them and wraps them is :mod:`arbpipe.sim.kalshi_session`.
"""

from __future__ import annotations

from arbpipe.sim.exchange import Book, LevelChange
from arbpipe.sim.kalshi_catalog import Json, ListedMarket, best_levels, count, dollars, money, rfc3339
from arbpipe.sim.kalshi_store import Fill, OrderRow, Position
from arbpipe.sim.market import E6_PER_E2
from arbpipe.sim.units import ONE_E4

__all__ = ["delta", "fill", "position", "snapshot", "ticker", "trade", "user_order"]


def _reported(buys_yes: bool, price_e4: int, use_yes_price: bool) -> int:
    """A level's price as shown: asks are NO bids, at the NO price unless the subscription asked otherwise."""
    return price_e4 if buys_yes or use_yes_price else ONE_E4 - price_e4


def _side(buys_yes: bool) -> str:
    return "yes" if buys_yes else "no"


def _book_side(buys_yes: bool) -> str:
    return "bid" if buys_yes else "ask"


def snapshot(listed: ListedMarket, book: Book, clock: int, *, use_yes_price: bool) -> Json:
    """The whole book, prices ascending; the key of an empty side is absent."""
    msg: Json = {"market_ticker": listed.ticker, "market_id": listed.market_id, "clock": clock}
    for key, buys_yes, levels in zip(("yes_dollars_fp", "no_dollars_fp"), (True, False), book.levels(), strict=True):
        shown = sorted((_reported(buys_yes, price, use_yes_price), size // E6_PER_E2) for price, size in levels)
        if shown:
            msg[key] = [[dollars(price), count(size)] for price, size in shown]
    return msg


def delta(
    listed: ListedMarket, change: LevelChange, clock: int, ts_us: int, client_order_id: str, *, use_yes_price: bool
) -> Json:
    """One level's signed change. ``client_order_id`` is there only when an order of the account caused it."""
    msg: Json = {
        "market_ticker": listed.ticker,
        "market_id": listed.market_id,
        "clock": clock,
        "price_dollars": dollars(_reported(change.buys_yes, change.price_e4, use_yes_price)),
        "delta_fp": count(change.delta_e6 // E6_PER_E2),
        "side": _side(change.buys_yes),
        "ts": rfc3339(ts_us),
        "ts_ms": ts_us // 1_000,
    }
    if client_order_id:
        msg["client_order_id"] = client_order_id
    return msg


def ticker(listed: ListedMarket, book: Book, ts_us: int) -> Json:
    """Best prices and the last trade."""
    bid, ask = best_levels(book)
    bid_e4, bid_e2 = bid or (0, 0)
    ask_e4, ask_e2 = ask or (ONE_E4, 0)
    tape = listed.tape
    return {
        "market_ticker": listed.ticker,
        "market_id": listed.market_id,
        "price_dollars": dollars(tape.last_e4),
        "yes_bid_dollars": dollars(bid_e4),
        "yes_ask_dollars": dollars(ask_e4),
        "volume_fp": count(tape.volume_e2),
        "open_interest_fp": count(tape.volume_e2),
        "dollar_volume": tape.volume_e2 // 100,
        "dollar_open_interest": tape.volume_e2 // 100,
        "yes_bid_size_fp": count(bid_e2),
        "yes_ask_size_fp": count(ask_e2),
        "last_trade_size_fp": count(tape.size_e2),
        "ts": ts_us // 1_000_000,
        "ts_ms": ts_us // 1_000,
        "time": rfc3339(ts_us),
    }


def trade(each: Fill) -> Json:
    """A public trade: a fill without whose it was."""
    taker_buys_yes = each.buys_yes is each.is_taker
    return {
        "trade_id": each.fill_id,
        "market_ticker": each.ticker,
        "yes_price_dollars": dollars(each.price_e4),
        "no_price_dollars": dollars(ONE_E4 - each.price_e4),
        "count_fp": count(each.count_e2),
        "taker_side": _side(taker_buys_yes),
        "taker_outcome_side": _side(taker_buys_yes),
        "taker_book_side": _book_side(taker_buys_yes),
        "is_block_trade": False,
        "ts": each.ts_us // 1_000_000,
        "ts_ms": each.ts_us // 1_000,
    }


def fill(each: Fill, order: OrderRow, exchange_index: int) -> Json:
    """A fill of the account."""
    side = _side(each.buys_yes)
    msg: Json = {
        "trade_id": each.fill_id,
        "order_id": each.order_id,
        "market_ticker": each.ticker,
        "exchange_index": exchange_index,
        "is_taker": each.is_taker,
        "side": side,
        "yes_price_dollars": dollars(each.price_e4),
        "count_fp": count(each.count_e2),
        "fee_cost": money(each.fee_e6),
        "action": "buy",
        "outcome_side": side,
        "book_side": _book_side(each.buys_yes),
        "ts": each.ts_us // 1_000_000,
        "ts_ms": each.ts_us // 1_000,
        "post_position_fp": count(each.position_e2),
        "purchased_side": side,
        "subaccount": 0,
    }
    if order.client_order_id:
        msg["client_order_id"] = order.client_order_id
    return msg


def user_order(order: OrderRow, user_id: str, exchange_index: int) -> Json:
    """An order of the account, after a change."""
    msg: Json = {
        "order_id": order.order_id,
        "user_id": user_id,
        "ticker": order.ticker,
        "exchange_index": exchange_index,
        "status": order.status.value,
        "side": _side(order.buys_yes),
        "is_yes": order.buys_yes,
        "outcome_side": _side(order.buys_yes),
        "book_side": _book_side(order.buys_yes),
        "yes_price_dollars": dollars(order.price_e4),
        "fill_count_fp": count(order.filled_e2),
        "remaining_count_fp": count(order.left_e2),
        "initial_count_fp": count(order.count_e2),
        "taker_fill_cost_dollars": money(order.taker_cost_e6),
        "maker_fill_cost_dollars": money(order.maker_cost_e6),
        "taker_fees_dollars": money(order.taker_fees_e6),
        "maker_fees_dollars": money(order.maker_fees_e6),
        "client_order_id": order.client_order_id,
        "self_trade_prevention_type": order.self_trade,
        "created_time": rfc3339(order.created_us),
        "created_ts_ms": order.created_us // 1_000,
        "last_update_time": rfc3339(order.updated_us),
        "last_updated_ts_ms": order.updated_us // 1_000,
        "subaccount_number": 0,
    }
    if order.expiration_s is not None:
        msg["expiration_time"] = rfc3339(order.expiration_s * 1_000_000)
        msg["expiration_ts_ms"] = order.expiration_s * 1_000
    if order.reason:
        msg["last_update_reason"] = order.reason
    return msg


def position(each: Position, user_id: str) -> Json:
    """A market position of the account, after a change."""
    return {
        "user_id": user_id,
        "market_ticker": each.ticker,
        "position_fp": count(each.position_e2),
        "position_cost_dollars": money(each.cost_e6),
        "realized_pnl_dollars": money(each.realized_e6),
        "fees_paid_dollars": money(each.fees_e6),
        "position_fee_cost_dollars": money(each.fees_e6),
        "volume_fp": count(each.volume_e2),
        "subaccount": 0,
    }
