"""The simulated Polymarket as a server: CLOB, Gamma, Data API, both WebSockets and the account, on one TLS port of 127.0.0.1.

``python -m arbpipe.sim.polymarket_server CONFIG.json`` runs until it is interrupted. When it serves, it writes
``polymarket.json`` with its addresses into its directory; the account lies there in ``polymarket.sqlite`` and survives a
kill. ``GET /sim/statement`` returns the whole account, for comparison with a ledger.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from arbpipe.sim.authority import server_context
from arbpipe.sim.listing import Venue
from arbpipe.sim.market import Step, World
from arbpipe.sim.polymarket_account import AccountStore
from arbpipe.sim.polymarket_auth import VenueError, checksum
from arbpipe.sim.polymarket_books import MarketView
from arbpipe.sim.polymarket_data import DataRoutes
from arbpipe.sim.polymarket_gamma import GammaRoutes
from arbpipe.sim.polymarket_rest import ClobRoutes, errors_as_json
from arbpipe.sim.polymarket_trading import Exchange, Rules
from arbpipe.sim.polymarket_upkeep import Upkeep
from arbpipe.sim.polymarket_ws import MarketHub, UserHub

__all__ = ["Account", "PolymarketSimConfig", "PolymarketServer", "load_config", "serve_polymarket", "main"]

_TICK_S: Final = 0.02
_HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Account:
    """The customer. ``signature_type`` as in polymarket.md 1.5; an EOA's ``funder`` is its ``address``."""

    address: str
    funder: str
    signature_type: int
    cash_usd: int


@dataclass(frozen=True, slots=True)
class PolymarketSimConfig:
    """What a simulator is told. ``started_ns``: epoch ns of the world's start. ``port`` 0: the system chooses.

    ``seconds`` is the length of the world's first cycle and must be the same for every venue of one world.
    """

    directory: Path
    port: int
    seed: int
    events: int
    started_ns: int
    speed: float
    account: Account
    cert: Path
    key: Path
    seconds: float = 60.0
    rules: Rules = field(default_factory=Rules)


def load_config(raw: Mapping[str, Any]) -> PolymarketSimConfig:
    """Read the members of a configuration file.

    ``directory, port, seed, events, started_ns, speed, account {address, funder, signature_type, cash_usd},
    tls {cert, key}``, and if wanted ``seconds``, ``rules`` (members of :class:`Rules`) and ``faults`` (empty).

    Raises:
        ValueError: a member is missing, unknown or impossible; names it.
    """
    known = {"directory", "port", "seed", "events", "started_ns", "speed", "account", "tls"}
    missing, unknown = known - raw.keys(), raw.keys() - known - {"seconds", "rules", "faults"}
    if missing or unknown:
        raise ValueError(
            f"simulator configuration: missing {sorted(missing)}, unknown {sorted(unknown)}: correct these"
        )
    if raw.get("faults"):
        raise ValueError(f"simulator configuration: faults {raw['faults']!r} are not understood: leave them empty")
    try:
        account = Account(**raw["account"])
        rules = Rules(**raw.get("rules", {}))
        cert, key = Path(raw["tls"]["cert"]), Path(raw["tls"]["key"])
    except (TypeError, KeyError) as error:
        names = ", ".join(each.name for each in fields(Account))
        raise ValueError(f"simulator configuration: account needs {names}; tls needs cert, key ({error})") from error
    try:
        same = checksum(account.address) == checksum(account.funder)
    except VenueError as error:
        raise ValueError(f"simulator configuration: {error}") from error
    if account.signature_type not in (0, 1, 2, 3) or account.cash_usd < 0:
        raise ValueError(f"simulator configuration: {account} needs a signature_type of 0 to 3 and cash from 0 on")
    if account.signature_type == 0 and not same:
        raise ValueError("simulator configuration: an EOA (signature_type 0) is its own funder: make both the same")
    return PolymarketSimConfig(
        directory=Path(raw["directory"]),
        port=int(raw["port"]),
        seed=int(raw["seed"]),
        events=int(raw["events"]),
        started_ns=int(raw["started_ns"]),
        speed=float(raw["speed"]),
        account=account,
        cert=cert,
        key=key,
        seconds=float(raw.get("seconds", 60.0)),
        rules=rules,
    )


class PolymarketServer:
    """One simulated venue: build it, :meth:`start` it, :meth:`stop` it. ``exchange`` may be acted on between the two."""

    def __init__(self, config: PolymarketSimConfig, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._config = config
        self._now_ns = now_ns
        config.directory.mkdir(parents=True, exist_ok=True)
        self._world = World(seed=config.seed, events=config.events, seconds=config.seconds, venue=Venue.POLYMARKET)
        self.store = AccountStore(config.directory / "polymarket.sqlite")
        account = config.account
        self.store.add_wallet(
            checksum(account.address), checksum(account.funder), account.signature_type, account.cash_usd * 1_000_000
        )
        books = self._world.books
        views = [MarketView(market, books[market.key], self._now_ms) for market in self._world.markets]
        self.exchange = Exchange(self.store, views, config.rules, self._now_ms)
        self._upkeep = Upkeep(self.exchange)
        self._market_hub, self._user_hub = MarketHub(self.exchange), UserHub(self.exchange)
        self.exchange.on_frames = self._market_hub.publish
        self.exchange.on_user = self._user_hub.publish
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.5)
        self._tasks: list[asyncio.Task[None]] = []
        self._caught_up = asyncio.Event()
        self._last_past_ns: int | None = None
        self.port = 0

    def _now_ms(self) -> int:
        return self._now_ns() // 1_000_000

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[errors_as_json], client_max_size=4 << 20)
        app.router.add_get("/ws/market", self._market_hub.handle)
        app.router.add_get("/ws/user", self._user_hub.handle)
        app.router.add_get("/sim/statement", self._statement)
        app.router.add_get("/api/geoblock", self._geoblock)
        ClobRoutes(self.exchange).add_to(app)
        DataRoutes(self.exchange).add_to(app)
        GammaRoutes(self.exchange, self._world.events).add_to(app)
        return app

    async def _geoblock(self, request: web.Request) -> web.Response:
        return web.json_response({"blocked": False, "ip": _HOST, "country": "XX", "region": ""})

    async def _statement(self, request: web.Request) -> web.Response:
        return web.json_response(self.statement())

    def statement(self) -> dict[str, object]:
        """Every wallet with its positions, orders and trades; amounts are integers of 1e-6, prices of 1e-4."""
        wallets = []
        for wallet in self.store.wallets():
            where = {"funder": wallet.funder}
            wallets.append(
                {
                    **asdict(wallet),
                    "positions": [asdict(position) for position in self.store.positions(wallet.funder)],
                    "orders": [asdict(order) for order in self.store.orders(where)],
                    "trades": [asdict(trade) for trade in self.store.trades(where)],
                }
            )
        return {"venue": "polymarket", "at_ms": self._now_ms(), "wallets": wallets}

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Catch up with the world, serve, and write ``polymarket.json``.

        Raises:
            OSError: the port is taken, or a file is missing.
            ValueError: the account has orders in markets that this world does not list.
        """
        config = self._config
        context: ssl.SSLContext = server_context(config.cert, config.key)
        self._last_past_ns = await asyncio.to_thread(self._last_past)
        if self._last_past_ns is None:
            self._caught_up.set()
        self._tasks.append(
            asyncio.create_task(
                self._world.run(
                    started_ns=config.started_ns, speed=config.speed, on_step=self._on_step, now_ns=self._now_ns
                )
            )
        )
        await self._first_of(self._caught_up.wait())
        self._upkeep.resume()
        self._tasks.append(asyncio.create_task(self._keep_time()))
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, config.port, ssl_context=context).start()
        self.port = int(self._runner.addresses[0][1])
        self._announce()

    async def _first_of(self, ready: Any) -> None:
        """Wait for ``ready``, but not for ever when the world has stopped."""
        waiting = asyncio.ensure_future(ready)
        await asyncio.wait([waiting, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            await self._tasks[0]

    def _on_step(self, step: Step) -> None:
        self.exchange.market_moved(step.market.key, step.trade)
        if self._last_past_ns is not None and step.offset_ns >= self._last_past_ns:
            self._caught_up.set()

    def _last_past(self) -> int | None:
        """The offset of the last step of the running cycle that is over already; until then the books are of the past."""
        offset_ns = round((self._now_ns() - self._config.started_ns) * self._config.speed)
        steps = self._world.steps(self._world.cycle_at(offset_ns))
        return max((step.offset_ns for step in steps if step.offset_ns <= offset_ns), default=None)

    async def _keep_time(self) -> None:
        while True:
            self._upkeep.tick()
            await asyncio.sleep(_TICK_S)

    def _announce(self) -> None:
        """Write the addresses, whole or not at all."""
        http, socket = f"https://{_HOST}:{self.port}", f"wss://{_HOST}:{self.port}"
        addresses: dict[str, object] = {
            "port": self.port,
            "clob": http,
            "gamma": http,
            "data": http,
            "ws_market": f"{socket}/ws/market",
            "ws_user": f"{socket}/ws/user",
        }
        path = self._config.directory / "polymarket.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(addresses) + "\n", encoding="utf-8")
        os.replace(temporary, path)

    async def run(self) -> None:
        """Until the world or the clock fails, which is a mistake of the simulator and raises."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """Close connections and files; the account stays."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._market_hub.close()
        await self._user_hub.close()
        await self._runner.cleanup()
        self.store.close()


async def serve_polymarket(config: PolymarketSimConfig) -> None:
    """Run one simulated venue until the task is cancelled or SIGTERM or SIGINT arrives.

    Raises:
        OSError, ValueError: as :meth:`PolymarketServer.start`.
    """
    server = PolymarketServer(config)
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await server.start()
        running, asked = asyncio.create_task(server.run()), asyncio.create_task(stopped.wait())
        await asyncio.wait([running, asked], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if running.done():
            running.result()
        running.cancel()
    finally:
        await server.stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def main(arguments: list[str]) -> int:
    """The command: one argument, the configuration file."""
    if len(arguments) != 1:
        print("usage: python -m arbpipe.sim.polymarket_server CONFIG.json", file=sys.stderr)
        return 2
    try:
        config = load_config(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        print(f"{arguments[0]}: {error}", file=sys.stderr)
        return 4
    asyncio.run(serve_polymarket(config))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
