"""Hashes and signatures against two independent implementations: eth-account and the venue's own SDK."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from polymarket._internal.actions.orders.typed_data import build_order_signature, build_order_typed_data
from polymarket._internal.actions.orders.types import BYTES32_ZERO, UnsignedOrder

from arbpipe.errors import EnvironmentRefused
from arbpipe.venues.polymarket.signing import (
    EXCHANGE,
    EXCHANGE_V3,
    NEG_RISK_EXCHANGE,
    OrderFields,
    OrderSigner,
    checksum_address,
)

KEY = bytes(range(1, 33))
FUNDER = "0x1234567890AbcdEF1234567890aBcdef12345678"
DOMAINS = {
    ("v1", False): EXCHANGE,
    ("v1", True): NEG_RISK_EXCHANGE,
    ("v2", False): EXCHANGE_V3,
    ("v2", True): EXCHANGE_V3,
}


def random_fields(dice: random.Random) -> OrderFields:
    return OrderFields(
        salt=dice.getrandbits(53),
        token_id=dice.getrandbits(256) or 1,
        maker_amount=dice.randrange(1, 10**12),
        taker_amount=dice.randrange(1, 10**12),
        is_buy=dice.random() < 0.5,
        timestamp_ms=dice.randrange(1, 2**44),
    )


def message_of(fields: OrderFields, signer: OrderSigner) -> dict[str, Any]:
    return {
        "salt": fields.salt,
        "maker": signer.funder,
        "signer": signer.address,
        "tokenId": fields.token_id,
        "makerAmount": fields.maker_amount,
        "takerAmount": fields.taker_amount,
        "side": 0 if fields.is_buy else 1,
        "signatureType": signer.signature_type,
        "timestamp": fields.timestamp_ms,
        "metadata": bytes(32),
        "builder": bytes(32),
    }


ORDER = [
    {"name": name, "type": kind}
    for name, kind in (
        ("salt", "uint256"),
        ("maker", "address"),
        ("signer", "address"),
        ("tokenId", "uint256"),
        ("makerAmount", "uint256"),
        ("takerAmount", "uint256"),
        ("side", "uint8"),
        ("signatureType", "uint8"),
        ("timestamp", "uint256"),
        ("metadata", "bytes32"),
        ("builder", "bytes32"),
    )
]


def signer_of(key: bytes, kind: int) -> OrderSigner:
    return OrderSigner(key, funder="" if kind == 0 else FUNDER, signature_type=kind)


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("domain", DOMAINS)
def test_hash_and_signature_are_eth_accounts_byte_for_byte(kind: int, domain: tuple[str, bool]) -> None:
    dice = random.Random(f"{kind}{domain}")
    version, neg_risk = domain
    separator = {
        "name": "Polymarket CTF Exchange",
        "version": "3" if version == "v2" else "2",
        "chainId": 137,
        "verifyingContract": DOMAINS[domain],
    }
    for _ in range(250):
        key = dice.randbytes(32)
        ours = signer_of(key, kind)
        theirs = Account.from_key(key)
        assert ours.address == theirs.address
        fields = random_fields(dice)
        signed = ours.sign(fields, neg_risk=neg_risk, version=version)
        signable = encode_typed_data(separator, {"Order": ORDER}, message_of(fields, ours))
        assert signed.hash == "0x" + keccak(b"\x19\x01" + signable.header + signable.body).hex()
        assert signed.hash == ours.hash(fields, neg_risk=neg_risk, version=version)
        assert signed.signature == "0x" + theirs.sign_message(signable).signature.hex()


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("domain", DOMAINS)
def test_signature_is_the_venues_own_sdks(kind: int, domain: tuple[str, bool]) -> None:
    dice = random.Random(f"sdk{kind}{domain}")
    version, neg_risk = domain
    account, ours = Account.from_key(KEY), signer_of(KEY, kind)
    for _ in range(250):
        fields = random_fields(dice)
        order = UnsignedOrder(
            chain_id=137,
            builder=BYTES32_ZERO,
            exchange_address=DOMAINS[domain],
            expiration=0,
            maker=ours.funder,
            maker_amount=fields.maker_amount,
            metadata=BYTES32_ZERO,
            order_type="FAK",
            salt=fields.salt,
            side="BUY" if fields.is_buy else "SELL",
            signature_type=kind,
            signer=ours.address,
            taker_amount=fields.taker_amount,
            timestamp=fields.timestamp_ms,
            token_id=str(fields.token_id),
            protocol_version="3" if version == "v2" else "2",
        )
        raw = account.sign_typed_data(full_message=build_order_typed_data(order)).signature
        expected = build_order_signature(order, "0x" + raw.hex())
        assert ours.sign(fields, neg_risk=neg_risk, version=version).signature == expected


def test_signature_has_the_lower_s_and_v_of_27_or_28() -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    dice, signer, seen = random.Random(3), signer_of(KEY, 0), set()
    for _ in range(300):
        raw = bytes.fromhex(signer.sign_digest(dice.randbytes(32))[2:])
        assert int.from_bytes(raw[32:64], "big") <= order // 2
        seen.add(raw[64])
    assert seen == {27, 28}


def test_key_is_never_shown() -> None:
    secret = KEY.hex()
    signer = signer_of(KEY, 0)
    assert secret not in repr(signer) + str(signer) + f"{signer}"
    assert not hasattr(signer, "__dict__")
    with pytest.raises(TypeError, match="private key"):
        pickle.dumps(signer)
    for bad in (bytes(32), KEY[:31], b"\xff" * 32):
        with pytest.raises(EnvironmentRefused) as caught:
            OrderSigner(bad, funder="", signature_type=0)
        assert bad.hex() not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("kind", "funder", "words"),
    [
        (3, FUNDER, "deposit wallet"),
        (4, FUNDER, "0, 1 or 2 expected"),
        (0, FUNDER, "leave it empty"),
        (1, "", "needs polymarket.funder"),
        (2, "0x12", "is no address"),
    ],
)
def test_wallet_that_cannot_sign_is_refused_with_what_to_do(kind: int, funder: str, words: str) -> None:
    with pytest.raises(EnvironmentRefused, match=words):
        OrderSigner(KEY, funder=funder, signature_type=kind)


def test_unknown_version_and_impossible_fields_are_refused() -> None:
    signer, fields = signer_of(KEY, 0), OrderFields(1, 5, 10, 10, True, 1)
    for version in ("", "v3", "2"):
        with pytest.raises(ValueError, match="version"):
            signer.sign(fields, neg_risk=False, version=version)
    for bad in (
        OrderFields(1 << 53, 5, 10, 10, True, 1),
        OrderFields(1, 1 << 256, 10, 10, True, 1),
        OrderFields(1, 5, 0, 10, True, 1),
        OrderFields(1, 5, 10, 10, True, 0),
    ):
        with pytest.raises(ValueError, match=r"salt|token|amounts"):
            signer.hash(bad, neg_risk=False, version="v1")


def test_checksum_of_an_address_is_that_of_eip_55() -> None:
    dice = random.Random(55)
    for _ in range(200):
        address = Account.from_key(dice.randbytes(32)).address
        assert checksum_address(address.lower()) == address
