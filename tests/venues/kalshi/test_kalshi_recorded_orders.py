"""Recorded answers of the venue are the outcomes they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from kalshi_venue import PREFIX, ScriptedKalshi, order, placed, run

from arbpipe.identity import Side, instrument_uid
from arbpipe.venues.base import Action, Fill, Outcome, OutcomeState, Position
from arbpipe.venues.kalshi.gateway import KalshiGateway

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
