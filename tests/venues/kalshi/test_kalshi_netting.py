"""What a fill nets: the signed position against a plain account that keeps both sides apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kalshi_venue import TICKER, order

from arbpipe.identity import Side
from arbpipe.venues.base import Action
from arbpipe.venues.kalshi.netting import NetPositions, VenueFill, buys_yes, released_e6


def fill(fill_id: str, buys: bool, qty_e6: int, time_us: int, price_e4: int = 4_000) -> VenueFill:
    return VenueFill(fill_id, "o1", TICKER, buys, qty_e6, price_e4, 7, time_us)


@pytest.mark.parametrize(
    ("before", "side", "action", "qty", "released"),
    [
        (0, Side.YES, Action.BUY, 5, 0),
        (3, Side.YES, Action.BUY, 5, 0),
        (-3, Side.YES, Action.BUY, 5, 3),
        (3, Side.NO, Action.BUY, 2, 2),
        (3, Side.NO, Action.BUY, 5, 3),
        (5, Side.YES, Action.SELL, 5, 0),
        (1, Side.YES, Action.SELL, 3, -2),
        (-2, Side.YES, Action.SELL, 3, -3),
        (-1, Side.NO, Action.SELL, 3, -2),
    ],
)
def test_pairs_are_netted_and_taken_again(before: int, side: Side, action: Action, qty: int, released: int) -> None:
    assert released_e6(before, side, action, qty) == released


orders = st.tuples(
    st.sampled_from(list(Side)), st.sampled_from(list(Action)), st.integers(1, 500), st.integers(1, 9_999)
)


@given(st.integers(-1_000, 1_000), st.lists(orders, max_size=20))
def test_cash_is_what_the_one_book_on_yes_would_pay(start: int, steps: list[tuple[Side, Action, int, int]]) -> None:
    net = NetPositions()
    net.seed({TICKER: start * 10_000}, 0)
    position = start * 10_000
    for number, (side, action, size, yes_price) in enumerate(steps):
        buys = buys_yes(side, action)
        one = fill(f"f{number}", buys, size * 10_000, number + 1, yes_price)
        (booked,) = net.apply(order(side=side, action=action), [one])
        # the venue's way: a signed position; a short YES is held against a full dollar
        after = position + one.delta_e6
        moved = -yes_price * size if buys else yes_price * size
        collateral = max(0, -after) - max(0, -position)
        assert booked.cash_e6 == moved - collateral - one.fee_e6
        position = after
        assert net.position_e6(TICKER) == position


def test_a_fill_moves_the_position_once() -> None:
    net = NetPositions()
    net.seed({TICKER: -2_000_000}, 0)
    one = fill("a", True, 3_000_000, 1)
    assert net.apply(order(), [one]) == net.apply(order(), [one])
    assert net.position_e6(TICKER) == 1_000_000


@given(st.integers(-50, 50), st.lists(st.tuples(st.booleans(), st.integers(1, 20)), min_size=1, max_size=12))
def test_walking_back_gives_what_walking_forward_gave(start: int, moves: list[tuple[bool, int]]) -> None:
    fills = [fill(f"f{at:02}", buys, qty * 10_000, at) for at, (buys, qty) in enumerate(moves)]
    position, expected, mine = start * 10_000, [], []
    for each in fills:
        if each.buys_yes:
            expected.append(released_e6(position, Side.YES, Action.BUY, each.qty_e6))
            mine.append(each)
        position += each.delta_e6
    net = NetPositions()
    net.seed({TICKER: position}, 1_000)
    net.learn_before(order(), mine, reversed(fills))
    assert [each.released_e6 for each in net.apply(order(), mine)] == expected
    assert net.position_e6(TICKER) == position  # the seed contains them: nothing moves again
