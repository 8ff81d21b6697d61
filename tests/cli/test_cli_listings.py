"""``arbpipe listings``: what it says of a listing and of one market, against a scripted and a simulated venue."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from system_support import Box, wait_for

sys.path.append(str(Path(__file__).resolve().parents[1] / "venues" / "kalshi"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "sim"))

from aiohttp import web
from kalshi_listing_venue import LATER, SOON, ListingVenue, event_row, in_a_thread, market_row, series_row
from kalshi_support import kalshi_client

from arbpipe.catalog.instruments import parse_instrument


@pytest.fixture
def venue(recordings: Path) -> ListingVenue:
    made = ListingVenue(recordings)
    made.series = [series_row("KXA"), series_row("KXB", category="Sports", categories=["Sports"], fee_type="flat")]
    made.events = [event_row("KXA-1", "KXA", fee_multiplier_override=0.5), event_row("KXB-1", "KXB")]
    made.markets = [market_row(f"KXA-1-{number}", "KXA-1") for number in range(3)]
    made.markets += [market_row("KXB-1-0", "KXB-1")]
    return made


@pytest.fixture
def address(venue: ListingVenue, box: Box) -> Iterator[str]:
    """The scripted venue's address, which the box's configuration names."""
    with in_a_thread(venue.serving()) as base:
        (box.work / "arbpipe.toml").write_text(f'[kalshi]\nrest = "{base}"\n[paths]\nstate = "state"\n')
        yield base


def listings(box: Box, *words: object, code: int = 0) -> Any:
    done = box.run("listings", "kalshi", *words, "--json")
    assert done.code == code, done.err
    return done.json


def show(box: Box, *words: object, code: int = 0) -> Any:
    done = box.run("listings", "show", *words)
    assert done.code == code, done.err
    return done


# -- the listing ---------------------------------------------------------------------------------------------------------


def test_a_listing_is_counted_by_series_and_category_with_what_does_not_trade(
    box: Box, venue: ListingVenue, address: str
) -> None:
    venue.recordings = None  # a value that is not the vendor's yet
    venue.markets.append(market_row("KXA-1-9", "KXA-1", market_type="ternary"))
    said = listings(box)
    assert (said["schema"], said["venue"], said["address"]) == (1, "kalshi", address)
    assert (said["series"], said["events"], said["markets"], said["tradeable"]) == (2, 2, 5, 3)
    assert said["by_category"] == [
        {"name": "Economics", "events": 1, "markets": 4, "tradeable": 3},
        {"name": "Sports", "events": 1, "markets": 1, "tradeable": 0},
    ]
    assert [each["name"] for each in said["by_series"]] == ["KXA", "KXB"]
    against = {each["why"]: (each["markets"], each["example"]) for each in said["not_tradeable"]}
    assert against == {"a value that is not known yet": (1, "KXA-1-9"), "the fee is unknown": (1, "KXB-1-0")}
    assert said["run"]["kind"] == "full"
    again = listings(box)
    assert (again["run"]["kind"], again["run"]["number"]) == ("refresh", 2)
    assert again["markets"] == 5


def test_the_lines_for_people_fit_80_columns_and_stderr_stays_empty_in_a_pipe(
    box: Box, venue: ListingVenue, address: str
) -> None:
    venue.recordings = None
    venue.markets.append(market_row("KXA-1-9", "KXA-1", status=7))
    done = box.run("listings", "kalshi")
    assert (done.code, done.err) == (0, "")
    first, second, *_ = done.out.splitlines()
    assert first.startswith("kalshi listings: everything, status open; read, 2 pages, run 1")
    assert second == "5 markets of 2 events and 2 series; 3 tradeable"
    assert "KXA-1-9: Expected `str | null`, got `int` - at `$.status`" in done.out
    assert max(len(line) for line in done.out.splitlines() if not line.startswith("store: ")) <= 80
    assert "\x1b" not in done.out


def test_options_that_contradict_each_other_or_name_nothing_are_usage_errors(
    box: Box, venue: ListingVenue, address: str
) -> None:
    assert "--series and --category" in listings(box, "--series", "KXA", "--category", "x", code=2)["error"]["message"]
    assert "--series KXNO" in listings(box, "--series", "KXNO", code=2)["error"]["message"]
    assert "exact, such as Economics" in listings(box, "--category", "sports", code=2)["error"]["message"]
    assert box.run("listings", "kalshi", "--status", "active").code == 2
    assert box.run("listings", "kalshi", "--rate", "100").code == 2


def test_a_chosen_store_is_kept_and_refuses_another_listing(box: Box, venue: ListingVenue, address: str) -> None:
    file = box.work / "mine.sqlite"
    assert listings(box, "--series", "KXA", "--store", file)["store"] == str(file)
    assert file.exists()
    refused = listings(box, "--series", "KXB", "--store", file, code=4)
    assert "holds another listing" in refused["error"]["message"]


def test_a_run_that_is_killed_goes_on_where_it_was(box: Box, venue: ListingVenue, address: str) -> None:
    venue.page = 1
    venue.markets = [market_row(f"KXA-1-{number}", "KXA-1") for number in range(30)]
    running = box.start("listings", "kalshi", "--rate", 10, "--json")
    wait_for("a few pages", lambda: len(venue.asked("/markets")) >= 4, 30.0)
    running.send(signal.SIGKILL)
    running.wait()
    before = len(venue.asked("/markets"))
    said = listings(box, "--rate", 40)
    assert said["run"]["resumed"]
    assert said["markets"] == 30
    after = [query.get("cursor") for query in venue.asked("/markets")][before:]
    assert after[0] is not None
    assert len(after) <= 30 - before + 1, "at most the page that was under way is read twice"


def test_an_interrupted_run_says_that_it_can_go_on(box: Box, venue: ListingVenue, address: str) -> None:
    venue.faults = [
        lambda path, query: (
            web.json_response({"error": "too many requests"}, status=429) if path == "/markets" else None
        )
    ]
    running = box.start("listings", "kalshi")
    wait_for("a read of markets", lambda: venue.asked("/markets"), 30.0)
    running.send(signal.SIGINT)
    done = running.wait()
    assert (done.code, done.out) == (130, "")
    assert "the same command goes on there" in done.err


def test_an_address_where_nobody_answers_is_named_soon(box: Box) -> None:
    (box.work / "arbpipe.toml").write_text('[kalshi]\nrest = "http://127.0.0.1:9/trade-api/v2"\n')
    said = listings(box, code=7)
    assert "nothing was sent" in said["error"]["message"]


def test_a_terminal_gets_a_progress_bar_on_stderr(box: Box, venue: ListingVenue, address: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "arbpipe", "listings", "kalshi", "--json"]
    environment = box.environment({"TERM": "xterm", "COLUMNS": "80"})
    process = subprocess.Popen(command, env=environment, cwd=box.work, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    out, _ = process.communicate(timeout=60)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert process.returncode == 0
    assert json.loads(out)["markets"] == 4
    assert "kalshi" in shown


# -- one market ----------------------------------------------------------------------------------------------------------


def test_one_market_is_told_in_words(box: Box, venue: ListingVenue, address: str) -> None:
    venue.series_changes = [
        {
            "id": "1",
            "series_ticker": "KXA",
            "fee_type": "quadratic_with_maker_fees",
            "fee_multiplier": 2,
            "scheduled_ts": LATER,
        }
    ]
    done = show(box, "KXA-1-0")
    words = re.sub(r"\s+", " ", done.out)
    assert done.out.startswith("KXA-1-0: tradeable\n")
    for said in (
        "yes Above 3 no everything else",
        "rules If it is above 3, then the market resolves to Yes.",
        "at most one of its markets resolves to Yes",
        "strike more than 3",
        "status active; result: none yet",
        "price step 0.0100 from 0.0000 to 1.0000",
        "fee quadratic × 0.5: taker 0.035 · p · (1 − p), maker 0 · p · (1 − p)",
        "fee later from 2031-01-01T00:00:00Z: quadratic_with_maker_fees × 0.5: taker 0.035",
        f"closes {SOON}",
        "settles 60 s after its result is determined",
        "shard 0",
        "yes bid 0.4000 × 10.00",
    ):
        assert said in words, said
    assert max(map(len, done.out.splitlines())) <= 80
    said = show(box, "KXA-1-0", "--json").json
    assert (said["schema"], said["tradeable"], said["fee"]) == (1, True, {"type": "quadratic", "multiplier": "0.5"})
    assert said["fee_changes"] == [{"from": LATER, "type": "quadratic_with_maker_fees", "multiplier": "0.5"}]


def test_no_is_never_labelled_by_its_sub_title(box: Box, venue: ListingVenue, address: str) -> None:
    venue.markets = [market_row("KXA-1-0", "KXA-1", yes_sub_title="Fritz", no_sub_title="Fritz-as-no")]
    assert "Fritz-as-no" not in show(box, "KXA-1-0").out + show(box, "KXA-1-0", "--json").out
    assert "Fritz-as-no" not in show(box, "KXA-1-0", "--toml").out


def test_the_table_for_pairs_toml_is_one_that_trades(box: Box, venue: ListingVenue, address: str) -> None:
    venue.events[0]["title"] = 'A "quoted" \\ title\nin two lines — and 🎾'
    venue.markets[0]["price_ranges"] = [
        {"start": "0.0000", "end": "0.5000", "step": "0.0010"},
        {"start": "0.5000", "end": "1.0000", "step": "0.0010"},
    ]
    (entry,) = tomllib.loads(show(box, "KXA-1-0", "--toml").out)["instrument"]
    made = parse_instrument(entry, 1, "pairs.toml", kalshi_direct_member=True)
    assert (made.native_id, made.tick_e4, made.min_size_e2, made.tradeable) == ("KXA-1-0", 10, 1, True)
    assert made.fee is not None
    assert made.fee.rate_e6 == 35_000
    assert made.title == 'A "quoted" \\ title in two lines — and 🎾: Above 3'


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"price_ranges": [("0", "0.99", "0.03")]}, "its price steps make no grid of a dollar: 0.0300 from 0.0000"),
        ({"market_type": "scalar"}, "market_type scalar"),
        ({"status": "finalized", "result": "yes"}, "status finalized"),
        ({"status": "hibernating"}, 'status "hibernating" is not known'),
    ],
)
def test_a_table_that_would_not_hold_is_refused_with_the_reason(
    box: Box, venue: ListingVenue, address: str, changes: dict[str, Any], named: str
) -> None:
    if "price_ranges" in changes:
        changes = {"price_ranges": [{"start": a, "end": b, "step": c} for a, b, c in changes["price_ranges"]]}
    venue.recordings = None  # some of these values are not the vendor's
    venue.markets = [market_row("KXA-1-0", "KXA-1", **changes)]
    done = show(box, "KXA-1-0", "--toml", code=5)
    assert done.out == ""
    assert named in done.err


def test_a_market_that_is_not_open_yet_has_a_table_too(box: Box, venue: ListingVenue, address: str) -> None:
    venue.markets = [market_row("KXA-1-0", "KXA-1", status="initialized", open_time=SOON, close_time=LATER)]
    assert "[[instrument]]" in show(box, "KXA-1-0", "--toml").out
    assert "because       not trading now: status initialized" in show(box, "KXA-1-0").out


def test_an_unknown_fee_is_said_and_gives_no_table(box: Box, venue: ListingVenue, address: str) -> None:
    assert "flat × 1: unknown, so it is not traded" in re.sub(r"\s+", " ", show(box, "KXB-1-0").out)
    assert 'no formula for fee_type "flat"' in show(box, "KXB-1-0", "--toml", code=5).err


def test_a_market_that_is_not_listed_or_cannot_be_read_is_named(box: Box, venue: ListingVenue, address: str) -> None:
    assert "kalshi lists no market KXNO-1" in show(box, "KXNO-1", code=2).err
    venue.recordings = None
    venue.markets = [market_row("KXA-1-0", "KXA-1", status=7)]
    assert "KXA-1-0 cannot be read: Expected `str | null`, got `int`" in show(box, "KXA-1-0", code=1).err
    assert "exclude each other" in show(box, "KXA-1-0", "--toml", "--json", code=2).err


def test_a_market_is_shown_from_a_store_without_asking(box: Box, venue: ListingVenue, address: str) -> None:
    listings(box, "--store", box.work / "mine.sqlite")
    venue.requests = []
    assert show(box, "KXA-1-1", "--store", "mine.sqlite").out.startswith("KXA-1-1: tradeable")
    assert "KXNO is not in mine.sqlite" in show(box, "KXNO", "--store", "mine.sqlite", code=2).err
    assert venue.requests == []


# -- simulated -----------------------------------------------------------------------------------------------------------


def test_the_simulated_venue_is_listed_and_its_markets_give_tables_that_trade(box: Box, tmp_path: Path) -> None:
    with in_a_thread(kalshi_client(tmp_path / "sim")) as client:
        config = f'[kalshi]\nrest = "{client.server.rest}"\n[network]\nca_file = "{client.ca_pem}"\n'
        (box.work / "arbpipe.toml").write_text(config)
        said = listings(box, "--store", "sim.sqlite")
        tickers = sorted(client.server.catalog.markets)
        assert said["markets"] == said["tradeable"] == len(tickers) > 4
        for ticker in tickers[:2]:
            (entry,) = tomllib.loads(show(box, ticker, "--toml").out)["instrument"]
            assert parse_instrument(entry, 1, "pairs.toml", kalshi_direct_member=True).tradeable
