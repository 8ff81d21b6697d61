"""Kalshi, seen from the wire: what its frames say, what its books hold, what a taker pays.

``codec``, ``sequence``, ``book`` and ``fees`` are pure: bytes or messages in, numbers out; no socket, no clock, no
memory shared with anything. They know one market at a time and nothing of propositions or of the other venue. They
promise that a frame which does not say exactly what it should raises :class:`~arbpipe.venues.frames.FrameError` and
never becomes a price.
"""
