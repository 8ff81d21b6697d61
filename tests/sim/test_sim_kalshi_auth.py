"""Signatures from the server's side: what a keyring takes and what it answers (the recorded bodies: see the REST tests)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kalshi_support import KEY_ID, public_pem, signed

from arbpipe.sim.kalshi_auth import MOST_SKEW_MS, Keyring
from arbpipe.sim.kalshi_errors import Refusal

PATH = "/trade-api/v2/portfolio/balance"
ED25519 = Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65_537, 2_048)


def refusal_of(ring: Keyring, headers: dict[str, str], now_ms: int) -> object:
    with pytest.raises(Refusal) as caught:
        ring.verify(headers, "GET", PATH, now_ms)
    assert caught.value.status == 401
    return caught.value.body["error"]


@pytest.mark.parametrize("key", [ED25519, RSA], ids=["ed25519", "rsa"])
def test_a_signature_holds_for_its_method_path_and_moment_only(key: Ed25519PrivateKey | rsa.RSAPrivateKey) -> None:
    ring = Keyring({KEY_ID: public_pem(key)})
    headers = signed(key, "GET", PATH)
    stamp = int(headers["KALSHI-ACCESS-TIMESTAMP"])
    for now_ms in (stamp - MOST_SKEW_MS, stamp, stamp + MOST_SKEW_MS):
        assert ring.verify(headers, "GET", PATH, now_ms) == KEY_ID
    expired = {"code": "header_timestamp_expired", "message": "header timestamp expired"}
    assert refusal_of(ring, headers, stamp + MOST_SKEW_MS + 1) == expired
    assert refusal_of(ring, headers, stamp - MOST_SKEW_MS - 1) == expired
    moved = {**headers, "KALSHI-ACCESS-TIMESTAMP": str(stamp + 1)}
    wrong = {
        "code": "authentication_error",
        "message": "authentication_error",
        "details": "INCORRECT_API_KEY_SIGNATURE",
    }
    assert refusal_of(ring, moved, stamp) == wrong


@pytest.mark.parametrize("name", ["KALSHI-ACCESS-KEY", "KALSHI-ACCESS-TIMESTAMP", "KALSHI-ACCESS-SIGNATURE"])
def test_a_missing_header_is_named(name: str) -> None:
    headers = signed(ED25519, "GET", PATH)
    stamp = int(headers.pop("KALSHI-ACCESS-TIMESTAMP"))
    headers = {**headers, "KALSHI-ACCESS-TIMESTAMP": str(stamp)}
    del headers[name]
    error = refusal_of(Keyring({KEY_ID: public_pem(ED25519)}), headers, stamp)
    what = name.rsplit("-", 1)[1].lower()
    assert error == {"code": f"{what}_is_missing_from_headers", "message": f"{what} is missing from headers"}


@pytest.mark.parametrize("stamp", ["", "now", "-5", "1.5", "٣"])
def test_a_timestamp_that_is_no_number_is_refused(stamp: str) -> None:
    headers = signed(ED25519, "GET", PATH)
    now_ms = int(headers["KALSHI-ACCESS-TIMESTAMP"])
    ring = Keyring({KEY_ID: public_pem(ED25519)})
    assert refusal_of(ring, {**headers, "KALSHI-ACCESS-TIMESTAMP": stamp}, now_ms)


def test_another_kind_of_key_is_refused() -> None:
    with pytest.raises(ValueError, match="give an RSA or Ed25519 public key"):
        Keyring({KEY_ID: public_pem(ec.generate_private_key(ec.SECP256R1()))})  # type: ignore[arg-type]
