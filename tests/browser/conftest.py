"""A real server with a real past, and a real browser in front of it. Skipped, with the reason, where Node or Chromium is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.house.tree import ROOT
from tests.support.house import CHROMIUM_ARGUMENTS, House, demo_house, why_not

SECONDS = 1000
WAIT = 30 * SECONDS
SERVICES = 8
AXE = ROOT / "dashboard" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    if (why := why_not()) is not None:
        pytest.skip(why)
    with demo_house(tmp_path_factory.mktemp("house"), services=SERVICES) as made:
        yield made


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if (why := why_not()) is not None:
        pytest.skip(why)
    path = shutil.which("chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_ARGUMENTS))
        yield launched
        launched.close()


@dataclass(slots=True)
class Visitor:
    """Somebody in front of the page. ``complaints`` is what the browser held against it."""

    house: House
    page: Page
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str = "/") -> None:
        self.page.goto(self.house.url + path)
        self.page.locator("h1").first.wait_for(timeout=WAIT)

    def sign_in(self, token: str | None = None) -> None:
        self.go()
        self.page.get_by_label("Token").fill(token or self.house.stack.admin)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name="Overview").wait_for(timeout=WAIT)

    def faults(self) -> list[str]:
        """What axe finds against WCAG 2.1 AA, a line each."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: Any = self.page.evaluate(
            "() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})"
        )
        return [
            f"{one['id']}: {node['target']} {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"]
        ]


@pytest.fixture
def context(house: House, browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 900})
    made.set_default_timeout(WAIT)
    yield made
    made.close()


@pytest.fixture
def visitor(house: House, context: BrowserContext) -> Iterator[Visitor]:
    one = Visitor(house, context.new_page())

    def heard(kind: str, text: str) -> None:
        # who is not signed in yet is told so by a 401, which the browser remarks upon
        if kind == "error" and "401" not in text and "net::ERR" not in text and "503" not in text:
            one.complaints.append(text)

    one.page.on("console", lambda message: heard(message.type, message.text))
    one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
    yield one
    assert one.complaints == []
