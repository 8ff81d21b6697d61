"""What a Polymarket feed does with crossed books, other grids and frames that are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from feed_bench import Bench, bench, encoded, polymarket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polymarket_driven import (
    FED,
    FED_NO,
    FED_YES,
    MARKET,
    NO,
    OTHER,
    OTHER_NO,
    OTHER_YES,
    YES,
    Driven,
    Market,
    recorded,
)

from arbpipe.fixedpoint import ceil_to
from arbpipe.identity import Venue
from arbpipe.shm.layout import NO_QUOTE
from arbpipe.shm.row import RowFlag
from arbpipe.shm.stats import Counter
from arbpipe.shm.tables import QuarantineReason


@pytest.fixture
def driven(polymarket_bench: Bench) -> Driven:
    made = Driven(polymarket_bench)
    made.books()
    return made


# --- crossed books ----------------------------------------------------------------------------------------------------


def test_crossed_once_is_no_quote_until_the_next_frame(driven: Driven) -> None:
    driven.send(driven.market.change("BUY", "0.41", "5", YES))
    assert driven.flags == RowFlag.CROSSED
    assert not driven.quoted()
    assert driven.bench.quarantine(driven.slot) is QuarantineReason.NONE
    driven.send(driven.market.change("BUY", "0.41", "0", YES))
    assert driven.quoted()
    assert driven.verified()
    assert driven.bench.get(Counter.CROSSED) == 1


def test_crossed_twice_is_quarantine_until_a_fresh_uncrossed_book(driven: Driven) -> None:
    driven.send(*(driven.market.change("BUY", price, "5", YES) for price in ("0.41", "0.42")))
    assert driven.bench.quarantine(driven.slot) is QuarantineReason.CROSSED
    assert driven.asked() == {YES}
    driven.send(*(driven.market.change("BUY", price, "0", YES) for price in ("0.41", "0.42")))
    assert not driven.quoted()
    assert driven.bench.quarantine(driven.slot) is QuarantineReason.CROSSED
    driven.send(driven.market.book(YES))
    assert driven.bench.quarantine(driven.slot) is QuarantineReason.NONE
    assert driven.quoted()
    assert driven.verified()
    assert driven.bench.quarantine(driven.other_slot) is QuarantineReason.NONE


def test_f09_a_crossed_book_is_a_corrupt_book_and_no_free_money(driven: Driven) -> None:
    driven.market.bids["0.60"] = "100"
    driven.send(driven.market.book(YES))
    mistaken = 4_100 + (10_000 - 6_000)  # the mistake: YES at 0.41 and NO at 0.40
    assert mistaken < 10_000
    assert driven.bench.cost(driven.slot) == (NO_QUOTE, NO_QUOTE)
    assert driven.flags == RowFlag.CROSSED


# --- tick changes -----------------------------------------------------------------------------------------------------


def test_f10_after_a_tick_change_there_is_no_quote_until_fresh_books(driven: Driven) -> None:
    epoch, old_grid = driven.bench.epoch(), driven.bench.row(driven.slot).tick_e4
    driven.send(driven.market.tick_change(YES, "0.001"))
    assert driven.flags == RowFlag.TICK_CHANGE | RowFlag.NO_BOOK
    assert not driven.quoted()
    assert driven.asked() == {YES, NO}
    driven.send(driven.market.change("SELL", "0.41", "90"))
    assert not driven.quoted()
    driven.send(driven.market.book(NO), driven.market.book(YES))
    row = driven.bench.row(driven.slot)
    assert driven.verified()
    assert (row.tick_e4, driven.bench.epoch()) == (10, epoch)
    assert driven.quoted(driven.other_slot)
    # the mistake: an order for an ask at 0.405, priced on the grid that was, pays half a cent too much
    assert ceil_to(4_050, old_grid) == 4_100
    assert ceil_to(4_050, row.tick_e4) == 4_050


def test_after_a_tick_change_the_book_of_a_token_nobody_subscribed_is_not_waited_for(polymarket_bench: Bench) -> None:
    driven = Driven(polymarket_bench)
    driven.send(driven.market.book(YES), driven.market.tick_change(YES, "0.001"))
    assert driven.asked() == {YES}
    assert not driven.quoted()
    driven.send(driven.market.book(YES))
    assert driven.quoted()


def test_a_grid_that_cannot_be_read_is_no_quote(polymarket_bench: Bench) -> None:
    driven = Driven(polymarket_bench)
    driven.send(driven.market.book(YES, tick_size="fine"))
    assert not driven.quoted()
    assert driven.flags & RowFlag.TICK_CHANGE


# --- frames that are wrong --------------------------------------------------------------------------------------------


def spoilt(market: Market, **more: str) -> dict[str, Any]:
    frame = market.change("SELL", "0.41", "90", YES)
    frame["price_changes"][0].update(more)
    return frame


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff",
        b"5",
        b"[[]]",
        b'{"event_type":"book"}',
        encoded(spoilt(Market(), price="0.41001")),
        encoded(spoilt(Market(), price="1.5")),
        encoded(spoilt(Market(), price="1")),
        encoded(spoilt(Market(), size="-1")),
        encoded(spoilt(Market(), size="1e3")),
        encoded(spoilt(Market(), side="HOLD")),
        encoded(Market().book(YES, bids=[{"price": "0.3", "size": "1"}, {"price": "0.30", "size": "2"}])),
        encoded(Market().book(YES, bids=None)),
    ],
)
def test_a_malformed_frame_makes_its_instrument_untradeable_and_alerts_once(driven: Driven, raw: bytes) -> None:
    for _ in range(2):
        driven.send(raw)
    assert not driven.quoted()
    assert driven.flags & (RowFlag.NO_BOOK | RowFlag.BAD_FRAME)
    assert YES in driven.asked()
    assert driven.bench.get(Counter.BAD_FRAMES) >= 1
    bad = [line for line in driven.bench.alerts() if " BAD_FRAME " in line]
    assert len(bad) == 1
    assert bad[0].startswith("PAPER feed-polymarket BAD_FRAME polymarket: ")
    driven.books()
    assert driven.quoted()
    assert driven.verified()


def test_a_malformed_frame_that_names_its_market_leaves_the_others_alone(driven: Driven) -> None:
    driven.send(Market().book(YES, bids=None))
    assert not driven.quoted()
    assert driven.quoted(driven.other_slot)
    driven.send(b"{")
    assert not driven.quoted(driven.other_slot)


def test_an_asset_of_no_catalog_is_counted_and_never_published(polymarket_bench: Bench) -> None:
    driven = Driven(polymarket_bench, polymarket(OTHER, OTHER_YES, OTHER_NO))
    driven.send(driven.market.book(YES), driven.market.change("SELL", "0.41", "90", NO))
    assert polymarket_bench.get(Counter.PUBLISHED) == 0
    assert polymarket_bench.segment.fields("processes", polymarket_bench.role)["error_count"][0] == 2
    assert [line.split()[2] for line in polymarket_bench.alerts()] == ["UNKNOWN_INSTRUMENT"]


def test_a_type_nobody_reads_is_counted_and_harms_nothing(driven: Driven) -> None:
    driven.send({"event_type": "brand_new"}, b"PONG")
    assert driven.bench.get(Counter.UNKNOWN_FRAMES) == 1
    assert driven.quoted()


@st.composite
def mutated(draw: st.DrawFn, frames: tuple[bytes, ...]) -> bytes:
    """A frame with some bytes replaced, inserted or cut."""
    raw = bytearray(draw(st.sampled_from(frames)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        piece = draw(st.one_of(st.binary(max_size=3), st.sampled_from((b"9" * 25, b"-", b"null", b'"', b"[", b"0"))))
        raw[at : at + draw(st.integers(0, 4))] = piece
    return bytes(raw)


def test_no_frame_whatever_its_bytes_raises_or_verifies_an_impossible_row(recordings: Path) -> None:
    market = Market()
    seed = tuple(
        encoded(frame)
        for frame in (
            market.book(YES),
            market.book(NO),
            market.change("SELL", "0.41", "90"),
            market.trade(NO, "0.5"),
            market.change("BUY", "0.39", "0"),
            market.tick_change(YES, "0.001"),
            *recorded(recordings)[1:4],
        )
    )
    first = Market()
    with bench(Venue.POLYMARKET) as made:
        quoted: set[int] = set()

        @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], database=None)
        @given(st.lists(mutated(seed), min_size=1, max_size=10))
        def fuzz(frames: list[bytes]) -> None:
            driven = Driven(made, polymarket(MARKET, YES, NO), polymarket(FED, FED_YES, FED_NO, neg_risk=True))
            driven.send(first.book(YES), first.book(NO), recorded(recordings)[0])
            for frame in frames:
                driven.send(frame)
                for slot in (driven.slot, driven.other_slot):
                    row = made.rows.read(slot)
                    if row is None or row.flags:
                        assert row is None or not row.yes_asks + row.no_asks
                        continue
                    quoted.add(slot)
                    prices = [side[0][0] for side in (row.yes_asks, row.no_asks) if side]
                    assert len(prices) < 2 or sum(prices) > 10_000
                    assert all(0 < price < 10_000 and size > 0 for price, size in row.yes_asks + row.no_asks)

        fuzz()
        assert quoted == {made.first_slot, made.first_slot + 1}
        assert made.get(Counter.BAD_FRAMES) > 0
        assert made.get(Counter.HASH_MISMATCHES) > 0
