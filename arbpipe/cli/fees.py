"""``arbpipe fees kalshi``: what one fill costs, to the digit, and where each part comes from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from arbpipe.cli.common import config_option, emit_json, json_option, lines_of
from arbpipe.errors import SafetyRefused, UsageRefused

if TYPE_CHECKING:
    from arbpipe.venues.kalshi.fees import KalshiFee

__all__ = ["command"]


@click.group("fees")
def command() -> None:
    """Say what a fill costs."""


@command.command("kalshi")
@click.option("--price", required=True, metavar="USD", help="Price of the side that is bought, such as 0.52.")
@click.option("--count", required=True, metavar="N", help="Contracts, in steps of 0.01.")
@click.option("--maker", is_flag=True, help="The order rested. Default: it took.")
@click.option(
    "--multiplier", default="1", show_default=True, metavar="M", help="The series' or event's fee multiplier."
)
@click.option(
    "--fee-type",
    metavar="TYPE",
    help="The series' or event's fee type. Default: quadratic; with --maker, quadratic_with_maker_fees.",
)
@click.option(
    "--direct/--non-direct",
    "direct",
    default=None,
    help="A direct member (API account, $0.0001) or not (a cent). Default: executor.kalshi_direct_member.",
)
@config_option
@json_option
def kalshi(
    price: str,
    count: str,
    maker: bool,
    multiplier: str,
    fee_type: str | None,
    direct: bool | None,
    config_path: str | None,
    as_json: bool,
) -> None:
    """Say what Kalshi charges for one purchase that fills at once, as the first fill of its order.

    `model_fee_usd` is the formula, unrounded; `net_fee_usd` what the account pays.
    """
    from arbpipe.fixedpoint import format_price, format_scaled, format_size, format_usd
    from arbpipe.venues.kalshi.fees import MAKER_FEE_TYPE, OrderFees, balance_grid_e6

    price_e4, size_e2 = _price(price), _count(count)
    kind = fee_type if fee_type is not None else MAKER_FEE_TYPE if maker else "quadratic"
    fee = _known_fee(kind, multiplier)
    if direct is None:
        from arbpipe.config import find_config, load

        direct = load(find_config(config_path, os.environ)).config.executor.kalshi_direct_member
    paid = OrderFees(fee, direct=direct).fill(price_e4, size_e2, taker=not maker)
    # micro-dollars of the whole, in millionths of a cent per contract: rounded up, against us
    cost_e6 = price_e4 * size_e2 + paid.net_e6
    per_contract_e8 = -(-cost_e6 * 10_000 // size_e2)
    values = {
        "schema": 1,
        "venue": "kalshi",
        "price_usd": format_price(price_e4),
        "count": format_size(size_e2),
        "role": "maker" if maker else "taker",
        "member": "direct" if direct else "non-direct",
        "fee_type": kind,
        "multiplier": multiplier,
        "model_fee_usd": fee.model_fee_usd(price_e4, size_e2, taker=not maker),
        "trade_fee_usd": format_usd(paid.trade_e6),
        "rounding_fee_usd": format_usd(paid.rounding_e6),
        "rebate_usd": format_usd(paid.rebate_e6),
        "net_fee_usd": format_usd(paid.net_e6),
        "cost_usd": format_usd(cost_e6),
        "cost_per_contract_usd": format_scaled(per_contract_e8, 8),
    }
    if as_json:
        emit_json(values)
        return
    click.echo(
        f"kalshi {values['role']}, {values['member']} member: {values['count']} at ${values['price_usd']}, "
        f"{kind} × {multiplier}"
    )
    grid = format_price(balance_grid_e6(direct=direct) // 100)
    rows = [
        ("model fee", f"${values['model_fee_usd']}", "multiplier × rate × contracts × p × (1 − p)"),
        ("trade fee", f"${values['trade_fee_usd']}", "the model fee, up to $0.000001"),
        ("rounding", f"${values['rounding_fee_usd']}", f"brings the balance to a multiple of ${grid}"),
        ("rebate", f"${values['rebate_usd']}", "earlier rounding of the order paid back"),
        ("net fee", f"${values['net_fee_usd']}", "what the account pays"),
        ("cost", f"${values['cost_usd']}", "price and net fee"),
        ("per contract", f"${values['cost_per_contract_usd']}", "rounded up"),
    ]
    for line in lines_of(rows, right=(1,)):
        click.echo(f"  {line}")


def _price(text: str) -> int:
    from arbpipe.fixedpoint import ONE_DOLLAR_E4, FixedPointError, parse_price_e4

    try:
        price_e4 = parse_price_e4(text)
    except FixedPointError as error:
        raise UsageRefused(
            f"--price {text}: {error}; give dollars between 0 and 1 with at most four decimals, such as 0.52"
        ) from None
    if not 0 < price_e4 < ONE_DOLLAR_E4:
        raise UsageRefused(f"--price {text}: nothing trades at 0 or 1 dollar; give a price between, such as 0.52")
    return price_e4


def _count(text: str) -> int:
    from arbpipe.fixedpoint import FixedPointError, parse_size_e2

    try:
        size_e2 = parse_size_e2(text)
    except FixedPointError as error:
        raise UsageRefused(f"--count {text}: {error}; give contracts with at most two decimals, such as 5.52") from None
    if size_e2 == 0:
        raise UsageRefused(f"--count {text}: there is no fill of nothing; give 0.01 or more")
    return size_e2


def _known_fee(fee_type: str, multiplier: str) -> KalshiFee:
    from arbpipe.venues.kalshi.fees import FEE_TYPES, MAX_MULTIPLIER_E6, kalshi_fee

    fee = kalshi_fee(fee_type, multiplier)
    if fee is not None:
        return fee
    if fee_type not in FEE_TYPES:
        raise SafetyRefused(
            f"--fee-type {fee_type}: no formula is known for it, and an unknown fee is not zero: such a market is not "
            f"traded; known are {', '.join(FEE_TYPES)}"
        )
    raise UsageRefused(
        f"--multiplier {multiplier}: it is no decimal between 0 and {MAX_MULTIPLIER_E6 // 1_000_000} with at most six "
        "decimals; copy fee_multiplier from the series, such as 0.5"
    )
