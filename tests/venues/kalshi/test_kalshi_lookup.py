"""What became of an order that nobody answered: found, absent by evidence, or unknown."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from kalshi_venue import QUICK, TICKER, ScriptedKalshi, created, fill, listed, order, placed, run

from arbpipe.venues.base import Outcome, OutcomeState, TimeInForce
from arbpipe.venues.kalshi.auth import wall_ms
from arbpipe.venues.kalshi.gateway import KalshiGateway

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


def lost(venue: ScriptedKalshi, patience: Any = QUICK, fence: Any = None) -> Outcome:
    """Place an order without an answer, then look it up; ``fence`` is what the next order is answered."""
    venue.create = "drop"

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> Outcome:
        await gateway.place(order())
        venue.requests.clear()
        venue.create = created("0.00") if fence is None else fence
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


def test_before_an_absent_order_is_none_its_client_id_is_used_up() -> None:
    venue = ScriptedKalshi()
    outcome = lost(venue)
    assert outcome.state is OutcomeState.NONE
    assert "cannot arrive any more" in outcome.reason
    (fence,) = venue.posts()
    assert fence == {
        "ticker": TICKER,
        "client_order_id": "ap-1-0-0",
        "side": "bid",
        "count": "0.01",
        "price": "0.0100",
        "time_in_force": "immediate_or_cancel",
        "self_trade_prevention_type": "taker_at_cross",
    }


def refusal(status: int, code: str) -> tuple[int, Any]:
    return status, {"error": {"code": code, "message": "m"}}


@pytest.mark.parametrize(
    ("fence", "state", "says"),
    [
        (refusal(409, "MARKET_INACTIVE"), OutcomeState.NONE, "after its market took no more orders"),
        (refusal(409, "trading_is_paused"), OutcomeState.UNKNOWN, "could still arrive"),
        (refusal(400, "invalid_price"), OutcomeState.UNKNOWN, "could still arrive"),
        (refusal(503, ""), OutcomeState.UNKNOWN, "could still arrive"),
        ((429, {"error": "too many requests"}), OutcomeState.UNKNOWN, "could still arrive"),
        ("hang", OutcomeState.UNKNOWN, "could still arrive"),
        ("drop", OutcomeState.UNKNOWN, "could still arrive"),
        ((201, b"{}"), OutcomeState.UNKNOWN, "exists, and does not list it"),
        (created("0.01"), OutcomeState.UNKNOWN, "exists, and does not list it"),
        (refusal(409, "order_already_exists"), OutcomeState.UNKNOWN, "exists, and does not list it"),
    ],
    ids=str,
)
def test_an_absent_order_whose_id_is_not_used_up_stays_unknown(fence: Any, state: OutcomeState, says: str) -> None:
    outcome = lost(ScriptedKalshi(), fence=fence)
    assert outcome.state is state
    assert says in outcome.reason


@pytest.mark.parametrize(
    "second",
    [(429, {"error": "too many requests"}), refusal(400, "insufficient_balance"), created("0.00"), "hang"],
    ids=str,
)
def test_an_order_that_nobody_knows_of_is_not_sent_again_and_a_refusal_of_it_says_nothing(second: Any) -> None:
    venue = ScriptedKalshi()
    venue.create = "drop"
    venue.orders = [listed("ap-1-0-0", "executed", "10.00")]
    venue.fills = [fill("o1", "a", "10.00")]

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> Outcome:
        await gateway.place(order())
        venue.create = second
        return await gateway.place(order())

    outcome = run(venue, work)
    assert (outcome.state, outcome.qty_e6) == (OutcomeState.FILLED, 10_000_000)
    assert len(venue.posts()) == 1


def test_a_lost_fill_or_kill_whose_id_is_used_and_that_is_never_listed_was_killed() -> None:
    exists = refusal(409, "order_already_exists")
    venue = ScriptedKalshi()
    venue.create = exists
    killed = placed(venue, order(time_in_force=TimeInForce.FOK))
    assert killed.state is OutcomeState.NONE
    assert "killed" in killed.reason
    assert len(venue.gets("/portfolio/orders")) >= 2
    venue = ScriptedKalshi()
    venue.create = exists
    assert placed(venue, order()).state is OutcomeState.UNKNOWN  # of any other kind there is an order somewhere


def test_a_lookup_never_raises_for_what_the_venue_does() -> None:
    venue = ScriptedKalshi()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked = len(venue.gets("/portfolio/orders"))
        if asked > 1:
            return web.Response(status=500)
        return web.json_response({"cursor": "", "orders": [listed("ap-1-0-0", "resting", "0.00")]})

    venue.override["/portfolio/orders"] = answer
    outcome = run(venue, lambda _, gateway: gateway.lookup(order(time_in_force=TimeInForce.GTC)))
    assert outcome.state is OutcomeState.RESTING


def test_the_order_that_used_up_the_id_is_found_as_one_that_filled_nothing() -> None:
    """After a crash between the two, the fence is the order with our client id, and says the same."""
    venue = ScriptedKalshi()
    venue.orders = [listed("ap-1-0-0", "canceled", "0.00")]
    outcome = run(venue, lambda _, gateway: gateway.lookup(order()))
    assert outcome.state is OutcomeState.NONE
    assert not venue.posts()


def test_absent_is_unknown_while_the_venues_data_is_older_than_the_order() -> None:
    venue = ScriptedKalshi()
    venue.create = "drop"

    async def work(venue: ScriptedKalshi, gateway: KalshiGateway) -> Outcome:
        stands_still = wall_ms()
        venue.as_of_ms = lambda: stands_still
        await gateway.place(order())
        return await gateway.lookup(order())

    outcome = run(venue, work)
    assert outcome.state is OutcomeState.UNKNOWN
    assert "not yet newer" in outcome.reason
    assert len(venue.posts()) == 1


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
