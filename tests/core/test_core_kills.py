"""SIGKILL of either side of each ring: nothing torn, nothing twice, every lost entry counted."""

from __future__ import annotations

import mmap
import os
import select
import signal
import time
from pathlib import Path
from types import ModuleType

import pytest
from core_mutants import HERE, LONG
from plane_support import SMALL, Spawn

from arbpipe.shm.layout import HEAD_BYTES
from arbpipe.shm.segment import Segment

pytestmark = pytest.mark.system

KILLS = 500 if LONG else 60
CAPACITY, STRIDE = 64, 64
SIZE = HEAD_BYTES + STRIDE * CAPACITY

# One owner after the other, each forked by a line from the test: it goes on at the head it finds, entry n says n.
OWNERS = f"""
import mmap, os, sys
sys.path.insert(0, {str(HERE)!r})
from core_mutants import load_core
core = load_core(sys.argv[1])
kind, capacity = sys.argv[3], {CAPACITY}
with open(sys.argv[2], "r+b") as file:
    region = core.Region(mmap.mmap(file.fileno(), 0))
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        n = region.load_u64(0)
        os.write(1, b"%d %d\\n" % (os.getpid(), n))
        while True:
            if kind == "log":
                core.log_push(region, 0, capacity, n)
            else:
                core.ring_push(region, 0, capacity, {STRIDE}, n.to_bytes(8, "little") * {STRIDE // 8})
            n += 1
    os.waitpid(pid, 0)
    os.write(1, b"dead\\n")
"""


class Consumer:
    """Reads everything it can get, and keeps account of what it could not."""

    def __init__(self, core: ModuleType, region: object, kind: str) -> None:
        self.core, self.region, self.kind = core, region, kind
        self.at = self.seen = self.lost = self.overruns = 0

    def read(self) -> None:
        """One step."""
        core = self.core
        try:
            if self.kind == "log":
                slots, after = core.log_drain(self.region, 0, CAPACITY, self.at)
                assert slots == list(range(self.at, after))
                self.seen += len(slots)
                self.at = after
            else:
                entry = core.ring_read(self.region, 0, CAPACITY, STRIDE, self.at)
                if entry is not None:
                    assert entry == self.at.to_bytes(8, "little") * (STRIDE // 8)
                    self.seen += 1
                    self.at += 1
        except core.Overrun as gap:
            after = gap.head if self.kind == "log" else gap.head - CAPACITY + 1
            assert after > self.at
            self.overruns += 1
            self.lost += after - self.at
            self.at = after


@pytest.mark.parametrize("kind", ["log", "ring"])
def test_a_killed_writer_leaves_a_ring_that_its_next_owner_goes_on_with(
    core: ModuleType, writer_core: str, kind: str, plane: Path, spawn: Spawn
) -> None:
    path = plane / "ring"
    path.write_bytes(bytes(SIZE))
    owners = spawn(OWNERS, writer_core, path, kind)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        region = core.Region(mapping)
        consumer = Consumer(core, region, kind)
        last = 0
        for number in range(KILLS):
            owners.tell("next")
            pid, head = map(int, owners.line().split())
            assert head == last
            end = time.monotonic() + 0.0007 + 0.00037 * (number % 7)
            while time.monotonic() < end:
                consumer.read()
                if number % 2:
                    time.sleep(0.0003)  # every other time it is too slow
            os.kill(pid, signal.SIGKILL)
            assert owners.line() == "dead"
            last = region.load_u64(0)
            while consumer.at < last:
                consumer.read()
            assert consumer.at == last == consumer.seen + consumer.lost
        region.release()
    print(f"{KILLS} kills of a {writer_core} {kind} writer: {consumer.seen} read, {consumer.lost} lost and known")
    assert consumer.seen > KILLS
    assert consumer.overruns > 0


# The executor's end: the tail is stored before the entry is acted upon, and a restart begins at the head.
TAKERS = """
import os, sys, time
from pathlib import Path
from arbpipe.shm.layout import Role
from arbpipe.shm.opportunity import OpportunityReader
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import ProcessLine
segment = Segment.attach(Path(sys.argv[1]), writable=True)
for _ in sys.stdin:
    pid = os.fork()
    if not pid:
        line = ProcessLine(segment, Role.EXECUTOR)
        reader = OpportunityReader(segment, line)
        os.write(1, b"start %d %d %d\\n" % (os.getpid(), reader.tail, 0))
        while True:
            found = reader.next()
            if found is not None:
                os.write(1, b"took %d %d %d\\n" % (found.position, found.edge_e6, reader.overruns))
    os.waitpid(pid, 0)
    os.write(1, b"dead 0 0 0\\n")
"""
PUSHER = """
import sys, time
from pathlib import Path
from arbpipe.shm.opportunity import Doorbell, Leg, Opportunity, OpportunityWriter
from arbpipe.shm.segment import Segment
segment = Segment.attach(Path(sys.argv[1]), writable=True)
writer = OpportunityWriter(segment, Doorbell(segment.directory))
n = 0
while True:
    legs = (Leg(1, 2, n, n, 4, 5, 6), Leg(7, 8, n, n, 4, 5, 6))
    writer.push(Opportunity(0, 1, 2, 3, 100, 3 * n, 0, n, n, n, n, legs))
    n += 1
    if not n % 3:
        time.sleep(0.00002)
"""


def test_a_killed_taker_never_takes_an_opportunity_again(plane: Path, spawn: Spawn) -> None:
    kills = KILLS // 3
    with Segment.create(plane, SMALL):
        takers = spawn(TAKERS, plane)
        spawn(PUSHER, plane)
        taken: list[int] = []
        overruns = 0
        for number in range(kills):
            takers.tell("next")
            name, pid, tail, _ = takers.line().split()
            assert name == "start"
            assert not taken or int(tail) > taken[-1], "it began before what its predecessor had taken"
            kill_at = time.monotonic() + 0.004 + 0.0011 * (number % 5)
            alive = True
            while True:
                if alive and time.monotonic() >= kill_at:
                    os.kill(int(pid), signal.SIGKILL)
                    alive = False
                stream = takers.process.stdout
                assert stream is not None
                if alive and not select.select([stream], [], [], 0.0005)[0]:
                    continue
                name, position, edge, lost = takers.line().split()
                if name == "dead":
                    break
                assert int(edge) == 3 * int(position), "the entry is not of this position"
                taken.append(int(position))
                overruns = max(overruns, int(lost))
        assert taken == sorted(set(taken))
    print(f"{kills} kills of the taker: {len(taken)} taken, none twice, up to {overruns} overrun in one life")
    assert len(taken) > kills
