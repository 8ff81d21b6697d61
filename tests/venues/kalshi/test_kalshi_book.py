"""The book equals an independent reference, in both pricing modes, on real and on random frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.fixedpoint import MAX_SIZE_E2
from arbpipe.identity import Side
from arbpipe.venues.frames import FrameError
from arbpipe.venues.kalshi.book import KalshiBook
from arbpipe.venues.kalshi.codec import Delta, Level, Message, RestBook, Snapshot, decode, decode_rest_book
from arbpipe.venues.kalshi.sequence import SequenceTracker, Verdict

YES, NO = Side.YES, Side.NO


class Reference:
    """The plain book: a dict for each side, sorted on demand."""

    def __init__(self) -> None:
        self.sides: dict[Side, dict[int, int]] = {YES: {}, NO: {}}

    def snapshot(self, yes: tuple[Level, ...], no: tuple[Level, ...]) -> None:
        self.sides = {YES: dict(yes), NO: dict(no)}

    def delta(self, side: Side, price_e4: int, delta_e2: int) -> None:
        levels = self.sides[side]
        levels[price_e4] = levels.get(price_e4, 0) + delta_e2
        if levels[price_e4] == 0:
            del levels[price_e4]

    def bids(self, side: Side) -> list[Level]:
        return sorted(self.sides[side].items(), reverse=True)

    def asks(self, side: Side) -> list[Level]:
        return sorted((10_000 - price, size) for price, size in self.sides[side.other].items())


def snapshot(yes: tuple[Level, ...] = (), no: tuple[Level, ...] = (), clock: int | None = None) -> Snapshot:
    return Snapshot(1, 1, "M", yes, no, clock)


def delta(side: Side, price_e4: int, delta_e2: int, clock: int | None = None) -> Delta:
    return Delta(1, 2, "M", price_e4, delta_e2, side, None, clock)


def book(*, use_yes_price: bool = False) -> KalshiBook:
    return KalshiBook("M", use_yes_price=use_yes_price)


def session(recordings: Path) -> Iterator[Message]:
    lines = (recordings / "kalshi" / "ws_session_demo_2026-07-01.jsonl").read_bytes().split(b"\n")
    return (decode(line) for line in lines if line.strip())


def test_the_recorded_session_has_no_gap_never_crosses_and_ends_in_the_reference_book(recordings: Path) -> None:
    tracker = SequenceTracker()
    books: dict[str, KalshiBook] = {}
    references: dict[str, Reference] = defaultdict(Reference)
    verdicts = []
    for message in session(recordings):
        if message.sid == 1:
            verdicts.append(tracker.check(message.sid, message.seq))
        if isinstance(message, Snapshot):
            name = message.market_ticker
            books[name] = KalshiBook(name, use_yes_price=False)
            books[name].apply_snapshot(message)
            references[name].snapshot(message.yes, message.no)
        elif isinstance(message, Delta):
            name = message.market_ticker
            books[name].apply_delta(message)
            references[name].delta(message.side, message.price_e4, message.delta_e2)
            assert min(references[name].sides[message.side].values(), default=1) > 0
        else:
            continue
        assert books[name].valid
        assert not books[name].crossed
    numbered = [verdict for verdict in verdicts if verdict is not Verdict.UNNUMBERED]
    assert numbered == [Verdict.OK] * 2_894
    assert tracker.last(1) == 2_894
    assert len(books) == 5
    for name, one in books.items():
        for side in Side:
            assert one.bids(side, 1_000) == references[name].bids(side)
            assert one.asks(side, 1_000) == references[name].asks(side)


def test_the_recorded_session_reads_the_same_at_yes_prices(recordings: Path) -> None:
    plain: dict[str, KalshiBook] = {}
    mirrored: dict[str, KalshiBook] = {}
    for message in session(recordings):
        if isinstance(message, Snapshot):
            name = message.market_ticker
            plain[name] = KalshiBook(name, use_yes_price=False)
            mirrored[name] = KalshiBook(name, use_yes_price=True)
            plain[name].apply_snapshot(message)
            no = tuple((10_000 - price, size) for price, size in message.no)
            mirrored[name].apply_snapshot(Snapshot(message.sid, message.seq, name, message.yes, no))
        elif isinstance(message, Delta):
            name = message.market_ticker
            price = 10_000 - message.price_e4 if message.side is NO else message.price_e4
            plain[name].apply_delta(message)
            mirrored[name].apply_delta(
                Delta(message.sid, message.seq, name, price, message.delta_e2, message.side, None, None, None)
            )
            assert mirrored[name].asks(YES) == plain[name].asks(YES)
            assert mirrored[name].asks(NO) == plain[name].asks(NO)


def test_recorded_rest_books_are_healthy(recordings: Path) -> None:
    found = sorted((recordings / "pairs" / "snapshot_2026-07-20" / "kalshi").glob("orderbook_*.json"))
    assert len(found) > 20
    for path in found:
        rest = decode_rest_book(path.read_bytes())
        one = KalshiBook(path.stem, use_yes_price=True)
        one.apply_snapshot(rest)
        assert one.valid
        assert not one.crossed
        assert one.asks(YES, 1_000) == sorted((10_000 - price, size) for price, size in rest.no)


def test_a_book_is_not_valid_and_quotes_nothing_until_a_snapshot() -> None:
    one = book()
    one.apply_delta(delta(YES, 5_000, 100))
    assert (one.valid, one.asks(NO), one.bids(YES), one.best_bid(YES), one.crossed) == (False, [], [], None, False)
    one.apply_snapshot(snapshot())
    assert one.valid
    one.apply_delta(delta(YES, 5_000, 100))
    assert (one.best_bid(YES), one.asks(NO)) == ((5_000, 100), [(5_000, 100)])
    one.clear()
    assert (one.valid, one.asks(NO)) == (False, [])


def test_a_level_that_would_go_negative_invalidates_the_book_until_the_next_snapshot() -> None:
    for bad in (delta(YES, 5_000, -101), delta(YES, 4_000, -1)):
        one = book()
        one.apply_snapshot(snapshot(((5_000, 100),), ((4_000, 100),)))
        with pytest.raises(FrameError, match="a frame was lost") as caught:
            one.apply_delta(bad)
        assert (caught.value.kind, caught.value.native_id) == ("level", "M")
        assert (one.valid, one.asks(YES), one.asks(NO)) == (False, [], [])
        one.apply_delta(delta(YES, 5_000, 100))
        assert not one.valid
        one.apply_snapshot(snapshot(((5_000, 100),)))
        assert (one.valid, one.best_bid(YES)) == (True, (5_000, 100))


def test_a_snapshot_with_a_price_twice_is_refused() -> None:
    one = book()
    with pytest.raises(FrameError, match="stands twice"):
        one.apply_snapshot(snapshot(((5_000, 100), (5_000, 200))))
    assert not one.valid


def test_a_frame_of_another_market_is_refused_and_changes_nothing() -> None:
    one = book()
    one.apply_snapshot(snapshot(((5_000, 100),)))
    for apply in (
        partial(one.apply_snapshot, Snapshot(1, 2, "OTHER", (), ())),
        partial(one.apply_delta, Delta(1, 2, "OTHER", 5_000, 1, YES)),
    ):
        with pytest.raises(FrameError, match="OTHER") as caught:
            apply()
        assert caught.value.kind == "ticker"
    assert one.best_bid(YES) == (5_000, 100)


def test_a_clock_that_was_set_back_voids_the_book_until_the_next_snapshot() -> None:
    """Maintenance may set a market's clock back (kalshi.md 2.4): changes that then look old are new."""

    def wrong(levels: dict[int, int], snapshot_clock: int, change: Delta) -> None:
        if change.clock is not None and change.clock > snapshot_clock:  # the snapshot has it already
            levels[change.price_e4] += change.delta_e2

    one = book()
    one.apply_snapshot(snapshot(((5_000, 100),), clock=1_000))
    frozen = {5_000: 100}
    for clock in (7, 8, 9):
        change = delta(YES, 5_000, 100, clock=clock)
        wrong(frozen, 1_000, change)
        if one.valid:
            with pytest.raises(FrameError, match="the clock was set back"):
                one.apply_delta(change)
    assert (one.valid, one.best_bid(YES)) == (False, None)
    assert frozen == {5_000: 100}  # the mistake: three changes later it still shows the book of before
    one.apply_snapshot(snapshot(((5_000, 400),), clock=9))
    one.apply_delta(delta(YES, 5_000, 100, clock=10))
    assert one.best_bid(YES) == (5_000, 500)


def test_changes_without_a_clock_and_those_that_share_one_are_applied() -> None:
    one = book()
    one.apply_snapshot(snapshot(((5_000, 100),), clock=10))
    one.apply_delta(delta(YES, 5_000, 100, clock=11))
    one.apply_delta(delta(YES, 5_000, 100, clock=11))
    one.apply_delta(delta(YES, 5_000, 100))  # without a clock nothing can be compared
    assert one.best_bid(YES) == (5_000, 400)
    one.apply_snapshot(snapshot(((5_000, 100),), clock=0))
    one.apply_delta(delta(YES, 5_000, 100, clock=0))
    assert one.best_bid(YES) == (5_000, 200)


def test_sizes_saturate_but_are_kept_exactly() -> None:
    one = book()
    huge = MAX_SIZE_E2 + 500
    one.apply_snapshot(snapshot(((5_000, huge),)))
    assert (one.asks(NO), one.best_bid(YES)) == ([(5_000, MAX_SIZE_E2)], (5_000, MAX_SIZE_E2))
    one.apply_delta(delta(YES, 5_000, -600))
    assert one.asks(NO) == [(5_000, MAX_SIZE_E2 - 100)]
    one.apply_delta(delta(YES, 5_000, 200 - MAX_SIZE_E2))
    assert one.asks(NO) == [(5_000, 100)]


def test_crossed_means_the_best_bids_add_up_to_a_dollar() -> None:
    one = book()
    one.apply_snapshot(snapshot(((5_000, 100),), ((4_900, 100),)))
    assert not one.crossed
    one.apply_delta(delta(NO, 5_000, 1))
    assert one.crossed
    one.apply_delta(delta(NO, 5_000, -1))
    assert not one.crossed


def test_a_rest_book_is_never_mirrored() -> None:
    for mode in (False, True):
        one = book(use_yes_price=mode)
        one.apply_snapshot(RestBook(((4_700, 300), (100, 900)), ((4_800, 300),)))
        assert one.asks(YES) == [(5_200, 300)]
        assert one.asks(NO) == [(5_300, 300), (9_900, 900)]


prices = st.integers(1, 99).map(lambda cents: cents * 100) | st.integers(1, 9_999)
sides = st.sampled_from([YES, NO])
level_maps = st.dictionaries(prices, st.integers(1, 10**6), max_size=12)


@settings(max_examples=120, deadline=None)
@given(
    start=st.tuples(level_maps, level_maps),
    steps=st.lists(
        st.tuples(sides, prices | st.integers(0, 11).map(lambda n: -n), st.integers(-(10**6), 10**6)), max_size=40
    ),
)
def test_any_sequence_equals_the_reference_in_both_pricing_modes(
    start: tuple[dict[int, int], dict[int, int]], steps: list[tuple[Side, int, int]]
) -> None:
    reference = Reference()
    yes, no = tuple(start[0].items()), tuple(start[1].items())
    reference.snapshot(yes, no)
    plain, mirrored = book(), book(use_yes_price=True)
    plain.apply_snapshot(snapshot(yes, no))
    mirrored.apply_snapshot(snapshot(yes, tuple((10_000 - price, size) for price, size in no)))
    for side, where, change in steps:
        held = reference.bids(side)
        if where > 0:
            price_e4 = where
        elif held:  # a level that stands: change it, or empty it exactly
            price_e4 = held[-where % len(held)][0]
            change = change if change % 2 else -reference.sides[side][price_e4]
        else:
            continue
        sent = (delta(side, price_e4, change), delta(side, 10_000 - price_e4 if side is NO else price_e4, change))
        if reference.sides[side].get(price_e4, 0) + change < 0:
            for one, message in zip((plain, mirrored), sent, strict=True):
                with pytest.raises(FrameError):
                    one.apply_delta(message)
                assert not one.valid
            return
        if change or price_e4 in reference.sides[side]:
            reference.delta(side, price_e4, change)
        for one, message in zip((plain, mirrored), sent, strict=True):
            one.apply_delta(message)
            for of in Side:
                assert one.asks(of, 100) == reference.asks(of)
                assert one.asks(of) == reference.asks(of)[:8]
                assert one.bids(of, 100) == reference.bids(of)
                assert one.best_bid(of) == next(iter(reference.bids(of)), None)
            best = [reference.bids(of)[:1] for of in Side]
            assert one.crossed == (all(best) and best[0][0][0] + best[1][0][0] >= 10_000)


def test_f03_a_level_that_reaches_exactly_zero_is_gone() -> None:
    def wrong(best: int, message: Delta) -> int:
        return max(best, message.price_e4)  # the best price only ratchets

    one = book()
    one.apply_snapshot(snapshot(((4_000, 100), (5_000, 184)), ((4_000, 100),)))
    gone = delta(YES, 5_000, -184)
    one.apply_delta(gone)
    assert one.best_bid(YES) == (4_000, 100)
    assert one.asks(NO) == [(6_000, 100)]
    assert wrong(5_000, gone) == 5_000


def test_f08_an_empty_side_is_no_quote() -> None:
    frame = (
        b'{"type":"orderbook_snapshot","sid":1,"seq":1,"msg":{"market_ticker":"M",'
        b'"yes_dollars_fp":[["0.0000","0.00"]],"no_dollars_fp":[["0.4000","5.00"],["1.0000","0.00"]]}}'
    )

    def wrong(levels: list[tuple[int, int]]) -> int:
        return max(price for price, _ in levels)  # takes the placeholder for a price

    message = decode(frame)
    assert isinstance(message, Snapshot)
    one = book()
    one.apply_snapshot(message)
    assert (one.asks(NO), one.best_bid(YES)) == ([], None)
    assert (one.asks(YES), one.crossed) == ([(6_000, 500)], False)
    assert wrong([(4_000, 500), (10_000, 0)]) == 10_000  # a NO bid of a dollar: YES for nothing
