"""One attempt against a scripted venue: every outcome, and a death at every point of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
from attempt_scene import DEAR, KALSHI, LEGS, LISTED, MARKETS, POLY, A, Scene, first_step, intents, partly
from execution_bench import FREE, Crash, Killed, Script, everything, record_of, run

from arbpipe.executor.aftermath import Market
from arbpipe.executor.attempt import Result, client_id, new_attempt_id
from arbpipe.identity import Side, Venue
from arbpipe.ledger.book import Closing, IntentRecord
from arbpipe.ledger.reconcile import reconcile
from arbpipe.venues.base import Action, Order, OutcomeState

# --- how an attempt ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrent", [True, False])
def test_both_legs_filled_are_balanced_sets(scene: Callable[..., Scene], concurrent: bool) -> None:
    made = scene()
    closing = made.attempt(concurrent=concurrent)
    assert closing == Closing("balanced", 10_000_000, 500_000, 0, 0, 0)
    assert made.held() == {"K": 10_000_000, "P": 10_000_000}
    assert made.ledger.usage().cash == made.ledger.cash()
    assert made.ledger.open_attempts() == ()
    made.agree()


def test_a_partly_filled_leg_is_completed(scene: Callable[..., Scene]) -> None:
    made = scene({Venue.KALSHI: first_step(partly(400)), Venue.POLYMARKET: everything})
    closing = made.attempt()
    assert closing == Closing("balanced", 10_000_000, 500_000 - 60_000, 0, 0, 0)
    last = made.sent[-1]
    assert (last.client_id, last.action, last.size_e2, last.price_e4) == (f"ap-{A}-0-1", Action.BUY, 600, 4_100)
    made.agree()


def test_a_leg_that_got_nothing_is_unwound_where_completing_costs_more(scene: Callable[..., Scene]) -> None:
    made = scene({Venue.KALSHI: first_step(partly(0)), Venue.POLYMARKET: everything}, DEAR)
    closing = made.attempt()
    assert closing == Closing("unwound", 0, 0, -200_000, 0, 0)
    assert made.sent[-1].action is Action.SELL
    assert made.sent[-1].reduce_only
    assert made.held() == {}
    made.agree()


@pytest.mark.parametrize("answer", [lambda order: None, partly(0)], ids=["rejected", "none"])
def test_nothing_filled_is_nothing(scene: Callable[..., Scene], answer: Script) -> None:
    made = scene(answer)
    assert made.attempt() == Closing("none", 0, 0, 0, 0, 0)
    assert len(made.ledger.intents(A)) == 2
    made.agree()


def test_a_rejected_leg_is_as_good_as_unfilled(scene: Callable[..., Scene]) -> None:
    made = scene({Venue.KALSHI: everything, Venue.POLYMARKET: lambda order: None}, DEAR)
    assert made.attempt().result == Result.UNWOUND.value
    made.agree()


def test_a_residue_below_every_minimum_is_dust_and_valued_at_nothing(scene: Callable[..., Scene]) -> None:
    only_poly = (MARKETS[1], Market(0, POLY, Side.YES, ((4_000, 90_000),), ((3_000, 90_000),), FREE))
    made = scene({Venue.KALSHI: first_step(partly(700)), Venue.POLYMARKET: everything}, only_poly)
    began = made.clock.ns
    closing = made.attempt()
    assert closing == Closing("balanced", 7_000_000, 7 * 50_000, -3 * 550_000, 3_000_000, 0)
    assert made.clock.ns - began < 2_000_000_000  # nothing that waiting could change
    made.agree()


def test_what_cannot_be_resolved_is_exposure_and_stays(scene: Callable[..., Scene]) -> None:
    made = scene({Venue.KALSHI: partly(0), Venue.POLYMARKET: everything}, ())
    closing = made.attempt()
    assert closing == Closing("exposure", 0, 0, -5_500_000, 0, 10_000_000)
    assert [each.state for each in made.ledger.open_attempts()] == ["stuck"]
    assert made.ledger.usage().total == 5_500_000
    made.agree()


def test_contracts_of_an_instrument_that_nobody_lists_any_more_are_exposure(scene: Callable[..., Scene]) -> None:
    made = scene({Venue.KALSHI: partly(0), Venue.POLYMARKET: everything})
    made.listing = lambda uid: KALSHI if uid == KALSHI.uid else None  # type: ignore[method-assign]
    closing = made.attempt()
    assert (closing.result, closing.exposure_e6) == ("exposure", 10_000_000)
    assert [order.action for order in made.sent] == [Action.BUY] * 2


def test_f46_unwinding_is_tried_again_in_bounded_steps(scene: Callable[..., Scene]) -> None:
    sells = count()

    def stubborn(order: Order) -> Sequence[tuple[int, int]] | None:
        if order.action is Action.BUY:
            return everything(order)
        return partly((0, 400, 1_000)[min(next(sells), 2)])(order)

    made = scene({Venue.KALSHI: partly(0), Venue.POLYMARKET: stubborn}, DEAR)
    assert made.attempt() == Closing("unwound", 0, 0, -200_000, 0, 0)
    sold = [order.size_e2 for order in made.sent if order.action is Action.SELL]
    assert sold == [1_000, 1_000, 600]
    made.agree()

    never = scene({Venue.KALSHI: partly(0), Venue.POLYMARKET: first_step(everything, partly(0))}, DEAR)
    closing = never.attempt()
    assert (closing.result, closing.exposure_e6) == ("exposure", 10_000_000)
    assert [order.action for order in never.sent].count(Action.SELL) == 3

    mistaken = scene({Venue.KALSHI: partly(0), Venue.POLYMARKET: stubborn}, DEAR, steps=1)  # one try, then a log line
    sells = count()
    assert mistaken.attempt().result == "exposure"


# --- unknown ----------------------------------------------------------------------------------------------------------


def test_f40_timeout_is_not_unfilled_and_the_fill_is_found(scene: Callable[..., Scene]) -> None:
    made = scene(answers=lambda order: order.venue is Venue.KALSHI)
    closing = made.attempt()
    assert closing == Closing("balanced", 10_000_000, 500_000, 0, 0, 0)
    assert len(made.sent) == 2
    made.agree()


def test_f40_timeout_counted_as_unfilled_sells_the_other_leg(scene: Callable[..., Scene]) -> None:
    """The mistake, in the same scenario."""
    made = scene(answers=lambda order: order.venue is Venue.KALSHI, markets=DEAR)
    poly = made.gateways[Venue.POLYMARKET]
    honest = poly.place

    async def mistaken(order: Order) -> Any:
        outcome = await honest(order)
        return type(outcome)(OutcomeState.NONE) if outcome.state is OutcomeState.UNKNOWN else outcome

    poly.place = mistaken  # type: ignore[method-assign]
    assert made.attempt().result == "unwound"
    assert made.held() == {"P": 10_000_000}  # naked, and the ledger does not know it
    assert run(reconcile(made.ledger, made.gateways.values()))


@pytest.mark.parametrize("concurrent", [True, False])
def test_what_stays_unknown_stays_reserved_and_is_exposure(scene: Callable[..., Scene], concurrent: bool) -> None:
    made = scene(answers=lambda order: order.venue is Venue.KALSHI, blind=True)
    closing = made.attempt(concurrent=concurrent)
    assert closing.result == "exposure"
    assert closing.exposure_e6 >= 10_000_000
    assert [each.state for each in made.ledger.open_attempts()] == ["stuck"]
    assert made.ledger.usage().venue[Venue.POLYMARKET] == 5_500_000
    # in turn, nothing was received for certain, so nothing was bought against it
    assert made.ledger.usage().venue[Venue.KALSHI] == (4_000_000 if concurrent else 0)
    assert all(order.action is Action.BUY for order in made.sent)


def test_a_sale_that_stays_unknown_is_exposure_although_it_reserves_no_cash(scene: Callable[..., Scene]) -> None:
    made = scene(
        {Venue.KALSHI: partly(0), Venue.POLYMARKET: everything},
        DEAR,
        answers=lambda order: order.action is Action.BUY,
        blind=True,
    )
    closing = made.attempt()
    assert (closing.result, closing.exposure_e6) == ("exposure", 20_000_000)  # held by the ledger, perhaps sold


# --- in turn ----------------------------------------------------------------------------------------------------------


def test_f33_polymarket_first_then_kalshi_for_the_shares_received(scene: Callable[..., Scene]) -> None:
    made = scene({Venue.KALSHI: everything, Venue.POLYMARKET: first_step(partly(640))})
    closing = made.attempt(concurrent=False)
    assert [(order.venue, order.size_e2) for order in made.sent] == [(Venue.POLYMARKET, 1_000), (Venue.KALSHI, 640)]
    assert closing == Closing("balanced", 6_400_000, 640 * 500, 0, 0, 0)
    assert made.ledger.intents(A)[0][0].order.size_e2 == 640
    made.agree()

    # the mistake: equal dollars on both legs. Either side may be the one that pays.
    dollars = 3_520_000
    shares = [dollars // price * 100 for _, _, price in LEGS]
    assert min(shares) * 100 * 100 < 2 * dollars * 100
    assert closing.locked_e6 > 0


def test_too_little_received_for_the_other_venues_minimum_is_not_sent(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    big = KALSHI._replace(min_size_e2=700)
    monkeypatch.setitem(LISTED, KALSHI.uid, big)
    made = scene({Venue.KALSHI: everything, Venue.POLYMARKET: first_step(partly(640))}, DEAR)
    closing = made.attempt(concurrent=False)
    assert (closing.result, closing.realised_e6) == ("unwound", -640 * 200)
    assert [order.venue for order in made.sent] == [Venue.POLYMARKET] * 2
    made.agree()


# --- identity ---------------------------------------------------------------------------------------------------------


def test_f41_client_ids_follow_from_attempt_leg_and_step_and_outlive_a_restart(scene: Callable[..., Scene]) -> None:
    assert [each.order.client_id for each in intents()] == [client_id(A, 0, 0), client_id(A, 1, 0)]
    wanted = intents()
    made = scene(crash=Crash())
    made.ledger.begin(record_of(), wanted, lambda usage: None)
    made.ledger.store.close()
    made.reopen()
    assert tuple(each for each, _ in made.ledger.intents(A)) == wanted
    gateway = made.gateways[Venue.KALSHI]
    order = wanted[0].order
    assert run(gateway.place(order)) == run(gateway.place(order))
    assert made.held() == {"K": 10_000_000}

    def mistaken(attempt: str) -> str:
        """A new id for each try."""
        return f"ap-{new_attempt_id()}-{attempt}"

    for _ in range(2):
        retry = Order(mistaken(A), *[getattr(order, name) for name in Order.__slots__[1:]])
        run(gateway.place(retry))
    assert made.held() == {"K": 30_000_000}


def test_attempt_ids_are_128_random_bits() -> None:
    ids = {new_attempt_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in ids)


@pytest.mark.parametrize("slow", list(Venue))
def test_f45_results_of_two_legs_are_never_swapped(scene: Callable[..., Scene], slow: Venue) -> None:
    made = scene(
        {Venue.KALSHI: partly(900), Venue.POLYMARKET: first_step(partly(600))},
        turns=lambda order: 5 if order.venue is slow else 0,
    )
    arrived: list[int] = []
    outcome = made.ledger.outcome

    def watched(attempt: str, intent: IntentRecord, said: Any) -> None:
        arrived.append(said.qty_e6)
        outcome(attempt, intent, said)

    made.ledger.outcome = watched  # type: ignore[method-assign,assignment]
    made.attempt()
    for intent, _ in made.ledger.intents(A):
        fills = made.ledger.fills(A).get(intent.order.client_id, ())
        assert fills == made.book.executed[intent.order.client_id][0].fills
    made.agree()

    # the mistake: the first answer is the first leg's
    mistaken = dict(zip(("K", "P"), arrived[:2], strict=True))
    assert (mistaken == {"K": 9_000_000, "P": 6_000_000}) == (slow is Venue.POLYMARKET)


# --- death at every point ---------------------------------------------------------------------------------------------

STORIES: dict[str, tuple[Any, Sequence[Market], bool]] = {
    "balanced": (everything, MARKETS, True),
    "in turn": ({Venue.KALSHI: everything, Venue.POLYMARKET: first_step(partly(640))}, MARKETS, False),
    "completed": ({Venue.KALSHI: first_step(partly(400)), Venue.POLYMARKET: everything}, MARKETS, True),
    "unwound": ({Venue.KALSHI: first_step(partly(0)), Venue.POLYMARKET: everything}, DEAR, True),
    "nothing": (partly(0), MARKETS, True),
}


def die_and_recover(made: Scene, at: int, *, concurrent: bool, again: int | None = None) -> tuple[bool, bool]:
    """Run into the ``at``-th point, recover (dying once more at ``again``), and check; return which deaths happened."""
    made.crash.at, made.crash.passed = at, 0
    died = twice = False
    try:
        made.attempt(concurrent=concurrent)
    except Killed:
        died = True
    made.crash.at = -1
    made.ledger.store.close()
    if died and again is not None:
        made.crash.at, made.crash.passed = again, 0
        made.reopen()
        try:
            made.recover()
        except Killed:
            twice = True
        made.crash.at = -1
        made.ledger.store.close()
    made.reopen()
    closings = made.recover()
    assert all(closing.result in ("balanced", "unwound", "dust", "none") for closing in closings)
    made.agree()
    assert made.ledger.open_attempts() == ()
    assert made.ledger.usage().cash == made.ledger.cash()
    assert len(set(made.held().values())) <= 1, "the legs are not equal"
    return died, twice


@pytest.mark.parametrize("story", STORIES)
def test_a_death_at_any_point_loses_nothing_and_repeats_nothing(scene: Callable[..., Scene], story: str) -> None:
    script, markets, concurrent = STORIES[story]
    for at in count():
        made = scene(script, markets)
        died, _ = die_and_recover(made, at, concurrent=concurrent)
        if not died:
            break
    assert at > 6  # intents, two sends, two outcomes and the end, each with a before and an after


@pytest.mark.parametrize("story", ["completed", "unwound"])
def test_a_second_death_while_recovering_changes_nothing(scene: Callable[..., Scene], story: str) -> None:
    script, markets, concurrent = STORIES[story]
    deaths = 0
    for at in count(1, 3):
        for again in count(0, 2):
            died, twice = die_and_recover(scene(script, markets), at, concurrent=concurrent, again=again)
            deaths += twice
            if not twice:
                break
        if not died:
            break
    assert deaths > 10


def test_f66_orders_in_flight_sent_again_after_a_restart_are_doubled(scene: Callable[..., Scene]) -> None:
    made = scene(crash=Crash())
    made.crash.at = 4
    with pytest.raises(Killed):
        made.attempt()
    made.crash.at = -1
    made.ledger.store.close()
    made.reopen()
    in_flight = dict(made.held())
    assert made.recover()[0].result in ("balanced", "unwound", "none")
    made.agree()

    # the mistake: what has no outcome is sent again under a new id
    wrong = scene(crash=Crash())
    wrong.crash.at = 4
    with pytest.raises(Killed):
        wrong.attempt()
    wrong.crash.at = -1
    for number, (intent, state) in enumerate(wrong.ledger.intents(A)):
        if state is None:
            again = Order(f"again-{number}", *[getattr(intent.order, name) for name in Order.__slots__[1:]])
            run(wrong.gateways[again.venue].place(again))
    assert in_flight
    assert sum(wrong.held().values()) > 20_000_000
