"""A throw-away certificate authority for the simulated venues: valid on this machine's loopback and nowhere else.

Keys are written with mode 0600. Certificates name 127.0.0.1, ::1 and localhost. A client trusts the simulators by
loading ``ca.pem``; nothing is ever added to the system's own trust store.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "ServerFiles", "client_context", "make_authority", "server_context"]

_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """Where a server's certificate and its key lie."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority that lies in ``directory``; ``ca_pem`` is what clients must trust."""

    directory: Path
    ca_pem: Path
    _key: ec.EllipticCurvePrivateKey
    _certificate: x509.Certificate

    def issue(self, name: str) -> ServerFiles:
        """A certificate for a server on loopback, written to ``<name>.pem`` and ``<name>.key``; replaces older files.

        Raises:
            OSError: the files cannot be written.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        addresses = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), *(x509.IPAddress(address) for address in addresses)]
        )
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"simulated {name}")])
        certificate = (
            _builder(subject, self._certificate.subject, key)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        files = ServerFiles(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        _write(files.key, _key_pem(key), 0o600)
        _write(files.cert, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        return files


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(tz=UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Write a file that never exists with a wider mode than ``mode``."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def make_authority(directory: Path) -> Authority:
    """A new authority in ``directory`` (made if need be): ``ca.pem``. Its own key is never written anywhere.

    Raises:
        OSError: the directory or the file cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated venues (loopback only)")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    ca_pem = directory / "ca.pem"
    _write(ca_pem, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return Authority(directory, ca_pem, key, certificate)


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer for a server.

    Raises:
        OSError: a file is missing.
        ssl.SSLError: the key does not belong to the certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    return context


def client_context(ca_pem: Path) -> ssl.SSLContext:
    """TLS for a client that trusts this authority alone.

    Raises:
        OSError: the file is missing.
    """
    return ssl.create_default_context(cafile=str(ca_pem))
