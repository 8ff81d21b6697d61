"""One WebSocket that comes back: TLS, reconnect with backoff and jitter, whole messages, and a watch on silence.

The frames of picows are valid only inside its callback, and picows does not put fragments together; both is done here, so
the user of a :class:`Wire` sees bytes objects of whole messages. What a message means is nobody's business here.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

__all__ = ["Wire", "WireUser"]

_FIRST_DELAY_S: Final = 0.1
_MOST_DELAY_S: Final = 10.0
_STABLE_S: Final = 30.0
_MAX_MESSAGE: Final = 64 * 1024 * 1024
_TEXT: Final = WSMsgType.TEXT
_DATA: Final = frozenset({WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION})


class WireUser(Protocol):
    """Who uses a wire. Every call comes from the event loop's thread; none may block."""

    def wire_opened(self) -> None:
        """The connection is up; now is the time to subscribe with :meth:`Wire.send`."""

    def wire_message(self, data: bytes) -> None:
        """One whole text or binary message."""

    def wire_closed(self, reason: str) -> None:
        """The connection is gone; the wire connects again by itself."""


class _Listener(WSListener):
    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire
        self._message = wire.user.wire_message
        self._parts: list[bytes] = []

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._wire.connected(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == _TEXT and frame.fin and not self._parts:  # nearly every frame
            self._message(frame.get_payload_as_bytes())
        elif kind in _DATA:
            data = frame.get_payload_as_bytes()  # a copy: the frame's memory is reused after this callback
            if not frame.fin:
                self._parts.append(data)
                if sum(map(len, self._parts)) > _MAX_MESSAGE:
                    transport.send_close(WSCloseCode.MESSAGE_TOO_BIG)
                    transport.disconnect()
                return
            if self._parts:
                self._parts.append(data)
                data = b"".join(self._parts)
                self._parts.clear()
            self._message(data)
        elif kind is WSMsgType.CLOSE:
            self._wire.close_reason = f"closed by the venue ({frame.get_close_code()})"
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()


class Wire:
    """A WebSocket client connection that is kept up until :meth:`stop`."""

    def __init__(
        self,
        url: str,
        user: WireUser,
        *,
        tls: ssl.SSLContext | None = None,
        headers: Callable[[], Mapping[str, str]] | None = None,
        ping_s: float = 10.0,
    ) -> None:
        """``headers`` is called for each handshake (a signature must be fresh); ``ping_s``: a ping after so much silence,
        and the connection is given up when no answer comes within the same time."""
        self.url = url
        self.user = user
        self._tls = tls
        self._headers = headers
        self._ping_s = ping_s
        self._transport: WSTransport | None = None
        self._stopped = False
        self.reconnects = 0
        self.close_reason = ""

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent now."""
        return self._transport is not None and not self._transport.is_disconnected

    def send(self, text: str) -> None:
        """Send a text message; dropped when the wire is down (what depends on it is sent again on opening)."""
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, text.encode())

    def drop(self, reason: str) -> None:
        """Give this connection up and make a new one."""
        self.close_reason = reason
        if self._transport is not None:
            self._transport.disconnect(False)

    def connected(self, transport: WSTransport) -> None:
        """Called by the listener."""
        self._transport = transport
        self.close_reason = ""
        self.user.wire_opened()

    def stop(self) -> None:
        """End for good."""
        self._stopped = True
        if self._transport is not None:
            self._transport.disconnect()

    def _ended(self) -> bool:
        return self._stopped

    async def run(self) -> None:
        """Keep the connection up until :meth:`stop`. Waits between tries: doubled each time, with jitter, 10 s at most."""
        delay = _FIRST_DELAY_S
        loop = asyncio.get_running_loop()
        while not self._ended():
            began = loop.time()
            try:
                transport, _ = await ws_connect(
                    lambda: _Listener(self),
                    self.url,
                    ssl_context=self._tls,
                    extra_headers=dict(self._headers()) if self._headers else None,
                    max_frame_size=_MAX_MESSAGE,
                    enable_auto_ping=True,
                    auto_ping_idle_timeout=self._ping_s,
                    auto_ping_reply_timeout=self._ping_s,
                    auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
                    enable_auto_pong=True,
                )
                with contextlib.suppress(Exception):
                    # it says how the connection ended; the listener noted what matters
                    await transport.wait_disconnected()
                reason = self.close_reason or "connection lost"
            except Exception as error:
                # picows raises many kinds for "no connection": each is a reason to try again, and is told
                reason = f"{type(error).__name__}: {error}"
            had = self._transport is not None
            self._transport = None
            if self._ended():
                return
            if had:
                self.reconnects += 1
            self.user.wire_closed(reason)
            delay = _FIRST_DELAY_S if loop.time() - began > _STABLE_S else min(delay * 2, _MOST_DELAY_S)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
