"""WebSocket messages as bytes, the way real servers send them: several in one write, and now and then one in pieces.

aiohttp writes one whole frame a message, so a client that cannot put fragments together would never notice. Frames are
made here (RFC 6455 section 5.2; a server does not mask) and written to the connection as they are.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from aiohttp import web

__all__ = ["Framer", "frame"]

_TEXT: Final = 0x1
_CONTINUATION: Final = 0x0
_FIN: Final = 0x80
#: One message in so many goes in pieces, if it has at least this many bytes.
_ONE_IN: Final = 12
_LEAST_BYTES: Final = 64
_MOST_PIECES: Final = 4


def frame(payload: bytes, opcode: int, *, fin: bool) -> bytes:
    """One unmasked frame."""
    first = opcode | (_FIN if fin else 0)
    if len(payload) < 126:
        return struct.pack("!BB", first, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


class Framer:
    """Writes text messages to one connection. Which are cut, and where, follows from ``seed``."""

    def __init__(self, request: web.Request, seed: int) -> None:
        self._request = request
        self._dice = random.Random(seed)

    def encode(self, text: str) -> bytes:
        """A message as one frame, or as several: pieces may end inside a character."""
        payload = text.encode()
        if len(payload) < _LEAST_BYTES or self._dice.randrange(_ONE_IN):
            return frame(payload, _TEXT, fin=True)
        cuts = sorted(self._dice.sample(range(1, len(payload)), self._dice.randint(1, _MOST_PIECES - 1)))
        edges = [0, *cuts, len(payload)]
        pieces = [payload[a:b] for a, b in pairwise(edges)]
        return b"".join(
            frame(piece, _CONTINUATION if number else _TEXT, fin=number == len(pieces) - 1)
            for number, piece in enumerate(pieces)
        )

    async def send(self, texts: Iterable[str]) -> None:
        """All of these in one write, in order.

        Raises:
            ConnectionError: the connection is gone.
        """
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        transport.write(b"".join(self.encode(text) for text in texts))
        await self._request.writer.drain()
