"""Names that survive everything: the uid of an instrument, and claims.

A slot is reused, a generation passes, a process restarts; the uid stays. It is in every cell, leg and ring entry, and a
mismatch is a refusal.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import Final

__all__ = ["OUR_ORDERS", "VENUES", "Side", "Venue", "instrument_uid", "claim_id", "slot_of", "side_of"]


class Venue(IntEnum):
    """Where an instrument trades. The number is stored in shared memory and in the ledger: never renumber."""

    KALSHI = 1
    POLYMARKET = 2

    @property
    def label(self) -> str:
        """The name in files, keys and messages."""
        return self.name.lower()


VENUES: Final = {venue.label: venue for venue in Venue}
#: What the client ids of our orders begin with; all others are somebody else's and are left alone (design 9).
OUR_ORDERS: Final = "ap-"


class Side(IntEnum):
    """The side of an instrument that a claim buys."""

    YES = 0
    NO = 1

    @property
    def other(self) -> Side:
        """The opposite side."""
        return Side(1 - self)


def instrument_uid(venue: str, native_id: str) -> int:
    """The first 8 bytes of SHA-256 of ``venue:native id``, big-endian; never 0 in practice, and 0 means "no uid"."""
    return int.from_bytes(hashlib.sha256(f"{venue}:{native_id}".encode()).digest()[:8], "big")


def claim_id(slot: int, side: int) -> int:
    """The claim's number inside one catalog generation: ``2 * slot + side``."""
    return 2 * slot + side


def slot_of(claim: int) -> int:
    """The slot of a claim id."""
    return claim >> 1


def side_of(claim: int) -> Side:
    """The side of a claim id."""
    return Side(claim & 1)
