"""A replay applies every frame at its time; a restart in the middle changes nothing that is published afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from feed_bench import Bench, bench, encoded, kalshi, polymarket, toml

from arbpipe.catalog.model import Catalog
from arbpipe.identity import Venue
from arbpipe.record.recording import Frame, FrameKind, Recording, open_recordings
from arbpipe.record.replay import ReplayedFeed, merged, step_times
from arbpipe.shm.stats import Counter
from arbpipe.shm.tables import ConnectionState
from arbpipe.venues.kalshi.feed import KalshiFeed
from arbpipe.venues.polymarket.feed import PolymarketFeed
from arbpipe.venues.publisher import Publisher

FED = "0x8bf1c1536ecb1c08fe13c6b71e8ab1f58bf3461c4cb79f5f1679f869a06aef86"
YES = "111604417349377875799825956621596386269673370070912696668140891647145772186047"
NO = "36015050921127306245266044699797268780268172446856063291868548314968920497494"
END = 1 << 62


def recording(*frames: Frame) -> Recording:
    return Recording(Path("r"), Venue.KALSHI, frames=list(frames))


def frame(t_ns: int, connection: int = 0, data: bytes = b"") -> Frame:
    return Frame(t_ns, connection, FrameKind.FRAME, data)


def replayed(made: Bench, publisher: Publisher, catalog: Catalog, frames: list[Frame]) -> ReplayedFeed:
    feed: KalshiFeed | PolymarketFeed
    if made.venue is Venue.KALSHI:
        feed = KalshiFeed(publisher, use_yes_price=False)
    else:
        feed = PolymarketFeed(publisher)
    feed.list(made.generation(catalog))
    return ReplayedFeed(feed, publisher, frames)


def story(venue: Venue, recordings: Path) -> tuple[Catalog, list[Frame]]:
    if venue is Venue.POLYMARKET:
        frames = merged(open_recordings(recordings / "polymarket" / "ws_market_frames_fed_2026-07-20.json"))
        return toml(polymarket(FED, YES, NO, neg_risk=True)), frames
    frames = merged(open_recordings(recordings / "kalshi" / "ws_session_demo_2026-07-01.jsonl"))[:700]
    tickers = ("KXNEXTTEAMNBA-26LJAM-MIA", "KXNEXTTEAMNBA-26LJAM-GSW", "KXBTCD-26JUL0317-T60499.99")
    return toml(*map(kalshi, tickers)), frames


Shown = dict[str, object]


def shown(made: Bench, slot: int) -> Shown:
    """What a row says, without what differs between two runs: stamps, epoch, version and the frame it came with."""
    row = made.rows.read(slot)
    if row is None:
        return {}
    said = row._asdict()
    for name in ("version", "epoch", "recv_ns", "publish_ns", "venue_ms"):
        del said[name]
    return {**said, "cost": made.cost(slot), "current": row.epoch == made.epoch()}


def test_connections_of_several_recordings_are_kept_apart_and_ordered_by_time() -> None:
    one = recording(Frame(1, 0, FrameKind.OPEN), frame(5, 1), frame(9, 0))
    two = recording(Frame(2, 0, FrameKind.OPEN), frame(5, 0), frame(6, 3))
    three = recording(frame(5, 0))
    assert [(each.t_ns, each.connection) for each in merged([one, two, three])] == [
        *((1, 0), (2, 2), (5, 1), (5, 2), (5, 6), (6, 5), (9, 0)),
    ]
    assert step_times([one, two, three]) == [1, 2, 5, 6, 9]
    assert merged([]) == []


def test_frames_are_applied_when_their_time_has_come(kalshi_bench: Bench) -> None:
    frames = [frame(t, data=b'{"type":"ok"}') for t in (10, 20, 20, 30)]
    replay = replayed(kalshi_bench, kalshi_bench.publisher, toml(kalshi("A")), frames)
    assert replay.apply_until(9) == 0
    assert replay.next_ns == 10
    assert replay.apply_until(20, most=2) == 2
    assert replay.apply_until(20) == 1
    assert replay.apply_until(29) == 0
    assert replay.apply_until(END) == 1
    assert kalshi_bench.get(Counter.FRAMES) == 4
    assert [replay.next_ns] == [None]


def test_opens_closes_and_rest_books_reach_the_feed(kalshi_bench: Bench) -> None:
    book = encoded({"orderbook_fp": {"yes_dollars": [["0.4000", "1.00"]], "no_dollars": []}})
    frames = [
        Frame(1, 2, FrameKind.OPEN),
        Frame(2, 2, FrameKind.REST, book, "A"),
        Frame(3, 2, FrameKind.CLOSE),
    ]
    replay = replayed(kalshi_bench, kalshi_bench.publisher, toml(kalshi("A")), frames)
    index = kalshi_bench.first_connection + 2
    replay.apply_until(1)
    assert kalshi_bench.connections.state(index) is ConnectionState.LIVE
    replay.apply_until(2)
    assert kalshi_bench.row(kalshi_bench.first_slot).no_asks == ((6_000, 100),)
    replay.apply_until(3)
    assert kalshi_bench.connections.state(index) is ConnectionState.DOWN
    assert kalshi_bench.row(kalshi_bench.first_slot).no_asks == ()


def test_recorded_rest_books_of_polymarket_verify(polymarket_bench: Bench, recordings: Path) -> None:
    _, books = open_recordings(recordings / "pairs" / "snapshot_2026-07-20")
    wanted = [each for each in books.frames if each.native_id in ("", FED)]
    catalog = toml(polymarket(FED, YES, NO, neg_risk=True))
    replay = replayed(polymarket_bench, polymarket_bench.publisher, catalog, wanted)
    assert replay.apply_until(END) == 2
    assert polymarket_bench.verified(polymarket_bench.first_slot)
    assert polymarket_bench.row(polymarket_bench.first_slot).yes_asks[0] == (9_250, 2_194_467)


@pytest.mark.parametrize("venue", list(Venue), ids=lambda venue: venue.label)
def test_a_muted_catch_up_publishes_nothing_and_then_the_rows_of_an_uninterrupted_run(
    venue: Venue, recordings: Path
) -> None:
    catalog, frames = story(venue, recordings)
    cuts = [frames[len(frames) * part // 4].t_ns for part in (1, 2, 3)]
    after: list[list[Shown]] = []
    with bench(venue) as made:
        slots = range(made.first_slot, made.first_slot + len(catalog.instruments))
        through = replayed(made, made.publisher, catalog, frames)
        for until in (*cuts, END):
            through.apply_until(until)
            after.append([shown(made, slot) for slot in slots])
    assert all(after[-1])
    assert len({str(each) for each in after}) > 1
    with bench(venue) as made:
        for cut, wanted in zip(cuts, after, strict=False):
            published, heads = made.get(Counter.PUBLISHED), made.changes()[1]
            publisher = made.new_publisher()
            again = replayed(made, publisher, catalog, frames)
            publisher.muted = True
            again.apply_until(cut - 1)
            assert (made.get(Counter.PUBLISHED), made.changes()[1]) == (published, heads)
            assert {made.cost(slot) for slot in slots} == {(1 << 30, 1 << 30)}
            assert made.connections.state(made.first_connection) is ConnectionState.DOWN

            publisher = made.new_publisher()
            restarted = replayed(made, publisher, catalog, frames)
            restarted.catch_up(cut)
            assert restarted.next_ns == cut  # what comes now is published as it comes
            assert made.connections.state(made.first_connection) is ConnectionState.LIVE
            restarted.apply_until(cut)
            assert [shown(made, slot) for slot in slots] == wanted
            assert all(made.verified(slot) for slot in slots if made.rows.read(slot) is not None)
        restarted.apply_until(END)
        assert [shown(made, slot) for slot in slots] == after[-1]
        assert all(made.verified(slot) for slot in slots if made.rows.read(slot) is not None)
