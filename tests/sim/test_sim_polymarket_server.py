"""The server as a whole: the venue's own client library, a process that is killed, and a world that moves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from polymarket import SecureClient
from polymarket.environments import PRODUCTION, Environment, _create_environment
from polymarket.errors import OrderHeartbeatMismatchError, RequestRejectedError
from polymarket_harness import Remote, Running, Trader, config_of, wallet

from arbpipe.sim.authority import make_authority
from arbpipe.sim.listing import PolymarketListing
from arbpipe.sim.polymarket_server import load_config, main

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory: Path = tmp_path_factory.mktemp("library")
    server = Running(config_of(directory, events=8))
    yield server
    server.stop()


def environment_of(url: str) -> Environment:
    """The library's own environment with every address replaced."""
    socket = url.replace("https", "wss")
    config = replace(
        PRODUCTION._config,
        clob_url=url,
        gamma_url=url,
        data_url=url,
        relayer_url=url,
        rpc_url=url,
        clob_market_ws_url=f"{socket}/ws/market",
        clob_user_ws_url=f"{socket}/ws/user",
    )
    return _create_environment(name="simulated", config=config)


@pytest.fixture
def client(running: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[SecureClient]:
    monkeypatch.setenv("SSL_CERT_FILE", str(running.config.directory / "ca.pem"))
    who = wallet()
    made = SecureClient.create(private_key=who.key.hex(), wallet=who.address, environment=environment_of(running.url))
    yield made
    made.close()


@pytest.mark.parametrize("kind", [("v1", False), ("v1", True), ("v2", False), ("v2", True)])
def test_the_venues_own_library_buys_settles_and_sells(
    running: Running, client: SecureClient, kind: tuple[str, bool]
) -> None:
    view = running.standard(*kind)
    token = view.assets[1]
    book = client.get_order_book(asset_id=token)
    assert (book.asks[-1].price, book.neg_risk) == (Decimal("0.55"), kind[1])
    bought: Any = client.post_order(
        client.create_market_order(asset_id=token, side="BUY", amount=11, max_price="0.55", order_type="FAK")
    )
    assert (bought.ok, bought.status, bought.making_amount, bought.taking_amount) == (True, "matched", 11, 20)
    hashes = client.wait_for_order_fill_settlement(bought)
    assert len(hashes) == 1
    sold: Any = client.post_order(
        client.create_market_order(asset_id=token, side="SELL", shares=20, min_price="0.5", order_type="FOK")
    )
    assert (sold.ok, sold.making_amount, sold.taking_amount) == (True, 20, 10)
    trades = client.list_account_trades().first_page().items
    assert [trade.side for trade in trades[:2]] == ["SELL", "BUY"]


def test_the_venues_own_library_rests_reads_and_cancels(running: Running, client: SecureClient) -> None:
    view = running.standard()
    order: Any = client.post_order(
        client.create_limit_order(asset_id=view.assets[0], price="0.41", size=10, side="BUY", post_only=True)
    )
    assert order.status == "live"
    assert [each.id for each in client.list_open_orders().first_page().items] == [order.order_id]
    assert client.get_order(order_id=order.order_id).original_size == 10
    assert client.cancel_order(order_id=order.order_id).canceled == (order.order_id,)
    with pytest.raises(RequestRejectedError, match="order crosses book"):
        client.post_order(
            client.create_limit_order(asset_id=view.assets[0], price="0.6", size=10, side="BUY", post_only=True)
        )


def test_the_venues_own_library_reads_markets_balances_and_heartbeats(running: Running, client: SecureClient) -> None:
    markets = list(client.list_markets().first_page().items)
    assert len(markets) >= 10
    slug = markets[0].slug
    assert slug is not None
    assert client.get_market(slug=slug).id == markets[0].id
    assert len(list(client.list_events().first_page().items)) == 8
    assert client.get_balance_allowance(asset_type="COLLATERAL").balance > 0
    beat = client.send_order_heartbeat()
    with pytest.raises(OrderHeartbeatMismatchError) as caught:
        client.send_order_heartbeat(heartbeat_id="x")
    assert caught.value.heartbeat_id == beat.heartbeat_id


def test_a_moving_world_keeps_rest_and_frames_the_same(tmp_path: Path) -> None:
    running = Running(config_of(tmp_path, started_ns=time.time_ns() - 2_000_000_000, speed=20.0))
    heard: list[str] = []
    try:
        view = running.view()
        running.call(lambda: heard.clear())
        exchange = running.server.exchange
        publish = exchange.on_frames

        def listen(frames: Any) -> None:
            heard.extend(frame.text for frame in frames if view.assets[0] in frame.assets)
            publish(frames)

        def attach() -> None:
            exchange.on_frames = listen

        running.call(attach)
        running.until(lambda: len(heard) > 10, 5.0)

        def compare() -> None:
            changes = [json.loads(text) for text in heard if '"price_changes"' in text or '"event_type":"book"' in text]
            last = changes[-1]
            if "price_changes" in last:
                mine = next(each for each in last["price_changes"] if each["asset_id"] == view.assets[0])
            else:
                mine = next(each for each in reversed(changes) if each.get("asset_id") == view.assets[0])
            assert view.rest_book(view.assets[0])["hash"] == mine["hash"]

        running.call(compare)
    finally:
        running.stop()


def write_config(directory: Path, port: int, started_ns: int, speed: float = 0.001) -> Path:
    files = make_authority(directory).issue("polymarket") if not (directory / "ca.pem").exists() else None
    alice = wallet().address
    raw = {
        "directory": str(directory),
        "port": port,
        "seed": 3,
        "events": 4,
        "started_ns": started_ns,
        "speed": speed,
        "account": {"address": alice, "funder": alice, "signature_type": 0, "cash_usd": 500},
        "tls": {
            "cert": str(files.cert if files else directory / "polymarket.pem"),
            "key": str(files.key if files else directory / "polymarket.key"),
        },
        "faults": {},
    }
    path = directory / "config.json"
    path.write_text(json.dumps(raw))
    return path


def launch(config: Path) -> subprocess.Popen[bytes]:
    (config.parent / "polymarket.json").unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "arbpipe.sim.polymarket_server", str(config)]
    process = subprocess.Popen(command, env=environment, cwd=config.parent, stderr=subprocess.PIPE)
    end = time.monotonic() + 15
    while not (config.parent / "polymarket.json").exists():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise AssertionError(process.communicate()[1].decode())
        time.sleep(0.02)
    return process


def test_a_killed_simulator_goes_on_where_it_was(tmp_path: Path) -> None:
    started_ns = time.time_ns()
    config = write_config(tmp_path, 0, started_ns)
    process = launch(config)
    try:
        addresses = json.loads((tmp_path / "polymarket.json").read_text())
        assert addresses["ws_user"] == f"wss://127.0.0.1:{addresses['port']}/ws/user"
        assert addresses["clob"] == addresses["gamma"] == addresses["data"]
        remote = Remote(addresses["clob"], tmp_path / "ca.pem")
        trader = Trader(remote, wallet())
        view = Known.of(remote.http.get("/markets").json()[0])
        book = remote.http.get("/book", params={"token_id": view.assets[0]}).json()
        best = Decimal(book["asks"][-1]["price"])
        taken = trader.order(view, "BUY", int(best * 20 * 10**6), 20_000_000)
        assert taken.status_code == 200, taken.text
        rest = trader.order(view, "BUY", 1_000_000, 50_000_000, order_type="GTC")
        assert rest.status_code == 200, rest.text
        before = remote.http.get("/sim/statement").json()["wallets"]
        remote.close()
        process.kill()
        process.communicate()
        process = launch(write_config(tmp_path, addresses["port"], started_ns))
        assert json.loads((tmp_path / "polymarket.json").read_text()) == addresses
        remote = Remote(addresses["clob"], tmp_path / "ca.pem")
        after = remote.http.get("/sim/statement").json()["wallets"]
        assert (after[0]["cash_e6"], after[0]["orders"]) == (before[0]["cash_e6"], before[0]["orders"])
        again = Trader(remote, wallet())
        assert again.keys == trader.keys
        again.settled()
        assert again.held(view, view.assets[0]) == 20_000_000
        assert [row["id"] for row in again.send("GET", "/data/orders").json()["data"]] == [rest.json()["orderID"]]
        bids = remote.http.get("/book", params={"token_id": view.assets[0]}).json()["bids"]
        assert {"price": "0.02", "size": "50"} in bids
        remote.close()
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


@dataclass(frozen=True)
class Known:
    """What a client reads of a v1 market from Gamma."""

    listing: PolymarketListing
    assets: tuple[str, str]

    @classmethod
    def of(cls, market: dict[str, Any]) -> Known:
        assert market["version"] == "v1"
        yes, no = json.loads(market["clobTokenIds"])
        rate = str(market["feeSchedule"]["rate"])
        return cls(PolymarketListing(market["conditionId"], "v1", yes, no, rate, market["negRisk"]), (yes, no))


def good(directory: Path) -> dict[str, Any]:
    raw: dict[str, Any] = json.loads(write_config(directory, 0, 1).read_text())
    return raw


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        ({"port": None}, "missing"),
        ({"prot": 1}, "unknown"),
        ({"faults": {"drop": 1}}, "faults"),
        ({"account": {"address": "0x00"}}, "account needs"),
        ({"tls": {}}, "tls needs"),
        ({"rules": {"speed": 1}}, "account needs"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, spoil: dict[str, Any], text: str) -> None:
    raw = good(tmp_path) | spoil
    raw = {name: value for name, value in raw.items() if value is not None}
    with pytest.raises(ValueError, match=text):
        load_config(raw)


def test_an_account_must_be_possible(tmp_path: Path) -> None:
    raw = good(tmp_path)
    for changes, text in (
        ({"address": "0x12"}, "invalid address"),
        ({"signature_type": 4}, "signature_type of 0 to 3"),
        ({"cash_usd": -1}, "cash from 0"),
        ({"funder": wallet("other").address}, "its own funder"),
    ):
        with pytest.raises(ValueError, match=text):
            load_config(raw | {"account": raw["account"] | changes})


def test_the_command_wants_one_readable_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main([str(tmp_path / "none.json")]) == 4
    assert "none.json" in capsys.readouterr().err
