"""How ``arbpipe listings`` shows a listing, one market in words, and its table for ``pairs.toml``."""

from __future__ import annotations

import json
import textwrap
from datetime import UTC, datetime
from typing import Any

from arbpipe.cli.common import lines_of
from arbpipe.errors import SafetyRefused
from arbpipe.fixedpoint import format_price, format_scaled, format_size
from arbpipe.venues.kalshi.fees import kalshi_fee
from arbpipe.venues.kalshi.grid import range_words, tick_of
from arbpipe.venues.kalshi.listing_fees import FeeWords, upcoming
from arbpipe.venues.kalshi.listing_read import Reading
from arbpipe.venues.kalshi.listing_report import Report, Tally
from arbpipe.venues.kalshi.listing_store import Scope
from arbpipe.venues.kalshi.listing_wire import moment
from arbpipe.venues.kalshi.listings import (
    Listed,
    Why,
    best_quotes,
    is_tradeable_kind,
    price_ranges,
    reasons_against,
    result_words,
    strike_words,
)

__all__ = ["instrument_table", "market_json", "market_lines", "report_json", "report_lines"]

_WIDTH = 80
_LABEL = 14
_MOST_LINES = 15
_MOST_UNREADABLE = 5


def _when(stamp: datetime | None) -> str | None:
    at = moment(stamp)
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else None


# -- the whole listing ---------------------------------------------------------------------------------------------------


def report_json(scope: Scope, store: str, reading: Reading, report: Report) -> dict[str, Any]:
    """The result of ``arbpipe listings kalshi --json``."""
    return {
        "schema": 1,
        "venue": "kalshi",
        "address": scope.address,
        "store": store,
        "scope": {"series": list(scope.series), "category": scope.category or None, "status": scope.status or "all"},
        "run": {
            "number": reading.run.number,
            "kind": "refresh" if reading.run.since_s else "full",
            "resumed": reading.resumed,
            "pages": reading.pages,
            "rate_limited": reading.refused,
            "gone": reading.gone,
        },
        "series": report.series,
        "events": report.events,
        "markets": report.markets,
        "tradeable": report.tradeable,
        "combos_left_out": reading.combos,
        "not_tradeable": [
            {"why": each.why.value, "markets": each.markets, "example": each.ticker, "detail": each.detail}
            for each in report.against
        ],
        "unreadable": [{"ticker": each.ticker or None, "reason": each.reason} for each in report.unreadable],
        "by_category": _tallies_json(report.by_category),
        "by_series": _tallies_json(report.by_series),
    }


def _tallies_json(tallies: dict[str, Tally]) -> list[dict[str, Any]]:
    return [
        {"name": name, "events": len(tally.events), "markets": tally.markets, "tradeable": tally.tradeable}
        for name, tally in sorted(tallies.items(), key=lambda item: (-item[1].markets, item[0]))
    ]


def report_lines(values: dict[str, Any]) -> list[str]:
    """The same for people."""
    run, scope = values["run"], values["scope"]
    how = ("went on with a listing" if run["resumed"] else "read") if run["kind"] == "full" else "refreshed"
    asked = ", ".join(scope["series"]) or scope["category"] or "everything"
    lines = [f"kalshi listings: {asked}, status {scope['status']}; {how}, {run['pages']} pages, run {run['number']}"]
    lines += [
        f"{values['markets']} markets of {values['events']} events and {values['series']} series; "
        f"{values['tradeable']} tradeable"
    ]
    for title, key in (("category", "by_category"), ("series", "by_series")):
        rows = values[key]
        if rows:
            shown = [(each["name"], str(each["events"]), str(each["markets"]), str(each["tradeable"])) for each in rows]
            table = lines_of([(title, "events", "markets", "tradeable"), *shown[:_MOST_LINES]], right=(1, 2, 3))
            lines += ["", *table]
            if len(rows) > _MOST_LINES:
                lines.append(f"… and {len(rows) - _MOST_LINES} more, with --json")
    if values["not_tradeable"]:
        lines += ["", "not tradeable (a market may have several reasons):"]
        for each in values["not_tradeable"]:
            lines.append(f"  {each['markets']:>6}  {each['why']}")
            lines += _wrapped(f"{each['example']}: {each['detail']}", 10)
    if values["unreadable"]:
        lines += ["", f"{len(values['unreadable'])} rows cannot be read:"]
        for each in values["unreadable"][:_MOST_UNREADABLE]:
            lines += _wrapped(f"{each['ticker'] or '(no ticker)'}: {each['reason']}", 2)
    lines += ["", f"store: {values['store']}"]
    return lines


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent)


# -- one market ----------------------------------------------------------------------------------------------------------


def _fee_words(fee: FeeWords) -> str:
    known = kalshi_fee(fee.fee_type, fee.multiplier) if fee.fee_type and fee.multiplier is not None else None
    named = f"{fee.fee_type or 'unknown'} × {fee.multiplier or 'unknown'}"
    if known is None:
        return f"{named}: unknown, so it is not traded"
    rates = [
        format_scaled(rate * known.multiplier_e6, 12).rstrip("0").rstrip(".")
        for rate in (known.taker_rate_e6, known.maker_rate_e6)
    ]
    return f"{named}: taker {rates[0]} · p · (1 − p), maker {rates[1]} · p · (1 − p)"


def _scheduled(listed: Listed, now: datetime) -> list[tuple[datetime, FeeWords]]:
    moments = upcoming([*listed.series_changes, *listed.event_changes], now)
    return [(at, listed.fee(at)) for at in moments]


def market_json(listed: Listed, now: datetime) -> dict[str, Any]:
    """The result of ``arbpipe listings show --json``."""
    market, event, series = listed.market, listed.event, listed.series
    against = reasons_against(listed, now)
    ranges = price_ranges(market)
    bid, ask = best_quotes(market)
    fee = listed.fee(now)
    return {
        "schema": 1,
        "venue": "kalshi",
        "ticker": market.ticker,
        "tradeable": not against,
        "not_tradeable": [{"why": each.why.value, "detail": each.detail} for each in against],
        "yes": market.yes_sub_title,
        "rules_primary": market.rules_primary,
        "rules_secondary": market.rules_secondary,
        "event": {
            "ticker": market.event_ticker,
            "title": event.title if event else None,
            "sub_title": event.sub_title if event else None,
            "at_most_one_yes": event.mutually_exclusive if event else None,
        },
        "series": {
            "ticker": event.series_ticker if event else None,
            "title": series.title if series else None,
            "category": series.category if series else None,
        },
        "strike": strike_words(market),
        "status": market.status,
        "result": result_words(market),
        "price_ranges": []
        if isinstance(ranges, str)
        else [
            {"start": format_price(band.start_e4), "end": format_price(band.end_e4), "step": format_price(band.step_e4)}
            for band in ranges
        ],
        "fee": {"type": fee.fee_type, "multiplier": fee.multiplier},
        "fee_changes": [
            {"from": _when(at), "type": words.fee_type, "multiplier": words.multiplier}
            for at, words in _scheduled(listed, now)
        ],
        "fee_waiver_until": _when(market.fee_waiver_expiration_time),
        "opens": _when(market.open_time),
        "closes": _when(market.close_time),
        "occurs": _when(market.occurrence_datetime),
        "expires_expected": _when(market.expected_expiration_time),
        "expires_latest": _when(market.latest_expiration_time),
        "settlement_timer_s": market.settlement_timer_seconds,
        "can_close_early": market.can_close_early,
        "is_provisional": market.is_provisional,
        "exchange_index": listed.exchange_index,
        "yes_bid": _quote_json(bid),
        "yes_ask": _quote_json(ask),
    }


def _quote_json(quote: tuple[int, int] | None) -> dict[str, str] | None:
    return {"price": format_price(quote[0]), "size": format_size(quote[1])} if quote else None


def market_lines(listed: Listed, now: datetime) -> list[str]:
    """One market in words."""
    market, event, series = listed.market, listed.event, listed.series
    against = reasons_against(listed, now)
    lines = [f"{market.ticker}: {'tradeable' if not against else 'not tradeable'}"]

    def add(label: str, text: str | None) -> None:
        if text:
            body = textwrap.wrap(" ".join(text.split()), _WIDTH - _LABEL - 2) or [""]
            lines.append(f"  {label:<{_LABEL}}{body[0]}")
            lines.extend(" " * (_LABEL + 2) + more for more in body[1:])

    for reason in against:
        add("because", f"{reason.why.value}: {reason.detail}")
    add("yes", market.yes_sub_title)
    add("no", "everything else")  # no_sub_title often names the other side: it labels nothing
    add("rules", market.rules_primary)
    add("also", market.rules_secondary)
    exclusive = {True: "; at most one of its markets resolves to Yes", False: "", None: ""}
    add("event", f"{market.event_ticker}: {event.title}{exclusive[event.mutually_exclusive]}" if event else "unknown")
    add("series", f"{series.ticker}: {series.title} ({series.category or 'no category'})" if series else "unknown")
    add("strike", strike_words(market))
    add("status", f"{market.status or 'unknown'}; result: {result_words(market)}")
    ranges = price_ranges(market)
    add("price step", ranges if isinstance(ranges, str) else range_words(ranges))
    add("fee", _fee_words(listed.fee(now)))
    for at, words in _scheduled(listed, now):
        add("fee later", f"from {_when(at)}: {_fee_words(words)}")
    waiver = _when(market.fee_waiver_expiration_time)
    add("fee waiver", f"until {waiver}; not counted on" if waiver else None)
    for label, stamp in (
        ("opens", market.open_time),
        ("closes", market.close_time),
        ("occurs", market.occurrence_datetime),
        ("expected", market.expected_expiration_time),
        ("latest", market.latest_expiration_time),
    ):
        add(label, _when(stamp))
    if market.can_close_early:
        add("closes early", market.early_close_condition or "possibly")
    timer = market.settlement_timer_seconds
    add("settles", f"{timer} s after its result is determined" if timer is not None else "unknown when")
    add("provisional", "it may be taken down if nobody trades" if market.is_provisional else None)
    add("shard", "unknown" if listed.exchange_index is None else str(listed.exchange_index))
    for label, quote in zip(("yes bid", "yes ask"), best_quotes(market), strict=True):
        add(label, f"{format_price(quote[0])} × {format_size(quote[1])}" if quote else "none")
    return lines


def instrument_table(listed: Listed, now: datetime) -> str:
    """The ``[[instrument]]`` table for ``pairs.toml``.

    Raises:
        SafetyRefused: something about the market itself stands against trading it, such as an unknown fee or price
            steps that differ; that it is not open yet, or paused, does not.
    """
    market = listed.market
    against = reasons_against(listed, now)
    ended = [
        each
        for each in against
        if each.why is Why.STATUS and market.status not in ("initialized", "active", "inactive")
    ]
    if ended or not is_tradeable_kind(against):
        said = "; ".join(each.detail for each in against)
        raise SafetyRefused(f"no [[instrument]] table for {market.ticker}: {said}; choose another market")
    ranges = price_ranges(market)
    tick_e4 = ranges if isinstance(ranges, str) else tick_of(ranges)
    fee = listed.fee(now)
    assert isinstance(tick_e4, int), "reasons_against has looked at the price steps"
    title = ": ".join(part for part in (listed.event.title if listed.event else None, market.yes_sub_title) if part)
    lines = [
        "[[instrument]]",
        'venue = "kalshi"',
        f"id = {_toml(market.ticker)}",
        f"title = {_toml(title)}",
        f"tick = {_toml(format_price(tick_e4))}",
        'min_size = "0.01"',
        f"fee = {{ type = {_toml(fee.fee_type or '')}, multiplier = {_toml(fee.multiplier or '')} }}",
    ]
    for at, words in _scheduled(listed, now):
        lines.append(f"# the fee changes at {_when(at)}: type {words.fee_type}, multiplier {words.multiplier}")
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for DEL."""
    return json.dumps(" ".join(text.split()), ensure_ascii=False).replace("\x7f", "\\u007F")
