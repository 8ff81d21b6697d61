"""A scripted CLOB on loopback: it verifies what it is sent and answers what the test tells it to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from aiohttp import web
from polymarket_driven import MARKET, NO, YES

from arbpipe.feemodel import FeeTerms
from arbpipe.identity import Side, Venue, instrument_uid
from arbpipe.shm.generation import Listing
from arbpipe.venues.base import Action, Order, Outcome
from arbpipe.venues.polymarket.auth import ApiCredentials
from arbpipe.venues.polymarket.gateway import Patience, PolymarketGateway
from arbpipe.venues.polymarket.signing import OrderSigner

SECRET = base64.urlsafe_b64encode(bytes(range(32))).decode()
CREDENTIALS = ApiCredentials("the-key", SECRET, "the-passphrase")
SIGNER = OrderSigner(bytes(range(1, 33)), funder="", signature_type=0)
NOW_MS = 1_795_000_000_000
UID = instrument_uid("polymarket", MARKET)
FEE = FeeTerms(rate_e6=50_000, exponent=1, quantum_e6=10, align_e6=1)
LISTING = Listing(
    0, UID, 0, Venue.POLYMARKET, MARKET, "", "Yes", "No", YES, NO, "v1", False, "5", True, "", 100, 500, FEE, -1
)
QUICK = Patience(post=0.3, trades=0.4, poll=0.02, absent=0.15, settle=60.0, lookup=0.6)


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """One handler for every path, on a port of its own."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def order(size_e2: int = 1_000, price_e4: int = 5_200, action: Action = Action.BUY, **more: Any) -> Order:
    given = {"client_id": "ap-1-0-0", "created_ms": NOW_MS - 100, "side": Side.YES, **more}
    return Order(
        venue=Venue.POLYMARKET, uid=UID, native_id=MARKET, action=action, size_e2=size_e2, price_e4=price_e4, **given
    )


def trade(order_hash: str, number: int, size: str, price: str, status: str = "MATCHED", **more: Any) -> dict[str, Any]:
    maker = {"order_id": f"0xmaker{number}", "asset_id": YES, "matched_amount": size, "price": price, "side": "SELL"}
    return {
        "id": f"trade-{number}",
        "taker_order_id": order_hash,
        "asset_id": YES,
        "side": "BUY",
        "size": size,
        "price": price,
        "status": f"TRADE_STATUS_{status}",
        "maker_orders": [maker],
        **more,
    }


def matched(order_hash: str, making: str, taking: str, *trade_ids: str) -> dict[str, Any]:
    return {
        "success": True,
        "errorMsg": "",
        "orderID": order_hash,
        "status": "matched",
        "makingAmount": making,
        "takingAmount": taking,
        "tradeIDs": list(trade_ids),
    }


@dataclass
class Clob:
    """State of the venue. ``on_post(body)`` gives the answer to an order: (status, JSON or text), or ``None`` to hang."""

    on_post: Callable[[dict[str, Any]], tuple[int, Any] | None] = lambda body: (500, "not scripted")
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    trades: list[dict[str, Any]] = field(default_factory=list)
    hidden_reads: int = 0  # so many reads of trades still find none
    balances: dict[str, int] = field(default_factory=dict)
    cash_e6: int = 1_000_000_000
    version: Any = 2
    closed_only: Any = False
    drop_post: bool = False
    data: Any = None
    endless: bool = False
    posts: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.calls.append(f"{request.method} {request.path}")
        path = request.path
        if path == "/version":
            return web.json_response({"version": self.version})
        if path == "/v2/positions":
            return web.json_response(self.data) if self.data is not None else web.Response(status=404)
        if path.startswith("/auth/") and "ban-status" not in path:
            return web.json_response({"apiKey": "the-key", "secret": SECRET, "passphrase": "the-passphrase"})
        if not self.verified(request, body):
            return web.json_response({"error": "Unauthorized/Invalid api key"}, status=401)
        if path == "/auth/ban-status/closed-only":
            return web.json_response({"closed_only": self.closed_only})
        if path == "/order":
            return await self.post(request, json.loads(body))
        if path.startswith("/data/order/"):
            found = self.orders.get(path.removeprefix("/data/order/"))
            return web.json_response(found) if found else web.json_response({"error": "not found"}, status=404)
        if path == "/data/trades":
            return self.list_trades(request)
        if path == "/balance-allowance":
            token = request.query.get("token_id", "")
            stated = self.balances.get(token, 0) if token else self.cash_e6
            return web.json_response({"balance": str(stated), "allowances": {}})
        return web.json_response({})

    def verified(self, request: web.Request, body: bytes) -> bool:
        headers = request.headers
        message = f"{headers['POLY_TIMESTAMP']}{request.method}{request.path}".encode() + body
        digest = hmac.new(base64.urlsafe_b64decode(SECRET), message, hashlib.sha256).digest()
        return headers["POLY_SIGNATURE"] == base64.urlsafe_b64encode(digest).decode()

    async def post(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        self.posts.append(body)
        answer = self.on_post(body)
        if self.drop_post:
            assert request.transport is not None
            request.transport.close()
        if answer is None:
            await asyncio.sleep(2)
            return web.Response(status=500)
        status, content = answer
        return (
            web.Response(status=status, text=content)
            if isinstance(content, str)
            else web.json_response(content, status=status)
        )

    def list_trades(self, request: web.Request) -> web.StreamResponse:
        if self.hidden_reads > 0:
            self.hidden_reads -= 1
            return web.json_response({"data": [], "next_cursor": "LTE="})
        wanted = request.query.get("id")
        found = [each for each in self.trades if wanted in (None, each["id"])]
        return web.json_response({"data": found, "next_cursor": "MTA=" if self.endless else "LTE="})


@asynccontextmanager
async def gateway(clob: Clob, **more: Any) -> AsyncIterator[PolymarketGateway]:
    """A gateway on the scripted venue; ``listing=`` changes the one instrument."""
    listed = more.pop("listing", LISTING)
    async with serving(clob.handle) as url:
        given = {
            "credentials": CREDENTIALS,
            "now_ms": lambda: NOW_MS,
            "patience": QUICK,
            "max_order_e6": 100_000_000,
            **more,
        }
        data = url if clob.data is not None else ""
        made = PolymarketGateway(
            url,
            data,
            SIGNER,
            None,
            listing=lambda uid: listed if uid == UID else None,
            listings=lambda: [listed],
            **given,
        )
        try:
            await made.open()
            yield made
        finally:
            await made.close()


def relisted(**changes: Any) -> Listing:
    return LISTING._replace(**changes)


def renamed(one: Order, client_id: str) -> Order:
    return replace(one, client_id=client_id)


T = TypeVar("T")


def run(clob: Clob, use: Callable[[PolymarketGateway], Awaitable[T]], **more: Any) -> T:
    async def main() -> T:
        async with gateway(clob, **more) as made:
            return await use(made)

    return asyncio.run(main())


def place(clob: Clob, one: Any = None, **more: Any) -> Outcome:
    return run(clob, lambda made: made.place(one or order()), **more)


def hash_of(one: Any) -> str:
    made = PolymarketGateway("http://x", "", SIGNER, None, listing=lambda uid: relisted(), max_order_e6=1)
    return made.order_hash(one)


def fills_by(clob: Clob, *parts: tuple[str, str, str]) -> None:
    """Answer orders as matched by these (size, price, status) trades."""

    def on_post(body: dict[str, Any]) -> tuple[int, Any]:
        sent = hash_of(order(action=Action.SELL if body["order"]["side"] == "SELL" else Action.BUY))
        clob.trades = [trade(sent, n, *part) for n, part in enumerate(parts)]
        shares = sum(float(size) for size, _, _ in parts)
        dollars = sum(float(size) * float(price) for size, price, _ in parts)
        amounts = (f"{dollars:.6f}", f"{shares:.6f}")
        if body["order"]["side"] == "SELL":
            amounts = (amounts[1], amounts[0])
        return 200, matched(sent, *amounts, *(each["id"] for each in clob.trades))

    clob.on_post = on_post


def refused(status: int, text: str) -> Callable[[dict[str, Any]], tuple[int, Any]]:
    return lambda body: (status, {"error": text})
