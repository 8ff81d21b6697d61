"""Our half of the rate limits, in exact tokens."""

from __future__ import annotations

import asyncio

import pytest

from arbpipe.venues.kalshi.budget import Bucket, WriteBudget

SECOND = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


def taken(budget: WriteBudget, shard: int | None = 0, *, lowers_risk: bool) -> int:
    count = 0
    while budget.take(shard, lowers_risk=lowers_risk):
        count += 1
    return count


def test_a_full_bucket_holds_its_capacity_and_keeps_a_quarter_back() -> None:
    budget = WriteBudget(100, 100, Clock())
    assert taken(budget, lowers_risk=False) == 7
    assert taken(budget, lowers_risk=True) == 3


def test_each_shard_has_a_bucket_of_its_own() -> None:
    budget = WriteBudget(100, 100, Clock())
    assert taken(budget, 3, lowers_risk=True) == 10
    assert taken(budget, 2, lowers_risk=True) == 10
    assert taken(budget, 0, lowers_risk=True) == 10
    assert not budget.take(3, lowers_risk=True)


def test_what_the_venue_must_route_is_billed_to_every_bucket_or_not_at_all() -> None:
    budget = WriteBudget(100, 100, Clock())
    assert taken(budget, 3, lowers_risk=False) == 7
    assert taken(budget, None, lowers_risk=True) == 3  # what shard 3 has left
    assert taken(budget, 0, lowers_risk=True) == 7  # and no more than that was taken here


def test_a_batch_costs_as_many_orders_as_it_holds() -> None:
    budget = WriteBudget(100, 100, Clock())
    assert budget.take(0, lowers_risk=False, cost=70)
    assert not budget.take(0, lowers_risk=False, cost=10)


def test_tokens_come_back_exactly_and_never_beyond_the_capacity() -> None:
    clock = Clock()
    budget = WriteBudget(3, 10, clock)
    assert taken(budget, lowers_risk=True) == 1
    for _ in range(9_999):
        clock.now += 333_333  # 10 tokens take 3⅓ s; a float would drift
        assert not budget.take(0, lowers_risk=True)
    clock.now += 333_334
    clock.now += 3_334
    assert budget.take(0, lowers_risk=True)
    clock.now += 3_600 * SECOND
    assert taken(budget, lowers_risk=True) == 1


def test_a_bucket_of_one_order_still_lets_any_order_through() -> None:
    assert taken(WriteBudget(1, 10, Clock()), lowers_risk=False) == 1


@pytest.mark.parametrize(("rate", "capacity"), [(0, 100), (-1, 100), (100, 9), (100, 0)])
def test_a_budget_that_lets_nothing_through_is_refused(rate: int, capacity: int) -> None:
    with pytest.raises(ValueError, match="lets no call"):
        WriteBudget(rate, capacity)


def test_waiting_is_bounded_and_ends_when_the_tokens_are_there() -> None:
    async def main() -> tuple[bool, bool]:
        budget = WriteBudget(200, 10)
        budget.empty(0)
        return await budget.wait(0, 0.005), await budget.wait(0, 1.0)

    assert asyncio.run(main()) == (False, True)


def test_f71_whoever_waits_holds_nothing() -> None:
    """An order that waits for tokens must not keep the ones that are there from a cheaper call."""

    async def ours() -> bool:
        bucket = Bucket(1, 20)
        bucket.spend(15)
        waiting = asyncio.create_task(bucket.wait(10, 5.0))
        await asyncio.sleep(0.01)
        cheap = bucket.take(2)
        waiting.cancel()
        return cheap

    async def mistaken() -> bool:  # the mistake: sleep with the only permit in hand
        permit, tokens = asyncio.Lock(), 5

        async def call(cost: int) -> bool:
            async with permit:
                while tokens < cost:
                    await asyncio.sleep(1)
                return True

        waiting = asyncio.create_task(call(10))
        await asyncio.sleep(0.01)
        try:
            return await asyncio.wait_for(call(2), 0.05)
        except TimeoutError:
            return False
        finally:
            waiting.cancel()

    assert asyncio.run(ours())
    assert not asyncio.run(mistaken())
