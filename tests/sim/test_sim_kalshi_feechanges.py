"""Fees that change: series by schedule, events by override, markets by waiver; member kinds; what an unknown type does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from kalshi_support import ORDERS, Client, check_rest, order_body, play, set_book

GTC = "good_till_canceled"


def plain(client: Client) -> str:
    """A market whose event has no override."""
    return next(t for t, listed in client.server.catalog.markets.items() if listed.event_fees.multiplier_e2 is None)


async def fee(client: Client, ticker: str, price: str = "0.5200") -> str:
    """The fee of taking one contract."""
    set_book(client, ticker, {5_000: 1_000}, {5_200: 1_000})
    status, answer = await client.call("POST", ORDERS, order_body(ticker, "bid", price, "1.00"))
    assert status == 201, answer
    return str((await client.statement())["fills"][-1]["fee"])


async def maker_fee(client: Client, ticker: str, price_e4: int, count: str) -> str:
    """The fee of a resting order that somebody else meets."""
    set_book(client, ticker, {100: 100}, {9_900: 100})
    price = f"{price_e4 / 10_000:.4f}"
    status, answer = await client.call("POST", ORDERS, order_body(ticker, "bid", price, count, GTC))
    assert status == 201, answer
    client.server.catalog.book(ticker).set_quote(False, price_e4, round(float(count) * 1_000_000))
    statement = await client.statement()
    assert statement["fills"][-1]["is_taker"] is False
    return str(statement["fills"][-1]["fee"])


def test_a_series_change_is_announced_applied_when_due_and_then_history(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = plain(client)
        series = ticker.split("-")[0]
        assert await fee(client, ticker) == "0.017500"
        change = {"series_ticker": series, "fee_type": "quadratic", "multiplier": "0.5"}
        await client.control(do="series_fee_change", in_s=1.5, **change)
        for query, count in (("", 1), ("?show_historical=true", 1), ("?series_ticker=OTHER", 0)):
            _, answer = await client.call("GET", f"/series/fee_changes{query}")
            check_rest(recordings, "GetSeriesFeeChangesResponse", answer)
            assert len(answer["series_fee_change_arr"]) == count, query
        assert await fee(client, ticker) == "0.017500", "not yet"
        await asyncio.sleep(1.8)
        assert await fee(client, ticker) == "0.008800"
        _, answer = await client.call("GET", f"/series/{series}")
        assert (answer["series"]["fee_multiplier"], answer["series"]["fee_type"]) == (0.5, "quadratic")
        assert (await client.call("GET", "/series/fee_changes"))[1]["series_fee_change_arr"] == []
        _, answer = await client.call("GET", "/series/fee_changes?show_historical=true")
        assert len(answer["series_fee_change_arr"]) == 1

    play(tmp_path, scenario)


def test_an_override_is_an_events_own_and_null_gives_the_series_back(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = plain(client)
        event = client.server.catalog.markets[ticker].event_ticker
        await client.control(do="fee_override", event_ticker=event, multiplier=0)
        assert await fee(client, ticker) == "0.000000"
        _, answer = await client.call("GET", f"/events/{event}")
        check_rest(recordings, "GetEventResponse", answer)
        assert answer["event"]["fee_multiplier_override"] == 0
        await client.control(do="fee_override", event_ticker=event)
        assert await fee(client, ticker) == "0.017500"
        _, answer = await client.call("GET", f"/events/{event}")
        assert "fee_multiplier_override" not in answer["event"]
        _, answer = await client.call("GET", f"/events/fee_changes?event_ticker={event}")
        check_rest(recordings, "GetEventFeeChangesResponse", answer)
        assert [each["fee_multiplier_override"] for each in answer["event_fee_changes"]] == [None, 0]

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    ("fee_type", "price_e4", "count", "expected"),
    [
        ("quadratic", 6_700, "2.00", "0.000000"),
        ("quadratic_with_maker_fees", 6_700, "2.00", "0.007800"),  # recorded
        ("quadratic_with_maker_fees", 1_200, "2.00", "0.003700"),  # recorded
        ("quadratic_with_combo_maker_fees", 5_000, "2.00", "0.017500"),
    ],
)
def test_makers_pay_by_fee_type(tmp_path: Path, fee_type: str, price_e4: int, count: str, expected: str) -> None:
    async def scenario(client: Client) -> None:
        ticker = plain(client)
        event = client.server.catalog.markets[ticker].event_ticker
        await client.control(do="fee_override", event_ticker=event, fee_type=fee_type)
        assert await maker_fee(client, ticker, price_e4, count) == expected

    play(tmp_path, scenario)


def test_a_fee_type_that_nobody_knows_is_shown_as_it_is(tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = plain(client)
        event = client.server.catalog.markets[ticker].event_ticker
        await client.control(do="fee_override", event_ticker=event, fee_type="cubic")
        _, answer = await client.call("GET", f"/events/{event}")
        assert answer["event"]["fee_type_override"] == "cubic"
        assert await fee(client, ticker) == "0.017500", "and costs something, so taking it for free is found out"

    play(tmp_path, scenario)


def test_a_waiver_ends(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = plain(client)
        await client.control(do="fee_waiver", ticker=ticker, seconds=1.5)
        assert await fee(client, ticker) == "0.000000"
        _, answer = await client.call("GET", f"/markets/{ticker}")
        check_rest(recordings, "GetMarketResponse", answer)
        assert answer["market"]["fee_waiver_expiration_time"]
        await asyncio.sleep(1.6)
        assert await fee(client, ticker) == "0.017500"

    play(tmp_path, scenario)


@pytest.mark.parametrize(("member", "expected"), [("direct", "0.017500"), ("non_direct", "0.020000")])
def test_balances_of_members_move_on_their_own_grid(tmp_path: Path, member: str, expected: str) -> None:
    async def scenario(client: Client) -> None:
        assert await fee(client, plain(client)) == expected

    play(tmp_path, scenario, member=member)


def test_public_trades_are_fills_without_whose_they_were(tmp_path: Path, recordings: Path) -> None:
    async def scenario(client: Client) -> None:
        ticker = plain(client)
        await fee(client, ticker)
        await maker_fee(client, ticker, 4_000, "2.00")
        _, answer = await client.call("GET", f"/markets/trades?ticker={ticker}", headers={})
        check_rest(recordings, "GetTradesResponse", answer)
        shown: Any = [(each["count_fp"], each["taker_outcome_side"]) for each in answer["trades"]]
        assert shown == [("2.00", "no"), ("1.00", "yes")]
        _, page = await client.call("GET", "/markets/trades?limit=1", headers={})
        assert (len(page["trades"]), page["cursor"] != "") == (1, True)

    play(tmp_path, scenario)
