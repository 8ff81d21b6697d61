"""Several orders in one request: each stands for itself."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from kalshi_venue import TICKER, ScriptedKalshi, fill, listed, order, run

from arbpipe.venues.base import Action, Order, Outcome, OutcomeState
from arbpipe.venues.kalshi.gateway import KalshiGateway

PATH = "/portfolio/events/orders/batched"


def batch(venue: ScriptedKalshi, orders: list[Order], status: int, body: Any, **more: Any) -> tuple[Outcome, ...]:
    async def answer(request: web.Request) -> web.StreamResponse:
        if body == "drop":
            assert request.transport is not None
            request.transport.close()
        return web.json_response(body, status=status)

    venue.override[PATH] = answer

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> tuple[Outcome, ...]:
        return await gateway.place_batch(orders)

    outcomes: tuple[Outcome, ...] = run(venue, work, **more)
    return outcomes


def entry(order_id: str, client_id: str, filled: str, left: str = "0.00") -> Any:
    return {
        "order_id": order_id,
        "client_order_id": client_id,
        "fill_count": filled,
        "remaining_count": left,
        "ts_ms": 1,
    }


def test_every_order_of_a_batch_has_its_own_outcome() -> None:
    venue = ScriptedKalshi()
    venue.markets = [{"ticker": TICKER, "exchange_index": 2}]
    venue.fills = [fill("o0", "a", "10.00"), fill("o5", "b", "4.00")]
    venue.orders = [listed("ap-1-0-5", "canceled", "4.00", "o5")]
    orders = [order(f"ap-1-0-{number}") for number in range(6)]
    outcomes = batch(
        venue,
        orders,
        201,
        {
            "orders": [
                entry("o0", "ap-1-0-0", "10.00"),
                entry("o1", "ap-1-0-1", "0.00"),
                {"error": {"code": "insufficient_balance", "message": "m"}},
                {"error": {"code": "fill_or_kill_insufficient_resting_volume", "message": "m"}},
                {"error": {"code": "internal_error", "message": "m"}},
                {"client_order_id": "ap-1-0-5", "error": {"code": "order_already_exists", "message": "m"}},
            ]
        },
        tickers=lambda: [TICKER],
    )
    assert [(each.state, each.qty_e6) for each in outcomes] == [
        (OutcomeState.FILLED, 10_000_000),
        (OutcomeState.NONE, 0),
        (OutcomeState.REJECTED, 0),
        (OutcomeState.NONE, 0),
        (OutcomeState.UNKNOWN, 0),  # without a status nobody can tell a refusal from a failure of the venue
        (OutcomeState.PARTIAL, 4_000_000),
    ]
    (sent,) = venue.posts()
    assert [each["client_order_id"] for each in sent["orders"]] == [each.client_id for each in orders]
    assert {each["exchange_index"] for each in sent["orders"]} == {2}


@pytest.mark.parametrize(
    ("status", "body", "state"),
    [
        (201, {"orders": []}, OutcomeState.UNKNOWN),
        (201, {"orders": [entry("o0", "ap-1-0-1", "0.00"), entry("o1", "ap-1-0-0", "0.00")]}, OutcomeState.NONE),
        (201, {"orders": [entry("o0", "ap-1-0-1", "0.00"), entry("o1", "", "0.00")]}, OutcomeState.UNKNOWN),
        (201, {"orders": [entry("o0", "ap-1-0-0", "0.00"), entry("o1", "ap-1-0-0", "0.00")]}, OutcomeState.UNKNOWN),
        (201, {"orders": [entry("o0", "ap-1-0-0", "0.00"), entry("o1", "ap-9-0-0", "0.00")]}, OutcomeState.UNKNOWN),
        (201, {"orders": [{**entry("o0", "", "0.00"), "error": {"code": "invalid_order"}}] * 2}, OutcomeState.UNKNOWN),
        (201, {"orders": [{}, {"order_id": "o1", "fill_count": None}]}, OutcomeState.UNKNOWN),
        (201, {}, OutcomeState.UNKNOWN),
        (200, "text", OutcomeState.UNKNOWN),
        (500, {}, OutcomeState.UNKNOWN),
        (409, {"error": {"code": "order_already_exists"}}, OutcomeState.UNKNOWN),
        (400, {"error": {"code": "invalid_order"}}, OutcomeState.REJECTED),
        (429, {"error": "too many requests"}, OutcomeState.REJECTED),
        (201, "drop", OutcomeState.UNKNOWN),
    ],
)
def test_a_batch_is_unknown_unless_the_venue_says_what_became_of_each(
    status: int, body: Any, state: OutcomeState
) -> None:
    outcomes = batch(ScriptedKalshi(), [order("ap-1-0-0"), order("ap-1-0-1")], status, body)
    assert [each.state for each in outcomes] == [state, state]


def test_a_batch_that_does_not_fit_into_the_budget_is_not_sent() -> None:
    venue = ScriptedKalshi()
    outcomes = batch(venue, [order(f"ap-1-0-{number}") for number in range(8)], 201, {})
    assert {each.reason for each in outcomes} == {"not sent: rate budget for a batch of 8"}
    assert not venue.posts()


def test_an_order_that_the_venue_could_never_take_is_left_out() -> None:
    venue = ScriptedKalshi()
    outcomes = batch(venue, [order("a b"), order("ap-1-0-1")], 201, {"orders": [entry("o1", "ap-1-0-1", "0.00")]})
    assert [each.state for each in outcomes] == [OutcomeState.REJECTED, OutcomeState.NONE]
    assert len(venue.posts()[0]["orders"]) == 1


def test_a_batch_that_is_answered_in_another_order_is_read_by_its_client_ids() -> None:
    venue = ScriptedKalshi()
    venue.fills = [fill("o1", "a", "10.00")]
    refused = {"client_order_id": "ap-1-0-0", "error": {"code": "insufficient_balance", "message": "m"}}
    outcomes = batch(
        venue, [order("ap-1-0-0"), order("ap-1-0-1")], 201, {"orders": [entry("o1", "ap-1-0-1", "10.00"), refused]}
    )
    assert [(each.state, each.qty_e6) for each in outcomes] == [
        (OutcomeState.REJECTED, 0),
        (OutcomeState.FILLED, 10_000_000),
    ]

    def mistaken(entries: list[Any]) -> list[bool]:  # the mistake (F45): by position
        return ["error" in each for each in entries]

    assert mistaken([entry("o1", "ap-1-0-1", "10.00"), refused]) == [False, True]


def test_a_batch_of_orders_that_lower_risk_waits_for_its_tokens() -> None:
    venue = ScriptedKalshi()
    venue.limits["write"] = {"refill_rate": 200, "bucket_capacity": 40}
    sales = [order(f"ap-1-1-{number}", action=Action.SELL, reduce_only=True) for number in range(4)]
    answer = {"orders": [entry(f"o{number}", each.client_id, "0.00") for number, each in enumerate(sales)]}

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> tuple[Outcome, ...]:
        await gateway.place(order())
        return await gateway.place_batch(sales)

    async def answering(request: web.Request) -> web.StreamResponse:
        return web.json_response(answer, status=201)

    venue.override[PATH] = answering
    assert {each.state for each in run(venue, work)} == {OutcomeState.NONE}
