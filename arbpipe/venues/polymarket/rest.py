"""Signed calls to the CLOB, and open ones to the Data API: one warm session, and an answer or the word that none came."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from arbpipe.errors import ArbpipeError
from arbpipe.venues.http import SentStamp
from arbpipe.venues.polymarket.auth import ApiCredentials, create_or_derive, l2_headers
from arbpipe.venues.polymarket.signing import OrderSigner

__all__ = ["ClobRest", "Reply"]

_TOTAL_S: Final = 2.0
_CONNECT_S: Final = 1.5
_KEEP_S: Final = 75.0
_MAX_BODY: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; ``status`` 0 means that none came, and ``body`` then says why. Nobody knows whether the call arrived."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the call was answered with what it asked for."""
        return self.status == 200

    def __str__(self) -> str:
        text = self.body[:200].decode("utf-8", "replace")
        return f"HTTP {self.status}: {text}" if self.status else f"no answer ({text})"


class ClobRest:
    """One session. ``credentials`` are those of the signer's API key; without them only open calls work."""

    def __init__(
        self,
        clob_url: str,
        signer: OrderSigner,
        tls: ssl.SSLContext | None,
        now_ms: Callable[[], int],
        credentials: ApiCredentials | None,
        *,
        total_s: float = _TOTAL_S,
    ) -> None:
        self.clob_url = clob_url.rstrip("/")
        self._prefix = urlsplit(self.clob_url).path
        self._signer = signer
        self._tls = tls
        self._now_ms = now_ms
        self._total_s = total_s
        self.credentials = credentials
        self._session: aiohttp.ClientSession | None = None
        self.sent = SentStamp()

    async def open(self) -> None:
        """Make the session, and the credentials where there are none.

        Raises:
            ArbpipeError: no answer, or the venue refuses the wallet.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls if self._tls is not None else True, limit=16, keepalive_timeout=_KEEP_S
                ),
                timeout=aiohttp.ClientTimeout(total=self._total_s, connect=min(_CONNECT_S, self._total_s)),
                trace_configs=[self.sent.trace()],
            )
        if self.credentials is None:
            self.credentials = await create_or_derive(self._session, self.clob_url, self._signer, now_ms=self._now_ms)

    async def close(self) -> None:
        """Let go of the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> Reply:
        """A signed GET of the CLOB."""
        return await self._call("GET", path, b"", params)

    async def post(self, path: str, body: bytes) -> Reply:
        """A signed POST of the CLOB; it is never sent twice."""
        return await self._call("POST", path, body, None)

    async def get_open(self, url: str, params: Mapping[str, str]) -> Reply:
        """An unsigned GET of any of the venue's hosts."""
        return await self._send("GET", url, b"", params, {})

    async def _call(self, method: str, path: str, body: bytes, params: Mapping[str, str] | None) -> Reply:
        if self.credentials is None:
            raise ArbpipeError("the Polymarket gateway is not open: call open() before anything else")
        headers = l2_headers(
            self.credentials, self._signer.address, method, self._prefix + path, body, self._now_ms() // 1_000
        )
        return await self._send(method, self.clob_url + path, body, params, headers)

    async def _send(
        self, method: str, url: str, body: bytes, params: Mapping[str, str] | None, headers: dict[str, str]
    ) -> Reply:
        if self._session is None:
            raise ArbpipeError("the Polymarket gateway is not open: call open() before anything else")
        if body:
            headers["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                method, url, data=body or None, params=params, headers=headers, allow_redirects=False
            ) as answer:
                read = await answer.content.read(_MAX_BODY + 1)
                while not answer.content.at_eof() and len(read) <= _MAX_BODY:
                    read += await answer.content.read(_MAX_BODY + 1 - len(read))
                if len(read) > _MAX_BODY:
                    return Reply(0, b"the answer is larger than anything this venue sends")
                return Reply(answer.status, read)
        except TimeoutError:
            return Reply(0, f"time-out after {self._total_s} s".encode())
        except (aiohttp.ClientError, OSError) as error:
            return Reply(0, f"{type(error).__name__}: {error}".encode())
