"""The lines of a recording: what each connection of a scenario sent and received, in order of time.

Times are epoch nanoseconds of arrival; a venue's own milliseconds lie a few milliseconds before.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Final

from arbpipe.sim.kalshi_wire import MARKETS_PER_CONNECTION, KalshiConnection
from arbpipe.sim.listing import Market, Venue
from arbpipe.sim.polymarket_wire import (
    ASSETS_PER_CONNECTION,
    PING,
    PONG,
    PolymarketMarket,
    dump_array,
    new_market,
    subscribe,
)
from arbpipe.sim.quotes import Book, BookSide
from arbpipe.sim.scenario import Change, Scenario
from arbpipe.sim.timeline import MS
from arbpipe.sim.units import plain_text

__all__ = ["Recording", "record_kalshi", "record_polymarket"]

_PING_NS: Final = 10_000 * MS
_ANSWER_NS: Final = 12 * MS
_SNAPSHOT_NS: Final = 17 * MS


class Recording:
    """Lines of one file. Arrival times never go back: a line that would is given the time of the one before."""

    def __init__(self, venue: Venue, started_ns: int, extra: dict[str, object]) -> None:
        header = {"arbpipe_recording": 1, "venue": venue.value, "started_ns": started_ns, **extra}
        self.started_ns = started_ns
        self.frames = 0
        self._last_ns = started_ns
        self._lines = [json.dumps(header, separators=(",", ":"))]

    def _add(self, offset_ns: int, conn: int, key: str, text: str) -> None:
        self._last_ns = max(self._last_ns, self.started_ns + offset_ns)
        line = {"t_ns": self._last_ns, "conn": conn, key: text}
        self._lines.append(json.dumps(line, separators=(",", ":"), ensure_ascii=False))

    def event(self, offset_ns: int, conn: int, name: str) -> None:
        """``open`` or ``close``."""
        self._add(offset_ns, conn, "event", name)

    def send(self, offset_ns: int, conn: int, text: str) -> None:
        """What the client sent."""
        self._add(offset_ns, conn, "send", text)

    def receive(self, offset_ns: int, conn: int, text: str) -> None:
        """A raw frame from the venue."""
        self._add(offset_ns, conn, "recv", text)
        self.frames += 1

    def text(self) -> str:
        """The whole file."""
        return "\n".join(self._lines) + "\n"


class _VenueClock:
    """A venue's milliseconds: a few before arrival, never going back."""

    def __init__(self, rng: random.Random, started_ns: int, delay_ms: int) -> None:
        self._rng, self._started_ns, self._delay_ms = rng, started_ns, delay_ms
        self._last_ms = self._sent_ms = 0

    def at(self, offset_ns: int) -> int:
        """Epoch milliseconds at the venue of what arrives at ``offset_ns``."""
        moment_ms = (self._started_ns + offset_ns) // MS - self._delay_ms - self._rng.randrange(3)
        self._last_ms = max(self._last_ms, moment_ms)
        return self._last_ms

    def sent(self, ts_ms: int) -> int:
        """Epoch milliseconds at which the venue queues what happened at ``ts_ms``: at once or a little later."""
        self._sent_ms = max(self._sent_ms, ts_ms + self._rng.randrange(3))
        return self._sent_ms


def _chunks(markets: Sequence[Market], size: int) -> list[Sequence[Market]]:
    return [markets[start : start + size] for start in range(0, len(markets), size)]


class _KalshiSession:
    """All Kalshi connections of a scenario."""

    def __init__(self, scenario: Scenario, started_ns: int) -> None:
        self._rng = random.Random(f"sim-kalshi-wire:{scenario.seed}")
        self._yes_price = scenario.seed % 2 == 1
        self._scenario = scenario
        self.recording = Recording(Venue.KALSHI, started_ns, {"use_yes_price": self._yes_price})
        self._clock = _VenueClock(self._rng, started_ns, 9)
        self._books = {market.key: scenario.opening[market.key].copy() for market in scenario.markets(Venue.KALSHI)}
        self._groups = _chunks(scenario.markets(Venue.KALSHI), MARKETS_PER_CONNECTION)
        self._wires = [
            KalshiConnection(use_yes_price=self._yes_price, skip_ticker_ack=scenario.seed % 4 >= 2)
            for _ in self._groups
        ]
        self._asked: dict[int, tuple[int, list[Market]]] = {}
        self._conn_of = {market.key: conn for conn, group in enumerate(self._groups) for market in group}

    def _now(self, at_ns: int) -> int:
        return self._clock.sent(self._clock.at(at_ns))

    def _snapshots(self, offset_ns: int, conn: int, markets: Sequence[Market]) -> None:
        for index, market in enumerate(markets):
            at_ns = offset_ns + index * 50_000
            frame = self._wires[conn].snapshot(market, self._books[market.key], self._now(at_ns))
            self.recording.receive(at_ns, conn, frame)

    def open(self, conn: int) -> None:
        """Connect, subscribe to some markets, add the rest; every market's first book arrives."""
        wire, group, out = self._wires[conn], self._groups[conn], self.recording
        for market in group:
            wire.set_clock(market, self._rng.randrange(1_000, 5_000_000) if self._rng.randrange(6) else 0)
        first = group[: (len(group) + 1) // 2]
        rest = group[len(first) :]
        out.event(0, conn, "open")
        command, text = wire.subscribe([market.native_id for market in first])
        out.send(2 * MS, conn, text)
        out.receive(40 * MS, conn, wire.subscribed(command, self._now(40 * MS)))
        self._snapshots(41 * MS, conn, first)
        if rest:
            command, text = wire.update("add_markets", [market.native_id for market in rest])
            out.send(80 * MS, conn, text)
            out.receive(110 * MS, conn, wire.ok(command, self._now(110 * MS)))
            self._snapshots(111 * MS, conn, rest)

    def close(self, conn: int) -> None:
        """End the connection."""
        self.recording.event(self._scenario.duration_ns, conn, "close")

    def change(self, change: Change) -> None:
        """One exchange action."""
        conn, at_ns = self._conn_of[change.market.key], change.offset_ns
        ts_ms = self._clock.at(at_ns)
        sending_ms = self._clock.sent(ts_ms)
        book, tick = self._books[change.market.key], self._rng.randrange(1, 6)
        frames = self._wires[conn].deltas(
            change.market, book, change.levels, tick=tick, ts_ms=ts_ms, sending_ms=sending_ms
        )
        for frame in frames:
            self.recording.receive(at_ns, conn, frame)

    def get_snapshot(self, at_ns: int, conn: int) -> None:
        """Ask for a fresh book of one or two markets; changes may come in before the answer does."""
        group = self._groups[conn]
        chosen = self._rng.sample(list(group), min(len(group), self._rng.randrange(1, 3)))
        command, text = self._wires[conn].update("get_snapshot", [market.native_id for market in chosen])
        self.recording.send(at_ns, conn, text)
        self._asked[conn] = (command, chosen)

    def answer_snapshot(self, at_ns: int, conn: int) -> None:
        """The answer: a snapshot for each market asked for, numbered in the stream and bearing the command's id."""
        command, chosen = self._asked.pop(conn)
        for market in chosen:
            frame = self._wires[conn].snapshot(market, self._books[market.key], self._now(at_ns), command)
            self.recording.receive(at_ns, conn, frame)

    def subscribe_again(self, at_ns: int, conn: int) -> None:
        """Subscribe to a market already held: it merges into the same ``sid``, and the ``ok`` consumes a ``seq``."""
        command, text = self._wires[conn].subscribe([self._rng.choice(self._groups[conn]).native_id])
        self.recording.send(at_ns, conn, text)
        self.recording.receive(at_ns + 1, conn, self._wires[conn].ok(command, self._now(at_ns)))

    def list_subscriptions(self, at_ns: int, conn: int) -> None:
        """Ask what is subscribed; the answer is an ``ok`` without a ``seq``."""
        command, text = self._wires[conn].list_subscriptions()
        self.recording.send(at_ns, conn, text)
        self.recording.receive(at_ns + 1, conn, self._wires[conn].subscriptions(command, self._now(at_ns)))

    def connections(self) -> range:
        """The numbers of the connections."""
        return range(len(self._groups))


def record_kalshi(scenario: Scenario, started_ns: int) -> Recording:
    """The Kalshi side of a scenario as a recording. Odd seeds use YES prices for both sides, even seeds do not."""
    session = _KalshiSession(scenario, started_ns)
    for conn in session.connections():
        session.open(conn)
    agenda: list[tuple[int, int, int]] = []
    for conn in session.connections():
        for action, first_ms, every_ms in ((0, 2_500, 3_000), (1, 4_000, 5_000), (2, 1_500, 60_000)):
            for at_ns in range(first_ms * MS, scenario.duration_ns - 2 * _SNAPSHOT_NS, every_ms * MS):
                agenda.append((at_ns, conn, action))
                if action == 0:
                    agenda.append((at_ns + _SNAPSHOT_NS, conn, 3))
    agenda.sort(reverse=True)
    actions = (session.get_snapshot, session.subscribe_again, session.list_subscriptions, session.answer_snapshot)
    for change in scenario.changes:
        while agenda and agenda[-1][0] < change.offset_ns:
            at_ns, conn, action = agenda.pop()
            actions[action](at_ns, conn)
        if change.market.venue is Venue.KALSHI:
            session.change(change)
    while agenda:
        at_ns, conn, action = agenda.pop()
        actions[action](at_ns, conn)
    for conn in session.connections():
        session.close(conn)
    return session.recording


class _PolymarketSession:
    """All Polymarket connections of a scenario."""

    def __init__(self, scenario: Scenario, started_ns: int) -> None:
        self._rng = random.Random(f"sim-polymarket-wire:{scenario.seed}")
        self._scenario = scenario
        self.recording = Recording(Venue.POLYMARKET, started_ns, {})
        self._clock = _VenueClock(self._rng, started_ns, 21)
        self._groups = _chunks(scenario.markets(Venue.POLYMARKET), ASSETS_PER_CONNECTION // 2)
        self._conn_of = {market.key: conn for conn, group in enumerate(self._groups) for market in group}
        self._wires = {
            market.key: PolymarketMarket(market, scenario.opening[market.key].copy(), self._last_trade(market))
            for group in self._groups
            for market in group
        }
        self._listed = 0
        self._moves = 0

    def _last_trade(self, market: Market) -> str:
        """A first last trade price: mostly the touch, sometimes with a needless zero, sometimes never traded."""
        book: Book = self._scenario.opening[market.key]
        text = plain_text(book.touch(BookSide.ASK), 4)
        shape = self._rng.randrange(8)
        if shape == 0:
            return ""
        return text + "0" if shape <= 2 and len(text) <= 4 else text

    def connections(self) -> range:
        """The numbers of the connections."""
        return range(len(self._groups))

    def open(self, conn: int) -> None:
        """Connect and subscribe; the first books of all tokens come in one array."""
        out, group = self.recording, self._groups[conn]
        out.event(0, conn, "open")
        wires = [self._wires[market.key] for market in group]
        out.send(2 * MS, conn, subscribe([asset for wire in wires for asset in wire.assets]))
        base_ms = self._clock.at(60 * MS)
        books = []
        for wire in wires:
            # a first book carries the time of its last change, which may be long ago
            books.extend(wire.first_books(base_ms - self._rng.randrange(200, 60_000)))
        out.receive(60 * MS, conn, dump_array(books))

    def close(self, conn: int) -> None:
        """End the connection."""
        self.recording.event(self._scenario.duration_ns, conn, "close")

    def change(self, change: Change) -> None:
        """One exchange action: a frame for each level, a trade's frames, now and then the new touch."""
        wire, conn, at_ns = self._wires[change.market.key], self._conn_of[change.market.key], change.offset_ns
        ts_ms = self._clock.at(at_ns)
        before = (wire.book.touch(BookSide.BID), wire.book.touch(BookSide.ASK))
        frames = [wire.price_change(level, ts_ms) for level in change.levels]
        if change.trade is not None:
            frames += wire.trade(change.trade, ts_ms, f"0x{self._rng.getrandbits(256):064x}")
        if before != (wire.book.touch(BookSide.BID), wire.book.touch(BookSide.ASK)):
            self._moves += 1
            if self._moves % 4 == 0:
                frames.append(wire.best_bid_ask(ts_ms))
        for frame in frames:
            self.recording.receive(at_ns, conn, frame)

    def keep_alive(self, at_ns: int, conn: int) -> None:
        """The client's PING."""
        self.recording.send(at_ns, conn, PING)

    def answer(self, at_ns: int, conn: int) -> None:
        """The venue's PONG."""
        self.recording.receive(at_ns, conn, PONG)

    def announce(self, at_ns: int, conn: int) -> None:
        """A market unknown to the catalog is listed."""
        self._listed += 1
        rng = self._rng
        tokens = (str(rng.getrandbits(255) | 1 << 255), str(rng.getrandbits(255) | 1 << 255))
        frame = new_market(self._listed, f"0x{rng.getrandbits(256):064x}", tokens, self._clock.at(at_ns))
        self.recording.receive(at_ns, conn, frame)


def record_polymarket(scenario: Scenario, started_ns: int) -> Recording:
    """The Polymarket side of a scenario as a recording."""
    session = _PolymarketSession(scenario, started_ns)
    agenda: list[tuple[int, int, int]] = []
    for conn in session.connections():
        session.open(conn)
        for at_ns in range(_PING_NS, scenario.duration_ns - _ANSWER_NS, _PING_NS):
            agenda += [(at_ns, conn, 0), (at_ns + _ANSWER_NS, conn, 1)]
        agenda.extend((at_ns, conn, 2) for at_ns in range(3_300 * MS, scenario.duration_ns - MS, 9_000 * MS))
    agenda.sort(reverse=True)
    actions = (session.keep_alive, session.answer, session.announce)
    for change in scenario.changes:
        while agenda and agenda[-1][0] < change.offset_ns:
            at_ns, conn, action = agenda.pop()
            actions[action](at_ns, conn)
        if change.market.venue is Venue.POLYMARKET:
            session.change(change)
    while agenda:
        at_ns, conn, action = agenda.pop()
        actions[action](at_ns, conn)
    for conn in session.connections():
        session.close(conn)
    return session.recording
