"""A moment's wait: what cuts it short, and what it leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from execution_bench import Book, FakeGateway, everything, listing

from arbpipe.executor.waiting import until_news
from arbpipe.identity import Side, Venue
from arbpipe.venues.base import Action, Order

KALSHI, POLY = listing("K"), listing("P", Venue.POLYMARKET)


def order(client_id: str, one: Any) -> Order:
    return Order(client_id, one.venue, one.uid, one.native_id, Side.YES, Action.BUY, 100, 5_000)


@dataclass
class Telling(FakeGateway):
    """A venue that has news when the test says so."""

    told: asyncio.Event = field(default_factory=asyncio.Event)
    waits: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    waiting: int = 0
    breaks: bool = False

    async def news(self, timeout_s: float, orders: Sequence[Order] = ()) -> None:
        self.waits.append((timeout_s, tuple(each.client_id for each in orders)))
        self.waiting += 1
        try:
            await self.told.wait()
            if self.breaks:
                raise RuntimeError("a mistake in the gateway")
        finally:
            self.waiting -= 1


class Stage:
    """Two venues and a moment that ends when the test says so."""

    def __init__(self) -> None:
        self.gateways = {venue: Telling(venue, Book(), everything) for venue in Venue}
        self.over = asyncio.Event()
        self.slept = 0

    async def moment(self) -> None:
        self.slept += 1
        try:
            await self.over.wait()
        finally:
            self.slept -= 1

    def wait(self, *orders: Order) -> asyncio.Task[None]:
        return asyncio.ensure_future(until_news(self.gateways, orders, self.moment(), 0.1))

    @property
    def left(self) -> int:
        """Who still waits."""
        return self.slept + sum(gateway.waiting for gateway in self.gateways.values())


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_without_open_orders_only_the_moment_counts_and_no_venue_is_waited_for() -> None:
    async def main() -> None:
        stage = Stage()
        task = stage.wait()
        for gateway in stage.gateways.values():
            gateway.told.set()
        await settle()
        assert not task.done()
        stage.over.set()
        await asyncio.wait_for(task, 1)
        assert all(gateway.waits == [] for gateway in stage.gateways.values())

    asyncio.run(main())


@pytest.mark.parametrize("venue", list(Venue))
def test_news_of_any_venue_ends_the_wait_and_nothing_is_left_waiting(venue: Venue) -> None:
    async def main() -> None:
        stage = Stage()
        task = stage.wait(order("a", KALSHI), order("b", POLY), order("c", POLY))
        await settle()
        assert stage.left == 3
        stage.gateways[venue].told.set()
        await asyncio.wait_for(task, 1)
        assert stage.left == 0
        assert stage.gateways[Venue.KALSHI].waits == [(0.1, ("a",))]
        assert stage.gateways[Venue.POLYMARKET].waits == [(0.1, ("b", "c"))]

    asyncio.run(main())


def test_the_moment_ends_the_wait_when_no_news_comes() -> None:
    async def main() -> None:
        stage = Stage()
        task = stage.wait(order("b", POLY))
        await settle()
        assert not task.done()
        stage.over.set()
        await asyncio.wait_for(task, 1)
        assert stage.left == 0
        assert stage.gateways[Venue.KALSHI].waits == []

    asyncio.run(main())


def test_who_is_cancelled_leaves_nothing_waiting() -> None:
    async def main() -> None:
        stage = Stage()
        task = stage.wait(order("a", KALSHI), order("b", POLY))
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert stage.left == 0

    asyncio.run(main())


def test_a_failure_while_waiting_is_told() -> None:
    async def main() -> None:
        stage = Stage()
        gateway = stage.gateways[Venue.KALSHI]
        gateway.breaks = True
        gateway.told.set()
        with pytest.raises(RuntimeError, match="a mistake"):
            await stage.wait(order("a", KALSHI))
        assert stage.left == 0

    asyncio.run(main())
