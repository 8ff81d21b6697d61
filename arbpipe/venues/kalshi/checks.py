"""Is the account at Kalshi fit to trade with? Reads only; nothing is sent that changes anything.

The one thing here that no document settles is netting (kalshi.md 6): whether YES and NO of one market pair off. Our books
rest on it, so it is shown from the account's own history: where it bought both, its position must be one signed number, and
what is at stake no more than a dollar for each contract of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
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
from arbpipe.venues.kalshi.rest import ExchangeStatus, FillsPage, KalshiRest, Limits, NoAnswer, VenueRefused

__all__ = ["check_account", "netting_of"]

_READ_S: Final = 5.0
_PAGE: Final = 1_000
#: The venue accepts 5 s and refuses 30 s; its Date header is cut to whole seconds.
_SKEW_WARN_S: Final = 2.0
_SKEW_FAIL_S: Final = 5.0


class _Position(Struct, frozen=True):
    ticker: str
    position_fp: str
    market_exposure_dollars: str


class _Positions(Struct, frozen=True):
    market_positions: list[_Position] | None
    cursor: str | None = None


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


def netting_of(fills: Iterable[tuple[str, int]], positions: Mapping[str, tuple[int, int]]) -> Check:
    """Do YES and NO of one market pair off? ``fills``: ``(ticker, signed e6)``, as far back as the venue lists them;
    ``positions``: the unsettled ones, ``(signed e6, exposure in micro-dollars)``.

    Where both sides were bought, what is open can have cost no more than a dollar for each contract of the one signed number:
    a larger exposure is one of two sides that are both held.
    """
    name = "kalshi netting"
    bought: dict[str, list[int]] = defaultdict(list)
    for ticker, signed in fills:
        bought[ticker].append(signed)
    both = [ticker for ticker, each in bought.items() if min(each) < 0 < max(each) and ticker in positions]
    gross = [ticker for ticker in both if positions[ticker][1] > abs(positions[ticker][0])]
    if gross:
        held, exposure = positions[gross[0]]
        return Check(
            name,
            Verdict.FAILURE,
            f"{gross[0]} holds {held / 1e6:g} net and ${format_usd(exposure)} are at stake: YES and NO do not pair off",
            "do not trade live: cash and positions would be booked wrongly; ask the venue how this account nets",
        )
    unequal = [ticker for ticker in both if positions[ticker][0] != sum(bought[ticker])]
    if unequal:
        ticker = unequal[0]
        return Check(
            name,
            Verdict.WARNING,
            f"{ticker} holds {positions[ticker][0] / 1e6:g}, its listed fills add up to {sum(bought[ticker]) / 1e6:g}",
            "older fills may be in the archive; look at the market by hand before trading live",
        )
    if both:
        return Check(
            name, Verdict.OK, f"shown in {len(both)} markets: one signed position, the sum of its fills, paid once"
        )
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
        said = msgspec.json.decode(body, type=ExchangeStatus)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Check(name, Verdict.FAILURE, f"HTTP {status}, and not a status", "try again later")
    todo = "nothing trades there until it is on again; maintenance is Thursday 03:00-05:00 ET"
    if status != 200:
        return Check(name, Verdict.WARNING, f"HTTP {status}: the exchange is not well", todo)
    if not said.exchange_active or not said.trading_active:
        return Check(
            name, Verdict.WARNING, "trading is paused" if said.exchange_active else "the exchange is paused", todo
        )
    shards = said.exchange_index_statuses or ()
    paused = [str(each.exchange_index) for each in shards if not (each.exchange_active and each.trading_active)]
    if paused:
        return Check(name, Verdict.WARNING, f"shard {', '.join(paused)} is paused", todo)
    return Check(name, Verdict.OK, "exchange and trading are on")


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
    positions: dict[str, tuple[int, int]] = {}
    async for each in rest.pages("/portfolio/positions", _Positions, query, timeout_s=_READ_S):
        for position in each.market_positions or ():
            if position.ticker in positions:
                raise VenueRefused(f"{position.ticker} has two positions: YES and NO do not pair off")
            exposure_e6 = parse_money_e6(position.market_exposure_dollars)
            positions[position.ticker] = parse_qty_e6(position.position_fp), exposure_e6
    return netting_of([(fill.ticker, fill.delta_e6) for fill in fills], positions)


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
