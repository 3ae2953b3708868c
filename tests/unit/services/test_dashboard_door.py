"""Signing in, the page's files and the stream: what a browser gets, and what a foreign page can't do with it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message

from quicklime.services.monitor.api import page, stream
from quicklime.web.session import COOKIE, SESSION_SECONDS_MAX, Sessions
from tests.support.authority import ADA, codes_of
from tests.support.dashboard import SESSION_KEY, Watched, watched


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Watched]:
    built = tmp_path / "built"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text("<!doctype html><title>page</title>")
    (built / "assets" / "index-abc.js").write_text("console.log(1)")
    (built / "assets" / "index-abc.js.gz").write_bytes(b"packed")
    async with watched(tmp_path, built=built) as made:
        yield made


async def sign_in(home: Watched, token: str) -> httpx.Response:
    return await home.ask("POST", "/v1/session", json={"token": token})


def cookie_in(answer: httpx.Response) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


# --- signing in -----------------------------------------------------------------------------------------------------


async def test_a_token_is_exchanged_for_a_cookie_that_scripts_and_foreign_pages_can_not_use(
    home: Watched,
) -> None:
    token = await home.authority.token("auditor", label="ada", lifetime_seconds=86_400)
    answer = await sign_in(home, token)
    assert answer.status_code == 201
    attributes = {one.strip() for one in answer.headers["set-cookie"].split(";")[1:]}
    assert attributes == {"Path=/", f"Max-Age={SESSION_SECONDS_MAX}", "Secure", "HttpOnly", "SameSite=Strict"}
    assert answer.headers["set-cookie"].startswith("__Host-")
    assert token not in answer.headers["set-cookie"]
    assert token not in answer.text
    shown = await home.ask("GET", "/v1/session", cookie=cookie_in(answer))
    assert (shown.json()["role"], shown.json()["label"]) == ("auditor", "ada")
    assert shown.json()["permissions"] == ["read"]
    overview = await home.ask("GET", "/v1/monitor/overview", cookie=cookie_in(answer))
    assert overview.status_code == 200


async def test_who_may_not_read_gets_no_session(home: Watched) -> None:
    refused = await sign_in(home, await home.authority.token("requester"))
    assert (refused.status_code, codes_of(refused)) == (403, ["forbidden"])
    assert "set-cookie" not in refused.headers
    wrong = await sign_in(home, "ql_nobody_nothing")
    assert (wrong.status_code, codes_of(wrong)) == (401, ["token-unknown"])
    for body in ({}, {"token": 1}, {"token": "x", "more": 1}):
        assert (await home.ask("POST", "/v1/session", json=body)).status_code == 400
    form = await home.ask("POST", "/v1/session", data={"token": home.authority.admin})
    assert (form.status_code, codes_of(form)) == (415, ["media-type-unsupported"])


async def test_guessing_is_slowed_down(home: Watched) -> None:
    for _ in range(60):
        assert (await sign_in(home, "ql_a_b")).status_code == 401
    slowed = await sign_in(home, home.authority.admin)
    assert (slowed.status_code, codes_of(slowed)) == (429, ["rate-limited"])


async def test_a_session_changes_something_only_with_the_header_of_our_page(home: Watched) -> None:
    answer = await sign_in(home, home.authority.admin)
    cookie = cookie_in(answer)
    for csrf in (None, "", "wrong", answer.json()["csrf"][:-1], "ü".encode().decode("latin-1")):
        headers = {} if csrf is None else {"quicklime-csrf": csrf}
        refused = await home.ask("DELETE", "/v1/session", cookie=cookie, headers=headers)
        assert (refused.status_code, codes_of(refused)) == (403, ["forbidden"]), csrf
    other = (await sign_in(home, await home.authority.token("auditor"))).json()["csrf"]
    refused = await home.ask("DELETE", "/v1/session", cookie=cookie, headers={"quicklime-csrf": other})
    assert refused.status_code == 403
    out = await home.ask(
        "DELETE", "/v1/session", cookie=cookie, headers={"quicklime-csrf": answer.json()["csrf"]}
    )
    assert (out.status_code, "Max-Age=0" in out.headers["set-cookie"]) == (204, True)


async def test_a_session_ends_with_its_token_and_by_its_time(home: Watched) -> None:
    authority = home.authority
    token = await authority.token("auditor", lifetime_seconds=7 * 86_400)
    cookie = cookie_in(await sign_in(home, token))
    found = authority.state.token(token.split("_")[1])
    assert found is not None
    await authority.tokens.revoke(found.token, ADA)
    refused = await home.ask("GET", "/v1/monitor/overview", cookie=cookie)
    assert (refused.status_code, codes_of(refused)) == (401, ["token-revoked"])
    cookie = cookie_in(await sign_in(home, authority.admin))
    authority.clock.advance(SESSION_SECONDS_MAX - 1)
    assert (await home.ask("GET", "/v1/monitor/overview", cookie=cookie)).status_code == 200
    authority.clock.advance(1)
    refused = await home.ask("GET", "/v1/monitor/overview", cookie=cookie)
    assert (refused.status_code, codes_of(refused)) == (401, ["unauthenticated"])


async def test_a_cookie_that_is_not_ours_opens_nothing(home: Watched) -> None:
    good = cookie_in(await sign_in(home, home.authority.admin)).partition("=")[2]
    content, _, seal = good.partition(".")
    foreign = Sessions(b"f" * 32).begin("nobody", home.authority.clock.now + 60)
    swapped = Sessions(SESSION_KEY).begin("other", 1).partition(".")[0]
    for value in (
        "x",
        ".",
        content,
        f"{content}.",
        f".{seal}",
        f"{content}A.{seal}",
        f"{content}.{seal[:-2]}",
        f"{swapped}.{seal}",
        foreign,
        "A" * 5000,
    ):
        refused = await home.ask("GET", "/v1/monitor/overview", cookie=f"{COOKIE}={value}")
        assert (refused.status_code, codes_of(refused)) == (401, ["unauthenticated"]), value


# --- the page -------------------------------------------------------------------------------------------------------


async def test_the_page_and_its_files(home: Watched) -> None:
    for path in ("/", "/dashboard"):
        moved = await home.ask("GET", path)
        assert (moved.status_code, moved.headers["location"]) == (302, "/dashboard/")
    document = await home.ask("GET", "/dashboard/")
    assert document.headers["cache-control"] == "no-cache"
    assert document.headers["content-type"] == "text/html; charset=utf-8"
    policy = document.headers.get_list("content-security-policy")
    assert policy == [page.CONTENT_SECURITY_POLICY]
    assert "unsafe" not in policy[0]
    # what the page shows at other addresses it decides itself
    deep = await home.ask("GET", "/dashboard/certificates/00?as_of=3")
    assert deep.content == document.content
    again = await home.ask("GET", "/dashboard/", headers={"if-none-match": document.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    script = await home.ask("GET", "/dashboard/assets/index-abc.js", headers={"accept-encoding": "identity"})
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert script.text == "console.log(1)"
    assert script.headers["content-type"].startswith("text/javascript")
    missing = await home.ask("GET", "/dashboard/assets/index-gone.js")
    assert (missing.status_code, codes_of(missing)) == (404, ["not-found"])
    for path in ("/dashboard/../../etc/passwd", "/dashboard/..%2f..%2fetc/passwd", "/dashboard/.installed"):
        assert (await home.ask("GET", path)).status_code in (200, 404)
        assert b"root:" not in (await home.ask("GET", path)).content


async def test_where_no_page_was_built_it_is_said(tmp_path: Path) -> None:
    async with watched(tmp_path) as home:
        answer = await home.ask("GET", "/dashboard/")
        assert (answer.status_code, codes_of(answer)) == (404, ["not-found"])
        assert "make dashboard" in answer.json()["detail"]
        assert (await home.ask("GET", "/v1/monitor/overview", token=home.authority.admin)).status_code == 200
        # and it is found as soon as it is there
        built = tmp_path / "no page"
        built.mkdir()
        (built / "index.html").write_text("<!doctype html>")
        assert (await home.ask("GET", "/dashboard/")).status_code == 200


# --- the stream -----------------------------------------------------------------------------------------------------


class Listener:
    """A browser's end of the stream."""

    def __init__(self) -> None:
        self.text = ""
        self.status = 0
        self.gone = asyncio.Event()

    def ids(self) -> list[int]:
        """The ids of the records that have come."""
        blocks = [block for block in self.text.split("\n\n") if "event: record" in block]
        return [int(block.partition("id: ")[2].partition("\n")[0]) for block in blocks]

    async def listen(self, home: Watched, *, last: int | None = None) -> None:
        headers = [(b"authorization", f"Bearer {home.authority.admin}".encode())]
        if last is not None:
            headers.append((b"last-event-id", str(last).encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "https",
            "path": stream.PATH,
            "raw_path": stream.PATH.encode(),
            "query_string": b"",
            "headers": headers,
            "client": ("192.0.2.7", 1),
            "server": ("localhost", 8443),
            "root_path": "",
        }

        async def receive() -> Message:
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            else:
                self.text += message.get("body", b"").decode()

        await home.application(scope, receive, send)

    async def until(self, condition: str, *, count: int = 1) -> None:
        for _ in range(1000):
            if self.text.count(condition) >= count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(self.text)


async def test_whoever_comes_back_gets_every_record_after_the_last_one_exactly(home: Watched) -> None:
    await home.authority.issued()
    home.projector.catch_up()
    first = Listener()
    listening = asyncio.create_task(first.listen(home))
    await first.until("event: begin")
    await home.authority.issued("dns:one.lab.internal")
    home.projector.catch_up()
    await first.until("event: record", count=2)
    first.gone.set()
    await listening
    last = first.ids()[-1]
    assert f"retry: {stream.RETRY_MILLISECONDS}" in first.text
    # while nobody listens, things happen
    for number in range(3):
        await home.authority.issued(f"dns:n{number}.lab.internal")
    home.projector.catch_up()
    second = Listener()
    listening = asyncio.create_task(second.listen(home, last=last))
    await second.until("event: record", count=6)
    await home.authority.issued("dns:two.lab.internal")
    home.projector.catch_up()
    await second.until("event: record", count=8)
    home.ticker.close()
    await listening
    head = home.authority.log.head()
    assert first.ids() + second.ids() == list(range(first.ids()[0], head))
    data = [json.loads(line[6:]) for line in second.text.splitlines() if line.startswith("data: {")]
    assert [one["offset"] for one in data] == second.ids()


@pytest.mark.parametrize("last", ["-1", "x", "1.5", "٣", "9" * 17])
async def test_a_last_event_id_that_is_no_offset_is_refused(home: Watched, last: str) -> None:
    headers = {"last-event-id": last.encode().decode("latin-1")}
    answer = await home.ask("GET", stream.PATH, token=home.authority.admin, headers=headers)
    assert (answer.status_code, codes_of(answer)) == (400, ["request-malformed"])
