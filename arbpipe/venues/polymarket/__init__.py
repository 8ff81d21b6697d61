"""Polymarket, seen from the wire: what its frames say, what its books hold, what a taker pays.

``codec``, ``book``, ``hashing`` and ``fees`` are pure: bytes or messages in, numbers and texts out; no socket, no
clock, no memory shared with anything. They know one token at a time and nothing of propositions or of the other
venue. They keep prices and sizes also as the texts that were sent, because the venue's checksum is over those texts,
and promise that a frame which does not say exactly what it should raises
:class:`~arbpipe.venues.frames.FrameError`.
"""
