"""What a settled market pays the account (kalshi.md sections 3.5 and 6)."""

from __future__ import annotations

from dataclasses import replace

from arbpipe.sim.kalshi_catalog import ListedMarket
from arbpipe.sim.kalshi_store import Position, Settlement, Store
from arbpipe.sim.units import ONE_E4

__all__ = ["settle"]

_CENT_E6 = 10_000


def settle(store: Store, listed: ListedMarket, result: str, value_e4: int, now_us: int) -> Position | None:
    """Pay a position out and close it, once; the flat position, or None when there was nothing to pay.

    One YES pays ``value_e4``, one NO the rest to a dollar. What a market pays in all is cut to whole cents, which only a
    scalar result ever needs.
    """
    held = store.position(listed.ticker)
    paid = any(each.ticker == listed.ticker for each in store.settlements())
    if held.position_e2 == 0 or paid:
        return None
    unit_e4 = value_e4 if held.position_e2 > 0 else ONE_E4 - value_e4
    exact_e6 = unit_e4 * abs(held.position_e2)
    revenue_e6 = exact_e6 - exact_e6 % _CENT_E6
    yes = held.position_e2 > 0
    flat = replace(
        held,
        position_e2=0,
        cost_e6=0,
        realized_e6=held.realized_e6 + revenue_e6 - held.cost_e6,
        updated_us=now_us,
    )
    with store.transaction():
        store.put_settlement(
            Settlement(
                ticker=listed.ticker,
                number=store.next_settlement_number(),
                event_ticker=listed.event_ticker,
                exchange_index=listed.exchange_index,
                result=result,
                value_e4=value_e4,
                yes_e2=held.position_e2 if yes else 0,
                yes_cost_e6=held.cost_e6 if yes else 0,
                no_e2=0 if yes else -held.position_e2,
                no_cost_e6=0 if yes else held.cost_e6,
                fees_e6=held.fees_e6,
                revenue_e6=revenue_e6,
                ts_us=now_us,
            )
        )
        store.put_position(flat)
        store.add_cash(revenue_e6, now_us, listed.exchange_index)
    return flat
