from __future__ import annotations

import random

import pytest

from arbpipe.sim.covers import Pricer, covers_of, offer_side, quotes_of
from arbpipe.sim.listing import Kind, make_events
from arbpipe.sim.plan import Move, plan_arbitrage
from arbpipe.sim.timeline import Timeline
from arbpipe.sim.units import CENT_E12


def moved(quotes: list[tuple[int, int]], moves: list[Move]) -> list[tuple[int, int]]:
    result = list(quotes)
    for move in moves:
        bid_e4, ask_e4 = result[move.position]
        result[move.position] = (bid_e4, move.price_e4) if move.side.value == "ask" else (move.price_e4, ask_e4)
    return result


@pytest.mark.parametrize("index", range(8))
def test_only_the_planned_cover_gains_an_edge_and_only_through_the_trigger(index: int) -> None:
    planned = 0
    for seed in range(12):
        event = make_events(seed, 8)[index]
        rng = random.Random(seed)
        quotes = quotes_of(Timeline(rng, event).opening)
        covers = covers_of(event)
        assert all(Pricer(event, quotes).edge_e12(cover) < 0 for cover in covers)
        for cover in covers:
            positions = [[i for i, m in enumerate(event.markets) if m.outcome == o] for o, _ in cover.propositions]
            legs = [choice[n % 2] for n, choice in enumerate(positions)]
            plan = plan_arbitrage(rng, event, quotes, cover, legs)
            if plan is None:
                continue
            planned += 1
            waiting = moved(quotes, [*plan.retreats, *plan.advances])
            assert all(Pricer(event, waiting).edge_e12(each) < 0 for each in covers)
            final = moved(waiting, [plan.trigger])
            assert all(bid_e4 < ask_e4 for bid_e4, ask_e4 in final)
            assert Pricer(event, final).edge_e12(cover) == plan.edge_e12
            assert CENT_E12 // 2 <= plan.edge_e12 <= 3 * CENT_E12
            assert all(Pricer(event, final).edge_e12(each) < 0 for each in covers if each != cover)
            assert [leg.position for leg in plan.legs] == legs
            assert [Pricer(event, final).cheapest(each) for each in cover.propositions] == legs
            assert 2_000 <= plan.size_e2 <= 40_000
    assert planned >= 6


def test_an_event_has_every_cover_its_relations_give() -> None:
    events = make_events(1, 4)
    shapes = {event.kind: [cover.shape for cover in covers_of(event)] for event in events}
    partition = next(event for event in events if event.kind is Kind.PARTITION)
    assert shapes[Kind.PAIR] == shapes[Kind.GAME] == ["pair"]
    assert shapes[Kind.LADDER] == ["pair"] * 3 + ["ladder"] * 3
    assert shapes[Kind.PARTITION] == ["pair"] * partition.outcomes + ["sum_yes", "sum_no"]
    assert covers_of(partition)[-1].pays == partition.outcomes - 1


def test_an_inverted_market_offers_a_proposition_on_the_other_side() -> None:
    kalshi, polymarket = make_events(1, 2)[1].markets
    assert offer_side(kalshi, True).value == "ask"
    assert offer_side(polymarket, True).value == "bid"
