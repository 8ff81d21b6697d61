"""What every process of the pipeline does alike: its role, its line in shared memory, signals, its parent's death.

A process is started as ``python -m arbpipe.process ROLE RUN.json``. The run file holds everything it needs and nothing
secret. It ends when it is told to (SIGTERM), when its supervisor dies, or when its segment was replaced.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from arbpipe.alerts import Alerts
from arbpipe.config import Config
from arbpipe.errors import ArbpipeError, ExitCode
from arbpipe.shm.ageclock import SegmentClock
from arbpipe.shm.layout import Role
from arbpipe.shm.locks import RoleLock
from arbpipe.shm.segment import Mode, Segment
from arbpipe.shm.stats import ErrorCode, ProcessLine, ProcessState

__all__ = ["Process", "RunSpec", "argv_of", "encode_spec", "main", "read_spec"]

_PR_SET_PDEATHSIG: Final = 1


class RunSpec(msgspec.Struct, frozen=True):
    """One run of the pipeline, as the supervisor writes it for its children."""

    segment: str
    instance: str
    mode: int
    state: str
    pairs: str
    config: Config
    recordings: dict[str, list[str]] = {}
    supervisor: int = 0

    @property
    def mode_name(self) -> str:
        """DEMO, REPLAY, PAPER or LIVE."""
        return Mode.NAMES[self.mode]

    def ledger_path(self, kind: str = "ledger") -> Path:
        """A database of this run; the mode stands in its name."""
        return Path(self.state) / f"{kind}-{self.mode_name.lower()}.sqlite"


def read_spec(path: Path) -> RunSpec:
    """Read a run file."""
    return msgspec.json.decode(path.read_bytes(), type=RunSpec)


class Process:
    """One role of one run. ``stop`` turns true when the process should end in order."""

    def __init__(self, role: Role, spec: RunSpec) -> None:
        self.role = role
        self.spec = spec
        self.stop = False
        self.segment = Segment.attach(Path(spec.segment), writable=True)
        self.lock = RoleLock(self.segment.directory, role.label)
        self.line = ProcessLine(self.segment, role)
        self.line.begin()
        self.alerts = Alerts(Path(spec.state) / "alerts.log", spec.mode_name, role.label, self.line)
        self.clock = SegmentClock(self.segment)
        self._on_stop: list[Callable[[], None]] = []
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the supervisor, which stops us in order

    def _stop(self, *_: object) -> None:
        self.stop = True
        for action in self._on_stop:
            action()

    def on_stop(self, action: Callable[[], None]) -> None:
        """Also do this when the stop signal comes."""
        self._on_stop.append(action)

    def orphaned(self) -> bool:
        """Whether the supervisor that started this process is gone."""
        return self.spec.supervisor != 0 and os.getppid() != self.spec.supervisor

    def should_stop(self) -> bool:
        """Told to stop, or orphaned."""
        return self.stop or self.orphaned()

    def close(self, state: ProcessState = ProcessState.HALT) -> None:
        """Leave in order."""
        self.line.state(state)
        self.lock.release()
        self.segment.detach()


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the thread that started this process ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _runner(role: Role) -> Callable[[Process], None]:
    """The main function of a role; imported here, so that no process loads what it does not need."""
    if role in (Role.FEED_KALSHI, Role.FEED_POLYMARKET):
        from arbpipe.record.process import run_feed

        return run_feed
    if role is Role.DETECTOR:
        from arbpipe.detector.process import run_detector

        return run_detector
    if role is Role.EXECUTOR:
        from arbpipe.executor.process import run_executor

        return run_executor
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
        run = _runner(role)
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
        process.alerts.alert(ErrorCode.CRASH, f"{type(error).__name__}: {error}")
        process.line.state(ProcessState.FAIL)
        traceback.print_exc()
        return ExitCode.FAILED
    process.close()
    return ExitCode.OK


def argv_of(role: Role, run_file: Path) -> list[str]:
    """The command line that starts a role."""
    return [sys.executable, "-m", "arbpipe.process", role.label, str(run_file)]


def encode_spec(spec: RunSpec) -> bytes:
    """A run file's content."""
    return msgspec.json.encode(spec)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
