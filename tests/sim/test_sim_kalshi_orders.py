"""Order bodies: what is read, and with which words the rest is refused."""

from __future__ import annotations

from typing import Any

import pytest

from arbpipe.sim.exchange import SelfTrade, Tif
from arbpipe.sim.kalshi_errors import Refusal
from arbpipe.sim.kalshi_orders import OrderRequest, parse_body, parse_order, parse_orders

NOW_S = 1_793_534_400
GOOD: dict[str, Any] = {
    "ticker": "T",
    "side": "ask",
    "count": "10",
    "price": "0.5600",
    "time_in_force": "good_till_canceled",
    "self_trade_prevention_type": "maker",
}


def refusal_of(body: dict[str, Any]) -> Any:
    with pytest.raises(Refusal) as caught:
        parse_order(body, NOW_S)
    assert caught.value.status == 400
    return caught.value.body


def test_an_order_is_read_with_its_decimals() -> None:
    assert parse_order(GOOD, NOW_S) == OrderRequest(
        "T", False, 1_000, 5_600, Tif.GTC, SelfTrade.MAKER, "", None, False, False
    )
    more = {"count": "0.01", "price": "0.001", "expiration_time": NOW_S + 1, "post_only": True, "unknown": 1}
    read = parse_order(GOOD | more, NOW_S)
    assert (read.count_e2, read.price_e4, read.expiration_s, read.post_only) == (1, 10, NOW_S + 1, True)


@pytest.mark.parametrize(
    ("member", "value", "go_type", "json_type"),
    [
        ("count", 1, "string", "number"),
        ("price", 0.5, "string", "number"),
        ("ticker", [], "string", "array"),
        ("side", {}, "string", "object"),
        ("post_only", "yes", "bool", "string"),
        ("expiration_time", "soon", "int64", "string"),
        ("expiration_time", 1.5, "int64", "number"),
        ("subaccount", True, "int", "bool"),
    ],
)
def test_a_wrong_json_type_is_refused_flat_and_names_the_field(
    member: str, value: object, go_type: str, json_type: str
) -> None:
    body = refusal_of(GOOD | {member: value})
    where = f"CreateOrderV2Request.{member} of type {go_type}"
    assert body == {
        "code": "bad_request",
        "message": "bad request",
        "details": f"json: cannot unmarshal {json_type} into Go struct field {where}",
    }


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ticker": None}, "missing_parameters"),
        ({"side": None}, "invalid_order"),
        ({"side": "yes"}, "invalid_order"),
        ({"count": None}, "invalid_order"),
        ({"count": "0.00"}, "invalid_order"),
        ({"count": "-1.00"}, "invalid_order"),
        ({"count": "1.001"}, "invalid_order"),
        ({"price": None}, "invalid_order"),
        ({"price": "0.0000"}, "invalid_price"),
        ({"price": "1.0000"}, "invalid_price"),
        ({"price": "56"}, "invalid_price"),
        ({"price": "0.56001"}, "invalid_price"),
        ({"price": "0.5"}, "invalid_price"),
        ({"time_in_force": "good_till_date"}, "invalid_order"),
        ({"self_trade_prevention_type": None}, "invalid_order"),
        ({"client_order_id": "a.b"}, "invalid_order"),
        ({"client_order_id": "x" * 65}, "invalid_order"),
        ({"reduce_only": True}, "invalid_order"),
        ({"post_only": True, "time_in_force": "fill_or_kill"}, "invalid_order"),
        ({"expiration_time": NOW_S}, "invalid_order"),
        ({"expiration_time": NOW_S + 5, "time_in_force": "immediate_or_cancel"}, "invalid_order"),
        ({"subaccount": 64}, "invalid_order"),
        ({"subaccount": 3}, "insufficient_balance"),
    ],
)
def test_what_is_no_order_is_refused_with_its_code(change: dict[str, Any], code: str) -> None:
    assert refusal_of(GOOD | change)["error"]["code"] == code


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"1", b'"x"', b"\xff"])
def test_a_body_that_is_no_object_is_refused_flat(text: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse_body(text, "CreateOrderV2Request")
    assert caught.value.body["code"] == "bad_request"


@pytest.mark.parametrize("text", [b"{}", b'{"orders":[]}', b'{"orders":[1]}', b'{"orders":{}}'])
def test_a_batch_without_orders_is_refused(text: bytes) -> None:
    with pytest.raises(Refusal):
        parse_orders(text, "BatchCreateOrdersV2Request")
