"""Amend and decrease: what keeps its place, what trades, what is refused, and that the money follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kalshi_support import ORDERS, Client, check_rest, order_body, play, set_book

from arbpipe.sim.exchange import Book, End, LevelChange, Order, Tif

GTC = "good_till_canceled"


def first(client: Client) -> str:
    return next(iter(client.server.catalog.markets))


async def resting(client: Client, price: str = "0.5000", count: str = "3.00", **more: Any) -> str:
    set_book(client, first(client), {4_000: 500}, {6_000: 500})
    status, made = await client.call("POST", ORDERS, order_body(first(client), "bid", price, count, GTC, **more))
    assert status == 201, made
    return str(made["order_id"])


def body(client: Client, price: str, count: str, **more: Any) -> Any:
    return {"ticker": first(client), "side": "bid", "price": price, "count": count, **more}


async def balance(client: Client) -> str:
    return str((await client.call("GET", "/portfolio/balance"))[1]["balance_dollars"])


def test_a_smaller_size_keeps_its_place_and_another_price_loses_it(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = first(client)
        early = await resting(client, count="3.00", client_order_id="early")
        _, made = await client.call("POST", ORDERS, order_body(ticker, "bid", "0.5000", "3.00", GTC))
        late = made["order_id"]
        book = client.server.catalog.book(ticker)
        status, answer = await client.call("POST", f"{ORDERS}/{early}/amend", body(client, "0.5000", "2.00"))
        assert (status, answer["remaining_count"], answer["fill_count"]) == (200, "2.00", "0.00")
        check_rest(recordings, "AmendOrderV2Response", answer)
        assert [each.order.order_id for each in book.open_orders("account")] == [early, late]
        book.set_quote(False, 5_000, 1_000_000)
        assert client.server.store.fills()[-1].order_id == early, "one contract meets the older order first"
        book.set_quote(False, 5_000, 0)
        more = body(client, "0.4500", "3.00", updated_client_order_id="renamed", expiration_time=2_000_000_000)
        status, answer = await client.call("POST", f"{ORDERS}/{early}/amend", more)
        assert (status, answer["remaining_count"], answer["client_order_id"]) == (200, "2.00", "renamed")
        assert book.level_e6(True, 4_500) == 2_000_000
        assert book.level_e6(True, 5_000) == 3_000_000
        _, shown = await client.call("GET", f"/portfolio/orders/{early}")
        check_rest(recordings, "GetOrderResponse", shown)
        assert (shown["order"]["yes_price_dollars"], shown["order"]["fill_count_fp"]) == ("0.4500", "1.00")
        assert shown["order"]["expiration_time"].startswith("2033-05-18")
        again = order_body(ticker, "bid", "0.3000", "1.00", GTC, client_order_id="renamed")
        assert (await client.call("POST", ORDERS, again))[1]["error"]["code"] == "order_already_exists"

    play(tmp_path, scenario)


def test_an_amend_that_crosses_trades_and_says_at_what(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        order = await resting(client)
        status, answer = await client.call("POST", f"{ORDERS}/{order}/amend", body(client, "0.6000", "7.00"))
        assert (status, answer["fill_count"], answer["remaining_count"]) == (200, "5.00", "2.00")
        assert answer["average_fill_price"] == "0.6000"
        check_rest(recordings, "AmendOrderV2Response", answer)
        statement = await client.statement()
        assert [fill["count"] for fill in statement["fills"]] == ["5.00"]
        # 1000 - 5 x 0.60 - 0.0840 fee; 2 x 0.60 held
        assert (statement["cash"], statement["held"]) == ("996.916000", "1.200000")

    play(tmp_path, scenario)


def test_a_post_only_order_that_an_amend_would_cross_is_cancelled(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        order = await resting(client, post_only=True)
        status, answer = await client.call("POST", f"{ORDERS}/{order}/amend", body(client, "0.6000", "3.00"))
        assert (status, answer["remaining_count"], answer["fill_count"]) == (200, "0.00", "0.00")
        row = client.server.store.order(order)
        assert row is not None
        assert (row.status.value, row.reason) == ("canceled", "PostOnlyCrossCancel")
        assert client.server.catalog.book(first(client)).open_orders("account") == []

    play(tmp_path, scenario)


def test_refused_amends_change_nothing(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        order = await resting(client, client_order_id="mine")
        path = f"{ORDERS}/{order}/amend"
        before = (await client.statement(), await balance(client))
        cases: list[tuple[str, Any, int, str]] = [
            (path, body(client, "0.5050", "3.00"), 400, "invalid_price"),
            (path, body(client, "0.5000", "9999999.00"), 400, "insufficient_balance"),
            (path, body(client, "0.5000", "0.00"), 400, "invalid_order"),
            (path, {**body(client, "0.5000", "3.00"), "side": "ask"}, 400, "invalid_order"),
            (path, body(client, "0.5000", "3.00", client_order_id="other"), 400, "invalid_order"),
            (path, body(client, "0.5000", "3.00", expiration_time=1), 400, "invalid_order"),
            (path, body(client, "0.4000", "3.00", updated_client_order_id="mine"), 409, "order_already_exists"),
            (f"{ORDERS}/unknown/amend", body(client, "0.5000", "3.00"), 404, "not_found"),
            (path, body(client, "0.5000", "3.00", exchange_index=1), 404, "not_found"),
        ]
        for where, sent, status, code in cases:
            answer = await client.call("POST", where, sent)
            assert (answer[0], answer[1]["error"]["code"]) == (status, code), sent
        status, flat = await client.call("POST", path, {**body(client, "0.5000", "3.00"), "count": 3})
        assert (status, flat["code"]) == (400, "bad_request")
        assert (await client.statement(), await balance(client)) == before

    play(tmp_path, scenario)


def test_a_decrease_takes_off_or_leaves_and_nothing_left_is_a_cancel(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        order = await resting(client, count="5.00")
        path = f"{ORDERS}/{order}/decrease"
        status, answer = await client.call("POST", path, {"reduce_by": "1.50", "market_ticker": first(client)})
        assert (status, answer["remaining_count"]) == (200, "3.50")
        check_rest(recordings, "DecreaseOrderV2Response", answer)
        assert (await client.call("POST", path, {"reduce_to": "1.00"}))[1]["remaining_count"] == "1.00"
        assert await balance(client) == "999.5000"
        for wrong in ({}, {"reduce_by": "1.00", "reduce_to": "0.50"}, {"reduce_to": "1.00"}, {"reduce_by": "0.00"}):
            assert (await client.call("POST", path, wrong))[0] == 400
        assert (await client.call("POST", path, {"reduce_to": "0.00"}))[1]["remaining_count"] == "0.00"
        assert (await client.call("POST", path, {"reduce_by": "1.00"}))[0] == 404
        assert await balance(client) == "1000.0000"

    play(tmp_path, scenario)


@pytest.mark.parametrize("verb", ["amend", "decrease"])
def test_nothing_changes_after_the_close(tmp_path: Path, verb: str) -> None:
    async def scenario(client: Client) -> None:
        order = await resting(client)
        client.server.catalog.markets[first(client)].life.close_us = client.server.catalog.now_us()
        sent = body(client, "0.5000", "2.00") if verb == "amend" else {"reduce_by": "1.00"}
        status, answer = await client.call("POST", f"{ORDERS}/{order}/{verb}", sent)
        assert (status, answer["error"]["code"]) == (400, "MARKET_INACTIVE")

    play(tmp_path, scenario)


def gtc(price_e4: int, qty_e6: int, name: str = "mine", *, buys: bool = True, post_only: bool = False) -> Order:
    return Order(name, "account", buys, price_e4, qty_e6, Tif.GTC, post_only=post_only)


@given(st.integers(1, 98), st.integers(1, 500), st.booleans(), st.booleans())
def test_a_replaced_order_is_one_action_and_no_quantity_appears_or_vanishes(
    cents: int, qty: int, buys: bool, post_only: bool
) -> None:
    seen: list[LevelChange] = []
    book = Book("M", on_level=seen.append)
    for price in (10, 20, 30):
        book.set_quote(True, price * 100, 100)
    for price in (40, 60, 80):
        book.set_quote(False, price * 100, 100)
    book.execute(gtc(3_500, 70, buys=buys))
    seen.clear()
    done = book.replace(gtc(cents * 100, qty, buys=buys, post_only=post_only))
    assert len({change.action for change in seen}) <= 1
    gone = done.end is End.POST_ONLY
    assert done.filled_e6 + done.left_e6 == qty
    assert sum(each.left_e6 for each in book.open_orders("account")) == (0 if gone else done.left_e6)
    taken = 600 - sum(size for side in book.levels() for _, size in side) + (0 if gone else done.left_e6)
    assert taken == done.filled_e6
    bids, asks = book.levels()
    assert not bids or not asks or bids[0][0] < asks[0][0]


def test_only_what_rests_can_be_replaced_and_only_by_what_may_rest() -> None:
    book = Book("M")
    with pytest.raises(ValueError, match="only resting GTC orders"):
        book.replace(gtc(5_000, 1))
    book.execute(gtc(5_000, 1))
    with pytest.raises(ValueError, match="only resting GTC orders"):
        book.replace(Order("mine", "account", True, 5_000, 1, Tif.IOC))
    book.cancel("mine")
    with pytest.raises(ValueError, match="only resting GTC orders"):
        book.replace(gtc(5_000, 1))
