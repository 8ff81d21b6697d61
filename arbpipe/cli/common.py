"""What several commands share: output that is right on a terminal and in a pipe, and finding the segment."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from arbpipe.errors import NotRunning, UsageRefused
from arbpipe.shm.segment import default_directory

__all__ = ["config_option", "emit_json", "find_segment", "json_option", "lines_of", "say", "segment_option", "styled"]

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    """``--json``: one object on stdout, with stable keys and a ``schema`` member."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")(function)


def segment_option(function: F) -> F:
    """``--segment``: which segment to look at."""
    return click.option(
        "--segment",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="ARBPIPE_SEGMENT",
        help="Directory of the segment. Default: the one that runs.",
    )(function)


def config_option(function: F) -> F:
    """``--config``: which configuration file to read."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(dir_okay=False),
        help="Configuration file. Default: $ARBPIPE_CONFIG, ./arbpipe.toml, else the defaults.",
    )(function)


def say(text: str) -> None:
    """Progress, warnings, prompts: stderr."""
    click.echo(text, err=True)


def emit_json(value: dict[str, Any]) -> None:
    """The result as one JSON object."""
    click.echo(json.dumps(value, indent=2))


def styled() -> bool:
    """Whether colour and boxes are welcome: a terminal, and no NO_COLOR."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def lines_of(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Rows as aligned columns, two blanks apart, the ``right`` ones right-aligned; the last column runs free."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            text.rjust(widths[column]) if column in right else text.ljust(widths[column])
            for column, text in enumerate(row)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def find_segment(given: Path | None) -> Path:
    """The segment to look at: the one named, the default one, or the only private one there is.

    Raises:
        NotRunning: there is none.
        UsageRefused: there are several.
    """
    if given is not None:
        return given
    default = default_directory()
    if (default / "segment").exists():
        return default
    private = sorted(path.parent for path in default_directory("any").parent.glob("*/segment"))
    if len(private) == 1:
        return private[0]
    if private:
        names = ", ".join(str(path) for path in private)
        raise UsageRefused(f"several pipelines run here: name one with --segment ({names})")
    raise NotRunning(f"no segment at {default}, and no demo or replay runs: start `arbpipe demo`")
