"""Is a frame of a Kalshi subscription missing? Pure bookkeeping of ``seq``.

``seq`` is counted per connection and ``sid``, starts at 1, has no holes, and control frames (``ok``, ``unsubscribed``,
subscription errors) take a number too (kalshi.md 2.5). So :meth:`SequenceTracker.check` sees every frame before it is
routed by type, and a gap puts every market of that ``sid`` in doubt.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["SequenceTracker", "Verdict"]


class Verdict(Enum):
    """What a frame's number says."""

    OK = "ok"
    GAP = "gap"
    DUPLICATE = "duplicate"
    UNNUMBERED = "unnumbered"


# looking a member up costs as much as the whole check
_OK, _GAP, _DUPLICATE, _UNNUMBERED = Verdict.OK, Verdict.GAP, Verdict.DUPLICATE, Verdict.UNNUMBERED


class SequenceTracker:
    """The numbers of one connection: one object for each connection, or :meth:`reset` when it is made anew."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[int, int] = {}

    def check(self, sid: int, seq: int) -> Verdict:
        """Say whether ``seq`` follows the last number of ``sid``.

        After ``GAP`` counting continues from the number received, so one loss is reported once. ``DUPLICATE`` (a
        number not above the last) cannot happen on TCP: it is a protocol error and changes nothing. A frame without
        a number or without a ``sid`` (0) is ``UNNUMBERED``.
        """
        if not (sid and seq):
            return _UNNUMBERED
        last = self._last.get(sid, 0)
        if seq == last + 1:
            self._last[sid] = seq
            return _OK
        if seq <= last:
            return _DUPLICATE
        self._last[sid] = seq
        return _GAP

    def forget(self, sid: int) -> None:
        """A subscription ended: one made anew begins at 1, while the others of the connection count on."""
        self._last.pop(sid, None)

    def last(self, sid: int) -> int:
        """The last number of ``sid``; 0 before the first."""
        return self._last.get(sid, 0)

    def reset(self) -> None:
        """Forget everything: on a new connection every ``sid`` starts at 1 again."""
        self._last.clear()
