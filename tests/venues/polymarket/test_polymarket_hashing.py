"""The checksum verifies on every recorded book and change."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from arbpipe.venues.frames import FrameError
from arbpipe.venues.polymarket.book import TokenBook
from arbpipe.venues.polymarket.codec import (
    Book,
    Change,
    ChangeSide,
    LastTradePrice,
    Message,
    PriceChange,
    decode,
    decode_rest_book,
)
from arbpipe.venues.polymarket.hashing import HashTerms, book_hash, compute_hash

MARKET = "0x8bf1c1536ecb1c08fe13c6b71e8ab1f58bf3461c4cb79f5f1679f869a06aef86"
YES = "111604417349377875799825956621596386269673370070912696668140891647145772186047"
NO = "36015050921127306245266044699797268780268172446856063291868548314968920497494"
TERMS = HashTerms("0xm", "1", "5", False, "0.01", "0.040", "v1")


def frames(recordings: Path) -> list[Message]:
    """The recorded frames, each once more as bytes of its own, as the socket delivered them."""
    recorded = json.loads((recordings / "polymarket" / "ws_market_frames_fed_2026-07-20.json").read_text())
    return [message for one in recorded for message in decode(json.dumps(one).encode())]


def rest_book(recordings: Path) -> Book:
    folder = recordings / "pairs" / "snapshot_2026-07-20" / "polymarket"
    return decode_rest_book((folder / f"book_{MARKET}.json").read_bytes())


def mirrored(book: Book) -> Book:
    """The NO book that the YES book implies, prices at the same number of decimals."""

    def flip(levels: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple((str((1000 - round(float(price) * 1000)) / 1000), size) for price, size in levels)

    return msgspec.structs.replace(book, asset_id=NO, bids=flip(book.asks), asks=flip(book.bids))


def verify(messages: list[Message], rest: Book, asset_id: str) -> tuple[list[bool], list[bool]]:
    """Follow one token; whether each of its changes and of its ``book`` frames verifies."""
    assert rest.min_order_size is not None
    assert rest.neg_risk is not None
    book = TokenBook(asset_id)
    changes: list[bool] = []
    books: list[bool] = []
    for message in messages:
        if isinstance(message, LastTradePrice):
            book.set_last_trade(message.price)  # of the market, on whichever token
            continue
        if isinstance(message, Book):
            own = message if asset_id == YES else mirrored(message)
            book.apply_book(own)
            found, expected, stamp = books, message.hash, message.timestamp
        elif isinstance(message, PriceChange):
            (change,) = [one for one in message.changes if one.asset_id == asset_id]
            book.apply_change(change)
            found, expected, stamp = changes, change.hash, message.timestamp
        else:
            continue
        terms = book.hash_terms(min_order_size=rest.min_order_size, neg_risk=rest.neg_risk, version="v1")
        assert terms is not None
        found.append(compute_hash(book, terms, stamp) == expected)
        assert not book.crossed
    return changes, books


def test_every_recorded_yes_change_and_book_verifies(recordings: Path) -> None:
    changes, books = verify(frames(recordings), rest_book(recordings), YES)
    assert changes == [True] * 24
    assert books == [True] * 2


def test_the_mirrored_no_book_verifies_with_the_last_trade_not_mirrored(recordings: Path) -> None:
    changes, books = verify(frames(recordings), rest_book(recordings), NO)
    assert changes == [True] * 24
    assert books == [False] * 2  # those two hashes are of the YES books


def test_one_lost_change_is_seen_at_once(recordings: Path) -> None:
    messages = frames(recordings)
    followed = [
        (at, messages[at].changes[0].price, messages[at + 1].changes[0].price)  # type: ignore[union-attr]
        for at in range(len(messages) - 1)
        if isinstance(messages[at], PriceChange) and isinstance(messages[at + 1], PriceChange)
    ]
    # a change of the same level right after it sets the level anew, and nothing is missing
    losses = [
        at for at, price, following in followed if sum(map(float, (price, following))) not in (1, 2 * float(price))
    ]
    assert losses
    for at in losses:
        changes, _ = verify(messages[:at] + messages[at + 1 :], rest_book(recordings), YES)
        seen = [message for message in messages[:at] if isinstance(message, PriceChange)]
        assert changes[: len(seen)] == [True] * len(seen)
        assert changes[len(seen)] is False


def test_every_recorded_rest_book_verifies_or_is_reported_empty(recordings: Path) -> None:
    folder = recordings / "pairs" / "snapshot_2026-07-20" / "polymarket"
    paths = [*folder.glob("book_*.json"), *(recordings / "polymarket" / "protocol_v2_2026-10-05").glob("book-*.json")]
    empty, verified = [], []
    for path in paths:
        body = path.read_bytes()
        if b'"asset_id"' not in body:
            with pytest.raises(FrameError) as caught:
                decode_rest_book(body)
            assert caught.value.kind == "empty"
            empty.append(path.name)
            continue
        book = decode_rest_book(body)
        version = book.version or "v1"
        terms = HashTerms(
            book.market,
            book.asset_id,
            book.min_order_size or "",
            bool(book.neg_risk),
            book.tick_size or "",
            book.last_trade_price or "",
            version,
        )
        assert book_hash(terms, book.timestamp, book.bids, book.asks) == book.hash
        one = TokenBook(book.asset_id)
        one.apply_book(book)
        assert compute_hash(one, terms, book.timestamp) == book.hash
        verified.append(version)
    assert empty == ["book_0x5a947653669c8f71ac7b8951f53e3e538dc39025f91482bc606231cf017a3f25.json"]
    assert (verified.count("v1"), verified.count("v2")) == (len(paths) - 2, 1)
    assert len(paths) > 30


def test_the_text_that_is_hashed_is_the_venues() -> None:
    text = (
        '{"market":"0xm","asset_id":"1","timestamp":"7","hash":"","bids":[{"price":"0.1","size":"5"},'
        '{"price":"0.2","size":"6"}],"asks":[{"price":"0.9","size":"1"}],"min_order_size":"5","tick_size":"0.01",'
        '"neg_risk":false,"last_trade_price":"0.040"'
    )
    bids, asks = [("0.1", "5"), ("0.2", "6")], [("0.9", "1")]
    assert book_hash(TERMS, "7", bids, asks) == hashlib.sha1(f"{text}}}".encode()).hexdigest()
    second = msgspec.structs.replace(TERMS, version="v2")
    assert book_hash(second, "7", bids, asks) == hashlib.sha1(f'{text},"version":"v2"}}'.encode()).hexdigest()


def test_a_version_without_a_known_formula_is_refused() -> None:
    for version in ("", "v3", "V1"):
        with pytest.raises(ValueError, match="list it with its version"):
            HashTerms("0xm", "1", "5", False, "0.01", "0.040", version)


def test_the_hash_of_a_changed_book_never_comes_from_the_cache() -> None:
    book = TokenBook("1")
    book.apply_book(Book("0xm", "1", "1", "h", (("0.1", "5"),), (("0.9", "1"),)))
    seen = {compute_hash(book, TERMS, "7")}
    changes = [("0.2", "6", ChangeSide.BUY), ("0.2", "7", ChangeSide.BUY), ("0.8", "1", ChangeSide.SELL)]
    for price, size, side in [*changes, ("0.2", "0", ChangeSide.BUY)]:
        book.apply_change(Change("1", price, size, side, "h"))
        bids, asks = book.fragments()
        assert compute_hash(book, TERMS, "7") not in seen
        seen.add(compute_hash(book, TERMS, "7"))
        assert (f'"{price}"' in bids + asks) == (size != "0")
    book.clear()
    assert book.fragments() == ("", "")
