"""The Kalshi feed without its socket: frames in, rows out (design 6, kalshi.md 2.4 and 2.5).

``seq`` is checked before a frame is routed by type. It is dense per connection and ``sid`` and counts control frames, so
a frame of the books' ``sid`` in sequence confirms every book of the connection, and a gap voids them all until each gets
a snapshot. What the venue says of a market (:mod:`~arbpipe.venues.kalshi.standing`) stands above its book: what may not trade
has no quote.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from arbpipe.clock import stamp_ns
from arbpipe.feemodel import FeeTerms
from arbpipe.shm.generation import HasListings, Listing
from arbpipe.shm.row import RowFlag
from arbpipe.shm.stats import Counter, ErrorCode
from arbpipe.shm.tables import QuarantineReason
from arbpipe.venues.frames import FrameError
from arbpipe.venues.kalshi import codec
from arbpipe.venues.kalshi.allowed import Allowed
from arbpipe.venues.kalshi.book import KalshiBook
from arbpipe.venues.kalshi.codec import Delta, EventFeeUpdate, MarketLifecycle, Message, Snapshot, decode
from arbpipe.venues.kalshi.sequence import SequenceTracker, Verdict
from arbpipe.venues.kalshi.standing import Standing
from arbpipe.venues.publisher import CrossWatch, LagMeter, Publisher

__all__ = ["BOOK_CHANNEL", "KalshiFeed", "MAX_MARKETS"]

#: At most this many markets a connection (design 6), and so at most this many books that nobody listed.
MAX_MARKETS = 500

BOOK_CHANNEL: Final = "orderbook_delta"
#: No clock shows as much (a row holds 64 bits).
_NO_CLOCK_MS: Final = 1 << 53
# looking a member of an enum up costs more than using it
_OK, _NO_FLAG = Verdict.OK, RowFlag.NONE


class _Connection:
    __slots__ = ("book_sid", "books", "epoch", "frames", "gaps", "lag", "line_at", "number", "sequences")

    def __init__(self, number: int, epoch: int, line_at: int) -> None:
        self.number = number
        self.epoch = epoch
        self.line_at = line_at
        self.sequences = SequenceTracker()
        self.book_sid = 0
        self.books: dict[str, KalshiBook] = {}
        self.lag = LagMeter()
        self.frames = 0
        self.gaps = 0


class KalshiFeed:
    """Applies frames of any number of connections. ``outbox`` holds what should be asked of the venue:
    ``(connection, ("get_snapshot", tickers))``; a replay has nobody to ask and ignores it."""

    def __init__(self, publisher: Publisher, *, use_yes_price: bool, standing: Standing | None = None) -> None:
        """``use_yes_price``: what the subscriptions ask for. ``standing``: what the venue says of each market; without it only
        the frames themselves count."""
        self._publisher = publisher
        self._use_yes_price = use_yes_price
        self._listings: dict[str, Listing] = {}
        self._connections: dict[int, _Connection] = {}
        self._crosses = CrossWatch()
        self.standing = standing or Standing(strict=False)
        self._allowed = Allowed(self.standing, lambda text: publisher.bad(ErrorCode.VENUE, text))
        self._flags, self._ticks = self._allowed.flags, self._allowed.ticks  # read with every frame
        #: Something about the markets changed, or may have changed unseen, since somebody last asked the venue.
        self.stirred = False
        #: The message of the last frame, for whoever holds the socket; ``None`` if nobody could read it.
        self.last: Message | None = None
        self.outbox: deque[tuple[int, tuple[str, tuple[str, ...]]]] = deque(maxlen=1024)

    def list(self, generation: HasListings) -> None:
        """Work with a new generation: forget what left, publish the books of what came."""
        listed = {each.native_id: each for each in generation.listings if each.venue is self._publisher.venue}
        for ticker, old in self._listings.items():
            if ticker not in listed or listed[ticker].slot != old.slot:
                self._publisher.forget(old)
        self._listings = listed
        self._allowed.list(listed)
        self.publish_all()

    def fee_of(self, ticker: str) -> FeeTerms | None:
        """What a listed market is priced with."""
        listing = self._listings.get(ticker)
        return listing.fee if listing is not None else None

    def publish_all(self) -> None:
        """Publish every valid book of a listed instrument (after a restart, or under a new generation)."""
        now = stamp_ns()
        for connection in self._connections.values():
            for book in connection.books.values():
                self._publish(connection, book, 0, now)

    def resume(self, age_ns: int) -> None:
        """Publishing begins: open connections become LIVE, and their valid books appear."""
        for connection in self._connections.values():
            connection.epoch = self._publisher.opened(connection.number, age_ns)
            self._publisher.connections.confirm(self._publisher.connection(connection.number), age_ns)
        self.publish_all()

    # -- connection --------------------------------------------------------------------------------------------------

    def opened(self, number: int, age_ns: int) -> None:
        """A connection is open; its books and its sequence begin anew."""
        if number in self._connections:
            self.closed(number, "opened again", stamp_ns())
        epoch = self._publisher.opened(number, age_ns)
        line_at = self._publisher.connections.line_at(self._publisher.connection(number))
        self._connections[number] = _Connection(number, epoch, line_at)

    def closed(self, number: int, reason: str, recv_ns: int) -> None:
        """A connection is gone: its instruments say NO_QUOTE until they come back."""
        connection = self._connections.pop(number, None)
        self._publisher.closed(number, reason)
        if connection is not None:
            self._withdraw_all(connection, RowFlag.NO_BOOK, recv_ns)

    def ended(self, number: int, recv_ns: int) -> None:
        """The venue ended the book subscription of an open connection: its books are void, a new ``sid`` will follow."""
        connection = self._connections.get(number)
        if connection is not None:
            connection.epoch = self._publisher.connections.next_epoch(self._publisher.connection(number))
            self._withdraw_all(connection, RowFlag.NO_BOOK, recv_ns)
            connection.books.clear()
            connection.sequences.forget(connection.book_sid)
            connection.book_sid = 0

    def unsubscribed(self, number: int, tickers: Iterable[str]) -> None:
        """Forget the books of markets that a connection no longer carries."""
        connection = self._connections.get(number)
        for ticker in tickers if connection is not None else ():
            if connection is not None and connection.books.pop(ticker, None) is not None:
                listing = self._listings.get(ticker)
                if listing is not None:
                    now = stamp_ns()
                    self._publisher.withdraw(listing, number, connection.epoch, RowFlag.NO_BOOK, now)

    # -- frames ------------------------------------------------------------------------------------------------------

    def frame(self, number: int, raw: bytes, recv_ns: int, age_ns: int) -> None:
        """Apply one WebSocket frame; ``last`` is then what it said. Never raises for what a venue sends.

        Only a frame of the books' own ``sid`` confirms them: another subscription
        of the same connection has its own buffer at the venue.
        """
        connection = self._connections.get(number)
        if connection is None:
            self.opened(number, age_ns)
            connection = self._connections[number]
        connection.frames += 1
        try:
            self.last = message = decode(raw)
        except FrameError as error:
            self.last = None
            self._publisher.line.add(Counter.FRAMES)
            self._unreadable(connection, raw, error, recv_ns, age_ns)
            return
        verdict = connection.sequences.check(message.sid, message.seq)
        if type(message) is Delta and verdict is _OK and message.sid == connection.book_sid:
            self._change(connection, message, recv_ns, age_ns)
        else:
            self._any(connection, message, verdict, recv_ns, age_ns)

    def _change(self, connection: _Connection, delta: Delta, recv_ns: int, age_ns: int) -> None:
        """A change in sequence, which is nine frames of ten: all that :meth:`_any` and :meth:`_delta` do with it, in as few
        calls as can be. Whatever is unusual about its book goes the long way."""
        venue_ms = delta.sending_ts_ms
        if venue_ms is None or not 0 < venue_ms < _NO_CLOCK_MS:
            venue_ms = _venue_ms(delta.ts_ms)
        if venue_ms:
            lag_ms = connection.lag.lag_ms(age_ns // 1_000_000, venue_ms)
            self._publisher.heard(connection.line_at, age_ns, lag_ms, connection.frames, connection.gaps)
        else:
            self._confirmed(connection, age_ns)
        ticker = delta.market_ticker
        book, listing = connection.books.get(ticker), self._listings.get(ticker)
        if book is None or listing is None or not book.valid or self._crosses or ticker in self._flags:
            self._delta(connection, delta, venue_ms, recv_ns, age_ns)
            return
        try:
            book.apply_delta(delta)
        except FrameError as error:
            self._bad_book(connection, book, error, recv_ns)
            return
        if book.crossed:
            self._applied(connection, book, venue_ms, recv_ns, age_ns)
            return
        # in order: flags, stamps, tick, asks, and that the check has passed
        self._publisher.publish(
            listing,
            connection.number,
            connection.epoch,
            _NO_FLAG,
            venue_ms,
            recv_ns,
            self._ticks[ticker],
            book.yes_quotes,
            book.no_quotes,
            True,
        )

    def _confirmed(self, connection: _Connection, age_ns: int) -> None:
        """A frame in sequence that says no venue's time."""
        self._publisher.line.add(Counter.FRAMES)
        self._publisher.line.add(Counter.SEQUENCED)
        self._publisher.connections.confirm(self._publisher.connection(connection.number), age_ns)

    def _any(self, connection: _Connection, message: Message, verdict: Verdict, recv_ns: int, age_ns: int) -> None:
        """A frame of any kind, whatever its number says."""
        publisher, line = self._publisher, self._publisher.line
        line.add(Counter.FRAMES)
        if verdict is Verdict.GAP or verdict is Verdict.DUPLICATE:
            self._gap(connection, message, verdict, recv_ns, age_ns)
        if verdict is Verdict.OK or verdict is Verdict.GAP:
            line.add(Counter.SEQUENCED)
            if type(message) is Snapshot:
                connection.book_sid = message.sid
            if message.sid == connection.book_sid:
                publisher.connections.confirm(publisher.connection(connection.number), age_ns)
        if type(message) is Delta:
            if verdict is Verdict.OK:  # of a subscription that has sent no snapshot: it confirms nothing
                venue_ms = _venue_ms(message.sending_ts_ms) or _venue_ms(message.ts_ms)
                if venue_ms:
                    self._note_lag(connection, venue_ms, age_ns)
                self._delta(connection, message, venue_ms, recv_ns, age_ns)
        elif type(message) is Snapshot:
            if verdict is not Verdict.DUPLICATE:
                self._snapshot(connection, message, recv_ns, age_ns)
        elif type(message) is codec.Subscribed:
            if message.channel == BOOK_CHANNEL:
                connection.book_sid = message.sid
        elif type(message) is MarketLifecycle:
            self._lifecycle(message, recv_ns, age_ns)
        elif type(message) is EventFeeUpdate:
            self._fees_changed(message, recv_ns, age_ns)
        elif type(message) is codec.UnknownFrame:
            line.add(Counter.UNKNOWN_FRAMES)
            publisher.bad(ErrorCode.BAD_FRAME, f"kalshi sends frames of type {message.type!r}, which nothing reads")
            if message.sid and message.sid == connection.book_sid:
                self._void(connection, RowFlag.BAD_FRAME, recv_ns)  # it may have said something of any of its books

    def _delta(self, connection: _Connection, delta: Delta, venue_ms: int, recv_ns: int, age_ns: int) -> None:
        book = connection.books.get(delta.market_ticker)
        if book is None or not book.valid:
            # nothing to change: a snapshot was asked for, or this market was never subscribed
            if book is None:
                self._unlisted(delta.market_ticker)
            return
        try:
            book.apply_delta(delta)
        except FrameError as error:
            self._bad_book(connection, book, error, recv_ns)
            return
        self._applied(connection, book, venue_ms, recv_ns, age_ns)

    def _snapshot(self, connection: _Connection, snapshot: Snapshot, recv_ns: int, age_ns: int) -> None:
        ticker = snapshot.market_ticker
        book = connection.books.get(ticker)
        if book is None:
            if len(connection.books) >= MAX_MARKETS:
                self._publisher.bad(ErrorCode.UNKNOWN_INSTRUMENT, f"connection {connection.number} is full: {ticker}")
                return
            book = connection.books[ticker] = KalshiBook(ticker, use_yes_price=self._use_yes_price)
        try:
            book.apply_snapshot(snapshot)
        except FrameError as error:
            self._bad_book(connection, book, error, recv_ns)
            return
        self._unlisted(ticker)
        venue_ms = _venue_ms(snapshot.sending_ts_ms)
        if venue_ms:
            self._note_lag(connection, venue_ms, age_ns)
        listing = self._listings.get(ticker)
        if listing is not None and not book.crossed:
            self._publisher.quarantine(listing.slot, QuarantineReason.NONE)
        self._applied(connection, book, venue_ms, recv_ns, age_ns)

    def restand(self, recv_ns: int) -> None:
        """The venue's word on some market, or the time, is another: withdraw what may not trade any more, publish what may."""
        for ticker in self._listings:
            self._stand(ticker, recv_ns)

    def _stand(self, ticker: str, recv_ns: int) -> None:
        if not self._allowed.look(ticker):
            return
        for connection in self._connections.values():
            book = connection.books.get(ticker)
            if book is not None:
                self._publish(connection, book, 0, recv_ns)

    def _lifecycle(self, message: MarketLifecycle, recv_ns: int, age_ns: int) -> None:
        ticker = message.market_ticker
        if ticker not in self._listings:
            return
        if self.standing.lifecycle(message, age_ns):
            self.renew(ticker, recv_ns)
        self._stand(ticker, recv_ns)
        self.stirred = True

    def renew(self, ticker: str, recv_ns: int) -> None:
        """A market's book is void: no quote until its next snapshot, which is asked for."""
        for connection in self._connections.values():
            if ticker in connection.books:
                connection.books[ticker].clear()
                self._publish(connection, connection.books[ticker], 0, recv_ns)
                self.outbox.append((connection.number, ("get_snapshot", (ticker,))))

    def _fees_changed(self, message: EventFeeUpdate, recv_ns: int, age_ns: int) -> None:
        """The fee that a market is priced with may not be the venue's any more: it does not trade until it was read again."""
        for ticker in self.standing.fee_changed(message.event_ticker, age_ns):
            self._stand(ticker, recv_ns)
        self.stirred = True

    def rest_book(self, number: int, ticker: str, raw: bytes, recv_ns: int, age_ns: int) -> None:
        """Take a REST book as a snapshot: for recordings of REST books only. Live it may be 15 s old (F11)."""
        if number not in self._connections:
            self.opened(number, age_ns)
        connection = self._connections[number]
        line = self._publisher.line
        line.add(Counter.FRAMES)
        book = connection.books.setdefault(ticker, KalshiBook(ticker, use_yes_price=False))
        try:
            book.apply_snapshot(codec.decode_rest_book(raw))
        except FrameError as error:
            self._bad_book(connection, book, error, recv_ns)
            return
        self._publisher.connections.confirm(self._publisher.connection(number), age_ns)
        self._unlisted(ticker)
        self._applied(connection, book, 0, recv_ns, age_ns)

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _applied(self, connection: _Connection, book: KalshiBook, venue_ms: int, recv_ns: int, age_ns: int) -> None:
        """A frame was applied to ``book``: look whether it is crossed, and publish."""
        crossed = book.crossed
        if crossed:
            self._publisher.line.add(Counter.CROSSED)
        if (crossed or self._crosses) and self._crosses.see(book.ticker, crossed, age_ns):
            self._publisher.bad(ErrorCode.CROSSED_BOOK, f"kalshi:{book.ticker} stays crossed: quarantined")
            listing = self._listings.get(book.ticker)
            if listing is not None:
                self._publisher.quarantine(listing.slot, QuarantineReason.CROSSED)
            book.clear()
            self.outbox.append((connection.number, ("get_snapshot", (book.ticker,))))
        self._publish(connection, book, venue_ms, recv_ns)

    def _publish(self, connection: _Connection, book: KalshiBook, venue_ms: int, recv_ns: int) -> None:
        listing = self._listings.get(book.ticker)
        if listing is None:
            return
        flags = _NO_FLAG if book.valid and not book.crossed else RowFlag.CROSSED if book.valid else RowFlag.NO_BOOK
        against = self._flags.get(book.ticker)
        if against is not None:
            flags |= against
        # a numbered frame was applied in sequence: the row is verified as it is published (design 6)
        self._publisher.publish(
            listing,
            connection.number,
            connection.epoch,
            flags=flags,
            venue_ms=venue_ms,
            recv_ns=recv_ns,
            tick_e4=self._ticks[book.ticker],
            yes_asks=book.yes_quotes,
            no_asks=book.no_quotes,
            verified=not flags,
        )

    def _note_lag(self, connection: _Connection, venue_ms: int, age_ns: int) -> None:
        index = self._publisher.connection(connection.number)
        lag = connection.lag.lag_ms(age_ns // 1_000_000, venue_ms)
        self._publisher.connections.note(
            index, lag_ms=lag, last_frame_ns=age_ns, frames=connection.frames, gaps=connection.gaps
        )

    def _gap(self, connection: _Connection, message: Message, verdict: Verdict, recv_ns: int, age_ns: int) -> None:
        self._publisher.line.add(Counter.GAPS)
        connection.gaps += 1
        self._publisher.bad(
            ErrorCode.SEQUENCE_GAP,
            f"kalshi connection {connection.number} sid {message.sid}: {verdict.name} at seq {message.seq}; "
            "every book of it is void until its snapshot",
        )
        self._missed(age_ns)
        if message.sid == connection.book_sid or not connection.book_sid:
            self._void(connection, RowFlag.NO_BOOK, recv_ns)

    def _missed(self, age_ns: int) -> None:
        """A frame was lost or not understood; it may have said that a market stops."""
        self.standing.missed(age_ns)
        self.stirred = True

    def _unreadable(self, connection: _Connection, raw: bytes, error: FrameError, recv_ns: int, age_ns: int) -> None:
        self._publisher.line.add(Counter.BAD_FRAMES)
        self._publisher.bad(ErrorCode.BAD_FRAME, f"kalshi: {error}")
        self._missed(age_ns)
        sid, seq = codec.number_of(raw)
        if sid and connection.book_sid and sid != connection.book_sid:
            connection.sequences.check(sid, seq)  # of another subscription, and no gap: its books are as they were
            return
        # its seq was not read; the next numbered frame will show a gap and void the books once more
        self._void(connection, RowFlag.BAD_FRAME, recv_ns)

    def _void(self, connection: _Connection, flag: RowFlag, recv_ns: int) -> None:
        connection.epoch = self._publisher.connections.next_epoch(self._publisher.connection(connection.number))
        self._withdraw_all(connection, flag, recv_ns)
        if connection.books:
            self.outbox.append((connection.number, ("get_snapshot", tuple(connection.books))))

    def _withdraw_all(self, connection: _Connection, flag: RowFlag, recv_ns: int) -> None:
        for ticker, book in connection.books.items():
            book.clear()
            listing = self._listings.get(ticker)
            if listing is not None:
                self._publisher.withdraw(listing, connection.number, connection.epoch, flag, recv_ns)

    def _bad_book(self, connection: _Connection, book: KalshiBook, error: FrameError, recv_ns: int) -> None:
        self._publisher.line.add(Counter.BAD_FRAMES)
        self._publisher.bad(ErrorCode.BAD_FRAME, f"kalshi:{book.ticker}: {error}")
        book.clear()
        listing = self._listings.get(book.ticker)
        if listing is not None:
            self._publisher.withdraw(listing, connection.number, connection.epoch, RowFlag.BAD_FRAME, recv_ns)
        self.outbox.append((connection.number, ("get_snapshot", (book.ticker,))))

    def _unlisted(self, ticker: str) -> None:
        if ticker not in self._listings:
            self._publisher.bad(ErrorCode.UNKNOWN_INSTRUMENT, f"kalshi:{ticker} is in the frames and in no catalog")


def _venue_ms(stamp: int | None) -> int:
    """The venue's clock, or 0 where it says none or one that no clock shows (a row holds 64 bits)."""
    return stamp if stamp is not None and 0 < stamp < _NO_CLOCK_MS else 0
