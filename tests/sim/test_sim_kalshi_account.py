"""The account under random orders and a moving market: the cash is the sum of the fills, and nothing is overdrawn."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.sim.exchange import Book, SelfTrade, Tif
from arbpipe.sim.kalshi_account import Account, Observer, moved
from arbpipe.sim.kalshi_catalog import Catalog
from arbpipe.sim.kalshi_errors import Refusal
from arbpipe.sim.kalshi_orders import OrderRequest
from arbpipe.sim.kalshi_store import Position, Status, Store
from arbpipe.sim.listing import Venue
from arbpipe.sim.market import World

START_E6 = 60_000_000
NOW_US = 1_793_534_400_000_000

orders = st.tuples(
    st.booleans(),
    st.integers(30, 70).map(lambda cents: cents * 100),
    st.integers(1, 3_000),
    st.sampled_from(Tif),
    st.sampled_from([SelfTrade.TAKER, SelfTrade.MAKER]),
    st.booleans(),
)
#: The market maker moves: its new middle price, off whole cents too.
moves = st.integers(320, 680).map(lambda tenths: tenths * 10)
cancels = st.integers(0, 9)
actions = st.lists(st.one_of(orders, orders, moves, cancels), min_size=15, max_size=40)


def requote(book: Book, middle_e4: int) -> None:
    """Three levels on each side around a middle price."""
    for buys_yes in (True, False):
        for price in book.quotes(buys_yes):
            book.set_quote(buys_yes, price, 0)
    for step in (1, 2, 3):
        book.set_quote(True, middle_e4 - 70 * step, 7_130_000 * step)
        book.set_quote(False, middle_e4 + 70 * step, 9_050_000 * step)


@settings(max_examples=60, deadline=None)
@given(actions)
def test_cash_is_the_sum_of_the_fills_and_is_never_overdrawn(
    sequence: list[tuple[bool, int, int, Tif, SelfTrade, bool] | int],
) -> None:
    world = World(seed=1, events=1, seconds=2, venue=Venue.KALSHI)
    catalog = Catalog(world.events, world.books, NOW_US * 1_000)
    store = Store(Path(":memory:"), START_E6)
    account = Account(store, catalog, Observer(), lambda: NOW_US)
    tickers = list(catalog.markets)
    (ticker,) = tickers
    requote(catalog.book(ticker), 5_000)
    for number, action in enumerate(sequence):
        if isinstance(action, int) and action > 9:
            requote(catalog.book(ticker), action)
        elif isinstance(action, int):
            resting = store.orders(Status.RESTING)
            if action < len(resting):
                assert account.cancel(resting[action].order_id).reduced_e2 == resting[action].left_e2
        else:
            buys_yes, price, count_e2, tif, self_trade, reduce = action
            only_closes = reduce and tif is Tif.IOC
            name = f"c{number}"
            request = OrderRequest(ticker, buys_yes, count_e2, price, tif, self_trade, name, None, False, only_closes)
            with contextlib.suppress(Refusal):
                account.create(request)
        cash_e6 = store.cash()[0]
        fills = store.fills()
        assert cash_e6 == START_E6 + sum(fill.cash_e6 for fill in fills)
        assert cash_e6 % 100 == 0
        # a maker's fill off the grid costs up to a grid step that no resting order holds back
        assert account.available_e6() >= -100 * sum(not fill.is_taker for fill in fills)
        for ticker in tickers:
            signed = sum(f.count_e2 if f.buys_yes else -f.count_e2 for f in fills if f.ticker == ticker)
            assert store.position(ticker).position_e2 == signed
            resting_e2 = sum(o.left_e2 for o in store.orders(Status.RESTING) if o.ticker == ticker)
            shown = catalog.book(ticker).open_orders("account")
            assert sum(r.left_e6 for r in shown) == resting_e2 * 10_000
        for order in store.orders():
            assert order.filled_e2 == sum(f.count_e2 for f in fills if f.order_id == order.order_id)
            fees_e6 = sum(f.fee_e6 for f in fills if f.order_id == order.order_id)
            assert order.taker_fees_e6 + order.maker_fees_e6 == fees_e6
    store.close()


def test_closing_realizes_the_difference_to_the_average_cost() -> None:
    held = moved(Position("T"), True, 4_000, 300, 0, 1)
    held = moved(held, True, 6_000, 100, 0, 2)
    assert (held.position_e2, held.cost_e6) == (400, 1_800_000)
    # sells 2 at 0.70: buys 2 NO at 0.30; average cost 0.45
    held = moved(held, False, 3_000, 200, 0, 3)
    assert (held.position_e2, held.cost_e6, held.realized_e6) == (200, 900_000, 500_000)
    flipped = moved(held, False, 3_000, 300, 0, 4)
    assert (flipped.position_e2, flipped.cost_e6, flipped.realized_e6) == (-100, 300_000, 1_000_000)


def spend_and_fail(store: Store) -> None:
    """A transaction that moves cash and then breaks a rule of the database."""
    with store.transaction():
        store.add_cash(-7, 2)
        store._db.execute("INSERT INTO cash VALUES (1, 0, 0)")


def test_a_store_keeps_what_was_committed_and_forgets_what_was_not(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite", START_E6)
    with store.transaction():
        store.add_cash(-5, 1)
        assert store.burn("one")
    with pytest.raises(sqlite3.IntegrityError):
        spend_and_fail(store)
    # no close: as after a kill
    again = Store(tmp_path / "a.sqlite", 1)
    assert again.cash() == (START_E6 - 5, 1)
    assert again.is_burned("one")
    with again.transaction():
        assert not again.burn("one")
    again.close()
    store.close()


def test_a_file_that_is_no_account_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        Store(path, START_E6)
