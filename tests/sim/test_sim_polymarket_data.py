"""Positions of the Data API, read by hand and by the venue's own library."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from polymarket import PublicClient
from polymarket.environments import PRODUCTION, _create_environment
from polymarket_harness import Running, config_of

from arbpipe.sim.polymarket_account import TradeRow
from arbpipe.sim.polymarket_data import Cost, cost_of


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory: Path = tmp_path_factory.mktemp("data")
    server = Running(config_of(directory))
    yield server
    server.stop()


def trade(is_buy: bool, shares: int, dollars: int, fee: int) -> TradeRow:
    return TradeRow(
        "t", 1, "o", "k", "0xf", "c", "7", int(is_buy), 1, shares, dollars, fee, 1, "o", "x", "CONFIRMED", 1, 1
    )


def test_the_cost_is_the_average_of_what_is_still_held() -> None:
    trades = [trade(True, 10, 4_000, 7), trade(True, 30, 16_000, 8), trade(False, 20, 12_000, 9)]
    assert cost_of(trades) == Cost(entry_e6=10_000, fees_e6=15, realized_e6=2_000, bought_e6=40)
    assert cost_of([]) == Cost(0, 0, 0, 0)


def test_the_venues_own_library_reads_settled_positions(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    view, trader = running.standard(), running.trader("positions")
    assert trader.order(view, "BUY", 11_000_000, 20_000_000, token=view.assets[1]).status_code == 200
    trader.settled()
    monkeypatch.setenv("SSL_CERT_FILE", str(running.config.directory / "ca.pem"))
    config = replace(PRODUCTION._config, data_url=running.url, gamma_url=running.url, clob_url=running.url)
    client = PublicClient(environment=_create_environment(name="simulated", config=config))
    (position,) = client.list_positions(user=trader.who.address).first_page().items
    client.close()
    assert (position.asset_id, position.outcome_index) == (view.assets[1], 1)
    assert (position.current_size, position.avg_price) == (Decimal("20"), Decimal("0.55"))
    assert position.outcome == view.market.no_label


def test_pages_end_and_unsettled_shares_are_not_shown(running: Running) -> None:
    views = [running.standard("v1"), running.standard("v2")]
    trader = running.trader("position pages")
    user = {"user": trader.who.address.lower()}
    for view in views:
        assert trader.order(view, "BUY", 10_000_000, 20_000_000).status_code == 200
    trader.settled()
    assert trader.order(views[0], "BUY", 10_400_000, 20_000_000, token=views[0].assets[0]).status_code == 200
    first = running.http.get("/v2/positions", params=user | {"limit": "1"}).json()
    assert first["pagination"]["has_more"] is True
    query = user | {"limit": "1", "cursor": first["pagination"]["next_cursor"]}
    second = running.http.get("/v2/positions", params=query).json()
    assert second["pagination"] == {"has_more": False, "next_cursor": None}
    assert {first["data"][0]["token_id"], second["data"][0]["token_id"]} == {view.assets[0] for view in views}
    assert [page["data"][0]["current_size"] for page in (first, second)] == [20, 20]
    one = running.http.get("/v2/positions", params=user | {"condition_id": views[1].listing.condition_id}).json()
    assert [row["token_id"] for row in one["data"]] == [views[1].assets[0]]


@pytest.mark.parametrize("query", [{}, {"user": "0x1"}, {"limit": "0"}, {"limit": "x"}, {"cursor": "!"}])
def test_what_cannot_be_answered_is_a_400(running: Running, query: dict[str, str]) -> None:
    known = {"user": running.trader("bad query").who.address} if "user" not in query and query else {}
    assert running.http.get("/v2/positions", params=known | query).status_code == 400
