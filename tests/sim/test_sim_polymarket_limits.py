"""Token buckets of a signer: what a burst may hold, what a batch costs, and what the refusal says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from polymarket_harness import Running, config_of

from arbpipe.sim.polymarket_auth import VenueError
from arbpipe.sim.polymarket_limits import STANDARD, Bucket, Kind, SignerLimits
from arbpipe.sim.polymarket_trading import Rules

NOW = 1_795_000_000_400  # ms
ORDER, CANCEL = Kind.ORDER, Kind.CANCEL


def passed(limits: SignerLimits, kind: Kind, now_ms: int, tries: int, signer: str = "0xa") -> int:
    done = 0
    for _ in range(tries):
        try:
            limits.charge(signer, kind, 1, now_ms)
        except VenueError:
            break
        done += 1
    return done


def refused(work: Callable[[], object]) -> dict[str, str]:
    with pytest.raises(VenueError) as caught:
        work()
    assert (caught.value.status, caught.value.message) == (429, "Too Many Requests")
    return caught.value.headers


# --- the buckets ------------------------------------------------------------------------------------------------------


def test_standard_gives_sixty_orders_and_a_hundred_and_twenty_cancels_at_once_then_forty_and_eighty_a_second() -> None:
    limits = SignerLimits()
    assert (passed(limits, ORDER, NOW, 200), passed(limits, CANCEL, NOW, 200)) == (60, 120)
    assert (passed(limits, ORDER, NOW + 1_000, 200), passed(limits, CANCEL, NOW + 1_000, 200)) == (40, 80)
    assert passed(limits, ORDER, NOW + 60_000, 200) == STANDARD.order_burst


def test_every_signer_has_buckets_of_its_own() -> None:
    limits = SignerLimits()
    assert passed(limits, ORDER, NOW, 100) == 60
    assert passed(limits, ORDER, NOW, 100, "0xb") == 60


def test_a_batch_that_does_not_fit_takes_nothing() -> None:
    limits = SignerLimits()
    assert limits.charge("0xa", ORDER, 50, NOW)["Poly-RateLimit-Remaining"] == "10"
    assert refused(lambda: limits.charge("0xa", ORDER, 11, NOW))["Poly-RateLimit-Remaining"] == "10"
    assert limits.charge("0xa", ORDER, 10, NOW)["Poly-RateLimit-Remaining"] == "0"


def test_the_refusal_says_when_the_same_request_would_pass() -> None:
    limits = SignerLimits()
    limits.charge("0xa", ORDER, 60, NOW)
    headers = refused(lambda: limits.charge("0xa", ORDER, 50, NOW))
    # 50 tokens at 40 a second are there after 1.25 s
    assert headers == {
        "Poly-RateLimit-Remaining": "0",
        "Poly-RateLimit-Reset": str((NOW + 1_250 + 999) // 1_000),
        "Poly-RateLimit-Tier": "standard",
        "Retry-After": "2",
    }
    assert refused(lambda: limits.charge("0xa", ORDER, 50, NOW + 1_249))["Retry-After"] == "1"
    limits.charge("0xa", ORDER, 50, NOW + 1_250)


def test_what_costs_more_than_a_full_bucket_never_passes_and_is_told_no_time() -> None:
    limits = SignerLimits()
    assert "Retry-After" not in refused(lambda: limits.charge("0xa", CANCEL, 121, NOW))
    assert passed(limits, CANCEL, NOW, 200) == 120


def test_a_cancel_of_everything_may_leave_the_bucket_in_debt_and_the_next_one_waits() -> None:
    limits = SignerLimits()
    limits.charge("0xa", CANCEL, 1, NOW)
    assert limits.debit("0xa", 139, NOW)["Poly-RateLimit-Remaining"] == "-20"
    assert refused(lambda: limits.charge("0xa", CANCEL, 1, NOW))["Retry-After"] == "1"
    assert passed(limits, CANCEL, NOW + 262, 200) == 0
    assert passed(limits, CANCEL, NOW + 263, 200) == 1


def test_a_clock_that_steps_back_gives_no_tokens() -> None:
    bucket = Bucket(10, 10)
    assert bucket.take(10, NOW) == 0
    assert bucket.take(1, NOW - 5_000) == 100
    assert bucket.remaining == 0


# --- over HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory: Path = tmp_path_factory.mktemp("limits")
    server = Running(config_of(directory, rules=Rules(settle_s=0.1)))
    yield server
    server.stop()


def test_an_order_is_answered_with_what_is_left_and_a_refused_one_costs_as_much(running: Running) -> None:
    view = running.standard()
    trader = running.trader("limited")
    taken = trader.order(view, "BUY", 5_000_000, 10_000_000)
    assert taken.status_code == 200, taken.text
    assert (taken.headers["Poly-RateLimit-Remaining"], taken.headers["Poly-RateLimit-Tier"]) == ("59", "standard")
    assert abs(int(taken.headers["Poly-RateLimit-Reset"]) - time.time()) < 5
    killed = trader.order(view, "BUY", 50_000, 10_000_000)  # nothing is offered at half a cent
    assert killed.status_code == 400
    assert int(killed.headers["Poly-RateLimit-Remaining"]) <= 59
    assert "Poly-RateLimit-Remaining" not in trader.send("GET", "/data/orders").headers


def test_nothing_of_a_batch_beyond_the_bucket_is_done_and_the_order_routes_alone_are_closed(running: Running) -> None:
    view = running.standard()
    trader = running.trader("batches")
    bodies = [trader.body(view, "BUY", 1_000_000, 50_000_000, order_type="GTC") for _ in range(15)]
    answers = []
    while len(answers) < 40:
        # the same orders again are refused one by one, and cost the same
        answers.append(trader.send("POST", "/orders", bodies))
        if answers[-1].status_code == 429:
            break
    last = answers[-1]
    assert (last.status_code, last.json()) == (429, {"error": "Too Many Requests"})
    assert int(last.headers["Retry-After"]) == 1
    assert int(last.headers["Poly-RateLimit-Remaining"]) < 15
    assert {answer.status_code for answer in answers[:-1]} == {200}
    assert len(answers) >= 5
    known = trader.send("GET", "/data/orders").json()
    assert known["count"] == 15
    gone = trader.send("DELETE", "/cancel-all")
    assert len(gone.json()["canceled"]) == 15
    assert gone.headers["Poly-RateLimit-Remaining"] == "104"


def test_a_refused_order_leaves_no_trace(running: Running) -> None:
    view = running.standard()
    trader = running.trader("no trace")
    exchange = running.server.exchange
    assert exchange.limits is not None
    # paid a minute from now, and a clock that steps back gives no tokens: the bucket stays empty
    exchange.limits.charge(trader.who.address, ORDER, 60, exchange.now_ms() + 60_000)
    refusal = trader.order(view, "BUY", 5_000_000, 10_000_000)
    assert refusal.status_code == 429
    assert trader.trades() == []
    assert trader.cash() == 1_000_000_000


def test_the_limits_can_be_switched_off(tmp_path: Path) -> None:
    server = Running(config_of(tmp_path, rules=Rules(settle_s=0.1, rate_limits=False)))
    try:
        view = server.standard()
        trader = server.trader("unlimited")
        bodies = [trader.body(view, "BUY", 1_000_000, 50_000_000, order_type="GTC") for _ in range(15)]
        answers = [trader.send("POST", "/orders", bodies) for _ in range(8)]
        assert {answer.status_code for answer in answers} == {200}
        assert "Poly-RateLimit-Remaining" not in answers[-1].headers
    finally:
        server.stop()
