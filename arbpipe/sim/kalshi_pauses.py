"""Pauses and maintenance of simulated Kalshi (kalshi.md sections 3.2 and 6).

A trading pause refuses orders and amends and lets cancels through; an exchange pause refuses everything. Resting orders
survive either, unless they asked to be cancelled. A maintenance is a pause that the schedule announces; every session is
closed when it begins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from arbpipe.sim.kalshi_account import Account
from arbpipe.sim.kalshi_catalog import Catalog, Json, rfc3339

__all__ = ["KINDS", "Maintenance", "Pauses"]

KINDS: Final = ("trading", "exchange")


@dataclass(slots=True)
class Maintenance:
    """A window, microseconds since the epoch. ``clock_back``: by how much the books' clocks step back when it is over."""

    start_us: int
    end_us: int
    kind: str
    clock_back: int
    begun: bool = False


class Pauses:
    """Who pauses the account's shards. ``resumed`` is called for the tickers that trade again.

    ``close_sessions`` and ``step_back`` act on the connections.
    """

    def __init__(
        self,
        account: Account,
        catalog: Catalog,
        resumed: Callable[[str], None],
        close_sessions: Callable[[], None],
        step_back: Callable[[int], None],
    ) -> None:
        self._account = account
        self._catalog = catalog
        self._resumed = resumed
        self._close_sessions = close_sessions
        self._step_back = step_back
        self.windows: list[Maintenance] = []

    def pause(self, kind: str, index: int | None = None) -> int:
        """Pause trading or the exchange, on one shard or on all; how many resting orders that cancelled."""
        account = self._account
        if index is not None:
            (account.trading_paused if kind == "trading" else account.exchange_paused).add(index)
        elif kind == "trading":
            account.trading = False
        else:
            account.exchange = False
        return account.withdraw_all(
            "HaltCancel", lambda each: each.cancel_on_pause and index in (None, account.shard_of(each.ticker))
        )

    def resume(self, index: int | None = None) -> None:
        """End the pauses of one shard, or all of them."""
        account = self._account
        if index is None:
            account.trading = account.exchange = True
            account.trading_paused.clear()
            account.exchange_paused.clear()
        else:
            account.trading_paused.discard(index)
            account.exchange_paused.discard(index)
        for ticker in list(self._catalog.markets):
            if self.may_quote(ticker):
                self._resumed(ticker)

    def may_quote(self, ticker: str) -> bool:
        """Whether orders in that market can trade now."""
        listed = self._catalog.markets[ticker]
        return self._account.is_active(listed.exchange_index)[1] and self._catalog.status(ticker) == "active"

    def plan(self, window: Maintenance) -> None:
        """Announce a maintenance."""
        self.windows.append(window)

    def reset(self) -> None:
        """No pause, and no maintenance that is still to come."""
        self.windows.clear()
        self.resume()

    def tick(self) -> None:
        """Begin and end what is due."""
        now_us = self._catalog.now_us()
        for window in list(self.windows):
            if not window.begun and window.start_us <= now_us:
                window.begun = True
                self.pause(window.kind)
                self._close_sessions()
            if window.begun and window.end_us <= now_us:
                self.windows.remove(window)
                self._step_back(window.clock_back)
                self.resume()

    def status(self) -> Json:
        """The answer of ``GET /exchange/status``: the top level is shard 0."""
        shards = []
        for index in self._catalog.shards():
            exchange, trading = self._account.is_active(index)
            shards.append(
                {
                    "exchange_index": index,
                    "description": "Default" if index == 0 else f"Shard {index}",
                    "exchange_active": exchange,
                    "trading_active": trading,
                    "intra_exchange_transfers_active": exchange,
                }
            )
        top = {name: value for name, value in shards[0].items() if name not in ("exchange_index", "description")}
        answer: Json = {**top, "exchange_index_statuses": shards}
        running = [each for each in self.windows if each.begun]
        if running:
            answer["exchange_estimated_resume_time"] = rfc3339(max(each.end_us for each in running))
        return answer

    def schedule(self) -> Json:
        """The answer of ``GET /exchange/schedule``: open around the clock but for the maintenances that are planned."""
        always = [{"open_time": "00:00", "close_time": "00:00"}]
        days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
        week: Json = {"start_time": "2026-01-01T00:00:00Z", "end_time": "2036-01-01T00:00:00Z"}
        windows = [
            {"start_datetime": rfc3339(each.start_us), "end_datetime": rfc3339(each.end_us)} for each in self.windows
        ]
        return {"schedule": {"standard_hours": [week | dict.fromkeys(days, always)], "maintenance_windows": windows}}
