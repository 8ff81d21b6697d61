"""Orders signed for the exchange contracts: EIP-712 by hand, because the hash must be known before anything is sent.

The hash of an order under its exchange's domain is the order's id (polymarket.md 2.1). Domain separators are computed
once; one order then costs two Keccak-256 and one signature. Deposit wallets (type 3) wrap their signature in another
one and are refused here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from coincurve import PrivateKey
from Crypto.Hash import keccak

from arbpipe.errors import EnvironmentRefused

__all__ = [
    "CHAIN_ID",
    "EXCHANGE",
    "EXCHANGE_V3",
    "NEG_RISK_EXCHANGE",
    "ZERO_BYTES32",
    "OrderFields",
    "OrderSigner",
    "SignedOrder",
    "checksum_address",
    "keccak256",
    "word",
]

CHAIN_ID: Final = 137
#: The contracts that settle (polymarket.md 1.2): version v1 markets, v1 neg-risk markets, version v2 markets.
EXCHANGE: Final = "0xE111180000d2663C0091e4f400237545B87B996B"
NEG_RISK_EXCHANGE: Final = "0xe2222d279d744050d28e00520010520000310F59"
EXCHANGE_V3: Final = "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa"
ZERO_BYTES32: Final = "0x" + "00" * 32

_SALT_LIMIT: Final = 1 << 53
_WORD_LIMIT: Final = 1 << 256
_ORDER_TYPE: Final = (
    "Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,uint256 takerAmount,"
    "uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,bytes32 builder)"
)
_DOMAIN_TYPE: Final = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_PROTOCOL: Final = "Polymarket CTF Exchange"


def keccak256(data: bytes) -> bytes:
    """Keccak-256 as Ethereum uses it (not SHA3-256)."""
    return keccak.new(digest_bits=256, data=data).digest()


def word(value: int) -> bytes:
    """An unsigned integer as 32 bytes, big-endian.

    Raises:
        OverflowError: negative, or of more than 256 bits.
    """
    return value.to_bytes(32, "big")


def checksum_address(address: str) -> str:
    """The address in the mixed case of EIP-55.

    Raises:
        EnvironmentRefused: it is not ``0x`` and 40 hexadecimal digits.
    """
    digits = address[2:].lower()
    if not address.startswith("0x") or len(digits) != 40 or set(digits) - set("0123456789abcdef"):
        raise EnvironmentRefused(f"{address[:60]!r} is no address: 0x and 40 hexadecimal digits expected")
    marks = keccak256(digits.encode()).hex()
    mixed = (digit.upper() if int(mark, 16) >= 8 else digit for digit, mark in zip(digits, marks, strict=False))
    return "0x" + "".join(mixed)


def _address_word(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def _separator(version: str, exchange: str) -> bytes:
    return keccak256(
        keccak256(_DOMAIN_TYPE.encode())
        + keccak256(_PROTOCOL.encode())
        + keccak256(version.encode())
        + word(CHAIN_ID)
        + _address_word(exchange)
    )


_ORDER_TYPE_HASH: Final = keccak256(_ORDER_TYPE.encode())
_SEPARATORS: Final = {
    ("v1", False): _separator("2", EXCHANGE),
    ("v1", True): _separator("2", NEG_RISK_EXCHANGE),
    # one contract settles every v2 market, neg-risk or not
    ("v2", False): _separator("3", EXCHANGE_V3),
    ("v2", True): _separator("3", EXCHANGE_V3),
}


@dataclass(frozen=True, slots=True)
class OrderFields:
    """What an order says, apart from who signs it.

    Amounts are integers of 1/1,000,000 dollar and share; a buy makes dollars and takes shares, a sell the reverse.
    ``salt`` has at most 53 bits (it travels as a JSON number); ``timestamp_ms`` is unix milliseconds.
    """

    salt: int
    token_id: int
    maker_amount: int
    taker_amount: int
    is_buy: bool
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """An order ready to be sent; ``hash`` is its id at the venue, known before it is sent."""

    fields: OrderFields
    hash: str
    signature: str
    maker: str
    signer: str
    signature_type: int


class OrderSigner:
    """Signs with one wallet's key. The key is nowhere shown: not by ``repr``, not in an exception, not in a log.

    ``funder`` holds the money and is the maker of orders. ``signature_type``: 0 the key's own account (then the funder
    is its address), 1 proxy, 2 Safe (polymarket.md 1.5).
    """

    __slots__ = ("_head", "_key", "_tail_type", "address", "funder", "signature_type")

    def __init__(self, private_key: bytes, *, funder: str, signature_type: int) -> None:
        """Prepare everything that is the same for all orders. An empty ``funder`` means the key's own address.

        Raises:
            EnvironmentRefused: the key is no secp256k1 key, the funder no address, or the type is not supported.
        """
        if signature_type == 3:
            raise EnvironmentRefused(
                "polymarket.signature_type = 3 (deposit wallet) is not supported: trade from an account of type 0, 1 or 2"
            )
        if signature_type not in (0, 1, 2):
            raise EnvironmentRefused(f"polymarket.signature_type = {signature_type!r}: 0, 1 or 2 expected")
        try:
            if len(private_key) != 32:
                raise ValueError
            self._key = PrivateKey(private_key)
        except (ValueError, TypeError):
            # from None: the library's own error would quote the key
            raise EnvironmentRefused(
                "the Polymarket private key is not a secp256k1 key: 32 bytes between 1 and the curve's order expected"
            ) from None
        public = self._key.public_key.format(compressed=False)[1:]
        self.address = checksum_address("0x" + keccak256(public)[12:].hex())
        self.funder = checksum_address(funder) if funder else self.address
        self.signature_type = signature_type
        if signature_type == 0 and self.funder != self.address:
            raise EnvironmentRefused(
                f"polymarket.funder = {self.funder} is not the address {self.address} of the private key: leave it empty "
                "for signature_type 0, or set signature_type to 1 (proxy) or 2 (Safe)"
            )
        if signature_type != 0 and self.funder == self.address:
            raise EnvironmentRefused(
                f"polymarket.signature_type = {signature_type} needs polymarket.funder, the address of the wallet that "
                f"holds the money; {self.address} is the private key's own"
            )
        self._head = _address_word(self.funder) + _address_word(self.address)
        self._tail_type = word(signature_type)

    def __repr__(self) -> str:
        return f"OrderSigner(address={self.address}, funder={self.funder}, signature_type={self.signature_type})"

    def __reduce__(self) -> str:
        raise TypeError("a signer is not copied or stored: it holds a private key")

    def sign_digest(self, digest: bytes) -> str:
        """The recoverable signature of a 32-byte digest: r, s (the lower one), then v of 27 or 28, in hexadecimal."""
        raw = self._key.sign_recoverable(digest, hasher=None)
        return "0x" + raw[:64].hex() + f"{27 + raw[64]:02x}"

    def hash(self, fields: OrderFields, *, neg_risk: bool, version: str) -> str:
        """The order's id, without signing.

        Raises:
            ValueError: ``version`` is neither ``v1`` nor ``v2``, or a field is out of range.
        """
        return "0x" + self._digest(fields, neg_risk, version).hex()

    def sign(self, fields: OrderFields, *, neg_risk: bool, version: str) -> SignedOrder:
        """Sign an order for the exchange of its market. ``version``: the market's, ``v1`` or ``v2``.

        Raises:
            ValueError: as :meth:`hash`.
        """
        digest = self._digest(fields, neg_risk, version)
        return SignedOrder(
            fields, "0x" + digest.hex(), self.sign_digest(digest), self.funder, self.address, self.signature_type
        )

    def _digest(self, fields: OrderFields, neg_risk: bool, version: str) -> bytes:
        separator = _SEPARATORS.get((version, neg_risk))
        if separator is None:
            raise ValueError(f"market version {version!r}: v1 or v2 expected; an unknown version is not traded")
        if not 0 <= fields.salt < _SALT_LIMIT:
            raise ValueError(f"salt {fields.salt} has more than 53 bits: it travels as a JSON number")
        if fields.maker_amount <= 0 or fields.taker_amount <= 0:
            raise ValueError(f"amounts {fields.maker_amount} for {fields.taker_amount}: both must be above zero")
        if not 0 < fields.token_id < _WORD_LIMIT or fields.timestamp_ms <= 0:
            raise ValueError(f"token {fields.token_id} at {fields.timestamp_ms} ms is out of range")
        struct = keccak256(
            _ORDER_TYPE_HASH
            + word(fields.salt)
            + self._head
            + word(fields.token_id)
            + word(fields.maker_amount)
            + word(fields.taker_amount)
            + word(0 if fields.is_buy else 1)
            + self._tail_type
            + word(fields.timestamp_ms)
            + bytes(64)  # metadata and builder: none
        )
        return keccak256(b"\x19\x01" + separator + struct)
