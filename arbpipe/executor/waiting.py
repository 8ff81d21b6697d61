"""Waiting until it makes sense to ask again: a moment, cut short by a venue's news of an order that is still open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence

from arbpipe.identity import Venue
from arbpipe.venues.base import Gateway, Order

__all__ = ["until_news"]


async def until_news(
    gateways: Mapping[Venue, Gateway], orders: Sequence[Order], moment: Awaitable[None], moment_s: float
) -> None:
    """Return when ``moment`` is over, or when a venue has news of one of ``orders``, whichever is first.

    ``moment_s``: how long it lasts. Without orders nothing but ``moment`` is awaited, so that a stepped replay, on whose paper
    venue nothing stays open, goes through exactly the same steps as without news.
    """
    by_venue: dict[Venue, list[Order]] = {}
    for order in orders:
        by_venue.setdefault(order.venue, []).append(order)
    if not by_venue:
        await moment
        return
    waits = [asyncio.ensure_future(moment)]
    waits += [asyncio.ensure_future(gateways[venue].news(moment_s, mine)) for venue, mine in by_venue.items()]
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()  # a failure is told, not slept over
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
