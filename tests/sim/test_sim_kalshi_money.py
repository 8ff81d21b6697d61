"""Whatever happens to orders, answers and markets: the cash is what the statement's lines say, and nothing fills twice."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kalshi_support import ORDERS, Client, order_body, play, set_book

MARKETS = 3
STARTS = {"0": 1_000_000_000, "2": 40_000_000}

market = st.integers(0, MARKETS - 1)
orders = st.tuples(
    st.just("order"),
    market,
    st.sampled_from(["bid", "ask"]),
    st.integers(40, 60),
    st.integers(1, 1_500),
    st.sampled_from(["immediate_or_cancel", "fill_or_kill", "good_till_canceled"]),
)
again = st.tuples(st.just("again"), st.integers(0, 5))
cancel = st.tuples(st.just("cancel"), st.integers(0, 5))
amend = st.tuples(st.just("amend"), st.integers(0, 3), st.integers(40, 60), st.integers(1, 1_500))
quotes = st.tuples(st.just("quotes"), market, st.integers(45, 55))
fault = st.tuples(
    st.just("fault"),
    st.sampled_from(
        ["late_ack", "fill_after_timeout", "error_after_acceptance", "drop_after_acceptance", "late_arrival"]
    ),
)
lifecycle = st.tuples(
    st.just("lifecycle"),
    market,
    st.sampled_from(["deactivated", "activated", "determined", "amended", "settled", "price_level_structure_updated"]),
    st.sampled_from(["yes", "no", "scalar"]),
)
transfer = st.tuples(st.just("transfer"), st.integers(1, 2_000_000))
action = st.one_of(orders, orders, orders, again, cancel, amend, quotes, fault, fault, lifecycle, transfer)


def e6(text: str) -> int:
    """Money with six decimals as an integer."""
    return int(text.replace(".", ""))


def e2(text: str) -> int:
    return int(text.replace(".", ""))


class Trader:
    """Does what it is told, and does not mind what comes back."""

    def __init__(self, client: Client) -> None:
        self.client = client
        catalog = client.server.catalog
        shards = [next(t for t, m in catalog.markets.items() if m.exchange_index == index) for index in (0, 2)]
        self.tickers = [*shards, next(t for t in catalog.markets if t not in shards)]
        self.sent: list[Any] = []

    async def call(self, method: str, path: str, body: Any = None) -> None:
        with contextlib.suppress(aiohttp.ClientError):
            await self.client.call(method, path, body)

    def resting(self, number: int) -> Any:
        rows = [row for row in self.client.server.store.orders() if row.status.value == "resting"]
        return rows[number] if number < len(rows) else None

    async def act(self, step: Any) -> None:
        kind, *rest = step
        if kind == "order":
            number, side, cents, size, tif = rest
            name = f"c{len(self.sent)}"
            body = order_body(
                self.tickers[number], side, f"0.{cents}00", f"{size / 100:.2f}", tif, client_order_id=name
            )
            self.sent.append(body)
            await self.call("POST", ORDERS, body)
        elif kind == "again" and rest[0] < len(self.sent):
            await self.call("POST", ORDERS, self.sent[rest[0]])
        elif kind == "cancel" and self.resting(rest[0]) is not None:
            row = self.resting(rest[0])
            await self.call("DELETE", f"{ORDERS}/{row.order_id}?market_ticker={row.ticker}")
        elif kind == "amend" and self.resting(rest[0]) is not None:
            row = self.resting(rest[0])
            side = "bid" if row.buys_yes else "ask"
            body = {"ticker": row.ticker, "side": side, "price": f"0.{rest[1]}00", "count": f"{rest[2] / 100:.2f}"}
            await self.call("POST", f"{ORDERS}/{row.order_id}/amend", body)
        elif kind == "quotes":
            middle = rest[1] * 100
            ladder = {"bids": [[f"{middle - 100:05d}", "5.00"]], "asks": [[f"{middle + 100:05d}", "7.13"]]}
            for levels in ladder.values():
                levels[0][0] = f"0.{levels[0][0][1:]}"
            await self.client.control(do="quotes", ticker=self.tickers[rest[0]], **ladder)
        elif kind == "fault":
            timed = {"seconds": 0.03} if rest[0] in ("late_ack", "fill_after_timeout", "late_arrival") else {}
            await self.client.control(do=rest[0], **timed)
        elif kind == "lifecycle":
            more = {"result": rest[2], "value": "0.3333", "timer_s": 0.05, "structure": "deci_cent"}
            await self.client.control(do="lifecycle", ticker=self.tickers[rest[0]], event=rest[1], **more)
        elif kind == "transfer":
            body = {"source": "event_contract", "destination": "event_contract", "amount": rest[0]}
            path = "/portfolio/intra_exchange_instance_transfer"
            await self.call("POST", path, {**body, "destination_exchange_shard": 2})


def check(statement: Any) -> None:
    """The books of the account, from the statement alone."""
    fills, settled = statement["fills"], statement["settlements"]
    lines = sum(e6(line["cash"]) for line in (*fills, *settled))
    assert e6(statement["cash"]) == sum(STARTS.values()) + lines
    assert sum(e6(cash) for cash in statement["shards"].values()) == e6(statement["cash"])
    assert len({fill["fill_id"] for fill in fills}) == len(fills)
    names = [order["client_order_id"] for order in statement["orders"]]
    assert len(set(names)) == len(names), "one order for each client id"
    for order in statement["orders"]:
        filled = sum(e2(fill["count"]) for fill in fills if fill["order_id"] == order["order_id"])
        assert filled == e2(order["filled"])
        assert filled + e2(order["left"]) <= e2(order["count"])
    positions: dict[str, int] = {}
    for fill in fills:
        sign = 1 if fill["side"] == "yes" else -1
        positions[fill["ticker"]] = positions.get(fill["ticker"], 0) + sign * e2(fill["count"])
    assert len({line["ticker"] for line in settled}) == len(settled), "a market pays once"
    for line in settled:
        held = positions.pop(line["ticker"])
        assert held == e2(line["yes"]) - e2(line["no"])
        value = int(line["value"].replace(".", ""))
        paid = held * value if held > 0 else -held * (10_000 - value)
        assert e6(line["cash"]) == paid - paid % 10_000
    shown = {ticker: e2(count) for ticker, count in statement["positions"].items()}
    assert shown == {ticker: held for ticker, held in positions.items() if held}


#: Every market is traded before anything happens to it, and the first one is paid out in the end if it was not before.
OPENING = [
    ("order", number, side, 50, 300, "good_till_canceled") for number, side in ((0, "bid"), (1, "ask"), (2, "bid"))
]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(action, min_size=8, max_size=30), st.sampled_from(["yes", "no", "scalar"]))
def test_the_cash_is_the_sum_of_the_lines_and_nothing_is_filled_twice(steps: list[Any], result: str) -> None:
    async def scenario(client: Client) -> None:
        trader = Trader(client)
        for ticker in trader.tickers:
            set_book(client, ticker, {5_000: 700}, {5_100: 900})
        client.server.catalog.book(trader.tickers[0]).set_quote(True, 5_000, 0)
        client.server.catalog.book(trader.tickers[0]).set_quote(False, 5_000, 2_000_000)
        for step in (*OPENING, *steps, ("lifecycle", 0, "determined", result)):
            await trader.act(step)
        await asyncio.sleep(0.25)  # what is late arrives, and timers end
        statement = await client.statement()
        assert statement["fills"]
        check(statement)

    with tempfile.TemporaryDirectory() as folder:
        play(Path(folder), scenario, shards={"KXSIMGAME": 2}, shard_cash_e6={2: STARTS["2"]})
