"""The shape of ``pairs.toml``: its tables as typed structs, and how a table that does not fit is reported.

Only shape is decided here (keys, types); what the values mean is decided in ``instruments`` and ``pairs``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from arbpipe.catalog.model import PairsError

__all__ = [
    "KalshiFee",
    "KalshiOutcome",
    "KalshiTable",
    "PolymarketFee",
    "PolymarketOutcome",
    "PolymarketTable",
    "PairTable",
    "PartitionTable",
    "LadderTable",
    "convert",
    "choice",
    "nearest",
]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class KalshiFee(_Table, frozen=True):
    """What a Kalshi series says about its taker fee; ``multiplier`` is a decimal number as text."""

    type: str
    multiplier: str


class KalshiOutcome(_Table, frozen=True):
    """The label of one side."""

    label: str


class KalshiTable(_Table, frozen=True):
    """``[[instrument]]`` of Kalshi. Numbers are decimal text: ``tick`` in dollars, ``min_size`` in contracts."""

    venue: str
    id: str
    title: str = ""
    tick: str | None = None
    min_size: str = "0.01"
    yes: KalshiOutcome = KalshiOutcome(label="Yes")
    no: KalshiOutcome = KalshiOutcome(label="No")
    fee: KalshiFee | None = None


class PolymarketFee(_Table, frozen=True):
    """What a Polymarket market says about its taker fee; ``rate`` is a decimal number as text."""

    rate: str
    exponent: int | str


class PolymarketOutcome(_Table, frozen=True):
    """The label and the token of one side."""

    label: str
    token: str


class PolymarketTable(_Table, frozen=True):
    """``[[instrument]]`` of Polymarket; numbers as for Kalshi. ``None`` is unknown."""

    venue: str
    id: str
    yes: PolymarketOutcome
    no: PolymarketOutcome
    title: str = ""
    version: str | None = None
    tick: str | None = None
    min_size: str | None = None
    neg_risk: bool | None = None
    fee: PolymarketFee | None = None


class PairTable(_Table, frozen=True):
    """``[[pair]]``."""

    name: str
    event: str
    a: str
    b: str
    relation: str
    tails: str
    approver: str


class PartitionTable(_Table, frozen=True):
    """``[[partition]]``."""

    name: str
    event: str
    claims: list[str]
    holds: str
    tails: str
    approver: str


class LadderTable(_Table, frozen=True):
    """``[[ladder]]``."""

    name: str
    event: str
    claims: list[str]
    tails: str
    approver: str


T = TypeVar("T", bound=_Table)

_NESTED: Final[dict[type[_Table], dict[str, type[_Table]]]] = {
    KalshiTable: {"yes": KalshiOutcome, "no": KalshiOutcome, "fee": KalshiFee},
    PolymarketTable: {"yes": PolymarketOutcome, "no": PolymarketOutcome, "fee": PolymarketFee},
}


def nearest(value: str, known: Iterable[str]) -> str:
    """``; did you mean "…"?`` with the nearest known word, or ``""`` when none is near."""
    by_fold = {word.casefold(): word for word in known}
    near = difflib.get_close_matches(value.casefold(), by_fold, 1)
    return f'; did you mean "{by_fold[near[0]]}"?' if near else ""


def choice(value: str, known: Iterable[str], where: str, what: str) -> str:
    """``value``, if it is one of the known words.

    Raises:
        PairsError: it is not; the message lists the known ones and the nearest.
    """
    words = list(known)
    if value not in words:
        listed = ", ".join(f'"{word}"' for word in words)
        raise PairsError(f'{where}: unknown {what} "{value}" (known: {listed}){nearest(value, words)}')
    return value


def convert(entry: dict[str, Any], table: type[T], where: str) -> T:
    """One entry of an array of tables as its struct.

    Raises:
        PairsError: an unknown key, a missing key, or a value of the wrong type.
    """
    _refuse_unknown_keys(entry, table, where, "")
    for key, inner in _NESTED.get(table, {}).items():
        value = entry.get(key)
        if isinstance(value, dict):
            _refuse_unknown_keys(value, inner, where, f" in {key}")
    try:
        return msgspec.convert(entry, table)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$.")
        place = f"{path.rstrip('`')}: " if path else ""
        missing = re.fullmatch(r"Object missing required field `(\w+)`", reason)
        if missing:
            raise PairsError(f'{where}: {place}the key "{missing[1]}" is missing; add it') from error
        hint = '; write numbers as strings ("0.01")' if re.search(r"got `(float|int)`", reason) else ""
        raise PairsError(f"{where}: {place}{reason[:1].lower()}{reason[1:]}{hint}") from error


def _refuse_unknown_keys(entry: dict[str, Any], table: type[_Table], where: str, place: str) -> None:
    known = [field.encode_name for field in msgspec.structs.fields(table)]
    for key in entry:
        if key not in known:
            raise PairsError(f'{where}: unknown key "{key}"{place} (known: {", ".join(known)}){nearest(key, known)}')
