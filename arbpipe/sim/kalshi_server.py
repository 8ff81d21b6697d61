"""Simulated Kalshi as a real server: REST and WebSocket on one TLS port of 127.0.0.1.

``python -m arbpipe.sim.kalshi_server CONFIG.json`` runs until it is ended. When it is ready it writes
``<directory>/kalshi.json`` with its addresses, atomically. The account lies in ``<directory>/kalshi.sqlite`` and goes on
after a kill; the market moves as if the server had never been away.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from arbpipe.sim.authority import server_context
from arbpipe.sim.kalshi_account import Account
from arbpipe.sim.kalshi_auth import Keyring
from arbpipe.sim.kalshi_catalog import Catalog
from arbpipe.sim.kalshi_config import ConfigError, KalshiAccountConfig, KalshiSimConfig, read_config
from arbpipe.sim.kalshi_errors import Refusal
from arbpipe.sim.kalshi_limits import Limits
from arbpipe.sim.kalshi_rest import PREFIX, Rest, json_answer
from arbpipe.sim.kalshi_store import Store
from arbpipe.sim.kalshi_ws import Hub, serve_socket
from arbpipe.sim.listing import Venue
from arbpipe.sim.market import World

__all__ = ["KalshiAccountConfig", "KalshiSimConfig", "RunningKalshi", "running_kalshi", "serve_kalshi"]

SOCKET_PATH: Final = "/trade-api/ws/v2"
_HOST: Final = "127.0.0.1"
_EXPIRY_SECONDS: Final = 0.25
#: 2026-01-01: clocks count from here, so that they grow over restarts and stay small.
_CLOCK_EPOCH_MS: Final = 1_767_225_600_000
_USER_NAMESPACE: Final = uuid.UUID("6f5fd5a2-2f0f-5d0e-9d3b-5a0c6a1b7c11")


@dataclass(frozen=True, slots=True)
class RunningKalshi:
    """A server that answers, and its parts for tests in the same process."""

    port: int
    rest: str
    ws: str
    world: World
    catalog: Catalog
    account: Account
    store: Store
    limits: Limits
    tasks: tuple[asyncio.Task[None], ...]


class _Venue:
    """The parts of one server, wired."""

    def __init__(self, config: KalshiSimConfig) -> None:
        self.world = World(seed=config.seed, events=config.events, seconds=config.seconds, venue=Venue.KALSHI)
        self.catalog = Catalog(self.world.events, self.world.books, config.started_ns)
        config.directory.mkdir(parents=True, exist_ok=True)
        self.store = Store(config.directory / "kalshi.sqlite", config.account.cash_e6)
        self.limits = Limits(config.tier)
        self.user_id = str(uuid.uuid5(_USER_NAMESPACE, config.account.key_id))
        self.hub = Hub(self.catalog, time.time_ns() // 1_000_000 - _CLOCK_EPOCH_MS, self._client_id_of)
        self.account = Account(self.store, self.catalog, self.hub, _now_us)
        self.rest = Rest(
            account=self.account,
            store=self.store,
            catalog=self.catalog,
            keyring=Keyring({config.account.key_id: config.account.public_key_pem}),
            limits=self.limits,
            user_id=self.user_id,
            now_ns=time.time_ns,
            steady_ns=time.monotonic_ns,
        )

    def _client_id_of(self, order_id: str) -> str:
        order = self.store.order(order_id)
        return order.client_order_id if order is not None else ""

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Authenticate the handshake, then serve the connection."""
        try:
            self.rest.verify(request)
        except Refusal as refusal:
            return json_answer(refusal.body, status=refusal.status)
        return await serve_socket(request, self.hub, self.catalog, self.user_id, _now_us)

    async def expire(self) -> None:
        """Cancel orders whose time has come, for ever."""
        while True:
            await asyncio.sleep(_EXPIRY_SECONDS)
            self.account.expire()


def _now_us() -> int:
    return time.time_ns() // 1_000


async def _unknown(request: web.Request) -> web.StreamResponse:
    return json_answer({"error": {"code": "not_found", "message": "not found"}}, status=404)


def _write_atomically(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


@asynccontextmanager
async def running_kalshi(config: KalshiSimConfig) -> AsyncIterator[RunningKalshi]:
    """A server for as long as the context lasts. ``kalshi.json`` is there when the context begins, gone when it ends.

    Raises:
        OSError: the port is taken, or the directory or a certificate file cannot be used.
        ValueError: the key is no public key, or the world cannot be made (see :class:`World`).
    """
    venue = _Venue(config)
    # what the market did meanwhile comes before the orders that rested when the last server ended
    venue.world.forward(round((time.time_ns() - config.started_ns) * config.speed))
    venue.account.restore()
    app = web.Application()
    app.add_routes([*venue.rest.routes(), web.get(SOCKET_PATH, venue.socket), web.route("*", "/{rest:.*}", _unknown)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    tasks: list[asyncio.Task[None]] = []
    ready = config.directory / "kalshi.json"
    try:
        site = web.TCPSite(runner, _HOST, config.port, ssl_context=server_context(config.cert, config.key))
        await site.start()
        port = int(runner.addresses[0][1])
        tasks = [
            asyncio.create_task(venue.world.run(started_ns=config.started_ns, speed=config.speed)),
            asyncio.create_task(venue.expire()),
        ]
        rest, ws = f"https://{_HOST}:{port}{PREFIX}", f"wss://{_HOST}:{port}{SOCKET_PATH}"
        _write_atomically(ready, json.dumps({"port": port, "rest": rest, "ws": ws}) + "\n")
        yield RunningKalshi(
            port, rest, ws, venue.world, venue.catalog, venue.account, venue.store, venue.limits, tuple(tasks)
        )
    finally:
        ready.unlink(missing_ok=True)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await runner.cleanup()
        venue.store.close()
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


async def serve_kalshi(config: KalshiSimConfig) -> None:
    """Serve until cancelled, interrupted or terminated.

    Raises:
        OSError, ValueError: see :func:`running_kalshi`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop.set)
    async with running_kalshi(config) as server:
        asked = asyncio.create_task(stop.wait())
        await asyncio.wait([asked, *server.tasks], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()


def main(arguments: list[str]) -> int:
    """The command: 0 when it was asked to end, 2 for a wrong call, 4 for a wrong configuration."""
    if len(arguments) != 1:
        print("usage: python -m arbpipe.sim.kalshi_server CONFIG.json", file=sys.stderr)
        return 2
    try:
        config = read_config(Path(arguments[0]))
        asyncio.run(serve_kalshi(config))
    except (ConfigError, OSError, ValueError) as error:
        print(f"simulated Kalshi cannot start: {error}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
