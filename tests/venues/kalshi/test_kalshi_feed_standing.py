"""What the venue says of a market stands above its book."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from feed_bench import Bench, encoded
from kalshi_driven import Driven, no_quote

import arbpipe.venues.kalshi
from arbpipe.clock import boottime_ns, wall_ns
from arbpipe.shm.row import RowFlag
from arbpipe.venues.kalshi.codec import decode_rest_book
from arbpipe.venues.kalshi.feed import KalshiFeed
from arbpipe.venues.kalshi.standing import Exchange, Facts, Standing

LATER_MS = 3_600_000


def facts(**changes: Any) -> Facts:
    values: dict[str, Any] = {
        "status": "active",
        "event_ticker": "EV",
        "exchange_index": 0,
        "tick_e4": 100,
        "close_ms": wall_ns() // 1_000_000 + LATER_MS,
    }
    return Facts(**(values | changes))


class Stood(Driven):
    """A feed whose markets trade only as far as the venue says so; A and B are active."""

    def __init__(self, made: Bench) -> None:
        super().__init__(made)
        self.feed = KalshiFeed(made.publisher, use_yes_price=False, standing=Standing(strict=True, lag_ns=0))
        self.feed.list(self.generation)
        self.now = boottime_ns()
        self.feed.opened(0, self.now)
        self.feed.standing.hearing(True, self.now)
        self.feed.standing.exchange(Exchange(True, True), self.now)
        for ticker in ("A", "B"):
            self.state(ticker, facts())
        self.lifecycles = 0

    def state(self, ticker: str, said: Facts | None) -> None:
        """The venue states this of a market now, and that its fee is the one we price with."""
        self.feed.standing.facts(ticker, said, self.now)
        self.feed.standing.fee(ticker, "", self.now)
        self.feed.restand(1)

    def lifecycle(self, kind: str, ticker: str = "A", **more: Any) -> None:
        self.lifecycles += 1
        msg = {"event_type": kind, "market_ticker": ticker, **more}
        self.raw(encoded({"type": "market_lifecycle_v2", "sid": 2, "seq": self.lifecycles, "msg": msg}))

    def flags(self, ticker: str) -> RowFlag:
        return self.bench.flags(self.slot(ticker))


@pytest.fixture
def stood(kalshi_bench: Bench) -> Stood:
    made = Stood(kalshi_bench)
    made.healthy("A", "B")
    assert not made.flags("A")
    return made


def test_until_the_venue_says_that_it_trades_a_book_is_no_quote(kalshi_bench: Bench) -> None:
    made = Stood(kalshi_bench)
    made.state("A", None)
    made.healthy("A", "B")
    assert made.flags("A") == RowFlag.HALTED
    assert no_quote(kalshi_bench, made.slot("A"))
    made.state("A", facts())
    assert kalshi_bench.row(made.slot("A")).yes_asks == ((4_500, 2_000),)  # from the book that was there all the time


def test_a_close_that_nobody_announces_ends_the_quote(stood: Stood) -> None:
    stood.state("A", facts(close_ms=wall_ns() // 1_000_000 - 1))
    assert stood.flags("A") == RowFlag.HALTED
    stood.delta("A", "0.4100", "1.00")
    assert no_quote(stood.bench, stood.slot("A"))
    assert not stood.flags("B")


def test_a_pause_of_its_shard_withdraws_a_market_and_its_end_brings_it_back(stood: Stood) -> None:
    stood.state("B", facts(exchange_index=3))
    stood.feed.standing.exchange(Exchange(True, True, {0: (True, True), 3: (True, False)}), stood.now)
    stood.feed.restand(1)
    assert (stood.flags("A"), stood.flags("B")) == (RowFlag.NONE, RowFlag.HALTED)
    stood.feed.standing.exchange(Exchange(True, True, {0: (True, True), 3: (True, True)}), stood.now)
    stood.feed.restand(1)
    assert not stood.flags("B")


def test_f10_a_new_grid_leaves_no_price_of_the_old_one_standing(stood: Stood) -> None:
    before = stood.bench.row(stood.slot("A"))
    stood.lifecycle(
        "price_level_structure_updated",
        price_level_structure="deci_cent",
        price_ranges=[{"start": "0.0000", "end": "1.0000", "step": "0.0010"}],
    )
    assert no_quote(stood.bench, stood.slot("A"))
    assert stood.feed.outbox.pop() == (0, ("get_snapshot", ("A",)))
    stood.snapshot("A", [["0.4000", "10.00"]], [["0.5490", "20.00"]])
    row = stood.bench.row(stood.slot("A"))
    assert (row.tick_e4, row.yes_asks) == (10, ((4_510, 2_000),))
    assert before.tick_e4 == 100

    def mistaken(price_e4: int) -> int:  # the mistake: prices on the grid of when it was listed
        return price_e4 // before.tick_e4 * before.tick_e4

    assert mistaken(row.yes_asks[0][0]) == 4_500  # an order that nobody can fill


def test_a_change_of_fees_stops_the_events_markets_until_they_are_read_again(stood: Stood) -> None:
    stood.state("B", facts(event_ticker="OTHER"))
    stood.lifecycles += 1
    msg = {"event_ticker": "EV", "fee_type_override": None, "fee_multiplier_override": 0.5}
    stood.raw(encoded({"type": "event_fee_update", "sid": 2, "seq": stood.lifecycles, "msg": msg}))
    assert (stood.flags("A"), stood.flags("B")) == (RowFlag.NOT_TRADEABLE, RowFlag.NONE)
    assert stood.feed.stirred
    assert ["the fees of EV were changed" in line for line in stood.bench.alerts()] == [True]
    stood.state("A", facts())
    assert not stood.flags("A")


def test_a_gap_makes_the_venue_be_asked_because_a_lifecycle_frame_may_be_what_was_lost(stood: Stood) -> None:
    stood.lifecycle("activated", "OTHER")
    assert not stood.feed.stirred
    stood.lifecycles += 1
    stood.lifecycle("activated", "OTHER")
    assert stood.feed.stirred
    stood.feed.restand(1)
    assert stood.flags("A") == RowFlag.HALTED  # until it is stated again; its book is as it was
    stood.state("A", facts())
    assert not stood.flags("A")
    assert not stood.feed.outbox


def test_a_frame_of_another_subscription_that_cannot_be_read_voids_no_book_and_makes_the_venue_be_asked(
    stood: Stood,
) -> None:
    bad = {"event_type": "created", "market_ticker": "NEW", "price_ranges": [{"start": "0", "end": "7", "step": "x"}]}
    stood.lifecycles += 1
    stood.raw(encoded({"type": "market_lifecycle_v2", "sid": 2, "seq": stood.lifecycles, "msg": bad}))
    assert not stood.feed.outbox
    assert stood.feed.stirred
    stood.lifecycle("activated", "OTHER")
    assert not stood.feed.outbox  # its number was read: no gap either


def test_a_word_of_tomorrow_stops_its_market_and_a_frame_of_tomorrow_voids_the_books(stood: Stood) -> None:
    stood.lifecycle("suspended")
    assert (stood.flags("A"), stood.flags("B")) == (RowFlag.HALTED, RowFlag.NONE)
    stood.seq += 1
    stood.raw(encoded({"type": "orderbook_reset", "sid": 1, "seq": stood.seq, "msg": {"market_ticker": "B"}}))
    assert no_quote(stood.bench, stood.slot("B"))
    assert {ticker for _, (_, tickers) in stood.feed.outbox for ticker in tickers} == {"A", "B"}


def test_f11_a_rest_book_confirms_no_edge(stood: Stood) -> None:
    """A cache may serve it 15 s late: no module of the live feed or the gateway so much as asks for it."""
    late = b'{"orderbook_fp":{"yes_dollars":[["0.4000","10.00"]],"no_dollars":[["0.5500","20.00"]]}}'
    stood.delta("A", "0.5500", "-20.00", "no")  # 0.45 was taken; the cache does not know yet
    stood.delta("A", "0.5000", "20.00", "no")
    now_asked = stood.bench.row(stood.slot("A")).yes_asks
    assert now_asked == ((5_000, 2_000),)

    def mistaken(body: bytes) -> int:  # the mistake: look once more by REST before sending
        book = decode_rest_book(body)
        return 10_000 - max(price for price, _ in book.no)

    assert mistaken(late) == 4_500 < now_asked[0][0]
    folder = Path(arbpipe.venues.kalshi.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("/markets"):
                assert "orderbook" not in node.value, f"{path.name}: {node.value}"
