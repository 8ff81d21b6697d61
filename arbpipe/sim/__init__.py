"""Simulated venues: a seeded world of two exchanges, and the text each would send.

Owns an invented catalog of events (``listing``), the quotes of market makers on both venues with planned arbitrages
(``scenario``), the wire encoders (``kalshi_wire``, ``polymarket_wire``) and the sample recordings made of them
(``sample``). May touch the standard library and the files it is asked to write, and nothing else of arbpipe: prices,
fees, hashes and sequences are encoded here a second time, on their own, so that a mistake in the pipeline's codecs
cannot cancel out. Promises that the same arguments give the same bytes, and that outside the planned arbitrages no
cover has an edge after fees.
"""
