"""The REST half of simulated Kalshi: routes, authentication, rate limits, faults (kalshi.md section 3).

What the answers say is in :mod:`arbpipe.sim.kalshi_rest_market` (public), ``kalshi_rest_account`` (reads of the account) and
``kalshi_rest_orders`` (writes). ``/sim/statement`` and ``/sim/control`` are for tests, on loopback and without a signature.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from typing import Any, Final, TypeVar

from aiohttp import web

from arbpipe.sim.kalshi_account import Account
from arbpipe.sim.kalshi_auth import Keyring
from arbpipe.sim.kalshi_catalog import Catalog, Json
from arbpipe.sim.kalshi_clock import VenueClock
from arbpipe.sim.kalshi_errors import Refusal, plain, refuse
from arbpipe.sim.kalshi_faults import Faults
from arbpipe.sim.kalshi_feechanges import FeeChanges
from arbpipe.sim.kalshi_limits import Limits
from arbpipe.sim.kalshi_past import Past
from arbpipe.sim.kalshi_pauses import Pauses
from arbpipe.sim.kalshi_store import Books, Store

__all__ = ["PREFIX", "Answer", "Handler", "Rest", "Route", "body_of", "json_answer", "status_fits"]

PREFIX: Final = "/trade-api/v2"
_MOST_BODY: Final = 1 << 20

_dump: Final = partial(json.dumps, separators=(",", ":"))

Answer = Json | web.StreamResponse
Handler = Callable[[web.Request], Awaitable[Answer]]
#: Verb, path below the prefix, handler.
Route = tuple[str, str, Handler]
Done = TypeVar("Done")


def json_answer(body: Json, status: int = 200) -> web.Response:
    """A JSON answer, written compactly as the venue does."""
    return web.json_response(body, status=status, dumps=_dump)


async def body_of(request: web.Request) -> bytes:
    """The request's body.

    Raises:
        Refusal: 413.
    """
    if (request.content_length or 0) > _MOST_BODY:
        raise refuse(413, "request_too_large")
    return await request.read()


def status_fits(params: Any, method: str, path: str) -> bool:
    """Whether a ``status`` fault is meant for a request; ``path`` is below the prefix."""
    return params["method"] in ("", method) and path.startswith(params["path"])


@dataclass(slots=True)
class Rest:
    """Everything an answer needs. ``clock`` is the venue's."""

    account: Account
    store: Store
    catalog: Catalog
    keyring: Keyring
    limits: Limits
    faults: Faults
    fees: FeeChanges
    pauses: Pauses
    clock: VenueClock
    user_id: str
    _later: set[asyncio.Task[Any]] = field(default_factory=set)

    def web_routes(self, public: list[Route], private: list[Route]) -> list[web.RouteDef]:
        """Routes below the prefix; the private ones want a signature."""
        return [
            *(web.route(verb, PREFIX + path, self._answering(run, private=False)) for verb, path, run in public),
            *(web.route(verb, PREFIX + path, self._answering(run, private=True)) for verb, path, run in private),
        ]

    def _answering(self, run: Handler, *, private: bool) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                self._meddle(request)
                if private:
                    self.verify(request)
                if request.method == "GET" or "/portfolio/events/" not in request.path:
                    # an order's price depends on its shard, so orders pay where they are read
                    self.charge(request, signed=private or self.keyring.is_signed(request.headers))
                given = await run(request)
                response = given if isinstance(given, web.StreamResponse) else json_answer(given)
            except Refusal as refusal:
                response = json_answer(refusal.body, status=refusal.status)
            response.headers["Date"] = formatdate(self.clock.now_ns() // 10**9, usegmt=True)
            return response

        return answer

    def _meddle(self, request: web.Request) -> None:
        """Answer in the venue's place when a fault says so, before anything is done."""
        path = request.path.removeprefix(PREFIX)
        if self.faults.live("rate_limit") is not None:
            self.faults.count("rate_limit")
            raise plain(429)
        params = self.faults.take("status", lambda each: status_fits(each, request.method, path))
        if params is None:
            return
        status = int(params["status"])
        if path == "/exchange/status" and status in (500, 503, 504):
            raise Refusal(status, self.pauses.status())
        raise plain(status)

    def verify(self, request: web.Request) -> None:
        """Check who sent a request.

        Raises:
            Refusal: 401.
        """
        now_ms = self.clock.now_ns() // 1_000_000
        self.keyring.verify(request.headers, request.method, request.rel_url.raw_path, now_ms)

    def charge(self, request: web.Request, *, signed: bool, times: int = 1, shard: int | None = 0) -> None:
        """Let the account's buckets pay for a request.

        Raises:
            Refusal: 429.
        """
        now_ns = self.clock.steady_ns()
        self.limits.charge(request.method, request.path, now_ns, signed=signed, times=times, shard=shard)

    def lag_ns(self) -> int:
        """How far reads of the account are behind."""
        params = self.faults.live("lagging_reads")
        return 0 if params is None else round(params["seconds"] * 1e9)

    def books(self) -> Books:
        """The account as reads show it."""
        lag_ns = self.lag_ns()
        if not lag_ns:
            return self.store
        self.faults.count("lagging_reads")
        return Past(self.store, self.clock.steady_ns() - lag_ns)

    def spawn(self, work: Coroutine[Any, Any, Done]) -> asyncio.Task[Done]:
        """Do something that goes on when nobody waits for it any more."""
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)
        return task

    async def close(self) -> None:
        """End what was still to come."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
