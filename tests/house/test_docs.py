"""What the documents say is there: pages made from the program are fresh and whole, links lead somewhere, and so do the
files, verbs, commands and options that are named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from docs import make
from quicklime.cli.output import EXIT_SENTENCES, Exit
from quicklime.config import Config, settings
from quicklime.errors import Code
from quicklime.events import EVENTS
from quicklime.web.problem import REGISTRY
from tests.house.tree import ROOT, files

_SPAN = re.compile(r"`([^`\n]+)`")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@cache
def documents() -> tuple[Path, ...]:
    return tuple(path for path in files() if path.suffix == ".md")


@cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _page(name: str) -> str:
    return text_of(ROOT / "docs" / "reference" / name)


# --- what is made from the program ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(make.pages()))
def test_a_reference_page_is_what_the_program_says_now(name: str) -> None:
    assert _page(name) == make.pages()[name], "run `make docs` and commit what it wrote"


def test_nothing_else_lies_among_the_reference_pages() -> None:
    assert {path.name for path in (ROOT / "docs" / "reference").iterdir()} == set(make.pages())


def test_every_code_has_its_entry_and_stands_in_its_page() -> None:
    assert set(REGISTRY) == set(Code)
    assert [code for code in Code if f"| `{code}` |" not in _page("errors.md")] == []


def test_every_exit_code_has_its_sentence() -> None:
    assert set(EXIT_SENTENCES) == set(Exit)
    assert [code for code in Exit if f"| {int(code)} |" not in _page("cli.md")] == []


def test_every_setting_stands_in_its_page() -> None:
    # tables with names of the operator's choice are empty by default, and stand there with their members
    tables = {
        "profiles",
        "client_certificates",
        "cfssl.auth_keys",
        "acme.directories",
        "acme.validation.perspectives",
    }
    page = _page("configuration.md")
    missing = [key for key, _ in settings(Config()) if key not in tables and f"| `{key}` |" not in page]
    assert missing == []
    assert [one for one in tables if f"| `{one}" not in page] == []


def test_every_event_stands_in_its_page_and_has_its_schema() -> None:
    for event in EVENTS:
        assert f"## {event.TYPE}\n" in _page("events.md")
        assert (ROOT / "schemas" / f"{event.TYPE}.json").is_file()


def test_every_command_stands_in_its_page() -> None:
    missing = [words for words, _ in make.commands() if f"## {words}\n" not in _page("cli.md")]
    assert missing == []


def test_every_operation_is_described_and_no_other() -> None:
    assert sorted(make.operations()) == sorted(make.described_operations())


def test_every_metric_and_log_line_stands_in_its_page() -> None:
    page = _page("metrics.md")
    assert [name for name, *_ in make.metrics() if f"| `{name}` |" not in page] == []
    assert len(list(make.log_lines())) > 5


# --- what is named ----------------------------------------------------------------------------------------------------


def _anchors(path: Path) -> set[str]:
    """As the hosts of repositories make them from headings."""
    headings = _HEADING.findall(_FENCE.sub("", text_of(path)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _broken_links(path: Path, text: str) -> Iterator[str]:
    for link in _LINK.findall(_FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        found = (path.parent / target).resolve() if target else path
        is_there = found.exists()
        if is_there and anchor and found.suffix == ".md":
            is_there = anchor in _anchors(found)
        if not is_there:
            yield link


@pytest.mark.parametrize("index", ["docs/README.md", "docs/decisions/README.md"])
def test_an_index_leads_to_every_page_beside_and_below_it(index: str) -> None:
    here = (ROOT / index).parent
    # a folder with an index of its own is reached by that
    apart = {path.parent for path in here.glob("*/README.md")}
    pages = {path for path in documents() if path.is_relative_to(here) and path.parent not in apart}
    linked = {(here / link.partition("#")[0]).resolve() for link in _LINK.findall(text_of(ROOT / index))}
    assert sorted(str(path.relative_to(ROOT)) for path in pages - linked - {ROOT / index}) == []


def test_links_lead_somewhere() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in documents()
        for link in _broken_links(path, text_of(path))
    ]
    assert not found


def test_the_link_rule_sees_what_it_should() -> None:
    here = ROOT / "docs" / "x.md"
    assert (
        list(_broken_links(here, "[a](requests.md) [b](../README.md#what-works) [c](https://example.test/)"))
        == []
    )
    assert list(_broken_links(here, "[a](nowhere.md) [b](../README.md#nowhere)")) == [
        "nowhere.md",
        "../README.md#nowhere",
    ]


_TREES = "src|tests|docs|vectors|schemas|bench|\\.ci"
_PATH = re.compile(rf"(?:{_TREES})/[\w./-]*|(?:[\w-]+/)*[\w-]+\.py")
_PATTERN = re.compile(r"[*<>{}]|NNNN")


def _missing_paths(text: str) -> Iterator[str]:
    """Files and folders of this tree that a code span names, whole, or as a module below src/quicklime."""
    for span in _SPAN.findall(_FENCE.sub("", text)):
        named = span.split("::")[0]
        if not _PATH.fullmatch(named) or _PATTERN.search(named):
            continue
        if not (ROOT / named).exists() and not (ROOT / "src" / "quicklime" / named).exists():
            yield span


def test_paths_that_are_named_are_there() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {named}"
        for path in documents()
        for named in _missing_paths(text_of(path))
    ]
    assert not found


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`tests/house/test_docs.py`", False),
        ("`src/quicklime/pki/`", False),
        ("`lifecycle/certificate.py`", False),
        ("`tests/house/test_docs.py::test_links_lead_somewhere`", False),
        ("`docs/decisions/NNNN-title.md`", False),
        ("`tests/house/test_nothing.py`", True),
        ("`lifecycle/nothing.py`", True),
        ("`src/quicklime/nothing/`", True),
    ],
)
def test_the_path_rule_sees_what_it_should(text: str, *, missing: bool) -> None:
    assert bool(list(_missing_paths(text))) is missing


def _missing_tests(text: str) -> Iterator[str]:
    """Spans such as `tests/x/test_y.py::test_z` where the file has no function or class of that name."""
    for span in _SPAN.findall(text):
        file, _, test = span.partition("::")
        if file.startswith("tests/") and test and (ROOT / file).is_file():
            name = re.escape(test.split("[")[0])
            if not re.search(rf"^(?:async )?(?:def|class) {name}\b", text_of(ROOT / file), re.MULTILINE):
                yield span


def test_tests_that_are_named_are_there() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {one}" for path in documents() for one in _missing_tests(text_of(path))
    ]
    assert not found
    assert list(_missing_tests("`tests/house/test_docs.py::test_nothing`"))


def _typed(text: str) -> Iterator[str]:
    """What a document gives people to type: lines of consoles and shells, and code spans."""
    for language, block in _FENCE.findall(text):
        if language in {"", "console", "sh", "ini"}:
            for line in block.replace("\\\n", " ").splitlines():
                for command in re.split(r" (?:\||&&|>) ", line.split(" # ")[0]):
                    yield re.sub(r"^(?:\$ |ExecStart=\S*/|\S*/bin/)", "", command.strip())
    yield from _SPAN.findall(_FENCE.sub("", text))


def _verbs() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))


def _why_not(line: str) -> str | None:
    """What is wrong with a `make` or `quicklime` line; None where nothing is."""
    words = [word.strip("'\"") for word in line.split()]
    if len(words) > 1 and words[0] == "make" and re.fullmatch("[a-z-]+", words[1]):
        return None if words[1] in _verbs() else f"no verb {words[1]!r}"
    if len(words) < 2 or words[0] != "quicklime":
        return None
    known = dict(make.commands())
    typed = " ".join(words)
    found = [one for one in known if f"{typed} ".startswith(f"{one} ")]
    if not found:
        groups = {one.rpartition(" ")[0] for one in known}
        start = " ".join(words[:2])
        is_none = (
            (start in groups and len(words) == 2)
            or not re.fullmatch("[a-z-]+", words[1])
            or words[1].startswith("-")
        )
        return None if is_none else f"no command {start!r}"
    options = {opt for one in known[max(found, key=len)].params for opt in one.opts}
    options |= {"--config", "--data-dir", "--output", "--log-level", "--help", "-h"}
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in options]
    return f"no option {unknown}" if unknown else None


def test_what_people_are_told_to_type_is_there() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line!r}: {why}"
        for path in documents()
        for line in _typed(text_of(path))
        if (why := _why_not(line)) is not None
    ]
    assert not found


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("make test", False),
        ("make nothing", True),
        ("quicklime up", False),
        ("quicklime token create --role admin", False),
        ("quicklime --version", False),
        ("quicklime nothing", True),
        ("quicklime token nothing", True),
        ("quicklime renew web.pem --nothing", True),
        ("quicklime renew web.pem --due --output json", False),
        ("quicklime token", False),
    ],
)
def test_the_typing_rule_sees_what_it_should(line: str, *, wrong: bool) -> None:
    assert bool(_why_not(line)) is wrong


def test_the_readme_names_what_the_ci_runs() -> None:
    assert "make test" in text_of(ROOT / "README.md")
    assert "make test" in text_of(ROOT / ".ci" / "run")
