"""Messages arrive whole at a client that puts fragments together, and broken at one that does not."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from arbpipe.sim.framing import Framer, frame
from arbpipe.venues.wire import Wire

TEXTS = [f"message {number} " + "é€" * (number % 90) for number in range(300)]


def parsed(data: bytes) -> list[tuple[int, bytes, bool]]:
    """The frames in ``data``, read by the websockets library."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    while True:
        at_end = reader.at_eof()
        try:
            while True:
                next(at_end)
        except StopIteration as end:
            if end.value:
                return found
        step = Frame.parse(reader.read_exact, mask=False)
        try:
            while True:
                next(step)
        except StopIteration as end:
            found.append((end.value.opcode, bytes(end.value.data), end.value.fin))


@given(st.binary(max_size=70_000), st.booleans())
def test_a_frame_says_its_length_in_the_shortest_form(payload: bytes, fin: bool) -> None:
    assert parsed(frame(payload, 0x1, fin=fin)) == [(Opcode.TEXT, payload, fin)]


async def _serve(framed: int) -> tuple[web.AppRunner, int]:
    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        await socket.receive()
        framer = Framer(request, 7)
        for at in range(0, len(TEXTS), framed):
            await framer.send(TEXTS[at : at + framed])
        await socket.receive()
        return socket

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


@pytest.mark.parametrize("framed", [1, 5, 300])
def test_an_independent_client_reads_every_message_whole_and_in_order(framed: int) -> None:
    async def run() -> list[str]:
        runner, port = await _serve(framed)
        async with connect(f"ws://127.0.0.1:{port}/", compression=None) as client:
            await client.send("go")
            got = [str(await client.recv()) for _ in TEXTS]
        await runner.cleanup()
        return got

    assert asyncio.run(run()) == TEXTS


class _User:
    def __init__(self) -> None:
        self.wire: Wire | None = None
        self.got: list[str] = []
        self.done = asyncio.Event()

    def wire_opened(self) -> None:
        assert self.wire is not None
        self.wire.send("go")

    def wire_message(self, data: bytes) -> None:
        self.got.append(data.decode())
        if len(self.got) == len(TEXTS):
            self.done.set()

    def wire_closed(self, reason: str) -> None:
        pass


@pytest.mark.parametrize("framed", [1, 5, 300])
def test_our_wire_puts_fragments_together(framed: int) -> None:
    async def run() -> list[str]:
        runner, port = await _serve(framed)
        user = _User()
        user.wire = Wire(f"ws://127.0.0.1:{port}/", user)
        task = asyncio.create_task(user.wire.run())
        await asyncio.wait_for(user.done.wait(), 10)
        user.wire.stop()
        await task
        await runner.cleanup()
        return user.got

    assert asyncio.run(run()) == TEXTS


def test_messages_really_are_cut_and_the_cuts_follow_from_the_seed() -> None:
    class Request:
        transport = None

    def counts(seed: int) -> list[int]:
        framer = Framer(Request(), seed)  # type: ignore[arg-type]
        return [len(parsed(framer.encode(text))) for text in TEXTS]

    assert counts(1) == counts(1) != counts(2)
    assert 1 < max(counts(1)) <= 4
    short = [text for text in TEXTS if len(text.encode()) < 64]
    framer = Framer(Request(), 3)  # type: ignore[arg-type]
    assert all(len(parsed(framer.encode(text))) == 1 for text in short)
    # the mistake: each frame taken for a message
    mistaken = [data for text in TEXTS for _, data, _ in parsed(Framer(Request(), 1).encode(text))]  # type: ignore[arg-type]
    assert len(mistaken) >= len(TEXTS)
