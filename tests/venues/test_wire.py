"""Whole messages, in the order sent, whichever way the venue cuts them; and a connection that comes back."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Sequence

import uvloop

from arbpipe.venues.wire import Wire

FIN, TEXT, BINARY, MORE, CLOSE, PING = 0x80, 1, 2, 0, 8, 9
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(head: int, payload: bytes) -> bytes:
    """One frame of a server: not masked."""
    length = bytes((len(payload),)) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return bytes((head,)) + length + payload


class User:
    """Notes what it is told, and stops the wire after so many connections."""

    def __init__(self, connections: int) -> None:
        self.left = connections
        self.told: list[object] = []
        self.wire: Wire

    def wire_opened(self) -> None:
        self.told.append("opened")
        self.wire.send("ready")

    def wire_message(self, data: bytes) -> None:
        self.told.append(data)

    def wire_closed(self, reason: str) -> None:
        self.told.append(reason)
        self.left -= 1
        if not self.left:
            self.wire.stop()


def told(streams: Sequence[bytes]) -> list[object]:
    """What a user is told by a server that sends one of these after each handshake, and then hangs up."""
    left = list(streams)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fields = dict(line.split(b": ", 1) for line in (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[1:-2])
        key = next(value for name, value in fields.items() if name.lower() == b"sec-websocket-key")
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        await reader.readexactly(6 + len("ready"))  # head, length, mask, payload
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()

    async def run() -> list[object]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        user = User(len(streams))
        user.wire = Wire(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", user)
        await asyncio.wait_for(user.wire.run(), 30)
        server.close()
        return user.told

    return uvloop.run(run())


def test_messages_arrive_whole_and_in_order_however_they_are_cut() -> None:
    stream = b"".join(
        (
            frame(FIN | TEXT, b"one"),
            frame(TEXT, b"tw"),
            frame(FIN | PING, b"alive?"),  # may stand between the parts of a message
            frame(MORE, b"o, in"),
            frame(FIN | MORE, b" parts"),
            frame(FIN | BINARY, b"three"),
            frame(FIN | TEXT, b""),
            frame(TEXT, b""),
            frame(FIN | MORE, b"four" * 100),
            frame(FIN | TEXT, b"5" * 1_000),
        )
    )
    messages = [b"one", b"two, in parts", b"three", b"", b"four" * 100, b"5" * 1_000]
    seen = told([stream])
    assert seen[:-1] == ["opened", *messages]
    assert isinstance(seen[-1], str)


def test_a_message_that_was_cut_off_is_not_continued_by_the_next_connection() -> None:
    seen = told([frame(FIN | TEXT, b"a") + frame(TEXT, b"half of"), frame(FIN | TEXT, b"whole")])
    assert [each for each in seen if isinstance(each, bytes)] == [b"a", b"whole"]
    assert seen.count("opened") == 2


def test_the_venues_reason_for_closing_is_told() -> None:
    seen = told([frame(FIN | CLOSE, (1001).to_bytes(2, "big"))])
    assert seen[0] == "opened"
    assert "closed by the venue" in str(seen[1])
    assert "1001" in str(seen[1]) or "GOING_AWAY" in str(seen[1])
