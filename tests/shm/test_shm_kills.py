"""SIGKILL of a publishing feed, again and again: every row stays readable, none stays usable, and the next owner goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from plane_support import SMALL, Spawn

from arbpipe.clock import boottime_ns
from arbpipe.identity import Venue
from arbpipe.shm.layout import NO_QUOTE, Role
from arbpipe.shm.locks import lock_holder
from arbpipe.shm.row import Reason, RowReader
from arbpipe.shm.segment import Segment
from arbpipe.shm.tables import Connections, ConnectionState, ranges_of, write_ranges
from arbpipe.shm.usable import Freshness, UsableRule

pytestmark = pytest.mark.system

KILLS = 300 if os.environ.get("ARBPIPE_LONG") == "1" else 40
SLOTS = 4
PATIENCE_NS = 30_000_000

# One owner after the other; each takes over, waits for a byte, and publishes. Everything in the row of step n follows from n.
OWNERS = f"""
import os, sys
from pathlib import Path
from arbpipe.alerts import Alerts
from arbpipe.clock import boottime_ns
from arbpipe.feemodel import FeeTerms
from arbpipe.identity import Venue
from arbpipe.shm.generation import Listing
from arbpipe.shm.layout import Role
from arbpipe.shm.locks import RoleLock
from arbpipe.shm.row import RowFlag
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import ProcessLine
from arbpipe.venues.publisher import Publisher
directory = Path(sys.argv[1])
segment = Segment.attach(directory, writable=True)
fee = FeeTerms(70_000, 1, 1, 1)
texts = ("", "Yes", "No", "", "", "", False, "1", True, "")
listings = [Listing(s, 100 + s, s, Venue.KALSHI, f"I{{s}}", *texts, 100, 100, fee, -1) for s in range({SLOTS})]
while os.read(0, 1):
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        os.write(1, b"dead\\n")
        continue
    lock = RoleLock(directory, Role.FEED_KALSHI.label)
    line = ProcessLine(segment, Role.FEED_KALSHI)
    line.begin()
    publisher = Publisher(segment, Role.FEED_KALSHI, line, Alerts(directory / "alerts.log", "TEST", "feed"))
    publisher.take_over()
    os.write(1, b"%d\\n" % os.getpid())
    os.read(0, 1)
    epoch = publisher.opened(0, boottime_ns())
    n = 0
    while True:
        n += 1
        yes = [(1 + (n + i) % 9_000, 1 + n % 1_000_000 + i) for i in range(8)]
        no = [(9_999 - (n + i) % 9_000, 2 + n % 1_000_000 + i) for i in range(8)]
        publisher.publish(listings[n % {SLOTS}], 0, epoch, flags=RowFlag.NONE, venue_ms=n, recv_ns=3 * n, tick_e4=100,
                          yes_asks=yes, no_asks=no)
        publisher.connections.confirm(publisher.connection(0), boottime_ns())
        line.beat()
"""


def test_a_killed_feed_leaves_rows_that_are_whole_and_unusable_and_the_next_one_goes_on(
    plane: Path, spawn: Spawn
) -> None:
    with Segment.create(plane, SMALL) as segment:
        write_ranges(segment)
        owners = spawn(OWNERS, plane)
        reader, connections = RowReader(segment), Connections(segment)
        rule = UsableRule(segment, Freshness(15_000_000_000, 1_000, PATIENCE_NS))
        mine = ranges_of(segment)[Role.FEED_KALSHI]
        costs = segment.array("cost_e6")
        usable_once = 0
        versions = [0] * SLOTS
        for number in range(KILLS):
            owners.tell_raw(b"n")
            pid = int(owners.line())
            # taken over: nothing of the dead owner's can be used, and nothing was published yet
            assert np.all(costs[mine.first_slot : mine.first_slot + mine.slots] == NO_QUOTE)
            assert connections.state(mine.first_connection) is ConnectionState.DOWN
            for slot in range(SLOTS):
                row = reader.read(slot)
                assert rule.check(Venue.KALSHI, 100 + slot, slot, row, boottime_ns())[0] in (
                    (Reason.NO_ROW,) if row is None else (Reason.CONNECTION_DOWN,)
                )
            owners.tell_raw(b"g")
            time.sleep(0.003 + 0.0007 * (number % 9))
            row = reader.read(1)
            usable_once += rule.check(Venue.KALSHI, 101, 1, row, boottime_ns())[0] is Reason.NONE
            os.kill(pid, signal.SIGKILL)
            assert owners.line() == "dead"
            assert lock_holder(plane, Role.FEED_KALSHI.label) is None
            for slot in range(SLOTS):
                row = reader.read(slot)
                assert row is not None
                n = row.venue_ms
                assert (row.uid, row.recv_ns, n % SLOTS) == (100 + slot, 3 * n, slot)
                assert row.yes_asks == tuple((1 + (n + i) % 9_000, 1 + n % 1_000_000 + i) for i in range(8))
                assert row.no_asks == tuple((9_999 - (n + i) % 9_000, 2 + n % 1_000_000 + i) for i in range(8))
                assert row.version > versions[slot], (
                    "this owner published nothing here: the kill came too early to prove anything"
                )
                versions[slot] = row.version
            if number % 10 == 0:
                time.sleep(PATIENCE_NS / 1e9)
                assert rule.check(Venue.KALSHI, 101, 1, reader.read(1), boottime_ns())[0] is Reason.OWNER_DEAD
        assert usable_once > KILLS // 2, "the rows were never usable: the test proved nothing"
    print(f"{KILLS} kills of a publishing feed: {sum(versions)} rows, every one whole")
