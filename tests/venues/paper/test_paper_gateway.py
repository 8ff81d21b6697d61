"""The paper gateway takes what the rows show, refuses what a venue would refuse, and misbehaves on demand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from execution_bench import CASH, Plane, StepClock, pair_plane, run

from arbpipe.identity import Side, Venue
from arbpipe.shm.tables import Quarantine, QuarantineReason
from arbpipe.shm.usable import Freshness, UsableRule
from arbpipe.venues.base import Action, Order, Outcome, OutcomeState
from arbpipe.venues.paper.account import PaperAccount
from arbpipe.venues.paper.gateway import PaperGateway, PaperManners

DELAY = 30_000_000


class Desk:
    """Both gateways over one account and one plane; the clock is stepped by the gateways' own delay."""

    def __init__(self, plane: Plane, path: Path) -> None:
        self.plane = plane
        self.account = PaperAccount(path, CASH)
        self.clock = StepClock()
        self.clock.ns = plane.connections.confirmed_ns(plane.connection[Venue.KALSHI])
        self.count = 0

    def gateway(self, venue: Venue, *, reject: int = 0, partial: int = 0) -> PaperGateway:
        usable = UsableRule(self.plane.segment, Freshness(15_000_000_000, 1_000, 600_000_000_000))
        manners = PaperManners(DELAY, reject, partial, 1)
        listing = self.plane.generation.by_uid.get
        return PaperGateway(
            venue, self.account, self.plane.segment, usable, listing, self.clock, self.clock.sleep_until, manners
        )

    def order(
        self, key: str, side: Side, price: int, size: int, action: Action = Action.BUY, *, name: str = ""
    ) -> Order:
        each = self.plane.listing(key)
        self.count += 1
        return Order(name or f"o-{self.count}", each.venue, each.uid, each.native_id, side, action, size, price)

    def place(self, *args: object, **how: int) -> Outcome:
        order = self.order(*args)  # type: ignore[arg-type]
        return run(self.gateway(order.venue, **how).place(order))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with pair_plane() as plane:
        made = Desk(plane, tmp_path / "venue.sqlite")
        yield made
        made.account.close()


A, POLY = "kalshi:A", "polymarket:0x01"


def test_an_order_is_filled_after_the_delay_at_what_the_rows_show_by_then(desk: Desk) -> None:
    order = desk.order(A, Side.YES, 4_100, 500)
    gateway = desk.gateway(Venue.KALSHI)
    began = desk.clock.ns
    sleep = desk.clock.sleep_until

    async def meanwhile(when: int) -> None:
        desk.plane.quote(A, [(4_100, 200)], [(6_200, 500)])
        await sleep(when)

    gateway._sleep_until = meanwhile
    outcome = run(gateway.place(order))
    assert [(fill.price_e4, fill.qty_e6) for fill in outcome.fills] == [(4_100, 2_000_000)]
    assert (outcome.state, desk.clock.ns - began) == (OutcomeState.PARTIAL, DELAY)


def test_the_same_order_sent_again_is_the_same_order(desk: Desk) -> None:
    order, gateway = desk.order(A, Side.YES, 4_000, 500), desk.gateway(Venue.KALSHI)
    assert run(gateway.lookup(order)).state is OutcomeState.NONE
    first = run(gateway.place(order))
    assert run(gateway.place(order)) == first == run(gateway.lookup(order))
    assert run(gateway.positions())[0].yes_e6 == 5_000_000


def test_a_vanished_quote_fills_nothing(desk: Desk) -> None:
    desk.plane.quote(A, [(4_500, 50_000)], [])
    assert desk.place(A, Side.YES, 4_000, 500).state is OutcomeState.NONE


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ((A, Side.YES, 4_050, 500), "off the tick of 0.01"),
        ((POLY, Side.NO, 5_000, 499), "below the venue's minimum of 5"),
        ((A, Side.YES, 4_000, 200_000), "not enough cash"),
        ((POLY, Side.NO, 5_000, 500, Action.SELL), "only 0.0 contracts are held"),
    ],
)
def test_what_a_venue_refuses_is_refused(desk: Desk, args: tuple[object, ...], why: str) -> None:
    before = [(desk.account.cash_e6(venue), desk.account.positions(venue)) for venue in Venue]
    outcome = desk.place(*args)
    assert outcome.state is OutcomeState.REJECTED
    assert why in outcome.reason
    assert [(desk.account.cash_e6(venue), desk.account.positions(venue)) for venue in Venue] == before


def test_nothing_is_traded_on_a_row_that_may_not_be_used(desk: Desk) -> None:
    desk.plane.connections.next_epoch(desk.plane.connection[Venue.KALSHI])
    outcome = desk.place(A, Side.YES, 4_000, 500)
    assert (outcome.state, outcome.reason) == (OutcomeState.REJECTED, "no market in A (old_epoch)")


def quarantine(desk: Desk, key: str, reason: QuarantineReason = QuarantineReason.OPERATOR) -> None:
    Quarantine(desk.plane.segment, "operator").set(desk.plane.listing(key).slot, reason)


def test_f64_what_is_held_is_sold_on_a_quarantined_row_and_nothing_is_bought_there(desk: Desk) -> None:
    assert desk.place(POLY, Side.NO, 5_000, 600).state is OutcomeState.FILLED
    quarantine(desk, POLY)
    outcome = desk.place(POLY, Side.NO, 5_000, 600)
    assert (outcome.state, outcome.reason) == (OutcomeState.REJECTED, "no market in 0x01 (quarantine)")
    sold = desk.place(
        POLY, Side.NO, 4_800, 600, Action.SELL
    )  # the mistake, one rule for both, answers like the purchase
    assert (sold.state, sold.qty_e6) == (OutcomeState.FILLED, 6_000_000)
    assert desk.place(POLY, Side.NO, 4_800, 600, Action.SELL).reason == "only 0.0 contracts are held"


def test_a_row_that_may_be_wrong_takes_no_sale_either(desk: Desk) -> None:
    assert desk.place(POLY, Side.NO, 5_000, 600).state is OutcomeState.FILLED
    quarantine(desk, POLY)
    desk.plane.connections.next_epoch(desk.plane.connection[Venue.POLYMARKET])
    outcome = desk.place(POLY, Side.NO, 4_800, 600, Action.SELL)
    assert (outcome.state, outcome.reason) == (OutcomeState.REJECTED, "no market in 0x01 (old_epoch)")


def test_an_instrument_that_left_the_catalog_is_rejected(desk: Desk) -> None:
    order, gateway = desk.order(A, Side.YES, 4_000, 500), desk.gateway(Venue.KALSHI)
    gateway._listing = lambda uid: None
    assert run(gateway.place(order)).reason == "A is not listed any more"


def test_accidents_come_as_often_as_they_are_asked_for(desk: Desk) -> None:
    assert desk.place(A, Side.YES, 4_000, 100, reject=1_000).state is OutcomeState.REJECTED
    partial = [desk.place(A, Side.YES, 4_000, 100, partial=1_000) for _ in range(20)]
    assert all(outcome.qty_e6 < 1_000_000 for outcome in partial)
    assert {outcome.state for outcome in partial} >= {OutcomeState.PARTIAL}
    states = [desk.place(A, Side.YES, 4_000, 100, reject=300).state for _ in range(60)]
    assert 5 < states.count(OutcomeState.REJECTED) < 35


def test_accidents_do_not_depend_on_the_random_client_id(tmp_path: Path) -> None:
    with pair_plane() as plane:

        def accidents(run_name: str) -> list[tuple[OutcomeState, int]]:
            desk = Desk(plane, tmp_path / f"{run_name}.sqlite")
            gateway = desk.gateway(Venue.KALSHI, reject=300, partial=300)
            orders = [desk.order(A, Side.YES, 4_000, 10, name=f"{run_name}-{n}") for n in range(30)]
            outcomes = [run(gateway.place(order)) for order in orders]
            desk.account.close()
            return [(outcome.state, outcome.qty_e6) for outcome in outcomes]

        first = accidents("first")
        assert accidents("second") == first
        assert len(set(first)) > 2


def test_what_is_held_can_be_sold_and_no_more(desk: Desk) -> None:
    assert desk.place(POLY, Side.NO, 5_000, 600).state is OutcomeState.FILLED
    assert desk.place(POLY, Side.NO, 4_800, 601, Action.SELL).state is OutcomeState.REJECTED
    assert desk.place(POLY, Side.NO, 4_800, 600, Action.SELL).state is OutcomeState.FILLED
    assert run(desk.gateway(Venue.POLYMARKET).positions()) == ()


def test_waiting_for_news_only_lets_time_pass_on_the_age_clock(desk: Desk) -> None:
    began = desk.clock.ns
    run(desk.gateway(Venue.KALSHI).news(0.1, [desk.order(A, Side.YES, 4_000, 500)]))
    assert desk.clock.ns - began == 100_000_000
