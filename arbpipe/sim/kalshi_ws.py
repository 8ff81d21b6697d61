"""The sockets of simulated Kalshi: a hub that tells every connection what happens, and the pumps of each connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from aiohttp import WSMsgType, web

from arbpipe.sim.exchange import LevelChange
from arbpipe.sim.framing import Framer
from arbpipe.sim.kalshi_account import Observer
from arbpipe.sim.kalshi_catalog import Catalog
from arbpipe.sim.kalshi_session import Session
from arbpipe.sim.kalshi_store import Fill, OrderRow, Position

__all__ = ["MOST_PENDING", "PING_PAYLOAD", "PING_SECONDS", "Hub", "serve_socket"]

PING_SECONDS: Final = 10.0
PING_PAYLOAD: Final = b"heartbeat"
#: Frames a slow reader may leave unread before its subscriptions end.
MOST_PENDING: Final = 20_000
_TOGETHER: Final = 8
_MOST_COMMAND_BYTES: Final = 1 << 20


class Hub(Observer):
    """All connections, and the exchange clock of every market.

    A market's clock is 0 until something changes. Then it counts the actions on its book from ``clock_base``, in twos:
    all changes of one action share a value and values are skipped, as at the venue.
    """

    def __init__(self, catalog: Catalog, clock_base: int, client_id_of: Callable[[str], str]) -> None:
        self._catalog = catalog
        self._client_id_of = client_id_of
        self._base = clock_base
        self._clocks: dict[str, int] = {}
        self.sessions: set[Session] = set()
        for ticker in catalog.markets:
            catalog.book(ticker).observe(on_level=partial(self._level_changed, ticker))

    def clock_of(self, ticker: str) -> int:
        """The market's exchange clock."""
        return self._clocks.get(ticker, 0)

    def _level_changed(self, ticker: str, change: LevelChange) -> None:
        clock = self._base + 2 * change.action
        self._clocks[ticker] = clock
        if self.sessions:
            client_order_id = self._client_id_of(change.order_id) if change.order_id is not None else ""
            for session in self.sessions:
                session.level_changed(ticker, change, clock, client_order_id)

    def order_changed(self, order: OrderRow) -> None:
        """Tell every connection."""
        for session in self.sessions:
            session.order_changed(order)

    def filled(self, fill: Fill, order: OrderRow) -> None:
        """Tell every connection."""
        for session in self.sessions:
            session.filled(fill, order)

    def position_changed(self, position: Position) -> None:
        """Tell every connection."""
        for session in self.sessions:
            session.position_changed(position)


class _Outbox:
    """Frames on their way to one client."""

    def __init__(self) -> None:
        self._frames: deque[str] = deque()
        self._ready = asyncio.Event()
        self.overflowed = False

    def put(self, frame: str) -> None:
        self._frames.append(frame)
        self.overflowed = self.overflowed or len(self._frames) > MOST_PENDING
        self._ready.set()

    async def drain(self, framer: Framer) -> None:
        while True:
            await self._ready.wait()
            while self._frames:
                together = [self._frames.popleft() for _ in range(min(len(self._frames), _TOGETHER))]
                await framer.send(together)
            self._ready.clear()


async def _ping(socket: web.WebSocketResponse) -> None:
    while True:
        await asyncio.sleep(PING_SECONDS)
        await socket.ping(PING_PAYLOAD)


async def serve_socket(
    request: web.Request, hub: Hub, catalog: Catalog, user_id: str, now_us: Callable[[], int]
) -> web.WebSocketResponse:
    """Serve one connection whose handshake was already authenticated, until either side closes it."""
    socket = web.WebSocketResponse(compress=False, max_msg_size=_MOST_COMMAND_BYTES)
    await socket.prepare(request)
    outbox = _Outbox()
    session = Session(catalog, user_id, outbox.put, now_us, hub.clock_of)
    hub.sessions.add(session)
    pumps = [asyncio.create_task(outbox.drain(Framer(request, len(hub.sessions)))), asyncio.create_task(_ping(socket))]
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                session.receive(message.data)
            elif message.type is WSMsgType.ERROR:
                break
            if outbox.overflowed:
                outbox.overflowed = False
                session.overflow()
    finally:
        hub.sessions.discard(session)
        for pump in pumps:
            pump.cancel()
        for pump in pumps:
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, RuntimeError):
                await pump
    return socket
