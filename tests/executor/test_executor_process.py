"""One executor in this process, from the ring to the ledger, on a plane whose feeds the test plays."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from execution_bench import Plane, across, configured, pair_plane
from process_bench import bench, requote

from arbpipe.config import LimitsConfig
from arbpipe.executor.plan import Refusal
from arbpipe.executor.process import run_executor
from arbpipe.identity import Venue
from arbpipe.ledger.store import LedgerStore
from arbpipe.process import Process, RunSpec
from arbpipe.shm.layout import Role
from arbpipe.shm.row import Reason
from arbpipe.shm.segment import Mode
from arbpipe.shm.stats import Counter
from arbpipe.shm.tables import Held
from arbpipe.venues.base import Position
from arbpipe.venues.paper.build import paper_gateways

pytestmark = pytest.mark.usefixtures("processes")


def test_an_opportunity_becomes_balanced_sets_that_the_venue_confirms(plane: Plane, tmp_path: Path) -> None:
    each = across(plane)
    with bench(plane, tmp_path) as made:
        made.take(each)
        totals = made.ledger.totals()
        assert (totals["attempts"], totals["balanced"], totals["open"]) == (1, 1, 0)
        # 10 sets: a dollar each, less 40 and 50 cents, less both venues' fees
        fees = 168_000 + 125_000
        assert totals["locked_e6"] == 10_000_000 - 9_000_000 - fees
        uids = {leg.uid for leg in each.legs}
        assert made.ledger.held_uids() == uids == Held(plane.segment).load()
        kalshi, poly = (made.ledger.positions(venue) for venue in Venue)
        assert kalshi == (Position(each.legs[0].uid, 10_000_000, 0),)
        assert poly == (Position(each.legs[1].uid, 0, 10_000_000),)
        assert made.differences() == []
        stats = made.stats(each.cover)
        assert (stats["x_attempts"], stats["x_filled"], stats["x_refused"]) == (1, 1, 0)
        assert made.ledger.usage().cash == made.ledger.cash()


def test_an_opportunity_pushed_again_is_taken_once(plane: Plane, tmp_path: Path) -> None:
    each = across(plane)
    with bench(plane, tmp_path) as made:
        made.take(each, each)
        made.take(each)
        assert made.ledger.totals()["attempts"] == 1
        assert made.get(Counter.REFUSED) == 2
        assert made.stats(each.cover)["x_gate"] == Reason.TAKEN


def test_an_expired_opportunity_is_refused_and_counted(plane: Plane, tmp_path: Path) -> None:
    each = across(plane, expires_ns=-1)
    with bench(plane, tmp_path) as made:
        made.take(each)
        stats = made.stats(each.cover)
        assert (stats["x_gate"], stats["x_refused"], stats["x_attempts"]) == (Reason.EXPIRED, 1, 0)
        assert (made.get(Counter.EXPIRED), made.get(Counter.REFUSED)) == (1, 0)
        assert made.ledger.totals()["attempts"] == 0


def test_an_unverified_row_is_never_bought(plane: Plane, tmp_path: Path) -> None:
    plane.quote("kalshi:A", [(3_900, 50_000)], [(6_200, 50_000)], verified=False)
    each = across(plane)
    with bench(plane, tmp_path) as made:
        made.take(each)
        stats = made.stats(each.cover)
        assert (stats["x_gate"], stats["x_refused"]) == (Reason.UNVERIFIED, 1)


def test_a_row_whose_check_comes_a_moment_after_the_opportunity_is_bought(plane: Plane, tmp_path: Path) -> None:
    version = plane.quote("kalshi:A", [(4_000, 50_000)], [(6_200, 50_000)], verified=False)
    each = across(plane)
    with bench(plane, tmp_path) as made:
        timer = threading.Timer(0.002, plane.rows.verify, (plane.listing("kalshi:A").slot, version))
        timer.start()
        made.take(each)
        timer.join()
        assert made.ledger.totals()["balanced"] == 1


def test_a_limit_shrinks_what_fits_and_refuses_what_does_not(plane: Plane, tmp_path: Path) -> None:
    each = across(plane)
    with bench(plane, tmp_path / "a", limits={"max_event_usd": "6"}) as made:
        made.take(each)
        assert made.ledger.totals()["balanced"] == 1
        size = made.store.db.execute("SELECT size_e2 FROM attempts").fetchone()[0]
        assert size == 600
        assert made.ledger.usage().total <= 6_000_000
    plane.quote("kalshi:A", [(4_000, 49_000)], [(6_200, 50_000)])
    with bench(plane, tmp_path / "b", limits={"max_event_usd": "0.5"}) as made:
        made.take(across(plane))
        stats = made.stats(each.cover)
        assert (stats["x_gate"], stats["x_threshold"], stats["x_refused"]) == (Reason.LIMIT_EVENT, 500_000, 1)
        assert made.ledger.totals()["attempts"] == 0


TIGHT = {
    "max_event_usd": "1",
    "max_venue_usd": "1",
    "max_total_usd": "1",
    "max_unhedged_usd": "1",
    "max_tail_event_usd": "1",
    "max_tail_total_usd": "1",
    "loss_budget_usd": "0.01",
}


@pytest.mark.parametrize("field", LimitsConfig.__struct_fields__)
def test_f60_every_limit_of_the_configuration_changes_what_is_done(tmp_path: Path, field: str) -> None:
    wide = dict.fromkeys(LimitsConfig.__struct_fields__, "100000")

    def planned(limits: dict[str, str]) -> int:
        """The size that is planned under these limits; 0 when it is refused."""
        with (
            pair_plane("accepted") as plane,
            bench(plane, tmp_path / str(len(list(tmp_path.iterdir()))), limits=limits) as made,
        ):
            each = across(plane)
            cover = plane.generation.covers[each.cover]
            plan = made.executor._pricer.plan(each, cover, plane.generation, made.process.clock.now_ns())
            return 0 if isinstance(plan, Refusal) else plan.size_e2

    assert planned(wide) == 1_000
    assert planned({**wide, field: TIGHT[field]}) < 1_000
    unread = wide  # the mistake: the value is loaded and shown, and the arithmetic never sees it
    assert planned(unread) == 1_000


def test_an_edge_too_good_to_be_true_is_refused_by_the_executor_too(plane: Plane, tmp_path: Path) -> None:
    each = across(plane)  # 7 cents a set, whatever the detector thought of it
    with bench(plane, tmp_path / "a", detector={"max_edge_usd": "0.0707"}) as made:
        made.take(each)
        assert made.ledger.totals()["balanced"] == 1
    requote(plane)
    with bench(plane, tmp_path / "b", detector={"max_edge_usd": "0.0706"}) as made:
        made.take(across(plane))
        stats = made.stats(each.cover)
        assert (stats["x_gate"], stats["x_value"], stats["x_threshold"]) == (Reason.EDGE_TOO_LARGE, 70_700, 70_600)
        assert made.ledger.totals()["attempts"] == 0


def test_terms_of_a_fee_that_the_feed_has_not_published_yet_refuse(plane: Plane, tmp_path: Path) -> None:
    each = across(plane)
    with bench(plane, tmp_path) as made:
        assert made.executor.generation is not None
        slot = plane.listing("kalshi:A").slot
        listed = made.executor.generation.by_slot[slot]
        assert listed.fee is not None
        made.executor.generation.by_slot[slot] = listed._replace(fee=replace(listed.fee, rate_e6=1))
        made.take(each)
        assert made.stats(each.cover)["x_gate"] == Reason.FEE_UNKNOWN
        assert made.ledger.totals()["attempts"] == 0


def test_f51_overwritten_opportunities_are_counted(plane: Plane, tmp_path: Path) -> None:
    each = across(plane, expires_ns=-1)
    with bench(plane, tmp_path) as made:
        made.take(*[each] * 40)
        seen = made.get(Counter.EXPIRED)
        assert seen + made.get(Counter.OVERRUNS) == 40
        assert made.get(Counter.OVERRUNS) >= 24


def test_the_whole_process_takes_reconciles_and_ends_in_order(plane: Plane, tmp_path: Path) -> None:
    spec = RunSpec(str(plane.directory), "main", Mode.PAPER, str(tmp_path), "", configured())
    process = Process(Role.EXECUTOR, spec)
    trouble: list[str] = []

    def play() -> None:
        deadline = time.monotonic() + 10
        while process.segment.fields("processes", Role.EXECUTOR)["state"] != 1 and time.monotonic() < deadline:
            time.sleep(0.002)
        plane.ring.push(across(plane))
        while not plane.segment.fields("cover_stats", across(plane).cover)["x_filled"]:
            if time.monotonic() > deadline:
                trouble.append("nothing was filled")
                break
            time.sleep(0.002)
        process._stop()

    player = threading.Thread(target=play)
    player.start()
    run_executor(process, paper_gateways)
    player.join()
    process.close()
    assert trouble == []
    store = LedgerStore(spec.ledger_path(), "PAPER", readonly=True)
    kinds = [row[0] for row in store.db.execute("SELECT kind FROM events ORDER BY seq")]
    assert kinds == ["opened", "attempt", "outcome", "outcome", "closed", "reconciled"]
    assert store.db.execute("SELECT body FROM events WHERE kind = 'reconciled'").fetchone() == (b'{"differences":[]}',)
    store.close()
