"""A signed order as it arrives: its shape, its EIP-712 hash and signature, and its amounts (polymarket.md 2.1 to 2.3).

Pure. The hash of the order struct under the right exchange's domain is the order's id; the signature's wallet is
recovered from it. Amounts are integers of 1e-6; a buy gives dollars and takes shares, a sell the reverse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_utils.crypto import keccak

from arbpipe.sim.listing import PolymarketListing
from arbpipe.sim.polymarket_auth import CHAIN_ID, VenueError, checksum
from arbpipe.sim.units import ONE_E4, plain_text

__all__ = [
    "EXCHANGE",
    "NEG_RISK_EXCHANGE",
    "EXCHANGE_V3",
    "OrderType",
    "SignedOrder",
    "OrderRequest",
    "Terms",
    "parse_request",
    "exchange_of",
    "order_hash",
    "verify_signature",
    "terms_of",
]

EXCHANGE: Final = "0xE111180000d2663C0091e4f400237545B87B996B"
NEG_RISK_EXCHANGE: Final = "0xe2222d279d744050d28e00520010520000310F59"
EXCHANGE_V3: Final = "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa"
_NAME: Final = "Polymarket CTF Exchange"
_FIELDS: Final = (
    ("salt", "uint256"),
    ("maker", "address"),
    ("signer", "address"),
    ("tokenId", "uint256"),
    ("makerAmount", "uint256"),
    ("takerAmount", "uint256"),
    ("side", "uint8"),
    ("signatureType", "uint8"),
    ("timestamp", "uint256"),
    ("metadata", "bytes32"),
    ("builder", "bytes32"),
)
_ORDER: Final = [{"name": name, "type": kind} for name, kind in _FIELDS]
_ORDER_TEXT: Final = "Order(" + ",".join(f"{kind} {name}" for name, kind in _FIELDS) + ")"
#: ERC-7739: what the owner of a deposit wallet signs around the order.
_NESTED: Final = [
    {"name": "contents", "type": "Order"},
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
    {"name": "salt", "type": "bytes32"},
]
_BYTES32: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_DIGITS: Final = re.compile(r"[0-9]{1,78}")
_HEX: Final = re.compile(r"0x([0-9a-fA-F]{2})+")
_ECDSA_BYTES: Final = 65
#: Tick in 1/10,000 dollar to the decimals of a size and of an amount (polymarket.md 2.3).
_DECIMALS: Final = {1_000: (2, 3), 100: (2, 4), 50: (2, 5), 25: (2, 6), 10: (2, 5), 1: (2, 6)}
#: A computed share amount of a market order may be off by less than one unit of this many decimals.
_COARSEST_DECIMALS: Final = 4
#: A buy that takes is at least one dollar; observed, in no documentation (Nautilus Trader issue 3874).
_LEAST_TAKER_E6: Final = 1_000_000


class OrderType(Enum):
    """How long an order lives. FOK and FAK buys are in dollars, everything else is in shares."""

    GTC = "GTC"
    GTD = "GTD"
    FOK = "FOK"
    FAK = "FAK"

    @property
    def rests(self) -> bool:
        """Whether an unfilled rest stays in the book."""
        return self in (OrderType.GTC, OrderType.GTD)


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """The members of ``order``, addresses in checksum case. ``timestamp`` is ms, ``expiration`` unix s, 0 for none."""

    salt: int
    maker: str
    signer: str
    token_id: str
    maker_amount: int
    taker_amount: int
    is_buy: bool
    signature_type: int
    timestamp: int
    metadata: str
    builder: str
    expiration: int
    signature: str


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """One body of ``POST /order``."""

    order: SignedOrder
    owner: str
    order_type: OrderType
    post_only: bool


@dataclass(frozen=True, slots=True)
class Terms:
    """What an order asks: the limit price of its token in 1/10,000 dollar, and the quantity in 1/1,000,000 share.

    ``cash_e6``: the dollars of a FOK or FAK buy, before the fee; ``None`` for every order counted in shares.
    """

    limit_e4: int
    qty_e6: int
    cash_e6: int | None


def _malformed(name: str, value: object, wanted: str) -> VenueError:
    return VenueError(400, f"Invalid order payload: {name} is {value!r}, not {wanted}")


def _text(raw: Mapping[str, Any], name: str, pattern: re.Pattern[str], wanted: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _malformed(name, value, wanted)
    return value


def _number(raw: Mapping[str, Any], name: str) -> int:
    return int(_text(raw, name, _DIGITS, "a decimal number in quotes"))


def _parse_order(raw: Any) -> SignedOrder:
    if not isinstance(raw, dict):
        raise _malformed("order", raw, "an object")
    if "nonce" in raw or "feeRateBps" in raw or "taker" in raw:
        raise VenueError(400, "order_version_mismatch")
    salt, kind, side = raw.get("salt"), raw.get("signatureType"), raw.get("side")
    if not isinstance(salt, int) or isinstance(salt, bool) or not 0 <= salt < 1 << 53:
        raise _malformed("salt", salt, "a JSON number of at most 53 bits")
    if not isinstance(kind, int) or isinstance(kind, bool) or not 0 <= kind <= 3:
        raise _malformed("signatureType", kind, "0, 1, 2 or 3")
    if side not in ("BUY", "SELL"):
        raise _malformed("side", side, "BUY or SELL")
    return SignedOrder(
        salt=salt,
        maker=checksum(raw.get("maker")),
        signer=checksum(raw.get("signer")),
        token_id=_text(raw, "tokenId", _DIGITS, "a decimal number in quotes"),
        maker_amount=_number(raw, "makerAmount"),
        taker_amount=_number(raw, "takerAmount"),
        is_buy=side == "BUY",
        signature_type=kind,
        timestamp=_number(raw, "timestamp"),
        metadata=_text(raw, "metadata", _BYTES32, "32 bytes in hexadecimal"),
        builder=_text(raw, "builder", _BYTES32, "32 bytes in hexadecimal"),
        expiration=_number(raw, "expiration"),
        signature=_text(raw, "signature", _HEX, "hexadecimal"),
    )


def parse_request(raw: Any) -> OrderRequest:
    """Read one body of ``POST /order``.

    Raises:
        VenueError: 400; an order of the dead version 1 is told ``order_version_mismatch``.
    """
    if not isinstance(raw, dict):
        raise _malformed("body", raw, "an object")
    order = _parse_order(raw.get("order"))
    owner, kind, post_only = raw.get("owner"), raw.get("orderType"), raw.get("postOnly", False)
    if not isinstance(owner, str) or not owner:
        raise _malformed("owner", owner, "an API key")
    if kind not in [each.value for each in OrderType]:
        raise _malformed("orderType", kind, "GTC, GTD, FOK or FAK")
    if not isinstance(post_only, bool):
        raise _malformed("postOnly", post_only, "true or false")
    return OrderRequest(order, owner, OrderType(kind), post_only)


def exchange_of(listing: PolymarketListing) -> tuple[str, str]:
    """The exchange contract that settles a market, and the version of its EIP-712 domain."""
    if listing.version == "v2":
        return EXCHANGE_V3, "3"
    return (NEG_RISK_EXCHANGE if listing.neg_risk else EXCHANGE), "2"


def _domain(exchange: tuple[str, str]) -> dict[str, Any]:
    return {"name": _NAME, "version": exchange[1], "chainId": CHAIN_ID, "verifyingContract": exchange[0]}


def _struct(order: SignedOrder) -> dict[str, Any]:
    return {
        "salt": order.salt,
        "maker": order.maker,
        "signer": order.signer,
        "tokenId": int(order.token_id),
        "makerAmount": order.maker_amount,
        "takerAmount": order.taker_amount,
        "side": 0 if order.is_buy else 1,
        "signatureType": order.signature_type,
        "timestamp": order.timestamp,
        "metadata": order.metadata,
        "builder": order.builder,
    }


def _signable(order: SignedOrder, exchange: tuple[str, str]) -> SignableMessage:
    try:
        return encode_typed_data(_domain(exchange), {"Order": _ORDER}, _struct(order))
    except Exception as error:
        raise VenueError(400, "Invalid order payload: a member does not fit its EIP-712 type") from error


def order_hash(order: SignedOrder, exchange: tuple[str, str]) -> str:
    """The order's id: keccak of 0x1901, the domain's separator and the struct's hash."""
    message = _signable(order, exchange)
    return "0x" + keccak(b"\x19" + message.version + message.header + message.body).hex()


def _recover(message: SignableMessage, signature: bytes) -> str | None:
    try:
        return str(Account.recover_message(message, signature=signature))
    except Exception:
        return None


def _recover_nested(order: SignedOrder, exchange: tuple[str, str], signature: bytes) -> str | None:
    """The owner behind a deposit wallet's ERC-7739 signature, or ``None`` if its trailer is not this order's."""
    plain = _signable(order, exchange)
    text = _ORDER_TEXT.encode()
    trailer = plain.header + plain.body + text + len(text).to_bytes(2, "big")
    if signature[_ECDSA_BYTES:] != trailer:
        return None
    message = {
        "contents": _struct(order),
        "name": "DepositWallet",
        "version": "1",
        "chainId": CHAIN_ID,
        "verifyingContract": order.signer,
        "salt": bytes(32),
    }
    nested = encode_typed_data(_domain(exchange), {"TypedDataSign": _NESTED, "Order": _ORDER}, message)
    return _recover(nested, signature[:_ECDSA_BYTES])


def verify_signature(order: SignedOrder, exchange: tuple[str, str], signer: str, funder: str) -> None:
    """Check who signed and whose money it is (polymarket.md 1.5). ``signer`` is the wallet behind the API key.

    Raises:
        VenueError: 400, the wallets do not fit the signature type or the signature is not theirs.
    """
    nested = order.signature_type == 3
    if order.signer != (funder if nested else signer):
        raise VenueError(400, "the order signer address has to be the address of the API KEY")
    if order.maker != (signer if order.signature_type == 0 else funder):
        raise VenueError(
            400, f"maker address {order.maker} is not the wallet of signature type {order.signature_type} for {signer}"
        )
    signature = bytes.fromhex(order.signature[2:])
    if nested:
        recovered = _recover_nested(order, exchange, signature)
    else:
        recovered = _recover(_signable(order, exchange), signature) if len(signature) == _ECDSA_BYTES else None
    if recovered != signer:
        raise VenueError(400, "invalid signature")


def _fits(amount_e6: int, decimals: int) -> bool:
    unit: int = 10 ** (6 - decimals)
    return amount_e6 % unit == 0


def _tick_error(order_id: str, maker: int, taker: int, is_buy: bool, tick_e4: int) -> VenueError:
    dollars, shares = (maker, taker) if is_buy else (taker, maker)
    price = f"{dollars / shares:.6f}".rstrip("0").rstrip(".")
    tick = plain_text(tick_e4, 4)
    return VenueError(400, f"order {order_id} is invalid. Price ({price}) breaks minimum tick size rule: {tick}")


def _limit_terms(order: SignedOrder, order_id: str, tick_e4: int) -> Terms:
    size_dp, amount_dp = _DECIMALS[tick_e4]
    side = "buy" if order.is_buy else "sell"
    dollars, shares = order.maker_amount, order.taker_amount
    maker_dp, taker_dp = amount_dp, size_dp
    if not order.is_buy:
        dollars, shares, maker_dp, taker_dp = shares, dollars, size_dp, amount_dp
    if not (_fits(order.maker_amount, maker_dp) and _fits(order.taker_amount, taker_dp)):
        raise VenueError(
            400,
            f"invalid amounts, the {side} orders maker amount supports a max accuracy of {maker_dp} decimals, "
            f"taker amount a max of {taker_dp} decimals",
        )
    limit_e4, rest = divmod(dollars * ONE_E4, shares)
    if rest or limit_e4 % tick_e4 or not tick_e4 <= limit_e4 <= ONE_E4 - tick_e4:
        raise _tick_error(order_id, order.maker_amount, order.taker_amount, order.is_buy, tick_e4)
    return Terms(limit_e4, shares, None)


def _market_terms(order: SignedOrder, order_id: str, tick_e4: int, flat: bool) -> Terms:
    """Terms of a FOK or FAK order: what is given has two decimals, what is taken is computed and rounded."""
    amount_dp = _DECIMALS[tick_e4][1]
    allowed_dp = min(amount_dp, _COARSEST_DECIMALS) if flat else amount_dp
    if not (_fits(order.maker_amount, 2) and _fits(order.taker_amount, allowed_dp)):
        side = "market buy" if order.is_buy else "sell"
        raise VenueError(
            400,
            f"invalid amounts, the {side} orders maker amount supports a max accuracy of 2 decimals, "
            f"taker amount a max of {allowed_dp} decimals",
        )
    unit = 10 ** (6 - min(amount_dp, _COARSEST_DECIMALS))
    maker, taker = order.maker_amount, order.taker_amount
    if order.is_buy:
        # the exact ratio rules: shares rounded up imply a price below the tick, and a level at the tick is not met
        limit_e4 = maker * ONE_E4 // taker // tick_e4 * tick_e4
        exact = any(
            price > 0 and abs(maker * ONE_E4 - taker * price) < unit * price for price in (limit_e4, limit_e4 + tick_e4)
        )
        inside = tick_e4 <= limit_e4 <= ONE_E4 - tick_e4
        if not (exact and inside):
            raise _tick_error(order_id, maker, taker, True, tick_e4)
        return Terms(limit_e4, taker, maker)
    limit_e4 = -(-(taker * ONE_E4) // (maker * tick_e4)) * tick_e4
    exact = any(abs(maker * price - taker * ONE_E4) < unit * ONE_E4 for price in (limit_e4, limit_e4 - tick_e4))
    if not exact or not tick_e4 <= limit_e4 <= ONE_E4 - tick_e4:
        raise _tick_error(order_id, maker, taker, False, tick_e4)
    return Terms(limit_e4, maker, None)


def terms_of(request: OrderRequest, order_id: str, tick_e4: int, min_size_e6: int, *, flat: bool) -> Terms:
    """The limit and the quantity of an order, checked against tick, decimals and minimum size.

    ``flat`` allows a market order's computed amount four decimals at most whatever the tick, as live refusals of July
    2026 did (py-clob-client-v2 issue 99); without it the documented table applies.

    Raises:
        VenueError: 400 with the venue's text; nothing is rounded into place.
    """
    order = request.order
    if order.maker_amount <= 0 or order.taker_amount <= 0:
        raise VenueError(400, "invalid amounts, maker and taker amounts must be above zero")
    if request.order_type.rests:
        terms = _limit_terms(order, order_id, tick_e4)
    else:
        terms = _market_terms(order, order_id, tick_e4, flat)
    if terms.qty_e6 < min_size_e6:
        size, least = plain_text(terms.qty_e6, 6), plain_text(min_size_e6, 6)
        raise VenueError(400, f"order {order_id} is invalid. Size ({size}) lower than the minimum: {least}")
    if terms.cash_e6 is not None and terms.cash_e6 < _LEAST_TAKER_E6:
        dollars = plain_text(terms.cash_e6, 6)
        raise VenueError(400, f"invalid amount for a marketable BUY order (${dollars}), min size: $1")
    return terms
