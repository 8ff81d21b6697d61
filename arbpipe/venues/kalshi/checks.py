"""Is the account at Kalshi fit to trade with? Reads only; nothing is sent that changes anything.

The one thing here that no document settles is netting (kalshi.md 6): whether YES and NO of one market pair off. Our books
rest on it, so it is shown from the account's own history: where it bought both, its position must be one signed number, the
sum of its fills.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec
from msgspec import Struct

from arbpipe.checks import Check, Verdict
from arbpipe.errors import ArbpipeError
from arbpipe.fixedpoint import FixedPointError, format_usd, parse_money_e6, parse_qty_e6
from arbpipe.venues.kalshi.account import read_fill
from arbpipe.venues.kalshi.auth import KalshiSigner
from arbpipe.venues.kalshi.outcomes import refusal
from arbpipe.venues.kalshi.rest import FillsPage, KalshiRest, Limits, NoAnswer, PositionsPage, VenueRefused

__all__ = ["check_account", "netting_of"]

_READ_S: Final = 5.0
_PAGE: Final = 1_000
#: The venue accepts 5 s and refuses 30 s; its Date header is cut to whole seconds.
_SKEW_WARN_S: Final = 2.0
_SKEW_FAIL_S: Final = 5.0


class _Status(Struct, frozen=True):
    exchange_active: bool
    trading_active: bool


class _ShardBalance(Struct, frozen=True):
    exchange_index: int
    balance: str


class _Balance(Struct, frozen=True):
    balance_dollars: str
    balance_breakdown: list[_ShardBalance] | None = None


class _Order(Struct, frozen=True):
    order_id: str
    ticker: str
    client_order_id: str = ""


class _Orders(Struct, frozen=True):
    orders: list[_Order] | None


class _NettingOf(Struct, frozen=True):
    subaccount_number: int
    enabled: bool
    exchange_index: int


class _Netting(Struct, frozen=True):
    netting_configs: list[_NettingOf] | None


def netting_of(fills: Iterable[tuple[str, int]], positions: dict[str, int], *, complete: bool) -> Check:
    """Do YES and NO of one market pair off? ``fills``: ``(ticker, signed e6)``; ``positions``: the unsettled ones, signed.

    ``complete``: the fills go back to the beginning, so that a sum that differs is no missing page.
    """
    name = "kalshi netting"
    bought: dict[str, list[int]] = defaultdict(list)
    for ticker, signed in fills:
        bought[ticker].append(signed)
    both = {ticker: sum(each) for ticker, each in bought.items() if min(each) < 0 < max(each) and ticker in positions}
    wrong = [ticker for ticker, total in both.items() if positions[ticker] != total]
    if wrong and complete:
        ticker = wrong[0]
        return Check(
            name,
            Verdict.FAILURE,
            f"{ticker} holds {positions[ticker] / 1e6:g}, its fills add up to {both[ticker] / 1e6:g}: "
            "YES and NO do not pair off",
            "do not trade live: cash and positions would be booked wrongly; ask the venue how this account nets",
        )
    shown = len(both) - len(wrong)
    if shown:
        return Check(name, Verdict.OK, f"shown in {shown} markets: one signed position, the sum of all fills")
    return Check(
        name,
        Verdict.WARNING,
        "not shown: this account holds no unsettled market in which it bought both sides",
        "buy one contract of each side of one market (in the venue's demo first) and look again",
    )


async def check_account(rest: KalshiRest, signer: KalshiSigner, prefix: str, now_s: Callable[[], float]) -> list[Check]:
    """Every check, in the order in which a person should read them. ``rest`` is started; ``prefix``: of our order ids;
    ``now_s``: wall clock. Never raises for what the venue does."""
    found: list[Check] = []
    try:
        began = now_s()
        answer = await rest.ask("GET", "/exchange/status", timeout_s=_READ_S)
        ended = now_s()
    except NoAnswer as error:
        return [Check("kalshi reach", Verdict.FAILURE, str(error), "check the network, and kalshi.rest")]
    found.append(Check("kalshi reach", Verdict.OK, f"answered in {1000 * (ended - began):.0f} ms"))
    found.append(_status(answer.status, answer.body))
    found.append(_skew(answer.date, (began + ended) / 2))
    key = await _key(rest, signer)
    found.append(key)
    if key.verdict is Verdict.FAILURE:
        return found
    for check in (_balance, _netting, _netting_setting):
        try:
            found.append(await check(rest))
        except (ArbpipeError, FixedPointError) as error:
            found.append(Check(f"kalshi {check.__name__.strip('_')}", Verdict.FAILURE, str(error), "try again later"))
    try:
        found.append(await _left_over(rest, prefix))
    except ArbpipeError as error:
        found.append(Check("kalshi orders", Verdict.FAILURE, str(error), "try again later"))
    return found


def _status(status: int, body: bytes) -> Check:
    name = "kalshi status"
    try:
        said = msgspec.json.decode(body, type=_Status)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Check(name, Verdict.FAILURE, f"HTTP {status}, and not a status", "try again later")
    if said.exchange_active and said.trading_active:
        return Check(name, Verdict.OK, "exchange and trading are on")
    paused = "trading is paused" if said.exchange_active else "the exchange is paused"
    return Check(
        name, Verdict.WARNING, paused, "nothing trades until it is on again; maintenance is Thursday 03:00-05:00 ET"
    )


def _skew(date: str, at_s: float) -> Check:
    name = "kalshi clock"
    try:
        # the header is cut to the second: the middle of that second is the best guess
        skew = at_s - (parsedate_to_datetime(date).timestamp() + 0.5)
    except (ValueError, TypeError):
        return Check(name, Verdict.WARNING, f"the venue says no time ({date[:40]!r})", "")
    text = f"{skew:+.1f} s against the venue, to half a second"
    if abs(skew) > _SKEW_FAIL_S:
        return Check(
            name, Verdict.FAILURE, text, "orders will be refused: synchronise this machine's clock (chrony, NTP)"
        )
    if abs(skew) > _SKEW_WARN_S:
        return Check(name, Verdict.WARNING, text, "synchronise this machine's clock (chrony, NTP)")
    return Check(name, Verdict.OK, text)


async def _key(rest: KalshiRest, signer: KalshiSigner) -> Check:
    name = "kalshi key"
    try:
        answer = await rest.ask("GET", "/account/limits", timeout_s=_READ_S)
    except NoAnswer as error:
        return Check(name, Verdict.FAILURE, str(error), "check the network")
    if answer.status != 200:
        _, said = refusal(answer.status, answer.body)
        return Check(
            name,
            Verdict.FAILURE,
            f"refused with {answer.status} ({said})",
            "check kalshi.key_id, the key file and the clock",
        )
    try:
        limits = msgspec.json.decode(answer.body, type=Limits)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Check(name, Verdict.FAILURE, f"its limits cannot be read: {error}", "")
    orders, reads = limits.write.refill_rate // 10, limits.read.refill_rate // 10
    return Check(name, Verdict.OK, f"{signer.algorithm}, accepted; {orders} orders and {reads} reads a second")


async def _balance(rest: KalshiRest) -> Check:
    said = await rest.read("/portfolio/balance", _Balance, timeout_s=_READ_S)
    shards = {each.exchange_index: parse_money_e6(each.balance) for each in said.balance_breakdown or ()}
    total = parse_money_e6(said.balance_dollars)
    text = f"${format_usd(total)}"
    if shards:
        text += " (" + ", ".join(f"shard {index}: ${format_usd(cash)}" for index, cash in sorted(shards.items())) + ")"
    if total <= 0:
        return Check("kalshi balance", Verdict.WARNING, text, "nothing can be bought: deposit")
    empty = [str(index) for index, cash in sorted(shards.items()) if cash <= 0]
    if empty:
        todo = "orders for markets of these shards will be refused: move cash there"
        return Check("kalshi balance", Verdict.WARNING, f"{text}; shard {', '.join(empty)} is empty", todo)
    return Check("kalshi balance", Verdict.OK, text)


async def _netting(rest: KalshiRest) -> Check:
    page = await rest.read("/portfolio/fills", FillsPage, {"limit": _PAGE, "subaccount": 0}, timeout_s=_READ_S)
    fills = [read_fill(each) for each in page.fills or ()]
    query: dict[str, str | int] = {"count_filter": "position,total_traded", "subaccount": 0}
    positions: dict[str, int] = {}
    async for each in rest.pages("/portfolio/positions", PositionsPage, query, timeout_s=_READ_S):
        for position in each.market_positions or ():
            if position.ticker in positions:
                raise VenueRefused(f"{position.ticker} has two positions: YES and NO do not pair off")
            positions[position.ticker] = parse_qty_e6(position.position_fp)
    return netting_of([(fill.ticker, fill.delta_e6) for fill in fills], positions, complete=not page.cursor)


async def _netting_setting(rest: KalshiRest) -> Check:
    name = "kalshi collateral"
    said = await rest.read("/portfolio/subaccounts/netting", _Netting, timeout_s=_READ_S)
    on = sorted(
        each.exchange_index for each in said.netting_configs or () if each.enabled and not each.subaccount_number
    )
    if on:
        return Check(name, Verdict.OK, f"collateral is returned within events on shards {', '.join(map(str, on))}")
    return Check(name, Verdict.OK, "collateral return within events is off: each position is paid in full")


async def _left_over(rest: KalshiRest, prefix: str) -> Check:
    name = "kalshi orders"
    page = await rest.read("/portfolio/orders", _Orders, {"status": "resting", "limit": _PAGE}, timeout_s=_READ_S)
    resting = page.orders or []
    ours = [each for each in resting if each.client_order_id.startswith(prefix)]
    if ours:
        text = f"{len(ours)} of ours rest, {ours[0].ticker} first; {len(resting) - len(ours)} of others"
        return Check(
            name, Verdict.WARNING, text, "no order of ours should rest: start and let it recover, or cancel them by id"
        )
    if resting:
        return Check(name, Verdict.OK, f"none of ours; {len(resting)} of others rest and are left alone")
    return Check(name, Verdict.OK, "none rest")
