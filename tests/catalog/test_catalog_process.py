"""What the executor holds stays listed, whoever restarts; a relation that left is revoked at once."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from catalog_toml import catalog, kalshi, pair, polymarket

from arbpipe.catalog.model import Catalog
from arbpipe.catalog.process import CatalogPublisher
from arbpipe.config import Config
from arbpipe.identity import instrument_uid
from arbpipe.process import Process, RunSpec
from arbpipe.shm.generation import Generation, Listing
from arbpipe.shm.layout import Counts, Role
from arbpipe.shm.segment import Mode, Segment
from arbpipe.shm.tables import Held, Revoked, write_ranges

COUNTS = Counts(slots=256, connections=8, log_capacity=64, ring_capacity=16, covers=16, relations=16, held=16)
A, B, POLY = (instrument_uid(*key.split(":")) for key in ("kalshi:A", "kalshi:B", "polymarket:0x01"))
BOTH = (kalshi("A"), polymarket("0x01"), pair("one", "kalshi:A#Yes", "polymarket:0x01#Yes"))


class Stage:
    """A segment, and catalog processes that come and go on it."""

    def __init__(self, directory: Path, state: Path) -> None:
        self.segment = Segment.create(directory, COUNTS)
        write_ranges(self.segment)
        self.held = Held(self.segment)
        self.spec = RunSpec(str(directory), "main", Mode.PAPER, str(state), "", Config())

    @contextmanager
    def publisher(self) -> Iterator[tuple[CatalogPublisher, Process]]:
        """A new catalog process."""
        process = Process(Role.CATALOG, self.spec)
        try:
            yield CatalogPublisher(process), process
        finally:
            process.close()

    def publish(self, made: Catalog) -> bool:
        """What a process that starts now publishes."""
        with self.publisher() as (publisher, _):
            return publisher.publish(made)

    def generation(self) -> Generation:
        number = self.segment.region.load_u64(self.segment.section("catalog").offset)
        return Generation(self.segment.directory, number)

    def listed(self, uid: int) -> Listing | None:
        return self.generation().by_uid.get(uid)

    def rewriting(self) -> Callable[[], None]:
        """The executor is in the middle of a new set; the answer ends that."""
        at = self.segment.section("held_head").offset + 8
        busy = self.segment.region.load_u64(at)
        self.segment.region.store_u64(at, busy | 1)
        return lambda: self.segment.region.store_u64(at, (busy | 1) + 1)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    directory = Path(tempfile.mkdtemp(prefix="arbpipe-test-", dir="/dev/shm"))
    try:
        made = Stage(directory, tmp_path)
        yield made
        made.segment.detach()
    finally:
        shutil.rmtree(directory)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_same_file_again_is_no_new_generation(stage: Stage) -> None:
    assert stage.publish(catalog(*BOTH))
    assert not stage.publish(catalog(*BOTH))
    assert stage.generation().number == 1


def test_an_instrument_that_left_stays_listed_while_it_is_held_and_does_not_trade(stage: Stage) -> None:
    stage.held.store({A})
    with stage.publisher() as (publisher, _):
        publisher.publish(catalog(*BOTH))
        before = stage.listed(A)
        assert publisher.publish(catalog(kalshi("B")))
        kept = stage.listed(A)
        assert before is not None
        left = "left the catalog while it is still held"
        assert kept == before._replace(number=1, group=-1, tradeable=False, reason=left)
        assert stage.listed(POLY) is None  # it was not held
        assert stage.generation().covers == []
        stage.held.store(set())
        assert publisher.publish(catalog(kalshi("B")))
        assert stage.listed(A) is None


@pytest.mark.parametrize("gone_before", [False, True], ids=["leaves at the restart", "left before it"])
def test_what_is_held_stays_listed_over_a_restart_of_the_catalog(stage: Stage, gone_before: bool) -> None:
    stage.held.store({A, POLY})
    stage.publish(catalog(*BOTH))
    slots = {uid: listing.slot for uid, listing in stage.generation().by_uid.items()}
    if gone_before:
        assert stage.publish(catalog(kalshi("B")))
    for again in range(3):
        assert stage.publish(catalog(kalshi("B"))) == (not gone_before and not again)
        for uid in (A, POLY):
            kept = stage.listed(uid)
            assert kept is not None
            assert (kept.slot, kept.tradeable) == (slots[uid], False)
            assert kept.fee is not None  # a sale of it can still be priced
    kept = stage.listed(POLY)
    assert kept is not None
    assert (kept.yes_token, kept.min_size_text) == (catalog(*BOTH).instrument(POLY).yes_token, "5")


def test_what_is_held_and_comes_back_trades_again_in_the_same_slot(stage: Stage) -> None:
    stage.held.store({A})
    stage.publish(catalog(*BOTH))
    first = stage.listed(A)
    stage.publish(catalog(kalshi("B")))
    stage.publish(catalog(*BOTH))
    assert stage.listed(A) == first


def test_a_set_that_is_being_rewritten_is_waited_for(stage: Stage) -> None:
    stage.held.store({A})
    stage.publish(catalog(*BOTH))
    finish = stage.rewriting()
    assert stage.held.load() is None
    published = threading.Event()

    with stage.publisher() as (publisher, _):

        def work() -> None:
            publisher.publish(catalog(kalshi("B")))
            published.set()

        thread = threading.Thread(target=work)
        thread.start()
        assert not published.wait(0.05)
        assert stage.generation().number == 1
        finish()
        thread.join(5)
        assert published.is_set()
    assert stage.listed(A) is not None

    mistaken = stage.held.load() or set()  # read while it was rewritten this was None, and None taken for nothing
    stage.rewriting()
    assert mistaken == {A}
    assert (stage.held.load() or set()) == set()


def test_a_process_told_to_stop_does_not_wait_for_ever_and_drops_nothing_that_is_held(stage: Stage) -> None:
    stage.held.store({A})
    stage.publish(catalog(*BOTH))
    finish = stage.rewriting()
    with stage.publisher() as (publisher, process):
        process.stop = True
        began = time.monotonic()
        assert not publisher.publish(catalog(kalshi("B")))
        assert time.monotonic() - began < 1
    finish()
    assert stage.generation().number == 1
    assert stage.publish(catalog(kalshi("B")))
    kept = stage.listed(A)
    assert kept is not None
    assert not kept.tradeable


def test_a_relation_that_left_or_changed_is_revoked_and_a_new_slot_is_not(stage: Stage) -> None:
    revoked = Revoked(stage.segment)
    stage.publish(catalog(*BOTH))
    (cover,) = stage.generation().covers
    (old,) = cover.relations
    assert not revoked.is_set(old)
    changed = (*BOTH[:2], pair("one", "kalshi:A#Yes", "polymarket:0x01#No"))
    assert stage.publish(catalog(*changed))
    (cover,) = stage.generation().covers
    assert revoked.is_set(old)
    assert not any(revoked.is_set(relation) for relation in cover.relations)
