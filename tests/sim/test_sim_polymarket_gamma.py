"""Gamma and the public CLOB routes, beside recorded answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from polymarket_harness import Running, config_of

from arbpipe.sim.listing import Venue


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory: Path = tmp_path_factory.mktemp("gamma")
    server = Running(config_of(directory, events=24))
    yield server
    server.stop()


def everything(running: Running, path: str, name: str, limit: int) -> list[dict[str, Any]]:
    """All pages of a keyset route."""
    found: list[dict[str, Any]] = []
    query = {"limit": str(limit)}
    while True:
        page = running.http.get(path, params=query).json()
        assert len(page[name]) <= limit
        found += page[name]
        if "next_cursor" not in page:
            return found
        query["after_cursor"] = page["next_cursor"]


def test_the_fields_are_those_of_the_recorded_market_and_of_the_same_kind(running: Running, recordings: Path) -> None:
    folder = recordings / "polymarket" / "protocol_v2_2026-10-05"
    recorded = json.loads((folder / "gamma-market-v1-btc15m.description-elided.json").read_text())
    market = running.http.get("/markets").json()[0]
    # what only the events, the venue's own pages or crypto markets have
    new = {"events", "automaticallyResolved", "groupItemTitle", "volumeNum"}
    assert set(market) - new <= set(recorded)
    for name in set(market) & set(recorded):
        ours, theirs = market[name], recorded[name]
        number = isinstance(ours, int | float) and isinstance(theirs, int | float)
        assert number or type(ours) is type(theirs), name
    assert set(market["feeSchedule"]) == set(recorded["feeSchedule"])
    assert isinstance(json.loads(market["outcomes"])[0], str)
    assert isinstance(json.loads(market["clobTokenIds"])[1], str)


def test_the_fields_of_an_event_are_those_of_the_recorded_one(running: Running, recordings: Path) -> None:
    recorded = json.loads((recordings / "polymarket" / "listings" / "gamma_event.json").read_text())[0]
    event = next(e for e in running.http.get("/events").json() if e["negRisk"])
    assert set(event) - {"description", "enableNegRisk", "negRiskAugmented", "tags"} <= set(recorded)
    assert len(event["markets"]) >= 3


def test_keyset_pages_list_every_market_of_the_world_once(running: Running) -> None:
    markets = everything(running, "/markets/keyset", "markets", 7)
    listed = [m.native_id for e in running.server._world.events for m in e.markets if m.venue is Venue.POLYMARKET]
    spelled = [m["conditionId"] if m["version"] == "v1" else m["conditionId"] + "00" for m in markets]
    assert sorted(spelled) == sorted(listed)
    assert len({m["id"] for m in markets}) == len({m["slug"] for m in markets}) == len(markets)
    events = everything(running, "/events/keyset", "events", 5)
    assert len(events) == 24
    assert sum(len(event["markets"]) for event in events) == len(markets)


def test_ids_stand_where_the_version_puts_them_and_decoys_have_no_book(running: Running) -> None:
    decoys = 0
    for market in everything(running, "/markets/keyset", "markets", 100):
        if market["version"] == "v1":
            ids = json.loads(market["clobTokenIds"])
            assert len(market["conditionId"]) == 66
            for decoy in market.get("positionIds", []):
                decoys += 1
                answer = running.http.get("/book", params={"token_id": decoy})
                assert (answer.status_code, answer.json()["error"]) == (
                    404,
                    "No orderbook exists for the requested token id",
                )
        else:
            ids = market["positionIds"]
            assert "clobTokenIds" not in market
            assert len(market["conditionId"]) == 64
            position = int(market["conditionId"], 16) << 8
            assert [int(each) for each in ids] == [position, position | 1]
            assert running.http.get(f"/clob-markets/{market['conditionId']}").status_code == 404
        assert running.http.get("/book", params={"token_id": ids[0]}).status_code == 200
    assert decoys > 0


def test_the_clob_pairs_ids_with_labels_as_gamma_does(running: Running, recordings: Path) -> None:
    folder = recordings / "polymarket" / "protocol_v2_2026-10-05"
    recorded = {v: json.loads((folder / f"clob-markets-{v}.json").read_text()) for v in ("v1", "v2")}
    for market in everything(running, "/markets/keyset", "markets", 100):
        version = market["version"]
        ids = market["positionIds"] if version == "v2" else json.loads(market["clobTokenIds"])
        condition = market["conditionId"] + ("00" if version == "v2" else "")
        clob = running.http.get(f"/clob-markets/{condition}").json()
        assert {each["t"]: each["o"] for each in clob["t"]} == dict(
            zip(ids, json.loads(market["outcomes"]), strict=True)
        )
        assert set(clob) - {"nr"} <= set(recorded[version])
        assert clob["v"] == version
        assert clob["fd"] == {"r": market["feeSchedule"]["rate"], "e": 1, "to": True}
        assert (clob["mts"], clob["mos"]) == (market["orderPriceMinTickSize"], market["orderMinSize"])
        assert clob.get("nr", False) == market["negRisk"]


def test_filters_choose(running: Running) -> None:
    markets = everything(running, "/markets/keyset", "markets", 100)
    one = next(m for m in markets if m["version"] == "v2")
    other = next(m for m in markets if m["version"] == "v1")

    def slugs(**query: Any) -> list[str]:
        return [m["slug"] for m in running.http.get("/markets", params=query).json()]

    assert slugs(slug=one["slug"]) == [one["slug"]]
    assert slugs(condition_ids=one["conditionId"]) == [one["slug"]]
    assert slugs(condition_ids=one["conditionId"] + "00") == [one["slug"]]
    assert slugs(position_ids=one["positionIds"][0]) == [one["slug"]]
    assert slugs(clob_token_ids=json.loads(other["clobTokenIds"])[1]) == [other["slug"]]
    assert slugs(id=other["id"]) == [other["slug"]]
    assert slugs(closed="true") == []
    assert slugs(limit="2", offset="1") == [m["slug"] for m in markets[1:3]]
    sports = running.http.get("/events", params={"tag_slug": "sports"}).json()
    assert {event["slug"].split("-")[1] for event in sports} == {"game"}


def test_single_objects_are_found_by_slug_id_and_condition(running: Running) -> None:
    market = running.http.get("/markets").json()[0]
    assert running.http.get(f"/markets/slug/{market['slug']}").json()["id"] == market["id"]
    assert running.http.get(f"/markets/{market['id']}").json()["slug"] == market["slug"]
    legacy = running.http.get(f"/markets/{market['conditionId']}").json()
    assert (legacy["condition_id"], legacy["market_slug"]) == (market["conditionId"], market["slug"])
    slug = market["events"][0]["slug"]
    assert running.http.get(f"/events/slug/{slug}").json()["markets"][0]["id"] == market["id"]
    for path in ("/markets/slug/none", "/markets/1", "/markets/0x00", "/events/slug/none"):
        assert running.http.get(path).status_code == 404


def test_keyset_routes_refuse_offsets_and_foreign_cursors(running: Running) -> None:
    for query in ({"offset": "1"}, {"after_cursor": "!"}, {"limit": "many"}):
        assert running.http.get("/markets/keyset", params=query).status_code == 422


def test_a_rest_book_has_the_recorded_keys_in_the_recorded_order(running: Running, recordings: Path) -> None:
    folder = recordings / "polymarket" / "protocol_v2_2026-10-05"
    for version, name in (("v1", "book-v1-btc15m_2026-10-05.json"), ("v2", "book-v2-canary_2026-10-05.json")):
        recorded = json.loads((folder / name).read_text())
        token = running.view(version).assets[1]
        book = running.http.get("/book", params={"token_id": token}).json()
        assert list(book) == list(recorded)
        many = running.http.post("/books", json=[{"token_id": token}, {"token_id": "1"}]).json()
        assert many == [book]


def test_public_routes_answer_as_documented(running: Running) -> None:
    get = running.http.get
    view = running.view()
    token = {"token_id": view.assets[0]}
    assert get("/version").json() == {"version": 2}
    assert isinstance(get("/time").json(), int)
    assert get("/tick-size", params=token).json() == {"minimum_tick_size": view.tick_e4 / 10_000}
    assert get("/neg-risk", params=token).json() == {"neg_risk": False}
    assert get("/fee-rate", params=token).json() == {"base_fee": 1_000}
    by_token = get(f"/markets-by-token/{view.assets[0]}").json()
    assert by_token["condition_id"] == view.listing.condition_id
    assert int(by_token["primary_token_id"]) < int(by_token["secondary_token_id"])
    assert get("/api/geoblock").json()["blocked"] is False
    assert get("/tick-size").status_code == 400
    missing = get("/no/such/route")
    assert missing.status_code == 404
    assert "/no/such/route" in missing.json()["error"]


def test_account_routes_answer_as_documented(running: Running) -> None:
    trader = running.trader("routes")
    assert trader.send("GET", "/auth/ban-status/closed-only").json() == {"closed_only": False}
    assert trader.send("GET", "/v1/user/rate-limit-tier").json() == {"tier": "Standard"}
    assert trader.send("GET", "/balance-allowance/update", query={"asset_type": "COLLATERAL"}).status_code == 200
    balance = trader.send("GET", "/balance-allowance", query={"asset_type": "COLLATERAL"}).json()
    assert balance["balance"] == "1000000000"
    assert all(int(amount) > 10**30 for amount in balance["allowances"].values())
    assert trader.send("GET", "/balance-allowance", query={"asset_type": "GOLD"}).status_code == 400
    first = trader.send("POST", "/v1/heartbeats", {"heartbeat_id": ""}).json()
    wrong = trader.send("POST", "/v1/heartbeats", {"heartbeat_id": "x"})
    assert (wrong.status_code, wrong.json()["heartbeat_id"]) == (400, first["heartbeat_id"])
    assert trader.send("POST", "/v1/heartbeats", first).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/order", [1]),
        ("POST", "/orders", {}),
        ("POST", "/orders", []),
        ("DELETE", "/order", []),
        ("DELETE", "/orders", {"a": 1}),
        ("DELETE", "/orders", ["0x01"] * 1_001),
        ("DELETE", "/cancel-market-orders", {}),
        ("POST", "/v1/heartbeats", {"heartbeat_id": 5}),
    ],
)
def test_a_body_of_the_wrong_shape_is_a_400(running: Running, method: str, path: str, body: Any) -> None:
    trader = running.trader("shapes")
    answer = trader.send(method, path, body)
    assert answer.status_code == 400
    assert answer.json()["error"]
