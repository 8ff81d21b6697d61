"""Running the command as a real process, in a world of its own: private HOME and TMPDIR, no ARBPIPE_* of ours.

Every wait has a deadline. Deadlines that the design promises are stretched by how slow the machine is at that moment
(:func:`slowness`), and by nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

from arbpipe.cli.health import health_of
from arbpipe.errors import ArbpipeError

__all__ = ["ROOT", "Box", "Done", "Running", "instances", "line_of", "opened", "protected", "slowness", "wait_for"]

ROOT = Path(__file__).resolve().parents[2]
_USUAL_START_S = 0.30
_POLL_S = 0.005
T = TypeVar("T")


def slowness() -> float:
    """How many times slower than an idle machine this one is now (1.0 at the least): a start with heavy imports."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import numpy, asyncio, msgspec"], check=True, timeout=60)
    return max(1.0, (time.monotonic() - began) / _USUAL_START_S)


def wait_for(what: str, condition: Callable[[], T | None], timeout_s: float) -> T:
    """Poll until ``condition`` gives something true, and return it; fail naming ``what`` after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout_s:.1f} s: {what}"
        time.sleep(_POLL_S)


def instances(pid: int | str = "*") -> list[Path]:
    """Directories under /dev/shm that a demo or replay with this pid made."""
    return sorted(Path(f"/dev/shm/arbpipe-{os.getuid()}").glob(f"*-{pid}-*"))


@contextmanager
def protected(directory: Path) -> Iterator[None]:
    """Hold a lock of no role in a segment's directory: another run that starts meanwhile does not clear it away."""
    with open(directory / "lock.witness", "wb") as file:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        yield


def line_of(health: Mapping[str, Any], role: str) -> dict[str, Any]:
    """One process of ``status --json``."""
    found: dict[str, Any] = next(each for each in health["processes"] if each["role"] == role)
    return found


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> Any:
        """What it said on stdout."""
        assert self.out, f"nothing on stdout; exit {self.code}; stderr: {self.err}"
        return json.loads(self.out)


class Running:
    """A command that runs. :meth:`wait` ends the test if it does not end in time."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._out = out
        self._err = err
        self._began = time.monotonic()
        self._directory: Path | None = None

    def send(self, number: signal.Signals) -> None:
        """A signal."""
        self.process.send_signal(number)

    @property
    def stdout(self) -> str:
        """What it said on stdout so far."""
        return self._out.read_text()

    @property
    def stderr(self) -> str:
        """What it said on stderr so far."""
        return self._err.read_text()

    def wait(self, timeout_s: float = 60.0) -> Done:
        """Its end."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"pid {self.pid} did not end within {timeout_s} s; stderr: {self.stderr}") from None
        return Done(code, self._out.read_text(), self.stderr, time.monotonic() - self._began)

    def directory(self, timeout_s: float = 15.0) -> Path:
        """Where its segment lies."""

        def made() -> Path | None:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.stderr}"
            return next((path for path in instances(self.pid) if (path / "segment").exists()), None)

        if self._directory is None:
            self._directory = wait_for("a segment", made, timeout_s)
        return self._directory

    def health(self) -> dict[str, Any] | None:
        """What ``status --json`` says of it, read in this process; ``None`` without a segment."""
        try:
            return health_of(self.directory())
        except ArbpipeError:
            return None

    def until(self, what: str, condition: Callable[[dict[str, Any]], bool], timeout_s: float) -> dict[str, Any]:
        """Wait until its health is such."""

        def found() -> dict[str, Any] | None:
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.stderr}"
            health = self.health()
            return health if health is not None and condition(health) else None

        return wait_for(what, found, timeout_s)

    def healthy(self, timeout_s: float = 20.0) -> dict[str, Any]:
        """Wait until everything runs."""
        return self.until("a healthy pipeline", lambda health: bool(health["healthy"]), timeout_s)


class Box:
    """A private world for commands: a folder with ``home``, ``tmp`` and ``work`` (the working directory)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.tmp, self.work = (folder / name for name in ("home", "tmp", "work"))
        for each in (self.home, self.tmp, self.work):
            each.mkdir(parents=True)
        self._running: list[Running] = []
        self._names = iter(range(1_000_000))

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """A clean environment and what the test adds."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "CI") if name in os.environ}
        own = {"HOME": str(self.home), "TMPDIR": str(self.tmp), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**kept, **own, **(more or {})}

    def start(self, *args: object, env: Mapping[str, str] | None = None, group: bool = False) -> Running:
        """Start ``python -m arbpipe …``; with ``group`` as a terminal does it, in a process group of its own."""
        number = next(self._names)
        out, err = self.folder / f"{number}.out", self.folder / f"{number}.err"
        with open(out, "wb") as stdout, open(err, "wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "arbpipe", *(str(each) for each in args)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.work,
                env=self.environment(env),
                process_group=0 if group else None,
            )
        running = Running(process, out, err)
        self._running.append(running)
        return running

    def run(self, *args: object, env: Mapping[str, str] | None = None, timeout_s: float = 60.0) -> Done:
        """Run it to its end."""
        return self.start(*args, env=env).wait(timeout_s)

    def sample(self, *, seconds: float, events: int = 8, seed: int = 1) -> Path:
        """A folder with a seeded sample, written once."""
        folder = self.work / f"sample-{seed}-{events}-{seconds:g}"
        if not folder.exists():
            made = self.run("sample", folder, "--seed", seed, "--events", events, "--seconds", seconds)
            assert made.code == 0, made.err
        return folder

    def paper(self, *more: object, seconds: float, events: int = 8, seed: int = 1) -> Running:
        """Start the pipeline on paper at real speed: a sample's frames come as a venue would send them."""
        sample = self.sample(seconds=seconds, events=events, seed=seed)
        return self.start("replay", sample, "--speed", 1, *more)

    def status(self, directory: Path) -> Done:
        """``status --json`` of one segment."""
        return self.run("status", "--json", "--segment", directory)

    def processes(self) -> list[psutil.Process]:
        """Every process of this box: whatever has its HOME."""
        found = []
        for process in psutil.process_iter():
            try:
                # a zombie holds nothing: whoever reaps orphans here may take its time
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("HOME") == str(self.home):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def remains(self) -> list[str]:
        """What is left of everything that ran here: processes, temporary folders, segments."""
        left = [f"process {process.pid}: {process.cmdline()}" for process in self.processes()]
        left += [f"temporary {path.name}" for path in self.tmp.iterdir()]
        left += [f"segment {path}" for running in self._running for path in instances(running.pid)]
        return left

    def close(self) -> None:
        """End whatever still runs; remove what a killed process left."""
        for process in self.processes():
            process.kill()
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
            running.process.wait(10)
        for running in self._running:
            for directory in instances(running.pid):
                for path in directory.iterdir():
                    path.unlink()
                directory.rmdir()


@contextmanager
def opened(folder: Path) -> Iterator[Box]:
    """A box that is closed at the end."""
    box = Box(folder)
    try:
        yield box
    finally:
        box.close()
