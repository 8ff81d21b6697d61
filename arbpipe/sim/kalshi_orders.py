"""The body of an order request, read as simulated Kalshi reads it (kalshi.md section 3.4, ``CreateOrderV2Request``).

Everything numeric is a string. A JSON value of another type is refused in the flat shape, naming the field as the
venue's own decoder does; what parses but is no order is refused in the normal shape.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from arbpipe.sim.exchange import SelfTrade, Tif
from arbpipe.sim.kalshi_errors import refuse, refuse_body
from arbpipe.sim.units import ONE_E4

__all__ = ["OrderRequest", "check_types", "parse_body", "parse_order", "parse_orders", "read_count", "read_price"]

_GO_TYPES: Final = {
    "ticker": "string",
    "client_order_id": "string",
    "side": "string",
    "count": "string",
    "price": "string",
    "time_in_force": "string",
    "self_trade_prevention_type": "string",
    "order_group_id": "string",
    "expiration_time": "int64",
    "subaccount": "int",
    "exchange_index": "int",
    "post_only": "bool",
    "reduce_only": "bool",
    "cancel_order_on_pause": "bool",
}
_TIFS: Final = {
    "fill_or_kill": Tif.FOK,
    "immediate_or_cancel": Tif.IOC,
    "good_till_canceled": Tif.GTC,
}
_SELF_TRADES: Final = {"taker_at_cross": SelfTrade.TAKER, "maker": SelfTrade.MAKER}
_PRICE: Final = re.compile(r"[01]\.\d{2,4}\Z", re.ASCII)
_COUNT: Final = re.compile(r"\d{1,9}(\.\d{1,2})?\Z", re.ASCII)
_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)
_MOST_SUBACCOUNT: Final = 63


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A well-formed order. Price in 1/10,000 dollar (YES), count in 1/100 contract, expiration in Unix seconds.

    ``exchange_index``: as sent; None and -1 leave it to the venue.
    """

    ticker: str
    buys_yes: bool
    count_e2: int
    price_e4: int
    tif: Tif
    self_trade: SelfTrade
    client_order_id: str
    expiration_s: int | None
    post_only: bool
    reduce_only: bool
    cancel_on_pause: bool = False
    exchange_index: int | None = None


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _fits(value: object, wanted: str) -> bool:
    if wanted in ("int", "int64"):
        return isinstance(value, int) and not isinstance(value, bool)
    return _json_type(value) == wanted


def parse_body(text: bytes, structure: str) -> dict[str, object]:
    """The JSON object of a request body.

    Raises:
        Refusal: 400 in the flat shape: it is no JSON, or no object.
    """
    try:
        body = json.loads(text)
    except ValueError:
        raise refuse_body("invalid JSON in request body") from None
    if not isinstance(body, dict):
        raise refuse_body(f"json: cannot unmarshal {_json_type(body)} into Go value of type {structure}")
    return body


def parse_orders(text: bytes, structure: str) -> list[dict[str, object]]:
    """The ``orders`` of a batch.

    Raises:
        Refusal: 400: it does not parse, or there is no order in it.
    """
    orders = parse_body(text, structure).get("orders")
    if not isinstance(orders, list) or not orders:
        raise refuse(400, "missing_parameters", "orders")
    for order in orders:
        if not isinstance(order, dict):
            raise refuse_body(f"json: cannot unmarshal {_json_type(order)} into Go struct field {structure}.orders")
    return orders


def check_types(body: Mapping[str, object], types: Mapping[str, str], structure: str) -> dict[str, object]:
    """The members that ``types`` names; ``null`` counts as absent.

    Raises:
        Refusal: 400 in the flat shape: a member is of another type.
    """
    given = {name: value for name, value in body.items() if value is not None and name in types}
    for name, value in given.items():
        if not _fits(value, types[name]):
            field = f"{structure}.{name} of type {types[name]}"
            raise refuse_body(f"json: cannot unmarshal {_json_type(value)} into Go struct field {field}")
    return given


def read_count(text: object, *, least: int = 1) -> int:
    """A count in 1/100 contract.

    Raises:
        Refusal: 400, it is no decimal string or below ``least``.
    """
    count_e2 = _fixed(text, 2) if isinstance(text, str) and _COUNT.match(text) else -1
    if count_e2 < least:
        raise refuse(400, "invalid_order", f"count must be a decimal string of at least 0.0{least}")
    return count_e2


def read_price(text: object) -> int:
    """A price in 1/10,000 dollar, between 0 and 1.

    Raises:
        Refusal: 400, it is absent or no such price.
    """
    if not text:
        raise refuse(400, "invalid_order", "price is required")
    price_e4 = _fixed(text, 4) if isinstance(text, str) and _PRICE.match(text) else 0
    if not 0 < price_e4 < ONE_E4:
        raise refuse(400, "invalid_price")
    return price_e4


def parse_order(body: Mapping[str, object], now_s: int) -> OrderRequest:
    """Check one order. ``null`` counts as absent, unknown members are ignored.

    Raises:
        Refusal: 400 with the reason.
    """
    given = check_types(body, _GO_TYPES, "CreateOrderV2Request")
    text = {name: str(given.get(name, "")) for name, wanted in _GO_TYPES.items() if wanted == "string"}
    if not text["ticker"]:
        raise refuse(400, "missing_parameters", "ticker")
    for name, choices in (
        ("side", ("bid", "ask")),
        ("time_in_force", tuple(_TIFS)),
        ("self_trade_prevention_type", tuple(_SELF_TRADES)),
    ):
        if text[name] not in choices:
            raise refuse(400, "invalid_order", f"{name} must be one of {', '.join(choices)}")
    count_e2 = read_count(text["count"])
    price_e4 = read_price(text["price"])
    tif = _TIFS[text["time_in_force"]]
    client_order_id = text["client_order_id"]
    if client_order_id and not _CLIENT_ID.match(client_order_id):
        raise refuse(400, "invalid_order", "client_order_id may hold letters, digits, - and _, at most 64")
    request = OrderRequest(
        ticker=text["ticker"],
        buys_yes=text["side"] == "bid",
        count_e2=count_e2,
        price_e4=price_e4,
        tif=tif,
        self_trade=_SELF_TRADES[text["self_trade_prevention_type"]],
        client_order_id=client_order_id,
        expiration_s=_integer(given.get("expiration_time")),
        post_only=given.get("post_only") is True,
        reduce_only=given.get("reduce_only") is True,
        cancel_on_pause=given.get("cancel_order_on_pause") is True,
        exchange_index=_integer(given.get("exchange_index")),
    )
    _check_flags(request, now_s)
    if (_integer(given.get("subaccount")) or 0) != 0:
        if not 0 <= (_integer(given.get("subaccount")) or 0) <= _MOST_SUBACCOUNT:
            raise refuse(400, "invalid_order", f"subaccount must be 0 to {_MOST_SUBACCOUNT}")
        raise refuse(400, "insufficient_balance")
    return request


def _check_flags(request: OrderRequest, now_s: int) -> None:
    if request.reduce_only and request.tif is not Tif.IOC:
        raise refuse(400, "invalid_order", "reduce_only requires immediate_or_cancel")
    if request.post_only and request.tif is not Tif.GTC:
        raise refuse(400, "invalid_order", "post_only requires good_till_canceled")
    if request.expiration_s is not None:
        if request.tif is not Tif.GTC:
            raise refuse(400, "invalid_order", "expiration_time requires good_till_canceled")
        if request.expiration_s <= now_s:
            raise refuse(400, "invalid_order", "expiration_time is in the past")


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _fixed(text: str, decimals: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(decimals, "0"))
