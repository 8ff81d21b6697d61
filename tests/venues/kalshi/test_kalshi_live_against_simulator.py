"""The live feed against a venue that misbehaves: a row is the venue's own book, or no quote."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from feed_bench import Bench, toml
from kalshi_simulated import Scene, simulated

from arbpipe.clock import boottime_ns
from arbpipe.shm.generation import Generation
from arbpipe.shm.row import RowFlag
from arbpipe.shm.tables import VenueState, VenueStates
from arbpipe.sim.exchange import LevelChange
from arbpipe.venues.kalshi.auth import wall_ms
from arbpipe.venues.kalshi.codec import decode_rest_book
from arbpipe.venues.kalshi.feed import KalshiFeed
from arbpipe.venues.kalshi.live import KalshiLive
from arbpipe.venues.kalshi.rest import KalshiRest
from arbpipe.venues.kalshi.standing import Standing


class Fed:
    """A running feed of every market of a simulated venue."""

    def __init__(self, made: Bench, scene: Scene, live: KalshiLive, feed: KalshiFeed) -> None:
        self.bench, self.scene, self.live, self.feed = made, scene, live, feed
        self.tickers: list[str] = []

    def list(self, tickers: list[str]) -> None:
        """Trade these; a market keeps its slot."""
        self.tickers += [ticker for ticker in tickers if ticker not in self.tickers]
        multiplier = {t: self.scene.server.catalog.markets[t].multiplier_e2 / 100 for t in tickers}
        entries = [
            f'[[instrument]]\nvenue = "kalshi"\nid = "{ticker}"\ntick = "0.01"\nmin_size = "1"\n'
            f'fee = {{ type = "quadratic", multiplier = "{multiplier[ticker]:g}" }}\n'
            for ticker in tickers
        ]
        catalog = toml(*entries)
        slots = {each.uid: self.slot(each.native_id) for each in catalog.instruments}
        generation: Generation = self.bench.generation(catalog, slots)
        self.feed.list(generation)
        self.live.set_markets(generation)

    def slot(self, ticker: str) -> int:
        return self.bench.first_slot + self.tickers.index(ticker)

    def shown(self, ticker: str) -> Any:
        """What somebody could trade on; None for nothing."""
        row = self.bench.rows.read(self.slot(ticker))
        if row is None or row.flags or row.epoch != self.bench.connections.epoch(row.connection):
            return None
        return row.yes_asks, row.no_asks

    def book(self, ticker: str) -> Any:
        """What the venue's own book says of it."""
        bids, asks = self.scene.server.catalog.book(ticker).levels()
        yes = tuple((price, size // 10_000) for price, size in asks[:8])
        no = tuple((10_000 - price, size // 10_000) for price, size in bids[:8])
        return yes, no

    def is_right(self) -> bool:
        return all(self.shown(ticker) == self.book(ticker) for ticker in self.tickers)

    def flags(self, ticker: str) -> RowFlag:
        return self.bench.flags(self.slot(ticker))

    async def until(self, what: Callable[[], Any], within_s: float = 15.0) -> None:
        for _ in range(int(within_s / 0.01)):
            if what():
                return
            await asyncio.sleep(0.01)
        wrong = {t: self.feed.standing.of(t, wall_ms(), boottime_ns()) for t in self.tickers if not self.shown(t)}
        raise AssertionError(f"it did not happen in time; not shown: {wrong}, venue {self.venue_state.name}")

    async def moved(self, bid: str = "0.3000") -> None:
        """The venue's book changes, and the row follows."""
        self.scene.quote(bid, "0.4500")
        await self.until(self.is_right)

    @property
    def venue_state(self) -> VenueState:
        return VenueStates(self.bench.segment).worst(self.feed._publisher.venue)


@asynccontextmanager
async def fed(made: Bench, tmp_path: Path, **config: Any) -> AsyncIterator[Fed]:
    async with simulated(tmp_path, **config) as scene:
        feed = KalshiFeed(made.publisher, use_yes_price=True, standing=Standing(strict=True, lag_ns=200_000_000))
        rest = KalshiRest(scene.server.rest, None, scene.tls, now_ms=wall_ms)
        live = KalshiLive(
            feed,
            made.publisher,
            scene.server.ws,
            scene.signer,
            scene.tls,
            max_confirm_age_ns=10_000_000_000,
            rest=rest,
        )
        each = Fed(made, scene, live, feed)
        each.list(list(scene.server.catalog.markets))
        work = asyncio.create_task(live.run())
        try:
            await each.until(each.is_right)
            yield each
        finally:
            live.stop()
            await asyncio.wait_for(work, 5)


def play(made: Bench, tmp_path: Path, work: Callable[[Fed], Coroutine[Any, Any, None]], **config: Any) -> None:
    async def main() -> None:
        async with fed(made, tmp_path, **config) as each:
            await work(each)

    asyncio.run(main())


# --- the stream -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "gap"},
        {"do": "gap", "frames": 7},
        {"do": "gap", "channel": "market_lifecycle_v2"},
        {"do": "duplicate"},
        {"do": "garbage"},
        {"do": "garbage", "kind": "unknown_type"},
        {"do": "slow_consumer"},
        {"do": "channel_error"},
        {"do": "disconnect"},
        {"do": "disconnect", "hard": True},
        {"do": "freeze", "seconds": 0.5},
        {"do": "freeze", "seconds": 0.5, "then": "drop"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_after_every_fault_of_the_stream_the_rows_are_the_venues_books_again(
    kalshi_bench: Bench, tmp_path: Path, fault: dict[str, Any]
) -> None:
    async def work(each: Fed) -> None:
        each.scene.server.faults.do(fault)
        for number in range(12):
            each.scene.quote(f"0.{30 + number}00", "0.4500")
            # frames of the other numbered channel as well
            each.scene.do("lifecycle", ticker=each.tickers[1], event="close_date_updated", close_in_s=90_000 + number)
            await asyncio.sleep(0.02)
        await each.moved()

    play(kalshi_bench, tmp_path, work)


def test_a_subscription_that_is_too_large_is_split_and_a_refused_command_is_repeated(
    kalshi_bench: Bench, tmp_path: Path
) -> None:
    async def work(each: Fed) -> None:
        each.scene.do("market_limit", markets=(len(each.tickers) + 1) // 2)
        each.scene.do("disconnect")
        await each.until(lambda: each.scene.server.faults.do({"do": "gap", "frames": 1})["connections"] == 2)
        await each.until(each.is_right)
        each.scene.do("command_error", code=27)
        each.scene.do("gap")
        await each.moved()

    play(kalshi_bench, tmp_path, work)


def test_markets_are_added_and_removed_while_it_runs(kalshi_bench: Bench, tmp_path: Path) -> None:
    async def work(each: Fed) -> None:
        first, gone = each.tickers[0], each.tickers[-1]
        each.scene.do("list_market", ticker="KXNEW-26-A", bids=[["0.30", "5"]], asks=[["0.35", "6"]])
        each.list([*(ticker for ticker in each.tickers if ticker != gone), "KXNEW-26-A"])
        await each.until(lambda: each.shown("KXNEW-26-A") == each.book("KXNEW-26-A") != ((), ()))
        assert each.shown(gone) is None
        assert each.shown(first) == each.book(first)

    play(kalshi_bench, tmp_path, work)


def test_f06_a_book_that_is_frozen_behind_a_living_socket_is_not_confirmed(kalshi_bench: Bench, tmp_path: Path) -> None:
    async def work(each: Fed) -> None:
        before = kalshi_bench.confirmed_ns()
        each.scene.do("freeze", seconds=1.0)
        each.scene.quote("0.3100", "0.4500")
        await asyncio.sleep(0.7)
        assert kalshi_bench.confirmed_ns() == before  # though every ping was answered
        assert not each.is_right()
        await each.moved()

        def mistaken(pong_age_s: float) -> bool:  # the mistake: the socket answers, so the book is right
            return pong_age_s < 1

        assert mistaken(0.1)

    play(kalshi_bench, tmp_path, work)


# --- what the venue says ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "state"), [("trading", VenueState.PAUSED), ("exchange", VenueState.CLOSED)])
def test_f70_a_pause_is_venue_state_and_its_end_too(
    kalshi_bench: Bench, tmp_path: Path, kind: str, state: VenueState
) -> None:
    async def work(each: Fed) -> None:
        await each.until(lambda: each.venue_state is VenueState.TRADING)
        each.scene.do("pause", kind=kind)
        await each.until(lambda: each.venue_state is state)
        each.scene.do("resume")
        await each.until(lambda: each.venue_state is VenueState.TRADING)

        def mistaken(frames_come: bool) -> bool:  # the mistake: a venue that speaks to us trades
            return frames_come

        assert mistaken(frames_come=bool(kalshi_bench.confirmed_ns()))

    play(kalshi_bench, tmp_path, work)


def test_a_pause_of_one_shard_halts_its_markets_alone(kalshi_bench: Bench, tmp_path: Path) -> None:
    async def work(each: Fed) -> None:
        there = [t for t in each.tickers if t.startswith("KXSIMTEMP")]
        assert there
        each.scene.do("pause", kind="trading", exchange_index=2)
        await each.until(lambda: all(each.flags(ticker) == RowFlag.HALTED for ticker in there))
        assert each.venue_state is VenueState.TRADING
        assert all(each.shown(ticker) for ticker in each.tickers if ticker not in there)
        each.scene.do("resume")
        await each.until(each.is_right)

    play(kalshi_bench, tmp_path, work, shards={"KXSIMTEMP": 2})


def test_f70_maintenance_drops_every_session_and_the_books_come_back_after_it(
    kalshi_bench: Bench, tmp_path: Path
) -> None:
    async def work(each: Fed) -> None:
        each.scene.do("maintenance", in_s=0.0, seconds=2.0)
        await each.until(lambda: each.venue_state is not VenueState.TRADING)
        await each.until(lambda: each.venue_state is VenueState.TRADING)
        await each.until(each.is_right)
        await each.moved()

    play(kalshi_bench, tmp_path, work)


def test_every_step_of_a_markets_life_is_instrument_state(kalshi_bench: Bench, tmp_path: Path) -> None:
    async def work(each: Fed) -> None:
        ticker = each.scene.ticker
        each.scene.do("lifecycle", ticker=ticker, event="deactivated")
        await each.until(lambda: each.flags(ticker) == RowFlag.HALTED)
        each.scene.do("lifecycle", ticker=ticker, event="activated")
        await each.moved()
        each.scene.do("lifecycle", ticker=ticker, event="price_level_structure_updated", structure="deci_cent")
        await each.until(lambda: each.shown(ticker) and kalshi_bench.row(each.slot(ticker)).tick_e4 == 10)
        each.scene.do("lifecycle", ticker=ticker, event="close_date_updated", close_in_s=0.5)
        await each.until(lambda: each.flags(ticker) == RowFlag.HALTED)  # silently, when its time comes
        each.scene.do("lifecycle", ticker=ticker, event="determined", result="yes")
        await asyncio.sleep(0.1)
        assert each.flags(ticker) == RowFlag.HALTED
        assert all(each.shown(other) for other in each.tickers if other != ticker)

    play(kalshi_bench, tmp_path, work)


def test_f31_an_event_whose_fees_change_stops_until_the_listing_says_the_same(
    kalshi_bench: Bench, tmp_path: Path
) -> None:
    async def work(each: Fed) -> None:
        ticker = each.scene.ticker
        event = each.scene.server.catalog.markets[ticker].event_ticker
        each.scene.do("fee_override", event_ticker=event, multiplier="2")
        await each.until(lambda: each.flags(ticker) == RowFlag.NOT_TRADEABLE)
        await asyncio.sleep(0.5)
        assert each.flags(ticker) == RowFlag.NOT_TRADEABLE  # it was read again, and it is another fee
        each.scene.do("fee_override", event_ticker=event)
        await each.until(lambda: each.shown(ticker))

        def mistaken(fee_when_it_was_listed: object) -> bool:  # the mistake: read once, right for ever
            return fee_when_it_was_listed is not None

        assert mistaken(each.feed.fee_of(ticker))

    play(kalshi_bench, tmp_path, work)


def test_a_market_that_stops_while_the_lifecycle_is_not_heard_is_not_quoted(
    kalshi_bench: Bench, tmp_path: Path
) -> None:
    async def work(each: Fed) -> None:
        ticker = each.scene.ticker
        each.scene.do("channel_error", channel="market_lifecycle_v2")
        each.scene.do("command_error", code=11)  # and its new subscription is refused
        await each.until(lambda: each.flags(ticker) == RowFlag.HALTED)
        each.scene.do("lifecycle", ticker=ticker, event="deactivated")
        await each.until(lambda: each.shown(each.tickers[1]))
        assert each.flags(ticker) == RowFlag.HALTED

    play(kalshi_bench, tmp_path, work)


def test_f11_a_cached_rest_book_is_late_and_the_row_is_not(kalshi_bench: Bench, tmp_path: Path) -> None:
    async def work(each: Fed) -> None:
        ticker = each.scene.ticker
        rest = KalshiRest(each.scene.server.rest, None, each.scene.tls, now_ms=wall_ms)
        await rest.start()
        try:
            each.scene.do("stale_books", seconds=15)
            late = (await rest.ask("GET", f"/markets/{ticker}/orderbook", timeout_s=5)).body
            await each.moved("0.3300")
            later = (await rest.ask("GET", f"/markets/{ticker}/orderbook", timeout_s=5)).body
        finally:
            await rest.stop()

        def mistaken(body: bytes) -> int:  # the mistake: the edge is confirmed by a REST book
            return 10_000 - max(price for price, _ in decode_rest_book(body).yes)

        assert late == later
        assert mistaken(later) != kalshi_bench.row(each.slot(ticker)).no_asks[0][0] == 6_700

    play(kalshi_bench, tmp_path, work)


# --- everything at once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_goes_wrong_no_row_is_ever_a_book_that_the_venue_did_not_have(
    kalshi_bench: Bench, tmp_path: Path, seed: int
) -> None:
    dice = random.Random(seed)
    faults: tuple[dict[str, Any], ...] = (
        {"do": "gap", "frames": 2},
        {"do": "duplicate"},
        {"do": "garbage"},
        {"do": "slow_consumer"},
        {"do": "disconnect", "hard": True},
        {"do": "freeze", "seconds": 0.2, "then": "drop"},
    )

    async def work(each: Fed) -> None:
        ticker = each.scene.ticker
        book = each.scene.server.catalog.book(ticker)
        bids, asks = (dict(side) for side in book.levels())
        had: set[Any] = {each.book(ticker)}

        def changed(change: LevelChange) -> None:
            """Each is one frame, so each leaves a book that the feed may have shown."""
            side = bids if change.buys_yes else asks
            side[change.price_e4] = change.qty_e6
            if not change.qty_e6:
                del side[change.price_e4]
            yes = tuple((price, asks[price] // 10_000) for price in sorted(asks)[:8])
            no = tuple((10_000 - price, bids[price] // 10_000) for price in sorted(bids, reverse=True)[:8])
            had.add((yes, no))

        book.observe(on_level=changed)
        for _ in range(150):
            if dice.random() < 0.15:
                each.scene.server.faults.do(dice.choice(faults))
            bid, ask, size = dice.randrange(20, 40), dice.randrange(41, 60), dice.randrange(1, 90)
            each.scene.quote(f"0.{bid}00", f"0.{ask}00", f"{size}.00")
            for _ in range(3):
                await asyncio.sleep(0.004)
                assert each.shown(ticker) is None or each.shown(ticker) in had
        await each.moved()

    play(kalshi_bench, tmp_path, work)
