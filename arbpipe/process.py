"""What every process of the pipeline does alike: its role, its line in shared memory, signals, its parent's death.

A process is started as ``python -m arbpipe.roles ROLE RUN.json``. The run file holds everything it needs and nothing
secret. It ends when it is told to (SIGTERM) and when its supervisor dies.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec

from arbpipe.alerts import Alerts
from arbpipe.config import Config
from arbpipe.errors import EnvironmentRefused
from arbpipe.shm.ageclock import SegmentClock
from arbpipe.shm.layout import Role
from arbpipe.shm.locks import RoleLock
from arbpipe.shm.segment import Mode, Segment
from arbpipe.shm.stats import ProcessLine, ProcessState

__all__ = ["Process", "RunSpec", "encode_spec", "read_spec"]


class RunSpec(msgspec.Struct, frozen=True):
    """One run of the pipeline, as the supervisor writes it for its children.

    ``live_feeds``: from sockets, else from ``recordings``. ``live_orders``: through the venues' gateways, else on paper.
    ``record``: a folder in which live feeds keep their frames. ``temporary``: folders that nobody needs once the run is
    over, should its supervisor not live to remove them.
    """

    segment: str
    instance: str
    mode: int
    state: str
    pairs: str
    config: Config
    recordings: dict[str, list[str]] = {}
    live_feeds: bool = False
    live_orders: bool = False
    record: str = ""
    supervisor: int = 0
    temporary: list[str] = []

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
        if spec.config.segment.lock_memory:
            self._lock_memory()
        self.line = ProcessLine(self.segment, role)
        self.line.begin()
        self.alerts = Alerts(Path(spec.state) / "alerts.log", spec.mode_name, role.label, self.line)
        self.clock = SegmentClock(self.segment)
        self._on_stop: list[Callable[[], None]] = []
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the supervisor, which stops us in order

    def _lock_memory(self) -> None:
        try:
            self.segment.region.lock()
        except OSError as error:
            raise EnvironmentRefused(
                f"[segment] lock_memory: cannot lock {self.segment.size:,} bytes of {self.segment.directory}: "
                f"{error.strerror}: raise RLIMIT_MEMLOCK (LimitMEMLOCK= in a unit, ulimit -l) or turn it off"
            ) from None

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
        """Told to stop, or orphaned.

        Raises:
            SafetyRefused: another segment lies where ours was.
        """
        self.segment.check_in_place()
        return self.stop or self.orphaned()

    def close(self, state: ProcessState = ProcessState.HALT) -> None:
        """Leave in order."""
        self.line.state(state)
        self.lock.release()
        self.segment.detach()


def encode_spec(spec: RunSpec) -> bytes:
    """A run file's content."""
    return msgspec.json.encode(spec)
