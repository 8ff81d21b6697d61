"""An independent reader of a sample: plain json, books and relations of its own, and none of the simulator's code."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

KALSHI_BASE_RATE = Fraction(7, 100)


def lines_of(path: Path) -> list[dict[str, Any]]:
    """All lines of a recording, the header first."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def messages_of(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(t_ns, conn, message) of every received JSON frame; arrays are taken apart."""
    for line in lines_of(path)[1:]:
        text = line.get("recv")
        if text is None or text == "PONG":
            continue
        parsed = json.loads(text)
        for message in parsed if isinstance(parsed, list) else [parsed]:
            yield line["t_ns"], line["conn"], message


@dataclass
class Touch:
    """Best offers of one instrument: price and size of YES and of NO, or None while unknown."""

    yes: tuple[Fraction, Fraction] | None = None
    no: tuple[Fraction, Fraction] | None = None


class KalshiBooks:
    """Books kept from snapshots and signed deltas."""

    def __init__(self, use_yes_price: bool) -> None:
        self.use_yes_price = use_yes_price
        self.books: dict[str, dict[str, dict[Fraction, Fraction]]] = {}

    def apply(self, message: dict[str, Any]) -> str | None:
        """Apply one frame; returns the ticker whose book it changed."""
        msg = message["msg"]
        if message["type"] == "orderbook_snapshot":
            book = {
                side: {Fraction(price): Fraction(size) for price, size in msg.get(f"{side}_dollars_fp", [])}
                for side in ("yes", "no")
            }
            known = self.books.get(msg["market_ticker"])
            assert known is None or known == book, "a later snapshot differs from the book kept from deltas"
            self.books[msg["market_ticker"]] = book
            return str(msg["market_ticker"])
        if message["type"] == "orderbook_delta":
            side = self.books[msg["market_ticker"]][msg["side"]]
            price = Fraction(msg["price_dollars"])
            size = side.get(price, Fraction(0)) + Fraction(msg["delta_fp"])
            assert size >= 0, f"negative level at {price} of {msg['market_ticker']}"
            side[price] = size
            if size == 0:
                del side[price]
            return str(msg["market_ticker"])
        return None

    def touch(self, ticker: str) -> Touch:
        """The best offers; asserts that the book is neither empty on a side nor crossed."""
        book = self.books[ticker]
        yes, no = book["yes"], book["no"]
        assert yes, f"no YES bids in {ticker}"
        assert no, f"no NO bids in {ticker}"
        best_yes = max(yes)
        if self.use_yes_price:
            best_no_key = min(no)
            yes_ask = best_no_key
        else:
            best_no_key = max(no)
            yes_ask = 1 - best_no_key
        assert best_yes < yes_ask, f"{ticker} is crossed: {best_yes} / {yes_ask}"
        return Touch(yes=(yes_ask, no[best_no_key]), no=(1 - best_yes, yes[best_yes]))


class PolymarketBooks:
    """Books of every token, kept apart for YES and NO, from `book` and `price_change`."""

    def __init__(self) -> None:
        self.books: dict[str, dict[str, dict[str, str]]] = {}

    def apply(self, message: dict[str, Any]) -> list[str]:
        """Apply one frame; returns the assets whose books it changed."""
        if message["event_type"] == "book":
            book = {side: {x["price"]: x["size"] for x in message[side]} for side in ("bids", "asks")}
            known = self.books.get(message["asset_id"])
            assert known is None or known == book, "a later book differs from the one kept from changes"
            self.books[message["asset_id"]] = book
            return [message["asset_id"]]
        if message["event_type"] != "price_change":
            return []
        for change in message["price_changes"]:
            side = self.books[change["asset_id"]]["bids" if change["side"] == "BUY" else "asks"]
            assert change["side"] in ("BUY", "SELL")
            if change["size"] == "0":
                del side[change["price"]]
            else:
                assert Fraction(change["size"]) > 0
                side[change["price"]] = change["size"]
        return [change["asset_id"] for change in message["price_changes"]]

    def best(self, asset: str) -> tuple[str, str]:
        """Best bid and best ask as text; asserts that the book is neither empty on a side nor crossed."""
        book = self.books[asset]
        bid, ask = max(book["bids"], key=Fraction), min(book["asks"], key=Fraction)
        assert Fraction(bid) < Fraction(ask), f"{asset} is crossed: {bid} / {ask}"
        return bid, ask

    def offer(self, asset: str) -> tuple[Fraction, Fraction]:
        """Price and size of the best ask of a token."""
        _, ask = self.best(asset)
        return Fraction(ask), Fraction(self.books[asset]["asks"][ask])


@dataclass
class Cover:
    """Classes of equal claims, the payout, and the event they belong to."""

    event: str
    classes: tuple[str, ...]
    pays: int


@dataclass
class Catalog:
    """`pairs.toml` read afresh: fee rate of each instrument, equal claims, covers."""

    instruments: dict[str, dict[str, Any]]
    parent: dict[str, str] = field(default_factory=dict)
    covers: list[Cover] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Catalog:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        assert set(raw) <= {"schema", "instrument", "pair", "partition", "ladder"}
        assert raw["schema"] == 1
        catalog = cls({f"{each['venue']}:{each['id']}": each for each in raw["instrument"]})
        assert len(catalog.instruments) == len(raw["instrument"])
        for key in catalog.instruments:
            for side in ("yes", "no"):
                catalog.parent[f"{key}/{side}"] = f"{key}/{side}"
        for pair in raw["pair"]:
            a, b = catalog.claim(pair["a"]), catalog.claim(pair["b"])
            other = catalog.flip(b)
            if pair["relation"] == "opposite":
                b, other = other, b
            catalog.join(a, b)
            catalog.join(catalog.flip(a), other)
        for pair in raw["pair"]:
            a = catalog.claim(pair["a"])
            catalog.add(pair["event"], [a, catalog.flip(a)], 1)
        for partition in raw.get("partition", []):
            assert partition["holds"] == "exactly_one"
            claims = [catalog.claim(text) for text in partition["claims"]]
            catalog.add(partition["event"], claims, 1)
            catalog.add(partition["event"], [catalog.flip(claim) for claim in claims], len(claims) - 1)
        for ladder in raw.get("ladder", []):
            claims = [catalog.claim(text) for text in ladder["claims"]]
            for i, earlier in enumerate(claims):
                for later in claims[i + 1 :]:
                    catalog.add(ladder["event"], [later, catalog.flip(earlier)], 1)
        return catalog

    def claim(self, text: str) -> str:
        key, label = text.split("#")
        instrument = self.instruments[key]
        labels = {side: instrument.get(side, {}).get("label", side.title()) for side in ("yes", "no")}
        (side,) = [side for side, name in labels.items() if name == label]
        return f"{key}/{side}"

    @staticmethod
    def flip(claim: str) -> str:
        key, side = claim.split("/")
        return f"{key}/{'no' if side == 'yes' else 'yes'}"

    def find(self, claim: str) -> str:
        while self.parent[claim] != claim:
            claim = self.parent[claim]
        return claim

    def join(self, a: str, b: str) -> None:
        self.parent[self.find(b)] = self.find(a)

    def add(self, event: str, claims: list[str], pays: int) -> None:
        classes = tuple(sorted(self.find(claim) for claim in claims))
        if not any(cover.classes == classes for cover in self.covers):
            self.covers.append(Cover(event, classes, pays))

    def members(self, root: str) -> list[str]:
        return [claim for claim in self.parent if self.find(claim) == root]

    def rate(self, key: str) -> Fraction:
        fee = self.instruments[key]["fee"]
        if "multiplier" in fee:
            assert fee["type"] == "quadratic"
            return KALSHI_BASE_RATE * Fraction(fee["multiplier"])
        assert fee["exponent"] == 1
        return Fraction(fee["rate"])

    def tokens(self) -> dict[str, str]:
        """Token to claim."""
        return {
            each[side]["token"]: f"{key}/{side}"
            for key, each in self.instruments.items()
            for side in ("yes", "no")
            if each["venue"] == "polymarket"
        }


@dataclass
class State:
    """What one frame left: the edges of the covers it touches, with the legs' claims, prices and sizes."""

    t_ns: int
    cover: Cover
    edge: Fraction
    legs: dict[str, tuple[Fraction, Fraction]]


def replay(kalshi: Path, polymarket: Path, catalog: Catalog) -> Iterator[State]:
    """Merge both files by time and yield, after every frame, each cover that the frame touched and that is priced."""
    tokens = catalog.tokens()
    by_class: dict[str, list[Cover]] = {}
    for cover in catalog.covers:
        for root in cover.classes:
            by_class.setdefault(root, []).append(cover)
    members = {root: catalog.members(root) for root in by_class}
    rates = {claim: catalog.rate(claim.split("/")[0]) for claim in catalog.parent}
    offers: dict[str, tuple[Fraction, Fraction]] = {}
    kalshi_books = KalshiBooks(lines_of(kalshi)[0]["use_yes_price"])
    polymarket_books = PolymarketBooks()
    merged = [(t, 0, i, m) for i, (t, _, m) in enumerate(messages_of(kalshi))]
    merged += [(t, 1, i, m) for i, (t, _, m) in enumerate(messages_of(polymarket))]
    merged.sort(key=lambda entry: entry[:3])
    for t_ns, venue, _, message in merged:
        changed: list[str] = []
        if venue == 0:
            ticker = kalshi_books.apply(message)
            if ticker is not None:
                touch = kalshi_books.touch(ticker)
                for side, offer in (("yes", touch.yes), ("no", touch.no)):
                    assert offer is not None
                    offers[f"kalshi:{ticker}/{side}"] = offer
                    changed.append(f"kalshi:{ticker}/{side}")
        else:
            for asset in polymarket_books.apply(message):
                offers[tokens[asset]] = polymarket_books.offer(asset)
                changed.append(tokens[asset])
        touched = {id(c): c for claim in changed for c in by_class.get(catalog.find(claim), [])}
        for cover in touched.values():
            legs: dict[str, tuple[Fraction, Fraction]] = {}
            cost = Fraction(0)
            for root in cover.classes:
                priced = [
                    (offers[claim][0] + rates[claim] * offers[claim][0] * (1 - offers[claim][0]), claim)
                    for claim in members[root]
                    if claim in offers
                ]
                if not priced:
                    break
                best = min(priced)
                cost += best[0]
                legs[best[1]] = offers[best[1]]
            else:
                yield State(t_ns, cover, cover.pays - cost, legs)
