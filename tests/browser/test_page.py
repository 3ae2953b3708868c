"""The page as people use it: every view, by mouse and by keyboard, while things happen, and when the server goes away."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from tests.browser.conftest import WAIT, Visitor
from tests.support.house import House
from tests.support.stack import run

pytestmark = pytest.mark.peers

VAULT = "/services?name=dns:vault.ops.internal"


def inventory(house: House, **query: Any) -> list[dict[str, Any]]:
    with house.stack.client() as client:
        answer = client.get("/v1/monitor/certificates", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["certificates"]
    return found


def issue(house: House, name: str, folder: Path, *options: str) -> Path:
    house.stack.quicklime("issue", name, "--out", str(folder), *options)
    return folder / f"{name}.pem"


# --- the door -------------------------------------------------------------------------------------------------------


def test_a_wrong_token_is_told_and_a_right_one_opens(visitor: Visitor) -> None:
    page = visitor.page
    visitor.go()
    page.get_by_label("Token").fill("ql_wrong_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("no token like this is known")).to_be_visible()
    visitor.sign_in()
    expect(page.get_by_text("Needs a person")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    visitor.go("/log")
    expect(page.get_by_label("Token")).to_be_visible()


# --- every view, in both themes, wide and narrow ---------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_view_is_there_and_accessible(visitor: Visitor, house: House, theme: str, width: int) -> None:
    page = visitor.page
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    visitor.go()
    assert visitor.faults() == []
    visitor.sign_in()
    expect(page.locator("html.pf-v6-theme-dark")).to_have_count(1 if theme == "dark" else 0)
    serial = inventory(house, q="vault-1", sort="-issued")[0]["serial"]
    views = {
        "/": "Needs a person",
        "/certificates": "api.lab.internal",
        f"/certificates/{serial}": "Its life in the log",
        "/services": "cron.shop.internal",
        VAULT: "vault-1 contested",
        "/issuers": "Retired",
        "/log": "CRL published",
        "/log/3": "issuer activated",
        "/system": "Records in the log",
        "/nowhere": "No such page",
    }
    for path, text in views.items():
        page.goto(house.url + path)
        expect(page.get_by_text(text).locator("visible=true").first).to_be_visible()
        assert visitor.faults() == [], path
        overflow = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow <= 0, f"{path} is {overflow} pixels too wide"


def test_what_needs_a_person_leads_to_the_lanes_that_say_why(visitor: Visitor) -> None:
    visitor.sign_in()
    page = visitor.page
    table = page.get_by_role("grid", name="What needs a person")
    expect(table.get_by_role("row")).to_have_count(6)
    rows = [row.inner_text() for row in table.get_by_role("row").all()]
    kinds = [
        next((kind for kind in ("Contested", "Failing", "Expired", "Late") if kind in row), "")
        for row in rows
    ]
    assert kinds == ["", "Contested", "Failing", "Failing", "Expired", "Late"]
    table.get_by_role("link", name="mx.mail.internal").click()
    expect(page.get_by_text("mx-2 failing; 2 good.")).to_be_visible()
    expect(page.get_by_text("the signature is not by the certificate's key").first).to_be_visible()


# --- the inventory --------------------------------------------------------------------------------------------------


def test_search_and_filters_stand_in_the_address(visitor: Visitor) -> None:
    visitor.sign_in()
    visitor.go("/certificates")
    page = visitor.page
    page.get_by_label("Search certificates").fill("ada.laptops")
    expect(page).to_have_url(re.compile(r"q=ada\.laptops"))
    expect(page.get_by_role("grid", name="Certificates").get_by_role("row")).to_have_count(2)
    page.get_by_label("Status").select_option("valid")
    expect(page.get_by_text("No certificate fits")).to_be_visible()
    page.get_by_label("Status").select_option("revoked")
    expect(page.get_by_role("grid", name="Certificates").get_by_text("Revoked", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_label("Search certificates")).to_have_value("ada.laptops")
    expect(page.get_by_label("Status")).to_have_value("revoked")
    page.get_by_label("Search certificates").fill("ad")
    expect(page.get_by_text("at least 3 characters")).to_be_visible()


def test_pages_go_on(visitor: Visitor) -> None:
    visitor.sign_in()
    visitor.go("/certificates?sort=expires")
    rows = visitor.page.get_by_role("grid", name="Certificates").locator("tbody tr")
    expect(rows).to_have_count(50)
    visitor.page.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(100)


# --- while things happen --------------------------------------------------------------------------------------------


def test_what_is_issued_and_revoked_is_seen_at_once(visitor: Visitor, house: House, tmp_path: Path) -> None:
    visitor.sign_in()
    visitor.go("/certificates?q=fresh.lab")
    page = visitor.page
    expect(page.get_by_text("No certificate fits")).to_be_visible()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    issued = issue(house, "fresh.lab.internal", tmp_path)
    grid = page.get_by_role("grid", name="Certificates")
    expect(grid.get_by_text("fresh.lab.internal")).to_be_visible()
    expect(grid.get_by_text("Valid", exact=True)).to_be_visible()
    house.stack.quicklime("revoke", str(issued))
    expect(grid.get_by_text("Revoked", exact=True)).to_be_visible()


def test_a_page_that_stood_open_over_a_restart_goes_on(
    visitor: Visitor, house: House, tmp_path: Path
) -> None:
    visitor.sign_in()
    visitor.go("/certificates?q=patient.lab")
    page = visitor.page
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    house.stack.stop()
    expect(page.get_by_text("Reconnecting")).to_be_visible()
    house.stack.start()
    issue(house, "patient.lab.internal", tmp_path)
    expect(page.get_by_role("grid", name="Certificates").get_by_text("patient.lab.internal")).to_be_visible(
        timeout=WAIT
    )
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def test_the_past_is_shown_as_it_was_and_carried_along(visitor: Visitor, house: House) -> None:
    visitor.sign_in()
    page = visitor.page
    page.get_by_role("button", name="Look at another moment").click()
    page.get_by_role("button", name="A month ago").click()
    expect(page.get_by_text("The past: everything as of")).to_be_visible()
    expect(page.get_by_text("Nothing does")).to_be_visible()
    page.get_by_role("link", name="Services").click()
    expect(page).to_have_url(re.compile(r"/services\?as_of="))
    visitor.go(VAULT + "&as_of=" + (page.url.partition("as_of=")[2]))
    expect(page.get_by_text("3 good.")).to_be_visible()
    page.get_by_role("button", name="Back to now").click()
    expect(page.get_by_text("vault-1 contested")).to_be_visible()
    # an offset is a moment too: before the first certificate there was none
    visitor.go("/certificates?as_of=4")
    expect(page.get_by_text("No certificate yet")).to_be_visible()


def test_a_certificate_revoked_on_the_page_is_revoked_for_openssl(
    visitor: Visitor, house: House, tmp_path: Path
) -> None:
    issued = issue(house, "doomed.lab.internal", tmp_path)
    serial = inventory(house, q="doomed.lab")[0]["serial"]
    visitor.sign_in()
    visitor.go(f"/certificates/{serial}")
    page = visitor.page
    page.get_by_role("button", name="Revoke").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").select_option("keyCompromise")
    assert visitor.faults() == []
    dialog.get_by_role("button", name="Revoke for ever").click()
    expect(dialog).to_have_count(0)
    expect(page.locator("h1").get_by_text("Revoked", exact=True)).to_be_visible()
    said = run(
        *("openssl", "ocsp", "-url", f"{house.stack.status}/ocsp", "-CAfile", house.stack.root),
        *("-issuer", house.stack.data / "issuing.pem", "-cert", issued),
    ).decode()
    assert "revoked" in said
    assert "keyCompromise" in said
    # the fact says who did it
    with house.stack.client() as client:
        records = client.get("/v1/monitor/records", params={"subject": serial}).json()["records"]
    assert records[0]["requester"]["kind"] == "token"


def test_an_auditor_sees_everything_and_can_change_nothing(visitor: Visitor, house: House) -> None:
    visitor.sign_in(house.auditor)
    serial = inventory(house, status="current")[0]["serial"]
    visitor.go(f"/certificates/{serial}")
    page = visitor.page
    expect(page.get_by_role("button", name="Certificate", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Revoke")).to_have_count(0)
    # what the page does not offer the server does not take
    csrf = page.evaluate("fetch('/v1/session').then(answer => answer.json()).then(one => one.csrf)")
    status = page.evaluate(
        """([serial, csrf]) => fetch(`/v1/certificates/${serial}/revocation`, {method: 'POST', body: '{}',
           headers: {'content-type': 'application/json', 'quicklime-csrf': csrf}}).then(answer => answer.status)""",
        [serial, csrf],
    )
    visitor.complaints.clear()  # the browser remarks upon the 403
    assert status == 403


def test_what_is_saved_is_the_certificate(visitor: Visitor, house: House) -> None:
    visitor.sign_in()
    one = inventory(house, q="vault-2")[0]
    visitor.go(f"/certificates/{one['serial']}")
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("button", name="Chain").click()
    text = Path(download.value.path()).read_text()
    assert text.count("BEGIN CERTIFICATE") == 2
    shown = run("openssl", "x509", "-noout", "-serial", given=text.encode()).decode()
    assert shown.strip().lower().endswith(one["serial"])


def test_an_export_holds_what_was_looked_for(visitor: Visitor, house: House) -> None:
    visitor.sign_in()
    visitor.go("/certificates?q=vault-2")
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("link", name="CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == 1 + len(inventory(house, q="vault-2", limit=500))


# --- the keyboard ---------------------------------------------------------------------------------------------------


def test_from_the_door_to_a_certificate_by_keyboard_alone(visitor: Visitor, house: House) -> None:
    page = visitor.page
    visitor.go()
    page.keyboard.press("Tab")
    page.keyboard.type(house.stack.admin)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Overview").wait_for()

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            text = page.evaluate("document.activeElement.innerText ?? ''")
            if str(text).strip() == name:
                return
        raise AssertionError(f"{name} can't be reached by Tab")

    tab_to("To the content")
    tab_to("vault.ops.internal")
    page.keyboard.press("Enter")
    expect(page.get_by_text("vault-1 contested")).to_be_visible()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id.startsWith('bar-')"):
            break

    def spoken() -> str:
        return str(page.evaluate("document.activeElement.getAttribute('aria-label')"))

    def press(key: str, heard: str) -> None:
        before = spoken()
        page.keyboard.press(key)
        # not by the browser's own waiting: it evaluates text, which the page's policy refuses
        for _ in range(100):
            if heard in spoken() and (spoken() != before or heard in before):
                return
            page.wait_for_timeout(50)
        raise AssertionError(f"{key} leads to {spoken()!r}")

    assert "of node vault-3" in spoken()
    press("ArrowLeft", "of node vault-3")
    press("ArrowUp", "of node vault-2")
    press("ArrowUp", "of node vault-1")
    for key in ("+", "+", "-", "0", "Home"):
        press(key, "of node vault-1")
    press("End", "unknown-host")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Its life in the log")).to_be_visible()
    assert "/certificates/" in page.url


# --- names that are not meant well ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "node",
    [
        "<img src=x onerror=alert(1)>",
        "'\"><script>alert(1)</script>",
        "javascript:alert(1)",
        "A" * 200,
        "{{7*7}} ${7*7} %s %n",
    ],
)
def test_a_hostile_node_is_shown_harmlessly(
    context: BrowserContext, visitor: Visitor, house: House, tmp_path: Path, node: str
) -> None:
    name = f"n{abs(hash(node)) % 10_000}.hostile.internal"
    issue(house, name, tmp_path, "--node", node)
    page = visitor.page
    page.on("dialog", lambda dialog: visitor.complaints.append(f"dialog {dialog.message}"))
    visitor.sign_in()
    for path in (f"/certificates?q={name}", f"/services?name=dns:{name}"):
        visitor.go(path)
        expect(page.get_by_text(node[:20]).first).to_be_visible()
    serial = inventory(house, q=name)[0]["serial"]
    visitor.go(f"/certificates/{serial}")
    expect(page.get_by_text(node[:20]).first).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0


def test_text_that_no_request_may_bring_is_harmless_too(visitor: Visitor, house: House) -> None:
    """What an older log might hold: directions, controls, ten thousand letters. Put into a real answer on its way."""
    hostile = "\u202egnp.exe\u2066\u0000\u200b" + "W" * 10_000

    def spoilt(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        for one in body["certificates"]:
            one["node"], one["service"], one["names"] = hostile, f"dns:{hostile}", [f"dns:{hostile}"] * 3
            one["profile"] = "<b>bold</b>" + hostile
        route.fulfill(response=answer, json=body)

    visitor.sign_in()
    page = visitor.page
    page.route("**/v1/monitor/certificates?**", spoilt)
    visitor.go("/certificates?sort=name")
    expect(page.get_by_text("\\u{202e}gnp.exe\\u{2066}\\u{0}\\u{200b}").first).to_be_visible()
    text = page.locator("main").inner_text()
    assert not set(text) & set("\u202e\u2066\u0000\u200b")
    assert page.locator("main b").count() == 0
    assert "<b>bold</b>" in text
    assert visitor.faults() == []
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0
