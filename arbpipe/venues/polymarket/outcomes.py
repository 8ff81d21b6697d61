"""What an answer of the venue means for an order, as a table (polymarket.md 2.4, 2.7). Pure: status and bytes in.

The rule: only what the venue says in words that we know is certain. A refusal we know is REJECTED, a killed order is NONE;
everything else (time-out, 5xx, 425, ``delayed``, a text nobody has seen) is UNKNOWN and is looked up by its hash. Nothing
is ever sent again because of an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

import msgspec

from arbpipe.fixedpoint import FixedPointError, parse_qty_e6
from arbpipe.venues.base import OutcomeState

__all__ = [
    "Answer",
    "OrderStatus",
    "Rule",
    "RULES",
    "TradeStatus",
    "judge",
    "order_status",
    "read_answer",
    "trade_status",
]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: an answer with this HTTP status (``None``: any 200 or 4xx) and this text in it means ``state``."""

    status: int | None
    text: str
    state: OutcomeState


_REJECTED, _NONE, _UNKNOWN = OutcomeState.REJECTED, OutcomeState.NONE, OutcomeState.UNKNOWN

#: The first row that fits decides. Texts are compared without regard to case.
RULES: Final[tuple[Rule, ...]] = (
    # the request may have been worked on: nobody knows
    Rule(408, "", _UNKNOWN),
    Rule(425, "", _UNKNOWN),
    # killed: the venue's own word that nothing traded
    Rule(None, "order couldn't be fully filled", _NONE),
    Rule(None, "no orders found to match with fak order", _NONE),
    # the order is there already, from us: what became of the first one must be looked up
    Rule(None, "duplicated", _UNKNOWN),
    # accepted and not matched yet, or not said
    Rule(None, "order match delayed", _UNKNOWN),
    # refused before matching
    Rule(None, "not enough balance / allowance", _REJECTED),
    Rule(None, "invalid post-only order", _REJECTED),
    Rule(None, "breaks minimum tick size rule", _REJECTED),
    Rule(None, "lower than the minimum", _REJECTED),
    Rule(None, "min size: $", _REJECTED),
    Rule(None, "crosses the book", _REJECTED),
    Rule(None, "invalid expiration", _REJECTED),
    Rule(None, "invalid nonce", _REJECTED),
    Rule(None, "invalid amounts", _REJECTED),
    Rule(None, "invalid signature", _REJECTED),
    Rule(None, "invalid order payload", _REJECTED),
    Rule(None, "not yet ready to process new orders", _REJECTED),
    Rule(None, "the order owner has to be the owner of the api key", _REJECTED),
    Rule(None, "the order signer address has to be the address of the api key", _REJECTED),
    Rule(None, "maker address", _REJECTED),
    Rule(None, "address banned", _REJECTED),
    Rule(None, "in closed only mode", _REJECTED),
    Rule(None, "too many orders in payload", _REJECTED),
    Rule(None, "order_version_mismatch", _REJECTED),
    Rule(None, "invalid order version", _REJECTED),
    Rule(None, "no orderbook exists", _REJECTED),
    # never reached the matching
    Rule(401, "", _REJECTED),
    Rule(403, "", _REJECTED),
    Rule(404, "", _REJECTED),
    Rule(429, "", _REJECTED),
)


def judge(status: int, text: str) -> OutcomeState:
    """The state of an order whose request was answered with ``status`` and the error ``text``.

    5xx, a status that is no answer at all (0) and whatever the table does not know is UNKNOWN.
    """
    if not 200 <= status < 500:
        return _UNKNOWN
    lowered = text.lower()
    for rule in RULES:
        if rule.status is None:
            if rule.text in lowered and (status == 200 or status >= 400):
                return rule.state
        elif rule.status == status and rule.text in lowered:
            return rule.state
    return _UNKNOWN


@dataclass(frozen=True, slots=True)
class Answer:
    """What ``POST /order`` answered. ``state`` is ``None`` when it matched: then its trades say what happened.

    ``making_e6`` and ``taking_e6`` are what was given and got, ``None`` where the venue does not say.
    """

    state: OutcomeState | None
    reason: str = ""
    making_e6: int | None = None
    taking_e6: int | None = None
    trade_ids: tuple[str, ...] = ()


class _Posted(msgspec.Struct, frozen=True):
    success: bool | None = None
    error_msg: str = msgspec.field(name="errorMsg", default="")
    error: str = ""
    order_id: str = msgspec.field(name="orderID", default="")
    status: str = ""
    making: str = msgspec.field(name="makingAmount", default="")
    taking: str = msgspec.field(name="takingAmount", default="")
    trade_ids: list[str] | None = msgspec.field(name="tradeIDs", default=None)


_decode_posted: Final = msgspec.json.Decoder(_Posted).decode


def read_answer(status: int, body: bytes, order_hash: str) -> Answer:
    """Judge the answer to an order whose id must be ``order_hash``. ``status`` 0 means that no answer came."""
    if status == 0:
        return Answer(_UNKNOWN, f"no answer: {body.decode('utf-8', 'replace')}")
    try:
        posted = _decode_posted(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        text = body[:200].decode("utf-8", "replace")
        return Answer(judge(status, text) if status >= 400 else _UNKNOWN, f"HTTP {status}: {text}")
    error = posted.error or posted.error_msg
    if status != 200 or posted.success is not True or error or not posted.order_id:
        if posted.status.lower() == "delayed":
            # success:false with status delayed has been seen: the order is on its way all the same (F42)
            return Answer(_UNKNOWN, f"delayed: {error or 'no reason given'}")
        return Answer(judge(status, error), f"HTTP {status}: {error[:200] or 'no reason given'}")
    if posted.order_id.lower() != order_hash:
        return Answer(
            _UNKNOWN, f"the venue names the order {posted.order_id[:80]}, we {order_hash}: look at the signing"
        )
    if posted.status.lower() != "matched":
        # live, delayed, unmatched: accepted, and not final for an order that must not rest
        return Answer(_UNKNOWN, f"accepted as {posted.status[:40]!r}, not matched yet")
    return Answer(
        None, "", _amount(posted.making), _amount(posted.taking), tuple(dict.fromkeys(posted.trade_ids or ()))
    )


def _amount(text: str) -> int | None:
    try:
        return parse_qty_e6(text) if text else None
    except FixedPointError:
        return None


class OrderStatus(Enum):
    """The state of an order as ``GET /data/order/{id}`` shows it, as far as an order that never rests needs it."""

    PENDING = "pending"
    OVER = "over"
    DOUBTFUL = "doubtful"


#: ``DOUBTFUL``: a word that does not settle the question, or that nobody here knows.
_ORDER_STATES: Final = {
    "LIVE": OrderStatus.PENDING,
    "DELAYED": OrderStatus.PENDING,
    "MATCHED": OrderStatus.OVER,
    "CANCELED": OrderStatus.OVER,
    "CANCELED_MARKET_RESOLVED": OrderStatus.OVER,
    "INVALID": OrderStatus.OVER,
    "UNMATCHED": OrderStatus.DOUBTFUL,
}


def order_status(text: str) -> OrderStatus:
    """Read an order's state, with or without its prefix."""
    word = text.upper().removeprefix("ORDER_STATUS_")
    if word.startswith("CANCELED_"):
        return OrderStatus.OVER
    return _ORDER_STATES.get(word, OrderStatus.DOUBTFUL)


class TradeStatus(Enum):
    """The life of a trade: only CONFIRMED and FAILED are final (F43)."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    FAILED = "failed"


def trade_status(text: str) -> TradeStatus:
    """Read a trade's state, with or without its prefix; a word nobody knows is not final."""
    word = text.upper().removeprefix("TRADE_STATUS_")
    return {"CONFIRMED": TradeStatus.CONFIRMED, "FAILED": TradeStatus.FAILED}.get(word, TradeStatus.PENDING)
