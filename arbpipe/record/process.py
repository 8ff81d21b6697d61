"""The feed process of a replay: one venue, its recordings, its rows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from arbpipe.clock import ClockMode
from arbpipe.identity import Venue
from arbpipe.process import Process
from arbpipe.record.recording import open_recordings
from arbpipe.record.replay import ReplayedFeed, merged
from arbpipe.shm.generation import Generation
from arbpipe.shm.stats import IDLE_FOR_EVER, Counter, ProcessState
from arbpipe.shm.tables import FEED_ROLES
from arbpipe.venues.kalshi.feed import KalshiFeed
from arbpipe.venues.polymarket.feed import PolymarketFeed
from arbpipe.venues.publisher import Publisher

__all__ = ["run_feed"]

_TURN_S: Final = 0.02
_STEP_POLL_S: Final = 0.0002
_BATCH: Final = 256


def run_feed(process: Process) -> None:
    """Replay until told to stop; at the end of the recording the last books stand and go on being old."""
    line, segment = process.line, process.segment
    venue = FEED_ROLES[process.role]
    for counter in Counter:
        line.set(counter, 0)  # a restarted feed reads its recording from the start, and counts it from the start
    publisher = Publisher(segment, process.role, line, process.alerts)
    publisher.take_over()
    recordings = [
        recording
        for path in process.spec.recordings.get(venue.label, [])
        for recording in open_recordings(Path(path))
        if recording.venue is venue
    ]
    feed: KalshiFeed | PolymarketFeed
    if venue is Venue.KALSHI:
        feed = KalshiFeed(publisher, use_yes_price=any(recording.use_yes_price for recording in recordings))
    else:
        feed = PolymarketFeed(publisher)
    replayed = ReplayedFeed(feed, publisher, merged(recordings))
    generation_at = segment.section("catalog").offset
    generation = 0
    stepped = process.clock.mode is ClockMode.STEPPED
    started = False
    line.state(ProcessState.RUN)
    while not process.should_stop():
        current = segment.region.load_u64(generation_at)
        if current != generation:
            feed.list(Generation(segment.directory, current))
            generation = current
            line.acknowledge(generation)
        if generation and not started:
            replayed.catch_up(process.clock.now_ns())
            started = True
        if started:
            now = process.clock.now_ns()
            replayed.apply_until(now, 1 << 62 if stepped else _BATCH)
            if replayed.next_ns is None or replayed.next_ns > now:
                line.progress(now)
            line.waiting(IDLE_FOR_EVER if replayed.next_ns is None else replayed.next_ns)
        line.add(Counter.TURNS)
        line.beat()
        if stepped:
            time.sleep(_STEP_POLL_S)
        elif started and replayed.next_ns is not None:
            time.sleep(min(_TURN_S, process.clock.real_seconds(replayed.next_ns - process.clock.now_ns())))
        else:
            time.sleep(_TURN_S)
