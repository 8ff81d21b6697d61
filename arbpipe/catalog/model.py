"""The words of the catalog as frozen types: instruments, relations, groups, propositions, covers.

A *state* of a group is a bitmask over its uids: bit ``i`` set means YES of ``uids[i]`` is true in that state. A *set of
states* is a bitmask too: bit ``j`` set means ``states[j]`` of the group belongs to it. Both are plain integers, so that
a proof is arithmetic.
"""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from arbpipe.errors import ArbpipeError, EnvironmentRefused
from arbpipe.feemodel import FeeTerms
from arbpipe.fixedpoint import ONE_DOLLAR_E6
from arbpipe.identity import Side, Venue

__all__ = [
    "PairsError",
    "CoverError",
    "Instrument",
    "Claim",
    "RelationKind",
    "Relation",
    "Group",
    "Proposition",
    "CoverKind",
    "Cover",
    "Catalog",
    "stable_id",
    "truth_set",
    "UNTOUCHED",
]

_NOTHING: Final = (0, 0)
_DOLLAR: Final = (ONE_DOLLAR_E6, ONE_DOLLAR_E6)
_ANYTHING: Final = (0, ONE_DOLLAR_E6)
#: What a tail that does not concern a claim says of it: no payoff is negative.
UNTOUCHED: Final = (-1, -1)


class PairsError(EnvironmentRefused):
    """``pairs.toml`` cannot be used; the message names file, table, entry, value and what to do."""


class CoverError(ArbpipeError):
    """A cover does not pay what it promises; it must not trade."""


def stable_id(text: str) -> int:
    """The first 4 bytes of SHA-256 of ``text``, big-endian, unsigned: the same in every process and generation."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


class Claim(NamedTuple):
    """Buying one contract of one side of an instrument."""

    uid: int
    side: Side


@dataclass(frozen=True, slots=True)
class Instrument:
    """One venue's binary contract.

    ``tick_e4`` (1/10,000 dollar) and ``min_size_e2`` (1/100 contract) are 0 where they are unknown, and then
    ``tradeable`` is false: 0 is no tick and no size that a venue could have. ``min_size_text`` is the listing's own
    text, because Polymarket's book hash is taken over it. ``fee`` is ``None`` where it is unknown. ``yes_token`` and
    ``no_token`` are ``""`` on Kalshi, ``version`` is ``""`` where a venue has none or it is unknown. ``reason`` says
    why the instrument does not trade and is ``""`` when it does.
    """

    venue: Venue
    native_id: str
    uid: int
    title: str
    yes_label: str
    no_label: str
    yes_token: str
    no_token: str
    version: str
    tick_e4: int
    min_size_e2: int
    neg_risk: bool
    min_size_text: str
    fee: FeeTerms | None
    tradeable: bool
    reason: str

    @property
    def key(self) -> str:
        """``venue:native id``, as it is written in a claim."""
        return f"{self.venue.label}:{self.native_id}"

    def label(self, side: Side) -> str:
        """The label of a side."""
        return self.yes_label if side is Side.YES else self.no_label

    def token(self, side: Side) -> str:
        """The token of a side; ``""`` on a venue without tokens."""
        return self.yes_token if side is Side.YES else self.no_token


class RelationKind(Enum):
    """What a person asserted; the first four are the ``relation`` of a pair."""

    SAME = "same"
    OPPOSITE = "opposite"
    IMPLIES = "implies"
    IMPLIED_BY = "implied_by"
    PARTITION = "partition"
    LADDER = "ladder"


@dataclass(frozen=True, slots=True)
class Relation:
    """One assertion of ``pairs.toml`` over claims, in the order in which they are written.

    ``id`` is :func:`stable_id` of the name. ``holds`` (``exactly_one``, ``at_least_one``, ``at_most_one``) is ``None``
    for anything but a partition. Each claim of a ladder implies the next one.
    """

    id: int
    name: str
    event: str
    kind: RelationKind
    claims: tuple[Claim, ...]
    holds: str | None
    tails_accepted: bool
    approver: str

    @property
    def entry(self) -> str:
        """Table and name, as messages give them: ``pair "fed-july-hold"``."""
        table = self.kind.value if self.kind in (RelationKind.PARTITION, RelationKind.LADDER) else "pair"
        return f'{table} "{self.name}"'

    @property
    def at_most_one(self) -> bool:
        """A partition of which no two claims can both be true."""
        return self.holds in ("at_most_one", "exactly_one")

    @property
    def at_least_one(self) -> bool:
        """A partition of which some claim must be true."""
        return self.holds in ("at_least_one", "exactly_one")


@dataclass(frozen=True, slots=True)
class Group:
    """A conflict group: instruments that relations connect, and every regular state that the relations allow.

    ``states`` are ascending bitmasks over ``uids``; ``relations`` are positions in :attr:`Catalog.relations`. The name
    joins the events with ``+``; two groups may bear the same one.
    """

    name: str
    uids: tuple[int, ...]
    states: tuple[int, ...]
    relations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Proposition:
    """A set of states of one group and every tradeable claim that is true in exactly those.

    ``id`` is the position in :attr:`Catalog.propositions`; it means nothing outside this catalog.
    """

    id: int
    group: int
    states: int
    claims: tuple[Claim, ...]


class CoverKind(Enum):
    """The form of a cover, for people; the detector makes no difference."""

    PAIR = "pair"
    SUM_YES = "sum_yes"
    SUM_NO = "sum_no"
    LADDER = "ladder"


@dataclass(frozen=True, slots=True)
class Cover:
    """Propositions of which at least ``k`` are true in every regular state of the group.

    ``id`` is unsigned 32-bit and follows from relation name, ``k`` and the claims of the propositions: it changes when
    they do. ``relation`` and ``group`` are positions in the catalog, ``propositions`` are proposition ids.
    ``min_floor_e6`` is what one contract of each pays at least in every state, tails included (micro-dollars).
    """

    id: int
    name: str
    relation: int
    group: int
    event: str
    kind: CoverKind
    propositions: tuple[int, ...]
    k: int
    tails_accepted: bool
    min_floor_e6: int


def truth_set(states: tuple[int, ...], position: int, side: Side) -> int:
    """The set of ``states`` in which a claim is true; ``position`` is that of its uid in the group."""
    flip = int(side is Side.NO)
    # base 2 is read in linear time, so a hundred thousand states stay cheap
    return int("".join("1" if (state >> position & 1) ^ flip else "0" for state in reversed(states)), 2)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything one ``pairs.toml`` says, proved. ``notes`` are covers that were not built, each with the reason."""

    source: str
    instruments: tuple[Instrument, ...]
    relations: tuple[Relation, ...]
    groups: tuple[Group, ...]
    propositions: tuple[Proposition, ...]
    covers: tuple[Cover, ...]
    notes: tuple[str, ...]
    _by_uid: dict[int, Instrument] = field(init=False, repr=False, compare=False)
    _groups_by_uid: dict[int, int] = field(init=False, repr=False, compare=False)
    _covers_by_key: dict[int | str, Cover] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_uid", {instrument.uid: instrument for instrument in self.instruments})
        groups = {uid: index for index, group in enumerate(self.groups) for uid in group.uids}
        object.__setattr__(self, "_groups_by_uid", groups)
        covers: dict[int | str, Cover] = {}
        for cover in self.covers:
            covers[cover.id] = covers[cover.name] = cover
        object.__setattr__(self, "_covers_by_key", covers)

    def instrument(self, uid: int) -> Instrument:
        """The instrument with this uid.

        Raises:
            KeyError: the catalog does not list it.
        """
        try:
            return self._by_uid[uid]
        except KeyError:
            raise KeyError(f"{self.source} lists no instrument with uid {uid:#018x}") from None

    def group_of(self, uid: int) -> int | None:
        """The position of the conflict group that holds this instrument; ``None`` when no relation names it."""
        return self._groups_by_uid.get(uid)

    def cover(self, key: int | str) -> Cover:
        """The cover with this id or name.

        Raises:
            KeyError: there is none; for a name the message gives the nearest one.
        """
        found = self._covers_by_key.get(key)
        if found is None:
            near = difflib.get_close_matches(str(key), [cover.name for cover in self.covers], 1)
            hint = f'; the nearest is "{near[0]}"' if near else ""
            raise KeyError(f'{self.source} gives no cover "{key}"{hint}')
        return found

    def claim_text(self, claim: Claim) -> str:
        """A claim as ``pairs.toml`` writes it: ``venue:id#label``."""
        instrument = self.instrument(claim.uid)
        return f"{instrument.key}#{instrument.label(claim.side)}"

    def payoffs(self, group_index: int) -> dict[Claim, tuple[tuple[int, int], ...]]:
        """What each claim of a group pays in each state, as (least, most) in micro-dollars.

        One entry for every state of :attr:`Group.states`, exact there; then one more when a relation of the group has
        its tails accepted: the worst way of ending that nobody ruled out. In it a claim that such a relation names may pay
        0 to 1 dollar; a claim that none names is not touched by it (:data:`UNTOUCHED`): it ends in one of the states.
        """
        group = self.groups[group_index]
        tailed = [self.relations[index] for index in group.relations if self.relations[index].tails_accepted]
        touched = {claim.uid for relation in tailed for claim in relation.claims}
        table: dict[Claim, tuple[tuple[int, int], ...]] = {}
        for position, uid in enumerate(group.uids):
            yes = [state >> position & 1 for state in group.states]
            tail = () if not tailed else ((_ANYTHING,) if uid in touched else (UNTOUCHED,))
            table[Claim(uid, Side.YES)] = tuple(_DOLLAR if true else _NOTHING for true in yes) + tail
            table[Claim(uid, Side.NO)] = tuple(_NOTHING if true else _DOLLAR for true in yes) + tail
        return table
