"""What both feeds do after they applied a frame: one publish, one cost, one change, and a clean hand-over."""

from __future__ import annotations

from array import array

import pytest
from feed_bench import Bench, kalshi, toml
from hypothesis import given
from hypothesis import strategies as st

from arbpipe.feemodel import FeeTerms
from arbpipe.shm.generation import Listing
from arbpipe.shm.layout import NO_QUOTE, Stage
from arbpipe.shm.row import Quotes, RowFlag
from arbpipe.shm.stats import Counter, ErrorCode, merged_histogram
from arbpipe.shm.tables import ConnectionState, QuarantineReason
from arbpipe.venues.publisher import CrossWatch, LagMeter, Publisher

ASKS = ((4_500, 2_000), (4_600, 100))


@pytest.fixture
def listing(kalshi_bench: Bench) -> Listing:
    return kalshi_bench.generation(toml(kalshi("A"))).listings[0]


def put(
    publisher: Publisher, listing: Listing, *, yes: Quotes = ASKS, flags: RowFlag = RowFlag.NONE, epoch: int = 1
) -> int:
    return publisher.publish(
        listing,
        0,
        epoch,
        flags=flags,
        venue_ms=3,
        recv_ns=4,
        tick_e4=100,
        yes_asks=yes,
        no_asks=((6_000, 1_000),),
    )


def test_one_publish_is_one_row_one_cost_one_change_and_one_latency(kalshi_bench: Bench, listing: Listing) -> None:
    assert put(kalshi_bench.publisher, listing) == 1
    row = kalshi_bench.row(listing.slot)
    assert (row.uid, row.epoch, row.venue_ms, row.recv_ns, row.tick_e4) == (listing.uid, 1, 3, 4, 100)
    assert (row.yes_asks, row.no_asks) == (ASKS, ((6_000, 1_000),))
    assert kalshi_bench.cost(listing.slot) == (467_325, 616_800)
    assert kalshi_bench.changes() == ([listing.slot], 1)
    assert merged_histogram(kalshi_bench.segment, Stage.FRAME_TO_ROW)["count"] == 1
    assert kalshi_bench.rows.verified(listing.slot) == 0  # nobody checked it


def test_a_row_that_says_the_same_is_not_published_again(kalshi_bench: Bench, listing: Listing) -> None:
    publisher = kalshi_bench.publisher
    assert [put(publisher, listing) for _ in range(3)] == [1, 1, 1]
    assert kalshi_bench.get(Counter.PUBLISHED) == 1
    assert put(publisher, listing, epoch=2) == 2
    assert put(publisher, listing, epoch=2, yes=ASKS[:1]) == 3
    assert put(publisher, listing._replace(fee=FeeTerms(80_000, 1, 1, 100)), epoch=2) == 4


def test_what_was_checked_before_is_verified_as_it_is_published(kalshi_bench: Bench, listing: Listing) -> None:
    publisher, stamps = kalshi_bench.publisher, {"venue_ms": 3, "recv_ns": 4, "tick_e4": 100}
    for epoch in (1, 2):
        publisher.publish(
            listing, 0, epoch, flags=RowFlag.NONE, yes_asks=ASKS, no_asks=(), verified=epoch == 2, **stamps
        )
        assert kalshi_bench.verified(listing.slot) == (epoch == 2)


def test_levels_as_a_books_words_make_the_same_row(kalshi_bench: Bench, listing: Listing) -> None:
    assert put(kalshi_bench.publisher, listing) == 1
    words = array("q", [price | size << 32 for price, size in ASKS])
    assert put(kalshi_bench.publisher, listing, yes=words) == 1
    words.append(4_700 | 5 << 32)
    assert put(kalshi_bench.publisher, listing, yes=words) == 2
    assert kalshi_bench.row(listing.slot).yes_asks == (*ASKS, (4_700, 5))


def test_a_generation_that_lists_an_instrument_as_before_is_no_news(kalshi_bench: Bench) -> None:
    for _ in range(3):
        listing = kalshi_bench.generation(toml(kalshi("A"))).listings[0]
        assert put(kalshi_bench.publisher, listing) == 1
    listing = kalshi_bench.generation(toml(kalshi("A", min_size="21"))).listings[0]
    assert put(kalshi_bench.publisher, listing) == 2  # its cost is another
    # another instrument in the slot: whatever it quotes is news
    listing = kalshi_bench.generation(toml(kalshi("B", min_size="21"))).listings[0]
    assert put(kalshi_bench.publisher, listing) == 3
    assert kalshi_bench.row(listing.slot).uid == listing.uid


def test_a_frame_that_was_heard_counts_and_confirms_its_connection(kalshi_bench: Bench) -> None:
    publisher, other = kalshi_bench.publisher, kalshi_bench.segment.fields("connections", 2)
    line_at = kalshi_bench.connections.line_at(publisher.connection(1))
    publisher.heard(line_at, 70, 5, 9, 2)
    publisher.heard(line_at, 80, 6, 10, 2)
    line = kalshi_bench.segment.fields("connections", kalshi_bench.first_connection + 1)
    names = ("confirmed_ns", "lag_ms", "last_frame_ns", "frames", "gaps", "reconnects")
    assert [line[name] for name in names] == [80, 6, 80, 10, 2, 0]
    assert [kalshi_bench.get(one) for one in (Counter.FRAMES, Counter.SEQUENCED, Counter.GAPS)] == [2, 2, 0]
    assert kalshi_bench.segment.fields("connections", 2) == other


def test_another_minimum_size_is_another_first_look(kalshi_bench: Bench, listing: Listing) -> None:
    put(kalshi_bench.publisher, listing)
    put(kalshi_bench.publisher, listing._replace(min_size_e2=2_100))
    # 20 at 0.45 and one at 0.46, each with its fee
    assert kalshi_bench.cost(listing.slot) == (467_804, NO_QUOTE)


@pytest.mark.parametrize("flag", [flag for flag in RowFlag if flag])
def test_a_flagged_row_has_no_level_and_no_cost(kalshi_bench: Bench, listing: Listing, flag: RowFlag) -> None:
    put(kalshi_bench.publisher, listing)
    put(kalshi_bench.publisher, listing, flags=flag)
    row = kalshi_bench.row(listing.slot)
    assert (row.flags, row.yes_asks, row.no_asks) == (flag, (), ())
    assert kalshi_bench.cost(listing.slot) == (NO_QUOTE, NO_QUOTE)
    assert put(kalshi_bench.publisher, listing, flags=flag, yes=ASKS[:1]) == 2  # what is hidden is no news
    assert kalshi_bench.changes()[0] == [listing.slot] * 2


def test_what_may_not_trade_is_no_quote_whatever_its_book(kalshi_bench: Bench, listing: Listing) -> None:
    publisher = kalshi_bench.publisher
    put(publisher, listing._replace(tradeable=False))
    assert kalshi_bench.flags(listing.slot) == RowFlag.NOT_TRADEABLE
    for change in ({"fee": None, "tradeable": False}, {"fee": None}, {"min_size_e2": 0}):
        put(publisher, listing)
        assert kalshi_bench.cost(listing.slot) != (NO_QUOTE, NO_QUOTE)
        put(publisher, listing._replace(**change))
        assert kalshi_bench.cost(listing.slot) == (NO_QUOTE, NO_QUOTE)


def test_a_forgotten_instrument_leaves_no_price_and_no_quarantine(kalshi_bench: Bench, listing: Listing) -> None:
    publisher = kalshi_bench.publisher
    put(publisher, listing)
    publisher.quarantine(listing.slot, QuarantineReason.CROSSED)
    publisher.forget(listing)
    assert kalshi_bench.flags(listing.slot) == RowFlag.NOT_TRADEABLE
    assert kalshi_bench.row(listing.slot).yes_asks == ()
    assert kalshi_bench.cost(listing.slot) == (NO_QUOTE, NO_QUOTE)
    assert kalshi_bench.quarantine(listing.slot) is QuarantineReason.NONE
    assert put(publisher, listing) == 3  # the same book is news again


def test_a_muted_publisher_writes_nothing(kalshi_bench: Bench, listing: Listing) -> None:
    publisher = kalshi_bench.publisher
    publisher.muted = True
    assert put(publisher, listing) == 0
    publisher.verified(listing.slot, 1)
    publisher.confirm_row(listing.slot, 5)
    publisher.opened(0, 5)
    assert kalshi_bench.rows.read(listing.slot) is None
    assert kalshi_bench.rows.verified(listing.slot) == 0
    assert kalshi_bench.changes() == ([], 0)
    assert kalshi_bench.rows.confirmed_ns(listing.slot) == 0
    assert kalshi_bench.connections.state(0) is ConnectionState.DOWN
    publisher.muted = False
    assert put(publisher, listing) == 1


def test_a_new_owner_voids_everything_and_keeps_versions_and_heads(kalshi_bench: Bench, listing: Listing) -> None:
    publisher = kalshi_bench.publisher
    epoch = publisher.opened(0, 7)
    put(publisher, listing, epoch=epoch)
    kalshi_bench.connections.confirm(0, 9)
    publisher.quarantine(listing.slot, QuarantineReason.CROSSED)
    version = kalshi_bench.rows.version(listing.slot)
    again = kalshi_bench.new_publisher()
    assert kalshi_bench.connections.state(0) is ConnectionState.DOWN
    assert kalshi_bench.epoch() == epoch + 1
    assert kalshi_bench.confirmed_ns() == 0
    assert kalshi_bench.cost(listing.slot) == (NO_QUOTE, NO_QUOTE)
    assert kalshi_bench.quarantine(listing.slot) is QuarantineReason.NONE
    assert kalshi_bench.rows.version(listing.slot) == version
    assert kalshi_bench.changes() == ([listing.slot], 1)
    assert kalshi_bench.epoch(1) == 0  # never used: nothing to void
    assert put(again, listing, epoch=epoch + 1) == version + 1


def test_an_owner_touches_the_slots_and_connections_of_its_own_range_only(
    kalshi_bench: Bench, polymarket_bench: Bench
) -> None:
    segment = kalshi_bench.segment
    costs, quarantine = segment.array("cost_e6"), segment.array("quarantine")
    costs[:], quarantine[0][:] = 5, 1
    kalshi_bench.connections.set_state(7, ConnectionState.LIVE)
    kalshi_bench.new_publisher()
    half = len(costs) // 2
    assert (costs[:half] == NO_QUOTE).all()
    assert (costs[half:] == 5).all()
    assert quarantine[0].tolist() == [0] * half + [1] * half
    assert kalshi_bench.connections.state(7) is ConnectionState.LIVE
    assert polymarket_bench.publisher.connection(0) == 4
    for number in (-1, 4):
        with pytest.raises(IndexError, match=r"4 are configured \(\[segment\] connections\)"):
            kalshi_bench.publisher.connection(number)


def test_opening_and_closing_moves_the_epoch_and_says_why(kalshi_bench: Bench) -> None:
    publisher = kalshi_bench.publisher
    first = publisher.opened(2, 7)
    assert kalshi_bench.connections.state(2) is ConnectionState.LIVE
    publisher.closed(2, "ping time-out")
    line = kalshi_bench.segment.fields("connections", 2)
    assert (line["state"], line["reason"], line["epoch"]) == (ConnectionState.DOWN, "ping time-out", first + 1)
    assert publisher.opened(2, 9) == first + 2
    assert kalshi_bench.segment.fields("connections", 2)["reason"] == ""


def test_the_first_error_of_a_kind_is_an_alert_even_after_three_others(kalshi_bench: Bench) -> None:
    kinds = [ErrorCode.BAD_FRAME, ErrorCode.SEQUENCE_GAP, ErrorCode.CROSSED_BOOK, ErrorCode.UNKNOWN_INSTRUMENT]
    for _ in range(3):
        for kind in kinds:
            kalshi_bench.publisher.bad(kind, f"this is {kind.name}")
    assert kalshi_bench.alerts() == [f"PAPER feed-kalshi {kind.name} this is {kind.name}" for kind in kinds]


# --- lag and crossing -------------------------------------------------------------------------------------------------


def test_lag_is_what_exceeds_the_least_difference_of_the_last_minutes() -> None:
    meter = LagMeter()
    assert meter.lag_ms(1_000_500, 1_000_000) == 0  # clocks differ by 500 ms, or the way is that long
    assert meter.lag_ms(1_001_700, 1_001_000) == 200
    assert meter.lag_ms(1_002_400, 1_002_000) == 0
    assert meter.lag_ms(1_002_500, 1_002_000) == 100
    # after one to two minutes the old minimum is forgotten: the clocks drift
    for local in range(1_003_000, 1_003_000 + 180_000, 1_000):
        last = meter.lag_ms(local + 700, local)
    assert last == 0


@given(st.lists(st.tuples(st.integers(0, 400_000), st.integers(-5_000, 5_000)), min_size=1, max_size=40))
def test_lag_is_never_negative_nor_above_the_spread_of_the_differences(frames: list[tuple[int, int]]) -> None:
    meter = LagMeter()
    seen: list[int] = []
    for local, difference in sorted(frames):
        seen.append(difference)
        assert 0 <= meter.lag_ms(local, local - difference) <= max(seen) - min(seen)


def test_crossed_once_passes_crossed_twice_or_for_250_ms_does_not() -> None:
    watch = CrossWatch()
    assert not watch
    assert [watch.see("A", crossed, 0) for crossed in (True, False, True, True, True)] == [False] * 3 + [True] * 2
    assert not watch.see("B", True, 0)
    assert watch.see("B", True, 250_000_000)
    assert watch
    assert not watch.see("A", False, 1)
    assert not watch.see("A", True, 2)
