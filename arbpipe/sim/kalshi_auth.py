"""Kalshi's request signatures, checked from the server's side (kalshi.md section 1).

Signed is ``timestamp_ms + METHOD + path`` with the path from the host's root and without the query: RSA-PSS (SHA-256,
MGF1 SHA-256, salt of 32 bytes) or Ed25519, whichever the key is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from arbpipe.sim.kalshi_errors import Refusal, refuse

__all__ = ["MOST_SKEW_MS", "Keyring"]

#: Recorded: 5 s off is accepted, 30 s is not; the bound lies somewhere between.
MOST_SKEW_MS: Final = 10_000
_KEY: Final = "KALSHI-ACCESS-KEY"
_TIMESTAMP: Final = "KALSHI-ACCESS-TIMESTAMP"
_SIGNATURE: Final = "KALSHI-ACCESS-SIGNATURE"

PublicKey = RSAPublicKey | Ed25519PublicKey


def _missing(what: str) -> Refusal:
    return refuse(401, f"{what}_is_missing_from_headers")


def _unauthentic(details: str) -> Refusal:
    return refuse(401, "authentication_error", details, message="authentication_error")


def _is_signed(key: PublicKey, message: bytes, signature: bytes) -> bool:
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, message)
        else:
            scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
            key.verify(signature, message, scheme, hashes.SHA256())
    except InvalidSignature:
        return False
    return True


class Keyring:
    """The keys that may sign, by key id.

    Raises:
        ValueError: a PEM is neither an RSA nor an Ed25519 public key.
    """

    def __init__(self, pem_by_id: Mapping[str, str]) -> None:
        self._keys: dict[str, PublicKey] = {}
        for key_id, pem in pem_by_id.items():
            key = serialization.load_pem_public_key(pem.encode())
            if not isinstance(key, RSAPublicKey | Ed25519PublicKey):
                raise ValueError(f"key {key_id} is a {type(key).__name__}: give an RSA or Ed25519 public key in PEM")
            self._keys[key_id] = key

    @staticmethod
    def is_signed(headers: Mapping[str, str]) -> bool:
        """Whether a request claims to come from a key at all."""
        return _KEY in headers or _SIGNATURE in headers

    def verify(self, headers: Mapping[str, str], method: str, path: str, now_ms: int) -> str:
        """The key id that signed the request; ``path`` is the full path without the query.

        Raises:
            Refusal: 401 with the body that the venue gives for this reason.
        """
        for name, what in ((_KEY, "key"), (_SIGNATURE, "signature"), (_TIMESTAMP, "timestamp")):
            if not headers.get(name):
                raise _missing(what)
        key_id, timestamp = headers[_KEY], headers[_TIMESTAMP]
        if not timestamp.isascii() or not timestamp.isdigit() or abs(int(timestamp) - now_ms) > MOST_SKEW_MS:
            raise refuse(401, "header_timestamp_expired")
        key = self._keys.get(key_id)
        if key is None:
            raise _unauthentic("NOT_FOUND")
        try:
            signature = base64.b64decode(headers[_SIGNATURE], validate=True)
        except (binascii.Error, ValueError):
            raise _unauthentic("INCORRECT_API_KEY_SIGNATURE") from None
        if not _is_signed(key, f"{timestamp}{method}{path}".encode(), signature):
            raise _unauthentic("INCORRECT_API_KEY_SIGNATURE")
        return key_id
