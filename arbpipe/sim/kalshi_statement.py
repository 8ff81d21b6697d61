"""The whole account of simulated Kalshi as text decimals, for comparison with somebody else's ledger.

The cash is what the account started with plus the ``cash`` of every fill and the ``cash`` of every settlement. A transfer
between shards moves ``shards`` and leaves ``cash`` as it is.
"""

from __future__ import annotations

from arbpipe.sim.kalshi_catalog import Json, count, dollars, money
from arbpipe.sim.kalshi_store import Store

__all__ = ["statement"]


def statement(store: Store, held_e6: int) -> Json:
    """Cash, positions, fills, orders, settlements and transfers; ``held_e6`` is what resting orders hold back."""
    return {
        "cash": money(store.cash()[0]),
        "held": money(held_e6),
        "shards": {str(index): money(cash_e6) for index, cash_e6 in store.shards().items()},
        "positions": {p.ticker: count(p.position_e2) for p in store.positions() if p.position_e2},
        "fills": [
            {
                "fill_id": fill.fill_id,
                "order_id": fill.order_id,
                "ticker": fill.ticker,
                "side": "yes" if fill.buys_yes else "no",
                "yes_price": dollars(fill.price_e4),
                "count": count(fill.count_e2),
                "fee": money(fill.fee_e6),
                "released": count(fill.released_e2),
                "cash": money(fill.cash_e6),
                "is_taker": fill.is_taker,
                "ts_us": fill.ts_us,
            }
            for fill in store.fills()
        ],
        "settlements": [
            {
                "ticker": each.ticker,
                "result": each.result,
                "value": dollars(each.value_e4),
                "yes": count(each.yes_e2),
                "no": count(each.no_e2),
                "cash": money(each.revenue_e6),
                "ts_us": each.ts_us,
            }
            for each in store.settlements()
        ],
        "transfers": [
            {
                "transfer_id": each.transfer_id,
                "source": each.source,
                "destination": each.destination,
                "amount": money(each.amount_e6),
                "complete": each.complete,
            }
            for each in store.transfers()
        ],
        "orders": [
            {
                "order_id": order.order_id,
                "client_order_id": order.client_order_id,
                "ticker": order.ticker,
                "side": "bid" if order.buys_yes else "ask",
                "price": dollars(order.price_e4),
                "count": count(order.count_e2),
                "filled": count(order.filled_e2),
                "left": count(order.left_e2),
                "status": order.status.value,
            }
            for order in store.orders()
        ],
    }
