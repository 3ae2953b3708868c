"""The contracts among the modules, and the two rules that an import linter can't see."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from subprocess import run

import pytest

from tests.house.tree import PACKAGE, ROOT, centre, modules, place


def test_import_contracts() -> None:
    result = run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def _last_name(node: ast.expr) -> str:
    """``log`` for ``log``, ``self._log`` and ``parts.log``: the last word of a name or an attribute."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    return ""


def _appends(tree: ast.Module) -> Iterator[int]:
    """Lines with ``await X.append(...)`` (a list's append is never awaited) or ``LOG.append`` for a name that is a log's."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Await)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Attribute)
            and node.value.func.attr == "append"
        ):
            yield node.lineno
        if isinstance(node, ast.Attribute) and node.attr == "append":
            name = _last_name(node.value).strip("_")
            if name == "log" or name.endswith("_log"):
                yield node.lineno


def test_only_the_authority_appends_to_the_log() -> None:
    places = {
        path: [place(path, line) for line in sorted(set(_appends(ast.parse(source))))]
        for path, source in modules()
    }
    appending = {path: lines for path, lines in places.items() if lines}
    # a copy puts down the records of another log as they are, and decides nothing; an adapter hands on to its own parts
    copying = PACKAGE / "wiring" / "copying.py"
    within = [
        path for path in appending if path.relative_to(PACKAGE).parts[0] != "adapters" and path != copying
    ]
    outside = [
        appending[path]
        for path in within
        if path.relative_to(PACKAGE).with_suffix("").parts[0] != "authority"
    ]
    assert not outside, f"appends to the log outside the authority: {outside}"
    assert len(within) == 1, f"expected one module that appends, found {list(appending.values())}"


@pytest.mark.parametrize(
    ("source", "caught"),
    [
        ("async def f(log):\n    await log.append([])", True),
        ("async def f(self):\n    await self._log.append([])", True),
        ("def f(event_log, loop):\n    loop.create_task(event_log.append([]))", True),
        ("async def f(ledger):\n    await ledger.append([])", True),
        ("def f(self):\n    put = self._log.append", True),
        ("def f(lines):\n    lines.append(1)", False),
        ("def f(catalog):\n    catalog.append(1)", False),
    ],
)
def test_the_append_rule_sees_what_it_should(source: str, *, caught: bool) -> None:
    assert bool(list(_appends(ast.parse(source)))) is caught


_CLOCKS = {"now", "today", "utcnow"}
_CLOCK_MODULES = {"time"}
_LOTS = {"urandom", "token_bytes", "token_hex", "token_urlsafe", "randbytes", "getrandbits", "uuid1", "uuid4"}


def _clocks_and_lots(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Calls that read a clock or draw lots: ``X.now()``, ``date.today()``, ``time.time()``, ``urandom``, ``random_serial_number``."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _last_name(node.func)
        if isinstance(node.func, ast.Attribute) and (
            name in _CLOCKS or _last_name(node.func.value) in _CLOCK_MODULES
        ):
            yield node.lineno, name
        if name in _LOTS or name in {"random_serial_number", "generate_private_key"}:
            yield node.lineno, name


def test_the_centre_reads_no_clock_and_draws_no_lots() -> None:
    found = [
        f"{place(path, line)} {name}" for path, tree in centre() for line, name in _clocks_and_lots(tree)
    ]
    assert not found, f"a clock or a lottery in the centre, where `now` and `entropy` are arguments: {found}"


@pytest.mark.parametrize(
    ("source", "caught"),
    [
        ("datetime.now(UTC)", True),
        ("datetime.datetime.utcnow()", True),
        ("date.today()", True),
        ("time.time()", True),
        ("time.monotonic_ns()", True),
        ("os.urandom(16)", True),
        ("uuid4()", True),
        ("x509.random_serial_number()", True),
        ("decide(state, command, now=now)", False),
        ("datetime.fromtimestamp(now, UTC)", False),
        ("entropy(16)", False),
    ],
)
def test_the_clock_rule_sees_what_it_should(source: str, *, caught: bool) -> None:
    assert bool(list(_clocks_and_lots(ast.parse(source)))) is caught
