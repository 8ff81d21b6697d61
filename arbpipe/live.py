"""The live side, put together: feed processes on sockets, gateways with keys, and the rule of who may be traded with.

Secrets are read from their files here, in the processes that sign, and go nowhere else: the run file, the segment, logs and
recordings hold paths at most.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import uvloop

from arbpipe.config import Config
from arbpipe.errors import EnvironmentRefused, SafetyRefused
from arbpipe.fixedpoint import parse_money_e6
from arbpipe.identity import Venue
from arbpipe.process import Process
from arbpipe.record.capture import Capture
from arbpipe.shm.generation import Generation, Listing
from arbpipe.shm.stats import Counter, ProcessState
from arbpipe.shm.tables import FEED_ROLES
from arbpipe.shm.usable import UsableRule
from arbpipe.venues.base import Gateway
from arbpipe.venues.kalshi.auth import KalshiSigner
from arbpipe.venues.publisher import Publisher

if TYPE_CHECKING:  # the feeds do without wallets, and each without the other's venue
    from arbpipe.venues.kalshi.feed import KalshiFeed
    from arbpipe.venues.kalshi.live import KalshiLive
    from arbpipe.venues.polymarket.feed import PolymarketFeed
    from arbpipe.venues.polymarket.live import PolymarketLive
    from arbpipe.venues.polymarket.signing import OrderSigner

__all__ = [
    "check_loopback",
    "endpoints_of",
    "kalshi_signer",
    "live_gateways",
    "polymarket_signer",
    "run_live_feed",
    "tls_context",
]

_TURN_S: Final = 0.02
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


def endpoints_of(config: Config) -> dict[str, str]:
    """Every endpoint of the configuration by its key."""
    return {
        "kalshi.rest": config.kalshi.rest,
        "kalshi.ws": config.kalshi.ws,
        "polymarket.clob": config.polymarket.clob,
        "polymarket.data": config.polymarket.data,
        "polymarket.ws_market": config.polymarket.ws_market,
        "polymarket.ws_user": config.polymarket.ws_user,
    }


def check_loopback(config: Config) -> None:
    """Refuse to send orders anywhere but to this machine.

    Raises:
        SafetyRefused: an endpoint is not on loopback.
    """
    for key, url in endpoints_of(config).items():
        if url and urlsplit(url).hostname not in _LOOPBACK:
            raise SafetyRefused(
                f"{key} is {url}: this version trades with simulated venues on loopback only "
                "(start them with `arbpipe sim`), or on paper with `arbpipe run --paper`"
            )


def tls_context(config: Config) -> ssl.SSLContext:
    """TLS that trusts the system's authorities, or the one of ``network.ca_file`` alone.

    Raises:
        EnvironmentRefused: that file cannot be read.
    """
    path = config.network.ca_file
    try:
        return ssl.create_default_context(cafile=path or None)
    except (OSError, ssl.SSLError) as error:
        raise EnvironmentRefused(f"network.ca_file {path}: {error}") from None


def _secret(path: str, what: str) -> bytes:
    if not path:
        raise EnvironmentRefused(f"{what} is not configured: name the file that holds the private key")
    try:
        return Path(path).expanduser().read_bytes()
    except OSError as error:
        raise EnvironmentRefused(f"cannot read {what} {path}: {error.strerror}") from None


def kalshi_signer(config: Config) -> KalshiSigner:
    """The signer of the configured Kalshi key.

    Raises:
        EnvironmentRefused: no key, or not a usable one.
    """
    pem = _secret(config.kalshi.private_key_file, "kalshi.private_key_file")
    if not config.kalshi.key_id:
        raise EnvironmentRefused("kalshi.key_id is not configured: it is the id of the key in the private key file")
    return KalshiSigner(config.kalshi.key_id, pem)


def polymarket_signer(config: Config) -> OrderSigner:
    """The signer of the configured Polymarket wallet.

    Raises:
        EnvironmentRefused: no key, or not a usable one. The message never quotes it.
    """
    from arbpipe.venues.polymarket.signing import OrderSigner

    raw = _secret(config.polymarket.private_key_file, "polymarket.private_key_file").strip()
    try:
        key = bytes.fromhex(raw.decode("ascii").removeprefix("0x"))
    except (UnicodeDecodeError, ValueError):
        raise EnvironmentRefused("polymarket.private_key_file does not hold a private key in hex") from None
    return OrderSigner(key, funder=config.polymarket.funder, signature_type=config.polymarket.signature_type)


def run_live_feed(process: Process) -> None:
    """Run one venue's feed on its sockets until told to stop."""
    uvloop.run(_feed(process))


def _kalshi(config: Config, publisher: Publisher, capture: Capture | None) -> tuple[KalshiFeed, KalshiLive]:
    # only the process that needs them carries a venue's modules: aiohttp alone is 9 MB
    from arbpipe.record.capture import CapturedKalshi
    from arbpipe.venues.kalshi.auth import wall_ms
    from arbpipe.venues.kalshi.feed import KalshiFeed
    from arbpipe.venues.kalshi.live import KalshiLive
    from arbpipe.venues.kalshi.rest import KalshiRest
    from arbpipe.venues.kalshi.standing import Standing

    standing = Standing(strict=True)
    feed = (
        CapturedKalshi(publisher, capture, standing)
        if capture
        else KalshiFeed(publisher, use_yes_price=True, standing=standing)
    )
    signer, tls = kalshi_signer(config), tls_context(config)
    # what the venue shows everybody needs no key, and a key that signs orders is not used for it
    rest = KalshiRest(config.kalshi.rest, None, tls, now_ms=wall_ms)
    age_ns = config.freshness.max_confirm_age_ms * 1_000_000
    live = KalshiLive(feed, publisher, config.kalshi.ws, signer, tls, max_confirm_age_ns=age_ns, rest=rest)
    return feed, live


def _polymarket(config: Config, publisher: Publisher, capture: Capture | None) -> tuple[PolymarketFeed, PolymarketLive]:
    from arbpipe.record.capture import CapturedPolymarket
    from arbpipe.venues.polymarket.feed import PolymarketFeed
    from arbpipe.venues.polymarket.live import PolymarketLive

    feed = CapturedPolymarket(publisher, capture) if capture else PolymarketFeed(publisher)
    age_ns = config.freshness.max_confirm_age_ms * 1_000_000
    live = PolymarketLive(feed, publisher, config.polymarket.ws_market, tls_context(config), max_confirm_age_ns=age_ns)
    return feed, live


async def _feed(process: Process) -> None:
    line, segment, config = process.line, process.segment, process.spec.config
    venue = FEED_ROLES[process.role]
    publisher = Publisher(segment, process.role, line, process.alerts)
    publisher.take_over()
    capture = Capture(Path(process.spec.record), venue, use_yes_price=True) if process.spec.record else None
    feed, live = (_kalshi if venue is Venue.KALSHI else _polymarket)(config, publisher, capture)
    generation_at = segment.section("catalog").offset
    generation = 0
    work = asyncio.get_running_loop().create_task(live.run())
    line.state(ProcessState.RUN)
    try:
        while not process.should_stop():
            current = segment.region.load_u64(generation_at)
            if current != generation:
                loaded = Generation(segment.directory, current)
                feed.list(loaded)
                live.set_markets(loaded)
                generation = current
                line.acknowledge(generation)
            if work.done():
                work.result()  # it ends only by an error: let the supervisor start us again
                return
            if capture is not None:
                capture.flush()
            line.add(Counter.TURNS)
            line.beat()
            await asyncio.sleep(_TURN_S)
    finally:
        live.stop()
        work.cancel()
        if capture is not None:
            capture.close()


def live_gateways(
    process: Process,
    usable: UsableRule,
    sleep_until: Callable[[int], Awaitable[None]],
    listings: Callable[[], Mapping[int, Listing]],
) -> dict[Venue, Gateway]:
    """The gateways of both venues, with keys; on loopback only."""
    from arbpipe.venues.kalshi.gateway import KalshiGateway
    from arbpipe.venues.polymarket.gateway import PolymarketGateway

    config = process.spec.config
    check_loopback(config)
    tls = tls_context(config)
    wallet = polymarket_signer(config)
    return {
        Venue.KALSHI: KalshiGateway(
            config.kalshi.rest,
            kalshi_signer(config),
            tls,
            ws_url=config.kalshi.ws,
            tickers=lambda: [each.native_id for each in listings().values() if each.venue is Venue.KALSHI],
        ),
        Venue.POLYMARKET: PolymarketGateway(
            config.polymarket.clob,
            config.polymarket.data,
            wallet,
            tls,
            listing=lambda uid: listings().get(uid),
            listings=lambda: [each for each in listings().values() if each.venue is Venue.POLYMARKET],
            # the last check of all: no single order may be larger than an event may be
            max_order_e6=parse_money_e6(config.limits.max_event_usd),
            ws_user_url=config.polymarket.ws_user,
        ),
    }
