"""A running simulated Polymarket and its clients, for the tests: the server lives in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from polymarket._internal.actions.orders.typed_data import build_order_signature, build_order_typed_data
from polymarket._internal.actions.orders.types import UnsignedOrder

from arbpipe.sim.authority import client_context, make_authority
from arbpipe.sim.listing import PolymarketListing
from arbpipe.sim.polymarket_books import MarketView
from arbpipe.sim.polymarket_server import Account, PolymarketServer, PolymarketSimConfig
from arbpipe.sim.polymarket_trading import Rules

T = TypeVar("T")
ZERO32 = "0x" + "00" * 32
#: Typed out again from the venue's documentation, on purpose not imported from the simulator.
EXCHANGES = {
    ("v1", False): ("0xE111180000d2663C0091e4f400237545B87B996B", "2"),
    ("v1", True): ("0xe2222d279d744050d28e00520010520000310F59", "2"),
    ("v2", False): ("0xe3333700cA9d93003F00f0F71f8515005F6c00Aa", "3"),
    ("v2", True): ("0xe3333700cA9d93003F00f0F71f8515005F6c00Aa", "3"),
}
ORDER_TYPES = {
    "Order": [
        {"name": "salt", "type": "uint256"},
        {"name": "maker", "type": "address"},
        {"name": "signer", "type": "address"},
        {"name": "tokenId", "type": "uint256"},
        {"name": "makerAmount", "type": "uint256"},
        {"name": "takerAmount", "type": "uint256"},
        {"name": "side", "type": "uint8"},
        {"name": "signatureType", "type": "uint8"},
        {"name": "timestamp", "type": "uint256"},
        {"name": "metadata", "type": "bytes32"},
        {"name": "builder", "type": "bytes32"},
    ]
}
SALTS = itertools.count(time.time_ns() % (1 << 52))


def wallet(name: str = "alice") -> LocalAccount:
    """A wallet of its own for a name."""
    key = EthAccount.from_key(hashlib.sha256(f"arbpipe test wallet {name}".encode()).digest())
    assert isinstance(key, LocalAccount)
    return key


@dataclass(frozen=True)
class Keys:
    """An API key as the venue gave it."""

    key: str
    secret: str
    passphrase: str


def config_of(directory: Path, **changes: Any) -> PolymarketSimConfig:
    """A world that stands still for a minute: nothing moves but what a test moves."""
    alice = wallet().address
    authority = make_authority(directory)
    files = authority.issue("polymarket")
    config = PolymarketSimConfig(
        directory=directory,
        port=0,
        seed=1,
        events=4,
        started_ns=time.time_ns() + 60_000_000_000,
        speed=1.0,
        account=Account(alice, alice, 0, 1_000),
        cert=files.cert,
        key=files.key,
        seconds=3.0,
        rules=Rules(settle_s=0.1),
    )
    return replace(config, **changes)


class Listed(Protocol):
    """What a client has to know of a market to sign for it."""

    @property
    def listing(self) -> PolymarketListing: ...

    @property
    def assets(self) -> tuple[str, str]: ...


class Remote:
    """A client of a simulator, wherever it runs, written from the venue's documentation."""

    def __init__(self, url: str, ca_pem: Path) -> None:
        self.url = url
        self.ssl: ssl.SSLContext = client_context(ca_pem)
        self.http = httpx.Client(base_url=url, verify=self.ssl, timeout=5.0)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def l1(self, who: LocalAccount, *, at: int | None = None, nonce: int = 0) -> dict[str, str]:
        """L1 headers."""
        at = int(time.time()) if at is None else at
        message = encode_typed_data(
            {"name": "ClobAuthDomain", "version": "1", "chainId": 137},
            {
                "ClobAuth": [
                    {"name": "address", "type": "address"},
                    {"name": "timestamp", "type": "string"},
                    {"name": "nonce", "type": "uint256"},
                    {"name": "message", "type": "string"},
                ]
            },
            {
                "address": who.address,
                "timestamp": str(at),
                "nonce": nonce,
                "message": "This message attests that I control the given wallet",
            },
        )
        signature = "0x" + who.sign_message(message).signature.hex()
        return {
            "POLY_ADDRESS": who.address,
            "POLY_SIGNATURE": signature,
            "POLY_TIMESTAMP": str(at),
            "POLY_NONCE": str(nonce),
        }

    def keys(self, who: LocalAccount) -> Keys:
        """The wallet's API key, created or derived."""
        answer = self.http.post("/auth/api-key", headers=self.l1(who))
        if answer.status_code == 400:
            answer = self.http.get("/auth/derive-api-key", headers=self.l1(who))
        raw = answer.raise_for_status().json()
        return Keys(raw["apiKey"], raw["secret"], raw["passphrase"])

    def l2(
        self, who: LocalAccount, keys: Keys, method: str, path: str, body: bytes, at: int | None = None
    ) -> dict[str, str]:
        """L2 headers."""
        at = int(time.time()) if at is None else at
        message = f"{at}{method}{path}".encode() + body
        digest = hmac.new(base64.urlsafe_b64decode(keys.secret), message, hashlib.sha256).digest()
        return {
            "POLY_ADDRESS": who.address,
            "POLY_API_KEY": keys.key,
            "POLY_PASSPHRASE": keys.passphrase,
            "POLY_TIMESTAMP": str(at),
            "POLY_SIGNATURE": base64.urlsafe_b64encode(digest).decode(),
        }


class Running(Remote):
    """A started server. ``call`` runs a function in its loop, ``until`` waits for something to become true there."""

    def __init__(self, config: PolymarketSimConfig) -> None:
        self.config = config
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = self.call(lambda: PolymarketServer(config))
        self.wait(self.server.start())
        super().__init__(f"https://127.0.0.1:{self.server.port}", config.directory / "ca.pem")

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def call(self, work: Callable[[], T]) -> T:
        """Run a function in the server's loop."""

        async def inside() -> T:
            return work()

        return self.wait(inside())

    def until(self, check: Callable[[], T], seconds: float = 3.0) -> T:
        """The first true answer of ``check``."""
        end = time.monotonic() + seconds
        while not (answer := self.call(check)):
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.01)
        return answer

    def stop(self) -> None:
        """Stop everything; the account stays on disk."""
        self.close()
        self.wait(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def trader(self, name: str, usd: int = 1_000, kind: int = 0) -> Trader:
        """A wallet with cash and an API key. With a ``kind`` above 0 the money lies in another address."""
        who = wallet(name)
        funder = who.address if kind == 0 else wallet(f"{name} funder").address
        self.call(lambda: self.server.store.add_wallet(who.address, funder, kind, usd * 1_000_000))
        return Trader(self, who, funder, kind)

    # -- markets ------------------------------------------------------------------------------------------------------

    def view(self, version: str = "v1", neg_risk: bool = False, tick_e4: int | None = None) -> MarketView:
        """The first market of that kind."""
        for view in self.server.exchange.views:
            listing = view.listing
            if (listing.version, listing.neg_risk) == (version, neg_risk) and tick_e4 in (None, view.tick_e4):
                return view
        raise AssertionError(f"this world has no market {version} {neg_risk} {tick_e4}")

    def standard(self, version: str = "v1", neg_risk: bool = False, tick_e4: int | None = None) -> MarketView:
        """Such a market with bids 0.45 x 50, 0.40 x 100 and asks 0.50 x 20, 0.52 x 1000."""
        view = self.view(version, neg_risk, tick_e4)
        exchange = self.server.exchange

        def clear() -> None:
            for row in exchange.store.orders({"condition": view.listing.condition_id, "status": "LIVE"}):
                exchange.cancel_row(row, "CANCELED")

        self.call(clear)
        self.quote(view, {4_500: 50, 4_000: 100}, {5_000: 20, 5_200: 1_000})
        return view

    def quote(self, view: MarketView, bids: dict[int, int], asks: dict[int, int]) -> None:
        """Replace the market maker's quotes of a market; prices in 1/10,000, sizes in shares."""

        def act() -> None:
            for is_bid in (True, False):
                for price in view.engine.quotes(is_bid):
                    view.engine.set_quote(is_bid, price, 0)
            for is_bid, levels in ((True, bids), (False, asks)):
                for price, size in levels.items():
                    view.engine.set_quote(is_bid, price, size * 1_000_000)
            self.server.exchange.market_moved(view.market.key, None)

        self.call(act)


class Trader:
    """One wallet with its API key."""

    def __init__(self, remote: Remote, who: LocalAccount, funder: str | None = None, kind: int = 0) -> None:
        self.remote = remote
        self.who = who
        self.funder = funder or who.address
        self.kind = kind
        self.keys = remote.keys(who)

    def send(self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None) -> httpx.Response:
        """A signed request."""
        raw = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = self.remote.l2(self.who, self.keys, method, path, raw)
        return self.remote.http.request(method, path, content=raw, headers=headers, params=query)

    def typed(self, view: Listed, order: dict[str, Any], exchange: tuple[str, str] | None = None) -> Any:
        """The order as EIP-712 data."""
        contract, version = exchange or EXCHANGES[(view.listing.version, view.listing.neg_risk)]
        domain = {"name": "Polymarket CTF Exchange", "version": version, "chainId": 137, "verifyingContract": contract}
        struct = {name["name"]: order[name["name"]] for name in ORDER_TYPES["Order"]}
        struct |= {name: int(order[name]) for name in ("tokenId", "makerAmount", "takerAmount", "timestamp")}
        struct["side"] = 0 if order["side"] == "BUY" else 1
        return encode_typed_data(domain, ORDER_TYPES, struct)

    def body(
        self,
        view: Listed,
        side: str,
        maker: int,
        taker: int,
        *,
        token: str | None = None,
        order_type: str = "FAK",
        expiration: int = 0,
        exchange: tuple[str, str] | None = None,
        signer: LocalAccount | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """A body of ``POST /order``; amounts in 1e-6."""
        order: dict[str, Any] = {
            "salt": next(SALTS) % (1 << 53),
            "maker": self.funder,
            "signer": self.funder if self.kind == 3 else self.who.address,
            "tokenId": token or view.assets[0],
            "makerAmount": str(maker),
            "takerAmount": str(taker),
            "side": side,
            "signatureType": self.kind,
            "timestamp": str(time.time_ns() // 1_000_000),
            "metadata": ZERO32,
            "builder": ZERO32,
            "expiration": str(expiration),
        }
        if self.kind == 3:
            order["signature"] = self.nested(view, order)
        else:
            signed = (signer or self.who).sign_message(self.typed(view, order, exchange))
            order["signature"] = "0x" + signed.signature.hex()
        return {"deferExec": False, "order": order, "owner": self.keys.key, "orderType": order_type, **more}

    def nested(self, view: Listed, order: dict[str, Any]) -> str:
        """A deposit wallet's signature, wrapped by the venue's own library."""
        contract, version = EXCHANGES[(view.listing.version, view.listing.neg_risk)]
        fields: dict[str, Any] = {
            "chain_id": 137,
            "exchange_address": contract,
            "protocol_version": version,
            "order_type": "FAK",
            "salt": order["salt"],
            "maker": order["maker"],
            "signer": order["signer"],
            "token_id": order["tokenId"],
            "maker_amount": int(order["makerAmount"]),
            "taker_amount": int(order["takerAmount"]),
            "side": order["side"],
            "signature_type": 3,
            "timestamp": int(order["timestamp"]),
            "metadata": order["metadata"],
            "builder": order["builder"],
            "expiration": int(order["expiration"]),
        }
        unsigned = UnsignedOrder(**fields)
        inner: Any = "0x" + self.who.sign_typed_data(full_message=build_order_typed_data(unsigned)).signature.hex()
        return str(build_order_signature(unsigned, inner))

    def order(self, view: Listed, side: str, maker: int, taker: int, **more: Any) -> httpx.Response:
        """Place an order."""
        return self.send("POST", "/order", self.body(view, side, maker, taker, **more))

    def cash(self) -> int:
        """Cash in micro-dollars."""
        return int(self.send("GET", "/balance-allowance", query={"asset_type": "COLLATERAL"}).json()["balance"])

    def held(self, view: Listed, token: str) -> int:
        """Shares that can be sold, in 1e-6."""
        kind = "CONDITIONAL-V2" if view.listing.version == "v2" else "CONDITIONAL"
        query = {"asset_type": kind, "token_id": token}
        return int(self.send("GET", "/balance-allowance", query=query).json()["balance"])

    def trades(self) -> list[dict[str, Any]]:
        """All trades, newest first."""
        data = self.send("GET", "/data/trades").json()["data"]
        assert isinstance(data, list)
        return data

    def settled(self) -> None:
        """Wait until every trade is CONFIRMED."""
        end = time.monotonic() + 3
        while any(trade["status"] != "TRADE_STATUS_CONFIRMED" for trade in self.trades()):
            assert time.monotonic() < end, "trades did not settle"
            time.sleep(0.02)
