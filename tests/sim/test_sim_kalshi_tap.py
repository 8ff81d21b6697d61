"""The way out of a connection, without one: what is lost, doubled, held back, and in which order it comes out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from arbpipe.sim.kalshi_tap import Tap

BOOK = "orderbook_delta"


def numbered(tap: Tap, count: int) -> None:
    for number in range(count):
        tap.send(str(number), BOOK)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 12))
def test_frames_are_lost_first_then_doubled_then_untouched(lost: int, doubled: int, count: int) -> None:
    out: list[str] = []
    tap = Tap(out.append)
    tap.drop(BOOK, lost)
    tap.double(BOOK, doubled)
    tap.send("unnumbered")
    numbered(tap, count)
    wanted = [str(n) for n in range(lost, count) for _ in range(2 if n < lost + doubled else 1)]
    assert out == ["unnumbered", *wanted]


def test_other_channels_lose_nothing() -> None:
    out: list[str] = []
    tap = Tap(out.append)
    tap.drop("trade", 5)
    numbered(tap, 2)
    assert out == ["0", "1"]


def test_a_stop_holds_everything_in_order_and_only_its_own_number_ends_it() -> None:
    out: list[str] = []
    tap = Tap(out.append)
    tap.freeze(1, frozenset())
    tap.freeze(2, frozenset())
    numbered(tap, 2)
    tap.thaw(1, deliver=True)
    assert out == [], "a later freeze took its place"
    tap.thaw(2, deliver=True)
    assert out == ["0", "1"]


def test_frozen_books_are_told_whether_to_send_or_only_to_count() -> None:
    told: list[bool] = []
    tap = Tap(lambda _: None)
    tap.freeze(1, frozenset({"A"}))
    assert tap.holds("A", told.append)
    assert not tap.holds("B", told.append)
    assert not tap.holds(None, told.append)
    tap.thaw(1, deliver=False)
    assert told == [False]
    assert not tap.holds("A", told.append), "it is over"


def test_what_needs_a_number_waits_for_a_numbered_frame() -> None:
    tap = Tap(lambda _: None)
    tap.spoil("unknown_type")
    tap.spoil("not_json")
    assert tap.take_garbage(False) == ["not_json"]
    assert tap.take_garbage(True) == ["unknown_type"]
    assert tap.take_garbage(True) == []


def test_forgetting_delivers_what_was_held_and_loses_nothing_more() -> None:
    out: list[str] = []
    tap = Tap(out.append)
    tap.drop(BOOK, 5)
    tap.forget("gap")
    tap.freeze(1, frozenset())
    numbered(tap, 1)
    tap.forget(None)
    numbered(tap, 1)
    assert out == ["0", "0"]
