"""The command ``arbpipe``: results on stdout, everything else on stderr, exit codes from one enum.

Each command is a module that is imported only when it is called, so that probes (``status``, ``why``) answer in about 0.1 s.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any, Final

import click

from arbpipe import __version__
from arbpipe.errors import ArbpipeError, ExitCode

__all__ = ["main"]

#: Command → (module, one line for the overview). The overview needs no import of the command.
COMMANDS: Final = {
    "demo": ("arbpipe.cli.demo", "Show the whole pipeline at work, with orders, against two simulated venues."),
    "run": ("arbpipe.cli.run", "Run the pipeline on the configured venues, on paper or with orders."),
    "sim": ("arbpipe.cli.sim", "Start the simulated venues alone, for people who write bots."),
    "replay": ("arbpipe.cli.replay", "Run recordings through feeds, detector and paper executor."),
    "sample": ("arbpipe.cli.sample", "Write a seeded recording of both venues, with its pairs.toml."),
    "status": ("arbpipe.cli.status", "Say who is alive, what is connected, what is quarantined."),
    "why": ("arbpipe.cli.why", "Say why a cover was not taken, or what became of an attempt."),
    "fees": ("arbpipe.cli.fees", "Say what a fill costs, to the digit."),
    "listings": ("arbpipe.cli.listings", "Read what Kalshi lists: rules, times, ticks and fees."),
    "doctor": ("arbpipe.cli.doctor", "Check the Kalshi account: key, clock, limits, balances, netting."),
    "config": ("arbpipe.cli.config", "Create and show the configuration."),
    "completion": ("arbpipe.cli.completion", "Print the shell completion script."),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, 1)
            hint = f": did you mean {near[0]}?" if near else f"; there are {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command {name!r}{hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="arbpipe")
def root() -> None:
    """Find and take arbitrage in binary markets on Kalshi and Polymarket.

    Exit codes: 0 ok; 1 failed or unhealthy; 2 usage; 3 not running; 4 configuration or environment; 5 refused for safety;
    6 version mismatch; 7 time-out; 130 interrupted.
    """


def _report(argv: list[str], code: int, message: str) -> None:
    """One line on stderr; with ``--json`` also the error as the result on stdout."""
    if "--json" in argv:
        body: dict[str, Any] = {"schema": 1, "error": {"code": code, "name": _name(code), "message": message}}
        print(json.dumps(body))
    print(f"arbpipe: {message}", file=sys.stderr)


def _name(code: int) -> str:
    try:
        return ExitCode(code).name.lower()
    except ValueError:
        return "failed"


def main(argv: list[str] | None = None) -> int:
    """Run a command and exit with its code."""
    arguments = sys.argv[1:] if argv is None else argv
    code = int(ExitCode.OK)
    try:
        result = root.main(args=arguments, prog_name="arbpipe", standalone_mode=False)
        code = int(result) if isinstance(result, int) else code
    except ArbpipeError as error:
        code = int(error.code)
        _report(arguments, code, str(error))
    except click.exceptions.NoArgsIsHelpError as error:
        code = int(ExitCode.USAGE)
        error.show()
    except click.UsageError as error:
        code = int(ExitCode.USAGE)
        where = error.ctx.command_path if error.ctx else "arbpipe"
        _report(arguments, code, f"{error.format_message()} (see `{where} --help`)")
    except click.ClickException as error:
        code = int(ExitCode.FAILED)
        _report(arguments, code, error.format_message())
    except (click.Abort, KeyboardInterrupt):
        code = int(ExitCode.INTERRUPTED)
        print("arbpipe: interrupted", file=sys.stderr)
    except BrokenPipeError:
        # the reader of our output went away: not an error, and nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
