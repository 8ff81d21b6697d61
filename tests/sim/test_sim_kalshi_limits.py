"""Token buckets: what a tier allows in a burst and in the long run."""

from __future__ import annotations

import contextlib

import pytest

from arbpipe.sim.kalshi_errors import Refusal
from arbpipe.sim.kalshi_limits import TIERS, Bucket, Limits, cost_of

ORDERS = "/trade-api/v2/portfolio/events/orders"
SECOND = 10**9


def passed(limits: Limits, method: str, path: str, now_ns: int, tries: int, *, signed: bool = True) -> int:
    done = 0
    for _ in range(tries):
        with contextlib.suppress(Refusal):
            limits.charge(method, path, now_ns, signed=signed)
            done += 1
    return done


def test_basic_gives_ten_orders_or_fifty_cancels_a_second_and_sixty_reads_at_once() -> None:
    assert passed(Limits(), "POST", ORDERS, 0, 100) == 10
    assert passed(Limits(), "DELETE", f"{ORDERS}/abc", 0, 100) == 50
    assert passed(Limits(), "GET", "/trade-api/v2/portfolio/fills", 0, 100) == 60
    assert passed(Limits(), "GET", "/trade-api/v2/markets", 0, 100, signed=False) == 60


def test_reads_and_writes_have_buckets_of_their_own_and_the_balance_has_another() -> None:
    limits = Limits()
    assert passed(limits, "POST", ORDERS, 0, 20) == 10
    assert passed(limits, "GET", "/trade-api/v2/portfolio/balance", 0, 5) == 1
    assert passed(limits, "GET", "/trade-api/v2/portfolio/orders", 0, 100) == 60


def test_a_bucket_refills_with_time_up_to_its_capacity() -> None:
    limits = Limits()
    assert passed(limits, "POST", ORDERS, 0, 20) == 10
    assert passed(limits, "POST", ORDERS, SECOND // 2, 20) == 5
    assert passed(limits, "POST", ORDERS, 100 * SECOND, 20) == 10


def test_a_batch_that_does_not_fit_takes_nothing() -> None:
    limits = Limits()
    with pytest.raises(Refusal) as caught:
        limits.charge("POST", f"{ORDERS}/batched", 0, signed=True, times=11)
    assert (caught.value.status, caught.value.body) == (429, {"error": "too many requests"})
    limits.charge("POST", f"{ORDERS}/batched", 0, signed=True, times=10)


def test_a_clock_that_steps_back_gives_no_tokens() -> None:
    bucket = Bucket(10, 10)
    assert bucket.take(10, 5 * SECOND)
    assert not bucket.take(1, 4 * SECOND)


def test_costs_are_those_of_the_page() -> None:
    assert cost_of("POST", ORDERS) == 10
    assert cost_of("POST", f"{ORDERS}/batched") == 10
    assert cost_of("DELETE", f"{ORDERS}/batched") == 2
    assert cost_of("GET", "/trade-api/v2/portfolio/orders/abc") == 2
    assert cost_of("GET", "/trade-api/v2/portfolio/orders") == 10
    assert (TIERS["prime"].read, TIERS["prestige"].write) == (4_800, 9_600)


def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(ValueError, match="'gold'"):
        Limits("gold")
