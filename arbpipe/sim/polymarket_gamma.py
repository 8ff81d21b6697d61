"""Gamma, the discovery API of the simulated venue (polymarket.md section 4), and the legacy market route of the CLOB.

Ids are where a protocol version puts them: v1 markets list ``clobTokenIds``, v2 markets ``positionIds`` and a condition id
of 31 bytes. As observed in October 2026, some v1 markets carry ``positionIds`` without any book behind them: a client that
chooses ids by the field that is present instead of by ``version`` trades nothing here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiohttp import web

from arbpipe.sim.listing import Event, Kind, Venue
from arbpipe.sim.polymarket_auth import VenueError
from arbpipe.sim.polymarket_books import MarketView
from arbpipe.sim.polymarket_trading import Exchange
from arbpipe.sim.units import ONE_E4

__all__ = ["GammaRoutes", "market_json", "event_json"]

_LISTED: Final = "2026-10-01T00:00:00Z"
_ENDS: Final = "2026-12-31T00:00:00Z"
_STARTS: Final = "2026-12-01 19:00:00+00"
_TAGS: Final = {
    Kind.PAIR: ("100328", "Economy"),
    Kind.GAME: ("1", "Sports"),
    Kind.PARTITION: ("2", "Politics"),
    Kind.LADDER: ("84", "Weather"),
}
#: Fee rate as listed to its type and the makers' share.
_FEE_TYPES: Final = {
    "0.03": ("sports_fees_v2", 0.25),
    "0.04": ("politics_fees", 0.25),
    "0.05": ("economics_fees", 0.25),
    "0.07": ("crypto_fees_v2", 0.2),
}
_MOST: Final = 100
_EVENTS: Final = 20


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _decimal(price_e4: int) -> float:
    return price_e4 / ONE_E4


def _position(event: Event, view: MarketView) -> int:
    ours = [market for market in event.markets if market.venue is Venue.POLYMARKET]
    return next(i for i, market in enumerate(ours) if market.key == view.market.key)


def _slug(event: Event, view: MarketView) -> str:
    return event.name if event.outcomes == 1 else f"{event.name}-{_position(event, view)}"


def _ids(view: MarketView) -> dict[str, object]:
    """Condition id and asset ids, in the fields of the market's protocol version."""
    listing = view.listing
    if listing.version == "v2":
        return {"conditionId": listing.condition_id[:-2], "positionIds": list(view.assets)}
    ids: dict[str, object] = {"conditionId": listing.condition_id, "clobTokenIds": json.dumps(list(view.assets))}
    digest = _digest(listing.condition_id)
    if int(digest[0], 16) < 6:
        position = int(f"01{digest[:32]}{'0' * 28}", 16) << 8
        ids["positionIds"] = [str(position), str(position | 1)]
    return ids


def market_json(event: Event, view: MarketView) -> dict[str, object]:
    """One market as Gamma lists it, without its event. Prices are of this moment, as numbers."""
    listing, market = view.listing, view.market
    bids, asks = view.engine.levels()
    bid_e4 = bids[0][0] if bids else 0
    ask_e4 = asks[0][0] if asks else ONE_E4
    middle = (bid_e4 + ask_e4) / 2 / ONE_E4
    last = view.last_trade_price
    fee_type, rebate = _FEE_TYPES[listing.rate]
    number = 500_000 + 100 * event.index + _position(event, view)
    answer: dict[str, object] = {
        "id": str(number),
        "question": f"{market.title}?",
        "slug": _slug(event, view),
        **_ids(view),
        "version": listing.version,
        "questionID": f"0x{_digest('question:' + listing.condition_id)}",
        "resolutionSource": "",
        "startDate": _LISTED,
        "endDate": _ENDS,
        "endDateIso": _ENDS[:10],
        "createdAt": _LISTED,
        "acceptingOrdersTimestamp": _LISTED,
        "description": f'This market resolves to "{market.yes_label}" or "{market.no_label}": {market.title}.'
        " Neither the question nor its answer exists.",
        "outcomes": json.dumps([market.yes_label, market.no_label]),
        "outcomePrices": json.dumps([f"{middle:.4f}", f"{1 - middle:.4f}"]),
        "active": True,
        "closed": False,
        "archived": False,
        "acceptingOrders": True,
        "enableOrderBook": True,
        "restricted": False,
        "automaticallyResolved": False,
        "umaResolutionStatuses": "[]",
        "negRisk": listing.neg_risk,
        "negRiskOther": False,
        "orderPriceMinTickSize": _decimal(view.tick_e4),
        "orderMinSize": 5,
        "clearBookOnStart": False,
        "feesEnabled": market.rate_e4 > 0,
        "feeType": fee_type,
        "feeSchedule": {"exponent": 1, "rate": float(listing.rate), "takerOnly": True, "rebateRate": rebate},
        "makerBaseFee": 1_000,
        "takerBaseFee": 1_000,
        "makerRebatesFeeShareBps": 10_000,
        "bestBid": _decimal(bid_e4),
        "bestAsk": _decimal(ask_e4),
        "spread": round(_decimal(ask_e4 - bid_e4), 4),
        "lastTradePrice": float(last) if last else 0,
        "volumeNum": 0,
        "liquidityNum": 0,
        "groupItemTitle": market.title if event.outcomes > 1 else "",
        "groupItemThreshold": str(_position(event, view)),
    }
    if view.seconds_delay:
        answer["secondsDelay"] = view.seconds_delay
    if listing.neg_risk:
        answer["negRiskMarketID"] = f"0x{_digest('neg-risk:' + event.name)[:62]}00"
        answer["negRiskRequestID"] = f"0x{_digest('request:' + listing.condition_id)}"
    if event.kind is Kind.GAME:
        answer["sportsMarketType"] = "moneyline"
        answer["gameId"] = str(90_000_000 + event.index)
        answer["gameStartTime"] = _STARTS
    if listing.version == "v2":
        answer["resolutionStatus"] = "active"
    return answer


def _event_head(event: Event, views: Iterable[MarketView]) -> dict[str, object]:
    neg_risk = any(view.listing.neg_risk for view in views)
    tag_id, label = _TAGS[event.kind]
    head: dict[str, object] = {
        "id": str(30_000 + event.index),
        "ticker": event.name,
        "slug": event.name,
        "title": event.name.replace("-", " ").capitalize(),
        "description": "An invented event.",
        "startDate": _LISTED,
        "creationDate": _LISTED,
        "endDate": _ENDS,
        "active": True,
        "closed": False,
        "archived": False,
        "restricted": False,
        "enableOrderBook": True,
        "enableNegRisk": neg_risk,
        "negRisk": neg_risk,
        "negRiskAugmented": False,
        "tags": [{"id": tag_id, "label": label, "slug": label.lower()}],
    }
    if neg_risk:
        head["negRiskMarketID"] = f"0x{_digest('neg-risk:' + event.name)[:62]}00"
    return head


def event_json(event: Event, views: Iterable[MarketView]) -> dict[str, object]:
    """One event with all its markets."""
    chosen = list(views)
    return {**_event_head(event, chosen), "markets": [market_json(event, view) for view in chosen]}


def _wanted(query: Any, name: str) -> set[str]:
    """The values of a repeatable parameter; ``name[]`` and commas are understood as well."""
    values = [*query.getall(name, []), *query.getall(f"{name}[]", [])]
    return {part for value in values for part in value.split(",") if part}


def _count(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise VenueError(422, f"invalid {name} {text!r}: send a number")
    return min(int(text), most)


class GammaRoutes:
    """The handlers; :meth:`add_to` mounts them. Filters it does not know are ignored, as the real one does."""

    def __init__(self, exchange: Exchange, events: Iterable[Event]) -> None:
        self._exchange = exchange
        keys = {view.market.key: view for view in exchange.views}
        self._events = [
            (event, [keys[market.key] for market in event.markets if market.key in keys]) for event in events
        ]
        self._markets = [(event, view) for event, views in self._events for view in views]

    def add_to(self, app: web.Application) -> None:
        """Mount every route."""
        for path, handler in (
            ("/events", self._event_list),
            ("/events/keyset", self._event_keyset),
            ("/events/slug/{slug}", self._event_by_slug),
            ("/markets", self._market_list),
            ("/markets/keyset", self._market_keyset),
            ("/markets/slug/{slug}", self._market_by_slug),
            ("/markets/{id}", self._market_by_id),
        ):
            app.router.add_get(path, handler)

    def _full_market(self, event: Event, view: MarketView) -> dict[str, object]:
        siblings = next(views for other, views in self._events if other is event)
        return {**market_json(event, view), "events": [_event_head(event, siblings)]}

    # -- events -------------------------------------------------------------------------------------------------------

    def _chosen_events(self, request: web.Request) -> list[tuple[Event, list[MarketView]]]:
        if request.query.get("closed") == "true":
            return []
        slugs, ids, tags = (_wanted(request.query, name) for name in ("slug", "id", "tag_id"))
        tag_slugs = _wanted(request.query, "tag_slug")
        return [
            (event, views)
            for event, views in self._events
            if (not slugs or event.name in slugs)
            and (not ids or str(30_000 + event.index) in ids)
            and (not tags or _TAGS[event.kind][0] in tags)
            and (not tag_slugs or _TAGS[event.kind][1].lower() in tag_slugs)
        ]

    async def _event_list(self, request: web.Request) -> web.Response:
        offset, limit = _count(request.query, "offset", 0, 10**9), _count(request.query, "limit", _EVENTS, _MOST)
        chosen = self._chosen_events(request)[offset : offset + limit]
        return web.json_response([event_json(event, views) for event, views in chosen])

    async def _event_keyset(self, request: web.Request) -> web.Response:
        start, limit = _keyset(request, _EVENTS)
        found = self._chosen_events(request)
        page = [event_json(event, views) for event, views in found[start : start + limit]]
        return web.json_response({"events": page, **_following(start + limit, len(found))})

    async def _event_by_slug(self, request: web.Request) -> web.Response:
        for event, views in self._events:
            if event.name == request.match_info["slug"]:
                return web.json_response(event_json(event, views))
        raise VenueError(404, "slug not found", {"type": "not found error"})

    # -- markets ------------------------------------------------------------------------------------------------------

    def _chosen_markets(self, request: web.Request) -> list[tuple[Event, MarketView]]:
        # since 2026-04-09 closed defaults to false
        if request.query.get("closed") == "true":
            return []
        slugs, ids = _wanted(request.query, "slug"), _wanted(request.query, "id")
        conditions = {each.lower() for each in _wanted(request.query, "condition_ids")}
        tokens, positions = _wanted(request.query, "clob_token_ids"), _wanted(request.query, "position_ids")
        chosen = []
        for event, view in self._markets:
            condition, version = view.listing.condition_id, view.listing.version
            spellings = {condition, condition[:-2]} if version == "v2" else {condition}
            if (
                (not slugs or _slug(event, view) in slugs)
                and (not ids or str(market_json(event, view)["id"]) in ids)
                and (not conditions or not conditions.isdisjoint(spellings))
                and (not tokens or (version == "v1" and not tokens.isdisjoint(view.assets)))
                and (not positions or (version == "v2" and not positions.isdisjoint(view.assets)))
            ):
                chosen.append((event, view))
        return chosen

    async def _market_list(self, request: web.Request) -> web.Response:
        offset, limit = _count(request.query, "offset", 0, 10**9), _count(request.query, "limit", _EVENTS, _MOST)
        chosen = self._chosen_markets(request)[offset : offset + limit]
        return web.json_response([self._full_market(event, view) for event, view in chosen])

    async def _market_keyset(self, request: web.Request) -> web.Response:
        start, limit = _keyset(request, _EVENTS)
        found = self._chosen_markets(request)
        page = [self._full_market(event, view) for event, view in found[start : start + limit]]
        return web.json_response({"markets": page, **_following(start + limit, len(found))})

    async def _market_by_slug(self, request: web.Request) -> web.Response:
        for event, view in self._markets:
            if _slug(event, view) == request.match_info["slug"]:
                return web.json_response(self._full_market(event, view))
        raise VenueError(404, "slug not found", {"type": "not found error"})

    async def _market_by_id(self, request: web.Request) -> web.Response:
        """Gamma's market by number, and the CLOB's by condition id: both hosts are this one server."""
        wanted = request.match_info["id"]
        for event, view in self._markets:
            if wanted.startswith("0x"):
                if view.listing.condition_id == wanted:
                    return web.json_response(_legacy_market(event, view))
            elif market_json(event, view)["id"] == wanted:
                return web.json_response(self._full_market(event, view))
        raise VenueError(404, "market not found")


def _keyset(request: web.Request, default: int) -> tuple[int, int]:
    """Where a keyset page starts, and how long it is."""
    if "offset" in request.query:
        raise VenueError(422, "offset is not supported here: use after_cursor")
    cursor = request.query.get("after_cursor", "")
    try:
        start = int(base64.urlsafe_b64decode(cursor)) if cursor else 0
    except (binascii.Error, ValueError) as error:
        raise VenueError(422, f"invalid after_cursor {cursor!r}: send one that the venue gave") from error
    return max(start, 0), _count(request.query, "limit", default, _MOST)


def _following(end: int, count: int) -> dict[str, str]:
    return {"next_cursor": base64.urlsafe_b64encode(str(end).encode()).decode()} if end < count else {}


def _legacy_market(event: Event, view: MarketView) -> dict[str, object]:
    """``GET /markets/{condition}`` of the CLOB; observed stale, so its tick is the one of the listing."""
    book, listing = view.engine, view.listing
    bid_e4, ask_e4 = book.best(True) or 0, book.best(False) or ONE_E4
    middle = (bid_e4 + ask_e4) / 2 / ONE_E4
    listed = next(market for market in event.markets if market.key == view.market.key)
    yes, no = view.assets
    return {
        "enable_order_book": True,
        "active": True,
        "closed": False,
        "archived": False,
        "accepting_orders": True,
        "accepting_order_timestamp": _LISTED,
        "minimum_order_size": 5,
        "minimum_tick_size": _decimal(listed.tick_e4),
        "condition_id": listing.condition_id,
        "question_id": f"0x{_digest('question:' + listing.condition_id)}",
        "question": f"{view.market.title}?",
        "market_slug": _slug(event, view),
        "end_date_iso": _ENDS,
        "seconds_delay": view.seconds_delay,
        "maker_base_fee": 1_000,
        "taker_base_fee": 1_000,
        "neg_risk": listing.neg_risk,
        "is_50_50_outcome": False,
        "tokens": [
            {"token_id": yes, "outcome": view.label(yes), "price": middle, "winner": False},
            {"token_id": no, "outcome": view.label(no), "price": 1 - middle, "winner": False},
        ],
        "tags": [_TAGS[event.kind][1]],
    }
