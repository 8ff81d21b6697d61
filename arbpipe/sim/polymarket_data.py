"""The Data API of the simulated venue: positions as the chain shows them (polymarket.md A.1, Data API v2).

Public, like the real one: whoever names a wallet reads it. Only settled shares count; amounts are JSON numbers, because
this is a view for people. The account's exact figures are in ``/sim/statement`` and ``/balance-allowance``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from arbpipe.sim.polymarket_account import Position, TradeRow
from arbpipe.sim.polymarket_auth import VenueError, checksum
from arbpipe.sim.polymarket_books import MarketView
from arbpipe.sim.polymarket_trading import Exchange
from arbpipe.sim.units import ONE_E4

__all__ = ["DataRoutes", "Cost", "cost_of"]

_MOST: Final = 1_000
_DEFAULT: Final = 100


@dataclass(frozen=True, slots=True)
class Cost:
    """What the shares that are held cost at average cost, fees apart, and what the sold ones brought, in 1e-6."""

    entry_e6: int
    fees_e6: int
    realized_e6: int
    bought_e6: int


def cost_of(trades: Iterable[TradeRow]) -> Cost:
    """Average cost over the trades of one token, oldest first. Fees of buys are disclosed and not part of the cost."""
    held_e6 = entry_e6 = fees_e6 = realized_e6 = bought_e6 = 0
    for trade in trades:
        if trade.is_buy:
            held_e6 += trade.qty_e6
            bought_e6 += trade.qty_e6
            entry_e6 += trade.cash_e6
            fees_e6 += trade.fee_e6
        else:
            share_e6 = entry_e6 * trade.qty_e6 // held_e6 if held_e6 else 0
            realized_e6 += trade.cash_e6 - share_e6
            entry_e6 -= share_e6
            held_e6 -= trade.qty_e6
    return Cost(entry_e6, fees_e6, realized_e6, bought_e6)


class DataRoutes:
    """The handler; :meth:`add_to` mounts it."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def add_to(self, app: web.Application) -> None:
        """Mount the route."""
        app.router.add_get("/v2/positions", self._positions)

    async def _positions(self, request: web.Request) -> web.Response:
        funder, conditions = checksum(request.query.get("user")), request.query.get("condition_id", "")
        start, limit = _page(request)
        store = self._exchange.store
        rows = []
        for position in store.positions(funder):
            view = self._exchange.by_token.get(position.token)
            if view is None or position.settled_e6 <= 0:
                continue
            if conditions and view.listing.condition_id not in conditions.split(","):
                continue
            trades = store.trades({"funder": funder, "token": position.token})
            rows.append(_row(position, view, cost_of(trades)))
        more = start + limit < len(rows)
        cursor = base64.urlsafe_b64encode(str(start + limit).encode()).decode() if more else None
        pagination = {"has_more": more, "next_cursor": cursor}
        return web.json_response({"data": rows[start : start + limit], "pagination": pagination})


def _page(request: web.Request) -> tuple[int, int]:
    cursor, text = request.query.get("cursor", ""), request.query.get("limit", str(_DEFAULT))
    try:
        start, limit = (int(base64.urlsafe_b64decode(cursor)) if cursor else 0), int(text)
    except (binascii.Error, ValueError) as error:
        raise VenueError(400, f"invalid cursor {cursor!r} or limit {text!r}: send what the venue gave") from error
    if start < 0 or not 1 <= limit <= _MOST:
        raise VenueError(400, f"invalid cursor {cursor!r} or limit {text!r}: the limit is 1 to {_MOST}")
    return start, limit


def _row(position: Position, view: MarketView, cost: Cost) -> dict[str, object]:
    index = view.assets.index(position.token)
    bids, asks = view.engine.levels()
    middle = ((bids[0][0] if bids else 0) + (asks[0][0] if asks else ONE_E4)) / 2 / ONE_E4
    price = 1 - middle if index else middle
    size, entry, realized = position.settled_e6 / 1e6, cost.entry_e6 / 1e6, cost.realized_e6 / 1e6
    unrealized = size * price - entry
    return {
        "proxy_wallet": position.funder,
        "token_id": position.token,
        "condition_id": view.listing.condition_id,
        "outcome": view.label(position.token),
        "outcome_index": index,
        "opposite_outcome": view.label(view.assets[1 - index]),
        "opposite_token_id": view.assets[1 - index],
        "title": view.market.title,
        "current_size": size,
        "total_size": cost.bought_e6 / 1e6,
        "avg_price": round(entry / size, 6),
        "entry_cost_usdc": entry,
        "entry_fees_usdc": cost.fees_e6 / 1e6,
        "total_cost_usdc": entry,
        "current_price": round(price, 6),
        "current_value": round(size * price, 6),
        "realized_pnl": realized,
        "unrealized_pnl": round(unrealized, 6),
        "total_pnl": round(realized + unrealized, 6),
        "percent_pnl": round(100 * unrealized / entry, 4) if entry else 0,
        "percent_realized_pnl": 0,
        "status": "OPEN",
        "redeemable": False,
        "mergeable": False,
        "negative_risk": view.listing.neg_risk,
        "archived": False,
        "verified": True,
    }
