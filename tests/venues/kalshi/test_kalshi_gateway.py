"""Orders against a scripted venue: what is sent, what comes back, and what stays unknown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from kalshi_venue import PREFIX, QUICK, TICKER, ScriptedKalshi, created, fill, listed, order, signer

from arbpipe.errors import ArbpipeError, EnvironmentRefused
from arbpipe.identity import Side, Venue, instrument_uid
from arbpipe.venues.base import Action, Fill, Gateway, Order, Outcome, OutcomeState, Position
from arbpipe.venues.kalshi.gateway import KalshiGateway

Test = Callable[[ScriptedKalshi, KalshiGateway], Coroutine[Any, Any, Any]]


def run(venue: ScriptedKalshi, work: Test, **more: Any) -> Any:
    """Do ``work`` with an open gateway of ``venue``."""

    async def main() -> Any:
        async with venue.gateway(**more) as gateway:
            return await work(venue, gateway)

    return asyncio.run(main())


def placed(venue: ScriptedKalshi, one: Order | None = None, **more: Any) -> Outcome:
    """Place one order."""
    outcome: Outcome = run(venue, lambda _, gateway: gateway.place(one or order()), **more)
    return outcome


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
    ]


@pytest.mark.parametrize(
    ("path", "status", "body", "kind", "says"),
    [
        ("/exchange/status", 503, b'{"exchange_active":false}', ArbpipeError, "exchange status is HTTP 503"),
        ("/account/limits", 401, b'{"error":{"code":"authentication_error"}}', EnvironmentRefused, "refuses the key"),
        ("/account/limits", 403, b"{}", EnvironmentRefused, "refuses the key with 403"),
        ("/account/limits", 200, b'{"write":{"refill_rate":0,"bucket_capacity":0}}', ArbpipeError, "cannot be right"),
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
    placed(venue, order(action=Action.SELL, reduce_only=True), shard_of=lambda uid: 3)
    (sent,) = venue.posts()
    assert (sent["reduce_only"], sent["exchange_index"]) == (True, 3)
    venue = ScriptedKalshi()
    placed(venue, shard_of=lambda uid: None)
    assert not {"reduce_only", "exchange_index"} & venue.posts()[0].keys()


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
        again = await gateway.place(order())
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
    venue.limits = {"usage_tier": "basic", "write": {"refill_rate": 1, "bucket_capacity": 100}}

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
    venue.limits = {"usage_tier": "basic", "write": {"refill_rate": 50, "bucket_capacity": 10}}

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
    venue.limits = {"usage_tier": "basic", "write": {"refill_rate": 1, "bucket_capacity": 10}}

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> list[Outcome]:
        return [
            await gateway.place(order(f"ap-1-0-{number}", action=Action.SELL, reduce_only=True)) for number in range(2)
        ]

    outcomes = run(venue, work)
    assert [each.state for each in outcomes] == [OutcomeState.NONE, OutcomeState.REJECTED]
    assert len(venue.posts()) == 1


# --- fills ------------------------------------------------------------------------------------------------------------


def test_fills_that_lag_are_asked_for_until_they_add_up() -> None:
    venue = ScriptedKalshi()
    venue.create = created("10.00")
    venue.fills_after = 2
    venue.fills = [fill("o1", "a", "10.00")]
    outcome = placed(venue)
    assert (outcome.state, len(venue.gets("/portfolio/fills"))) == (OutcomeState.FILLED, 3)


def test_fills_that_never_add_up_are_unknown_and_found_later() -> None:
    venue = ScriptedKalshi()
    venue.create = created("10.00")
    venue.fills = [fill("o1", "a", "4.00")]
    venue.orders = [listed("ap-1-0-0", "executed", "10.00")]

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> tuple[Outcome, Outcome]:
        first = await gateway.place(order())
        venue.fills.append(fill("o1", "b", "6.00"))
        return first, await gateway.lookup(order())

    first, then = run(venue, work)
    assert (first.state, first.fills) == (OutcomeState.UNKNOWN, ())
    assert "filled 10.0, its listed fills add up to 4.0" in first.reason
    assert (then.state, [each.fill_id for each in then.fills]) == (OutcomeState.FILLED, ["a", "b"])


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"book_side": "ask"}, "is not one of order o1"),
        ({"book_side": "sideways"}, "no id, side or time"),
        ({"fill_id": "", "trade_id": ""}, "no id, side or time"),
        ({"created_time": None, "ts": None}, "no id, side or time"),
        ({"yes_price_dollars": "0.56001"}, "0.56001"),
        ({"fee_cost": "free"}, "free"),
        ({"count_fp": None}, "cannot be read"),
    ],
)
def test_a_fill_that_makes_no_sense_is_booked_by_nobody(bad: dict[str, Any], says: str) -> None:
    venue = ScriptedKalshi()
    venue.create = created("10.00")
    venue.fills = [fill("o1", "a", "10.00", **bad)]
    outcome = placed(venue)
    assert (outcome.state, outcome.fills) == (OutcomeState.UNKNOWN, ())
    assert says in outcome.reason


def test_more_fills_than_the_order_filled_are_unknown_at_once() -> None:
    venue = ScriptedKalshi()
    venue.create = created("3.00")
    venue.fills = [fill("o1", "a", "10.00")]
    outcome = placed(venue)
    assert (outcome.state, len(venue.gets("/portfolio/fills"))) == (OutcomeState.UNKNOWN, 1)


def test_f44_a_fill_that_is_listed_twice_or_asked_for_twice_is_one_fill() -> None:
    venue = ScriptedKalshi()
    venue.create = created("10.00")
    one = fill("o1", "a", "10.00")
    venue.fills = [one, one]
    venue.orders = [listed("ap-1-0-0", "executed", "10.00")]
    venue.positions = [{"ticker": TICKER, "position_fp": "-4.00"}]

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> tuple[Outcome, Outcome, Outcome]:
        return await gateway.place(order()), await gateway.lookup(order()), await gateway.lookup(order())

    outcomes = run(venue, work)
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert (outcomes[0].state, len(outcomes[0].fills)) == (OutcomeState.FILLED, 1)
    assert outcomes[0].fills[0].released_e6 == 4_000_000  # the second and third time too: the position moved once
    # the mistake: every entry and every answer counts
    mistaken = sum(msgspec.json.decode(json.dumps(each["count_fp"]), type=str) == "10.00" for each in venue.fills)
    assert mistaken != len(outcomes[0].fills)


# --- netting ----------------------------------------------------------------------------------------------------------


def test_buying_no_against_held_yes_releases_a_dollar_a_pair() -> None:
    venue = ScriptedKalshi()
    venue.positions = [{"ticker": TICKER, "position_fp": "4.00"}]
    venue.create = created("10.00")
    venue.fills = [
        fill("o1", "a", "3.00", "0.5600", "0.05", book_side="ask", created_time="2027-01-01T00:00:00.1Z"),
        fill("o1", "b", "7.00", "0.5500", "0.12", book_side="ask", created_time="2027-01-01T00:00:00.2Z"),
    ]
    outcome = placed(venue, order(side=Side.NO, price_e4=4_500))
    assert outcome.fills == (
        Fill("a", 3_000_000, 4_400, 50_000, -1_320_000 - 50_000 + 3_000_000, 3_000_000),
        Fill("b", 7_000_000, 4_500, 120_000, -3_150_000 - 120_000 + 1_000_000, 1_000_000),
    )


def test_selling_what_was_netted_takes_the_dollar_again() -> None:
    venue = ScriptedKalshi()
    venue.positions = [{"ticker": TICKER, "position_fp": "1.00"}]
    venue.create = created("3.00")
    venue.fills = [fill("o1", "a", "3.00", "0.4000", "0.05", book_side="ask", created_time="2027-01-01T00:00:00Z")]
    outcome = placed(venue, order(action=Action.SELL, size_e2=300, price_e4=4_000))
    # the venue pays three times 0.40 for one YES sold and takes a dollar for each of two NO at 0.60: -0.80 in all
    assert outcome.fills == (Fill("a", 3_000_000, 4_000, 50_000, 1_200_000 - 50_000 - 2_000_000, -2_000_000),)


def test_fills_of_before_the_start_are_netted_against_the_position_of_their_time() -> None:
    venue = ScriptedKalshi()
    venue.positions = [{"ticker": TICKER, "position_fp": "-3.00"}]  # after all of these
    venue.orders = [listed("ap-1-0-0", "executed", "10.00", book_side="ask")]
    venue.fills = [
        fill("o9", "later", "5.00", book_side="bid", created_time="2026-11-20T10:00:03Z"),
        fill("o1", "b", "6.00", "0.5600", "0.1", book_side="ask", created_time="2026-11-20T10:00:02Z"),
        fill("o1", "a", "4.00", "0.5600", "0.1", book_side="ask", created_time="2026-11-20T10:00:01Z"),
        fill("o0", "before", "2.00", book_side="bid", created_time="2026-11-20T10:00:00Z"),
    ]
    outcome = run(venue, lambda _, gateway: gateway.lookup(order(side=Side.NO, price_e4=4_400)))
    # -3 = p - 10 + 5, so it was +2 before these ten: two pairs, both in the first fill
    assert [(each.fill_id, each.released_e6) for each in outcome.fills] == [("a", 2_000_000), ("b", 0)]


# --- looking up -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "filled", "state"),
    [
        ("executed", "10.00", OutcomeState.FILLED),
        ("canceled", "4.00", OutcomeState.PARTIAL),
        ("canceled", "0.00", OutcomeState.NONE),
        ("resting", "0.00", OutcomeState.UNKNOWN),
        ("brand_new", "0.00", OutcomeState.UNKNOWN),
        ("executed", "x", OutcomeState.UNKNOWN),
    ],
)
def test_a_listed_order_is_what_its_listing_says(status: str, filled: str, state: OutcomeState) -> None:
    venue = ScriptedKalshi()
    venue.orders = [listed("other", "executed", "1.00", "o2"), listed("ap-1-0-0", status, filled)]
    venue.fills = [fill("o1", "a", filled), fill("o2", "b", "1.00")]
    outcome = run(venue, lambda _, gateway: gateway.lookup(order()))
    assert outcome.state is state
    assert outcome.qty_e6 == (int(float(filled) * 1e6) if state.settled else 0)


@pytest.mark.parametrize("wrong", [{"ticker": "KXOTHER"}, {"book_side": "ask"}], ids=["another market", "another side"])
def test_another_order_with_our_id_decides_nothing(wrong: dict[str, str]) -> None:
    venue = ScriptedKalshi()
    venue.orders = [listed("ap-1-0-0", "canceled", "0.00", **wrong)]
    outcome = run(venue, lambda _, gateway: gateway.lookup(order()))
    assert outcome.state is OutcomeState.UNKNOWN
    venue = ScriptedKalshi()
    venue.orders = [listed("ap-1-0-0", "canceled", "0.00", name) for name in ("o1", "o2")]
    outcome = run(venue, lambda _, gateway: gateway.lookup(order()))
    assert outcome.state is OutcomeState.UNKNOWN
    assert "lists 2 orders" in outcome.reason


def lost(venue: ScriptedKalshi, patience: Any = QUICK) -> Outcome:
    """Place an order without an answer, then look it up."""
    venue.create = "drop"

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> Outcome:
        await gateway.place(order())
        venue.requests.clear()
        return await gateway.lookup(order())

    outcome: Outcome = run(venue, work, patience=patience)
    return outcome


def test_absent_twice_in_data_newer_than_the_order_is_none() -> None:
    venue = ScriptedKalshi()
    outcome = lost(venue)
    assert outcome.state is OutcomeState.NONE
    assert len(venue.gets("/portfolio/orders")) >= 2
    paths = [path for _, path, _, _ in venue.requests]
    assert paths[:2] == ["/exchange/user_data_timestamp", "/portfolio/orders"]  # the stamp comes first


def test_absent_is_unknown_while_the_venues_data_is_older_than_the_order() -> None:
    venue = ScriptedKalshi()
    began = venue.as_of_ms() - 5_000
    venue.as_of_ms = lambda: began
    outcome = lost(venue)
    assert outcome.state is OutcomeState.UNKNOWN
    assert "not yet newer" in outcome.reason


def test_absent_twice_at_one_stamp_is_one_piece_of_evidence() -> None:
    venue = ScriptedKalshi()
    stuck = venue.as_of_ms() + 60_000
    venue.as_of_ms = lambda: stuck
    outcome = lost(venue)
    assert outcome.state is OutcomeState.UNKNOWN
    assert len(venue.gets("/portfolio/orders")) > 2


def test_an_order_that_appears_late_is_found() -> None:
    venue = ScriptedKalshi()
    venue.orders_after = 1
    venue.orders = [listed("ap-1-0-0", "executed", "10.00")]
    venue.fills = [fill("o1", "a", "10.00")]
    assert lost(venue).state is OutcomeState.FILLED


def test_a_listing_begins_before_the_order_and_is_of_its_market() -> None:
    venue = ScriptedKalshi()
    began = venue.as_of_ms() - 5_000
    lost(venue)
    for query in venue.gets("/portfolio/orders"):
        assert query["ticker"] == TICKER
        assert began // 1000 - 61 <= int(query["min_ts"]) <= began // 1000 - 59
    # an order of before this process has no such time: the whole listing is read
    venue = ScriptedKalshi()
    run(venue, lambda _, gateway: gateway.lookup(order()))
    assert all("min_ts" not in query for query in venue.gets("/portfolio/orders"))


def test_every_page_of_a_listing_is_read() -> None:
    venue = ScriptedKalshi()
    pages = {"": ("p2", []), "p2": ("p3", []), "p3": ("", [listed("ap-1-0-0", "canceled", "0.00")])}

    async def answer(request: web.Request) -> web.StreamResponse:
        cursor, orders = pages[request.query.get("cursor", "")]
        return web.json_response({"cursor": cursor, "orders": orders or None})

    venue.override["/portfolio/orders"] = answer
    outcome = run(venue, lambda _, gateway: gateway.lookup(order()))
    assert outcome.state is OutcomeState.NONE
    assert outcome.reason == "nothing to hit within the limit"


def test_f74_a_cursor_that_comes_back_ends_the_listing_and_proves_nothing() -> None:
    venue = ScriptedKalshi()

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"cursor": "again", "orders": []})

    venue.override["/portfolio/orders"] = answer
    outcome = lost(venue)
    assert outcome.state is OutcomeState.UNKNOWN
    assert "comes back to a page it gave before" in outcome.reason

    def mistaken(reads: int) -> int:  # the mistake: on until the cursor is empty, here cut off by hand
        cursor, done = "again", 0
        while cursor and done < reads:
            cursor, done = "again", done + 1
        return done

    assert mistaken(10_000) == 10_000


def test_f41_the_same_id_again_is_looked_up_and_never_sent_under_a_new_one() -> None:
    venue = ScriptedKalshi()
    venue.create = (409, {"error": {"code": "order_already_exists", "message": "order already exists"}})
    venue.orders_after = 1
    venue.orders = [listed("ap-1-0-0", "canceled", "4.00")]
    venue.fills = [fill("o1", "a", "4.00")]
    outcome = placed(venue)
    assert (outcome.state, outcome.qty_e6) == (OutcomeState.PARTIAL, 4_000_000)
    assert [sent["client_order_id"] for sent in venue.posts()] == ["ap-1-0-0"]
    # the mistake: each try makes an id, and each id is an order
    mistaken = {f"ap-1-0-{attempt}" for attempt in range(2)}
    assert len(mistaken) > len({sent["client_order_id"] for sent in venue.posts()})


def test_an_order_that_exists_and_is_not_listed_stays_unknown() -> None:
    venue = ScriptedKalshi()
    venue.create = (409, {"error": {"code": "order_already_exists", "message": "order already exists"}})
    outcome = placed(venue)
    assert outcome.state is OutcomeState.UNKNOWN
    assert "exists, and does not list it" in outcome.reason
    assert all("min_ts" not in query for query in venue.gets("/portfolio/orders"))


@pytest.mark.parametrize("path", ["/portfolio/orders", "/exchange/user_data_timestamp", "/portfolio/fills"])
def test_a_lookup_that_gets_no_data_is_unknown_and_raises_nothing(path: str) -> None:
    venue = ScriptedKalshi()
    venue.orders = [listed("ap-1-0-0", "executed", "10.00")]

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=429, body=b'{"error":"too many requests"}')

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> Outcome:
        venue.override[path] = answer
        return await gateway.lookup(order())

    outcome = run(venue, work)
    assert outcome.state is OutcomeState.UNKNOWN
    assert "too many requests" in outcome.reason


# --- statements -------------------------------------------------------------------------------------------------------


def test_positions_and_cash_are_the_venues_own() -> None:
    venue = ScriptedKalshi()
    venue.positions = [
        {"ticker": "A", "position_fp": "3.25"},
        {"ticker": "B", "position_fp": "-2.00"},
        {"ticker": "C", "position_fp": "0.00"},
    ]

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> tuple[tuple[Position, ...], int]:
        return await gateway.positions(), await gateway.cash_e6()

    held, cash = run(venue, work)
    assert held == (
        Position(instrument_uid("kalshi", "A"), 3_250_000, 0),
        Position(instrument_uid("kalshi", "B"), 0, 2_000_000),
    )
    assert cash == 98_018_600


@pytest.mark.parametrize("balance", [{"balance": 9801}, {"balance_dollars": "many"}, [], {"balance_dollars": None}])
def test_a_balance_that_cannot_be_read_is_an_error_and_never_zero(balance: Any) -> None:
    venue = ScriptedKalshi()
    venue.balance = balance
    with pytest.raises(ArbpipeError, match="cannot be read"):
        run(venue, lambda _, gateway: gateway.cash_e6())


# --- recorded ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("orders__create_v2_taker_ioc", OutcomeState.FILLED),
        ("orders__stp_self_cross", OutcomeState.NONE),
        ("orders__create_v2_maker", OutcomeState.UNKNOWN),  # it rests, which no order of ours may
        ("orders__duplicate_client_order_id", OutcomeState.UNKNOWN),
        ("orders__insufficient_balance", OutcomeState.REJECTED),
        ("orders__invalid_price_structure", OutcomeState.REJECTED),
        ("orders__numeric_field_types", OutcomeState.REJECTED),
        ("orders__post_only_cross", OutcomeState.REJECTED),
    ],
)
def test_a_recorded_answer_to_an_order_is_the_outcome_it_shows(
    recordings: Path, name: str, state: OutcomeState
) -> None:
    folder = recordings / "kalshi" / "rest_demo_2026-06-11"
    meta = msgspec.json.decode((folder / f"{name}.meta.json").read_bytes())
    asked = meta["request_body"]
    venue = ScriptedKalshi()
    venue.create = (meta["status"], (folder / f"{name}.json").read_bytes())
    venue.fills = msgspec.json.decode((folder / "fills__after_taker.json").read_bytes())["fills"]
    outcome = placed(
        venue,
        order(
            asked["client_order_id"],
            native_id=asked["ticker"],
            size_e2=round(float(asked["count"]) * 100),
            price_e4=round(float(asked["price"]) * 10_000),
            side=Side.YES,
            action=Action.BUY if asked["side"] == "bid" else Action.SELL,
        ),
    )
    assert outcome.state is state
    if state is OutcomeState.FILLED:
        (one,) = outcome.fills
        assert one == Fill("f4a42159-b500-57c6-efa2-c31d94d916c1", 1_000_000, 5_200, 17_500, -537_500)


def test_the_request_has_the_fields_of_the_recorded_one(recordings: Path) -> None:
    folder = recordings / "kalshi" / "rest_demo_2026-06-11"
    meta = msgspec.json.decode((folder / "orders__create_v2_taker_ioc.meta.json").read_bytes())
    venue = ScriptedKalshi()
    asked = meta["request_body"]
    placed(venue, order(asked["client_order_id"], native_id=asked["ticker"], size_e2=100, price_e4=9_900))
    assert venue.posts() == [asked]
    assert meta["path"] == f"{PREFIX}/portfolio/events/orders"


def test_recorded_orders_positions_and_balance_are_read(recordings: Path) -> None:
    folder = recordings / "kalshi" / "rest_demo_2026-06-11"
    ticker = "KXWTACHALLENGERMATCH-26JUN11JIMLEP-LEP"

    def read(name: str) -> Any:
        return msgspec.json.decode((folder / f"{name}.json").read_bytes())

    venue = ScriptedKalshi()
    venue.orders = read("portfolio__orders_list")["orders"]
    venue.fills = read("fills__after_taker")["fills"]
    venue.positions = read("portfolio__positions")["market_positions"]
    venue.balance = read("auth__balance_ok")
    venue.limits = read("account__limits")

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> tuple[list[Outcome], Any, int]:
        ids = ("2b8394e0-515e-4b89-b624-f34067756855", "4a75a66e-ca85-4187-93cd-aac5e01ad982")
        outcomes = [await gateway.lookup(order(each, native_id=ticker, size_e2=100)) for each in ids]
        return outcomes, await gateway.positions(), await gateway.cash_e6()

    (taker, cancelled), held, cash = run(venue, work)
    assert taker.state is OutcomeState.FILLED
    # it bought at 0.52 with two YES held before: nothing is netted
    assert taker.fills == (Fill("f4a42159-b500-57c6-efa2-c31d94d916c1", 1_000_000, 5_200, 17_500, -537_500),)
    assert (cancelled.state, cancelled.fills) == (OutcomeState.NONE, ())
    assert held == (Position(instrument_uid("kalshi", ticker), 3_000_000, 0),)
    assert cash == 98_018_600
