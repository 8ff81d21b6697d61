"""Authentication against the venue's own SDK and eth-account, and the creation of an API key."""

from __future__ import annotations

import asyncio
import base64
import random

import aiohttp
import pytest
from aiohttp import web
from eth_account import Account
from polymarket._internal.actions.auth import build_l1_auth_headers
from polymarket._internal.hmac import build_hmac_signature
from polymarket._internal.l1_auth import sign_api_key_auth
from polymarket_clob import serving

from arbpipe.errors import ArbpipeError, EnvironmentRefused, TimedOut
from arbpipe.venues.polymarket.auth import ApiCredentials, create_or_derive, l1_headers, l2_headers
from arbpipe.venues.polymarket.signing import OrderSigner

SECRET = base64.urlsafe_b64encode(bytes(range(32))).decode()
SIGNER = OrderSigner(bytes(range(1, 33)), funder="", signature_type=0)


def test_wallet_headers_are_the_sdks() -> None:
    dice = random.Random(1)
    for _ in range(100):
        key = dice.randbytes(32)
        signer, account = OrderSigner(key, funder="", signature_type=0), Account.from_key(key)
        timestamp, nonce = dice.randrange(1, 2**33), dice.randrange(3)
        expected = build_l1_auth_headers(sign_api_key_auth(account, chain_id=137, timestamp=timestamp, nonce=nonce))
        assert l1_headers(signer, timestamp, nonce) == expected


def test_request_signature_is_the_sdks_over_the_very_bytes() -> None:
    dice = random.Random(2)
    for _ in range(300):
        secret = base64.urlsafe_b64encode(dice.randbytes(dice.choice([32, 31, 30]))).decode()
        if dice.random() < 0.3:
            secret = secret.rstrip("=")
        body = dice.choice(["", '{"a":"it\'s","b":[1,2]}', '{"ä":1}'])
        stamp = dice.randrange(1, 2**33)
        ours = l2_headers(ApiCredentials("k", secret, "p"), "0xA", "POST", "/order", body.encode(), stamp)
        assert ours["POLY_SIGNATURE"] == build_hmac_signature(
            secret=secret, timestamp=stamp, method="POST", path="/order", body=body
        )
        assert ours["POLY_TIMESTAMP"] == str(stamp)
        assert (ours["POLY_ADDRESS"], ours["POLY_API_KEY"], ours["POLY_PASSPHRASE"]) == ("0xA", "k", "p")


def test_credentials_hide_what_is_secret() -> None:
    text = repr(ApiCredentials("the-key", SECRET, "the-passphrase"))
    assert "the-key" in text
    assert SECRET not in text
    assert "the-passphrase" not in text


@pytest.mark.parametrize(
    ("key", "secret", "phrase"), [("", SECRET, "p"), ("k", "", "p"), ("k", SECRET, ""), ("k", "a", "p")]
)
def test_incomplete_credentials_are_refused(key: str, secret: str, phrase: str) -> None:
    with pytest.raises(EnvironmentRefused, match="incomplete"):
        ApiCredentials(key, secret, phrase)


def _create(
    created: web.Response, derived: web.Response | None = None
) -> tuple[ApiCredentials | ArbpipeError, list[str]]:
    calls: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        calls.append(f"{request.method} {request.path}")
        assert request.headers["POLY_ADDRESS"] == SIGNER.address
        return created if request.method == "POST" else derived or web.Response(status=500)

    async def run() -> ApiCredentials | ArbpipeError:
        async with serving(answer) as url, aiohttp.ClientSession() as session:
            try:
                return await create_or_derive(session, url, SIGNER)
            except ArbpipeError as error:
                return error

    return asyncio.run(run()), calls


def _key() -> web.Response:
    return web.json_response({"apiKey": "the-key", "secret": SECRET, "passphrase": "p"})


def test_key_that_exists_is_derived() -> None:
    got, calls = _create(web.json_response({"error": "Could not create api key"}, status=400), _key())
    assert got == ApiCredentials("the-key", SECRET, "p")
    assert calls == ["POST /auth/api-key", "GET /auth/derive-api-key"]


def test_new_key_is_not_derived_again() -> None:
    got, calls = _create(_key())
    assert got == ApiCredentials("the-key", SECRET, "p")
    assert calls == ["POST /auth/api-key"]


def test_refused_wallet_and_failing_venue_are_told_apart() -> None:
    refused, _ = _create(web.json_response({"error": "Invalid L1 Request headers"}, status=401))
    assert isinstance(refused, EnvironmentRefused)
    assert "HTTP 401" in str(refused)
    failing, _ = _create(web.Response(status=500, text=SECRET))
    assert not isinstance(failing, EnvironmentRefused | ApiCredentials)
    assert SECRET not in str(failing)


def test_no_answer_is_a_time_out_that_names_the_address() -> None:
    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            await create_or_derive(session, "http://127.0.0.1:9", SIGNER)

    with pytest.raises(TimedOut, match=r"127\.0\.0\.1:9/auth/api-key"):
        asyncio.run(run())
