"""An independent check of the recorded two-venue snapshot: every cover's edge in fractions, nothing of the project.

Run it on the snapshot's folder: ``python tests/replay/snapshot_oracle.py FOLDER [--json]``.

It shares no code, no pairs file and no number format with what it checks. The covers are the hand-written list below;
books, fees and smallest orders are read from the folder; all arithmetic is exact until the last rounding. The rules:

* A proposition's claims are all that pay in exactly the same states: YES of a Kalshi market and YES of the market that
  ``pairs.json`` calls its equal, or both NOs.
* The size is the largest smallest order over all claims of a cover, so that any choice of claims may be sent.
* The cost of a claim is the cash for that size through its book, fees included and rounded against the buyer: on Kalshi
  each level's fee up to $0.000001, then the order's cash up to $0.0001 (kalshi.md section 4, direct members); on
  Polymarket each level's fee up to $0.00001 (polymarket.md section 5).
* The edge is ``(k * size - sum of the cheapest costs) / size``, rounded down to a micro-dollar per contract.

Prices and money are dollars, sizes are contracts, all as ``Fraction``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

YES: Final = "yes"
NO: Final = "no"

#: One cover is (name, k, propositions); a proposition is (Kalshi ticker, side). Written by hand from the tickers.
#: A pair of equal markets gives {X, not X}. Markets of which at most one can pay YES give every NO, k = n - 1.
HAND_COVERS: Final[tuple[tuple[str, int, tuple[tuple[str, str], ...]], ...]] = (
    ("Fed July, cut of 25", 1, (("KXFEDDECISION-26JUL-C25", YES), ("KXFEDDECISION-26JUL-C25", NO))),
    ("Fed July, no change", 1, (("KXFEDDECISION-26JUL-H0", YES), ("KXFEDDECISION-26JUL-H0", NO))),
    ("Ballon d'Or, Yamal", 1, (("KXBALLONDOR-26-LYAM", YES), ("KXBALLONDOR-26-LYAM", NO))),
    ("Ballon d'Or, Kane", 1, (("KXBALLONDOR-26-HKAN", YES), ("KXBALLONDOR-26-HKAN", NO))),
    ("Ballon d'Or, Rodri", 1, (("KXBALLONDOR-26-RODR", YES), ("KXBALLONDOR-26-RODR", NO))),
    (
        "Ballon d'Or, at most one of three",
        2,
        (("KXBALLONDOR-26-LYAM", NO), ("KXBALLONDOR-26-HKAN", NO), ("KXBALLONDOR-26-RODR", NO)),
    ),
    ("Fed July, at most one of two", 1, (("KXFEDDECISION-26JUL-C25", NO), ("KXFEDDECISION-26JUL-H0", NO))),
)

#: Taker rate of Kalshi's quadratic fee with multiplier 1. The recording has no fee fields, so it is stated here.
KALSHI_RATE: Final = Fraction(7, 100)
KALSHI_MIN_SIZE: Final = Fraction(1, 100)
KALSHI_FEE_STEP: Final = Fraction(1, 1_000_000)
KALSHI_CASH_STEP: Final = Fraction(1, 10_000)
POLYMARKET_FEE_STEP: Final = Fraction(1, 100_000)

Level = tuple[Fraction, Fraction]


class SnapshotError(ValueError):
    """The snapshot lacks something or contradicts itself; the message names the file and the value."""


@dataclass(frozen=True)
class Fee:
    """``rate * size * (p * (1 - p)) ** exponent``, each level up to ``step``; the cash up to ``cash_step`` if any."""

    rate: Fraction
    exponent: int
    step: Fraction
    cash_step: Fraction | None


@dataclass(frozen=True)
class Market:
    """One venue's market: its key, the labels of its sides, what it asks for each (best first), smallest order, fee."""

    key: str
    labels: Mapping[str, str]
    asks: Mapping[str, tuple[Level, ...]]
    min_size: Fraction
    fee: Fee

    def claim(self, side: str) -> str:
        """The claim's key: ``venue:id#label``."""
        return f"{self.key}#{self.labels[side]}"


@dataclass(frozen=True)
class Choice:
    """The cheapest claim of a proposition and the cash that buying the cover's size of it takes."""

    claim: str
    cost: Fraction


@dataclass(frozen=True)
class Result:
    """A cover with all its claims; ``edge_e6`` (micro-dollars a contract) is None where a proposition has no depth."""

    name: str
    cover: tuple[tuple[str, ...], ...]
    k: int
    size: Fraction
    choices: tuple[Choice | None, ...]
    edge_e6: int | None


def round_up(value: Fraction, step: Fraction) -> Fraction:
    """The least multiple of ``step`` that is not below ``value``."""
    return -(-value // step) * step


def walk(asks: Sequence[Level], size: Fraction) -> list[Level] | None:
    """What buying ``size`` takes from each level of ``asks`` (best first); None if they are too thin."""
    fills: list[Level] = []
    left = size
    for price, available in asks:
        taken = min(left, available)
        fills.append((price, taken))
        left -= taken
        if not left:
            return fills
    return None


def cash(fee: Fee, fills: Sequence[Level]) -> Fraction:
    """The dollars that one buy order of these fills takes, fees and rounding against the buyer included."""
    total = Fraction(0)
    for price, size in fills:
        charge = fee.rate * size * (price * (1 - price)) ** fee.exponent
        total += price * size + round_up(charge, fee.step)
    return total if fee.cash_step is None else round_up(total, fee.cash_step)


def cheapest(claims: Sequence[tuple[Market, str]], size: Fraction) -> Choice | None:
    """The claim that costs least for ``size``, by itself; None if no claim has the depth. A tie goes to the first."""
    best: Choice | None = None
    for market, side in claims:
        fills = walk(market.asks[side], size)
        if fills is not None:
            choice = Choice(market.claim(side), cash(market.fee, fills))
            if best is None or choice.cost < best.cost:
                best = choice
    return best


def evaluate(name: str, k: int, propositions: Sequence[Sequence[tuple[Market, str]]]) -> Result:
    """A cover's size, cheapest claims and edge; ``propositions`` hold every claim of each."""
    size = max(market.min_size for claims in propositions for market, _ in claims)
    choices = tuple(cheapest(claims, size) for claims in propositions)
    costs = [choice.cost for choice in choices if choice is not None]
    edge_e6 = None
    if len(costs) == len(choices):
        edge_e6 = (k * size - sum(costs)) * 1_000_000 // size
    keys = tuple(sorted(tuple(sorted(market.claim(side) for market, side in claims)) for claims in propositions))
    return Result(name, keys, k, size, choices, edge_e6)


def kalshi_market(ticker: str, listing: Mapping[str, Any], book: Mapping[str, Any]) -> Market:
    """A Kalshi market from its two recorded answers; a side's asks are the complement of the other side's bids.

    Raises:
        SnapshotError: another ticker, not active, not one dollar, or a book that cannot be.
    """
    terms = listing["market"]
    where = f"market_{ticker}.json"
    _expect(where, "ticker", terms["ticker"], ticker)
    _expect(where, "status", terms["status"], "active")
    _expect(where, "notional_value_dollars", terms["notional_value_dollars"], "1.0000")
    sides = book["orderbook_fp"]
    where = f"orderbook_{ticker}.json"
    yes_bids = _levels(sides["yes_dollars"], where)
    no_bids = _levels(sides["no_dollars"], where)
    asks = {YES: _complement(no_bids), NO: _complement(yes_bids)}
    _refuse_crossed(asks, where)
    fee = Fee(KALSHI_RATE, 1, KALSHI_FEE_STEP, KALSHI_CASH_STEP)
    return Market(f"kalshi:{ticker}", {YES: "Yes", NO: "No"}, asks, KALSHI_MIN_SIZE, fee)


def polymarket_market(condition_id: str, yes_index: int, listing: Mapping[str, Any], book: Mapping[str, Any]) -> Market:
    """A Polymarket market from its Gamma object and the one recorded book, which its ``asset_id`` assigns to a side.

    Raises:
        SnapshotError: another market, a YES side that is not labelled Yes, a book of neither token, fees that are
            not stated or have another form, two smallest orders, or a book that cannot be.
    """
    where = f"gamma_{condition_id}.json"
    _expect(where, "conditionId", listing["conditionId"], condition_id)
    labels = json.loads(listing["outcomes"])
    tokens = json.loads(listing["clobTokenIds"])
    if len(labels) != 2 or len(tokens) != 2:
        raise SnapshotError(f"{where}: has {len(labels)} outcomes and {len(tokens)} tokens, two of each are expected")
    _expect(where, f"outcome {yes_index}", labels[yes_index], "Yes")
    schedule = listing.get("feeSchedule")
    if listing.get("feesEnabled") is not True or not schedule or schedule.get("takerOnly") is not True:
        raise SnapshotError(f"{where}: feesEnabled and feeSchedule state no taker's fee, and unknown is not zero")
    fee = Fee(Fraction(schedule["rate"]), int(schedule["exponent"]), POLYMARKET_FEE_STEP, None)

    where = f"book_{condition_id}.json"
    _expect(where, "market", book["market"], condition_id)
    if book["asset_id"] not in tokens:
        raise SnapshotError(f"{where}: asset_id {book['asset_id']} is neither token of the market")
    _expect(where, "min_order_size", Fraction(book["min_order_size"]), Fraction(listing["orderMinSize"]))
    bids = _levels(_pairs(book["bids"]), f"{where}: bids")
    offers = _levels(_pairs(book["asks"]), f"{where}: asks")
    own, other = (YES, NO) if tokens.index(book["asset_id"]) == yes_index else (NO, YES)
    asks = {own: tuple(sorted(offers)), other: _complement(bids)}
    _refuse_crossed(asks, where)
    return Market(
        f"polymarket:{condition_id}",
        {YES: labels[yes_index], NO: labels[1 - yes_index]},
        asks,
        Fraction(book["min_order_size"]),
        fee,
    )


def read_equals(folder: Path, tickers: Sequence[str]) -> dict[str, tuple[Market, Market]]:
    """For each ticker its Kalshi market and the Polymarket market that ``pairs.json`` says resolves alike.

    Raises:
        SnapshotError: a file is missing, a ticker has no equal, or a market cannot be read.
    """
    listed = {entry["kalshi_ticker"]: entry for entry in _load(folder / "pairs.json")["pairs"]}
    equals: dict[str, tuple[Market, Market]] = {}
    for ticker in tickers:
        entry = listed.get(ticker)
        if entry is None or entry["same_resolution"] is not True:
            raise SnapshotError(f"pairs.json: {ticker} has no market that resolves alike; take it out of HAND_COVERS")
        try:
            equals[ticker] = _read_both(folder, entry)
        except KeyError as error:
            raise SnapshotError(f"{ticker}: its recorded files lack the field {error}; record it again") from error
    return equals


def _read_both(folder: Path, entry: Mapping[str, Any]) -> tuple[Market, Market]:
    ticker, condition_id = entry["kalshi_ticker"], entry["polymarket_condition_id"]
    kalshi, polymarket = folder / "kalshi", folder / "polymarket"
    return (
        kalshi_market(ticker, _load(kalshi / f"market_{ticker}.json"), _load(kalshi / f"orderbook_{ticker}.json")),
        polymarket_market(
            condition_id,
            entry["polymarket_yes_index"],
            _load(polymarket / f"gamma_{condition_id}.json"),
            _load(polymarket / f"book_{condition_id}.json"),
        ),
    )


def results(folder: Path) -> list[Result]:
    """Every cover of ``HAND_COVERS`` on the snapshot in ``folder``, in the order of the list.

    Raises:
        SnapshotError: see :func:`read_equals`.
    """
    tickers = sorted({ticker for _, _, propositions in HAND_COVERS for ticker, _ in propositions})
    equals = read_equals(folder, tickers)
    return [
        evaluate(name, k, [[(market, side) for market in equals[ticker]] for ticker, side in propositions])
        for name, k, propositions in HAND_COVERS
    ]


def as_json(result: Result) -> dict[str, Any]:
    """The cover as ``--json`` writes it: numbers are decimal text, and ``edge_usd`` is null where depth is missing."""
    edge = None if result.edge_e6 is None else decimal(Fraction(result.edge_e6, 1_000_000), 6)
    return {
        "cover": [list(claims) for claims in result.cover],
        "k": result.k,
        "size": decimal(result.size, 2),
        "edge_usd": edge,
    }


def decimal(value: Fraction, places: int) -> str:
    """``value`` as text with ``places`` decimals.

    Raises:
        SnapshotError: it has more decimals than that.
    """
    scaled = value * 10**places
    if scaled.denominator != 1:
        raise SnapshotError(f"{value} has more than {places} decimals")
    whole, part = divmod(abs(scaled.numerator), 10**places)
    return f"{'-' if scaled < 0 else ''}{whole}.{part:0{places}d}"


def table(found: Sequence[Result]) -> str:
    """The covers as text: one line each, and below it the chosen claims with what they cost."""
    lines = [f"{'cover':<36} {'k':>2} {'size':>6} {'edge $/contract':>16}"]
    for result in found:
        edge = "no depth" if result.edge_e6 is None else decimal(Fraction(result.edge_e6, 1_000_000), 6)
        lines.append(f"{result.name:<36} {result.k:>2} {decimal(result.size, 2):>6} {edge:>16}")
        for choice in result.choices:
            lines.append("    no claim has the depth" if choice is None else f"    {_short(choice)}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or with ``--json`` the list; 0 if the snapshot could be read, else 1."""
    parser = argparse.ArgumentParser(description="The edge of every cover of the recorded two-venue snapshot.")
    parser.add_argument("folder", type=Path, help="the folder that holds pairs.json, kalshi/ and polymarket/")
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of the table")
    options = parser.parse_args(arguments)
    try:
        found = results(options.folder)
    except SnapshotError as error:
        print(f"snapshot_oracle: {error}", file=sys.stderr)
        return 1
    print(json.dumps([as_json(result) for result in found], indent=1) if options.json else table(found))
    return 0


def _short(choice: Choice) -> str:
    venue, _, rest = choice.claim.partition(":")
    native_id, _, label = rest.partition("#")
    shown = native_id if len(native_id) <= 30 else f"{native_id[:10]}…{native_id[-6:]}"
    return f"{decimal(choice.cost, 6):>10}  {venue}:{shown}#{label}"


def _load(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be read: {error.strerror}; give the snapshot's folder") from error
    try:
        # parse_float: 0.05 in the file is five hundredths, not the nearest binary float
        return json.loads(text, parse_float=Fraction)
    except ValueError as error:
        raise SnapshotError(f"{path}: is not JSON: {error}; record it again") from error


def _expect(where: str, what: str, value: object, expected: object) -> None:
    if value != expected:
        raise SnapshotError(f"{where}: {what} is {value!s}, expected {expected!s}")


def _pairs(rows: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    return [(row["price"], row["size"]) for row in rows]


def _levels(rows: Sequence[Sequence[str]], where: str) -> list[Level]:
    levels: list[Level] = []
    for price_text, size_text in rows:
        try:
            price, size = Fraction(price_text), Fraction(size_text)
        except ValueError as error:
            raise SnapshotError(f"{where}: a level of {size_text!r} at {price_text!r} is no pair of numbers") from error
        if not 0 < price < 1 or size <= 0:
            raise SnapshotError(f"{where}: a level of {size_text} at {price_text} cannot be")
        levels.append((price, size))
    if len({price for price, _ in levels}) != len(levels):
        raise SnapshotError(f"{where}: has one price twice")
    return levels


def _complement(bids: Sequence[Level]) -> tuple[Level, ...]:
    return tuple(sorted((1 - price, size) for price, size in bids))


def _refuse_crossed(asks: Mapping[str, tuple[Level, ...]], where: str) -> None:
    if asks[YES] and asks[NO] and asks[YES][0][0] + asks[NO][0][0] <= 1:
        raise SnapshotError(
            f"{where}: is crossed: YES asks {decimal(asks[YES][0][0], 4)}, NO asks {decimal(asks[NO][0][0], 4)}"
        )


if __name__ == "__main__":
    raise SystemExit(main())
