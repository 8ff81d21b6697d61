"""The Polymarket feed without its socket: frames in, rows out (design 6, polymarket.md 3.1 and 3.2).

An instrument is one market with two tokens whose books are exact mirrors. The row is made from the YES token's book: its
asks, and the complement of its bids. The NO token's book is kept to check its hashes. Rows appear first; the SHA-1 of each
touched book is checked after the publish, and only then is the version verified.
"""

from __future__ import annotations

from collections import deque

from arbpipe.clock import stamp_ns
from arbpipe.fixedpoint import FixedPointError, parse_price_e4
from arbpipe.shm.generation import HasListings, Listing
from arbpipe.shm.row import RowFlag
from arbpipe.shm.stats import Counter, ErrorCode
from arbpipe.shm.tables import QuarantineReason
from arbpipe.venues.frames import FrameError
from arbpipe.venues.polymarket import codec
from arbpipe.venues.polymarket.book import TokenBook, complement
from arbpipe.venues.polymarket.codec import Book, LastTradePrice, PriceChange, TickSizeChange
from arbpipe.venues.polymarket.hashing import compute_hash
from arbpipe.venues.publisher import CrossWatch, LagMeter, Publisher

__all__ = ["MAX_ASSETS", "PolymarketFeed"]

#: At most this many assets a connection (design 6), and so at most this many books that nobody listed.
MAX_ASSETS = 400


class _Connection:
    __slots__ = ("books", "epoch", "frames", "lag", "number", "proved")

    def __init__(self, number: int, epoch: int) -> None:
        self.number = number
        self.epoch = epoch
        self.books: dict[str, TokenBook] = {}
        self.proved: set[str] = set()  # assets whose book, as it stands, had the venue's hash
        self.lag = LagMeter()
        self.frames = 0


class PolymarketFeed:
    """Applies frames of any number of connections. ``outbox`` holds assets that need a fresh ``book``:
    ``(connection, ("book", (asset_id,)))``; a replay has nobody to ask and ignores it."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._by_asset: dict[str, Listing] = {}
        self._listings: dict[str, Listing] = {}
        self._connections: dict[int, _Connection] = {}
        self._crosses = CrossWatch()
        self._bad: set[str] = set()  # assets whose hash failed; a fresh book that verifies clears it
        self._tick_wait: set[str] = set()
        self.outbox: deque[tuple[int, tuple[str, tuple[str, ...]]]] = deque(maxlen=1024)

    def list(self, generation: HasListings) -> None:
        """Work with a new generation: forget what left, publish the books of what came."""
        listed = {each.native_id: each for each in generation.listings if each.venue is self._publisher.venue}
        for native_id, old in self._listings.items():
            new = listed.get(native_id)
            # other tokens are other books, though the name is the same
            if new is None or (new.slot, new.yes_token, new.no_token) != (old.slot, old.yes_token, old.no_token):
                self._publisher.forget(old)
            elif (new.version, new.neg_risk, new.min_size_text) != (old.version, old.neg_risk, old.min_size_text):
                for connection in self._connections.values():
                    connection.proved.discard(old.yes_token)  # the hash was taken over other terms
        self._listings = listed
        self._by_asset = {token: each for each in listed.values() for token in (each.yes_token, each.no_token)}
        self.publish_all()

    def publish_all(self) -> None:
        """Publish every valid book of a listed instrument (after a restart, or under a new generation)."""
        now = stamp_ns()
        for connection in self._connections.values():
            for listing in self._listings.values():
                if listing.yes_token in connection.books:
                    version = self._publish(connection, listing, 0, now)
                    if listing.yes_token in connection.proved and not {listing.yes_token, listing.no_token} & self._bad:
                        self._publisher.verified(listing.slot, version)

    def resume(self, age_ns: int) -> None:
        """Publishing begins: open connections become LIVE, and their valid books appear.

        Rows are confirmed and, where the last checksum was right, verified by that: what the venue said before the
        restart was re-read, so in a replay it is as current as the recording.
        """
        for connection in self._connections.values():
            connection.epoch = self._publisher.opened(connection.number, age_ns)
        self.publish_all()
        for connection in self._connections.values():
            for asset in connection.books:
                listing = self._by_asset.get(asset)
                if listing is not None and asset == listing.yes_token:
                    self._publisher.confirm_row(listing.slot, age_ns)

    # -- connection --------------------------------------------------------------------------------------------------

    def opened(self, number: int, age_ns: int) -> None:
        """A connection is open; every book of it is unknown until its ``book`` frame (there is no replay)."""
        if number in self._connections:
            self.closed(number, "opened again", stamp_ns())
        self._connections[number] = _Connection(number, self._publisher.opened(number, age_ns))

    def closed(self, number: int, reason: str, recv_ns: int) -> None:
        """A connection is gone: its instruments say NO_QUOTE until they come back."""
        connection = self._connections.pop(number, None)
        self._publisher.closed(number, reason)
        if connection is None:
            return
        for asset in connection.books:
            listing = self._by_asset.get(asset)
            if listing is not None and asset == listing.yes_token:
                self._publisher.withdraw(listing, number, connection.epoch, RowFlag.NO_BOOK, recv_ns)

    # -- frames ------------------------------------------------------------------------------------------------------

    def frame(self, number: int, raw: bytes, recv_ns: int, age_ns: int) -> None:
        """Apply one WebSocket frame. Never raises for what a venue sends."""
        connection = self._connections.get(number)
        if connection is None:
            self.opened(number, age_ns)
            connection = self._connections[number]
        line = self._publisher.line
        line.add(Counter.FRAMES)
        connection.frames += 1
        try:
            messages = codec.decode(raw)
        except FrameError as error:
            line.add(Counter.BAD_FRAMES)
            self._publisher.bad(ErrorCode.BAD_FRAME, f"polymarket: {error}")
            self._unreadable(connection, error, recv_ns)
            return
        for message in messages:
            kind = type(message)
            if kind is PriceChange:
                self._changes(connection, message, recv_ns, age_ns)  # type: ignore[arg-type]
            elif kind is Book:
                self._book(connection, message, recv_ns, age_ns)  # type: ignore[arg-type]
            elif kind is LastTradePrice:
                self._trade(connection, message)  # type: ignore[arg-type]
            elif kind is TickSizeChange:
                self._tick(connection, message, recv_ns)  # type: ignore[arg-type]
            elif kind is codec.UnknownFrame:
                line.add(Counter.UNKNOWN_FRAMES)
                self._publisher.bad(ErrorCode.BAD_FRAME, f"polymarket sends {message!r}, which nothing reads")

    def rest_book(self, number: int, raw: bytes, recv_ns: int, age_ns: int) -> None:
        """Take a REST book as a ``book`` frame: for recordings of REST books only. Live, REST never confirms a row."""
        if number not in self._connections:
            self.opened(number, age_ns)
        line = self._publisher.line
        line.add(Counter.FRAMES)
        try:
            book = codec.decode_rest_book(raw)
        except FrameError as error:
            line.add(Counter.BAD_FRAMES)
            self._publisher.bad(ErrorCode.BAD_FRAME, f"polymarket: {error}")
            return
        # a REST book is as old as its market's last change: its timestamp says nothing about lag
        self._book(self._connections[number], book, recv_ns, age_ns, live=False)

    def _book(self, connection: _Connection, message: Book, recv_ns: int, age_ns: int, *, live: bool = True) -> None:
        asset = message.asset_id
        book = connection.books.get(asset)
        if book is None:
            if len(connection.books) >= MAX_ASSETS:
                self._publisher.bad(ErrorCode.UNKNOWN_INSTRUMENT, f"connection {connection.number} is full: {asset}")
                return
            book = connection.books[asset] = TokenBook(asset)
        listing = self._by_asset.get(asset)
        if listing is None:
            self._publisher.bad(ErrorCode.UNKNOWN_INSTRUMENT, f"polymarket asset {asset} is in no catalog")
        elif not self._is_of(listing, message):
            self._publisher.bad(
                ErrorCode.BAD_FRAME,
                f"polymarket asset {asset} is listed as {listing.native_id} {listing.version} but comes as "
                f"{message.market} {message.version or 'v1'}: correct the catalog",
            )
            self._bad.add(asset)
        try:
            book.apply_book(message)
        except FrameError as error:
            self._bad_book(connection, asset, error, recv_ns)
            return
        self._tick_wait.discard(asset)
        if listing is None or self._is_of(listing, message):
            self._bad.discard(asset)
        if listing is not None and not book.crossed:
            self._publisher.quarantine(listing.slot, QuarantineReason.NONE)
        self._touched(connection, {asset: message.hash}, message.timestamp, recv_ns, age_ns, live=live)
        if listing is not None and asset == listing.no_token:
            # it may have been all that kept the row flagged
            self._publish(connection, listing, 0, recv_ns)

    @staticmethod
    def _is_of(listing: Listing, message: Book) -> bool:
        return message.market == listing.native_id and (message.version or "v1") == (listing.version or "v1")

    def _changes(self, connection: _Connection, message: PriceChange, recv_ns: int, age_ns: int) -> None:
        hashes: dict[str, str] = {}
        for change in message.changes:
            book = connection.books.get(change.asset_id)
            if book is None or not book.valid:
                if book is None and change.asset_id not in self._by_asset:
                    self._publisher.bad(
                        ErrorCode.UNKNOWN_INSTRUMENT, f"polymarket asset {change.asset_id} is in no catalog"
                    )
                else:
                    # a change of a book we do not have: nothing to check it against
                    self._publisher.line.add(Counter.HASH_UNCHECKED)
                continue
            try:
                book.apply_change(change)
            except FrameError as error:
                self._bad_book(connection, change.asset_id, error, recv_ns)
                hashes.pop(change.asset_id, None)
                continue
            hashes[change.asset_id] = change.hash
        self._touched(connection, hashes, message.timestamp, recv_ns, age_ns)

    def _touched(
        self,
        connection: _Connection,
        hashes: dict[str, str],
        timestamp: str,
        recv_ns: int,
        age_ns: int,
        *,
        live: bool = True,
    ) -> None:
        """Books changed: publish each instrument once, then check the hashes."""
        venue_ms = int(timestamp) if timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 17 else 0
        versions: dict[int, int] = {}
        connection.proved.difference_update(hashes)
        for asset in hashes:
            listing = self._by_asset.get(asset)
            book = connection.books[asset]
            crossed = book.valid and book.crossed
            if crossed:
                self._publisher.line.add(Counter.CROSSED)
            if self._crosses.see(asset, crossed, age_ns):
                self._stays_crossed(connection, asset)
            if listing is not None and asset == listing.yes_token:
                versions[listing.slot] = self._publish(connection, listing, venue_ms, recv_ns)
                self._publisher.confirm_row(listing.slot, age_ns)
        for asset, wanted in hashes.items():
            self._check(connection, asset, wanted, timestamp, versions, recv_ns)
        if venue_ms and live:
            index = self._publisher.connection(connection.number)
            lag = connection.lag.lag_ms(age_ns // 1_000_000, venue_ms)
            self._publisher.connections.note(index, lag_ms=lag, last_frame_ns=age_ns, frames=connection.frames)

    def _check(
        self,
        connection: _Connection,
        asset: str,
        wanted: str,
        timestamp: str,
        versions: dict[int, int],
        recv_ns: int,
    ) -> None:
        listing, book, line = self._by_asset.get(asset), connection.books[asset], self._publisher.line
        if not book.valid:
            return
        terms = None
        if listing is not None and listing.min_size_text and listing.version:
            terms = book.hash_terms(
                min_order_size=listing.min_size_text, neg_risk=listing.neg_risk, version=listing.version
            )
        if terms is None:
            line.add(Counter.HASH_UNCHECKED)
            return
        line.add(Counter.HASH_CHECKED)
        assert listing is not None
        if compute_hash(book, terms, timestamp) == wanted:
            connection.proved.add(asset)
            if asset == listing.yes_token and asset not in self._bad and listing.no_token not in self._bad:
                self._publisher.verified(listing.slot, versions.get(listing.slot, 0))
            return
        line.add(Counter.HASH_MISMATCHES)
        self._bad.add(asset)
        self._publisher.bad(
            ErrorCode.HASH_MISMATCH, f"polymarket asset {asset}: the book's hash is wrong; a fresh book is needed"
        )
        self._publish(connection, listing, 0, recv_ns)
        self.outbox.append((connection.number, ("book", (asset,))))

    def _trade(self, connection: _Connection, message: LastTradePrice) -> None:
        listing = self._by_asset.get(message.asset_id)
        tokens = (listing.yes_token, listing.no_token) if listing else (message.asset_id,)
        for token in tokens:
            if token in connection.books:
                connection.books[token].set_last_trade(message.price)

    def _tick(self, connection: _Connection, message: TickSizeChange, recv_ns: int) -> None:
        """That row is NO_QUOTE until a fresh ``book``; the epoch stands (F10)."""
        listing = self._by_asset.get(message.asset_id)
        tokens = (listing.yes_token, listing.no_token) if listing else (message.asset_id,)
        for token in tokens:
            book = connection.books.get(token)
            if book is not None:
                book.clear()
            elif token != message.asset_id:
                continue  # never subscribed here: nobody will send its book
            self._tick_wait.add(token)
            self.outbox.append((connection.number, ("book", (token,))))
        if listing is not None:
            self._publish(connection, listing, 0, recv_ns)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _publish(self, connection: _Connection, listing: Listing, venue_ms: int, recv_ns: int) -> int:
        book = connection.books.get(listing.yes_token)
        tokens = {listing.yes_token, listing.no_token}
        flags = RowFlag.NONE
        if book is None or not book.valid:
            flags |= RowFlag.NO_BOOK
        elif book.crossed:
            flags |= RowFlag.CROSSED
        if tokens & self._tick_wait:
            flags |= RowFlag.TICK_CHANGE
        if tokens & self._bad:
            flags |= RowFlag.UNVERIFIABLE
        tick_e4 = _tick_of(book, listing)
        if not tick_e4:
            flags |= RowFlag.TICK_CHANGE  # unknown is never a grid
        quoted = not flags and book is not None
        return self._publisher.publish(
            listing,
            connection.number,
            connection.epoch,
            flags=flags,
            venue_ms=venue_ms,
            recv_ns=recv_ns,
            tick_e4=tick_e4,
            yes_asks=book.asks() if quoted and book else (),
            no_asks=complement(book.bids()) if quoted and book else (),
        )

    def _stays_crossed(self, connection: _Connection, asset: str) -> None:
        listing = self._by_asset.get(asset)
        self._publisher.bad(ErrorCode.CROSSED_BOOK, f"polymarket asset {asset} stays crossed: quarantined")
        connection.books[asset].clear()
        self.outbox.append((connection.number, ("book", (asset,))))
        if listing is not None:
            self._publisher.quarantine(listing.slot, QuarantineReason.CROSSED)

    def _bad_book(self, connection: _Connection, asset: str, error: FrameError, recv_ns: int) -> None:
        self._publisher.line.add(Counter.BAD_FRAMES)
        self._publisher.bad(ErrorCode.BAD_FRAME, f"polymarket: {error}")
        connection.books[asset].clear()
        self.outbox.append((connection.number, ("book", (asset,))))
        listing = self._by_asset.get(asset)
        if listing is not None:
            self._publish(connection, listing, 0, recv_ns)

    def _unreadable(self, connection: _Connection, error: FrameError, recv_ns: int) -> None:
        """There is no sequence: a frame that was not read may have changed any book it names, or any at all."""
        named = self._by_asset.get(error.native_id) or self._listings.get(error.native_id)
        for asset, book in connection.books.items():
            listing = self._by_asset.get(asset)
            if named is not None and listing is not named:
                continue
            book.clear()
            self.outbox.append((connection.number, ("book", (asset,))))
            if listing is not None and asset == listing.yes_token:
                self._publisher.withdraw(
                    listing, connection.number, connection.epoch, RowFlag.BAD_FRAME | RowFlag.NO_BOOK, recv_ns
                )


def _tick_of(book: TokenBook | None, listing: Listing) -> int:
    """The tick in force: the book's own word, else the listing's."""
    if book is None or book.tick_size is None:
        return listing.tick_e4
    try:
        return parse_price_e4(book.tick_size)
    except FixedPointError:
        return 0
