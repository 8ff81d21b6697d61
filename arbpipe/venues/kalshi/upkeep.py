"""What a gateway does between orders, so that an order waits for none of it: warm connections, signatures made ahead, and
the shard of every market that may be traded (kalshi.md sections 1 and 3.4)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Final

from msgspec import Struct

from arbpipe.clock import stamp_ns
from arbpipe.errors import ArbpipeError
from arbpipe.venues.kalshi.auth import KalshiSigner
from arbpipe.venues.kalshi.orders import ORDERS_PATH
from arbpipe.venues.kalshi.rest import KalshiRest

__all__ = ["Shards", "Upkeep"]

_A_READ: Final = 100
_SIGN_S: Final = 1.0
_SECOND_NS: Final = 1_000_000_000
_AGAIN_NS: Final = 60 * _SECOND_NS


class _MarketShard(Struct, frozen=True):
    ticker: str
    exchange_index: int | None = None


class _MarketsPage(Struct, frozen=True):
    markets: list[_MarketShard] | None


class Shards:
    """The exchange index of each market, as the venue states it; it never changes while a market lives."""

    def __init__(self, rest: KalshiRest, tickers: Callable[[], Collection[str]], *, timeout_s: float) -> None:
        self._rest = rest
        self._tickers = tickers
        self._timeout_s = timeout_s
        self._known: dict[str, int] = {}
        self._asked_ns: dict[str, int] = {}

    def of(self, ticker: str) -> int | None:
        """The shard; None where it is not known (the venue then routes by ticker, slower and billed to every bucket)."""
        return self._known.get(ticker)

    async def learn(self) -> None:
        """Ask for the markets that are not known yet; for those whose shard the venue did not state, once a minute.

        Raises:
            ArbpipeError: no answer, or one that cannot be read.
        """
        now = stamp_ns()
        unknown = [
            ticker
            for ticker in self._tickers()
            if ticker not in self._known and now - self._asked_ns.get(ticker, -_AGAIN_NS) >= _AGAIN_NS
        ]
        for first in range(0, len(unknown), _A_READ):
            some = unknown[first : first + _A_READ]
            page = await self._rest.read(
                "/markets", _MarketsPage, {"tickers": ",".join(some), "limit": _A_READ}, timeout_s=self._timeout_s
            )
            self._asked_ns.update(dict.fromkeys(some, now))
            for market in page.markets or ():
                if market.exchange_index is not None and market.exchange_index >= 0:
                    self._known[market.ticker] = market.exchange_index


class Upkeep:
    """The background task of one gateway. It never raises for what the venue does: what it could not do, it tries again."""

    def __init__(
        self,
        rest: KalshiRest,
        signer: KalshiSigner,
        shards: Shards,
        *,
        now_ms: Callable[[], int],
        connections: int,
        every_s: float,
        timeout_s: float,
    ) -> None:
        """``connections`` are kept open by a question each ``every_s`` seconds (less than the venue's idle limit)."""
        self._rest = rest
        self._signer = signer
        self._shards = shards
        self._now_ms = now_ms
        self._connections = connections
        self._every_ns = int(every_s * _SECOND_NS)
        self._timeout_s = timeout_s
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Sign ahead, open the connections and learn the shards once; then go on in the background."""
        self._sign()
        await self.warm()
        with contextlib.suppress(ArbpipeError):  # an unknown shard is routed by the venue
            await self._shards.learn()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def end(self) -> None:
        """Stop."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _sign(self) -> None:
        self._signer.prepare("POST", self._rest.path(ORDERS_PATH), self._now_ms())

    async def warm(self) -> None:
        """One question on each connection, all at the same time: the pool opens as many, and the venue keeps them open."""
        questions = [
            self._rest.ask("GET", "/exchange/status", timeout_s=self._timeout_s) for _ in range(self._connections)
        ]
        await asyncio.gather(*questions, return_exceptions=True)

    async def _run(self) -> None:
        due = stamp_ns() + self._every_ns
        while True:
            await asyncio.sleep(_SIGN_S)
            self._sign()
            if stamp_ns() >= due:
                due = stamp_ns() + self._every_ns
                await self.warm()
            with contextlib.suppress(ArbpipeError):
                await self._shards.learn()
