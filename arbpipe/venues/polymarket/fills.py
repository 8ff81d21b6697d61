"""From the venue's trades to fills: quantities, dollars and fees of one order of ours. Pure.

A trade that FAILED on chain is no fill (F43). A trade is one fill and keeps its id, however often it is read (F44). The
dollars of an order are rounded once, against us, and each trade gets what it adds; the venue's own total wins where it
says one. Fees are per maker order that was met, up to 0.00001 dollar each (polymarket.md 5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from arbpipe.feemodel import FeeTerms
from arbpipe.fixedpoint import ONE_DOLLAR_E4, FixedPointError, ceil_div, ceil_to, parse_qty_e6, parse_scaled
from arbpipe.venues.base import Fill
from arbpipe.venues.polymarket.outcomes import TradeStatus, trade_status

__all__ = ["OurTrade", "Trade", "TradeError", "fills_of", "our_trade", "read_trades"]

_PRICE_DECIMALS: Final = 12
_ONE_E12: Final = 10**_PRICE_DECIMALS
_E4_TO_E12: Final = 10 ** (_PRICE_DECIMALS - 4)
#: Dollars of a trade are price (1e-12) times shares (1e-6); this many such parts are a micro-dollar.
_PARTS: Final = _ONE_E12
#: The venue rounds each match on its own, by a micro-dollar; a larger difference is not rounding.
_ROUNDING_E6: Final = 10


class TradeError(ValueError):
    """A trade that cannot be read; what happened is then not known."""


class _Maker(msgspec.Struct, frozen=True):
    order_id: str
    matched_amount: str
    price: str
    asset_id: str = ""
    side: str = ""


class Trade(msgspec.Struct, frozen=True):
    """One trade of ``GET /data/trades``; the top level is the taker's. Numbers are the texts that were sent."""

    id: str
    taker_order_id: str
    asset_id: str
    side: str
    size: str
    price: str
    status: str
    maker_orders: list[_Maker] = []


class _Page(msgspec.Struct, frozen=True):
    data: list[Trade]
    next_cursor: str = ""


@dataclass(frozen=True, slots=True)
class OurTrade:
    """Our part of a trade: pieces of (price in 1e-12 dollar, shares in 1e-6)."""

    trade_id: str
    status: TradeStatus
    pieces: tuple[tuple[int, int], ...]
    taker: bool

    @property
    def qty_e6(self) -> int:
        """Shares."""
        return sum(qty for _, qty in self.pieces)


def read_trades(body: bytes) -> tuple[list[Trade], str]:
    """A page of trades and the cursor of the next one (``""`` at the end); a bare list is a page too.

    Raises:
        TradeError: unreadable.
    """
    try:
        if body.lstrip()[:1] == b"[":
            return msgspec.json.decode(body, type=list[Trade]), ""
        page = msgspec.json.decode(body, type=_Page)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TradeError(f"the venue's trades are unreadable: {error}") from None
    return page.data, "" if page.next_cursor == "LTE=" else page.next_cursor


def our_trade(trade: Trade, order_hash: str, token: str) -> OurTrade | None:
    """Our order's part of a trade, or ``None`` if it has none.

    As the taker, the maker orders say at which prices: a maker of the other token gave us ours at the complement. If
    they do not add up to the trade, its own price and size count.

    Raises:
        TradeError: a number is not one, or the order is said to have traded another token.
    """
    status = trade_status(trade.status)
    try:
        if trade.taker_order_id.lower() == order_hash:
            if trade.asset_id != token:
                raise TradeError(f"trade {trade.id}: our order is for token {token}, the trade for {trade.asset_id}")
            size = _qty(trade.size)
            pieces = tuple(
                (price if maker.asset_id in ("", token) else _ONE_E12 - price, _qty(maker.matched_amount))
                for maker in trade.maker_orders
                for price in (_price(maker.price),)
            )
            if sum(qty for _, qty in pieces) != size:
                pieces = ((_price(trade.price), size),)
            return OurTrade(trade.id, status, pieces, True)
        mine = [maker for maker in trade.maker_orders if maker.order_id.lower() == order_hash]
        if not mine:
            return None
        return OurTrade(trade.id, status, tuple((_price(m.price), _qty(m.matched_amount)) for m in mine), False)
    except FixedPointError as error:
        raise TradeError(f"trade {trade.id}: {error}") from None


def _qty(text: str) -> int:
    qty = parse_qty_e6(text)
    if qty < 0:
        raise FixedPointError(f"quantity {text!r} is negative")
    return qty


def _price(text: str) -> int:
    price = parse_scaled(text, _PRICE_DECIMALS, "a price", floor=True)
    if not 0 <= price <= _ONE_E12:
        raise FixedPointError(f"price {text!r} is outside 0 … 1 dollar")
    # the venue has sent 0.07999999999999999 for 0.08
    near = (price + _E4_TO_E12 // 2) // _E4_TO_E12 * _E4_TO_E12
    return near if abs(price - near) <= 1_000 else price


def _fee_e6(terms: FeeTerms, price_e12: int, qty_e6: int) -> int:
    """The taker's fee of one match in micro-dollars, rounded up to the terms' quantum."""
    variance = price_e12 * (_ONE_E12 - price_e12)
    numerator = terms.rate_e6 * qty_e6 * variance**terms.exponent
    return ceil_to(ceil_div(numerator, 1_000_000 * _ONE_E12 ** (2 * terms.exponent)), terms.quantum_e6)


def fills_of(
    trades: Mapping[str, OurTrade] | Iterable[OurTrade], *, is_buy: bool, fee: FeeTerms, dollars_e6: int | None = None
) -> tuple[Fill, ...]:
    """The fills of one order, in the order of their ids. ``dollars_e6``: the order's dollars in the venue's own words.

    ``dollars_e6`` counts only while no trade failed and it differs by no more than rounding.
    """
    given = list(trades.values()) if isinstance(trades, Mapping) else list(trades)
    standing = sorted((each for each in given if each.status is not TradeStatus.FAILED), key=lambda each: each.trade_id)
    exact = [sum(price * qty for price, qty in each.pieces) for each in standing]
    total = _whole(sum(exact), is_buy)
    if dollars_e6 is not None and len(standing) == len(given):
        pieces = sum(len(each.pieces) for each in standing)
        if abs(dollars_e6 - total) <= _ROUNDING_E6 + pieces:
            total = dollars_e6
    fills, before, sum_exact = [], 0, 0
    for number, (each, parts) in enumerate(zip(standing, exact, strict=True)):
        sum_exact += parts
        upto = total if number == len(standing) - 1 else _whole(sum_exact, is_buy)
        dollars, before = upto - before, upto
        charged = sum(_fee_e6(fee, price, qty) for price, qty in each.pieces) if each.taker else 0
        qty = each.qty_e6
        average = parts * ONE_DOLLAR_E4 // (qty * _ONE_E12) if qty else 0
        if is_buy and qty and parts * ONE_DOLLAR_E4 % (qty * _ONE_E12):
            average += 1
        cash = -dollars - charged if is_buy else dollars - charged
        fills.append(Fill(each.trade_id, qty, average, charged, cash, 0, each.status is TradeStatus.CONFIRMED))
    return tuple(fills)


def _whole(parts: int, up: bool) -> int:
    """Parts of 1e-18 dollar in micro-dollars, rounded against us."""
    return ceil_div(parts, _PARTS) if up else parts // _PARTS
