"""``pairs.toml`` of a scenario: the instruments and what a person would assert about them (docs/pairs-toml.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from arbpipe.sim.listing import Event, KalshiListing, Kind, Market, Venue
from arbpipe.sim.polymarket_wire import MIN_ORDER_SIZE
from arbpipe.sim.units import plain_text

__all__ = ["KALSHI_MIN_SIZE", "pairs_toml"]

KALSHI_MIN_SIZE: Final = "0.01"
_APPROVER: Final = "sim"


def _quote(text: str) -> str:
    # a JSON string of printable ASCII is a TOML basic string
    return json.dumps(text)


def _instrument(market: Market) -> list[str]:
    listing = market.listing
    lines = [
        "[[instrument]]",
        f"venue = {_quote(market.venue.value)}",
        f"id = {_quote(market.native_id)}",
        f"title = {_quote(market.title)}",
    ]
    tick = f"tick = {_quote(plain_text(market.tick_e4, 4))}"
    if isinstance(listing, KalshiListing):
        fee = f'fee = {{ type = "quadratic", multiplier = {_quote(listing.multiplier)} }}'
        return [*lines, tick, f"min_size = {_quote(KALSHI_MIN_SIZE)}", fee, ""]
    return [
        *lines,
        f"version = {_quote(listing.version)}",
        f"yes = {{ label = {_quote(market.yes_label)}, token = {_quote(listing.yes_token)} }}",
        f"no = {{ label = {_quote(market.no_label)}, token = {_quote(listing.no_token)} }}",
        tick,
        f"min_size = {_quote(MIN_ORDER_SIZE)}",
        f"neg_risk = {'true' if listing.neg_risk else 'false'}",
        f"fee = {{ rate = {_quote(listing.rate)}, exponent = 1 }}",
        "",
    ]


def _pair(event: Event, outcome: int) -> list[str]:
    a = event.markets[event.position(Venue.KALSHI, outcome)]
    b = event.markets[event.position(Venue.POLYMARKET, outcome)]
    suffix = f"-{outcome}" if event.outcomes > 1 else ""
    return [
        "[[pair]]",
        f"name = {_quote(f'{event.name}{suffix}')}",
        f"event = {_quote(event.name)}",
        f"a = {_quote(a.claim(True))}",
        f"b = {_quote(b.claim(True))}",
        f"relation = {_quote('same' if a.inverted == b.inverted else 'opposite')}",
        f"tails = {_quote(event.tails)}",
        f"approver = {_quote(_APPROVER)}",
        "",
    ]


def _group(event: Event, table: str, venue: Venue) -> list[str]:
    claims = [event.markets[event.position(venue, outcome)].claim(True) for outcome in range(event.outcomes)]
    lines = [
        f"[[{table}]]",
        f"name = {_quote(f'{event.name}-{venue.value}')}",
        f"event = {_quote(event.name)}",
        f"claims = [{', '.join(_quote(claim) for claim in claims)}]",
    ]
    if table == "partition":
        lines.append('holds = "exactly_one"')
    return [*lines, f"tails = {_quote(event.tails)}", f"approver = {_quote(_APPROVER)}", ""]


def pairs_toml(events: Sequence[Event]) -> str:
    """The file's text: every instrument, a pair for every outcome, and each venue's partition or ladder."""
    lines = ["schema = 1", ""]
    for event in events:
        for market in event.markets:
            lines += _instrument(market)
    for event in events:
        for outcome in range(event.outcomes):
            lines += _pair(event, outcome)
        if event.kind in (Kind.PARTITION, Kind.LADDER):
            for venue in Venue:
                lines += _group(event, event.kind.value, venue)
    return "\n".join(lines)
