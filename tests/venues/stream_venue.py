"""A scripted private stream on loopback: it keeps what it hears, and says and does what the test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web

from arbpipe.venues.private import PrivateStream


class Peer:
    """One connection as the venue sees it."""

    def __init__(self, socket: web.WebSocketResponse, transport: Any) -> None:
        self.socket = socket
        self.transport = transport
        self.heard: list[str] = []

    async def say(self, *frames: Any) -> None:
        """Send frames; what is no text is sent as JSON."""
        for frame in frames:
            await self.socket.send_str(frame if isinstance(frame, str) else json.dumps(frame))


class StreamVenue:
    """The venue: every connection it ever had. ``admits`` sees each handshake; ``hears`` each text."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.handshakes: list[web.Request] = []
        self.admits: Callable[[web.Request], bool] = lambda request: True

    async def hears(self, peer: Peer, text: str) -> None:
        """Overridden by each venue."""

    @property
    def peer(self) -> Peer:
        """The youngest connection."""
        return self.peers[-1]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.handshakes.append(request)
        if not self.admits(request):
            return web.Response(status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        peer = Peer(socket, request.transport)
        self.peers.append(peer)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                peer.heard.append(message.data)
                await self.hears(peer, message.data)
        return socket

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve; yields the address."""
        app = web.Application()
        app.router.add_get("/ws", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"ws://127.0.0.1:{runner.addresses[0][1]}/ws"
        finally:
            for peer in self.peers:
                if not peer.socket.closed:
                    peer.transport.abort()
            await runner.cleanup()


async def until(what: Callable[[], Any], within_s: float = 5.0) -> None:
    """Wait until something is so."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not what():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def started(stream: PrivateStream) -> AsyncIterator[PrivateStream]:
    """A stream from its start to its stop."""
    stream.start()
    try:
        yield stream
    finally:
        await stream.stop()
