"""The first look, over numpy arrays: which covers may have an edge?

For each proposition the cheapest claim's cost (a lower bound, int32), for each cover ``k`` dollars less the sum over its
propositions (int64). A claim nobody may buy costs ``NO_QUOTE`` = 2^30, and one such leg already exceeds every cover's
``k`` dollars, so it kills the cover without a special case.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from arbpipe.fixedpoint import ONE_DOLLAR_E6
from arbpipe.shm.generation import Generation
from arbpipe.shm.layout import NO_QUOTE

__all__ = ["Kernel"]

Ints = npt.NDArray[np.int64]


class Kernel:
    """The covers of one generation over one ``cost_e6`` array (int32, shape ``(slots, 2)``)."""

    def __init__(self, costs: npt.NDArray[Any], generation: Generation) -> None:
        a = generation.arrays
        self._costs = costs.reshape(-1)
        self._prop_ptr = a["prop_ptr"].astype(np.intp)
        self._prop_claims = a["prop_claims"].astype(np.intp)
        self._cover_ptr = a["cover_ptr"].astype(np.intp)
        self._cover_props = a["cover_props"].astype(np.intp)
        self._pays_e6 = a["cover_k"].astype(np.int64) * ONE_DOLLAR_E6
        self._n_covers = len(self._pays_e6)
        self._best: Ints = np.full(len(self._prop_ptr) - 1, NO_QUOTE, np.int64)
        slots = len(costs)
        self._props_of_slot = _reverse(self._prop_ptr, self._prop_claims >> 1, slots)
        self._covers_of_prop = _reverse(self._cover_ptr, self._cover_props, len(self._best))

    @property
    def best_e6(self) -> Ints:
        """The cost of each proposition's cheapest claim at the last look."""
        return self._best

    def sweep(self) -> Ints:
        """Look at everything: the first-look edge of every cover, in micro-dollars per contract."""
        if not self._n_covers:
            return np.empty(0, np.int64)
        self._best = _reduce(np.minimum, self._costs[self._prop_claims], self._prop_ptr, NO_QUOTE)
        return self._pays_e6 - _reduce(np.add, self._best[self._cover_props], self._cover_ptr, 0)

    def touch(self, slots: Iterable[int]) -> tuple[list[int], list[int]]:
        """Look at what changed: every cover a changed slot lies in, and their first-look edges.

        The cost per change does not grow with the number of instruments: only the propositions of the changed slots
        and the covers of those are computed. A cover is touched also when the first look is the same as before: the
        depth behind it may have changed.
        """
        best, costs = self._best, self._costs
        props = {prop for slot in slots for prop in self._props_of_slot[slot]}
        for prop in props:
            best[prop] = costs[self._prop_claims[self._prop_ptr[prop] : self._prop_ptr[prop + 1]]].min()
        touched = sorted({cover for prop in props for cover in self._covers_of_prop[prop]})
        edges = []
        for cover in touched:
            chosen = self._cover_props[self._cover_ptr[cover] : self._cover_ptr[cover + 1]]
            edges.append(int(self._pays_e6[cover]) - int(best[chosen].sum()))
        return touched, edges


def _reverse(ptr: npt.NDArray[np.intp], items: npt.NDArray[np.intp], size: int) -> list[tuple[int, ...]]:
    """For CSR rows of items: which rows hold each item."""
    rows = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    found: list[set[int]] = [set() for _ in range(size)]
    for item, row in zip(items.tolist(), rows.tolist(), strict=True):
        found[item].add(row)
    return [tuple(sorted(each)) for each in found]


def _reduce(ufunc: np.ufunc, values: npt.NDArray[Any], ptr: npt.NDArray[np.intp], empty: int) -> Ints:
    """``ufunc`` over each CSR row; ``reduceat`` treats empty rows wrongly, so those get ``empty``."""
    lengths = np.diff(ptr)
    out = np.full(len(lengths), empty, np.int64)
    full = np.flatnonzero(lengths)
    if len(full):
        out[full] = ufunc.reduceat(values.astype(np.int64), ptr[:-1][full])
    return out
