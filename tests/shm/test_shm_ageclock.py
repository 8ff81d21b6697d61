from __future__ import annotations

import asyncio
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbpipe.clock import ClockMode, boottime_ns
from arbpipe.shm.ageclock import SegmentClock, set_scaled, set_stepped
from arbpipe.shm.segment import Segment

SECOND = 1_000_000_000
RECORDED = 1_700_000_000 * SECOND


def test_a_new_segment_lives_in_boot_time(segment: Segment) -> None:
    clock = SegmentClock(segment)
    assert clock.mode is ClockMode.LIVE
    before = boottime_ns()
    assert before <= clock.now_ns() <= boottime_ns()
    assert clock.real_seconds(3 * SECOND) == pytest.approx(3)


def test_a_stepped_clock_shows_exactly_what_was_stored_last(segment: Segment) -> None:
    set_stepped(segment, RECORDED)
    clock = SegmentClock(segment)
    assert clock.mode is ClockMode.STEPPED
    assert clock.now_ns() == RECORDED
    time.sleep(0.002)
    assert clock.now_ns() == RECORDED, "nothing gets older between two frames"
    set_stepped(segment, RECORDED + 5)
    assert clock.now_ns() == RECORDED + 5
    assert 0 < clock.real_seconds(3_600 * SECOND) < 0.01


@given(st.integers(-(2**62), 2**62))
def test_every_stored_time_is_shown(shared_segment: Segment, now_ns: int) -> None:
    set_stepped(shared_segment, now_ns)
    assert SegmentClock(shared_segment).now_ns() == now_ns


@pytest.mark.parametrize("speed_e6", [500_000, 1_000_000, 60_000_000])
def test_a_scaled_clock_starts_at_the_recording_and_runs_at_its_speed(
    segment: Segment, monkeypatch: pytest.MonkeyPatch, speed_e6: int
) -> None:
    boot = 77 * SECOND
    monkeypatch.setattr("arbpipe.shm.ageclock.boottime_ns", lambda: boot)
    set_scaled(segment, RECORDED, speed_e6)
    clock = SegmentClock(segment)
    assert clock.mode is ClockMode.SCALED
    assert clock.now_ns() == RECORDED
    boot += 2 * SECOND
    assert clock.now_ns() == RECORDED + 2 * SECOND * speed_e6 // 1_000_000
    assert clock.real_seconds(SECOND) == pytest.approx(1_000_000 / speed_e6)
    assert clock.real_seconds(-SECOND) == 0


def test_two_processes_worth_of_clocks_agree(segment: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    set_scaled(segment, RECORDED, 10_000_000)
    with Segment.attach(segment.directory) as observer:
        one, other = SegmentClock(segment), SegmentClock(observer)
        now = boottime_ns()
        monkeypatch.setattr("arbpipe.shm.ageclock.boottime_ns", lambda: now)
        assert one.now_ns() == other.now_ns()


def test_sleeping_on_a_fast_clock_takes_its_share_of_real_time(segment: Segment) -> None:
    set_scaled(segment, RECORDED, 1_000_000_000)
    clock = SegmentClock(segment)
    begin = time.monotonic()
    asyncio.run(clock.sleep_until(RECORDED + 10 * SECOND))
    assert clock.now_ns() >= RECORDED + 10 * SECOND
    assert time.monotonic() - begin < 5


def test_sleeping_on_a_stepped_clock_ends_when_the_driver_stores_the_time(segment: Segment) -> None:
    set_stepped(segment, RECORDED)
    clock = SegmentClock(segment)
    timer = threading.Timer(0.03, set_stepped, (segment, RECORDED + SECOND))
    timer.start()
    begin = time.monotonic()
    asyncio.run(clock.sleep_until(RECORDED + SECOND))
    timer.join()
    assert clock.now_ns() == RECORDED + SECOND
    assert time.monotonic() - begin >= 0.02


def test_a_time_that_passed_is_not_waited_for(segment: Segment) -> None:
    set_stepped(segment, RECORDED)
    asyncio.run(asyncio.wait_for(SegmentClock(segment).sleep_until(RECORDED), 5))
