"""Refuse a wheel whose name promises a platform and that holds no native core: `check_wheel.py WHEEL …`.

The extension is optional, so that an install without a compiler succeeds; setuptools tags the wheel for the platform all the
same. Such a wheel must never be published: whoever installs it gets the slow twin and a name that says otherwise.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

CORE = "arbpipe/_native.abi3.so"


def problem(wheel: Path) -> str | None:
    """What is wrong with a wheel, or ``None``."""
    parts = wheel.stem.split("-")
    if wheel.suffix != ".whl" or len(parts) < 5:
        return f"{wheel.name} is not a wheel's name"
    python, abi, platform = parts[-3:]
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    extensions = sorted(name for name in names if name.endswith(".so"))
    if platform == "any":
        return f"{wheel.name} is for any platform and holds {', '.join(extensions)}" if extensions else None
    if CORE not in names:
        return f"{wheel.name} is for {platform} and holds no {CORE}: build it where a C compiler is"
    if abi != "abi3" or python != "cp311":
        return f"{wheel.name} is tagged {python}-{abi}: the core has the stable ABI of cp311"
    return None


if __name__ == "__main__":
    problems = [found for found in map(problem, map(Path, sys.argv[1:])) if found]
    print("\n".join(problems) or "every wheel has its core", file=sys.stderr if problems else sys.stdout)
    sys.exit(1 if problems or len(sys.argv) < 2 else 0)
