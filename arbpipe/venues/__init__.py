"""The venues: bytes to books, orders to bytes, one folder each.

Owns the protocols of Kalshi and Polymarket. A ``codec`` is pure (bytes in, messages out; no I/O, no clock). May touch
shared memory through ``shm`` (a feed publishes rows); knows nothing of propositions, covers or limits. Promises that a
frame is either applied exactly or counted and refused: never a guess.
"""
