"""Covers: built from what relations say, and worth k dollars in every state that 2^n trials find."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import pytest
from catalog_toml import Spec, catalog, kalshi, ladder, pair, partition, polymarket, token, worlds
from hypothesis import given, settings
from hypothesis import strategies as st

from arbpipe.catalog import covers as covers_module
from arbpipe.catalog.covers import prove
from arbpipe.catalog.model import Catalog, Claim, Cover, CoverError, CoverKind, PairsError
from arbpipe.identity import Side, instrument_uid

PAIRS = ("same", "opposite", "implies", "implied_by")
PARTITIONS = ("exactly_one", "at_least_one", "at_most_one")


def by_kind(made: Catalog, kind: CoverKind) -> list[Cover]:
    return [cover for cover in made.covers if cover.kind is kind]


def legs(made: Catalog, cover: Cover) -> list[set[str]]:
    return [{made.claim_text(claim) for claim in made.propositions[p].claims} for p in cover.propositions]


@st.composite
def files(draw: st.DrawFn) -> tuple[list[str], list[Spec], str]:
    """Keys, relations and the text: one backbone, and a few more relations over it with random polarity."""
    count = draw(st.integers(2, 7))
    keys, text = [], ""
    for number in range(count):
        if draw(st.booleans()):
            keys.append(f"kalshi:K{number}")
            text += kalshi(f"K{number}")
        else:
            keys.append(f"polymarket:0x{number}")
            text += polymarket(f"0x{number}")
    found: list[Spec] = []
    paired: set[frozenset[int]] = set()
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from((*PAIRS, *PARTITIONS, "ladder")))
        size = 2 if kind in PAIRS else draw(st.integers(2, count))
        numbers = draw(st.permutations(range(count)))[:size]
        if kind in PAIRS:
            if frozenset(numbers) in paired:
                continue
            paired.add(frozenset(numbers))
        found.append(Spec(kind, tuple((number, draw(st.booleans())) for number in numbers)))
    relations = [spec.text(f"r{index}", keys) for index, spec in enumerate(found)]
    # the file gives pairs, then partitions, then ladders, whatever their order
    return keys, found, "".join([text, *relations])


def truths(all_worlds: list[tuple[bool, ...]], number: int, yes: bool) -> frozenset[int]:
    return frozenset(index for index, world in enumerate(all_worlds) if world[number] == yes)


def must_be_refused(all_worlds: list[tuple[bool, ...]], specs: list[Spec]) -> bool:
    if not all_worlds:
        return True
    named = {number for spec in specs for number, _ in spec.literals}
    if any(not truths(all_worlds, number, yes) for number in named for yes in (True, False)):
        return True
    return any(
        truths(all_worlds, *a) == truths(all_worlds, *b)
        for spec in specs
        if spec.kind in PARTITIONS
        for a, b in combinations(spec.literals, 2)
    )


def expected(spec: Spec) -> list[tuple[list[tuple[int, bool]], int]]:
    """The covers that docs/pairs-toml.md promises for one relation, as literals and k."""
    literals = list(spec.literals)
    against = [(number, not yes) for number, yes in literals]
    found = []
    if spec.kind in ("same", "opposite"):
        found.append(([literals[0], against[0]], 1))
    if spec.kind == "implies":
        found.append(([literals[1], against[0]], 1))
    if spec.kind == "implied_by":
        found.append(([literals[0], against[1]], 1))
    if spec.kind in ("exactly_one", "at_least_one"):
        found.append((literals, 1))
    if spec.kind in ("exactly_one", "at_most_one"):
        found.append((against, len(literals) - 1))
    if spec.kind == "ladder":
        found += [([lower, against[i]], 1) for i in range(len(literals)) for lower in literals[i + 1 :]]
    return found


@given(files())
@settings(max_examples=250, deadline=None)
def test_every_cover_pays_k_dollars_in_every_state_whatever_claims_are_chosen(
    case: tuple[list[str], list[Spec], str],
) -> None:
    keys, specs, text = case
    all_worlds = worlds(len(keys), specs)
    if must_be_refused(all_worlds, specs):
        with pytest.raises(PairsError):
            catalog(text)
        return
    made = catalog(text)
    numbers = {instrument_uid(*key.split(":")): number for number, key in enumerate(keys)}

    def pays(claim: Claim, world: tuple[bool, ...]) -> int:
        return 1_000_000 * (world[numbers[claim.uid]] == (claim.side == Side.YES))

    built = {}
    for cover in made.covers:
        prove(made, cover)
        members = [made.propositions[p].claims for p in cover.propositions]
        for members_of_one in members:
            for a, b in combinations(members_of_one, 2):  # so one choice stands for every other
                assert all(pays(a, world) == pays(b, world) for world in all_worlds)
        for choice in product(*(claims[:2] for claims in members)):
            for world in all_worlds:
                assert sum(pays(claim, world) for claim in choice) >= cover.k * 1_000_000
        assert len({claim.uid for claims in members for claim in claims}) > 1
        key = frozenset(truths(all_worlds, numbers[c[0].uid], c[0].side == Side.YES) for c in members)
        group_claims = frozenset(claim.uid for claims in members for claim in claims)
        assert (key, group_claims) not in built
        built[key, group_claims] = cover.k
        relation = made.relations[cover.relation]
        assert cover.kind is not CoverKind.SUM_YES or relation.at_least_one
        assert cover.kind is not CoverKind.SUM_NO or relation.at_most_one
    available = {key: k for (key, _), k in built.items()}
    for spec in specs:
        for literals, k in expected(spec):
            assert available[frozenset(truths(all_worlds, *literal) for literal in literals)] >= k


@given(files())
@settings(max_examples=100, deadline=None)
def test_a_proposition_holds_every_claim_of_its_group_that_is_true_in_the_same_states(
    case: tuple[list[str], list[Spec], str],
) -> None:
    keys, specs, text = case
    all_worlds = worlds(len(keys), specs)
    if must_be_refused(all_worlds, specs):
        return
    made = catalog(text)
    numbers = {instrument_uid(*key.split(":")): number for number, key in enumerate(keys)}
    for index, group in enumerate(made.groups):
        by_truth: dict[frozenset[int], set[Claim]] = {}
        for uid in group.uids:
            for side in Side:
                where = truths(all_worlds, numbers[uid], side is Side.YES)
                by_truth.setdefault(where, set()).add(Claim(uid, side))
        here = [set(item.claims) for item in made.propositions if item.group == index]
        assert sorted(map(sorted, here)) == sorted(map(sorted, by_truth.values()))
    assert [item.id for item in made.propositions] == list(range(len(made.propositions)))


ABC = kalshi("A") + kalshi("B") + kalshi("C")
YES = [f"kalshi:{name}#Yes" for name in "ABC"]


@pytest.mark.parametrize(
    ("holds", "kinds"),
    [
        ("exactly_one", [CoverKind.SUM_YES, CoverKind.SUM_NO]),
        ("at_least_one", [CoverKind.SUM_YES]),
        ("at_most_one", [CoverKind.SUM_NO]),
    ],
)
def test_a_partition_gives_the_sums_that_its_rule_allows_and_no_other(holds: str, kinds: list[CoverKind]) -> None:
    made = catalog(ABC, partition("p", YES, holds))
    assert [cover.kind for cover in made.covers] == kinds
    assert [cover.k for cover in made.covers] == [{CoverKind.SUM_YES: 1, CoverKind.SUM_NO: 2}[kind] for kind in kinds]


def test_dropping_an_outcome_from_at_most_one_yields_no_sum_of_yes() -> None:
    for kept in combinations(YES, 2):
        made = catalog(ABC, partition("p", kept, "at_most_one"))
        assert [cover.kind for cover in made.covers] == [CoverKind.SUM_NO]


def test_sums_use_the_claims_of_every_venue() -> None:
    made = catalog(
        ABC, polymarket("0x1"), partition("p", YES, "exactly_one"), pair("v", "kalshi:B#Yes", "polymarket:0x1#No")
    )
    assert legs(made, by_kind(made, CoverKind.SUM_YES)[0]) == [
        {"kalshi:A#Yes"},
        {"kalshi:B#Yes", "polymarket:0x1#No"},
        {"kalshi:C#Yes"},
    ]


def test_f20_opposite_teams_are_paired_by_label_and_not_yes_with_yes() -> None:
    sides = polymarket("0x1", yes=("Boston", token("b")), no=("New York", token("n")))
    made = catalog(kalshi("KXGAME-NY"), sides, pair("game", "kalshi:KXGAME-NY#Yes", "polymarket:0x1#New York"))
    (cover,) = made.covers
    ny, boston_on_yes = made.groups[0].uids
    pay = made.payoffs(0)

    def mistake() -> list[tuple[Claim, Claim]]:  # "YES here is YES there"
        return [(Claim(ny, side), Claim(boston_on_yes, side.other)) for side in Side]

    def least(claims: tuple[Claim, ...]) -> int:
        return min(sum(pay[claim][state][0] for claim in claims) for state in range(len(made.groups[0].states)))

    assert [least(claims) for claims in mistake()] == [0, 0]  # both legs on the same team: all or nothing
    choices = list(product(*(made.propositions[p].claims for p in cover.propositions)))
    assert [least(claims) for claims in choices] == [1_000_000] * 4
    assert {"kalshi:KXGAME-NY#Yes", "polymarket:0x1#New York"} in legs(made, cover)


def test_f24_ladder_rungs_imply_downwards_only() -> None:
    made = catalog(ABC, ladder("l", YES))  # A: above 120k, B: above 110k, C: above 100k
    upper, lower = made.groups[0].uids[:2]
    pay = made.payoffs(0)

    def mistake() -> tuple[Claim, Claim]:  # the cheap direction: above 120k, or not above 110k
        return Claim(upper, Side.YES), Claim(lower, Side.NO)

    states = range(len(made.groups[0].states))
    assert min(sum(pay[claim][state][0] for claim in mistake()) for state in states) == 0  # ends at 115k
    assert [legs(made, cover) for cover in made.covers] == [
        [{"kalshi:B#Yes"}, {"kalshi:A#No"}],
        [{"kalshi:C#Yes"}, {"kalshi:A#No"}],
        [{"kalshi:C#Yes"}, {"kalshi:B#No"}],
    ]
    for cover in made.covers:
        first, second = (made.propositions[p].claims[0] for p in cover.propositions)
        assert all(pay[first][state][0] + pay[second][state][0] >= 1_000_000 for state in states)


def test_f27_outcomes_that_are_not_exhaustive_give_no_sum_of_yes() -> None:
    listed = "".join(polymarket(f"0x{number}", neg_risk="neg_risk = true") for number in range(3))
    made = catalog(listed, partition("nominee", [f"polymarket:0x{n}#Yes" for n in range(3)], "at_most_one"))
    asks_e6 = dict.fromkeys(made.groups[0].uids, 310_000)

    def mistake() -> list[Claim]:  # every listed outcome for 0.93: "one of them must win a dollar"
        return [Claim(uid, Side.YES) for uid in made.groups[0].uids] if sum(asks_e6.values()) < 1_000_000 else []

    worst = min(sum(made.payoffs(0)[claim][state][0] for claim in mistake()) for state in range(4))
    assert len(mistake()) == 3
    assert worst == 0  # "Other" wins
    assert [(cover.kind, cover.k) for cover in made.covers] == [(CoverKind.SUM_NO, 2)]


@pytest.mark.parametrize(
    ("relation", "name", "claims"),
    [
        ("same", "p: YES+NO", [{"kalshi:A#Yes", "kalshi:B#Yes"}, {"kalshi:A#No", "kalshi:B#No"}]),
        ("opposite", "p: YES+NO", [{"kalshi:A#Yes", "kalshi:B#No"}, {"kalshi:A#No", "kalshi:B#Yes"}]),
        ("implies", "p: YES of b + NO of a", [{"kalshi:B#Yes"}, {"kalshi:A#No"}]),
        ("implied_by", "p: YES of a + NO of b", [{"kalshi:A#Yes"}, {"kalshi:B#No"}]),
    ],
)
def test_a_pair_gives_the_cover_of_its_relation(relation: str, name: str, claims: list[set[str]]) -> None:
    made = catalog(ABC, pair("p", "kalshi:A#Yes", "kalshi:B#Yes", relation))
    (cover,) = made.covers
    assert (cover.name, cover.k, cover.event, cover.min_floor_e6) == (name, 1, "e", 1_000_000)
    assert legs(made, cover) == claims


def test_an_identical_cover_is_kept_once_and_takes_over_the_tails() -> None:
    parts = [ABC, pair("p", YES[0], YES[1]), partition("q", [YES[0], "kalshi:B#No"], "exactly_one", tails="accepted")]
    (cover,) = catalog(*parts).covers
    assert (cover.name, cover.tails_accepted, cover.min_floor_e6) == ("p: YES+NO", True, 0)


def test_of_two_covers_with_the_same_propositions_the_larger_k_stays() -> None:
    no = [f"kalshi:{name}#No" for name in "ABC"]
    made = catalog(ABC, partition("weak", no, "at_least_one"), partition("strong", YES, "at_most_one"))
    (cover,) = made.covers
    assert (cover.name, cover.k, cover.min_floor_e6) == ("strong: sum of NO", 2, 2_000_000)


def test_tails_of_a_relation_between_two_members_make_a_tail_risk_cover() -> None:
    made = catalog(
        ABC,
        polymarket("0x1"),
        partition("p", YES, "exactly_one"),
        pair("v", "kalshi:B#Yes", "polymarket:0x1#Yes", tails="accepted"),
    )
    assert {cover.name: (cover.tails_accepted, cover.min_floor_e6) for cover in made.covers} == {
        "v: YES+NO": (True, 0),
        "p: sum of YES": (True, 0),
        "p: sum of NO": (True, 0),
    }


def test_tails_elsewhere_in_the_group_leave_a_cover_alone() -> None:
    made = catalog(
        ABC, pair("p", YES[0], YES[1]), pair("q", "kalshi:B#Yes", "kalshi:C#Yes", "implies", tails="accepted")
    )
    assert {cover.name: cover.tails_accepted for cover in made.covers} == {
        "p: YES+NO": False,
        "q: YES of b + NO of a": True,
    }


def test_tails_of_a_relation_beside_a_sound_one_count_for_every_cover_over_both_instruments() -> None:
    made = catalog(
        ABC,
        partition("p", YES, "exactly_one"),
        pair("v", "kalshi:A#Yes", "kalshi:B#No", "implies", tails="accepted"),
    )
    assert {
        cover.name: cover.tails_accepted for cover in made.covers if made.relations[cover.relation].name == "p"
    } == {
        "p: sum of YES": True,
        "p: sum of NO": True,
    }


def test_members_connected_only_by_way_of_accepted_tails_make_a_tail_risk_cover() -> None:
    # C never trades; D stands in for it, and only the relation with tails says how D relates to A and B
    made = catalog(
        kalshi("A"),
        kalshi("B"),
        kalshi("C", fee=""),
        kalshi("D"),
        pair("v", "kalshi:C#Yes", "kalshi:D#Yes", tails="accepted"),
        partition("p", YES, "exactly_one"),
    )
    cover = made.cover("p: sum of YES")
    assert legs(made, cover) == [{"kalshi:A#Yes"}, {"kalshi:B#Yes"}, {"kalshi:D#Yes"}]
    assert (cover.tails_accepted, cover.min_floor_e6) == (True, 0)


@pytest.mark.parametrize("order", [1, -1])
def test_tails_of_an_identical_cover_count_whichever_relation_comes_first(order: int) -> None:
    # B never trades, so that both relations give {A or C yes, A or C no}
    relations = [pair("p", YES[0], YES[1], tails="accepted"), pair("q", YES[0], YES[2])][::order]
    (cover,) = catalog(kalshi("A"), kalshi("B", fee=""), kalshi("C"), *relations).covers
    assert (cover.tails_accepted, cover.min_floor_e6) == (True, 0)


def test_a_cover_with_a_proposition_that_nobody_can_buy_is_not_built() -> None:
    made = catalog(kalshi("A"), kalshi("B"), kalshi("C", fee=""), partition("p", YES, "exactly_one"))
    assert made.covers == ()
    assert made.notes == (
        'cover "p: sum of YES" is not built: no tradeable claim for kalshi:C#Yes (fee unknown: none is given)',
        'cover "p: sum of NO" is not built: no tradeable claim for kalshi:C#No (fee unknown: none is given)',
    )
    assert len(made.groups[0].states) == 3  # it still is an outcome


def test_another_venue_stands_in_for_an_instrument_that_does_not_trade() -> None:
    made = catalog(
        kalshi("A"),
        kalshi("B"),
        kalshi("C", fee=""),
        polymarket("0x1"),
        partition("p", YES, "exactly_one"),
        pair("v", "kalshi:C#Yes", "polymarket:0x1#Yes"),
    )
    assert legs(made, by_kind(made, CoverKind.SUM_YES)[0])[2] == {"polymarket:0x1#Yes"}


def test_both_sides_of_one_instrument_alone_are_no_cover() -> None:
    made = catalog(kalshi("A"), kalshi("B", fee=""), pair("p", YES[0], YES[1]))
    assert made.covers == ()
    assert "kalshi:A alone would be bought on both sides" in made.notes[0]


def test_a_cover_has_at_most_eight_propositions() -> None:
    names = [f"K{number}" for number in range(9)]
    listed = "".join(kalshi(name) for name in names)
    claims = [f"kalshi:{name}#Yes" for name in names]
    assert len(catalog(listed, partition("p", claims[:8], "exactly_one")).covers[0].propositions) == 8
    made = catalog(listed, partition("p", claims, "exactly_one"))
    assert made.covers == ()
    assert made.notes == (
        'cover "p: sum of YES" is not built: it needs 9 legs and an attempt has at most 8',
        'cover "p: sum of NO" is not built: it needs 9 legs and an attempt has at most 8',
    )


def test_cover_ids_survive_reordering_and_follow_the_content() -> None:
    parts = [kalshi("A"), kalshi("B"), kalshi("C")]
    relations = [pair("p", YES[0], YES[1]), pair("q", YES[1], YES[2], "implies")]
    forward = catalog(*parts, *relations)
    backward = catalog(*reversed(parts), *reversed(relations))
    assert {c.name: c.id for c in forward.covers} == {c.name: c.id for c in backward.covers}
    more = catalog(*parts, polymarket("0x1"), *relations, pair("r", YES[0], "polymarket:0x1#Yes"))
    assert more.cover("p: YES+NO").id != forward.cover("p: YES+NO").id


def test_two_covers_with_one_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covers_module, "stable_id", lambda text: 7)
    with pytest.raises(PairsError, match=r'"p: sum of YES" and "p: sum of NO" share the id 0x00000007; rename part'):
        catalog(ABC, partition("p", YES, "exactly_one"))


def _broken() -> list[tuple[str, Catalog, Cover, str]]:
    made = catalog(ABC, partition("p", YES, "exactly_one"))
    yes, no = made.covers
    twice = replace(yes, propositions=(yes.propositions[0], yes.propositions[0], yes.propositions[1]))
    short = replace(yes, propositions=yes.propositions[:2])
    first = made.propositions[0]
    lied = replace(made, propositions=(replace(first, states=first.states ^ 1), *made.propositions[1:]))
    swapped = replace(first, claims=made.propositions[1].claims)
    mixed = replace(made, propositions=(swapped, *made.propositions[1:]))
    empty = replace(made, propositions=(replace(first, claims=()), *made.propositions[1:]))
    two = catalog(ABC, kalshi("D"), pair("p", YES[0], YES[1]), pair("q", YES[2], "kalshi:D#Yes"))
    stranger = replace(two.covers[0], propositions=two.covers[1].propositions)
    foreign = replace(two.propositions[0], claims=two.propositions[2].claims)
    of_another = replace(two, propositions=(foreign, *two.propositions[1:]))
    return [
        (
            "an outcome left out",
            made,
            short,
            "fewer than 1 of its 2 propositions are true when kalshi:A#No, kalshi:B#No",
        ),
        ("k too large", made, replace(no, k=3), "fewer than 3 of its 3 propositions are true when"),
        ("k of nothing", made, replace(no, k=0), "k is 0"),
        ("one counted twice", made, twice, "a proposition counts twice"),
        ("states that are not the claim's", lied, yes, "kalshi:A#Yes is not true in exactly its states"),
        ("a claim of another proposition", mixed, yes, "kalshi:A#No is not true in exactly its states"),
        ("nothing to buy", empty, yes, "has no claim that could be bought"),
        ("an unknown proposition", made, replace(yes, propositions=(0, 99)), "has no proposition 99"),
        ("a proposition of another group", two, stranger, "is of another group"),
        ("a claim of another group", of_another, two.covers[0], 'kalshi:C#Yes is not in group "e"'),
    ]


@pytest.mark.parametrize(("made", "cover", "message"), [case[1:] for case in _broken()], ids=[c[0] for c in _broken()])
def test_a_cover_that_does_not_pay_is_never_proved(made: Catalog, cover: Cover, message: str) -> None:
    with pytest.raises(CoverError) as caught:
        prove(made, cover)
    assert message in str(caught.value)
