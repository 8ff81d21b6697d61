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
from arbpipe.sim.kalshi_clock import VenueClock
from arbpipe.sim.kalshi_commands import COMMANDS
from arbpipe.sim.kalshi_config import ConfigError, KalshiAccountConfig, KalshiSimConfig, read_config
from arbpipe.sim.kalshi_control import Control
from arbpipe.sim.kalshi_errors import Refusal, plain
from arbpipe.sim.kalshi_faults import Faults
from arbpipe.sim.kalshi_feechanges import FeeChanges
from arbpipe.sim.kalshi_fees import DIRECT_GRID_E6, INTERMEDIARY_GRID_E6
from arbpipe.sim.kalshi_lifecycle import Lifecycle
from arbpipe.sim.kalshi_limits import Limits
from arbpipe.sim.kalshi_parts import Parts
from arbpipe.sim.kalshi_pauses import Pauses
from arbpipe.sim.kalshi_quoting import QuotedWorld
from arbpipe.sim.kalshi_rest import PREFIX, Rest, json_answer, status_fits
from arbpipe.sim.kalshi_rest_account import AccountAnswers
from arbpipe.sim.kalshi_rest_market import MarketAnswers
from arbpipe.sim.kalshi_rest_orders import OrderAnswers
from arbpipe.sim.kalshi_session import MOST_MARKETS, ErrorCode
from arbpipe.sim.kalshi_store import Store
from arbpipe.sim.kalshi_transfers import Transfers
from arbpipe.sim.kalshi_ws import Hub, serve_socket
from arbpipe.sim.market import World

__all__ = ["KalshiAccountConfig", "KalshiSimConfig", "RunningKalshi", "running_kalshi", "serve_kalshi"]

SOCKET_PATH: Final = "/trade-api/ws/v2"
_HOST: Final = "127.0.0.1"
_UPKEEP_SECONDS: Final = 0.1
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
    hub: Hub
    #: Takes the commands of ``/sim/control``: ``faults.do({"do": "gap"})``.
    faults: Control


class _Venue:
    """The parts of one server, wired."""

    def __init__(self, config: KalshiSimConfig) -> None:
        self.faults = Faults(VenueClock.steady_ns)
        self.clock = VenueClock(self._skew_s)
        self.world = QuotedWorld(seed=config.seed, events=config.events, seconds=config.seconds)
        self.catalog = Catalog(
            self.world.events,
            self.world.books,
            config.started_ns,
            now_us=self.clock.now_us,
            structures=config.structures,
            shards=config.shards,
        )
        config.directory.mkdir(parents=True, exist_ok=True)
        self.store = Store(
            config.directory / "kalshi.sqlite", config.account.cash_e6, config.shard_cash_e6, self.clock.steady_ns
        )
        self.limits = Limits(config.tier, self.catalog.shards())
        self.user_id = str(uuid.uuid5(_USER_NAMESPACE, config.account.key_id))
        self.hub = Hub(self.catalog, time.time_ns() // 1_000_000 - _CLOCK_EPOCH_MS, self._client_id_of)
        grid_e6 = DIRECT_GRID_E6 if config.member == "direct" else INTERMEDIARY_GRID_E6
        self.account = Account(self.store, self.catalog, self.hub, self.clock.now_us, grid_e6)
        self.pauses = Pauses(self.account, self.catalog, self.world.refresh, self._close_sessions, self.hub.step_back)
        self.world.bind(self.catalog, self.pauses.may_quote)
        announce = self.hub.announce
        self.lifecycle = Lifecycle(self.catalog, self.store, self.account, self.world, announce, self.hub.watch)
        self.fees = FeeChanges(self.catalog, self.store, announce)
        self.transfers = Transfers(self.store, self.catalog, self.account)
        self.rest = Rest(
            account=self.account,
            store=self.store,
            catalog=self.catalog,
            keyring=Keyring({config.account.key_id: config.account.public_key_pem}),
            limits=self.limits,
            faults=self.faults,
            fees=self.fees,
            pauses=self.pauses,
            clock=self.clock,
            user_id=self.user_id,
        )
        parts = Parts(
            faults=self.faults,
            hub=self.hub,
            catalog=self.catalog,
            world=self.world,
            lifecycle=self.lifecycle,
            fees=self.fees,
            pauses=self.pauses,
            limits=self.limits,
            later=lambda seconds, act: asyncio.get_running_loop().call_later(seconds, act),
        )
        self.control = Control(parts, COMMANDS)

    def _skew_s(self) -> float:
        skew = self.faults.live("clock_skew")
        return 0.0 if skew is None else float(skew["seconds"])

    def _most_markets(self) -> int:
        limit = self.faults.live("market_limit")
        return MOST_MARKETS if limit is None else int(limit["markets"])

    def _refusal(self) -> ErrorCode | None:
        refused = self.faults.take("command_error")
        return None if refused is None else ErrorCode(refused["code"])

    def _close_sessions(self) -> None:
        for session in list(self.hub.sessions):
            session.hang_up(False)

    def _client_id_of(self, order_id: str) -> str:
        order = self.store.order(order_id)
        return order.client_order_id if order is not None else ""

    def routes(self) -> list[web.RouteDef]:
        """Everything that this server answers."""
        public = MarketAnswers(self.rest).routes()
        private = [*AccountAnswers(self.rest, self.transfers).routes(), *OrderAnswers(self.rest).routes()]
        return [
            *self.rest.web_routes(public, private),
            web.get("/sim/statement", self.statement),
            web.get("/sim/control", self.control.get),
            web.post("/sim/control", self.control.post),
            web.get(SOCKET_PATH, self.socket),
            web.route("*", "/{rest:.*}", _unknown),
        ]

    async def statement(self, request: web.Request) -> web.Response:
        """The whole account, without authentication: for tests, on loopback."""
        return json_answer(self.account.statement())

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Authenticate the handshake, then serve the connection."""
        try:
            refused = self.faults.take("status", lambda each: status_fits(each, "GET", "/ws") and each["path"] != "")
            if refused is not None:
                raise plain(int(refused["status"]))
            self.rest.verify(request)
        except Refusal as refusal:
            return json_answer(refusal.body, status=refusal.status)
        return await serve_socket(
            request, self.hub, self.catalog, self.user_id, self.clock.now_us, self._most_markets, self._refusal
        )

    async def upkeep(self) -> None:
        """Do what the clock brings, for ever."""
        while True:
            await asyncio.sleep(_UPKEEP_SECONDS)
            self.pauses.tick()
            self.lifecycle.tick()
            self.fees.tick()
            self.transfers.tick()
            self.account.expire()


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
    venue.lifecycle.restore()
    venue.account.restore()
    app = web.Application()
    app.add_routes(venue.routes())
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
            asyncio.create_task(venue.upkeep()),
        ]
        rest, ws = f"https://{_HOST}:{port}{PREFIX}", f"wss://{_HOST}:{port}{SOCKET_PATH}"
        _write_atomically(ready, json.dumps({"port": port, "rest": rest, "ws": ws}) + "\n")
        yield RunningKalshi(
            port=port,
            rest=rest,
            ws=ws,
            world=venue.world,
            catalog=venue.catalog,
            account=venue.account,
            store=venue.store,
            limits=venue.limits,
            tasks=tuple(tasks),
            hub=venue.hub,
            faults=venue.control,
        )
    finally:
        ready.unlink(missing_ok=True)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await venue.rest.close()
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
