"""The doorbell: a word that changed ends the wait, a time-out ends it too, and no ring is lost."""

from __future__ import annotations

import mmap
import os
import random
import signal
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest
from core_mutants import HERE, LONG, native_mutant
from plane_support import Spawn

from arbpipe.shm.layout import CELL, LINE, ROW

#: The bell on two lines, then the words that are waited for.
BELL, WORD, ACK = 0, 2 * LINE, 3 * LINE
SIZE = 4 * LINE
#: What is published before the word, as a feed does: its stores keep the word's waiting in the store buffer.
ROWS = [SIZE + n * ROW.size for n in range(1)]


def test_a_word_that_differs_already_is_not_waited_for(core: ModuleType) -> None:
    region = core.Region(bytearray(SIZE))
    region.store_u64(WORD, 7)
    begin = time.monotonic()
    assert core.bell_wait(region, BELL, (WORD,), (6,), 0, 10_000_000_000)
    assert core.bell_wait(region, BELL, (ACK, WORD), (0, 6), 10_000_000_000, 10_000_000_000)
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize("spin_ns", [0, 5_000_000, 1 << 40])
def test_a_word_that_stays_ends_the_wait_at_its_time_out_and_leaves_no_mark(core: ModuleType, spin_ns: int) -> None:
    buffer = bytearray(SIZE)
    begin = time.monotonic_ns()
    assert not core.bell_wait(core.Region(buffer), BELL, (WORD,), (0,), spin_ns, 20_000_000)
    assert time.monotonic_ns() - begin >= 20_000_000
    assert buffer == bytes(SIZE)


def test_no_time_is_no_wait(core: ModuleType) -> None:
    assert not core.bell_wait(core.Region(bytearray(SIZE)), BELL, (WORD,), (0,), 0, 0)


def test_a_store_and_a_ring_by_another_thread_end_the_wait(core: ModuleType) -> None:
    region = core.Region(bytearray(SIZE))

    def publish() -> None:
        region.store_u64(WORD, 1)
        core.bell_ring(region, BELL)

    timer = threading.Timer(0.02, publish)
    timer.start()
    begin = time.monotonic()
    assert core.bell_wait(region, BELL, (WORD,), (0,), 0, 10_000_000_000)
    assert time.monotonic() - begin < 5
    timer.join()


def test_a_ring_for_nobody_changes_nothing(core: ModuleType) -> None:
    buffer = bytearray(SIZE)
    assert not core.bell_ring(core.Region(buffer), BELL)
    assert buffer == bytes(SIZE)


def test_a_ring_without_news_wakes_and_the_wait_goes_on(native: ModuleType) -> None:
    region = native.Region(bytearray(SIZE))
    woken = []

    def ring() -> None:
        for _ in range(200):
            woken.append(native.bell_ring(region, BELL))
            time.sleep(0.0005)

    thread = threading.Thread(target=ring)
    thread.start()
    begin = time.monotonic_ns()
    assert not native.bell_wait(region, BELL, (WORD,), (0,), 0, 50_000_000)
    assert time.monotonic_ns() - begin >= 50_000_000
    thread.join()
    assert any(woken)
    assert region.load_u32(BELL) == sum(woken)


@pytest.mark.parametrize(("words", "expected"), [((WORD,), ()), ((), (1,)), ((WORD,) * 17, (0,) * 17)])
def test_as_many_words_as_expected_values_and_not_more_than_sixteen(
    core: ModuleType, words: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="as many of both, at most 16"):
        core.bell_wait(core.Region(bytearray(SIZE)), BELL, words, expected, 0, 1)


@pytest.mark.parametrize(("spin_ns", "timeout_ns"), [(0, -1), (-1, 5), (0, 1 << 63), (0, "1")])
def test_a_time_that_is_none_is_refused(core: ModuleType, spin_ns: object, timeout_ns: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        core.bell_wait(core.Region(bytearray(SIZE)), BELL, (WORD,), (0,), spin_ns, timeout_ns)


def test_a_signal_ends_the_wait_after_its_handler_ran(native: ModuleType) -> None:
    region = native.Region(bytearray(SIZE))
    handled = []
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.append(True))
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        begin = time.monotonic()
        assert not native.bell_wait(region, BELL, (WORD,), (0,), 0, 20_000_000_000)
        assert time.monotonic() - begin < 10
        assert handled == [True]
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_an_exception_in_a_signal_handler_comes_out_of_the_wait(native: ModuleType) -> None:
    class Told(Exception):
        pass

    def handler(*_: object) -> None:
        raise Told

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(Told):
            native.bell_wait(native.Region(bytearray(SIZE)), BELL, (WORD,), (0,), 0, 20_000_000_000)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_nobody_releases_the_region_under_a_sleeper(native: ModuleType) -> None:
    region = native.Region(bytearray(SIZE))
    thread = threading.Thread(target=native.bell_wait, args=(region, BELL, (WORD,), (0,), 0, 300_000_000))
    thread.start()
    while not region.load_u32(LINE):
        time.sleep(0.001)
    with pytest.raises(BufferError):
        region.release()
    thread.join()
    region.release()


# -- lost wake-ups -------------------------------------------------------------------------------------------------------

ROUNDS = 5_000_000 if LONG else 150_000
#: A wait that lasts so long was not woken; no scheduler here keeps a process waiting that long.
TIMEOUT_NS = 1_000_000_000

# Round n: the waiter waits for the word to become n + 1 and acknowledges; the ringer publishes after a pause of its own length.
RINGER = f"""
import mmap, os, random, sys
sys.path.insert(0, {str(HERE)!r})
from core_mutants import load_core
core = load_core(sys.argv[1])
with open(sys.argv[2], "r+b") as file:
    region = core.Region(mmap.mmap(file.fileno(), 0))
os.sched_setaffinity(0, {{max(os.sched_getaffinity(0))}})
print("ready", flush=True)
dice = random.Random(1)
pauses = [dice.randrange(20) if dice.randrange(200) else dice.randrange(3000) for _ in range(4096)]
load, store, ring, pause, write = region.load_u64, region.store_u64, core.bell_ring, core.pause, core.row_write
cell = bytes({CELL.size})
n = 0
while True:
    while load({ACK}) != n:
        pass
    pause(pauses[n & 4095])
    n += 1
    for row in {ROWS}:
        write(region, row, cell)
    store({WORD}, n)
    ring(region, {BELL})
"""


def lost_wakeups(
    core: ModuleType, name: str, path: Path, spawn: Spawn, rounds: int, enough: int
) -> tuple[int, int, int]:
    """Rounds played, waits that only the time-out ended although the word had changed, and rings that woke somebody."""
    path.write_bytes(bytes(SIZE + len(ROWS) * ROW.size))
    into = bytearray(CELL.size)
    affinity = os.sched_getaffinity(0)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        region = core.Region(mapping)
        ringer = spawn(RINGER, name, path)
        assert ringer.line() == "ready"
        os.sched_setaffinity(0, {min(affinity)})
        try:
            lost = n = 0
            dice = random.Random(2)
            pauses = [dice.randrange(40) for _ in range(4096)]
            wait, store, clock = core.bell_wait, region.store_u64, time.monotonic_ns
            end = time.monotonic() + (3_600 if LONG else 150)
            while n < rounds and lost < enough and time.monotonic() < end:
                core.pause(pauses[n & 4095])
                began = clock()
                assert wait(region, BELL, (WORD,), (n,), 0, TIMEOUT_NS), "nothing was published in a second"
                lost += clock() - began > TIMEOUT_NS * 0.9
                n += 1
                for row in ROWS:
                    core.row_read(region, row, into)  # now their lines are here, and the next store has to fetch them
                store(ACK, n)
            slept = region.load_u32(BELL)
        finally:
            os.sched_setaffinity(0, affinity)
            ringer.kill()
            region.release()
    return n, lost, slept


@pytest.mark.system
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="both sides need a core")
def test_no_wake_up_is_lost(native: ModuleType, plane: Path, spawn: Spawn) -> None:
    rounds, lost, slept = lost_wakeups(native, "arbpipe._native", plane / "bell", spawn, ROUNDS, 1)
    print(f"{rounds:,} rounds, {slept:,} of them woke a sleeper, {lost} lost")
    assert lost == 0
    assert slept > rounds // 1_000, "the waiter hardly ever slept: the test proved nothing"


@pytest.mark.system
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="both sides need a core")
def test_without_the_full_fences_wake_ups_are_lost(plane: Path, spawn: Spawn, tmp_path: Path) -> None:
    from core_mutants import load_core

    path = native_mutant(
        tmp_path,
        ("wait.c", "fence_full(); /* B1", "/* B1"),
        ("wait.c", "fence_full(); /* B2", "/* B2"),
    )
    rounds, lost, slept = lost_wakeups(load_core(path), path, plane / "bell", spawn, 50_000_000, 1)
    print(f"{rounds:,} rounds without fences, {slept:,} of them woke a sleeper, {lost} lost")
    assert lost == 1
