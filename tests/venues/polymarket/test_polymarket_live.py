"""The live feed against a scripted market channel: snapshots, silences, reconnects, audits."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest
from feed_bench import Bench, polymarket, toml
from polymarket_driven import MARKET, NO, OTHER, OTHER_NO, OTHER_YES, YES, Market
from polymarket_sockets import AGE_NS, ENTRIES, MANNERS, MS, Channel, Running, running

from arbpipe.clock import boottime_ns
from arbpipe.shm.generation import Listing
from arbpipe.shm.row import RowFlag
from arbpipe.shm.stats import Counter
from arbpipe.venues.polymarket import live as live_module
from arbpipe.venues.polymarket.feed import PolymarketFeed
from arbpipe.venues.polymarket.live import Manners, PolymarketLive


def go(made: Bench, channel: Channel, use: Any, *entries: str, **more: Any) -> None:
    async def main() -> None:
        async with running(made, channel, *entries, **more) as it:
            await use(it)

    asyncio.run(main())


def both() -> Channel:
    return Channel(Market(), Market(OTHER, OTHER_YES, OTHER_NO))


def test_first_message_asks_for_both_tokens_and_their_books_come_as_one_array(polymarket_bench: Bench) -> None:
    channel = both()

    async def use(it: Running) -> None:
        await it.until(lambda: it.quoted() and it.quoted(it.slot + 1))
        await it.until(lambda: it.bench.verified(it.slot) and it.bench.verified(it.slot + 1))
        (said,) = channel.subscribed
        assert said["type"] == "market"
        assert set(said["assets_ids"]) == {YES, NO, OTHER_YES, OTHER_NO}
        assert (said["initial_dump"], said["level"]) == (True, 2)

    go(polymarket_bench, channel, use, *ENTRIES)


def test_changes_are_published_as_they_come(polymarket_bench: Bench) -> None:
    market = Market()
    channel = Channel(market)

    async def use(it: Running) -> None:
        await it.until(it.quoted)
        await channel.say(market.change("SELL", "0.40", "7"))
        await it.until(lambda: it.bench.row(it.slot).yes_asks[0] == (4_000, 700))

    go(polymarket_bench, channel, use)


def many(count: int) -> list[Market]:
    base = (1 << 255) + (1 << 100)
    return [Market(f"0x{n:x}", str(base + 2 * n), str(base + 2 * n + 1)) for n in range(1, count + 1)]


def test_assets_beyond_one_connection_are_split_and_a_markets_tokens_stay_together(
    polymarket_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "MAX_ASSETS", 41)  # an odd number: a pair must not straddle it
    markets = many(25)
    channel = Channel(*markets)

    async def use(it: Running) -> None:
        await it.until(lambda: len(channel.subscribed) == 2)
        await it.until(lambda: all(it.quoted(it.slot + n) for n in range(25)))
        parts = [set(said["assets_ids"]) for said in channel.subscribed]
        assert sorted(map(len, parts)) == [10, 40]
        assert all((m.yes in parts[0]) == (m.no in parts[0]) for m in markets)
        assert it.live.open_connections == 2

    go(polymarket_bench, channel, use, *(polymarket(m.market, m.yes, m.no) for m in markets))


def test_missing_book_is_asked_for_again_until_it_comes(polymarket_bench: Bench) -> None:
    channel = both()
    channel.mute = {OTHER_YES}

    async def use(it: Running) -> None:
        await it.until(lambda: channel.demanded(OTHER_YES) >= 2)
        assert not it.quoted(it.slot + 1)
        assert it.quoted()
        assert any("showed no book of 1 assets" in line for line in it.bench.alerts())
        channel.mute = set()
        await it.until(lambda: it.quoted(it.slot + 1))

    go(polymarket_bench, channel, use, *ENTRIES)


def test_wrong_hash_is_refetched_once_and_then_ever_later(polymarket_bench: Bench) -> None:
    market = Market()
    channel = Channel(market)

    async def use(it: Running) -> None:
        await it.until(lambda: it.bench.verified(it.slot))
        honest = market.hash
        market.hash = lambda token: "0" * 40  # type: ignore[method-assign]
        await channel.say(market.change("SELL", "0.40", "7"))
        await it.until(lambda: RowFlag.UNVERIFIABLE in it.flags())
        await asyncio.sleep(0.45)
        # 0, 50, 150, 350 ms: doubled each time, not a loop
        assert 2 <= channel.demanded(YES) <= 5
        assert not it.quoted()
        market.hash = honest  # type: ignore[method-assign]
        await it.until(lambda: it.quoted() and it.bench.verified(it.slot))

    go(polymarket_bench, channel, use, age_ns=2_000 * MS)


def test_f05_reconnect_never_leaves_yesterdays_prices(polymarket_bench: Bench) -> None:
    def mistake(row: Any) -> bool:
        return bool(row.yes_asks)  # the book as it was left: nobody withdrew it

    channel = Channel(Market())

    async def use(it: Running) -> None:
        await it.until(it.quoted)
        before, epoch = it.bench.row(it.slot), it.bench.epoch()
        channel.frozen = True
        await channel.sockets[0].close()
        await it.until(lambda: it.bench.epoch() > epoch)
        assert mistake(before)
        assert not it.quoted()
        assert RowFlag.NO_BOOK in it.flags()
        await it.until(lambda: len(channel.subscribed) == 2)
        assert not it.quoted()  # connected again, and still without a book
        channel.frozen = False
        await it.until(it.quoted)
        assert it.bench.row(it.slot).epoch == it.bench.epoch() > epoch

    go(polymarket_bench, channel, use)


def test_f05_sleep_of_the_machine_voids_every_book(polymarket_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = Channel(Market())
    slept = 0

    def after_sleep() -> int:
        return boottime_ns() + slept

    monkeypatch.setattr(live_module, "boottime_ns", after_sleep)

    def mistake(seconds: int) -> int:
        return 0 * seconds  # CLOCK_MONOTONIC, which stood still: the book looks fresh

    async def use(it: Running) -> None:
        nonlocal slept
        await it.until(it.quoted)
        epoch = it.bench.epoch()
        channel.frozen = True
        slept = 3_600 * 1_000 * MS
        await it.until(lambda: it.bench.epoch() > epoch)
        assert mistake(3_600) == 0
        assert not it.quoted()
        channel.frozen = False
        await it.until(lambda: len(channel.subscribed) >= 2 and it.quoted())

    go(polymarket_bench, channel, use, age_ns=10_000_000 * MS)


def test_f06_connection_that_answers_ping_but_sends_nothing_is_given_up(polymarket_bench: Bench) -> None:
    def mistake(pongs: int) -> bool:
        return pongs > 0  # the socket answers: taken for data

    channel = Channel(Market())

    async def use(it: Running) -> None:
        await it.until(it.quoted)
        channel.frozen = True
        pings, asked = channel.pings, len(channel.subscribed)
        await it.until(lambda: not it.quoted())
        assert mistake(channel.pings - pings)
        await it.until(lambda: len(channel.subscribed) > asked)
        channel.frozen = False
        await it.until(it.quoted)

    go(polymarket_bench, channel, use, manners=replace(MANNERS, ping_ns=150 * MS))


def test_f06_one_silent_asset_is_never_confirmed_by_the_others(polymarket_bench: Bench) -> None:
    def mistake(last_frame_ns: int, now: int) -> bool:
        return now - last_frame_ns < AGE_NS  # the connection lives: all of it is taken for fresh

    other = Market(OTHER, OTHER_YES, OTHER_NO)
    channel = Channel(Market(), other)

    async def use(it: Running) -> None:
        await it.until(lambda: it.quoted() and it.quoted(it.slot + 1))
        channel.mute = {YES, NO}
        await it.until(lambda: it.age_ns(boottime_ns()) > AGE_NS)
        now = boottime_ns()
        others = it.bench.rows.confirmed_ns(it.slot + 1)
        assert mistake(others, now)
        assert now - others < AGE_NS
        assert it.bench.confirmed_ns() == 0  # the connection as a whole confirms no row
        assert channel.demanded(YES) >= 2  # and it was asked for, again and again

    go(polymarket_bench, channel, use, *ENTRIES)


def test_silent_connection_without_pong_is_given_up(polymarket_bench: Bench) -> None:
    channel = Channel(Market())

    async def use(it: Running) -> None:
        await it.until(it.quoted)
        channel.deaf = True
        await it.until(lambda: len(channel.subscribed) >= 2)

    go(polymarket_bench, channel, use, age_ns=60_000 * MS, manners=replace(MANNERS, ping_ns=60 * MS))


def test_quiet_assets_are_audited_before_they_are_too_old(polymarket_bench: Bench) -> None:
    channel, age_ns = both(), 1_600 * MS

    async def use(it: Running) -> None:
        await it.until(lambda: it.quoted() and it.quoted(it.slot + 1))
        oldest = 0
        until = boottime_ns() + 2 * age_ns
        while (now := boottime_ns()) < until:
            oldest = max(oldest, *(now - it.bench.rows.confirmed_ns(it.slot + n) for n in (0, 1)))
            assert it.quoted()
            await asyncio.sleep(0.01)
        assert oldest < age_ns
        assert channel.demanded(YES) >= 2
        assert channel.demanded(NO) >= 2
        assert len(channel.subscribed) == 1
        assert channel.operations[0][0] == "unsubscribe"

    go(polymarket_bench, channel, use, *ENTRIES, age_ns=age_ns)


def test_busy_assets_are_not_audited(polymarket_bench: Bench) -> None:
    market = Market()
    channel = Channel(market)

    async def use(it: Running) -> None:
        await it.until(it.quoted)
        for number in range(85):
            await channel.say(market.change("SELL", "0.42", str(30 + number)))
            await asyncio.sleep(0.015)
        assert channel.demanded(YES) == 0

    go(polymarket_bench, channel, use, age_ns=1_600 * MS)


def test_audits_of_many_assets_are_spread() -> None:
    """A full round takes a quarter of the limit, never one burst."""
    markets = many(100)

    class Still:
        manners, max_confirm_age_ns, ws_url, tls = Manners(), 15_000 * MS, "ws://127.0.0.1:9", None

    shard = live_module._Shard(Still(), 0)  # type: ignore[arg-type]
    for market in markets:
        shard.wanted.update({market.yes: None, market.no: None})
        shard.seen.update({market.yes: 0, market.no: 0})
    now, rounds = 7_500 * MS, 0
    while left := shard._quiet(now):
        assert len(left) <= 11  # 200 assets over 3.75 s in steps of 0.2 s
        for asset in left:
            shard.seen[asset] = now
        now += Still.manners.tick_ns
        rounds += 1
    assert rounds >= 18
    assert now <= 12_000 * MS


def test_markets_come_and_go_on_the_open_connection(polymarket_bench: Bench) -> None:
    channel = both()

    async def use(it: Running) -> None:
        await it.until(it.quoted)
        it.list(*ENTRIES)
        await it.until(lambda: it.quoted(it.slot + 1))
        assert ("subscribe", (OTHER_YES, OTHER_NO)) in channel.operations
        it.list(ENTRIES[0])
        await it.until(lambda: ("unsubscribe", (OTHER_YES, OTHER_NO)) in channel.operations)
        assert not it.quoted(it.slot + 1)
        assert it.quoted()
        assert len(channel.subscribed) == 1

    go(polymarket_bench, channel, use, age_ns=60_000 * MS)


def test_connection_of_nothing_is_closed_and_its_number_is_used_again(polymarket_bench: Bench) -> None:
    channel = both()

    async def use(it: Running) -> None:
        await it.until(it.quoted)
        it.list()
        await it.until(lambda: channel.sockets[0].closed)
        assert it.live.open_connections == 0
        it.list(ENTRIES[1])
        await it.until(it.quoted)
        assert channel.subscribed[1]["assets_ids"] == [OTHER_YES, OTHER_NO]

    go(polymarket_bench, channel, use)


@dataclass(frozen=True)
class Listed:
    listings: list[Listing]


def test_no_connection_carries_more_than_four_hundred_and_a_catalog_beyond_all_is_an_alert(
    polymarket_bench: Bench,
) -> None:
    made = polymarket_bench
    feed = PolymarketFeed(made.publisher)
    live = PolymarketLive(feed, made.publisher, "ws://127.0.0.1:9", None, max_confirm_age_ns=AGE_NS)
    (one,) = made.generation(toml(ENTRIES[0])).listings
    live.set_markets(Listed([one._replace(native_id=m.market, yes_token=m.yes, no_token=m.no) for m in many(900)]))
    sizes = [len(shard.wanted) for shard in live._shards.values()]
    assert max(sizes) == 400
    assert sum(sizes) == 400 * len(sizes) < 1_800
    assert any("raise [segment] connections" in line for line in made.alerts())


def test_unreadable_frame_brings_every_book_again(polymarket_bench: Bench) -> None:
    channel = both()

    async def use(it: Running) -> None:
        await it.until(lambda: it.quoted() and it.quoted(it.slot + 1))
        channel.frozen = True
        for socket in channel.sockets:
            await socket.send_str("{")
        await it.until(lambda: not it.quoted() and not it.quoted(it.slot + 1))
        channel.frozen = False
        await it.until(lambda: it.quoted() and it.quoted(it.slot + 1))
        assert it.bench.get(Counter.BAD_FRAMES) >= 1
        assert len(channel.subscribed) == 1

    go(polymarket_bench, channel, use, *ENTRIES)


def test_stop_ends_every_connection(polymarket_bench: Bench) -> None:
    channel = Channel(Market())

    async def main() -> None:
        async with running(polymarket_bench, channel, polymarket(MARKET, YES, NO)) as it:
            await it.until(it.quoted)
        assert it.live.open_connections == 0
        assert not it.quoted()

    asyncio.run(main())
