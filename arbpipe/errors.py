"""Exit codes, and the errors that carry one. Every message says what, where, which value, what now."""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "ExitCode",
    "ArbpipeError",
    "UsageRefused",
    "NotRunning",
    "EnvironmentRefused",
    "SafetyRefused",
    "LayoutMismatch",
    "TimedOut",
]


class ExitCode(IntEnum):
    """What a command returns (design 12)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    ENVIRONMENT = 4
    SAFETY = 5
    MISMATCH = 6
    TIMEOUT = 7
    INTERRUPTED = 130


class ArbpipeError(Exception):
    """An expected failure: one clear line for the user, and an exit code."""

    code = ExitCode.FAILED


class UsageRefused(ArbpipeError):
    """The command line does not make sense."""

    code = ExitCode.USAGE


class NotRunning(ArbpipeError):
    """There is no segment, or nobody behind it."""

    code = ExitCode.NOT_RUNNING


class EnvironmentRefused(ArbpipeError):
    """Configuration, files or machine are not what is needed."""

    code = ExitCode.ENVIRONMENT


class SafetyRefused(ArbpipeError):
    """Refused because going on would not be safe."""

    code = ExitCode.SAFETY


class LayoutMismatch(ArbpipeError):
    """A segment, file or ledger of another version."""

    code = ExitCode.MISMATCH


class TimedOut(ArbpipeError):
    """It did not happen in time."""

    code = ExitCode.TIMEOUT
