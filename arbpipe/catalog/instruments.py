"""``[[instrument]]`` tables to instruments: labels, tokens, tick, sizes and fee terms, or why it does not trade.

What is malformed is refused. What is unknown (no fee, no tick, no version) is listed and never trades: unknown is never
zero.
"""

from __future__ import annotations

from typing import Any, Final

from arbpipe.catalog.model import Instrument, PairsError
from arbpipe.catalog.schema import KalshiTable, PolymarketTable, choice, convert
from arbpipe.feemodel import FeeTerms
from arbpipe.fixedpoint import ONE_DOLLAR_E4, FixedPointError, parse_price_e4, parse_scaled, parse_size_e2
from arbpipe.identity import VENUES, Venue, instrument_uid
from arbpipe.venues.kalshi import fees as kalshi_fees
from arbpipe.venues.polymarket import fees as polymarket_fees

__all__ = ["parse_instrument"]

#: Protocol V2 position ids have 64 zero bits here (polymarket.md, A.1); ids of v1 are hashes and do not.
_V2_ZERO_SHIFT: Final = 40
_V2_ZERO_MASK: Final = (1 << 64) - 1
_TOKEN_DIGITS: Final = 78


def parse_instrument(entry: dict[str, Any], number: int, source: str, *, kalshi_direct_member: bool) -> Instrument:
    """One ``[[instrument]]`` table; ``number`` counts from 1 and names an entry that has no id.

    Raises:
        PairsError: see ``docs/pairs-toml.md``, "refused".
    """
    venue_text, native_id = entry.get("venue"), entry.get("id")
    where = f"{source}: instrument {number}"
    if isinstance(native_id, str) and isinstance(venue_text, str):
        where = f'{source}: instrument "{venue_text}:{native_id}"'
    if not isinstance(venue_text, str):
        raise PairsError(f'{where}: the key "venue" is missing or no text; write one of {", ".join(VENUES)}')
    venue = VENUES[choice(venue_text, VENUES, where, "venue")]
    if venue is Venue.KALSHI:
        return _kalshi(convert(entry, KalshiTable, where), where, direct=kalshi_direct_member)
    return _polymarket(convert(entry, PolymarketTable, where), where)


def _kalshi(table: KalshiTable, where: str, *, direct: bool) -> Instrument:
    _check_names(table, where)
    reasons: list[str] = []
    fee: FeeTerms | None = None
    if table.fee is None:
        reasons.append("fee unknown: none is given")
    else:
        _check_decimal(table.fee.multiplier, where, "fee multiplier")
        fee = kalshi_fees.taker_terms(table.fee.type, table.fee.multiplier, direct=direct)
        if fee is None:
            reasons.append(f'fee unknown: type "{table.fee.type}" with multiplier {table.fee.multiplier}')
    tick_e4 = _tick(table.tick, where, reasons)
    min_size_e2 = _min_size(table.min_size, where, reasons)
    return Instrument(
        venue=Venue.KALSHI,
        native_id=table.id,
        uid=instrument_uid(table.venue, table.id),
        title=table.title,
        yes_label=table.yes.label,
        no_label=table.no.label,
        yes_token="",
        no_token="",
        version="",
        tick_e4=tick_e4,
        min_size_e2=min_size_e2,
        neg_risk=False,
        min_size_text=table.min_size,
        fee=fee,
        tradeable=not reasons,
        reason="; ".join(reasons),
    )


def _polymarket(table: PolymarketTable, where: str) -> Instrument:
    _check_names(table, where)
    yes = _token(table.yes.token, where, "yes")
    no = _token(table.no.token, where, "no")
    reasons: list[str] = []
    if table.version is None:
        reasons.append("version missing: v1 and v2 trade on different exchanges")
    else:
        choice(table.version, ("v1", "v2"), where, "version")
        for side, token in (("yes", yes), ("no", no)):
            said_by_token = "v2" if token >> _V2_ZERO_SHIFT & _V2_ZERO_MASK == 0 else "v1"
            if said_by_token != table.version:
                reasons.append(
                    f"version {table.version} is contradicted by the {side} token, which is of {said_by_token}"
                )
    if table.neg_risk is None:
        reasons.append("neg_risk missing: it decides which exchange an order is signed for")
    fee: FeeTerms | None = None
    if table.fee is None:
        reasons.append("fee unknown: none is given")
    else:
        _check_decimal(table.fee.rate, where, "fee rate")
        fee = polymarket_fees.taker_terms(table.fee.rate, table.fee.exponent)
        if fee is None:
            reasons.append(f"fee unknown: rate {table.fee.rate} with exponent {table.fee.exponent}")
    tick_e4 = _tick(table.tick, where, reasons)
    min_size_e2 = _min_size(table.min_size, where, reasons)
    return Instrument(
        venue=Venue.POLYMARKET,
        native_id=table.id,
        uid=instrument_uid(table.venue, table.id),
        title=table.title,
        yes_label=table.yes.label,
        no_label=table.no.label,
        yes_token=table.yes.token,
        no_token=table.no.token,
        version=table.version or "",
        tick_e4=tick_e4,
        min_size_e2=min_size_e2,
        neg_risk=bool(table.neg_risk),
        min_size_text=table.min_size or "",
        fee=fee,
        tradeable=not reasons,
        reason="; ".join(reasons),
    )


def _check_names(table: KalshiTable | PolymarketTable, where: str) -> None:
    if not table.id or not table.id.isprintable() or "#" in table.id or " " in table.id:
        raise PairsError(f"{where}: id {table.id!r} is empty or has a blank or # in it; copy it from the listing")
    for side, label in (("yes", table.yes.label), ("no", table.no.label)):
        if not label.strip() or label != label.strip() or not label.isprintable():
            raise PairsError(
                f"{where}: {side}: label {label!r} is empty or has blanks around it; copy it from the listing"
            )
    if table.yes.label == table.no.label:
        raise PairsError(
            f'{where}: yes and no have the same label "{table.yes.label}"; a claim could not say which side it means'
        )


def _token(text: str, where: str, side: str) -> int:
    # the length first: int() of a long text is slow, and refuses beyond 4,300 digits with a message of its own
    digits = len(text) <= _TOKEN_DIGITS and text.isascii() and text.isdigit() and not text.startswith("0")
    if not digits or int(text) >= 1 << 256:
        shown = text if len(text) <= 100 else f"{text[:100]}…"
        raise PairsError(
            f'{where}: {side}: token "{shown}" is not a decimal number of 256 bits; copy it from the listing, '
            "decimal and without leading zeros"
        )
    return int(text)


def _tick(text: str | None, where: str, reasons: list[str]) -> int:
    if text is None:
        reasons.append("tick missing")
        return 0
    try:
        tick_e4 = parse_price_e4(text)
    except FixedPointError as error:
        raise PairsError(f"{where}: tick: {error}; write the smallest price step in dollars") from error
    if tick_e4 == 0 or ONE_DOLLAR_E4 % tick_e4:
        raise PairsError(f'{where}: tick "{text}" does not divide one dollar; write the smallest price step in dollars')
    return tick_e4


def _min_size(text: str | None, where: str, reasons: list[str]) -> int:
    if text is None:
        reasons.append("min_size missing")
        return 0
    try:
        min_size_e2 = parse_size_e2(text)
    except FixedPointError as error:
        raise PairsError(f"{where}: min_size: {error}; write the smallest order in contracts") from error
    if min_size_e2 == 0:
        raise PairsError(f'{where}: min_size "{text}" must be more than 0; write the smallest order in contracts')
    return min_size_e2


def _check_decimal(text: str, where: str, what: str) -> None:
    try:
        # how fine it may be is for the venue's fee module to say
        negative = parse_scaled(text, 12, "a decimal", floor=True) < 0
    except FixedPointError as error:
        raise PairsError(f"{where}: {what}: {error}; copy it from the listing") from error
    if negative:
        raise PairsError(f'{where}: {what} "{text}" is negative; copy it from the listing')
