"""A real segment in a private directory under /dev/shm, and one feed on it: what the tests of feeds share."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from arbpipe.alerts import Alerts
from arbpipe.catalog.model import Catalog
from arbpipe.catalog.pairs import parse_pairs
from arbpipe.catalog.publish import flatten
from arbpipe.identity import Side, Venue, instrument_uid
from arbpipe.shm import core
from arbpipe.shm.generation import Generation, Listing, encode_generation, write_generation
from arbpipe.shm.layout import Counts, Role
from arbpipe.shm.row import Row, RowFlag, RowReader
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import Counter, ProcessLine
from arbpipe.shm.tables import FEED_ROLES, Connections, Costs, Quarantine, QuarantineReason, ranges_of, write_ranges
from arbpipe.venues.publisher import Publisher

COUNTS = Counts(slots=256, connections=8, log_capacity=4_096, ring_capacity=2, covers=16, relations=16, held=16)
_ROLES = {venue: role for role, venue in FEED_ROLES.items()}


def toml(*instruments: str) -> Catalog:
    """A catalog of ``[[instrument]]`` entries only."""
    return parse_pairs("schema = 1\n" + "".join(instruments), "pairs.toml")


def kalshi(ticker: str, *, fee: bool = True, min_size: str = "1") -> str:
    fee_line = 'fee = { type = "quadratic", multiplier = "1" }\n' if fee else ""
    return f'[[instrument]]\nvenue = "kalshi"\nid = "{ticker}"\ntick = "0.01"\nmin_size = "{min_size}"\n{fee_line}'


def polymarket(
    market: str,
    yes: str,
    no: str,
    *,
    fee: bool = True,
    version: str = "v1",
    min_size: str = "5",
    neg_risk: bool = False,
    tick: str = "0.001",
) -> str:
    fee_line = 'fee = { rate = "0.05", exponent = 1 }\n' if fee else ""
    return (
        f'[[instrument]]\nvenue = "polymarket"\nid = "{market}"\nversion = "{version}"\n'
        f'yes = {{ label = "Yes", token = "{yes}" }}\nno = {{ label = "No", token = "{no}" }}\n'
        f'tick = "{tick}"\nmin_size = "{min_size}"\nneg_risk = {str(neg_risk).lower()}\n{fee_line}'
    )


class Bench:
    """Segment, publisher, process line and alert log of one feed, and a reader of all it writes."""

    def __init__(self, directory: Path, venue: Venue) -> None:
        self.directory = directory
        self.venue = venue
        self.role: Role = _ROLES[venue]
        self.segment = Segment.create(directory, COUNTS)
        write_ranges(self.segment)
        self.line = ProcessLine(self.segment, self.role)
        self.line.begin()
        self.log = directory / "alerts.log"
        self.publisher = self.new_publisher()
        self.rows = RowReader(self.segment)
        self.costs = Costs(self.segment)
        self.connections = Connections(self.segment)
        self.quarantines = Quarantine(self.segment)
        self.first_slot = ranges_of(self.segment)[self.role].first_slot
        self.first_connection = ranges_of(self.segment)[self.role].first_connection
        self._generation = 0

    def new_publisher(self) -> Publisher:
        """What a restarted process makes: the row range anew, every claim NO_QUOTE."""
        publisher = Publisher(
            self.segment, self.role, self.line, Alerts(self.directory / "alerts.log", "PAPER", self.role.label)
        )
        publisher.take_over()
        return publisher

    def generation(self, catalog: Catalog, slots: dict[int, int] | None = None) -> Generation:
        """Write the next generation; instruments get slots of this feed's range in order unless given."""
        given = slots or {each.uid: self.first_slot + number for number, each in enumerate(catalog.instruments)}
        arrays, meta = flatten(catalog, given, {each.id: at for at, each in enumerate(catalog.relations)})
        self._generation += 1
        write_generation(self.directory, self._generation, *encode_generation(arrays, meta))
        return Generation(self.directory, self._generation)

    def listing(self, generation: Generation, native_id: str) -> Listing:
        return generation.by_uid[instrument_uid(self.venue.label, native_id)]

    def row(self, slot: int) -> Row:
        row = self.rows.read(slot)
        assert row is not None
        return row

    def flags(self, slot: int) -> RowFlag:
        return RowFlag(self.row(slot).flags)

    def cost(self, slot: int) -> tuple[int, int]:
        return self.costs.load(2 * slot + Side.YES), self.costs.load(2 * slot + Side.NO)

    def verified(self, slot: int) -> bool:
        """Whether the row as it stands is verified."""
        return self.rows.verified(slot) == self.rows.version(slot) > 0

    def epoch(self, number: int = 0) -> int:
        return self.connections.epoch(self.first_connection + number)

    def confirmed_ns(self, number: int = 0) -> int:
        return self.connections.confirmed_ns(self.first_connection + number)

    def quarantine(self, slot: int) -> QuarantineReason:
        return self.quarantines.reason(slot)

    def get(self, counter: Counter) -> int:
        return self.line.get(counter)

    def alerts(self) -> list[str]:
        """The alert lines without their time."""
        return [line.split(" ", 1)[1] for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def changes(self, tail: int = 0) -> tuple[list[int], int]:
        """The slots of the change log from ``tail`` on, and the new tail."""
        place = ranges_of(self.segment)[self.role].log
        return core.log_drain(self.segment.region, self.segment.section("changes").at(place), COUNTS.log_capacity, tail)

    def close(self) -> None:
        self.segment.detach()


@contextmanager
def bench(venue: Venue) -> Iterator[Bench]:
    """A bench in a directory of its own under /dev/shm, which is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="arbpipe-test-", dir="/dev/shm"))
    try:
        made = Bench(directory, venue)
        try:
            yield made
        finally:
            made.close()
    finally:
        shutil.rmtree(directory)


def encoded(frame: Any) -> bytes:
    return json.dumps(frame, separators=(",", ":")).encode()
