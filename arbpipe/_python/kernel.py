"""The first look in numpy and plain Python: which covers may have an edge?

For each proposition the cheapest claim's cost (a lower bound, int32), for each cover ``k`` dollars less the sum over its
propositions (int64). A claim nobody may buy costs ``NO_QUOTE`` = 2^30, and one such leg already exceeds every cover's
``k`` dollars, so it kills the cover without a special case.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, final

from arbpipe._python.region import Region
from arbpipe._python.ring import Overrun, log_drain, overrun
from arbpipe.fixedpoint import ONE_DOLLAR_E6
from arbpipe.shm.layout import HEAD_BYTES, NO_QUOTE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from typing_extensions import Buffer

__all__ = ["Kernel"]

_LOGS: Final = 8
_NEVER: Final = -(1 << 63)
_MOST: Final = (1 << 31) - 1


@final
class Kernel:
    """The covers of one generation over the costs of one segment.

    A cover is reported when its edge is at or above its bar: the threshold, or anything while it has not been settled as
    a near-miss. ``slots`` rows of two int32 costs lie at ``costs``; ``prop_ptr`` and ``prop_claims`` list each
    proposition's claims, ``cover_ptr`` and ``cover_props`` each cover's propositions (arrays of uint32).
    """

    def __init__(
        self,
        region: Region,
        costs: int,
        slots: int,
        logs: Sequence[int],
        tails: Sequence[int],
        capacity: int,
        prop_ptr: Buffer,
        prop_claims: Buffer,
        cover_ptr: Buffer,
        cover_props: Buffer,
        cover_k: Buffer,
        threshold_e6: int,
        /,
    ) -> None:
        """Read the arrays; they are copied.

        Raises:
            ValueError: the arrays do not fit together, or an index is outside.
            IndexError: costs or a log lie outside the region.
        """
        import numpy as np

        if not 0 <= slots <= _MOST // 2:
            raise ValueError(f"{slots} slots: 0 to {_MOST // 2} are possible")
        region._at(costs, 8 * slots, 8)
        if capacity < 2 or capacity & (capacity - 1):
            raise ValueError(f"capacity {capacity}: a power of two of at least 2 is expected")
        if len(logs) != len(tails) or len(logs) > _LOGS:
            raise ValueError(f"{len(logs)} logs and {len(tails)} tails: as many of both, at most {_LOGS}")
        for log in logs:
            region._at(log, HEAD_BYTES + 4 * capacity, 8)
        claims = _csr("propositions", _items(prop_ptr, "prop_ptr"), _items(prop_claims, "prop_claims"), 2 * slots)
        props = _csr("covers", _items(cover_ptr, "cover_ptr"), _items(cover_props, "cover_props"), len(claims[0]) - 1)
        k = _items(cover_k, "cover_k")
        if len(k) != len(props[0]) - 1:
            raise ValueError(f"cover_k: {len(k)} numbers for {len(props[0]) - 1} covers")
        self._region: Region | None = region
        region._uses += 1
        self._let_go = weakref.finalize(self, _let_go, region)
        self._logs = list(logs)
        self._tails = list(tails)
        self._capacity = capacity
        self._threshold = threshold_e6
        self._slots = slots
        self._claims, self._props = claims, props
        self._near_at = 0
        # both views of the same memory: numpy for the sweep, single items for what changed
        self._costs = np.frombuffer(region._b, np.int32, 2 * slots, costs)
        self._cost = self._costs.data
        n_props, n_covers = len(claims[0]) - 1, len(k)
        # two more: what stands for a second claim that is missing, and for a first
        self._snapshot = np.full(2 * slots + 2, NO_QUOTE, np.int32)
        self._snapshot[2 * slots] = np.iinfo(np.int32).max
        self._best = np.full(n_props + 1, NO_QUOTE, np.int32)
        self._best[n_props] = 0  # the second leg of a cover that has one
        self._best_at = self._best.data
        self._pays = k.astype(np.int64) * ONE_DOLLAR_E6
        self._edge = np.full(n_covers, _NEVER, np.int64)
        self._edge_at = self._edge.data
        self._bar = np.full(n_covers, _NEVER, np.int64)
        self._bar_at = self._bar.data
        self._claim_a, self._claim_b, self._wide_props = _plan(*claims, 2 * slots, 2 * slots + 1)
        self._prop_a, self._prop_b, self._wide_covers = _plan(*props, n_props, n_props)
        self._legs = [np.empty(n_props, np.int32), np.empty(n_props, np.int32), np.empty(n_covers, np.int32)]
        self._hit = np.empty(n_covers, np.bool_)
        self._props_of_slot = _reverse(claims[0], claims[1] >> 1, slots)
        self._covers_of_prop = _reverse(*props, n_props)
        self._known: dict[int, tuple[Any, ...]] = {}

    def release(self) -> None:
        """Let go of the region; the kernel is unusable afterwards."""
        if self._region is not None:
            self._region = None
            self._cost.release()
            del self._costs
            self._let_go()

    @property
    def tails(self) -> tuple[int, ...]:
        """How far each log is drained."""
        self._alive()
        return tuple(self._tails)

    def best_e6(self) -> list[int]:
        """The cost of each proposition's cheapest claim at the last look."""
        self._alive()
        best: list[int] = self._best[:-1].tolist()
        return best

    def drain(self) -> list[tuple[int, int]] | None:
        """Drain the change logs and look at what they name; ``None`` when they name nothing.

        Raises:
            Overrun: changes were lost; every tail stands at its head, and only a sweep knows what they were.
        """
        region = self._alive()
        slots: set[int] | None = None
        lost = False
        for index, log in enumerate(self._logs):
            try:
                found, tail = log_drain(region, log, self._capacity, self._tails[index])
            except Overrun as gap:
                self._tails[index], lost = gap.head, True
                continue
            if found:
                self._tails[index] = tail
                slots = set(found) if slots is None else slots.union(found)
        if lost:
            raise overrun(self._tails[0])
        return None if slots is None else self._look(slots)

    def touch(self, slots: Sequence[int], /) -> list[tuple[int, int]]:
        """Look at every cover a changed slot lies in; return those at or above their bar, ascending, with their edges.

        The cost per change does not grow with the number of instruments: only the propositions of the changed slots and
        the covers of those are computed. A cover is touched also when the first look is the same as before: the depth
        behind it may have changed.
        """
        self._alive()
        for slot in slots:
            if not 0 <= slot < 1 << 32:
                raise ValueError(f"{slot!r} does not fit the word it is stored in")
        return self._look(set(slots))

    def _look(self, slots: Iterable[int]) -> list[tuple[int, int]]:
        cost, best, edge, bar = self._cost, self._best_at, self._edge_at, self._bar_at
        covers: dict[int, tuple[int, tuple[int, ...]]] = {}
        for slot in slots:
            known = self._known.get(slot)
            if known is None:
                known = self._learn(slot)
            for prop, claims in known[0]:
                best[prop] = min([cost[claim] for claim in claims], default=NO_QUOTE)
            covers.update(known[1])
        found = []
        for cover, (pays, props) in covers.items():
            look = edge[cover] = pays - sum([best[prop] for prop in props])
            if look >= bar[cover]:
                found.append((cover, look))
        found.sort()
        return found

    def _learn(self, slot: int) -> tuple[Any, ...]:
        """What a change of this slot touches, worked out once."""
        if slot >= self._slots:  # no writer of ours logs such a slot; whoever did gets nothing for it
            known: tuple[Any, ...] = ((), {})
        else:
            props = self._props_of_slot[0][self._props_of_slot[1][slot] : self._props_of_slot[1][slot + 1]].tolist()
            covers = {
                cover
                for prop in props
                for cover in self._covers_of_prop[0][
                    self._covers_of_prop[1][prop] : self._covers_of_prop[1][prop + 1]
                ].tolist()
            }
            known = (
                tuple((prop, tuple(_row(*self._claims, prop))) for prop in props),
                {cover: (int(self._pays[cover]), tuple(_row(*self._props, cover))) for cover in covers},
            )
        self._known[slot] = known
        return known

    def sweep(self, near: int, /) -> list[tuple[int, int]]:
        """Look at everything: every cover at or above the threshold, ascending, then at most ``near`` others above their
        bar, taken in turn from sweep to sweep."""
        import numpy as np

        self._alive()
        if not 0 <= near < 1 << 32:
            raise ValueError(f"{near!r} does not fit the word it is stored in")
        np.copyto(self._snapshot[:-2], self._costs)
        left, right, leg = self._legs
        np.take(self._snapshot, self._claim_a, out=left, mode="clip")  # mode "raise" buffers (shm.md 3.4)
        np.take(self._snapshot, self._claim_b, out=right, mode="clip")
        np.minimum(left, right, out=self._best[:-1])
        for prop in self._wide_props:
            self._best[prop] = self._snapshot[_row(*self._claims, prop)].min()
        np.take(self._best, self._prop_a, out=leg, mode="clip")
        np.subtract(self._pays, leg, out=self._edge)
        np.take(self._best, self._prop_b, out=leg, mode="clip")
        np.subtract(self._edge, leg, out=self._edge)
        for cover in self._wide_covers:
            self._edge[cover] = self._pays[cover] - self._best[_row(*self._props, cover)].sum(dtype=np.int64)
        np.greater_equal(self._edge, self._bar, out=self._hit)
        if not self._hit.any():
            return []
        above = np.flatnonzero(self._hit)
        hits = self._edge[above] >= self._threshold
        chosen = above[hits].tolist()
        waiting = above[~hits]
        if near and len(waiting):
            first = int(np.searchsorted(waiting, self._near_at))
            turn = [int(waiting[(first + n) % len(waiting)]) for n in range(min(near, len(waiting)))]
            self._near_at = turn[-1] + 1
            chosen += turn
        return [(cover, self._edge_at[cover]) for cover in chosen]

    def settle(self, cover: int, edge_e6: int, /) -> None:
        """Do not report the cover as a near-miss again at this edge or below, or at the edge it has by now if that is worse."""
        self._alive()
        if not 0 <= cover < len(self._bar):
            raise IndexError(f"cover {cover}: there are {len(self._bar)}")
        told = min(edge_e6, self._edge_at[cover])
        self._bar_at[cover] = max(self._bar_at[cover], min(told + 1, self._threshold))

    def _alive(self) -> Region:
        if self._region is None:
            raise ValueError("the kernel is released")
        return self._region


def _let_go(region: Region) -> None:
    region._uses -= 1


def _items(buffer: Buffer, what: str) -> npt.NDArray[np.intp]:
    import numpy as np

    view = memoryview(buffer)
    if view.itemsize != 4 or not view.c_contiguous:
        raise ValueError(f"{what}: a contiguous array of 32-bit numbers is expected")
    return np.frombuffer(view, np.uint32).astype(np.intp)


def _csr(
    what: str, ptr: npt.NDArray[np.intp], items: npt.NDArray[np.intp], below: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows of items, checked: row r is ``items[ptr[r]:ptr[r + 1]]``."""
    good = len(ptr) > 0 and ptr[0] == 0 and ptr[-1] == len(items) and bool((ptr[1:] >= ptr[:-1]).all())
    if not good or not bool((items < below).all()):
        raise ValueError(f"{what}: the pointers must rise from 0 to {len(items)}, the items stay below {below}")
    return ptr, items


def _row(ptr: npt.NDArray[np.intp], items: npt.NDArray[np.intp], row: int) -> list[int]:
    found: list[int] = items[ptr[row] : ptr[row + 1]].tolist()
    return found


def _plan(
    ptr: npt.NDArray[np.intp], items: npt.NDArray[np.intp], none: int, empty: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], list[int]]:
    """The first two items of each row (``empty`` where there is none, ``none`` where there is no second), and the rows that
    have more."""
    import numpy as np

    padded = np.append(items, [none, none])
    lengths = np.diff(ptr)
    a = np.where(lengths > 0, padded[ptr[:-1]], empty)
    b = np.where(lengths > 1, padded[ptr[:-1] + 1], none)
    return a.astype(np.intp), b.astype(np.intp), np.flatnonzero(lengths > 2).tolist()


def _reverse(
    ptr: npt.NDArray[np.intp], items: npt.NDArray[np.intp], size: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For rows of items: which rows hold each item, as (rows, pointers)."""
    import numpy as np

    rows = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    pairs = np.unique(np.stack([items, rows], axis=1), axis=0) if len(items) else np.empty((0, 2), np.intp)
    pointers = np.zeros(size + 1, np.intp)
    np.cumsum(np.bincount(pairs[:, 0], minlength=size), out=pointers[1:])
    return pairs[:, 1], pointers
