"""Every way in which a group of instruments can end, given what its relations assert.

A relation is a handful of clauses ("not A, or B"), so a group is a formula and its regular states are the assignments
that satisfy it. Clauses of two claims are kept as masks of what follows at once from a claim; longer ones (at least one
of a partition) are looked at whenever something changed. The search sets one claim, draws every conclusion, and turns
back at the first contradiction, so that a ladder or a partition of n costs about n steps and not 2^n.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, pairwise
from typing import Final

from arbpipe.catalog.model import Claim, Group, Instrument, PairsError, Relation, RelationKind, truth_set
from arbpipe.identity import Side

__all__ = ["MAX_STATES", "build_groups", "allowed_states"]

#: More states than this in one group are refused: proofs would be slow and the group is surely not one subject.
MAX_STATES: Final = 100_000
#: A search that turns back this often, relative to its limit of states, is given up as well.
_STEPS_PER_STATE: Final = 10
#: A message names at most this many relations.
_MOST_NAMED: Final = 12

#: The uids that are known to be true, and those known to be false, as masks over positions.
_Known = tuple[int, int]


class _TooManyStates(Exception):
    """The search met its limit."""


def _bits(mask: int) -> Iterator[int]:
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


class _Formula:
    """The relations of one group over the positions of its uids. A literal is ``2 * position + side``."""

    def __init__(self, uids: Sequence[int], relations: Sequence[Relation]) -> None:
        self._positions = {uid: position for position, uid in enumerate(uids)}
        self._all = (1 << len(uids)) - 1
        self._follows: list[_Known] = [(0, 0)] * (2 * len(uids))
        self._long: list[_Known] = []
        for relation in relations:
            self._assert(relation)

    def literal(self, claim: Claim) -> int:
        return 2 * self._positions[claim.uid] + claim.side

    @staticmethod
    def mask(literal: int) -> _Known:
        bit = 1 << (literal >> 1)
        return (0, bit) if literal & 1 else (bit, 0)

    def masks(self, literals: Iterable[int]) -> _Known:
        true = false = 0
        for literal in literals:
            more_true, more_false = self.mask(literal)
            true |= more_true
            false |= more_false
        return true, false

    def _imply(self, a: int, b: int) -> None:
        for cause, effect in ((a, b), (b ^ 1, a ^ 1)):
            true, false = self._follows[cause]
            more_true, more_false = self.mask(effect)
            self._follows[cause] = (true | more_true, false | more_false)

    def _assert(self, relation: Relation) -> None:
        literals = [self.literal(claim) for claim in relation.claims]
        if relation.kind is RelationKind.PARTITION:
            if relation.at_most_one:
                for a, b in combinations(literals, 2):
                    self._imply(a, b ^ 1)
            if relation.at_least_one:
                if len(literals) == 2:
                    self._imply(literals[0] ^ 1, literals[1])
                else:
                    self._long.append(self.masks(literals))
            return
        for a, b in pairwise(literals):
            if relation.kind in (RelationKind.SAME, RelationKind.IMPLIES, RelationKind.LADDER):
                self._imply(a, b)
            if relation.kind in (RelationKind.SAME, RelationKind.IMPLIED_BY):
                self._imply(b, a)
            if relation.kind is RelationKind.OPPOSITE:
                self._imply(a, b ^ 1)
                self._imply(a ^ 1, b)

    def conclude(self, known: _Known, more: _Known) -> _Known | None:
        """``known`` and ``more`` and all that follows from them step by step; ``None`` is a contradiction."""
        true, false = known
        more_true, more_false = more
        while True:
            fresh_true, fresh_false = more_true & ~true, more_false & ~false
            true |= more_true
            false |= more_false
            if true & false:
                return None
            more_true = more_false = 0
            if fresh_true or fresh_false:
                literals = [2 * position for position in _bits(fresh_true)]
                literals += [2 * position + 1 for position in _bits(fresh_false)]
                for literal in literals:
                    follows_true, follows_false = self._follows[literal]
                    more_true |= follows_true
                    more_false |= follows_false
                continue
            for positive, negative in self._long:
                if positive & true or negative & false:
                    continue
                open_positive, open_negative = positive & ~false, negative & ~true
                left = open_positive.bit_count() + open_negative.bit_count()
                if left == 0:
                    return None
                if left == 1:
                    more_true |= open_positive
                    more_false |= open_negative
            if not more_true & ~true and not more_false & ~false:
                return true, false

    def root(self, assumed: _Known = (0, 0)) -> _Known | None:
        """What holds in every state under ``assumed``; ``None`` when there is surely no state.

        Both values of each open claim are tried. For clauses of two claims that settles whether a state exists, so the
        search below never learns of a contradiction only after it has walked through everything else.
        """
        known = self.conclude((0, 0), assumed)
        while known is not None:
            before = known
            for position in _bits(self._all & ~(known[0] | known[1])):
                bit = 1 << position
                if self.conclude(known, (bit, 0)) is None:
                    known = self.conclude(known, (0, bit))
                elif self.conclude(known, (0, bit)) is None:
                    known = self.conclude(known, (bit, 0))
                if known is None:
                    return None
            if known == before:
                break
        return known

    def states(self, limit: int, assumed: _Known = (0, 0)) -> Iterator[int]:
        """Every state under ``assumed``, each once.

        Raises:
            _TooManyStates: there are more than ``limit``, or the search turns back too often.
        """
        found = steps = 0
        root = self.root(assumed)
        stack = [] if root is None else [root]
        while stack:
            known = stack.pop()
            steps += 1
            free = self._all & ~(known[0] | known[1])
            if steps > _STEPS_PER_STATE * max(limit, 1_000):
                raise _TooManyStates
            if not free:
                found += 1
                if found > limit:
                    raise _TooManyStates
                yield known[0]
                continue
            bit = free & -free
            for more in ((bit, 0), (0, bit)):
                child = self.conclude(known, more)
                if child is not None:
                    stack.append(child)

    def impossible(self, assumed: _Known) -> bool:
        """No state fulfils ``assumed``; false also where that could not be settled within the limit of steps."""
        try:
            return next(self.states(1, assumed), None) is None
        except _TooManyStates:
            return False


def allowed_states(
    uids: Sequence[int], relations: Sequence[Relation], limit: int = MAX_STATES
) -> tuple[int, ...] | None:
    """Every truth assignment over ``uids`` that the relations allow, ascending; ``None`` when more than ``limit``.

    Bit ``i`` of a state is set when YES of ``uids[i]`` is true. Pure; needs every claim's uid to be among ``uids``.
    """
    try:
        return tuple(sorted(_Formula(uids, relations).states(limit)))
    except _TooManyStates:
        return None


def build_groups(instruments: Sequence[Instrument], relations: Sequence[Relation], source: str) -> tuple[Group, ...]:
    """Conflict groups with their states, in the order of the file; an instrument without a relation is in none.

    Raises:
        PairsError: a group has more than ``MAX_STATES`` states or none, an instrument is true in all of its states or
            in none, or two claims of a partition are the same thing.
    """
    by_uid = {instrument.uid: instrument for instrument in instruments}
    groups = []
    for uids in _components(instruments, relations):
        members = set(uids)
        indices = tuple(index for index, relation in enumerate(relations) if relation.claims[0].uid in members)
        own = [relations[index] for index in indices]
        name = "+".join(dict.fromkeys(relation.event for relation in own))
        states = _Checker(uids, own, by_uid, source, name).states()
        groups.append(Group(name=name, uids=uids, states=states, relations=indices))
    return tuple(groups)


def _components(instruments: Sequence[Instrument], relations: Sequence[Relation]) -> list[tuple[int, ...]]:
    parent = {instrument.uid: instrument.uid for instrument in instruments}

    def find(uid: int) -> int:
        while parent[uid] != uid:
            parent[uid] = parent[parent[uid]]
            uid = parent[uid]
        return uid

    for relation in relations:
        for a, b in pairwise(relation.claims):
            parent[find(a.uid)] = find(b.uid)
    found: dict[int, list[int]] = {}
    for instrument in instruments:
        found.setdefault(find(instrument.uid), []).append(instrument.uid)
    # every relation has two instruments, so a component of one has no relation
    return [tuple(uids) for uids in found.values() if len(uids) > 1]


class _Checker:
    """Refuses what a person cannot have meant, naming the fewest relations that already say it."""

    def __init__(
        self, uids: tuple[int, ...], relations: list[Relation], by_uid: Mapping[int, Instrument], source: str, name: str
    ) -> None:
        self._uids = uids
        self._relations = relations
        self._by_uid = by_uid
        self._source = source
        self._name = name

    def states(self) -> tuple[int, ...]:
        self._refuse_twins_by_other_relations()
        states = allowed_states(self._uids, self._relations, MAX_STATES)
        if states is None:
            raise PairsError(
                f'{self._source}: event "{self._name}": its {len(self._relations)} relations over {len(self._uids)} '
                f"instruments leave more than {MAX_STATES} ways to end; state more of what excludes or implies what "
                "(exactly_one instead of at_least_one, a ladder instead of pairs), or drop the relation that joins "
                "separate subjects"
            )
        if not states:
            core = self._core(self._relations, lambda formula: formula.impossible((0, 0)))
            raise PairsError(
                f'{self._source}: event "{self._name}": {_entries(core)} contradict each other, no state is left; '
                "compare each with the rule texts and correct the wrong one"
            )
        self._refuse_constants(states)
        self._refuse_twins_by_states(states)
        return states

    def _refuse_constants(self, states: tuple[int, ...]) -> None:
        somewhere, everywhere = 0, states[0]
        for state in states:
            somewhere |= state
            everywhere &= state
        for position, uid in enumerate(self._uids):
            bit = 1 << position
            if everywhere & bit or not somewhere & bit:
                never = Claim(uid, Side.NO if everywhere & bit else Side.YES)
                core = self._core(self._relations, partial(_excludes, true=[never], false=[]))
                raise PairsError(
                    f"{self._source}: {_entries(core)}: {self._text(never)} can never be true then; correct the wrong "
                    "relation, or take out the claim that cannot happen (a claim named twice under two names does this)"
                )

    def _refuse_twins_by_other_relations(self) -> None:
        # first, because the partition itself turns "the same thing" into "never true", which explains less
        for partition in self._relations:
            if partition.kind is not RelationKind.PARTITION:
                continue
            others = [relation for relation in self._relations if relation is not partition]
            formula = _Formula(self._uids, others)
            reach = [formula.conclude((0, 0), formula.mask(formula.literal(claim))) for claim in partition.claims]
            for (a, from_a), (b, from_b) in combinations(zip(partition.claims, reach, strict=True), 2):
                if from_a and from_b and _holds(formula, from_a, b) and _holds(formula, from_b, a):
                    self._refuse_twins(partition, a, b, others)

    def _refuse_twins_by_states(self, states: tuple[int, ...]) -> None:
        for partition in self._relations:
            if partition.kind is not RelationKind.PARTITION:
                continue
            seen: dict[int, Claim] = {}
            for claim in partition.claims:
                truth = truth_set(states, self._uids.index(claim.uid), claim.side)
                if truth in seen:
                    self._refuse_twins(partition, seen[truth], claim, self._relations)
                seen[truth] = claim

    def _refuse_twins(self, partition: Relation, a: Claim, b: Claim, relations: list[Relation]) -> None:
        core = self._core(relations, lambda formula: _excludes(formula, [a], [b]) and _excludes(formula, [b], [a]))
        raise PairsError(
            f"{self._source}: {partition.entry}: its claims {self._text(a)} and {self._text(b)} are the same thing by "
            f"{_entries(core)}; name each outcome once in the partition (the pair adds the other venue)"
        )

    def _core(self, relations: list[Relation], proves: Callable[[_Formula], bool]) -> list[Relation]:
        core = list(relations)
        for relation in relations:
            fewer = [kept for kept in core if kept is not relation]
            if proves(_Formula(self._uids, fewer)):
                core = fewer
        return core

    def _text(self, claim: Claim) -> str:
        instrument = self._by_uid[claim.uid]
        return f"{instrument.key}#{instrument.label(claim.side)}"


def _holds(formula: _Formula, known: _Known, claim: Claim) -> bool:
    true, false = formula.mask(formula.literal(claim))
    return bool(known[0] & true or known[1] & false)


def _excludes(formula: _Formula, true: list[Claim], false: list[Claim]) -> bool:
    """No state has all claims of ``true`` and none of ``false``."""
    literals = [formula.literal(claim) for claim in true] + [formula.literal(claim) ^ 1 for claim in false]
    return formula.impossible(formula.masks(literals))


def _entries(relations: Sequence[Relation]) -> str:
    entries = [relation.entry for relation in relations]
    if len(entries) > _MOST_NAMED:
        entries = [*entries[:_MOST_NAMED], f"{len(entries) - _MOST_NAMED} more"]
    *rest, last = entries
    return f"{', '.join(rest)} and {last}" if rest else last
