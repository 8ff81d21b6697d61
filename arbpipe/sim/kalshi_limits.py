"""Kalshi's token buckets from the server's side (kalshi.md section 3.7): tiers, costs, and buckets on a given clock."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from arbpipe.sim.kalshi_errors import too_many_requests

__all__ = ["DEFAULT_COST", "ENDPOINT_COSTS", "TIERS", "Bucket", "Limits", "Tier", "cost_of"]

DEFAULT_COST: Final = 10
#: What costs something else, as ``GET /account/endpoint_costs`` lists it; only paths that this server has.
ENDPOINT_COSTS: Final = (
    ("DELETE", "/trade-api/v2/portfolio/events/orders", 2),
    ("DELETE", "/trade-api/v2/portfolio/events/orders/:order_id", 2),
    ("DELETE", "/trade-api/v2/portfolio/events/orders/batched", 2),
    ("GET", "/trade-api/v2/portfolio/orders/:order_id", 2),
)
_PATTERNS: Final = tuple(
    (method, re.compile(re.sub(r":\w+", "[^/]+", path) + r"\Z"), cost) for method, path, cost in ENDPOINT_COSTS
)
#: Reads without a signature; a user measured that 51 a second pass and 77 do not.
_ANONYMOUS_RATE: Final = 600
_BALANCE_RATES: Final = {"basic": 1, "advanced": 1}


@dataclass(frozen=True, slots=True)
class Tier:
    """Tokens a second, and for how many seconds a bucket saves them up."""

    read: int
    write: int
    read_seconds: int
    write_seconds: int


TIERS: Final = {
    "basic": Tier(200, 100, 3, 1),
    "advanced": Tier(300, 300, 3, 3),
    "expert": Tier(600, 600, 1, 3),
    "premier": Tier(1_200, 1_200, 1, 3),
    "paragon": Tier(2_400, 2_400, 1, 3),
    "prime": Tier(4_800, 4_800, 1, 3),
    "prestige": Tier(12_000, 9_600, 1, 3),
}


def cost_of(method: str, path: str) -> int:
    """What one call costs, in tokens; a batch costs this for each of its orders."""
    return next((cost for verb, pattern, cost in _PATTERNS if verb == method and pattern.match(path)), DEFAULT_COST)


class Bucket:
    """Tokens that refill with time; a call that the bucket cannot pay takes nothing."""

    def __init__(self, rate: int, capacity: int) -> None:
        self.rate = rate
        self.capacity = capacity
        self._tokens_e9 = capacity * 10**9
        self._since_ns: int | None = None

    def has(self, tokens: int, now_ns: int) -> bool:
        """Whether the bucket can pay. ``now_ns`` is any clock that does not go back."""
        if self._since_ns is not None:
            gained = max(now_ns - self._since_ns, 0) * self.rate
            self._tokens_e9 = min(self._tokens_e9 + gained, self.capacity * 10**9)
        self._since_ns = now_ns
        return self._tokens_e9 >= tokens * 10**9

    def take(self, tokens: int, now_ns: int) -> bool:
        """Pay for a call, if the bucket can."""
        if not self.has(tokens, now_ns):
            return False
        self._tokens_e9 -= tokens * 10**9
        return True


class Limits:
    """The buckets of one account at one tier. ``shards``: the exchange shards above 0, each with a write bucket of its own.

    Raises:
        ValueError: unknown tier.
    """

    def __init__(self, tier: str = "basic", shards: Sequence[int] = ()) -> None:
        if tier not in TIERS:
            raise ValueError(f"no rate limit tier {tier!r}: choose one of {', '.join(TIERS)}")
        self.tier = tier
        terms = TIERS[tier]
        self.read = Bucket(terms.read, terms.read * terms.read_seconds)
        self.write = Bucket(terms.write, terms.write * terms.write_seconds)
        self._terms = terms
        self._shards: dict[int, Bucket] = {}
        for index in shards:
            self.add_shard(index)
        balance = _BALANCE_RATES.get(tier, 5)
        self._balance = Bucket(balance, balance)
        self._anonymous = Bucket(_ANONYMOUS_RATE, _ANONYMOUS_RATE)

    def add_shard(self, index: int) -> None:
        """A shard appears, with a full bucket for writes; shard 0 is the unscoped bucket."""
        if index != 0:
            write = self._terms.write
            self._shards.setdefault(index, Bucket(write, write * self._terms.write_seconds))

    def _write_buckets(self, shard: int | None) -> list[Bucket]:
        """Who pays for a write: an explicit shard its own, an automatic route (None) the unscoped and every other."""
        if shard is None:
            return [self.write, *self._shards.values()]
        return [self._shards.get(shard, self.write)]

    def charge(
        self, method: str, path: str, now_ns: int, *, signed: bool, times: int = 1, shard: int | None = 0
    ) -> None:
        """Pay for a call, ``times`` as often for a batch. ``shard``: where a write goes, None when the venue routes it.

        Raises:
            Refusal: 429, nothing was paid.
        """
        tokens = cost_of(method, path) * times
        if method != "GET":
            buckets = self._write_buckets(shard)
        elif path.endswith("/portfolio/balance"):
            buckets, tokens = [self._balance], 1
        else:
            buckets = [self.read if signed else self._anonymous]
        if not all(bucket.has(tokens, now_ns) for bucket in buckets):
            raise too_many_requests()
        for bucket in buckets:
            bucket.take(tokens, now_ns)

    def shown(self) -> dict[str, object]:
        """The answer of ``GET /account/limits``."""

        def bucket(each: Bucket) -> dict[str, object]:
            return {"bucket_capacity": each.capacity, "refill_rate": each.rate}

        return {"usage_tier": self.tier, "read": bucket(self.read), "write": bucket(self.write), "grants": []}
