"""``arbpipe status``: a probe. It maps the segment read-only and imports nothing heavy."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from arbpipe.cli.common import emit_json, find_segment, json_option, lines_of, segment_option
from arbpipe.cli.health import health_of
from arbpipe.errors import ExitCode

__all__ = ["command"]


@click.command("status")
@segment_option
@json_option
def command(segment: Path | None, as_json: bool) -> int:
    """Say who is alive, what is connected, what is quarantined, and how fast it is.

    Works while every process is dead. Exit 0 healthy, 1 degraded, 3 no segment.
    """
    health = health_of(find_segment(segment))
    if as_json:
        emit_json(health)
    else:
        for line in _lines(health):
            click.echo(line)
    return ExitCode.OK if health["healthy"] else ExitCode.FAILED


def _lines(health: dict[str, Any]) -> list[str]:
    word = "healthy" if health["healthy"] else "DEGRADED"
    lines = [
        f"arbpipe {health['mode']} {word}  core: {health['core']}  {health['segment']}",
        f"catalog generation {health['generation']}",
        "",
    ]
    rows: list[tuple[str, ...]] = [("process", "pid", "state", "cpus", "beat", "restarts", "cpu", "memory")]
    for each in health["processes"]:
        rows.append(
            (
                each["role"],
                str(each["pid"] or "-"),
                each["state"] if each["alive"] else "dead",
                each["cpus"] or "-",
                f"{each['heartbeat_age_s']:.2f} s" if each["heartbeat_age_s"] is not None else "-",
                str(each["restarts"]),
                f"{each['cpu_s']:.1f} s",
                f"{each['rss_mb']:.0f} MB",
            )
        )
    lines += lines_of(rows, right=(1, 4, 5, 6, 7))
    rows = [("connection", "state", "epoch", "age", "lag", "gaps")]
    for each in health["connections"]:
        rows.append(
            (
                f"{each['feed']} {each['connection']}",
                each["state"],
                str(each["epoch"]),
                f"{each['age_s']:.2f} s" if each["age_s"] is not None else "-",
                f"{each['lag_ms']} ms",
                str(each["gaps"]),
            )
        )
    if len(rows) > 1:
        lines += ["", *lines_of(rows, right=(2, 3, 4, 5))]
    rows = [("stage", "count", "p50", "p99", "max")]
    for name, one in health["latency_us"].items():
        rows.append((name, str(one["count"]), f"{one['p50']:.0f} µs", f"{one['p99']:.0f} µs", f"{one['max']:.0f} µs"))
    lines += ["", *lines_of(rows, right=(1, 2, 3, 4))]
    counts = health["counts"]
    lines += ["", "  ".join(f"{name} {value}" for name, value in counts.items())]
    errors = [(each["role"], error) for each in health["processes"] for error in each["errors"]]
    if errors:
        lines.append("")
        lines += _wrapped(f"{role}: {error['code']} ×{error['count']}: {error['text']}" for role, error in errors)
    if health["problems"]:
        lines += ["", *_wrapped(f"! {problem}" for problem in health["problems"])]
    return lines


def _wrapped(texts: Iterable[str]) -> list[str]:
    """Each text in lines of 80 columns; a path or an id that is longer stays whole."""
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, 80, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    ]
