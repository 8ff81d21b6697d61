"""The CLOB's REST routes of the simulated venue (polymarket.md sections 1.2 to 2.8), on top of the trading rules.

A refusal is ``{"error": text}`` with the venue's status. Private routes verify the L2 signature over the raw bytes of
the body before anything is parsed.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from arbpipe.sim.polymarket_auth import Credentials, VenueError, new_credentials, recover_wallet, verify_request
from arbpipe.sim.polymarket_limits import Kind
from arbpipe.sim.polymarket_orders import EXCHANGE, EXCHANGE_V3, NEG_RISK_EXCHANGE, parse_request
from arbpipe.sim.polymarket_shapes import order_json, refused, trade_json
from arbpipe.sim.polymarket_trading import Exchange

__all__ = ["ClobRoutes", "errors_as_json"]

_LOG = logging.getLogger(__name__)
_END: Final = "LTE="
_PAGE: Final = 100
_MOST_ORDERS: Final = 15
_MOST_CANCELS: Final = 1_000
#: How many orders these cancel is known afterwards; so many tokens they cost besides the one they begin with.
_CANCELS_BY_RULE: Final = ("/cancel-all", "/cancel-market-orders")
_UNLIMITED: Final = str((1 << 256) - 1)
_EXCHANGES: Final = (EXCHANGE, NEG_RISK_EXCHANGE, EXCHANGE_V3)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Private = Callable[[Credentials, web.Request, Any], object]


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn a refusal into the venue's JSON, and a mistake of ours into its 500."""
    try:
        return await handler(request)
    except VenueError as error:
        return web.json_response({"error": error.message, **error.extra}, status=error.status, headers=error.headers)
    except web.HTTPException as error:
        return web.json_response({"error": f"{error.reason}: {request.method} {request.path}"}, status=error.status)
    except Exception:
        _LOG.exception("%s %s failed", request.method, request.path)
        return web.json_response({"error": "could not insert order"}, status=500)


def _token(query: Mapping[str, str], name: str = "token_id") -> str:
    value = query.get(name, "")
    if not value:
        raise VenueError(400, f"Invalid token id: query parameter {name} is missing")
    return value


def _page(rows: Sequence[dict[str, object]], cursor: str) -> dict[str, object]:
    """A page of the data routes; the cursor is the offset in base64, ``LTE=`` (-1) after the last page."""
    try:
        start = int(base64.b64decode(cursor, validate=True)) if cursor else 0
    except (binascii.Error, ValueError) as error:
        raise VenueError(400, f"invalid next_cursor {cursor!r}: send one that the venue gave") from error
    chosen = rows[start : start + _PAGE] if start >= 0 else []
    more = start >= 0 and start + _PAGE < len(rows)
    following = base64.b64encode(str(start + _PAGE).encode()).decode() if more else _END
    return {"limit": _PAGE, "count": len(chosen), "next_cursor": following, "data": list(chosen)}


class ClobRoutes:
    """The handlers; :meth:`add_to` mounts them."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._store = exchange.store

    def add_to(self, app: web.Application) -> None:
        """Mount every route."""
        public: list[tuple[str, str, Handler]] = [
            ("GET", "/version", self._version),
            ("GET", "/time", self._time),
            ("GET", "/book", self._book),
            ("POST", "/books", self._books),
            ("GET", "/tick-size", self._tick_size),
            ("GET", "/neg-risk", self._neg_risk),
            ("GET", "/fee-rate", self._fee_rate),
            ("GET", "/clob-markets/{condition}", self._clob_market),
            ("GET", "/markets-by-token/{token}", self._market_by_token),
            ("POST", "/auth/api-key", self._create_key),
            ("GET", "/auth/derive-api-key", self._derive_key),
        ]
        private: list[tuple[str, str, Private]] = [
            ("GET", "/auth/api-keys", lambda caller, request, body: self._keys(caller)),
            ("DELETE", "/auth/api-key", lambda caller, request, body: self._delete_key(caller)),
            ("GET", "/auth/ban-status/closed-only", lambda caller, request, body: {"closed_only": False}),
            ("GET", "/data/orders", self._orders),
            ("GET", "/data/order/{id}", self._order),
            ("GET", "/data/trades", self._trades),
            ("GET", "/balance-allowance", self._balance),
            ("GET", "/balance-allowance/update", lambda caller, request, body: {}),
            ("POST", "/v1/heartbeats", self._heartbeat),
            ("GET", "/v1/user/rate-limit-tier", lambda caller, request, body: {"tier": "Standard"}),
        ]
        limited: list[tuple[str, str, Private]] = [
            ("POST", "/order", lambda caller, request, body: self._exchange.place(caller, parse_request(body))),
            ("POST", "/orders", self._place_many),
            ("DELETE", "/order", self._cancel_one),
            ("DELETE", "/orders", self._cancel_many),
            ("DELETE", "/cancel-all", lambda caller, request, body: self._exchange.cancel_all(caller.key)),
            ("DELETE", "/cancel-market-orders", self._cancel_market),
        ]
        for method, path, handler in public:
            app.router.add_route(method, path, handler)
        for method, path, answer in private:
            app.router.add_route(method, path, self._guarded(answer))
        for method, path, answer in limited:
            app.router.add_route(method, path, self._limited(answer))

    async def _verified(self, request: web.Request) -> tuple[Credentials, Any]:
        """Whose request it is, by its L2 signature, and its body."""
        body = await request.read()
        caller = verify_request(
            request.headers,
            request.method,
            request.rel_url.raw_path,
            body,
            self._store.key,
            self._exchange.now_ms() / 1_000,
        )
        return caller, _parsed(body)

    def _guarded(self, answer: Private) -> Handler:
        """A handler that answers only a request with a valid L2 signature."""

        async def handler(request: web.Request) -> web.Response:
            caller, body = await self._verified(request)
            return web.json_response(answer(caller, request, body))

        return handler

    def _limited(self, answer: Private) -> Handler:
        """As :meth:`_guarded`, and the signer pays for the request before anything is done; a batch costs its length."""

        async def handler(request: web.Request) -> web.Response:
            caller, body = await self._verified(request)
            limits = self._exchange.limits
            if limits is None:
                return web.json_response(answer(caller, request, body))
            kind = Kind.CANCEL if request.method == "DELETE" else Kind.ORDER
            most = _MOST_CANCELS if kind is Kind.CANCEL else _MOST_ORDERS
            # a batch of a wrong length is refused for that, not for what it would cost
            tokens = len(body) if isinstance(body, list) and 0 < len(body) <= most else 1
            now_ms = self._exchange.now_ms()
            headers = limits.charge(caller.signer, kind, tokens, now_ms)
            try:
                answered = answer(caller, request, body)
            except VenueError as error:
                error.headers |= headers
                raise
            if request.path in _CANCELS_BY_RULE and isinstance(answered, dict):
                headers = limits.debit(caller.signer, len(answered["canceled"]), now_ms)
            return web.json_response(answered, headers=headers)

        return handler

    # -- public -------------------------------------------------------------------------------------------------------

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": 2})

    async def _time(self, request: web.Request) -> web.Response:
        return web.json_response(self._exchange.now_ms() // 1_000)

    async def _book(self, request: web.Request) -> web.Response:
        token = _token(request.query)
        return web.json_response(self._exchange.view_of(token).rest_book(token))

    async def _books(self, request: web.Request) -> web.Response:
        wanted = _parsed(await request.read())
        if not isinstance(wanted, list) or not all(isinstance(each, dict) for each in wanted):
            raise VenueError(400, 'Invalid payload: send [{"token_id": "..."}, ...]')
        tokens = [str(each.get("token_id", "")) for each in wanted]
        known = [token for token in tokens if token in self._exchange.by_token]
        return web.json_response([self._exchange.by_token[token].rest_book(token) for token in known])

    async def _tick_size(self, request: web.Request) -> web.Response:
        view = self._exchange.view_of(_token(request.query))
        return web.json_response({"minimum_tick_size": view.tick_e4 / 10_000})

    async def _neg_risk(self, request: web.Request) -> web.Response:
        view = self._exchange.view_of(_token(request.query))
        return web.json_response({"neg_risk": view.listing.neg_risk})

    async def _fee_rate(self, request: web.Request) -> web.Response:
        # the legacy cap, not the rate (polymarket.md 5)
        view = self._exchange.view_of(_token(request.query))
        return web.json_response({"base_fee": 1_000 if view.market.rate_e4 else 0})

    async def _clob_market(self, request: web.Request) -> web.Response:
        view = self._exchange.by_condition.get(request.match_info["condition"])
        if view is None:
            raise VenueError(404, "market not found")
        yes, no = view.assets
        answer: dict[str, object] = {
            "r": {"mi": 50, "ma": 4.5, "moas": 30},
            "t": [{"t": yes, "o": view.label(yes)}, {"t": no, "o": view.label(no)}],
            "c": view.listing.condition_id,
            "mos": 5,
            "mts": view.tick_e4 / 10_000,
            "mbf": 1_000,
            "tbf": 1_000,
            "ao": True,
            "aot": "2026-10-01T00:00:00Z",
            "fd": {"r": view.market.rate_e4 / 10_000, "e": 1, "to": True},
            "v": view.listing.version,
        }
        if view.listing.neg_risk:
            answer["nr"] = True
        return web.json_response(answer)

    async def _market_by_token(self, request: web.Request) -> web.Response:
        view = self._exchange.view_of(request.match_info["token"])
        smaller, larger = sorted(view.assets, key=int)
        answer = {
            "condition_id": view.listing.condition_id,
            "primary_token_id": smaller,
            "secondary_token_id": larger,
        }
        return web.json_response(answer)

    # -- keys ---------------------------------------------------------------------------------------------------------

    async def _create_key(self, request: web.Request) -> web.Response:
        signer, nonce = recover_wallet(request.headers, self._exchange.now_ms() / 1_000)
        fresh = new_credentials(signer, nonce)
        try:
            with self._store.transaction():
                self._store.add_wallet(signer, signer, 0, 0)
                self._store.add_key(fresh)
        except sqlite3.IntegrityError as error:
            raise VenueError(400, "Could not create api key") from error
        return web.json_response(_key_json(fresh))

    async def _derive_key(self, request: web.Request) -> web.Response:
        signer, nonce = recover_wallet(request.headers, self._exchange.now_ms() / 1_000)
        for known in self._store.keys_of(signer):
            if known.nonce == nonce:
                return web.json_response(_key_json(known))
        raise VenueError(400, "Could not derive api key!")

    def _keys(self, caller: Credentials) -> object:
        return {"apiKeys": [each.key for each in self._store.keys_of(caller.signer)]}

    def _delete_key(self, caller: Credentials) -> object:
        self._store.delete_key(caller.key)
        return "OK"

    # -- orders -------------------------------------------------------------------------------------------------------

    def _place_many(self, caller: Credentials, request: web.Request, body: Any) -> object:
        if not isinstance(body, list) or not body:
            raise VenueError(400, "Invalid order payload: send an array of 1 to 15 orders")
        if len(body) > _MOST_ORDERS:
            raise VenueError(400, f"Too many orders in payload: {len(body)}, max allowed: {_MOST_ORDERS}")
        answers = []
        for each in body:
            try:
                answers.append(self._exchange.place(caller, parse_request(each)))
            except VenueError as error:
                answers.append(refused(error.message))
        return answers

    def _cancel_one(self, caller: Credentials, request: web.Request, body: Any) -> object:
        order_id = body.get("orderID") if isinstance(body, dict) else None
        if not isinstance(order_id, str):
            raise VenueError(400, 'Invalid orderID: send {"orderID": "0x..."}')
        return self._exchange.cancel(caller.key, [order_id])

    def _cancel_many(self, caller: Credentials, request: web.Request, body: Any) -> object:
        if not isinstance(body, list) or not all(isinstance(each, str) for each in body):
            raise VenueError(400, "Invalid payload: send an array of order ids")
        if len(body) > _MOST_CANCELS:
            raise VenueError(400, f"Too many orders in payload: {len(body)}, max allowed: {_MOST_CANCELS}")
        return self._exchange.cancel(caller.key, body)

    def _cancel_market(self, caller: Credentials, request: web.Request, body: Any) -> object:
        names = {"market": "condition", "asset_id": "token"}
        fields = body if isinstance(body, dict) else {}
        where = {column: fields[name] for name, column in names.items() if fields.get(name)}
        if not where or not all(isinstance(value, str) for value in where.values()):
            raise VenueError(400, "Invalid payload: send market, asset_id or both")
        return self._exchange.cancel_all(caller.key, where)

    def _heartbeat(self, caller: Credentials, request: web.Request, body: Any) -> object:
        sent = body.get("heartbeat_id") if isinstance(body, dict) else None
        if sent is not None and not isinstance(sent, str):
            raise VenueError(400, 'Invalid payload: send {"heartbeat_id": "..."}')
        return {"heartbeat_id": self._exchange.heartbeat(caller.key, sent or "")}

    # -- account data -------------------------------------------------------------------------------------------------

    def _orders(self, caller: Credentials, request: web.Request, body: Any) -> object:
        where = {
            "owner": caller.key,
            **_filters(request.query, {"id": "id", "market": "condition", "asset_id": "token"}),
        }
        rows = [row for row in self._store.orders(where, open_only=True) if row.status == "LIVE"]
        return _page([self._order_json(row.id) for row in rows], request.query.get("next_cursor", ""))

    def _order(self, caller: Credentials, request: web.Request, body: Any) -> object:
        row = self._store.order(request.match_info["id"])
        if row is None or row.owner != caller.key:
            raise VenueError(404, "Order not found")
        return self._order_json(row.id)

    def _order_json(self, order_id: str) -> dict[str, object]:
        row = self._store.order(order_id)
        assert row is not None
        view = self._exchange.by_condition[row.condition]
        return order_json(row, view.label(row.token), self._store.trades({"order_id": order_id}))

    def _trades(self, caller: Credentials, request: web.Request, body: Any) -> object:
        names = {"id": "id", "market": "condition", "asset_id": "token", "maker_address": "funder"}
        rows = self._store.trades({"owner": caller.key, **_filters(request.query, names)})
        after, before = (request.query.get(name, "") for name in ("after", "before"))
        chosen = [
            trade_json(row, self._exchange.by_condition[row.condition].label(row.token))
            for row in reversed(rows)
            if (not after or row.match_ms > 1_000 * _seconds("after", after))
            and (not before or row.match_ms < 1_000 * _seconds("before", before))
        ]
        return _page(chosen, request.query.get("next_cursor", ""))

    def _balance(self, caller: Credentials, request: web.Request, body: Any) -> object:
        wallet = self._store.wallet(caller.signer)
        kind = request.query.get("asset_type", "")
        if wallet is None or kind not in ("COLLATERAL", "CONDITIONAL", "CONDITIONAL-V2"):
            raise VenueError(400, f"assetType {kind!r} invalid: send COLLATERAL, CONDITIONAL or CONDITIONAL-V2")
        balance = wallet.cash_e6
        if kind != "COLLATERAL":
            token = _token(request.query)
            version = "v2" if kind == "CONDITIONAL-V2" else "v1"
            # each version keeps its own ledger: the other one's holds nothing of this token
            held = self._exchange.view_of(token).listing.version == version
            balance = self._store.position(wallet.funder, token).settled_e6 if held else 0
        return {"balance": str(balance), "allowances": dict.fromkeys(_EXCHANGES, _UNLIMITED)}


def _parsed(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError as error:
        raise VenueError(400, "Invalid payload: the body is not JSON") from error


def _key_json(credentials: Credentials) -> dict[str, object]:
    return {"apiKey": credentials.key, "secret": credentials.secret, "passphrase": credentials.passphrase}


def _filters(query: Mapping[str, str], names: Mapping[str, str]) -> dict[str, object]:
    return {column: query[name] for name, column in names.items() if query.get(name)}


def _seconds(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise VenueError(400, f"invalid {name} {text!r}: send unix seconds")
    return int(text)
