"""The sockets of simulated Kalshi: a hub that tells every connection what happens, and the pumps of each connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from arbpipe.sim.exchange import LevelChange
from arbpipe.sim.framing import Framer
from arbpipe.sim.kalshi_account import Observer
from arbpipe.sim.kalshi_catalog import Catalog, Json
from arbpipe.sim.kalshi_session import ErrorCode, Session
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
        self._waiting: list[tuple[str, Callable[[Session], None]]] = []
        self._freezes = 0
        for ticker in catalog.markets:
            self.watch(ticker)

    def watch(self, ticker: str) -> None:
        """Tell the connections what changes in a market's book."""
        self._catalog.book(ticker).observe(on_level=partial(self._level_changed, ticker))

    def connect(self, session: Session) -> None:
        """A connection opened; what waited for the next one is done to it."""
        self.sessions.add(session)
        waiting, self._waiting = self._waiting, []
        for _, act in waiting:
            act(session)

    def each(self, name: str, act: Callable[[Session], None]) -> int:
        """Do a fault to every connection, or to the next one when there is none; how many there are."""
        sessions = list(self.sessions)
        for session in sessions:
            act(session)
        if not sessions:
            self._waiting.append((name, act))
        return len(sessions)

    def next_freeze(self) -> int:
        """A number for a freeze."""
        self._freezes += 1
        return self._freezes

    def shown(self) -> dict[str, object]:
        """What is still to happen to each connection, and what waits for the next one."""
        return {
            "waiting": [name for name, _ in self._waiting],
            "connections": [session.tap.shown() for session in self.sessions],
        }

    def forget(self, name: str | None) -> None:
        """Forget the faults of that name, or all, here and on every connection."""
        self._waiting = [each for each in self._waiting if name not in (None, each[0])]
        for session in self.sessions:
            session.tap.forget(name)

    def step_back(self, count: int) -> None:
        """Every exchange clock goes back, as it may over a maintenance."""
        self._base -= count
        self._clocks = {ticker: max(clock - count, 0) for ticker, clock in self._clocks.items()}

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

    def announce(self, kind: str, msg: Json) -> None:
        """Tell every connection of the lifecycle channel."""
        for session in self.sessions:
            session.announce(kind, msg)

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
    request: web.Request,
    hub: Hub,
    catalog: Catalog,
    user_id: str,
    now_us: Callable[[], int],
    most_markets: Callable[[], int],
    refusal: Callable[[], ErrorCode | None],
) -> web.WebSocketResponse:
    """Serve one connection whose handshake was already authenticated, until either side closes it."""
    socket = web.WebSocketResponse(compress=False, max_msg_size=_MOST_COMMAND_BYTES)
    await socket.prepare(request)
    outbox = _Outbox()
    ending: set[asyncio.Task[object]] = set()

    def hang_up(hard: bool) -> None:
        if hard and request.transport is not None:
            request.transport.abort()
        elif not hard:
            ending.add(asyncio.ensure_future(socket.close(code=WSCloseCode.GOING_AWAY)))

    session = Session(catalog, user_id, outbox.put, now_us, hub.clock_of, most_markets, refusal, hang_up)
    hub.connect(session)
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
        await asyncio.gather(*ending, return_exceptions=True)
    return socket
