"""Simulated Kalshi as a server: TLS, sockets with a stranger's client, a process that is killed and comes back."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from kalshi_support import KEY_ID, ORDERS, PREFIX, check_frame, kalshi_client, order_body, public_pem, signed
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from arbpipe.sim.authority import client_context, make_authority
from arbpipe.sim.kalshi_server import main

SOCKET = "/trade-api/ws/v2"
ROOT = Path(__file__).resolve().parents[2]


def test_a_websockets_client_rebuilds_the_books_of_rest_while_the_market_moves_and_orders_fill(
    tmp_path: Path, recordings: Path
) -> None:
    async def run() -> None:
        started = time.time_ns()
        async with kalshi_client(tmp_path, started_ns=started, speed=8.0, seconds=10) as client:
            tickers = list(client.server.catalog.markets)
            url = client.server.ws
            tls = client_context(client.ca_pem)
            headers = signed(client.key, "GET", SOCKET)
            async with connect(url, ssl=tls, additional_headers=headers, ping_interval=None) as socket:
                params = {"channels": ["orderbook_delta", "fill"], "market_tickers": tickers, "use_yes_price": False}
                await socket.send(json.dumps({"id": 1, "cmd": "subscribe", "params": params}))
                books: dict[str, dict[str, dict[str, int]]] = {}
                seq, fills, deltas = 0, 0, 0

                async def read(until: str) -> dict[str, Any]:
                    nonlocal seq, fills, deltas
                    while True:
                        frame: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 5))
                        if frame["type"] in ("orderbook_snapshot", "orderbook_delta", "ok") and "seq" in frame:
                            assert frame["seq"] == seq + 1
                            seq += 1
                        msg: Any = frame.get("msg")
                        if frame["type"] == "orderbook_snapshot":
                            books[msg["market_ticker"]] = {
                                side: {p: round(float(s) * 100) for p, s in msg.get(f"{side}_dollars_fp", [])}
                                for side in ("yes", "no")
                            }
                        elif frame["type"] == "orderbook_delta":
                            deltas += 1
                            side = books[msg["market_ticker"]][msg["side"]]
                            price = msg["price_dollars"]
                            side[price] = side.get(price, 0) + round(float(msg["delta_fp"]) * 100)
                            if side[price] == 0:
                                del side[price]
                        fills += frame["type"] == "fill"
                        if frame["type"] == until:
                            return frame

                for _ in tickers:
                    await read("orderbook_snapshot")
                assert set(books) == set(tickers)
                for number in range(3):
                    body = order_body(tickers[number], "bid", "0.9900", "2.00", client_order_id=f"x{number}")
                    status, _ = await client.call("POST", ORDERS, body)
                    assert status == 201
                    check_frame(recordings, await read("fill"))
                while deltas < 60:
                    await read("orderbook_delta")
                # from here on nothing moves: what REST shows must be what the socket said
                for task in client.server.tasks:
                    task.cancel()
                await asyncio.sleep(0)
                await socket.send(json.dumps({"id": 9, "cmd": "list_subscriptions"}))
                await read("ok")
                _, answer = await client.call("GET", f"/markets/orderbooks?tickers={','.join(tickers)}")
                for each in answer["orderbooks"]:
                    shown = {
                        side: {p: round(float(s) * 100) for p, s in each["orderbook_fp"][f"{side}_dollars"]}
                        for side in ("yes", "no")
                    }
                    assert books[each["ticker"]] == shown
                assert fills >= 3

    asyncio.run(run())


def test_a_handshake_without_a_good_signature_is_refused_with_401(tmp_path: Path) -> None:
    async def run() -> None:
        async with kalshi_client(tmp_path) as client:
            tls = client_context(client.ca_pem)
            stranger = Ed25519PrivateKey.generate()
            for headers in ({}, signed(stranger, "GET", SOCKET), signed(client.key, "GET", f"{PREFIX}/markets")):
                with pytest.raises(InvalidStatus) as refused:
                    async with connect(client.server.ws, ssl=tls, additional_headers=headers):
                        pass
                assert refused.value.response.status_code == 401

    asyncio.run(run())


def test_the_server_pings_with_the_recorded_payload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbpipe.sim.kalshi_ws.PING_SECONDS", 0.05)

    async def run() -> None:
        async with kalshi_client(tmp_path) as client:
            headers = signed(client.key, "GET", SOCKET)
            async with client.http.ws_connect(client.server.ws, headers=headers, autoping=False) as socket:
                message = await socket.receive(timeout=2)
                assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PING, b"heartbeat")

    asyncio.run(run())


class Process:
    """The server as its own process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = Ed25519PrivateKey.generate()
        authority = make_authority(folder / "tls")
        files = authority.issue("kalshi")
        self.tls = client_context(authority.ca_pem)
        config = {
            "directory": "run",
            "port": 0,
            "seed": 1,
            "events": 4,
            "seconds": 10,
            "started_ns": time.time_ns(),
            "speed": 1,
            "account": {"key_id": KEY_ID, "public_key_pem": public_pem(self.key), "cash_usd": "500.25"},
            "tls": {"cert": str(files.cert), "key": str(files.key)},
            "faults": {},
        }
        (folder / "config.json").write_text(json.dumps(config))
        self.addresses: dict[str, Any] = {}

    def start(self) -> subprocess.Popen[bytes]:
        ready = self.folder / "run" / "kalshi.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "arbpipe.sim.kalshi_server", str(self.folder / "config.json")]
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        until = time.monotonic() + 15
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                process.wait()
                raise AssertionError(f"the server did not start (exit code {process.returncode})")
            time.sleep(0.02)
        self.addresses = json.loads(ready.read_text())
        return process

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {**signed(self.key, method, PREFIX + path), "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.addresses["rest"] + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=5, context=self.tls) as answer:
            return json.load(answer)

    def statement(self) -> Any:
        url = f"https://127.0.0.1:{self.addresses['port']}/sim/statement"
        with urllib.request.urlopen(url, timeout=5, context=self.tls) as answer:
            return json.load(answer)


def test_a_killed_server_goes_on_with_the_same_account(tmp_path: Path) -> None:
    server = Process(tmp_path)
    process = server.start()
    try:
        ticker = server.call("GET", "/markets?limit=1")["markets"][0]["ticker"]
        bought = server.call("POST", ORDERS, order_body(ticker, "bid", "0.9900", "3.00", client_order_id="one"))
        assert bought["fill_count"] == "3.00"
        resting = order_body(ticker, "bid", "0.0100", "5.00", "good_till_canceled", client_order_id="two")
        made = server.call("POST", ORDERS, resting)
        before = server.statement()
    finally:
        process.kill()
        process.wait()
    process = server.start()
    try:
        assert server.statement() == before
        assert before["positions"] == {ticker: "3.00"}
        yes = server.call("GET", f"/markets/{ticker}/orderbook")["orderbook_fp"]["yes_dollars"]
        assert float(dict(yes)["0.0100"]) >= 5, "the resting order is back in the book"
        done = server.call("DELETE", f"{ORDERS}/{made['order_id']}?market_ticker={ticker}")
        assert done["reduced_by"] == "5.00"
        with pytest.raises(urllib.error.HTTPError, match="409"):
            server.call("POST", ORDERS, order_body(ticker, "bid", "0.9900", "3.00", client_order_id="one"))
    finally:
        process.terminate()
        assert process.wait(10) == 0
    assert not (tmp_path / "run" / "kalshi.json").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"colour": "red"}, "unknown members colour"),
        ({"started_ns": "now"}, "started_ns is 'now'"),
        ({"account": {"key_id": "k", "public_key_pem": "x", "cash_usd": "lots"}}, "account.cash_usd is 'lots'"),
        ({"speed": 0}, "speed 0.0 does not move time"),
        ({"tier": "gold"}, "tier 'gold' is unknown"),
        ({"port": 70_000}, "port 70000 is no port"),
        ({"faults": {"late": 1}}, "leave faults empty"),
    ],
)
def test_a_wrong_configuration_is_named_and_ends_with_exit_code_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], reason: str
) -> None:
    server = Process(tmp_path)
    path = server.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert main([str(path)]) == 4
    assert reason in capsys.readouterr().err


def test_a_wrong_call_ends_with_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
