"""A long stream of a venue's frames for the feed's bench, and a server that is faster than any client of it.

The stream begins with a recorded session. Kalshi's goes on with the session's changes undone, last first, and made again, over
and over: every book stays one that the session had, and ``seq`` counts on. Polymarket's frames have no number: the session is
repeated.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from arbpipe.identity import Venue

__all__ = ["END", "endless", "serving", "write_stream"]

END = b"END"
_NUMBER = re.compile(rb'"seq":(\d+)')
_CLOCK = re.compile(rb'"clock":(\d+)')
_CHANGE = re.compile(rb'"delta_fp":"(-?)([0-9.]+)"')
_DELTA = b'{"type":"orderbook_delta"'

# Blocking, one client after the other, and the frames lie ready in a file: the kernel copies them.
_SERVER = """
import base64, hashlib, os, socket, sys
os.sched_setaffinity(0, {int(sys.argv[2])})
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
with open(sys.argv[1], "rb") as file:
    size = os.fstat(file.fileno()).st_size
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b""
        while not request.endswith(b"\\r\\n\\r\\n"):
            request += client.recv(4096)
        for line in request.split(b"\\r\\n"):
            if line.lower().startswith(b"sec-websocket-key:"):
                key = line.partition(b":")[2].strip()
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        client.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
                       b"Sec-WebSocket-Accept: " + accept + b"\\r\\n\\r\\n")
        client.recv(4096)  # the client is ready
        sent = 0
        try:
            while sent < size:
                sent += os.sendfile(client.fileno(), file.fileno(), sent, 1 << 20)
            while client.recv(4096):
                pass
        except OSError:
            pass
        client.close()
"""


def endless(venue: Venue, frames: list[bytes]) -> Iterator[bytes]:
    """Frame after frame, for ever."""
    yield from frames
    if venue is not Venue.KALSHI:
        while True:
            yield from frames
    # a venue's clock never goes back, so a change that is made again has a new one too
    seq, clock = (max(int(found[1]) for found in map(each.search, frames) if found) for each in (_NUMBER, _CLOCK))
    forth = [frame for frame in frames if frame.startswith(_DELTA)]
    back = [_CHANGE.sub(_negated, frame) for frame in reversed(forth)]
    parts = []
    for frame in (*back, *forth):
        head, _, rest = _NUMBER.split(frame, maxsplit=1)
        middle, _, tail = _CLOCK.split(rest, maxsplit=1)
        parts.append((head + b'"seq":', middle + b'"clock":', tail))
    while True:
        for head, middle, tail in parts:
            seq += 1
            clock += 1
            yield b"%b%d%b%d%b" % (head, seq, middle, clock, tail)


def _negated(change: re.Match[bytes]) -> bytes:
    return b'"delta_fp":"%b%b"' % (b"" if change[1] else b"-", change[2])


def write_stream(path: Path, venue: Venue, frames: list[bytes], count: int) -> None:
    """``count`` frames and a last one that says :data:`END`, as a WebSocket server writes them."""
    with path.open("wb") as file:
        for payload in (*islice(endless(venue, frames), count), END):
            length = len(payload)
            if length < 126:
                head = bytes((0x81, length))
            elif length < 1 << 16:
                head = bytes((0x81, 126)) + length.to_bytes(2, "big")
            else:
                head = bytes((0x81, 127)) + length.to_bytes(8, "big")
            file.write(head)
            file.write(payload)


@contextmanager
def serving(path: Path, cpu: int) -> Iterator[int]:
    """A server of that stream in a process of its own, on one processor; its port on 127.0.0.1."""
    server = subprocess.Popen([sys.executable, "-c", _SERVER, str(path), str(cpu)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
