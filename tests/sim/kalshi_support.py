"""What the tests of simulated Kalshi share: signing, requests, and the venue's own schemas."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jsonschema import Draft202012Validator

from arbpipe.sim.authority import ServerFiles, client_context, make_authority
from arbpipe.sim.kalshi_server import KalshiAccountConfig, KalshiSimConfig, RunningKalshi, running_kalshi

KEY_ID = "5d7f0a52-0000-4000-8000-000000000001"
PREFIX = "/trade-api/v2"
ORDERS = "/portfolio/events/orders"
SOCKET = "/trade-api/ws/v2"

PrivateKey = Ed25519PrivateKey | rsa.RSAPrivateKey


def public_pem(key: PrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def signed(key: PrivateKey, method: str, path: str, *, skew_ms: int = 0, key_id: str = KEY_ID) -> dict[str, str]:
    """The three headers, made from the venue's description alone."""
    stamp = str(time.time_ns() // 1_000_000 + skew_ms)
    message = f"{stamp}{method}{path.split('?')[0]}".encode()
    if isinstance(key, Ed25519PrivateKey):
        signature = key.sign(message)
    else:
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        signature = key.sign(message, scheme, hashes.SHA256())
    return {
        "KALSHI-ACCESS-KEY": key_id,
        "KALSHI-ACCESS-TIMESTAMP": stamp,
        "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
    }


@dataclass
class Stream:
    """One WebSocket connection, frame by frame."""

    socket: aiohttp.ClientWebSocketResponse
    command: int = 0

    async def send(self, cmd: str, params: Any = None) -> None:
        self.command += 1
        await self.socket.send_json({"id": self.command, "cmd": cmd} | ({"params": params} if params else {}))

    async def text(self, timeout: float = 5) -> str:
        """The next message as it came; an empty text when the connection ended."""
        message = await self.socket.receive(timeout=timeout)
        return str(message.data) if message.type is aiohttp.WSMsgType.TEXT else ""

    async def read(self, kind: str = "", timeout: float = 5) -> Any:
        """The next frame, or the next one of a type."""
        while True:
            text = await self.text(timeout)
            assert text, f"the connection ended before {kind or 'a frame'} came"
            frame = json.loads(text)
            if kind in ("", frame["type"]):
                return frame

    async def pending(self) -> list[Any]:
        """Every frame that has come, in order: a list of subscriptions is asked for, and marks the end."""
        await self.send("list_subscriptions")
        frames: list[Any] = []
        while True:
            frame = await self.read()
            if frame["type"] == "ok" and isinstance(frame["msg"], list):
                return frames
            frames.append(frame)

    async def quiet(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        try:
            await self.socket.receive(timeout=seconds)
        except asyncio.TimeoutError:  # noqa: UP041 - aiohttp's own on Python 3.11 is this one
            return True
        return False


@dataclass
class Client:
    """A signed client of one running server."""

    server: RunningKalshi
    key: PrivateKey
    http: aiohttp.ClientSession
    ca_pem: Path

    async def call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """(status, JSON body) of a request below the prefix; signed unless ``headers`` are given."""
        sent = signed(self.key, method, PREFIX + path) if headers is None else headers
        data = body if isinstance(body, str) or body is None else None
        as_json = None if data is not None else body
        url = f"https://127.0.0.1:{self.server.port}{PREFIX}{path}"
        async with self.http.request(method, url, headers=sent, json=as_json, data=data) as answer:
            text = await answer.text()
            return answer.status, await answer.json() if text else None

    async def control(self, **command: Any) -> tuple[int, Any]:
        """(status, JSON body) of a command; without any, what is armed."""
        url = f"https://127.0.0.1:{self.server.port}/sim/control"
        sent = self.http.post(url, json=command) if command else self.http.get(url)
        async with sent as answer:
            return answer.status, await answer.json()

    @asynccontextmanager
    async def stream(self, *channels: str, tickers: list[str] | None = None) -> AsyncIterator[Stream]:
        """A connection that holds these channels; its ``subscribed`` frames are read already."""
        headers = signed(self.key, "GET", SOCKET)
        async with self.http.ws_connect(self.server.ws, headers=headers) as socket:
            stream = Stream(socket)
            if channels:
                params: dict[str, Any] = {"channels": list(channels)}
                if tickers:
                    params["market_tickers"] = tickers
                await stream.send("subscribe", params)
                for _ in channels:
                    await stream.read("subscribed")
            yield stream

    async def statement(self) -> Any:
        async with self.http.get(f"https://127.0.0.1:{self.server.port}/sim/statement") as answer:
            return await answer.json()


def config_of(folder: Path, key: PrivateKey, tls: ServerFiles, **changes: Any) -> KalshiSimConfig:
    """A configuration whose market does not move within a test unless ``started_ns`` says so."""
    values: dict[str, Any] = {
        "directory": folder,
        "started_ns": time.time_ns() + 3_600 * 10**9,
        "account": KalshiAccountConfig(KEY_ID, public_pem(key), 1_000_000_000),
        "cert": tls.cert,
        "key": tls.key,
        "tier": "prestige",
        "seconds": 20,
    }
    return KalshiSimConfig(**{**values, **changes})


@asynccontextmanager
async def kalshi_client(folder: Path, key: PrivateKey | None = None, **changes: Any) -> AsyncIterator[Client]:
    key = key or Ed25519PrivateKey.generate()
    authority = make_authority(folder / "tls")
    config = config_of(folder, key, authority.issue("kalshi"), **changes)
    async with running_kalshi(config) as server:
        connector = aiohttp.TCPConnector(ssl=client_context(authority.ca_pem))
        async with aiohttp.ClientSession(connector=connector) as http:
            yield Client(server, key, http, authority.ca_pem)


def order_body(ticker: str, side: str, price: str, count: str, tif: str = "immediate_or_cancel", **more: Any) -> Any:
    return {
        "ticker": ticker,
        "side": side,
        "price": price,
        "count": count,
        "time_in_force": tif,
        "self_trade_prevention_type": "taker_at_cross",
        **more,
    }


def _strict(node: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema: ``nullable`` becomes a union, and no member may be invented."""
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    out = {name: _strict(value) for name, value in node.items() if name not in ("nullable", "example", "examples")}
    if isinstance(out.get("properties"), dict) and "type" in out and "additionalProperties" not in out:
        out["additionalProperties"] = False
    if node.get("nullable") is True:
        return {"anyOf": [out, {"type": "null"}]}
    return out


@cache
def _document(path: Path) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)


@cache
def _components(path: Path) -> Any:
    return {"schemas": _strict(_document(path)["components"]["schemas"])}


def _check(path: Path, schema: str, body: Any) -> None:
    whole = {"$ref": f"#/components/schemas/{schema}", "components": _components(path)}
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(body)]
    assert not errors, f"{schema}: {errors[:5]} in {body}"


def check_rest(recordings: Path, schema: str, body: Any) -> None:
    """The body is what the venue's OpenAPI says, and has no member that it does not name."""
    _check(recordings / "kalshi" / "spec" / "openapi-3.34.0.yaml", schema, body)


FRAME_SCHEMAS = {
    "subscribed": "subscribedResponsePayload",
    "unsubscribed": "unsubscribedResponsePayload",
    "ok": "okResponsePayload",
    "error": "errorResponsePayload",
    "orderbook_snapshot": "orderbookSnapshotPayload",
    "orderbook_delta": "orderbookDeltaPayload",
    "ticker": "tickerPayload",
    "trade": "tradePayload",
    "fill": "fillPayload",
    "user_order": "userOrderPayload",
    "market_position": "marketPositionPayload",
    "market_lifecycle_v2": "marketLifecycleV2Payload",
    "event_lifecycle": "eventLifecyclePayload",
    "event_fee_update": "eventFeeUpdatePayload",
}


def check_frame(recordings: Path, frame: Any) -> None:
    """The frame is what the venue's AsyncAPI says."""
    schema = FRAME_SCHEMAS[frame["type"]]
    if frame["type"] == "ok" and isinstance(frame.get("msg"), list):
        schema = "listSubscriptionsResponsePayload"
    if frame["type"] == "market_lifecycle_v2" and frame["msg"]["event_type"] == "metadata_updated":
        schema = "marketMetadataUpdatedPayload"
    _check(recordings / "kalshi" / "spec" / "asyncapi-2.0.0.yaml", schema, frame)


def play(folder: Path, scenario: Callable[[Client], Awaitable[None]], **changes: Any) -> None:
    """Run a scenario against a server of its own."""

    async def run() -> None:
        async with kalshi_client(folder, **changes) as client:
            await scenario(client)

    asyncio.run(run())


def set_book(client: Client, ticker: str, bids: dict[int, int], asks: dict[int, int]) -> None:
    """Replace the market maker's quotes: prices in 1/10,000 dollar, sizes in 1/100 contract."""
    book = client.server.catalog.book(ticker)
    for buys_yes in (True, False):
        for price in book.quotes(buys_yes):
            book.set_quote(buys_yes, price, 0)
    for buys_yes, levels in ((True, bids), (False, asks)):
        for price, size in levels.items():
            book.set_quote(buys_yes, price, size * 10_000)


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for something that will be so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.01)
