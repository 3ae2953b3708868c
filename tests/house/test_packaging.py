"""What is declared is justified, and what is locked is locked to bytes, not to places."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from typing import Any

import pytest

from tests.house.tree import ROOT, modules, place

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-bench.lock")


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _name(requirement: str) -> str:
    """``pydantic-settings`` for ``pydantic_settings[toml]>=2``."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    return re.sub(r"[-_.]+", "-", match.group()).lower()


def _pins(lock: str) -> dict[str, set[str]]:
    """Every pinned name of a lock with its versions (more than one where they differ by platform)."""
    pins: dict[str, set[str]] = {}
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([a-z0-9-]+)==([^ ;\\]+)", line):
            pins.setdefault(match[1], set()).add(match[2])
    return pins


def _declared() -> list[str]:
    pyproject = _pyproject()
    groups = pyproject["dependency-groups"]
    return [*pyproject["project"]["dependencies"], *groups["dev"], *groups["build"], *groups["bench"]]


def test_every_dependency_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    found = [
        requirement
        for requirement in _declared()
        if not any(re.search(rf'"{re.escape(requirement)}",? +# +\S+ +\S+', line) for line in lines)
    ]
    assert not found, f"no reason on the line of its declaration: {found}"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_versions_and_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert _pins(lock)
    for number, line in enumerate(text.splitlines(), 1):
        assert re.fullmatch(
            r"[a-z0-9-]+==[^ \\]+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line
        ), f"{lock}:{number} {line!r} is neither a pinned version nor a hash"


def test_the_locks_hold_what_is_declared() -> None:
    pyproject = _pyproject()
    groups = pyproject["dependency-groups"]
    running = {_name(one) for one in (*pyproject["project"]["dependencies"], *groups["build"])}
    assert not running - _pins("requirements.lock").keys(), "make lock"
    testing = running | {_name(one) for one in groups["dev"]}
    assert not testing - _pins("requirements-dev.lock").keys(), "make lock"
    assert not {_name(one) for one in groups["bench"]} - _pins("requirements-bench.lock").keys(), "make lock"


def test_both_locks_name_the_same_versions() -> None:
    running, testing = _pins("requirements.lock"), _pins("requirements-dev.lock")
    differ = {
        name: (versions, testing.get(name))
        for name, versions in running.items()
        if testing.get(name) != versions
    }
    assert not differ, "make lock"


def test_every_import_of_the_package_is_declared() -> None:
    declared = {_name(one) for one in _pyproject()["project"]["dependencies"]}
    by_module = packages_distributions()
    found: list[str] = []
    for path, source in modules():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            else:
                continue
            foreign = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"quicklime"}
            found.extend(
                f"{place(path, node.lineno)} {name}"
                for name in sorted(foreign)
                if not declared & {_name(one) for one in by_module.get(name, [])}
            )
    assert not found, f"imported, but not among the dependencies of pyproject.toml: {found}"
