"""L1 and L2 authentication against signatures made by eth-account and by hand."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from polymarket_harness import Running, config_of, wallet

from arbpipe.sim.polymarket_auth import TOLERANCE_S, sign_request


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory: Path = tmp_path_factory.mktemp("auth")
    server = Running(config_of(directory))
    yield server
    server.stop()


def test_the_documented_hmac_example_form_is_reproduced() -> None:
    secret = base64.urlsafe_b64encode(b"\xfb\xff" * 16).decode()
    assert "-" in secret or "_" in secret
    signature = sign_request(secret, "1", "POST", "/order", b'{"a":1}')
    assert len(base64.urlsafe_b64decode(signature)) == 32
    assert signature.endswith("=")
    assert signature != sign_request(secret, "1", "POST", "/order", b'{"a": 1}')


def test_a_key_is_created_once_and_derived_ever_after(running: Running) -> None:
    who = wallet("once")
    made = running.http.post("/auth/api-key", headers=running.l1(who))
    assert made.status_code == 200
    assert set(made.json()) == {"apiKey", "secret", "passphrase"}
    again = running.http.post("/auth/api-key", headers=running.l1(who))
    assert again.status_code == 400
    assert running.http.get("/auth/derive-api-key", headers=running.l1(who)).json() == made.json()


def test_each_nonce_has_its_own_key(running: Running) -> None:
    who = wallet("nonces")
    first = running.http.post("/auth/api-key", headers=running.l1(who, nonce=1)).json()
    second = running.http.post("/auth/api-key", headers=running.l1(who, nonce=2)).json()
    assert first["apiKey"] != second["apiKey"]
    missing = running.http.get("/auth/derive-api-key", headers=running.l1(who, nonce=3))
    assert missing.status_code == 400


def test_a_wallet_cannot_sign_for_another(running: Running) -> None:
    headers = running.l1(wallet("mallory")) | {"POLY_ADDRESS": wallet("victim").address}
    assert running.http.post("/auth/api-key", headers=headers).status_code == 401


def test_an_old_l1_signature_is_refused(running: Running) -> None:
    headers = running.l1(wallet("late"), at=int(time.time()) - TOLERANCE_S - 5)
    assert running.http.post("/auth/api-key", headers=headers).status_code == 401


def test_a_nonce_that_was_not_signed_is_refused(running: Running) -> None:
    headers = running.l1(wallet("nonce swap"), nonce=0) | {"POLY_NONCE": "7"}
    assert running.http.post("/auth/api-key", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "spoil",
    [
        {"POLY_API_KEY": "00000000-0000-4000-8000-000000000000"},
        {"POLY_PASSPHRASE": "wrong"},
        {"POLY_ADDRESS": "0x" + "11" * 20},
        {"POLY_SIGNATURE": "AAAA"},
        {"POLY_SIGNATURE": "not base64!"},
        {"POLY_TIMESTAMP": "1000"},
        {"POLY_TIMESTAMP": "soon"},
        {"POLY_SIGNATURE": ""},
    ],
)
def test_one_wrong_header_is_enough_to_be_refused(running: Running, spoil: dict[str, str]) -> None:
    trader = running.trader("headers")
    good = running.l2(trader.who, trader.keys, "GET", "/data/orders", b"")
    assert running.http.get("/data/orders", headers=good).status_code == 200
    assert running.http.get("/data/orders", headers=good | spoil).status_code == 401


def test_the_signature_covers_the_exact_bytes_of_the_body(running: Running) -> None:
    trader = running.trader("bytes")
    signed, sent = b'{"orderID":"0x01"}', b'{"orderID": "0x01"}'
    headers = running.l2(trader.who, trader.keys, "DELETE", "/order", signed)
    assert running.http.request("DELETE", "/order", content=signed, headers=headers).status_code == 200
    answer = running.http.request("DELETE", "/order", content=sent, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized/Invalid api key"})


def test_the_signature_covers_method_and_path_and_not_the_query(running: Running) -> None:
    trader = running.trader("paths")
    headers = running.l2(trader.who, trader.keys, "GET", "/data/orders", b"")
    assert running.http.get("/data/orders", headers=headers, params={"market": "0x01"}).status_code == 200
    assert running.http.get("/data/trades", headers=headers).status_code == 401
    assert running.http.request("DELETE", "/cancel-all", headers=headers).status_code == 401


def test_a_deleted_key_opens_nothing(running: Running) -> None:
    trader = running.trader("deleted")
    assert trader.send("GET", "/auth/api-keys").json() == {"apiKeys": [trader.keys.key]}
    assert trader.send("DELETE", "/auth/api-key").json() == "OK"
    assert trader.send("GET", "/auth/api-keys").status_code == 401
