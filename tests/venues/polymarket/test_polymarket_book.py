"""The book equals an independent reference on random frames, and quotes only what can be taken."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.fixedpoint import MAX_SIZE_E2
from arbpipe.venues.frames import FrameError
from arbpipe.venues.polymarket.book import TokenBook, complement
from arbpipe.venues.polymarket.codec import Book, Change, ChangeSide, TextLevel

BUY, SELL = ChangeSide.BUY, ChangeSide.SELL


def frame(bids: tuple[TextLevel, ...] = (), asks: tuple[TextLevel, ...] = (), asset_id: str = "1") -> Book:
    return Book("0xm", asset_id, "7", "h", bids, asks, "0.01", "0.5")


def change(price: str, size: str, side: ChangeSide = BUY, asset_id: str = "1") -> Change:
    return Change(asset_id, price, size, side, "h")


def book(bids: tuple[TextLevel, ...] = (), asks: tuple[TextLevel, ...] = ()) -> TokenBook:
    one = TokenBook("1")
    one.apply_book(frame(bids, asks))
    return one


def test_a_book_is_not_valid_and_quotes_nothing_until_a_book_frame() -> None:
    one = TokenBook("1")
    one.apply_change(change("0.5", "1"))
    assert (one.valid, one.bids(), one.asks(), one.crossed) == (False, [], [], False)
    one.apply_book(frame())
    assert one.valid
    one.apply_change(change("0.5", "1"))
    assert one.bids() == [(5_000, 100)]
    one.clear()
    assert (one.valid, one.bids(), one.market, one.tick_size, one.last_trade_price) == (False, [], None, None, None)


def test_levels_come_best_first_whatever_their_order() -> None:
    one = book((("0.2", "1"), ("0.4", "2"), ("0.3", "3")), (("0.6", "4"), ("0.9", "5"), ("0.5", "6")))
    assert one.bids() == [(4_000, 200), (3_000, 300), (2_000, 100)]
    assert one.asks(2) == [(5_000, 600), (6_000, 400)]
    assert one.asks(0) == []


def test_a_size_too_small_to_trade_is_kept_for_the_checksum_and_never_quoted() -> None:
    one = book((), (("0.6", "4"), ("0.5", "0.009")))
    assert one.asks() == [(6_000, 400)]
    assert '"0.009"' in one.fragments()[1]
    one.apply_change(change("0.5", "0.019", SELL))
    assert one.asks(1) == [(5_000, 1)]


def test_sizes_are_floored_and_saturate() -> None:
    one = book((("0.4", "2.999"), ("0.3", "99999999999")))
    assert one.bids() == [(4_000, 299), (3_000, MAX_SIZE_E2)]


@pytest.mark.parametrize("size", ["0", "0.00", "0.", ".0"])
def test_every_way_to_write_zero_removes_the_level(size: str) -> None:
    one = book((("0.4", "2"),))
    one.apply_change(change("0.40", size))
    assert (one.bids(), one.fragments()) == ([], ("", ""))
    one.apply_change(change("0.40", size))  # nothing there any more: nothing happens
    assert one.valid


def test_the_newest_text_of_a_level_counts() -> None:
    one = book((("0.4", "2"),))
    one.apply_change(change("0.40", "3"))
    assert one.fragments()[0] == '{"price":"0.40","size":"3"}'


@pytest.mark.parametrize(
    ("price", "size", "kind"),
    [
        ("0.50001", "1", "price"),
        ("1.1", "1", "price"),
        ("-0.1", "1", "price"),
        ("0", "1", "price"),
        ("1", "1", "price"),
        ("", "1", "price"),
        ("5e-1", "1", "price"),
        ("0.5", "-1", "size"),
        ("0.5", "", "size"),
        ("0.5", "1e3", "size"),
        ("0.5", "NaN", "size"),
    ],
)
def test_a_number_out_of_range_is_refused_and_drops_the_levels(price: str, size: str, kind: str) -> None:
    one = book((("0.4", "2"),))
    with pytest.raises(FrameError, match="ask for a fresh book") as caught:
        one.apply_change(change(price, size))
    assert (caught.value.kind, caught.value.native_id) == (kind, "1")
    assert (one.valid, one.bids()) == (False, [])
    with pytest.raises(FrameError):
        one.apply_book(frame(((price, size),)))
    assert not one.valid
    one.apply_book(frame((("0.4", "2"),)))
    assert one.valid


def test_a_price_twice_on_one_side_is_refused() -> None:
    one = TokenBook("1")
    with pytest.raises(FrameError, match="stands twice"):
        one.apply_book(frame((("0.4", "2"), ("0.40", "3"))))
    assert (one.valid, one.bids()) == (False, [])


def test_a_frame_of_another_token_is_refused_and_changes_nothing() -> None:
    one = book((("0.4", "2"),))
    for apply in (
        partial(one.apply_change, change("0.4", "9", asset_id="2")),
        partial(one.apply_book, frame(asset_id="2")),
    ):
        with pytest.raises(FrameError, match="route by asset_id") as caught:
            apply()
        assert (caught.value.kind, caught.value.native_id) == ("asset", "2")
    assert one.bids() == [(4_000, 200)]


def test_what_a_later_book_frame_does_not_carry_stays() -> None:
    one = book()
    one.set_last_trade("0.040")
    one.apply_book(Book("0xm", "1", "8", "h", (), ()))
    assert (one.tick_size, one.last_trade_price) == ("0.01", "0.040")
    terms = one.hash_terms(min_order_size="5", neg_risk=True, version="v2")
    assert terms is not None
    assert (terms.market, terms.tick_size, terms.last_trade_price, terms.version) == ("0xm", "0.01", "0.040", "v2")


def test_without_tick_or_last_trade_there_are_no_hash_terms() -> None:
    for tick, last in ((None, "0.5"), ("0.01", None)):
        one = TokenBook("1")
        assert one.hash_terms(min_order_size="5", neg_risk=True, version="v1") is None
        one.apply_book(Book("0xm", "1", "8", "h", (), (), tick, last))
        assert one.hash_terms(min_order_size="5", neg_risk=True, version="v1") is None


def test_crossed_means_the_best_bid_is_not_below_the_best_ask() -> None:
    one = book((("0.4", "2"),), (("0.41", "2"),))
    assert not one.crossed
    one.apply_change(change("0.41", "0.001"))  # too small to quote, and still impossible
    assert one.crossed
    one.apply_change(change("0.41", "0"))
    assert not one.crossed


def test_bids_of_one_token_are_asks_of_the_other() -> None:
    one = book((("0.4", "2"), ("0.375", "3")))
    assert complement(one.bids()) == [(6_000, 200), (6_250, 300)]
    assert complement(complement(one.bids())) == one.bids()


ticks = st.integers(1, 999).map(lambda n: f"{n / 1000:.3f}".rstrip("0"))
sizes = st.decimals("0.001", 10**6, places=3).map(str) | st.integers(1, 10**9).map(str)


@settings(max_examples=120, deadline=None)
@given(
    start=st.tuples(st.dictionaries(ticks, sizes, max_size=12), st.dictionaries(ticks, sizes, max_size=12)),
    steps=st.lists(st.tuples(st.sampled_from(ChangeSide), ticks, sizes | st.sampled_from(["0", "0.00"])), max_size=40),
)
def test_any_sequence_equals_the_reference(
    start: tuple[dict[str, str], dict[str, str]], steps: list[tuple[ChangeSide, str, str]]
) -> None:
    reference = {BUY: dict(start[0]), SELL: dict(start[1])}
    one = book(tuple(start[0].items()), tuple(start[1].items()))
    for side, price, size in [(BUY, "0.5", "0"), *steps]:
        one.apply_change(change(price, size, side))
        if Decimal(size):
            reference[side][price] = size
        else:
            reference[side].pop(price, None)
        for of, got in ((BUY, one.bids), (SELL, one.asks)):
            levels = sorted(((Decimal(p), s) for p, s in reference[of].items()), reverse=of is BUY)
            floored = [(int(p * 10_000), int((Decimal(s) * 100).to_integral_value(ROUND_FLOOR))) for p, s in levels]
            quotable = [(p, min(s, MAX_SIZE_E2)) for p, s in floored if s]
            assert got(100) == quotable
            assert got() == quotable[:8]
            best_last = ",".join(f'{{"price":"{f"{p:f}"}","size":"{s}"}}' for p, s in reversed(levels))
            assert one.fragments()[0 if of is BUY else 1] == best_last
        touch = [[Decimal(p) for p in reference[of]] for of in ChangeSide]
        assert one.crossed == (all(touch) and max(touch[0]) >= min(touch[1]))


def test_f03_a_level_of_size_zero_is_gone() -> None:
    def wrong(best: str, message: Change) -> str:
        return max(best, message.price)  # the best price only ratchets

    one = book((("0.40", "2"), ("0.50", "3")))
    gone = change("0.50", "0")
    one.apply_change(gone)
    assert one.bids() == [(4_000, 200)]
    assert wrong("0.50", gone) == "0.50"


def test_f07_prices_keep_all_their_decimals() -> None:
    def wrong(price: str) -> int:
        return round(float(price) * 100) * 100

    one = book((), (("0.504", "5"), ("0.5025", "5")))
    assert one.asks() == [(5_025, 500), (5_040, 500)]
    assert [wrong("0.504"), wrong("0.5025")] == [5_000, 5_000]


def test_f08_the_placeholder_of_an_empty_side_is_no_quote() -> None:
    def wrong(message: Change) -> tuple[str | None, str | None]:
        return message.best_bid, message.best_ask

    one = book((("0.4", "2"),))
    last = Change("1", "0.4", "0", BUY, "h", "0", "1")
    one.apply_change(last)
    one.apply_book(frame((("0", "0"),), (("1", "0"),)))
    assert (one.bids(), one.asks(), one.crossed) == ([], [], False)
    assert wrong(last) == ("0", "1")  # reads as a bid of nothing and an ask of a dollar


def test_f12_sizes_are_shares_of_any_magnitude() -> None:
    def wrong(price: str, size: str) -> int:
        return min(int(float(price) * float(size) * 100), 65_535)  # dollars, and in 16 bits

    one = book((("0.001", "21006065"),))
    assert one.bids() == [(10, 2_100_606_500)]
    assert wrong("0.001", "21006065") == 65_535
