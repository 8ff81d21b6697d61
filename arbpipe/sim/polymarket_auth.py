"""Who is calling: Polymarket's two kinds of authentication, verified from the server's side (polymarket.md 1.3, 1.4).

L1 proves a wallet: an EIP-712 ``ClobAuth`` message whose signer is recovered. L2 proves an API key: an HMAC-SHA256 over
time, method, path and the exact bytes of the body. Pure: the clock and the known keys are arguments.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.address import is_address, to_checksum_address

__all__ = [
    "CHAIN_ID",
    "TOLERANCE_S",
    "VenueError",
    "Credentials",
    "new_credentials",
    "checksum",
    "recover_wallet",
    "sign_request",
    "verify_request",
]

CHAIN_ID: Final = 137
#: How far a request's time may lie from ours. The venue's own tolerance is not documented.
TOLERANCE_S: Final = 60
_AUTH_TEXT: Final = "This message attests that I control the given wallet"
_AUTH_TYPES: Final = {
    "ClobAuth": [
        {"name": "address", "type": "address"},
        {"name": "timestamp", "type": "string"},
        {"name": "nonce", "type": "uint256"},
        {"name": "message", "type": "string"},
    ]
}
_UNAUTHORIZED: Final = "Unauthorized/Invalid api key"


class VenueError(Exception):
    """A refusal as the venue sends it: an HTTP status, the text of ``error``, members beside it, and headers."""

    def __init__(
        self,
        status: int,
        message: str,
        extra: Mapping[str, object] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key of one wallet. ``secret`` is URL-safe base64; ``signer`` is the wallet's checksum address."""

    key: str
    secret: str
    passphrase: str
    signer: str
    nonce: int


def new_credentials(signer: str, nonce: int) -> Credentials:
    """Fresh credentials from the system's randomness."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return Credentials(str(uuid.uuid4()), secret, secrets.token_hex(32), signer, nonce)


def checksum(address: object) -> str:
    """The address in mixed case (EIP-55), so that two spellings of one address compare equal.

    Raises:
        VenueError: 400, it is not an address.
    """
    if not isinstance(address, str) or not is_address(address):
        raise VenueError(400, f"invalid address {address!r}: send 0x and 40 hexadecimal digits")
    return str(to_checksum_address(address))


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise VenueError(401, f"{_UNAUTHORIZED}: header {name} is missing")
    return value


def _check_time(text: str, now_s: float) -> None:
    if not (text.isascii() and text.isdigit()) or abs(int(text) - now_s) > TOLERANCE_S:
        raise VenueError(
            401,
            f"{_UNAUTHORIZED}: POLY_TIMESTAMP {text!r} is not within {TOLERANCE_S} s of {int(now_s)} (unix seconds)",
        )


def recover_wallet(headers: Mapping[str, str], now_s: float) -> tuple[str, int]:
    """The wallet that signed an L1 request, and its nonce.

    Raises:
        VenueError: 401, a header is missing, the time is off, or the signature is not that wallet's.
    """
    address = checksum(_header(headers, "POLY_ADDRESS"))
    signature = _header(headers, "POLY_SIGNATURE")
    timestamp = _header(headers, "POLY_TIMESTAMP")
    nonce_text = headers.get("POLY_NONCE", "0")
    _check_time(timestamp, now_s)
    if not (nonce_text.isascii() and nonce_text.isdigit()):
        raise VenueError(401, f"invalid nonce {nonce_text!r}: send a decimal number")
    nonce = int(nonce_text)
    domain = {"name": "ClobAuthDomain", "version": "1", "chainId": CHAIN_ID}
    message = {"address": address, "timestamp": timestamp, "nonce": nonce, "message": _AUTH_TEXT}
    try:
        signed = encode_typed_data(domain, _AUTH_TYPES, message)
        recovered = str(Account.recover_message(signed, signature=signature))
    except Exception as error:
        raise VenueError(401, "Invalid L1 Request headers") from error
    if recovered != address:
        raise VenueError(401, "Invalid L1 Request headers")
    return address, nonce


def sign_request(secret: str, timestamp: str, method: str, path: str, body: bytes) -> str:
    """The L2 signature. ``path`` has no query; ``body`` is byte for byte what is sent, empty when there is none."""
    message = f"{timestamp}{method}{path}".encode() + body
    digest = hmac.new(base64.urlsafe_b64decode(secret), message, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode()


def verify_request(
    headers: Mapping[str, str],
    method: str,
    path: str,
    body: bytes,
    lookup: Callable[[str], Credentials | None],
    now_s: float,
) -> Credentials:
    """The credentials behind an L2 request; ``lookup`` finds them by API key.

    Raises:
        VenueError: 401, whatever is wrong: the venue's text does not tell a caller which part failed.
    """
    address = checksum(_header(headers, "POLY_ADDRESS"))
    timestamp = _header(headers, "POLY_TIMESTAMP")
    _check_time(timestamp, now_s)
    known = lookup(_header(headers, "POLY_API_KEY"))
    if known is None or known.signer != address:
        raise VenueError(401, _UNAUTHORIZED)
    if not hmac.compare_digest(known.passphrase.encode(), _header(headers, "POLY_PASSPHRASE").encode()):
        raise VenueError(401, _UNAUTHORIZED)
    try:
        sent = base64.b64decode(_header(headers, "POLY_SIGNATURE").encode(), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise VenueError(401, _UNAUTHORIZED) from error
    expected = base64.urlsafe_b64decode(sign_request(known.secret, timestamp, method, path, body))
    if not hmac.compare_digest(expected, sent):
        raise VenueError(401, _UNAUTHORIZED)
    return known
