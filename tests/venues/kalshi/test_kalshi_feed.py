"""Frames in, rows out: what stands in shared memory after each thing a Kalshi connection can do."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest
from feed_bench import Bench, encoded, kalshi, toml
from kalshi_driven import SECOND, Driven, delta, no_quote, snapshot

from arbpipe.feemodel import average_cost_e6
from arbpipe.fixedpoint import MAX_SIZE_E2
from arbpipe.shm.layout import NO_QUOTE
from arbpipe.shm.row import RowFlag
from arbpipe.shm.stats import Counter
from arbpipe.shm.tables import ConnectionState
from arbpipe.venues.kalshi.feed import KalshiFeed


def session(recordings: Path) -> list[bytes]:
    lines = (recordings / "kalshi" / "ws_session_demo_2026-07-01.jsonl").read_bytes().split(b"\n")
    return [line for line in lines if line.strip()]


@pytest.fixture
def driven(kalshi_bench: Bench) -> Driven:
    return Driven(kalshi_bench)


# --- the recorded session ---------------------------------------------------------------------------------------------


def reference(frames: list[bytes]) -> dict[str, dict[str, dict[int, int]]]:
    """Bids by ticker and side in plain dictionaries."""
    books: dict[str, dict[str, dict[int, int]]] = defaultdict(lambda: {"yes": {}, "no": {}})
    for frame in map(json.loads, frames):
        msg = frame.get("msg", {})
        if frame["type"] == "orderbook_snapshot":
            for side in ("yes", "no"):
                levels = msg.get(f"{side}_dollars_fp", [])
                books[msg["market_ticker"]][side] = {round(float(p) * 10_000): round(float(s) * 100) for p, s in levels}
        elif frame["type"] == "orderbook_delta":
            bids = books[msg["market_ticker"]][msg["side"]]
            price = round(float(msg["price_dollars"]) * 10_000)
            bids[price] = bids.get(price, 0) + round(float(msg["delta_fp"]) * 100)
    return books


def asks_of(bids: dict[int, int]) -> tuple[tuple[int, int], ...]:
    best = sorted((price, size) for price, size in bids.items() if size)[::-1][:8]
    return tuple((10_000 - price, min(size, MAX_SIZE_E2)) for price, size in best)


def test_the_recorded_session_ends_in_the_rows_of_a_plain_reference(kalshi_bench: Bench, recordings: Path) -> None:
    frames = session(recordings)
    books = reference(frames)
    driven = Driven(kalshi_bench, *sorted(books))
    for frame in frames:
        driven.raw(frame)
    assert len(books) == 5
    for ticker, sides in books.items():
        listing = kalshi_bench.listing(driven.generation, ticker)
        row = kalshi_bench.row(listing.slot)
        assert row.yes_asks == asks_of(sides["no"])
        assert row.no_asks == asks_of(sides["yes"])
        assert (row.flags, row.uid, row.epoch, row.fee) == (0, listing.uid, kalshi_bench.epoch(), listing.fee)
        assert kalshi_bench.verified(listing.slot)
        assert listing.fee is not None
        for cost, asks in zip(kalshi_bench.cost(listing.slot), (row.yes_asks, row.no_asks), strict=True):
            wanted = average_cost_e6(listing.fee, asks, listing.min_size_e2)
            assert cost == (NO_QUOTE if wanted is None else wanted)
    counted = {counter: kalshi_bench.get(counter) for counter in Counter}
    assert counted[Counter.FRAMES] == len(frames) == 2_898
    assert counted[Counter.SEQUENCED] == 2_894
    assert [counted[one] for one in (Counter.GAPS, Counter.CROSSED, Counter.BAD_FRAMES)] == [0, 0, 0]
    assert counted[Counter.PUBLISHED] == counted[Counter.CHANGES]
    assert 0 < counted[Counter.PUBLISHED] <= 2_890
    assert kalshi_bench.confirmed_ns() == driven.now
    assert kalshi_bench.alerts() == []


def test_the_change_log_names_every_published_row_in_order(driven: Driven) -> None:
    driven.healthy("A", "B")
    driven.delta("A", "0.4000", "1.00")
    a, b = driven.slot("A"), driven.slot("B")
    assert driven.bench.changes() == ([a, b, a], 3)


def test_a_row_is_the_complement_of_both_sides_bids(driven: Driven) -> None:
    driven.snapshot("A", [["0.3900", "5.00"], ["0.4000", "10.00"]], [["0.5500", "20.00"]])
    row = driven.bench.row(driven.slot("A"))
    assert row.no_asks == ((6_000, 1_000), (6_100, 500))
    assert row.yes_asks == ((4_500, 2_000),)
    # price and fee of one contract, rounded down: 0.45 + 0.07 · 0.45 · 0.55, and 0.60 + 0.07 · 0.24
    assert driven.bench.cost(driven.slot("A")) == (467_325, 616_800)


def test_an_unchanged_top_eight_is_not_published_again(driven: Driven) -> None:
    driven.snapshot("A", [[f"0.{n}00", "1.00"] for n in range(20, 31)], [["0.5500", "20.00"]])
    before, published = driven.bench.row(driven.slot("A")), driven.bench.get(Counter.PUBLISHED)
    driven.delta("A", "0.2000", "5.00")
    assert driven.bench.row(driven.slot("A")) == before
    assert driven.bench.get(Counter.PUBLISHED) == published
    assert driven.bench.verified(driven.slot("A"))
    assert driven.bench.confirmed_ns() == driven.now  # old and right
    driven.delta("A", "0.3000", "5.00")
    assert driven.bench.row(driven.slot("A")).version == before.version + 1


# --- sequence ---------------------------------------------------------------------------------------------------------


def test_a_gap_voids_every_instrument_of_the_connection_and_the_epoch_moves(driven: Driven) -> None:
    driven.healthy("A", "B")
    epoch = driven.bench.epoch()
    driven.seq += 1  # a frame is lost
    driven.delta("A", "0.4000", "1.00")
    assert driven.bench.epoch() == epoch + 1
    for ticker in ("A", "B"):
        assert no_quote(driven.bench, driven.slot(ticker))
        assert driven.bench.flags(driven.slot(ticker)) == RowFlag.NO_BOOK
        assert driven.bench.row(driven.slot(ticker)).epoch == epoch + 1
    assert driven.bench.get(Counter.GAPS) == 1
    assert driven.feed.outbox.pop() == (0, ("get_snapshot", ("A", "B")))
    # a change of a book that is void brings nothing back, a snapshot brings back its own market only
    driven.delta("B", "0.4000", "1.00")
    driven.healthy("A")
    assert not no_quote(driven.bench, driven.slot("A"))
    assert driven.bench.verified(driven.slot("A"))
    assert no_quote(driven.bench, driven.slot("B"))
    assert driven.bench.get(Counter.GAPS) == 1


def test_a_gap_of_one_connection_leaves_the_others_alone(driven: Driven) -> None:
    driven.healthy("A")
    driven.feed.opened(1, driven.now)
    driven.raw(snapshot(1, "B", [["0.4000", "1.00"]], []), number=1)
    driven.raw(delta(3, "B", "0.4000", "1.00"), number=1)
    assert no_quote(driven.bench, driven.slot("B"))
    assert not no_quote(driven.bench, driven.slot("A"))
    assert driven.bench.row(driven.slot("A")).epoch == driven.bench.epoch(0)


def test_a_snapshot_that_shows_the_gap_is_itself_good(driven: Driven) -> None:
    driven.healthy("A", "B")
    driven.seq += 1
    driven.healthy("A")
    assert not no_quote(driven.bench, driven.slot("A"))
    assert no_quote(driven.bench, driven.slot("B"))


def test_a_number_that_came_before_voids_the_books_and_applies_nothing(driven: Driven) -> None:
    driven.healthy("A", "B")
    confirmed = driven.bench.confirmed_ns()
    driven.raw(snapshot(1, "A", [["0.1000", "1.00"]], []))
    assert no_quote(driven.bench, driven.slot("A"))
    assert no_quote(driven.bench, driven.slot("B"))
    assert driven.bench.confirmed_ns() == confirmed
    assert (driven.bench.get(Counter.SEQUENCED), driven.bench.get(Counter.GAPS)) == (2, 1)


def test_f04_control_frames_are_numbered_and_confirm_every_book(driven: Driven) -> None:
    driven.healthy("A")
    driven.raw(encoded({"type": "ok", "id": 6, "sid": 1, "seq": 2, "msg": {"market_tickers": ["A"]}}))
    assert driven.bench.confirmed_ns() == driven.now
    driven.raw(encoded({"type": "unsubscribed", "id": 7, "sid": 1, "seq": 3}))
    driven.raw(delta(4, "A", "0.4000", "1.00"))
    assert (driven.bench.get(Counter.SEQUENCED), driven.bench.get(Counter.GAPS)) == (4, 0)
    assert not no_quote(driven.bench, driven.slot("A"))
    # the mistake: numbers looked at after routing, so that control frames are no part of them
    routed = [seq for seq, kind in ((1, "snapshot"), (2, "ok"), (3, "unsubscribed"), (4, "delta")) if kind[0] in "sd"]
    assert routed != list(range(1, 5))


def test_what_has_no_number_confirms_nothing(driven: Driven) -> None:
    driven.healthy("A")
    confirmed = driven.bench.confirmed_ns()
    driven.raw(encoded({"type": "subscribed", "id": 1, "msg": {"channel": "fill", "sid": 2}}))
    driven.raw(encoded({"type": "brand_new", "msg": {}}))
    assert driven.bench.confirmed_ns() == confirmed
    assert driven.bench.get(Counter.UNKNOWN_FRAMES) == 1
    assert "'brand_new', which nothing reads" in driven.bench.alerts()[0]
    assert not no_quote(driven.bench, driven.slot("A"))


# --- connections ------------------------------------------------------------------------------------------------------


def test_f05_reconnect_leaves_no_price_of_yesterday_standing(driven: Driven) -> None:
    driven.healthy("A", "B")
    epoch = driven.bench.epoch()
    mistaken = dict(driven.feed._connections[0].books)  # the mistake: books that outlive their connection
    driven.feed.closed(0, "half open", 1)
    assert driven.bench.connections.state(0) is ConnectionState.DOWN
    assert driven.bench.epoch() > epoch
    for ticker in ("A", "B"):
        assert no_quote(driven.bench, driven.slot(ticker))
    driven.feed.opened(0, driven.now)
    driven.seq = 0
    assert driven.bench.connections.state(0) is ConnectionState.LIVE
    assert driven.bench.confirmed_ns() == 0  # live, and nothing is confirmed yet
    driven.healthy("A")
    assert not no_quote(driven.bench, driven.slot("A"))
    assert driven.bench.row(driven.slot("A")).epoch == driven.bench.epoch() > epoch
    assert no_quote(driven.bench, driven.slot("B"))
    assert not mistaken["B"].valid  # cleared, so that not even whoever kept it can quote from it


def test_f05_a_connection_that_opens_again_without_a_close_starts_from_nothing(driven: Driven) -> None:
    driven.healthy("A")
    driven.feed.opened(0, driven.now)
    assert no_quote(driven.bench, driven.slot("A"))
    driven.raw(delta(1, "A", "0.4000", "1.00"))
    assert no_quote(driven.bench, driven.slot("A"))


def test_a_frame_on_a_connection_nobody_opened_opens_it(kalshi_bench: Bench) -> None:
    feed = KalshiFeed(kalshi_bench.publisher, use_yes_price=False)
    generation = kalshi_bench.generation(toml(kalshi("A")))
    feed.list(generation)
    feed.frame(3, snapshot(1, "A", [["0.4000", "1.00"]], []), 1, SECOND)
    assert kalshi_bench.row(kalshi_bench.first_slot).connection == kalshi_bench.first_connection + 3
    with pytest.raises(IndexError, match="4 are configured"):
        feed.frame(4, b"{}", 1, SECOND)


# --- generations ------------------------------------------------------------------------------------------------------


def test_an_instrument_that_leaves_a_generation_becomes_no_quote(driven: Driven) -> None:
    driven.healthy("A", "B")
    a, b = driven.slot("A"), driven.slot("B")
    smaller = toml(kalshi("B"))
    driven.feed.list(driven.bench.generation(smaller, {smaller.instruments[0].uid: b}))
    assert no_quote(driven.bench, a)  # the row as well: an attempt of the older generation still reads it
    assert not no_quote(driven.bench, b)
    driven.delta("A", "0.4000", "1.00")
    assert no_quote(driven.bench, a)
    driven.feed.list(driven.generation)
    assert not no_quote(driven.bench, a)
    assert driven.bench.row(a).no_asks == ((6_000, 1_100),)


def test_an_instrument_that_moves_to_another_slot_leaves_nothing_behind(driven: Driven) -> None:
    driven.healthy("A")
    old = driven.slot("A")
    catalog = toml(kalshi("A"))
    driven.feed.list(driven.bench.generation(catalog, {catalog.instruments[0].uid: old + 9}))
    assert no_quote(driven.bench, old)
    assert not no_quote(driven.bench, old + 9)
    assert driven.bench.verified(old + 9)


def test_an_instrument_that_comes_is_published_from_the_book_there_is(driven: Driven) -> None:
    driven.healthy("C")
    catalog = toml(kalshi("A"), kalshi("B"), kalshi("C"))
    driven.feed.list(driven.bench.generation(catalog))
    assert driven.bench.row(driven.bench.first_slot + 2).no_asks == ((6_000, 1_000),)


def test_an_unknown_fee_is_no_quote(driven: Driven) -> None:
    driven.feed.list(driven.bench.generation(toml(kalshi("A", fee=False), kalshi("B"))))
    driven.healthy("A", "B")
    row = driven.bench.row(driven.slot("A"))
    assert row.fee is None
    assert driven.bench.cost(driven.slot("A")) == (NO_QUOTE, NO_QUOTE)
    assert driven.bench.cost(driven.slot("B")) != (NO_QUOTE, NO_QUOTE)


def test_the_first_look_is_the_average_cost_of_the_smallest_order(driven: Driven) -> None:
    driven.snapshot("A", [["0.3000", "1.00"], ["0.2000", "1.00"]], [])
    slot = driven.slot("A")
    assert driven.bench.cost(slot) == (NO_QUOTE, 714_700)  # 0.70 + 0.07 · 0.21
    driven.feed.list(driven.bench.generation(toml(kalshi("A", min_size="2"), kalshi("B"))))
    assert driven.bench.cost(slot) == (NO_QUOTE, 762_950)  # half at 0.70, half at 0.80, each with its fee
    driven.feed.list(driven.bench.generation(toml(kalshi("A", min_size="3"), kalshi("B"))))
    assert driven.bench.cost(slot) == (NO_QUOTE, NO_QUOTE)  # too thin


# --- books by REST, and restarts --------------------------------------------------------------------------------------


def test_recorded_rest_books_are_published_and_confirmed(driven: Driven, recordings: Path) -> None:
    folder = recordings / "pairs" / "snapshot_2026-07-20" / "kalshi"
    ticker = "KXMENWORLDCUP-26-ES"
    raw = (folder / f"orderbook_{ticker}.json").read_bytes()
    driven.feed.list(driven.bench.generation(toml(kalshi(ticker))))
    driven.feed.rest_book(2, ticker, raw, 1, 77)
    row = driven.bench.row(driven.bench.first_slot)
    body = json.loads(raw)["orderbook_fp"]
    best = max(round(float(price) * 10_000) for price, _ in body["no_dollars"])
    assert row.yes_asks[0][0] == 10_000 - best
    assert driven.bench.confirmed_ns(2) == 77
    driven.feed.rest_book(2, ticker, b"null", 1, 78)
    assert no_quote(driven.bench, driven.bench.first_slot)
    assert driven.bench.flags(driven.bench.first_slot) == RowFlag.BAD_FRAME


def test_a_restart_publishes_the_books_as_they_stand(driven: Driven) -> None:
    frames = [snapshot(1, "A", [["0.4000", "10.00"]], [["0.5500", "20.00"]]), delta(2, "A", "0.4000", "1.00")]
    publisher = driven.bench.new_publisher()
    publisher.muted = True
    feed = KalshiFeed(publisher, use_yes_price=False)
    feed.list(driven.generation)
    for at, frame in enumerate(frames):
        feed.frame(0, frame, 1, SECOND + at)
    assert driven.bench.get(Counter.PUBLISHED) == 0
    assert driven.bench.connections.state(0) is ConnectionState.DOWN
    publisher.muted = False
    feed.resume(5 * SECOND)
    assert driven.bench.connections.state(0) is ConnectionState.LIVE
    assert driven.bench.confirmed_ns() == 5 * SECOND
    row = driven.bench.row(driven.slot("A"))
    assert (row.no_asks, row.epoch) == (((6_000, 1_100),), driven.bench.epoch())
    assert driven.bench.verified(driven.slot("A"))
