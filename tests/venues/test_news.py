"""Waiting for news: nothing that comes between a question and a wait is missed, and nothing is told twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from arbpipe.venues.news import News

LONG = 30.0


async def returns(wait: Awaitable[None]) -> bool:
    """Whether a wait that would last half a minute returns now."""
    task = asyncio.ensure_future(wait)
    await asyncio.sleep(0.02)
    done = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return done


def test_news_between_a_question_and_a_wait_is_not_missed() -> None:
    async def main() -> None:
        news = News()
        news.asked("a")
        news.tell("a")
        assert await returns(news.wait(("a",), LONG))
        assert not await returns(news.wait(("a",), LONG))  # used up

    asyncio.run(main())


def test_what_was_told_before_a_question_is_part_of_its_answer() -> None:
    async def main() -> None:
        news = News()
        news.asked("a")
        news.tell("a")
        news.asked("a")
        assert not await returns(news.wait(("a",), LONG))

    asyncio.run(main())


def test_a_waiter_wakes_for_its_own_orders_only() -> None:
    async def main() -> None:
        news = News()
        mine = asyncio.ensure_future(news.wait(("a", "b"), LONG))
        other = asyncio.ensure_future(news.wait(("c",), LONG))
        anyone = asyncio.ensure_future(news.wait(None, LONG))
        await asyncio.sleep(0)
        news.tell("b")
        await asyncio.sleep(0.02)
        assert (mine.done(), other.done(), anyone.done()) == (True, False, True)
        news.tell("")  # of any order
        await asyncio.wait_for(other, 1)

    asyncio.run(main())


def test_news_of_everything_is_news_of_every_order_that_was_asked_about() -> None:
    async def main() -> None:
        news = News()
        news.asked("a", "b")
        news.tell("")
        assert await returns(news.wait(("a",), LONG))
        assert await returns(news.wait(("b",), LONG))
        assert not await returns(news.wait(("never asked",), LONG))

    asyncio.run(main())


def test_a_wait_without_news_ends_after_its_time() -> None:
    async def main() -> None:
        news = News()
        await asyncio.wait_for(news.wait(("a",), 0.01), 5)
        await asyncio.wait_for(news.wait((), 0.01), 5)
        await asyncio.wait_for(news.wait(None, 0), 5)
        assert not news._waiters

    asyncio.run(main())


def test_no_order_is_told_more_than_it_waits_for_and_strangers_are_not_remembered() -> None:
    news = News()
    for number in range(10_000):
        news.tell(f"stranger {number}")
    assert not news._fresh
    for number in range(10_000):
        news.asked(f"ours {number}")
    assert len(news._fresh) == 4_096
    assert "ours 9999" in news._fresh
