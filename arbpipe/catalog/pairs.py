"""``pairs.toml`` to a proved catalog; the user's contract is ``docs/pairs-toml.md``.

Nothing is inferred. Every refusal is one :class:`PairsError` that names file, table, entry and value.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from arbpipe.catalog.covers import build_catalog
from arbpipe.catalog.instruments import parse_instrument
from arbpipe.catalog.model import Catalog, Claim, Instrument, PairsError, Relation, RelationKind, stable_id
from arbpipe.catalog.schema import LadderTable, PairTable, PartitionTable, choice, convert, nearest
from arbpipe.catalog.states import build_groups
from arbpipe.identity import VENUES, Side

__all__ = ["SCHEMA", "PairsError", "load_pairs", "parse_pairs"]

#: The form of the file that this version reads.
SCHEMA: Final = 1

_TABLES: Final = ("instrument", "pair", "partition", "ladder")
_PAIR_KINDS: Final = ("same", "opposite", "implies", "implied_by")
_HOLDS: Final = ("exactly_one", "at_least_one", "at_most_one")
_TAILS: Final = ("none", "accepted")


def load_pairs(path: Path, *, kalshi_direct_member: bool = True) -> Catalog:
    """Read the file and return its catalog; ``kalshi_direct_member`` chooses the rounding of Kalshi's fees.

    Raises:
        PairsError: it cannot be read, or :func:`parse_pairs` refuses it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PairsError(f"{path}: cannot be read: {error.strerror}; give the path of your pairs.toml") from error
    except UnicodeDecodeError as error:
        raise PairsError(f"{path}: is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    return parse_pairs(text, str(path), kalshi_direct_member=kalshi_direct_member)


def parse_pairs(text: str, source: str, *, kalshi_direct_member: bool = True) -> Catalog:
    """The catalog that ``text`` states, every cover proved; ``source`` names the file in messages.

    Raises:
        PairsError: anything that ``docs/pairs-toml.md`` lists under "refused".
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PairsError(f"{source}: is not TOML: {error}") from error
    tables = _tables(document, source)
    instruments = tuple(
        parse_instrument(entry, number, source, kalshi_direct_member=kalshi_direct_member)
        for number, entry in enumerate(tables["instrument"], 1)
    )
    _refuse_repeated_instruments(instruments, source)
    reader = _Relations(instruments, source)
    for number, entry in enumerate(tables["pair"], 1):
        reader.pair(entry, number)
    for number, entry in enumerate(tables["partition"], 1):
        reader.partition(entry, number)
    for number, entry in enumerate(tables["ladder"], 1):
        reader.ladder(entry, number)
    relations = tuple(reader.relations)
    return build_catalog(source, instruments, relations, build_groups(instruments, relations, source))


def _tables(document: dict[str, Any], source: str) -> dict[str, list[dict[str, Any]]]:
    known = ("schema", *_TABLES)
    for key in document:
        if key not in known:
            raise PairsError(f'{source}: unknown key "{key}" (known: {", ".join(known)}){nearest(key, known)}')
    schema = document.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise PairsError(f"{source}: schema is {schema!r}, this version reads {SCHEMA}; write schema = {SCHEMA} on top")
    tables: dict[str, list[dict[str, Any]]] = {}
    for name in _TABLES:
        entries = document.get(name, [])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise PairsError(f"{source}: {name} is not an array of tables; begin each entry with [[{name}]]")
        tables[name] = entries
    return tables


def _refuse_repeated_instruments(instruments: Sequence[Instrument], source: str) -> None:
    keys: dict[str, Instrument] = {}
    uids: dict[int, Instrument] = {}
    tokens: dict[str, str] = {}
    for instrument in instruments:
        where = f'{source}: instrument "{instrument.key}"'
        # two spellings of one condition id or ticker would be two uids for one contract
        twin = keys.setdefault(instrument.key.casefold(), instrument)
        if twin is not instrument:
            spelled = "" if twin.key == instrument.key else f' (as "{twin.key}")'
            raise PairsError(f"{where}: is listed twice{spelled}; keep one entry")
        other = uids.setdefault(instrument.uid, instrument)
        if other is not instrument:
            raise PairsError(f'{where}: has the same uid as "{other.key}"; the two cannot trade together, drop one')
        for side in Side:
            token = instrument.token(side)
            if token and tokens.setdefault(token, f"{instrument.key}#{instrument.label(side)}") != (
                f"{instrument.key}#{instrument.label(side)}"
            ):
                raise PairsError(
                    f"{where}: token {token} of {side.name.lower()} is also that of {tokens[token]}; copy both tokens "
                    "from the listing again"
                )


class _Relations:
    """Reads relation tables one by one; what they share (names, labels, ids) is checked here."""

    def __init__(self, instruments: Sequence[Instrument], source: str) -> None:
        self._by_key = {instrument.key: instrument for instrument in instruments}
        self._source = source
        self._entries: dict[str, str] = {}
        self._ids: dict[int, str] = {}
        self._paired: dict[frozenset[int], str] = {}
        self.relations: list[Relation] = []

    def pair(self, entry: dict[str, Any], number: int) -> None:
        """One ``[[pair]]``."""
        where = self._where("pair", entry, number)
        table = convert(entry, PairTable, where)
        kind = RelationKind(choice(table.relation, _PAIR_KINDS, where, "relation"))
        claims = (self._claim(table.a, f"{where}: claim a"), self._claim(table.b, f"{where}: claim b"))
        self._refuse_same_instrument(claims, where)
        paired = frozenset(claim.uid for claim in claims)
        if paired in self._paired:
            raise PairsError(
                f'{where}: pairs the same two instruments as pair "{self._paired[paired]}"; keep one of them'
            )
        self._paired[paired] = table.name
        self._add(table, kind, claims, None, where)

    def partition(self, entry: dict[str, Any], number: int) -> None:
        """One ``[[partition]]``."""
        where = self._where("partition", entry, number)
        table = convert(entry, PartitionTable, where)
        holds = choice(table.holds, _HOLDS, where, "holds")
        self._add(table, RelationKind.PARTITION, self._claims(table, where), holds, where)

    def ladder(self, entry: dict[str, Any], number: int) -> None:
        """One ``[[ladder]]``."""
        where = self._where("ladder", entry, number)
        table = convert(entry, LadderTable, where)
        self._add(table, RelationKind.LADDER, self._claims(table, where), None, where)

    def _where(self, table: str, entry: dict[str, Any], number: int) -> str:
        name = entry.get("name")
        return f'{self._source}: {table} "{name}"' if isinstance(name, str) else f"{self._source}: {table} {number}"

    def _claims(self, table: PartitionTable | LadderTable, where: str) -> tuple[Claim, ...]:
        if len(table.claims) < 2:
            raise PairsError(f"{where}: has {len(table.claims)} claims; it needs at least two")
        claims = tuple(self._claim(text, f"{where}: claim {place}") for place, text in enumerate(table.claims, 1))
        self._refuse_same_instrument(claims, where)
        return claims

    def _claim(self, text: str, where: str) -> Claim:
        """A claim by its label, never by its position."""
        venue, colon, rest = text.partition(":")
        native_id, hash_sign, label = rest.partition("#")
        if not (colon and hash_sign and native_id and label):
            raise PairsError(f'{where}: "{text}" is not a claim; write venue:id#label')
        choice(venue, VENUES, where, "venue")
        key = f"{venue}:{native_id}"
        instrument = self._by_key.get(key)
        if instrument is None:
            raise PairsError(
                f"{where}: instrument {key} is not listed; add an [[instrument]]{nearest(key, self._by_key)}"
            )
        for side in Side:
            if instrument.label(side) == label:
                return Claim(instrument.uid, side)
        labels = (instrument.yes_label, instrument.no_label)
        raise PairsError(
            f'{where}: instrument {key} has no label "{label}"; its labels are "{labels[0]}" and "{labels[1]}"'
            f"{nearest(label, labels)}"
        )

    def _refuse_same_instrument(self, claims: tuple[Claim, ...], where: str) -> None:
        seen: set[int] = set()
        for claim in claims:
            if claim.uid in seen:
                key = next(key for key, instrument in self._by_key.items() if instrument.uid == claim.uid)
                raise PairsError(f"{where}: names instrument {key} twice; each claim must be of another instrument")
            seen.add(claim.uid)

    def _add(
        self,
        table: PairTable | PartitionTable | LadderTable,
        kind: RelationKind,
        claims: tuple[Claim, ...],
        holds: str | None,
        where: str,
    ) -> None:
        for key, value in (("name", table.name), ("event", table.event), ("approver", table.approver)):
            if not value.strip() or value != value.strip() or not value.isprintable():
                raise PairsError(f"{where}: {key} {value!r} is empty or has blanks around it; write a plain name")
        choice(table.tails, _TAILS, where, "tails")
        relation = Relation(
            id=stable_id(table.name),
            name=table.name,
            event=table.event,
            kind=kind,
            claims=claims,
            holds=holds,
            tails_accepted=table.tails == "accepted",
            approver=table.approver,
        )
        if table.name in self._entries:
            raise PairsError(
                f"{where}: the name is used twice (first by {self._entries[table.name]}); names are unique"
            )
        if relation.id in self._ids:
            raise PairsError(
                f"{where}: has the same id {relation.id:#010x} as {self._ids[relation.id]}; rename one of them"
            )
        self._entries[table.name] = self._ids[relation.id] = relation.entry
        self.relations.append(relation)
