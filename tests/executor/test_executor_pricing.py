"""What an attempt's claims cost and bring now: a row that may not be bought from may still be sold into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from execution_bench import Plane, StepClock, configured, open_ledger

from arbpipe.executor.aftermath import Market
from arbpipe.executor.pricing import Pricer
from arbpipe.feemodel import FeeTerms
from arbpipe.identity import Side, Venue
from arbpipe.ledger.book import AttemptRecord, Ledger
from arbpipe.shm.row import Reason
from arbpipe.shm.tables import ConnectionState, Quarantine, QuarantineReason
from arbpipe.shm.usable import Freshness, UsableRule

A, POLY = "kalshi:A", "polymarket:0x01"
CONFIRM_NS = 5_000_000_000


class Desk:
    """A pricer over a plane, and an attempt that holds YES of A."""

    def __init__(self, plane: Plane, ledger: Ledger) -> None:
        self.plane = plane
        self.clock = StepClock()
        self.clock.ns = plane.connections.confirmed_ns(plane.connection[Venue.KALSHI])
        self.usable = UsableRule(plane.segment, Freshness(CONFIRM_NS, 1_000, 600_000_000_000))
        self.pricer = Pricer(plane.segment, configured(), self.usable, ledger, self.clock)
        claims = [[[f"{plane.listing(A).uid:016x}", 0]], [[f"{plane.listing(POLY).uid:016x}", 1]]]
        plan = {"propositions": 2, "group": [], "claims": claims}
        self.record = AttemptRecord("a" * 32, 7, "cover", "e", 1, 1_000, 0, False, plan)

    def markets(self) -> dict[str, Market]:
        """By native id."""
        listed = self.plane.generation.by_uid
        return {each.listing.native_id: each for each in self.pricer.markets(self.record, listed, listed)}

    def mistaken(self) -> list[str]:
        """The mistake: what may not be bought from may not be sold into either."""
        found = []
        for key in (A, POLY):
            each = self.plane.listing(key)
            row = self.plane.reader.read(each.slot)
            reason, _, _ = self.usable.check(each.venue, each.uid, each.slot, row, self.clock.ns)
            if row is not None and not reason and self.plane.reader.verified(each.slot) == row.version:
                found.append(each.native_id)
        return found


@contextmanager
def _ledger(path: Path) -> Iterator[Ledger]:
    ledger = open_ledger(path)
    yield ledger
    ledger.store.close()


@pytest.fixture
def desk(plane: Plane, tmp_path: Path) -> Iterator[Desk]:
    with _ledger(tmp_path / "ledger.sqlite") as ledger:
        yield Desk(plane, ledger)


def test_a_usable_row_shows_what_buying_costs_and_what_selling_brings(desk: Desk) -> None:
    found = desk.markets()
    assert set(found) == {"A", "0x01"}
    each = found["A"]
    assert (each.proposition, each.side, each.fee) == (0, Side.YES, FeeTerms(70_000, 1, 1, 100))
    assert (each.asks, each.bids) == (((4_000, 50_000),), ((3_800, 50_000),))
    other = found["0x01"]
    assert (other.proposition, other.side) == (1, Side.NO)
    assert (other.asks, other.bids) == (((5_000, 50_000),), ((4_800, 50_000),))


def _quarantined(desk: Desk) -> None:
    Quarantine(desk.plane.segment, "operator").set(desk.plane.listing(A).slot, QuarantineReason.OPERATOR)


def _unverified(desk: Desk) -> None:
    desk.plane.quote(A, [(4_000, 50_000)], [(6_200, 50_000)], verified=False)


@pytest.mark.parametrize("spoil", [_quarantined, _unverified])
def test_f64_a_row_that_may_not_be_bought_from_may_be_sold_into(desk: Desk, spoil: Callable[[Desk], None]) -> None:
    spoil(desk)
    found = desk.markets()
    assert (found["A"].asks, found["A"].bids) == ((), ((3_800, 50_000),))
    assert found["0x01"].asks  # the other leg is as good as ever
    assert desk.mistaken() == ["0x01"]  # with one rule for both there is no way out of A


def test_f64_a_quarantined_row_buys_again_once_it_is_cleared(desk: Desk) -> None:
    _quarantined(desk)
    Quarantine(desk.plane.segment, "operator").set(desk.plane.listing(A).slot, QuarantineReason.NONE)
    assert desk.markets()["A"].asks


def _stale(desk: Desk) -> None:
    desk.clock.ns += CONFIRM_NS + 1


def _old_epoch(desk: Desk) -> None:
    desk.plane.connections.next_epoch(desk.plane.connection[Venue.KALSHI])


def _down(desk: Desk) -> None:
    desk.plane.connections.set_state(desk.plane.connection[Venue.KALSHI], ConnectionState.DOWN)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(_stale, Reason.NOT_CONFIRMED), (_old_epoch, Reason.OLD_EPOCH), (_down, Reason.CONNECTION_DOWN)],
)
@pytest.mark.parametrize("quarantined", [False, True])
def test_a_row_that_may_be_wrong_shows_nothing_also_in_quarantine(
    desk: Desk, spoil: Callable[[Desk], None], reason: Reason, quarantined: bool
) -> None:
    if quarantined:
        _quarantined(desk)
    spoil(desk)
    assert "A" not in desk.markets()
    each = desk.plane.listing(A)
    row = desk.plane.reader.read(each.slot)
    assert desk.usable.check(each.venue, each.uid, each.slot, row, desk.clock.ns)[0] is reason


def test_a_claim_that_left_the_catalog_shows_nothing(desk: Desk) -> None:
    known = desk.plane.generation.by_uid
    gone = {uid: each for uid, each in known.items() if each.native_id != "A"}
    assert [each.listing.native_id for each in desk.pricer.markets(desk.record, known, gone)] == ["0x01"]
    assert [each.listing.native_id for each in desk.pricer.markets(desk.record, gone, known)] == ["0x01"]
