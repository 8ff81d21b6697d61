"""The short way that nearly every change takes through the feed does exactly what the long way does."""

from __future__ import annotations

from typing import Any

from feed_bench import Bench, bench, encoded
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kalshi_driven import Driven, delta, snapshot

from arbpipe.identity import Venue
from arbpipe.shm.stats import Counter
from arbpipe.venues.kalshi.codec import Delta
from arbpipe.venues.kalshi.feed import KalshiFeed
from arbpipe.venues.kalshi.sequence import Verdict
from arbpipe.venues.publisher import Publisher


class LongWay(KalshiFeed):
    """Every change goes the way of all frames."""

    def _change(self, connection: Any, delta: Delta, recv_ns: int, age_ns: int) -> None:
        self._any(connection, delta, Verdict.OK, recv_ns, age_ns)


class NeverVerified(KalshiFeed):
    """A wrong short way: what it publishes is not marked as checked."""

    def __init__(self, publisher: Publisher, *, use_yes_price: bool) -> None:
        super().__init__(publisher, use_yes_price=use_yes_price)
        right = publisher.publish

        def publish(*args: Any, **more: Any) -> int:
            return right(*args[:9], False) if len(args) == 10 else right(*args, **more)

        publisher.publish = publish  # type: ignore[method-assign]


def stands(made: Bench, driven: Driven) -> list[object]:
    """All that the feed has said in shared memory, without our own stamps."""
    rows = []
    for ticker in ("A", "B"):
        slot = driven.slot(ticker)
        row = made.rows.read(slot)
        rows.append(
            (row and row._replace(publish_ns=0), made.rows.verified(slot), made.cost(slot), made.quarantine(slot))
        )
    lines = [made.segment.fields("connections", number) for number in range(2)]
    return [rows, lines, made.changes(), [made.get(counter) for counter in Counter], list(driven.feed.outbox)]


def frame_of(step: tuple[Any, ...], seq: int) -> bytes:
    kind, ticker, price, change, side, stamps, sid = step
    if kind == "snapshot":
        frame = snapshot(seq, ticker, [["0.3000", "5.00"], [price, "2.00"]], [["0.4500", "3.00"]], **stamps)
    elif kind == "delta":
        frame = delta(seq, ticker, price, change, side, **{"sending_ts_ms": stamps["sending_ts_ms"]} if stamps else {})
    else:
        message = {"event_type": kind, "market_ticker": ticker}
        return encoded({"type": "market_lifecycle_v2", "sid": 7, "msg": message})
    return frame.replace(b'"sid":1', b'"sid":%d' % sid)


steps = st.tuples(
    st.sampled_from(["delta"] * 12 + ["snapshot"] * 3 + ["deactivated", "activated"]),
    st.sampled_from(["A", "A", "B", "UNLISTED"]),
    st.sampled_from(["0.2000", "0.4000", "0.5000", "0.5400", "0.5600", "0.9900", "1.0000"]),
    st.sampled_from(["1.00", "2.00", "-1.00", "-2.00", "0.00", "x"]),
    st.sampled_from(["yes", "no"]),
    st.sampled_from([{}, {"sending_ts_ms": 5}, {"sending_ts_ms": 1 << 60}, {"sending_ts_ms": 10**12}]),
    st.sampled_from([1] * 9 + [2]),
)


def played(feed: type[KalshiFeed], walk: list[tuple[tuple[Any, ...], int]]) -> list[list[object]]:
    """What stands after each frame of a walk; a step of 2 is a lost frame before it, of 0 one that comes twice."""
    with bench(Venue.KALSHI) as made:
        driven = Driven(made)
        driven.feed = feed(made.publisher, use_yes_price=False)
        driven.feed.list(driven.generation)
        driven.feed.opened(0, driven.now)
        driven.healthy("A", "B")
        numbers, seen = {1: driven.seq, 2: 0}, []
        for step, forward in walk:
            numbers[step[-1]] += forward
            driven.raw(frame_of(step, numbers[step[-1]]))
            seen.append(stands(made, driven))
        return seen


#: Crossed, not crossed, crossed: the second time is a first time again.
CROSSED = [(("delta", "A", "0.5000", change, "yes", {}, 1), 1) for change in ("1.00", "-1.00", "1.00")]


@example(CROSSED)
@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(steps, st.sampled_from([1] * 30 + [0, 2])), max_size=25))
def test_any_walk_stands_the_same_whichever_way_its_changes_went(walk: list[tuple[tuple[Any, ...], int]]) -> None:
    assert played(KalshiFeed, walk) == played(LongWay, walk)


def test_the_same_comparison_notices_a_short_way_that_forgets_the_check() -> None:
    walk = [(("delta", "A", "0.4000", "1.00", "yes", {}, 1), 1)]
    assert played(KalshiFeed, walk) == played(LongWay, walk)
    assert played(NeverVerified, walk) != played(LongWay, walk)
