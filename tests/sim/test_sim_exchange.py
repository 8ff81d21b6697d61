"""The matching engine: nothing is made or lost, the better and the older trade first, FOK is all or nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.sim.exchange import Book, End, LevelChange, Match, Order, SelfTrade, Tif

LOT = 10_000


def order(name: str, buys_yes: bool, price: int, qty: int, tif: Tif = Tif.GTC, **more: object) -> Order:
    account = str(more.pop("account", name))
    return Order(name, account, buys_yes, price, qty, tif, **more)  # type: ignore[arg-type]


Quote = tuple[bool, int, int]
quotes = st.tuples(st.booleans(), st.integers(1, 9).map(lambda p: p * 1_000), st.integers(0, 20).map(lambda q: q * LOT))
orders = st.tuples(
    st.booleans(),
    st.integers(1, 9).map(lambda p: p * 1_000),
    st.integers(1, 30).map(lambda q: q * LOT),
    st.sampled_from(Tif),
    st.sampled_from(["ann", "bob", "eve"]),
    st.sampled_from(SelfTrade),
)
cancels = st.integers(0, 40)
actions = st.lists(st.one_of(quotes, orders, cancels), max_size=60)


class Mirror:
    """A client that only reads level changes."""

    def __init__(self) -> None:
        self.levels: dict[tuple[bool, int], int] = {}

    def __call__(self, change: LevelChange) -> None:
        key = (change.buys_yes, change.price_e4)
        assert change.delta_e6 != 0
        assert self.levels.get(key, 0) + change.delta_e6 == change.qty_e6
        self.levels[key] = change.qty_e6

    def shown(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        live = [(side, price, qty) for (side, price), qty in self.levels.items() if qty]
        bids = sorted(((price, qty) for side, price, qty in live if side), reverse=True)
        return bids, sorted((price, qty) for side, price, qty in live if not side)


def crossing(book: Book, buys_yes: bool, limit: int) -> list[tuple[int, int]]:
    """The levels that an order could take, best first."""
    bids, asks = book.levels()
    if buys_yes:
        return [(price, qty) for price, qty in asks if price <= limit]
    return [(price, qty) for price, qty in bids if price >= limit]


def check_prices(matches: Sequence[Match], buys_yes: bool, limit: int) -> None:
    prices = [match.price_e4 for match in matches]
    assert prices == sorted(prices, reverse=not buys_yes), "a worse price traded before a better one"
    assert all(price <= limit if buys_yes else price >= limit for price in prices)


@settings(max_examples=200, deadline=None)
@given(actions)
def test_any_sequence_conserves_quantity_respects_price_and_never_leaves_a_crossed_book(
    sequence: list[Quote | tuple[bool, int, int, Tif, str, SelfTrade] | int],
) -> None:
    mirror = Mirror()
    book = Book("M", on_level=mirror)
    names: list[str] = []
    for action in sequence:
        before = book.levels()
        if isinstance(action, int):
            if action < len(names):
                left = sum(r.left_e6 for a in ("ann", "bob", "eve") for r in book.open_orders(a))
                removed = book.cancel(names[action])
                after = sum(r.left_e6 for a in ("ann", "bob", "eve") for r in book.open_orders(a))
                assert left - after == (removed or 0)
        elif len(action) == 3:
            buys_yes, price, qty = action
            own = book.quotes(not buys_yes)
            if qty and any(price >= p if buys_yes else price <= p for p in own):
                with pytest.raises(ValueError, match="crosses the maker's own"):
                    book.set_quote(buys_yes, price, qty)
                continue
            check_prices(book.set_quote(buys_yes, price, qty), buys_yes, price)
        else:
            buys_yes, price, qty, tif, account, self_trade = action
            names.append(f"o{len(names)}")
            done = book.execute(Order(names[-1], account, buys_yes, price, qty, tif, self_trade=self_trade))
            check_prices(done.matches, buys_yes, price)
            assert done.filled_e6 + done.left_e6 == qty
            taken = sum(q for _, q in crossing_of(before, buys_yes, price))
            gone = sum(r.left_e6 for r in done.cancelled)
            left = sum(q for _, q in crossing(book, buys_yes, price))
            assert taken == done.filled_e6 + gone + left, "the other side lost other than what traded"
            if tif is Tif.FOK:
                assert done.filled_e6 in (0, qty)
                if done.end is End.KILLED:
                    assert book.levels() == before, "a killed order changed the book"
            if done.end is End.RESTING:
                mine = [r for r in book.open_orders(account) if r.order.order_id == names[-1]]
                assert [r.left_e6 for r in mine] == [done.left_e6]
        bids, asks = book.levels()
        assert not bids or not asks or bids[0][0] < asks[0][0], "the book is crossed"
        assert all(qty > 0 for _, qty in bids + asks)
        assert mirror.shown() == (bids, asks), "a client that follows the changes sees another book"


def crossing_of(
    levels: tuple[list[tuple[int, int]], list[tuple[int, int]]], buys_yes: bool, limit: int
) -> list[tuple[int, int]]:
    bids, asks = levels
    if buys_yes:
        return [(price, qty) for price, qty in asks if price <= limit]
    return [(price, qty) for price, qty in bids if price >= limit]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 60))
def test_at_one_price_the_older_order_is_filled_before_the_younger_and_the_quote_last(
    sizes: list[int], wanted: int
) -> None:
    book = Book("M")
    book.set_quote(False, 5_000, 5 * LOT)
    for number, size in enumerate(sizes):
        book.submit(order(f"o{number}", False, 5_000, size * LOT))
    matches = book.submit(order("taker", True, 5_000, wanted * LOT, Tif.IOC))
    expected: list[tuple[str | None, int]] = []
    left = wanted
    for name, size in [*((f"o{n}", s) for n, s in enumerate(sizes)), (None, 5)]:
        if left:
            expected.append((name, min(left, size) * LOT))
            left -= min(left, size)
    assert [(match.maker_order_id, match.qty_e6) for match in matches] == expected


def test_a_taken_quote_stays_taken_until_the_maker_says_another_size() -> None:
    book = Book("M")
    book.set_quote(False, 5_200, 10 * LOT)
    book.submit(order("a", True, 5_200, 10 * LOT, Tif.IOC))
    assert book.levels() == ([], [])
    book.set_quote(False, 5_200, 10 * LOT)
    assert book.levels() == ([], []), "the same size again refilled a taken quote"
    book.set_quote(False, 5_200, 11 * LOT)
    assert book.levels() == ([], [(5_200, 11 * LOT)])


def test_withdrawing_a_taken_quote_lets_the_same_size_come_back() -> None:
    book = Book("M")
    book.set_quote(False, 5_200, 10 * LOT)
    book.submit(order("a", True, 5_200, 4 * LOT, Tif.IOC))
    book.set_quote(False, 5_200, 0)
    book.set_quote(False, 5_200, 10 * LOT)
    assert book.levels() == ([], [(5_200, 10 * LOT)])


def test_fok_fills_over_several_levels_or_not_at_all() -> None:
    book = Book("M")
    book.set_quote(False, 5_000, 3 * LOT)
    book.set_quote(False, 5_100, 3 * LOT)
    killed = book.execute(order("a", True, 5_100, 7 * LOT, Tif.FOK))
    assert (killed.end, killed.matches) == (End.KILLED, ())
    filled = book.execute(order("b", True, 5_100, 6 * LOT, Tif.FOK))
    assert filled.end is End.FILLED
    assert [(match.price_e4, match.qty_e6) for match in filled.matches] == [(5_000, 3 * LOT), (5_100, 3 * LOT)]


def test_a_budget_buys_whole_lots_and_never_costs_more() -> None:
    book = Book("M")
    book.set_quote(False, 3_000, 2_000_000)
    book.set_quote(False, 7_000, 9_000_000)
    done = book.execute(order("a", True, 9_000, 10**9, Tif.FOK, max_cash_e6=1_000_000, lot_e6=LOT))
    spent = sum(match.price_e4 * match.qty_e6 for match in done.matches)
    # 2 contracts at 0.30, then 0.40 dollar buys 0.57 contracts at 0.70
    assert [match.qty_e6 for match in done.matches] == [2_000_000, 570_000]
    assert spent <= 1_000_000 * 10_000
    assert done.end is End.FILLED


def test_a_budget_for_no_counts_the_price_of_no() -> None:
    book = Book("M")
    book.set_quote(True, 6_000, 9_000_000)
    done = book.execute(order("a", False, 1_000, 10**9, Tif.IOC, max_cash_e6=1_000_000, lot_e6=LOT))
    assert done.filled_e6 == 2_500_000


def test_a_budget_that_the_book_cannot_absorb_kills_fok_and_partly_fills_ioc() -> None:
    book = Book("M")
    book.set_quote(False, 5_000, 1_000_000)
    assert book.execute(order("a", True, 9_000, 10**9, Tif.FOK, max_cash_e6=600_000)).end is End.KILLED
    assert book.execute(order("b", True, 9_000, 10**9, Tif.IOC, max_cash_e6=600_000)).end is End.CANCELLED


def test_self_trade_prevention_ends_the_taker_or_removes_the_maker() -> None:
    for prevention, end, bids in (
        (SelfTrade.TAKER, End.SELF_TRADE, [(5_000, LOT), (4_900, LOT)]),
        (SelfTrade.MAKER, End.FILLED, []),
    ):
        book = Book("M")
        book.set_quote(True, 4_900, LOT)
        book.submit(order("own", True, 5_000, LOT, account="ann"))
        done = book.execute(order("x", False, 4_900, LOT, Tif.IOC, account="ann", self_trade=prevention))
        assert done.end is end
        assert book.levels()[0] == bids


def test_what_a_self_trade_had_taken_before_stands() -> None:
    book = Book("M")
    book.set_quote(True, 5_100, LOT)
    book.submit(order("own", True, 5_000, LOT, account="ann"))
    done = book.execute(order("x", False, 4_900, 3 * LOT, account="ann"))
    assert (done.end, done.filled_e6, done.left_e6) == (End.SELF_TRADE, LOT, 2 * LOT)
    assert book.open_orders("ann")[0].order.order_id == "own"


def test_a_post_only_order_rests_or_does_nothing() -> None:
    book = Book("M")
    book.set_quote(False, 5_000, LOT)
    assert book.execute(order("a", True, 5_000, LOT, post_only=True)).end is End.POST_ONLY
    assert book.levels() == ([], [(5_000, LOT)])
    assert book.execute(order("b", True, 4_900, LOT, post_only=True)).end is End.RESTING


def test_a_quote_that_crosses_a_resting_order_trades_at_the_orders_price() -> None:
    matched: list[Match] = []
    book = Book("M", on_match=matched.append)
    book.submit(order("mine", False, 5_000, 4 * LOT))
    book.set_quote(True, 5_200, 10 * LOT)
    assert [(m.maker_order_id, m.taker_order_id, m.price_e4, m.qty_e6) for m in matched] == [
        ("mine", None, 5_000, 4 * LOT)
    ]
    assert book.levels() == ([(5_200, 6 * LOT)], [])


def test_all_changes_of_one_action_share_its_number() -> None:
    seen: list[LevelChange] = []
    book = Book("M", on_level=seen.append)
    book.set_quote(False, 5_000, LOT)
    book.set_quote(False, 5_100, LOT)
    seen.clear()
    book.submit(order("a", True, 5_100, 3 * LOT))
    assert [(c.buys_yes, c.price_e4, c.delta_e6) for c in seen] == [
        (True, 5_100, LOT),
        (False, 5_000, -LOT),
        (False, 5_100, -LOT),
    ]
    assert len({change.action for change in seen}) == 1
    assert {change.order_id for change in seen} == {"a"}


def test_reducing_an_order_keeps_its_place() -> None:
    book = Book("M")
    book.submit(order("old", True, 5_000, 4 * LOT))
    book.submit(order("new", True, 5_000, 4 * LOT))
    assert book.reduce("old", 3 * LOT) == LOT
    assert book.submit(order("t", False, 5_000, LOT, Tif.IOC))[0].maker_order_id == "old"
    assert book.reduce("old", LOT) is None
    with pytest.raises(ValueError, match="cancel the order"):
        book.reduce("new", 4 * LOT)


def test_an_order_id_is_used_once() -> None:
    book = Book("M")
    book.submit(order("a", True, 5_000, LOT))
    with pytest.raises(ValueError, match="used before"):
        book.submit(order("a", True, 5_000, LOT))
    assert book.cancel("a") == LOT
    assert book.cancel("a") is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price_e4": 0}, "price 0"),
        ({"price_e4": 10_000}, "price 10000"),
        ({"qty_e6": 0}, "quantity 0"),
        ({"max_cash_e6": 5}, "budget"),
        ({"tif": Tif.IOC, "post_only": True}, "post_only needs GTC"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(change: dict[str, object], reason: str) -> None:
    values: dict[str, object] = {"price_e4": 5_000, "qty_e6": LOT, "tif": Tif.GTC, **change}
    with pytest.raises(ValueError, match=reason):
        Order("a", "ann", True, **values)  # type: ignore[arg-type]
