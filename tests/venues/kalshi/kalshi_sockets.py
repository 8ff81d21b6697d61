"""A scripted WebSocket of Kalshi on loopback: numbered frames, snapshots of the books it is given, errors on demand."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web
from feed_bench import Bench, kalshi, toml
from kalshi_venue import KEY, signer

from arbpipe.shm.generation import Generation
from arbpipe.shm.row import RowFlag
from arbpipe.venues.kalshi.feed import KalshiFeed
from arbpipe.venues.kalshi.live import KalshiLive

PATH = "/trade-api/ws/v2"
BOOKS = "orderbook_delta"
SECOND = 1_000_000_000


class Peer:
    """One connection as the venue sees it."""

    def __init__(self, venue: ScriptedSockets, ws: web.WebSocketResponse, transport: Any) -> None:
        self.venue = venue
        self.ws = ws
        self.transport = transport
        self.commands: list[dict[str, Any]] = []
        self.sids: dict[str, int] = {}
        self.seqs: dict[int, int] = {}
        self.markets: dict[str, None] = {}
        self.mute = False

    @property
    def open(self) -> bool:
        return not self.ws.closed

    def actions(self, action: str) -> list[list[str]]:
        """The markets of every command of one kind."""
        return [
            each["params"].get("market_tickers", [])
            for each in self.commands
            if action in (each["cmd"], each["params"].get("action"))
        ]

    def book_subscriptions(self) -> list[list[str]]:
        """The markets of every subscription of books."""
        return [
            each["params"]["market_tickers"]
            for each in self.commands
            if each["cmd"] == "subscribe" and each["params"]["channels"] == [BOOKS]
        ]

    async def send(self, kind: str, msg: Any, channel: str = BOOKS, *, numbered: bool = True, **more: Any) -> None:
        frame: dict[str, Any] = {"type": kind, "msg": msg, **more}
        if numbered:
            sid = frame["sid"] = self.sids[channel]
            self.seqs[sid] += 1
            frame["seq"] = self.seqs[sid]
        await self.ws.send_str(json.dumps(frame))

    async def snapshot(self, ticker: str, **more: Any) -> None:
        yes, no = self.venue.books.get(ticker, ([["0.4000", "10.00"]], [["0.4500", "20.00"]]))
        await self.send(
            "orderbook_snapshot", {"market_ticker": ticker, "yes_dollars_fp": yes, "no_dollars_fp": no}, **more
        )

    async def delta(self, ticker: str, price: str, change: str, side: str = "yes") -> None:
        await self.send(
            "orderbook_delta", {"market_ticker": ticker, "price_dollars": price, "delta_fp": change, "side": side}
        )

    async def lifecycle(self, ticker: str, event: str) -> None:
        await self.send(
            "market_lifecycle_v2", {"event_type": event, "market_ticker": ticker}, channel="market_lifecycle_v2"
        )

    async def error(self, code: int, **more: Any) -> None:
        await self.send("error", {"code": code, "msg": f"scripted {code}"}, **more)

    def lose_a_frame(self) -> None:
        self.seqs[self.sids[BOOKS]] += 1

    async def drop(self) -> None:
        """End the connection without a word."""
        self.transport.abort()
        await asyncio.sleep(0)

    async def handle(self, command: dict[str, Any]) -> None:
        self.commands.append(command)
        if self.mute:
            return
        number, params = command["id"], command["params"]
        refusal = self.venue.refuse(self, command)
        if refusal:
            await self.error(refusal, id=number, numbered=False)
        elif command["cmd"] == "subscribe":
            (channel,) = params["channels"]
            sid = self.sids[channel] = max(self.sids.values(), default=0) + 1
            self.seqs[sid] = 0
            await self.send("subscribed", {"channel": channel, "sid": sid}, id=number, numbered=False)
            if channel == BOOKS:
                assert params["use_yes_price"] is params["skip_ticker_ack"] is True
                self.markets = dict.fromkeys(params["market_tickers"])
                for ticker in self.markets:
                    await self.snapshot(ticker)
        else:
            assert params["sid"] == self.sids[BOOKS]
            tickers = params["market_tickers"]
            if params["action"] == "get_snapshot":
                assert set(tickers) <= set(self.markets)
                for ticker in tickers:
                    await self.snapshot(ticker, id=number)
                return
            await self.send("ok", {}, id=number)
            if params["action"] == "add_markets":
                self.markets.update(dict.fromkeys(tickers))
                for ticker in tickers:
                    await self.snapshot(ticker)
            else:
                for ticker in tickers:
                    del self.markets[ticker]


class ScriptedSockets:
    """The venue: every connection it ever had, and what it answers."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.books: dict[str, tuple[list[list[str]], list[list[str]]]] = {}
        self.refuse: Callable[[Peer, dict[str, Any]], int] = lambda peer, command: 0
        self.accept = True

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        stamp = request.headers["KALSHI-ACCESS-TIMESTAMP"]
        KEY.public_key().verify(
            base64.b64decode(request.headers["KALSHI-ACCESS-SIGNATURE"]), f"{stamp}GET{PATH}".encode()
        )
        if not self.accept:
            return web.Response(status=503)
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        peer = Peer(self, ws, request.transport)
        self.peers.append(peer)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await peer.handle(json.loads(message.data))
        return ws

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve; yields the address."""
        app = web.Application()
        app.router.add_get(PATH, self._socket)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"ws://127.0.0.1:{runner.addresses[0][1]}{PATH}"
        finally:
            for peer in self.peers:
                if peer.open:
                    peer.transport.abort()
            await runner.cleanup()


class LiveBench:
    """A live feed of some markets against a scripted venue."""

    def __init__(self, bench: Bench, venue: ScriptedSockets, live: KalshiLive, feed: KalshiFeed) -> None:
        self.bench = bench
        self.venue = venue
        self.live = live
        self.feed = feed
        self.generation: Generation

    def list(self, *tickers: str) -> None:
        """A generation of these markets; each keeps the slot it got first."""
        catalog = toml(*map(kalshi, tickers))
        slots = {each.uid: self.bench.first_slot + self._number(each.native_id) for each in catalog.instruments}
        self.generation = self.bench.generation(catalog, slots)
        self.feed.list(self.generation)
        self.live.set_markets(self.generation)

    _known: dict[str, int] | None = None

    def _number(self, ticker: str) -> int:
        self._known = {} if self._known is None else self._known
        return self._known.setdefault(ticker, len(self._known))

    def slot(self, ticker: str) -> int:
        return self.bench.first_slot + self._number(ticker)

    def quoted(self, ticker: str) -> bool:
        """Whether somebody could trade on the row: quotes, no flag, of the connection's present epoch."""
        row = self.bench.rows.read(self.slot(ticker))
        if row is None or row.flags or not (row.yes_asks or row.no_asks):
            return False
        return row.epoch == self.bench.connections.epoch(row.connection) and self.bench.verified(self.slot(ticker))

    def flags(self, ticker: str) -> RowFlag:
        return self.bench.flags(self.slot(ticker))

    async def until(self, what: Callable[[], Any], within_s: float = 5.0) -> None:
        """Wait until something is so."""
        for _ in range(int(within_s / 0.005)):
            if what():
                return
            await asyncio.sleep(0.005)
        raise AssertionError("it did not happen in time")

    @property
    def peer(self) -> Peer:
        """The youngest connection."""
        return self.venue.peers[-1]


@asynccontextmanager
async def living(
    bench: Bench, *tickers: str, venue: ScriptedSockets | None = None, age_s: float = 10.0
) -> AsyncIterator[LiveBench]:
    """A running live feed whose markets are all quoted, if there are any."""
    venue = venue or ScriptedSockets()
    async with venue.serving() as url:
        feed = KalshiFeed(bench.publisher, use_yes_price=True)
        live = KalshiLive(feed, bench.publisher, url, signer(), None, max_confirm_age_ns=int(age_s * SECOND))
        made = LiveBench(bench, venue, live, feed)
        made.list(*tickers)
        work = asyncio.create_task(live.run())
        try:
            await made.until(lambda: work.done() or all(map(made.quoted, tickers)))
            yield made
        finally:
            live.stop()
            await asyncio.wait_for(work, 5)
