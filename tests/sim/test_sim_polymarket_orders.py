"""Order structs, hashes, signatures and amounts, against eth-account and the venue's own client library."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_utils.crypto import keccak
from polymarket._internal.actions.orders.typed_data import build_order_signature, build_order_typed_data
from polymarket._internal.actions.orders.types import UnsignedOrder
from polymarket_harness import EXCHANGES, ORDER_TYPES, ZERO32, wallet

from arbpipe.sim.listing import PolymarketListing
from arbpipe.sim.polymarket_auth import VenueError
from arbpipe.sim.polymarket_orders import (
    OrderRequest,
    OrderType,
    SignedOrder,
    Terms,
    exchange_of,
    order_hash,
    parse_request,
    terms_of,
    verify_signature,
)

MIN_E6 = 5_000_000
SIGNER = wallet("orders")
FUNDER = wallet("orders funder").address


def signed(**changes: Any) -> SignedOrder:
    order = SignedOrder(
        salt=123,
        maker=SIGNER.address,
        signer=SIGNER.address,
        token_id=str(1 << 255 | 7),
        maker_amount=10_000_000,
        taker_amount=20_000_000,
        is_buy=True,
        signature_type=0,
        timestamp=1_791_242_171_528,
        metadata=ZERO32,
        builder=ZERO32,
        expiration=0,
        signature="0x00",
    )
    return replace(order, **changes)


def library_order(order: SignedOrder, exchange: tuple[str, str]) -> UnsignedOrder:
    fields: dict[str, Any] = {
        "chain_id": 137,
        "builder": order.builder,
        "exchange_address": exchange[0],
        "expiration": 0,
        "maker": order.maker,
        "maker_amount": order.maker_amount,
        "metadata": order.metadata,
        "order_type": "FAK",
        "salt": order.salt,
        "side": "BUY" if order.is_buy else "SELL",
        "signature_type": order.signature_type,
        "signer": order.signer,
        "taker_amount": order.taker_amount,
        "timestamp": order.timestamp,
        "token_id": order.token_id,
        "protocol_version": exchange[1],
    }
    return UnsignedOrder(**fields)


def with_library_signature(order: SignedOrder, exchange: tuple[str, str]) -> SignedOrder:
    unsigned = library_order(order, exchange)
    plain: Any = "0x" + SIGNER.sign_typed_data(full_message=build_order_typed_data(unsigned)).signature.hex()
    return replace(order, signature=build_order_signature(unsigned, plain))


@pytest.mark.parametrize("kind", list(EXCHANGES))
def test_every_kind_of_market_has_its_documented_exchange(kind: tuple[str, bool]) -> None:
    listing = PolymarketListing("0x01", kind[0], "1", "2", "0.05", kind[1])
    assert exchange_of(listing) == EXCHANGES[kind]


@pytest.mark.parametrize("exchange", sorted(set(EXCHANGES.values())))
@pytest.mark.parametrize("is_buy", [True, False])
def test_the_order_id_is_the_eip712_hash(exchange: tuple[str, str], is_buy: bool) -> None:
    order = signed(is_buy=is_buy, salt=(1 << 53) - 1)
    types = ",".join(f"{field['type']} {field['name']}" for field in ORDER_TYPES["Order"])
    words = [keccak(f"Order({types})".encode())]
    for value in (order.salt, int(order.maker, 16), int(order.signer, 16), int(order.token_id), order.maker_amount):
        words.append(value.to_bytes(32, "big"))
    for value in (order.taker_amount, 0 if is_buy else 1, order.signature_type, order.timestamp, 0, 0):
        words.append(value.to_bytes(32, "big"))
    domain = [
        keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
        keccak(b"Polymarket CTF Exchange"),
        keccak(exchange[1].encode()),
        (137).to_bytes(32, "big"),
        int(exchange[0], 16).to_bytes(32, "big"),
    ]
    expected = keccak(b"\x19\x01" + keccak(b"".join(domain)) + keccak(b"".join(words)))
    assert order_hash(order, exchange) == "0x" + expected.hex()


@pytest.mark.parametrize("exchange", sorted(set(EXCHANGES.values())))
@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_signatures_of_the_venues_own_library_are_accepted(exchange: tuple[str, str], kind: int) -> None:
    funder = SIGNER.address if kind == 0 else FUNDER
    order = signed(signature_type=kind, maker=funder, signer=funder if kind == 3 else SIGNER.address)
    order = with_library_signature(order, exchange)
    verify_signature(order, exchange, SIGNER.address, funder)
    for spoiled in (replace(order, maker_amount=order.maker_amount + 1), replace(order, salt=order.salt + 1)):
        with pytest.raises(VenueError, match="invalid signature"):
            verify_signature(spoiled, exchange, SIGNER.address, funder)


def test_a_deposit_wallets_signature_without_its_trailer_is_refused() -> None:
    exchange = EXCHANGES[("v1", False)]
    order = with_library_signature(signed(signature_type=3, maker=FUNDER, signer=FUNDER), exchange)
    for spoiled in (order.signature[:132], order.signature[:-2] + "00", order.signature[:-4]):
        with pytest.raises(VenueError, match="invalid signature"):
            verify_signature(replace(order, signature=spoiled), exchange, SIGNER.address, FUNDER)


def test_a_stranger_cannot_sign_for_a_wallet() -> None:
    exchange = EXCHANGES[("v1", False)]
    order = signed()
    stranger = Account.from_key(b"\x07" * 32)
    data = build_order_typed_data(library_order(order, exchange))
    order = replace(order, signature="0x" + stranger.sign_typed_data(full_message=data).signature.hex())
    with pytest.raises(VenueError, match="invalid signature"):
        verify_signature(order, exchange, SIGNER.address, SIGNER.address)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"signer": FUNDER}, "signer address has to be the address of the API KEY"),
        ({"maker": FUNDER}, "maker address"),
        ({"signature_type": 1}, "maker address"),
        ({"signature_type": 2, "maker": SIGNER.address}, "maker address"),
        ({"signature_type": 3}, "signer address has to be"),
    ],
)
def test_wallets_must_fit_the_signature_type(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(VenueError, match=text):
        verify_signature(
            signed(**changes),
            EXCHANGES[("v1", False)],
            SIGNER.address,
            FUNDER if changes.get("signature_type") else SIGNER.address,
        )


def body(**changes: Any) -> dict[str, Any]:
    order = {
        "salt": 123,
        "maker": SIGNER.address.lower(),
        "signer": SIGNER.address,
        "tokenId": "7",
        "makerAmount": "10000000",
        "takerAmount": "20000000",
        "side": "BUY",
        "signatureType": 0,
        "timestamp": "1791242171528",
        "metadata": ZERO32,
        "builder": ZERO32,
        "expiration": "0",
        "signature": "0x00",
    }
    return {"order": order | changes, "owner": "key", "orderType": "FAK", "deferExec": False}


def test_a_body_is_read_with_addresses_in_one_spelling() -> None:
    request = parse_request(body())
    assert request == OrderRequest(signed(token_id="7"), "key", OrderType.FAK, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"salt": "123"},
        {"salt": 1 << 53},
        {"salt": True},
        {"makerAmount": 10_000_000},
        {"takerAmount": "1e6"},
        {"takerAmount": "-1"},
        {"side": 0},
        {"signatureType": 4},
        {"signatureType": "0"},
        {"maker": "0x12"},
        {"metadata": "0x00"},
        {"signature": "00"},
        {"expiration": 0},
    ],
)
def test_a_member_of_the_wrong_kind_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(VenueError) as caught:
        parse_request(body(**changes))
    assert caught.value.status == 400


def test_an_order_of_the_dead_version_is_told_so() -> None:
    with pytest.raises(VenueError, match=r"^order_version_mismatch$"):
        parse_request(body(nonce="0", feeRateBps="0", taker="0x" + "00" * 20))


def terms(kind: OrderType, is_buy: bool, maker: int, taker: int, tick_e4: int = 100, flat: bool = False) -> Terms:
    order = signed(is_buy=is_buy, maker_amount=maker, taker_amount=taker)
    return terms_of(OrderRequest(order, "key", kind, False), "0xid", tick_e4, MIN_E6, flat=flat)


def test_a_limit_order_is_in_shares_on_both_sides() -> None:
    assert terms(OrderType.GTC, True, 5_200_000, 10_000_000) == Terms(5_200, 10_000_000, None)
    assert terms(OrderType.GTC, False, 10_000_000, 5_200_000) == Terms(5_200, 10_000_000, None)
    assert terms(OrderType.GTD, True, 5_210_000, 10_000_000, 10) == Terms(5_210, 10_000_000, None)


def test_a_market_buy_is_in_dollars_and_its_shares_are_floored() -> None:
    # the documented example: 10 dollars at 0.52 are 19.2307 shares
    assert terms(OrderType.FAK, True, 10_000_000, 19_230_700) == Terms(5_200, 19_230_700, 10_000_000)


def test_shares_rounded_up_imply_a_price_below_the_tick() -> None:
    assert terms(OrderType.FAK, True, 10_000_000, 19_230_800).limit_e4 == 5_100


def test_a_market_sell_is_in_shares_and_reaches_its_tick() -> None:
    assert terms(OrderType.FOK, False, 19_230_000, 9_999_600) == Terms(5_200, 19_230_000, None)
    # 19.23 shares at 0.523 are 10.05729 dollars, floored to four decimals
    assert terms(OrderType.FOK, False, 19_230_000, 10_057_200, 10) == Terms(5_230, 19_230_000, None)


@pytest.mark.parametrize("tick_e4", [1_000, 100, 50, 25, 10, 1])
@pytest.mark.parametrize("kind", [OrderType.GTC, OrderType.FAK])
def test_every_price_of_every_grid_is_read_back(tick_e4: int, kind: OrderType) -> None:
    decimals = {1_000: 3, 100: 4, 50: 5, 25: 6, 10: 5, 1: 6}[tick_e4]
    unit = 10 ** (6 - decimals)
    for price_e4 in range(tick_e4, 10_000, max(tick_e4, 37 * tick_e4 if tick_e4 == 1 else tick_e4)):
        if kind is OrderType.GTC:
            dollars = 12_340_000 * price_e4 // 10_000
            assert terms(kind, True, dollars, 12_340_000, tick_e4) == Terms(price_e4, 12_340_000, None)
            assert terms(kind, False, 12_340_000, dollars, tick_e4) == Terms(price_e4, 12_340_000, None)
        else:
            shares = 97_530_000 * 10_000 // price_e4 // unit * unit
            assert terms(kind, True, 97_530_000, shares, tick_e4) == Terms(price_e4, shares, 97_530_000)
            dollars = 97_530_000 * price_e4 // 10_000 // unit * unit
            assert terms(kind, False, 97_530_000, dollars, tick_e4) == Terms(price_e4, 97_530_000, None)


@pytest.mark.parametrize(
    ("kind", "is_buy", "maker", "taker"),
    [
        (OrderType.GTC, True, 5_250_000, 10_000_000),
        (OrderType.GTC, False, 10_000_000, 5_250_000),
        (OrderType.GTC, True, 10_000_000, 10_000_000),
        (OrderType.GTC, True, 10_000_000, 3_000_000),
        (OrderType.FAK, True, 10_000_000, 19_100_000),
        (OrderType.FAK, False, 10_000_000, 5_250_000),
        (OrderType.FAK, True, 10_000_000, 10_000_000),
    ],
)
def test_a_price_off_the_grid_breaks_the_tick_rule(kind: OrderType, is_buy: bool, maker: int, taker: int) -> None:
    with pytest.raises(
        VenueError, match=r"^order 0xid is invalid\. Price \(.*\) breaks minimum tick size rule: 0\.01$"
    ):
        terms(kind, is_buy, maker, taker)


@pytest.mark.parametrize(
    ("kind", "is_buy", "maker", "taker", "text"),
    [
        (OrderType.GTC, True, 5_200_001, 10_000_000, "buy orders maker amount supports a max accuracy of 4"),
        (OrderType.GTC, True, 5_200_000, 10_000_001, "taker amount a max of 2 decimals"),
        (OrderType.GTC, False, 10_001_000, 5_200_000, "sell orders maker amount supports a max accuracy of 2"),
        (OrderType.FAK, True, 10_001_000, 19_230_700, "market buy orders maker amount supports a max accuracy of 2"),
        (OrderType.FAK, True, 10_000_000, 19_230_760, "taker amount a max of 4 decimals"),
    ],
)
def test_too_many_decimals_are_refused(kind: OrderType, is_buy: bool, maker: int, taker: int, text: str) -> None:
    with pytest.raises(VenueError, match=text):
        terms(kind, is_buy, maker, taker)


def test_four_decimals_are_enough_on_every_tick_and_with_flat_amounts_the_most() -> None:
    # 9.98 dollars at 0.985 are 10.13197 shares: five decimals on a tick of 0.001
    assert terms(OrderType.FAK, True, 9_980_000, 10_131_970, 10).limit_e4 == 9_850
    assert terms(OrderType.FAK, True, 9_980_000, 10_131_900, 10).limit_e4 == 9_850
    assert terms(OrderType.FAK, True, 9_980_000, 10_131_900, 10, flat=True).limit_e4 == 9_850
    with pytest.raises(VenueError, match="taker amount a max of 4 decimals"):
        terms(OrderType.FAK, True, 9_980_000, 10_131_970, 10, flat=True)


@pytest.mark.parametrize("kind", list(OrderType))
def test_less_than_the_minimum_size_is_refused(kind: OrderType) -> None:
    assert terms(kind, False, 5_000_000, 2_500_000).qty_e6 == MIN_E6
    with pytest.raises(VenueError, match=r"^order 0xid is invalid\. Size \(4\.99\) lower than the minimum: 5$"):
        terms(kind, False, 4_990_000, 2_495_000)


def test_a_buy_that_takes_is_at_least_one_dollar() -> None:
    with pytest.raises(VenueError, match=r"^invalid amount for a marketable BUY order \(\$0\.99\), min size: \$1$"):
        terms(OrderType.FAK, True, 990_000, 9_900_000)
    assert terms(OrderType.GTC, True, 990_000, 9_900_000).limit_e4 == 1_000


def test_zero_amounts_are_refused() -> None:
    for maker, taker in ((0, 10_000_000), (10_000_000, 0)):
        with pytest.raises(VenueError, match="above zero"):
            terms(OrderType.GTC, True, maker, taker)
