"""The first look over one generation: the core's kernel, fed with the generation's arrays and the segment's costs and logs."""

from __future__ import annotations

from collections.abc import Sequence

from arbpipe.shm import core
from arbpipe.shm.generation import Generation
from arbpipe.shm.segment import Segment

__all__ = ["kernel_of"]


def kernel_of(
    segment: Segment, generation: Generation, logs: Sequence[int], tails: Sequence[int], threshold_e6: int
) -> core.Kernel:
    """A kernel that drains ``logs`` (offsets) from ``tails`` on and reports covers with an edge of ``threshold_e6`` or
    more, and near-misses until they are settled. It holds the segment's region until it is released.

    Raises:
        ValueError: the generation's arrays do not fit together, or name a slot that the segment does not have.
    """
    a = generation.arrays
    place = segment.section("cost_e6")
    return core.Kernel(
        segment.region,
        place.offset,
        place.count,
        logs,
        tails,
        segment.counts.log_capacity,
        a["prop_ptr"].data,
        a["prop_claims"].data,
        a["cover_ptr"].data,
        a["cover_props"].data,
        a["cover_k"].data,
        threshold_e6,
    )
