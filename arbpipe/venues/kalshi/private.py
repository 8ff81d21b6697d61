"""Kalshi's private stream: channels ``fill`` and ``user_orders`` on the signed WebSocket (kalshi.md 2.1 … 2.6).

Neither carries a ``seq``, so a lost frame cannot be noticed: that is why nothing is booked from here.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from arbpipe.venues.kalshi.auth import KalshiSigner, wall_ms
from arbpipe.venues.kalshi.codec import ErrorFrame, Fill, Subscribed, UserOrder, decode
from arbpipe.venues.private import PrivateStream

__all__ = ["KalshiPrivate"]

_CHANNELS: Final = ("fill", "user_orders")
_ANSWER_S: Final = 5.0


class KalshiPrivate(PrivateStream):
    """Tells the client order id of an order with news, or its order id where the venue does not name the former."""

    def __init__(
        self,
        ws_url: str,
        signer: KalshiSigner,
        tls: ssl.SSLContext | None,
        on_news: Callable[[str], None],
        *,
        now_ms: Callable[[], int] = wall_ms,
        answer_s: float = _ANSWER_S,
    ) -> None:
        """``now_ms``: wall clock, for the signature of each handshake. ``answer_s``: a subscription that is not confirmed
        within it is given up.

        Raises:
            EnvironmentRefused: ``ws_url`` is no WebSocket address.
        """
        path = urlsplit(ws_url).path
        super().__init__(ws_url, "kalshi.ws", tls, on_news, headers=lambda: signer.headers("GET", path, now_ms()))
        self._answer_s = answer_s
        self._awaited: set[str] = set()

    def subscribe(self) -> None:
        """Both channels, all markets."""
        self._awaited = set(_CHANNELS)
        self.wire.send(
            msgspec.json.encode({"id": 1, "cmd": "subscribe", "params": {"channels": list(_CHANNELS)}}).decode()
        )
        self.later(self._answer_s, lambda: self.give_up("the subscription was not confirmed"))

    def read(self, data: bytes) -> None:
        """One frame.

        Raises:
            FrameError: it cannot be read.
        """
        message = decode(data)
        if isinstance(message, (Fill, UserOrder)):
            self.on_news(message.client_order_id or message.order_id)
        elif isinstance(message, Subscribed) and message.channel in self._awaited:
            self._awaited.discard(message.channel)
            if not self._awaited:
                self.no_timer()
                self.subscribed()
        elif isinstance(message, ErrorFrame):
            # a refused command, or a subscription that ended: either way no news comes here any more
            self.give_up(f"error {message.code}: {message.text}")
