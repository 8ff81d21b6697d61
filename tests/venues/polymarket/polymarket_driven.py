"""A Polymarket market with the right checksums, and a feed that is driven by its frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from feed_bench import Bench, encoded, polymarket, toml

from arbpipe.shm.generation import Generation
from arbpipe.shm.layout import NO_QUOTE
from arbpipe.shm.row import RowFlag
from arbpipe.venues.polymarket.feed import PolymarketFeed
from arbpipe.venues.polymarket.hashing import HashTerms, book_hash

SECOND = 1_000_000_000
FED = "0x8bf1c1536ecb1c08fe13c6b71e8ab1f58bf3461c4cb79f5f1679f869a06aef86"
FED_YES = "111604417349377875799825956621596386269673370070912696668140891647145772186047"
FED_NO = "36015050921127306245266044699797268780268172446856063291868548314968920497494"
YES, NO, OTHER_YES, OTHER_NO, *SPARE = (str((1 << 255) + (1 << 100) + n) for n in range(8))
MARKET, OTHER = "0x01", "0x02"


class Market:
    """One market as the venue has it: both tokens' books, and frames with the right checksums."""

    def __init__(self, market: str = MARKET, yes: str = YES, no: str = NO) -> None:
        self.market, self.yes, self.no = market, yes, no
        self.tick, self.last, self.stamp = "0.01", "0.40", 1_784_578_686_071
        self.bids = {"0.38": "50", "0.39": "100"}
        self.asks = {"0.41": "100", "0.42": "30"}

    def _sides(self, token: str) -> tuple[dict[str, str], dict[str, str]]:
        if token == self.yes:
            return self.bids, self.asks

        def flip(levels: dict[str, str]) -> dict[str, str]:
            return {f"{1 - float(price):.2f}": size for price, size in levels.items()}

        return flip(self.asks), flip(self.bids)

    def levels(self, token: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        bids, asks = self._sides(token)
        return sorted(bids.items()), sorted(asks.items(), reverse=True)

    def hash(self, token: str) -> str:
        terms = HashTerms(self.market, token, "5", False, self.tick, self.last, "v1")
        return book_hash(terms, str(self.stamp), *self.levels(token))

    def book(self, token: str, **more: Any) -> dict[str, Any]:
        bids, asks = ([{"price": p, "size": s} for p, s in side] for side in self.levels(token))
        frame = {
            "event_type": "book",
            "market": self.market,
            "asset_id": token,
            "timestamp": str(self.stamp),
            "hash": self.hash(token),
            "bids": bids,
            "asks": asks,
            "tick_size": self.tick,
            "last_trade_price": self.last,
        }
        return {**frame, **more}

    def change(self, side: str, price: str, size: str, *tokens: str) -> dict[str, Any]:
        """Set one level of the YES book; the frame names both tokens unless told otherwise."""
        self.stamp += 1
        levels = self.bids if side == "BUY" else self.asks
        levels[price] = size
        if float(size) == 0:
            del levels[price]
        other = {"BUY": "SELL", "SELL": "BUY"}[side]
        each = {self.yes: (side, price), self.no: (other, f"{1 - float(price):.2f}")}
        return {
            "event_type": "price_change",
            "market": self.market,
            "timestamp": str(self.stamp),
            "price_changes": [
                {"asset_id": t, "side": each[t][0], "price": each[t][1], "size": size, "hash": self.hash(t)}
                for t in tokens or (self.yes, self.no)
            ],
        }

    def trade(self, token: str, price: str) -> dict[str, Any]:
        self.last = price
        return {
            "event_type": "last_trade_price",
            "market": self.market,
            "asset_id": token,
            "price": price,
            "timestamp": str(self.stamp),
        }

    def tick_change(self, token: str, new: str) -> dict[str, Any]:
        old, self.tick = self.tick, new
        return {
            "event_type": "tick_size_change",
            "market": self.market,
            "asset_id": token,
            "old_tick_size": old,
            "new_tick_size": new,
            "timestamp": str(self.stamp),
        }


class Driven:
    """A feed of two markets, and a clock that moves a second a frame."""

    def __init__(self, made: Bench, *entries: str) -> None:
        self.bench = made
        self.feed = PolymarketFeed(made.publisher)
        entries = entries or (polymarket(MARKET, YES, NO), polymarket(OTHER, OTHER_YES, OTHER_NO))
        self.generation: Generation = made.generation(toml(*entries))
        self.feed.list(self.generation)
        self.now = 1_000 * SECOND
        self.feed.opened(0, self.now)
        self.slot = made.first_slot
        self.other_slot = made.first_slot + 1
        self.market = Market()
        self.other = Market(OTHER, OTHER_YES, OTHER_NO)

    def send(self, *frames: Any, number: int = 0) -> None:
        for frame in frames:
            self.now += SECOND
            self.feed.frame(number, frame if isinstance(frame, bytes) else encoded(frame), 1, self.now)

    def books(self) -> None:
        for market in (self.market, self.other):
            self.send(*(market.book(token) for token in (market.yes, market.no)))

    def quoted(self, slot: int | None = None) -> bool:
        """Whether somebody may buy: no flag, and costs; both or neither."""
        slot = self.slot if slot is None else slot
        row = self.bench.row(slot)
        costs = [cost != NO_QUOTE for cost in self.bench.cost(slot)]
        assert costs == [bool(row.yes_asks), bool(row.no_asks)]
        assert not (row.flags and any(costs))
        return any(costs)

    @property
    def flags(self) -> RowFlag:
        return self.bench.flags(self.slot)

    def verified(self) -> bool:
        return self.bench.verified(self.slot)

    def asked(self) -> set[str]:
        """The assets whose fresh book was asked for; asking is forgotten."""
        asked = {asset for _, (_, assets) in self.feed.outbox for asset in assets}
        self.feed.outbox.clear()
        return asked


def recorded(recordings: Path) -> list[Any]:
    frames: list[Any] = json.loads((recordings / "polymarket" / "ws_market_frames_fed_2026-07-20.json").read_text())
    return frames
