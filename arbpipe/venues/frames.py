"""What every codec raises for a frame that it cannot read."""

from __future__ import annotations

__all__ = ["FrameError"]


class FrameError(ValueError):
    """A frame that is malformed, or holds a number out of range.

    ``kind`` is a short stable word (``json``, ``price``, ``size``, ``side`` …): errors are counted and logged once per
    kind. ``native_id`` names the instrument where the frame still says which one it is about, else ``""`` (then every
    instrument of the connection is in doubt).
    """

    def __init__(self, kind: str, detail: str, native_id: str = "") -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.native_id = native_id
