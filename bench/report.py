"""The form of every bench's result: a table for people, and with ``--json`` one object as the last thing on stdout."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from arbpipe.shm.core import CORE


@dataclass(frozen=True, slots=True)
class Case:
    """One distribution."""

    name: str
    unit: str
    p50: float
    p90: float
    p99: float
    p99_9: float
    max: float
    count: int


@dataclass(frozen=True, slots=True)
class Aim:
    """What was aimed at and what came out."""

    name: str
    aim: float
    value: float
    unit: str
    met: bool


@dataclass(slots=True)
class Report:
    """Everything a bench says."""

    bench: str
    cases: list[Case] = field(default_factory=list)
    aims: list[Aim] = field(default_factory=list)

    def add(self, name: str, unit: str, samples: Sequence[float]) -> Case:
        """A case from its samples."""
        ordered = sorted(samples)

        def at(fraction: float) -> float:
            return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]

        case = Case(name, unit, at(0.5), at(0.9), at(0.99), at(0.999), ordered[-1], len(ordered))
        self.cases.append(case)
        return case

    def figure(self, name: str, unit: str, value: float) -> None:
        """A case of one value."""
        self.cases.append(Case(name, unit, value, value, value, value, value, 1))

    def aim(self, name: str, aim: float, value: float, unit: str, *, at_least: bool = False) -> None:
        """Compare a value with what was aimed at."""
        self.aims.append(Aim(name, aim, value, unit, value >= aim if at_least else value <= aim))

    def show(self, *, as_json: bool) -> None:
        """Print the table, then the object."""
        print(f"bench {self.bench}  core: {CORE}  {machine()}")
        for case in self.cases:
            print(
                f"  {case.name:<44} p50 {case.p50:>10.2f}  p90 {case.p90:>10.2f}  p99 {case.p99:>10.2f}  "
                f"p99.9 {case.p99_9:>10.2f}  max {case.max:>10.2f} {case.unit}  n={case.count}"
            )
        for aim in self.aims:
            print(f"  {'met   ' if aim.met else 'MISSED'} {aim.name}: {aim.value:.2f} {aim.unit}, aim {aim.aim:g}")
        if as_json:
            print(
                json.dumps(
                    {
                        "bench": self.bench,
                        "machine": machine(),
                        "commit": commit(),
                        "core": CORE,
                        "cases": [asdict(case) for case in self.cases],
                        "aims": [asdict(aim) for aim in self.aims],
                    }
                )
            )


def machine() -> str:
    """Processor, cores, kernel, Python."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = len([line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")])
    return f"{model}, {cores} cores, Linux {platform.release()}, Python {platform.python_version()}"


def commit() -> str:
    """The checked-out commit, if this is a checkout."""
    try:
        return subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
