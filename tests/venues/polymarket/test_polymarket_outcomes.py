"""Every row of the outcome table, and what no row knows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arbpipe.venues.base import OutcomeState
from arbpipe.venues.polymarket.outcomes import (
    RULES,
    OrderStatus,
    TradeStatus,
    judge,
    order_status,
    read_answer,
    trade_status,
)

HASH = "0x" + "ab" * 32
NONE, REJECTED, UNKNOWN = OutcomeState.NONE, OutcomeState.REJECTED, OutcomeState.UNKNOWN

#: The venue's own texts (polymarket.md 2.7) and what they must mean.
TEXTS = [
    (400, "not enough balance / allowance", REJECTED),
    (400, "invalid post-only order: order crosses book", REJECTED),
    (400, "order 0x1 is invalid. Price (0.505) breaks minimum tick size rule: 0.01", REJECTED),
    (400, "order 0x1 is invalid. Size (4) lower than the minimum: 5", REJECTED),
    (400, "order 0x1 is invalid. Duplicated.", UNKNOWN),
    (400, "order 0x1 crosses the book", REJECTED),
    (400, "invalid expiration", REJECTED),
    (400, "invalid nonce", REJECTED),
    (400, "order match delayed due to market conditions", UNKNOWN),
    (400, "order couldn't be fully filled. FOK orders are fully filled or killed.", NONE),
    (
        400,
        "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is found.",
        NONE,
    ),
    (400, "the market is not yet ready to process new orders", REJECTED),
    (400, "the order owner has to be the owner of the API KEY", REJECTED),
    (400, "the order signer address has to be the address of the API KEY", REJECTED),
    (400, "'0x1' address banned", REJECTED),
    (400, "'0x1' address in closed only mode", REJECTED),
    (400, "Too many orders in payload: 20, max allowed: 15", REJECTED),
    (400, "order_version_mismatch", REJECTED),
    (400, "invalid order version, please use the latest clob-client", REJECTED),
    (400, "invalid amount for a marketable BUY order ($0.5), min size: $1", REJECTED),
    (400, "invalid amounts, the market buy orders maker amount supports a max accuracy of 2 decimals", REJECTED),
    (400, "a text that nobody has seen", UNKNOWN),
    (401, "Unauthorized/Invalid api key", REJECTED),
    (403, "", REJECTED),
    (404, "No orderbook exists for the requested token id", REJECTED),
    (408, "", UNKNOWN),
    (425, "", UNKNOWN),
    (429, "rate limit", REJECTED),
    (500, "could not insert order", UNKNOWN),
    (500, "order timed out", UNKNOWN),
    (502, "", UNKNOWN),
    (503, "trading is disabled", UNKNOWN),
    (503, "not enough balance / allowance", UNKNOWN),
    (302, "", UNKNOWN),
    (0, "time-out", UNKNOWN),
]


@pytest.mark.parametrize(("status", "text", "state"), TEXTS)
def test_text_of_the_venue_means_its_state(status: int, text: str, state: OutcomeState) -> None:
    assert judge(status, text) is state
    answer = read_answer(status, json.dumps({"error": text}).encode(), HASH)
    assert answer.state is state
    assert answer.reason


def test_every_row_of_the_table_decides_for_some_text() -> None:
    """No row is hidden by one above it."""
    for rule in RULES:
        assert judge(rule.status or 400, rule.text) is rule.state
        first = next(r for r in RULES if r.status in (None, rule.status) and r.text in rule.text)
        assert first is rule or first.state is rule.state


def posted(**more: Any) -> bytes:
    answer = {
        "success": True,
        "errorMsg": "",
        "orderID": HASH,
        "status": "matched",
        "makingAmount": "5.2",
        "takingAmount": "10.5",
        "tradeIDs": ["t1", "t1", "t2"],
    }
    return json.dumps({**answer, **more}).encode()


def test_match_carries_the_venues_own_amounts_and_each_trade_once() -> None:
    answer = read_answer(200, posted(), HASH)
    assert answer.state is None
    assert (answer.making_e6, answer.taking_e6, answer.trade_ids) == (5_200_000, 10_500_000, ("t1", "t2"))


def test_match_without_amounts_does_not_say_zero() -> None:
    answer = read_answer(200, posted(makingAmount="", takingAmount="x"), HASH)
    assert (answer.state, answer.making_e6, answer.taking_e6) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"status": "live"}, UNKNOWN),
        ({"status": "delayed"}, UNKNOWN),
        ({"status": "unmatched"}, UNKNOWN),
        ({"status": "something new"}, UNKNOWN),
        ({"status": ""}, UNKNOWN),
        ({"success": False, "status": "delayed"}, UNKNOWN),
        ({"success": False, "status": "delayed", "errorMsg": "invalid nonce"}, UNKNOWN),
        ({"success": False}, UNKNOWN),
        ({"success": None}, UNKNOWN),
        ({"errorMsg": "post-only mode"}, UNKNOWN),
        ({"success": False, "errorMsg": "not enough balance / allowance"}, REJECTED),
        ({"errorMsg": "no orders found to match with FAK order."}, NONE),
        ({"orderID": ""}, UNKNOWN),
        ({"orderID": "0x" + "cd" * 32}, UNKNOWN),
    ],
)
def test_acceptance_needs_all_four_conditions_of_the_page(change: dict[str, Any], state: OutcomeState) -> None:
    assert read_answer(200, posted(**change), HASH).state is state


def test_f42_delayed_is_unknown_and_never_a_zero_fill() -> None:
    def mistake(body: bytes) -> OutcomeState:
        answer = json.loads(body)
        filled = float(answer["takingAmount"] or 0)
        return OutcomeState.FILLED if filled else OutcomeState.NONE

    body = posted(status="delayed", makingAmount="", takingAmount="", tradeIDs=[])
    assert mistake(body) is OutcomeState.NONE  # it trades a second later
    assert read_answer(200, body, HASH).state is UNKNOWN


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"success":"yes"}', b"\xff"])
def test_unreadable_answer_is_unknown(body: bytes) -> None:
    assert read_answer(200, body, HASH).state is UNKNOWN
    assert read_answer(502, body, HASH).state is UNKNOWN


def test_states_of_orders_and_trades_are_read_with_and_without_prefix() -> None:
    assert order_status("LIVE") is order_status("ORDER_STATUS_LIVE") is OrderStatus.PENDING
    assert order_status("DELAYED") is OrderStatus.PENDING
    assert order_status("matched") is OrderStatus.OVER
    assert order_status("CANCELED_MARKET_RESOLVED") is OrderStatus.OVER
    assert order_status("UNMATCHED") is order_status("A_NEW_WORD") is OrderStatus.DOUBTFUL
    assert trade_status("TRADE_STATUS_CONFIRMED") is trade_status("CONFIRMED") is TradeStatus.CONFIRMED
    assert trade_status("TRADE_STATUS_FAILED") is TradeStatus.FAILED
    for word in ("MATCHED", "MATCHED_NOT_BROADCASTED", "MINED", "RETRYING", "A_NEW_WORD", ""):
        assert trade_status(word) is TradeStatus.PENDING
