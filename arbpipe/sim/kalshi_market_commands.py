"""Commands about single markets of simulated Kalshi, and about fees: what :mod:`arbpipe.sim.kalshi_commands` offers of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from arbpipe.sim.kalshi_catalog import Json, NewMarket, rfc3339
from arbpipe.sim.kalshi_control import Command, ControlError, Kind, Param
from arbpipe.sim.kalshi_lifecycle import EVENTS
from arbpipe.sim.kalshi_parts import Parts
from arbpipe.sim.kalshi_quoting import Ladder
from arbpipe.sim.kalshi_ticks import STRUCTURES
from arbpipe.sim.market import E6_PER_E2

__all__ = ["MARKET_COMMANDS"]

_FAR_S: Final = 30 * 86_400.0

Args = dict[str, Any]


def _listed(parts: Parts, name: str, ticker: str) -> None:
    if ticker not in parts.catalog.markets:
        raise ControlError(f"{name}: {ticker} is not listed: GET /trade-api/v2/markets tells what is")


def _ladder(args: Args) -> Ladder:
    """The quotes of ``bids`` and ``asks``, both in YES prices."""
    if args["bids"] and args["asks"] and max(args["bids"]) >= min(args["asks"]):
        raise ControlError("bids and asks cross: asks are YES prices, and all of them must be above every bid")
    sides = ((True, args["bids"]), (False, args["asks"]))
    return {(side, price): size * E6_PER_E2 for side, levels in sides for price, size in levels.items()}


def _lifecycle(parts: Parts, args: Args) -> Json:
    ticker, event = args["ticker"], args["event"]
    _listed(parts, "lifecycle", ticker)
    wants = {
        "determined": ("result",),
        "amended": ("result",),
        "close_date_updated": ("close_in_s",),
        "price_level_structure_updated": ("structure",),
    }.get(event, ())
    missing = [name for name in wants if args[name] is None]
    if missing:
        raise ControlError(f"lifecycle: {event} needs {', '.join(missing)}")
    if args["result"] == "scalar" and args["value"] is None:
        raise ControlError("lifecycle: a scalar result needs value, dollars that one YES pays")
    # WrongMoment is a ValueError: the answer is its text
    parts.lifecycle.happen(ticker, event, {**args, "value_e4": args["value"]})
    return {"ticker": ticker, "status": parts.catalog.status(ticker)}


def _list_market(parts: Parts, args: Args) -> Json:
    ticker = args["ticker"]
    now_us = parts.catalog.now_us()
    new = NewMarket(
        ticker=ticker,
        event_ticker=args["event_ticker"] or ticker.rsplit("-", 1)[0],
        series_ticker=args["series_ticker"] or ticker.split("-", 1)[0],
        title=args["title"] or f"{ticker} happens",
        structure=args["structure"],
        exchange_index=args["exchange_index"],
        open_us=now_us + round(args["open_in_s"] * 1e6),
        close_us=now_us + round(args["close_in_s"] * 1e6),
        hidden_until_us=now_us + round((args["hidden_s"] or 0) * 1e6),
    )
    parts.limits.add_shard(new.exchange_index)
    parts.lifecycle.list_market(new, _ladder(args))
    return {"ticker": ticker, "event_ticker": new.event_ticker, "status": parts.catalog.status(ticker)}


def _quotes(parts: Parts, args: Args) -> Json:
    _listed(parts, "quotes", args["ticker"])
    parts.world.set_ladder(args["ticker"], _ladder(args))
    return {"ticker": args["ticker"]}


def _fee_override(parts: Parts, args: Args) -> Json:
    tickers = parts.catalog.tickers_of(args["event_ticker"])
    if not tickers:
        raise ControlError(
            f"fee_override: no event {args['event_ticker']}: GET /trade-api/v2/events tells which there are"
        )
    series = parts.catalog.markets[tickers[0]].series_ticker
    at_us = parts.catalog.now_us() + round(args["in_s"] * 1e6)
    change = parts.fees.schedule(series, args["event_ticker"], args["fee_type"], args["multiplier"], at_us)
    return {"id": change.id, "scheduled_ts": rfc3339(at_us)}


def _series_fee_change(parts: Parts, args: Args) -> Json:
    series = args["series_ticker"]
    if series not in parts.catalog.series_tickers():
        raise ControlError(f"series_fee_change: no series {series}: GET /trade-api/v2/series tells which there are")
    at_us = parts.catalog.now_us() + round(args["in_s"] * 1e6)
    if args["scheduled_ts"] is not None:
        at_us = args["scheduled_ts"] * 1_000_000
    change = parts.fees.schedule(series, "", args["fee_type"], args["multiplier"], at_us)
    return {"id": change.id, "scheduled_ts": rfc3339(at_us)}


def _fee_waiver(parts: Parts, args: Args) -> Json:
    _listed(parts, "fee_waiver", args["ticker"])
    until_us = parts.catalog.now_us() + round(args["seconds"] * 1e6)
    parts.lifecycle.waive(args["ticker"], until_us)
    return {"until": rfc3339(until_us)}


_TICKER: Final = Param(Kind.TEXT)
_TEXT: Final = Param(Kind.TEXT, None)
_SOON: Final = Param(Kind.SIGNED_SECONDS, 0.0)

MARKET_COMMANDS: Final[Mapping[str, Command]] = {
    "lifecycle": Command(
        "something happens to a market, and the lifecycle channel says so",
        {
            "ticker": _TICKER,
            "event": Param(Kind.TEXT, choices=tuple(EVENTS)),
            "result": Param(Kind.TEXT, None, ("yes", "no", "scalar")),
            "value": Param(Kind.E4, None),
            "timer_s": Param(Kind.SECONDS, None),
            "close_in_s": Param(Kind.SIGNED_SECONDS, None),
            "structure": Param(Kind.TEXT, None, tuple(STRUCTURES)),
            "strike_type": _TEXT,
            "floor_strike": Param(Kind.NUMBER, None),
            "cap_strike": Param(Kind.NUMBER, None),
            "yes_sub_title": _TEXT,
        },
        _lifecycle,
    ),
    "list_market": Command(
        "a market appears, with a book; its event and series too when they are new",
        {
            "ticker": _TICKER,
            "event_ticker": _TEXT,
            "series_ticker": _TEXT,
            "title": _TEXT,
            "structure": Param(Kind.TEXT, "linear_cent", tuple(STRUCTURES)),
            "exchange_index": Param(Kind.INDEX, 0),
            "open_in_s": _SOON,
            "close_in_s": Param(Kind.SIGNED_SECONDS, _FAR_S),
            "hidden_s": Param(Kind.SECONDS, None),
            "bids": Param(Kind.LEVELS, {}),
            "asks": Param(Kind.LEVELS, {}),
        },
        _list_market,
    ),
    "quotes": Command(
        "the market maker's book becomes this and stays so, until it is cleared",
        {"ticker": _TICKER, "bids": Param(Kind.LEVELS, {}), "asks": Param(Kind.LEVELS, {})},
        _quotes,
        lambda parts: parts.world.release(),
    ),
    "fee_override": Command(
        "an event's fees change; what is left out is as the series",
        {"event_ticker": _TICKER, "fee_type": _TEXT, "multiplier": Param(Kind.E2, None), "in_s": _SOON},
        _fee_override,
    ),
    "series_fee_change": Command(
        "a series' fees change, at once or when the time comes (Unix seconds)",
        {
            "series_ticker": _TICKER,
            "fee_type": Param(Kind.TEXT),
            "multiplier": Param(Kind.E2),
            "in_s": _SOON,
            "scheduled_ts": Param(Kind.COUNT, None),
        },
        _series_fee_change,
    ),
    "fee_waiver": Command(
        "a market's fills cost nothing for so long", {"ticker": _TICKER, "seconds": Param(Kind.SECONDS)}, _fee_waiver
    ),
}
