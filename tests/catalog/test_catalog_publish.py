"""Slots are never reused too early, and a generation says exactly what its catalog said."""

from __future__ import annotations

from pathlib import Path

import pytest
from catalog_toml import Spec, catalog, kalshi, ladder, pair, partition, polymarket
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.catalog.model import Catalog, Claim
from arbpipe.catalog.publish import REUSE_AFTER_NS, SlotAllocator, flatten
from arbpipe.errors import EnvironmentRefused
from arbpipe.identity import Side, claim_id
from arbpipe.shm.generation import Generation, encode_generation, write_generation

SECOND = 1_000_000_000


def test_a_key_keeps_its_slot_as_long_as_it_is_listed() -> None:
    slots = SlotAllocator(10, 3, "instrument")
    assert [slots.slot(key, 0, 0) for key in (7, 8, 7, 9, 8)] == [10, 11, 10, 12, 11]
    slots.release_absent([7, 8, 9], 0, 1)
    assert slots.slot(9, 10**18, 99) == 12


def test_a_freed_slot_waits_for_the_time_and_for_the_acknowledgement() -> None:
    assert REUSE_AFTER_NS == 60 * SECOND
    slots = SlotAllocator(0, 2, "instrument")
    assert (slots.slot(1, 0, 0), slots.slot(2, 0, 0)) == (0, 1)
    slots.release_absent([2], 100 * SECOND, generation=5)
    for now, acknowledged in ((160 * SECOND - 1, 6), (100 * SECOND, 6), (160 * SECOND, 5), (10**6 * SECOND, 0)):
        with pytest.raises(EnvironmentRefused, match="no free slot for another instrument: 2 are configured; raise"):
            slots.slot(3, now, acknowledged)
    assert slots.slot(3, 160 * SECOND, 6) == 0
    with pytest.raises(EnvironmentRefused):
        slots.slot(4, 10**9 * SECOND, 10**9)


def test_never_used_slots_are_given_out_before_any_freed_one() -> None:
    slots = SlotAllocator(0, 3, "instrument")
    slots.slot(1, 0, 0)
    slots.release_absent([], 0, 1)
    assert [slots.slot(key, 10**6 * SECOND, 9) for key in (2, 3, 4)] == [1, 2, 0]


def test_a_key_that_comes_back_does_not_get_its_slot_back_early() -> None:
    slots = SlotAllocator(0, 2, "instrument")
    slots.slot(1, 0, 0)
    slots.release_absent([], 0, 1)
    assert slots.slot(1, 1, 9) == 1


def test_what_an_earlier_process_gave_out_is_taken_over() -> None:
    slots = SlotAllocator(100, 4, "instrument")
    slots.adopt(1, 102)
    slots.adopt(2, 100)
    assert (slots.slot(1, 0, 0), slots.slot(2, 0, 0)) == (102, 100)
    assert slots.slot(3, 0, 0) == 103  # 101 may be what somebody still means


def test_slots_that_an_earlier_process_freed_are_not_lost() -> None:
    slots = SlotAllocator(100, 3, "instrument")
    slots.adopt(1, 102)
    slots.release_absent([1], 7 * SECOND, generation=3)
    for now, acknowledged in ((66 * SECOND, 9), (67 * SECOND, 3)):
        with pytest.raises(EnvironmentRefused):
            slots.slot(2, now, acknowledged)
    slots.release_absent([1], 66 * SECOND, generation=4)  # the next catalog does not make them wait anew
    assert {slots.slot(key, 67 * SECOND, 4) for key in (2, 3)} == {100, 101}


steps = st.lists(
    st.tuples(st.sets(st.integers(1, 6), max_size=4), st.integers(0, 90), st.booleans()), min_size=1, max_size=12
)


@settings(max_examples=200)
@given(steps)
def test_no_two_keys_ever_mean_the_same_slot_to_anybody(story: list[tuple[set[int], int, bool]]) -> None:
    slots = SlotAllocator(0, 6, "instrument")
    now, generation, acknowledged = 0, 0, 0
    meant: list[dict[int, int]] = [{}]  # generation → slot → key
    for keys, seconds, acknowledges in story:
        now += seconds * SECOND
        if acknowledges:
            acknowledged = generation
        slots.release_absent(keys, now, generation)
        try:
            given_out = {slots.slot(key, now, acknowledged): key for key in sorted(keys)}
        except EnvironmentRefused:
            continue
        assert len(given_out) == len(keys)
        for older in meant[acknowledged:]:
            for slot, key in given_out.items():
                assert older.get(slot, key) == key
        generation += 1
        meant.append(given_out)


# --- flatten ----------------------------------------------------------------------------------------------------------

RICH = (
    *(kalshi(name) for name in ("A", "B", "C", "D", "LONELY")),
    kalshi("FEELESS", fee=""),
    polymarket("0x01"),
    polymarket("0x02", tick=""),
    polymarket("0x03", neg_risk="neg_risk = true"),
    partition("p", ["kalshi:A#Yes", "kalshi:B#Yes", "kalshi:C#Yes"], "exactly_one", event="one"),
    pair("same", "kalshi:A#Yes", "polymarket:0x01#Yes", event="one"),
    pair("risky", "kalshi:D#Yes", "polymarket:0x03#No", tails="accepted", event="two"),
    ladder("l", ["kalshi:D#Yes", "kalshi:FEELESS#Yes"], event="two"),
)


def published(made: Catalog, directory: Path, number: int = 1) -> tuple[Generation, dict[int, int], dict[int, int]]:
    # slots that agree with no other order
    slots = {each.uid: 3 + 2 * at for at, each in enumerate(reversed(made.instruments))}
    relations = {each.id: 40 - at for at, each in enumerate(made.relations)}
    arrays, meta = flatten(made, slots, relations)
    write_generation(directory, number, *encode_generation(arrays, meta))
    return Generation(directory, number), slots, relations


def assert_same(made: Catalog, read: Generation, slots: dict[int, int], relations: dict[int, int]) -> None:
    def numbers(claims: tuple[Claim, ...]) -> tuple[int, ...]:
        return tuple(sorted(claim_id(slots[uid], side) for uid, side in claims))

    assert len(read.listings) == len(made.instruments)
    for one, listing in zip(made.instruments, read.listings, strict=True):
        same: tuple[str, ...] = (
            "uid",
            "venue",
            "native_id",
            "title",
            "yes_label",
            "no_label",
            "yes_token",
            "no_token",
            "version",
        )
        same += ("tick_e4", "min_size_e2", "neg_risk", "min_size_text", "fee", "tradeable", "reason")
        assert {name: getattr(listing, name) for name in same} == {name: getattr(one, name) for name in same}
        number = made.group_of(one.uid)
        assert (listing.slot, listing.group) == (slots[one.uid], -1 if number is None else number)
        assert read.by_slot[slots[one.uid]] is read.by_uid[one.uid] is listing
    assert len(read.covers) == len(made.covers)
    for cover, entry in zip(made.covers, read.covers, strict=True):
        assert (entry.cover_id, entry.name, entry.kind) == (cover.id, cover.name, cover.kind.name.lower())
        assert (entry.event, entry.k, entry.group) == (cover.event, cover.k, cover.group)
        assert (entry.tails_accepted, entry.floor_e6) == (cover.tails_accepted, cover.min_floor_e6)
        assert entry.proposition_ids == cover.propositions
        assert entry.propositions == tuple(numbers(made.propositions[p].claims) for p in cover.propositions)
        assert relations[made.relations[cover.relation].id] in entry.relations
        uids = {claim.uid for p in cover.propositions for claim in made.propositions[p].claims}
        touching = {relations[r.id] for r in made.relations if uids & {claim.uid for claim in r.claims}}
        assert touching <= set(entry.relations)
    for index, group in enumerate(made.groups):
        assert read.group_uids(index) == set(group.uids)
        table, regular = read.payoffs(index)
        assert regular == len(group.states)
        assert {
            claim_id(slots[uid], side): ([low for low, _ in states], [high for _, high in states])
            for (uid, side), states in made.payoffs(index).items()
        } == table


def test_listings_covers_and_payoffs_of_a_generation_equal_the_catalogs(tmp_path: Path) -> None:
    made = catalog(*RICH)
    assert len(made.groups) >= 2
    assert len(made.covers) >= 4
    assert {one.tradeable for one in made.instruments} == {True, False}
    assert any(cover.tails_accepted for cover in made.covers)
    assert_same(made, *published(made, tmp_path))


def test_uids_on_both_sides_of_two_to_the_63_survive(tmp_path: Path) -> None:
    made = catalog(*(kalshi(f"T{n}") for n in range(16)))
    uids = [one.uid for one in made.instruments]
    assert min(uids) < 1 << 63 <= max(uids)
    read, _, _ = published(made, tmp_path)
    assert read.arrays["uid"].tolist() == uids  # and not their nearest floats


def test_a_catalog_without_relations_is_a_generation(tmp_path: Path) -> None:
    for number, parts in enumerate([(), (kalshi("A"),)], 1):
        made = catalog(*parts)
        read, slots, relations = published(made, tmp_path, number)
        assert_same(made, read, slots, relations)
        assert read.covers == []


KINDS = st.sampled_from(("same", "opposite", "implies", "implied_by", "exactly_one", "at_least_one", "at_most_one"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(KINDS, st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=2, unique=True))
def test_random_catalogs_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, relations: list[tuple[str, int, int]]
) -> None:
    keys = [f"kalshi:{name}" for name in "ABCD"]
    specs = [Spec(kind, ((a, True), (b, True))) for kind, a, b in relations if a < b]
    if len({frozenset((a, b)) for _, a, b in relations}) < len(relations):
        return
    try:
        made = catalog(*(kalshi(name) for name in "ABCD"), *(spec.text(f"r{n}", keys) for n, spec in enumerate(specs)))
    except EnvironmentRefused:
        return  # contradictory relations; refused elsewhere
    assert_same(made, *published(made, tmp_path_factory.mktemp("g")))


def test_the_side_of_a_claim_is_its_lowest_bit(tmp_path: Path) -> None:
    made = catalog(*RICH)
    read, slots, _ = published(made, tmp_path)
    claims = {claim for cover in read.covers for each in cover.propositions for claim in each}
    assert {Side(claim & 1) for claim in claims} == {Side.YES, Side.NO}
    assert {claim >> 1 for claim in claims} <= set(slots.values())
