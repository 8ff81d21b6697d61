"""An attempt ends when what it holds is final and not before; what is reverted is balanced again; patience has bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from attempt_scene import DEAR, MARKETS, A, Scene, first_step, partly
from execution_bench import CASH, FREE, everything, run

from arbpipe.executor.aftermath import Market
from arbpipe.identity import Venue
from arbpipe.ledger.book import Closing
from arbpipe.ledger.reconcile import reconcile
from arbpipe.venues.base import Action, Order

MS = 1_000_000
SECOND = 1_000 * MS


def matched(order: Order) -> bool:
    """Polymarket's first orders are matched, and not final yet."""
    return order.venue is Venue.KALSHI or not order.client_id.endswith("-0")


def at_question(made: Scene, number: int, then: Callable[[Order], None]) -> list[str]:
    """At the ``number``-th question about a Polymarket order something happens there first; the states seen until then."""
    states: list[str] = []

    def asked(order: Order) -> None:
        states.extend(each.state for each in made.ledger.open_attempts())
        if len(states) == number:
            then(order)
        assert len(states) < 10 * number, "it never ends"

    made.gateways[Venue.POLYMARKET].asked = asked
    return states


# --- F43 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrent", [True, False])
def test_f43_an_attempt_stays_open_until_what_it_holds_is_final(scene: Callable[..., Scene], concurrent: bool) -> None:
    made = scene(final=matched)
    states = at_question(made, 50, made.book.confirm)
    closing = made.attempt(concurrent=concurrent)
    assert states == ["open"] * 50
    assert closing == Closing("balanced", 10_000_000, 500_000, 0, 0, 0)
    assert all(fill.final for fills in made.ledger.fills(A).values() for fill in fills)
    assert len(made.sent) == 2
    made.agree()


def test_f43_a_fill_that_is_reverted_is_taken_back_and_balanced_again(scene: Callable[..., Scene]) -> None:
    made = scene(final=matched)
    at_question(made, 5, made.book.revert)
    closing = made.attempt()
    # bought again at 56 cents instead of 55
    assert closing == Closing("balanced", 10_000_000, 400_000, 0, 0, 0)
    again = made.sent[-1]
    assert (again.client_id, again.venue, again.size_e2) == (f"ap-{A}-0-1", Venue.POLYMARKET, 1_000)
    assert made.held() == {"K": 10_000_000, "P": 10_000_000}
    made.agree()


def test_f43_where_buying_again_costs_more_the_other_leg_is_unwound(scene: Callable[..., Scene]) -> None:
    made = scene(markets=DEAR, final=matched)
    at_question(made, 5, made.book.revert)
    assert made.attempt() == Closing("unwound", 0, 0, -200_000, 0, 0)
    assert made.held() == {}
    assert made.ledger.cash() == {Venue.KALSHI: CASH[Venue.KALSHI] - 200_000, Venue.POLYMARKET: CASH[Venue.POLYMARKET]}
    made.agree()


def test_f43_matched_taken_as_final_leaves_a_naked_leg_that_nobody_knows_of(scene: Callable[..., Scene]) -> None:
    """The mistake, in the same scenario."""
    made = scene(final=matched)
    poly = made.gateways[Venue.POLYMARKET]
    place = poly.place

    async def mistaken(order: Order) -> object:
        outcome = await place(order)
        return replace(outcome, fills=tuple(replace(fill, final=True) for fill in outcome.fills))

    poly.place = mistaken  # type: ignore[method-assign,assignment]
    assert made.attempt().result == "balanced"
    made.book.revert(made.sent[1])
    assert made.held() == {"K": 10_000_000}
    assert made.ledger.open_attempts() == ()
    assert run(reconcile(made.ledger, made.gateways.values()))


def test_f43_a_death_while_a_fill_is_not_final_goes_on_waiting_after_the_restart(scene: Callable[..., Scene]) -> None:
    made = scene(final=matched)

    class Dead(BaseException):
        pass

    def die(order: Order) -> None:
        raise Dead

    at_question(made, 5, die)
    with pytest.raises(Dead):
        made.attempt()
    made.ledger.store.close()
    made.reopen()
    states = at_question(made, 5, made.book.revert)
    assert made.recover() == [Closing("balanced", 10_000_000, 400_000, 0, 0, 0)]
    assert states[:5] == ["open"] * 5
    made.agree()


def test_f47_a_surplus_is_sold_when_it_is_final_and_patience_begins_only_then(scene: Callable[..., Scene]) -> None:
    made = scene({Venue.KALSHI: partly(0), Venue.POLYMARKET: everything}, DEAR, final=matched)
    sold_at: list[int] = []

    def confirm(order: Order) -> None:
        sold_at.append(len(made.sent))
        made.book.confirm(order)

    began = made.clock.ns
    at_question(made, 400, confirm)  # for 40 seconds the venue only says MATCHED
    assert made.attempt() == Closing("unwound", 0, 0, -200_000, 0, 0)
    assert made.clock.ns - began > 35 * SECOND
    assert sold_at == [2]  # until then there were the two purchases and nothing else
    assert [order.action for order in made.sent[2:]] == [Action.SELL]
    made.agree()


def test_f43_an_attempt_that_may_do_nothing_more_still_waits_for_what_is_not_final(scene: Callable[..., Scene]) -> None:
    made = scene({Venue.KALSHI: partly(0), Venue.POLYMARKET: everything}, final=matched, steps=0)
    states = at_question(made, 50, made.book.revert)
    assert made.attempt() == Closing(
        "none", 0, 0, 0, 0, 0
    )  # the mistake, ending at once, leaves an exposure of nothing
    assert states == ["open"] * 50
    made.agree()


# --- the budget's patience --------------------------------------------------------------------------------------------

#: completing costs 99 cents a contract and unwinding brings one: both end below the budget of five dollars
RUINOUS = tuple(
    Market(each.proposition, each.listing, each.side, ((9_990, 90_000),), ((100, 90_000),), FREE) for each in MARKETS
)


def test_a_way_below_the_loss_budget_is_taken_after_three_seconds_and_not_before(scene: Callable[..., Scene]) -> None:
    made = scene({Venue.KALSHI: first_step(partly(0)), Venue.POLYMARKET: everything}, RUINOUS)
    began, sold = made.clock.ns, []
    script = made.gateways[Venue.POLYMARKET].script

    def watched(order: Order) -> Sequence[tuple[int, int]] | None:
        if order.action is Action.SELL:
            sold.append(made.clock.ns - began)
        return script(order)

    made.gateways[Venue.POLYMARKET].script = watched
    assert made.attempt() == Closing("unwound", 0, 0, 1_000 * 100 - 5_500_000, 0, 0)
    assert 3 * SECOND < sold[0] < 4 * SECOND
    made.agree()


def test_prices_that_come_back_within_three_seconds_are_used(scene: Callable[..., Scene]) -> None:
    made = scene({Venue.KALSHI: first_step(partly(0)), Venue.POLYMARKET: everything}, RUINOUS)
    began, sleep = made.clock.ns, made.clock.sleep_until

    async def later(when_ns: int) -> None:
        if made.clock.ns - began > 2 * SECOND:
            made.markets = DEAR
        await sleep(when_ns)

    made.clock.sleep_until = later  # type: ignore[method-assign]
    assert made.attempt() == Closing("unwound", 0, 0, -200_000, 0, 0)

    hasty = scene({Venue.KALSHI: first_step(partly(0)), Venue.POLYMARKET: everything}, RUINOUS)  # the mistake: at once
    assert hasty.attempt().realised_e6 < -5_000_000


def test_what_a_sale_lost_is_held_against_the_next_one(scene: Callable[..., Scene]) -> None:
    def bids(price: int) -> tuple[Market, ...]:
        return (replace(MARKETS[1], asks=(), bids=((price, 90_000),)),)

    made = scene({Venue.KALSHI: partly(0), Venue.POLYMARKET: everything}, bids(600))
    began, sold = made.clock.ns, []

    def fading(order: Order) -> Sequence[tuple[int, int]] | None:
        if order.action is Action.BUY:
            return everything(order)
        sold.append(made.clock.ns - began)
        made.markets = bids(10)
        return partly(400 if len(sold) == 1 else 1_000)(order)

    made.gateways[Venue.POLYMARKET].script = fading
    # all of it at six cents would have ended at -4.90; four did, and the six that are left would end at -5.254
    assert made.attempt() == Closing("unwound", 0, 0, 400 * 600 + 600 * 10 - 5_500_000, 0, 0)
    assert sold[0] == 0
    assert sold[1] > 3 * SECOND  # the mistake, the second sale's own loss alone, is within the budget at once
    made.agree()


# --- cash -------------------------------------------------------------------------------------------------------------


def test_an_order_whose_cash_is_not_there_is_not_sent_and_the_surplus_is_unwound(scene: Callable[..., Scene]) -> None:
    # 400 of 1,000 were bought for $1.60; the other 600 would take $2.46 and $2.40 are left
    cash = {**CASH, Venue.KALSHI: 4_000_000}
    made = scene({Venue.KALSHI: first_step(partly(400)), Venue.POLYMARKET: everything}, cash=cash)
    closing = made.attempt()
    assert closing == Closing("balanced", 4_000_000, 4 * 50_000, -600 * 200, 0, 0)
    assert [order.venue for order in made.sent if order.client_id[-2:] != "-0"] == [Venue.POLYMARKET]
    made.agree()

    enough = scene(
        {Venue.KALSHI: first_step(partly(400)), Venue.POLYMARKET: everything},
        cash={**CASH, Venue.KALSHI: 4_060_135},  # with what rounding may take for every level and piece more
    )
    assert enough.attempt().balanced_e6 == 10_000_000


def first_sale_only_matched(order: Order) -> bool:
    """Purchases are final at once, and so is every sale but the first."""
    return order.action is Action.BUY or not order.client_id.endswith("-1")


def test_f43_an_attempt_that_sold_everything_stays_open_until_the_sale_is_final(scene: Callable[..., Scene]) -> None:
    made = scene({Venue.KALSHI: partly(0), Venue.POLYMARKET: everything}, DEAR, final=first_sale_only_matched)
    states = at_question(made, 20, made.book.confirm)
    assert made.attempt() == Closing("unwound", 0, 0, -200_000, 0, 0)
    assert states == ["open"] * 20
    made.agree()


def test_f43_a_sale_that_is_reverted_is_made_again(scene: Callable[..., Scene]) -> None:
    made = scene({Venue.KALSHI: partly(0), Venue.POLYMARKET: everything}, DEAR, final=first_sale_only_matched)
    at_question(made, 5, made.book.revert)
    assert made.attempt().result == "unwound"
    assert [order.action for order in made.sent[2:]] == [Action.SELL, Action.SELL]
    assert made.held() == {}
    made.agree()
