"""Fills, netting and statements: everything in the figures of the venue, or not at all."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from kalshi_venue import TICKER, ScriptedKalshi, created, fill, listed, order, placed, run

from arbpipe.errors import ArbpipeError
from arbpipe.identity import Side, instrument_uid
from arbpipe.venues.base import Action, Fill, Outcome, OutcomeState, Position
from arbpipe.venues.kalshi.gateway import KalshiGateway

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
