"""Invented events and markets: what a person would have listed and related by hand.

Event kinds cycle: a pair, a game, a partition, a ladder. Every outcome of an event is listed once on each venue. Ids
look like the real ones and exist nowhere.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from enum import Enum
from typing import Final

from arbpipe.sim.fees import KALSHI_RATES_E4, POLYMARKET_RATES_E4

__all__ = ["Venue", "Kind", "KalshiListing", "PolymarketListing", "Market", "Event", "make_events"]


class Venue(Enum):
    """Where a market is listed; the value is the name used in files."""

    KALSHI = "kalshi"
    POLYMARKET = "polymarket"


class Kind(Enum):
    """What relates the outcomes of an event."""

    PAIR = "pair"  #: one outcome, listed alike on both venues
    GAME = "game"  #: one outcome; Polymarket's YES is the other team
    PARTITION = "partition"  #: exactly one of three or four outcomes happens
    LADDER = "ladder"  #: three thresholds, each implies the next


_CYCLE: Final = (Kind.PAIR, Kind.GAME, Kind.PARTITION, Kind.LADDER)


@dataclass(frozen=True, slots=True)
class KalshiListing:
    """What only Kalshi lists: ticker, market UUID, and the fee multiplier of the series as text."""

    ticker: str
    market_id: str
    multiplier: str


@dataclass(frozen=True, slots=True)
class PolymarketListing:
    """What only Polymarket lists: condition id (64 hex), protocol version, one token per side, fee rate as text."""

    condition_id: str
    version: str
    yes_token: str
    no_token: str
    rate: str
    neg_risk: bool


@dataclass(frozen=True, slots=True)
class Market:
    """One binary contract on one venue. With ``inverted`` its YES pays when the outcome does *not* happen.

    ``tick_e4``: smallest price step in 1/10,000 dollar. ``rate_e4``: fee rate in 1/10,000.
    """

    venue: Venue
    outcome: int
    inverted: bool
    title: str
    yes_label: str
    no_label: str
    tick_e4: int
    rate_e4: int
    listing: KalshiListing | PolymarketListing

    @property
    def native_id(self) -> str:
        """The venue's own id: the ticker, or the condition id."""
        return self.listing.ticker if isinstance(self.listing, KalshiListing) else self.listing.condition_id

    @property
    def key(self) -> str:
        """The id in the catalog: ``venue:native id``."""
        return f"{self.venue.value}:{self.native_id}"

    def claim(self, yes: bool) -> str:
        """The claim's name in the catalog: ``venue:native id#label``."""
        return f"{self.key}#{self.yes_label if yes else self.no_label}"


@dataclass(frozen=True, slots=True)
class Event:
    """One subject. ``markets`` holds every outcome on Kalshi, then every outcome on Polymarket."""

    index: int
    name: str
    kind: Kind
    outcomes: int
    markets: tuple[Market, ...]
    tails: str

    def position(self, venue: Venue, outcome: int) -> int:
        """The position in ``markets`` of one outcome on one venue."""
        return outcome if venue is Venue.KALSHI else self.outcomes + outcome


_TEAMS: Final = (
    ("ALD", "Alder Gulls"),
    ("BRY", "Bryn Foxes"),
    ("CAR", "Carrick Owls"),
    ("DUN", "Dunmore Kites"),
    ("ELM", "Elmont Rams"),
    ("FEN", "Fenwick Hares"),
)
_NAMES: Final = ("Adler", "Brook", "Calder", "Dane")


def _polymarket_ids(rng: random.Random, version: str) -> tuple[str, str, str]:
    """Condition id and both asset ids (polymarket.md A.1 and 4.2; zero bits as in the recorded v2 canary)."""
    if version == "v2":
        condition31 = f"01{rng.getrandbits(128):032x}{'0' * 28}"
        position = int(condition31, 16) << 8
        return f"0x{condition31}00", str(position), str(position | 1)
    high = 1 << 255
    return f"0x{rng.getrandbits(256):064x}", str(high | rng.getrandbits(255)), str(high | rng.getrandbits(255))


def _outcome_names(kind: Kind, index: int, count: int) -> list[tuple[str, str]]:
    """Kalshi's ticker and the question for each outcome of an event that is not a game."""
    if kind is Kind.PAIR:
        return [(f"KXSIMRATE-26NOV-E{index:03d}", f"Board {index} leaves its rate unchanged in November 2026")]
    if kind is Kind.LADDER:
        strikes = [90 - 3 * step for step in range(count)]
        stem, station = f"KXSIMTEMP-26NOV02E{index:03d}", f"Station {index}"
        return [(f"{stem}-T{strike}", f"{station}: high above {strike} on 2 November 2026") for strike in strikes]
    stem = f"KXSIMRACE-26E{index:03d}"
    return [(f"{stem}-{name[:3].upper()}", f"{name} wins seat {index} in 2026") for name in _NAMES[:count]]


def _make_event(rng: random.Random, index: int) -> Event:
    kind = _CYCLE[index % 4]
    ordinal = index // 4
    count = {Kind.PAIR: 1, Kind.GAME: 1, Kind.LADDER: 3}.get(kind) or rng.choice((3, 4))
    kalshi_tick_e4 = 10 if rng.randrange(4) == 0 else 100
    polymarket_tick_e4 = rng.choice((10, 100))
    multiplier = "0.5" if rng.randrange(4) == 0 else "1"
    rate = rng.choice(tuple(POLYMARKET_RATES_E4))
    version = "v2" if (index + ordinal) % 2 else "v1"
    yes_label, no_label = "Yes", "No"
    if kind is Kind.GAME:
        (home, home_name), (away, away_name) = rng.sample(_TEAMS, 2)
        names = [
            (
                f"KXSIMGAME-26NOV{1 + index % 28:02d}{home}{away}E{index:03d}-{home}",
                f"{home_name} beat the {away_name}, game {index}",
            )
        ]
        # the venue puts the other team first: only the label says which side is which
        yes_label, no_label = away_name, home_name
    else:
        names = _outcome_names(kind, index, count)
    markets: list[Market] = []
    for outcome, (ticker, title) in enumerate(names):
        market_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        kalshi = KalshiListing(ticker, market_id, multiplier)
        rate_e4 = KALSHI_RATES_E4[multiplier]
        markets.append(Market(Venue.KALSHI, outcome, False, title, "Yes", "No", kalshi_tick_e4, rate_e4, kalshi))
    for outcome, (_, title) in enumerate(names):
        condition, yes_token, no_token = _polymarket_ids(rng, version)
        polymarket = PolymarketListing(condition, version, yes_token, no_token, rate, kind is Kind.PARTITION)
        rate_e4 = POLYMARKET_RATES_E4[rate]
        inverted = kind is Kind.GAME
        markets.append(
            Market(
                Venue.POLYMARKET, outcome, inverted, title, yes_label, no_label, polymarket_tick_e4, rate_e4, polymarket
            )
        )
    tails = "accepted" if kind is Kind.PAIR and ordinal % 4 == 1 else "none"
    return Event(index, f"sim-{kind.value}-{index:03d}", kind, count, tuple(markets), tails)


def make_events(seed: int, events: int) -> tuple[Event, ...]:
    """The catalog of a world: ``events`` events, each from its own stream, so that more events change none before."""
    return tuple(_make_event(random.Random(f"sim-listing:{seed}:{index}"), index) for index in range(events))
