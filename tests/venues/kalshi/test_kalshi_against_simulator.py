"""The gateway against a venue that misbehaves: what it says became of an order is what the venue booked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from kalshi_simulated import Scene, simulated

from arbpipe.identity import Side
from arbpipe.venues.base import Action, Order, Outcome, OutcomeState, TimeInForce

FILLED, NONE, UNKNOWN = OutcomeState.FILLED, OutcomeState.NONE, OutcomeState.UNKNOWN


def play(tmp_path: Path, work: Callable[[Scene], Coroutine[Any, Any, None]], **config: Any) -> None:
    async def main() -> None:
        async with simulated(tmp_path, **config) as scene:
            await work(scene)

    asyncio.run(main())


async def placed_and_found(scene: Scene, order: Order) -> tuple[Outcome, Outcome]:
    """What placing says, and what looking says afterwards."""
    first = await scene.gateway.place(order)
    return first, first if first.state.settled else await scene.gateway.lookup(order)


def mistaken_fill(outcome: Outcome) -> int:
    """The mistake (F40): no answer is no fill."""
    return outcome.qty_e6


# --- answers that do not come -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "late_ack", "seconds": 1.0},
        {"do": "drop_after_acceptance"},
        *({"do": "error_after_acceptance", "status": status} for status in (408, 500, 502, 503, 504)),
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_f40_an_order_that_was_done_without_an_answer_is_unknown_and_then_found(
    tmp_path: Path, fault: dict[str, Any]
) -> None:
    async def work(scene: Scene) -> None:
        scene.server.faults.do(fault)
        first, then = await placed_and_found(scene, scene.order())
        assert first.state is UNKNOWN
        assert (then.state, then.qty_e6) == (FILLED, 10_000_000)
        assert scene.is_stated(scene.order(), then)
        assert mistaken_fill(first) != then.qty_e6

    play(tmp_path, work)


@pytest.mark.parametrize(
    "fault",
    [
        {"do": "fill_after_timeout", "seconds": 4.0},
        {"do": "late_arrival", "seconds": 4.0, "status": 503},
        {"do": "late_arrival", "seconds": 4.0},
    ],
    ids=["held before matching", "503 first", "dropped first"],
)
def test_f40_an_order_that_arrives_after_it_was_called_none_cannot_trade_any_more(
    tmp_path: Path, fault: dict[str, Any]
) -> None:
    async def work(scene: Scene) -> None:
        scene.server.faults.do(fault)
        order = scene.order()
        cash = scene.cash_e6()
        first, then = await placed_and_found(scene, order)
        assert first.state is UNKNOWN
        assert then.state is NONE
        assert "cannot arrive any more" in then.reason
        await asyncio.sleep(4.0)  # now it arrives, and its client id is used up
        assert scene.cash_e6() == cash
        assert scene.is_stated(order, then)

    play(tmp_path, work)


def test_f40_without_the_fence_a_late_order_trades_behind_our_back(tmp_path: Path) -> None:
    """The mistake: two listings without the order, and the order is forgotten."""

    async def work(scene: Scene) -> None:
        scene.do("late_arrival", seconds=1.5, status=503)
        order = scene.order()
        await scene.gateway.place(order)
        listings = []
        for _ in range(2):
            listings.append([each["client_order_id"] for each in scene.statement()["orders"]])
            await asyncio.sleep(0.3)
        assert listings == [[], []]  # "none", says the mistake
        await asyncio.sleep(2.0)
        assert not scene.is_stated(order, Outcome(NONE))
        # and ours, asked now, knows it
        assert (await scene.gateway.lookup(order)).state is FILLED

    play(tmp_path, work)


def test_reads_that_lag_leave_an_order_unknown_until_they_caught_up(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        scene.do("lagging_reads", seconds=30)
        scene.do("drop_after_acceptance")
        order = scene.order()
        first, then = await placed_and_found(scene, order)
        assert (first.state, then.state) == (UNKNOWN, UNKNOWN)
        assert "not yet newer" in then.reason
        assert len(scene.statement()["orders"]) == 1  # nothing was sent that could hide it
        scene.do("lagging_reads", seconds=1, clear=True)
        found = await scene.gateway.lookup(order)
        assert found.state is FILLED
        assert scene.is_stated(order, found)

    play(tmp_path, work)


def test_f41_the_same_order_again_is_found_and_not_done_twice(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        order = scene.order()
        first = await scene.gateway.place(order)
        again = await scene.gateway.place(order)
        assert first.state is again.state is FILLED
        assert first.fills == again.fills
        assert len(scene.statement()["fills"]) == 1
        # the mistake: a new id for the same intent
        await scene.gateway.place(scene.order("ap-1-0-0-retry"))
        assert len(scene.statement()["fills"]) == 2

    play(tmp_path, work)


def test_f44_a_fill_is_counted_once_however_often_and_in_whatever_order_it_is_told(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        order = scene.order()
        outcomes = [await scene.gateway.place(order)]
        outcomes += [await scene.gateway.lookup(order) for _ in range(3)]
        assert scene.gateway.stream is not None
        assert scene.gateway.stream.is_live  # which told of it as well
        assert len({outcome.fills for outcome in outcomes}) == 1
        assert scene.is_stated(order, outcomes[-1])
        told = [fill.qty_e6 for outcome in outcomes for fill in outcome.fills]

        def mistaken(quantities: list[int]) -> int:  # the mistake: whoever tells it adds it
            return sum(quantities)

        assert mistaken(told) == 4 * outcomes[0].qty_e6

    play(tmp_path, work)


@pytest.mark.parametrize("skew_s", [0.0, 2.0, 4.0])
def test_f40_a_filled_order_whose_market_closes_meanwhile_is_found_however_the_clocks_stand(
    tmp_path: Path, skew_s: float
) -> None:
    """That nothing can arrive any more does not say that nothing arrived."""

    async def work(scene: Scene) -> None:
        scene.do("clock_skew", seconds=skew_s)
        scene.do("lagging_reads", seconds=1.0)
        scene.do("drop_after_acceptance")
        order = scene.order()
        await scene.gateway.place(order)
        scene.do("lifecycle", ticker=scene.ticker, event="deactivated")
        outcome = await scene.gateway.lookup(order)
        for _ in range(3):
            outcome = outcome if outcome.state.settled else await scene.gateway.lookup(order)
        assert (outcome.state, outcome.qty_e6) == (FILLED, 10_000_000)
        assert scene.is_stated(order, outcome)

    play(tmp_path, work)


def test_f40_a_lost_order_of_a_market_that_closed_is_none_in_listings_of_after_that(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        scene.do("status", status=503, method="POST")
        order = scene.order()
        await scene.gateway.place(order)
        scene.do("lifecycle", ticker=scene.ticker, event="deactivated")
        outcome = await scene.gateway.lookup(order)
        for _ in range(3):
            outcome = outcome if outcome.state.settled else await scene.gateway.lookup(order)
        assert outcome.state is NONE
        assert "after its market took no more orders" in outcome.reason

    play(tmp_path, work)


def test_a_lost_fill_or_kill_that_was_killed_filled_nothing(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        scene.do("late_ack", seconds=1.0)
        order = scene.order(size_e2=9_000, time_in_force=TimeInForce.FOK)
        first, then = await placed_and_found(scene, order)
        for _ in range(3):
            then = then if then.state.settled else await scene.gateway.lookup(order)
        assert (first.state, then.state) == (UNKNOWN, NONE)

    play(tmp_path, work)


@pytest.mark.parametrize("lag_s", [0.0, 1.0])
def test_a_restart_while_reads_lag_books_every_dollar_of_netting_once(tmp_path: Path, lag_s: float) -> None:
    async def work(scene: Scene) -> None:
        bought = await scene.gateway.place(scene.order())
        if lag_s:
            scene.do("lagging_reads", seconds=lag_s)
        await scene.restart()
        sold = await scene.gateway.place(scene.order("ap-1-0-1", action=Action.SELL, price_e4=4_000, reduce_only=True))
        assert sold.state is FILLED
        booked = sum(fill.cash_e6 for outcome in (bought, sold) for fill in outcome.fills)
        assert booked == scene.cash_e6() - 1_000_000_000
        assert [fill.released_e6 for fill in sold.fills] == [0]

    play(tmp_path, work)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "code"), [("trading", "trading_is_paused"), ("exchange", "exchange_is_paused")])
def test_f70_a_pause_is_a_refusal_once(tmp_path: Path, kind: str, code: str) -> None:
    async def work(scene: Scene) -> None:
        scene.do("pause", kind=kind)
        outcome = await scene.gateway.place(scene.order())
        assert outcome.state is OutcomeState.REJECTED
        assert code in outcome.reason
        scene.do("resume")
        assert (await scene.gateway.place(scene.order())).state is FILLED

    play(tmp_path, work)


def test_a_clock_that_is_off_is_a_refusal_and_nothing_was_done(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        scene.do("clock_skew", seconds=60)
        outcome = await scene.gateway.place(scene.order())
        assert outcome.state is OutcomeState.REJECTED
        assert "header_timestamp_expired" in outcome.reason
        assert not scene.statement()["orders"]

    play(tmp_path, work)


def test_an_order_that_is_too_much_is_refused_and_leaves_the_kept_share_for_unwinds(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        bought = 0
        for number in range(20):
            outcome = await scene.gateway.place(scene.order(f"ap-1-0-{number}", size_e2=100))
            bought += outcome.state is FILLED
        assert bought < 20
        sale = scene.order("ap-2-0-0", action=Action.SELL, size_e2=100, price_e4=4_000, reduce_only=True)
        assert (await scene.gateway.place(sale)).state is FILLED

    play(tmp_path, work, tier="basic")


# --- resting, killing, cancelling -------------------------------------------------------------------------------------


def test_f50_a_fill_or_kill_that_cannot_be_filled_whole_filled_nothing(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        killed = await scene.gateway.place(scene.order(size_e2=9_000, time_in_force=TimeInForce.FOK))
        assert (killed.state, scene.statement()["fills"]) == (NONE, [])
        whole = await scene.gateway.place(scene.order("ap-1-0-1", size_e2=5_000, time_in_force=TimeInForce.FOK))
        assert (whole.state, whole.qty_e6) == (FILLED, 50_000_000)

    play(tmp_path, work)


def test_an_order_rests_fills_in_part_and_is_cancelled_by_its_id(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        order = scene.order(price_e4=4_100, time_in_force=TimeInForce.GTC)
        assert await scene.gateway.place(order) == Outcome(OutcomeState.RESTING, (), "")
        scene.quote("0.3900", "0.4100", "4.00")  # somebody sells four into it
        partly = await scene.gateway.lookup(order)
        assert (partly.state, partly.qty_e6) == (OutcomeState.RESTING, 4_000_000)
        ended = await scene.gateway.cancel(order)
        assert (ended.state, ended.qty_e6) == (OutcomeState.PARTIAL, 4_000_000)
        assert scene.is_stated(order, ended)
        assert scene.statement()["orders"][0]["status"] == "canceled"
        assert (await scene.gateway.cancel(order)).fills == ended.fills  # 404 now; nothing changes

    play(tmp_path, work)


def test_a_batch_of_orders_and_of_cancellations(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        rests = [
            scene.order(f"ap-1-0-{n}", price_e4=4_000 + n, time_in_force=TimeInForce.GTC, size_e2=100) for n in (0, 100)
        ]
        takes = scene.order("ap-1-0-9", size_e2=200)
        absurd = scene.order("ap-1-0-8", price_e4=4_150)  # off the grid of cents
        outcomes = await scene.gateway.place_batch([*rests, takes, absurd])
        assert [each.state for each in outcomes] == [
            OutcomeState.RESTING,
            OutcomeState.RESTING,
            FILLED,
            OutcomeState.REJECTED,
        ]
        scene.do("error_after_acceptance", status=503, on="cancel_batch")
        ended = await scene.gateway.cancel_batch(rests)  # done, and looked up because nobody said so
        assert [each.state for each in ended] == [NONE, NONE]
        assert {each["status"] for each in scene.statement()["orders"]} == {"canceled", "executed"}

    play(tmp_path, work)


# --- shards -----------------------------------------------------------------------------------------------------------


def test_orders_name_the_shard_of_their_market_and_are_cancelled_there(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        assert scene.gateway.shards.of(scene.ticker) == 3
        order = scene.order(price_e4=4_100, time_in_force=TimeInForce.GTC)
        assert (await scene.gateway.place(order)).state is OutcomeState.RESTING
        assert (await scene.gateway.cancel(order)).state is NONE
        taken = await scene.gateway.place(scene.order("ap-1-0-1", size_e2=100))
        assert taken.state is FILLED
        too_much = await scene.gateway.place(scene.order("ap-1-0-2", size_e2=5_000))
        assert too_much.state is OutcomeState.REJECTED  # $5 there, whatever lies on shard 0
        assert "insufficient" in too_much.reason

    play(tmp_path, work, shards={"KXSIMRATE": 3}, shard_cash_e6={3: 5_000_000})


def test_f35_a_shard_that_was_never_funded_refuses_whatever_lies_on_another(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        outcome = await scene.gateway.place(scene.order(size_e2=100))
        assert outcome.state is OutcomeState.REJECTED
        assert await scene.gateway.cash_e6() == 1_000_000_000  # which alone would pay for it many times

    play(tmp_path, work, shards={"KXSIMRATE": 2})


# --- netting ----------------------------------------------------------------------------------------------------------


def test_buying_no_against_held_yes_releases_pairs_at_a_dollar(tmp_path: Path) -> None:
    async def work(scene: Scene) -> None:
        yes = await scene.gateway.place(scene.order(size_e2=500))
        before = scene.cash_e6()
        no = await scene.gateway.place(scene.order("ap-1-1-0", side=Side.NO, size_e2=800, price_e4=6_000))
        (fill,) = no.fills
        assert (fill.released_e6, fill.qty_e6) == (5_000_000, 8_000_000)
        assert scene.cash_e6() - before == fill.cash_e6 == 5_000_000 - 6_000 * 800 - fill.fee_e6
        (position,) = await scene.gateway.positions()
        assert (position.yes_e6, position.no_e6) == (0, 3_000_000)
        assert yes.qty_e6 - no.qty_e6 == -3_000_000
        # selling the YES that was netted buys it back, against that dollar
        back = await scene.gateway.place(scene.order("ap-1-0-1", action=Action.SELL, size_e2=500, price_e4=4_000))
        assert back.state is FILLED
        assert (
            sum(each.cash_e6 for outcome in (yes, no, back) for each in outcome.fills)
            == scene.cash_e6() - 1_000_000_000
        )

    play(tmp_path, work)


# --- everything at once -----------------------------------------------------------------------------------------------

_FAULTS: tuple[dict[str, Any], ...] = (
    {"do": "late_ack", "seconds": 0.8},
    {"do": "drop_after_acceptance"},
    {"do": "error_after_acceptance", "status": 503},
    {"do": "late_arrival", "seconds": 1.0, "status": 504},
    {"do": "status", "status": 500, "method": "GET"},
    {"do": "status", "status": 429, "method": "POST"},
    {"do": "status", "status": 503, "method": "POST"},
    {"do": "disconnect"},
    {"do": "lagging_reads", "seconds": 0.6, "for_s": 1.5},
)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_goes_wrong_every_order_ends_as_the_venue_booked_it(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)

    async def work(scene: Scene) -> None:
        orders: dict[str, tuple[Order, Outcome]] = {}
        for number in range(12):
            if dice.random() < 0.7:
                scene.server.faults.do(dice.choice(_FAULTS))
            scene.quote("0.4000", "0.4200", f"{dice.randrange(1, 30)}.00")
            side = dice.choice((Side.YES, Side.NO))
            order = scene.order(
                f"ap-{seed}-0-{number}",
                side=side,
                size_e2=dice.randrange(1, 2_500),
                price_e4=4_200 if side is Side.YES else 6_000,
                time_in_force=dice.choice((TimeInForce.IOC, TimeInForce.FOK)),
            )
            orders[order.client_id] = order, await scene.gateway.place(order)
        scene.do("reset")
        await asyncio.sleep(1.2)  # whatever was still on its way arrives
        cash = 1_000_000_000
        for order, outcome in orders.values():
            for _ in range(4):
                if not outcome.state.settled:
                    outcome = await scene.gateway.lookup(order)
            assert outcome.state.settled, outcome.reason
            assert scene.is_stated(order, outcome), (order, outcome)
            cash += sum(fill.cash_e6 for fill in outcome.fills)
        assert cash == scene.cash_e6() == await scene.gateway.cash_e6()

    play(tmp_path, work)


@pytest.mark.parametrize("use_rsa", [False, True], ids=["ed25519", "rsa"])
def test_both_kinds_of_key_are_accepted_also_where_the_signature_was_made_ahead(tmp_path: Path, use_rsa: bool) -> None:
    async def work(scene: Scene) -> None:
        await asyncio.sleep(1.2 if use_rsa else 0)  # a signature of the second second
        assert (await scene.gateway.place(scene.order())).state is FILLED

    play(tmp_path, work, use_rsa=use_rsa)
