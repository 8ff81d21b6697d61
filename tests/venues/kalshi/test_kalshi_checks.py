"""Is the account fit to trade with? Reads only."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from kalshi_venue import TICKER, ScriptedKalshi, fill, listed, signer

from arbpipe.checks import Check, Verdict
from arbpipe.clock import wall_ns
from arbpipe.venues.kalshi.auth import wall_ms
from arbpipe.venues.kalshi.checks import check_account, netting_of
from arbpipe.venues.kalshi.rest import KalshiRest


def found(venue: ScriptedKalshi, *, off_s: float = 0.0) -> dict[str, Check]:
    """Every check by name, of a machine whose clock is ``off_s`` off."""

    async def main() -> list[Check]:
        async with venue.serving() as base:
            rest = KalshiRest(base, signer(), None, now_ms=wall_ms)
            await rest.start()
            try:
                return await check_account(rest, signer(), "ap-", lambda: wall_ns() / 1e9 + off_s)
            finally:
                await rest.stop()

    checks = {each.name.removeprefix("kalshi "): each for each in asyncio.run(main())}
    assert all(method == "GET" for method, _, _, _ in venue.requests)
    return checks


def position(count: str, exposure: str = "1.5000") -> dict[str, str]:
    return {"ticker": TICKER, "position_fp": count, "market_exposure_dollars": exposure}


def account() -> ScriptedKalshi:
    venue = ScriptedKalshi()
    venue.netting = {"netting_configs": [{"subaccount_number": 0, "enabled": True, "exchange_index": 0}]}
    return venue


def test_a_fit_account_is_ok_in_every_line() -> None:
    venue = account()
    venue.fills = [fill("o1", "a", "5.00"), fill("o2", "b", "2.00", book_side="ask")]
    venue.positions = [position("3.00")]
    venue.balance = {"balance_dollars": "98.0186", "balance_breakdown": [{"exchange_index": 0, "balance": "98.0186"}]}
    checks = found(venue)
    assert [each.name for each in checks.values() if each.verdict is not Verdict.OK] == []
    assert list(checks) == ["reach", "status", "clock", "key", "balance", "netting", "collateral", "orders"]
    assert checks["key"].says == "ed25519, accepted; 10 orders and 1200 reads a second"
    assert checks["netting"].says == "shown in 1 markets: one signed position, the sum of its fills, paid once"


def test_a_venue_that_is_not_there_is_one_failure() -> None:
    async def main() -> list[Check]:
        rest = KalshiRest("http://127.0.0.1:1/trade-api/v2", signer(), None, now_ms=wall_ms)
        await rest.start()
        try:
            return await check_account(rest, signer(), "ap-", lambda: 0.0)
        finally:
            await rest.stop()

    (only,) = asyncio.run(main())
    assert (only.name, only.verdict) == ("kalshi reach", Verdict.FAILURE)


@pytest.mark.parametrize(
    ("off_s", "verdict"), [(0, Verdict.OK), (3.5, Verdict.WARNING), (-3.5, Verdict.WARNING), (60, Verdict.FAILURE)]
)
def test_a_clock_that_is_off_is_told_before_orders_are_refused_for_it(off_s: float, verdict: Verdict) -> None:
    assert found(account(), off_s=off_s)["clock"].verdict is verdict


def test_a_key_that_is_refused_ends_the_checks_that_need_one() -> None:
    venue = account()

    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"code": "authentication_error", "details": "NOT_FOUND"}}, status=401)

    venue.override["/account/limits"] = refuse
    checks = found(venue)
    assert list(checks) == ["reach", "status", "clock", "key"]
    assert checks["key"].verdict is Verdict.FAILURE
    assert "401" in checks["key"].says


def test_a_shard_without_cash_is_a_warning() -> None:
    venue = account()
    shards = [{"exchange_index": 0, "balance": "90.00"}, {"exchange_index": 3, "balance": "0.00"}]
    venue.balance = {"balance_dollars": "90.00", "balance_breakdown": shards}
    check = found(venue)["balance"]
    assert check.verdict is Verdict.WARNING
    assert "shard 3 is empty" in check.says


def test_orders_of_ours_that_rest_are_told_and_those_of_others_are_left_alone() -> None:
    venue = account()
    venue.orders = [listed("ap-1-0-0", "resting", "0.00"), listed("mm-7", "resting", "0.00", "o2")]
    check = found(venue)["orders"]
    assert check.verdict is Verdict.WARNING
    assert "1 of ours rest" in check.says
    venue.orders = venue.orders[1:]
    assert found(venue)["orders"] == Check(
        "kalshi orders", Verdict.OK, "none of ours; 1 of others rest and are left alone"
    )


def test_a_read_that_fails_is_its_own_failure_and_no_other() -> None:
    venue = account()
    venue.balance = {"balance": 5}
    checks = found(venue)
    assert checks["balance"].verdict is Verdict.FAILURE
    assert checks["orders"].verdict is Verdict.OK


# --- netting ----------------------------------------------------------------------------------------------------------


def test_netting_that_is_not_so_is_a_failure_and_what_cannot_be_shown_is_a_warning() -> None:
    fills = [("A", 5_000_000), ("A", -2_000_000)]
    assert netting_of(fills, {"A": (3_000_000, 3_000_000)}).verdict is Verdict.OK
    gross = netting_of(fills, {"A": (3_000_000, 3_900_000)})  # five at 0.54 and two at 0.60, all of them held
    assert gross.verdict is Verdict.FAILURE
    assert "do not pair off" in gross.says
    archived = netting_of(fills, {"A": (4_000_000, 2_000_000)})
    assert archived.verdict is Verdict.WARNING
    assert "its listed fills add up to 3" in archived.says
    for nothing in (netting_of(fills[:1], {"A": (5_000_000, 1)}), netting_of(fills, {})):
        assert nothing.verdict is Verdict.WARNING
        assert "not shown" in nothing.says


def test_two_positions_in_one_market_are_no_netting() -> None:
    venue = account()
    venue.positions = [position("3.00"), position("-2.00")]
    check = found(venue)["netting"]
    assert check.verdict is Verdict.FAILURE
    assert "two positions" in check.says


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"exchange_active": True, "trading_active": False}, "trading is paused"),
        ({"exchange_active": False, "trading_active": False}, "the exchange is paused"),
        (
            {
                "exchange_active": True,
                "trading_active": True,
                "exchange_index_statuses": [{"exchange_index": 3, "exchange_active": True, "trading_active": False}],
            },
            "shard 3 is paused",
        ),
    ],
)
def test_a_pause_of_anything_is_a_warning(status: dict[str, object], says: str) -> None:
    venue = account()

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response(status)

    venue.override["/exchange/status"] = answer
    check = found(venue)["status"]
    assert (check.verdict, check.says) == (Verdict.WARNING, says)


def test_a_venue_that_fails_is_not_well_whatever_it_says_of_itself() -> None:
    venue = account()
    venue.status = 500
    assert found(venue)["status"].verdict is Verdict.WARNING
