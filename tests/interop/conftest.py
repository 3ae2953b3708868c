"""One running authority for all tests of this folder that do not need one of their own."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.support.judges import judge_log
from tests.support.stack import Stack, running

STACK = pytest.StashKey[Stack]()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Whatever the tests had it sign stands before the judges at the end."""
    with running(tmp_path_factory.mktemp("authority")) as stack:
        request.config.stash[STACK] = stack
        yield stack
        assert judge_log(stack, tmp_path_factory.mktemp("judged")) > 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the server said stands beside what failed."""
    report = yield
    stack = item.config.stash.get(STACK, None)
    if report.failed and stack is not None and "authority" in getattr(item, "fixturenames", ()):
        report.sections.append(("what the server said", stack.tail()))
    return report
