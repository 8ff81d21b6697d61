"""How fast we read Kalshi's listing: a token bucket of our own, well below the venue's (kalshi.md 1 and 3.7).

Whoever waits holds nothing (F71): it sleeps until its token may be there and asks again like everybody else. A 429 is
no error and no queue; it empties the bucket and makes everybody wait, twice as long each time it is repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from arbpipe.clock import stamp_ns

__all__ = ["ANONYMOUS_READS", "READ_COST", "ReadPace"]

#: Tokens of one read, except where ``/account/endpoint_costs`` says otherwise; no listing does.
READ_COST: Final = 10
#: Reads a second without a key that we never exceed; about 51 were seen to pass, 77 were not.
ANONYMOUS_READS: Final = 40

_SECOND_NS: Final = 1_000_000_000
_FIRST_WAIT_NS: Final = _SECOND_NS // 2
_LONGEST_WAIT_NS: Final = 32 * _SECOND_NS


class ReadPace:
    """``per_second`` reads a second, of which a quarter may come at once: never more than 5/4 of them in any second."""

    def __init__(
        self,
        per_second: int,
        *,
        now_ns: Callable[[], int] = stamp_ns,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Full at first.

        Raises:
            ValueError: fewer than one read a second.
        """
        if per_second < 1:
            raise ValueError(f"a pace of {per_second} reads a second reads nothing")
        self._rate = per_second
        self._now_ns = now_ns
        self._sleep = sleep
        #: Reads that may go now, in billionths.
        self._most = max(per_second // 4, 1) * _SECOND_NS
        self._level = self._most
        self._at_ns = now_ns()
        self._not_before_ns = self._at_ns
        self._wait_ns = _FIRST_WAIT_NS

    @classmethod
    def of_tier(cls, refill_rate: int, percent: int = 50) -> ReadPace:
        """A share of an account's read budget (``GET /account/limits``, tokens a second); the rest is for trading."""
        return cls(max(refill_rate * percent // (100 * READ_COST), 1))

    async def take(self) -> None:
        """Wait until one more read may go."""
        while True:
            now = self._now_ns()
            self._level = min(self._level + (now - self._at_ns) * self._rate, self._most)
            self._at_ns = now
            if now >= self._not_before_ns and self._level >= _SECOND_NS:
                self._level -= _SECOND_NS
                return
            short_ns = -(-max(_SECOND_NS - self._level, 0) // self._rate)
            await self._sleep(max(short_ns, self._not_before_ns - now, 1_000_000) / _SECOND_NS)

    def struck(self) -> float:
        """The venue said 429, or is not well: nobody reads for a while. Returns how many seconds."""
        wait_ns = self._wait_ns
        self._level = 0
        self._not_before_ns = self._now_ns() + wait_ns
        self._wait_ns = min(2 * wait_ns, _LONGEST_WAIT_NS)
        return wait_ns / _SECOND_NS

    def passed(self) -> None:
        """A read was answered: the next 429 waits the shortest time again."""
        self._wait_ns = _FIRST_WAIT_NS
