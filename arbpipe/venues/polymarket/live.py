"""The Polymarket feed on live sockets: connections, subscriptions, snapshots demanded, and audits (design 6).

The venue numbers nothing and repeats nothing, answers PING while its data stands still, and accepts subscriptions it never
serves (polymarket.md 3.3). So every asset must show a ``book`` soon after it is asked for; every asset that was silent
for half of ``max_confirm_age`` is unsubscribed and subscribed again, which brings a fresh ``book``; and a connection
without data for ``max_confirm_age`` is given up, whatever its PONGs say.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from arbpipe.clock import boottime_ns, stamp_ns
from arbpipe.shm.generation import HasListings, Listing
from arbpipe.shm.stats import ErrorCode
from arbpipe.venues.polymarket.feed import MAX_ASSETS, PolymarketFeed
from arbpipe.venues.publisher import Publisher
from arbpipe.venues.wire import Wire

__all__ = ["Manners", "PolymarketLive"]

_SECOND: Final = 1_000_000_000
#: Longest wait before an asset whose books keep failing is asked for again.
_MOST_BACKOFF_NS: Final = 60 * _SECOND
#: A clock that ran this much further than the other one slept with the machine.
_SUSPEND_NS: Final = _SECOND
#: How long a socket may take to close before it is left.
_CLOSE_S: Final = 1.0
_ASSET: Final = re.compile(rb'"asset_id"\s*:\s*"(\d{1,78})"')
_BOOK: Final = re.compile(rb'"event_type"\s*:\s*"book"')
_CHANGE: Final = re.compile(rb'"event_type"\s*:\s*"price_change"')


@dataclass(frozen=True, slots=True)
class Manners:
    """Times in nanoseconds. ``book``: a demanded ``book`` must come within this. ``ping``: between two PINGs, and for the
    PONG. ``again``: at least this long between two demands for one asset. ``tick``: how often all of it is looked at."""

    book_ns: int = 5 * _SECOND
    ping_ns: int = 10 * _SECOND
    again_ns: int = _SECOND
    tick_ns: int = _SECOND // 5


class _Shard:
    """One connection: what it should carry, and what was asked of it and not shown yet."""

    def __init__(self, live: PolymarketLive, number: int) -> None:
        self._live = live
        self.number = number
        self.is_open = self.ended = False
        self.wanted: dict[str, None] = {}
        self.ever: set[str] = set()  # subscribed since the connection opened: the feed keeps a book of each
        self.awaited: dict[str, int] = {}  # asset → until when its book must have come
        self.seen: dict[str, int] = {}  # asset → when a frame last stated its book
        self.asked: dict[str, int] = {}  # asset → when its book was last demanded
        self.strikes: dict[str, int] = {}  # asset → how often in a row the feed refused its book
        self.due: dict[str, int] = {}  # asset → when to demand it next
        self.data_ns = self.ping_ns = 0
        self.pong_due_ns = 0
        self.wire = Wire(live.ws_url, self, tls=live.tls)
        self.task: asyncio.Task[None] | None = None

    # -- WireUser ----------------------------------------------------------------------------------------------------

    def wire_opened(self) -> None:
        if self.ended:
            self.wire.drop("ended while it connected")
            return
        now = boottime_ns()
        self.is_open = True
        self.ever = set(self.wanted)
        for table in (self.awaited, self.seen, self.asked, self.strikes, self.due):
            table.clear()
        self.data_ns = self.ping_ns = now
        self.pong_due_ns = 0
        self._live.feed.opened(self.number, now)
        message = {"assets_ids": list(self.wanted), "type": "market", "initial_dump": True, "level": 2}
        # best_bid_ask and the like say nothing that the books do not
        self.send({**message, "custom_feature_enabled": False})
        self._await(self.wanted, now)

    def wire_message(self, data: bytes) -> None:
        if not self.is_open:
            return  # given up already: what still arrives must not open the feed's connection again
        now = boottime_ns()
        if data.strip() == b"PONG":
            self.pong_due_ns = 0
            return
        self._live.feed.frame(self.number, data, stamp_ns(), now)
        self.data_ns = now
        refused = self._live.drain(now)
        is_book = _BOOK.search(data) is not None
        if not is_book and _CHANGE.search(data) is None:
            return
        for match in _ASSET.findall(data):
            asset = match.decode()
            if asset not in self.wanted or asset in refused:
                continue
            self.seen[asset] = now
            if is_book:
                self.awaited.pop(asset, None)
                self.strikes.pop(asset, None)

    def wire_closed(self, reason: str) -> None:
        if not self.ended:  # its number may carry another connection by now
            self.close(reason)

    # -- subscriptions -----------------------------------------------------------------------------------------------

    def close(self, reason: str) -> None:
        """Everything of this connection is void from now on."""
        self.is_open = False
        self.awaited.clear()
        self._live.feed.closed(self.number, reason, stamp_ns())

    def drop(self, reason: str) -> None:
        """Give the connection up; the wire makes a new one."""
        self.close(reason)
        self.wire.drop(reason)

    def send(self, message: object) -> None:
        self.wire.send(msgspec.json.encode(message).decode())

    def add(self, assets: Iterable[str]) -> None:
        fresh = [asset for asset in assets if asset not in self.wanted]
        self.wanted.update(dict.fromkeys(fresh))
        if self.is_open and fresh:
            self.ever.update(fresh)
            self.send({"operation": "subscribe", "assets_ids": fresh})
            self._await(fresh, boottime_ns())

    def remove(self, assets: Iterable[str]) -> None:
        gone = [asset for asset in assets if asset in self.wanted]
        for asset in gone:
            for table in (self.wanted, self.awaited, self.seen, self.asked, self.strikes, self.due):
                table.pop(asset, None)
        if self.is_open and gone:
            self.send({"operation": "unsubscribe", "assets_ids": gone})

    def demand(self, assets: Iterable[str], now: int) -> None:
        """A fresh ``book`` of each: unsubscribe and subscribe."""
        wanted = [asset for asset in assets if asset in self.wanted]
        if not wanted or not self.is_open:
            return
        self.send({"operation": "unsubscribe", "assets_ids": wanted})
        self.send({"operation": "subscribe", "assets_ids": wanted})
        self._await(wanted, now)

    def _await(self, assets: Iterable[str], now: int) -> None:
        for asset in assets:
            self.asked[asset] = now
            self.due.pop(asset, None)
            self.awaited[asset] = now + self._live.manners.book_ns

    def refused(self, asset: str, now: int) -> None:
        """The feed cannot use this asset's book: demand another, later and later while that does not help."""
        strikes = self.strikes.get(asset, 0)
        self.strikes[asset] = strikes + 1
        self.awaited.pop(asset, None)
        again = self._live.manners.again_ns
        earliest = self.asked.get(asset, now - again) + min(again << min(strikes, 6), _MOST_BACKOFF_NS)
        self.due[asset] = max(now, earliest)

    # -- time --------------------------------------------------------------------------------------------------------

    def tick(self, now: int) -> None:
        if not self.is_open or not self.wanted:
            return
        manners, limit = self._live.manners, self._live.max_confirm_age_ns
        if now - self.data_ns > limit:
            self.drop(f"no data for {(now - self.data_ns) / _SECOND:.1f} s")
            return
        if self.pong_due_ns and now > self.pong_due_ns:
            self.drop("no PONG")
            return
        if now - self.ping_ns >= manners.ping_ns:
            self.wire.send("PING")
            self.ping_ns = now
            self.pong_due_ns = self.pong_due_ns or now + manners.ping_ns
        late = [asset for asset, until in self.awaited.items() if now > until]
        if late:
            self._live.publisher.bad(
                ErrorCode.VENUE,
                f"polymarket showed no book of {len(late)} assets on connection {self.number} within "
                f"{manners.book_ns / _SECOND:g} s, such as {late[0]}; they are asked for again",
            )
        due = [asset for asset, when in self.due.items() if when <= now]
        self.demand(dict.fromkeys([*late, *due, *self._quiet(now)]), now)

    def _quiet(self, now: int) -> list[str]:
        """The assets to audit now: silent for half the limit, oldest first, as many as spread a full round over a quarter."""
        half = self._live.max_confirm_age_ns // 2
        old = [
            (seen, asset)
            for asset, seen in self.seen.items()
            if now - seen >= half and asset not in self.awaited and asset not in self.due
        ]
        share = -(-len(self.wanted) * self._live.manners.tick_ns // max(half // 2, 1))
        return [asset for _, asset in sorted(old)[: max(share, 1)]]


class PolymarketLive:
    """Keeps connections of at most 400 assets for the listed markets; both tokens of a market share one.

    Runs in one event loop. The caller gives the same generation to ``feed.list`` first, then to :meth:`set_markets`.
    """

    def __init__(
        self,
        feed: PolymarketFeed,
        publisher: Publisher,
        ws_url: str,
        tls: ssl.SSLContext | None,
        *,
        max_confirm_age_ns: int,
        manners: Manners | None = None,
    ) -> None:
        self.feed = feed
        self.publisher = publisher
        self.ws_url = ws_url
        self.tls = tls
        self.max_confirm_age_ns = max_confirm_age_ns
        self.manners = manners or Manners()
        self._shards: dict[int, _Shard] = {}
        self._homes: dict[str, tuple[_Shard, tuple[str, str]]] = {}  # native id → where, and its tokens
        self._ending: set[asyncio.Task[None]] = set()
        self._running = self._stopped = False
        self._skew_ns = boottime_ns() - stamp_ns()

    @property
    def open_connections(self) -> int:
        """How many connections are up."""
        return sum(shard.is_open for shard in self._shards.values())

    @property
    def reconnects(self) -> int:
        """How often a connection was made again."""
        return sum(shard.wire.reconnects for shard in self._shards.values())

    # -- markets -----------------------------------------------------------------------------------------------------

    def set_markets(self, generation: HasListings) -> None:
        """Carry exactly the listed markets; what stays keeps its connection."""
        listed = {each.native_id: each for each in generation.listings if each.venue is self.publisher.venue}
        for native_id, (shard, tokens) in list(self._homes.items()):
            new = listed.get(native_id)
            if new is None or (new.yes_token, new.no_token) != tokens:
                shard.remove(tokens)
                del self._homes[native_id]
        for native_id, listing in listed.items():
            if native_id not in self._homes:
                self._place(listing)
        for number, shard in list(self._shards.items()):
            if not shard.wanted:
                self._end(shard, "nothing of it is listed any more")
                del self._shards[number]

    def _place(self, listing: Listing) -> None:
        tokens = (listing.yes_token, listing.no_token)
        shard = next((each for each in self._shards.values() if _fits(each.ever, each.wanted, tokens)), None)
        if shard is None:
            number = next(free for free in range(len(self._shards) + 1) if free not in self._shards)
            try:
                self.publisher.connection(number)
                shard = self._shards[number] = _Shard(self, number)
                if self._running:
                    self._begin(shard)
            except IndexError:
                # a connection that carried others before has room once it begins anew
                shard = next((each for each in self._shards.values() if _fits(set(), each.wanted, tokens)), None)
                if shard is None:
                    self.publisher.bad(
                        ErrorCode.CATALOG,
                        f"no connection has room for {listing.native_id}: raise [segment] connections, now at {number}",
                    )
                    return
                shard.drop("made anew to have room for other markets")
        shard.add(tokens)
        self._homes[listing.native_id] = (shard, tokens)

    def drain(self, now: int) -> set[str]:
        """Take what the feed wants fresh books of; return those assets."""
        refused: set[str] = set()
        while self.feed.outbox:
            number, (_kind, assets) = self.feed.outbox.popleft()
            refused.update(assets)
            shard = self._shards.get(number)
            for asset in assets:
                if shard is not None and asset in shard.wanted:
                    shard.refused(asset, now)
        for shard in self._shards.values():
            ready = [asset for asset, when in shard.due.items() if when <= now]
            if ready:
                shard.demand(ready, now)
        return refused

    # -- life --------------------------------------------------------------------------------------------------------

    def _begin(self, shard: _Shard) -> None:
        shard.task = asyncio.get_running_loop().create_task(shard.wire.run())

    def _end(self, shard: _Shard, reason: str) -> None:
        shard.ended = True
        if shard.is_open:
            shard.close(reason)
        connected = shard.wire.is_open
        shard.wire.drop(reason)
        shard.wire.stop()
        if shard.task is None:
            return
        if not connected:
            shard.task.cancel()  # it waits, or is about to connect
        self._ending.add(shard.task)  # else it ends by itself when the socket is closed
        shard.task.add_done_callback(self._ending.discard)

    async def run(self) -> None:
        """Keep everything up until :meth:`stop`."""
        self._running = True
        for shard in self._shards.values():
            if shard.task is None:
                self._begin(shard)
        try:
            while not self._ended():
                await asyncio.sleep(self.manners.tick_ns / _SECOND)
                self._tick(boottime_ns())
        finally:
            self._running = False
            for shard in self._shards.values():
                self._end(shard, "stopped")
            ending = set(self._ending)
            if ending:
                _, late = await asyncio.wait(ending, timeout=_CLOSE_S)
                for task in late:
                    task.cancel()
                for result in await asyncio.gather(*ending, return_exceptions=True):
                    if isinstance(result, Exception):
                        self.publisher.bad(ErrorCode.CRASH, f"a polymarket connection ended by {result!r}")

    def _tick(self, now: int) -> None:
        skew = now - stamp_ns()
        if abs(skew - self._skew_ns) > _SUSPEND_NS:
            # one clock ran through a suspend, the other did not: whatever the sockets say, the books are of before (F05)
            for shard in self._shards.values():
                if shard.is_open:
                    shard.drop(f"the machine slept for {abs(skew - self._skew_ns) / _SECOND:.0f} s")
        self._skew_ns = skew
        for shard in self._shards.values():
            if shard.task is not None and shard.task.done():
                shard.task.result()  # a wire ends only when it is stopped: whatever ended it must be known
            shard.tick(now)

    def stop(self) -> None:
        """End :meth:`run` at its next tick."""
        self._stopped = True

    def _ended(self) -> bool:
        return self._stopped


def _fits(ever: set[str], wanted: Iterable[str], tokens: Iterable[str]) -> bool:
    return len(ever | set(wanted) | set(tokens)) <= MAX_ASSETS
