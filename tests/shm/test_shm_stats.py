from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbpipe.clock import boottime_ns
from arbpipe.shm.layout import HISTOGRAM, HISTOGRAMS, N_BUCKETS, N_COUNTERS, PROCESS, SUB_BUCKETS, Role, Stage
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import (
    IDLE_FOR_EVER,
    Counter,
    ErrorCode,
    Histogram,
    ProcessLine,
    ProcessState,
    bucket_of,
    histogram_of,
    merged_histogram,
    percentile_ns,
    start_ticks,
)

LARGEST = (2 * SUB_BUCKETS << 30) - 1  # what the last bucket ends with: 137 s


def only(value: int) -> list[int]:
    buckets = [0] * N_BUCKETS
    buckets[bucket_of(value)] = 1
    return buckets


# -- histograms --------------------------------------------------------------------------------------------------------


@given(st.integers(0, LARGEST))
def test_a_bucket_tells_its_values_within_one_percent(value: int) -> None:
    assert abs(percentile_ns(only(value), 0.5) - value) <= value * 0.01


@given(st.integers(0, LARGEST - 1))
def test_a_larger_value_never_has_a_smaller_bucket(value: int) -> None:
    assert 0 <= bucket_of(value) <= bucket_of(value + 1) <= bucket_of(value) + 1 <= N_BUCKETS


@given(st.integers(LARGEST, 2**70))
def test_what_is_too_large_is_counted_in_the_last_bucket(value: int) -> None:
    assert bucket_of(value) == N_BUCKETS - 1


def test_small_values_are_exact_and_negative_ones_count_as_zero() -> None:
    assert [percentile_ns(only(value), 1) for value in range(2 * SUB_BUCKETS)] == list(range(2 * SUB_BUCKETS))
    assert bucket_of(-5) == 0


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_of_random_latencies_agree_with_numpy_within_one_percent(seed: int, segment: Segment) -> None:
    values = np.random.default_rng(seed).lognormal(11, 2, 3_001).astype(np.int64) + 1
    histogram = Histogram(segment, Stage.ROW_TO_OPPORTUNITY, Role.DETECTOR)
    for value in values.tolist():  # 3,001: no fraction below is a whole rank, where two roundings may differ
        histogram.record(value)
    line = HISTOGRAMS.index((Stage.ROW_TO_OPPORTUNITY, Role.DETECTOR))
    buckets = list(histogram_of(segment, line)["buckets"])
    for fraction in (0.01, 0.5, 0.9, 0.99, 0.999, 1.0):
        exact = float(np.percentile(values, 100 * fraction, method="inverted_cdf"))
        assert percentile_ns(buckets, fraction) == pytest.approx(exact, rel=0.01)


def test_count_total_least_and_greatest_are_exact(segment: Segment) -> None:
    histogram = Histogram(segment, Stage.FRAME_TO_ROW, Role.FEED_KALSHI)
    for value in (700_001, 35, 1_000_003):
        histogram.record(value)
    line = histogram_of(segment, 0)
    assert (line["count"], line["total_ns"], line["min_ns"], line["max_ns"]) == (3, 1_700_039, 35, 1_000_003)
    assert sum(line["buckets"]) == 3


def test_a_stage_is_merged_over_all_roles_that_record_it(segment: Segment) -> None:
    for role, value in ((Role.FEED_KALSHI, 1_000), (Role.FEED_POLYMARKET, 100_000), (Role.FEED_POLYMARKET, 100_001)):
        Histogram(segment, Stage.FRAME_TO_ROW, role).record(value)
    Histogram(segment, Stage.ROW_TO_OPPORTUNITY, Role.DETECTOR).record(5)
    merged = merged_histogram(segment, Stage.FRAME_TO_ROW)
    assert (merged["count"], merged["max"]) == (3, 100_001)
    assert merged["p50"] == pytest.approx(100_000, rel=0.01)


@given(st.lists(st.integers(0, LARGEST), min_size=1, max_size=30))
def test_percentiles_rise_to_the_maximum_and_never_pass_it(shared_segment: Segment, values: list[int]) -> None:
    line = HISTOGRAMS.index((Stage.ROW_TO_OPPORTUNITY, Role.DETECTOR))
    shared_segment.region.write(shared_segment.section("latency").at(line), bytes(HISTOGRAM.size))
    histogram = Histogram(shared_segment, Stage.ROW_TO_OPPORTUNITY, Role.DETECTOR)
    for value in values:
        histogram.record(value)
    merged = merged_histogram(shared_segment, Stage.ROW_TO_OPPORTUNITY)
    assert merged["p50"] <= merged["p90"] <= merged["p99"] <= merged["max"] == max(values)
    assert merged["count"] == len(values)


def test_an_empty_histogram_has_percentile_0_and_an_unowned_one_is_refused(segment: Segment) -> None:
    assert percentile_ns([0] * N_BUCKETS, 0.5) == 0
    assert merged_histogram(segment, Stage.FRAME_TO_ROW)["count"] == 0
    with pytest.raises(ValueError, match="not in tuple"):
        Histogram(segment, Stage.FRAME_TO_ROW, Role.DETECTOR)


# -- the line of a process ---------------------------------------------------------------------------------------------


def test_a_line_that_begins_says_who_where_and_since_when(segment: Segment) -> None:
    before = boottime_ns()
    ProcessLine(segment, Role.DETECTOR).begin()
    line = segment.fields("processes", Role.DETECTOR)
    assert (line["role"], line["pid"], line["restarts"]) == ("detector", os.getpid(), 0)
    assert line["state"] == ProcessState.BOOT
    assert line["start_ticks"] == start_ticks(os.getpid()) > 0
    assert before <= line["started_ns"] <= line["heartbeat_ns"] <= boottime_ns()
    assert line["rss_bytes"] > 1_000_000
    assert line["cpu_ns"] > 0
    assert line["cpus"].split(",")[0] == str(min(os.sched_getaffinity(0)))
    assert line["core"]
    assert segment.fields("processes", Role.EXECUTOR)["pid"] == 0


def test_a_restart_counts_up_and_keeps_counters_cursors_and_errors(segment: Segment) -> None:
    first = ProcessLine(segment, Role.FEED_KALSHI)
    first.begin()
    first.add(Counter.FRAMES, 7)
    first.add(Counter.FRAMES)
    first.set(Counter.IN_FLIGHT, 3)
    first.cursor(2, 99)
    first.error(ErrorCode.SEQUENCE_GAP, "seq 5 after 3")
    first.waiting(IDLE_FOR_EVER)
    second = ProcessLine(segment, Role.FEED_KALSHI)
    second.begin()
    assert second.get(Counter.FRAMES) == 8
    second.add(Counter.FRAMES)
    line = segment.fields("processes", Role.FEED_KALSHI)
    assert line["restarts"] == 1
    assert line["counters"][Counter.FRAMES] == 9
    assert line["counters"][Counter.IN_FLIGHT] == 0, "nothing of the dead process is in flight"
    assert second.cursor_value(2) == 99
    assert line["error_code"][0] == ErrorCode.SEQUENCE_GAP
    assert line["waiting_ns"] == 0


def test_every_counter_has_a_place_of_its_own(segment: Segment) -> None:
    line = ProcessLine(segment, Role.EXECUTOR)
    line.begin()
    for counter in Counter:
        line.set(counter, 1_000 + counter)
    stored = segment.fields("processes", Role.EXECUTOR)["counters"]
    assert list(stored[: len(Counter)]) == [1_000 + counter for counter in Counter]
    assert len(Counter) <= N_COUNTERS


def test_a_beat_moves_the_heartbeat_and_nothing_of_the_usage_within_a_second(segment: Segment) -> None:
    line = ProcessLine(segment, Role.DETECTOR)
    line.begin()
    before = segment.fields("processes", Role.DETECTOR)
    time.sleep(0.002)
    line.beat()
    after = segment.fields("processes", Role.DETECTOR)
    assert after["heartbeat_ns"] > before["heartbeat_ns"]
    assert after["cpu_ns"] == before["cpu_ns"]
    line.beat(usage=True)
    assert segment.fields("processes", Role.DETECTOR)["cpu_ns"] > before["cpu_ns"]


def test_single_words_are_stored_as_given(segment: Segment) -> None:
    line = ProcessLine(segment, Role.CATALOG)
    line.begin()
    line.acknowledge(12)
    line.progress(-5)
    line.waiting(IDLE_FOR_EVER)
    line.state(ProcessState.RUN)
    line.alerted()
    line.alerted()
    found = segment.fields("processes", Role.CATALOG)
    assert [found[name] for name in ("generation", "progress_ns", "waiting_ns", "state", "alerts")] == [
        12,
        -5,
        IDLE_FOR_EVER,
        ProcessState.RUN,
        2,
    ]


def error_table(segment: Segment, role: Role) -> dict[int, tuple[int, str]]:
    """Code → (count, text)."""
    line = segment.fields("processes", role)
    base = segment.section("processes").at(role) + PROCESS.offset("error_text")
    texts = [segment.region.read(base + 96 * n, 96).split(b"\0")[0].decode() for n in range(3)]
    return {
        code: (count, text)
        for code, count, text in zip(line["error_code"], line["error_count"], texts, strict=True)
        if code
    }


def test_the_error_table_keeps_the_last_three_distinct_codes_with_their_counts(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(1_000, 2_000))
    monkeypatch.setattr("arbpipe.shm.stats.wall_ns", lambda: next(now))
    line = ProcessLine(segment, Role.FEED_POLYMARKET)
    assert line.error(ErrorCode.BAD_FRAME, "first text")
    assert line.error(ErrorCode.HASH_MISMATCH, "hash")
    assert not line.error(ErrorCode.BAD_FRAME, "later text")
    assert line.error(ErrorCode.OVERRUN, "log")
    assert not line.error(ErrorCode.BAD_FRAME, "later text")
    assert error_table(segment, Role.FEED_POLYMARKET) == {
        ErrorCode.BAD_FRAME: (3, "first text"),
        ErrorCode.HASH_MISMATCH: (1, "hash"),
        ErrorCode.OVERRUN: (1, "log"),
    }
    found = segment.fields("processes", Role.FEED_POLYMARKET)
    assert (found["error_first_ns"][0], found["error_last_ns"][0]) == (1_000, 1_004)
    assert line.error(ErrorCode.CRASH, "the fourth takes the place of the longest ago")
    assert set(error_table(segment, Role.FEED_POLYMARKET)) == {
        ErrorCode.BAD_FRAME,
        ErrorCode.OVERRUN,
        ErrorCode.CRASH,
    }
    assert line.error(ErrorCode.HASH_MISMATCH, "again")
    assert error_table(segment, Role.FEED_POLYMARKET)[ErrorCode.HASH_MISMATCH] == (1, "again")


def test_a_long_error_text_is_cut_and_touches_no_neighbour(segment: Segment) -> None:
    line = ProcessLine(segment, Role.DETECTOR)
    line.error(ErrorCode.LEDGER, "a" * 500)
    line.error(ErrorCode.GATEWAY, "b")
    assert error_table(segment, Role.DETECTOR) == {ErrorCode.LEDGER: (1, "a" * 95), ErrorCode.GATEWAY: (1, "b")}
    assert segment.fields("processes", Role.EXECUTOR)["pid"] == 0


def test_start_ticks_name_a_process_and_0_is_nobody() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        assert start_ticks(child.pid) >= start_ticks() > 0
    finally:
        child.kill()
        child.wait()
    assert start_ticks(child.pid) == 0


def test_start_ticks_are_read_behind_a_name_with_blanks_and_brackets() -> None:
    script = "import pathlib, sys; pathlib.Path('/proc/self/comm').write_text('a) 1 2 (3'); print(flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    ticks = start_ticks(child.pid)
    assert "a) 1 2 (3" in Path(f"/proc/{child.pid}/stat").read_text()
    child.communicate(b"\n")
    assert start_ticks() <= ticks < start_ticks() + 100 * os.sysconf("SC_CLK_TCK") * 3_600
