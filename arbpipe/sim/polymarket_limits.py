"""Polymarket's token buckets from the server's side: one for orders and one for cancels, per signer (polymarket.md 2.8).

What the digest does not say is from the venue's page "CLOB Trading Rate Limits" (August 2026): ``Poly-RateLimit-Reset`` is the
unix second at which the request would pass, the present one where it passed; a request that costs more than a full bucket
never passes, and its 429 has no ``Retry-After``; a cancel of everything takes one token, then one for each order that it
really cancelled, and at the lower tiers that may leave the bucket in debt. The limiter was announced in warning mode; here it
refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from arbpipe.sim.polymarket_auth import VenueError

__all__ = ["STANDARD", "Bucket", "Kind", "SignerLimits", "Tier"]

_TOO_MANY: Final = "Too Many Requests"


class Kind(Enum):
    """What a request draws on; the one never uses the other's tokens."""

    ORDER = "order"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Tier:
    """Tokens a second and the most a bucket holds, for orders and for cancels."""

    name: str
    order_rate: int
    order_burst: int
    cancel_rate: int
    cancel_burst: int


STANDARD: Final = Tier("standard", 40, 60, 80, 120)


class Bucket:
    """Tokens that refill with time, counted in thousandths, so that a refill is exact in milliseconds."""

    def __init__(self, rate: int, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self._level_e3 = burst * 1_000
        self._since_ms: int | None = None

    def _refill(self, now_ms: int) -> None:
        if self._since_ms is not None:
            gained_e3 = max(now_ms - self._since_ms, 0) * self.rate
            self._level_e3 = min(self._level_e3 + gained_e3, self.burst * 1_000)
        self._since_ms = now_ms

    def take(self, tokens: int, now_ms: int) -> int:
        """Pay, and return 0; or take nothing and return how many milliseconds later the bucket could pay.

        ``now_ms`` is any clock; going back it gives no tokens.
        """
        self._refill(now_ms)
        short_e3 = tokens * 1_000 - self._level_e3
        if short_e3 > 0:
            return -(-short_e3 // self.rate)
        self._level_e3 -= tokens * 1_000
        return 0

    def owe(self, tokens: int, now_ms: int) -> None:
        """Take tokens for what is done already; the bucket may go below nothing."""
        self._refill(now_ms)
        self._level_e3 -= tokens * 1_000

    @property
    def remaining(self) -> int:
        """Whole tokens left at the last call; negative in debt."""
        return self._level_e3 // 1_000


class SignerLimits:
    """The buckets of every signer, all at one tier. Headers are those that each response of a limited route carries."""

    def __init__(self, tier: Tier = STANDARD) -> None:
        self.tier = tier
        self._buckets: dict[tuple[str, Kind], Bucket] = {}

    def _bucket(self, signer: str, kind: Kind) -> Bucket:
        known = self._buckets.get((signer, kind))
        if known is None:
            tier = self.tier
            rate, burst = (
                (tier.order_rate, tier.order_burst) if kind is Kind.ORDER else (tier.cancel_rate, tier.cancel_burst)
            )
            known = self._buckets[signer, kind] = Bucket(rate, burst)
        return known

    def _headers(self, bucket: Bucket, reset_ms: int) -> dict[str, str]:
        return {
            "Poly-RateLimit-Remaining": str(bucket.remaining),
            "Poly-RateLimit-Reset": str(-(-reset_ms // 1_000)),
            "Poly-RateLimit-Tier": self.tier.name,
        }

    def charge(self, signer: str, kind: Kind, tokens: int, now_ms: int) -> dict[str, str]:
        """Pay for a request, all of it or nothing; the headers of its response.

        Raises:
            VenueError: 429 with the headers; nothing was paid.
        """
        bucket = self._bucket(signer, kind)
        wait_ms = bucket.take(tokens, now_ms)
        headers = self._headers(bucket, now_ms + wait_ms)
        if not wait_ms:
            return headers
        if tokens <= bucket.burst:
            headers["Retry-After"] = str(-(-wait_ms // 1_000))
        raise VenueError(429, _TOO_MANY, headers=headers)

    def debit(self, signer: str, tokens: int, now_ms: int) -> dict[str, str]:
        """Take cancel tokens for orders that a cancel of everything cancelled; the headers as they are then."""
        bucket = self._bucket(signer, Kind.CANCEL)
        bucket.owe(tokens, now_ms)
        return self._headers(bucket, now_ms)
