"""A gateway against the simulated venue in the same process: real sockets, real signatures, faults on command."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from arbpipe.fixedpoint import parse_money_e6, parse_qty_e6
from arbpipe.identity import Side, Venue, instrument_uid
from arbpipe.sim.authority import make_authority
from arbpipe.sim.kalshi_server import KalshiAccountConfig, KalshiSimConfig, RunningKalshi, running_kalshi
from arbpipe.venues.base import Action, Order, Outcome
from arbpipe.venues.kalshi.auth import KalshiSigner
from arbpipe.venues.kalshi.gateway import KalshiGateway, KalshiPatience

KEY_ID = "a1b2c3d4-0000-4000-8000-000000000002"
#: Short enough for a test, long enough for a busy machine.
PATIENCE = KalshiPatience(
    order_s=0.5, read_s=5.0, fills_s=3.0, budget_s=1.0, lookup_s=4.0, between_s=0.05, apart_s=0.15, fresh_ms=100, warm=1
)


@dataclass
class Scene:
    """One venue whose market stands still, and one gateway."""

    server: RunningKalshi
    gateway: KalshiGateway
    signer: KalshiSigner
    tls: ssl.SSLContext
    ticker: str

    def do(self, name: str, **more: Any) -> Any:
        """A command to the simulator."""
        return self.server.faults.do({"do": name, **more})

    def quote(self, bid: str = "0.4000", ask: str = "0.4200", size: str = "50.00") -> None:
        """One bid and one ask, in YES prices."""
        self.do("quotes", ticker=self.ticker, bids=[[bid, size]], asks=[[ask, size]])

    def statement(self) -> Any:
        """The venue's own statement of the account."""
        return self.server.account.statement()

    def cash_e6(self) -> int:
        """The account's cash by its own statement."""
        return parse_money_e6(self.statement()["cash"])

    async def restart(self) -> None:
        """A new process of ours: another gateway, which knows nothing."""
        await self.gateway.close()
        tickers = list(self.server.catalog.markets)
        self.gateway = KalshiGateway(
            self.server.rest, self.signer, self.tls, ws_url=self.server.ws, tickers=lambda: tickers, patience=PATIENCE
        )
        await self.gateway.open()

    def order(self, client_id: str = "ap-1-0-0", **changes: Any) -> Order:
        values: dict[str, Any] = {
            "client_id": client_id,
            "venue": Venue.KALSHI,
            "uid": instrument_uid("kalshi", self.ticker),
            "native_id": self.ticker,
            "side": Side.YES,
            "action": Action.BUY,
            "size_e2": 1_000,
            "price_e4": 4_200,
        }
        return Order(**(values | changes))

    def is_stated(self, order: Order, outcome: Outcome) -> bool:
        """Whether the outcome's fills are exactly those that the venue booked for this client id, to the micro-dollar."""
        said = self.statement()
        ids = {each["order_id"] for each in said["orders"] if each["client_order_id"] == order.client_id}
        theirs = {each["fill_id"]: each for each in said["fills"] if each["order_id"] in ids}
        ours = {fill.fill_id: (fill.qty_e6, fill.fee_e6, fill.cash_e6) for fill in outcome.fills}
        return ours == {
            name: (parse_qty_e6(each["count"]), parse_money_e6(each["fee"]), parse_money_e6(each["cash"]))
            for name, each in theirs.items()
        }


@asynccontextmanager
async def simulated(folder: Path, *, use_rsa: bool = False, **config: Any) -> AsyncIterator[Scene]:
    """A funded account at a venue of eight events, and an open gateway."""
    key = rsa.generate_private_key(65_537, 2_048) if use_rsa else Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    authority = make_authority(folder / "tls")
    files = authority.issue("kalshi")
    made = KalshiSimConfig(
        directory=folder / "venue",
        started_ns=time.time_ns() + 3_600 * 10**9,  # nothing moves but what a test moves
        account=KalshiAccountConfig(KEY_ID, public.decode(), 1_000_000_000),
        cert=files.cert,
        key=files.key,
        **({"tier": "prime"} | config),
    )
    async with running_kalshi(made) as server:
        tls = ssl.create_default_context(cafile=str(authority.ca_pem))
        signer = KalshiSigner(KEY_ID, pem)
        tickers = list(server.catalog.markets)
        gateway = KalshiGateway(server.rest, signer, tls, ws_url=server.ws, tickers=lambda: tickers, patience=PATIENCE)
        await gateway.open()
        scene = Scene(server, gateway, signer, tls, tickers[0])
        try:
            scene.quote()
            yield scene
        finally:
            await scene.gateway.close()
