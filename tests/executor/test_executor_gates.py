"""Each gate refuses alone, with its reason; phantoms and rivals are stopped by cool-down and conflict groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from execution_bench import Plane, across, pair_plane

from arbpipe.clock import boottime_ns
from arbpipe.executor.gates import Conflicts, ExecutorFunnel, Gates
from arbpipe.executor.plan import Refusal
from arbpipe.identity import Side, claim_id
from arbpipe.shm.opportunity import Opportunity
from arbpipe.shm.row import Reason
from arbpipe.shm.tables import BreakerView, Revoked

MS = 1_000_000
GROUP = frozenset({1, 2})


@pytest.fixture
def made() -> Iterator[Plane]:
    with pair_plane() as each:
        yield each


def reason(result: object) -> Reason:
    return result.reason if isinstance(result, Refusal) else Reason.NONE


def rival(made: Plane) -> Opportunity:
    """The other relation of the same event: NO of A and YES of B."""
    number = next(c.number for c in made.generation.covers if c.number != across(made).cover)
    claims = made.generation.covers[number].propositions
    order = 0 if claim_id(made.listing("kalshi:B").slot, Side.YES) in claims[0] else 1
    legs = ((order, "kalshi:B", Side.YES, 5_200, 1_000), (1 - order, "kalshi:A", Side.NO, 6_200, 1_000))
    return made.opportunity(number, legs)


def test_a_good_opportunity_passes_with_its_cover_and_its_whole_conflict_group(made: Plane) -> None:
    each = across(made)
    passed = Gates(made.segment, Conflicts(0)).check(each, made.generation, boottime_ns())
    assert passed == (made.generation.covers[each.cover], frozenset(each.uid for each in made.generation.listings))


def store(made: Plane, word: str) -> None:
    view = BreakerView(made.segment)
    if word == "breaker":
        made.segment.region.store_u64(view.trips_at, 1)
    else:
        made.segment.region.store_u32(view.kill_at if word == "kill" else view.pause_at, 1)


@pytest.mark.parametrize(
    ("word", "wanted"), [("kill", Reason.KILLED), ("pause", Reason.PAUSED), ("breaker", Reason.BREAKER)]
)
def test_an_operators_word_and_the_breaker_refuse(made: Plane, word: str, wanted: Reason) -> None:
    gates = Gates(made.segment, Conflicts(0))
    store(made, word)
    assert reason(gates.check(across(made), made.generation, boottime_ns())) is wanted


def test_an_expired_opportunity_refuses_one_nanosecond_after_its_time(made: Plane) -> None:
    each, gates = across(made), Gates(made.segment, Conflicts(0))
    assert reason(gates.check(each, made.generation, each.expiry_ns)) is Reason.NONE
    assert gates.check(each, made.generation, each.expiry_ns + 1) == Refusal(
        Reason.EXPIRED, each.expiry_ns + 1, each.expiry_ns
    )


def _generation(each: Opportunity) -> Opportunity:
    return each._replace(generation=2)


def _uid(each: Opportunity) -> Opportunity:
    return each._replace(legs=(each.legs[0]._replace(uid=(1 << 64) - 1), each.legs[1]))


def _slot(each: Opportunity) -> Opportunity:
    return each._replace(legs=(each.legs[0], each.legs[1]._replace(claim=99)))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [(_generation, Reason.GENERATION), (_uid, Reason.WRONG_UID), (_slot, Reason.WRONG_UID)],
)
def test_what_another_generation_meant_refuses(
    made: Plane, change: Callable[[Opportunity], Opportunity], wanted: Reason
) -> None:
    gates = Gates(made.segment, Conflicts(0))
    assert reason(gates.check(change(across(made)), made.generation, boottime_ns())) is wanted


def test_without_a_generation_nothing_passes(made: Plane) -> None:
    gates = Gates(made.segment, Conflicts(0))
    assert gates.check(across(made), None, boottime_ns()) == Refusal(Reason.GENERATION, 1, 0)


def test_a_revoked_relation_refuses_until_it_is_allowed_again(made: Plane) -> None:
    each, gates, revoked = across(made), Gates(made.segment, Conflicts(0)), Revoked(made.segment)
    (relation, *_) = made.generation.covers[each.cover].relations
    revoked.set(relation, True)
    assert gates.check(each, made.generation, boottime_ns()) == Refusal(Reason.REVOKED, relation)
    revoked.set(relation, False)
    assert reason(gates.check(each, made.generation, boottime_ns())) is Reason.NONE


def requote(made: Plane, number: int = 0) -> None:
    """The same prices once more, as rows of their own."""
    made.quote("kalshi:A", [(4_000, 40_000 + number)], [(6_200, 50_000)])
    made.quote("kalshi:B", [(5_200, 40_000 + number)], [(5_000, 50_000)])
    made.quote("polymarket:0x01", [(5_200, 50_000)], [(5_000, 40_000 + number)])


def test_the_same_rows_are_taken_once_and_newer_ones_again(made: Plane) -> None:
    conflicts = Conflicts(0)
    gates, each, now = Gates(made.segment, conflicts), across(made), boottime_ns()
    conflicts.begin("one", each, GROUP)
    conflicts.end("one", each.cover_id, now, empty=False)
    assert gates.check(each, made.generation, now + 1) == Refusal(Reason.TAKEN)
    made.quote("kalshi:A", [(4_000, 40_000)], [(6_200, 50_000)])
    assert gates.check(across(made), made.generation, now + 1) == Refusal(Reason.TAKEN)  # one old leg is enough
    made.quote("polymarket:0x01", [(5_200, 50_000)], [(5_000, 40_000)])
    assert reason(gates.check(across(made), made.generation, now + 1)) is Reason.NONE


def test_a_quote_is_taken_for_every_cover_and_the_other_side_of_its_row_is_not(made: Plane) -> None:
    conflicts = Conflicts(0)
    gates, now = Gates(made.segment, conflicts), boottime_ns()
    first = rival(made)  # YES of B and NO of A
    conflicts.begin("one", first, GROUP)
    conflicts.end("one", first.cover_id, now, empty=False)
    legs = ((0, "polymarket:0x01", Side.YES, 5_200, 1_000), (1, "kalshi:A", Side.NO, 6_200, 1_000))
    same_quote = made.opportunity(across(made).cover, legs)
    assert same_quote.cover_id != first.cover_id
    assert gates.check(same_quote, made.generation, now + 1) == Refusal(Reason.TAKEN)
    assert reason(gates.check(across(made), made.generation, now + 1)) is Reason.NONE  # YES of A


def test_the_rest_doubles_for_empty_attempts_up_to_a_bound_and_is_reset() -> None:
    conflicts = Conflicts(1_000)
    rests = []
    for empty in (False, True, True, True, True, True, True, True, True, False, True):
        conflicts.end("x", 7, 0, empty=empty)
        rests.append(conflicts.cooling_ns(7, GROUP, 0) // 1_000)
    assert rests == [1, 2, 4, 8, 16, 32, 64, 64, 64, 1, 2]
    assert conflicts.cooling_ns(7, GROUP, 1_999) == 1
    assert conflicts.cooling_ns(7, GROUP, 2_000) == 0
    assert conflicts.cooling_ns(8, GROUP, 0) == 0


def test_the_whole_conflict_group_rests_after_an_attempt_and_the_empty_cover_longer(made: Plane) -> None:
    conflicts = Conflicts(1_000)
    conflicts.begin("one", across(made), GROUP)
    conflicts.end("one", 7, 0, empty=True)
    assert conflicts.cooling_ns(7, GROUP, 0) == 2_000
    assert [conflicts.cooling_ns(8, GROUP, now) for now in (0, 999, 1_000)] == [1_000, 1, 0]
    assert conflicts.cooling_ns(8, frozenset({3}), 0) == 0


def test_a_group_that_is_kept_for_its_exposure_rests_when_that_is_resolved(made: Plane) -> None:
    conflicts = Conflicts(1_000)
    conflicts.begin("one", across(made), GROUP)
    conflicts.end("one", 7, 0, empty=True, keep=True)
    assert conflicts.conflict(GROUP)
    conflicts.end("one", 7, 50_000, empty=False)
    assert not conflicts.conflict(GROUP)
    assert conflicts.cooling_ns(8, GROUP, 50_999) == 1


def phantom(made: Plane, cooldown_ms: int) -> int:
    """A minute of one phantom every 300 ms, each on rows of its own; how often it is attempted."""
    conflicts = Conflicts(cooldown_ms * MS)
    gates, start, attempts = Gates(made.segment, conflicts), boottime_ns(), 0
    for number in range(200):
        now = start + number * 300 * MS
        requote(made, number)
        each = across(made)._replace(expiry_ns=now + MS)
        passed = gates.check(each, made.generation, now)
        if not isinstance(passed, Refusal):
            attempts += 1
            conflicts.begin("x", each, passed[1])
            conflicts.end("x", each.cover_id, now, empty=True)
    return attempts


def test_f48_a_phantom_is_attempted_a_bounded_number_of_times(made: Plane) -> None:
    assert phantom(made, 1_000) == 5  # at 0, 2, 6, 14 and 30 s
    assert phantom(made, 0) == 200  # the mistake: no cool-down


@pytest.mark.parametrize("mistaken", [False, True], ids=["right", "mistaken"])
def test_f48_a_phantom_that_two_covers_see_is_not_attempted_by_one_after_the_other(made: Plane, mistaken: bool) -> None:
    conflicts = Conflicts(1_000 * MS)
    gates, start, times = Gates(made.segment, conflicts), boottime_ns(), []
    for number in range(200):
        for seen_by in (across, rival):
            now = start + number * 300 * MS
            requote(made, number)
            each = seen_by(made)._replace(expiry_ns=now + MS)
            passed = gates.check(each, made.generation, now)
            if not isinstance(passed, Refusal):
                times.append(number * 300)
                conflicts.begin("x", each, passed[1])
                conflicts.end("x", each.cover_id, now, empty=True)
                if mistaken:  # only the cover rests
                    conflicts._rest.clear()
    closest = min(later - earlier for earlier, later in pairwise(times))
    assert len(times) <= 10
    assert closest == 0 if mistaken else closest >= 1_000


def test_f49_two_opportunities_of_one_event_are_never_in_flight_together(made: Plane) -> None:
    conflicts = Conflicts(0)
    gates, one, two = Gates(made.segment, conflicts), across(made), rival(made)
    now = boottime_ns()
    passed = gates.check(one, made.generation, now)
    assert not isinstance(passed, Refusal)
    conflicts.begin("first", one, passed[1])
    assert one.cover_id != two.cover_id
    assert gates.check(two, made.generation, now) == Refusal(Reason.BUSY)
    conflicts.end("first", one.cover_id, now, empty=False, keep=True)  # its exposure keeps the group closed
    assert gates.check(two, made.generation, now) == Refusal(Reason.BUSY)
    conflicts.end("first", one.cover_id, now, empty=False)
    assert reason(gates.check(two, made.generation, now)) is Reason.NONE

    mistaken = {one.cover_id}  # the mistake: busy is a cover, not the instruments
    assert two.cover_id not in mistaken
    assert {leg.uid for leg in one.legs} & {leg.uid for leg in two.legs}


def test_the_funnel_keeps_the_last_gate_and_counts(made: Plane) -> None:
    funnel = ExecutorFunnel(made.segment)
    funnel.refused(3, 77, Refusal(Reason.EDGE, -5, 9), 11)
    funnel.refused(3, 77, Refusal(Reason.DEPTH, 1, 2), 12)
    stats = made.segment.fields("cover_stats", 3)
    names = ("x_cover_id", "x_gate", "x_value", "x_threshold", "x_refused", "x_attempts", "x_last_ns")
    assert [stats[name] for name in names] == [77, Reason.DEPTH, 1, 2, 2, 0, 12]
    funnel.attempted(3, 77, 13)
    funnel.filled(3, 77)
    stats = made.segment.fields("cover_stats", 3)
    assert [stats[name] for name in names] == [77, Reason.NONE, 1, 2, 2, 1, 13]
    assert stats["x_filled"] == 1
    funnel.attempted(3, 78, 14)  # another cover in the place: it inherits nothing
    assert [made.segment.fields("cover_stats", 3)[name] for name in names] == [78, 0, 0, 0, 0, 1, 14]
