"""Signing one order with eth-account, from the documented struct."""

from __future__ import annotations

from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from polymarket_harness import ORDER_TYPES

from arbpipe.sim.polymarket_orders import SignedOrder

__all__ = ["sign"]


def sign(who: LocalAccount, order: SignedOrder, exchange: tuple[str, str]) -> str:
    """The signature of an order for an exchange contract and its domain version."""
    domain = {
        "name": "Polymarket CTF Exchange",
        "version": exchange[1],
        "chainId": 137,
        "verifyingContract": exchange[0],
    }
    struct = {
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
    signed = who.sign_message(encode_typed_data(domain, ORDER_TYPES, struct))
    return "0x" + str(signed.signature.hex())
