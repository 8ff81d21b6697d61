"""Private streams of both simulated venues, as processes: what was open is asked about because the venue said so.

Every wait here would last a minute without the stream, and the tests end long before: it is the count of questions that shows
who noticed, not the time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from feed_bench import bench

from arbpipe.catalog.pairs import load_pairs
from arbpipe.clock import BootClock
from arbpipe.config import Config
from arbpipe.executor.attempt import AttemptRunner, Policy, Result
from arbpipe.fixedpoint import parse_price_e4, parse_scaled
from arbpipe.identity import Side, Venue
from arbpipe.ledger.book import AttemptRecord, IntentRecord, Ledger
from arbpipe.ledger.store import LedgerStore
from arbpipe.live import kalshi_signer, polymarket_signer, tls_context
from arbpipe.shm.generation import Listing
from arbpipe.simulated import SimulatedVenues, statement_differences
from arbpipe.venues.base import Action, Order, Outcome, OutcomeState
from arbpipe.venues.kalshi.gateway import KalshiGateway
from arbpipe.venues.polymarket.gateway import PolymarketGateway

pytestmark = pytest.mark.system
MINUTE = 60.0
ENOUGH = 20.0
DOLLARS = 1_000_000_000


class CountingKalshi(KalshiGateway):
    """Counts how often it is asked what became of an order."""

    lookups = 0

    async def lookup(self, order: Order) -> Outcome:
        self.lookups += 1
        return await super().lookup(order)


class CountingPolymarket(PolymarketGateway):
    """Counts how often it is asked what became of an order."""

    lookups = 0

    async def lookup(self, order: Order) -> Outcome:
        self.lookups += 1
        return await super().lookup(order)


class Stage:
    """Both gateways with their streams, and what is offered at the venues."""

    def __init__(self, venues: SimulatedVenues, listings: list[Listing], http: aiohttp.ClientSession) -> None:
        self.venues = venues
        self.config = venues.configured(Config())
        self.tls = tls_context(self.config)
        self.listings = {each.uid: each for each in listings}
        self.kalshi = self.new_kalshi(self.config.kalshi.ws)
        self.polymarket = CountingPolymarket(
            self.config.polymarket.clob,
            self.config.polymarket.data,
            polymarket_signer(self.config),
            self.tls,
            listing=self.listings.get,
            listings=lambda: [each for each in listings if each.venue is Venue.POLYMARKET],
            max_order_e6=100_000_000,
            ws_user_url=self.config.polymarket.ws_user,
        )
        self._http = http

    def new_kalshi(self, ws_url: str) -> CountingKalshi:
        return CountingKalshi(self.config.kalshi.rest, kalshi_signer(self.config), self.tls, ws_url=ws_url)

    async def until(self, what: Callable[[], Any]) -> None:
        deadline = time.monotonic() + ENOUGH
        while not what():
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.01)

    async def live(self) -> None:
        for gateway in (self.kalshi, self.polymarket):
            await self.until(lambda gateway=gateway: gateway.stream is not None and gateway.stream.is_live)

    async def read(self, url: str, **query: str) -> Any:
        async with self._http.get(url, params=query, ssl=self.tls) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def offered(self, listing: Listing) -> tuple[int, int]:
        """Price (e4) and size (e2) of the best offer of the YES side; (0, 0) without one."""
        if listing.venue is Venue.KALSHI:
            book = await self.read(f"{self.config.kalshi.rest}/markets/{listing.native_id}/orderbook")
            bids = book["orderbook_fp"].get("no_dollars") or []
            best = max(((parse_price_e4(price), size) for price, size in bids), default=None)
            return (10_000 - best[0], parse_scaled(best[1], 2, floor=True)) if best else (0, 0)
        book = await self.read(f"{self.config.polymarket.clob}/book", token_id=listing.yes_token)
        best = min(((parse_price_e4(each["price"]), each["size"]) for each in book["asks"]), default=None)
        return (best[0], parse_scaled(best[1], 2, floor=True)) if best else (0, 0)

    async def order(self, venue: Venue, client_id: str) -> Order:
        """A purchase of ten contracts that is filled."""
        deadline = time.monotonic() + ENOUGH
        while True:
            for listing in self.listings.values():
                if listing.venue is not venue:
                    continue
                price, size = await self.offered(listing)
                if size >= 5_000 and 1_000 <= price <= 8_000:
                    now_ms = time.time_ns() // 1_000_000
                    uid, name = listing.uid, listing.native_id
                    return Order(
                        client_id, venue, uid, name, Side.YES, Action.BUY, 1_000, price + 300, created_ms=now_ms
                    )
            assert time.monotonic() < deadline, "nothing is offered"
            await asyncio.sleep(0.05)


@asynccontextmanager
async def staged(venues: SimulatedVenues, listings: list[Listing]) -> AsyncIterator[Stage]:
    async with aiohttp.ClientSession() as http:
        stage = Stage(venues, listings, http)
        try:
            await stage.kalshi.open()
            await stage.polymarket.open()
            await stage.live()
            yield stage
        finally:
            await stage.kalshi.close()
            await stage.polymarket.close()


def play(tmp_path: Path, work: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    """Do ``work`` at both venues, within a bound that no wait for a time-out would keep."""

    async def main(venues: SimulatedVenues, listings: list[Listing]) -> None:
        async with staged(venues, listings) as stage:
            await asyncio.wait_for(work(stage), 2 * ENOUGH)

    with (
        bench(Venue.POLYMARKET) as made,
        SimulatedVenues(tmp_path / "venues", seed=3, events=6, lead_s=0.1, cycle_s=60.0) as venues,
    ):
        generation = made.generation(load_pairs(venues.pairs))
        asyncio.run(main(venues, list(generation.listings)))


def test_finality_is_asked_about_once_the_venue_says_so_and_not_before(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        order = await stage.order(Venue.POLYMARKET, "ap-a-0-0")
        outcome = await stage.polymarket.place(order)
        assert outcome.state is OutcomeState.FILLED, outcome.reason
        assert not any(fill.final for fill in outcome.fills)
        while not all(fill.final for fill in outcome.fills):
            await asyncio.wait_for(stage.polymarket.news(MINUTE, [order]), ENOUGH)
            outcome = await stage.polymarket.lookup(order)
        # each trade is told as matched (maybe after the answer was read) and as confirmed, never as mined
        assert 1 <= stage.polymarket.lookups <= 1 + 2 * len(outcome.fills)
        assert stage.polymarket.stream is not None
        assert stage.polymarket.stream.malformed == 0

    play(tmp_path, work)


def test_an_order_of_another_connection_is_known_by_one_question(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        order = await stage.order(Venue.KALSHI, "ap-b-0-0")
        await asyncio.wait_for(stage.kalshi.news(0.01, [order]), ENOUGH)
        noticed = asyncio.ensure_future(stage.kalshi.news(MINUTE, [order]))
        await asyncio.sleep(0.05)
        assert not noticed.done()
        other = stage.new_kalshi("")
        await other.open()
        try:
            placed = await other.place(order)
        finally:
            await other.close()
        assert placed.state is OutcomeState.FILLED, placed.reason
        await asyncio.wait_for(noticed, ENOUGH)
        found = await stage.kalshi.lookup(order)
        assert {fill.fill_id: fill.cash_e6 for fill in found.fills} == {
            fill.fill_id: fill.cash_e6 for fill in placed.fills
        }
        assert stage.kalshi.lookups == 1
        assert stage.kalshi.stream is not None
        assert stage.kalshi.stream.malformed == 0

    play(tmp_path, work)


def test_an_attempt_ends_by_the_streams_alone_and_its_ledger_equals_the_venues_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbpipe.executor.attempt._BETWEEN_STEPS_NS", int(MINUTE * 1e9))
    clock = BootClock()

    async def sleep_until(when_ns: int) -> None:
        await asyncio.sleep((when_ns - clock.now_ns()) / 1e9)

    async def work(stage: Stage) -> None:
        gateways = {Venue.KALSHI: stage.kalshi, Venue.POLYMARKET: stage.polymarket}
        store = LedgerStore(tmp_path / "ledger.sqlite", "DEMO")
        try:
            ledger = Ledger(store)
            ledger.open_account({venue: await gateway.cash_e6() for venue, gateway in gateways.items()})
            order = await stage.order(Venue.POLYMARKET, "ap-c-0-0")
            plan = {"propositions": 1, "group": [], "claims": [[]]}
            record = AttemptRecord("c" * 32, 7, "cover", "e", 1, order.size_e2, 0, False, plan)
            intent = IntentRecord(order, 0, 0, 0, 20_000_000)
            assert ledger.begin(record, (intent,), lambda usage: None) is None
            runner = AttemptRunner(
                ledger,
                gateways,
                Policy(3, 3, DOLLARS),
                clock,
                sleep_until,
                lambda record: [],
                stage.listings.get,
            )
            closing = await asyncio.wait_for(runner.run(record, (intent,), concurrent=True), ENOUGH)
            assert closing.result == Result.BALANCED.value
            (fills,) = ledger.fills(record.attempt).values()
            assert all(fill.final for fill in fills)
            assert stage.polymarket.lookups <= 1 + 2 * len(fills)
            assert statement_differences(ledger, stage.venues) == []
        finally:
            store.close()

    play(tmp_path, work)


def test_after_an_outage_whoever_waits_is_told_to_ask(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        for venue, gateway in ((Venue.KALSHI, stage.kalshi), (Venue.POLYMARKET, stage.polymarket)):
            order = await stage.order(venue, "ap-d-0-0")
            await asyncio.wait_for(gateway.news(0.01, [order]), ENOUGH)
            waits = asyncio.ensure_future(gateway.news(MINUTE, [order]))
            os.kill(stage.venues.pid(venue), signal.SIGKILL)
            assert gateway.stream is not None
            before = gateway.stream.connections
            while not waits.done():
                stage.venues.watch()
                await asyncio.sleep(0.02)
            assert gateway.stream.connections == before + 1
            assert (await gateway.place(order)).state is OutcomeState.FILLED

    play(tmp_path, work)
