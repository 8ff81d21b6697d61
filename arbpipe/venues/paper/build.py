"""Builds the paper gateways of a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from arbpipe.fixedpoint import parse_money_e6
from arbpipe.identity import Venue
from arbpipe.process import Process
from arbpipe.shm.generation import Listing
from arbpipe.shm.usable import UsableRule
from arbpipe.venues.base import Gateway
from arbpipe.venues.paper.account import PaperAccount
from arbpipe.venues.paper.gateway import PaperGateway, PaperManners

__all__ = ["paper_gateways"]


def paper_gateways(
    process: Process,
    usable: UsableRule,
    sleep_until: Callable[[int], Awaitable[None]],
    listings: Callable[[], Mapping[int, Listing]],
) -> dict[Venue, Gateway]:
    """One gateway per venue over one paper account, whose file lies beside the ledger."""
    config = process.spec.config.paper
    account = PaperAccount(
        process.spec.ledger_path("paper-venue"),
        {
            Venue.KALSHI: parse_money_e6(config.kalshi_cash_usd),
            Venue.POLYMARKET: parse_money_e6(config.polymarket_cash_usd),
        },
    )
    manners = PaperManners(config.delay_ms * 1_000_000, config.reject_permille, config.partial_permille, config.seed)
    return {
        venue: PaperGateway(
            venue,
            account,
            process.segment,
            usable,
            lambda uid: listings().get(uid),
            process.clock,
            sleep_until,
            manners,
        )
        for venue in Venue
    }
