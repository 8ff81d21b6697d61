"""Cores by name or path, and wrong variants of both made from their sources: what a test does not notice it does not test."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import itertools
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

__all__ = ["HERE", "LONG", "NATIVE", "TWIN", "Change", "build", "load_core", "native_mutant", "twin_mutant"]

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "arbpipe" / "_native"
TWIN = HERE.parents[1] / "arbpipe" / "_python"
LONG = os.environ.get("ARBPIPE_LONG") == "1"
#: (file, what stands there, what to put in its place)
Change = tuple[str, str, str]
_numbers = itertools.count()


def load_core(name: str) -> ModuleType:
    """A core: a module's name, the path of a built extension, or the folder of a twin."""
    path = Path(name)
    if path.suffix == ".so":
        loader = importlib.machinery.ExtensionFileLoader("_native", name)
        spec = importlib.util.spec_from_file_location("_native", name, loader=loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
        return module
    if path.is_dir():
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        return importlib.import_module(path.name)
    return importlib.import_module(name)


def _changed(source: Path, changes: tuple[Change, ...]) -> str:
    text = source.read_text()
    for file, old, new in changes:
        if file == source.name:
            assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}: the mutant is out of date"
            text = text.replace(old, new)
    return text


def build(folder: Path, target: Path, *flags: str) -> None:
    """Compile the C files of a folder into an extension."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    includes = f"-I{sysconfig.get_path('include')}"
    sources = sorted(map(str, folder.glob("*.c")))
    done = subprocess.run(
        [
            *compiler,
            "-std=c11",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            includes,
            *flags,
            *sources,
            "-o",
            str(target),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def native_mutant(folder: Path, *changes: Change) -> str:
    """The native core with these changes, built; its path."""
    place = folder / f"native{next(_numbers)}"
    place.mkdir()
    assert {file for file, _, _ in changes} <= {source.name for source in NATIVE.iterdir()}
    for source in NATIVE.glob("*.[ch]"):
        (place / source.name).write_text(_changed(source, changes))
    target = place / "_native.abi3.so"
    build(place, target, "-O1", "-DARBPIPE_NO_CLONES")
    return str(target)


def twin_mutant(folder: Path, *changes: Change) -> str:
    """The twin with these changes; its folder, an importable package."""
    place = folder / f"twin{next(_numbers)}_{os.getpid()}"
    place.mkdir()
    assert {file for file, _, _ in changes} <= {source.name for source in TWIN.iterdir()}
    for source in TWIN.glob("*.py"):
        (place / source.name).write_text(_changed(source, changes).replace("arbpipe._python", place.name))
    return str(place)
