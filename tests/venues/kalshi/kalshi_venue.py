"""A scripted Kalshi on loopback: REST answers as the tests say, every request kept and its signature checked."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from arbpipe.identity import Side, Venue, instrument_uid
from arbpipe.venues.base import Action, Order, Outcome
from arbpipe.venues.kalshi.auth import KalshiSigner, wall_ms
from arbpipe.venues.kalshi.gateway import KalshiGateway, KalshiPatience

PREFIX = "/trade-api/v2"
TICKER = "KXTEST-26NOV20-A"
KEY = Ed25519PrivateKey.generate()
PEM = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
#: As the defaults, a tenth of the time and less.
QUICK = KalshiPatience(
    order_s=0.15,
    read_s=0.5,
    fills_s=0.15,
    budget_s=0.3,
    lookup_s=0.4,
    between_s=0.02,
    apart_s=0.05,
    fresh_ms=50,
    warm=1,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def signer() -> KalshiSigner:
    return KalshiSigner("key-1", PEM)


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def order(client_id: str = "ap-1-0-0", **changes: Any) -> Order:
    values: dict[str, Any] = {
        "client_id": client_id,
        "venue": Venue.KALSHI,
        "uid": instrument_uid("kalshi", TICKER),
        "native_id": TICKER,
        "side": Side.YES,
        "action": Action.BUY,
        "size_e2": 1_000,
        "price_e4": 5_600,
    }
    return Order(**(values | changes))


def fill(order_id: str, fill_id: str, count: str, price: str = "0.5600", fee: str = "0.0173", /, **more: Any) -> Any:
    """One entry of GET /portfolio/fills."""
    return {
        "fill_id": fill_id,
        "trade_id": fill_id,
        "order_id": order_id,
        "ticker": TICKER,
        "market_ticker": TICKER,
        "book_side": "bid",
        "count_fp": count,
        "yes_price_dollars": price,
        "fee_cost": fee,
        "created_time": iso(wall_ms()),
    } | more


def listed(client_id: str, status: str, filled: str, order_id: str = "o1", **more: Any) -> Any:
    """One entry of GET /portfolio/orders."""
    return {
        "order_id": order_id,
        "client_order_id": client_id,
        "ticker": TICKER,
        "status": status,
        "book_side": "bid",
        "fill_count_fp": filled,
    } | more


def created(filled: str, left: str = "0.00", order_id: str = "o1") -> tuple[int, Any]:
    """The answer to a new order."""
    return 201, {"order_id": order_id, "fill_count": filled, "remaining_count": left, "ts_ms": 1}


class ScriptedKalshi:
    """What the venue says. ``create`` is the answer to new orders: (status, JSON), bytes, or an exception's name."""

    def __init__(self) -> None:
        self.create: Any = created("0.00")
        self.fills: list[Any] = []
        self.fills_after = 0  # so many reads of fills come back empty first
        self.orders: list[Any] = []
        self.orders_after = 0
        self.positions: list[Any] = []
        self.markets: list[Any] = []
        self.netting: Any = {"netting_configs": []}
        self.as_of_ms: Callable[[], int] = lambda: wall_ms() + 5_000
        self.balance: Any = {"balance": 9801, "balance_dollars": "98.0186"}
        self.limits = {
            "usage_tier": "basic",
            "write": {"refill_rate": 100, "bucket_capacity": 100},
            "read": {"refill_rate": 12_000, "bucket_capacity": 12_000},
        }
        self.status = 200
        self.override: dict[str, Handler] = {}
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.connections: set[Any] = set()
        self.base = ""

    def posts(self) -> list[Any]:
        """The bodies of the orders that arrived."""
        return [json.loads(body) for method, _, _, body in self.requests if method == "POST"]

    def gets(self, path: str) -> list[dict[str, str]]:
        """The queries of the reads of one path."""
        return [query for method, where, query, _ in self.requests if method == "GET" and where == path]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix(PREFIX)
        body = await request.read()
        self.requests.append((request.method, path, dict(request.query), body))
        self.connections.add(request.transport)
        stamp = request.headers["KALSHI-ACCESS-TIMESTAMP"]
        signature = base64.b64decode(request.headers["KALSHI-ACCESS-SIGNATURE"])
        KEY.public_key().verify(signature, f"{stamp}{request.method}{request.path}".encode())
        assert abs(int(stamp) - wall_ms()) < 5_000
        handler = self.override.get(path)
        if handler is not None:
            return await handler(request)
        if request.method == "POST":
            return await self._create(request)
        return self._read(path, request.query.get("order_id"))

    async def _create(self, request: web.Request) -> web.StreamResponse:
        answer = self.create
        if answer == "hang":
            await asyncio.sleep(5)
        if answer == "drop":
            assert request.transport is not None
            request.transport.close()
            await asyncio.sleep(0.01)
        if isinstance(answer, tuple):
            status, data = answer
            if isinstance(data, bytes):
                return web.Response(status=status, body=data)
            return web.json_response(data, status=status)
        return web.Response(status=500)

    def _read(self, path: str, order_id: str | None) -> web.Response:
        if path == "/exchange/status":
            return web.json_response({"exchange_active": True, "trading_active": True}, status=self.status)
        if path == "/markets":
            return web.json_response({"markets": self.markets, "cursor": ""})
        if path == "/account/limits":
            return web.json_response(self.limits)
        if path == "/exchange/user_data_timestamp":
            return web.json_response({"as_of_time": iso(self.as_of_ms())})
        if path == "/portfolio/positions":
            return web.json_response({"cursor": "", "market_positions": self.positions, "event_positions": []})
        if path == "/portfolio/subaccounts/netting":
            return web.json_response(self.netting)
        if path == "/portfolio/balance":
            return web.json_response(self.balance)
        if path == "/portfolio/fills":
            late = len(self.gets(path)) <= self.fills_after
            fills = [] if late else [each for each in self.fills if order_id in (None, each["order_id"])]
            return web.json_response({"cursor": "", "fills": fills})
        if path == "/portfolio/orders":
            late = len(self.gets(path)) <= self.orders_after
            return web.json_response({"cursor": "", "orders": [] if late else self.orders})
        return web.json_response({"error": {"code": "not_found", "message": "not found"}}, status=404)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve; yields the address."""
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base = f"http://127.0.0.1:{runner.addresses[0][1]}{PREFIX}"
        try:
            yield self.base
        finally:
            await runner.cleanup()

    @asynccontextmanager
    async def gateway(self, patience: KalshiPatience = QUICK, **more: Any) -> AsyncIterator[KalshiGateway]:
        """Serve, and open a gateway; nothing else is in ``requests`` when it begins."""
        async with self.serving() as base:
            gateway = KalshiGateway(base, signer(), None, patience=patience, **more)
            await gateway.open()
            self.requests.clear()
            try:
                yield gateway
            finally:
                await gateway.close()


Test = Callable[[ScriptedKalshi, KalshiGateway], Coroutine[Any, Any, Any]]


def run(venue: ScriptedKalshi, work: Test, **more: Any) -> Any:
    """Do ``work`` with an open gateway of ``venue``."""

    async def main() -> Any:
        async with venue.gateway(**more) as gateway:
            return await work(venue, gateway)

    return asyncio.run(main())


def placed(venue: ScriptedKalshi, one: Order | None = None, **more: Any) -> Outcome:
    """Place one order."""
    outcome: Outcome = run(venue, lambda _, gateway: gateway.place(one or order()), **more)
    return outcome
