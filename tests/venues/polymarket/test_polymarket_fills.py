"""From the venue's trades to fills: prices, dollars, fees, and what is not a fill."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from polymarket_clob import FEE, trade
from polymarket_driven import NO, OTHER_YES, YES

from arbpipe.feemodel import FeeTerms, fee_e6
from arbpipe.venues.polymarket.fills import OurTrade, TradeError, fills_of, our_trade, read_trades
from arbpipe.venues.polymarket.outcomes import TradeStatus

HASH = "0x" + "ab" * 32


def ours(raw: dict[str, Any]) -> OurTrade | None:
    (parsed,), _ = read_trades(json.dumps([raw]).encode())
    return our_trade(parsed, HASH, YES)


def one(raw: dict[str, Any]) -> OurTrade:
    found = ours(raw)
    assert found is not None
    return found


def test_fill_of_a_buy_costs_its_dollars_and_the_fee() -> None:
    (fill,) = fills_of([one(trade(HASH, 1, "10", "0.52"))], is_buy=True, fee=FEE)
    assert (fill.fill_id, fill.qty_e6, fill.price_e4, fill.final) == ("trade-1", 10_000_000, 5_200, False)
    assert fill.fee_e6 == 124_800  # 10 × 0.05 × 0.52 × 0.48
    assert fill.cash_e6 == -5_200_000 - 124_800


def test_fill_of_a_sell_brings_its_dollars_less_the_fee() -> None:
    (fill,) = fills_of([one(trade(HASH, 1, "10", "0.52", "CONFIRMED"))], is_buy=False, fee=FEE)
    assert fill.cash_e6 == 5_200_000 - 124_800
    assert fill.final


def test_worked_fees_of_the_page() -> None:
    for size, price, rate, fee in (
        ("100", "0.5", 70_000, 1_750_000),
        ("20", "0.38", 70_000, 329_840),
        ("100", "0.1", 50_000, 450_000),
    ):
        (fill,) = fills_of([one(trade(HASH, 1, size, price))], is_buy=True, fee=FeeTerms(rate, 1, 10, 1))
        assert fill.fee_e6 == fee
    (tie,) = fills_of([one(trade(HASH, 1, "5", "0.47"))], is_buy=True, fee=FeeTerms(70_000, 1, 10, 1))
    assert tie.fee_e6 == 87_190  # 0.087185: up, against us


def test_fee_of_whole_hundredths_is_the_fee_model() -> None:
    dice = random.Random(5)
    for _ in range(300):
        terms = FeeTerms(dice.choice([0, 30_000, 50_000, 70_000]), dice.randrange(1, 4), 10, 1)
        price, size = dice.randrange(1, 10_000), dice.randrange(1, 50_000)
        piece = OurTrade("t", TradeStatus.PENDING, ((price * 10**8, size * 10_000),), True)
        (fill,) = fills_of([piece], is_buy=True, fee=terms)
        assert fill.fee_e6 == fee_e6(terms, price, size)


def test_makers_prices_count_and_those_of_the_other_token_at_the_complement() -> None:
    makers = [
        {"order_id": "0x1", "asset_id": YES, "matched_amount": "4", "price": "0.50", "side": "SELL"},
        {"order_id": "0x2", "asset_id": NO, "matched_amount": "6", "price": "0.49", "side": "BUY"},
    ]
    found = one(trade(HASH, 1, "10", "0.52", maker_orders=makers))
    assert found.pieces == ((5_000 * 10**8, 4_000_000), (5_100 * 10**8, 6_000_000))
    (fill,) = fills_of([found], is_buy=True, fee=FeeTerms(0, 1, 10, 1))
    assert fill.cash_e6 == -5_060_000
    assert fill.price_e4 == 5_060


def test_makers_that_do_not_add_up_are_not_believed() -> None:
    short = [{"order_id": "0x1", "asset_id": YES, "matched_amount": "4", "price": "0.10"}]
    assert one(trade(HASH, 1, "10", "0.52", maker_orders=short)).pieces == ((5_200 * 10**8, 10_000_000),)
    assert one(trade(HASH, 1, "10", "0.52", maker_orders=[])).qty_e6 == 10_000_000


def test_own_part_of_a_makers_trade_is_the_matching_element() -> None:
    makers = [
        {"order_id": HASH, "asset_id": YES, "matched_amount": "3", "price": "0.40"},
        {"order_id": "0x2", "asset_id": YES, "matched_amount": "7", "price": "0.41"},
    ]
    found = one(trade("0xsomebody", 1, "10", "0.41", maker_orders=makers))
    assert (found.qty_e6, found.taker) == (3_000_000, False)
    (fill,) = fills_of([found], is_buy=True, fee=FEE)
    assert fill.fee_e6 == 0
    assert ours(trade("0xsomebody", 1, "10", "0.41")) is None


def test_f43_failed_trade_is_no_fill_and_matched_is_not_final() -> None:
    def mistake(raw: list[dict[str, Any]]) -> float:
        return sum(float(each["size"]) for each in raw if "MATCHED" in each["status"] or "FAILED" in each["status"])

    raw = [trade(HASH, 1, "4", "0.5", "FAILED"), trade(HASH, 2, "6", "0.5", "MATCHED")]
    assert mistake(raw) == 10  # the ghost's four shares will never come
    fills = fills_of([one(each) for each in raw], is_buy=True, fee=FEE)
    assert [(fill.fill_id, fill.qty_e6, fill.final) for fill in fills] == [("trade-2", 6_000_000, False)]


def test_dollars_of_an_order_are_rounded_once_against_us() -> None:
    dice = random.Random(9)
    for _ in range(200):
        pieces = [(dice.randrange(1, 10_000) * 10**8, dice.randrange(1, 10**7)) for _ in range(dice.randrange(1, 5))]
        trades = [OurTrade(str(n), TradeStatus.CONFIRMED, (piece,), True) for n, piece in enumerate(pieces)]
        exact = sum(price * qty for price, qty in pieces)
        free = FeeTerms(0, 1, 10, 1)
        assert -sum(f.cash_e6 for f in fills_of(trades, is_buy=True, fee=free)) == -(-exact // 10**12)
        assert sum(f.cash_e6 for f in fills_of(trades, is_buy=False, fee=free)) == exact // 10**12
        assert fills_of(reversed(trades), is_buy=True, fee=free) == fills_of(trades, is_buy=True, fee=free)


def test_venues_own_dollars_win_over_price_times_size_unless_they_mean_something_else() -> None:
    trades = [one(trade(HASH, 1, "3.3333", "0.3333")), one(trade(HASH, 2, "1", "0.5"))]
    free = FeeTerms(0, 1, 10, 1)
    computed = -sum(fill.cash_e6 for fill in fills_of(trades, is_buy=True, fee=free))
    for stated, expected in ((computed - 2, computed - 2), (computed + 3, computed + 3), (computed + 90_000, computed)):
        assert -sum(f.cash_e6 for f in fills_of(trades, is_buy=True, fee=free, dollars_e6=stated)) == expected


@pytest.mark.parametrize("text", ["0.07999999999999999", "0.0800", "0.08000000000000002"])
def test_price_written_by_a_float_is_the_price_it_means(text: str) -> None:
    assert one(trade(HASH, 1, "10", text)).pieces == ((800 * 10**8, 10_000_000),)


@pytest.mark.parametrize(
    "change", [{"size": "-1"}, {"size": "x"}, {"price": "2"}, {"asset_id": OTHER_YES}, {"size": "1e3"}, {"price": ""}]
)
def test_trade_that_cannot_be_read_is_an_error_not_zero(change: dict[str, Any]) -> None:
    with pytest.raises(TradeError):
        ours({**trade(HASH, 1, "10", "0.5", maker_orders=[]), **change})


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data":[{}]}', b'{"data":null}', b"\xff", b"[1]"])
def test_unreadable_page_is_an_error_not_empty(body: bytes) -> None:
    with pytest.raises(TradeError):
        read_trades(body)


def test_end_of_the_pages_is_known() -> None:
    assert read_trades(b'{"data":[],"next_cursor":"LTE="}') == ([], "")
    assert read_trades(b'{"data":[],"next_cursor":"MQ=="}') == ([], "MQ==")
