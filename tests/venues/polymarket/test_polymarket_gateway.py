"""The gateway against a scripted venue: what is sent, and what each answer becomes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from eth_account import Account
from polymarket_clob import (
    NOW_MS,
    SIGNER,
    UID,
    Clob,
    fills_by,
    hash_of,
    matched,
    order,
    place,
    refused,
    relisted,
    renamed,
    run,
    trade,
)
from polymarket_driven import MARKET, NO, YES

from arbpipe.errors import ArbpipeError, EnvironmentRefused, SafetyRefused, TimedOut
from arbpipe.identity import Side
from arbpipe.venues.base import Action, Outcome, OutcomeState, Position
from arbpipe.venues.polymarket.gateway import PolymarketGateway, salt_of

FILLED, PARTIAL, NONE = OutcomeState.FILLED, OutcomeState.PARTIAL, OutcomeState.NONE
REJECTED, UNKNOWN = OutcomeState.REJECTED, OutcomeState.UNKNOWN


# -- what is sent --------------------------------------------------------------------------------------------------------


def test_order_is_sent_as_the_page_says_and_signed_for_its_hash() -> None:
    clob = Clob()
    fills_by(clob, ("10", "0.52", "MATCHED"))
    outcome = place(clob)
    assert outcome.state is FILLED
    (body,) = clob.posts
    assert body["orderType"] == "FAK"
    assert body["owner"] == "the-key"
    assert "postOnly" not in body
    sent = body["order"]
    assert (sent["tokenId"], sent["side"], sent["makerAmount"], sent["takerAmount"]) == (
        YES,
        "BUY",
        "5200000",
        "10000000",
    )
    assert (sent["salt"], sent["timestamp"], sent["expiration"]) == (salt_of("ap-1-0-0"), str(NOW_MS - 100), "0")
    digest = bytes.fromhex(hash_of(order())[2:])
    signature = bytes.fromhex(sent["signature"][2:])
    assert Account._recover_hash(digest, signature=signature) == SIGNER.address


def test_same_intent_has_the_same_hash_after_a_restart_and_another_intent_another() -> None:
    assert hash_of(order()) == hash_of(order())
    assert (
        len({hash_of(each) for each in (order(), renamed(order(), "ap-1-0-1"), order(990), order(created_ms=5))}) == 4
    )
    assert 0 <= salt_of("x") < 1 << 53


@pytest.mark.parametrize(
    ("one", "listing", "words"),
    [
        (order(created_ms=0), relisted(), "no created_ms"),
        (order(), relisted(fee=None), "fee is unknown"),
        (order(), relisted(version=""), "version"),
        (order(), relisted(version="v2"), "does not have the form"),
        (order(), relisted(tick_e4=0), "tick"),
        (order(), relisted(min_size_e2=0), "minimum size"),
        (order(30_000), relisted(), "cap of"),
    ],
)
def test_order_that_is_not_understood_is_never_sent(one: Any, listing: Any, words: str) -> None:
    clob = Clob()
    outcome = place(clob, one, listing=listing)
    assert outcome.state is REJECTED
    assert words in outcome.reason
    assert not clob.posts


def test_unlisted_instrument_is_never_sent() -> None:
    clob = Clob()
    outcome = run(clob, lambda made: made.place(order()), listing=relisted(), max_order_e6=10**9)
    assert outcome.state is not REJECTED
    stranger = Clob()
    other = order()
    object.__setattr__(other, "uid", UID + 1)
    assert place(stranger, other).state is REJECTED
    assert not stranger.posts


def test_f34_dollars_cut_to_cents_may_fall_below_the_minimum_and_are_then_not_sent() -> None:
    def mistake(size_e2: int) -> bool:
        return size_e2 >= 500  # only the wanted size is looked at

    clob = Clob()
    small = order(500, 5_230)  # 2.615 dollars become 2.61, which buy 4.99 shares
    assert mistake(small.size_e2)
    outcome = place(clob, small, listing=relisted(tick_e4=10))
    assert outcome.state is REJECTED
    assert "below the minimum of 5" in outcome.reason
    assert not clob.posts


# -- what comes back -----------------------------------------------------------------------------------------------------


def test_fills_are_the_venues_trades_with_their_own_prices() -> None:
    clob = Clob()
    fills_by(clob, ("4", "0.50", "MATCHED"), ("6", "0.52", "CONFIRMED"))
    outcome = place(clob)
    assert [(f.fill_id, f.qty_e6, f.price_e4, f.final) for f in outcome.fills] == [
        ("trade-0", 4_000_000, 5_000, False),
        ("trade-1", 6_000_000, 5_200, True),
    ]
    assert sum(f.cash_e6 + f.fee_e6 for f in outcome.fills) == -5_120_000


def test_f33_more_shares_than_wanted_are_reported_as_received() -> None:
    def mistake(body: dict[str, Any]) -> int:
        return int(body["order"]["takerAmount"])  # what was asked for is taken for what came

    clob = Clob()
    fills_by(clob, ("10.4", "0.50", "MATCHED"))
    outcome = place(clob)
    assert outcome.state is FILLED
    assert outcome.qty_e6 == 10_400_000
    assert mistake(clob.posts[0]) == 10_000_000  # the other leg would be 0.4 short


def test_partial_fill_is_partial() -> None:
    clob = Clob()
    fills_by(clob, ("3.5", "0.52", "MATCHED"))
    outcome = place(clob)
    assert (outcome.state, outcome.qty_e6) == (PARTIAL, 3_500_000)


def test_trades_that_lag_are_waited_for() -> None:
    clob = Clob(hidden_reads=5)
    fills_by(clob, ("10", "0.52", "MATCHED"))
    assert place(clob).state is FILLED


def test_trades_that_never_add_up_leave_the_outcome_unknown() -> None:
    clob = Clob(hidden_reads=10_000)
    fills_by(clob, ("10", "0.52", "MATCHED"))
    outcome = place(clob)
    assert (outcome.state, outcome.fills) == (UNKNOWN, ())
    assert "do not add up" in outcome.reason


def test_match_without_amounts_is_read_from_the_order() -> None:
    clob = Clob()
    sent = hash_of(order())
    clob.trades = [trade(sent, 0, "10", "0.52")]
    clob.orders[sent] = {"id": sent, "status": "MATCHED", "size_matched": "10", "associate_trades": ["trade-0"]}
    clob.on_post = lambda body: (200, {**matched(sent, "", "", "trade-0"), "tradeIDs": []})
    assert place(clob).qty_e6 == 10_000_000


def test_f44_trade_that_is_listed_twice_counts_once() -> None:
    def mistake(trades: list[dict[str, Any]]) -> float:
        return sum(float(each["size"]) for each in trades)

    clob = Clob()
    sent = hash_of(order())
    clob.trades = [trade(sent, 0, "10", "0.52"), trade(sent, 0, "10", "0.52", "CONFIRMED")]
    clob.on_post = lambda body: (200, matched(sent, "5.2", "10", "trade-0", "trade-0"))
    clob.orders[sent] = {"id": sent, "status": "MATCHED", "size_matched": "10", "associate_trades": ["trade-0"]}

    async def use(made: PolymarketGateway) -> tuple[Outcome, Outcome]:
        return await made.place(order()), await made.lookup(order())

    placed, looked_up = run(clob, use)
    assert mistake(clob.trades) == 20
    assert placed.qty_e6 == looked_up.qty_e6 == 10_000_000
    assert [f.fill_id for f in placed.fills] == [f.fill_id for f in looked_up.fills] == ["trade-0"]


def test_f43_ghost_trade_that_failed_is_no_fill() -> None:
    def mistake(answer: dict[str, Any]) -> bool:
        return answer["status"] == "matched"

    clob = Clob()
    fills_by(clob, ("10", "0.52", "FAILED"))
    outcome = place(clob)
    assert mistake(matched("0x", "5.2", "10"))
    assert (outcome.state, outcome.fills) == (NONE, ())
    assert "failed on chain" in outcome.reason


def test_killed_order_is_none_and_refused_order_is_rejected() -> None:
    killed = "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found."
    assert place(Clob(refused(400, killed))).state is NONE
    assert place(Clob(refused(400, "not enough balance / allowance"))).state is REJECTED
    assert place(Clob(refused(400, "order x is invalid. Duplicated."))).state is UNKNOWN
    for status in (425, 500, 502, 503):
        assert place(Clob(refused(status, "engine restarting"))).state is UNKNOWN
    assert place(Clob(lambda body: (200, {**matched(hash_of(order()), "", ""), "status": "delayed"}))).state is UNKNOWN


@pytest.mark.parametrize("drop", [False, True])
def test_f40_time_out_and_dropped_connection_are_unknown_then_found_filled(drop: bool) -> None:
    def mistake(answered: bool) -> OutcomeState:
        return FILLED if answered else NONE

    clob = Clob(drop_post=drop)
    sent = hash_of(order())

    def on_post(body: dict[str, Any]) -> None:
        clob.trades = [trade(sent, 0, "10", "0.52")]
        clob.orders[sent] = {"id": sent, "status": "MATCHED", "size_matched": "10", "associate_trades": ["trade-0"]}

    clob.on_post = on_post

    async def use(made: PolymarketGateway) -> tuple[Outcome, Outcome]:
        return await made.place(order()), await made.lookup(order())

    placed, looked_up = run(clob, use)
    assert mistake(answered=False) is NONE  # it had filled
    assert placed.state is UNKNOWN
    assert (looked_up.state, looked_up.qty_e6) == (FILLED, 10_000_000)
    assert len(clob.posts) == 1


# -- selling -------------------------------------------------------------------------------------------------------------

SELL = order(action=Action.SELL, reduce_only=True)


def test_f47_what_is_not_held_or_not_confirmed_is_not_sold() -> None:
    def mistake(bought: Outcome) -> int:
        return bought.qty_e6  # matched shares taken for held ones

    clob = Clob()
    fills_by(clob, ("10", "0.52", "MATCHED"))

    async def use(made: PolymarketGateway) -> list[Outcome]:
        bought = await made.place(order())
        clob.balances[YES] = 10_000_000  # a balance that counts the unsettled trade already
        early = await made.place(renamed(SELL, "s"))
        clob.trades[0]["status"] = "CONFIRMED"
        return [bought, early, await made.place(SELL)]

    bought, early, late = run(clob, use)
    assert mistake(bought) == 10_000_000
    assert early.state is REJECTED
    assert "wait for the trades to be CONFIRMED" in early.reason
    assert late.state is FILLED
    assert [body["order"]["side"] for body in clob.posts] == ["BUY", "SELL"]
    assert place(Clob(), SELL).state is REJECTED  # nothing held at all


def test_sell_gives_shares_and_books_the_dollars() -> None:
    clob = Clob(balances={YES: 10_000_000})
    fills_by(clob, ("10", "0.53", "CONFIRMED"))
    outcome = place(clob, SELL)
    sent = clob.posts[0]["order"]
    assert (sent["side"], sent["makerAmount"], sent["takerAmount"]) == ("SELL", "10000000", "5200000")
    assert outcome.fills[0].cash_e6 == 5_300_000 - outcome.fills[0].fee_e6
    assert outcome.fills[0].fee_e6 == 124_550


def test_cap_holds_back_buys_and_lets_risk_reducing_sells_pass() -> None:
    clob = Clob(balances={YES: 10_000_000})
    fills_by(clob, ("10", "0.53", "CONFIRMED"))
    assert place(clob, max_order_e6=5_199_999).state is REJECTED
    assert place(clob, SELL, max_order_e6=1).state is FILLED
    assert place(clob, max_order_e6=5_200_000).state is FILLED


# -- statements and opening ----------------------------------------------------------------------------------------------


def test_positions_and_cash_are_the_venues_own() -> None:
    clob = Clob(balances={YES: 7_000_000, NO: 2_500_000}, cash_e6=123_456_789)
    assert run(clob, lambda made: made.positions()) == (Position(UID, 7_000_000, 2_500_000),)
    assert run(clob, lambda made: made.cash_e6()) == 123_456_789


def test_positions_of_others_are_named_by_the_data_api() -> None:
    clob = Clob(balances={YES: 7_000_000})
    held = {"token_id": "77", "condition_id": "0x99", "current_size": 3.5, "outcome_index": 1}
    ours = {"token_id": YES, "condition_id": MARKET, "current_size": "6.9", "outcome_index": 0}
    clob.data = {"data": [held, ours], "pagination": {"has_more": False, "next_cursor": None}}
    found = run(clob, lambda made: made.positions())
    assert Position(UID, 7_000_000, 0) in found  # the CLOB's figure, not the Data API's
    assert [each.no_e6 for each in found if each.uid != UID] == [3_500_000]


def test_statement_that_is_not_complete_is_refused() -> None:
    clob = Clob()
    clob.data = {"data": [], "pagination": {"has_more": True, "next_cursor": "again"}}
    with pytest.raises(ArbpipeError, match="cursor repeats"):
        run(clob, lambda made: made.positions())
    clob.data = {"data": "x"}
    with pytest.raises(ArbpipeError, match="unreadable"):
        run(clob, lambda made: made.positions())


@pytest.mark.parametrize(
    ("clob", "error", "words"),
    [
        (Clob(version=1), EnvironmentRefused, "CLOB version 2 only"),
        (Clob(closed_only=True), SafetyRefused, "closed-only"),
        (Clob(closed_only="x"), EnvironmentRefused, "does not accept the API key"),
    ],
)
def test_venue_that_would_not_take_orders_stops_the_start(clob: Clob, error: type[ArbpipeError], words: str) -> None:
    with pytest.raises(error, match=words):
        run(clob, lambda made: made.cash_e6())


def test_open_makes_the_api_key_when_none_is_given() -> None:
    clob = Clob()
    assert run(clob, lambda made: made.cash_e6(), credentials=None) == 1_000_000_000
    assert "POST /auth/api-key" in clob.calls


def test_venue_that_cannot_be_reached_is_a_time_out() -> None:
    async def main() -> None:
        made = PolymarketGateway("http://127.0.0.1:9", "", SIGNER, None, listing=lambda uid: None, max_order_e6=1)
        try:
            await made.open()
        finally:
            await made.close()

    with pytest.raises(TimedOut):
        asyncio.run(main())


def test_no_side_is_the_no_token() -> None:
    clob = Clob(refused(500, "x"))
    place(clob, order(side=Side.NO))
    assert clob.posts[0]["order"]["tokenId"] == NO
