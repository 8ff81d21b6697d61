"""Orders that rest, and are taken out of the book again: one by one, by their id and market, never all."""

from __future__ import annotations

import ast
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kalshi_venue import TICKER, ScriptedKalshi, created, fill, listed, order, placed, run

import arbpipe.venues.kalshi
from arbpipe.venues.base import Order, Outcome, OutcomeState, TimeInForce
from arbpipe.venues.kalshi.gateway import KalshiGateway

PATH = "/portfolio/events/orders"


def gtc(client_id: str = "ap-1-0-0", **changes: Any) -> Order:
    return order(client_id, time_in_force=TimeInForce.GTC, **changes)


def answering(venue: ScriptedKalshi, path: str, status: int, body: Any) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status)

    venue.override[path] = answer


def deletes(venue: ScriptedKalshi) -> list[tuple[str, dict[str, str]]]:
    return [(path, query) for method, path, query, _ in venue.requests if method == "DELETE"]


# --- what is sent -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [TimeInForce.IOC, TimeInForce.FOK, TimeInForce.GTC])
def test_an_order_lives_as_long_as_it_says(how: TimeInForce) -> None:
    venue = ScriptedKalshi()
    placed(venue, order(time_in_force=how))
    assert venue.posts()[0]["time_in_force"] == how.value


@pytest.mark.parametrize("how", [TimeInForce.FOK, TimeInForce.GTC])
def test_reduce_only_is_immediate_or_cancel_or_not_sent(how: TimeInForce) -> None:
    venue = ScriptedKalshi()
    outcome = placed(venue, order(time_in_force=how, reduce_only=True))
    assert (outcome.state, venue.posts()) == (OutcomeState.REJECTED, [])
    assert "reduce_only goes with immediate-or-cancel alone" in outcome.reason


# --- resting ----------------------------------------------------------------------------------------------------------


def test_what_rests_says_so_with_the_fills_it_has() -> None:
    venue = ScriptedKalshi()
    venue.create = created("4.00", "6.00")
    venue.fills = [fill("o1", "a", "4.00")]
    outcome = placed(venue, gtc())
    assert (outcome.state, outcome.qty_e6, outcome.state.settled) == (OutcomeState.RESTING, 4_000_000, False)
    venue = ScriptedKalshi()
    venue.create = created("0.00", "10.00")
    assert placed(venue, gtc()) == Outcome(OutcomeState.RESTING, (), "")


def test_only_an_order_that_may_rest_is_believed_to_rest() -> None:
    for how in (TimeInForce.IOC, TimeInForce.FOK):
        venue = ScriptedKalshi()
        venue.create = created("0.00", "10.00")
        outcome = placed(venue, order(time_in_force=how))
        assert outcome.state is OutcomeState.UNKNOWN
        assert f"left 10.0 resting although it was {how.value}" in outcome.reason


def test_a_resting_order_is_looked_up_as_resting_until_it_is_over() -> None:
    venue = ScriptedKalshi()
    venue.create = created("0.00", "10.00")

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> list[Outcome]:
        found = [await gateway.place(gtc())]
        venue.orders = [listed("ap-1-0-0", "resting", "0.00")]
        found.append(await gateway.lookup(gtc()))
        venue.orders = [listed("ap-1-0-0", "resting", "4.00")]
        venue.fills = [fill("o1", "a", "4.00")]
        found.append(await gateway.lookup(gtc()))
        venue.orders = [listed("ap-1-0-0", "executed", "10.00")]
        venue.fills = [fill("o1", "a", "4.00"), fill("o1", "b", "6.00")]
        found.append(await gateway.lookup(gtc()))
        return found

    outcomes = run(venue, work)
    assert [(each.state, each.qty_e6) for each in outcomes] == [
        (OutcomeState.RESTING, 0),
        (OutcomeState.RESTING, 0),
        (OutcomeState.RESTING, 4_000_000),
        (OutcomeState.FILLED, 10_000_000),
    ]


def test_a_resting_order_that_is_not_listed_is_never_taken_for_gone() -> None:
    """The venue said that it rests: its absence is lag, and its client id needs no fence."""
    venue = ScriptedKalshi()
    venue.create = created("0.00", "10.00")

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> Outcome:
        await gateway.place(gtc())
        return await gateway.lookup(gtc())

    outcome = run(venue, work)
    assert outcome.state is OutcomeState.UNKNOWN
    assert len(venue.posts()) == 1


# --- cancelling -------------------------------------------------------------------------------------------------------


def cancelled(
    venue: ScriptedKalshi, status: int, body: Any, shard: int | None = None, at_place: str = "0.00"
) -> Outcome:
    """Rest an order of ten, then cancel it; the venue answers the cancellation so."""
    venue.create = created(at_place, f"{10 - float(at_place):.2f}")
    venue.markets = [] if shard is None else [{"ticker": TICKER, "exchange_index": shard}]
    answering(venue, f"{PATH}/o1", status, body)

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> Outcome:
        await gateway.place(gtc())
        venue.requests.clear()
        return await gateway.cancel(gtc())

    outcome: Outcome = run(venue, work, tickers=lambda: [TICKER])
    return outcome


@pytest.mark.parametrize("shard", [None, 0, 3])
def test_a_cancellation_names_the_order_its_market_and_its_shard(shard: int | None) -> None:
    venue = ScriptedKalshi()
    outcome = cancelled(venue, 200, {"order_id": "o1", "reduced_by": "10.00", "ts_ms": 1}, shard)
    assert outcome.state is OutcomeState.NONE
    expected = {"market_ticker": TICKER, "subaccount": "0"} | ({} if shard is None else {"exchange_index": str(shard)})
    assert deletes(venue) == [(f"{PATH}/o1", expected)]


def test_what_was_filled_before_the_cancellation_is_the_outcome() -> None:
    venue = ScriptedKalshi()
    venue.fills = [fill("o1", "a", "4.00")]
    outcome = cancelled(venue, 200, {"order_id": "o1", "reduced_by": "6.00", "ts_ms": 1})
    assert (outcome.state, outcome.qty_e6) == (OutcomeState.PARTIAL, 4_000_000)


def test_f50_nothing_to_cancel_is_not_nothing_filled() -> None:
    """404 on a cancel: the order was executed, cancelled or never there. Only its listing says which."""
    venue = ScriptedKalshi()
    venue.orders = [listed("ap-1-0-0", "executed", "10.00")]
    venue.fills = [fill("o1", "a", "10.00")]
    outcome = cancelled(venue, 404, {"error": {"code": "not_found", "message": "not found"}})
    assert (outcome.state, outcome.qty_e6) == (OutcomeState.FILLED, 10_000_000)

    def mistaken(status: int) -> int:  # the mistake: what cannot be cancelled was not filled
        return 0 if status == 404 else 10_000_000

    assert mistaken(404) != outcome.qty_e6


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_cancellation_that_is_not_confirmed_leaves_the_order_as_it_is_listed(status: int) -> None:
    venue = ScriptedKalshi()
    venue.orders = [listed("ap-1-0-0", "resting", "0.00")]
    assert cancelled(venue, status, {"error": "too many requests"}).state is OutcomeState.RESTING
    assert len(deletes(venue)) == 1  # and is not repeated


@pytest.mark.parametrize("body", [{}, {"order_id": "o1", "reduced_by": "x"}, {"order_id": "o1", "reduced_by": "11.00"}])
def test_a_confirmation_that_cannot_be_right_decides_nothing(body: Any) -> None:
    assert cancelled(ScriptedKalshi(), 200, body).state is OutcomeState.UNKNOWN


def test_an_order_of_before_a_restart_is_found_by_its_client_id_and_cancelled_by_its_own() -> None:
    venue = ScriptedKalshi()
    venue.orders = [listed("ap-1-0-0", "resting", "0.00", "o7")]
    answering(venue, f"{PATH}/o7", 200, {"order_id": "o7", "reduced_by": "10.00", "ts_ms": 1})
    outcome = run(venue, lambda _, gateway: gateway.cancel(gtc()))
    assert outcome.state is OutcomeState.NONE
    assert [path for path, _ in deletes(venue)] == [f"{PATH}/o7"]


def test_several_are_cancelled_in_one_request_and_each_has_its_own_outcome() -> None:
    venue = ScriptedKalshi()
    orders = [gtc(f"ap-1-0-{number}") for number in range(3)]
    answering(
        venue,
        f"{PATH}/batched",
        200,
        {
            "orders": [
                {"order_id": "o2", "reduced_by": "0.00", "error": {"code": "not_found", "message": "not found"}},
                {"order_id": "o1", "reduced_by": "10.00", "ts_ms": 1},
            ]
        },
    )
    venue.fills = [fill("o2", "a", "10.00")]

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> tuple[Outcome, ...]:
        for number, each in enumerate(orders[:2]):
            venue.create = created("0.00", "10.00", f"o{number + 1}")
            await gateway.place(each)
        venue.create = created("0.00")
        venue.orders = [listed("ap-1-0-1", "executed", "10.00", "o2"), listed("ap-1-0-2", "canceled", "0.00", "o3")]
        return await gateway.cancel_batch(orders)

    outcomes = run(venue, work)
    assert [each.state for each in outcomes] == [OutcomeState.NONE, OutcomeState.FILLED, OutcomeState.NONE]
    (body,) = [json.loads(body) for method, _, _, body in venue.requests if method == "DELETE"]
    assert body == {"orders": [{"order_id": name, "market_ticker": TICKER, "subaccount": 0} for name in ("o1", "o2")]}


def test_more_than_the_bucket_holds_is_cancelled_in_several_requests() -> None:
    venue = ScriptedKalshi()
    venue.limits["write"] = {"refill_rate": 2_000, "bucket_capacity": 20}
    orders = [gtc(f"ap-1-0-{number}") for number in range(25)]

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())["orders"]
        return web.json_response({"orders": [{"order_id": each["order_id"], "reduced_by": "10.00"} for each in asked]})

    venue.override[f"{PATH}/batched"] = answer

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> tuple[Outcome, ...]:
        for number, each in enumerate(orders):
            venue.create = created("0.00", "10.00", f"o{number}")
            await asyncio.sleep(0.006)
            assert (await gateway.place(each)).state is OutcomeState.RESTING
        return await gateway.cancel_batch(orders)

    assert {each.state for each in run(venue, work)} == {OutcomeState.NONE}
    sizes = [len(json.loads(body)["orders"]) for method, _, _, body in venue.requests if method == "DELETE"]
    assert sizes == [10, 10, 5]


def test_nothing_in_the_client_can_cancel_all_orders() -> None:
    """``DELETE /portfolio/events/orders`` without an id takes other people's orders too, and those of the next minute."""
    folder = Path(arbpipe.venues.kalshi.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and getattr(node.args[0], "value", "") == "DELETE":
                target = ast.unparse(node.args[1])
                assert target in ("f'{ORDERS_PATH}/{order_id}'", "BATCH_PATH"), f"{path.name}: DELETE {target}"
