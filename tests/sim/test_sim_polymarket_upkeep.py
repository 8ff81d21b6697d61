"""Delays, settlement, expiry and the dead-man switch, on a clock that the test turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from polymarket_harness import EXCHANGES, wallet
from polymarket_signing import sign

from arbpipe.sim.exchange import Book
from arbpipe.sim.listing import Market, PolymarketListing, make_events
from arbpipe.sim.polymarket_account import AccountStore, OrderRow
from arbpipe.sim.polymarket_auth import Credentials, VenueError, new_credentials
from arbpipe.sim.polymarket_books import MarketView
from arbpipe.sim.polymarket_orders import OrderRequest, OrderType, SignedOrder, order_hash
from arbpipe.sim.polymarket_trading import Exchange, Rules
from arbpipe.sim.polymarket_upkeep import Upkeep


def market_of() -> Market:
    for event in make_events(1, 4):
        for market in event.markets:
            if isinstance(market.listing, PolymarketListing) and market.listing.version == "v1":
                return replace(market, tick_e4=100)
    raise AssertionError


class World:
    """One market, one customer, and a clock in milliseconds. ``again`` is a restart on the same file."""

    def __init__(self, path: Path, rules: Rules, delay: int = 0, now_ms: int = 1_000_000_000) -> None:
        market = market_of()
        assert isinstance(market.listing, PolymarketListing)
        self.path, self.now_ms = path, now_ms
        self.rules = replace(rules, seconds_delay={market.listing.condition_id: delay})
        self.store = AccountStore(path)
        self.book = Book(market.key)
        self.view = MarketView(market, self.book, lambda: self.now_ms)
        self.quote(4_500, 5_000)
        self.exchange = Exchange(self.store, [self.view], self.rules, lambda: self.now_ms)
        self.upkeep = Upkeep(self.exchange)
        self.heard: list[tuple[str, str]] = []
        self.exchange.on_user = self._hear
        self.who = wallet("upkeep")
        self.store.add_wallet(self.who.address, self.who.address, 0, 100_000_000)
        known = self.store.keys_of(self.who.address)
        self.caller: Credentials = known[0] if known else new_credentials(self.who.address, 0)
        if not known:
            self.store.add_key(self.caller)
        self._salt = now_ms

    def _hear(self, owner: str, condition: str, message: dict[str, object]) -> None:
        self.heard.append((str(message["type"]), str(message["status"])))

    def again(self) -> World:
        self.store.close()
        rules = replace(self.rules, seconds_delay={})
        return World(self.path, rules, self.view.seconds_delay, self.now_ms)

    def quote(self, bid_e4: int, ask_e4: int) -> None:
        for is_bid, price in ((True, bid_e4), (False, ask_e4)):
            for old in self.book.quotes(is_bid):
                if old != price:
                    self.book.set_quote(is_bid, old, 0)
        self.book.set_quote(True, bid_e4, 100_000_000)
        self.book.set_quote(False, ask_e4, 100_000_000)

    def request(self, side: str, maker: int, taker: int, kind: str = "FAK", expiration: int = 0) -> OrderRequest:
        self._salt += 1
        order = SignedOrder(
            salt=self._salt,
            maker=self.who.address,
            signer=self.who.address,
            token_id=self.view.assets[0],
            maker_amount=maker,
            taker_amount=taker,
            is_buy=side == "BUY",
            signature_type=0,
            timestamp=self.now_ms,
            metadata="0x" + "00" * 32,
            builder="0x" + "00" * 32,
            expiration=expiration,
            signature="0x00",
        )
        listing = self.view.listing
        signature = sign(self.who, order, EXCHANGES[(listing.version, listing.neg_risk)])
        return OrderRequest(replace(order, signature=signature), self.caller.key, OrderType(kind), False)

    def place(self, side: str, maker: int, taker: int, kind: str = "FAK", expiration: int = 0) -> dict[str, Any]:
        return self.exchange.place(self.caller, self.request(side, maker, taker, kind, expiration))

    def order(self, answer: dict[str, Any]) -> OrderRow:
        row = self.store.order(answer["orderID"])
        assert row is not None
        return row

    def pass_ms(self, ms: int) -> None:
        self.now_ms += ms
        self.upkeep.tick()

    def cash(self) -> int:
        found = self.store.wallet(self.who.address)
        assert found is not None
        return found.cash_e6

    def position(self) -> tuple[int, int]:
        held = self.store.position(self.who.address, self.view.assets[0])
        return held.settled_e6, held.pending_e6


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "a.sqlite", Rules())
    yield made
    made.store.close()


@pytest.fixture
def delayed(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "a.sqlite", Rules(), delay=3)
    yield made
    made.store.close()


def test_bought_shares_settle_when_the_trade_is_confirmed(world: World) -> None:
    world.place("BUY", 10_000_000, 20_000_000)
    assert world.position() == (0, 20_000_000)
    world.pass_ms(149)
    assert world.store.unsettled()[0].status == "MATCHED"
    world.pass_ms(1)
    assert world.store.unsettled()[0].status == "MINED"
    assert world.position() == (0, 20_000_000)
    world.pass_ms(150)
    assert world.store.unsettled() == []
    assert world.position() == (20_000_000, 0)
    world.pass_ms(1_000)
    assert world.heard == [
        ("PLACEMENT", "MATCHED"),
        ("TRADE", "MATCHED"),
        ("TRADE", "MINED"),
        ("TRADE", "CONFIRMED"),
    ]


def test_a_taker_on_a_delayed_market_is_matched_at_the_end_of_the_delay(delayed: World) -> None:
    answer = delayed.place("BUY", 10_000_000, 20_000_000)
    assert (answer["success"], answer["status"], answer["makingAmount"]) == (True, "delayed", "")
    assert delayed.order(answer).status == "DELAYED"
    cancel = delayed.exchange.cancel(delayed.caller.key, [answer["orderID"]])
    assert cancel["canceled"] == []
    delayed.pass_ms(2_999)
    assert delayed.order(answer).status == "DELAYED"
    # meanwhile the quote has moved: the order takes what is there now, within its limit
    delayed.quote(4_400, 4_900)
    delayed.pass_ms(1)
    row = delayed.order(answer)
    assert (row.status, row.matched_e6) == ("MATCHED", 10_000_000 * 10_000 // 4_900)
    assert delayed.heard[:3] == [("PLACEMENT", "DELAYED"), ("UPDATE", "MATCHED"), ("TRADE", "MATCHED")]


def test_a_quote_pulled_during_the_delay_leaves_the_order_unmatched(delayed: World) -> None:
    answer = delayed.place("BUY", 10_000_000, 20_000_000)
    delayed.quote(4_500, 5_300)
    delayed.pass_ms(3_000)
    row = delayed.order(answer)
    assert (row.status, row.matched_e6) == ("UNMATCHED", 0)
    assert delayed.heard == [("PLACEMENT", "DELAYED"), ("UPDATE", "UNMATCHED")]
    assert delayed.cash() == 100_000_000


def test_money_is_checked_again_when_the_delay_ends(delayed: World) -> None:
    answer = delayed.place("BUY", 50_000_000, 100_000_000)
    with pytest.raises(VenueError, match="not enough balance"):
        delayed.place("BUY", 50_000_000, 100_000_000)
    delayed.store.move_cash(delayed.who.address, -60_000_000)
    delayed.pass_ms(3_000)
    assert delayed.order(answer).status == "CANCELED_NOT_ENOUGH_BALANCE"
    assert delayed.position() == (0, 0)


def test_an_order_that_only_rests_is_not_delayed(delayed: World) -> None:
    assert delayed.place("BUY", 4_000_000, 10_000_000, "GTC")["status"] == "live"
    crossing = delayed.place("BUY", 5_000_000, 10_000_000, "GTC")
    assert crossing["status"] == "delayed"
    delayed.pass_ms(3_000)
    assert delayed.order(crossing).status == "MATCHED"


def test_a_delay_survives_a_restart(delayed: World) -> None:
    answer = delayed.place("BUY", 10_000_000, 20_000_000)
    delayed.now_ms += 10_000
    after = delayed.again()
    after.upkeep.resume()
    after.upkeep.tick()
    assert after.order(answer).status == "MATCHED"
    after.store.close()


def test_resting_orders_and_unsettled_trades_survive_a_restart(world: World) -> None:
    rested = world.place("BUY", 4_600_000, 10_000_000, "GTC")
    taken = world.place("BUY", 5_000_000, 10_000_000)
    before = (world.cash(), world.position())
    after = world.again()
    after.upkeep.resume()
    assert (after.cash(), after.position()) == before
    assert [row.id for row in after.store.orders({"status": "LIVE"})] == [rested["orderID"]]
    assert after.book.level_e6(True, 4_600) == 10_000_000
    after.pass_ms(1_000)
    assert after.position() == (10_000_000, 0)
    with pytest.raises(VenueError, match="Duplicated"):
        after.exchange.place(after.caller, world.exchange and _same(world, taken, after))
    # and the order still trades
    after.quote(4_000, 4_500)
    assert after.order(rested).status == "MATCHED"
    after.store.close()


def _same(before: World, answer: dict[str, Any], after: World) -> OrderRequest:
    """The request whose answer that was, signed again."""
    for salt in range(before._salt + 1):
        after._salt = before._salt - 1 - salt
        request = after.request("BUY", 5_000_000, 10_000_000)
        order = replace(request.order, timestamp=before.now_ms)
        listing = after.view.listing
        exchange = EXCHANGES[(listing.version, listing.neg_risk)]
        if order_hash(order, exchange) == answer["orderID"]:
            return replace(request, order=replace(order, signature=sign(after.who, order, exchange)))
        if salt > 5:
            break
    raise AssertionError("the order was not found again")


def test_a_restart_in_another_world_is_refused(world: World) -> None:
    world.place("BUY", 4_600_000, 10_000_000, "GTC")
    other = Exchange(world.store, [], world.rules, lambda: world.now_ms)
    with pytest.raises(ValueError, match="which this world does not list"):
        Upkeep(other).resume()


def test_a_gtd_order_ends_a_minute_early(world: World) -> None:
    now_s = world.now_ms // 1_000
    answer = world.place("BUY", 4_000_000, 10_000_000, "GTD", now_s + 180)
    world.pass_ms(119_000)
    assert world.order(answer).status == "LIVE"
    world.pass_ms(1_000)
    assert world.order(answer).status == "CANCELED_EXPIRED_ORDER"
    assert world.book.level_e6(True, 4_000) == 0
    assert world.heard[-1] == ("CANCELLATION", "CANCELED_EXPIRED_ORDER")


def test_no_heartbeat_for_ten_seconds_cancels_everything(world: World) -> None:
    ids = [world.place("BUY", 4_000_000, 10_000_000, "GTC")["orderID"] for _ in range(3)]
    world.pass_ms(60_000)
    assert len(world.store.orders({}, open_only=True)) == 3, "an unarmed switch does nothing"
    beat = world.exchange.heartbeat(world.caller.key, "")
    for _ in range(4):
        world.pass_ms(5_000)
        beat = world.exchange.heartbeat(world.caller.key, beat)
    assert len(world.store.orders({}, open_only=True)) == 3
    world.pass_ms(9_000)
    assert len(world.store.orders({}, open_only=True)) == 3
    world.pass_ms(6_001)
    assert {row.id: row.status for row in world.store.orders({})} == dict.fromkeys(ids, "CANCELED")


def test_a_wrong_heartbeat_is_told_the_expected_one_and_does_not_count(world: World) -> None:
    world.place("BUY", 4_000_000, 10_000_000, "GTC")
    beat = world.exchange.heartbeat(world.caller.key, "")
    world.pass_ms(9_000)
    with pytest.raises(VenueError) as caught:
        world.exchange.heartbeat(world.caller.key, "")
    assert (caught.value.status, caught.value.extra["heartbeat_id"]) == (400, beat)
    world.pass_ms(6_001)
    assert world.store.orders({}, open_only=True) == []


def test_the_dead_man_switch_survives_a_restart(world: World) -> None:
    world.place("BUY", 4_000_000, 10_000_000, "GTC")
    world.exchange.heartbeat(world.caller.key, "")
    world.now_ms += 20_000
    after = world.again()
    after.upkeep.resume()
    after.upkeep.tick()
    assert after.store.orders({}, open_only=True) == []
    after.store.close()
