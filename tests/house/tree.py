"""The tree as the house tests see it: the files that git would keep, and the package's modules as syntax trees."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "quicklime"

# The modules that do no I/O, keep no time and draw no lots.
CENTRE = ("errors", "events", "protocol", "codec", "log", "pki", "policy", "validation", "lifecycle")

_NOT_OURS = {
    ".git",
    ".venv",
    "__pycache__",
    "node_modules",
    "build",
    "dist",
    ".cache",
    "quicklime-data",
    "quicklime-root",
}


@cache
def files() -> tuple[Path, ...]:
    """Every file that is tracked or would be by ``git add``; without git (an unpacked archive), every file."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        found = [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]
    else:
        found = [path for path in ROOT.rglob("*") if not _NOT_OURS & set(path.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in found if path.is_file()))


def texts() -> Iterator[tuple[Path, str]]:
    """Every file of ``files()`` that is text."""
    for path in files():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        try:
            yield path, content.decode()
        except UnicodeDecodeError:
            continue


def modules() -> Iterator[tuple[Path, str]]:
    """Every Python file of the package, with its source."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if "__pycache__" not in path.parts:
            yield path, path.read_text(encoding="utf-8")


def centre() -> Iterator[tuple[Path, ast.Module]]:
    """The syntax tree of every module of the centre."""
    for path, source in modules():
        if path.relative_to(PACKAGE).with_suffix("").parts[0] in CENTRE:
            yield path, ast.parse(source, filename=str(path))


def place(path: Path, line: int) -> str:
    """``src/quicklime/log.py:12``, as an editor opens it."""
    return f"{path.relative_to(ROOT)}:{line}"
