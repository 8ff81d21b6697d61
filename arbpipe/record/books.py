"""Rebuilding books from a recording, and nothing else: no catalog, no detector, in this process.

Every market of the recording gets a row in a private segment, through the same feed as everywhere. Polymarket's hashes need
what its frames lack (minimum size, neg-risk): REST books of the same markets supply it, else the hashes stay unchecked.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arbpipe.alerts import Alerts
from arbpipe.errors import EnvironmentRefused
from arbpipe.identity import Venue, instrument_uid
from arbpipe.instances import instance_of
from arbpipe.record.recording import FrameKind, Recording, open_recordings
from arbpipe.record.replay import ReplayedFeed, merged
from arbpipe.shm import core
from arbpipe.shm.generation import Listing
from arbpipe.shm.layout import Counts, Role, Stage
from arbpipe.shm.segment import Mode, Segment, default_directory
from arbpipe.shm.stats import Counter, ProcessLine, merged_histogram
from arbpipe.shm.tables import FEED_ROLES, ranges_of, write_ranges
from arbpipe.venues.frames import FrameError
from arbpipe.venues.kalshi import codec as kalshi_codec
from arbpipe.venues.kalshi.feed import KalshiFeed
from arbpipe.venues.polymarket import codec as polymarket_codec
from arbpipe.venues.polymarket.feed import PolymarketFeed
from arbpipe.venues.publisher import Publisher

__all__ = ["rebuild_books"]


@dataclass(frozen=True, slots=True)
class _Listed:
    listings: list[Listing]


def _listing(venue: Venue, native_id: str, slot: int, **known: Any) -> Listing:
    """A market of which nothing is known but its frames: it has books, and it never trades (its fee is unknown)."""
    return Listing(
        number=slot,
        uid=instrument_uid(venue.label, native_id),
        slot=slot,
        venue=venue,
        native_id=native_id,
        title="",
        yes_label="Yes",
        no_label="No",
        yes_token=known.get("yes_token", ""),
        no_token=known.get("no_token", ""),
        version=known.get("version", ""),
        neg_risk=known.get("neg_risk", False),
        min_size_text=known.get("min_size", ""),
        tradeable=False,
        reason="only its books are rebuilt",
        tick_e4=0,
        min_size_e2=0,
        fee=None,
        group=-1,
    )


def _kalshi_markets(recordings: Sequence[Recording]) -> list[str]:
    found: dict[str, None] = {}
    for frame in (frame for recording in recordings for frame in recording.frames):
        if frame.kind is FrameKind.REST:
            found[frame.native_id] = None
        elif frame.kind is FrameKind.FRAME:
            try:
                message = kalshi_codec.decode(frame.data)
            except FrameError:
                continue
            if isinstance(message, kalshi_codec.Snapshot):
                found[message.market_ticker] = None
    return list(found)


def _polymarket_markets(recordings: Sequence[Recording], books: Sequence[Path]) -> list[dict[str, Any]]:
    """Markets with their tokens in the order in which they appear; the first one is taken for YES."""
    known: dict[str, dict[str, Any]] = {}
    tokens: dict[str, list[str]] = {}

    def note(book: polymarket_codec.Book) -> None:
        mine = tokens.setdefault(book.market, [])
        if book.asset_id not in mine:
            mine.append(book.asset_id)
        if book.min_order_size is not None and book.neg_risk is not None:
            known[book.market] = {
                "min_size": book.min_order_size,
                "neg_risk": book.neg_risk,
                "version": book.version or "v1",
            }

    for path in books:
        try:
            note(polymarket_codec.decode_rest_book(path.read_bytes()))
        except OSError as error:
            raise EnvironmentRefused(f"cannot read the book {path}: {error.strerror}") from None
        except FrameError as error:
            raise EnvironmentRefused(f"{path} is not a Polymarket book: {error}") from None
    for frame in (frame for recording in recordings for frame in recording.frames):
        try:
            if frame.kind is FrameKind.REST:
                note(polymarket_codec.decode_rest_book(frame.data))
            elif frame.kind is FrameKind.FRAME:
                for message in polymarket_codec.decode(frame.data):
                    if isinstance(message, polymarket_codec.Book):
                        note(message)
                    elif isinstance(message, polymarket_codec.PriceChange):
                        mine = tokens.setdefault(message.market, [])
                        mine += [c.asset_id for c in message.changes if c.asset_id not in mine]
        except FrameError:
            continue
    return [
        {
            "native_id": market,
            "yes_token": mine[0],
            "no_token": mine[1] if len(mine) > 1 else "",
            **known.get(market, {}),
        }
        for market, mine in tokens.items()
    ]


def rebuild_books(paths: Sequence[Path], venue: Venue, books: Sequence[Path] = ()) -> dict[str, Any]:
    """Replay one venue's recordings through its feed; return the keys of ``replay --json`` that books have.

    Raises:
        EnvironmentRefused: no recording of that venue, or a file cannot be read.
    """
    recordings = [recording for path in paths for recording in open_recordings(path) if recording.venue is venue]
    if not recordings:
        raise EnvironmentRefused(f"none of the recordings is of {venue.label}")
    role = next(role for role, of in FEED_ROLES.items() if of is venue)
    if venue is Venue.KALSHI:
        markets: list[dict[str, Any]] = [{"native_id": ticker} for ticker in _kalshi_markets(recordings)]
    else:
        markets = _polymarket_markets(recordings, books)
    per_feed = max(128, -(-len(markets) // 128) * 128)
    directory = default_directory(instance_of(Mode.REPLAY))
    segment = Segment.create(directory, Counts(slots=2 * per_feed), mode=Mode.REPLAY, instance=directory.name)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            return _rebuild(segment, role, recordings, markets, Path(scratch) / "alerts.log")
    finally:
        segment.detach()
        Segment.destroy(directory)
        if directory.parent.name.startswith("arbpipe-"):
            with contextlib.suppress(OSError):  # other instances live there
                directory.parent.rmdir()


def _rebuild(
    segment: Segment, role: Role, recordings: Sequence[Recording], markets: list[dict[str, Any]], alerts: Path
) -> dict[str, Any]:
    venue = FEED_ROLES[role]
    write_ranges(segment)
    first = ranges_of(segment)[role].first_slot
    line = ProcessLine(segment, role)
    line.begin()
    publisher = Publisher(segment, role, line, Alerts(alerts, "REPLAY", role.label, line))
    feed: KalshiFeed | PolymarketFeed
    if venue is Venue.KALSHI:
        feed = KalshiFeed(publisher, use_yes_price=any(recording.use_yes_price for recording in recordings))
    else:
        feed = PolymarketFeed(publisher)
    feed.list(_Listed([_listing(venue, slot=first + number, **market) for number, market in enumerate(markets)]))
    replayed = ReplayedFeed(feed, publisher, merged(recordings))
    replayed.apply_until(1 << 62)
    latency = merged_histogram(segment, Stage.FRAME_TO_ROW)
    said = alerts.read_text().splitlines() if alerts.exists() else []
    return {
        "schema": 1,
        "mode": "REPLAY",
        "core": core.CORE,
        "venue": venue.label,
        "frames": line.get(Counter.FRAMES),
        "sequenced": line.get(Counter.SEQUENCED),
        "instruments": len(markets),
        "covers": 0,
        "gaps": line.get(Counter.GAPS),
        "hash_checked": line.get(Counter.HASH_CHECKED),
        "hash_mismatches": line.get(Counter.HASH_MISMATCHES),
        "hash_unchecked": line.get(Counter.HASH_UNCHECKED),
        "crossed": line.get(Counter.CROSSED),
        "bad_frames": line.get(Counter.BAD_FRAMES),
        "opportunities": 0,
        "near_misses": [],
        "attempts": 0,
        "locked_pnl_usd": "0.000000",
        "realised_pnl_usd": "0.000000",
        "ledger_matches_venues": None,
        "alerts": len(said),
        "latency_us": {
            "frame_to_row": {
                "p50": latency["p50"] / 1000,
                "p99": latency["p99"] / 1000,
                "max": latency["max"] / 1000,
                "count": latency["count"],
            }
        },
    }
