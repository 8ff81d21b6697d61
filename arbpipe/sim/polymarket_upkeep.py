"""What happens at the venue because time passes or because it restarts, and not because anybody asked.

Everything that is due is found in the account's own tables, so a restart forgets no delay, no settlement and no dead-man
switch. The caller calls :meth:`Upkeep.tick` often; the clock is the exchange's.
"""

from __future__ import annotations

from dataclasses import replace

from arbpipe.sim.polymarket_account import OrderRow
from arbpipe.sim.polymarket_auth import VenueError
from arbpipe.sim.polymarket_books import MarketView
from arbpipe.sim.polymarket_checks import GTD_EARLY_S
from arbpipe.sim.polymarket_trading import Exchange

__all__ = ["Upkeep"]


class Upkeep:
    """The time of one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._store = exchange.store
        self._next_check_ms = 0

    def resume(self) -> None:
        """After a restart: put the resting orders back into the books; one that meets a quote now trades.

        Raises:
            ValueError: the account has orders in a market that this world does not list.
        """
        for row in self._store.orders({}, open_only=True):
            view = self._exchange.by_condition.get(row.condition)
            if view is None:
                raise ValueError(
                    f"the account has an order in {row.condition}, which this world does not list:"
                    " use the seed and the number of events of its first run, or a new directory"
                )
            if row.status == "LIVE":
                # it was accepted as post-only when nothing crossed; the book has moved on since
                self._exchange.match(replace(row, post_only=0), view, known=True)

    def tick(self) -> None:
        """Do what is due: settle trades, end delays, expire orders, check the dead-man switches."""
        now_ms = self._exchange.now_ms()
        self._advance_trades(now_ms)
        for row in self._store.orders({"status": "DELAYED"}):
            view = self._exchange.by_condition[row.condition]
            if now_ms >= row.created_ms + 1_000 * view.seconds_delay:
                self._end_delay(row, view)
        for row in self._store.orders({"order_type": "GTD", "status": "LIVE"}):
            if now_ms >= 1_000 * (row.expiration - GTD_EARLY_S):
                self._exchange.cancel_row(row, "CANCELED_EXPIRED_ORDER")
        if now_ms >= self._next_check_ms:
            rules = self._exchange.rules
            self._next_check_ms = now_ms + round(1_000 * rules.heartbeat_check_s)
            for owner in self._store.overdue(now_ms - round(1_000 * rules.heartbeat_s)):
                self._exchange.cancel_all(owner)

    def _end_delay(self, row: OrderRow, view: MarketView) -> None:
        """A delay ends: the order is checked again, then matched, or it is over."""
        try:
            self._exchange.check_money(row, view)
        except VenueError:
            row = replace(row, status="CANCELED_NOT_ENOUGH_BALANCE")
            with self._store.transaction():
                self._store.update_order(row)
            self._exchange.tell_order(row, "CANCELLATION")
            return
        try:
            self._exchange.match(row, view, known=True)
        except VenueError:
            # nobody waits for this answer: the order's state and its event have told it
            return

    def _advance_trades(self, now_ms: int) -> None:
        """MATCHED, MINED half way, CONFIRMED: only then can bought shares be sold."""
        whole_ms = 1_000 * self._exchange.rules.settle_s
        for trade in self._store.unsettled():
            age_ms = now_ms - trade.match_ms
            if trade.status == "MATCHED" and age_ms >= whole_ms / 2:
                trade = replace(trade, status="MINED", update_ms=now_ms)
                with self._store.transaction():
                    self._store.update_trade(trade)
                self._exchange.tell_trade(trade)
            if trade.status == "MINED" and age_ms >= whole_ms:
                trade = replace(trade, status="CONFIRMED", update_ms=now_ms)
                with self._store.transaction():
                    self._store.update_trade(trade)
                    if trade.is_buy:
                        self._store.move_shares(trade.funder, trade.token, trade.qty_e6, -trade.qty_e6)
                self._exchange.tell_trade(trade)
