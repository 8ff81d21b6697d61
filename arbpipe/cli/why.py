"""``arbpipe why``: the funnel of a cover or an event, and the story of an attempt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from arbpipe.cli.common import emit_json, find_segment, json_option, segment_option
from arbpipe.errors import ArbpipeError, NotRunning, UsageRefused
from arbpipe.fixedpoint import format_usd
from arbpipe.shm.generation import read_meta
from arbpipe.shm.row import Reason
from arbpipe.shm.segment import Segment

__all__ = ["command"]

_MONEY = {
    Reason.EDGE,
    Reason.EDGE_TOO_LARGE,
    Reason.ONE_INSTRUMENT,
    Reason.PROOF,
    Reason.LIMIT_EVENT,
    Reason.LIMIT_VENUE,
    Reason.LIMIT_TOTAL,
    Reason.LIMIT_TAIL,
    Reason.LIMIT_CASH,
    Reason.LIMIT_UNHEDGED,
}
_SIZE = {Reason.DEPTH, Reason.MIN_SIZE}
_TIME = {Reason.NOT_CONFIRMED, Reason.OWNER_DEAD, Reason.COOLDOWN}


@click.command("why")
@click.argument("what")
@segment_option
@click.option(
    "--ledger",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Look an attempt up in this ledger instead of the running pipeline's.",
)
@json_option
def command(what: str, segment: Path | None, ledger: Path | None, as_json: bool) -> int:
    """Say why WHAT was not taken, or what became of it: a cover's name (or a part of it), an event, or an attempt's id."""
    covers: list[dict[str, Any]] = []
    if ledger is None:
        directory = find_segment(segment)
        with Segment.attach(directory) as attached:
            covers = _covers(attached, directory, what)
        ledger = _ledger_of(directory)
    if covers:
        if as_json:
            emit_json({"schema": 1, "covers": covers})
        else:
            for number, cover in enumerate(covers):
                click.echo(("\n" if number else "") + "\n".join(_lines(cover)))
        return 0
    return _attempt(what, ledger, as_json)


def _ledger_of(directory: Path) -> Path | None:
    from arbpipe.process import read_spec

    try:
        return read_spec(directory / "run.json").ledger_path()
    except OSError:
        return None


def _attempt(what: str, ledger: Path | None, as_json: bool) -> int:
    from arbpipe.cli.story import events_of, find_attempt, story_lines
    from arbpipe.ledger.store import LedgerStore

    if ledger is None or not ledger.exists():
        raise NotRunning(
            f"no cover or event named {what!r}, and no ledger to look for an attempt: name one with --ledger"
        )
    mode = ledger.stem.rpartition("-")[2].upper()
    store = LedgerStore(ledger, mode, readonly=True)
    try:
        attempt = find_attempt(store, what)
        if attempt is None:
            raise UsageRefused(f"{what!r} is neither a cover, an event nor the beginning of exactly one attempt's id")
        if as_json:
            emit_json({"schema": 1, "attempt": attempt, "events": events_of(store, attempt)})
        else:
            click.echo("\n".join(story_lines(store, attempt)))
    finally:
        store.close()
    return 0


def _covers(segment: Segment, directory: Path, what: str) -> list[dict[str, Any]]:
    generation = segment.region.load_u64(segment.section("catalog").offset)
    if not generation:
        return []
    try:
        meta = read_meta(directory, generation)
    except ArbpipeError:
        return []
    exact = [i for i, c in enumerate(meta["covers"]) if what in (c["name"], c["event"])]
    chosen = exact or [i for i, c in enumerate(meta["covers"]) if what.lower() in c["name"].lower()]
    return [_funnel(meta["covers"][index], segment.fields("cover_stats", index)) for index in chosen]


def _funnel(names: dict[str, Any], stat: dict[str, Any]) -> dict[str, Any]:
    priced = bool(stat["best_ns"])
    return {
        "cover": names["name"],
        "event": names["event"],
        "kind": names["kind"],
        "priced": stat["seen"],
        "best_edge_usd": format_usd(stat["best_edge_e6"]) if priced else None,
        "best_size": stat["best_size_e2"] / 100 if priced else None,
        "last_edge_usd": format_usd(stat["last_edge_e6"]) if priced else None,
        "missing": Reason(stat["best_reason"] if priced else stat["reason"]).name.lower(),
        "last_refusal": _refusal(Reason(stat["reason"]), stat["value"], stat["threshold"]),
        "opportunities": stat["pushed"],
        "executor_refused": stat["x_refused"],
        "executor_gate": _refusal(Reason(stat["x_gate"]), stat["x_value"], stat["x_threshold"]),
        "attempts": stat["x_attempts"],
        "taken": stat["x_filled"],
    }


def _refusal(reason: Reason, value: int, threshold: int) -> dict[str, str] | None:
    if not reason:
        return None
    if reason in _MONEY:
        return {"gate": reason.name.lower(), "value": f"${format_usd(value)}", "threshold": f"${format_usd(threshold)}"}
    if reason in _SIZE:
        return {"gate": reason.name.lower(), "value": f"{value / 100:g}", "threshold": f"{threshold / 100:g}"}
    if reason in _TIME:
        return {"gate": reason.name.lower(), "value": f"{value / 1e9:.2f} s", "threshold": f"{threshold / 1e9:.2f} s"}
    return {"gate": reason.name.lower(), "value": str(value), "threshold": str(threshold)}


def _lines(cover: dict[str, Any]) -> list[str]:
    lines = [f"{cover['cover']}  ({cover['kind']}, event {cover['event']})"]
    if cover["best_edge_usd"] is None:
        lines.append(f"  never priced: {cover['missing']}")
    else:
        lines.append(
            f"  priced {cover['priced']} times; best edge ${cover['best_edge_usd']} a contract at {cover['best_size']:g}, "
            f"last ${cover['last_edge_usd']}"
        )
    if cover["last_refusal"]:
        last = cover["last_refusal"]
        lines.append(f"  the detector last refused at {last['gate']}: {last['value']}, threshold {last['threshold']}")
    lines.append(f"  {cover['opportunities']} opportunities sent, {cover['executor_refused']} refused by the executor")
    if cover["executor_gate"]:
        gate = cover["executor_gate"]
        lines.append(f"  the executor last refused at {gate['gate']}: {gate['value']}, threshold {gate['threshold']}")
    lines.append(f"  {cover['attempts']} attempts, {cover['taken']} with balanced sets")
    return lines
