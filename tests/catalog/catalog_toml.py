"""Text for ``pairs.toml``, piece by piece, and an enumeration of states that shares nothing with the package."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from arbpipe.catalog.model import Catalog
from arbpipe.catalog.pairs import parse_pairs

KALSHI_FEE = 'fee = { type = "quadratic", multiplier = "1" }'
POLYMARKET_FEE = 'fee = { rate = "0.05", exponent = 1 }'


def token(seed: str) -> str:
    """A token of protocol v1: 256 bits of a hash, the top one set."""
    return str(int.from_bytes(hashlib.sha256(seed.encode()).digest(), "big") | 1 << 255)


def kalshi(native_id: str, *, fee: str = KALSHI_FEE, tick: str = 'tick = "0.01"', more: str = "") -> str:
    return f'[[instrument]]\nvenue = "kalshi"\nid = "{native_id}"\n{tick}\n{fee}\n{more}\n'


def polymarket(
    native_id: str,
    *,
    yes: tuple[str, str] | None = None,
    no: tuple[str, str] | None = None,
    fee: str = POLYMARKET_FEE,
    version: str = 'version = "v1"',
    tick: str = 'tick = "0.001"',
    min_size: str = 'min_size = "5"',
    neg_risk: str = "neg_risk = false",
) -> str:
    yes = yes or ("Yes", token(native_id + "yes"))
    no = no or ("No", token(native_id + "no"))
    return (
        f'[[instrument]]\nvenue = "polymarket"\nid = "{native_id}"\n'
        f'yes = {{ label = "{yes[0]}", token = "{yes[1]}" }}\nno = {{ label = "{no[0]}", token = "{no[1]}" }}\n'
        f"{version}\n{tick}\n{min_size}\n{neg_risk}\n{fee}\n"
    )


def pair(name: str, a: str, b: str, relation: str = "same", *, tails: str = "none", event: str = "e") -> str:
    return (
        f'[[pair]]\nname = "{name}"\nevent = "{event}"\na = "{a}"\nb = "{b}"\nrelation = "{relation}"\n'
        f'tails = "{tails}"\napprover = "jane"\n'
    )


def _claims(claims: Iterable[str]) -> str:
    return "[" + ", ".join(f'"{claim}"' for claim in claims) + "]"


def partition(name: str, claims: Iterable[str], holds: str, *, tails: str = "none", event: str = "e") -> str:
    return (
        f'[[partition]]\nname = "{name}"\nevent = "{event}"\nclaims = {_claims(claims)}\nholds = "{holds}"\n'
        f'tails = "{tails}"\napprover = "jane"\n'
    )


def ladder(name: str, claims: Iterable[str], *, tails: str = "none", event: str = "e") -> str:
    return (
        f'[[ladder]]\nname = "{name}"\nevent = "{event}"\nclaims = {_claims(claims)}\n'
        f'tails = "{tails}"\napprover = "jane"\n'
    )


def catalog(*parts: str) -> Catalog:
    return parse_pairs("schema = 1\n" + "".join(parts), "pairs.toml")


@dataclass(frozen=True)
class Spec:
    """A relation over (instrument number, is YES) literals."""

    kind: str
    literals: tuple[tuple[int, bool], ...]

    def text(self, name: str, keys: Sequence[str]) -> str:
        claims = [f"{keys[number]}#{'Yes' if yes else 'No'}" for number, yes in self.literals]
        if self.kind == "ladder":
            return ladder(name, claims)
        if self.kind in ("exactly_one", "at_least_one", "at_most_one"):
            return partition(name, claims, self.kind)
        return pair(name, claims[0], claims[1], self.kind)

    def holds(self, world: Sequence[bool]) -> bool:
        values = [world[number] == yes for number, yes in self.literals]
        if self.kind == "same":
            return values[0] == values[1]
        if self.kind == "opposite":
            return values[0] != values[1]
        if self.kind == "implies":
            return not values[0] or values[1]
        if self.kind == "implied_by":
            return values[0] or not values[1]
        if self.kind == "ladder":
            return all(not upper or lower for upper, lower in pairwise(values))
        return {"exactly_one": sum(values) == 1, "at_least_one": sum(values) >= 1, "at_most_one": sum(values) <= 1}[
            self.kind
        ]


def worlds(count: int, specs: Iterable[Spec]) -> list[tuple[bool, ...]]:
    """Every truth assignment over ``count`` instruments that all specs allow, by trying all 2^count."""
    specs = list(specs)
    return [world for world in product((False, True), repeat=count) if all(spec.holds(world) for spec in specs)]
