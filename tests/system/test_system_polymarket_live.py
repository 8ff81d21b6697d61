"""The live Polymarket side against the simulated venue as a process of its own: books, hashes, orders, statement."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from feed_bench import Bench, bench

from arbpipe.catalog.pairs import load_pairs
from arbpipe.config import Config
from arbpipe.identity import Side, Venue
from arbpipe.live import tls_context
from arbpipe.shm.generation import Listing
from arbpipe.shm.row import Row
from arbpipe.shm.stats import Counter
from arbpipe.simulated import SimulatedVenues
from arbpipe.venues.base import Action, Order, Outcome, OutcomeState, Position
from arbpipe.venues.polymarket.feed import PolymarketFeed
from arbpipe.venues.polymarket.gateway import PolymarketGateway
from arbpipe.venues.polymarket.live import PolymarketLive
from arbpipe.venues.polymarket.signing import OrderSigner

pytestmark = pytest.mark.system


@dataclass
class Trading:
    """A live feed and a gateway on the simulated venue."""

    made: Bench
    venues: SimulatedVenues
    listings: list[Listing]
    gateway: PolymarketGateway

    def row(self, listing: Listing) -> Row | None:
        return self.made.rows.read(listing.slot)

    async def until(self, what: Callable[[], bool], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def trading(made: Bench, venues: SimulatedVenues) -> AsyncIterator[Trading]:
    generation = made.generation(load_pairs(venues.pairs))
    config = venues.configured(Config())
    tls = tls_context(config)
    feed = PolymarketFeed(made.publisher)
    live = PolymarketLive(feed, made.publisher, config.polymarket.ws_market, tls, max_confirm_age_ns=4_000_000_000)
    feed.list(generation)
    live.set_markets(generation)
    listings = [each for each in generation.listings if each.venue is Venue.POLYMARKET]
    key = bytes.fromhex(Path(config.polymarket.private_key_file).read_text())
    gateway = PolymarketGateway(
        config.polymarket.clob,
        config.polymarket.data,
        OrderSigner(key, funder=config.polymarket.funder, signature_type=0),
        tls,
        listing=generation.by_uid.get,
        listings=lambda: listings,
        max_order_e6=100_000_000,
    )
    await gateway.open()
    task = asyncio.create_task(live.run())
    try:
        yield Trading(made, venues, listings, gateway)
    finally:
        live.stop()
        await task
        await gateway.close()


async def confirmed(it: Trading, order: Order) -> Outcome:
    """The outcome of an order once all its trades are final."""
    while True:
        outcome = await it.gateway.lookup(order)
        if all(fill.final for fill in outcome.fills):
            return outcome
        await asyncio.sleep(0.05)


async def trade_both_ways(it: Trading) -> None:
    counter = it.made.get
    await it.until(lambda: all(it.made.rows.verified(each.slot) for each in it.listings))
    await it.until(lambda: counter(Counter.HASH_CHECKED) > 4 * len(it.listings))
    opening = await it.gateway.cash_e6()
    assert await it.gateway.positions() == ()

    def buyable(listing: Listing) -> bool:
        row = it.row(listing)
        asks, bids = (row.asks(Side.NO), row.bids(Side.NO)) if row else ((), ())
        return bool(asks and bids) and 2_000 <= asks[0][0] <= 8_000 and asks[0][1] >= 2_000 and bids[0][1] >= 2_000

    await it.until(lambda: any(buyable(each) for each in it.listings))
    listing = next(each for each in it.listings if buyable(each))
    row = it.row(listing)
    assert row is not None
    given = {"venue": Venue.POLYMARKET, "uid": listing.uid, "native_id": listing.native_id, "side": Side.NO}
    limit = min(row.asks(Side.NO)[0][0] + 200, 9_000)  # two cents above the best: a FAK buy may bring more shares
    now_ms = time.time_ns() // 1_000_000
    buy = Order("ap-sys-0-0", action=Action.BUY, size_e2=1_000, price_e4=limit, created_ms=now_ms, **given)  # type: ignore[arg-type]
    bought = await it.gateway.place(buy)
    assert bought.state is OutcomeState.FILLED, bought.reason
    assert bought.qty_e6 >= 10_000_000 - 10_000 * 10_000 // limit
    assert all(fill.price_e4 <= limit for fill in bought.fills)
    again = await it.gateway.place(buy)  # the same order is the same order: the venue knows it already
    assert (again.state, again.fills) == (OutcomeState.UNKNOWN, ())
    final = await confirmed(it, buy)
    assert [(f.fill_id, f.qty_e6, f.cash_e6) for f in final.fills] == [
        (f.fill_id, f.qty_e6, f.cash_e6) for f in sorted(bought.fills, key=lambda f: f.fill_id)
    ]
    assert await it.gateway.positions() == (Position(listing.uid, 0, bought.qty_e6),)
    assert await it.gateway.cash_e6() == opening + sum(fill.cash_e6 for fill in bought.fills)

    sell_e2 = bought.qty_e6 // 10_000
    row = it.row(listing)
    assert row is not None
    floor = max(row.bids(Side.NO)[0][0] - 500, listing.tick_e4)
    floor -= floor % listing.tick_e4
    sell = Order("ap-sys-0-1", action=Action.SELL, size_e2=sell_e2, price_e4=floor, created_ms=now_ms, **given)  # type: ignore[arg-type]
    sold = await it.gateway.place(sell)
    assert sold.state in (OutcomeState.FILLED, OutcomeState.PARTIAL), sold.reason
    await confirmed(it, sell)
    cash = opening + sum(fill.cash_e6 for fill in (*bought.fills, *sold.fills))
    wallet = it.venues.statement(Venue.POLYMARKET)["wallets"][0]
    assert wallet["cash_e6"] == cash == await it.gateway.cash_e6()
    held = {each["token"]: each["settled_e6"] + each["pending_e6"] for each in wallet["positions"]}
    assert held[listing.no_token] == bought.qty_e6 - sold.qty_e6
    ours = {fill.fill_id: (fill.qty_e6, fill.fee_e6) for fill in (*bought.fills, *sold.fills)}
    assert ours == {each["id"]: (each["qty_e6"], each["fee_e6"]) for each in wallet["trades"]}
    assert counter(Counter.HASH_MISMATCHES) == 0
    assert counter(Counter.BAD_FRAMES) == 0


def test_live_feed_verifies_every_hash_and_a_buy_and_a_sell_agree_with_the_venues_statement(tmp_path: Path) -> None:
    async def main(made: Bench, venues: SimulatedVenues) -> None:
        async with trading(made, venues) as it:
            await trade_both_ways(it)

    with bench(Venue.POLYMARKET) as made, SimulatedVenues(tmp_path, seed=3, events=6, lead_s=2.0) as venues:
        asyncio.run(main(made, venues))
