"""Changing a resting order: amend and decrease (kalshi.md section 3.4, ``AmendOrderV2Request``, ``DecreaseOrderV2Request``).

A smaller size or another expiry keeps the order's place in the queue; another price or a larger size loses it and may trade.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from arbpipe.sim.exchange import SelfTrade, Tif
from arbpipe.sim.kalshi_account import Account
from arbpipe.sim.kalshi_catalog import Json, count
from arbpipe.sim.kalshi_errors import Refusal, refuse
from arbpipe.sim.kalshi_orders import check_types, read_count, read_price
from arbpipe.sim.kalshi_position import average
from arbpipe.sim.kalshi_store import OrderRow, Status
from arbpipe.sim.market import E6_PER_E2

__all__ = ["amend", "decrease"]

_AMEND_TYPES = {
    "ticker": "string",
    "side": "string",
    "price": "string",
    "count": "string",
    "client_order_id": "string",
    "updated_client_order_id": "string",
    "expiration_time": "int64",
    "exchange_index": "int",
}
_DECREASE_TYPES = {"reduce_by": "string", "reduce_to": "string", "exchange_index": "int", "market_ticker": "string"}


def _resting(account: Account, order_id: str, index: int) -> OrderRow:
    """The order, if it rests on the shard that the request went to and its market trades."""
    order = account.store.order(order_id)
    account.check_open(index)
    if order is None or order.status is not Status.RESTING or account.shard_of(order.ticker) != index:
        raise refuse(404, "not_found")
    account.check_trades(account.catalog.markets[order.ticker])
    return order


def _invalid(details: str) -> Refusal:
    return refuse(400, "invalid_order", details)


def _expiry(order: OrderRow, given: object, now_us: int) -> int | None:
    """The expiry after an amend, in Unix seconds: absent keeps it, 0 removes it."""
    if not isinstance(given, int):
        return order.expiration_s
    if given and given <= now_us // 1_000_000:
        raise _invalid("expiration_time is in the past")
    return given or None


def amend(account: Account, order_id: str, body: Mapping[str, object], index: int) -> Json:
    """Give an order another price, total count or expiry; the answer's body.

    Raises:
        Refusal: 400, 404 or 409, and nothing has changed.
    """
    given = check_types(body, _AMEND_TYPES, "AmendOrderV2Request")
    order = _resting(account, order_id, index)
    listed = account.catalog.markets[order.ticker]
    side = "bid" if order.buys_yes else "ask"
    if (given.get("ticker"), given.get("side")) != (order.ticker, side):
        raise _invalid(f"the order is a {side} of {order.ticker}")
    if given.get("client_order_id") not in (None, order.client_order_id):
        raise _invalid("client_order_id is not the order's")
    price_e4, count_e2 = read_price(given.get("price")), read_count(given.get("count"))
    if not listed.life.grid.allows(price_e4):
        raise refuse(400, "invalid_price")
    left_e2 = count_e2 - order.filled_e2
    if left_e2 <= 0:
        raise _invalid(f"count must be above the {count(order.filled_e2)} that are filled")
    renamed = str(given.get("updated_client_order_id") or "")
    if renamed and account.store.is_burned(renamed):
        raise refuse(409, "order_already_exists")
    now_us = account.now_us()
    changed = replace(
        order,
        price_e4=price_e4,
        count_e2=count_e2,
        left_e2=left_e2,
        client_order_id=renamed or order.client_order_id,
        expiration_s=_expiry(order, given.get("expiration_time"), now_us),
        updated_us=now_us,
        reason="Amend",
    )
    keeps_place = price_e4 == order.price_e4 and left_e2 <= order.left_e2
    if not keeps_place:
        account.check_cash(listed, order.buys_yes, price_e4, left_e2, without=order_id)
    seen = {fill.fill_id for fill in account.store.fills(order_id)}
    with account.store.transaction():
        account.store.put_order(changed)
        if renamed:
            account.store.burn(renamed)
        if keeps_place and left_e2 < order.left_e2:
            account.catalog.book(order.ticker).reduce(order_id, (order.left_e2 - left_e2) * E6_PER_E2)
        elif not keeps_place:
            self_trade = SelfTrade.MAKER if order.self_trade == "maker" else SelfTrade.TAKER
            account.execute(listed, changed, Tif.GTC, self_trade, left_e2, post_only=order.post_only, again=True)
    done = account.store.order(order_id)
    assert done is not None
    account.observer.order_changed(done)
    fills = [fill for fill in account.store.fills(order_id) if fill.fill_id not in seen]
    filled_e2 = sum(fill.count_e2 for fill in fills)
    answer: Json = {
        "order_id": order_id,
        "remaining_count": count(done.left_e2),
        "fill_count": count(filled_e2),
        "ts_ms": done.updated_us // 1_000,
    }
    if done.client_order_id:
        answer["client_order_id"] = done.client_order_id
    if filled_e2:
        answer["average_fill_price"] = average(sum(f.price_e4 * f.count_e2 for f in fills), filled_e2)
        answer["average_fee_paid"] = average(sum(f.fee_e6 for f in fills), filled_e2)
    return answer


def decrease(account: Account, order_id: str, body: Mapping[str, object], index: int) -> Json:
    """Make an order smaller; one that is reduced to nothing is cancelled. The answer's body.

    Raises:
        Refusal: 400 or 404, and nothing has changed.
    """
    given = check_types(body, _DECREASE_TYPES, "DecreaseOrderV2Request")
    if ("reduce_by" in given) == ("reduce_to" in given):
        raise _invalid("give exactly one of reduce_by and reduce_to")
    order = _resting(account, order_id, index)
    if "reduce_by" in given:
        left_e2 = max(order.left_e2 - read_count(given["reduce_by"]), 0)
    else:
        left_e2 = read_count(given["reduce_to"], least=0)
    if left_e2 >= order.left_e2:
        raise _invalid(f"{count(order.left_e2)} remain: reduce to less")
    answer: Json = {"order_id": order_id, "remaining_count": count(left_e2), "ts_ms": account.now_us() // 1_000}
    if order.client_order_id:
        answer["client_order_id"] = order.client_order_id
    if left_e2 == 0:
        account.withdraw(order, "Decrease")
        return answer
    done = replace(
        order,
        left_e2=left_e2,
        count_e2=order.filled_e2 + left_e2,
        updated_us=account.now_us(),
        reason="Decrease",
    )
    with account.store.transaction():
        account.store.put_order(done)
        account.catalog.book(order.ticker).reduce(order_id, (order.left_e2 - left_e2) * E6_PER_E2)
    account.observer.order_changed(done)
    return answer
