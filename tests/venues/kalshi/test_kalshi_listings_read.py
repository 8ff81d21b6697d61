"""Reading a listing: every page once, nothing lost by a kill, and no list that never ends."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from kalshi_listing_venue import Clock, ListingVenue, event_row, market_row, read_listing, series_row, without

from arbpipe.errors import EnvironmentRefused, UsageRefused
from arbpipe.venues.kalshi.listing_read import next_run
from arbpipe.venues.kalshi.listing_report import parents_of
from arbpipe.venues.kalshi.listing_store import ListingStore, Run, Scope
from arbpipe.venues.kalshi.listings import Listed
from arbpipe.venues.kalshi.pace import ReadPace
from arbpipe.venues.kalshi.rest import VenueRefused

SCOPE = Scope("kalshi")


@pytest.fixture
def venue(recordings: Path) -> ListingVenue:
    """Three events of two series with ten markets, four to a page."""
    made = ListingVenue(recordings)
    made.series = [series_row("KXA"), series_row("KXB", category="Sports", categories=["Sports"])]
    made.events = [event_row("KXA-1", "KXA"), event_row("KXA-2", "KXA"), event_row("KXB-1", "KXB")]
    made.markets = [
        market_row(f"{event['event_ticker']}-{number}", event["event_ticker"])
        for event in made.events
        for number in range(4)
    ][:10]
    made.page = 4
    return made


def held(path: Path, kind: str = "market", scope: Scope = SCOPE) -> list[str]:
    store = ListingStore(path, scope)
    try:
        return [row.ticker for row in store.rows(kind)]
    finally:
        store.close()


def tickers(venue: ListingVenue) -> list[str]:
    return sorted(each["ticker"] for each in venue.markets)


def cut_after(reads: int, path: str) -> Any:
    """The venue fails for good after so many reads of a path: what a kill leaves behind."""
    left = [reads]

    def fault(where: str, query: dict[str, str]) -> web.Response | None:
        if where != path:
            return None
        left[0] -= 1
        return (
            web.json_response({"error": {"code": "forbidden", "message": "cut"}}, status=403) if left[0] < 0 else None
        )

    return fault


# -- what is read --------------------------------------------------------------------------------------------------------


def test_every_page_is_read_once_and_every_request_and_row_is_the_vendors(venue: ListingVenue, tmp_path: Path) -> None:
    reading = read_listing(venue, tmp_path / "store")
    assert held(tmp_path / "store") == tickers(venue)
    assert held(tmp_path / "store", "event") == ["KXA-1", "KXA-2", "KXB-1"]
    assert [query.get("cursor") for query in venue.asked("/markets")] == [None, "c4", "c8"]
    assert {query["mve_filter"] for query in venue.asked("/markets")} == {"exclude"}
    assert {query["status"] for query in venue.asked("/markets")} == {"open"}
    assert (reading.pages, reading.resumed, reading.run.since_s) == (4, False, 0)


def test_scheduled_fees_are_read_before_the_series_so_that_no_change_falls_between(
    venue: ListingVenue, tmp_path: Path
) -> None:
    read_listing(venue, tmp_path / "store")
    order = [path for path, _ in venue.requests]
    assert order[:3] == ["/series/fee_changes", "/events/fee_changes", "/series"]


def test_chosen_series_are_read_one_by_one_and_a_category_through_its_series(
    venue: ListingVenue, tmp_path: Path
) -> None:
    read_listing(venue, tmp_path / "one", Scope("kalshi", series=("KXA",)))
    assert {query["series_ticker"] for query in venue.asked("/markets")} == {"KXA"}
    assert all(each.startswith("KXA-") for each in held(tmp_path / "one", scope=Scope("kalshi", series=("KXA",))))
    sports = Scope("kalshi", category="Sports")
    read_listing(venue, tmp_path / "two", sports)
    assert held(tmp_path / "two", scope=sports) == ["KXB-1-0", "KXB-1-1"]


def test_a_category_of_many_series_is_picked_out_of_the_whole_listing(
    venue: ListingVenue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbpipe.venues.kalshi.listing_read._SINGLY", 0)
    sports = Scope("kalshi", category="Sports")
    read_listing(venue, tmp_path / "store", sports)
    assert "series_ticker" not in venue.asked("/markets")[0]
    assert held(tmp_path / "store", scope=sports) == ["KXB-1-0", "KXB-1-1"]
    assert held(tmp_path / "store", "event", sports) == ["KXB-1"]


def test_combinations_are_left_out_and_counted(venue: ListingVenue, tmp_path: Path) -> None:
    venue.markets = [
        market_row("KXMVESPORTS-1", "KXA-1"),
        market_row("KXA-1-9", "KXA-1", mve_collection_ticker="KXMVE"),
        *venue.markets,
    ]
    reading = read_listing(venue, tmp_path / "store")
    assert reading.combos == 2
    assert len(held(tmp_path / "store")) == 10


def test_a_series_or_category_that_does_not_exist_is_named(venue: ListingVenue, tmp_path: Path) -> None:
    with pytest.raises(UsageRefused, match="--series KXNO: kalshi lists no such series"):
        read_listing(venue, tmp_path / "one", Scope("kalshi", series=("KXNO",)))
    with pytest.raises(UsageRefused, match="--category 'sports'"):
        read_listing(venue, tmp_path / "two", Scope("kalshi", category="sports"))


def test_null_lists_are_empty(tmp_path: Path) -> None:
    venue = ListingVenue()
    bodies = {
        "/series/fee_changes": {"series_fee_change_arr": None},
        "/events/fee_changes": {"event_fee_changes": None, "cursor": None},
        "/series": {"series": None},
        "/events": {"events": None, "cursor": ""},
        "/markets": {"markets": None, "cursor": ""},
    }
    venue.faults = [lambda path, query: web.json_response(bodies[path])]
    read_listing(venue, tmp_path / "store")
    assert held(tmp_path / "store") == []


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"cursor": ""}, "no member 'markets'"),
        ({"markets": []}, "no member 'cursor'"),
        ({"markets": 3, "cursor": ""}, "cannot be read"),
        ([], "cannot be read"),
    ],
)
def test_f72_a_removed_list_or_cursor_is_an_error_and_not_an_empty_or_last_page(
    body: Any, named: str, tmp_path: Path
) -> None:
    def wrong(answer: Any) -> list[Any]:
        return (answer.get("markets") or []) if isinstance(answer, dict) else []

    venue = ListingVenue()
    venue.faults = [lambda path, query: web.json_response(body) if path == "/markets" else None]
    with pytest.raises(VenueRefused, match=named):
        read_listing(venue, tmp_path / "store")
    assert wrong(body) == [] or body["markets"] == 3  # the mistake sees nothing listed, and says nothing


# -- killed and refreshed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "reads"), [("/markets", 0), ("/markets", 1), ("/markets", 2), ("/events", 0)])
def test_a_run_that_was_cut_goes_on_where_it_was(venue: ListingVenue, tmp_path: Path, path: str, reads: int) -> None:
    venue.faults = [cut_after(reads, path)]
    with pytest.raises(VenueRefused, match="403"):
        read_listing(venue, tmp_path / "store")
    venue.faults, venue.requests = [], []
    reading = read_listing(venue, tmp_path / "store", now_s=1_000_100)
    assert reading.resumed
    assert held(tmp_path / "store") == tickers(venue)
    if path == "/markets":
        assert venue.asked("/events") == []
        assert venue.asked("/markets")[0].get("cursor") == (f"c{4 * reads}" if reads else None)
    assert venue.asked("/series/fee_changes"), "fees are read anew by every run"


def test_a_finished_listing_is_refreshed_by_what_changed_since(venue: ListingVenue, tmp_path: Path) -> None:
    read_listing(venue, tmp_path / "store", now_s=1_000_000)
    venue.requests, venue.markets = [], [market_row("KXA-1-0", "KXA-1", status="finalized", result="yes")]
    reading = read_listing(venue, tmp_path / "store", now_s=1_000_600)
    (asked,) = venue.asked("/markets")
    assert asked == {"limit": "1000", "mve_filter": "exclude", "min_updated_ts": "999880"}
    assert reading.run.since_s == 999_880
    assert len(held(tmp_path / "store")) == 10, "what did not change stays"
    store = ListingStore(tmp_path / "store", SCOPE)
    row = store.row("market", "KXA-1-0")
    store.close()
    assert row is not None
    assert msgspec.json.decode(row.raw)["status"] == "finalized"


def test_a_fee_change_that_takes_effect_while_a_run_lies_dead_is_not_lost(venue: ListingVenue, tmp_path: Path) -> None:
    """The events were read before it, and the venue lists only what is still to come."""
    venue.event_changes = [
        {
            "id": "1",
            "event_ticker": "KXA-1",
            "series_ticker": "KXA",
            "fee_type_override": None,
            "fee_multiplier_override": 2,
            "scheduled_ts": "1970-01-12T13:50:00Z",  # 1,000,200 s
        }
    ]
    venue.faults = [cut_after(1, "/markets")]
    with pytest.raises(VenueRefused):
        read_listing(venue, tmp_path / "store", now_s=1_000_000)
    venue.faults, venue.event_changes = [], []
    assert read_listing(venue, tmp_path / "store", now_s=1_000_300).resumed
    store = ListingStore(tmp_path / "store", SCOPE)
    row = store.row("market", "KXA-1-0")
    assert row is not None
    found = parents_of(store).listed(row.raw)
    store.close()
    assert isinstance(found, Listed)
    stamps = (1_000_199, 1_000_200)
    assert [found.fee(datetime.fromtimestamp(at, UTC)).multiplier for at in stamps] == ["1", "2"]


def test_a_full_reading_forgets_what_is_no_longer_listed(venue: ListingVenue, tmp_path: Path) -> None:
    read_listing(venue, tmp_path / "store")
    venue.markets = venue.markets[:3]
    assert read_listing(venue, tmp_path / "store", full=True).gone == 7
    assert held(tmp_path / "store") == tickers(venue)


def test_the_next_run_goes_on_refreshes_or_reads_all_again() -> None:
    now, day = 1_000_000, 86_400
    assert next_run(None, now, full=False) == (Run(1, now, 0, now), False)
    cut = Run(4, now, 0, now)
    assert next_run(cut, now + 60, full=False) == (cut, True)
    assert next_run(cut, now + day, full=False) == (Run(5, now + day, 0, now + day), False)
    done = Run(4, now + 100, 0, now, finished=True)
    assert next_run(done, now + 200, full=False) == (Run(5, now + 200, now - 20, now), False)
    assert next_run(done, now + day, full=False) == (Run(5, now + day, 0, now + day), False)
    assert next_run(done, now + 200, full=True) == (Run(5, now + 200, 0, now + 200), False)
    assert next_run(done, now - 5, full=False) == (Run(5, now - 5, 0, now - 5), False)


# -- loops ---------------------------------------------------------------------------------------------------------------


def test_f74_a_cursor_that_comes_back_ends_the_listing(venue: ListingVenue, tmp_path: Path) -> None:
    def turning(path: str, query: dict[str, str]) -> web.Response | None:
        if path != "/markets":
            return None
        at = {None: 0, "x": 4, "y": 8}[query.get("cursor")]
        following = {None: "x", "x": "y", "y": "x"}[query.get("cursor")]
        return web.json_response({"markets": venue.markets[at : at + 4], "cursor": following})

    async def wrong(limit: int) -> int:
        cursor, pages = None, 0
        while pages < limit:
            body = turning("/markets", {"cursor": cursor} if cursor else {})
            assert body is not None
            cursor, pages = {None: "x", "x": "y", "y": "x"}[cursor], pages + 1
            if not cursor:
                break
        return pages

    venue.faults = [turning]
    with pytest.raises(VenueRefused, match="comes back to a page it gave before"):
        read_listing(venue, tmp_path / "store")
    assert len(venue.asked("/markets")) <= 4
    assert asyncio.run(wrong(500)) == 500  # the mistake follows cursors for ever


def test_f74_a_garbage_cursor_that_gives_page_one_again_is_noticed(venue: ListingVenue, tmp_path: Path) -> None:
    """Recorded: a cursor that the venue does not know gives page one with 200. The mistake looks at cursors alone."""
    number = [0]

    def forgetting(path: str, query: dict[str, str]) -> web.Response | None:
        if path != "/markets":
            return None
        number[0] += 1
        return web.json_response({"markets": venue.markets[:4], "cursor": f"other-{number[0]}"})

    def wrong(limit: int) -> int:
        seen: set[str] = set()
        for page in range(limit):
            if f"other-{page}" in seen:
                return page
            seen.add(f"other-{page}")
        return limit

    venue.faults = [forgetting]
    with pytest.raises(VenueRefused, match="comes back"):
        read_listing(venue, tmp_path / "store")
    assert number[0] == 2
    assert wrong(500) == 500


def test_f74_a_cursor_forgotten_between_two_runs_starts_the_list_again(venue: ListingVenue, tmp_path: Path) -> None:
    venue.faults = [cut_after(2, "/markets")]
    with pytest.raises(VenueRefused):
        read_listing(venue, tmp_path / "store")
    with sqlite3.connect(tmp_path / "store") as db:
        assert db.execute("UPDATE task SET cursor = 'garbage' WHERE name = 'markets'").rowcount == 1
    db.close()
    venue.faults, venue.requests = [], []
    assert read_listing(venue, tmp_path / "store").resumed
    assert held(tmp_path / "store") == tickers(venue)
    assert [query.get("cursor") for query in venue.asked("/markets")] == ["garbage", None, "c4", "c8"]


def test_empty_pages_whose_cursors_turn_in_a_circle_end_too(venue: ListingVenue, tmp_path: Path) -> None:
    venue.faults = [
        lambda path, query: (
            web.json_response({"markets": [], "cursor": "b" if query.get("cursor") == "a" else "a"})
            if path == "/markets"
            else None
        )
    ]
    with pytest.raises(VenueRefused, match="comes back"):
        read_listing(venue, tmp_path / "store")
    assert len(venue.asked("/markets")) == 3


def test_fee_changes_of_events_have_the_same_guard(venue: ListingVenue, tmp_path: Path) -> None:
    venue.faults = [
        lambda path, query: (
            web.json_response({"event_fee_changes": [], "cursor": "a"}) if path == "/events/fee_changes" else None
        )
    ]
    with pytest.raises(VenueRefused, match="/events/fee_changes comes back"):
        read_listing(venue, tmp_path / "store")


# -- pace ----------------------------------------------------------------------------------------------------------------


def test_a_429_waits_twice_as_long_each_time_and_holds_nothing(venue: ListingVenue, tmp_path: Path) -> None:
    left = [4]

    def busy(path: str, query: dict[str, str]) -> web.Response | None:
        if path != "/markets" or not left[0]:
            return None
        left[0] -= 1
        return web.json_response({"error": "too many requests"}, status=429)

    venue.faults, clock = [busy], Clock()
    assert read_listing(venue, tmp_path / "store", clock=clock).refused == 4
    assert held(tmp_path / "store") == tickers(venue)
    assert [wait for wait in clock.slept if wait >= 0.5] == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("status", [429, 500, 503, 408])
def test_a_venue_that_never_answers_is_given_up_and_what_was_read_is_kept(
    venue: ListingVenue, tmp_path: Path, status: int
) -> None:
    after = cut_after(1, "/markets")
    venue.faults = [
        lambda path, query: web.json_response({}, status=status) if after(path, query) is not None else None
    ]
    with pytest.raises(VenueRefused, match=f"{status}.*8 times; what was read is kept, the same command goes on"):
        read_listing(venue, tmp_path / "store")
    venue.faults = []
    assert read_listing(venue, tmp_path / "store").resumed
    assert held(tmp_path / "store") == tickers(venue)


def test_no_second_sees_more_reads_than_the_pace_and_a_quarter() -> None:
    clock = Clock()
    pace = ReadPace(40, now_ns=clock.now_ns, sleep=clock.sleep)
    stamps: list[int] = []

    async def main() -> None:
        for _ in range(200):
            await pace.take()
            stamps.append(clock.ns)

    asyncio.run(main())
    for first in stamps:
        assert sum(first <= each < first + 10**9 for each in stamps) <= 50
    assert stamps[-1] <= 6 * 10**9, "and the pace is used"


def test_those_who_wait_do_not_stand_in_each_others_way() -> None:
    """One that waits for its token holds nothing that another needs, and may be cancelled."""
    clock = Clock()

    async def main() -> None:
        pace = ReadPace(4, now_ns=clock.now_ns, sleep=clock.sleep)
        await pace.take()
        pace.struck()
        slow = [asyncio.create_task(pace.take()) for _ in range(3)]
        await asyncio.sleep(0)
        slow[0].cancel()
        await asyncio.gather(*slow[1:])
        assert not slow[1].cancelled()

    asyncio.run(main())


def test_a_share_of_a_tier_is_in_reads_and_never_nothing() -> None:
    assert ReadPace.of_tier(200, 50)._rate == 10
    assert ReadPace.of_tier(10, 10)._rate == 1
    with pytest.raises(ValueError, match="0 reads a second"):
        ReadPace(0)


# -- the store -----------------------------------------------------------------------------------------------------------


def test_a_store_holds_one_listing_and_says_which(tmp_path: Path) -> None:
    ListingStore(tmp_path / "store", SCOPE).close()
    with pytest.raises(EnvironmentRefused, match=r'holds another listing .*"status": "open".*--store'):
        ListingStore(tmp_path / "store", Scope("kalshi", status="closed"))


def test_two_runs_do_not_write_one_store(tmp_path: Path) -> None:
    first = ListingStore(tmp_path / "store", SCOPE)
    with pytest.raises(EnvironmentRefused, match="another run may be writing it"):
        ListingStore(tmp_path / "store", SCOPE)
    first.close()
    ListingStore(tmp_path / "store", SCOPE).close()


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all, but long enough to be looked at as one " * 20)
    before = (tmp_path / "text").read_bytes()
    with pytest.raises(EnvironmentRefused, match="is no listing store"):
        ListingStore(tmp_path / "text", SCOPE)
    assert (tmp_path / "text").read_bytes() == before
    with sqlite3.connect(tmp_path / "other") as db:
        db.execute("CREATE TABLE ledger (x)")
    db.close()
    with pytest.raises(EnvironmentRefused, match="is no listing store of version 1"):
        ListingStore(tmp_path / "other", SCOPE)


def test_a_row_without_a_readable_ticker_is_kept_to_be_reported(tmp_path: Path) -> None:
    venue = ListingVenue()
    venue.markets = [market_row(), without(market_row(), "ticker"), 17, market_row("KXTEST-26-B", status=3)]
    read_listing(venue, tmp_path / "store")
    assert held(tmp_path / "store") == ["?markets:0:1", "?markets:0:2", "KXTEST-26-A", "KXTEST-26-B"]
