"""What survives a death, an exception and not knowing: attempts go on from the ledger, and causes are never forgotten."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from execution_bench import Plane, across, run
from process_bench import Bench, begun, bench, finished, requote

from arbpipe.errors import SafetyRefused
from arbpipe.identity import Venue
from arbpipe.ledger.book import Closing
from arbpipe.shm.row import Reason
from arbpipe.shm.stats import Counter
from arbpipe.shm.tables import BreakerView, Quarantine, QuarantineReason
from arbpipe.venues.base import Action, Order, Outcome, OutcomeState

pytestmark = pytest.mark.usefixtures("processes")

_RETRY_NS = 30_000_000_000


# --- a start ----------------------------------------------------------------------------------------------------------


def test_a_start_settles_what_was_in_flight_and_goes_on(plane: Plane, tmp_path: Path) -> None:
    with bench(plane, tmp_path) as made:
        record = begun(made)
        intent = made.ledger.intents(record.attempt)[0][0]
        run(made.gateways[Venue.KALSHI].place(intent.order))  # it reached the venue; nobody wrote down what came of it
    with bench(plane, tmp_path) as made:
        made.recover()
        totals = made.ledger.totals()
        assert (totals["attempts"], totals["balanced"], totals["open"]) == (1, 1, 0)
        assert made.differences() == []
        assert made.ledger.intents(record.attempt)[0][0].order.client_id == intent.order.client_id


def test_an_open_attempts_group_is_closed_to_others_while_it_is_settled(plane: Plane, tmp_path: Path) -> None:
    with bench(plane, tmp_path) as made:
        begun(made)
    with bench(plane, tmp_path) as made:

        async def work() -> None:
            await made.executor.recover()
            plane.ring.push(across(plane))
            made.executor.take_all()
            assert made.stats(across(plane).cover)["x_gate"] == Reason.BUSY
            await finished()

        run(work())
        assert made.ledger.totals()["none"] == 1


def test_a_ledger_that_disagrees_with_the_venue_does_not_trade(plane: Plane, tmp_path: Path) -> None:
    with bench(plane, tmp_path) as made:
        made.ledger._db.execute("UPDATE cash SET e6 = e6 + 1 WHERE venue = 1")
        with pytest.raises(SafetyRefused, match=r"the ledger does not agree with the venues: cash: the ledger has \$"):
            run(made.executor.recover())
        assert "LEDGER kalshi: cash" in made.alerts


def lose(made: Bench, loss_e6: int) -> None:
    """An attempt that ended with a realised loss, written down by a process that died before it looked at the sum."""
    record = begun(made)
    for intent, _ in made.ledger.intents(record.attempt):
        made.ledger.outcome(record.attempt, intent, Outcome(OutcomeState.NONE))
    made.ledger.close(record.attempt, Closing("unwound", 0, 0, -loss_e6, 0, 0))


@pytest.mark.parametrize(("loss", "trips"), [(1_000_000, False), (1_000_001, True)])
def test_f62_a_loss_whose_trip_a_kill_prevented_trips_at_the_next_start(
    plane: Plane, tmp_path: Path, loss: int, trips: bool
) -> None:
    limit = {"max_daily_loss_usd": "1"}
    with bench(plane, tmp_path, breaker=limit) as made:
        lose(made, loss)
        assert not made.breaker.tripped  # this is where it was killed
    with bench(plane, tmp_path, breaker=limit) as made:
        made.recover()
        assert made.breaker.tripped == trips
        if trips:
            assert made.breaker.last == "lost $1.000001 today, allowed are $1"

        assert made.ledger.open_attempts() == ()  # the mistake, looking only at what is open, finds nothing


def test_f62_an_unwinds_loss_trips_the_breaker_one_micro_dollar_above_the_limit(plane: Plane, tmp_path: Path) -> None:
    with bench(plane, tmp_path, breaker={"max_daily_loss_usd": "1"}) as made:
        lose(made, 1_000_000)
        made.executor._trip_if_due()
        assert not made.breaker.tripped
        made.ledger._db.execute("UPDATE attempts SET realised_e6 = realised_e6 - 1")
        made.executor._trip_if_due()
        assert made.breaker.last == "lost $1.000001 today, allowed are $1"


# --- errors in a row --------------------------------------------------------------------------------------------------


def refuse(_: Order) -> Any:
    async def answer() -> Outcome:
        return Outcome(OutcomeState.REJECTED, (), "not today")

    return answer()


def test_refusals_in_a_row_trip_the_breaker_and_a_good_attempt_begins_a_new_row(plane: Plane, tmp_path: Path) -> None:
    with bench(plane, tmp_path, breaker={"max_consecutive_errors": 2}) as made:
        honest = made.gateways[Venue.KALSHI].place, made.gateways[Venue.POLYMARKET].place
        for refused in (True, True, False, True, True, True):
            assert not made.breaker.tripped
            for venue, place in zip(Venue, honest, strict=True):
                made.placing(venue, refuse if refused else place)
            requote(plane)
            made.take(across(plane))
        assert made.ledger.totals()["attempts"] == 6
        assert made.breaker.last == "3 attempts in a row had an order refused"


# --- stuck ------------------------------------------------------------------------------------------------------------


def lost_answer(made: Bench, venue: Venue) -> None:
    """Orders of the venue are executed, and nobody hears of it."""
    honest = made.gateways[venue].place

    async def place(order: Order) -> Outcome:
        await honest(order)
        return Outcome(OutcomeState.UNKNOWN, (), "time-out")

    made.placing(venue, place)


def test_an_order_that_is_known_only_later_is_settled_half_a_minute_later(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbpipe.executor.attempt._LOOKUPS", 1)
    with bench(plane, tmp_path) as made:
        lost_answer(made, Venue.KALSHI)
        made.blind()
        made.take(across(plane))
        (stuck,) = made.ledger.open_attempts()
        assert (stuck.state, made.get(Counter.UNRESOLVED)) == ("stuck", 1)
        requote(plane)
        made.take(across(plane))
        assert made.stats(across(plane).cover)["x_gate"] == Reason.BUSY

        made.retry()  # its first look finds nothing new
        made.see()
        made.retry()
        assert [each.state for each in made.ledger.open_attempts()] == ["stuck"], "half a minute has not passed"
        made.executor._next_retry_ns -= _RETRY_NS
        made.retry()
        assert made.ledger.open_attempts() == ()
        totals = made.ledger.totals()
        assert (totals["balanced"], totals["exposure_e6"], made.get(Counter.UNRESOLVED)) == (1, 0, 0)
        assert made.differences() == []
        requote(plane)
        made.take(across(plane))
        assert made.ledger.totals()["attempts"] == 2  # the group is free again


def test_a_stuck_attempt_is_settled_again_at_the_next_start(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbpipe.executor.attempt._LOOKUPS", 1)
    with bench(plane, tmp_path) as made:
        lost_answer(made, Venue.POLYMARKET)
        made.blind()
        made.take(across(plane))
        assert [each.state for each in made.ledger.open_attempts()] == ["stuck"]
    with bench(plane, tmp_path) as made:
        made.recover()
        assert made.ledger.open_attempts() == ()
        assert made.ledger.totals()["balanced"] == 1
        assert made.differences() == []


def test_a_stuck_attempt_counts_and_alerts_once_however_often_it_is_found(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbpipe.executor.attempt._LOOKUPS", 1)
    with bench(plane, tmp_path) as made:
        begun(made)
    for _ in range(3):
        with bench(plane, tmp_path) as made:
            made.blind()
            made.recover()
            before = made.alerts
            for _ in range(3):
                made.executor._next_retry_ns = 0
                made.retry()
            assert made.get(Counter.UNRESOLVED) == 1
            assert made.alerts == before
            made.take(across(plane))
            assert made.stats(across(plane).cover)["x_gate"] == Reason.BUSY
            assert not made.breaker.tripped


def test_trying_again_is_no_attempt_and_no_further_error(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbpipe.executor.attempt._LOOKUPS", 1)
    causes = {"max_consecutive_errors": 1, "max_attempts_per_minute": 1}
    with bench(plane, tmp_path, breaker=causes) as made:
        lost_answer(made, Venue.KALSHI)
        made.blind()
        made.take(across(plane))
        for _ in range(3):
            made.executor._next_retry_ns = 0
            made.retry()
        assert [each.state for each in made.ledger.open_attempts()] == ["stuck"]
        assert not made.breaker.tripped, made.breaker.last


def test_too_many_unresolved_attempts_trip_the_breaker_at_a_start(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbpipe.executor.attempt._LOOKUPS", 1)
    with bench(plane, tmp_path, breaker={"max_unresolved": 0}) as made:
        made.ledger.close(begun(made).attempt, Closing("exposure", 0, 0, 0, 0, 1))
    with bench(plane, tmp_path, breaker={"max_unresolved": 0}) as made:
        made.blind()
        made.recover()
        assert made.breaker.last == "1 attempts are unresolved"


# --- an exception -----------------------------------------------------------------------------------------------------


def failing(made: Bench, times: int) -> None:
    """The ledger cannot write an outcome so many times."""
    honest, left = made.ledger.outcome, [times]

    def outcome(*args: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise sqlite3.OperationalError("database or disk is full")
        honest(*args)

    vars(made.ledger)["outcome"] = outcome


def test_an_attempt_that_failed_trips_the_breaker_and_is_settled_once_more(plane: Plane, tmp_path: Path) -> None:
    with bench(plane, tmp_path) as made:
        failing(made, 2)  # both legs' outcomes are lost; the venue has them
        made.take(across(plane))
        assert made.breaker.tripped
        assert made.breaker.last == "an attempt failed: OperationalError"
        assert "an attempt failed: OperationalError: database or disk is full" in made.alerts
        totals = made.ledger.totals()
        assert (totals["balanced"], totals["open"]) == (1, 0)
        assert made.differences() == []


def test_an_attempt_that_fails_again_stays_open_and_keeps_its_group_until_the_next_start(
    plane: Plane, tmp_path: Path
) -> None:
    with bench(plane, tmp_path) as made:
        failing(made, 1_000)
        made.take(across(plane))
        (attempt,) = made.ledger.open_attempts()
        assert attempt.state == "open"
        assert set(made.executor._conflicts.busy) == {attempt.record.attempt}
        assert made.plane.segment.fields("breaker")["trips"] == 2
        assert made.get(Counter.IN_FLIGHT) == 0
    with bench(plane, tmp_path) as made:
        assert made.breaker.tripped  # a person has to look at it
        made.recover()
        assert made.ledger.totals()["balanced"] == 1
        assert made.differences() == []


# --- lowering risk is always allowed ----------------------------------------------------------------------------------


def kill(plane: Plane) -> None:
    plane.segment.region.store_u32(BreakerView(plane.segment).kill_at, 1)


def trip(plane: Plane) -> None:
    plane.segment.region.store_u64(BreakerView(plane.segment).trips_at, 9)


def quarantine(plane: Plane) -> None:
    for key in ("kalshi:A", "polymarket:0x01"):
        Quarantine(plane.segment, "operator").set(plane.listing(key).slot, QuarantineReason.OPERATOR)


@pytest.mark.parametrize("stop", [kill, trip, quarantine])
@pytest.mark.parametrize("mistaken", [False, True], ids=["right", "mistaken"])
def test_f64_what_stops_buying_never_stops_an_unwind(
    plane: Plane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: Callable[[Plane], None], mistaken: bool
) -> None:
    monkeypatch.setattr("arbpipe.executor.attempt._PATIENCE_NS", 300_000_000)
    with bench(plane, tmp_path) as made:
        sent: list[Order] = []
        honest = made.gateways[Venue.POLYMARKET].place

        async def kalshi(order: Order) -> Outcome:
            while not await made.gateways[Venue.POLYMARKET].positions():
                await asyncio.sleep(0.001)
            stop(plane)  # one leg is bought, the other is about to be
            return Outcome(OutcomeState.REJECTED, (), "not today")

        async def polymarket(order: Order) -> Outcome:
            sent.append(order)
            if mistaken and order.action is Action.SELL:  # the mistake: whatever stops orders stops all of them
                return Outcome(OutcomeState.REJECTED, (), "stopped")
            return await honest(order)

        made.placing(Venue.KALSHI, kalshi)
        made.placing(Venue.POLYMARKET, polymarket)
        made.take(across(plane))
        totals = made.ledger.totals()
        assert sent[0].action is Action.BUY
        assert {order.action for order in sent[1:]} == {Action.SELL}
        assert (totals["unwound"], totals["exposure_e6"]) == ((0, 10_000_000) if mistaken else (1, 0))
        assert made.differences() == []
