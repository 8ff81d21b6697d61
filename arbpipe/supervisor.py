"""The supervisor: starts the processes of one run, pins them, watches them, restarts them, ends them in order.

Children die with it (the kernel signals them, and they look at their parent), and it never outlives its segment. A child that
ends or stops beating is killed and started again; a child that keeps failing is started more and more slowly, never given up.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from arbpipe.alerts import Alerts
from arbpipe.clock import boottime_ns
from arbpipe.errors import TimedOut
from arbpipe.process import RunSpec, encode_spec
from arbpipe.roles import argv_of
from arbpipe.shm.layout import PROCESS, Role
from arbpipe.shm.locks import RoleLock
from arbpipe.shm.segment import Segment
from arbpipe.shm.stats import Counter, ErrorCode, ProcessLine, ProcessState

__all__ = ["CHILDREN", "STOP_ORDER", "Supervisor"]

#: Started in this order.
CHILDREN: Final = (Role.CATALOG, Role.FEED_KALSHI, Role.FEED_POLYMARKET, Role.DETECTOR, Role.EXECUTOR)
#: Stopped in this order (design 9): intake and attempts end with the executor, then what feeds it.
STOP_ORDER: Final = (Role.EXECUTOR, Role.DETECTOR, Role.FEED_KALSHI, Role.FEED_POLYMARKET, Role.CATALOG)
_HUNG_NS: Final = 2_000_000_000
_BOOT_NS: Final = 10_000_000_000
_FIRST_DELAY_S: Final = 0.05
_MOST_DELAY_S: Final = 2.0
_STABLE_S: Final = 5.0
_STOP_S: Final = {Role.EXECUTOR: 8.0}


@dataclass(slots=True)
class _Child:
    role: Role
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    delay: float = _FIRST_DELAY_S
    due: float = 0.0
    restarts: int = 0
    exits: list[int] = field(default_factory=list)


class Supervisor:
    """One run. Use as a context manager: leaving it stops every child."""

    def __init__(self, segment: Segment, spec: RunSpec, roles: Sequence[Role] = CHILDREN) -> None:
        """Take the supervisor's lock and write the run file.

        Raises:
            SafetyRefused: another supervisor runs on this segment.
        """
        self._segment = segment
        self._lock = RoleLock(segment.directory, Role.SUPERVISOR.label)
        self._line = ProcessLine(segment, Role.SUPERVISOR)
        self._line.begin()
        self._alerts = Alerts(Path(spec.state) / "alerts.log", spec.mode_name, Role.SUPERVISOR.label, self._line)
        Path(spec.state).mkdir(parents=True, exist_ok=True)
        self._run_file = segment.directory / "run.json"
        self._run_file.write_bytes(encode_spec(spec))
        self._cpus = {
            Role.FEED_KALSHI: spec.config.feeds.kalshi_cpus,
            Role.FEED_POLYMARKET: spec.config.feeds.polymarket_cpus,
            Role.DETECTOR: spec.config.detector.cpus,
            Role.EXECUTOR: spec.config.executor.cpus,
        }
        self._log = open(Path(spec.state) / "processes.log", "ab")  # noqa: SIM115 - the children write to it
        self._children = {role: _Child(role) for role in roles}

    def __enter__(self) -> Supervisor:
        for child in self._children.values():
            self._start(child)
        self._line.state(ProcessState.RUN)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def restarts(self) -> int:
        """How many times a child was started again."""
        return sum(child.restarts for child in self._children.values())

    def pid(self, role: Role) -> int:
        """The pid of a child, 0 while it is down."""
        process = self._children[role].process
        return process.pid if process else 0

    # -- watching ----------------------------------------------------------------------------------------------------

    def _start(self, child: _Child) -> None:
        cpus = self._cpus.get(child.role, ())

        def pin() -> None:
            if cpus:
                os.sched_setaffinity(0, cpus)

        child.process = subprocess.Popen(
            argv_of(child.role, self._run_file),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            preexec_fn=pin if cpus else None,
        )
        child.started = time.monotonic()

    def watch(self) -> None:
        """Look at every child once: restart what ended, kill what hangs. Call it often.

        Raises:
            SafetyRefused: another segment lies where ours was; a child started now would join somebody else's run.
        """
        now = time.monotonic()
        self._segment.check_in_place()
        for child in self._children.values():
            if child.process is None:
                if now >= child.due:
                    child.restarts += 1
                    self._start(child)
                continue
            code = child.process.poll()
            if code is None:
                if self._hangs(child):
                    child.process.kill()
                continue
            child.exits.append(code)
            child.process = None
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._alerts.alert(ErrorCode.CRASH, f"{child.role.label} ended ({how}): it is started again")
            stable = now - child.started > _STABLE_S
            child.delay = _FIRST_DELAY_S if stable else min(child.delay * 2, _MOST_DELAY_S)
            child.due = now + (_FIRST_DELAY_S if stable else child.delay / 2)
        self._line.add(Counter.TURNS)
        self._line.beat()

    def _hangs(self, child: _Child) -> bool:
        """No turn of the work loop for two seconds (ten while it starts)."""
        assert child.process is not None
        base, region = self._segment.section("processes").at(child.role), self._segment.region
        if region.load_u32(base + PROCESS.offset("pid")) != child.process.pid:
            return time.monotonic() - child.started > _BOOT_NS / 1e9
        state = region.load_u32(base + PROCESS.offset("state"))
        silent = boottime_ns() - region.load_i64(base + PROCESS.offset("heartbeat_ns"))
        return silent > (_BOOT_NS if state == ProcessState.BOOT else _HUNG_NS)

    def failing(self, times: int = 3) -> Role | None:
        """A child that ended by itself so often in a row that it will not come up."""
        for child in self._children.values():
            if len(child.exits) >= times and all(code > 0 for code in child.exits[-times:]) and child.delay > 0.3:
                return child.role
        return None

    def wait_until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Watch until a condition holds.

        Raises:
            TimedOut: it did not in time; ``what`` is in the message, with a child that keeps failing.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.watch()
            failing = self.failing()
            if failing is not None or time.monotonic() > deadline:
                who = f"; {failing.label} keeps failing, see {self._log.name}" if failing else ""
                raise TimedOut(f"{what} did not happen within {timeout_s:.0f} s{who}")
            time.sleep(0.002)

    def running(self) -> bool:
        """Whether every child of the run is in RUN."""
        place, region = self._segment.section("processes"), self._segment.region
        return all(
            child.process is not None
            and region.load_u32(place.at(child.role) + PROCESS.offset("pid")) == child.process.pid
            and region.load_u32(place.at(child.role) + PROCESS.offset("state")) == ProcessState.RUN
            for child in self._children.values()
        )

    def kill(self) -> None:
        """End every child at once, without order. Safe in a signal handler."""
        for child in self._children.values():
            # not Popen.kill and Popen.wait: they take a lock that the interrupted code may hold
            if child.process is not None and child.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.process.pid, signal.SIGKILL)
        for child in self._children.values():
            if child.process is not None:
                if child.process.returncode is None:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(child.process.pid, 0)
                    child.process.returncode = -signal.SIGKILL
                child.process = None

    # -- ending ------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the children in order, each within a bound; then give up the lock."""
        for role in STOP_ORDER:
            child = self._children.get(role)
            if child is None or child.process is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(signal.SIGTERM)
            try:
                child.process.wait(_STOP_S.get(role, 1.0))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            child.process = None
        self._line.state(ProcessState.HALT)
        self._log.close()
        self._lock.release()
