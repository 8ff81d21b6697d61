"""What the tests of the shared-memory plane share: a private directory on tmpfs, and child processes that always end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arbpipe.shm.layout import Counts

ROOT = Path(__file__).resolve().parent.parent.parent
#: Small, so that a segment is made in a millisecond; every section has more than one item where it can.
SMALL = Counts(slots=256, connections=4, log_capacity=64, ring_capacity=16, covers=8, relations=16, held=32)

Spawn = Callable[..., "Child"]


class Child:
    """A Python process that runs ``script``; it says what it has to say in lines."""

    def __init__(self, script: str, *args: object) -> None:
        env = dict(os.environ, PYTHONPATH=str(ROOT))
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            text=True,
            bufsize=1,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self) -> str:
        """The next line of its output; an empty one when it ended without saying any."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, text: str) -> None:
        """Send it one line."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def tell_raw(self, data: bytes) -> None:
        """Send it bytes as they are."""
        assert self.process.stdin is not None
        os.write(self.process.stdin.fileno(), data)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.end()

    def end(self, timeout_s: float = 30) -> int:
        """Wait for its own end; return the exit code."""
        code = self.process.wait(timeout_s)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        return code


@pytest.fixture
def plane() -> Iterator[Path]:
    """A private directory on tmpfs, removed afterwards whatever happened."""
    directory = Path(tempfile.mkdtemp(prefix="arbpipe-test-", dir="/dev/shm"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start children; those that still run at the end are killed."""
    children: list[Child] = []

    def start(script: str, *args: object) -> Child:
        children.append(Child(script, *args))
        return children[-1]

    yield start
    for child in children:
        child.kill()
