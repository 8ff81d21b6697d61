"""Risk: what may be put at stake, and what stops everything.

Owns the limits (pure: usage and request in, a refusal out) and the breaker (a file and two words of shared memory). Touches
no venue and no book. Promises that a limit is checked in the transaction that reserves, and that only a person resets the
breaker.
"""
