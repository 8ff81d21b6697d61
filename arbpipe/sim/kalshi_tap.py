"""Between the frames of one connection and its socket: where frames get lost, are doubled, or are held back.

A number that a frame consumed stays consumed, so a lost frame is a gap and a doubled one a repeated ``seq``. Pings do not
come through here: a frozen connection still answers them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Emission", "Tap"]

#: Sends a frame (True), or only consumes its number (False).
Emission = Callable[[bool], None]


@dataclass(slots=True)
class _Frozen:
    """Frames of some books that wait unnumbered, in order."""

    number: int
    tickers: frozenset[str]
    waiting: list[Emission] = field(default_factory=list)


class Tap:
    """The way out of one connection; ``put`` takes the text of each frame that is really sent."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self._put = put
        self._drop: dict[str, int] = {}
        self._double: dict[str, int] = {}
        self._garbage: list[str] = []
        self._frozen: list[_Frozen] = []
        self._stopped: int | None = None
        self._held: list[str] = []

    def drop(self, channel: str, frames: int) -> None:
        """Lose the next numbered frames of a channel."""
        self._drop[channel] = self._drop.get(channel, 0) + frames

    def double(self, channel: str, frames: int) -> None:
        """Send the next numbered frames of a channel twice."""
        self._double[channel] = self._double.get(channel, 0) + frames

    def spoil(self, kind: str) -> None:
        """Put something that is no known frame before the next one."""
        self._garbage.append(kind)

    def take_garbage(self, numbered: bool) -> list[str]:
        """What is to be put before the frame that goes out now; what needs a number waits for a numbered frame."""
        taken = [kind for kind in self._garbage if numbered or kind == "not_json"]
        self._garbage = [kind for kind in self._garbage if kind not in taken]
        return taken

    def freeze(self, number: int, tickers: frozenset[str]) -> None:
        """Hold back the frames of these books, or every frame when there are none; ``number`` names the freeze."""
        if tickers:
            self._frozen.append(_Frozen(number, tickers))
        else:
            self._stopped = number

    def thaw(self, number: int, *, deliver: bool) -> None:
        """End a freeze: its frames go out late, or are lost with their numbers."""
        for frozen in [each for each in self._frozen if each.number == number]:
            self._frozen.remove(frozen)
            for emission in frozen.waiting:
                emission(deliver)
        if self._stopped == number:
            self._stopped = None
            held, self._held = self._held, []
            for text in held if deliver else ():
                self._put(text)

    def holds(self, ticker: object, emission: Emission) -> bool:
        """Whether the frame of that book waits; if so it is kept."""
        frozen = next((each for each in self._frozen if ticker in each.tickers), None)
        if frozen is None:
            return False
        frozen.waiting.append(emission)
        return True

    def send(self, text: str, channel: str | None = None) -> None:
        """A frame goes out; ``channel`` is given for numbered ones."""
        copies = 1
        if channel is not None and (self._drop or self._double):
            if _use(self._drop, channel):
                return
            copies += _use(self._double, channel)
        for _ in range(copies):
            if self._stopped is None:
                self._put(text)
            else:
                self._held.append(text)

    def shown(self) -> dict[str, object]:
        """What is still to happen to the frames of this connection."""
        frozen: list[object] = [sorted(each.tickers) for each in self._frozen]
        if self._stopped is not None:
            frozen.append("everything")
        pending = {"gap": self._drop, "duplicate": self._double, "garbage": self._garbage, "freeze": frozen}
        return {name: what for name, what in pending.items() if what}

    def forget(self, name: str | None) -> None:
        """Forget the faults of that name, or all; what was held back is delivered."""
        if name in (None, "gap"):
            self._drop.clear()
        if name in (None, "duplicate"):
            self._double.clear()
        if name in (None, "garbage"):
            self._garbage.clear()
        if name in (None, "freeze"):
            frozen = [each.number for each in self._frozen]
            for number in frozen if self._stopped is None else [*frozen, self._stopped]:
                self.thaw(number, deliver=True)


def _use(left: dict[str, int], channel: str) -> bool:
    if left.get(channel, 0) == 0:
        return False
    left[channel] -= 1
    if left[channel] == 0:
        del left[channel]
    return True
