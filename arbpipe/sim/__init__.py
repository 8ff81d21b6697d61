"""Simulated venues: a seeded world of two exchanges, as recordings and as real servers.

Owns an invented catalog of events (``listing``), the quotes of market makers on both venues with planned arbitrages
(``scenario``, ``market``), a matching engine (``exchange``), the wire encoders, the sample recordings made of them
(``sample``), and two servers with TLS, accounts and books of their own (``kalshi_server``, ``polymarket_server``). May touch
the standard library, aiohttp, cryptography and eth-account, and nothing else of arbpipe: prices, fees, hashes, sequences and
signatures are done here a second time, on their own, so that a mistake in the pipeline cannot cancel out. Promises that the
same arguments give the same sequence of events, that outside the planned arbitrages no cover has an edge after fees, and
that what a server states is what it booked.
"""
