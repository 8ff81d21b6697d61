"""Amounts against the SDK's own rounding, and what they promise: the limit holds, and dollars never exceed it."""

from __future__ import annotations

import random
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction

import pytest
from polymarket._internal.actions.orders.market import _compute_market_order_amounts

from arbpipe.venues.polymarket.amounts import AmountError, buy_amounts, decimals_of, grid_of, sell_amounts

TICKS = [1_000, 100, 50, 25, 10, 1]


def cut(amount: int, decimals: int) -> int:
    return amount // 10 ** (6 - decimals) * 10 ** (6 - decimals)


@pytest.mark.parametrize("tick", TICKS)
def test_market_amounts_are_the_sdks_cut_to_the_decimals_the_venue_takes(tick: int) -> None:
    dice = random.Random(tick)
    for _ in range(600):
        price = dice.randrange(1, 10_000 // tick) * tick
        size = dice.randrange(500, 200_000)
        dollars = (Decimal(price * size) / 1_000_000).quantize(Decimal("0.01"), rounding=ROUND_FLOOR)
        shape = {"price": Decimal(price) / 10_000, "tick_size": Decimal(tick) / 10_000}
        maker, taker = _compute_market_order_amounts(amount=dollars, side="BUY", **shape)
        grid = grid_of(price, tick)
        try:
            ours = buy_amounts(price, size, tick)
        except AmountError:
            # the SDK's own check of a protected buy refuses the same amounts
            assert Fraction(maker, cut(taker, decimals_of(grid)) or 1) >= Fraction(price + 1, 10_000)
            continue
        assert (ours.maker, ours.taker) == (maker, cut(taker, decimals_of(grid)))
        maker, taker = _compute_market_order_amounts(amount=Decimal(size) / 100, side="SELL", **shape)
        ours = sell_amounts(price, size, tick)
        assert (ours.maker, ours.taker) == (maker, cut(taker, decimals_of(grid)))


def test_worked_example_of_the_page() -> None:
    # 10 dollars at 0.52: 19.2307 shares
    assert buy_amounts(5_200, 1_924, 100).maker == 10_000_000
    assert buy_amounts(5_200, 1_924, 100).taker == 19_230_700


@pytest.mark.parametrize("tick", TICKS)
def test_buy_never_offers_more_than_size_times_limit_and_cannot_meet_a_dearer_price(tick: int) -> None:
    dice = random.Random(f"limit{tick}")
    for _ in range(600):
        price = dice.randrange(1, 10_000 // tick) * tick
        size = dice.randrange(500, 50_000)
        try:
            ours = buy_amounts(price, size, tick)
        except AmountError:
            continue
        assert ours.maker <= price * size
        assert Fraction(price, 10_000) <= Fraction(ours.maker, ours.taker) < Fraction(price + 1, 10_000)
        assert ours.taker <= size * 10_000
        # what cutting to cents can cost, and the last unit of the rounding
        assert size * 10_000 - ours.taker <= 10_000 * 10_000 // price + 1_000 + 1


@pytest.mark.parametrize("tick", TICKS)
def test_sell_gives_the_exact_shares_and_cannot_meet_a_cheaper_price(tick: int) -> None:
    dice = random.Random(f"sell{tick}")
    for _ in range(300):
        price = dice.randrange(1, 10_000 // tick) * tick
        size = dice.randrange(500, 50_000)
        try:
            ours = sell_amounts(price, size, tick)
        except AmountError:
            continue
        assert ours.maker == size * 10_000
        assert Fraction(price - 1, 10_000) < Fraction(ours.taker, ours.maker) <= Fraction(price, 10_000)


def test_unknown_tick_is_an_error_not_a_guess() -> None:
    for tick in (0, 20, 200, 10_000):
        with pytest.raises(AmountError, match="tick"):
            buy_amounts(5_000, 1_000, tick)
        with pytest.raises(AmountError, match="tick"):
            sell_amounts(5_000, 1_000, tick)


def test_price_of_a_finer_grid_is_kept_and_one_outside_every_grid_is_refused() -> None:
    assert grid_of(9_630, 100) == 10  # the book's tick became finer than the listing's
    assert grid_of(9_650, 100) == 50
    assert buy_amounts(9_630, 1_000, 100).maker == 9_630_000
    for price in (0, 10_000, 10_001):
        with pytest.raises(AmountError, match="on no grid"):
            grid_of(price, 100)


def test_size_that_is_too_small_for_its_price_is_refused() -> None:
    for price, size in ((100, 1), (5_000, 0), (3_330, 2)):
        with pytest.raises(AmountError):
            buy_amounts(price, size, 10)
    with pytest.raises(AmountError):
        sell_amounts(1, 1, 1)
