"""What a Kalshi feed does with crossed books and frames that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from feed_bench import Bench, bench, encoded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kalshi_driven import Driven, delta, no_quote, snapshot

from arbpipe.identity import Venue
from arbpipe.shm.layout import NO_QUOTE
from arbpipe.shm.row import RowFlag
from arbpipe.shm.stats import Counter
from arbpipe.shm.tables import QuarantineReason

TICKERS = ("KXNEXTTEAMNBA-26LJAM-MIA", "A", "B")


def session(recordings: Path) -> list[bytes]:
    lines = (recordings / "kalshi" / "ws_session_demo_2026-07-01.jsonl").read_bytes().split(b"\n")
    return [line for line in lines if line.strip()]


@pytest.fixture
def driven(kalshi_bench: Bench) -> Driven:
    return Driven(kalshi_bench)


# --- frames that are wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b'{"type":"orderbook_delta"}',
        delta(0, "A", "0.4000", "1.00"),
        delta(3, "A", "0.40001", "1.00"),
        delta(3, "A", "1.0000", "1.00"),
        delta(3, "A", "0.4000", "1.001"),
        delta(3, "A", "0.4000", "1.00", "maybe"),
        delta(3, "A", "0.4000", "1e2"),
        delta(3, "A", "0.4000", "-11.00"),
        snapshot(3, "A", [["0.4000", "-1.00"]], []),
        snapshot(3, "A", [["0.4000", "1.00"], ["0.40", "2.00"]], []),
    ],
)
def test_a_malformed_frame_makes_its_instrument_untradeable_and_alerts_once(driven: Driven, raw: bytes) -> None:
    driven.healthy("A", "B")
    for _ in range(2):
        driven.raw(raw)
    assert no_quote(driven.bench, driven.slot("A"))
    assert driven.bench.flags(driven.slot("A")) & (RowFlag.BAD_FRAME | RowFlag.NO_BOOK)
    assert driven.bench.get(Counter.BAD_FRAMES) >= 1
    bad = [line for line in driven.bench.alerts() if " BAD_FRAME " in line]
    assert len(bad) == 1
    assert bad[0].startswith("PAPER feed-kalshi BAD_FRAME kalshi:")
    assert any(
        ask == (0, ("get_snapshot", asked)) and "A" in asked for ask in driven.feed.outbox for asked in [ask[1][1]]
    )
    driven.seq = 90
    driven.healthy("A")
    assert not no_quote(driven.bench, driven.slot("A"))


def test_every_kind_of_error_is_one_alert_however_often_it_comes(driven: Driven) -> None:
    driven.healthy("A")
    for _ in range(3):
        driven.raw(b"{")  # bad frame
        driven.seq += 5
        driven.healthy("Z")  # gap, and an instrument in no catalog
        driven.snapshot("A", [["0.6000", "1.00"]], [["0.5000", "1.00"]])
        driven.snapshot("A", [["0.6000", "1.00"]], [["0.5000", "1.00"]])  # crossed twice
    kinds = sorted(line.split()[2] for line in driven.bench.alerts())
    assert kinds == ["BAD_FRAME", "CROSSED_BOOK", "SEQUENCE_GAP", "UNKNOWN_INSTRUMENT"]


def test_an_instrument_of_no_catalog_is_counted_and_never_published(driven: Driven) -> None:
    driven.healthy("Z")
    driven.delta("Y", "0.4000", "1.00")
    assert driven.bench.get(Counter.PUBLISHED) == 0
    assert driven.bench.segment.fields("processes", driven.bench.role)["error_count"][0] == 2
    assert driven.bench.alerts() == ["PAPER feed-kalshi UNKNOWN_INSTRUMENT kalshi:Z is in the frames and in no catalog"]


def test_a_clock_that_no_clock_shows_is_no_clock(driven: Driven) -> None:
    driven.healthy("A")
    driven.delta("A", "0.4000", "1.00", sending_ts_ms=10**30)
    assert driven.bench.row(driven.slot("A")).venue_ms == 0
    driven.delta("A", "0.4000", "1.00", sending_ts_ms=1_782_873_245_763)
    assert driven.bench.row(driven.slot("A")).venue_ms == 1_782_873_245_763


SEED = (
    snapshot(1, "A", [["0.4000", "10.00"]], [["0.5500", "20.00"]]),
    delta(2, "A", "0.4000", "1.00", sending_ts_ms=1_782_873_245_763),
    snapshot(3, "B", [["0.4000", "10.00"]], [["0.5500", "20.00"]]),
    encoded({"type": "ok", "id": 6, "sid": 1, "seq": 4, "msg": {"market_tickers": ["A"]}}),
    delta(5, "B", "0.5500", "-3.00", "no"),
)


@st.composite
def mutated(draw: st.DrawFn, frames: tuple[bytes, ...]) -> bytes:
    """A frame with some bytes replaced, inserted or cut."""
    raw = bytearray(draw(st.sampled_from(frames)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        piece = draw(st.one_of(st.binary(max_size=3), st.sampled_from((b"9" * 25, b"-", b"null", b'"', b"{", b"0"))))
        raw[at : at + draw(st.integers(0, 4))] = piece
    return bytes(raw)


def test_no_frame_whatever_its_bytes_raises_or_leaves_an_impossible_row(recordings: Path) -> None:
    real = tuple(session(recordings)[:12])
    (first,) = (encoded({**json.loads(each), "seq": 4}) for each in real[:3] if b"_snapshot" in each)
    with bench(Venue.KALSHI) as made:
        quoted: set[int] = set()

        @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], database=None)
        @given(st.lists(mutated(SEED + real), min_size=1, max_size=12))
        def fuzz(frames: list[bytes]) -> None:
            driven = Driven(made, *TICKERS)
            for frame in (*SEED[:3], first, *frames):
                driven.raw(frame)
                for slot in map(driven.slot, TICKERS):
                    row = made.rows.read(slot)
                    if row is None or row.flags:
                        continue
                    assert made.verified(slot)
                    quoted.add(slot)
                    prices = [side[0][0] for side in (row.yes_asks, row.no_asks) if side]
                    assert len(prices) < 2 or sum(prices) > 10_000
                    assert all(0 < price < 10_000 and size > 0 for price, size in row.yes_asks + row.no_asks)

        fuzz()
        assert quoted == {made.first_slot + at for at in range(3)}
        assert made.get(Counter.BAD_FRAMES) > 0


# --- crossed books ----------------------------------------------------------------------------------------------------


def test_crossed_once_is_no_quote_until_the_next_frame(driven: Driven) -> None:
    driven.healthy("A")
    driven.delta("A", "0.4600", "1.00")  # 0.46 + 0.55 is more than a dollar
    assert driven.bench.flags(driven.slot("A")) == RowFlag.CROSSED
    assert no_quote(driven.bench, driven.slot("A"))
    assert driven.bench.quarantine(driven.slot("A")) is QuarantineReason.NONE
    driven.delta("A", "0.4600", "-1.00")
    assert not no_quote(driven.bench, driven.slot("A"))
    assert driven.bench.get(Counter.CROSSED) == 1


def test_crossed_twice_is_quarantine_until_a_fresh_uncrossed_snapshot(driven: Driven) -> None:
    driven.healthy("A", "B")
    slot = driven.slot("A")
    driven.delta("A", "0.4600", "1.00")
    driven.delta("A", "0.4700", "1.00")
    assert driven.bench.quarantine(slot) is QuarantineReason.CROSSED
    assert driven.feed.outbox.pop() == (0, ("get_snapshot", ("A",)))
    driven.delta("A", "0.4700", "-1.00")
    driven.delta("A", "0.4600", "-1.00")  # what it was before is not proof enough
    assert driven.bench.quarantine(slot) is QuarantineReason.CROSSED
    driven.snapshot("A", [["0.4600", "1.00"]], [["0.5500", "1.00"]])
    assert driven.bench.quarantine(slot) is QuarantineReason.CROSSED
    assert no_quote(driven.bench, slot)
    driven.healthy("A")
    assert driven.bench.quarantine(slot) is QuarantineReason.NONE
    assert not no_quote(driven.bench, slot)
    assert driven.bench.quarantine(driven.slot("B")) is QuarantineReason.NONE


def test_f09_a_crossed_book_is_a_corrupt_book_and_no_free_money(driven: Driven) -> None:
    yes, no = [["0.6000", "100.00"]], [["0.5000", "100.00"]]
    driven.snapshot("A", yes, no)
    asks = [10_000 - 5_000, 10_000 - 6_000]
    assert sum(asks) == 9_000  # the mistake: both sides for 90 cents, a dollar for certain
    assert driven.bench.cost(driven.slot("A")) == (NO_QUOTE, NO_QUOTE)
    assert sum(driven.bench.cost(driven.slot("A"))) > 1_000_000
    row = driven.bench.row(driven.slot("A"))
    assert (row.flags, row.yes_asks, row.no_asks) == (RowFlag.CROSSED, (), ())
    assert driven.bench.rows.verified(driven.slot("A")) == 0
