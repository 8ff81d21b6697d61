"""Reads of the account on simulated Kalshi, its transfers between shards and its netting setting (kalshi.md section 3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from aiohttp import web

from arbpipe.sim.kalshi_cash import available_e6
from arbpipe.sim.kalshi_catalog import Json, dollars
from arbpipe.sim.kalshi_errors import refuse, refuse_query
from arbpipe.sim.kalshi_orders import check_types, parse_body
from arbpipe.sim.kalshi_rest import Answer, Rest, Route, body_of
from arbpipe.sim.kalshi_shapes import (
    csv,
    event_position,
    fill_object,
    integer,
    market_position,
    moments,
    order_object,
    page,
    settlement_object,
)
from arbpipe.sim.kalshi_store import OrderRow, Status
from arbpipe.sim.kalshi_terms import Phase
from arbpipe.sim.kalshi_transfers import Transfers

__all__ = ["AccountAnswers"]

_EVERY_SHARD: Final = -1
_MOST_SHARD: Final = 100
_SETTLEMENT_STATUSES: Final = ("unsettled", "settled", "all")

Item = TypeVar("Item")


class AccountAnswers:
    """What the account's owner may ask."""

    def __init__(self, rest: Rest, transfers: Transfers) -> None:
        self._rest = rest
        self._catalog = rest.catalog
        self._transfers = transfers
        self._shard_of = rest.account.shard_of

    def routes(self) -> list[Route]:
        """Verb, path and handler."""
        return [
            ("GET", "/account/limits", self.account_limits),
            ("GET", "/portfolio/balance", self.balance),
            ("GET", "/portfolio/positions", self.positions),
            ("GET", "/portfolio/fills", self.fills),
            ("GET", "/portfolio/orders", self.orders),
            ("GET", "/portfolio/orders/{order_id}", self.order),
            ("GET", "/portfolio/settlements", self.settlements),
            ("GET", "/portfolio/subaccounts/netting", self.netting),
            ("PUT", "/portfolio/subaccounts/netting", self.set_netting),
            ("POST", "/portfolio/intra_exchange_instance_transfer", self.transfer),
            ("GET", "/portfolio/intra_exchange_instance_transfers", self.transfers),
            ("GET", "/portfolio/intra_exchange_instance_transfers/{transfer_id}", self.one_transfer),
        ]

    def _page(self, items: Sequence[Item], query: Mapping[str, str], limit: int) -> tuple[list[Item], str]:
        return page(items, query, limit, loops=self._rest.faults.live("cursor_loop") is not None)

    async def account_limits(self, request: web.Request) -> Answer:
        """The account's buckets."""
        return self._rest.limits.shown()

    async def balance(self, request: web.Request) -> Answer:
        """Cash that is not held back by resting orders, of all shards or of one; cents are truncated."""
        given = integer(
            request.query, "exchange_index", "GetBalance", default=_EVERY_SHARD, least=_EVERY_SHARD, most=_MOST_SHARD
        )
        index = None if given == _EVERY_SHARD else given
        books = self._rest.books()
        chosen = [each for each in books.positions() if index in (None, self._shard_of(each.ticker))]
        total_e6 = available_e6(books, self._shard_of, index)
        shards = [each for each in books.shards() if index in (None, each)]
        return {
            "balance": total_e6 // 10_000,
            "balance_dollars": _dollars4(total_e6),
            "portfolio_value": sum(each.cost_e6 for each in chosen) // 10_000,
            "updated_ts": (self._rest.clock.now_ns() - self._rest.lag_ns()) // 10**9,
            "balance_breakdown": [
                {"exchange_index": each, "balance": _dollars4(available_e6(books, self._shard_of, each))}
                for each in shards
            ],
        }

    async def positions(self, request: web.Request) -> Answer:
        """Positions that are not flat, or were traded when ``count_filter`` says so."""
        query = request.query
        limit = integer(query, "limit", "GetPositions", default=100, least=1, most=1_000)
        filters = csv(query.get("count_filter"))
        if not filters <= {"position", "total_traded"}:
            raise refuse_query("GetPositions", "CountFilter", "oneof")
        ticker, event = query.get("ticker"), query.get("event_ticker")
        wanted = query.get("settlement_status", "unsettled")
        if wanted not in _SETTLEMENT_STATUSES:
            raise refuse_query("GetPositions", "SettlementStatus", "oneof")
        known = self._catalog.markets
        books = self._rest.books()
        paid = {each.ticker for each in books.settlements()}

        def is_settled(name: str) -> bool:
            flat = books.position(name).position_e2 == 0
            return name in paid or (flat and known[name].life.phase is Phase.FINALIZED)

        found = [
            each
            for each in books.positions()
            if each.ticker in known
            and (wanted == "all" or is_settled(each.ticker) is (wanted == "settled"))
            and (each.position_e2 != 0 or "position" not in filters)
            and (not ticker or each.ticker == ticker)
            and (not event or known[each.ticker].event_ticker == event)
        ]
        shown, cursor = self._page(found, query, limit)
        events = dict.fromkeys(known[each.ticker].event_ticker for each in shown)
        return {
            "market_positions": [market_position(each, self._shard_of(each.ticker)) for each in shown],
            "event_positions": [
                event_position(name, [each for each in shown if known[each.ticker].event_ticker == name])
                for name in events
            ],
            "cursor": cursor,
        }

    async def fills(self, request: web.Request) -> Answer:
        """Fills, newest first."""
        query = request.query
        limit = integer(query, "limit", "GetFills", default=100, least=1, most=1_000)
        least, most = moments(query, "GetFills")
        tickers, order_id = csv(query.get("ticker")), query.get("order_id")
        found = [
            each
            for each in reversed(self._rest.books().fills(order_id or None))
            if (not tickers or each.ticker in tickers) and least <= each.ts_us // 1_000_000 <= most
        ]
        shown, cursor = self._page(found, query, limit)
        return {"fills": [fill_object(each, self._shard_of(each.ticker)) for each in shown], "cursor": cursor}

    async def orders(self, request: web.Request) -> Answer:
        """Orders, newest first."""
        query = request.query
        limit = integer(query, "limit", "GetOrders", default=100, least=1, most=1_000)
        least, most = moments(query, "GetOrders")
        status = query.get("status")
        if status and status not in {each.value for each in Status}:
            raise refuse_query("GetOrders", "Status", "oneof")
        tickers, events = csv(query.get("ticker")), csv(query.get("event_ticker"))

        def fits(order: OrderRow) -> bool:
            listed = self._catalog.markets.get(order.ticker)
            return (
                (not tickers or order.ticker in tickers)
                and (not events or (listed is not None and listed.event_ticker in events))
                and least <= order.created_us // 1_000_000 <= most
            )

        rows = self._rest.books().orders(Status(status) if status else None)
        shown, cursor = self._page([row for row in reversed(rows) if fits(row)], query, limit)
        return {"orders": [self._order_object(row) for row in shown], "cursor": cursor}

    def _order_object(self, row: OrderRow) -> Json:
        return order_object(row, self._rest.user_id, self._shard_of(row.ticker))

    async def order(self, request: web.Request) -> Answer:
        """One order."""
        found = self._rest.books().order(request.match_info["order_id"])
        if found is None:
            raise refuse(404, "not_found")
        return {"order": self._order_object(found)}

    async def settlements(self, request: web.Request) -> Answer:
        """What settled markets paid, newest first."""
        query = request.query
        limit = integer(query, "limit", "GetSettlements", default=100, least=1, most=1_000)
        least, most = moments(query, "GetSettlements")
        ticker, event = query.get("ticker"), query.get("event_ticker")
        found = [
            each
            for each in reversed(self._rest.books().settlements())
            if (not ticker or each.ticker == ticker)
            and (not event or each.event_ticker == event)
            and least <= each.ts_us // 1_000_000 <= most
        ]
        shown, cursor = self._page(found, query, limit)
        return {"settlements": [settlement_object(each) for each in shown], "cursor": cursor}

    # -- netting and transfers ----------------------------------------------------------------------------------------

    async def netting(self, request: web.Request) -> Answer:
        """The netting setting of the primary subaccount, per shard. Positions here are netted whatever it says."""
        enabled = self._rest.store.documents("netting").get("0", "true") == "true"
        return {
            "netting_configs": [
                {"subaccount_number": 0, "enabled": enabled, "exchange_index": index}
                for index in self._rest.store.shards()
            ]
        }

    async def set_netting(self, request: web.Request) -> Answer:
        """Keep the setting."""
        body = parse_body(await body_of(request), "UpdateSubaccountNettingRequest")
        given = check_types(body, {"subaccount_number": "int", "enabled": "bool"}, "UpdateSubaccountNettingRequest")
        if len(given) != 2:
            raise refuse(400, "missing_parameters", "subaccount_number, enabled")
        if given["subaccount_number"] != 0:
            raise refuse(400, "invalid_parameters", "the account has subaccount 0 only")
        with self._rest.store.transaction():
            self._rest.store.put_document("netting", "0", "true" if given["enabled"] else "false")
        return {}

    async def transfer(self, request: web.Request) -> Answer:
        """Send cash to another shard; it arrives later."""
        body = parse_body(await body_of(request), "IntraExchangeInstanceTransferRequest")
        return {"transfer_id": self._transfers.request(body)}

    async def transfers(self, request: web.Request) -> Answer:
        """All transfers, newest first."""
        limit = integer(request.query, "limit", "GetTransfers", default=100, least=1, most=1_000)
        shown, cursor = self._page(self._transfers.shown(), request.query, limit)
        return {"transfers": shown, **({"cursor": cursor} if cursor else {})}

    async def one_transfer(self, request: web.Request) -> Answer:
        """One transfer."""
        wanted = request.match_info["transfer_id"]
        found = next((each for each in self._transfers.shown() if each["transfer_id"] == wanted), None)
        if found is None:
            raise refuse(404, "not_found")
        return {"transfer": found}


def _dollars4(value_e6: int) -> str:
    """Money as four decimals, rounded down."""
    return dollars(value_e6 // 100)
