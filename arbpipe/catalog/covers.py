"""Propositions and covers: what may be bought together, and the proof that it pays.

The rules are those of ``docs/pairs-toml.md``, "what becomes a cover". A cover is built only from what a relation says;
that it pays k dollars is then proved from the states of its group, which know nothing of the rule that built it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

from arbpipe.catalog.model import (
    Catalog,
    Claim,
    Cover,
    CoverError,
    CoverKind,
    Group,
    Instrument,
    PairsError,
    Proposition,
    Relation,
    RelationKind,
    stable_id,
    truth_set,
)
from arbpipe.fixedpoint import ONE_DOLLAR_E6
from arbpipe.identity import Side

__all__ = ["MAX_PROPOSITIONS", "CoverError", "build_catalog", "prove"]

#: An opportunity has room for this many legs.
MAX_PROPOSITIONS: Final = 8


@dataclass(frozen=True, slots=True)
class _Plan:
    """A cover as its relation states it: claims that stand for their propositions."""

    relation: int
    kind: CoverKind
    what: str
    claims: tuple[Claim, ...]
    k: int


def build_catalog(
    source: str, instruments: tuple[Instrument, ...], relations: tuple[Relation, ...], groups: tuple[Group, ...]
) -> Catalog:
    """Merge claims into propositions, build every cover that the relations give, and prove each.

    Raises:
        PairsError: two covers share an id.
        CoverError: a cover does not pay in some state (a fault of the program, never of the file).
    """
    builder = _Builder(instruments, relations, groups)
    for index, relation in enumerate(relations):
        for plan in _plans(index, relation):
            builder.add(plan)
    catalog = Catalog(
        source=source,
        instruments=instruments,
        relations=relations,
        groups=groups,
        propositions=tuple(builder.propositions),
        covers=tuple(builder.covers.values()),
        notes=tuple(builder.notes),
    )
    ids: dict[int, str] = {}
    for cover in catalog.covers:
        if cover.id in ids:
            raise PairsError(
                f'{source}: covers "{ids[cover.id]}" and "{cover.name}" share the id {cover.id:#010x}; '
                f"rename {relations[cover.relation].entry}"
            )
        ids[cover.id] = cover.name
    for proposition in catalog.propositions:
        _check_claims(catalog, proposition)
    for cover in catalog.covers:
        _check_count(catalog, cover)
    return catalog


def prove(catalog: Catalog, cover: Cover) -> None:
    """Return only if the cover pays: from the group's states alone, trusting neither the masks nor the builder.

    Checked are: every claim of every proposition is true in exactly the proposition's states, and in every regular
    state at least ``k`` of the propositions are true.

    Raises:
        CoverError: naming the cover and the first state, claim or proposition that breaks it.
    """
    for identifier in dict.fromkeys(cover.propositions):
        if not 0 <= identifier < len(catalog.propositions):
            raise CoverError(f'cover "{cover.name}": the catalog has no proposition {identifier}; rebuild the catalog')
        _check_claims(catalog, catalog.propositions[identifier])
    _check_count(catalog, cover)


def _check_claims(catalog: Catalog, proposition: Proposition) -> None:
    group = catalog.groups[proposition.group]
    if not proposition.claims:
        raise CoverError(f"proposition {proposition.id} has no claim that could be bought; rebuild the catalog")
    for claim in proposition.claims:
        text = catalog.claim_text(claim)
        if claim.uid not in group.uids:
            raise CoverError(
                f'proposition {proposition.id}: {text} is not in group "{group.name}"; rebuild the catalog'
            )
        if truth_set(group.states, group.uids.index(claim.uid), claim.side) != proposition.states:
            raise CoverError(
                f"proposition {proposition.id}: {text} is not true in exactly its states; rebuild the catalog"
            )


def _check_count(catalog: Catalog, cover: Cover) -> None:
    group = catalog.groups[cover.group]
    every = (1 << len(group.states)) - 1
    if cover.k < 1:
        raise CoverError(f'cover "{cover.name}": k is {cover.k}, a cover pays at least one dollar')
    if len(set(cover.propositions)) != len(cover.propositions):
        raise CoverError(f'cover "{cover.name}": a proposition counts twice, one contract of it pays once')
    # at_least[j]: the states in which at least j of the propositions seen so far are true
    at_least = [every] + [0] * cover.k
    for identifier in cover.propositions:
        proposition = catalog.propositions[identifier]
        if proposition.group != cover.group:
            raise CoverError(f'cover "{cover.name}": proposition {identifier} is of another group')
        for j in range(cover.k, 0, -1):
            at_least[j] |= at_least[j - 1] & proposition.states
    missing = every & ~at_least[cover.k]
    if missing:
        state = group.states[(missing & -missing).bit_length() - 1]
        true = [
            catalog.claim_text(Claim(uid, Side.YES if state >> position & 1 else Side.NO))
            for position, uid in enumerate(group.uids)
        ]
        raise CoverError(
            f'cover "{cover.name}": fewer than {cover.k} of its {len(cover.propositions)} propositions are true when '
            f"{', '.join(true)}; it must not trade"
        )


def _other(claim: Claim) -> Claim:
    return Claim(claim.uid, claim.side.other)


def _plans(index: int, relation: Relation) -> Iterator[_Plan]:
    claims = relation.claims
    negated = tuple(_other(claim) for claim in claims)
    if relation.kind in (RelationKind.SAME, RelationKind.OPPOSITE):
        yield _Plan(index, CoverKind.PAIR, "YES+NO", (claims[0], negated[0]), 1)
    elif relation.kind is RelationKind.IMPLIES:
        yield _Plan(index, CoverKind.LADDER, "YES of b + NO of a", (claims[1], negated[0]), 1)
    elif relation.kind is RelationKind.IMPLIED_BY:
        yield _Plan(index, CoverKind.LADDER, "YES of a + NO of b", (claims[0], negated[1]), 1)
    elif relation.kind is RelationKind.LADDER:
        for upper, lower in combinations(range(len(claims)), 2):
            what = f"YES of rung {lower + 1} + NO of rung {upper + 1}"
            yield _Plan(index, CoverKind.LADDER, what, (claims[lower], negated[upper]), 1)
    elif relation.kind is RelationKind.PARTITION:
        if relation.at_least_one:
            yield _Plan(index, CoverKind.SUM_YES, "sum of YES", claims, 1)
        if relation.at_most_one:
            yield _Plan(index, CoverKind.SUM_NO, "sum of NO", negated, len(claims) - 1)


class _Builder:
    """Collects propositions and covers in the order of the file."""

    def __init__(
        self, instruments: Sequence[Instrument], relations: Sequence[Relation], groups: Sequence[Group]
    ) -> None:
        self._by_uid = {instrument.uid: instrument for instrument in instruments}
        self._relations = relations
        self._groups = groups
        self._group_of = {index: number for number, group in enumerate(groups) for index in group.relations}
        self._of_claim: dict[Claim, int] = {}
        self._untailed = [self._untailed_parts(group) for group in groups]
        self.propositions: list[Proposition] = []
        self.covers: dict[tuple[int, frozenset[int]], Cover] = {}
        self.notes: list[str] = []
        for number, group in enumerate(groups):
            self._merge(number, group)

    def _merge(self, number: int, group: Group) -> None:
        members: dict[int, list[Claim]] = {}
        for position, uid in enumerate(group.uids):
            if self._by_uid[uid].tradeable:
                for side in Side:
                    members.setdefault(truth_set(group.states, position, side), []).append(Claim(uid, side))
        found: dict[int, int] = {}
        for states, claims in members.items():
            found[states] = len(self.propositions)
            self.propositions.append(Proposition(len(self.propositions), number, states, tuple(claims)))
        # an untradeable claim is no member, but a relation may name it where another venue's claim is one
        for position, uid in enumerate(group.uids):
            for side in Side:
                states = truth_set(group.states, position, side)
                if states in found:
                    self._of_claim[Claim(uid, side)] = found[states]

    def add(self, plan: _Plan) -> None:
        relation = self._relations[plan.relation]
        name = f"{relation.name}: {plan.what}"
        if len(plan.claims) > MAX_PROPOSITIONS:
            self.notes.append(
                f'cover "{name}" is not built: it needs {len(plan.claims)} legs and an attempt has at most '
                f"{MAX_PROPOSITIONS}"
            )
            return
        for claim in plan.claims:
            if claim not in self._of_claim:
                instrument = self._by_uid[claim.uid]
                self.notes.append(
                    f'cover "{name}" is not built: no tradeable claim for '
                    f"{instrument.key}#{instrument.label(claim.side)} ({instrument.reason})"
                )
                return
        propositions = tuple(self._of_claim[claim] for claim in plan.claims)
        uids = {claim.uid for identifier in propositions for claim in self.propositions[identifier].claims}
        if len(uids) == 1:
            self.notes.append(
                f'cover "{name}" is not built: {self._by_uid[uids.pop()].key} alone would be bought on both sides, '
                "and that is a wrong book, not a trade"
            )
            return
        number = self._group_of[plan.relation]
        tails = self._tails(relation, self._groups[number], self._untailed[number], uids)
        key = (number, frozenset(propositions))
        known = self.covers.get(key)
        if known is not None:
            # the same purchase by two relations: the larger k is proved too, and a tail that one of them admits counts
            tails = tails or known.tails_accepted
            if known.k >= plan.k:
                floor = 0 if tails else known.min_floor_e6
                self.covers[key] = replace(known, tails_accepted=tails, min_floor_e6=floor)
                return
        self.covers[key] = Cover(
            id=stable_id(self._content(relation, plan.k, propositions)),
            name=name,
            relation=plan.relation,
            group=number,
            event=relation.event,
            kind=plan.kind,
            propositions=propositions,
            k=plan.k,
            tails_accepted=tails,
            min_floor_e6=0 if tails else plan.k * ONE_DOLLAR_E6,
        )

    def _content(self, relation: Relation, k: int, propositions: tuple[int, ...]) -> str:
        # sorted, so that moving lines in the file changes no id
        parts = sorted(
            "|".join(sorted(f"{uid:016x}/{side:d}" for uid, side in self.propositions[identifier].claims))
            for identifier in propositions
        )
        return "\n".join([relation.name, str(k), *parts])

    def _untailed_parts(self, group: Group) -> dict[int, int]:
        """For each uid the least uid that it reaches over relations without tails."""
        part = {uid: uid for uid in group.uids}
        for index in group.relations:
            relation = self._relations[index]
            if not relation.tails_accepted:
                joined = {part[claim.uid] for claim in relation.claims}
                least = min(joined)
                part = {uid: least if of in joined else of for uid, of in part.items()}
        return part

    def _tails(self, relation: Relation, group: Group, untailed: dict[int, int], uids: set[int]) -> bool:
        """Whether some way of ending that nobody ruled out may pay the legs differently.

        True when the relation says so, when any relation that says so connects two instruments of the cover, and when
        two of them are connected only over such a relation (by way of an instrument that is not in the cover).
        """
        if relation.tails_accepted or len({untailed[uid] for uid in uids}) > 1:
            return True
        return any(
            self._relations[index].tails_accepted
            and sum(claim.uid in uids for claim in self._relations[index].claims) >= 2
            for index in group.relations
        )
