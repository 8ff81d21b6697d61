"""The live side of Kalshi against the simulated venue in a process of its own: TLS, signatures, books, orders, statement."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from feed_bench import Bench, bench, kalshi, toml

from arbpipe.fixedpoint import format_price, parse_money_e6, parse_price_e4, parse_size_e2
from arbpipe.identity import Side, Venue, instrument_uid
from arbpipe.shm.row import Row
from arbpipe.shm.stats import Counter
from arbpipe.sim.authority import make_authority
from arbpipe.venues.base import Action, Order, Outcome, OutcomeState
from arbpipe.venues.kalshi.auth import KalshiSigner
from arbpipe.venues.kalshi.feed import KalshiFeed
from arbpipe.venues.kalshi.gateway import KalshiGateway
from arbpipe.venues.kalshi.live import KalshiLive

pytestmark = pytest.mark.system
KEY_ID = "a1b2c3d4-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class Simulated:
    """A running simulator, and what a client needs for it."""

    rest: str
    ws: str
    tls: ssl.SSLContext
    signer: KalshiSigner


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulated]:
    authority = make_authority(tmp_path / "tls")
    files = authority.issue("kalshi")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    config = {
        "directory": str(tmp_path / "venue"),
        "seed": 7,
        "events": 4,
        "seconds": 120,
        "speed": 0.2,
        "started_ns": time.time_ns(),
        "tier": "prime",
        "account": {"key_id": KEY_ID, "public_key_pem": public.decode(), "cash_usd": "1000"},
        "tls": {"cert": str(files.cert), "key": str(files.key)},
    }
    path = tmp_path / "sim.json"
    path.write_text(json.dumps(config))
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "arbpipe.sim.kalshi_server", str(path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
    )
    ready = tmp_path / "venue" / "kalshi.json"
    try:
        for _ in range(1_000):
            if ready.exists() or process.poll() is not None:
                break
            time.sleep(0.01)
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        addresses = json.loads(ready.read_text())
        tls = ssl.create_default_context(cafile=str(authority.ca_pem))
        yield Simulated(addresses["rest"], addresses["ws"], tls, KalshiSigner(KEY_ID, pem))
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
        assert errors == b""


class Client:
    """A feed and a gateway of one run, and a plain reader of the venue's own statements."""

    def __init__(self, made: Bench, sim: Simulated, http: aiohttp.ClientSession) -> None:
        self.bench = made
        self.sim = sim
        self.http = http
        self.tickers: list[str] = []

    async def read(self, path: str) -> Any:
        base = self.sim.rest if path.startswith("/markets") else self.sim.rest.removesuffix("/trade-api/v2")
        async with self.http.get(base + path, ssl=self.sim.tls) as response:
            assert response.status == 200
            return await response.json()

    def row(self, ticker: str) -> Row | None:
        return self.bench.rows.read(self.bench.first_slot + self.tickers.index(ticker))

    async def until(self, what: Any, within_s: float = 10.0) -> None:
        for _ in range(int(within_s / 0.02)):
            if await what():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it did not happen in time")

    async def same_as_rest(self, ticker: str) -> bool:
        """Whether the row is the eight best levels of the REST book, mirrored."""
        book = (await self.read(f"/markets/{ticker}/orderbook"))["orderbook_fp"]
        row = self.row(ticker)
        if row is None or row.flags:
            return False
        sides = []
        for name in ("no_dollars", "yes_dollars"):
            bids = sorted(((parse_price_e4(p), parse_size_e2(s)) for p, s in book.get(name) or ()), reverse=True)
            sides.append(tuple((10_000 - price, size) for price, size in bids[:8]))
        return (row.yes_asks, row.no_asks) == tuple(sides)


@asynccontextmanager
async def client(made: Bench, sim: Simulated) -> AsyncIterator[tuple[Client, KalshiGateway]]:
    async with aiohttp.ClientSession() as http:
        each = Client(made, sim, http)
        markets = (await each.read("/markets?limit=100&status=open&mve_filter=exclude"))["markets"]
        each.tickers = [market["ticker"] for market in markets]
        generation = made.generation(toml(*map(kalshi, each.tickers)))
        feed = KalshiFeed(made.publisher, use_yes_price=True)
        live = KalshiLive(feed, made.publisher, sim.ws, sim.signer, sim.tls, max_confirm_age_ns=2_000_000_000)
        feed.list(generation)
        live.set_markets(generation)
        gateway = KalshiGateway(sim.rest, sim.signer, sim.tls)
        await gateway.open()
        work = asyncio.create_task(live.run())
        try:
            yield each, gateway
        finally:
            live.stop()
            await asyncio.wait_for(work, 5)
            await gateway.close()


def test_live_books_orders_and_statement_agree_with_the_venue(simulated: Simulated) -> None:
    async def main(made: Bench) -> None:
        async with client(made, simulated) as (each, gateway):
            assert len(each.tickers) >= 3
            for ticker in each.tickers:
                await each.until(lambda ticker=ticker: each.same_as_rest(ticker))
            cash = await gateway.cash_e6()
            assert cash == 1_000_000_000
            ticker = next(name for name in each.tickers if (row := each.row(name)) and row.yes_asks and row.no_asks)
            outcomes = await trades(each, gateway, ticker)
            statement = await each.read("/sim/statement")
            booked = [fill for outcome in outcomes for fill in outcome.fills]
            assert {fill.fill_id: fill.cash_e6 for fill in booked} == {
                fill["fill_id"]: parse_money_e6(fill["cash"]) for fill in statement["fills"]
            }
            assert cash + sum(fill.cash_e6 for fill in booked) == parse_money_e6(statement["cash"])
            assert await gateway.cash_e6() == parse_money_e6(statement["cash"])
            # two YES, less the one sold, less the pair that buying NO netted
            assert await gateway.positions() == ()
            assert statement["positions"] == {}

    with bench(Venue.KALSHI) as made:
        asyncio.run(main(made))
        assert made.get(Counter.GAPS) == 0
        assert made.alerts() == []


async def trades(each: Client, gateway: KalshiGateway, ticker: str) -> list[Outcome]:
    """Buy two YES, sell one, buy one NO against the other, each at any price; ask again what became of each."""
    outcomes = []
    steps = ((Side.YES, Action.BUY, 200, 9_900), (Side.YES, Action.SELL, 100, 100), (Side.NO, Action.BUY, 100, 9_900))
    for number, (side, action, size, price) in enumerate(steps):
        order = Order(
            f"ap-5-0-{number}",
            Venue.KALSHI,
            instrument_uid("kalshi", ticker),
            ticker,
            side,
            action,
            size,
            price,
            action is Action.SELL,
        )
        outcome = await gateway.place(order)
        assert outcome.state is OutcomeState.FILLED, (format_price(price), outcome)
        assert outcome.qty_e6 == size * 10_000
        assert await gateway.lookup(order) == outcome
        assert await gateway.place(order) == outcome  # the same id again is the same order
        outcomes.append(outcome)
    assert [sum(fill.released_e6 for fill in outcome.fills) for outcome in outcomes] == [0, 0, 1_000_000]
    return outcomes


def test_an_order_that_never_arrived_is_none_by_the_venues_own_evidence(simulated: Simulated) -> None:
    async def main(made: Bench) -> Outcome:
        async with client(made, simulated) as (each, gateway):
            ticker = each.tickers[0]
            uid = instrument_uid("kalshi", ticker)
            return await gateway.lookup(Order("ap-6-0-0", Venue.KALSHI, uid, ticker, Side.YES, Action.BUY, 100, 5_000))

    with bench(Venue.KALSHI) as made:
        assert asyncio.run(main(made)).state is OutcomeState.NONE
