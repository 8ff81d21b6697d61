"""The feed on real sockets against a scripted venue: what stands in shared memory through every accident."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from feed_bench import Bench
from kalshi_sockets import BOOKS, LiveBench, Peer, ScriptedSockets, living
from kalshi_venue import signer

from arbpipe.clock import boottime_ns, stamp_ns
from arbpipe.errors import EnvironmentRefused
from arbpipe.shm.layout import NO_QUOTE
from arbpipe.shm.row import RowFlag
from arbpipe.shm.stats import Counter
from arbpipe.shm.tables import ConnectionState
from arbpipe.venues.kalshi import live as live_module
from arbpipe.venues.kalshi.feed import KalshiFeed
from arbpipe.venues.kalshi.live import KalshiLive


def run(
    bench: Bench,
    work: Callable[[LiveBench], Awaitable[None]],
    *tickers: str,
    venue: ScriptedSockets | None = None,
    age_s: float = 10.0,
) -> LiveBench:
    """Do ``work`` while the feed runs; return what was there."""

    async def main() -> LiveBench:
        async with living(bench, *tickers, venue=venue, age_s=age_s) as made:
            await work(made)
        return made

    return asyncio.run(main())


# --- subscribing ------------------------------------------------------------------------------------------------------


def test_listed_markets_are_subscribed_at_yes_prices_and_quoted(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        assert made.peer.book_subscriptions() == [["A", "B"]]
        row = kalshi_bench.row(made.slot("A"))
        # the NO bid stands at the YES price 0.45: it is bought against at 0.45
        assert (row.yes_asks, row.no_asks) == (((4_500, 2_000),), ((6_000, 1_000),))
        await made.peer.delta("A", "0.4600", "5.00", "no")
        await made.peer.delta("A", "0.4500", "-20.00", "no")
        await made.until(lambda: kalshi_bench.row(made.slot("A")).yes_asks == ((4_600, 500),))
        assert len(made.venue.peers) == 1

    run(kalshi_bench, work, "A", "B")
    assert kalshi_bench.get(Counter.GAPS) == 0
    assert kalshi_bench.alerts() == []


def test_more_than_five_hundred_markets_are_split_over_connections(kalshi_bench: Bench, monkeypatch: Any) -> None:
    monkeypatch.setattr(live_module, "MAX_MARKETS", 3)

    async def work(made: LiveBench) -> None:
        sizes = sorted(len(each) for peer in made.venue.peers for each in peer.book_subscriptions())
        assert sizes == [1, 3, 3]
        hears = [len(peer.actions("subscribe")) - len(peer.book_subscriptions()) for peer in made.venue.peers]
        assert sorted(hears) == [0, 0, 1]  # one connection hears the stops of all markets
        assert [kalshi_bench.connections.state(number) for number in range(3)] == [ConnectionState.LIVE] * 3

    run(kalshi_bench, work, *"ABCDEFG")


def test_markets_for_which_no_connection_is_left_have_no_quote_and_are_told(
    kalshi_bench: Bench, monkeypatch: Any
) -> None:
    monkeypatch.setattr(live_module, "MAX_MARKETS", 1)
    tickers = [f"M{number}" for number in range(6)]

    async def main() -> None:
        async with living(kalshi_bench) as made:
            made.list(*tickers)
            await made.until(lambda: sum(map(made.quoted, tickers)) == 4)  # so many connections the range has
            made.list(*tickers[2:])  # room again
            await made.until(lambda: all(map(made.quoted, tickers[2:])))

    asyncio.run(main())
    (alert,) = kalshi_bench.alerts()
    assert "2 listed Kalshi markets, M4 first, have no connection" in alert


def test_markets_come_and_go_while_it_runs(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        made.list("B", "C")
        assert not made.quoted("A")  # at once, before the venue knows
        await made.until(lambda: made.quoted("C"))
        assert made.peer.actions("delete_markets") == [["A"]]
        assert made.peer.actions("add_markets") == [["C"]]
        assert sorted(made.peer.markets) == ["B", "C"]
        await made.until(lambda: list(made.feed._connections[0].books) == ["B", "C"])
        await made.peer.delta("B", "0.4000", "1.00")
        await made.until(lambda: kalshi_bench.row(made.slot("B")).no_asks == ((6_000, 1_100),))
        made.list("A", "B", "C")
        await made.until(lambda: made.quoted("A"))

    run(kalshi_bench, work, "A", "B")
    assert kalshi_bench.get(Counter.GAPS) == 0
    assert kalshi_bench.alerts() == []


def test_a_feed_without_markets_subscribes_when_the_first_is_listed(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        assert made.venue.peers == []
        made.list("A")
        await made.until(lambda: made.quoted("A"))

    run(kalshi_bench, work)


def test_what_is_no_address_is_refused(kalshi_bench: Bench) -> None:
    feed = KalshiFeed(kalshi_bench.publisher, use_yes_price=True)
    for url in ("https://host/trade-api/ws/v2", "wss://host", "", "host"):
        with pytest.raises(EnvironmentRefused, match="is no address"):
            KalshiLive(feed, kalshi_bench.publisher, url, signer(), None, max_confirm_age_ns=1)


# --- gaps -------------------------------------------------------------------------------------------------------------


def test_a_gap_voids_every_book_until_the_snapshots_that_are_asked_for(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        epoch = kalshi_bench.epoch()
        made.venue.books["B"] = ([["0.1000", "1.00"]], [["0.9000", "1.00"]])
        made.peer.lose_a_frame()
        await made.peer.delta("A", "0.4000", "1.00")
        await made.until(lambda: kalshi_bench.epoch() > epoch and made.quoted("A") and made.quoted("B"))
        assert made.peer.actions("get_snapshot") == [["A", "B"]]  # one command for all of them
        assert kalshi_bench.row(made.slot("B")).no_asks == ((9_000, 100),)
        assert len(made.venue.peers) == 1

    run(kalshi_bench, work, "A", "B")
    assert kalshi_bench.get(Counter.GAPS) == 1


def test_a_bad_frame_asks_once_however_often_it_comes(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        made.peer.mute = True
        for _ in range(20):
            await made.peer.ws.send_str("{")
        await made.until(lambda: kalshi_bench.get(Counter.BAD_FRAMES) == 20)
        assert not made.quoted("A")
        await asyncio.sleep(0.05)
        assert made.peer.actions("get_snapshot") == [["A"]]

    run(kalshi_bench, work, "A")


# --- connections that end ---------------------------------------------------------------------------------------------


def test_f05_a_reconnect_is_a_new_epoch_and_no_quote_stands_meanwhile(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        epoch, yesterday = kalshi_bench.epoch(), kalshi_bench.row(made.slot("A"))
        made.venue.accept = False
        made.venue.books["A"] = ([["0.2000", "1.00"]], [["0.7000", "1.00"]])
        await made.peer.drop()
        await made.until(lambda: not made.quoted("A"))
        assert kalshi_bench.connections.state(0) is ConnectionState.DOWN
        assert kalshi_bench.cost(made.slot("A")) == (NO_QUOTE, NO_QUOTE)
        assert kalshi_bench.row(made.slot("A")).flags == RowFlag.NO_BOOK
        mistaken = yesterday  # the mistake: the last row stands while the socket is away
        made.venue.accept = True
        await made.until(lambda: made.quoted("A"))
        now = kalshi_bench.row(made.slot("A"))
        assert now.epoch == kalshi_bench.epoch() > epoch
        assert now.no_asks == ((8_000, 100),) != mistaken.no_asks
        assert len(made.venue.peers) == 2

    run(kalshi_bench, work, "A")


def test_f05_a_machine_that_slept_trusts_no_price_of_before(kalshi_bench: Bench, monkeypatch: Any) -> None:
    async def work(made: LiveBench) -> None:
        epoch, peers = kalshi_bench.epoch(), len(made.venue.peers)
        confirmed, confirmed_stamp = kalshi_bench.confirmed_ns(), stamp_ns()
        # CLOCK_MONOTONIC stood still for an hour while CLOCK_BOOTTIME ran
        hour = 3_600 * 1_000_000_000
        monkeypatch.setattr(live_module, "boottime_ns", lambda: boottime_ns() + hour)
        # the mistake: an age by the clock that stops in suspend finds yesterday's book a moment old
        mistaken_ns = stamp_ns() - confirmed_stamp
        assert mistaken_ns < 10_000_000_000 < live_module.boottime_ns() - confirmed
        await made.until(lambda: kalshi_bench.epoch() > epoch)
        await made.until(lambda: made.quoted("A") and len(made.venue.peers) > peers)

    run(kalshi_bench, work, "A")


def test_frames_of_a_connection_that_was_given_up_bring_nothing_back(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        socket = made.live._sockets[0]
        made.venue.accept = False
        socket.give_up("a test")
        socket.wire_message(
            b'{"type":"orderbook_snapshot","sid":2,"seq":9,"msg":{"market_ticker":"A",'
            b'"yes_dollars_fp":[["0.4000","10.00"]]}}'
        )
        assert not made.quoted("A")
        assert kalshi_bench.connections.state(0) is ConnectionState.DOWN

    run(kalshi_bench, work, "A")


def test_when_it_stops_nothing_is_quoted(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        assert made.quoted("A")
        made.live.stop()
        assert not made.quoted("A")  # at once: what keeps the frames may be closed now
        epoch = kalshi_bench.epoch()
        await made.peer.snapshot("A")
        await asyncio.sleep(0.03)
        assert kalshi_bench.epoch() == epoch

    made = run(kalshi_bench, work, "A")
    assert not made.quoted("A")
    assert kalshi_bench.connections.state(0) is ConnectionState.DOWN


# --- silence ----------------------------------------------------------------------------------------------------------


def test_a_quiet_book_is_asked_for_in_rotation_and_stays_confirmed(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        await made.until(lambda: len(made.peer.actions("get_snapshot")) >= 4)
        asked = made.peer.actions("get_snapshot")[:4]
        assert all(len(each) == 1 for each in asked)
        assert {name for each in asked for name in each} == {"A", "B", "C"}
        assert boottime_ns() - kalshi_bench.confirmed_ns() < 300_000_000
        assert len(made.venue.peers) == 1

    run(kalshi_bench, work, "A", "B", "C", age_s=0.3)


def test_a_book_with_frames_is_asked_for_nothing(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        for number in range(20):
            await made.peer.delta("A", "0.4000", "1.00" if number % 2 else "-1.00")
            await asyncio.sleep(0.02)
        assert made.peer.actions("get_snapshot") == []

    run(kalshi_bench, work, "A", age_s=1.0)


def test_f06_an_open_socket_that_says_nothing_confirms_nothing_and_is_given_up(
    kalshi_bench: Bench, monkeypatch: Any
) -> None:
    async def work(made: LiveBench) -> None:
        silent, epoch = made.peer, kalshi_bench.epoch()
        silent.mute = True  # pings and pongs go on: the socket is alive
        confirmed = kalshi_bench.confirmed_ns()
        await silent.ws.ping(b"heartbeat")
        await made.until(lambda: silent.actions("get_snapshot"))

        def mistaken(peer: Peer) -> bool:  # the mistake: a socket that answers pings is fresh
            return peer.open

        assert mistaken(silent)
        assert kalshi_bench.confirmed_ns() == confirmed
        later = 5_100_000_000
        monkeypatch.setattr(live_module, "boottime_ns", lambda: boottime_ns() + later)
        monkeypatch.setattr(live_module, "stamp_ns", lambda: stamp_ns() + later)
        await made.until(lambda: len(made.venue.peers) == 2 and made.quoted("A"))
        assert kalshi_bench.epoch() > epoch

    run(kalshi_bench, work, "A", age_s=0.3)
    assert any("no answer to get_snapshot for 5 s" in alert for alert in kalshi_bench.alerts())


def test_frames_of_another_subscription_do_not_confirm_the_books(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        confirmed = kalshi_bench.confirmed_ns()
        sequenced = kalshi_bench.get(Counter.SEQUENCED)
        for _ in range(3):
            await made.peer.lifecycle("OTHER", "created")
        await made.until(lambda: kalshi_bench.get(Counter.SEQUENCED) == sequenced + 3)
        assert kalshi_bench.confirmed_ns() == confirmed
        assert made.quoted("A")

    run(kalshi_bench, work, "A")


# --- errors of the venue ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [10, 25])
def test_a_terminal_error_voids_the_books_and_subscribes_again(kalshi_bench: Bench, code: int) -> None:
    async def work(made: LiveBench) -> None:
        epoch = kalshi_bench.epoch()
        await made.peer.error(code)
        await made.until(lambda: kalshi_bench.epoch() > epoch and made.quoted("A") and made.quoted("B"))
        assert made.peer.book_subscriptions() == [["A", "B"], ["A", "B"]]
        await made.peer.lifecycle("A", "deactivated")  # the other subscription counts on
        await made.until(lambda: made.flags("A") == RowFlag.HALTED)
        await made.peer.delta("B", "0.4000", "1.00")
        await made.until(lambda: kalshi_bench.row(made.slot("B")).no_asks == ((6_000, 1_100),))
        assert len(made.venue.peers) == 1

    run(kalshi_bench, work, "A", "B")
    assert kalshi_bench.get(Counter.GAPS) == 0


def test_terminal_errors_in_a_row_are_met_with_patience(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        for _ in range(50):
            if made.peer.open:
                await made.peer.error(25)
            await asyncio.sleep(0.005)
        assert len(made.peer.book_subscriptions()) <= 4
        assert not made.quoted("A")
        await made.until(lambda: made.quoted("A"), 12)

    run(kalshi_bench, work, "A")


def test_a_subscription_limit_moves_markets_to_a_further_connection(kalshi_bench: Bench) -> None:
    venue = ScriptedSockets()

    def limit(peer: Peer, command: dict[str, Any]) -> int:
        names = command["params"].get("market_tickers", [])
        action = command["params"].get("action")
        held = len(peer.markets) if action == "add_markets" else 0
        grows = command["cmd"] == "subscribe" or action == "add_markets"
        return 26 if grows and held + len(names) > 2 else 0

    venue.refuse = limit

    async def work(made: LiveBench) -> None:
        assert len(venue.peers) == 2
        assert {tuple(peer.markets) for peer in venue.peers} == {("A", "B"), ("C", "D")}
        made.list(*"ABCDE")
        await made.until(lambda: made.quoted("E"))
        assert len(venue.peers) == 3
        assert all(map(made.quoted, "ABCDE"))

    run(kalshi_bench, work, *"ABCD", venue=venue)


def test_too_many_requests_are_followed_by_a_pause_and_the_same_again(kalshi_bench: Bench) -> None:
    venue = ScriptedSockets()
    times: list[float] = []

    def busy(peer: Peer, command: dict[str, Any]) -> int:
        if command["params"].get("channels") == [BOOKS]:
            times.append(asyncio.get_running_loop().time())
            return 27 if len(times) < 3 else 0
        return 0

    venue.refuse = busy

    async def work(made: LiveBench) -> None:
        assert len(times) == 3
        assert times[1] - times[0] >= 0.2
        assert times[2] - times[1] >= 0.4

    run(kalshi_bench, work, "A", venue=venue)


def test_a_snapshot_that_was_too_much_is_asked_for_again(kalshi_bench: Bench) -> None:
    venue = ScriptedSockets()
    venue.refuse = lambda peer, command: (
        27 if command["params"].get("action") == "get_snapshot" and len(peer.actions("get_snapshot")) == 1 else 0
    )

    async def work(made: LiveBench) -> None:
        made.peer.lose_a_frame()
        await made.peer.delta("A", "0.4000", "1.00")
        await made.until(lambda: not made.quoted("A"))
        await made.until(lambda: made.quoted("A"))
        assert made.peer.actions("get_snapshot") == [["A"], ["A"]]

    run(kalshi_bench, work, "A", venue=venue)


# --- trading stops ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["deactivated", "determined", "closed", "settled"])
def test_a_market_that_stops_is_halted_until_it_is_active_again(kalshi_bench: Bench, event: str) -> None:
    async def work(made: LiveBench) -> None:
        await made.peer.lifecycle("A", event)
        await made.until(lambda: made.flags("A") == RowFlag.HALTED)
        assert kalshi_bench.cost(made.slot("A")) == (NO_QUOTE, NO_QUOTE)
        assert made.quoted("B")
        await made.peer.delta("A", "0.3900", "1.00")  # a cancel, say: the book moves, nothing trades
        await made.peer.snapshot("A")
        await asyncio.sleep(0.03)
        assert made.flags("A") == RowFlag.HALTED
        made.list("A", "B", "C")
        assert made.flags("A") == RowFlag.HALTED  # a new generation does not know better
        made.venue.books["A"] = ([["0.1000", "1.00"]], [["0.9000", "1.00"]])
        await made.peer.lifecycle("A", "activated")
        await made.until(lambda: made.quoted("A"))
        assert kalshi_bench.row(made.slot("A")).no_asks == ((9_000, 100),)  # reactivation cancels what rested

    run(kalshi_bench, work, "A", "B")


def test_what_happens_to_markets_nobody_listed_changes_nothing(kalshi_bench: Bench) -> None:
    async def work(made: LiveBench) -> None:
        version = kalshi_bench.row(made.slot("A")).version
        for event in ("deactivated", "determined", "activated", "brand_new"):
            await made.peer.lifecycle("OTHER", event)
        await made.peer.lifecycle("A", "brand_new")
        await asyncio.sleep(0.03)
        assert kalshi_bench.row(made.slot("A")).version == version
        assert made.quoted("A")

    run(kalshi_bench, work, "A")
    assert kalshi_bench.alerts() == []
