"""When was an order's request really written? aiohttp says it, once the body went to the socket."""

from __future__ import annotations

from types import SimpleNamespace

import aiohttp

from arbpipe.clock import stamp_ns

__all__ = ["SentStamp"]


class SentStamp:
    """The time (CLOCK_MONOTONIC) at which the latest POST body of a session was handed to the kernel; 0 before the first."""

    def __init__(self) -> None:
        self.ns = 0

    def trace(self) -> aiohttp.TraceConfig:
        """The configuration to give to the session."""
        config = aiohttp.TraceConfig()
        config.on_request_chunk_sent.append(self._sent)
        return config

    async def _sent(
        self, _session: aiohttp.ClientSession, _context: SimpleNamespace, params: aiohttp.TraceRequestChunkSentParams
    ) -> None:
        if params.method == "POST":
            self.ns = stamp_ns()
