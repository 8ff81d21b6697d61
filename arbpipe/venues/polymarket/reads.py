"""What the venue has on record about one order: the order itself and its trades. Reads lag and may be absent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import msgspec

from arbpipe.fixedpoint import FixedPointError, parse_qty_e6
from arbpipe.venues.polymarket.fills import OurTrade, Trade, TradeError, our_trade, read_trades
from arbpipe.venues.polymarket.outcomes import OrderStatus, order_status
from arbpipe.venues.polymarket.rest import ClobRest, Reply

__all__ = ["OrderRead", "read_order", "trades_of"]

_MAX_PAGES: Final = 50
#: The venue's clock and ours differ; trades are asked for from so long before the order on.
_MARGIN_S: Final = 60
_NOTHING: Final = (b"", b"null", b"{}")


class _Raw(msgspec.Struct, frozen=True):
    id: str
    status: str
    size_matched: str
    associate_trades: list[str] | None = None


class OrderRead(msgspec.Struct, frozen=True):
    """One look at an order. ``absent``: the venue says it has none. ``status`` is ``None`` when nothing was learned."""

    absent: bool
    status: OrderStatus | None
    word: str
    matched_e6: int | None
    trade_ids: tuple[str, ...]
    reason: str


def _unread(reply: Reply, why: str) -> OrderRead:
    return OrderRead(False, None, "", None, (), f"{why}: {reply}")


async def read_order(rest: ClobRest, order_hash: str) -> OrderRead:
    """Ask for an order by its hash, whatever state it is in."""
    reply = await rest.get(f"/data/order/{order_hash}")
    if reply.status == 404 or (reply.ok and reply.body.strip() in _NOTHING):
        return OrderRead(True, None, "", None, (), "the venue has no record of it")
    if not reply.ok:
        return _unread(reply, "it cannot be looked up now")
    try:
        raw = msgspec.json.decode(reply.body, type=_Raw)
        matched = parse_qty_e6(raw.size_matched)
    except (msgspec.MsgspecError, UnicodeDecodeError, FixedPointError):
        return _unread(reply, "its record cannot be read")
    if raw.id.lower() != order_hash:
        return _unread(reply, "the record is another order's")
    word = raw.status.upper().removeprefix("ORDER_STATUS_")
    return OrderRead(
        False, order_status(word), word, matched, tuple(raw.associate_trades or ()), f"the venue says {word[:40]}"
    )


async def trades_of(
    rest: ClobRest, order_hash: str, token: str, since_ms: int, trade_ids: Iterable[str] = ()
) -> dict[str, OurTrade] | None:
    """The trades of an order by id, each once (F44); ``None`` when they cannot be read now.

    Without ``trade_ids`` all our trades of the token from ``since_ms`` on are searched.
    """
    ids = tuple(dict.fromkeys(trade_ids))
    after = str(max(0, since_ms // 1_000 - _MARGIN_S))
    queries = [{"id": one} for one in ids] or [{"asset_id": token, "after": after}]
    found: dict[str, OurTrade] = {}
    for trades in await asyncio.gather(*(_all_pages(rest, query) for query in queries)):
        if trades is None:
            return None
        for trade in trades:
            try:
                ours = our_trade(trade, order_hash, token)
            except TradeError:
                return None
            if ours is not None:
                found[ours.trade_id] = ours
    return found


async def _all_pages(rest: ClobRest, query: dict[str, str]) -> list[Trade] | None:
    """Every trade of a listing; a cursor that comes back makes it unread, not endless (F74)."""
    trades: list[Trade] = []
    seen: set[str] = set()
    cursor = ""
    for _ in range(_MAX_PAGES):
        reply = await rest.get("/data/trades", {**query, "next_cursor": cursor} if cursor else query)
        if not reply.ok:
            return None
        try:
            page, cursor = read_trades(reply.body)
        except TradeError:
            return None
        trades += page
        if not cursor:
            return trades
        if cursor in seen:
            return None
        seen.add(cursor)
    return None
