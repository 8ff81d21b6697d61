"""Orders against a scripted venue: what is sent, what comes back, and when nothing is sent at all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from aiohttp import web
from kalshi_venue import QUICK, TICKER, ScriptedKalshi, created, fill, listed, order, placed, run, signer

from arbpipe.errors import ArbpipeError, EnvironmentRefused
from arbpipe.identity import Side, Venue
from arbpipe.venues.base import Action, Fill, Gateway, Outcome, OutcomeState
from arbpipe.venues.kalshi.gateway import KalshiGateway

_NO_BUDGET = b'{"write":{"refill_rate":0,"bucket_capacity":0},"read":{"refill_rate":200,"bucket_capacity":600}}'

# --- opening ----------------------------------------------------------------------------------------------------------


def test_a_gateway_is_what_the_executor_knows() -> None:
    gateway: Gateway = KalshiGateway("https://127.0.0.1/trade-api/v2", signer(), None)
    assert gateway.venue is Venue.KALSHI


def test_one_connection_serves_the_opening_and_the_orders() -> None:
    venue = ScriptedKalshi()

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> None:
        for number in range(3):
            await gateway.place(order(f"ap-1-0-{number}"))

    run(venue, work)
    assert len(venue.posts()) == 3
    assert len(venue.connections) == 1


def test_opening_asks_status_limits_freshness_and_positions_in_this_order() -> None:
    async def main() -> list[str]:
        venue = ScriptedKalshi()
        async with venue.serving() as base:
            gateway = KalshiGateway(base, signer(), None, patience=QUICK)
            await gateway.open()
            await gateway.close()
        return [path for _, path, _, _ in venue.requests]

    assert asyncio.run(main()) == [
        "/exchange/status",
        "/account/limits",
        "/exchange/user_data_timestamp",
        "/portfolio/positions",
        "/exchange/status",
    ]


@pytest.mark.parametrize(
    ("path", "status", "body", "kind", "says"),
    [
        ("/exchange/status", 503, b'{"exchange_active":false}', ArbpipeError, "exchange status is HTTP 503"),
        ("/account/limits", 401, b'{"error":{"code":"authentication_error"}}', EnvironmentRefused, "refuses the key"),
        ("/account/limits", 403, b"{}", EnvironmentRefused, "refuses the key with 403"),
        ("/account/limits", 200, _NO_BUDGET, ArbpipeError, "cannot be right"),
        ("/account/limits", 200, b"{}", ArbpipeError, "cannot be read"),
        ("/account/limits", 500, b"", ArbpipeError, "with 500"),
        ("/portfolio/positions", 500, b"", ArbpipeError, "with 500"),
        ("/portfolio/positions", 200, b'{"market_positions":[{"ticker":"A"}]}', ArbpipeError, "cannot be read"),
        ("/exchange/user_data_timestamp", 200, b'{"as_of_time":"yesterday"}', ArbpipeError, "cannot be read"),
    ],
)
def test_what_does_not_open_is_refused_with_the_reason(
    path: str, status: int, body: bytes, kind: type[ArbpipeError], says: str
) -> None:
    venue = ScriptedKalshi()

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body)

    venue.override[path] = answer
    with pytest.raises(kind, match=says):
        placed(venue)


def test_a_venue_that_is_not_there_cannot_be_opened() -> None:
    gateway = KalshiGateway("http://127.0.0.1:1/trade-api/v2", signer(), None, patience=QUICK)
    with pytest.raises(ArbpipeError, match="no connection"):
        asyncio.run(gateway.open())


@pytest.mark.parametrize("url", ["", "127.0.0.1/trade-api/v2", "ftp://host/x", "https://host"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(EnvironmentRefused, match="is no address"):
        KalshiGateway(url, signer(), None)


# --- what is sent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "action", "book_side", "price"),
    [
        (Side.YES, Action.BUY, "bid", "0.3700"),
        (Side.NO, Action.BUY, "ask", "0.6300"),
        (Side.YES, Action.SELL, "ask", "0.3700"),
        (Side.NO, Action.SELL, "bid", "0.6300"),
    ],
)
def test_every_side_is_an_order_on_the_yes_book(side: Side, action: Action, book_side: str, price: str) -> None:
    venue = ScriptedKalshi()
    placed(venue, order(side=side, action=action, price_e4=3_700, size_e2=1_234))
    assert venue.posts() == [
        {
            "ticker": TICKER,
            "client_order_id": "ap-1-0-0",
            "side": book_side,
            "count": "12.34",
            "price": price,
            "time_in_force": "immediate_or_cancel",
            "self_trade_prevention_type": "taker_at_cross",
        }
    ]


def test_reduce_only_and_the_shard_are_sent_where_they_are_known() -> None:
    venue = ScriptedKalshi()
    venue.positions = [{"ticker": TICKER, "position_fp": "1000.00"}]
    venue.markets = [{"ticker": TICKER, "exchange_index": 3}]
    placed(venue, order(action=Action.SELL, reduce_only=True), tickers=lambda: [TICKER])
    (sent,) = venue.posts()
    assert (sent["reduce_only"], sent["exchange_index"]) == (True, 3)
    venue = ScriptedKalshi()
    venue.markets = [{"ticker": TICKER}]
    placed(venue, tickers=lambda: [TICKER])
    assert not {"reduce_only", "exchange_index"} & venue.posts()[0].keys()


def test_a_sale_of_what_was_netted_is_not_reduce_only() -> None:
    """Netting paid the pair out: selling it buys the other side back, and reduce_only would cap that to nothing."""
    venue = ScriptedKalshi()
    placed(venue, order(action=Action.SELL, reduce_only=True))
    assert "reduce_only" not in venue.posts()[0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"venue": Venue.POLYMARKET}, "for polymarket"),
        ({"client_id": "has.a.dot"}, "client id"),
        ({"client_id": "x" * 65}, "client id"),
        ({"client_id": ""}, "client id"),
        ({"price_e4": 0}, "price 0/10000"),
        ({"price_e4": 10_000}, "price 10000/10000"),
        ({"size_e2": 0}, "size 0/100"),
        ({"native_id": ""}, "no ticker"),
    ],
)
def test_an_order_that_makes_no_sense_is_not_sent(changes: dict[str, Any], says: str) -> None:
    venue = ScriptedKalshi()
    outcome = placed(venue, order(**changes))
    assert outcome.state is OutcomeState.REJECTED
    assert "not sent" in outcome.reason
    assert says in outcome.reason
    assert venue.requests == []


# --- what comes back --------------------------------------------------------------------------------------------------


def test_a_filled_order_has_the_venues_own_prices_counts_and_fees() -> None:
    venue = ScriptedKalshi()
    venue.create = created("10.00")
    venue.fills = [
        fill("o1", "b", "4.00", "0.5600", "0.069000", created_time="2026-11-20T10:00:00.2Z"),
        fill("o1", "a", "6.00", "0.5500", "0.103950", created_time="2026-11-20T10:00:00.1Z"),
        fill("other", "z", "9.00"),
    ]
    outcome = placed(venue)
    assert outcome == Outcome(
        OutcomeState.FILLED,
        (
            Fill("a", 6_000_000, 5_500, 103_950, -3_300_000 - 103_950),
            Fill("b", 4_000_000, 5_600, 69_000, -2_240_000 - 69_000),
        ),
    )
    assert venue.gets("/portfolio/fills")[0]["order_id"] == "o1"


def test_a_partial_fill_of_no_is_priced_from_the_no_side() -> None:
    venue = ScriptedKalshi()
    venue.create = created("2.50")
    venue.fills = [fill("o1", "a", "2.50", "0.6100", "0.041700", book_side="ask")]
    outcome = placed(venue, order(side=Side.NO, price_e4=4_000))
    assert outcome.state is OutcomeState.PARTIAL
    assert outcome.fills == (Fill("a", 2_500_000, 3_900, 41_700, -975_000 - 41_700),)


def test_nothing_to_hit_is_none() -> None:
    assert placed(ScriptedKalshi()).state is OutcomeState.NONE


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((201, b"{"), "cannot be read"),
        ((201, b"{}"), "cannot be read"),
        ((201, {"order_id": "o1", "fill_count": "ten", "remaining_count": "0.00"}), "cannot be read"),
        (created("0.00", "10.00"), "resting although"),
        (created("11.00"), "11.0 filled of 10.0"),
        (created("-1.00"), "-1.0 filled"),
        ((201, {**created("0.00")[1], "client_order_id": "somebody"}), "is about client id 'somebody'"),
    ],
)
def test_an_acceptance_that_makes_no_sense_is_unknown(answer: Any, says: str) -> None:
    venue = ScriptedKalshi()
    venue.create = answer
    outcome = placed(venue)
    assert outcome.state is OutcomeState.UNKNOWN
    assert says in outcome.reason


@pytest.mark.parametrize(
    ("status", "code", "state"),
    [
        (400, "insufficient_balance", OutcomeState.REJECTED),
        (400, "brand_new", OutcomeState.REJECTED),
        (409, "fill_or_kill_insufficient_resting_volume", OutcomeState.NONE),
        (409, "trading_is_paused", OutcomeState.REJECTED),
        (403, "", OutcomeState.REJECTED),
        (429, "too many requests", OutcomeState.REJECTED),
        (408, "", OutcomeState.UNKNOWN),
        (500, "", OutcomeState.UNKNOWN),
        (503, "exchange_is_paused", OutcomeState.UNKNOWN),
        (302, "", OutcomeState.UNKNOWN),
    ],
)
def test_a_refusal_is_sent_once_and_means_what_the_table_says(status: int, code: str, state: OutcomeState) -> None:
    venue = ScriptedKalshi()
    venue.create = (status, {"error": {"code": code, "message": "m"}})
    outcome = placed(venue)
    assert (outcome.state, len(venue.posts())) == (state, 1)
    assert f"HTTP {status}" in outcome.reason


def test_f40_a_time_out_and_a_dropped_connection_are_unknown_until_the_venue_says_more() -> None:
    for how, says in (("hang", "no answer within"), ("drop", "isconnected")):
        venue = ScriptedKalshi()
        venue.create = how
        venue.orders = [listed("ap-1-0-0", "executed", "10.00")]
        venue.fills = [fill("o1", "a", "10.00")]

        async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> tuple[Outcome, Outcome]:
            return await gateway.place(order()), await gateway.lookup(order())

        first, then = run(venue, work)
        assert (first.state, first.fills) == (OutcomeState.UNKNOWN, ())
        assert says in first.reason
        assert (then.state, then.qty_e6) == (OutcomeState.FILLED, 10_000_000)
        assert len(venue.posts()) == 1

        def mistaken(outcome: Outcome) -> int:  # the mistake: no answer, no fill
            return outcome.qty_e6

        assert mistaken(first) != then.qty_e6


def test_a_venue_that_takes_no_connection_got_nothing() -> None:
    async def main() -> Outcome:
        venue = ScriptedKalshi()
        async with venue.serving() as base:
            gateway = KalshiGateway(base, signer(), None, patience=QUICK)
            await gateway.open()
        outcome = await gateway.place(order())  # the server is gone
        again = await gateway.place(order("ap-1-0-1"))
        await gateway.close()
        return outcome if "nothing was sent" in outcome.reason else again

    outcome = asyncio.run(main())
    assert outcome.state is OutcomeState.REJECTED
    assert "nothing was sent" in outcome.reason


def test_a_closed_gateway_sends_nothing() -> None:
    gateway = KalshiGateway("http://127.0.0.1:1/trade-api/v2", signer(), None)
    outcome = asyncio.run(gateway.place(order()))
    assert outcome == Outcome(OutcomeState.REJECTED, (), "not sent: the gateway is not open")


# --- the rate budget --------------------------------------------------------------------------------------------------


def test_a_quarter_of_the_budget_is_kept_for_orders_that_lower_risk() -> None:
    venue = ScriptedKalshi()
    venue.limits["write"] = {"refill_rate": 1, "bucket_capacity": 100}

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> list[Outcome]:
        buys = [await gateway.place(order(f"ap-1-0-{number}")) for number in range(9)]
        sell = await gateway.place(order("ap-1-0-9", action=Action.SELL, reduce_only=True))
        return [*buys, sell]

    outcomes = run(venue, work)
    refused = Outcome(OutcomeState.REJECTED, (), "not sent: rate budget")
    assert [each.state for each in outcomes[:7]] == [OutcomeState.NONE] * 7
    assert outcomes[7:9] == [refused, refused]
    assert outcomes[9].state is OutcomeState.NONE
    assert [each["client_order_id"] for each in venue.posts()] == [f"ap-1-0-{n}" for n in (*range(7), 9)]


def test_a_429_empties_our_bucket_so_that_nothing_more_runs_into_it() -> None:
    venue = ScriptedKalshi()
    venue.create = (429, {"error": "too many requests"})

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> list[Outcome]:
        return [await gateway.place(order(f"ap-1-0-{number}")) for number in range(2)]

    first, second = run(venue, work)
    assert (first.state, first.reason) == (OutcomeState.REJECTED, "HTTP 429: too many requests")
    assert second.reason == "not sent: rate budget"
    assert len(venue.posts()) == 1


def test_f71_an_order_that_waits_for_its_turn_holds_up_nobody() -> None:
    venue = ScriptedKalshi()
    venue.limits["write"] = {"refill_rate": 50, "bucket_capacity": 10}

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> list[str]:
        done: list[str] = []

        async def noted(name: str, what: Coroutine[Any, Any, Any]) -> None:
            await what
            done.append(name)

        await gateway.place(order("ap-1-0-0"))  # the bucket is empty now: 0.2 s for the next one
        await asyncio.gather(
            noted("sell", gateway.place(order("ap-1-0-1", action=Action.SELL, reduce_only=True))),
            noted("buy", gateway.place(order("ap-1-0-2"))),
            noted("cash", gateway.cash_e6()),
            noted("positions", gateway.positions()),
        )
        return done

    done = run(venue, work)
    assert done[0] == "buy"  # refused at once
    assert done[-1] == "sell"

    async def mistaken() -> list[str]:  # the mistake: the permit is held while sleeping
        permit, done = asyncio.Semaphore(1), []

        async def each(name: str, wait_s: float) -> None:
            async with permit:
                await asyncio.sleep(wait_s)
                done.append(name)

        await asyncio.gather(each("sell", 0.02), each("buy", 0), each("cash", 0))
        return done

    assert asyncio.run(mistaken())[0] == "sell"


def test_an_order_that_lowers_risk_is_refused_after_its_patience() -> None:
    venue = ScriptedKalshi()
    venue.limits["write"] = {"refill_rate": 1, "bucket_capacity": 10}

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> list[Outcome]:
        return [
            await gateway.place(order(f"ap-1-0-{number}", action=Action.SELL, reduce_only=True)) for number in range(2)
        ]

    outcomes = run(venue, work)
    assert [each.state for each in outcomes] == [OutcomeState.NONE, OutcomeState.REJECTED]
    assert len(venue.posts()) == 1
