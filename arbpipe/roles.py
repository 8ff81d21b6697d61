"""``python -m arbpipe.roles ROLE RUN.json``: the one place where roles, and the venues behind the executor, are put together.

Each role's code is imported only in its own process, so that no process loads what it does not need.
"""

from __future__ import annotations

import ctypes
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

from arbpipe.errors import ArbpipeError, ExitCode
from arbpipe.process import Process, RunSpec, read_spec
from arbpipe.shm.layout import Role
from arbpipe.shm.stats import ErrorCode, ProcessState

__all__ = ["argv_of", "main"]

_PR_SET_PDEATHSIG: Final = 1


def argv_of(role: Role, run_file: Path) -> list[str]:
    """The command line that starts a role."""
    return [sys.executable, "-m", "arbpipe.roles", role.label, str(run_file)]


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the thread that started this process ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _runner(role: Role, spec: RunSpec) -> Callable[[Process], None]:
    """The main function of a role in this run."""
    if role in (Role.FEED_KALSHI, Role.FEED_POLYMARKET):
        if spec.live_feeds:
            from arbpipe.live import run_live_feed

            return run_live_feed
        from arbpipe.record.process import run_feed

        return run_feed
    if role is Role.DETECTOR:
        from arbpipe.detector.process import run_detector

        return run_detector
    if role is Role.EXECUTOR:
        from arbpipe.executor.process import run_executor

        if spec.live_orders:
            from arbpipe.live import live_gateways

            return lambda process: run_executor(process, live_gateways)
        from arbpipe.venues.paper.build import paper_gateways

        return lambda process: run_executor(process, paper_gateways)
    if role is Role.CATALOG:
        from arbpipe.catalog.process import run_catalog

        return run_catalog
    raise ValueError(f"{role.label} is not a child process")


def main(argv: list[str]) -> int:
    """Run one role until it is told to stop. Exit codes are those of every command."""
    _die_with_parent()
    role = Role[argv[0].upper().replace("-", "_")]
    spec = read_spec(Path(argv[1]))
    try:
        run = _runner(role, spec)
        process = Process(role, spec)
    except ArbpipeError as error:
        print(f"arbpipe {role.label}: {error}", file=sys.stderr)
        return error.code
    try:
        run(process)
    except ArbpipeError as error:
        process.alerts.alert(ErrorCode.CRASH, str(error))
        process.line.state(ProcessState.FAIL)
        print(f"arbpipe {role.label}: {error}", file=sys.stderr)
        return error.code
    except Exception as error:
        # whatever it is: said once where people look, then the supervisor starts us again
        process.alerts.alert(ErrorCode.CRASH, f"{type(error).__name__}: {error}")
        process.line.state(ProcessState.FAIL)
        traceback.print_exc()
        return ExitCode.FAILED
    process.close()
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
