"""What an answer to a new order means: the outcome tables of kalshi.md 3.4 and 3.6, as tables.

The rule: 400, 401, 403, 404, 409, 410 and 429 are refusals, whatever code comes with them; 408, every 5xx, a time-out and
a dropped connection leave the outcome unknown; what no table names is unknown too. Three codes say more than their status:
a killed fill-or-kill filled nothing (F50), and a client id that exists says that *some* order is there, not what became of
it (F40, F41).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

from arbpipe.venues.base import OutcomeState

__all__ = ["ALREADY_EXISTS", "BY_CODE", "BY_STATUS", "INACTIVE", "ErrorBody", "entry_refusal", "read_error", "refusal"]

ALREADY_EXISTS: Final = "order_already_exists"
INACTIVE: Final = "MARKET_INACTIVE"

#: (HTTP status, error code) → outcome. Codes are case-sensitive. Every row was recorded or is documented.
BY_CODE: Final[Mapping[tuple[int, str], OutcomeState]] = MappingProxyType(
    {
        (409, "fill_or_kill_insufficient_resting_volume"): OutcomeState.NONE,
        (409, ALREADY_EXISTS): OutcomeState.UNKNOWN,
        (400, ALREADY_EXISTS): OutcomeState.UNKNOWN,
        (400, "insufficient_balance"): OutcomeState.REJECTED,
        (400, "invalid_price"): OutcomeState.REJECTED,
        (400, "invalid_order"): OutcomeState.REJECTED,
        (400, "missing_parameters"): OutcomeState.REJECTED,
        (400, "bad_request"): OutcomeState.REJECTED,
        (400, INACTIVE): OutcomeState.REJECTED,
        (409, INACTIVE): OutcomeState.REJECTED,
        (409, "trading_is_paused"): OutcomeState.REJECTED,
        (409, "exchange_is_paused"): OutcomeState.REJECTED,
        (401, "authentication_error"): OutcomeState.REJECTED,
        (401, "header_timestamp_expired"): OutcomeState.REJECTED,
        (401, "signature_is_missing_from_headers"): OutcomeState.REJECTED,
        (404, "not_found"): OutcomeState.REJECTED,
        (410, "deprecated_v1_order_endpoint"): OutcomeState.REJECTED,
        (429, "too many requests"): OutcomeState.REJECTED,
    }
)

#: Any other code on these is a refusal; every status that is not here leaves the outcome unknown.
BY_STATUS: Final[Mapping[int, OutcomeState]] = MappingProxyType(
    dict.fromkeys((400, 401, 403, 404, 409, 410, 429), OutcomeState.REJECTED)
    | dict.fromkeys((408, 425, 500, 502, 503, 504), OutcomeState.UNKNOWN)
)

_MAX_TEXT: Final = 160


class ErrorBody(NamedTuple):
    """What an error body says; ``code`` is empty where it names none."""

    code: str
    message: str
    details: str

    def __str__(self) -> str:
        parts = dict.fromkeys(part for part in self if part)  # a message often repeats the code
        text = ": ".join(parts) or "no code"
        return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def read_error(body: bytes) -> ErrorBody:
    """Read any of the four shapes (kalshi.md 3.6); never raises, an unreadable body has no code.

    ``{"error": {"code", "message", "details"}}``, the same without ``error`` around it, ``{"error": "text"}`` (429: the
    text is the code), and ``{"msg": "text"}`` (a refused query, no code).
    """
    try:
        data = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ErrorBody("", "", "")
    if not isinstance(data, dict):
        return ErrorBody("", "", "")
    error = data.get("error")
    if isinstance(error, dict):
        return _fields(error)
    if isinstance(error, str):
        return ErrorBody(error, "", "")
    return _fields(data)


def _fields(data: dict[str, Any]) -> ErrorBody:
    code, message, details = (data.get(name) for name in ("code", "message", "details"))
    message = message or data.get("msg")
    return ErrorBody(*(part if isinstance(part, str) else "" for part in (code, message, details)))


def refusal(status: int, body: bytes) -> tuple[OutcomeState, ErrorBody]:
    """What an answer other than 200 and 201 means for the order, and what the venue said.

    A 409 whose body names no code is UNKNOWN: it may be the one that says the order exists.
    """
    error = read_error(body)
    state = BY_CODE.get((status, error.code))
    if state is None:
        state = BY_STATUS.get(status, OutcomeState.UNKNOWN)
        if status == 409 and not error.code:
            state = OutcomeState.UNKNOWN
    return state, error


def entry_refusal(code: str) -> OutcomeState:
    """What an error inside a batch's answer means for its order. There is no status to go by, so a code that no table names
    may as well be a failure of the venue's own: UNKNOWN."""
    return next((state for (_, known), state in BY_CODE.items() if known == code), OutcomeState.UNKNOWN)
