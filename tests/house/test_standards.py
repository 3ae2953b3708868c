"""`docs/standards.md`: each row has a state, what is done names a test that is there, and what the code cites has a row."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.house.tree import ROOT, modules

STATES = {"done", "partly", "refused"}
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_RFC = re.compile(r"RFC (\d+)")


def page() -> str:
    return (ROOT / "docs" / "standards.md").read_text(encoding="utf-8")


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every row of every table, without heads and rules."""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith(("| section ", "| attack ")):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def faults(cells: list[str]) -> Iterator[str]:
    if len(cells) < 4 or cells[-1] not in STATES:
        yield f"{cells[0]}: state {cells[-1]!r}, expected one of {sorted(STATES)}"
        return
    tests = _NAMED.findall(cells[-2])
    if cells[-1] == "done" and not tests:
        yield f"{cells[0]}: done, and no test named"
    for file, name in tests:
        if not (ROOT / file).is_file() or not re.search(
            rf"^(?:async )?def {name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE
        ):
            yield f"{cells[0]}: {file} has no {name}"


def test_every_row_has_a_state_and_what_is_done_names_a_test_that_is_there() -> None:
    assert [fault for cells in rows(page()) for fault in faults(cells)] == []
    assert len(list(rows(page()))) > 80


def test_what_the_code_cites_has_a_row() -> None:
    cited = {number for _, source in modules() for number in _RFC.findall(source)}
    said = set(_RFC.findall(page()))
    assert sorted(cited - said, key=int) == []


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("| RFC 1, Section 1 | it | `pki/` | `tests/house/test_standards.py::test_what_the_code_cites_has_a_row` | done |", False),
        ("| RFC 1, Section 1 | it | | not offered | refused |", False),
        ("| RFC 1, Section 1 | it | `pki/` | by construction | done |", True),
        ("| RFC 1, Section 1 | it | `pki/` | `tests/house/test_standards.py::test_nothing` | done |", True),
        ("| RFC 1, Section 1 | it | `pki/` | | soon |", True),
    ],
)  # fmt: skip
def test_the_rule_sees_what_it_should(row: str, *, wrong: bool) -> None:
    (cells,) = rows(row)
    assert bool(list(faults(cells))) is wrong
