"""The checksum of a Polymarket book: SHA-1 of the whole book as compact JSON (polymarket.md 3.2, tested there).

The key order and the texts are the venue's. ``version`` is the last key, and only in books of Protocol V2 markets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from arbpipe.venues.polymarket.book import TokenBook

__all__ = ["HashTerms", "book_hash", "compute_hash", "level_fragment"]


class HashTerms(Struct, frozen=True, gc=False):
    """What the checksum contains besides levels and time, all as the venue writes it.

    ``min_order_size`` and ``neg_risk`` come from REST only. ``last_trade_price`` is the market's last trade as the
    venue wrote it, on whichever token it happened, not mirrored; ``""`` if there was none. ``version`` is ``v1`` or
    ``v2``.

    Raises:
        ValueError: ``version`` is neither: the formula is then unknown.
    """

    market: str
    asset_id: str
    min_order_size: str
    neg_risk: bool
    tick_size: str
    last_trade_price: str
    version: str

    def __post_init__(self) -> None:
        if self.version not in ("v1", "v2"):
            raise ValueError(
                f"market {self.market} has version {self.version!r}, and only v1 and v2 have a known checksum:"
                " list it with its version, or do not trade it"
            )


def level_fragment(price: str, size: str) -> str:
    """One level as the checksum contains it; the book keeps these ready."""
    return f'{{"price":"{price}","size":"{size}"}}'


def book_hash(
    terms: HashTerms, timestamp: str, bids: Iterable[tuple[str, str]], asks: Iterable[tuple[str, str]]
) -> str:
    """The checksum of a book given as texts: bids ascending, asks descending, as ``book`` frames have them."""
    return _digest(
        terms,
        timestamp,
        ",".join([level_fragment(price, size) for price, size in bids]),
        ",".join([level_fragment(price, size) for price, size in asks]),
    )


def compute_hash(book: TokenBook, terms: HashTerms, timestamp: str) -> str:
    """The checksum that ``book`` has at ``timestamp``: that of the frame which made it what it is."""
    bids, asks = book.fragments()
    return _digest(terms, timestamp, bids, asks)


def _digest(terms: HashTerms, timestamp: str, bids: str, asks: str) -> str:
    tail = ',"version":"v2"}' if terms.version == "v2" else "}"
    text = (
        f'{{"market":"{terms.market}","asset_id":"{terms.asset_id}","timestamp":"{timestamp}","hash":"",'
        f'"bids":[{bids}],"asks":[{asks}],"min_order_size":"{terms.min_order_size}","tick_size":"{terms.tick_size}",'
        f'"neg_risk":{"true" if terms.neg_risk else "false"},"last_trade_price":"{terms.last_trade_price}"{tail}'
    )
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
