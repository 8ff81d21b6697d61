"""Who we are to Polymarket: a wallet's signature for an API key (L1), and the key's HMAC for each call (L2).

polymarket.md 1.3 and 1.4. Headers are functions of what is sent and when; only :func:`create_or_derive` does I/O.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
import msgspec

from arbpipe.errors import ArbpipeError, EnvironmentRefused, TimedOut
from arbpipe.venues.polymarket.signing import CHAIN_ID, OrderSigner, keccak256, word

__all__ = ["ApiCredentials", "create_or_derive", "l1_headers", "l2_headers"]

_MESSAGE: Final = "This message attests that I control the given wallet"
_SEPARATOR: Final = keccak256(
    keccak256(b"EIP712Domain(string name,string version,uint256 chainId)")
    + keccak256(b"ClobAuthDomain")
    + keccak256(b"1")
    + word(CHAIN_ID)
)
_TYPE_HASH: Final = keccak256(b"ClobAuth(address address,string timestamp,uint256 nonce,string message)")
_MESSAGE_HASH: Final = keccak256(_MESSAGE.encode())


@dataclass(frozen=True, slots=True, repr=False)
class ApiCredentials:
    """An API key of one wallet. ``secret`` is URL-safe base64 and, like ``passphrase``, is never shown.

    Raises:
        EnvironmentRefused: a part is missing or the secret is no base64.
    """

    api_key: str
    secret: str
    passphrase: str

    def __post_init__(self) -> None:
        if not self.api_key or not self.passphrase or not _decoded(self.secret):
            raise EnvironmentRefused(
                "the Polymarket API credentials are incomplete: key, secret (URL-safe base64) and passphrase are needed"
            )

    def __repr__(self) -> str:
        return f"ApiCredentials(api_key={self.api_key!r}, secret=hidden, passphrase=hidden)"


def _decoded(secret: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    except (binascii.Error, ValueError):
        return b""


def l1_headers(signer: OrderSigner, timestamp_s: int, nonce: int = 0) -> dict[str, str]:
    """The headers that prove the wallet: an EIP-712 ``ClobAuth`` at ``timestamp_s`` (unix seconds)."""
    struct = keccak256(
        _TYPE_HASH
        + bytes(12)
        + bytes.fromhex(signer.address[2:])
        + keccak256(str(timestamp_s).encode())
        + word(nonce)
        + _MESSAGE_HASH
    )
    return {
        "POLY_ADDRESS": signer.address,
        "POLY_SIGNATURE": signer.sign_digest(keccak256(b"\x19\x01" + _SEPARATOR + struct)),
        "POLY_TIMESTAMP": str(timestamp_s),
        "POLY_NONCE": str(nonce),
    }


def l2_headers(
    credentials: ApiCredentials, address: str, method: str, path: str, body: bytes, timestamp_s: int
) -> dict[str, str]:
    """The headers of a private call. ``address`` is the signing key's, ``path`` has no query, ``body`` is exactly what
    is sent (empty when there is none), ``timestamp_s`` unix seconds."""
    message = f"{timestamp_s}{method}{path}".encode() + body
    digest = hmac.new(_decoded(credentials.secret), message, hashlib.sha256).digest()
    return {
        "POLY_ADDRESS": address,
        "POLY_API_KEY": credentials.api_key,
        "POLY_PASSPHRASE": credentials.passphrase,
        "POLY_TIMESTAMP": str(timestamp_s),
        "POLY_SIGNATURE": base64.urlsafe_b64encode(digest).decode(),
    }


class _KeyAnswer(msgspec.Struct, frozen=True):
    api_key: str = msgspec.field(name="apiKey")
    secret: str = msgspec.field()
    passphrase: str = msgspec.field()


async def create_or_derive(
    session: aiohttp.ClientSession,
    clob_url: str,
    signer: OrderSigner,
    *,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> ApiCredentials:
    """A new API key of the wallet, or the one that it has already (the venue then answers 400).

    Raises:
        EnvironmentRefused: the venue refuses the wallet.
        TimedOut: no answer.
        ArbpipeError: an answer that says neither.
    """
    calls = (("POST", "/auth/api-key"), ("GET", "/auth/derive-api-key"))
    status, body = 0, b""
    for method, path in calls:
        try:
            headers = l1_headers(signer, now_ms() // 1_000)
            async with session.request(method, clob_url + path, headers=headers) as answer:
                status, body = answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TimedOut(
                f"no API key from {clob_url}{path}: {type(error).__name__}; check the network and polymarket.clob"
            ) from None
        if status != 400:
            break
    if 400 <= status < 500:
        raise EnvironmentRefused(
            f"{clob_url} gives {signer.address} no API key (HTTP {status}): {_excerpt(body)}; check the private key, the "
            "account and this machine's clock"
        )
    try:
        # a malformed answer may hold the secret: it is not quoted
        answered = msgspec.json.decode(body, type=_KeyAnswer)
    except msgspec.MsgspecError:
        raise ArbpipeError(f"{clob_url} answered HTTP {status} without an API key: try again later") from None
    return ApiCredentials(answered.api_key, answered.secret, answered.passphrase)


def _excerpt(body: bytes) -> str:
    return repr(body[:200].decode("utf-8", "replace"))
