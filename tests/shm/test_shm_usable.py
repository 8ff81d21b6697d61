"""The one staleness rule: each condition alone makes a row unusable. Failures F05 and F06 stand with their mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from arbpipe.clock import boottime_ns
from arbpipe.feemodel import FeeTerms
from arbpipe.identity import Venue
from arbpipe.shm.layout import CONNECTION, PROCESS, Role
from arbpipe.shm.row import Reason, Row, RowFlag, RowReader, RowWriter
from arbpipe.shm.segment import Segment
from arbpipe.shm.tables import Connections, ConnectionState, Quarantine, QuarantineReason, VenueState, VenueStates
from arbpipe.shm.usable import Freshness, UsableRule

LIMITS = Freshness(max_confirm_age_ns=20_000_000_000, max_lag_ms=1_500, max_heartbeat_age_ns=5_000_000_000)
NOW = 1_000_000_000_000
SLOT, UID, CONNECTION_NUMBER = 140, 0xFEED, 2


class Plane:
    """One Polymarket row that is usable, and the means to spoil it."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.connections = Connections(segment)
        self.rows = RowWriter(segment)
        self.reader = RowReader(segment)
        self.rule = UsableRule(segment, LIMITS)
        self.heartbeat(boottime_ns())
        self.connections.set_state(CONNECTION_NUMBER, ConnectionState.LIVE)
        self.epoch = self.connections.next_epoch(CONNECTION_NUMBER)
        self.publish()
        self.rows.confirm(SLOT, NOW - 1_000_000_000)

    def publish(self, slot: int = SLOT, **changes: Any) -> None:
        values: dict[str, Any] = {
            "uid": UID,
            "connection": CONNECTION_NUMBER,
            "epoch": self.epoch,
            "venue_ms": 1,
            "recv_ns": NOW,
            "publish_ns": NOW,
            "flags": 0,
            "tick_e4": 100,
            "fee": FeeTerms(50_000, 1, 10, 1),
            "yes_asks": [(4_500, 1_000)],
            "no_asks": [(5_600, 1_000)],
        }
        self.rows.publish(slot, **(values | changes))

    def heartbeat(self, at_ns: int, role: Role = Role.FEED_POLYMARKET) -> None:
        place = self.segment.section("processes").at(role) + PROCESS.offset("heartbeat_ns")
        self.segment.region.store_i64(place, at_ns)

    def row(self) -> Row | None:
        return self.reader.read(SLOT)

    def verdict(self, now_ns: int = NOW) -> tuple[Reason, int, int]:
        return self.rule.check(Venue.POLYMARKET, UID, SLOT, self.row(), now_ns)


@pytest.fixture
def healthy(segment: Segment) -> Plane:
    return Plane(segment)


def test_a_row_that_meets_every_condition_is_usable(healthy: Plane) -> None:
    assert healthy.verdict() == (Reason.NONE, 0, 0)


def test_a_row_that_was_never_written_is_not_usable(healthy: Plane) -> None:
    assert healthy.rule.check(Venue.POLYMARKET, UID, 3, healthy.reader.read(3), NOW) == (Reason.NO_ROW, 0, 0)


def test_a_row_of_another_instrument_in_the_same_slot_is_not_usable(healthy: Plane) -> None:
    verdict = healthy.rule.check(Venue.POLYMARKET, UID + 1, SLOT, healthy.row(), NOW)
    assert verdict[0] is Reason.WRONG_UID


@pytest.mark.parametrize("flag", list(RowFlag))
def test_a_flagged_row_is_not_usable_and_the_flag_is_named(healthy: Plane, flag: RowFlag) -> None:
    healthy.publish(flags=flag)
    assert healthy.verdict() == (Reason.FLAGGED, flag, 0)


def test_a_row_whose_fee_is_unknown_is_not_usable(healthy: Plane) -> None:
    healthy.publish(fee=None)
    assert healthy.verdict() == (Reason.FEE_UNKNOWN, 0, 0)


@pytest.mark.parametrize("state", [state for state in ConnectionState if state is not ConnectionState.LIVE])
def test_a_row_of_a_connection_that_is_not_live_is_not_usable(healthy: Plane, state: ConnectionState) -> None:
    healthy.connections.set_state(CONNECTION_NUMBER, state, "test")
    assert healthy.verdict() == (Reason.CONNECTION_DOWN, state, ConnectionState.LIVE)


def test_one_store_makes_every_row_of_the_connection_unusable_and_no_other(healthy: Plane) -> None:
    healthy.connections.set_state(CONNECTION_NUMBER + 1, ConnectionState.LIVE)
    epoch = healthy.connections.next_epoch(CONNECTION_NUMBER + 1)
    other = SLOT + 1
    healthy.publish(slot=other, uid=UID + 1, connection=CONNECTION_NUMBER + 1, epoch=epoch)
    healthy.rows.confirm(other, NOW)
    healthy.connections.set_state(CONNECTION_NUMBER, ConnectionState.STALE)
    assert healthy.verdict()[0] is Reason.CONNECTION_DOWN
    assert healthy.rule.check(Venue.POLYMARKET, UID + 1, other, healthy.reader.read(other), NOW)[0] is Reason.NONE


def test_a_row_of_an_older_epoch_is_not_usable_and_both_epochs_are_named(healthy: Plane) -> None:
    epoch = healthy.connections.next_epoch(CONNECTION_NUMBER)
    assert healthy.verdict() == (Reason.OLD_EPOCH, epoch - 1, epoch)


def test_a_row_of_a_newer_epoch_is_not_usable_either(healthy: Plane) -> None:
    healthy.publish(epoch=healthy.epoch + 1)
    assert healthy.verdict() == (Reason.OLD_EPOCH, healthy.epoch + 1, healthy.epoch)


def test_a_row_confirmed_too_long_ago_is_not_usable_and_the_last_instant_before_is(healthy: Plane) -> None:
    edge = NOW - 1_000_000_000 + LIMITS.max_confirm_age_ns
    assert healthy.verdict(edge)[0] is Reason.NONE
    assert healthy.verdict(edge + 1) == (
        Reason.NOT_CONFIRMED,
        LIMITS.max_confirm_age_ns + 1,
        LIMITS.max_confirm_age_ns,
    )


def test_the_later_of_row_and_connection_confirmation_counts(healthy: Plane) -> None:
    late = NOW + 60_000_000_000
    assert healthy.verdict(late)[0] is Reason.NOT_CONFIRMED
    healthy.connections.confirm(CONNECTION_NUMBER, late - 1)
    assert healthy.verdict(late)[0] is Reason.NONE
    healthy.connections.confirm(CONNECTION_NUMBER, 0)
    healthy.rows.confirm(SLOT, late - 1)
    assert healthy.verdict(late)[0] is Reason.NONE


def test_a_row_that_was_never_confirmed_is_not_usable_even_while_the_clock_is_young(healthy: Plane) -> None:
    healthy.rows.confirm(SLOT, 0)
    young = LIMITS.max_confirm_age_ns // 2
    assert healthy.verdict(young) == (Reason.NOT_CONFIRMED, young, LIMITS.max_confirm_age_ns)


def test_a_row_behind_a_lagging_connection_is_not_usable(healthy: Plane) -> None:
    healthy.connections.note(CONNECTION_NUMBER, lag_ms=LIMITS.max_lag_ms)
    assert healthy.verdict()[0] is Reason.NONE
    healthy.connections.note(CONNECTION_NUMBER, lag_ms=LIMITS.max_lag_ms + 1)
    assert healthy.verdict() == (Reason.LAG, LIMITS.max_lag_ms + 1, LIMITS.max_lag_ms)


def test_a_row_whose_owner_is_silent_is_not_usable(healthy: Plane) -> None:
    healthy.heartbeat(boottime_ns() - LIMITS.max_heartbeat_age_ns - 1_000_000)
    reason, value, threshold = healthy.verdict()
    assert reason is Reason.OWNER_DEAD
    assert value > threshold == LIMITS.max_heartbeat_age_ns


def test_the_other_feeds_heartbeat_keeps_nobodys_rows_alive(healthy: Plane) -> None:
    healthy.heartbeat(boottime_ns() - LIMITS.max_heartbeat_age_ns - 1_000_000)
    healthy.heartbeat(boottime_ns(), Role.FEED_KALSHI)
    assert healthy.verdict()[0] is Reason.OWNER_DEAD


def test_an_owner_that_never_beat_is_dead_even_right_after_boot(
    healthy: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy.heartbeat(0)
    monkeypatch.setattr("arbpipe.shm.usable.boottime_ns", lambda: 1_000_000_000)
    assert healthy.verdict() == (Reason.OWNER_DEAD, 1_000_000_000, LIMITS.max_heartbeat_age_ns)


@pytest.mark.parametrize("column", ["feed", "detector", "executor", "operator"])
def test_a_row_in_anybodys_quarantine_is_not_usable(healthy: Plane, column: str) -> None:
    Quarantine(healthy.segment, column).set(SLOT, QuarantineReason.EDGE_TOO_LARGE)
    assert healthy.verdict() == (Reason.QUARANTINE, QuarantineReason.EDGE_TOO_LARGE, 0)
    Quarantine(healthy.segment, column).set(SLOT, QuarantineReason.NONE)
    assert healthy.verdict()[0] is Reason.NONE


@pytest.mark.parametrize("state", [state for state in VenueState if state is not VenueState.TRADING])
@pytest.mark.parametrize("column", ["feed", "executor", "operator"])
def test_a_row_of_a_venue_that_does_not_trade_is_not_usable(healthy: Plane, column: str, state: VenueState) -> None:
    VenueStates(healthy.segment, column).set(Venue.POLYMARKET, state)
    assert healthy.verdict() == (Reason.VENUE_STATE, state, 0)


def test_the_other_venues_state_does_not_matter(healthy: Plane) -> None:
    VenueStates(healthy.segment, "operator").set(Venue.KALSHI, VenueState.CLOSED)
    assert healthy.verdict()[0] is Reason.NONE


# -- the mistakes ------------------------------------------------------------------------------------------------------


def fresh_by_its_own_time(plane: Plane, now_ns: int) -> bool:
    """The mistake of F05: a price is fresh when its own stamp is young; whose books it belongs to is not asked."""
    row = plane.row()
    return row is not None and now_ns - row.publish_ns <= LIMITS.max_confirm_age_ns


def fresh_by_the_socket(plane: Plane, now_ns: int) -> bool:
    """The mistake of F06: frames and pings arrive, so everything that came over this socket is taken for current."""
    last = plane.segment.fields("connections", CONNECTION_NUMBER)["last_frame_ns"]
    return now_ns - int(last) <= LIMITS.max_confirm_age_ns


def down(plane: Plane) -> None:
    plane.connections.set_state(CONNECTION_NUMBER, ConnectionState.DOWN, "closed by the venue")


def reconnected(plane: Plane) -> None:
    down(plane)
    plane.connections.next_epoch(CONNECTION_NUMBER)
    plane.connections.confirm(CONNECTION_NUMBER, NOW)
    plane.connections.set_state(CONNECTION_NUMBER, ConnectionState.LIVE)


@pytest.mark.parametrize(
    ("event", "reason"), [(down, Reason.CONNECTION_DOWN), (reconnected, Reason.OLD_EPOCH)], ids=["down", "reconnected"]
)
def test_f05_a_row_from_before_the_connection_was_lost_is_not_usable_however_young_its_own_stamp_is(
    healthy: Plane, event: Callable[[Plane], None], reason: Reason
) -> None:
    assert healthy.verdict()[0] is Reason.NONE
    event(healthy)
    assert fresh_by_its_own_time(healthy, NOW), "the mistake trades on the book of the lost connection"
    assert healthy.verdict()[0] is reason


def test_f05_after_a_reconnect_only_a_row_published_in_the_new_epoch_is_usable(healthy: Plane) -> None:
    reconnected(healthy)
    assert healthy.verdict()[0] is Reason.OLD_EPOCH
    healthy.publish(epoch=healthy.connections.epoch(CONNECTION_NUMBER))
    assert healthy.verdict()[0] is Reason.NONE


def test_f06_a_living_socket_without_a_confirmation_of_this_row_does_not_make_it_usable(healthy: Plane) -> None:
    late = NOW + 60_000_000_000
    for beat in range(60):  # a frame of other assets every second, for a minute
        healthy.connections.note(CONNECTION_NUMBER, last_frame_ns=NOW + beat * 1_000_000_000, frames=beat)
    healthy.connections.note(CONNECTION_NUMBER, last_frame_ns=late)
    assert healthy.connections.state(CONNECTION_NUMBER) is ConnectionState.LIVE
    assert fresh_by_the_socket(healthy, late), "the mistake trades on a row nobody confirmed for a minute"
    assert healthy.verdict(late) == (Reason.NOT_CONFIRMED, 61_000_000_000, LIMITS.max_confirm_age_ns)
    healthy.rows.confirm(SLOT, late)
    assert healthy.verdict(late)[0] is Reason.NONE


def test_every_store_of_a_connection_stays_inside_its_own_line(healthy: Plane) -> None:
    before = [healthy.segment.fields("connections", n) for n in (CONNECTION_NUMBER - 1, CONNECTION_NUMBER + 1)]
    healthy.connections.set_state(CONNECTION_NUMBER, ConnectionState.DOWN, "x" * 200)
    healthy.connections.note(CONNECTION_NUMBER, lag_ms=-1, last_frame_ns=-1, frames=1, gaps=2, reconnects=3)
    after = [healthy.segment.fields("connections", n) for n in (CONNECTION_NUMBER - 1, CONNECTION_NUMBER + 1)]
    assert before == after
    assert healthy.segment.fields("connections", CONNECTION_NUMBER)["reason"] == "x" * 47
    assert CONNECTION["reason"].count == 48
