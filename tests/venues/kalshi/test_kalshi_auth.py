"""Signatures are what the venue checks, and the key goes nowhere."""

from __future__ import annotations

import base64
import pickle
import traceback
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kalshi_venue import KEY, PEM

from arbpipe.errors import EnvironmentRefused
from arbpipe.venues.kalshi.auth import KalshiSigner, wall_ms

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PATH = "/trade-api/v2/portfolio/events/orders"


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey, kind: str = "PKCS8") -> bytes:
    form = {"PKCS8": serialization.PrivateFormat.PKCS8, "PKCS1": serialization.PrivateFormat.TraditionalOpenSSL}[kind]
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


@pytest.mark.parametrize("kind", ["PKCS8", "PKCS1"])
def test_an_rsa_key_signs_stamp_method_and_path_with_pss(kind: str) -> None:
    headers = KalshiSigner("id-1", pem(RSA_KEY, kind)).headers("post", PATH, 1_781_159_370_113)
    assert headers["KALSHI-ACCESS-KEY"] == "id-1"
    assert headers["KALSHI-ACCESS-TIMESTAMP"] == "1781159370113"
    signature = base64.b64decode(headers["KALSHI-ACCESS-SIGNATURE"])
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    public = RSA_KEY.public_key()
    public.verify(signature, f"1781159370113POST{PATH}".encode(), pss, hashes.SHA256())
    with pytest.raises(InvalidSignature):
        public.verify(signature, f"1781159370113GET{PATH}".encode(), pss, hashes.SHA256())


def test_an_ed25519_key_signs_plainly_and_a_query_is_no_part_of_it() -> None:
    signer = KalshiSigner("id-2", PEM)
    assert signer.algorithm == "ed25519"
    plain, query = (signer.headers("GET", path, 7) for path in (PATH, f"{PATH}?ticker=A&limit=3"))
    assert plain == query
    KEY.public_key().verify(base64.b64decode(plain["KALSHI-ACCESS-SIGNATURE"]), f"7GET{PATH}".encode())


def test_the_stamp_is_made_when_it_is_signed() -> None:
    before = wall_ms()
    assert before <= int(KalshiSigner("id", PEM).headers("GET", PATH)["KALSHI-ACCESS-TIMESTAMP"]) <= wall_ms()


def test_a_key_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "kalshi.pem"
    path.write_bytes(pem(RSA_KEY))
    assert KalshiSigner.from_file("id", path).algorithm == "rsa"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"hunter2-not-a-key", "not an unencrypted PEM key"),
        (b"-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n", "not an unencrypted PEM key"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "neither RSA nor Ed25519"),
    ],
)
def test_what_is_no_key_is_refused_with_the_file_and_without_its_content(
    tmp_path: Path, content: bytes, says: str
) -> None:
    path = tmp_path / "kalshi.pem"
    path.write_bytes(content)
    with pytest.raises(EnvironmentRefused, match=says) as caught:
        KalshiSigner.from_file("id", path)
    text = "".join(traceback.format_exception(caught.value))
    assert str(path) in text
    assert not any(line.decode() in text for line in content.splitlines() if len(line) > 8)
    with pytest.raises(EnvironmentRefused, match=r"cannot read .*gone\.pem"):
        KalshiSigner.from_file("id", tmp_path / "gone.pem")


def test_an_encrypted_key_is_refused() -> None:
    locked = RSA_KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    with pytest.raises(EnvironmentRefused, match="unencrypted"):
        KalshiSigner("id", locked)


@pytest.mark.parametrize("key_id", ["", "a\r\nX-Evil: 1", "ü"])
def test_a_key_id_that_is_no_header_is_refused(key_id: str) -> None:
    with pytest.raises(EnvironmentRefused, match="key id"):
        KalshiSigner(key_id, PEM)


def test_the_key_is_in_no_repr_and_in_no_pickle() -> None:
    signer = KalshiSigner("id", PEM)
    assert repr(signer) == str(signer) == "KalshiSigner(ed25519)"
    assert not hasattr(signer, "__dict__")
    with pytest.raises(TypeError, match="not copied"):
        pickle.dumps(signer)
