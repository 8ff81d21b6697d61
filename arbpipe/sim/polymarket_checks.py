"""What an order must satisfy before the book or the money is looked at: its signature and its time. Pure."""

from __future__ import annotations

from typing import Final

from arbpipe.sim.listing import PolymarketListing
from arbpipe.sim.polymarket_account import Wallet
from arbpipe.sim.polymarket_auth import VenueError
from arbpipe.sim.polymarket_orders import (
    EXCHANGE,
    EXCHANGE_V3,
    NEG_RISK_EXCHANGE,
    OrderRequest,
    OrderType,
    SignedOrder,
    exchange_of,
    order_hash,
    verify_signature,
)

__all__ = ["GTD_EARLY_S", "GTD_LEAST_S", "NO_MONEY", "check_expiration", "verified_id"]

#: A GTD order lives at least this long when it arrives, and ends this long before its time (polymarket.md 2.3).
GTD_LEAST_S: Final = 180
GTD_EARLY_S: Final = 60
NO_MONEY: Final = "not enough balance / allowance"
_DOMAINS: Final = ((EXCHANGE, "2"), (NEG_RISK_EXCHANGE, "2"), (EXCHANGE_V3, "3"))


def verified_id(order: SignedOrder, listing: PolymarketListing, wallet: Wallet) -> str:
    """The order's id, when it is signed for the exchange that settles this market.

    Raises:
        VenueError: 400; an order signed for the exchange of the other protocol version is told
            ``order_version_mismatch``, every other wrong signature ``invalid signature``; one whose maker is not the
            wallet's funder has no money behind it.
    """
    exchange = exchange_of(listing)
    try:
        verify_signature(order, exchange, wallet.signer, wallet.funder)
    except VenueError as error:
        others = [domain for domain in _DOMAINS if domain[1] != exchange[1]]
        if error.message == "invalid signature" and any(_signed_for(order, each, wallet) for each in others):
            raise VenueError(400, "order_version_mismatch") from error
        raise
    if order.maker != wallet.funder:
        # rightly signed, but this address of the customer holds nothing
        raise VenueError(400, NO_MONEY)
    if order.signature_type != wallet.signature_type:
        raise VenueError(400, "invalid signature")
    return order_hash(order, exchange)


def _signed_for(order: SignedOrder, exchange: tuple[str, str], wallet: Wallet) -> bool:
    try:
        verify_signature(order, exchange, wallet.signer, wallet.funder)
    except VenueError:
        return False
    return True


def check_expiration(request: OrderRequest, now_ms: int) -> None:
    """Only a GTD order has an expiration, and it lies far enough ahead.

    Raises:
        VenueError: 400 ``invalid expiration``.
    """
    expiration = request.order.expiration
    if request.order_type is OrderType.GTD:
        valid = expiration >= now_ms // 1_000 + GTD_LEAST_S
    else:
        valid = expiration == 0
    if not valid:
        raise VenueError(400, "invalid expiration")
