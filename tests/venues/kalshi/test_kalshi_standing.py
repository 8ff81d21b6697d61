"""May a market trade, as far as the venue says?"""

from __future__ import annotations

from typing import Any

import pytest

from arbpipe.shm.row import RowFlag
from arbpipe.shm.tables import VenueState
from arbpipe.venues.kalshi.messages import MarketLifecycle, PriceRange
from arbpipe.venues.kalshi.standing import FACTS_AGE_NS, FEE_AGE_NS, Exchange, Facts, Standing, Window

SECOND = 1_000_000_000
WALL = 1_790_000_000_000
LAG = 30 * SECOND
GOOD = Facts("active", "EV", 0, 100, WALL + 1_000)


def event(kind: str, ticker: str = "A", **more: Any) -> MarketLifecycle:
    values: dict[str, Any] = dict.fromkeys(MarketLifecycle.__struct_fields__)
    values |= {"sid": 2, "seq": 1, "event_type": kind, "market_ticker": ticker, "multivariate": False}
    return MarketLifecycle(**(values | more))


def standing(facts: Facts | None = GOOD, *, strict: bool = True) -> Standing:
    """Everything was heard and read at second 1; A is active."""
    made = Standing(strict=strict, lag_ns=LAG)
    made.list(["A", "B"])
    made.hearing(True, SECOND)
    made.exchange(Exchange(True, True), SECOND)
    for ticker in ("A", "B"):
        made.facts(ticker, facts if ticker == "A" else None, SECOND)
        made.fee(ticker, "", SECOND)
    return made


def of(made: Standing, ticker: str = "A", wall_ms: int = WALL, age_ns: int = 2 * SECOND) -> tuple[RowFlag, str]:
    return made.of(ticker, wall_ms, age_ns)


def test_a_market_that_the_venue_says_is_active_trades() -> None:
    assert of(standing()) == (RowFlag.NONE, "")
    assert standing().tick_e4("A") == 100


@pytest.mark.parametrize(
    ("facts", "flag", "says"),
    [
        (None, RowFlag.HALTED, "has not stated"),
        (Facts("inactive", "EV", 0, 100, WALL + 1), RowFlag.HALTED, "status is 'inactive'"),
        (Facts("brand_new", "EV", 0, 100, WALL + 1), RowFlag.HALTED, "status is 'brand_new'"),
        (Facts("active", "EV", 0, 100, WALL), RowFlag.HALTED, "close time has passed"),
        (Facts("active", "EV", 0, 0, WALL + 1), RowFlag.NOT_TRADEABLE, "no grid"),
        (Facts("active", "EV", 0, 100, WALL + 1, "a scalar"), RowFlag.NOT_TRADEABLE, "a scalar"),
    ],
)
def test_what_does_not_trade_says_why(facts: Facts | None, flag: RowFlag, says: str) -> None:
    found, why = of(standing(facts))
    assert found is flag
    assert says in why


def test_a_recording_has_no_statements_and_only_its_frames_count() -> None:
    made = Standing(strict=False)
    made.list(["A"])
    assert of(made, "A", WALL) == (RowFlag.NONE, "")
    assert made.venue(0, WALL)[0] is VenueState.TRADING
    made.lifecycle(event("deactivated"), 2 * SECOND)
    assert of(made, "A", WALL)[0] is RowFlag.HALTED


# --- the exchange -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exchange", "state"),
    [
        (Exchange(True, True), VenueState.TRADING),
        (Exchange(True, False), VenueState.PAUSED),
        (Exchange(False, True), VenueState.CLOSED),
        (Exchange(False, False, {0: (False, False), 2: (True, True)}), VenueState.TRADING),
        (Exchange(True, True, {0: (True, False), 2: (True, False)}), VenueState.PAUSED),
        (Exchange(True, True, {0: (False, True), 2: (True, False)}), VenueState.PAUSED),
    ],
)
def test_the_venue_trades_while_one_of_its_shards_does(exchange: Exchange, state: VenueState) -> None:
    made = standing()
    made.exchange(exchange, SECOND)
    assert made.venue(SECOND, WALL)[0] is state


@pytest.mark.parametrize(("shard", "halted"), [(0, True), (2, False), (3, True), (None, True)])
def test_a_market_is_halted_with_its_shard_and_where_that_is_unknown_with_any(shard: int | None, halted: bool) -> None:
    made = standing(Facts("active", "EV", shard, 100, WALL + 1))
    made.exchange(Exchange(True, False, {0: (True, False), 2: (True, True)}), SECOND)
    assert (of(made, "A", WALL)[0] is RowFlag.HALTED) is halted


def test_a_status_of_before_ten_seconds_is_none() -> None:
    made = standing()
    assert made.venue(11 * SECOND, WALL)[0] is VenueState.TRADING
    assert made.venue(11 * SECOND + 1, WALL)[0] is VenueState.UNKNOWN
    assert Standing(strict=True).venue(0, WALL)[0] is VenueState.UNKNOWN


def test_f70_nothing_is_begun_from_a_minute_before_maintenance_until_its_end() -> None:
    """The weekly window is a state that is known before it begins, not an error to run into and repeat."""
    made = standing()
    made.calendar([Window(WALL + 60_000, WALL + 7_260_000)])
    at = {-1: VenueState.TRADING, 0: VenueState.PAUSED, 7_259_999: VenueState.PAUSED, 7_260_000: VenueState.TRADING}
    assert {ms: made.venue(SECOND, WALL + ms)[0] for ms in at} == at

    def mistaken(answers: list[int]) -> int:  # the mistake: what is refused is tried again
        return next((tries for tries, status in enumerate(answers, 1) if status == 201), len(answers))

    assert mistaken([409] * 7_200) == 7_200


# --- lifecycle --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["deactivated", "closed", "determined", "settled"])
def test_a_market_that_stops_is_halted_until_it_is_activated(kind: str) -> None:
    made = standing()
    assert not made.lifecycle(event(kind), 2 * SECOND)
    assert of(made, "A", WALL) == (RowFlag.HALTED, kind)
    assert made.lifecycle(event("activated"), 2 * SECOND)  # every resting order is gone
    assert of(made, "A", WALL)[0] is RowFlag.NONE


def test_an_activation_that_was_missed_is_seen_in_the_facts_and_a_determination_is_not_undone_by_them() -> None:
    made = standing()
    made.lifecycle(event("deactivated"), 2 * SECOND)
    assert made.facts("A", GOOD, 2 * SECOND + LAG)  # and its book is void: its resting orders were cancelled
    assert of(made, age_ns=3 * SECOND + LAG)[0] is RowFlag.NONE
    made.lifecycle(event("determined"), 2 * SECOND)
    assert not made.facts("A", GOOD, 2 * SECOND + 2 * LAG)
    assert of(made, age_ns=3 * SECOND + 2 * LAG)[0] is RowFlag.HALTED


@pytest.mark.parametrize(
    ("frame", "flag"),
    [
        (event("deactivated"), RowFlag.HALTED),
        (event("close_date_updated", close_s=WALL // 1000 - 1), RowFlag.HALTED),
        (event("price_level_structure_updated", price_ranges=()), RowFlag.NOT_TRADEABLE),
        (event("a_word_of_tomorrow"), RowFlag.HALTED),
    ],
    ids=lambda each: getattr(each, "event_type", str(each)),
)
def test_a_read_that_began_before_a_frame_or_lags_behind_it_takes_back_nothing(
    frame: MarketLifecycle, flag: RowFlag
) -> None:
    made = standing()
    made.lifecycle(frame, 2 * SECOND)
    for began in (SECOND, 3 * SECOND, 2 * SECOND + LAG - 1):
        assert not made.facts("A", GOOD, began)
        assert of(made, age_ns=3 * SECOND)[0] is flag

    def mistaken(facts: Facts) -> bool:  # the mistake: what was read last is what is so
        return facts.status == "active" and bool(facts.tick_e4)

    assert mistaken(GOOD)
    made.facts("A", GOOD, 2 * SECOND + LAG)
    assert of(made, age_ns=3 * SECOND + LAG)[0] is RowFlag.NONE


def test_a_read_counts_only_if_it_began_while_the_lifecycle_was_heard() -> None:
    made = standing()
    made.hearing(False, 2 * SECOND)
    made.facts("A", GOOD, 3 * SECOND)
    assert of(made)[1] == "what happens to it is not heard"
    made.hearing(True, 4 * SECOND)
    assert of(made)[1] == "the venue has not stated that it trades"
    made.facts("A", GOOD, 4 * SECOND)
    assert of(made)[0] is RowFlag.NONE
    made.missed(5 * SECOND)  # a frame was lost
    assert of(made)[0] is RowFlag.HALTED
    made.facts("A", GOOD, 5 * SECOND)
    assert of(made)[0] is RowFlag.NONE


def test_a_statement_that_is_not_renewed_grows_too_old() -> None:
    made = standing()
    assert of(made, age_ns=SECOND + FACTS_AGE_NS)[0] is RowFlag.NONE
    assert of(made, age_ns=SECOND + FACTS_AGE_NS + 1)[1] == "what the venue stated of it is too old"
    made.facts("A", GOOD, SECOND + FEE_AGE_NS)
    assert of(made, age_ns=SECOND + FEE_AGE_NS)[0] is RowFlag.NONE
    found, why = of(made, age_ns=SECOND + FEE_AGE_NS + 1)
    assert (found, "fee" in why) == (RowFlag.HALTED, True)


def test_an_early_close_takes_effect_when_its_time_comes_and_not_before() -> None:
    made = standing()
    made.lifecycle(event("close_date_updated", close_s=WALL // 1000 + 60), 2 * SECOND)
    assert of(made, "A", WALL + 59_999)[0] is RowFlag.NONE
    assert of(made, "A", WALL + 60_000)[0] is RowFlag.HALTED


def test_f10_a_new_grid_voids_the_book_and_is_the_tick_from_then_on() -> None:
    made = standing()
    bands = (PriceRange(0, 1_000, 10), PriceRange(1_000, 9_000, 100), PriceRange(9_000, 10_000, 10))
    assert made.lifecycle(event("price_level_structure_updated", price_ranges=bands), 2 * SECOND)
    assert made.tick_e4("A") == 10
    assert made.lifecycle(event("price_level_structure_updated", price_ranges=()), 2 * SECOND)
    assert of(made, "A", WALL)[0] is RowFlag.NOT_TRADEABLE

    def mistaken(ticks: dict[str, int]) -> int:  # the mistake: the tick of when it was listed
        return ticks["A"]

    assert mistaken({"A": 100}) != made.tick_e4("A")


def test_a_market_whose_strike_moves_is_not_the_one_that_was_approved() -> None:
    made = standing()
    made.lifecycle(event("metadata_updated"), 2 * SECOND)
    made.facts("A", GOOD, 3 * SECOND + LAG)
    assert of(made, "A", WALL)[0] is RowFlag.NOT_TRADEABLE


def test_a_change_of_an_events_fees_is_in_doubt_until_it_is_read_again() -> None:
    made = standing()
    made.facts("B", Facts("active", "OTHER", 0, 100, WALL + 1), SECOND)
    assert made.fee_changed("EV", 2 * SECOND) == ("A",)
    assert of(made)[0] is RowFlag.NOT_TRADEABLE
    assert of(made, "B")[0] is RowFlag.NONE
    made.fee("A", "", 3 * SECOND)  # a read that may lag
    assert of(made)[0] is RowFlag.NOT_TRADEABLE
    made.fee("A", "", 2 * SECOND + LAG)
    assert of(made)[0] is RowFlag.NONE
    made.fee("A", "another fee", SECOND)
    assert of(made)[0] is RowFlag.NOT_TRADEABLE


def test_what_nobody_lists_and_what_nobody_knows_changes_nothing() -> None:
    made = standing()
    for kind in ("deactivated", "activated", "settled"):
        assert not made.lifecycle(event(kind, "OTHER"), 2 * SECOND)
    assert not made.lifecycle(event("created"), 2 * SECOND)
    assert of(made, "A", WALL)[0] is RowFlag.NONE
    assert of(made, "OTHER", WALL) == (RowFlag.NONE, "")


def test_what_leaves_the_list_is_forgotten() -> None:
    made = standing()
    made.lifecycle(event("determined"), 2 * SECOND)
    made.list(["B"])
    made.list(["A"])
    assert of(made)[1] == "the venue has not stated that it trades"


# --- when to look -----------------------------------------------------------------------------------------------------


def test_nothing_is_looked_at_again_unless_something_was_said_or_a_time_passed() -> None:
    made = standing()
    now = 2 * SECOND
    assert made.stirred(WALL, now)
    assert not made.stirred(WALL, now)
    made.exchange(Exchange(True, True), now)
    made.facts("A", GOOD, now)
    made.fee("A", "", now)
    assert not made.stirred(WALL + 999, now)  # the same as before
    assert made.stirred(WALL + 1_000, now)  # its close time
    assert not made.stirred(WALL + 2_000, now)
    assert not made.stirred(WALL + 2_000, SECOND + FACTS_AGE_NS)
    assert made.stirred(WALL + 2_000, 2 * SECOND + FACTS_AGE_NS + 1)  # too old now
    for said in (
        lambda: made.exchange(Exchange(True, False), now),
        lambda: made.lifecycle(event("deactivated"), now),
        lambda: made.fee_changed("EV", now),
        lambda: made.hearing(False, now),
        lambda: made.list(["A"]),
        lambda: made.facts("A", None, now + 2 * LAG),
        lambda: made.fee("A", "another", now),
    ):
        said()
        assert made.stirred(WALL + 2_000, now)
        assert not made.stirred(WALL + 2_000, now)


def test_the_same_statement_again_is_news_where_the_one_before_did_not_count() -> None:
    made = standing()
    now = 2 * SECOND
    made.stirred(WALL, now)
    made.missed(now)
    assert made.stirred(WALL, now)
    made.facts("A", GOOD, now)  # the same as before, and heard
    assert made.stirred(WALL, now)
    made.facts("A", GOOD, now + 1)
    assert not made.stirred(WALL, now)
    made.facts("A", GOOD, now + FACTS_AGE_NS + 2)
    assert made.stirred(WALL, now)
    made.fee("A", "", now + FEE_AGE_NS + 2)
    assert made.stirred(WALL, now)
