"""Fills that become final, fills that never happened, cash that is not there, and what is counted of it all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from execution_bench import CASH, listing, open_ledger, record_of

from arbpipe.identity import Side, Venue
from arbpipe.ledger.book import Closing, IntentRecord, Ledger
from arbpipe.venues.base import Action, Fill, Order, Outcome, OutcomeState, Position

A = "a" * 32
KALSHI, POLY = listing("K"), listing("P", Venue.POLYMARKET)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = open_ledger(tmp_path / "ledger.sqlite")
    yield made
    made.store.close()


def intent(
    number: int = 0,
    *,
    where: object = POLY,
    action: Action = Action.BUY,
    contracts: int = 10,
    reserved: int = 4_000_000,
) -> IntentRecord:
    assert isinstance(where, type(KALSHI))
    order = Order(
        f"o-{number}", where.venue, where.uid, where.native_id, Side.YES, action, contracts * 100, 4_000,
        action is Action.SELL,
    )  # fmt: skip
    return IntentRecord(order, number, number, 0, reserved)


def filled(each: IntentRecord, cash: int, *, final: bool = False, fee: int = 0) -> Outcome:
    name = f"{each.order.client_id}.0"
    fill = Fill(name, each.order.size_e2 * 10_000, 4_000, fee, cash, final=final)
    return Outcome(OutcomeState.FILLED, (fill,))


def gone(each: IntentRecord) -> Outcome:
    return Outcome(OutcomeState.NONE, (), "failed on chain", (f"{each.order.client_id}.0",))


def begun(ledger: Ledger, *intents: IntentRecord) -> None:
    assert ledger.begin(record_of(), intents, lambda usage: None) is None


# --- F43 --------------------------------------------------------------------------------------------------------------


def test_f43_a_purchase_that_is_reverted_leaves_lot_and_cash_as_they_were(ledger: Ledger) -> None:
    buy = intent()
    begun(ledger, buy)
    ledger.outcome(A, buy, filled(buy, -4_100_000))
    assert ledger.positions(Venue.POLYMARKET) == (Position(POLY.uid, 10_000_000, 0),)
    for _ in range(2):  # told twice, taken back once
        ledger.outcome(A, buy, gone(buy))
        assert ledger.positions(Venue.POLYMARKET) == ()
        assert ledger.cash() == CASH
        assert (ledger.usage().total, ledger.fills(A)) == (0, {})
    ledger.store.verify()

    mistaken = filled(buy, -4_100_000).qty_e6  # MATCHED booked for good
    assert mistaken != sum(position.yes_e6 for position in ledger.positions(Venue.POLYMARKET))


def test_f43_a_sale_that_is_reverted_gives_the_lot_back_at_a_dollar_a_contract(ledger: Ledger) -> None:
    buy, sell = intent(), intent(1, action=Action.SELL, contracts=4, reserved=0)
    begun(ledger, buy)
    ledger.outcome(A, buy, filled(buy, -4_000_000, final=True))
    assert ledger.add_intents(A, [sell])
    ledger.outcome(A, sell, filled(sell, 1_200_000))
    assert ledger.usage().total == 2_400_000
    ledger.outcome(A, sell, gone(sell))
    assert ledger.positions(Venue.POLYMARKET) == (Position(POLY.uid, 10_000_000, 0),)
    assert ledger.cash()[Venue.POLYMARKET] == CASH[Venue.POLYMARKET] - 4_000_000
    assert ledger.usage().total == 2_400_000 + 4_000_000  # never less at risk than there was

    mistaken = 2_400_000 + 1_200_000  # what the sale would have brought
    assert mistaken < 4_000_000 < ledger.usage().total


def test_f43_a_fill_becomes_final_once_and_cannot_be_reverted_then(ledger: Ledger) -> None:
    buy = intent()
    begun(ledger, buy)
    ledger.outcome(A, buy, filled(buy, -4_000_000))
    assert [fill.final for fill in ledger.fills(A)["o-0"]] == [False]
    ledger.outcome(A, buy, filled(buy, -4_000_000, final=True))
    assert [fill.final for fill in ledger.fills(A)["o-0"]] == [True]
    ledger.outcome(A, buy, filled(buy, -4_000_000))  # an older answer that arrives late
    assert [fill.final for fill in ledger.fills(A)["o-0"]] == [True]
    events = ledger.store.verify()
    with pytest.raises(ValueError, match=r"P: fill o-0\.0 was final or netted and cannot be taken back: reconcile"):
        ledger.outcome(A, buy, gone(buy))
    assert ledger.store.verify() == events
    assert ledger.positions(Venue.POLYMARKET) == (Position(POLY.uid, 10_000_000, 0),)


# --- cash -------------------------------------------------------------------------------------------------------------


def test_a_further_step_is_not_stored_when_its_cash_is_missing(ledger: Ledger) -> None:
    begun(ledger, intent(reserved=CASH[Venue.POLYMARKET] - 1_000_000))
    events = ledger.store.verify()
    assert not ledger.add_intents(A, [intent(1, reserved=1_000_001)])
    assert not ledger.add_intents(A, [intent(1, reserved=600_000), intent(2, reserved=400_001)])  # together too much
    assert (ledger.store.verify(), len(ledger.intents(A))) == (events, 1)
    assert ledger.add_intents(A, [intent(1, where=KALSHI, reserved=1_000_001)])  # the other venue has its own
    assert ledger.add_intents(A, [intent(2, reserved=600_000), intent(3, reserved=400_000)])
    assert ledger.usage().cash[Venue.POLYMARKET] == 0


def test_f64_a_sale_needs_no_cash_and_is_never_held_back(ledger: Ledger) -> None:
    buy = intent(reserved=CASH[Venue.POLYMARKET])
    begun(ledger, buy)
    ledger.outcome(A, buy, filled(buy, -CASH[Venue.POLYMARKET] - 1))  # the venue took more than there was
    assert ledger.usage().cash[Venue.POLYMARKET] == -1
    sale = intent(1, action=Action.SELL, reserved=0)
    assert ledger.add_intents(A, [sale])
    assert not ledger.add_intents(A, [replace(intent(2), reserved_e6=1)])

    mistaken = ledger.usage().cash[Venue.POLYMARKET] >= sale.reserved_e6  # an empty account sends nothing
    assert not mistaken


# --- counts -----------------------------------------------------------------------------------------------------------


def test_fees_are_the_venues_own_figures_and_those_of_a_reverted_fill_are_gone(ledger: Ledger) -> None:
    assert ledger.fees() == {}
    one, two, three = intent(), intent(1), intent(2, where=KALSHI)
    begun(ledger, one, two, three)
    for each, fee in ((one, 125_000), (two, 30), (three, 70)):
        ledger.outcome(A, each, filled(each, -4_000_000, fee=fee))
    assert ledger.fees() == {Venue.KALSHI: (1, 70), Venue.POLYMARKET: (2, 125_030)}
    ledger.outcome(A, one, gone(one))
    assert ledger.fees() == {Venue.KALSHI: (1, 70), Venue.POLYMARKET: (1, 30)}


def test_orders_without_a_known_outcome_are_counted_also_after_their_attempt_ended(ledger: Ledger) -> None:
    one, two, three = intent(), intent(1), intent(2)
    begun(ledger, one, two, three)
    assert ledger.unknown_intents() == 3
    ledger.outcome(A, one, filled(one, -4_000_000))
    ledger.outcome(A, two, Outcome(OutcomeState.UNKNOWN))
    assert ledger.unknown_intents() == 2
    ledger.outcome(A, three, Outcome(OutcomeState.REJECTED))
    ledger.close(A, Closing("exposure", 0, 0, 0, 0, 10_000_000))
    assert ledger.unknown_intents() == 1
    ledger.outcome(A, two, Outcome(OutcomeState.NONE))
    assert ledger.unknown_intents() == 0
