"""The paper venue's books: each order once, each quote once, the fees of the model, and Kalshi's netting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from execution_bench import CASH, FREE, KALSHI_FEE, POLYMARKET_FEE, listing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbpipe.feemodel import FeeTerms, cost_e6, proceeds_e6
from arbpipe.identity import Side, Venue
from arbpipe.venues.base import Action, Order, OutcomeState, Position
from arbpipe.venues.paper.account import PaperAccount

K, P = listing("K"), listing("P", Venue.POLYMARKET)
ASKS = [(4_000, 500), (4_200, 700)]


@pytest.fixture
def account(tmp_path: Path) -> Iterator[PaperAccount]:
    made = PaperAccount(tmp_path / "venue.sqlite", CASH)
    yield made
    made.close()


_count = iter(range(10**9))


def order(
    size: int,
    price: int = 4_200,
    *,
    on: object = None,
    side: Side = Side.YES,
    action: Action = Action.BUY,
    name: str = "",
) -> Order:
    each = K if on is None else on
    assert isinstance(each, type(K))
    return Order(name or f"o-{next(_count)}", each.venue, each.uid, each.native_id, side, action, size, price)


def taken(
    account: PaperAccount, one: Order, levels: list[tuple[int, int]], fee: FeeTerms = FREE
) -> list[tuple[int, int]]:
    fills = account.execute(one, levels, fee, one.size_e2).fills
    return [(fill.price_e4, fill.qty_e6 // 10_000) for fill in fills]


def test_an_order_is_executed_once_whatever_is_sent_again(account: PaperAccount, tmp_path: Path) -> None:
    one = order(800)
    first = account.execute(one, ASKS, FREE, 800)
    cash, positions = account.cash_e6(Venue.KALSHI), account.positions(Venue.KALSHI)
    assert account.execute(one, [(1, 10_000)], FREE, 800) == first == account.outcome(one.client_id)
    assert account.reject(one, "late") == first
    again = PaperAccount(tmp_path / "venue.sqlite", {Venue.KALSHI: 1})  # another process; the cash is what it was
    assert again.execute(one, ASKS, FREE, 800) == first
    assert (again.cash_e6(Venue.KALSHI), again.positions(Venue.KALSHI)) == (cash, positions)
    again.close()


def test_levels_are_hit_best_first_inside_the_limit(account: PaperAccount) -> None:
    outcome = account.execute(order(800), ASKS, FREE, 800)
    assert outcome.state is OutcomeState.FILLED
    assert [(fill.price_e4, fill.qty_e6) for fill in outcome.fills] == [(4_000, 5_000_000), (4_200, 3_000_000)]
    assert account.execute(order(800, 4_100), [(4_150, 900)], FREE, 800).state is OutcomeState.NONE
    assert account.execute(order(800), [(4_150, 300)], FREE, 800).state is OutcomeState.PARTIAL


def test_a_quote_taken_once_is_not_there_again_until_the_venue_shows_something_new(account: PaperAccount) -> None:
    book = [(4_000, 500)]
    assert taken(account, order(300), book) == [(4_000, 300)]
    assert taken(account, order(300), book) == [(4_000, 200)]
    assert taken(account, order(300), book) == []
    assert taken(account, order(300), [(4_000, 650)]) == [(4_000, 150)]  # somebody added
    assert taken(account, order(300), [(3_900, 10)]) == [(3_900, 10)]  # the old level vanished
    assert taken(account, order(300), book) == [(4_000, 300)]  # and came back


def test_selling_one_side_takes_the_quote_of_buying_the_other(account: PaperAccount) -> None:
    taken(account, order(900, on=P), ASKS)
    # bids of YES at 60 cents are asks of NO at 40
    assert taken(account, order(300, 6_000, on=P, action=Action.SELL), [(6_000, 500)]) == [(6_000, 300)]
    assert taken(account, order(400, 4_000, on=P, side=Side.NO), [(4_000, 500)]) == [(4_000, 200)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(1, 9_999), st.integers(1, 900)), min_size=1, max_size=4, unique_by=lambda e: e[0]),
    st.sampled_from((FREE, KALSHI_FEE, POLYMARKET_FEE)),
    st.integers(1, 2_000),
)
def test_the_cash_of_an_order_is_the_models_over_all_its_fills(
    account: PaperAccount, levels: list[tuple[int, int]], fee: FeeTerms, size: int
) -> None:
    each = listing(f"P{next(_count)}", Venue.POLYMARKET)
    before = account.cash_e6(Venue.POLYMARKET)
    bought = account.execute(order(size, 9_999, on=each), sorted(levels), fee, size)
    fills = [(fill.price_e4, fill.qty_e6 // 10_000) for fill in bought.fills]
    assert -sum(fill.cash_e6 for fill in bought.fills) == cost_e6(fee, fills)
    middle = account.cash_e6(Venue.POLYMARKET)
    assert middle == before - cost_e6(fee, fills)
    held = account.held_e6(Venue.POLYMARKET, each.uid, Side.YES) // 10_000
    bids = sorted(((10_000 - price, amount) for price, amount in levels), reverse=True)
    sold = account.execute(order(held, 1, on=each, action=Action.SELL), bids, fee, held)
    back = [(fill.price_e4, fill.qty_e6 // 10_000) for fill in sold.fills]
    assert account.cash_e6(Venue.POLYMARKET) == middle + proceeds_e6(fee, back)
    assert [fill.fee_e6 >= 0 for fill in sold.fills] == [True] * len(back)


def test_kalshi_nets_yes_and_no_at_a_dollar_a_pair(account: PaperAccount) -> None:
    taken(account, order(500, 4_000), [(4_000, 500)])
    outcome = account.execute(order(800, 5_500, side=Side.NO), [(5_500, 800)], FREE, 800)
    assert [(fill.cash_e6, fill.released_e6) for fill in outcome.fills] == [(5_000_000 - 4_400_000, 5_000_000)]
    assert account.positions(Venue.KALSHI) == (Position(K.uid, 0, 3_000_000),)
    assert account.cash_e6(Venue.KALSHI) == CASH[Venue.KALSHI] - 2_000_000 + 600_000


def test_selling_what_was_netted_is_buying_the_other_side(account: PaperAccount) -> None:
    outcome = account.execute(order(300, 4_000, action=Action.SELL), [(4_000, 300)], FREE, 300)
    assert [(fill.cash_e6, fill.released_e6) for fill in outcome.fills] == [(1_200_000 - 3_000_000, -3_000_000)]
    assert account.positions(Venue.KALSHI) == (Position(K.uid, 0, 3_000_000),)


def test_polymarket_keeps_both_sides(account: PaperAccount) -> None:
    taken(account, order(500, 4_000, on=P), [(4_000, 500)])
    taken(account, order(500, 5_500, on=P, side=Side.NO), [(5_500, 500)])
    assert account.positions(Venue.POLYMARKET) == (Position(P.uid, 5_000_000, 5_000_000),)
