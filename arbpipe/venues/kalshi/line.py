"""One live WebSocket connection to Kalshi: which markets it carries, which commands are open, what is overdue.

The line only keeps a subscription in step with what is wanted; prices go through the feed. Commands and frames:
kalshi.md 2.2, 2.3 and 2.5.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from arbpipe.venues.kalshi.codec import ErrorFrame, Message, Ok, Snapshot, Subscribed, Unsubscribed
from arbpipe.venues.kalshi.feed import BOOK_CHANNEL

__all__ = ["LIFECYCLE_CHANNEL", "Line", "LineOwner"]

LIFECYCLE_CHANNEL: Final = "market_lifecycle_v2"

_SECOND_NS: Final = 1_000_000_000
#: A command without an answer for so long means that nobody listens at the other end (F06).
_ANSWER_NS: Final = 5 * _SECOND_NS
_FIRST_PAUSE_NS: Final = _SECOND_NS // 4
_MOST_PAUSE_NS: Final = 10 * _SECOND_NS

_OVER: Final = frozenset({10, 25, 7})
_LIMIT: Final = 26
#: 1 unable to process, 18 command timeout, 27 too many requests: the same command later may do.
_LATER: Final = frozenset({1, 18, 27})


class LineOwner(Protocol):
    """Who the line asks for what it cannot do alone."""

    def ended(self, line: Line) -> None:
        """The venue ended the line's book subscription: its books are void."""

    def overflow(self, line: Line, tickers: tuple[str, ...]) -> None:
        """These markets do not fit on the line: put them elsewhere."""

    def dropped(self, line: Line, tickers: tuple[str, ...]) -> None:
        """These markets are no longer carried by the line."""

    def hears(self, line: Line, on: bool, now_ns: int) -> None:
        """The lifecycle channel is subscribed on this line from now on, or is not any more."""

    def complain(self, text: str) -> None:
        """Something a person should know."""


@dataclass(frozen=True, slots=True)
class _Command:
    kind: str
    tickers: tuple[str, ...]
    sent_ns: int


class Line:
    """The subscriptions of connection ``number``. Times are CLOCK_BOOTTIME nanoseconds, given by the caller."""

    def __init__(
        self, number: int, owner: LineOwner, send: Callable[[str], None], *, limit: int, lifecycle: bool
    ) -> None:
        self.number = number
        self.limit = limit
        self.wanted: dict[str, None] = {}
        self.numbered_ns = 0
        self._owner = owner
        self._send = send
        self._lifecycle = lifecycle
        self._open = False
        self._sid = 0
        self._life_sid = 0
        self._asked: set[str] = set()
        self._commands: dict[int, _Command] = {}
        self._last_id = 0
        #: Markets whose snapshot is outstanding: when it is overdue, and whether it was asked for a second time.
        self._awaited: dict[str, tuple[int, bool]] = {}
        self._pause_ns = 0
        self._quiet_until_ns = 0
        self._trouble_ns = 0
        self._rotation = 0
        self._probed_ns = 0

    @property
    def is_open(self) -> bool:
        """Whether the connection is up, as far as it was told."""
        return self._open

    # -- what the socket says ----------------------------------------------------------------------------------------

    def opened(self, now_ns: int) -> None:
        """A new connection: every ``sid`` begins anew."""
        self._open = True
        self._forget()
        self.numbered_ns = now_ns
        self._pause_ns = self._quiet_until_ns = self._probed_ns = 0
        self.sync(now_ns)

    def closed(self, now_ns: int) -> None:
        """The connection is gone."""
        self._open = False
        self._forget()
        self._deaf(now_ns)

    def _forget(self) -> None:
        """Every subscription is over."""
        self._forget_books()
        self._commands.clear()
        self._life_sid = 0

    def _forget_books(self) -> None:
        """The book subscription is over."""
        self._sid = 0
        self._asked.clear()
        self._commands = {n: each for n, each in self._commands.items() if each.kind == "lifecycle"}
        self._awaited.clear()

    def _deaf(self, now_ns: int) -> None:
        """The lifecycle channel says nothing any more; :meth:`sync` subscribes again."""
        self._life_sid = 0
        if self._lifecycle:
            self._owner.hears(self, False, now_ns)

    def heard(self, message: Message | None, now_ns: int) -> None:
        """Note what one frame means for the subscriptions."""
        if message is None:
            return
        if message.seq and message.sid == self._sid:
            self.numbered_ns = now_ns
        if type(message) is Snapshot:
            ticker = message.market_ticker
            self._awaited.pop(ticker, None)
            for number, asked in list(self._commands.items()):
                if asked.kind == "get_snapshot" and ticker in asked.tickers:
                    del self._commands[number]
        elif isinstance(message, Subscribed):
            self._commands.pop(message.id, None)
            if message.channel == BOOK_CHANNEL:
                self._sid = message.sid
                self.numbered_ns = now_ns
                self.sync(now_ns)
            elif message.channel == LIFECYCLE_CHANNEL:
                self._life_sid = message.sid
                self._owner.hears(self, True, now_ns)
        elif isinstance(message, Ok):
            command = self._commands.pop(message.id, None)
            if command is not None and command.kind == "delete_markets":
                # also of one that was added again meanwhile: the snapshot of its adding comes after this
                self._owner.dropped(self, command.tickers)
        elif isinstance(message, ErrorFrame):
            self._refused(message, now_ns)
        elif isinstance(message, Unsubscribed) and message.sid == self._sid:
            self._over(now_ns)
        elif isinstance(message, Unsubscribed) and message.sid == self._life_sid:
            self._deaf(now_ns)
            self.sync(now_ns)

    def _refused(self, error: ErrorFrame, now_ns: int) -> None:
        command = self._commands.pop(error.id, None)
        self._owner.complain(
            f"kalshi connection {self.number}: error {error.code} ({error.text[:80]}) "
            f"for {command.kind if command else f'sid {error.sid}'}"
        )
        if error.code in _OVER and command is None and error.sid not in (0, self._sid):
            if self._lifecycle and error.sid == self._life_sid:
                self._deaf(now_ns)
                self.sync(now_ns)
            return
        if command is not None and command.kind == "lifecycle" and error.code not in _LATER:
            self._pause(now_ns)  # and asked for again then: without it nothing of this venue trades
            return
        if error.code in _OVER:
            self._over(now_ns)
        elif error.code == _LIMIT and command is not None:
            self._split(command, now_ns)
        elif error.code in _LATER:
            self._pause(now_ns)
            if command is not None:
                self._undo(command, now_ns)
        elif command is not None and command.kind in ("subscribe", "add_markets"):
            # asked for again on the next connection; until then these markets have no quote
            for ticker in command.tickers:
                self._awaited.pop(ticker, None)

    def _over(self, now_ns: int) -> None:
        """The book subscription is over: subscribe again, later each time it happens in a row."""
        self._owner.ended(self)
        self._forget_books()
        if self._pause_ns:
            self._pause(now_ns)
        else:
            # the first time at once
            self._pause_ns, self._trouble_ns = _FIRST_PAUSE_NS, now_ns
        self.sync(now_ns)

    def _pause(self, now_ns: int) -> None:
        self._pause_ns = min(max(2 * self._pause_ns, _FIRST_PAUSE_NS), _MOST_PAUSE_NS)
        self._quiet_until_ns, self._trouble_ns = now_ns + self._pause_ns, now_ns

    def _split(self, command: _Command, now_ns: int) -> None:
        """The subscription holds no more: half of a first subscription, or all that was added, goes elsewhere."""
        kept = command.tickers[: len(command.tickers) // 2] if command.kind == "subscribe" else ()
        moved = command.tickers[len(kept) :]
        for ticker in command.tickers:
            self._asked.discard(ticker)
            self._awaited.pop(ticker, None)
        moved = tuple(ticker for ticker in moved if ticker in self.wanted)
        for ticker in moved:
            del self.wanted[ticker]
        self.limit = len(self.wanted)
        self._owner.overflow(self, moved)
        self.sync(now_ns)

    def _undo(self, command: _Command, now_ns: int) -> None:
        """A command that was not done: what it asked for is asked for again."""
        if command.kind in ("subscribe", "add_markets"):
            self._asked.difference_update(command.tickers)
        elif command.kind == "delete_markets":
            self._asked.update(command.tickers)
        for ticker in command.tickers:
            if command.kind != "get_snapshot":
                self._awaited.pop(ticker, None)
            elif ticker in self._awaited:
                self._awaited[ticker] = (self._quiet_until_ns, False)

    # -- what should be asked ----------------------------------------------------------------------------------------

    def sync(self, now_ns: int) -> None:
        """Ask the venue for whatever the subscription lacks or has too much."""
        if not self._open or now_ns < self._quiet_until_ns:
            return
        if self._lifecycle and not self._life_sid and not any(c.kind == "lifecycle" for c in self._commands.values()):
            self._command("subscribe", "lifecycle", {"channels": [LIFECYCLE_CHANNEL]}, (), now_ns)
        if not self._sid:
            if self.wanted and not any(each.kind == "subscribe" for each in self._commands.values()):
                params = {
                    "channels": [BOOK_CHANNEL],
                    "market_tickers": list(self.wanted),
                    "use_yes_price": True,
                    "skip_ticker_ack": True,
                }
                self._command("subscribe", "subscribe", params, self.wanted, now_ns)
                self._asked = set(self.wanted)
                self._await(self.wanted, now_ns)
            return
        gone = [ticker for ticker in self._asked if ticker not in self.wanted]
        come = [ticker for ticker in self.wanted if ticker not in self._asked]
        if gone:
            self._update("delete_markets", gone, now_ns)
            self._asked.difference_update(gone)
            for ticker in gone:
                self._awaited.pop(ticker, None)
        if come:
            self._update("add_markets", come, now_ns)
            self._asked.update(come)
            self._await(come, now_ns)

    def snapshots(self, tickers: Iterable[str], now_ns: int) -> None:
        """Ask for the books of these markets, except where an answer is outstanding."""
        lacking = [ticker for ticker in tickers if ticker in self._asked and ticker not in self._awaited]
        if not lacking or not self._sid or not self._open:
            return
        if now_ns >= self._quiet_until_ns:
            self._await(lacking, now_ns)
            self._update("get_snapshot", lacking, now_ns)
        else:
            self._awaited.update(dict.fromkeys(lacking, (self._quiet_until_ns, False)))

    def tick(self, now_ns: int, quiet_ns: int) -> str:
        """Do what is due by now; return why the connection must be given up, or an empty text.

        ``quiet_ns``: after so long without a numbered frame the snapshot of one market is asked for, in rotation: its
        numbered answer proves all the others (design 6).
        """
        if not self._open:
            return ""
        for command in self._commands.values():
            if now_ns - command.sent_ns > _ANSWER_NS:
                return f"no answer to {command.kind} for {_ANSWER_NS // _SECOND_NS} s"
        self.sync(now_ns)
        if self._pause_ns and now_ns - self._trouble_ns > 3 * _MOST_PAUSE_NS:
            self._pause_ns = 0
        self._overdue(now_ns)
        if self._sid and self._asked and now_ns - max(self.numbered_ns, self._probed_ns) >= quiet_ns:
            tickers = [ticker for ticker in self.wanted if ticker in self._asked]
            if tickers and now_ns >= self._quiet_until_ns:
                self._rotation = (self._rotation + 1) % len(tickers)
                self._probed_ns = now_ns
                self._update("get_snapshot", [tickers[self._rotation]], now_ns)
        return ""

    def _overdue(self, now_ns: int) -> None:
        late = [ticker for ticker, (due_ns, _) in self._awaited.items() if now_ns > due_ns]
        if not late or not self._sid or now_ns < self._quiet_until_ns:
            return
        again = [ticker for ticker in late if not self._awaited[ticker][1]]
        for ticker in late:
            if ticker not in again:
                del self._awaited[ticker]
                self._owner.complain(f"kalshi:{ticker} was subscribed and gets no snapshot: it has no quote")
        if again:
            self._await(again, now_ns, again=True)
            self._update("get_snapshot", again, now_ns)

    def _await(self, tickers: Iterable[str], now_ns: int, *, again: bool = False) -> None:
        for ticker in tickers:
            self._awaited[ticker] = (now_ns + _ANSWER_NS, again)

    def _update(self, action: str, tickers: Iterable[str], now_ns: int) -> None:
        names = list(tickers)
        params = {"sid": self._sid, "action": action, "market_tickers": names}
        self._command("update_subscription", action, params, names, now_ns)

    def _command(self, cmd: str, kind: str, params: dict[str, Any], tickers: Iterable[str], now_ns: int) -> None:
        self._last_id += 1
        self._commands[self._last_id] = _Command(kind, tuple(tickers), now_ns)
        self._send(json.dumps({"id": self._last_id, "cmd": cmd, "params": params}, separators=(",", ":")))
