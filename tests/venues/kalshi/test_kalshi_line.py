"""One connection's subscriptions without a socket: what is asked, what is overdue, what is given up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arbpipe.venues.kalshi.codec import ErrorFrame, Ok, Snapshot, Subscribed
from arbpipe.venues.kalshi.line import Line

SECOND = 1_000_000_000
QUIET = 1 << 60


class Owner:
    """Keeps what the line says and sends."""

    def __init__(self, *wanted: str) -> None:
        self.sent: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.events: list[Any] = []
        self.line = Line(0, self, lambda text: self.sent.append(json.loads(text)), limit=500, lifecycle=False)
        self.line.wanted = dict.fromkeys(wanted)
        self.line.opened(0)
        self.sent, first = [], self.sent
        assert len(first) == bool(wanted)
        self.id = first[0]["id"] if first else 0

    def ended(self, line: Line) -> None:
        self.events.append("ended")

    def overflow(self, line: Line, tickers: tuple[str, ...]) -> None:
        self.events.append(("overflow", tickers))

    def dropped(self, line: Line, tickers: tuple[str, ...]) -> None:
        self.events.append(("dropped", tickers))

    def complain(self, text: str) -> None:
        self.said.append(text)

    def subscribed(self, *snapshots: str) -> None:
        self.line.heard(Subscribed(1, 0, self.id, "orderbook_delta"), SECOND)
        for seq, ticker in enumerate(snapshots, 1):
            self.line.heard(Snapshot(1, seq, ticker, (), ()), SECOND)

    def asked(self) -> list[tuple[str, list[str]]]:
        """What was sent since the last call: action and markets."""
        sent, self.sent = self.sent, []
        return [(each["params"].get("action", each["cmd"]), each["params"]["market_tickers"]) for each in sent]


def test_a_market_without_a_snapshot_is_asked_for_once_more_and_then_told() -> None:
    owner = Owner("A", "B")
    owner.subscribed("A")
    assert owner.line.tick(4 * SECOND, QUIET) == ""
    assert owner.asked() == []
    assert owner.line.tick(6 * SECOND, QUIET) == ""
    assert owner.asked() == [("get_snapshot", ["B"])]
    owner.line.heard(ErrorFrame(1, 2, owner.line._last_id, 14, "Market Ticker required"), 7 * SECOND)
    assert owner.line.tick(12 * SECOND, QUIET) == ""
    assert owner.asked() == []
    assert owner.said[-1] == "kalshi:B was subscribed and gets no snapshot: it has no quote"
    assert owner.line.tick(60 * SECOND, QUIET) == ""  # one market's trouble is not the connection's


def test_a_command_that_nobody_answers_ends_the_connection() -> None:
    owner = Owner("A")
    assert owner.line.tick(5 * SECOND, QUIET) == ""
    assert owner.line.tick(5 * SECOND + 1, QUIET) == "no answer to subscribe for 5 s"


def test_what_is_wanted_while_the_subscription_is_made_is_added_when_it_is() -> None:
    owner = Owner("A", "B")
    owner.line.wanted = {"B": None, "C": None}
    owner.line.sync(0)
    assert owner.asked() == []
    owner.subscribed("A", "B")
    assert owner.asked() == [("delete_markets", ["A"]), ("add_markets", ["C"])]


def test_a_deleted_market_is_dropped_when_the_venue_says_so_also_one_that_is_to_come_back() -> None:
    """If its adding is refused nobody corrects its book any more; if not, its snapshot comes after this."""
    owner = Owner("A", "B", "C")
    owner.subscribed("A", "B", "C")
    owner.line.wanted = {"C": None}
    owner.line.sync(SECOND)
    (action, gone), number = owner.asked()[0], owner.line._last_id
    assert (action, sorted(gone)) == ("delete_markets", ["A", "B"])
    owner.line.wanted["B"] = None
    owner.line.sync(SECOND)
    owner.line.heard(Ok(1, 4, number), SECOND)
    assert [(kind, sorted(gone)) for kind, gone in owner.events] == [("dropped", ["A", "B"])]


def test_an_outstanding_snapshot_is_not_asked_for_twice() -> None:
    owner = Owner("A", "B")
    owner.subscribed("A", "B")
    owner.line.snapshots(["A"], SECOND)
    owner.line.snapshots(["A", "B", "not ours"], SECOND)
    assert owner.asked() == [("get_snapshot", ["A"]), ("get_snapshot", ["B"])]


@pytest.mark.parametrize("code", [10, 25])
def test_the_second_end_in_a_row_waits_and_half_a_minute_of_peace_forgets_it(code: int) -> None:
    owner = Owner("A")
    owner.subscribed("A")
    now = SECOND
    for wait_ms in (0, 500, 1_000, 2_000):
        owner.line.heard(ErrorFrame(1, 2, 0, code, "over"), now)
        due = now + wait_ms * 1_000_000
        if wait_ms:
            owner.line.tick(due - 1, QUIET)
            assert owner.asked() == []
            owner.line.tick(due, QUIET)
        assert owner.asked() == [("subscribe", ["A"])]
        owner.line.heard(Subscribed(1, 0, owner.line._last_id, "orderbook_delta"), due)
        owner.line.heard(Snapshot(1, 1, "A", (), ()), due)
        now = due
    owner.line.tick(now + 31 * SECOND, QUIET)
    owner.line.heard(ErrorFrame(1, 2, 0, code, "over"), now + 31 * SECOND)
    assert owner.asked() == [("subscribe", ["A"])]
    assert owner.events == ["ended"] * 5


def test_half_of_a_first_subscription_that_is_too_large_goes_elsewhere() -> None:
    owner = Owner(*"ABCDE")
    owner.line.heard(ErrorFrame(0, 0, owner.id, 26, "limit"), 0)
    assert owner.events == [("overflow", ("C", "D", "E"))]
    assert owner.asked() == [("subscribe", ["A", "B"])]
    assert owner.line.limit == 2


def test_all_that_was_added_to_a_full_subscription_goes_elsewhere() -> None:
    owner = Owner("A", "B")
    owner.subscribed("A", "B")
    owner.line.wanted |= {"C": None, "D": None}
    owner.line.sync(SECOND)
    owner.asked()
    owner.line.heard(ErrorFrame(1, 3, owner.line._last_id, 26, "limit"), SECOND)
    assert owner.events == [("overflow", ("C", "D"))]
    assert (list(owner.line.wanted), owner.line.limit) == (["A", "B"], 2)


def test_silence_is_asked_about_once_a_period_and_every_market_has_its_turn() -> None:
    owner = Owner("A", "B")
    owner.subscribed("A", "B")
    now, names = SECOND, []
    for _ in range(4):
        now += 2 * SECOND
        owner.line.tick(now - 1, 2 * SECOND)
        assert owner.asked() == []
        owner.line.tick(now, 2 * SECOND)
        owner.line.tick(now + 1, 2 * SECOND)
        ((_, (name,)),) = owner.asked()
        names.append(name)
        owner.line.heard(Snapshot(1, 3, name, (), (), id=owner.line._last_id), now)
    assert names in (["A", "B", "A", "B"], ["B", "A", "B", "A"])
