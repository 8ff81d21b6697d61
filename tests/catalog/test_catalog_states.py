"""States: the search allows exactly what 2^n trials allow, quickly, and refuses what nobody can have meant."""

from __future__ import annotations

import time

import pytest
from catalog_toml import Spec, catalog, kalshi, ladder, pair, partition, polymarket, worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.catalog import states as states_module
from arbpipe.catalog.model import Claim, PairsError, Relation, RelationKind, stable_id
from arbpipe.catalog.states import MAX_STATES, allowed_states, build_groups
from arbpipe.identity import Side

PAIRS = ("same", "opposite", "implies", "implied_by")
PARTITIONS = ("exactly_one", "at_least_one", "at_most_one")


def relation(spec: Spec, name: str = "r") -> Relation:
    kind = RelationKind.PARTITION if spec.kind in PARTITIONS else RelationKind(spec.kind)
    claims = tuple(Claim(number, Side.YES if yes else Side.NO) for number, yes in spec.literals)
    return Relation(
        stable_id(name), name, "e", kind, claims, spec.kind if spec.kind in PARTITIONS else None, False, "jane"
    )


@st.composite
def specs(draw: st.DrawFn) -> tuple[int, list[Spec]]:
    count = draw(st.integers(2, 7))
    found = []
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from((*PAIRS, *PARTITIONS, "ladder")))
        size = 2 if kind in PAIRS else draw(st.integers(2, count))
        numbers = draw(st.permutations(range(count)))[:size]
        found.append(Spec(kind, tuple((number, draw(st.booleans())) for number in numbers)))
    return count, found


@given(specs())
@settings(max_examples=400, deadline=None)
def test_states_equal_brute_force(case: tuple[int, list[Spec]]) -> None:
    count, found = case
    brute = sorted(sum(1 << i for i, true in enumerate(world) if true) for world in worlds(count, found))
    assert allowed_states(range(count), [relation(spec) for spec in found]) == tuple(brute)


def test_forty_rungs_and_forty_outcomes_are_instant() -> None:
    names = [f"K{i}" for i in range(40)]
    claims = [f"kalshi:{name}#Yes" for name in names]
    listed = "".join(kalshi(name) for name in names)
    start = time.perf_counter()
    (rungs,) = catalog(listed, ladder("l", claims)).groups
    (outcomes,) = catalog(listed, partition("p", claims, "exactly_one")).groups
    (at_most,) = catalog(listed, partition("p", claims, "at_most_one")).groups
    assert (len(rungs.states), len(outcomes.states), len(at_most.states)) == (41, 40, 41)
    assert time.perf_counter() - start < 3


def test_a_contradiction_far_from_the_first_claim_is_found_without_walking_through_everything() -> None:
    # 31 nearly free claims come first, the last two contradict each other
    found = [Spec("implies", ((number, True), (0, True))) for number in range(1, 31)]
    found += [Spec("same", ((31, True), (32, True))), Spec("opposite", ((31, True), (32, True)))]
    assert allowed_states(range(33), [relation(spec) for spec in found]) == ()


def test_the_limit_of_states_is_exact() -> None:
    spec = relation(Spec("at_least_one", ((0, True), (1, True), (2, True))))
    assert allowed_states(range(3), [spec], limit=7) == tuple(range(1, 8))
    assert allowed_states(range(3), [spec], limit=6) is None


def test_a_search_that_only_turns_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # ten pigeons, nine holes: no state, but no small proof of it either
    hole = [[9 * pigeon + place for place in range(9)] for pigeon in range(10)]
    found = [Spec("at_least_one", tuple((number, True) for number in row)) for row in hole]
    found += [Spec("at_most_one", tuple((row[place], True) for row in hole)) for place in range(9)]
    monkeypatch.setattr(states_module, "_STEPS_PER_STATE", 1)
    assert allowed_states(range(90), [relation(spec) for spec in found], limit=1) is None


def test_too_many_states_are_refused_with_the_event_and_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states_module, "MAX_STATES", 100)
    names = [f"K{i}" for i in range(8)]
    with pytest.raises(PairsError, match=r'event "e": its 1 relations over 8 instruments leave more than 100 ways'):
        catalog(
            "".join(kalshi(name) for name in names),
            partition("p", [f"kalshi:{name}#Yes" for name in names], "at_least_one"),
        )
    assert MAX_STATES == 100_000


ABC = kalshi("A") + kalshi("B") + kalshi("C")


def refusal(*parts: str) -> str:
    with pytest.raises(PairsError) as caught:
        catalog(*parts)
    return str(caught.value)


def test_contradicting_relations_are_refused_and_only_those_are_named() -> None:
    message = refusal(
        ABC,
        kalshi("D"),
        pair("ab", "kalshi:A#Yes", "kalshi:B#Yes"),
        pair("bc", "kalshi:B#Yes", "kalshi:C#Yes"),
        pair("ca", "kalshi:C#Yes", "kalshi:A#No"),
        pair("innocent", "kalshi:D#Yes", "kalshi:A#Yes", "implies"),
    )
    assert message.startswith('pairs.toml: event "e": pair "ab", pair "bc" and pair "ca" contradict each other')
    assert "innocent" not in message


def test_a_long_chain_of_contradiction_is_cut_short_in_the_message() -> None:
    names = [f"K{i}" for i in range(15)]
    chain = [pair(f"p{i}", f"kalshi:K{i}#Yes", f"kalshi:K{i + 1}#Yes") for i in range(14)]
    message = refusal("".join(map(kalshi, names)), *chain, pair("last", "kalshi:K14#Yes", "kalshi:K0#No"))
    assert 'pair "p11" and 3 more contradict each other' in message
    assert 'pair "p12"' not in message


def test_contradicting_partitions_are_refused() -> None:
    claims = [f"kalshi:{name}#Yes" for name in "ABC"]
    against = [f"kalshi:{name}#No" for name in "ABC"]
    message = refusal(ABC, partition("one", claims, "exactly_one"), partition("other", against, "exactly_one"))
    assert 'partition "one" and partition "other" contradict each other' in message


def test_an_instrument_that_can_never_be_true_is_refused() -> None:
    message = refusal(
        ABC,
        pair("ab", "kalshi:A#Yes", "kalshi:B#Yes", "implies"),
        pair("bc", "kalshi:B#Yes", "kalshi:C#Yes", "implies"),
        pair("ac", "kalshi:A#Yes", "kalshi:C#No", "implies"),
    )
    assert message.startswith('pairs.toml: pair "ab", pair "bc" and pair "ac": kalshi:A#Yes can never be true then')


def test_an_instrument_that_is_always_true_is_refused() -> None:
    message = refusal(
        ABC,
        partition("p", ["kalshi:A#Yes", "kalshi:B#Yes"], "at_least_one"),
        pair("ba", "kalshi:B#Yes", "kalshi:A#Yes", "implies"),
    )
    assert 'partition "p"' in message
    assert 'pair "ba"' in message
    assert "kalshi:A#No can never be true" in message


@pytest.mark.parametrize("holds", PARTITIONS)
def test_partition_members_that_are_the_same_thing_are_refused(holds: str) -> None:
    message = refusal(
        ABC,
        polymarket("0x1"),
        pair("first", "kalshi:A#Yes", "polymarket:0x1#No"),
        pair("second", "polymarket:0x1#No", "kalshi:B#Yes"),
        partition("p", [f"kalshi:{name}#Yes" for name in "ABC"], holds),
    )
    assert message.startswith('pairs.toml: partition "p": its claims kalshi:A#Yes and kalshi:B#Yes are the same thing')
    assert 'by pair "first" and pair "second"' in message


def test_members_that_are_the_same_by_cases_are_refused() -> None:
    # A implies B; B needs one of C and D, and each of them implies A
    message = refusal(
        ABC,
        kalshi("D"),
        kalshi("E"),
        pair("ab", "kalshi:A#Yes", "kalshi:B#Yes", "implies"),
        partition("cases", ["kalshi:B#No", "kalshi:C#Yes", "kalshi:D#Yes"], "at_least_one"),
        pair("ca", "kalshi:C#Yes", "kalshi:A#Yes", "implies"),
        pair("da", "kalshi:D#Yes", "kalshi:A#Yes", "implies"),
        partition("p", [f"kalshi:{name}#Yes" for name in "ABE"], "at_least_one"),
    )
    assert message.startswith('pairs.toml: partition "p": its claims kalshi:A#Yes and kalshi:B#Yes are the same thing')
    assert 'pair "ab", pair "ca", pair "da" and partition "cases"' in message


def test_members_that_are_the_same_by_the_opposite_labels_are_refused() -> None:
    message = refusal(
        ABC,
        pair("ab", "kalshi:A#Yes", "kalshi:B#Yes", "implies"),
        ladder("no", ["kalshi:A#No", "kalshi:B#No"]),
        partition("p", [f"kalshi:{name}#Yes" for name in "ABC"], "exactly_one"),
    )
    assert 'kalshi:A#Yes and kalshi:B#Yes are the same thing by pair "ab" and ladder "no"' in message


def test_groups_are_what_relations_connect_and_lonely_instruments_are_in_none() -> None:
    made = catalog(
        ABC,
        kalshi("D"),
        kalshi("E"),
        pair("ac", "kalshi:A#Yes", "kalshi:C#Yes", event="x"),
        pair("bd", "kalshi:B#Yes", "kalshi:D#Yes", event="y"),
        ladder("cd", ["kalshi:C#Yes", "kalshi:D#Yes"], event="x"),
    )
    uids = {instrument.native_id: instrument.uid for instrument in made.instruments}
    assert [group.name for group in made.groups] == ["x+y"]
    assert made.groups[0].uids == tuple(uids[name] for name in "ABCD")
    assert made.groups[0].relations == (0, 1, 2)
    assert made.group_of(uids["D"]) == 0
    assert made.group_of(uids["E"]) is None
    assert build_groups(made.instruments, (), "pairs.toml") == ()
