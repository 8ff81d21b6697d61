"""From a proved catalog to a generation in shared memory: slots, flat arrays, names.

An instrument keeps its slot as long as it is listed. A freed slot is used again only after 60 s and after every consumer
acknowledged a generation without it (design 5, "Slots"); the same holds for relation slots (``revoked``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from arbpipe.catalog.model import Catalog, Claim, Instrument, Relation
from arbpipe.errors import EnvironmentRefused
from arbpipe.identity import Venue, claim_id
from arbpipe.shm.generation import ARRAYS

__all__ = ["REUSE_AFTER_NS", "SlotAllocator", "flatten"]

REUSE_AFTER_NS: Final = 60 * 1_000_000_000


@dataclass(slots=True)
class SlotAllocator:
    """Gives out numbers of one range, and takes each back only when nobody can still mean its old owner."""

    first: int
    count: int
    what: str
    taken: dict[int, int] = field(default_factory=dict)  # key (uid, relation id) → slot
    freed: dict[int, tuple[int, int]] = field(default_factory=dict)  # slot → (freed at, last generation with it)
    _fresh: int = 0  # how many slots from the start were ever used

    def adopt(self, key: int, slot: int) -> None:
        """A slot that an earlier catalog process gave out."""
        self.taken[key] = slot
        self._fresh = max(self._fresh, slot - self.first + 1)

    def release_absent(self, keys: Iterable[int], now_ns: int, generation: int) -> None:
        """Free the slots of every key that is not listed any more; ``generation`` is the last one that lists them."""
        known = {*self.taken.values(), *self.freed}
        for slot in range(self.first, self.first + self._fresh):
            if slot not in known:
                # freed under an earlier catalog process, nobody knows when: its time begins now
                self.freed[slot] = (now_ns, generation)
        listed = set(keys)
        for key in [key for key in self.taken if key not in listed]:
            self.freed[self.taken.pop(key)] = (now_ns, generation)

    def slot(self, key: int, now_ns: int, acknowledged: int) -> int:
        """The slot of ``key``; ``acknowledged`` is the oldest generation any consumer still works with.

        Raises:
            EnvironmentRefused: no slot is free.
        """
        if key in self.taken:
            return self.taken[key]
        if self._fresh < self.count:
            number = self.first + self._fresh
            self._fresh += 1
        else:
            reusable = [
                slot
                for slot, (freed_ns, generation) in self.freed.items()
                if now_ns - freed_ns >= REUSE_AFTER_NS and acknowledged > generation
            ]
            if not reusable:
                raise EnvironmentRefused(
                    f"no free slot for another {self.what}: {self.count} are configured; raise [segment] slots"
                )
            number = min(reusable)
            del self.freed[number]
        self.taken[key] = number
        return number


def _ptr(lengths: Iterable[int]) -> npt.NDArray[Any]:
    return np.concatenate(([0], np.cumsum(list(lengths), dtype=np.uint64))).astype(np.uint32)


def _meta(instrument: Instrument, slot: int) -> dict[str, Any]:
    return {
        # slot and venue stand in the arrays too; here for probes, which read no arrays
        "slot": slot,
        "venue": instrument.venue.label,
        "native_id": instrument.native_id,
        "title": instrument.title,
        "yes_label": instrument.yes_label,
        "no_label": instrument.no_label,
        "yes_token": instrument.yes_token,
        "no_token": instrument.no_token,
        "version": instrument.version,
        "neg_risk": instrument.neg_risk,
        "min_size": instrument.min_size_text,
        "reason": instrument.reason,
    }


def flatten(
    catalog: Catalog, slots: dict[int, int], relation_slots: dict[int, int]
) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """The arrays and names of one generation. ``slots``: uid → slot; ``relation_slots``: relation id → slot."""

    def claim(c: Claim) -> int:
        return claim_id(slots[c.uid], c.side)

    instruments = catalog.instruments
    group_of = {uid: index for index, group in enumerate(catalog.groups) for uid in group.uids}
    events = sorted({cover.event for cover in catalog.covers})
    prop_claims = [sorted(claim(c) for c in p.claims) for p in catalog.propositions]
    relations = [[relation_slots[r.id] for r in _relations_of(catalog, index)] for index in range(len(catalog.covers))]
    pay_claims: list[list[int]] = []
    pay_states, pay_regular, matrix_ptr, least, most = [], [], [0], [], []
    for index, group in enumerate(catalog.groups):
        payoffs = catalog.payoffs(index)
        rows = {claim(c): states for c, states in payoffs.items()}
        states = len(next(iter(rows.values()))) if rows else len(group.states)
        pay_claims.append(sorted(rows))
        pay_states.append(states)
        pay_regular.append(len(group.states))
        for number in sorted(rows):
            least += [low for low, _ in rows[number]]
            most += [high for _, high in rows[number]]
        matrix_ptr.append(matrix_ptr[-1] + states * len(rows))
    fees = [
        (i.fee.rate_e6, i.fee.exponent, i.fee.quantum_e6, i.fee.align_e6) if i.fee else (0, 0, 0, 0)
        for i in instruments
    ]
    covers = catalog.covers
    values: dict[str, Any] = {
        "uid": [i.uid for i in instruments],
        "slot": [slots[i.uid] for i in instruments],
        "venue": [int(i.venue) for i in instruments],
        "tradeable": [int(i.tradeable) for i in instruments],
        "tick_e4": [i.tick_e4 for i in instruments],
        "min_size_e2": [i.min_size_e2 for i in instruments],
        "fee": np.array(fees, dtype=np.uint32).reshape(-1, 4),
        "group": [group_of.get(i.uid, -1) for i in instruments],
        "prop_ptr": _ptr(len(each) for each in prop_claims),
        "prop_claims": [number for each in prop_claims for number in each],
        "cover_ptr": _ptr(len(cover.propositions) for cover in covers),
        "cover_props": [p for cover in covers for p in cover.propositions],
        "cover_id": [cover.id for cover in covers],
        "cover_k": [cover.k for cover in covers],
        "cover_group": [cover.group for cover in covers],
        "cover_event": [events.index(cover.event) for cover in covers],
        "cover_tails": [int(cover.tails_accepted) for cover in covers],
        "cover_floor_e6": [cover.min_floor_e6 for cover in covers],
        "cover_relations_ptr": _ptr(len(each) for each in relations),
        "cover_relations": [slot for each in relations for slot in each],
        "pay_ptr": _ptr(len(each) for each in pay_claims),
        "pay_states": pay_states,
        "pay_regular": pay_regular,
        "pay_claims": [number for each in pay_claims for number in each],
        "pay_matrix_ptr": matrix_ptr,
        "pay_least": least,
        "pay_most": most,
    }
    # the dtype at once: numpy would read uids below and above 2^63 together as floats, and round them
    arrays = {name: np.asarray(values[name], np.dtype(ARRAYS[name])) for name in ARRAYS}
    meta = {
        "instruments": [_meta(i, slots[i.uid]) for i in instruments],
        "covers": [{"name": cover.name, "kind": cover.kind.name.lower(), "event": cover.event} for cover in covers],
        "events": events,
        "relations": {str(relation_slots[r.id]): [r.id, r.name] for r in catalog.relations},
        "venues": {str(int(venue)): venue.label for venue in Venue},
    }
    return arrays, meta


def _relations_of(catalog: Catalog, cover_index: int) -> list[Relation]:
    """The relations a cover rests on: every one of its group that touches an instrument of its propositions.

    More than strictly needed on purpose: revoking any of them stops the cover.
    """
    cover = catalog.covers[cover_index]
    uids = {c.uid for p in cover.propositions for c in catalog.propositions[p].claims}
    own = catalog.relations[cover.relation]
    return [r for r in catalog.relations if r is own or any(c.uid in uids for c in r.claims)]
