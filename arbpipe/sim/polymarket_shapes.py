"""Orders and trades as JSON, for REST and for the user channel (polymarket.md 2.4, 2.5 and 3.4). Pure."""

from __future__ import annotations

import hashlib
import uuid

from arbpipe.sim.polymarket_account import OrderRow, TradeRow
from arbpipe.sim.units import plain_text

__all__ = ["posted", "refused", "order_json", "order_event", "trade_json", "trade_event"]

_SETTLED = ("MINED", "CONFIRMED")


def _side(is_buy: int) -> str:
    return "BUY" if is_buy else "SELL"


def posted(order: OrderRow, status: str, trades: list[TradeRow]) -> dict[str, object]:
    """The answer to an accepted order. FOK and FAK matches come without their transactions since 2026-07-24."""
    dollars, shares = plain_text(order.moved_e6, 6), plain_text(order.matched_e6, 6)
    making, taking = (dollars, shares) if order.is_buy else (shares, dollars)
    answer: dict[str, object] = {
        "success": True,
        "errorMsg": "",
        "orderID": order.id,
        "status": status,
        "makingAmount": making if trades else "",
        "takingAmount": taking if trades else "",
    }
    if trades:
        if order.order_type in ("GTC", "GTD"):
            answer["transactionsHashes"] = [trade.tx_hash for trade in trades]
        answer["tradeIDs"] = [trade.id for trade in trades]
    return answer


def refused(message: str) -> dict[str, object]:
    """The entry of a refused order in the answer to ``POST /orders``."""
    amounts = {"makingAmount": "", "takingAmount": ""}
    return {"success": False, "errorMsg": message, "orderID": "", "status": "", **amounts}


def order_json(order: OrderRow, outcome: str, trades: list[TradeRow]) -> dict[str, object]:
    """An order as the data routes show it; sizes are in shares, times in seconds."""
    return {
        "id": order.id,
        "status": order.status,
        "owner": order.owner,
        "maker_address": order.funder,
        "market": order.condition,
        "asset_id": order.token,
        "side": _side(order.is_buy),
        "original_size": plain_text(order.qty_e6, 6),
        "size_matched": plain_text(order.matched_e6, 6),
        "price": plain_text(order.price_e4, 4),
        "outcome": outcome,
        "expiration": str(order.expiration),
        "order_type": order.order_type,
        "associate_trades": [trade.id for trade in trades],
        "created_at": order.created_ms // 1_000,
    }


def order_event(order: OrderRow, outcome: str, trades: list[TradeRow], kind: str, now_ms: int) -> dict[str, object]:
    """An order on the user channel; ``kind`` is PLACEMENT, UPDATE or CANCELLATION."""
    message = order_json(order, outcome, trades)
    message["created_at"] = str(message["created_at"])
    return {
        "event_type": "order",
        **message,
        "order_owner": order.owner,
        "type": kind,
        "timestamp": str(now_ms),
    }


def _stranger(trade: TradeRow) -> tuple[str, str]:
    """API key and address of whoever stood on the other side: the same for the same order."""
    digest = hashlib.sha256(trade.other_order.encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4)), "0x" + digest[-20:].hex()


def _maker_order(trade: TradeRow, outcome: str) -> dict[str, object]:
    """The maker's part of a trade: ours when we were the maker, else the stranger's."""
    key, address = _stranger(trade)
    is_buy = not trade.is_buy if trade.is_taker else trade.is_buy
    return {
        "order_id": trade.other_order if trade.is_taker else trade.order_id,
        "owner": key if trade.is_taker else trade.owner,
        "maker_address": address if trade.is_taker else trade.funder,
        "matched_amount": plain_text(trade.qty_e6, 6),
        "price": plain_text(trade.price_e4, 4),
        "fee_rate_bps": "0",
        "asset_id": trade.token,
        "outcome": outcome,
        "side": _side(is_buy),
    }


def trade_json(trade: TradeRow, outcome: str) -> dict[str, object]:
    """A trade as ``GET /data/trades`` shows it. The top level is the taker's, whoever we were.

    The legacy ``fee_rate_bps`` is not the rate; the transaction is known once the trade is mined.
    """
    key, address = _stranger(trade)
    taker_buys = trade.is_buy if trade.is_taker else not trade.is_buy
    return {
        "id": trade.id,
        "taker_order_id": trade.order_id if trade.is_taker else trade.other_order,
        "market": trade.condition,
        "asset_id": trade.token,
        "side": _side(taker_buys),
        "size": plain_text(trade.qty_e6, 6),
        "fee_rate_bps": "0",
        "price": plain_text(trade.price_e4, 4),
        "status": f"TRADE_STATUS_{trade.status}",
        "match_time": str(trade.match_ms // 1_000),
        "last_update": str(trade.update_ms // 1_000),
        "outcome": outcome,
        "bucket_index": 0,
        "owner": trade.owner if trade.is_taker else key,
        "maker_address": trade.funder if trade.is_taker else address,
        "transaction_hash": trade.tx_hash if trade.status in _SETTLED else "",
        "maker_orders": [_maker_order(trade, outcome)],
        "trader_side": "TAKER" if trade.is_taker else "MAKER",
    }


def trade_event(trade: TradeRow, outcome: str, now_ms: int) -> dict[str, object]:
    """A trade on the user channel: plain status, and whose stream it is."""
    return {
        "event_type": "trade",
        **trade_json(trade, outcome),
        "type": "TRADE",
        "status": trade.status,
        "trade_owner": trade.owner,
        "timestamp": str(now_ms),
    }
