"""Both WebSocket channels of the simulated venue (polymarket.md section 3): market data for all, orders for their owner.

Every connection has an outgoing queue of its own, so that a slow reader delays nobody; one that falls too far behind is
closed. Nothing is replayed after a reconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web

from arbpipe.sim.framing import Framer
from arbpipe.sim.polymarket_books import Frame
from arbpipe.sim.polymarket_trading import Exchange
from arbpipe.sim.polymarket_wire import PING, PONG, dump_array

__all__ = ["MarketHub", "UserHub"]

_MOST_QUEUED: Final = 50_000
_FIRST_MESSAGE_S: Final = 10.0


class _Peer:
    """One connection: its socket, what waits to be sent, and what it asked for."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, number: int) -> None:
        self.socket = socket
        self.framer = Framer(request, number)
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.wanted: set[str] = set()
        self.custom = False
        self.everything = False
        self.owner = ""

    def send(self, text: str) -> None:
        """Queue a text; a reader that is too slow is told to go."""
        if self.queue.qsize() < _MOST_QUEUED:
            self.queue.put_nowait(text)
        else:
            self.queue.put_nowait(None)

    async def write(self) -> None:
        """Send what is queued until the socket closes."""
        while (text := await self.queue.get()) is not None:
            await self.framer.send([text])
        await self.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"reader too slow")


def _strings(message: dict[str, Any], name: str) -> list[str]:
    value = message.get(name, [])
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


class _Hub:
    """The connections of one channel."""

    def __init__(self) -> None:
        self._peers: set[_Peer] = set()
        self._accepted = 0

    async def close(self) -> None:
        """Close every connection, as a restart of the venue does."""
        for peer in list(self._peers):
            with contextlib.suppress(ConnectionError, RuntimeError):
                await peer.socket.close(code=WSCloseCode.GOING_AWAY)

    def _first(self, peer: _Peer, message: dict[str, Any]) -> bool:
        raise NotImplementedError

    def _later(self, peer: _Peer, message: dict[str, Any]) -> None:
        raise NotImplementedError

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one connection until either side ends it."""
        socket = web.WebSocketResponse(max_msg_size=4 << 20)
        await socket.prepare(request)
        self._accepted += 1
        peer = _Peer(request, socket, self._accepted)
        writer = asyncio.create_task(peer.write())
        try:
            await self._read(peer)
        finally:
            self._peers.discard(peer)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, RuntimeError):
                await writer
            if not socket.closed:
                await socket.close()
        return socket

    async def _read(self, peer: _Peer) -> None:
        known = False
        while True:
            received = await peer.socket.receive(timeout=None if known else _FIRST_MESSAGE_S)
            if received.type is not WSMsgType.TEXT:
                return
            text = received.data.strip()
            if text == PING:
                peer.send(PONG)
                continue
            try:
                message = json.loads(text)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                peer.send("INVALID OPERATION")
                continue
            if known:
                self._later(peer, message)
            elif self._first(peer, message):
                known = True
                self._peers.add(peer)
            else:
                return


class MarketHub(_Hub):
    """``/ws/market``: books, changes and trades of the assets a connection asked for."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def publish(self, frames: Sequence[Frame]) -> None:
        """Send frames to whoever subscribed to one of their assets."""
        for peer in self._peers:
            for frame in frames:
                if (peer.custom or not frame.custom) and not peer.wanted.isdisjoint(frame.assets):
                    peer.send(frame.text)

    def announce(self, text: str) -> None:
        """Send a message about the venue as a whole, to those who enabled custom features."""
        for peer in self._peers:
            if peer.custom:
                peer.send(text)

    def _first(self, peer: _Peer, message: dict[str, Any]) -> bool:
        if str(message.get("type", "")).lower() != "market":
            return False
        self._subscribe(peer, message, dump=message.get("initial_dump", True) is not False)
        return True

    def _later(self, peer: _Peer, message: dict[str, Any]) -> None:
        if message.get("operation") == "subscribe" or message.get("type") == "market":
            self._subscribe(peer, message, dump=message.get("initial_dump", True) is not False)
        elif message.get("operation") == "unsubscribe":
            peer.wanted.difference_update(_strings(message, "assets_ids"))
        else:
            peer.send("INVALID OPERATION")

    def _subscribe(self, peer: _Peer, message: dict[str, Any], *, dump: bool) -> None:
        """Add assets; new ones get their book, all in one array. An unknown asset is accepted and stays silent."""
        if "custom_feature_enabled" in message:
            peer.custom = message["custom_feature_enabled"] is True
        added = [asset for asset in dict.fromkeys(_strings(message, "assets_ids")) if asset not in peer.wanted]
        peer.wanted.update(added)
        books = [
            self._exchange.by_token[asset].first_book(asset) for asset in added if asset in self._exchange.by_token
        ]
        if dump and books:
            peer.send(dump_array(books))


class UserHub(_Hub):
    """``/ws/user``: orders and trades of one API key."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._exchange = exchange

    def publish(self, owner: str, condition: str, message: dict[str, object]) -> None:
        """Send a message to the owner's connections that follow the market."""
        text = json.dumps(message, separators=(",", ":"))
        for peer in self._peers:
            if peer.owner == owner and (peer.everything or condition in peer.wanted):
                peer.send(text)

    def _first(self, peer: _Peer, message: dict[str, Any]) -> bool:
        auth = message.get("auth")
        if str(message.get("type", "")).lower() != "user" or not isinstance(auth, dict):
            return False
        known = self._exchange.store.key(str(auth.get("apiKey", "")))
        if known is None:
            return False
        for name, expected in (("secret", known.secret), ("passphrase", known.passphrase)):
            if not hmac.compare_digest(expected.encode(), str(auth.get(name, "")).encode()):
                return False
        peer.owner = known.key
        peer.wanted.update(_strings(message, "markets"))
        peer.everything = not peer.wanted
        return True

    def _later(self, peer: _Peer, message: dict[str, Any]) -> None:
        markets = _strings(message, "markets")
        if message.get("operation") == "subscribe":
            peer.wanted.update(markets)
        elif message.get("operation") == "unsubscribe":
            peer.wanted.difference_update(markets)
        else:
            peer.send("INVALID OPERATION")
