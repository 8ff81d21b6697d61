"""``arbpipe completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["command"]


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    For bash: arbpipe completion bash > ~/.local/share/bash-completion/completions/arbpipe
    """
    from arbpipe.cli import root

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(root, {}, "arbpipe", "_ARBPIPE_COMPLETE").source())
