"""The Kalshi feed on its sockets: connections, subscriptions, and what must be asked when nothing comes (design 6).

Reads the listed markets of a generation, keeps them subscribed over as many connections as they need, and gives every frame
to :class:`~arbpipe.venues.kalshi.feed.KalshiFeed`. Whatever ends a connection makes its instruments NO_QUOTE at that moment.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from arbpipe.clock import boottime_ns, stamp_ns, wall_ns
from arbpipe.errors import EnvironmentRefused
from arbpipe.shm.generation import HasListings
from arbpipe.shm.stats import ErrorCode
from arbpipe.shm.tables import VenueState
from arbpipe.venues.kalshi.auth import KalshiSigner
from arbpipe.venues.kalshi.feed import MAX_MARKETS, KalshiFeed
from arbpipe.venues.kalshi.line import Line
from arbpipe.venues.kalshi.rest import KalshiRest
from arbpipe.venues.kalshi.watch import KalshiWatch
from arbpipe.venues.publisher import Publisher
from arbpipe.venues.wire import Wire

__all__ = ["KalshiLive"]

_LONGEST_TICK_S: Final = 0.25
_SHORTEST_TICK_S: Final = 0.01
#: CLOCK_BOOTTIME runs on in suspend, CLOCK_MONOTONIC does not: more than this between them is a sleep.
_SLEEP_NS: Final = 500_000_000
_SETTLED_NS: Final = 100_000_000


class _Socket:
    """One wire and its line; what the wire sees goes to the feed and to the line."""

    def __init__(self, live: KalshiLive, number: int, *, lifecycle: bool) -> None:
        self._live = live
        self.number = number
        self.wire = Wire(live.url, self, tls=live.tls, headers=live.headers)
        self.line = Line(number, live, self.wire.send, limit=MAX_MARKETS, lifecycle=lifecycle)
        self.task: asyncio.Task[None] | None = None

    def wire_opened(self) -> None:
        if self._live.stopped:
            return  # the connection was being made when everything ended
        now = boottime_ns()
        self._live.opened(self, now)
        self.line.opened(now)

    def wire_message(self, data: bytes) -> None:
        recv_ns, age_ns = stamp_ns(), boottime_ns()
        if not self.line.is_open:
            return  # of a connection that was given up: it must not come to life again
        feed = self._live.feed
        feed.frame(self.number, data, recv_ns, age_ns)
        self.line.heard(feed.last, age_ns)
        if feed.outbox:
            self._live.drain(age_ns)

    def wire_closed(self, reason: str) -> None:
        if self._live.stopped and not self.line.is_open:
            return
        self.line.closed(boottime_ns())
        self._live.feed.closed(self.number, reason, stamp_ns())

    def give_up(self, reason: str) -> None:
        """Invalidate at once, not when the operating system gets round to it; the wire connects again."""
        self.wire_closed(reason)
        self.wire.drop(reason)


class KalshiLive:
    """All connections of one feed process. ``feed`` must have been made with ``use_yes_price=True``."""

    def __init__(
        self,
        feed: KalshiFeed,
        publisher: Publisher,
        ws_url: str,
        signer: KalshiSigner,
        tls: ssl.SSLContext | None,
        *,
        max_confirm_age_ns: int,
        rest: KalshiRest | None = None,
    ) -> None:
        """``max_confirm_age_ns``: how old a confirmation may be; half of it without a numbered frame is asked about. ``rest``:
        where the venue is asked whether it trades; ``feed`` must then have a strict standing. Without it frames alone say so.

        Raises:
            EnvironmentRefused: ``ws_url`` is no WebSocket address.
        """
        parts = urlsplit(ws_url)
        if parts.scheme not in ("ws", "wss") or not parts.netloc or not parts.path:
            raise EnvironmentRefused(f"kalshi.ws = {ws_url!r} is no address like wss://host/trade-api/ws/v2")
        self.feed = feed
        self.url = ws_url
        self.tls = tls
        self._publisher = publisher
        self._signer = signer
        self._path = parts.path
        self._quiet_ns = max_confirm_age_ns // 2
        self._tick_s = min(max(self._quiet_ns / 10e9, _SHORTEST_TICK_S), _LONGEST_TICK_S)
        self._sockets: list[_Socket] = []
        self._place: dict[str, _Socket] = {}
        self._running = False
        self._stopped = asyncio.Event()
        self._asleep_ns = boottime_ns() - stamp_ns()
        self._full = False
        self._watch = None if rest is None else KalshiWatch(rest, feed.standing, self.complain, feed.fee_of)
        self._state: tuple[VenueState, str] | None = None
        self._again_ns = 0
        if self._watch is not None:
            publisher.frames_say_trading = False

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopped.is_set()

    def headers(self) -> Mapping[str, str]:
        """The signature of one handshake, made as it is sent."""
        return self._signer.headers("GET", self._path)

    # -- markets -----------------------------------------------------------------------------------------------------

    def set_markets(self, generation: HasListings) -> None:
        """Subscribe what is listed and nothing else; may be called while running, after ``feed.list(generation)``."""
        venue = self._publisher.venue
        listed = {each.native_id: None for each in generation.listings if each.venue is venue}
        for ticker in [each for each in self._place if each not in listed]:
            self._place.pop(ticker).line.wanted.pop(ticker, None)
        self._full = False
        self._assign([ticker for ticker in listed if ticker not in self._place])
        self._sync()
        if self._watch is not None:
            self._watch.stir()

    def _assign(self, tickers: list[str]) -> None:
        """Give each market a connection with room, a new one where none has."""
        for at, ticker in enumerate(tickers):
            socket = next((each for each in self._sockets if len(each.line.wanted) < each.line.limit), None)
            socket = socket or self._new_socket()
            if socket is None:
                if not self._full:
                    self._full = True
                    self.complain(
                        f"{len(tickers) - at} listed Kalshi markets, {ticker} first, have no connection: all "
                        f"{len(self._sockets)} are full; they have no quote (raise segment.connections)"
                    )
                return
            socket.line.wanted[ticker] = None
            self._place[ticker] = socket

    def _new_socket(self) -> _Socket | None:
        number = len(self._sockets)
        try:
            self._publisher.connection(number)
        except IndexError:
            return None
        # trading stops are announced for all markets at once: one connection hears them
        socket = _Socket(self, number, lifecycle=number == 0)
        self._sockets.append(socket)
        if self._running:
            socket.task = asyncio.create_task(socket.wire.run())
        return socket

    def _sync(self) -> None:
        now = boottime_ns()
        for socket in self._sockets:
            socket.line.sync(now)

    # -- what lines ask ----------------------------------------------------------------------------------------------

    def ended(self, line: Line) -> None:
        """See :class:`~arbpipe.venues.kalshi.line.LineOwner`."""
        self.feed.ended(line.number, stamp_ns())

    def overflow(self, line: Line, tickers: tuple[str, ...]) -> None:
        """See :class:`~arbpipe.venues.kalshi.line.LineOwner`."""
        for ticker in tickers:
            self._place.pop(ticker, None)
        self._assign(list(tickers))
        self._sync()

    def dropped(self, line: Line, tickers: tuple[str, ...]) -> None:
        """See :class:`~arbpipe.venues.kalshi.line.LineOwner`."""
        self.feed.unsubscribed(line.number, tickers)

    def opened(self, socket: _Socket, age_ns: int) -> None:
        """A socket is open: its books begin in a new epoch."""
        self.feed.opened(socket.number, age_ns)
        index = self._publisher.connection(socket.number)
        self._publisher.connections.note(index, reconnects=socket.wire.reconnects)

    def hears(self, line: Line, on: bool, now_ns: int) -> None:
        """See :class:`~arbpipe.venues.kalshi.line.LineOwner`."""
        self.feed.standing.hearing(on, now_ns)
        self.feed.stirred = True
        self.feed.restand(stamp_ns())

    def complain(self, text: str) -> None:
        """See :class:`~arbpipe.venues.kalshi.line.LineOwner`."""
        self._publisher.bad(ErrorCode.VENUE, text)

    def drain(self, age_ns: int) -> None:
        """Ask the venue for what the feed wants to see again; requests of one moment are one command a connection."""
        wanted: dict[int, dict[str, None]] = {}
        outbox = self.feed.outbox
        while outbox:
            number, (_, tickers) = outbox.popleft()
            wanted.setdefault(number, {}).update(dict.fromkeys(tickers))
        for number, names in wanted.items():
            if number < len(self._sockets):
                self._sockets[number].line.snapshots(names, age_ns)

    # -- running -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep every connection up until :meth:`stop`; then nothing of this feed is quoted.

        Raises:
            Exception: what a connection's task could not handle; the process should end and start anew.
        """
        self._running = True
        watching = asyncio.create_task(self._watch.run()) if self._watch is not None else None
        try:
            for socket in self._sockets:
                socket.task = asyncio.create_task(socket.wire.run())
            while not self._stopped.is_set():
                self._tick()
                if watching is not None and watching.done():
                    watching.result()
                for socket in self._sockets:
                    if socket.task is not None and socket.task.done():
                        socket.task.result()
                await asyncio.sleep(self._tick_s)
        finally:
            self._running = False
            tasks = [task for task in (watching, *(socket.task for socket in self._sockets)) if task is not None]
            self.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _tick(self) -> None:
        now = boottime_ns()
        asleep = now - stamp_ns()
        if asleep - self._asleep_ns > _SLEEP_NS:
            for socket in self._sockets:
                socket.give_up(f"this machine slept for {(asleep - self._asleep_ns) / 1e9:.1f} s")
        self._asleep_ns = asleep
        for socket in self._sockets:
            reason = socket.line.tick(now, self._quiet_ns)
            if reason:
                self.complain(f"kalshi connection {socket.number}: {reason}; connecting again")
                socket.give_up(reason)
        if self.feed.outbox:
            self.drain(now)
        self._stand(now)

    def _stand(self, now: int) -> None:
        """What the venue said since the last look, and what the clock says, becomes venue and instrument state."""
        if self._watch is None:
            return
        if self.feed.stirred:
            self.feed.stirred = False
            self._watch.stir()
            # and once more when reads no longer show what was before
            self._again_ns = now + self.feed.standing.lag_ns + _SETTLED_NS
        elif 0 < self._again_ns < now:
            self._again_ns = 0
            self._watch.stir()
        wall_ms = wall_ns() // 1_000_000
        state = self.feed.standing.venue(now, wall_ms)
        if state != self._state:
            before, self._state = self._state, state
            self._publisher.venue_state(state[0])
            if state[1] and before is not None:  # before the first answer there is nothing to tell
                self.complain(f"kalshi does not trade: {state[1]}")
        while self._watch.renewed:
            self.feed.renew(self._watch.renewed.pop(), stamp_ns())
        if self.feed.standing.stirred(wall_ms, now):
            self.feed.restand(stamp_ns())

    def stop(self) -> None:
        """End: when this returns nothing is quoted and the feed is called no more; :meth:`run` returns soon after."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        for socket in self._sockets:
            socket.wire.stop()
            socket.wire_closed("stopped")
