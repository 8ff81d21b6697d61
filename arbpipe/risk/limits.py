"""Exposure limits: pure arithmetic over what is used and what is asked for. They refuse; they never shrink what is held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from arbpipe.config import LimitsConfig
from arbpipe.fixedpoint import parse_money_e6
from arbpipe.identity import Venue
from arbpipe.shm.row import Reason

__all__ = ["Limits", "Refused", "Request", "UsageView"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits in micro-dollars (configuration ``[limits]``)."""

    event: int
    venue: int
    total: int
    unhedged: int
    tail_event: int
    tail_total: int
    loss_budget: int

    @classmethod
    def of(cls, config: LimitsConfig) -> Limits:
        """From the configuration."""
        return cls(
            parse_money_e6(config.max_event_usd),
            parse_money_e6(config.max_venue_usd),
            parse_money_e6(config.max_total_usd),
            parse_money_e6(config.max_unhedged_usd),
            parse_money_e6(config.max_tail_event_usd),
            parse_money_e6(config.max_tail_total_usd),
            parse_money_e6(config.loss_budget_usd),
        )


@dataclass(frozen=True, slots=True)
class Request:
    """What an attempt would put at stake: cash per venue, and whether its tails are accepted."""

    event: str
    cash: Mapping[Venue, int]
    tails: bool
    floor_e6: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.cash.values())


@dataclass(frozen=True, slots=True)
class UsageView:
    """What is at stake already; the same members as the ledger's usage, so that risk imports no ledger."""

    event: Mapping[str, int]
    venue: Mapping[Venue, int]
    total: int
    tail_event: Mapping[str, int]
    tail_total: int
    cash: Mapping[Venue, int]


@dataclass(frozen=True, slots=True)
class Refused:
    """Which limit refused, what it would have come to, and what is allowed."""

    reason: Reason
    value: int
    threshold: int

    @property
    def room_e6(self) -> int:
        """How much less it would have to be; the caller may try a smaller size."""
        return self.value - self.threshold


def check(limits: Limits, usage: UsageView, request: Request) -> Refused | None:
    """The first limit that the request would pass, or ``None``. At its boundary a limit still allows."""
    for venue, amount in request.cash.items():
        have = usage.cash.get(venue, 0)
        if amount > have:
            return Refused(Reason.LIMIT_CASH, amount, have)
        used = usage.venue.get(venue, 0) + amount
        if used > limits.venue:
            return Refused(Reason.LIMIT_VENUE, used, limits.venue)
    event = usage.event.get(request.event, 0) + request.total
    if event > limits.event:
        return Refused(Reason.LIMIT_EVENT, event, limits.event)
    total = usage.total + request.total
    if total > limits.total:
        return Refused(Reason.LIMIT_TOTAL, total, limits.total)
    if request.tails:
        risk = request.total - request.floor_e6
        tail_event = usage.tail_event.get(request.event, 0) + risk
        if tail_event > limits.tail_event:
            return Refused(Reason.LIMIT_TAIL, tail_event, limits.tail_event)
        tail_total = usage.tail_total + risk
        if tail_total > limits.tail_total:
            return Refused(Reason.LIMIT_TAIL, tail_total, limits.tail_total)
    return None
