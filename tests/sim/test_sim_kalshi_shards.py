"""Exchange shards: where an order goes, which cash pays for it, which bucket, and how cash gets from one to another."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from kalshi_support import ORDERS, Client, check_rest, order_body, play, set_book

GTC = "good_till_canceled"
SHARDS: Any = {"shards": {"KXSIMGAME": 2, "KXSIMRACE": 3}, "shard_cash_e6": {2: 50_000_000}}


def on(client: Client, index: int) -> str:
    ticker = next(t for t, listed in client.server.catalog.markets.items() if listed.exchange_index == index)
    set_book(client, ticker, {4_000: 50_000}, {6_000: 50_000})
    return ticker


async def send(client: Client, ticker: str, count: str = "1.00", **more: Any) -> tuple[int, Any]:
    return await client.call("POST", ORDERS, order_body(ticker, "bid", "0.6000", count, **more))


def test_each_shard_pays_for_its_own_orders_and_one_without_funds_says_so(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        zero, two, three = (on(client, index) for index in (0, 2, 3))
        assert (await send(client, two, "100.00"))[1]["error"]["code"] == "insufficient_balance", "60 dollars of 50"
        assert (await send(client, two, "50.00"))[0] == 201
        assert (await send(client, zero, "100.00"))[0] == 201
        status, answer = await send(client, three)
        assert (status, answer["error"]["details"]) == (400, "Exchange user not found.")
        _, balance = await client.call("GET", "/portfolio/balance")
        check_rest(recordings, "GetBalanceResponse", balance)
        shown = {each["exchange_index"]: each["balance"] for each in balance["balance_breakdown"]}
        # 60.00 + 1.6800 of 1000; 30.00 + 0.8400 of 50
        assert shown == {0: "938.3200", 2: "19.1600"}
        assert balance["balance_dollars"] == "957.4800"
        await asyncio.sleep(1.1)
        _, one = await client.call("GET", "/portfolio/balance?exchange_index=2")
        assert (one["balance_dollars"], len(one["balance_breakdown"])) == ("19.1600", 1)
        for path, member in (
            ("/portfolio/orders", "orders"),
            ("/portfolio/fills", "fills"),
            ("/portfolio/positions", "market_positions"),
        ):
            _, answer = await client.call("GET", path)
            assert {each["ticker"]: each["exchange_index"] for each in answer[member]} == {zero: 0, two: 2}
        _, answer = await client.call("GET", f"/markets/{two}")
        assert answer["market"]["exchange_index"] == 2

    play(tmp_path, scenario, **SHARDS)


def test_an_order_goes_where_it_says_or_where_its_market_is(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        two = on(client, 2)
        for index in (0, 1, 3):
            status, answer = await send(client, two, exchange_index=index)
            assert (status, answer["error"]["code"]) == (400, "invalid_order")
        for more in ({"exchange_index": 2}, {"exchange_index": -1}, {}):
            assert (await send(client, two, **more))[0] == 201
        resting = []
        for _ in range(5):
            _, made = await client.call("POST", ORDERS, order_body(two, "bid", "0.5000", "1.00", GTC))
            resting.append(made["order_id"])
        for query in ("", "?exchange_index=0", "?exchange_index=3", "?market_ticker=NONE"):
            assert (await client.call("DELETE", f"{ORDERS}/{resting[0]}{query}"))[0] == 404, query
        for order, query in zip(resting, (f"?market_ticker={two}", "?exchange_index=2"), strict=False):
            assert (await client.call("DELETE", f"{ORDERS}/{order}{query}"))[0] == 200
        named: Any = [{"order_id": resting[2]}, {"order_id": resting[3], "market_ticker": two}]
        _, answer = await client.call("DELETE", f"{ORDERS}/batched", {"orders": named})
        assert [each["reduced_by"] for each in answer["orders"]] == ["0.00", "1.00"]
        path = f"{ORDERS}/{resting[4]}/decrease"
        assert (await client.call("POST", path, {"reduce_to": "0.50"}))[0] == 404
        assert (await client.call("POST", path, {"reduce_to": "0.50", "exchange_index": 2}))[0] == 200
        assert (await client.call("DELETE", ORDERS))[0] == 204
        assert client.server.store.order(resting[4]).left_e2 == 0, "cancel-all reaches every shard"  # type: ignore[union-attr]

    play(tmp_path, scenario, **SHARDS)


@pytest.mark.parametrize(
    ("way", "counts"),
    [
        ({"exchange_index": 2}, (10, 0, 10)),
        ({"exchange_index": 0}, (10, 10, 0)),
        ({}, (10, 0, 0)),
        ({"exchange_index": -1}, (10, 0, 0)),
    ],
)
def test_an_explicit_shard_has_a_bucket_of_its_own_and_automatic_routing_costs_every_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: dict[str, int], counts: tuple[int, int, int]
) -> None:
    monkeypatch.setattr("arbpipe.sim.kalshi_clock.VenueClock.steady_ns", staticmethod(lambda: 1))  # nothing refills

    async def tries(client: Client, ticker: str, **more: Any) -> int:
        done = 0
        while (await send(client, ticker, "0.01", **more))[0] != 429:
            done += 1
        return done

    async def scenario(client: Client) -> None:
        zero, two = on(client, 0), on(client, 2)
        wanted = zero if way.get("exchange_index") == 0 else two
        first = await tries(client, wanted, **way)
        assert (
            first,
            await tries(client, two, exchange_index=2),
            await tries(client, zero, exchange_index=0),
        ) == counts

    play(tmp_path, scenario, tier="basic", **SHARDS)


def test_a_transfer_arrives_later_once_and_moves_no_money_in_all(
    tmp_path: Path, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbpipe.sim.kalshi_transfers.TRANSFER_S", 1.5)

    async def scenario(client: Client) -> None:
        path = "/portfolio/intra_exchange_instance_transfer"
        name = str(uuid.uuid4())
        sent: Any = {
            "source": "event_contract",
            "destination": "event_contract",
            "amount": 100_000,
            "source_exchange_shard": 0,
            "destination_exchange_shard": 3,
            "client_transfer_id": name,
        }
        status, answer = await client.call("POST", path, sent)
        assert status == 200
        check_rest(recordings, "IntraExchangeInstanceTransferResponse", answer)
        assert (await client.statement())["shards"] == {"0": "1000.000000", "2": "50.000000"}, "not yet"
        assert (await client.call("POST", path, sent))[0] == 409
        three = on(client, 3)
        assert (await send(client, three))[0] == 400
        await asyncio.sleep(2.0)
        assert (await client.statement())["shards"] == {"0": "990.000000", "2": "50.000000", "3": "10.000000"}
        assert (await client.statement())["cash"] == "1050.000000"
        assert (await send(client, three))[0] == 201
        _, listed = await client.call("GET", f"{path}s")
        check_rest(recordings, "GetIntraExchangeInstanceTransfersResponse", listed)
        _, one = await client.call("GET", f"{path}s/{answer['transfer_id']}")
        check_rest(recordings, "GetIntraExchangeInstanceTransferResponse", one)
        assert (one["transfer"]["status"], one["transfer"]["amount"]) == ("complete", "10.000000")
        for change, code in (
            ({"amount": 10**9}, "insufficient_balance"),
            ({"amount": 0}, "invalid_parameters"),
            ({"destination_exchange_shard": 0}, "invalid_parameters"),
            ({"destination_exchange_shard": 7}, "invalid_parameters"),
            ({"source": "margined"}, "invalid_parameters"),
            ({"client_transfer_id": "no uuid"}, "invalid_parameters"),
        ):
            status, answer = await client.call(
                "POST", path, {**sent, "client_transfer_id": str(uuid.uuid4()), **change}
            )
            assert (status, answer["error"]["code"]) == (400, code), change

    play(tmp_path, scenario, **SHARDS)


def test_the_netting_setting_is_kept_per_shard(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        path = "/portfolio/subaccounts/netting"
        for enabled in (True, False):
            if not enabled:
                changed = await client.call("PUT", path, {"subaccount_number": 0, "enabled": False})
                assert changed[0] == 200
            _, answer = await client.call("GET", path)
            check_rest(recordings, "GetSubaccountNettingResponse", answer)
            shown = [(each["exchange_index"], each["enabled"]) for each in answer["netting_configs"]]
            assert shown == [(0, enabled), (2, enabled)]
        assert (await client.call("PUT", path, {"enabled": True}))[0] == 400
        assert (await client.call("PUT", path, {"subaccount_number": 5, "enabled": True}))[0] == 400

    play(tmp_path, scenario, **SHARDS)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shard_cash_e6": {0: 1}}, "the cash of shard 0 is account.cash_usd"),
        ({"shards": {"KXSIMGAME": 101}}, "a shard is 0 … 100"),
        ({"structures": {"KXSIMGAME": "round"}}, "structures names round: choose from linear_cent"),
        ({"member": "guest"}, "member 'guest' is unknown"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, changes: Any, reason: str) -> None:
    async def nothing(client: Client) -> None:
        raise AssertionError("it must not start")

    with pytest.raises(ValueError, match=reason):
        play(tmp_path, nothing, **changes)
