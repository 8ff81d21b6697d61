"""The story of an attempt says what the ledger says, in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from execution_bench import listing, open_ledger, record_of

from arbpipe.cli.story import best_attempt, events_of, find_attempt, story_lines
from arbpipe.identity import Side, Venue
from arbpipe.ledger.book import Closing, IntentRecord, Ledger
from arbpipe.venues.base import Action, Fill, Order, Outcome, OutcomeState

A, B = "ab" + "0" * 30, "ac" + "0" * 30


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = open_ledger(tmp_path / "l.sqlite")
    yield made
    made.store.close()


def intent(attempt: str, leg: int, step: int = 0, action: Action = Action.BUY) -> IntentRecord:
    each = listing("0x" + "12" * 32, Venue.POLYMARKET) if leg else listing("K")
    order = Order(
        f"ap-{attempt}-{leg}-{step}", each.venue, each.uid, each.native_id, Side(leg), action, 1_000, 4_000
    )  # fmt: skip
    return IntentRecord(order, leg, step, leg, 4_000_000)


def told(ledger: Ledger) -> None:
    legs = [intent(A, 0), intent(A, 1)]
    ledger.begin(record_of(A), legs, lambda usage: None)
    ledger.resize(A, legs[1].order.client_id, 600, 2_400_000)
    ledger.outcome(A, legs[0], Outcome(OutcomeState.FILLED, (Fill("f", 10_000_000, 4_000, 168_000, -4_168_000),)))
    ledger.outcome(A, legs[1], Outcome(OutcomeState.REJECTED, (), "the venue refused"))
    ledger.add_intents(A, [intent(A, 0, 1, Action.SELL)])
    ledger.close(A, Closing("unwound", 0, 0, -250_000, 0, 0))


def test_the_story_is_every_event_in_order(ledger: Ledger) -> None:
    told(ledger)
    lines = story_lines(ledger.store, A)
    assert lines[0].startswith("attempt ab000000 at ")
    assert lines[0].endswith(" UTC: cover, 10.00 sets, each pays $1")
    says = [line.split(" ms", 1)[-1].strip() for line in lines[1:]]
    assert says == [
        "planned   leg 1: buy 10.00 YES of kalshi:K at 0.4000 or better",
        "planned   leg 2: buy 10.00 NO of polymarket:0x12121212…1212 at 0.4000 or better",
        "resized   leg 2 to 6.00",
        "filled    leg 1",
        "10 at 0.4000, fee $0.168000, cash $-4.168000",
        "rejected  leg 2 the venue refused",
        "then      leg 1 (step 1): sell 10.00 YES of kalshi:K at 0.4000 or better",
        "unwound   0 sets held, locked $0.000000, realised $-0.250000",
    ]
    assert all(len(line) <= 110 for line in lines)


def test_events_carry_their_number_time_and_kind(ledger: Ledger) -> None:
    told(ledger)
    events = events_of(ledger.store, A)
    assert [event["kind"] for event in events] == ["attempt", "resized", "outcome", "outcome", "step", "closed"]
    assert [event["seq"] for event in events] == list(range(2, 8))
    assert [event["at_ns"] for event in events] == sorted(event["at_ns"] for event in events)


def test_an_attempt_is_found_by_the_beginning_of_its_id_if_there_is_one(ledger: Ledger) -> None:
    for attempt in (A, B):
        ledger.begin(record_of(attempt), (), lambda usage: None)
    assert find_attempt(ledger.store, "ab") == A
    assert find_attempt(ledger.store, A) == A
    for text in ("a", "zz", "%b", "_b"):
        assert find_attempt(ledger.store, text) is None, text


def test_the_best_attempt_is_the_one_that_locked_most(ledger: Ledger) -> None:
    assert best_attempt(ledger.store) is None
    for attempt, closing in ((A, Closing("balanced", 5, 10, 0, 0, 0)), (B, Closing("balanced", 5, 30, 0, 0, 0))):
        ledger.begin(record_of(attempt), (), lambda usage: None)
        ledger.close(attempt, closing)
    ledger.begin(record_of("f" * 32), (), lambda usage: None)
    ledger.close("f" * 32, Closing("unwound", 0, 90, 0, 0, 0))
    assert best_attempt(ledger.store) == B
