"""`make screenshots`: pictures of every view, of the demonstration's past, into docs/images."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.house.tree import ROOT
from tests.support.house import CHROMIUM_ARGUMENTS, House, demo_house, why_not

IMAGES = ROOT / "docs" / "images"
SERVICES = 100
LANES = "/services?name=dns:vault.ops.internal"

# name -> (path, theme, width, height)
PICTURES = {
    "dashboard-overview": ("/", "light", 1280, 1240),
    "dashboard-lanes": (LANES, "light", 1280, 620),
    "dashboard-lanes-dark": ("/services?name=dns:pay.shop.internal", "dark", 1280, 600),
    "dashboard-certificates": ("/certificates", "light", 1280, 800),
    "dashboard-certificate": ("/certificates/SERIAL", "light", 1280, 1130),
    "dashboard-services": ("/services?q=internal", "light", 1280, 800),
    "dashboard-issuers": ("/issuers", "light", 1280, 420),
    "dashboard-log": ("/log", "light", 1280, 700),
    "dashboard-system": ("/system", "light", 1280, 560),
    "dashboard-narrow": ("/services?name=dns:mx.mail.internal", "light", 390, 800),
}


def main() -> None:
    if (why := why_not()) is not None:
        sys.exit(why)
    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="screenshots-") as folder,
        demo_house(Path(folder), services=SERVICES) as house,
        sync_playwright() as playwright,
    ):
        wait_for_view(house)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=list(CHROMIUM_ARGUMENTS)
        )
        for name, (path, theme, width, height) in PICTURES.items():
            scheme: Any = theme
            page = browser.new_page(
                ignore_https_errors=True, viewport={"width": width, "height": height}, color_scheme=scheme
            )
            page.goto(house.url + "/")
            page.get_by_label("Token").fill(house.stack.admin)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_role("heading", name="Overview").wait_for()
            page.goto(house.url + path.replace("SERIAL", newest_of(house, "mx-2")))
            page.locator("h1").first.wait_for()
            page.get_by_text("Live", exact=True).first.wait_for(state="attached")
            page.wait_for_timeout(800)  # fonts, and the first answers
            page.screenshot(path=IMAGES / f"{name}.png")
            page.close()
            print(f"docs/images/{name}.png")
        browser.close()


def wait_for_view(house: House) -> None:
    """Until the dashboard's view has caught up with the log."""
    with house.stack.client() as client:
        while True:
            answer = client.get("/v1/monitor/overview")
            if answer.status_code == 200 and answer.json()["as_of"]["behind"] == 0:
                return


def newest_of(house: House, node: str) -> str:
    with house.stack.client() as client:
        found = client.get("/v1/monitor/certificates", params={"q": node, "status": "current"}).json()
    return str(found["certificates"][0]["serial"])


if __name__ == "__main__":
    main()
