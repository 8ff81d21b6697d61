"""Looking an order up: what is evidence, and what is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from polymarket_clob import NOW_MS, UID, Clob, hash_of, order, refused, run, trade
from polymarket_driven import YES

from arbpipe.venues.base import Outcome, OutcomeState
from arbpipe.venues.polymarket.gateway import PolymarketGateway

FILLED, NONE, UNKNOWN = OutcomeState.FILLED, OutcomeState.NONE, OutcomeState.UNKNOWN


def lookup(clob: Clob, one: Any = None, **more: Any) -> Outcome:
    return run(clob, lambda made: made.lookup(one or order()), **more)


def test_f42_delayed_order_stays_unknown_until_it_matched_and_is_never_cancelled() -> None:
    def mistake(state: str) -> str:
        return "DELETE /order" if state == "DELAYED" else ""

    clob = Clob()
    sent = hash_of(order())
    clob.orders[sent] = {"id": sent, "status": "DELAYED", "size_matched": "0"}
    assert lookup(clob).state is UNKNOWN
    assert mistake("DELAYED") == "DELETE /order"  # the venue refuses that, and the order trades
    assert not [call for call in clob.calls if call.startswith("DELETE")]
    clob.orders[sent] = {"id": sent, "status": "MATCHED", "size_matched": "10", "associate_trades": ["trade-0"]}
    clob.trades = [trade(sent, 0, "10", "0.52")]
    assert lookup(clob).state is FILLED


@pytest.mark.parametrize("status", ["LIVE", "MATCHED", "UNMATCHED", "A_NEW_WORD"])
def test_state_that_settles_nothing_is_unknown(status: str) -> None:
    clob = Clob()
    sent = hash_of(order())
    clob.orders[sent] = {"id": sent, "status": status, "size_matched": "0"}
    assert lookup(clob).state is UNKNOWN


def test_cancelled_order_without_a_match_is_none() -> None:
    clob = Clob()
    sent = hash_of(order())
    clob.orders[sent] = {"id": sent, "status": "CANCELED_MARKET_RESOLVED", "size_matched": "0"}
    assert lookup(clob).state is NONE


def test_absent_order_is_none_only_after_the_wait_and_with_the_balance_from_before() -> None:
    clob = Clob(refused(500, "order timed out"))

    async def use(made: PolymarketGateway) -> tuple[Outcome, float]:
        await made.positions()  # what the executor compares at its start
        await made.place(order())
        began = asyncio.get_running_loop().time()
        return await made.lookup(order()), asyncio.get_running_loop().time() - began

    outcome, took = run(clob, use)
    assert outcome.state is NONE
    assert took >= 0.15


def test_absent_order_stays_unknown_while_its_shares_may_be_there() -> None:
    clob = Clob(refused(500, "order timed out"))

    async def use(made: PolymarketGateway) -> Outcome:
        await made.positions()
        await made.place(order())
        clob.balances[YES] = 10_000_000
        await made.positions()  # a read while the outcome is open must not become the balance from before
        return await made.lookup(order())

    outcome = run(clob, use)
    assert outcome.state is UNKNOWN
    assert "balance" in outcome.reason


def test_absent_order_after_a_restart_needs_its_age() -> None:
    young, old = order(created_ms=NOW_MS - 5_000), order(created_ms=NOW_MS - 61_000)
    outcome = lookup(Clob(), young)
    assert outcome.state is UNKNOWN
    assert "5 s old" in outcome.reason
    assert lookup(Clob(), old).state is NONE


def test_absent_order_that_a_trade_names_is_not_none() -> None:
    old = order(created_ms=NOW_MS - 61_000)
    clob = Clob()
    clob.trades = [trade(hash_of(old), 0, "10", "0.52")]
    assert lookup(clob, old).state is UNKNOWN


def test_cursor_that_repeats_ends_and_settles_nothing() -> None:
    assert lookup(Clob(endless=True), order(created_ms=NOW_MS - 61_000)).state is UNKNOWN


def test_look_up_of_an_instrument_that_left_the_catalog_is_unknown() -> None:
    gone = order()
    object.__setattr__(gone, "uid", UID + 1)
    outcome = lookup(Clob(), gone)
    assert outcome.state is UNKNOWN
    assert "not listed" in outcome.reason
