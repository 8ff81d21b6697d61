"""Waiting for news of orders, so that none is missed between two questions.

A private stream tells which order has news; whoever asks the venue about an order says so first. News that comes while the
question is on its way is kept for the next wait, which then returns at once. What the news is, only the venue's answer says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

__all__ = ["News"]

#: Orders that are remembered; news of an older one only wakes whoever waits for it at that moment.
_MOST: Final = 4_096


class News:
    """The news of one account. Keys are whatever the venue names orders by."""

    def __init__(self) -> None:
        self._fresh: dict[str, bool] = {}  # key → whether there was news since it was last asked about
        self._waiters: set[tuple[frozenset[str] | None, asyncio.Event]] = set()

    def asked(self, *keys: str) -> None:
        """The venue is being asked about these orders now: only what comes from now on is news."""
        for key in keys:
            self._fresh.pop(key, None)
            self._fresh[key] = False
        while len(self._fresh) > _MOST:
            del self._fresh[next(iter(self._fresh))]

    def tell(self, key: str) -> None:
        """There is news of an order; with ``""`` of any order, because something may have been missed."""
        for each in (key,) if key else tuple(self._fresh):
            if each in self._fresh:  # others are not ours to remember
                self._fresh[each] = True
        for keys, event in self._waiters:
            if not key or keys is None or key in keys:
                event.set()

    async def wait(self, keys: Collection[str] | None, timeout_s: float) -> None:
        """Return when there is news of one of these orders (``None``: of any), or after ``timeout_s``.

        News since the last question about one of them counts. It is used up by this: the caller asks about all of them now.
        """
        wanted = None if keys is None else frozenset(keys)
        if wanted is None or not any(self._fresh.get(key, False) for key in wanted):
            waiter = (wanted, asyncio.Event())
            self._waiters.add(waiter)
            try:
                async with asyncio.timeout(timeout_s):
                    await waiter[1].wait()
            except TimeoutError:
                pass
            finally:
                self._waiters.discard(waiter)
        if wanted is not None:
            self.asked(*wanted)
