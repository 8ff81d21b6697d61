"""Each limit allows at its boundary and refuses one micro-dollar above it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from arbpipe.config import LimitsConfig
from arbpipe.identity import Venue
from arbpipe.risk.limits import Limits, Refused, Request, UsageView, check
from arbpipe.shm.row import Reason

K, P = Venue.KALSHI, Venue.POLYMARKET
WIDE = Limits(*([10**12] * 7))
#: In use: 30 at Kalshi, 20 at Polymarket, all of it on event "e", 5 of it with accepted tails.
USED = UsageView({"e": 50}, {K: 30, P: 20}, 50, {"e": 5}, 5, {K: 1_000, P: 1_000})
#: Asked for: 4 at Kalshi and 6 at Polymarket, of which a tail may leave 7.
ASKED = Request("e", {K: 4, P: 6}, True, 7)


@pytest.mark.parametrize(
    ("limit", "boundary", "reason"),
    [
        ("event", 60, Reason.LIMIT_EVENT),
        ("venue", 34, Reason.LIMIT_VENUE),
        ("total", 60, Reason.LIMIT_TOTAL),
        ("tail_event", 8, Reason.LIMIT_TAIL),
        ("tail_total", 8, Reason.LIMIT_TAIL),
    ],
)
def test_a_limit_allows_at_its_boundary_and_refuses_one_above(limit: str, boundary: int, reason: Reason) -> None:
    assert check(replace(WIDE, **{limit: boundary}), USED, ASKED) is None
    refused = check(replace(WIDE, **{limit: boundary - 1}), USED, ASKED)
    assert refused == Refused(reason, boundary, boundary - 1)
    assert refused.room_e6 == 1


def test_the_fuller_venue_decides() -> None:
    assert check(replace(WIDE, venue=26), USED, replace(ASKED, cash={P: 6})) is None
    assert check(replace(WIDE, venue=26), USED, replace(ASKED, cash={P: 7})) == Refused(Reason.LIMIT_VENUE, 27, 26)


def test_tails_count_only_where_they_are_accepted() -> None:
    none = replace(WIDE, tail_event=0, tail_total=0)
    assert check(none, USED, replace(ASKED, tails=False)) is None
    assert check(none, USED, ASKED) == Refused(Reason.LIMIT_TAIL, 8, 0)


def test_another_event_has_a_limit_of_its_own() -> None:
    assert check(replace(WIDE, event=10), USED, replace(ASKED, event="other")) is None
    assert check(replace(WIDE, event=10), USED, ASKED) == Refused(Reason.LIMIT_EVENT, 60, 10)


def test_the_first_request_of_an_event_is_limited_too() -> None:
    empty = UsageView({}, {}, 0, {}, 0, {K: 100, P: 100})
    assert check(replace(WIDE, event=9), empty, ASKED) == Refused(Reason.LIMIT_EVENT, 10, 9)


def test_f35_cash_is_not_spent_twice() -> None:
    # 10 in the account, 4 of it reserved by another attempt: the ledger's usage says 6
    left = replace(USED, cash={K: 6, P: 100})
    assert check(WIDE, left, replace(ASKED, cash={K: 6})) is None
    assert check(WIDE, left, replace(ASKED, cash={K: 7})) == Refused(Reason.LIMIT_CASH, 7, 6)
    balance_read_once = replace(USED, cash={K: 10, P: 100})  # the mistake: the same balance for every attempt
    assert check(WIDE, balance_read_once, replace(ASKED, cash={K: 7})) is None


def test_a_venue_whose_cash_is_unknown_has_none() -> None:
    assert check(WIDE, replace(USED, cash={K: 100}), ASKED) == Refused(Reason.LIMIT_CASH, 6, 0)


def test_every_field_of_the_configuration_becomes_the_limit_of_its_name() -> None:
    config = LimitsConfig("1", "2", "3", "4", "5", "6", "7")
    assert Limits.of(config) == Limits(*(n * 1_000_000 for n in range(1, 8)))
