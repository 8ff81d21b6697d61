"""The ledger says what the venue says, whatever is traded, and what is reserved can never be spent twice."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, time
from itertools import count
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from execution_bench import CASH, FREE, KALSHI_FEE, POLYMARKET_FEE, listing, open_ledger, record_of, run
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.feemodel import FeeTerms
from arbpipe.identity import Side, Venue
from arbpipe.ledger.book import Closing, IntentRecord, Ledger, Usage
from arbpipe.ledger.days import day_start_ns
from arbpipe.ledger.reconcile import compare
from arbpipe.venues.base import Action, Fill, Order, Outcome, OutcomeState, Position
from arbpipe.venues.paper.account import PaperAccount

A, B = "a" * 32, "b" * 32
KALSHI, POLY = listing("K"), listing("P", Venue.POLYMARKET)
DAY = 86_400 * 1_000_000_000
_numbers = count()


@pytest.fixture(scope="module")
def fast() -> Iterator[Path]:
    """A folder in memory: what is tested is arithmetic, not the disk."""
    folder = Path(tempfile.mkdtemp(prefix="arbpipe-test-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = open_ledger(tmp_path / "ledger.sqlite")
    yield made
    made.store.close()


def intent(
    attempt: str = A,
    leg: int = 0,
    *,
    step: int = 0,
    where: object = None,
    side: Side = Side.YES,
    action: Action = Action.BUY,
    size: int = 1_000,
    price: int = 4_000,
    reserved: int = 4_000_000,
) -> IntentRecord:
    each = KALSHI if where is None else where
    assert isinstance(each, type(KALSHI))
    order = Order(
        f"ap-{attempt}-{leg}-{step}",
        each.venue,
        each.uid,
        each.native_id,
        side,
        action,
        size,
        price,
        action is Action.SELL,
    )
    return IntentRecord(order, leg, step, leg, reserved)


def bought(each: IntentRecord, contracts: int, cash: int, *, released: int = 0, fill_id: str = "") -> Outcome:
    fill = Fill(fill_id or f"{each.order.client_id}.0", contracts * 1_000_000, 4_000, 0, cash, released)
    return Outcome(OutcomeState.FILLED, (fill,))


def allow(_: Usage) -> None:
    return None


# --- the ledger equals the venue --------------------------------------------------------------------------------------

trade = st.tuples(
    st.sampled_from((KALSHI, listing("K2"), POLY)),
    st.sampled_from(list(Side)),
    st.sampled_from(list(Action)),
    st.lists(st.tuples(st.integers(1, 9_999), st.integers(1, 900)), min_size=1, max_size=3, unique_by=lambda e: e[0]),
    st.integers(1, 2_000),
    st.booleans(),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(trade, min_size=1, max_size=14), st.sampled_from((FREE, KALSHI_FEE, POLYMARKET_FEE)))
def test_positions_and_cash_are_the_venues_after_any_buys_sells_and_nettings(
    fast: Path, trades: list[tuple[object, Side, Action, list[tuple[int, int]], int, bool]], fee: FeeTerms
) -> None:
    number = next(_numbers)
    account = PaperAccount(fast / f"venue-{number}.sqlite", CASH)
    ledger = open_ledger(fast / f"ledger-{number}.sqlite")
    for attempt in (A, B):
        assert ledger.begin(record_of(attempt), (), allow) is None
    for step, (where, side, action, levels, size, second) in enumerate(trades):
        assert isinstance(where, type(KALSHI))
        if action is Action.SELL and where.venue is Venue.POLYMARKET:
            size = min(size, account.held_e6(where.venue, where.uid, side) // 10_000)
            if not size:
                continue
        attempt = B if second else A
        limit = 9_999 if action is Action.BUY else 1
        each = intent(attempt, step=step, where=where, side=side, action=action, size=size, price=limit)
        ledger.add_intents(attempt, [each])
        shown = sorted(levels, reverse=action is Action.SELL)
        outcome = account.execute(each.order, shown, fee, size)
        ledger.outcome(attempt, each, outcome)
        ledger.outcome(attempt, each, account.execute(each.order, shown, fee, size))  # told twice, counted once
        for venue in Venue:
            found = compare(
                venue.label,
                ledger.positions(venue),
                account.positions(venue),
                ledger.cash()[venue],
                account.cash_e6(venue),
            )
            assert found == []
    assert ledger.usage().cash == ledger.cash()  # every outcome is known: nothing is reserved
    ledger.store.verify()
    ledger.store.close()
    account.close()


def test_kalshi_pairs_leave_both_lots_and_pay_a_dollar_each(ledger: Ledger) -> None:
    yes, no = intent(A, 0), intent(A, 1, side=Side.NO)
    ledger.begin(record_of(), [yes, no], allow)
    ledger.outcome(A, yes, bought(yes, 10, -4_000_000))
    ledger.outcome(A, no, bought(no, 6, 6_000_000 - 3_000_000, released=6_000_000))
    assert ledger.positions(Venue.KALSHI) == (Position(KALSHI.uid, 4_000_000, 0),)
    assert ledger.cash()[Venue.KALSHI] == CASH[Venue.KALSHI] - 4_000_000 + 3_000_000
    assert ledger.usage().total == 1_600_000  # what the four that are left have cost


def test_an_attempt_takes_its_own_lots_first_and_then_the_oldest(ledger: Ledger) -> None:
    for attempt, event in ((A, "one"), (B, "two")):
        each = intent(attempt)
        ledger.begin(record_of(attempt, event=event), [each], allow)
        ledger.outcome(attempt, each, bought(each, 10, -4_000_000))
    sell = intent(B, 0, step=1, action=Action.SELL, reserved=0)
    ledger.add_intents(B, [sell])
    ledger.outcome(B, sell, Outcome(OutcomeState.PARTIAL, (Fill("s", 4_000_000, 3_900, 0, 1_560_000),)))
    assert ledger.usage().event == {"one": 4_000_000, "two": 2_400_000}


def test_selling_what_was_netted_takes_the_dollar_again(ledger: Ledger) -> None:
    sell = intent(A, action=Action.SELL, reserved=0, size=300, price=4_500)
    ledger.begin(record_of(), [sell], allow)
    fill = Fill("f", 3_000_000, 4_500, 0, 1_350_000 - 3_000_000, -3_000_000)
    ledger.outcome(A, sell, Outcome(OutcomeState.FILLED, (fill,)))
    assert ledger.positions(Venue.KALSHI) == (Position(KALSHI.uid, 0, 3_000_000),)
    assert ledger.cash()[Venue.KALSHI] == CASH[Venue.KALSHI] - 1_650_000
    assert ledger.usage().total == 1_650_000


def test_more_sold_than_is_held_is_an_error_and_changes_nothing(ledger: Ledger) -> None:
    sell = intent(A, where=POLY, action=Action.SELL, reserved=0)
    ledger.begin(record_of(), [sell], allow)
    events = ledger.store.verify()
    with pytest.raises(ValueError, match=r"P: the venue moved 1\.0 contracts of YES, 1\.0 more than the ledger holds"):
        ledger.outcome(A, sell, bought(sell, 1, 400_000))
    assert (ledger.store.verify(), ledger.cash(), ledger.fills(A)) == (events, CASH, {})
    ledger.note("still", "", {})  # the chain goes on where it was
    assert ledger.store.verify() == events + 1


def test_f44_a_fill_told_twice_is_booked_once(ledger: Ledger) -> None:
    each = intent()
    ledger.begin(record_of(), [each], allow)
    answer = bought(each, 4, -1_600_000)
    more = replace(answer, fills=(*answer.fills, Fill("later", 6_000_000, 4_000, 0, -2_400_000)))
    story = (replace(answer, state=OutcomeState.UNKNOWN), more, more)
    for told in story:
        ledger.outcome(A, each, told)
    assert ledger.positions(Venue.KALSHI) == (Position(KALSHI.uid, 10_000_000, 0),)
    assert ledger.cash()[Venue.KALSHI] == CASH[Venue.KALSHI] - 4_000_000

    mistaken = sum(fill.qty_e6 for told in story for fill in told.fills)  # every message adds what it says
    assert mistaken == 24_000_000


# --- reservations -----------------------------------------------------------------------------------------------------


def test_a_refusal_stores_nothing(ledger: Ledger) -> None:
    events = ledger.store.verify()
    assert ledger.begin(record_of(), [intent()], lambda usage: "no") == "no"
    assert (ledger.store.verify(), ledger.open_attempts(), ledger.held_uids()) == (events, (), set())
    assert ledger.begin(record_of(), [intent()], allow) is None  # the same id is still free


def test_usage_is_what_is_reserved_plus_what_lots_have_cost(ledger: Ledger) -> None:
    one, two = intent(A, 0), intent(A, 1, where=POLY, side=Side.NO, reserved=5_500_000)
    ledger.begin(record_of(A, event="one", tails=True), [one, two], allow)
    usage = ledger.usage()
    assert usage.event == usage.tail_event == {"one": 9_500_000}
    assert usage.venue == {Venue.KALSHI: 4_000_000, Venue.POLYMARKET: 5_500_000}
    assert usage.cash == {
        Venue.KALSHI: CASH[Venue.KALSHI] - 4_000_000,
        Venue.POLYMARKET: CASH[Venue.POLYMARKET] - 5_500_000,
    }
    ledger.outcome(A, one, bought(one, 10, -3_900_000))
    ledger.outcome(A, two, Outcome(OutcomeState.UNKNOWN))
    usage = ledger.usage()
    assert (usage.total, usage.tail_total) == (3_900_000 + 5_500_000,) * 2
    assert usage.cash[Venue.KALSHI] == CASH[Venue.KALSHI] - 3_900_000
    ledger.outcome(A, two, Outcome(OutcomeState.NONE))
    assert ledger.usage().total == 3_900_000
    assert ledger.usage().cash[Venue.POLYMARKET] == CASH[Venue.POLYMARKET]


def test_an_order_that_goes_out_smaller_frees_the_rest(ledger: Ledger) -> None:
    each = intent()
    ledger.begin(record_of(), [each], allow)
    ledger.resize(A, each.order.client_id, 250, 1_000_000)
    assert ledger.usage().total == 1_000_000
    assert ledger.intents(A)[0][0].order.size_e2 == 250
    ledger.outcome(A, each, Outcome(OutcomeState.UNKNOWN))
    ledger.resize(A, each.order.client_id, 1, 1)  # it may be at the venue already
    assert ledger.usage().total == 1_000_000


def test_f61_simultaneous_attempts_never_pass_a_limit_together(ledger: Ledger) -> None:
    budget = 10_000_000

    def check(usage: Usage) -> str | None:
        return "limit" if usage.total + 4_000_000 > budget else None

    async def begin(number: int) -> str | None:
        await asyncio.sleep(0)
        return ledger.begin(record_of(f"{number:032x}"), [intent(f"{number:032x}")], check)

    async def all_at_once() -> list[str | None]:
        return await asyncio.gather(*(begin(number) for number in range(20)))

    assert run(all_at_once()).count(None) == 2
    assert ledger.usage().total == 8_000_000 <= budget


def test_f61_check_first_and_act_later_passes_the_limit(ledger: Ledger) -> None:
    """The mistake, in the same scenario."""

    async def mistaken(number: int) -> None:
        refused = ledger.usage().total + 4_000_000 > 10_000_000
        await asyncio.sleep(0)
        if not refused:
            ledger.begin(record_of(f"{number:032x}"), [intent(f"{number:032x}")], allow)

    async def all_at_once() -> None:
        await asyncio.gather(*(mistaken(number) for number in range(20)))

    run(all_at_once())
    assert ledger.usage().total == 80_000_000


# --- what follows -----------------------------------------------------------------------------------------------------


def test_attempts_intents_and_fills_survive_as_they_were_written(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "ledger.sqlite")
    one = intent(A, 0)
    two = intent(A, 1, where=POLY, side=Side.NO)
    record = replace(record_of(), plan={"propositions": 2, "group": ["00ff"], "claims": [[["00ff", 1]], []]})
    ledger.begin(record, [one, two], allow)
    answer = bought(one, 10, -4_000_000)
    ledger.outcome(A, one, answer)
    sell = intent(A, 0, step=1, action=Action.SELL, reserved=0)
    ledger.add_intents(A, [sell])
    ledger.store.close()
    again = open_ledger(tmp_path / "ledger.sqlite")
    (found,) = again.open_attempts()
    assert (found.record, found.state) == (record, "open")
    assert found.intents == ((one, OutcomeState.FILLED), (two, None), (sell, None))
    assert again.fills(A) == {one.order.client_id: answer.fills}
    assert again.held_uids() == {KALSHI.uid, POLY.uid}
    again.store.close()


def test_held_are_the_instruments_of_open_attempts_and_of_lots(ledger: Ledger) -> None:
    one, two = intent(A, 0), intent(A, 1, where=POLY)
    ledger.begin(record_of(), [one, two], allow)
    ledger.outcome(A, one, bought(one, 10, -4_000_000))
    ledger.outcome(A, two, Outcome(OutcomeState.NONE))
    assert ledger.held_uids() == {KALSHI.uid, POLY.uid}
    ledger.close(A, Closing("balanced", 0, 0, 0, 0, 0))
    assert ledger.held_uids() == {KALSHI.uid}


def test_an_exposure_stays_open_and_stuck(ledger: Ledger) -> None:
    ledger.begin(record_of(), [intent()], allow)
    ledger.close(A, Closing("exposure", 0, 0, 0, 0, 1))
    assert [each.state for each in ledger.open_attempts()] == ["stuck"]
    assert ledger.held_uids() == {KALSHI.uid}


def test_totals_count_every_attempt_once(ledger: Ledger) -> None:
    for number, result in enumerate(("balanced", "balanced", "unwound", "none")):
        ledger.begin(record_of(f"{number:032x}"), (), allow)
        ledger.close(f"{number:032x}", Closing(result, 1, 10, -3, 5, 0))
    ledger.begin(record_of(), (), allow)
    assert ledger.totals() == {
        "attempts": 5, "locked_e6": 40, "realised_e6": -12, "dust_e6": 20, "exposure_e6": 0,
        "balanced": 2, "unwound": 1, "open": 1, "none": 1, "dust": 0,
    }  # fmt: skip


def test_f62_losses_from_unwinding_reach_the_daily_sum(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    midnight = day_start_ns()
    for number, (at, closing) in enumerate(
        (
            (midnight - 1, Closing("unwound", 0, 0, -7_000_000, 0, 0)),  # yesterday's last instant
            (midnight, Closing("unwound", 0, 0, -2_000_000, 0, 0)),
            (midnight + 5, Closing("balanced", 10, 500_000, -300_000, 0, 0)),
            (midnight + 6, Closing("balanced", 10, -40_000, 0, 0, 0)),  # sets completed at a loss
        )
    ):
        ledger.begin(record_of(f"{number:032x}"), (), allow)
        monkeypatch.setattr("arbpipe.ledger.book.wall_ns", lambda at=at: at)
        ledger.close(f"{number:032x}", closing)
    assert ledger.realised_since(midnight) == -2_340_000  # locked gains are not realised, locked losses are
    assert ledger.realised_since(midnight - DAY) == -9_340_000

    def mistaken() -> int:
        """Only what balanced attempts brought counts: the unwinds are nobody's loss."""
        rows = ledger.store.db.execute("SELECT realised_e6 FROM attempts WHERE result = 'balanced'")
        return sum(row[0] for row in rows)

    assert mistaken() == -300_000


@given(
    st.integers(0, 4 * 10**18),
    st.sampled_from(("America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Sydney")),
)
def test_f62_a_day_of_any_zone_begins_at_its_latest_midnight(now: int, zone: str) -> None:
    def local(at_ns: int) -> datetime:
        return datetime.fromtimestamp(at_ns // 10**9, ZoneInfo(zone))

    start = day_start_ns(now, zone)
    assert start <= now < start + 25 * 3_600 * 10**9  # the longest day is that on which clocks go back
    assert local(start).time() == time(0)
    assert local(start).date() == local(now).date() != local(start - 1).date()


@given(st.integers(0, 4 * 10**18))
def test_f62_a_day_begins_at_its_own_midnight(now: int) -> None:
    start = day_start_ns(now)
    assert start % DAY == 0
    assert start <= now < start + DAY


def test_f62_the_day_of_another_zone_begins_at_its_midnight() -> None:
    noon_utc = 1_780_000_000 // 86_400 * 86_400 * 10**9 + DAY // 2  # in May, when New York is four hours behind
    assert day_start_ns(noon_utc, "America/New_York") == noon_utc - DAY // 2 + 4 * 3_600 * 10**9


def test_f62_the_last_instant_of_a_day_is_still_that_day() -> None:
    midnight = 20_000 * DAY
    assert day_start_ns(midnight - 1) == midnight - DAY
    mistaken = round((midnight - 1) / 1e9) * 1_000_000_000  # a float of seconds
    assert mistaken == midnight
