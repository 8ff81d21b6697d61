"""Polymarket's user channel: orders and trades of one API key, all markets (polymarket.md 3.4).

The venue never confirms the subscription. It answers a connection's messages in their order, so the PONG to a PING sent
right after the credentials shows that it has read them.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Final

import msgspec

from arbpipe.venues.frames import FrameError
from arbpipe.venues.polymarket.auth import ApiCredentials
from arbpipe.venues.private import PrivateStream

__all__ = ["PolymarketPrivate", "keys_of"]

_PING_S: Final = 10.0
_ORDER_TYPES: Final = ("PLACEMENT", "UPDATE", "CANCELLATION")
#: They change neither what was traded nor whether it is final: asking would be in vain.
_NO_NEWS: Final = ("MINED", "RETRYING")


class _Maker(msgspec.Struct, frozen=True):
    order_id: str


class _Event(msgspec.Struct, frozen=True):
    event_type: str = ""
    type: str = ""
    id: str = ""
    status: str | None = None
    taker_order_id: str = ""
    maker_orders: list[_Maker] | None = None


_decode_one: Final = msgspec.json.Decoder(_Event).decode
_decode_many: Final = msgspec.json.Decoder(list[_Event]).decode


def keys_of(data: bytes) -> tuple[str, ...]:
    """The hashes of the orders that a frame has news of: of a trade all that took part, whosever they are.

    Raises:
        FrameError: ``json`` or ``shape``; nothing of the frame counts then.
    """
    text = data.strip()
    try:
        events = _decode_many(text) if text[:1] == b"[" else [_decode_one(text)]
    except msgspec.ValidationError as error:
        raise FrameError("shape", f"an event of the user channel: {error}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError("json", f"a frame of the user channel: {error}") from None
    keys: dict[str, None] = {}
    for event in events:
        kind = event.event_type or ("trade" if event.type == "TRADE" else "order" if event.type in _ORDER_TYPES else "")
        named = event.taker_order_id if kind == "trade" else event.id
        if kind not in ("order", "trade"):
            continue  # new kinds appear without notice
        if not named:
            raise FrameError("shape", f"an event {kind!r} names no order")
        if kind == "trade" and (event.status or "").upper().removeprefix("TRADE_STATUS_") in _NO_NEWS:
            continue
        makers = (event.maker_orders or []) if kind == "trade" else []
        keys.update(dict.fromkeys(each.lower() for each in (named, *(maker.order_id for maker in makers))))
    return tuple(keys)


class PolymarketPrivate(PrivateStream):
    """Tells the hash of an order with news."""

    def __init__(
        self,
        ws_user_url: str,
        credentials: ApiCredentials,
        tls: ssl.SSLContext | None,
        on_news: Callable[[str], None],
        *,
        ping_s: float = _PING_S,
    ) -> None:
        """``ping_s``: between two PINGs; a connection that has not answered by the next one is given up.

        Raises:
            EnvironmentRefused: ``ws_user_url`` is no WebSocket address.
        """
        super().__init__(ws_user_url, "polymarket.ws_user", tls, on_news)
        self._credentials = credentials
        self._ping_s = ping_s
        self._awaits_pong = False

    def subscribe(self) -> None:
        """The credentials go into the first message; without ``markets`` it is all of them."""
        known = self._credentials
        auth = {"apiKey": known.api_key, "secret": known.secret, "passphrase": known.passphrase}
        self.wire.send(msgspec.json.encode({"auth": auth, "type": "user"}).decode())
        self._awaits_pong = False
        self._ping()

    def _ping(self) -> None:
        if self._awaits_pong:
            self.give_up("no PONG")
            return
        self._awaits_pong = True
        self.wire.send("PING")
        self.later(self._ping_s, self._ping)

    def read(self, data: bytes) -> None:
        """One frame: PONG, an event, or an array of events.

        Raises:
            FrameError: it cannot be read.
        """
        if data.strip() == b"PONG":
            self._awaits_pong = False
            if not self.is_live:
                self.subscribed()
            return
        for key in keys_of(data):
            self.on_news(key)
