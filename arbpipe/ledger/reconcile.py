"""Does the ledger say what the venues say? Positions and cash must be equal to the last micro-dollar."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from arbpipe.fixedpoint import format_usd
from arbpipe.ledger.book import Ledger
from arbpipe.venues.base import Gateway, Position

__all__ = ["Difference", "compare", "reconcile"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing the two disagree about, as a sentence."""

    venue: str
    what: str


def compare(
    venue: str,
    ledger_positions: Iterable[Position],
    venue_positions: Iterable[Position],
    ledger_cash_e6: int,
    venue_cash_e6: int,
) -> list[Difference]:
    """Everything in which the ledger and one venue's statement differ."""
    ours = {position.uid: position for position in ledger_positions}
    theirs = {position.uid: position for position in venue_positions}
    found = []
    for uid in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(uid, Position(uid, 0, 0)), theirs.get(uid, Position(uid, 0, 0))
        if (mine.yes_e6, mine.no_e6) != (other.yes_e6, other.no_e6):
            found.append(
                Difference(
                    venue,
                    f"{uid:016x}: the ledger holds {mine.yes_e6 / 1e6} YES and {mine.no_e6 / 1e6} NO, "
                    f"{venue} says {other.yes_e6 / 1e6} and {other.no_e6 / 1e6}",
                )
            )
    if ledger_cash_e6 != venue_cash_e6:
        found.append(
            Difference(
                venue, f"cash: the ledger has ${format_usd(ledger_cash_e6)}, {venue} ${format_usd(venue_cash_e6)}"
            )
        )
    return found


async def reconcile(ledger: Ledger, gateways: Iterable[Gateway]) -> list[Difference]:
    """Compare the ledger with every venue's own statement."""
    cash = ledger.cash()
    found: list[Difference] = []
    for gateway in gateways:
        found += compare(
            gateway.venue.label,
            ledger.positions(gateway.venue),
            await gateway.positions(),
            cash.get(gateway.venue, 0),
            await gateway.cash_e6(),
        )
    return found
