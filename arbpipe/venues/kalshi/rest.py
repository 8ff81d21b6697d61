"""One warm HTTPS session to Kalshi: signed requests in, status and body out; and listings that end.

Nothing is retried here and no redirect is followed: whether a request may be repeated is the caller's to know.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import msgspec
from msgspec import Meta, Struct
from yarl import URL

from arbpipe.errors import ArbpipeError, EnvironmentRefused, TimedOut
from arbpipe.venues.http import SentStamp
from arbpipe.venues.kalshi.ahead import MOST_SKEW_MS, ahead_ms
from arbpipe.venues.kalshi.auth import KalshiSigner
from arbpipe.venues.kalshi.budget import READ_COST, Bucket
from arbpipe.venues.kalshi.outcomes import read_error

__all__ = [
    "Answer",
    "Balance",
    "CreatedOrder",
    "ExchangeStatus",
    "FillsPage",
    "KalshiRest",
    "Limits",
    "ListedFill",
    "ListedOrder",
    "ListedPosition",
    "NoAnswer",
    "NotConnected",
    "OrdersPage",
    "PositionsPage",
    "ShardStatus",
    "UserDataTimestamp",
    "VenueRefused",
    "micros",
]

_KEEP_ALIVE_S: Final = 75.0
_READ_AGAIN_S: Final = (0.25, 0.5, 1.1)
_MAX_PAGES: Final = 1_000
_PAGE: Final = 1_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Stamp = Annotated[datetime, Meta(tz=True)]
T = TypeVar("T")


class NoAnswer(TimedOut):
    """The request may have arrived; no answer did."""


class NotConnected(NoAnswer):
    """No connection could be made, so nothing was sent."""


class VenueRefused(ArbpipeError):
    """The venue answered a read with something else than the data."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    #: The venue's Date header; empty where it sends none.
    date: str = ""
    #: The most by which the venue's clock was ahead of ours.
    ahead_ms: int = MOST_SKEW_MS


class CreatedOrder(Struct, frozen=True):
    """The answer 201 to a new order."""

    order_id: str
    fill_count: str
    remaining_count: str
    client_order_id: str | None = None


class ListedOrder(Struct, frozen=True):
    """One order of ``GET /portfolio/orders``; ``status`` is the venue's word, new ones too."""

    order_id: str
    ticker: str
    status: str
    book_side: str
    fill_count_fp: str
    client_order_id: str = ""


class OrdersPage(Struct, frozen=True):
    """A page of orders; a null list is empty."""

    orders: list[ListedOrder] | None
    cursor: str | None = None


class ListedFill(Struct, frozen=True):
    """One fill of ``GET /portfolio/fills``."""

    order_id: str
    book_side: str
    count_fp: str
    yes_price_dollars: str
    fee_cost: str
    fill_id: str = ""
    trade_id: str = ""
    ticker: str = ""
    market_ticker: str = ""
    created_time: Stamp | None = None
    ts: int | None = None


class FillsPage(Struct, frozen=True):
    """A page of fills; a null list is empty."""

    fills: list[ListedFill] | None
    cursor: str | None = None


class ListedPosition(Struct, frozen=True):
    """One market's signed position."""

    ticker: str
    position_fp: str


class PositionsPage(Struct, frozen=True):
    """A page of positions; a null list is empty."""

    market_positions: list[ListedPosition] | None
    cursor: str | None = None


class Balance(Struct, frozen=True):
    """``balance`` in cents is truncated and is not read."""

    balance_dollars: str


class LimitOf(Struct, frozen=True):
    """One token bucket of the account."""

    refill_rate: int
    bucket_capacity: int


class Limits(Struct, frozen=True):
    """``GET /account/limits``."""

    write: LimitOf
    read: LimitOf


class ShardStatus(Struct, frozen=True):
    """Whether one shard of the exchange trades."""

    exchange_index: int
    exchange_active: bool
    trading_active: bool


class ExchangeStatus(Struct, frozen=True):
    """``GET /exchange/status``; without the list only the whole exchange is told."""

    exchange_active: bool
    trading_active: bool
    exchange_index_statuses: list[ShardStatus] | None = None


class UserDataTimestamp(Struct, frozen=True):
    """Up to when the venue's reads of our orders, fills and positions are complete."""

    as_of_time: Stamp


def micros(when: datetime) -> int:
    """Micro-seconds since 1970, exact."""
    return (when - _EPOCH) // timedelta(microseconds=1)


class KalshiRest:
    """The session. ``base`` is the address up to and including ``/trade-api/v2``."""

    def __init__(
        self, base: str, signer: KalshiSigner | None, tls: ssl.SSLContext | None, *, now_ms: Callable[[], int]
    ) -> None:
        """Without a ``signer`` only what the venue shows to everybody can be read (kalshi.md section 1).

        Raises:
            EnvironmentRefused: the address has no scheme, host or path.
        """
        parts = urlsplit(base.rstrip("/"))
        if parts.scheme not in ("http", "https") or not parts.netloc or not parts.path:
            raise EnvironmentRefused(f"kalshi.rest = {base!r} is no address like https://host/trade-api/v2")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path
        self._signer = signer
        self._tls = tls
        self._now_ms = now_ms
        self._session: aiohttp.ClientSession | None = None
        #: Our half of the read limit, once the account's is known; reads wait for it, orders have another.
        self.reads: Bucket | None = None
        self.sent = SentStamp()

    def path(self, path: str) -> str:
        """The full path of an endpoint, from the host's root: what is signed."""
        return self._path + path

    async def start(self) -> None:
        """Make the session; it belongs to the running event loop."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                ssl=self._tls if self._tls is not None else True,
                keepalive_timeout=_KEEP_ALIVE_S,
                ttl_dns_cache=300,
                limit=0,  # a pool that is full would make an order wait in line
            )
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[self.sent.trace()]
            )

    async def stop(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int] | None = None,
        body: bytes | None = None,
        *,
        timeout_s: float,
    ) -> Answer:
        """Send one request, signed as it is sent.

        Raises:
            NotConnected: nothing was sent.
            NoAnswer: time-out or dropped connection; the request may have arrived.
        """
        if self._session is None:
            raise NotConnected("the session to Kalshi is not open: open() comes first")
        full = self._path + path
        url = URL(f"{self._origin}{full}{'?' + urlencode(query, quote_via=quote) if query else ''}", encoded=True)
        headers = self._signer.headers(method, full, self._now_ms()) if self._signer is not None else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        began_ms = self._now_ms()
        try:
            async with self._session.request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                date = response.headers.get("Date", "")
                return Answer(response.status, await response.read(), date, ahead_ms(began_ms, date))
        except aiohttp.ClientConnectorError as error:
            raise NotConnected(f"{method} {full}: no connection ({_cause(error)}); nothing was sent") from None
        except TimeoutError:
            raise NoAnswer(f"{method} {full}: no answer within {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswer(f"{method} {full}: {_cause(error)}") from None

    async def read(
        self, path: str, kind: type[T], query: Mapping[str, str | int] | None = None, *, timeout_s: float
    ) -> T:
        """:meth:`dated` without its date."""
        return (await self.dated(path, kind, query, timeout_s=timeout_s))[0]

    async def dated(
        self, path: str, kind: type[T], query: Mapping[str, str | int] | None = None, *, timeout_s: float
    ) -> tuple[T, int]:
        """``GET`` and decode; with the most by which the venue's clock was ahead of ours, in milliseconds. A read that the
        venue has no budget for now is asked again, three times in two seconds: some have a bucket of one a second
        (kalshi.md 3.5).

        Raises:
            NoAnswer: see :meth:`ask`.
            VenueRefused: another status than 200, or a body that is not what it should be.
        """
        if self.reads is not None and not await self.reads.wait(READ_COST, timeout_s):
            raise VenueRefused(f"no budget for GET {path} within {timeout_s:g} s: too many reads at once")
        answer = await self.ask("GET", path, query, timeout_s=timeout_s)
        for wait_s in _READ_AGAIN_S:
            if answer.status != 429:
                break
            await asyncio.sleep(wait_s)
            answer = await self.ask("GET", path, query, timeout_s=timeout_s)
        if answer.status != 200:
            raise VenueRefused(f"kalshi answered GET {path} with {answer.status} ({read_error(answer.body)})")
        try:
            return msgspec.json.decode(answer.body, type=kind), answer.ahead_ms
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise VenueRefused(f"kalshi's answer to GET {path} cannot be read: {error}") from None

    async def pages(
        self, path: str, kind: type[T], query: Mapping[str, str | int], *, timeout_s: float
    ) -> AsyncIterator[T]:
        """Every page of a listing, following its cursor. A page must have a ``cursor``.

        Raises:
            VenueRefused: also when a cursor comes back a second time, or there is no end (F74).
        """
        seen: set[str] = set()
        cursor = ""
        while True:
            asked = {**query, "limit": _PAGE, **({"cursor": cursor} if cursor else {})}
            page = await self.read(path, kind, asked, timeout_s=timeout_s)
            yield page
            cursor = getattr(page, "cursor", None) or ""
            if not cursor:
                return
            if cursor in seen or len(seen) >= _MAX_PAGES:
                raise VenueRefused(
                    f"kalshi's listing {path} comes back to a page it gave before (cursor {cursor[:40]!r}): "
                    "nothing is concluded from it"
                )
            seen.add(cursor)


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
