"""The objects of simulated Kalshi's portfolio answers (OpenAPI 3.34.0), and paging over lists."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import TypeVar

from arbpipe.sim.kalshi_catalog import Json, count, dollars, money, rfc3339
from arbpipe.sim.kalshi_errors import refuse_query
from arbpipe.sim.kalshi_store import Fill, OrderRow, Position, Settlement
from arbpipe.sim.units import ONE_E4

__all__ = [
    "csv",
    "event_position",
    "fill_object",
    "flag",
    "integer",
    "market_position",
    "moments",
    "order_object",
    "page",
    "settlement_object",
]

Item = TypeVar("Item")


def _side(buys_yes: bool) -> str:
    return "yes" if buys_yes else "no"


def order_object(order: OrderRow, user_id: str, exchange_index: int) -> Json:
    """An order; one that is not resting has nothing remaining, as recorded."""
    return {
        "order_id": order.order_id,
        "user_id": user_id,
        "client_order_id": order.client_order_id,
        "ticker": order.ticker,
        "side": _side(order.buys_yes),
        "action": "buy",
        "outcome_side": _side(order.buys_yes),
        "book_side": "bid" if order.buys_yes else "ask",
        "type": "limit",
        "status": order.status.value,
        "yes_price_dollars": dollars(order.price_e4),
        "no_price_dollars": dollars(ONE_E4 - order.price_e4),
        "initial_count_fp": count(order.count_e2),
        "fill_count_fp": count(order.filled_e2),
        "remaining_count_fp": count(order.left_e2),
        "taker_fill_cost_dollars": money(order.taker_cost_e6),
        "maker_fill_cost_dollars": money(order.maker_cost_e6),
        "taker_fees_dollars": money(order.taker_fees_e6),
        "maker_fees_dollars": money(order.maker_fees_e6),
        "expiration_time": None if order.expiration_s is None else rfc3339(order.expiration_s * 1_000_000),
        "created_time": rfc3339(order.created_us),
        "last_update_time": rfc3339(order.updated_us),
        "self_trade_prevention_type": order.self_trade,
        "cancel_order_on_pause": order.cancel_on_pause,
        "subaccount_number": 0,
        "exchange_index": exchange_index,
    }


def fill_object(fill: Fill, exchange_index: int) -> Json:
    """A fill of the account."""
    return {
        "fill_id": fill.fill_id,
        "trade_id": fill.fill_id,
        "exchange_index": exchange_index,
        "order_id": fill.order_id,
        "ticker": fill.ticker,
        "market_ticker": fill.ticker,
        "side": _side(fill.buys_yes),
        "action": "buy",
        "outcome_side": _side(fill.buys_yes),
        "book_side": "bid" if fill.buys_yes else "ask",
        "count_fp": count(fill.count_e2),
        "yes_price_dollars": dollars(fill.price_e4),
        "no_price_dollars": dollars(ONE_E4 - fill.price_e4),
        "is_taker": fill.is_taker,
        "fee_cost": money(fill.fee_e6),
        "created_time": rfc3339(fill.ts_us),
        "subaccount_number": 0,
        "ts": fill.ts_us // 1_000_000,
    }


def market_position(position: Position, exchange_index: int) -> Json:
    """The position in one market."""
    return {
        "ticker": position.ticker,
        "exchange_index": exchange_index,
        "position_fp": count(position.position_e2),
        "total_traded_dollars": money(position.traded_e6),
        "market_exposure_dollars": money(position.cost_e6),
        "realized_pnl_dollars": money(position.realized_e6),
        "fees_paid_dollars": money(position.fees_e6),
        "last_updated_ts": rfc3339(position.updated_us),
    }


def event_position(event_ticker: str, positions: Sequence[Position]) -> Json:
    """The positions of one event together."""
    return {
        "event_ticker": event_ticker,
        "total_cost_dollars": money(sum(each.traded_e6 for each in positions)),
        "total_cost_shares_fp": count(sum(each.volume_e2 for each in positions)),
        "event_exposure_dollars": money(sum(each.cost_e6 for each in positions)),
        "realized_pnl_dollars": money(sum(each.realized_e6 for each in positions)),
        "fees_paid_dollars": money(sum(each.fees_e6 for each in positions)),
    }


def settlement_object(settlement: Settlement) -> Json:
    """What a settled market paid; revenue and value are cents, the value rounded down."""
    return {
        "ticker": settlement.ticker,
        "exchange_index": settlement.exchange_index,
        "event_ticker": settlement.event_ticker,
        "market_result": settlement.result,
        "yes_count_fp": count(settlement.yes_e2),
        "yes_total_cost_dollars": money(settlement.yes_cost_e6),
        "no_count_fp": count(settlement.no_e2),
        "no_total_cost_dollars": money(settlement.no_cost_e6),
        "revenue": settlement.revenue_e6 // 10_000,
        "settled_time": rfc3339(settlement.ts_us),
        "fee_cost": money(settlement.fees_e6),
        "value": settlement.value_e4 // 100,
    }


def csv(text: str | None) -> set[str]:
    """The parts of a list that commas separate."""
    return {each for each in (text or "").split(",") if each}


def moments(query: Mapping[str, str], operation: str, name: str = "") -> tuple[int, int]:
    """``min_ts`` and ``max_ts``, or those of a name (``min_close_ts``), in Unix seconds.

    Raises:
        Refusal: 400, one is no such number.
    """
    ever = 1 << 40
    stem = f"{name}_ts" if name else "ts"
    least = integer(query, f"min_{stem}", operation, default=0, least=0, most=ever)
    return least, integer(query, f"max_{stem}", operation, default=ever, least=0, most=ever)


def integer(query: Mapping[str, str], name: str, operation: str, *, default: int, least: int, most: int) -> int:
    """A number of the query string.

    Raises:
        Refusal: 400 in the recorded shape: it is no number (``numeric``), too large (``lte``) or too small (``gte``).
    """
    text = query.get(name, "")
    field = name.title().replace("_", "")
    if not text:
        return default
    if not text.lstrip("-").isdigit() or not text.isascii():
        raise refuse_query(operation, field, "numeric")
    if int(text) > most:
        raise refuse_query(operation, field, "lte")
    if int(text) < least:
        raise refuse_query(operation, field, "gte")
    return int(text)


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean of the query string; absent is false."""
    return query.get(name, "").lower() == "true"


def page(items: Sequence[Item], query: Mapping[str, str], limit: int, *, loops: bool = False) -> tuple[list[Item], str]:
    """The page that the query's cursor asks for, and the next cursor; empty at the end.

    A cursor that makes no sense silently gives the first page, as recorded. With ``loops`` the cursor after the last page
    is that of the first one, for ever.
    """
    start = 0
    try:
        text = base64.urlsafe_b64decode(query.get("cursor", "").encode()).decode()
        start = int(text) if text.isascii() and text.isdigit() else 0
    except (binascii.Error, ValueError):
        start = 0
    end = start + limit
    more = ""
    if limit and (end < len(items) or loops):
        more = base64.urlsafe_b64encode(str(end if end < len(items) else 0).encode()).decode()
    return list(items[start:end]), more
