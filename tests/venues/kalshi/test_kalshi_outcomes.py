"""Every row of the outcome table, and what was recorded reads as what it shows."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from arbpipe.venues.base import OutcomeState
from arbpipe.venues.kalshi.outcomes import BY_CODE, BY_STATUS, ErrorBody, read_error, refusal


def body(code: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": code.replace("_", " ")}}).encode()


@pytest.mark.parametrize(("row", "state"), BY_CODE.items(), ids=lambda each: str(each))
def test_every_row_of_the_table_is_read_back(row: tuple[int, str], state: OutcomeState) -> None:
    status, code = row
    assert refusal(status, body(code)) == (state, ErrorBody(code, code.replace("_", " "), ""))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 429])
def test_an_unknown_code_on_a_refusing_status_is_rejected(status: int) -> None:
    assert refusal(status, body("brand_new_code"))[0] is OutcomeState.REJECTED


@pytest.mark.parametrize("status", [100, 202, 204, 301, 307, 402, 408, 418, 425, 500, 502, 503, 504, 520, 599])
def test_every_other_status_leaves_the_outcome_unknown_whatever_its_code(status: int) -> None:
    for code in ("insufficient_balance", "fill_or_kill_insufficient_resting_volume", "new"):
        assert refusal(status, body(code))[0] is OutcomeState.UNKNOWN
    assert BY_STATUS.get(status) in (None, OutcomeState.UNKNOWN)


def test_f50_a_killed_fill_or_kill_filled_nothing_and_is_no_network_error() -> None:
    killed = body("fill_or_kill_insufficient_resting_volume")
    assert refusal(409, killed)[0] is OutcomeState.NONE

    def mistaken(status: int) -> OutcomeState:  # the mistake: only the status is looked at
        return OutcomeState.FILLED if status < 300 else OutcomeState.UNKNOWN if status == 409 else OutcomeState.REJECTED

    assert mistaken(409) is not refusal(409, killed)[0]
    # and a 404 is a refusal of a new order only: of a cancel it proves nothing, so nothing here cancels
    assert refusal(404, body("not_found"))[0] is OutcomeState.REJECTED


def test_f41_an_id_that_exists_is_never_a_rejection() -> None:
    for status in (400, 409):
        assert refusal(status, body("order_already_exists"))[0] is OutcomeState.UNKNOWN
    assert refusal(409, b"<html>conflict</html>")[0] is OutcomeState.UNKNOWN  # it may have been that one
    # the mistake: a conflict means refused, so the order is sent again under a new id
    mistaken = OutcomeState.REJECTED if BY_STATUS[409] is OutcomeState.REJECTED else OutcomeState.UNKNOWN
    assert mistaken is not refusal(409, body("order_already_exists"))[0]


def test_f70_a_pause_is_a_refusal_that_nobody_repeats() -> None:
    for code in ("trading_is_paused", "exchange_is_paused", "MARKET_INACTIVE"):
        assert refusal(409, body(code))[0] is OutcomeState.REJECTED
    assert refusal(503, body("exchange_is_paused"))[0] is OutcomeState.UNKNOWN  # a 5xx stays a 5xx

    def mistaken(status: int) -> bool:  # the mistake: what is no plain 4xx is tried again, for two hours each Thursday
        return status in (408, 409, 425, 429) or status >= 500

    assert mistaken(409) is refusal(409, body("trading_is_paused"))[0].settled


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (b'{"error":{"code":"a","message":"b","details":"c","service":"x"}}', ("a", "b", "c")),
        (
            b'{"code":"bad_request","message":"bad request","details":"json: no"}',
            ("bad_request", "bad request", "json: no"),
        ),
        (b'{"error":"too many requests"}', ("too many requests", "", "")),
        (b'{"msg":"Parameter validation failed"}', ("", "Parameter validation failed", "")),
        (b"", ("", "", "")),
        (b"<html>", ("", "", "")),
        (b"[1]", ("", "", "")),
        (b'{"error":{"code":7}}', ("", "", "")),
        (b"[" * 100_000, ("", "", "")),
        (b"\xff", ("", "", "")),
    ],
)
def test_every_shape_of_an_error_body_is_read_and_none_raises(raw: bytes, read: tuple[str, str, str]) -> None:
    assert tuple(read_error(raw)) == read


def test_an_error_in_a_message_is_short_and_says_nothing_twice() -> None:
    assert str(ErrorBody("same", "same", "")) == "same"
    assert str(ErrorBody("", "", "")) == "no code"
    assert len(str(ErrorBody("c", "m" * 10_000, ""))) == 160


RECORDED = {
    "orders__duplicate_client_order_id": (OutcomeState.UNKNOWN, "order_already_exists"),
    "orders__reuse_canceled_client_id": (OutcomeState.UNKNOWN, "order_already_exists"),
    "orders__insufficient_balance": (OutcomeState.REJECTED, "insufficient_balance"),
    "orders__invalid_price_structure": (OutcomeState.REJECTED, "invalid_price"),
    "orders__numeric_field_types": (OutcomeState.REJECTED, "bad_request"),
    "orders__post_only_cross": (OutcomeState.REJECTED, "invalid_order"),
    "orders__cancel_executed": (OutcomeState.REJECTED, "not_found"),
    "auth__bad_signature": (OutcomeState.REJECTED, "authentication_error"),
    "auth__unknown_key_id": (OutcomeState.REJECTED, "authentication_error"),
    "auth__skew_minus30s": (OutcomeState.REJECTED, "header_timestamp_expired"),
    "auth__missing_signature_header": (OutcomeState.REJECTED, "signature_is_missing_from_headers"),
    "markets__limit_over_max": (OutcomeState.REJECTED, ""),
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_refusal_is_the_outcome_it_shows(recordings: Path, name: str) -> None:
    folder = recordings / "kalshi" / "rest_demo_2026-06-11"
    status = msgspec.json.decode((folder / f"{name}.meta.json").read_bytes())["status"]
    state, error = refusal(status, (folder / f"{name}.json").read_bytes())
    assert (state, error.code) == RECORDED[name]
    assert error.message
