"""The catalog process: ``pairs.toml`` in, generations out; the file may change while everything runs.

A file that cannot be used leaves the last generation standing and is an alert. A relation that left, or whose text changed,
is revoked at once, before the new generation is written: new attempts stop, nobody waits for anybody.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from arbpipe.catalog.model import Catalog, Instrument, PairsError, Relation, stable_id
from arbpipe.catalog.pairs import load_pairs
from arbpipe.catalog.publish import SlotAllocator, flatten
from arbpipe.clock import boottime_ns
from arbpipe.errors import EnvironmentRefused
from arbpipe.process import Process
from arbpipe.shm.doorbell import DetectorBell
from arbpipe.shm.generation import Generation, Listing, content_of, encode_generation, write_generation
from arbpipe.shm.layout import PROCESS, Role
from arbpipe.shm.stats import Counter, ErrorCode, ProcessState
from arbpipe.shm.tables import FEED_ROLES, Held, Revoked, ranges_of

__all__ = ["CatalogPublisher", "relation_key", "run_catalog"]

_TURN_S: Final = 0.05
_CONSUMERS: Final = (Role.FEED_KALSHI, Role.FEED_POLYMARKET, Role.DETECTOR, Role.EXECUTOR)
_KEEP: Final = 3


def relation_key(relation: Relation) -> int:
    """One number for everything a relation says: when any of it changes, the old relation is revoked."""
    return stable_id(repr(relation))


class CatalogPublisher:
    """Turns catalogs into generations of one segment."""

    def __init__(self, process: Process) -> None:
        self._segment = segment = process.segment
        self._process = process
        self._word = segment.section("catalog").offset
        self._bell = DetectorBell(segment)
        self._held = Held(segment)
        self._revoked = Revoked(segment)
        self._slots = {
            FEED_ROLES[role]: SlotAllocator(each.first_slot, each.slots, "instrument")
            for role, each in ranges_of(segment).items()
        }
        self._relations = SlotAllocator(0, segment.counts.relations, "relation")
        self.generation = segment.region.load_u64(self._word)
        self._known: dict[int, Instrument] = {}  # of the last generation, by uid
        if self.generation:
            self._adopt()

    def _adopt(self) -> None:
        """Go on with the slots an earlier catalog process gave out."""
        current = Generation(self._segment.directory, self.generation)
        for listing in current.listings:
            self._slots[listing.venue].adopt(listing.uid, listing.slot)
            self._known[listing.uid] = _instrument(listing)
        for slot, (key, _name) in current.meta["relations"].items():
            self._relations.adopt(key, int(slot))

    def _acknowledged(self) -> int:
        """The oldest generation a consumer may still work with; dead consumers count."""
        place, region = self._segment.section("processes"), self._segment.region
        oldest = self.generation
        for role in _CONSUMERS:
            if region.load_u32(place.at(role) + PROCESS.offset("pid")):
                oldest = min(oldest, region.load_u64(place.at(role) + PROCESS.offset("generation")))
        return oldest

    def _with_held(self, catalog: Catalog) -> Catalog | None:
        """Keep what the executor still holds listed, though nothing about it trades any more; ``None`` when told to stop
        before that could be read."""
        held = self._held.load()
        while held is None:  # it is being rewritten; what is held must not be taken for nothing
            if self._process.should_stop():
                return None
            time.sleep(0.001)
            held = self._held.load()
        listed = {each.uid for each in catalog.instruments}
        kept = tuple(
            replace(each, tradeable=False, reason="left the catalog while it is still held")
            for each in self._known.values()
            if each.uid in held and each.uid not in listed
        )
        return replace(catalog, instruments=catalog.instruments + kept) if kept else catalog

    def publish(self, catalog: Catalog) -> bool:
        """Publish a catalog; return whether it says anything new.

        Raises:
            EnvironmentRefused: no slot or no space is left.
        """
        complete = self._with_held(catalog)
        if complete is None:
            return False
        catalog = complete
        now, acknowledged = boottime_ns(), self._acknowledged()
        keys = {relation.id: relation_key(relation) for relation in catalog.relations}
        for slot in [slot for key, slot in self._relations.taken.items() if key not in set(keys.values())]:
            self._revoked.set(slot, True)
        self._relations.release_absent(keys.values(), now, self.generation)
        relation_slots = {}
        for relation_id, key in keys.items():
            fresh = key not in self._relations.taken
            relation_slots[relation_id] = self._relations.slot(key, now, acknowledged)
            if fresh:
                self._revoked.set(relation_slots[relation_id], False)
        slots: dict[int, int] = {}
        for venue, allocator in self._slots.items():
            uids = [each.uid for each in catalog.instruments if each.venue is venue]
            allocator.release_absent(uids, now, self.generation)
            for uid in uids:
                slots[uid] = allocator.slot(uid, now, acknowledged)
        if len(catalog.covers) > self._segment.counts.covers:
            raise EnvironmentRefused(
                f"the catalog has {len(catalog.covers)} covers, the segment room for "
                f"{self._segment.counts.covers}: raise [segment] covers"
            )
        arrays, meta = flatten(catalog, slots, relation_slots)
        meta["relations"] = {str(relation_slots[r.id]): [keys[r.id], r.name] for r in catalog.relations}
        content, head_length = encode_generation(arrays, meta)
        self._known = {each.uid: each for each in catalog.instruments}
        if self.generation and content == content_of(self._segment.directory, self.generation):
            return False
        write_generation(self._segment.directory, self.generation + 1, content, head_length)
        self.generation += 1
        self._segment.region.store_u64(self._word, self.generation)
        self._bell.ring()
        self._segment.region.store_i64(self._word + 8, now)
        (self._segment.directory / f"catalog.{self.generation - _KEEP}").unlink(missing_ok=True)
        return True


def _instrument(listing: Listing) -> Instrument:
    """What a generation says of an instrument, as the catalog's own word for it."""
    return Instrument(
        venue=listing.venue,
        native_id=listing.native_id,
        uid=listing.uid,
        title=listing.title,
        yes_label=listing.yes_label,
        no_label=listing.no_label,
        yes_token=listing.yes_token,
        no_token=listing.no_token,
        version=listing.version,
        tick_e4=listing.tick_e4,
        min_size_e2=listing.min_size_e2,
        neg_risk=listing.neg_risk,
        min_size_text=listing.min_size_text,
        fee=listing.fee,
        tradeable=listing.tradeable,
        reason=listing.reason,
    )


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0, 0)
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def run_catalog(process: Process) -> None:
    """Publish ``pairs.toml`` now, and again whenever it changes, until told to stop."""
    path = Path(process.spec.pairs)
    publisher = CatalogPublisher(process)
    process.line.state(ProcessState.RUN)
    seen: tuple[int, int, int] | None = None
    while not process.should_stop():
        now = _stamp(path)
        if now != seen:
            seen = now
            try:
                catalog = load_pairs(path, kalshi_direct_member=process.spec.config.executor.kalshi_direct_member)
                publisher.publish(catalog)
                for note in catalog.notes:
                    process.alerts.alert(ErrorCode.CATALOG, note)
            except (PairsError, EnvironmentRefused) as error:
                process.alerts.alert(ErrorCode.CATALOG, f"{error}; generation {publisher.generation} stands")
        process.line.acknowledge(publisher.generation)
        process.line.add(Counter.TURNS)
        process.line.beat()
        time.sleep(_TURN_S)
