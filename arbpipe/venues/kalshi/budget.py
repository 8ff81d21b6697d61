"""Our own half of Kalshi's rate limits (kalshi.md 3.7): token buckets that never queue what may be refused.

A quarter of a write bucket is kept for orders that lower risk. Those wait a bounded time; all others are refused at once,
before anything is sent. Nobody holds anything while waiting (F71): a waiter sleeps, then asks again like everybody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from arbpipe.clock import stamp_ns

__all__ = ["CANCEL_COST", "READ_COST", "WRITE_COST", "Bucket", "WriteBudget"]

#: Tokens of one new order, of one cancellation, and of one read.
WRITE_COST: Final = 10
CANCEL_COST: Final = 2
READ_COST: Final = 10
_SECOND_NS: Final = 1_000_000_000


class Bucket:
    """Tokens, counted in billionths, so that a refill is exact in nanoseconds."""

    def __init__(
        self, refill_rate: int, capacity: int, now_ns: Callable[[], int] = stamp_ns, *, kept: int = 0, least: int = 1
    ) -> None:
        """``refill_rate`` tokens a second, ``capacity`` tokens at most; full at first. ``kept``: what those who lower no
        risk must leave standing. ``least``: the cost of one call, which must fit.

        Raises:
            ValueError: not positive, or a single call would never fit.
        """
        if refill_rate <= 0 or capacity < least:
            raise ValueError(
                f"a bucket of {capacity} tokens, {refill_rate} a second, lets no call of {least} tokens through"
            )
        self.capacity = capacity
        self._rate = refill_rate
        self._most = capacity * _SECOND_NS
        self._kept = kept * _SECOND_NS
        self._now_ns = now_ns
        self._level = self._most
        self._at_ns = now_ns()

    def has(self, cost: int, *, lowers_risk: bool = True) -> bool:
        """Whether the tokens are there."""
        now = self._now_ns()
        self._level = min(self._most, self._level + (now - self._at_ns) * self._rate)
        self._at_ns = now
        return self._level >= cost * _SECOND_NS + (0 if lowers_risk else self._kept)

    def spend(self, cost: int) -> None:
        """Take tokens that are there."""
        self._level -= cost * _SECOND_NS

    def take(self, cost: int, *, lowers_risk: bool = True) -> bool:
        """Take the tokens of one call if they are there."""
        if not self.has(cost, lowers_risk=lowers_risk):
            return False
        self.spend(cost)
        return True

    def short_ns(self, cost: int) -> int:
        """In how long the tokens will be there if nobody else takes any."""
        return max(0, -(-(cost * _SECOND_NS - self._level) // self._rate))

    def empty(self) -> None:
        """The venue said 429: its bucket is emptier than ours, so ours starts again from nothing."""
        self.has(0)
        self._level = min(self._level, 0)

    async def wait(self, cost: int, most_s: float) -> bool:
        """Take the tokens of one call, waiting at most ``most_s`` seconds for them."""
        return await _wait((self,), cost, most_s, self._now_ns)


async def _wait(buckets: tuple[Bucket, ...], cost: int, most_s: float, now_ns: Callable[[], int]) -> bool:
    deadline = now_ns() + int(most_s * _SECOND_NS)
    while not _take(buckets, cost, lowers_risk=True):
        left = deadline - now_ns()
        if left <= 0:
            return False
        short_ns = max(bucket.short_ns(cost) for bucket in buckets)
        await asyncio.sleep(min(left, max(short_ns, 1_000_000)) / _SECOND_NS)
    return True


def _take(buckets: tuple[Bucket, ...], cost: int, *, lowers_risk: bool) -> bool:
    """All of them or none."""
    if not all(bucket.has(cost, lowers_risk=lowers_risk) for bucket in buckets):
        return False
    for bucket in buckets:
        bucket.spend(cost)
    return True


class WriteBudget:
    """The account's write buckets: one for shard 0 and for whatever names no shard, and one of the same size for each other
    shard. A call that the venue must route itself is billed to all of them, which is why shards are named where they are
    known; a batch is billed to the first."""

    def __init__(self, refill_rate: int, capacity: int, now_ns: Callable[[], int] = stamp_ns) -> None:
        """``refill_rate`` tokens a second, ``capacity`` tokens at most (``GET /account/limits``).

        Raises:
            ValueError: not positive, or a single order would never fit.
        """
        kept = min(capacity // 4, capacity - WRITE_COST)
        self._make: Callable[[], Bucket] = lambda: Bucket(
            refill_rate, capacity, now_ns, kept=max(kept, 0), least=WRITE_COST
        )
        self._now_ns = now_ns
        self._first = self._make()
        self._shards: dict[int, Bucket] = {}
        self.capacity = capacity

    def _of(self, shard: int | None) -> tuple[Bucket, ...]:
        if shard is None:
            return (self._first, *self._shards.values())
        if shard <= 0:
            return (self._first,)
        if shard not in self._shards:
            self._shards[shard] = self._make()
        return (self._shards[shard],)

    def take(self, shard: int | None, *, lowers_risk: bool, cost: int = WRITE_COST) -> bool:
        """Take the tokens of one write if they are there. ``shard`` None: the venue routes it."""
        return _take(self._of(shard), cost, lowers_risk=lowers_risk)

    async def wait(self, shard: int | None, most_s: float, cost: int = WRITE_COST) -> bool:
        """Take the tokens of a write that lowers risk, waiting at most ``most_s`` seconds for them."""
        return await _wait(self._of(shard), cost, most_s, self._now_ns)

    def empty(self, shard: int | None) -> None:
        """The venue said 429 to a write."""
        for bucket in self._of(shard):
            bucket.empty()
