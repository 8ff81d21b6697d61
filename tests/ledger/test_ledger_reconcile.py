"""Every difference between the ledger and a venue is found, to the last micro-dollar and the last part of a contract."""

from __future__ import annotations

from pathlib import Path

from execution_bench import CASH, Book, FakeGateway, everything, open_ledger, run
from hypothesis import given
from hypothesis import strategies as st

from arbpipe.identity import Side, Venue
from arbpipe.ledger.reconcile import Difference, compare, reconcile
from arbpipe.venues.base import Position

positions = st.dictionaries(st.integers(1, 4), st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=4).map(
    lambda held: [Position(uid, *sides) for uid, sides in held.items()]
)


@given(positions, positions, st.integers(0, 3), st.integers(0, 3))
def test_there_is_a_difference_exactly_where_something_differs(
    ours: list[Position], theirs: list[Position], cash: int, their_cash: int
) -> None:
    def held(side: list[Position]) -> dict[int, tuple[int, int]]:
        return {each.uid: (each.yes_e6, each.no_e6) for each in side if each.yes_e6 or each.no_e6}

    mine, other = held(ours), held(theirs)
    wrong = {uid for uid in mine.keys() | other.keys() if mine.get(uid) != other.get(uid)}
    found = compare("kalshi", ours, theirs, cash, their_cash)
    assert len(found) == len(wrong) + (cash != their_cash)


def test_a_difference_is_a_sentence_with_both_figures() -> None:
    assert compare("kalshi", [Position(255, 1_500_000, 0)], [], 1, 2) == [
        Difference("kalshi", "00000000000000ff: the ledger holds 1.5 YES and 0.0 NO, kalshi says 0.0 and 0.0"),
        Difference("kalshi", "cash: the ledger has $0.000001, kalshi $0.000002"),
    ]


def test_every_venue_is_asked(tmp_path: Path) -> None:
    ledger, book = open_ledger(tmp_path / "l.sqlite"), Book()
    gateways = [FakeGateway(venue, book, everything) for venue in Venue]
    assert run(reconcile(ledger, gateways)) == []
    book.positions[(Venue.POLYMARKET, 7, Side.NO)] = 1
    book.cash[Venue.KALSHI] = CASH[Venue.KALSHI] - 1
    assert [each.venue for each in run(reconcile(ledger, gateways))] == ["kalshi", "polymarket"]
    ledger.store.close()
