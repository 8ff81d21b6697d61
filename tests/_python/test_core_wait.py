from __future__ import annotations

import threading
import time

from arbpipe._python.region import Region
from arbpipe._python.wait import wait_word


def test_a_word_that_differs_already_is_not_waited_for() -> None:
    region = Region(bytearray(8))
    region.store_u64(0, 7)
    begin = time.monotonic()
    assert wait_word(region, 0, 6, 10_000_000_000)
    assert time.monotonic() - begin < 1


def test_a_word_that_stays_ends_the_wait_at_its_time_out() -> None:
    begin = time.monotonic_ns()
    assert not wait_word(Region(bytearray(8)), 0, 0, 20_000_000)
    assert time.monotonic_ns() - begin >= 20_000_000


def test_a_store_by_another_thread_ends_the_wait() -> None:
    region = Region(bytearray(8))
    timer = threading.Timer(0.02, region.store_u64, (0, 1))
    timer.start()
    assert wait_word(region, 0, 0, 10_000_000_000)
    timer.join()
