"""The write budget, in exact tokens."""

from __future__ import annotations

import asyncio

import pytest

from arbpipe.venues.kalshi.budget import WriteBudget

SECOND = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


def taken(budget: WriteBudget, *, lowers_risk: bool) -> int:
    count = 0
    while budget.take(lowers_risk=lowers_risk):
        count += 1
    return count


def test_a_full_bucket_holds_its_capacity_and_keeps_a_quarter_back() -> None:
    clock = Clock()
    budget = WriteBudget(100, 100, clock)
    assert taken(budget, lowers_risk=False) == 7
    assert taken(budget, lowers_risk=True) == 3


def test_tokens_come_back_exactly_and_never_beyond_the_capacity() -> None:
    clock = Clock()
    budget = WriteBudget(3, 10, clock)
    assert taken(budget, lowers_risk=True) == 1
    for _ in range(9_999):
        clock.now += 333_333  # 10 tokens take 3⅓ s; a float would drift
        assert not budget.take(lowers_risk=True)
    clock.now += 333_334
    clock.now += 3_334
    assert budget.take(lowers_risk=True)
    clock.now += 3_600 * SECOND
    assert taken(budget, lowers_risk=True) == 1


def test_a_bucket_of_one_order_still_lets_any_order_through() -> None:
    assert taken(WriteBudget(1, 10, Clock()), lowers_risk=False) == 1


@pytest.mark.parametrize(("rate", "capacity"), [(0, 100), (-1, 100), (100, 9), (100, 0)])
def test_a_budget_that_lets_nothing_through_is_refused(rate: int, capacity: int) -> None:
    with pytest.raises(ValueError, match="lets no order"):
        WriteBudget(rate, capacity)


def test_waiting_is_bounded_and_ends_when_the_tokens_are_there() -> None:
    async def main() -> tuple[bool, bool]:
        budget = WriteBudget(200, 10)
        budget.empty()
        return await budget.wait(0.005), await budget.wait(1.0)

    assert asyncio.run(main()) == (False, True)
