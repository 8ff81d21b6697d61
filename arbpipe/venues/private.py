"""A private stream of one venue: it says that an order has news, never what it is.

Nothing is booked from it. Fills come from the gateway's own questions, so a fill counts once, in whatever order response,
stream and listing tell of it. Nothing is replayed after a reconnect: each time the stream is up it tells that anything may
have happened. While it is down nobody is told anything, and whoever waits runs into its own time-out.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from arbpipe.errors import EnvironmentRefused
from arbpipe.venues.frames import FrameError
from arbpipe.venues.wire import Wire

__all__ = ["PrivateStream"]

#: A connection that is being made when everything ends gets so long to be closed in order.
_STOP_S: Final = 0.2


class PrivateStream(ABC):
    """One connection that is kept up from :meth:`start` to :meth:`stop`. What a venue says is its subclass's.

    ``malformed`` frames were counted and ignored. ``is_live``: subscribed, so news is being told. ``connections``: how often
    it was up. ``trouble``: why it last went down.
    """

    def __init__(
        self,
        url: str,
        key: str,
        tls: ssl.SSLContext | None,
        on_news: Callable[[str], None],
        *,
        headers: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        """``key``: where ``url`` is configured. ``on_news`` is called with the name of an order, or with ``""``: ask about
        everything.

        Raises:
            EnvironmentRefused: ``url`` is no WebSocket address.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.netloc or not parts.path:
            raise EnvironmentRefused(f"{key} = {url!r} is no address like wss://host/path")
        self.wire = Wire(url, self, tls=tls, headers=headers)
        self.on_news = on_news
        self.malformed = 0
        self.connections = 0
        self.is_live = False
        self.trouble = ""
        self._is_open = False
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # -- what a venue says -------------------------------------------------------------------------------------------

    @abstractmethod
    def subscribe(self) -> None:
        """The connection is up: ask for the news."""

    @abstractmethod
    def read(self, data: bytes) -> None:
        """Act on one message.

        Raises:
            FrameError: it cannot be read.
        """

    def subscribed(self) -> None:
        """The venue tells from now on: ask about everything once, because nothing is replayed."""
        self.is_live = True
        self.on_news("")

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Call ``work`` once if the connection is still up then; one such call at a time."""
        self.no_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, work)

    def give_up(self, reason: str) -> None:
        """End this connection; the wire makes a new one."""
        self._down(reason)
        self.wire.drop(reason)

    # -- life --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and stay connected."""
        self._task = asyncio.get_running_loop().create_task(self.wire.run())

    async def stop(self) -> None:
        """End for good."""
        self._stopped = True
        self.no_timer()
        self.wire.stop()
        task, self._task = self._task, None
        if task is None:
            return
        await asyncio.wait({task}, timeout=_STOP_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def wire_opened(self) -> None:
        """Called by the wire."""
        if self._stopped:
            self.wire.drop("ended while it connected")
            return
        self._is_open = True
        self.connections += 1
        self.subscribe()

    def wire_message(self, data: bytes) -> None:
        """Called by the wire."""
        if not self._is_open:
            return  # given up already
        try:
            self.read(data)
        except FrameError:
            self.malformed += 1

    def wire_closed(self, reason: str) -> None:
        """Called by the wire."""
        self._down(reason)

    def _down(self, reason: str) -> None:
        self.no_timer()
        self._is_open = self.is_live = False
        self.trouble = reason

    def no_timer(self) -> None:
        """Forget what :meth:`later` was told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
