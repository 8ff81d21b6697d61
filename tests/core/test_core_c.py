"""The C sources: clean under every warning, and no byte out of bounds, no undefined behaviour, under the sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from core_mutants import HERE, NATIVE, build

PURE = [NATIVE / f"{name}.c" for name in ("row", "log", "ring", "wait", "kernel", "outlet")]
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wconversion", "-Wno-sign-conversion"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"]

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not here")


def compiled(target: Path, *arguments: str | Path) -> Path:
    done = subprocess.run(["gcc", "-std=c11", f"-I{NATIVE}", *arguments, "-o", target], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def test_the_extension_compiles_without_a_warning(tmp_path: Path) -> None:
    build(NATIVE, tmp_path / "native.so", "-O3", *WARNINGS[:3])


def test_the_protocols_compile_without_a_warning_of_any_conversion(tmp_path: Path) -> None:
    for source in PURE:
        compiled(tmp_path / "object", "-O3", "-c", *WARNINGS, source)


def test_the_c_tests_pass_under_the_sanitizers(tmp_path: Path) -> None:
    program = compiled(
        tmp_path / "native_test",
        *SANITIZE,
        "-DARBPIPE_NO_CLONES",
        *WARNINGS[:3],
        HERE / "native_test.c",
        *PURE,
        "-lpthread",
    )
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("ring.c", "stride * (at & (capacity - 1))", "stride * (at & capacity)", "heap-buffer-overflow"),
        (
            "kernel.c",
            "room((size_t)props + 1, sizeof *k->best_e6)",
            "room(props, sizeof *k->best_e6)",
            "heap-buffer-overflow",
        ),
        ("kernel.c", "free(all[n]);", "(void)all;", "LeakSanitizer"),
        ("outlet.c", "bucket < N_BUCKETS ? bucket : N_BUCKETS - 1", "bucket", "heap-buffer-overflow"),
        ("outlet.c", "uint64_t fee[DIGITS] = {0}, left", "uint64_t fee[3] = {0}, left", "insufficient space"),
        (
            "kernel.c",
            "int64_t edge = word[1] * ONE_DOLLAR_E6;",
            "int edge = (int)(word[1] * ONE_DOLLAR_E6);",
            "signed integer overflow",
        ),
    ],
)
def test_the_sanitizers_do_notice(file: str, old: str, new: str, says: str, tmp_path: Path) -> None:
    for source in (*PURE, NATIVE / "core.h"):
        text = source.read_text()
        if source.name == file:
            assert text.count(old) == 1
            text = text.replace(old, new)
        (tmp_path / source.name).write_text(text)
    sources = [tmp_path / source.name for source in PURE]
    program = compiled(
        tmp_path / "wrong",
        f"-I{tmp_path}",
        *SANITIZE,
        "-DARBPIPE_NO_CLONES",
        HERE / "native_test.c",
        *sources,
        "-lpthread",
    )
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert says in done.stderr


def test_the_bindings_pass_the_operations_of_the_twin_under_the_sanitizers(tmp_path: Path) -> None:
    extension = tmp_path / "_native.abi3.so"
    build(NATIVE, extension, *SANITIZE, "-DARBPIPE_NO_CLONES")
    library = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    script = (
        "import sys; from core_mutants import load_core; from test_core_twin import disagreement; "
        "print(disagreement(load_core(sys.argv[1]), load_core('arbpipe._python'), range(150)))"
    )
    environment = dict(
        os.environ,
        LD_PRELOAD=os.path.realpath(library),
        ASAN_OPTIONS="detect_leaks=0",  # the interpreter itself leaks at exit
        PYTHONPATH=f"{HERE}:{HERE.parents[1]}",
    )
    done = subprocess.run(
        [sys.executable, "-c", script, extension], capture_output=True, text=True, env=environment, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stdout + done.stderr


def test_it_compiles_for_aarch64_where_a_cross_compiler_is(tmp_path: Path) -> None:
    """Compiled, never claimed: nothing here has run on such a machine."""
    compiler = shutil.which("aarch64-linux-gnu-gcc")
    if compiler is None:
        pytest.skip("no aarch64-linux-gnu-gcc here")
    includes = f"-I{sysconfig.get_path('include')}"
    for source in NATIVE.glob("*.c"):
        subprocess.run(
            [compiler, "-std=c11", "-O2", "-c", includes, *WARNINGS[:3], source, "-o", tmp_path / "o"], check=True
        )
