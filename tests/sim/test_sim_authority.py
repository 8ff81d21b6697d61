"""The throw-away authority: its certificates hold on loopback, and its keys are nobody else's."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

import pytest

from arbpipe.sim.authority import client_context, make_authority, server_context


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """A TLS handshake in memory."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=name),
    ]
    waiting = list(ends)
    for _ in range(20):
        for end in list(waiting):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(end)
        if not waiting:
            return
    raise AssertionError("the handshake does not end")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "::1"])
def test_a_client_that_trusts_the_authority_accepts_the_server(tmp_path: Path, name: str) -> None:
    authority = make_authority(tmp_path)
    files = authority.issue("kalshi")
    handshake(server_context(files.cert, files.key), client_context(authority.ca_pem), name)


def test_another_name_or_another_authority_is_refused(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "a")
    files = authority.issue("kalshi")
    other = make_authority(tmp_path / "b")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(files.cert, files.key), client_context(authority.ca_pem), "kalshi.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(files.cert, files.key), client_context(other.ca_pem), "localhost")


def test_only_the_owner_may_read_a_key_and_the_authoritys_own_is_not_kept(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    files = authority.issue("kalshi")
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "kalshi.key", "kalshi.pem"]
