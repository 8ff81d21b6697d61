"""Signed headers for Kalshi's REST and WebSocket (kalshi.md section 1).

Signed is ``timestamp_ms + METHOD + path``: the path from the host's root, without query, the body not included. RSA keys
sign with PSS (SHA-256, salt of the digest's length), Ed25519 keys plainly; which one it is, the PEM says.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from arbpipe.clock import wall_ns
from arbpipe.errors import EnvironmentRefused

__all__ = ["PREPARED_MS", "KalshiSigner", "wall_ms"]

#: How old a signature that was made ahead may be when it is sent; 5 s off are accepted (kalshi.md section 1).
PREPARED_MS: Final = 1_500


def wall_ms() -> int:
    """CLOCK_REALTIME in milliseconds, which is what the venue compares its own clock with."""
    return wall_ns() // 1_000_000


class KalshiSigner:
    """One API key. The private key stays inside: it is in no ``repr``, no message and no log."""

    __slots__ = ("_key", "_key_id", "_prepared")

    def __init__(self, key_id: str, pem: bytes) -> None:
        """``pem``: an unencrypted private key, RSA or Ed25519.

        Raises:
            EnvironmentRefused: no key id, or the bytes are not such a key. The message never quotes them.
        """
        if not key_id or not key_id.isascii() or not key_id.isprintable():
            raise EnvironmentRefused("the Kalshi key id is empty or not plain text: set kalshi.key_id (a UUID)")
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # `from None`: the library's own message may quote what it was given
            raise EnvironmentRefused(
                "the Kalshi private key is not an unencrypted PEM key: store the file as the venue gave it"
            ) from None
        if not isinstance(key, (RSAPrivateKey, Ed25519PrivateKey)):
            raise EnvironmentRefused("the Kalshi private key is neither RSA nor Ed25519: generate one of these")
        self._key_id = key_id
        self._key = key
        self._prepared: dict[tuple[str, str], tuple[int, dict[str, str]]] = {}

    @classmethod
    def from_file(cls, key_id: str, path: Path) -> KalshiSigner:
        """Read the key from its file.

        Raises:
            EnvironmentRefused: the file cannot be read or holds no such key; the message names the file.
        """
        try:
            pem = path.read_bytes()
        except OSError as error:
            raise EnvironmentRefused(
                f"cannot read the Kalshi private key {path} ({error.strerror}): set kalshi.private_key_file"
            ) from None
        try:
            return cls(key_id, pem)
        except EnvironmentRefused as error:
            raise EnvironmentRefused(f"{path}: {error}") from None

    @property
    def algorithm(self) -> str:
        """``rsa`` or ``ed25519``."""
        return "ed25519" if isinstance(self._key, Ed25519PrivateKey) else "rsa"

    def __repr__(self) -> str:
        return f"KalshiSigner({self.algorithm})"

    def __reduce__(self) -> str:
        raise TypeError("a KalshiSigner is not copied out of its process: make one where it is needed")

    def prepare(self, method: str, path: str, now_ms: int | None = None) -> None:
        """Sign a request of this method and path ahead. An RSA signature takes most of a millisecond, so it is made each
        second and used until it is :data:`PREPARED_MS` old; Ed25519 is signed as it is sent."""
        if isinstance(self._key, RSAPrivateKey):
            stamp = wall_ms() if now_ms is None else now_ms
            key = method.upper(), path.partition("?")[0]
            self._prepared[key] = stamp, self._sign(*key, stamp)

    def headers(self, method: str, path: str, now_ms: int | None = None) -> dict[str, str]:
        """The three headers of one request, signed now or a moment ago; the venue refuses stamps much older than 5 s.

        ``path``: from the host's root (``/trade-api/v2/…``); a query is cut off, as the venue does. ``now_ms``: wall clock.
        """
        stamp = wall_ms() if now_ms is None else now_ms
        key = method.upper(), path.partition("?")[0]
        prepared = self._prepared.get(key)
        if prepared is not None and 0 <= stamp - prepared[0] <= PREPARED_MS:
            return dict(prepared[1])
        return self._sign(*key, stamp)

    def _sign(self, method: str, path: str, stamp: int) -> dict[str, str]:
        message = f"{stamp}{method}{path}".encode()
        if isinstance(self._key, Ed25519PrivateKey):
            signature = self._key.sign(message)
        else:
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
            signature = self._key.sign(message, pss, hashes.SHA256())
        return {
            "KALSHI-ACCESS-KEY": self._key_id,
            "KALSHI-ACCESS-TIMESTAMP": str(stamp),
            "KALSHI-ACCESS-SIGNATURE": base64.b64encode(signature).decode(),
        }
