"""Our own half of Kalshi's rate limit: a token bucket for writes that never queues what may be refused.

A quarter of the bucket is kept for orders that lower risk. Those wait a bounded time; all others are refused at once, before
anything is sent. Nobody holds anything while waiting (F71): a waiter sleeps, then asks again like everybody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from arbpipe.clock import stamp_ns

__all__ = ["WRITE_COST", "WriteBudget"]

#: Tokens of one new order (kalshi.md 3.7).
WRITE_COST: Final = 10
_SECOND_NS: Final = 1_000_000_000


class WriteBudget:
    """Tokens, counted in billionths, so that a refill is exact in nanoseconds."""

    def __init__(self, refill_rate: int, capacity: int, now_ns: Callable[[], int] = stamp_ns) -> None:
        """``refill_rate`` tokens a second, ``capacity`` tokens at most (``GET /account/limits``); full at first.

        Raises:
            ValueError: not positive, or a single order would never fit.
        """
        if refill_rate <= 0 or capacity < WRITE_COST:
            raise ValueError(
                f"a write budget of {capacity} tokens, {refill_rate} a second, lets no order of 10 through"
            )
        self._rate = refill_rate
        self._capacity = capacity * _SECOND_NS
        #: What orders that do not lower risk must leave standing.
        self._kept = min(self._capacity // 4, self._capacity - WRITE_COST * _SECOND_NS)
        self._now_ns = now_ns
        self._level = self._capacity
        self._at_ns = now_ns()

    def _refill(self) -> None:
        now = self._now_ns()
        self._level = min(self._capacity, self._level + (now - self._at_ns) * self._rate)
        self._at_ns = now

    def take(self, *, lowers_risk: bool, cost: int = WRITE_COST) -> bool:
        """Take the tokens of one write if they are there."""
        self._refill()
        need = cost * _SECOND_NS
        if self._level < need + (0 if lowers_risk else self._kept):
            return False
        self._level -= need
        return True

    async def wait(self, most_s: float, cost: int = WRITE_COST) -> bool:
        """Take the tokens of a write that lowers risk, waiting at most ``most_s`` seconds for them."""
        deadline = self._now_ns() + int(most_s * _SECOND_NS)
        while not self.take(lowers_risk=True, cost=cost):
            left = deadline - self._now_ns()
            if left <= 0:
                return False
            short_ns = -(-(cost * _SECOND_NS - self._level) // self._rate)
            await asyncio.sleep(min(left, max(short_ns, 1_000_000)) / _SECOND_NS)
        return True

    def empty(self) -> None:
        """The venue said 429: its bucket is emptier than ours, so ours starts again from nothing."""
        self._refill()
        self._level = 0
