"""Frames in, rows out: what stands in shared memory after each thing a Polymarket connection can do."""

from __future__ import annotations

from pathlib import Path

import pytest
from feed_bench import Bench, encoded, polymarket, toml
from polymarket_driven import (
    FED,
    FED_NO,
    FED_YES,
    MARKET,
    NO,
    OTHER,
    OTHER_NO,
    OTHER_YES,
    SECOND,
    SPARE,
    YES,
    Driven,
    Market,
    recorded,
)

from arbpipe.shm.layout import NO_QUOTE
from arbpipe.shm.row import RowFlag
from arbpipe.shm.stats import Counter
from arbpipe.shm.tables import ConnectionState
from arbpipe.venues.polymarket.feed import PolymarketFeed


@pytest.fixture
def driven(polymarket_bench: Bench) -> Driven:
    made = Driven(polymarket_bench)
    made.books()
    return made


# --- recorded frames --------------------------------------------------------------------------------------------------


def test_every_recorded_change_and_book_of_yes_verifies_and_no_is_counted_as_unchecked(
    polymarket_bench: Bench, recordings: Path
) -> None:
    driven = Driven(polymarket_bench, polymarket(FED, FED_YES, FED_NO, neg_risk=True))
    bids: dict[str, float] = {}
    asks: dict[str, float] = {}
    for frame in recorded(recordings):
        driven.send(frame)
        assert driven.verified()  # every version that ever stands, as soon as it stands
        one = frame[0] if isinstance(frame, list) else frame
        if one["event_type"] == "book":
            bids, asks = ({level["price"]: float(level["size"]) for level in one[side]} for side in ("bids", "asks"))
        elif one["event_type"] == "price_change":
            (change,) = [each for each in one["price_changes"] if each["asset_id"] == FED_YES]
            (bids if change["side"] == "BUY" else asks)[change["price"]] = float(change["size"])
        row = polymarket_bench.row(driven.slot)

        def levels(side: dict[str, float]) -> list[tuple[int, int]]:
            return [(round(float(p) * 10_000), int(s * 100 + 1e-6)) for p, s in side.items() if s]

        assert list(row.yes_asks) == sorted(levels(asks))[:8]
        assert list(row.no_asks) == [(10_000 - p, s) for p, s in sorted(levels(bids), reverse=True)[:8]]
    counted = {counter: polymarket_bench.get(counter) for counter in Counter}
    assert counted[Counter.FRAMES] == 27
    assert counted[Counter.HASH_CHECKED] == 26  # 24 changes and both books
    assert counted[Counter.HASH_UNCHECKED] == 24  # the same changes on NO, whose book was never sent
    assert [counted[one] for one in (Counter.HASH_MISMATCHES, Counter.BAD_FRAMES, Counter.CROSSED)] == [0, 0, 0]
    assert polymarket_bench.rows.verified(driven.slot) == polymarket_bench.rows.version(driven.slot)
    assert polymarket_bench.rows.confirmed_ns(driven.slot) == driven.now
    assert polymarket_bench.alerts() == []


def test_one_lost_recorded_change_is_seen_at_the_next(polymarket_bench: Bench, recordings: Path) -> None:
    driven = Driven(polymarket_bench, polymarket(FED, FED_YES, FED_NO, neg_risk=True))
    frames = recorded(recordings)
    driven.send(*frames[:5], frames[6])
    assert polymarket_bench.get(Counter.HASH_MISMATCHES) == 1
    assert driven.flags == RowFlag.UNVERIFIABLE
    assert not driven.verified()


# --- what a row says --------------------------------------------------------------------------------------------------


def test_a_row_is_yes_asks_and_the_complement_of_yes_bids(driven: Driven) -> None:
    row = driven.bench.row(driven.slot)
    assert row.yes_asks == ((4_100, 10_000), (4_200, 3_000))
    assert row.no_asks == ((6_100, 10_000), (6_200, 5_000))
    assert (row.tick_e4, row.venue_ms, row.flags) == (100, 1_784_578_686_071, 0)
    assert driven.verified()
    # 0.41 + 0.05 · 0.41 · 0.59 and 0.61 + 0.05 · 0.61 · 0.39, for the smallest order of five
    assert driven.bench.cost(driven.slot) == (422_095, 621_895)


def test_the_first_look_is_the_average_of_the_smallest_order_rounded_down(driven: Driven) -> None:
    driven.send(driven.market.change("SELL", "0.40", "2"))
    # two at 0.40 and three at 0.41, each with its fee: (2 · 0.412 + 3 · 0.422095) / 5
    assert driven.bench.cost(driven.slot)[0] == 418_057


def test_a_book_that_is_too_thin_for_the_smallest_order_has_no_first_look(driven: Driven) -> None:
    driven.send(driven.market.change("SELL", "0.41", "0"), driven.market.change("SELL", "0.42", "4.99"))
    assert driven.bench.row(driven.slot).yes_asks == ((4_200, 499),)
    assert driven.bench.cost(driven.slot)[0] == NO_QUOTE


def test_an_unchanged_top_eight_is_not_published_again_and_stays_verified(driven: Driven) -> None:
    for cents in range(43, 52):
        driven.send(driven.market.change("SELL", f"0.{cents}", "10"))
    before, published = driven.bench.row(driven.slot), driven.bench.get(Counter.PUBLISHED)
    checked = driven.bench.get(Counter.HASH_CHECKED)
    driven.send(driven.market.change("SELL", "0.51", "20"))
    assert driven.bench.row(driven.slot) == before
    assert driven.bench.get(Counter.PUBLISHED) == published
    assert driven.bench.get(Counter.HASH_CHECKED) == checked + 2
    assert driven.verified()
    assert driven.bench.rows.confirmed_ns(driven.slot) == driven.now


def test_a_frame_confirms_the_rows_of_its_own_assets_only(driven: Driven) -> None:
    confirmed = driven.bench.rows.confirmed_ns(driven.other_slot)
    driven.send(driven.market.change("SELL", "0.41", "20"), b"PONG")
    assert driven.bench.rows.confirmed_ns(driven.slot) == driven.now - SECOND
    assert driven.bench.rows.confirmed_ns(driven.other_slot) == confirmed
    assert driven.bench.confirmed_ns() == 0  # the venue numbers nothing: no frame proves a whole connection


def test_an_unknown_fee_is_no_quote(polymarket_bench: Bench) -> None:
    driven = Driven(polymarket_bench, polymarket(MARKET, YES, NO, fee=False))
    driven.send(driven.market.book(YES))
    assert polymarket_bench.row(driven.slot).fee is None
    assert polymarket_bench.cost(driven.slot) == (NO_QUOTE, NO_QUOTE)


# --- checksums --------------------------------------------------------------------------------------------------------


def test_a_wrong_hash_flags_the_row_until_a_fresh_book_verifies(driven: Driven) -> None:
    frame = driven.market.change("SELL", "0.41", "90", YES)
    frame["price_changes"][0]["hash"] = "0" * 40
    driven.send(frame)
    assert driven.flags == RowFlag.UNVERIFIABLE
    assert not driven.quoted()
    assert not driven.verified()
    assert driven.asked() == {YES}
    driven.send(driven.market.change("SELL", "0.41", "80"))  # right by itself, and not enough
    assert driven.flags == RowFlag.UNVERIFIABLE
    assert not driven.verified()
    driven.send(driven.market.book(YES, hash="0" * 40))
    assert driven.flags == RowFlag.UNVERIFIABLE
    assert not driven.verified()
    driven.send(driven.market.book(YES))
    assert driven.quoted()
    assert driven.verified()
    assert driven.quoted(driven.other_slot)
    assert [line.split()[2] for line in driven.bench.alerts()] == ["HASH_MISMATCH"]


def test_a_wrong_hash_of_no_flags_the_row_too(driven: Driven) -> None:
    frame = driven.market.change("SELL", "0.41", "90")
    frame["price_changes"][1]["hash"] = "0" * 40
    driven.send(frame)
    assert driven.flags == RowFlag.UNVERIFIABLE
    assert not driven.verified()
    driven.send(driven.market.book(NO), driven.market.book(YES))
    assert driven.verified()


@pytest.mark.parametrize("token", [YES, NO])
def test_a_trade_on_either_token_enters_the_hashes_of_both(driven: Driven, token: str) -> None:
    driven.send(driven.market.trade(token, "0.415"))
    checked = driven.bench.get(Counter.HASH_CHECKED)
    driven.send(driven.market.change("SELL", "0.41", "90"))
    assert driven.bench.get(Counter.HASH_CHECKED) == checked + 2
    assert driven.bench.get(Counter.HASH_MISMATCHES) == 0
    assert driven.verified()


def test_a_market_without_a_known_last_trade_is_unchecked_and_never_verified(polymarket_bench: Bench) -> None:
    driven = Driven(polymarket_bench)
    frame = driven.market.book(YES)
    del frame["last_trade_price"]
    driven.send(frame)
    assert polymarket_bench.get(Counter.HASH_UNCHECKED) == 1
    assert driven.quoted()
    assert not driven.verified()


def test_a_change_of_a_book_we_do_not_have_is_counted_and_changes_nothing(polymarket_bench: Bench) -> None:
    driven = Driven(polymarket_bench)
    driven.send(driven.market.change("SELL", "0.41", "90"))
    assert polymarket_bench.get(Counter.HASH_UNCHECKED) == 2
    assert polymarket_bench.rows.read(driven.slot) is None
    assert polymarket_bench.cost(driven.slot) == (NO_QUOTE, NO_QUOTE)


@pytest.mark.parametrize("wrong", [{"market": "0x99"}, {"version": "v2"}])
def test_a_market_or_version_other_than_listed_is_refused(polymarket_bench: Bench, wrong: dict[str, str]) -> None:
    driven = Driven(polymarket_bench)
    driven.send(driven.market.book(YES, **wrong))
    assert driven.flags & RowFlag.UNVERIFIABLE
    assert not driven.quoted()
    assert not driven.verified()
    (alert,) = [line for line in polymarket_bench.alerts() if " BAD_FRAME " in line]
    assert f"asset {YES} is listed as {MARKET} v1 but comes as" in alert
    assert alert.endswith("correct the catalog")
    driven.send(driven.market.book(YES))
    assert driven.verified()


# --- connections ------------------------------------------------------------------------------------------------------


def test_f05_reconnect_leaves_no_price_of_yesterday_standing(driven: Driven) -> None:
    epoch, yesterday = driven.bench.epoch(), driven.bench.row(driven.slot)
    driven.feed.closed(0, "silent", 1)
    assert driven.bench.connections.state(driven.bench.first_connection) is ConnectionState.DOWN
    assert not driven.quoted()
    assert not driven.quoted(driven.other_slot)
    driven.feed.opened(0, driven.now)
    driven.send(driven.market.change("SELL", "0.41", "90"))  # of a book that this connection never had
    assert not driven.quoted()
    # the mistake: the old book goes on, and its prices look as good as ever
    assert yesterday.yes_asks
    assert yesterday.epoch == epoch != driven.bench.epoch()
    driven.send(driven.market.book(YES))
    assert driven.quoted()
    assert driven.bench.row(driven.slot).epoch == driven.bench.epoch()
    assert not driven.quoted(driven.other_slot)


def test_f05_a_connection_that_opens_again_without_a_close_starts_from_nothing(driven: Driven) -> None:
    driven.feed.opened(0, driven.now)
    assert not driven.quoted()
    assert driven.bench.connections.state(driven.bench.first_connection) is ConnectionState.LIVE


def test_a_connection_that_closes_takes_only_its_own_instruments_along(driven: Driven) -> None:
    driven.feed.opened(1, driven.now)
    market = Market("0x03", *SPARE[:2])
    driven.send(market.book(market.yes), number=1)
    driven.feed.closed(1, "gone", 1)
    assert driven.quoted()
    assert driven.verified()


# --- generations and restarts -----------------------------------------------------------------------------------------


def test_an_instrument_that_leaves_a_generation_becomes_no_quote(driven: Driven) -> None:
    catalog = toml(polymarket(OTHER, OTHER_YES, OTHER_NO))
    driven.feed.list(driven.bench.generation(catalog, {catalog.instruments[0].uid: driven.other_slot}))
    assert not driven.quoted()
    assert driven.quoted(driven.other_slot)
    assert driven.bench.verified(driven.other_slot)
    driven.send(driven.market.change("SELL", "0.41", "90"))
    assert not driven.quoted()
    driven.feed.list(driven.generation)
    assert driven.bench.row(driven.slot).yes_asks[0] == (4_100, 9_000)


def test_other_tokens_under_the_same_name_leave_no_price_of_the_old_ones(driven: Driven) -> None:
    driven.feed.list(driven.bench.generation(toml(polymarket(MARKET, *SPARE[:2]))))
    assert not driven.quoted()


def test_swapped_tokens_swap_the_row(driven: Driven) -> None:
    before = driven.bench.row(driven.slot)
    driven.feed.list(driven.bench.generation(toml(polymarket(MARKET, NO, YES))))
    after = driven.bench.row(driven.slot)
    assert (after.yes_asks, after.no_asks) == (before.no_asks, before.yes_asks)
    assert driven.verified()


def test_a_new_generation_or_restart_keeps_what_was_proved_and_proves_nothing_else(driven: Driven) -> None:
    driven.feed.list(driven.bench.generation(toml(polymarket(MARKET, YES, NO, fee=False))))
    driven.feed.list(driven.generation)
    assert driven.quoted()
    assert driven.verified()
    driven.feed.list(driven.bench.generation(toml(polymarket(MARKET, YES, NO, neg_risk=True, fee=False))))
    driven.feed.list(driven.generation)
    assert driven.quoted()
    assert not driven.verified()  # what verified it was a hash over other terms
    driven.send(driven.market.change("SELL", "0.41", "90"))
    assert driven.verified()


def test_a_book_that_was_not_checked_is_not_taken_for_the_one_that_was_proved(driven: Driven) -> None:
    unchecked = driven.market.book(YES)
    del unchecked["last_trade_price"]
    driven.send(b"{", unchecked)
    driven.feed.list(driven.bench.generation(toml(polymarket(MARKET, YES, NO, fee=False))))
    driven.feed.list(driven.generation)
    assert driven.quoted()
    assert not driven.verified()


def test_a_wrong_hash_is_remembered_over_a_new_generation(driven: Driven) -> None:
    frame = driven.market.change("SELL", "0.41", "90", YES)
    frame["price_changes"][0]["hash"] = "0" * 40
    driven.send(frame)
    driven.feed.list(driven.generation)
    assert driven.flags == RowFlag.UNVERIFIABLE
    assert not driven.verified()


def test_a_restart_publishes_confirms_and_verifies_the_books_as_they_stand(driven: Driven) -> None:
    market = Market()
    publisher = driven.bench.new_publisher()
    publisher.muted = True
    feed = PolymarketFeed(publisher)
    feed.list(driven.generation)
    published = driven.bench.get(Counter.PUBLISHED)
    for frame in (market.book(YES), market.change("SELL", "0.41", "90")):
        feed.frame(0, encoded(frame), 1, SECOND)
    assert driven.bench.get(Counter.PUBLISHED) == published
    assert driven.bench.cost(driven.slot) == (NO_QUOTE, NO_QUOTE)
    publisher.muted = False
    feed.resume(5 * SECOND)
    row = driven.bench.row(driven.slot)
    assert (row.yes_asks[0], row.epoch) == ((4_100, 9_000), driven.bench.epoch())
    assert driven.bench.rows.confirmed_ns(driven.slot) == 5 * SECOND
    assert driven.verified()
