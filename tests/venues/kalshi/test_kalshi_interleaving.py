"""Whatever order things come in, a row is the venue's book or no quote, never something else.

A plain venue holds its books in dictionaries and numbers its frames; frames get lost, come twice, or come as garbage. After
each frame that arrives, every row must say what the venue's book was when that frame was sent, or nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from feed_bench import Bench, kalshi, toml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kalshi_driven import SECOND

from arbpipe.fixedpoint import MAX_SIZE_E2
from arbpipe.identity import Side
from arbpipe.venues.kalshi.book import KalshiBook
from arbpipe.venues.kalshi.codec import decode
from arbpipe.venues.kalshi.feed import KalshiFeed

TICKERS = ("A", "B", "C")
Asks = tuple[tuple[int, int], ...]


@dataclass
class PlainVenue:
    """Books as ``{(ticker, side): {price in cents: size in hundredths}}``, and frames of one subscription."""

    at_yes_prices: bool
    books: dict[tuple[str, str], dict[int, int]] = field(
        default_factory=lambda: {(ticker, side): {} for ticker in TICKERS for side in ("yes", "no")}
    )
    seq: int = 0

    def _frame(self, kind: str, msg: Any, **more: Any) -> bytes:
        self.seq += 1
        return json.dumps({"type": kind, "sid": 1, "seq": self.seq, "msg": msg, **more}).encode()

    def _price(self, side: str, cents: int) -> str:
        return f"0.{100 - cents if side == 'no' and self.at_yes_prices else cents:02d}00"

    def snapshot(self, ticker: str) -> bytes:
        msg: dict[str, Any] = {"market_ticker": ticker}
        for side in ("yes", "no"):
            levels = [[self._price(side, p), f"{s / 100:.2f}"] for p, s in sorted(self.books[ticker, side].items())]
            if levels:
                msg[f"{side}_dollars_fp"] = sorted(levels)
        return self._frame("orderbook_snapshot", msg)

    def change(self, ticker: str, side: str, cents: int, size: int) -> bytes:
        book = self.books[ticker, side]
        by = size - book.get(cents, 0)
        book[cents] = size
        if not size:
            del book[cents]
        msg = {
            "market_ticker": ticker,
            "side": side,
            "price_dollars": self._price(side, cents),
            "delta_fp": f"{by / 100:.2f}",
        }
        return self._frame("orderbook_delta", msg)

    def control(self, which: int) -> bytes:
        if which == 0:
            return self._frame("ok", {"market_tickers": list(TICKERS)}, id=3)
        if which == 1:
            return self._frame("error", {"code": 11, "msg": "Invalid parameter"}, id=4)
        if which == 2:
            return self._frame("a_kind_of_tomorrow", {"anything": [1, None]})
        return json.dumps({"type": "ok", "id": 9, "msg": [{"channel": "orderbook_delta", "sid": 1}]}).encode()

    def asks(self, ticker: str, side: str) -> Asks:
        other = self.books[ticker, "no" if side == "yes" else "yes"]
        levels = sorted((10_000 - 100 * cents, min(size, MAX_SIZE_E2)) for cents, size in other.items())
        return tuple(levels[:8])

    def crossed(self, ticker: str) -> bool:
        yes, no = self.books[ticker, "yes"], self.books[ticker, "no"]
        return bool(yes) and bool(no) and max(yes) + max(no) >= 100


FATES = st.sampled_from(("arrives",) * 8 + ("lost", "twice", "garbage", "late again"))
STEPS = st.one_of(
    st.tuples(
        st.just("change"),
        st.sampled_from(TICKERS),
        st.sampled_from(("yes", "no")),
        st.integers(38, 52),  # best bids of both sides meet around 50: crossed books happen
        st.sampled_from((0, 1, 150, 10_000, 140_647_486, 99_999_999_999)),
        FATES,
    ),
    st.tuples(st.just("snapshot"), st.sampled_from(TICKERS), FATES),
    st.tuples(st.just("control"), st.integers(0, 3), FATES),
)


def frame_of(venue: PlainVenue, step: tuple[Any, ...]) -> bytes:
    if step[0] == "change":
        return venue.change(*step[1:5])
    return venue.snapshot(step[1]) if step[0] == "snapshot" else venue.control(step[1])


class _Session:
    """One connection of the feed under test."""

    def __init__(self, made: Bench, feed: KalshiFeed, at_yes_prices: bool) -> None:
        self.made, self.feed = made, feed
        self.venue = PlainVenue(at_yes_prices)
        self.now = 1_000 * SECOND
        feed.opened(0, self.now)
        self.first = b""

    def arrive(self, frame: bytes) -> None:
        self.now += SECOND
        self.feed.frame(0, frame, 1, self.now)
        self.first = self.first or frame

    def step(self, step: tuple[Any, ...]) -> None:
        frame, fate = frame_of(self.venue, step), step[-1]
        if fate == "lost":
            return
        if fate == "garbage":
            self.arrive(frame[: len(frame) // 2])
            return
        self.arrive(frame)
        if fate == "twice":
            self.arrive(frame)
        elif fate == "late again":
            self.arrive(self.first)

    def shown(self, ticker: str) -> tuple[Asks, Asks] | None:
        """What somebody could trade on."""
        row = self.made.rows.read(self.made.first_slot + TICKERS.index(ticker))
        if row is None or row.flags or row.epoch != self.made.connections.epoch(row.connection):
            return None
        return row.yes_asks, row.no_asks

    def is_right(self) -> bool:
        for ticker in TICKERS:
            shown = self.shown(ticker)
            if shown is not None and shown != (self.venue.asks(ticker, "yes"), self.venue.asks(ticker, "no")):
                return False
        return True


def feed_of(made: Bench, at_yes_prices: bool) -> KalshiFeed:
    feed = KalshiFeed(made.publisher, use_yes_price=at_yes_prices)
    feed.list(made.generation(toml(*map(kalshi, TICKERS))))
    return feed


@pytest.mark.parametrize("at_yes_prices", [True, False], ids=["yes prices", "own prices"])
def test_any_interleaving_gives_the_reference_book_or_no_quote(kalshi_bench: Bench, at_yes_prices: bool) -> None:
    feed = feed_of(kalshi_bench, at_yes_prices)

    @settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(STEPS, max_size=40))
    def holds(steps: list[tuple[Any, ...]]) -> None:
        session = _Session(kalshi_bench, feed, at_yes_prices)
        for step in steps:
            session.step(step)
            if step[-1] != "lost":  # what nobody could know yet is no mistake
                assert session.is_right()
        # and it comes back: after a snapshot of each, every book that is not crossed is quoted
        for ticker in TICKERS:
            session.arrive(session.venue.snapshot(ticker))
        assert session.is_right()
        for ticker in TICKERS:
            assert (session.shown(ticker) is None) is session.venue.crossed(ticker)

    holds()


def test_a_reader_that_skips_control_frames_or_gaps_shows_a_wrong_book() -> None:
    """The same stream, read by one who believes every frame: the scenario is one that catches it."""
    venue = PlainVenue(at_yes_prices=False)
    book = KalshiBook("A", use_yes_price=False)
    stream = [
        venue.snapshot("A"),
        venue.change("A", "yes", 40, 500),
        venue.control(0),
        venue.change("A", "yes", 40, 150),
    ]
    venue.change("A", "no", 45, 100)  # lost
    stream.append(venue.change("A", "yes", 41, 100))

    def mistaken(frames: list[bytes]) -> None:
        for frame in map(decode, frames):
            if type(frame).__name__ == "Snapshot":
                book.apply_snapshot(frame)  # type: ignore[arg-type]
            elif type(frame).__name__ == "Delta":
                book.apply_delta(frame)  # type: ignore[arg-type]

    mistaken(stream)
    assert book.valid
    assert tuple(book.asks(Side.YES)) != venue.asks("A", "yes")
