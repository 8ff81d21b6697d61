"""What the ledger stores and says: attempts, intents, how they end, and cash at risk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from arbpipe.identity import Venue
from arbpipe.venues.base import Order, OutcomeState

__all__ = ["AttemptRecord", "Closing", "IntentRecord", "OpenAttempt", "Usage"]


@dataclass(frozen=True, slots=True)
class IntentRecord:
    """An order before it is sent. ``reserved_e6`` is the most cash it can take."""

    order: Order
    leg: int
    step: int
    proposition: int
    reserved_e6: int


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One try at an opportunity, as it is reserved. ``plan`` is whatever recovery needs to go on."""

    attempt: str
    cover_id: int
    cover: str
    event: str
    k: int
    size_e2: int
    floor_e6: int
    tails: bool
    plan: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Closing:
    """How an attempt ended. ``balanced_e6`` sets pay ``k`` dollars each; dust and exposure are valued at zero."""

    result: str
    balanced_e6: int
    locked_e6: int
    realised_e6: int
    dust_e6: int
    exposure_e6: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Cash at risk now, in micro-dollars; ``cash`` is what each venue holds less what is reserved there."""

    event: dict[str, int]
    venue: dict[Venue, int]
    total: int
    tail_event: dict[str, int]
    tail_total: int
    cash: dict[Venue, int]


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt that is not closed, with all its intents and what is known of them."""

    record: AttemptRecord
    state: str
    intents: tuple[tuple[IntentRecord, OutcomeState | None], ...]
