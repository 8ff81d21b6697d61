"""Orders from the signature to the money, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak
from polymarket_harness import EXCHANGES, Running, Trader, config_of, wallet

from arbpipe.sim.polymarket_trading import Rules


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory: Path = tmp_path_factory.mktemp("trading")
    # eight events list every kind of market; a test here fills whole pages of orders at once
    server = Running(config_of(directory, events=8, rules=Rules(settle_s=0.1, rate_limits=False)))
    yield server
    server.stop()


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize("kind", list(EXCHANGES))
@pytest.mark.parametrize("side", [0, 1])
def test_a_buy_and_a_sell_complete_on_every_kind_of_market(running: Running, kind: tuple[str, bool], side: int) -> None:
    view = running.standard(*kind)
    trader = running.trader(f"complete {kind} {side}")
    token = view.assets[side]
    # the NO side's asks are 0.55 x 50 and 0.60 x 100
    maker, taker = (10_000_000, 20_000_000) if side == 0 else (11_000_000, 20_000_000)
    bought = trader.order(view, "BUY", maker, taker, token=token)
    assert bought.status_code == 200, bought.text
    answer = bought.json()
    assert (answer["success"], answer["errorMsg"], answer["status"]) == (True, "", "matched")
    assert (answer["makingAmount"], answer["takingAmount"]) == (str(maker // 1_000_000), "20")
    assert "transactionsHashes" not in answer
    assert [trade["id"] for trade in trader.trades()] == answer["tradeIDs"]
    trader.settled()
    assert trader.held(view, token) == 20_000_000
    sold = trader.order(view, "SELL", 20_000_000, 9_000_000 if side == 0 else 9_600_000, token=token)
    assert sold.status_code == 200, sold.text
    trader.settled()
    assert trader.held(view, token) == 0
    rate = view.market.rate_e4 / 10_000
    # the NO side's best bid is the mirror of the 0.50 ask
    buy_price, sell_price = (0.5, 0.45) if side == 0 else (0.55, 0.5)
    fees = 20 * rate * (buy_price * (1 - buy_price) + sell_price * (1 - sell_price))
    assert trader.cash() == pytest.approx(1_000e6 - maker + 20e6 * sell_price - fees * 1e6, abs=20)


def test_a_fak_buy_spends_its_dollars_and_may_return_more_shares(running: Running) -> None:
    view = running.standard()
    trader = running.trader("more shares")
    answer = trader.order(view, "BUY", 20_800_000, 40_000_000).json()
    # 20 at 0.50 and the other 10.80 dollars at 0.52
    assert (answer["makingAmount"], answer["takingAmount"]) == ("20.8", "40.76923")
    assert len(answer["tradeIDs"]) == 2
    order = trader.send("GET", f"/data/order/{answer['orderID']}").json()
    assert (order["status"], order["original_size"], order["size_matched"]) == ("MATCHED", "40", "40.76923")
    statement = running.http.get("/sim/statement").json()
    mine = next(each for each in statement["wallets"] if each["signer"] == trader.who.address)
    assert sum(trade["cash_e6"] for trade in mine["trades"]) == 20_800_000
    assert mine["opening_e6"] - mine["cash_e6"] == sum(each["cash_e6"] + each["fee_e6"] for each in mine["trades"])


def test_a_fak_order_takes_what_is_there_and_a_fok_order_all_or_nothing(running: Running) -> None:
    view = running.standard()
    trader = running.trader("fak fok")
    # 20 shares stand at 0.50, the order wants 100
    assert refusal(trader.order(view, "BUY", 50_000_000, 100_000_000, order_type="FOK")) == (
        400,
        "order couldn't be fully filled. FOK orders are fully filled or killed.",
    )
    assert trader.cash() == 1_000_000_000
    taken = trader.order(view, "BUY", 50_000_000, 100_000_000, order_type="FAK").json()
    assert (taken["makingAmount"], taken["takingAmount"]) == ("10", "20")
    assert refusal(trader.order(view, "BUY", 50_000_000, 100_000_000)) == (
        400,
        "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found.",
    )
    assert trader.send("GET", "/data/orders").json()["data"] == []


def test_a_killed_order_can_be_read_by_its_hash(running: Running) -> None:
    view = running.standard()
    trader = running.trader("killed")
    body = trader.body(view, "BUY", 4_000_000, 10_000_000)
    assert trader.send("POST", "/order", body).status_code == 400
    message = trader.typed(view, body["order"])
    order_id = "0x" + keccak(b"\x19" + message.version + message.header + message.body).hex()
    order = trader.send("GET", f"/data/order/{order_id}").json()
    assert (order["status"], order["size_matched"]) == ("UNMATCHED", "0")
    assert trader.send("GET", "/data/order/0x00").status_code == 404


def test_the_same_order_is_accepted_once(running: Running) -> None:
    view = running.standard()
    trader = running.trader("twice")
    body = trader.body(view, "BUY", 4_000_000, 10_000_000, order_type="GTC")
    first = trader.send("POST", "/order", body)
    order_id = first.json()["orderID"]
    assert first.json()["status"] == "live"
    assert refusal(trader.send("POST", "/order", body)) == (400, f"order {order_id} is invalid. Duplicated.")


def test_a_resting_order_is_matched_by_a_quote_without_a_fee(running: Running) -> None:
    view = running.standard()
    trader = running.trader("maker")
    rested = trader.order(view, "BUY", 4_700_000, 10_000_000, order_type="GTC").json()
    assert (rested["status"], rested["makingAmount"], rested["takingAmount"]) == ("live", "", "")
    assert [o["id"] for o in trader.send("GET", "/data/orders").json()["data"]] == [rested["orderID"]]
    running.quote(view, {4_000: 100}, {4_600: 4, 5_000: 20})
    trade = trader.trades()[0]
    assert (trade["trader_side"], trade["side"], trade["price"], trade["size"]) == ("MAKER", "SELL", "0.47", "4")
    assert trade["maker_orders"][0] | {"fee_rate_bps": ""} == {
        "order_id": rested["orderID"],
        "owner": trader.keys.key,
        "maker_address": trader.who.address,
        "matched_amount": "4",
        "price": "0.47",
        "fee_rate_bps": "",
        "asset_id": view.assets[0],
        "outcome": view.market.yes_label,
        "side": "BUY",
    }
    assert trader.cash() == 1_000_000_000 - 4 * 470_000
    order = trader.send("GET", f"/data/order/{rested['orderID']}").json()
    assert (order["status"], order["size_matched"], order["associate_trades"]) == ("LIVE", "4", [trade["id"]])


def test_a_limit_order_takes_and_rests_and_names_its_transactions(running: Running) -> None:
    view = running.standard()
    trader = running.trader("take and rest")
    answer = trader.order(view, "BUY", 25_000_000, 50_000_000, order_type="GTC").json()
    assert (answer["status"], answer["makingAmount"], answer["takingAmount"]) == ("matched", "10", "20")
    assert len(answer["transactionsHashes"]) == len(answer["tradeIDs"]) == 1
    book = running.http.get("/book", params={"token_id": view.assets[0]}).json()
    assert book["bids"][-1] == {"price": "0.5", "size": "30"}
    assert trader.send("DELETE", "/order", {"orderID": answer["orderID"]}).json()["canceled"] == [answer["orderID"]]
    book = running.http.get("/book", params={"token_id": view.assets[0]}).json()
    assert book["bids"][-1] == {"price": "0.45", "size": "50"}


def test_post_only_orders_never_take(running: Running) -> None:
    view = running.standard()
    trader = running.trader("post only")
    crossing = trader.order(view, "BUY", 5_000_000, 10_000_000, order_type="GTC", postOnly=True)
    assert refusal(crossing) == (400, "invalid post-only order: order crosses book")
    resting = trader.order(view, "BUY", 4_900_000, 10_000_000, order_type="GTC", postOnly=True)
    assert resting.json()["status"] == "live"
    assert trader.order(view, "BUY", 5_000_000, 10_000_000, order_type="FAK", postOnly=True).status_code == 400


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("kind", [1, 2, 3])
def test_other_wallets_trade_with_their_funders_money(running: Running, kind: int, version: str) -> None:
    view = running.standard(version)
    trader = running.trader(f"wallet {kind} {version}", kind=kind)
    assert trader.order(view, "BUY", 10_000_000, 20_000_000).status_code == 200
    trader.settled()
    assert trader.held(view, view.assets[0]) == 20_000_000
    statement = running.http.get("/sim/statement").json()
    mine = next(each for each in statement["wallets"] if each["signer"] == trader.who.address)
    assert mine["positions"][0]["funder"] == wallet(f"wallet {kind} {version} funder").address
    # the same customer's own address holds nothing
    bare = Trader(running, trader.who, trader.who.address, 0)
    assert refusal(bare.order(view, "BUY", 10_400_000, 20_000_000)) == (400, "not enough balance / allowance")
    # and the funder's money moves by its own kind of signature only
    if kind != 3:
        other = Trader(running, trader.who, trader.funder, 3 - kind)
        assert refusal(other.order(view, "BUY", 10_400_000, 20_000_000)) == (400, "invalid signature")


def test_money_is_checked_with_fees_and_with_what_other_orders_hold(running: Running) -> None:
    view = running.standard()
    trader = running.trader("poor", usd=10)
    assert refusal(trader.order(view, "BUY", 10_000_000, 20_000_000)) == (400, "not enough balance / allowance")
    assert trader.order(view, "BUY", 4_000_000, 10_000_000, order_type="GTC").status_code == 200
    assert refusal(trader.order(view, "BUY", 6_000_000, 12_000_000)) == (400, "not enough balance / allowance")
    assert trader.order(view, "BUY", 4_000_000, 8_000_000).status_code == 200
    assert trader.cash() >= 0


def test_only_settled_shares_can_be_sold_and_only_once(running: Running) -> None:
    view = running.standard()
    trader = running.trader("unsettled")
    assert trader.order(view, "BUY", 10_000_000, 20_000_000).status_code == 200
    early = trader.order(view, "SELL", 20_000_000, 9_000_000)
    assert refusal(early) == (400, "not enough balance / allowance")
    trader.settled()
    assert trader.order(view, "SELL", 15_000_000, 9_000_000, order_type="GTC").json()["status"] == "live"
    assert refusal(trader.order(view, "SELL", 6_000_000, 2_700_000)) == (400, "not enough balance / allowance")
    assert trader.order(view, "SELL", 5_000_000, 2_250_000).status_code == 200


def test_refusals_name_what_is_wrong(running: Running) -> None:
    view = running.standard()
    trader, other = running.trader("refused"), running.trader("refused other")
    body = trader.body(view, "BUY", 10_000_000, 20_000_000)
    assert refusal(trader.send("POST", "/order", body | {"owner": other.keys.key})) == (
        400,
        "the order owner has to be the owner of the API KEY",
    )
    foreign = other.body(view, "BUY", 10_000_000, 20_000_000) | {"owner": trader.keys.key}
    assert refusal(trader.send("POST", "/order", foreign)) == (
        400,
        "the order signer address has to be the address of the API KEY",
    )
    forged = trader.body(view, "BUY", 10_000_000, 20_000_000, signer=wallet("forger"))
    assert refusal(trader.send("POST", "/order", forged)) == (400, "invalid signature")
    assert refusal(trader.order(view, "BUY", 10_000_000, 20_000_000, token="12345")) == (
        404,
        "No orderbook exists for the requested token id",
    )
    for kind, expiration in (("GTC", 1), ("FAK", int(time.time()) + 999), ("GTD", 0), ("GTD", int(time.time()) + 170)):
        late = trader.order(view, "BUY", 4_000_000, 10_000_000, order_type=kind, expiration=expiration)
        assert refusal(late) == (400, "invalid expiration")
    assert "lower than the minimum: 5" in refusal(trader.order(view, "BUY", 2_000_000, 4_000_000))[1]
    assert trader.send("GET", "/data/trades").json()["data"] == []


def test_the_wrong_exchange_is_a_version_mismatch_across_versions_and_else_a_wrong_signature(running: Running) -> None:
    trader = running.trader("wrong exchange")
    for kind, other, text in (
        (("v1", False), ("v2", False), "order_version_mismatch"),
        (("v2", False), ("v1", False), "order_version_mismatch"),
        (("v1", True), ("v1", False), "invalid signature"),
    ):
        view = running.standard(*kind)
        answer = trader.order(view, "BUY", 10_000_000, 20_000_000, exchange=EXCHANGES[other])
        assert refusal(answer) == (400, text)


def test_a_batch_answers_each_order_and_takes_at_most_fifteen(running: Running) -> None:
    view = running.standard()
    trader = running.trader("batch")
    bodies = [
        trader.body(view, "BUY", 4_000_000, 10_000_000, order_type="GTC"),
        trader.body(view, "BUY", 400_000, 1_000_000, order_type="GTC"),
    ]
    answers = trader.send("POST", "/orders", bodies).json()
    assert [answer["success"] for answer in answers] == [True, False]
    assert (answers[1]["orderID"], answers[1]["status"]) == ("", "")
    assert "lower than the minimum" in answers[1]["errorMsg"]
    assert refusal(trader.send("POST", "/orders", bodies * 10)) == (
        400,
        "Too many orders in payload: 20, max allowed: 15",
    )


def test_cancel_routes_say_what_they_cancelled_and_what_not(running: Running) -> None:
    first, second = running.standard(), running.standard("v2")
    trader = running.trader("cancel")
    ids = [
        trader.order(view, "BUY", 4_000_000, 10_000_000, order_type="GTC").json()["orderID"]
        for view in (first, first, second, second)
    ]
    done = trader.order(first, "BUY", 10_000_000, 20_000_000).json()["orderID"]
    answer = trader.send("DELETE", "/orders", [ids[0], done, "0xffff"]).json()
    assert answer["canceled"] == [ids[0]]
    assert answer["not_canceled"] == {
        done: "Order already matched",
        "0xffff": "Order not found or already canceled",
    }
    market = {"market": second.listing.condition_id, "asset_id": second.assets[0]}
    assert trader.send("DELETE", "/cancel-market-orders", market).json()["canceled"] == ids[2:]
    assert trader.send("DELETE", "/cancel-all").json() == {"canceled": [ids[1]], "not_canceled": {}}
    stranger = running.trader("cancel stranger")
    kept = trader.order(first, "BUY", 4_000_000, 10_000_000, order_type="GTC").json()["orderID"]
    assert stranger.send("DELETE", "/order", {"orderID": kept}).json()["canceled"] == []
    assert stranger.send("GET", f"/data/order/{kept}").status_code == 404


def test_pages_of_orders_end_with_the_known_cursor(running: Running) -> None:
    view = running.standard()
    trader = running.trader("pages", usd=100_000)
    for _ in range(7):
        bodies = [trader.body(view, "BUY", 2_000_000, 20_000_000, order_type="GTC") for _ in range(15)]
        assert all(answer["success"] for answer in trader.send("POST", "/orders", bodies).json())
    first = trader.send("GET", "/data/orders").json()
    assert (len(first["data"]), first["count"]) == (100, 100)
    assert first["next_cursor"] != "LTE="
    second = trader.send("GET", "/data/orders", query={"next_cursor": first["next_cursor"]}).json()
    assert (len(second["data"]), second["next_cursor"]) == (5, "LTE=")
    assert not {row["id"] for row in first["data"]} & {row["id"] for row in second["data"]}
    assert trader.send("DELETE", "/cancel-all").json()["not_canceled"] == {}


def test_an_order_does_not_trade_with_its_own_account(running: Running) -> None:
    view = running.standard()
    trader = running.trader("itself")
    assert trader.order(view, "BUY", 10_000_000, 20_000_000).status_code == 200
    trader.settled()
    running.quote(view, {4_000: 100}, {5_200: 100})
    assert trader.order(view, "BUY", 4_800_000, 10_000_000, order_type="GTC").json()["status"] == "live"
    assert "no orders found to match" in refusal(trader.order(view, "SELL", 10_000_000, 4_800_000))[1]
    assert "crosses the book" in refusal(trader.order(view, "SELL", 10_000_000, 4_800_000, order_type="GTC"))[1]
    assert len(trader.trades()) == 1


def test_rules_have_the_documented_defaults() -> None:
    rules = Rules()
    assert (rules.settle_s, rules.heartbeat_s, rules.heartbeat_check_s) == (0.3, 10.0, 5.0)
    assert rules.flat_market_amounts, "what was refused live in July 2026 is refused here"
