"""One listed market is read exactly, and whatever is unknown about it keeps it from trading without an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kalshi_listing_venue import PAST, SOON, event_row, market_row, series_row, without

from arbpipe.venues.kalshi.fees import kalshi_fee
from arbpipe.venues.kalshi.grid import tick_of
from arbpipe.venues.kalshi.listing_fees import NO_OVERRIDE, UNKNOWN_FEE, Change, FeeWords, fee_at, upcoming
from arbpipe.venues.kalshi.listing_read import passed_changes
from arbpipe.venues.kalshi.listing_report import Parents
from arbpipe.venues.kalshi.listing_store import StoredRow
from arbpipe.venues.kalshi.listing_wire import (
    EventRow,
    MarketRow,
    PageError,
    SeriesRow,
    Unreadable,
    plain,
    read_page,
    read_row,
)
from arbpipe.venues.kalshi.listings import (
    Listed,
    Why,
    best_quotes,
    filter_status,
    is_combo,
    is_tradeable_kind,
    price_ranges,
    reasons_against,
    result_words,
    strike_words,
)
from arbpipe.venues.kalshi.messages import PriceRange

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def raw(row: Any) -> bytes:
    return json.dumps(row).encode()


def stored(row: Any, read_at: datetime = NOW) -> StoredRow:
    return StoredRow("", "", raw(row), int(read_at.timestamp()))


def market(**changes: Any) -> MarketRow:
    found = read_row(raw(market_row(**changes)), MarketRow)
    assert isinstance(found, MarketRow)
    return found


def listed(
    row: Any = None, *, event: Any = None, series: Any = None, changes: tuple[tuple[str, Any], ...] = ()
) -> Listed:
    """A market with a usual event and series, unless others are given."""
    parents = Parents(
        [stored(series or series_row())],
        [stored(event or event_row())],
        [(kind, raw(each)) for kind, each in changes],
    )
    found = parents.listed(raw(row or market_row()))
    assert isinstance(found, Listed)
    return found


def why(*args: Any, now: datetime = NOW, **more: Any) -> set[Why]:
    return {reason.why for reason in reasons_against(listed(*args, **more), now)}


def test_a_usual_market_has_nothing_against_it() -> None:
    assert reasons_against(listed(), NOW) == []


# -- recorded ------------------------------------------------------------------------------------------------------------


def recorded_markets(recordings: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((recordings / "kalshi" / "rest_demo_2026-06-11").glob("markets__*.json")):
        body = json.loads(path.read_text())
        if ".meta." in path.name or not ("markets" in body or "market" in body):
            continue
        if "markets" in body:
            page = read_page(path.read_bytes(), "markets", cursor=True)
            assert [json.loads(bytes(each)) for each in page.rows] == body["markets"]
            assert page.cursor == body["cursor"]
        for row in body.get("markets") or [body["market"]]:
            yield path.name, row
    for path in sorted((recordings / "pairs" / "snapshot_2026-07-20" / "kalshi").glob("market_*.json")):
        yield path.name, json.loads(path.read_text())["market"]


def test_every_recorded_market_is_read_and_loses_nothing(recordings: Path) -> None:
    count = 0
    for name, row in recorded_markets(recordings):
        found = read_row(raw(row), MarketRow)
        assert isinstance(found, MarketRow), f"{name}: {found}"
        assert (found.ticker, found.status, found.strike_type) == (row["ticker"], row["status"], row.get("strike_type"))
        for member in ("floor_strike", "cap_strike"):
            text = plain(getattr(found, member))
            assert (None if text is None else float(text)) == row.get(member)
        ranges = price_ranges(found)
        assert not isinstance(ranges, str)
        assert {band.step_e4 for band in ranges} <= {10, 100}
        count += 1
    assert count > 200


def test_recorded_markets_have_only_the_reasons_that_they_should(recordings: Path) -> None:
    """They predate ``exchange_index`` and, the older ones, ``settlement_bounds_type``; unknown is not shard 0."""
    at = datetime(2026, 6, 11, 7, tzinfo=UTC)
    traded = 0
    for name, row in recorded_markets(recordings):
        if name.startswith("market_"):
            continue
        prefix = row["event_ticker"].split("-")[0]
        event = event_row(row["event_ticker"], prefix)
        assert Why.SHARD in why(row, event=without(event, "exchange_index"), series=series_row(prefix), now=at)
        found = why(row, event=event, series=series_row(prefix), now=at)
        expected = set()
        if row["status"] != "active" or datetime.fromisoformat(row["open_time"]) > at:
            expected.add(Why.STATUS)
        if row["ticker"].startswith("KXMVE"):
            expected |= {Why.COMBO, *([] if row["rules_primary"] else [Why.MISSING])}
        assert found == expected, (name, row["ticker"])
        traded += not found
    assert traded > 20


def test_the_recorded_weather_ladder_has_exact_strikes_and_t_goes_both_ways(recordings: Path) -> None:
    body = json.loads((recordings / "kalshi/rest_demo_2026-06-11/markets__high_temp.json").read_text())
    words = {row["ticker"]: strike_words(market(**row)) for row in body["markets"]}
    assert words["KXHIGHNY-26JUN15-T85"] == "more than 85"
    assert words["KXHIGHNY-26JUN15-T78"] == "less than 78"
    assert words["KXHIGHNY-26JUN15-B84.5"] == "from 84 to 85"


def test_recorded_empty_sides_are_no_quotes(recordings: Path) -> None:
    empty = 0
    for _, row in recorded_markets(recordings):
        quotes = best_quotes(market(**row))
        for quote, size in zip(quotes, (row["yes_bid_size_fp"], row["yes_ask_size_fp"]), strict=True):
            assert (quote is None) == (float(size) <= 0)  # recorded: a size of -3.00 too
            empty += quote is None
    assert empty > 10


def test_a_recorded_match_names_the_yes_side_twice(recordings: Path) -> None:
    path = recordings / "pairs/snapshot_2026-07-20/kalshi/market_KXATPMATCH-26JUL06FRIBUB-FRI.json"
    row = json.loads(path.read_text())["market"]
    assert row["yes_sub_title"] == row["no_sub_title"]


# -- F72 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("status", "hibernating"),
        ("market_type", "ternary"),
        ("strike_type", "roughly"),
        ("result", "maybe"),
        ("settlement_bounds_type", "ceiling"),
    ],
)
def test_f72_a_new_enum_value_keeps_that_market_from_trading_and_is_no_error(member: str, value: str) -> None:
    def wrong(row: dict[str, Any]) -> None:
        # an enumeration of what is known today
        known = {"status": ["active"], "market_type": ["binary"], "strike_type": ["greater"], "result": [""]}
        if row[member] not in known.get(member, ["default"]):
            raise msgspec.ValidationError(f"Invalid enum value {row[member]!r}")

    row = market_row(**{member: value})
    reasons = reasons_against(listed(row), NOW)
    assert [reason.why for reason in reasons if reason.why is Why.UNKNOWN_VALUE] == [Why.UNKNOWN_VALUE]
    assert f'{member} "{value}" is not known' in [reason.detail for reason in reasons]
    with pytest.raises(msgspec.ValidationError):
        wrong(row)  # and the whole page with it


def test_f72_an_added_field_is_ignored() -> None:
    class Wrong(msgspec.Struct, forbid_unknown_fields=True):
        ticker: str

    row = market_row(tomorrow={"anything": [1, 2]})
    assert reasons_against(listed(row), NOW) == []
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(raw(row), type=Wrong)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("status", Why.MISSING),
        ("market_type", Why.MISSING),
        ("result", Why.MISSING),
        ("close_time", Why.MISSING),
        ("floor_strike", Why.MISSING),
        ("rules_primary", Why.MISSING),
        ("price_ranges", Why.TICK),
        ("notional_value_dollars", Why.NOT_BINARY),
    ],
)
def test_f72_a_removed_field_is_a_reason_and_never_reads_as_zero(member: str, reason: Why) -> None:
    def wrong(row: dict[str, Any]) -> Any:
        return row.get(member, 0)

    row = without(market_row(), member)
    assert why(row) == {reason}
    assert wrong(row) == 0


def test_f72_a_removed_shard_or_fee_is_unknown_and_neither_shard_zero_nor_free() -> None:
    def wrong(row: dict[str, Any], member: str) -> Any:
        return row.get(member, 0)

    row, event = without(market_row(), "exchange_index"), without(event_row(), "exchange_index")
    assert why(row, event=event) == {Why.SHARD}
    assert listed(row, event=event_row(exchange_index=3)).exchange_index == 3
    assert why(market_row(exchange_index=-1)) == {Why.SHARD}
    for member in ("fee_type", "fee_multiplier"):
        series = without(series_row(), member)
        assert why(series=series) == {Why.FEE}
        assert wrong(series, member) == 0
    assert wrong(row, "exchange_index") == 0


# -- rows and pages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "ticker"),
    [
        (market_row(price_ranges="0.01"), "KXTEST-26-A"),
        (market_row(close_time="tomorrow"), "KXTEST-26-A"),
        (market_row(floor_strike={"a": 1}), "KXTEST-26-A"),
        (market_row(exchange_index="0"), "KXTEST-26-A"),
        (without(market_row(), "ticker"), ""),
        (market_row(ticker=None), ""),
        ([], ""),
        (None, ""),
    ],
)
def test_a_row_that_cannot_be_read_is_told_with_its_ticker(row: Any, ticker: str) -> None:
    found = read_row(raw(row), MarketRow)
    assert isinstance(found, Unreadable)
    assert found.ticker == ticker
    assert found.reason


@given(st.binary(max_size=80))
def test_no_bytes_crash_a_page_or_a_row(body: bytes) -> None:
    for kind in (MarketRow, EventRow, SeriesRow):
        read_row(body, kind)
    try:
        page = read_page(body, "markets", cursor=True)
    except PageError:
        return
    assert isinstance(page.cursor, str)


values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=2)
)


@given(st.dictionaries(st.sampled_from(sorted(market_row())), values, max_size=6))
def test_a_market_with_any_members_is_read_or_told_and_judged_without_an_error(members: dict[str, Any]) -> None:
    found = Parents([stored(series_row())], [stored(event_row())], []).listed(raw(market_row() | members))
    if isinstance(found, Listed):
        reasons = reasons_against(found, NOW)
        strike_words(found.market)
        result_words(found.market)
        best_quotes(found.market)
        spoiled = set(members) & {"status", "result", "market_type", "price_ranges", "notional_value_dollars"}
        if any(members[name] != market_row()[name] for name in spoiled):
            assert reasons


@pytest.mark.parametrize(
    ("text", "shown"),
    [("3", "3"), ("3.50", "3.5"), ("-25000", "-25000"), ("85999.99", "85999.99"), ("1e3", "1000"), ("0.1", "0.1")],
)
def test_strikes_are_exact_decimals(text: str, shown: str) -> None:
    body = raw(market_row()).replace(b'"floor_strike": 3', b'"floor_strike": ' + text.encode())
    found = read_row(body, MarketRow)
    assert isinstance(found, MarketRow)
    assert plain(found.floor_strike) == shown


def test_a_strike_that_is_no_number_keeps_the_market_from_trading() -> None:
    assert why(market_row(floor_strike="NaN")) == {Why.MISSING}
    body = raw(market_row()).replace(b'"floor_strike": 3', b'"floor_strike": 1e400')
    found = Parents([stored(series_row())], [stored(event_row())], []).listed(body)
    assert isinstance(found, Listed)
    assert {reason.why for reason in reasons_against(found, NOW)} == {Why.MISSING}


# -- ticks ---------------------------------------------------------------------------------------------------------------


def bands(*edges: tuple[str, str, str]) -> Any:
    return [{"start": start, "end": end, "step": step} for start, end, step in edges]


TAPERED = bands(("0", "0.1", "0.001"), ("0.1", "0.9", "0.01"), ("0.9", "1", "0.001"))


def test_ticks_come_from_the_ranges_and_never_from_the_name_of_their_structure() -> None:
    found = market(price_level_structure="linear_cent", price_ranges=bands(("0.0000", "1.0000", "0.0010")))
    ranges = price_ranges(found)
    assert ranges == (PriceRange(0, 10_000, 10),)
    assert tick_of(ranges) == 10
    assert reasons_against(listed(market_row(price_level_structure="of tomorrow")), NOW) == []


def test_one_step_over_several_ranges_and_a_finer_one_at_the_ends_are_ticks() -> None:
    ranges = price_ranges(market(price_ranges=bands(("0.5", "1", "0.01"), ("0", "0.5", "0.01"))))
    assert ranges == (PriceRange(0, 5_000, 100), PriceRange(5_000, 10_000, 100))
    assert tick_of(ranges) == 100
    assert reasons_against(listed(market_row(price_ranges=TAPERED)), NOW) == []


@pytest.mark.parametrize(
    "ranges",
    [
        None,
        [],
        bands(("0", "1", "0")),
        bands(("0", "1", "0.03")),
        bands(("1", "0", "0.01")),
        bands(("0", "1", "0.00001")),
        bands(("0", "1", "-0.01")),
        bands(("0", "2", "0.01")),
        bands(("0", "0.4", "0.01"), ("0.5", "1", "0.01")),
        bands(("0", "0.6", "0.01"), ("0.5", "1", "0.01")),
        bands(("0", "0.99", "0.03")),
        bands(("", "1", "0.01")),
    ],
)
def test_ranges_that_make_no_grid_are_a_reason(ranges: Any) -> None:
    assert why(market_row(price_ranges=ranges)) == {Why.TICK}


# -- values --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bid", "ask"),
    [
        (("0.0000", "0.00"), ("1.0000", "0.00")),
        (("0.0000", "5.00"), ("1.0000", "5.00")),
        (("x", "1"), ("0.5", "-1")),
        (("0.4000", "0.00"), ("0.4200", "0.00")),
    ],
)
def test_placeholders_are_no_quotes(bid: tuple[str, str], ask: tuple[str, str]) -> None:
    row = market(yes_bid_dollars=bid[0], yes_bid_size_fp=bid[1], yes_ask_dollars=ask[0], yes_ask_size_fp=ask[1])
    assert best_quotes(row) == (None, None)
    assert best_quotes(market()) == ((4_000, 1_000), (4_200, 750))


def test_a_result_is_provisional_until_it_is_final() -> None:
    assert result_words(market()) == "none yet"
    assert result_words(market(status="determined", result="yes")) == "yes, provisional"
    assert result_words(market(status="amended", result="no")) == "no, provisional"
    final = market(status="finalized", result="scalar", settlement_value_dollars="0.5000")
    assert result_words(final) == "scalar at $0.5000, final"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (market_row(market_type="scalar"), Why.NOT_BINARY),
        (market_row(notional_value_dollars="2.0000"), Why.NOT_BINARY),
        (market_row(settlement_bounds_type="floor"), Why.SETTLEMENT),
        (market_row("KXMVE-1"), Why.COMBO),
        (market_row(mve_collection_ticker="KXMVE"), Why.COMBO),
        (market_row(status="inactive"), Why.STATUS),
        (market_row(status="finalized", result="yes"), Why.STATUS),
        (market_row(result="yes"), Why.STATUS),
        (market_row(close_time=PAST), Why.STATUS),
        (market_row(open_time=SOON), Why.STATUS),
        (market_row(event="KXOTHER-1"), Why.PARENT),
    ],
)
def test_what_stands_against_a_market_is_named(row: Any, reason: Why) -> None:
    assert why(row) == {reason}
    assert is_tradeable_kind(reasons_against(listed(row), NOW)) == (reason is Why.STATUS)


def test_a_market_that_was_read_as_active_is_closed_when_its_time_has_passed() -> None:
    found = market(close_time="2026-11-20T12:00:00Z")
    assert filter_status(found, NOW - timedelta(seconds=1)) == "open"
    assert filter_status(found, NOW) == "closed"
    assert filter_status(market(status="finalized", close_time=PAST), NOW) == "settled"
    assert filter_status(market(status="hibernating"), NOW) is None


def test_the_year_one_is_no_moment() -> None:
    assert why(market_row(open_time="0001-01-01T00:00:00Z")) == set()
    assert why(market_row(close_time="0001-01-01T00:00:00Z")) == {Why.MISSING}


def test_combinations_are_known_by_prefix_or_by_their_legs() -> None:
    assert is_combo("KXMVECROSSCATEGORY0-SHARD1-X")
    assert not is_combo("KXMVP-26")
    assert is_combo("KXA", market(mve_selected_legs=[{"market_ticker": "x"}]))
    assert not is_combo("KXA", market(mve_selected_legs=[]))


# -- fees ----------------------------------------------------------------------------------------------------------------


def change(after_s: int, fee_type: str | None, multiplier: str | None) -> Change:
    return Change(NOW + timedelta(seconds=after_s), FeeWords(fee_type, multiplier))


def fee(series: Any = (), event: Any = (), override: FeeWords | None = NO_OVERRIDE, after_s: int = 0) -> FeeWords:
    return fee_at(FeeWords("quadratic", "1"), series, override, event, NOW + timedelta(seconds=after_s))


def test_a_scheduled_change_holds_from_its_moment_on() -> None:
    series = [change(10, "quadratic_with_maker_fees", "0.5")]
    assert fee(series, after_s=9) == FeeWords("quadratic", "1")
    assert fee(series, after_s=10) == fee(series, after_s=99) == FeeWords("quadratic_with_maker_fees", "0.5")
    assert upcoming(series, NOW) == [NOW + timedelta(seconds=10)]
    assert upcoming(series, NOW + timedelta(seconds=10)) == []


def test_the_latest_change_counts_in_whatever_order_they_come() -> None:
    first, second = change(10, "quadratic", "0.5"), change(20, "quadratic", "2")
    for order in ([first, second], [second, first]):
        assert [fee(order, after_s=after).multiplier for after in (0, 10, 15, 20)] == ["1", "0.5", "0.5", "2"]


def test_each_part_of_an_override_covers_the_same_part_of_the_series_fee_alone() -> None:
    assert fee(override=FeeWords(None, "0.5")) == FeeWords("quadratic", "0.5")
    assert fee(override=FeeWords("flat", None)) == FeeWords("flat", "1")
    series, event = [change(10, "quadratic_with_maker_fees", "2")], [change(20, None, "0"), change(30, None, None)]
    assert fee(series, event, after_s=15) == FeeWords("quadratic_with_maker_fees", "2")
    assert fee(series, event, after_s=20) == FeeWords("quadratic_with_maker_fees", "0")
    assert fee(series, event, after_s=30) == FeeWords("quadratic_with_maker_fees", "2"), "null clears an override"


def test_what_cannot_be_read_or_contradicts_itself_makes_the_fee_unknown() -> None:
    assert fee([Change(None, FeeWords("quadratic", "1"))]) == UNKNOWN_FEE
    spoiled = [Change(NOW + timedelta(seconds=10), UNKNOWN_FEE, known=False)]
    assert fee(spoiled, after_s=9) == FeeWords("quadratic", "1")
    assert fee(spoiled, after_s=10) == UNKNOWN_FEE
    assert fee(override=None) == UNKNOWN_FEE
    torn = [change(10, "quadratic", "1"), change(10, "quadratic", "0")]
    assert fee(torn, after_s=10) == UNKNOWN_FEE
    assert fee([torn[0], torn[0]], after_s=10) == FeeWords("quadratic", "1")


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["0", "0.5", "1", "2"])), max_size=5, unique_by=lambda x: x[0]
    ),
    st.integers(0, 9),
)
def test_the_fee_at_any_time_is_that_of_a_plain_timeline(changes: list[tuple[int, str]], at: int) -> None:
    timeline = ["1"] * 10
    for second, multiplier in sorted(changes):
        timeline[second:] = [multiplier] * (10 - second)
    series = [change(second, "quadratic", multiplier) for second, multiplier in changes]
    assert fee(series, after_s=at) == FeeWords("quadratic", timeline[at])


def series_change(**changes: Any) -> dict[str, Any]:
    row = {"id": "1", "series_ticker": "KXTEST", "fee_type": "quadratic", "fee_multiplier": 0.5, "scheduled_ts": SOON}
    return row | changes


def event_change(**changes: Any) -> dict[str, Any]:
    row = {"id": "1", "event_ticker": "KXTEST-26", "series_ticker": "KXTEST", "fee_type_override": None}
    return row | {"fee_multiplier_override": 0.1, "scheduled_ts": SOON} | changes


def test_f31_the_override_and_the_scheduled_change_of_a_listing_are_not_ignored() -> None:
    def wrong(found: Listed) -> str | None:
        return plain(found.series.fee_multiplier) if found.series else None

    halved = listed(event=event_row(fee_multiplier_override=0.5))
    assert (halved.fee(NOW).multiplier, wrong(halved)) == ("0.5", "1")
    later = datetime(2030, 1, 1, tzinfo=UTC)
    scheduled = listed(changes=(("series", series_change(fee_multiplier=2)),))
    assert [scheduled.fee(at).multiplier for at in (NOW, later)] == ["1", "2"]
    assert wrong(scheduled) == "1"
    both = listed(changes=(("series", series_change()), ("event", event_change())))
    assert [both.fee(at).multiplier for at in (NOW, later)] == ["1", "0.1"]


@pytest.mark.parametrize("fee_type", ["flat", "margin_market_maker_program_fees", "of_tomorrow"])
def test_f32_an_unknown_fee_type_is_not_tradeable_and_not_free(fee_type: str) -> None:
    def wrong(kind: str) -> int:
        known = kalshi_fee(kind, "1")
        return 0 if known is None else known.trade_fee_e6(5_000, 100)

    assert why(series=series_row(fee_type=fee_type)) == {Why.FEE}
    assert why(event=event_row(fee_type_override=fee_type)) == {Why.FEE}
    assert why(event=event_row(fee_type_override="quadratic"), series=series_row(fee_type=fee_type)) == set()
    assert wrong(fee_type) == 0


@pytest.mark.parametrize("multiplier", [-1, 11, 0.00000001, "NaN", None])
def test_f32_an_impossible_multiplier_is_unknown(multiplier: Any) -> None:
    assert why(series=series_row(fee_multiplier=multiplier)) == {Why.FEE}


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("series", series_change(scheduled_ts="soon")),
        ("series", without(series_change(), "scheduled_ts")),
        ("series", series_change(fee_type=3)),
        ("event", without(event_change(), "fee_type_override")),
        ("event", event_change(fee_multiplier_override="half")),
        ("series", without(series_change(), "series_ticker")),
        ("event", [1]),
    ],
)
def test_a_change_that_cannot_be_read_leaves_no_fee_known_that_it_may_be_about(kind: str, row: Any) -> None:
    assert why(changes=((kind, row),)) == {Why.FEE}


def test_a_change_of_another_series_or_event_changes_nothing() -> None:
    others = (
        ("series", series_change(series_ticker="KXOTHER", scheduled_ts=PAST)),
        ("event", event_change(event_ticker="KXOTHER-1", scheduled_ts=PAST)),
        ("series", series_change(series_ticker="KXOTHER", fee_type=3)),
    )
    assert listed(changes=others).fee(NOW) == FeeWords("quadratic", "1")


def test_a_waiver_is_not_counted_on() -> None:
    assert listed(market_row(fee_waiver_expiration_time=SOON)).fee(NOW) == FeeWords("quadratic", "1")


def test_a_change_from_before_the_row_was_read_is_in_the_row_and_counts_no_more() -> None:
    """The venue may list changes long past; an override that was edited by hand since must win."""
    past = event_change(scheduled_ts="2026-11-20T09:00:00Z", fee_multiplier_override=2)
    for read_at, multiplier in ((NOW, "0.5"), (NOW - timedelta(hours=4), "2"), (NOW - timedelta(hours=3), "2")):
        event = stored(event_row(fee_multiplier_override=0.5), read_at)
        found = Parents([stored(series_row())], [event], [("event", raw(past))]).listed(raw(market_row()))
        assert isinstance(found, Listed)
        assert found.fee(NOW).multiplier == multiplier


def test_changes_that_took_effect_between_two_runs_are_kept_and_called_off_ones_are_not() -> None:
    now_s = int(NOW.timestamp())
    took, comes = event_change(scheduled_ts=PAST), event_change(scheduled_ts=SOON)
    known = [raw(took), raw(comes), raw(event_change(scheduled_ts="soon")), b"[]"]
    assert passed_changes(known, [], now_s) == [("event", raw(took))]
    assert passed_changes(known, [("event", raw(took))], now_s) == []
