"""Gaps are seen, and only gaps."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from arbpipe.venues.kalshi.sequence import SequenceTracker, Verdict


def test_numbers_start_at_one_and_have_no_holes() -> None:
    tracker = SequenceTracker()
    assert [tracker.check(1, seq) for seq in (1, 2, 3)] == [Verdict.OK] * 3
    assert tracker.check(2, 1) is Verdict.OK
    assert SequenceTracker().check(1, 2) is Verdict.GAP


def test_after_a_gap_counting_continues_from_the_number_received() -> None:
    tracker = SequenceTracker()
    verdicts = [tracker.check(1, seq) for seq in (1, 4, 5, 7, 8)]
    assert verdicts == [Verdict.OK, Verdict.GAP, Verdict.OK, Verdict.GAP, Verdict.OK]


def test_a_duplicate_changes_nothing() -> None:
    tracker = SequenceTracker()
    assert [tracker.check(1, seq) for seq in (1, 2, 2, 1, 3)] == [
        Verdict.OK,
        Verdict.OK,
        Verdict.DUPLICATE,
        Verdict.DUPLICATE,
        Verdict.OK,
    ]
    assert tracker.last(1) == 3


def test_frames_without_a_number_are_not_counted() -> None:
    tracker = SequenceTracker()
    assert tracker.check(1, 0) is Verdict.UNNUMBERED
    assert tracker.check(0, 5) is Verdict.UNNUMBERED
    assert tracker.check(1, 1) is Verdict.OK


def test_a_new_connection_starts_again_at_one() -> None:
    tracker = SequenceTracker()
    tracker.check(1, 1)
    tracker.reset()
    assert tracker.check(1, 1) is Verdict.OK


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 12)), max_size=40))
def test_the_verdict_depends_only_on_the_last_number_of_that_sid(frames: list[tuple[int, int]]) -> None:
    tracker = SequenceTracker()
    highest: dict[int, int] = {}
    for sid, seq in frames:
        before = highest.get(sid, 0)
        expected = Verdict.OK if seq == before + 1 else Verdict.GAP if seq > before else Verdict.DUPLICATE
        assert tracker.check(sid, seq) is expected
        highest[sid] = max(before, seq)


def test_a_subscription_that_is_forgotten_begins_at_1_while_the_others_count_on() -> None:
    tracker = SequenceTracker()
    for sid in (1, 2):
        assert [tracker.check(sid, seq) for seq in (1, 2)] == [Verdict.OK] * 2
    tracker.forget(1)
    tracker.forget(9)
    assert (tracker.last(1), tracker.last(2)) == (0, 2)
    assert (tracker.check(1, 1), tracker.check(2, 3)) == (Verdict.OK, Verdict.OK)


def test_f04_seq_is_per_sid_with_control_frames() -> None:
    # (type, market, seq): one sid, two markets, an ok between, and 6 is lost
    frames = [("snapshot", "A", 1), ("snapshot", "B", 2), ("ok", "", 3), ("delta", "A", 4), ("delta", "B", 5)]
    lossy = [*frames, ("delta", "B", 7)]

    def wrong(stream: Iterable[tuple[str, str, int]]) -> int:
        last: dict[str, int] = {}
        gaps = 0
        for kind, market, seq in stream:
            if kind == "ok":
                continue
            gaps += market in last and seq != last[market] + 1
            last[market] = seq
        return gaps

    def right(stream: Iterable[tuple[str, str, int]]) -> int:
        tracker = SequenceTracker()
        return [tracker.check(1, seq) for _, _, seq in stream].count(Verdict.GAP)

    assert (right(frames), right(lossy)) == (0, 1)
    assert wrong(frames) == 2  # false gaps where nothing was lost
