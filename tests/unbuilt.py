"""arbpipe as it is where no compiler was."""

from __future__ import annotations

from pathlib import Path

__all__ = ["tree_without_a_build"]

_ROOT = Path(__file__).resolve().parent.parent


def tree_without_a_build(tree: Path) -> Path:
    """Links to every source of the package and not to the extension, below ``tree``: a PYTHONPATH."""
    for source in (_ROOT / "arbpipe").rglob("*"):
        if source.suffix in (".py", ".c", ".h", ".pyi"):
            target = tree / source.relative_to(_ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
    return tree
