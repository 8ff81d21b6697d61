"""``arbpipe config init`` and ``arbpipe config show``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from arbpipe.cli.common import config_option, emit_json, json_option, lines_of, say
from arbpipe.errors import EnvironmentRefused

__all__ = ["command"]


@click.group("config")
def command() -> None:
    """Create and show the configuration."""


@command.command("init")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), default=Path("arbpipe.toml"))
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(path: Path, force: bool) -> None:
    """Write a configuration file with every key and its default to PATH (arbpipe.toml)."""
    from arbpipe.config import default_toml

    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with open(path, "w", encoding="utf-8", opener=lambda p, _: os.open(p, flags, 0o640)) as file:
            file.write(default_toml())
    except FileExistsError:
        raise EnvironmentRefused(f"{path} is there already: edit it, or replace it with --force") from None
    except OSError as error:
        raise EnvironmentRefused(f"cannot write {path}: {error.strerror}") from None
    click.echo(str(path))
    say("look at what is in force with: arbpipe config show")


@command.command("show")
@config_option
@json_option
def show(config_path: str | None, as_json: bool) -> None:
    """Print every value in force and where it came from."""
    import msgspec

    from arbpipe.config import find_config, load

    loaded = load(find_config(config_path, os.environ))
    values = msgspec.to_builtins(loaded.config)
    if as_json:
        emit_json(
            {
                "schema": 1,
                "path": str(loaded.path) if loaded.path else None,
                "values": {
                    f"{section}.{key}": {"value": value, "origin": loaded.origins[f"{section}.{key}"]}
                    for section, keys in values.items()
                    for key, value in keys.items()
                },
            }
        )
        return
    rows = [
        (f"{section}.{key}", str(list(value)) if isinstance(value, (tuple, list)) else str(value), origin)
        for section, keys in values.items()
        for key, value in keys.items()
        for origin in (loaded.origins[f"{section}.{key}"],)
    ]
    for line in lines_of(rows):
        click.echo(line)
