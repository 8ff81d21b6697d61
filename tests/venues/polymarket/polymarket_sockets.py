"""A scripted market channel on loopback: it serves books, and falls silent as the test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web
from feed_bench import Bench, polymarket, toml
from polymarket_clob import serving
from polymarket_driven import MARKET, NO, OTHER, OTHER_NO, OTHER_YES, YES, Market

from arbpipe.shm.generation import Generation
from arbpipe.shm.row import RowFlag
from arbpipe.venues.polymarket.feed import PolymarketFeed
from arbpipe.venues.polymarket.live import Manners, PolymarketLive

MS = 1_000_000
AGE_NS = 600 * MS
MANNERS = Manners(book_ns=150 * MS, ping_ns=1_500 * MS, again_ns=50 * MS, tick_ns=10 * MS)


class Channel:
    """The venue's side. ``mute``: assets whose book never comes; ``frozen``: no data at all; ``deaf``: no PONG either."""

    def __init__(self, *markets: Market) -> None:
        self.by_token = {token: market for market in markets for token in (market.yes, market.no)}
        self.mute: set[str] = set()
        self.frozen = self.deaf = False
        self.sockets: list[web.WebSocketResponse] = []
        self.subscribed: list[dict[str, Any]] = []  # the first message of each connection
        self.operations: list[tuple[str, tuple[str, ...]]] = []
        self.pings = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            if message.data == "PING":
                self.pings += 1
                if not self.deaf:
                    await socket.send_str("PONG")
                continue
            said = json.loads(message.data)
            if "type" in said:
                self.subscribed.append(said)
                await self.books(socket, said["assets_ids"])
            else:
                self.operations.append((said["operation"], tuple(said["assets_ids"])))
                if said["operation"] == "subscribe":
                    await self.books(socket, said["assets_ids"])
        return socket

    async def books(self, socket: web.WebSocketResponse, assets: Iterable[str]) -> None:
        shown = [self.by_token[a].book(a) for a in assets if a in self.by_token and a not in self.mute]
        if shown and not self.frozen:
            await socket.send_str(json.dumps(shown))

    async def say(self, frame: Any) -> None:
        for socket in self.sockets:
            if not socket.closed:
                await socket.send_str(json.dumps(frame))

    def demanded(self, asset: str) -> int:
        """How often this asset was subscribed after the connection's first message."""
        return sum(asset in assets for operation, assets in self.operations if operation == "subscribe")


class Running:
    """A feed on live sockets against the channel."""

    def __init__(self, made: Bench, channel: Channel, live: PolymarketLive, feed: PolymarketFeed) -> None:
        self.bench, self.channel, self.live, self.feed = made, channel, live, feed
        self.slot = made.first_slot

    def list(self, *entries: str) -> Generation:
        generation = self.bench.generation(toml(*entries))
        self.feed.list(generation)
        self.live.set_markets(generation)
        return generation

    def quoted(self, slot: int | None = None) -> bool:
        row = self.bench.rows.read(self.slot if slot is None else slot)
        return row is not None and bool(row.yes_asks)

    def flags(self) -> RowFlag:
        return self.bench.flags(self.slot)

    def age_ns(self, now: int) -> int:
        """How long ago the first row was confirmed."""
        return now - self.bench.rows.confirmed_ns(self.slot)

    async def until(self, what: Callable[[], bool], seconds: float = 3.0) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while not what():
            assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
            await asyncio.sleep(0.005)


ENTRIES = (polymarket(MARKET, YES, NO), polymarket(OTHER, OTHER_YES, OTHER_NO))


@asynccontextmanager
async def running(
    made: Bench, channel: Channel, *entries: str, age_ns: int = AGE_NS, manners: Manners = MANNERS
) -> AsyncIterator[Running]:
    async with serving(channel.handle) as url:
        feed = PolymarketFeed(made.publisher)
        live = PolymarketLive(
            feed, made.publisher, url.replace("http", "ws"), None, max_confirm_age_ns=age_ns, manners=manners
        )
        it = Running(made, channel, live, feed)
        it.list(*(entries or ENTRIES[:1]))
        task = asyncio.create_task(live.run())
        try:
            yield it
        finally:
            live.stop()
            await task
