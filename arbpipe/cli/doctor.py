"""``arbpipe doctor``."""

from __future__ import annotations

import os
import textwrap

import click

from arbpipe.cli.common import config_option, emit_json, json_option
from arbpipe.errors import ExitCode

__all__ = ["command"]


@click.command("doctor")
@config_option
@json_option
def command(config_path: str | None, as_json: bool) -> int:
    """Check the Kalshi account: key, clock, limits, balances, netting, orders left over.

    Reads only. Each line says ok, warning or failure, what it means, and what to do. Exit 1 if anything failed.
    """
    import asyncio

    from arbpipe.checks import Check, Verdict
    from arbpipe.clock import wall_ns
    from arbpipe.config import find_config, load
    from arbpipe.identity import OUR_ORDERS
    from arbpipe.live import kalshi_signer, tls_context
    from arbpipe.venues.kalshi.auth import wall_ms
    from arbpipe.venues.kalshi.checks import check_account
    from arbpipe.venues.kalshi.rest import KalshiRest

    config = load(find_config(config_path, os.environ)).config
    signer = kalshi_signer(config)
    rest = KalshiRest(config.kalshi.rest, signer, tls_context(config), now_ms=wall_ms)

    async def look() -> list[Check]:
        await rest.start()
        try:
            return await check_account(rest, signer, OUR_ORDERS, lambda: wall_ns() / 1e9)
        finally:
            await rest.stop()

    found = asyncio.run(look())
    failed = any(each.verdict is Verdict.FAILURE for each in found)
    if as_json:
        checks = [{"name": c.name, "verdict": c.verdict.value, "says": c.says, "todo": c.todo} for c in found]
        emit_json({"schema": 1, "healthy": not failed, "checks": checks})
    else:
        for each in found:
            click.echo(f"{each.verdict.value:8}  {each.name}")
            for text in filter(None, (each.says, each.todo and f"→ {each.todo}")):
                click.echo(textwrap.fill(text, 79, initial_indent=" " * 10, subsequent_indent=" " * 12))
    return ExitCode.FAILED if failed else ExitCode.OK
