"""The account as it was: what a read that lags behind the matching engine shows."""

from __future__ import annotations

from typing import Any

from arbpipe.sim.kalshi_rows import Fill, OrderRow, Position, Settlement, Status
from arbpipe.sim.kalshi_store import Store

__all__ = ["Past"]


class Past:
    """The account at a moment of the store's steady clock, at most as long ago as the store remembers."""

    def __init__(self, store: Store, steady_ns: int) -> None:
        tables: dict[str, dict[Any, Any]] = {
            "orders": {each.order_id: each for each in store.orders()},
            "fills": {each.fill_id: each for each in store.fills()},
            "positions": {each.ticker: each for each in store.positions()},
            "settlements": {each.ticker: each for each in store.settlements()},
            "transfers": {},
            "cash": {index: store.cash(index) for index in store.shards()},
        }
        for table, key, old in store.replaced_since(steady_ns):
            if old is None:
                tables[table].pop(key, None)
            else:
                tables[table][key] = old
        self._orders: dict[str, OrderRow] = tables["orders"]
        self._fills: dict[str, Fill] = tables["fills"]
        self._positions: dict[str, Position] = tables["positions"]
        self._settlements: dict[str, Settlement] = tables["settlements"]
        self._cash: dict[int, tuple[int, int]] = tables["cash"]

    def cash(self, index: int | None = None) -> tuple[int, int]:
        """(cash in micro-dollars, moment of the last change) of a shard, or of all together."""
        chosen = list(self._cash.values()) if index is None else [self._cash.get(index, (0, 0))]
        return sum(cash_e6 for cash_e6, _ in chosen), max(updated_us for _, updated_us in chosen)

    def shards(self) -> dict[int, int]:
        """The cash of every shard that was funded by then."""
        return {index: cash_e6 for index, (cash_e6, _) in self._cash.items()}

    def orders(self, status: Status | None = None) -> list[OrderRow]:
        """Orders, oldest first."""
        chosen = [each for each in self._orders.values() if status in (None, each.status)]
        return sorted(chosen, key=lambda each: each.number)

    def order(self, order_id: str) -> OrderRow | None:
        """An order by id."""
        return self._orders.get(order_id)

    def fills(self, order_id: str | None = None) -> list[Fill]:
        """Fills, oldest first."""
        chosen = [each for each in self._fills.values() if order_id in (None, each.order_id)]
        return sorted(chosen, key=lambda each: each.number)

    def position(self, ticker: str) -> Position:
        """The position in a market; a flat one when nothing had been traded."""
        return self._positions.get(ticker, Position(ticker))

    def positions(self) -> list[Position]:
        """All positions, flat ones that were traded included."""
        return [self._positions[ticker] for ticker in sorted(self._positions)]

    def settlements(self) -> list[Settlement]:
        """What settled markets had paid, oldest first."""
        return sorted(self._settlements.values(), key=lambda each: each.number)
