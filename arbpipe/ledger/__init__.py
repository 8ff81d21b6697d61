"""The ledger: what we intended, what the venues said, what we therefore hold.

Owns one SQLite file per mode: an append-only chain of events and the tables derived from them, both written in one
transaction. Touches nothing else. Promises that an event was stored before anything that rests on it happened, that no fill
counts twice, and that a changed event is found.
"""
