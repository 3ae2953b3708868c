"""Two who want what only one can have: the log's order decides, and every reader comes to the same verdict.

Over HTTP in one server, and between two processes over one log; the readers are the program's own views, a replay, and the reader
that stands in ``docs/log.md``, which shares no line with the program.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.house.tree import ROOT
from tests.support.authority import Subscriber, octets
from tests.support.stack import SETTINGS, Stack, running

CONCURRENT = 16
ROUNDS = 10
KEY = Subscriber.new()
TO = [Subscriber.new() for _ in range(4)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = SETTINGS + '\n[server]\nurl = "https://127.0.0.1:{api_port}"\n'
    with running(tmp_path_factory.mktemp("races"), settings=settings) as found:
        yield found


@pytest.fixture(scope="module")
def clients(stack: Stack) -> Iterator[list[httpx.Client]]:
    """As many connections, each open already, so that what is sent together arrives together."""
    found = [stack.client() for _ in range(CONCURRENT)]
    for client in found:
        client.get("/v1/profiles").raise_for_status()
    yield found
    for client in found:
        client.close()


def at_once(calls: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [one.result() for one in [pool.submit(call) for call in calls]]


def post(client: httpx.Client, path: str, body: object, **headers: str) -> Callable[[], httpx.Response]:
    """The request, to be sent when it is called."""
    return lambda: client.post(
        path, json=body, headers={key.replace("_", "-"): value for key, value in headers.items()}
    )


def issued(client: httpx.Client, name: str) -> dict[str, Any]:
    body = {"csr": base64.b64encode(KEY.csr(f"dns:{name}.lab.internal")).decode()}
    answer = client.post("/v1/certificates", json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def renewal(parent: dict[str, Any], to: Subscriber) -> dict[str, Any]:
    request = to.csr(*parent["names"])
    return {
        "csr": base64.b64encode(request).decode(),
        "signature": KEY.renewal_signature(octets(parent["renewal_challenge"]), request),
    }


def facts(stack: Stack) -> dict[str, list[dict[str, Any]]]:
    """What stands in the log about certificates: kind -> the data of each fact, with its offset."""
    found: dict[str, list[dict[str, Any]]] = {}
    for one in stack.events():
        kind = one["type"].removeprefix("quicklime.certificate.").removesuffix(".v1")
        data = json.loads(base64.b64decode(one["value"]))["data"]
        found.setdefault(kind, []).append(data | {"offset": one["offset"]})
    return found


def by_the_page(stack: Stack) -> dict[str, str]:
    """Serial -> status, by the reader of ``docs/log.md``."""
    (script,) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs" / "log.md").read_text(), re.DOTALL | re.MULTILINE
    )
    path: Path = stack.folder / "reader.py"
    path.write_text(script)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(path), str(stack.data / "log.sqlite")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return {line.split(" ")[0]: line.split(" ")[1] for line in done.stdout.splitlines()}


def check_every_reader(stack: Stack) -> None:
    """The running views, a replay from record 0 (``log verify``), and the page's reader agree on every certificate."""
    report = stack.told("log", "verify")
    assert report["faults"] == []
    assert report["late"] == []
    listed = {one["serial"]: one["status"] for one in stack.told("list", "--limit", "1000")}
    page = by_the_page(stack)
    standing = {"issued", "revoked"}
    assert {serial: status for serial, status in page.items() if status in standing} == {
        serial: status for serial, status in listed.items() if status in standing
    }


@pytest.mark.slow
def test_of_two_renewals_at_once_one_is_granted_and_the_other_told_why(
    stack: Stack, clients: list[httpx.Client]
) -> None:
    winners: dict[str, str] = {}
    for number in range(ROUNDS):
        parent = issued(clients[0], f"two-{number}")
        path = f"/v1/certificates/{parent['serial']}/renewals"
        answers = at_once(
            [post(client, path, renewal(parent, to)) for client, to in zip(clients, TO, strict=False)]
        )
        (won,) = [answer.json() for answer in answers if answer.status_code == 201]
        for answer in answers:
            if answer.status_code != 201:
                assert answer.status_code == 409, answer.text
                codes = {reason["code"] for reason in answer.json()["reasons"]}
                assert codes <= {"renewal-in-progress", "already-renewed"}, codes
        assert clients[0].get(f"/v1/certificates/{parent['serial']}").json()["successor"] == won["serial"]
        winners[parent["serial"]] = won["serial"]
    first: dict[str, str] = {}
    for plan in facts(stack)["planned"]:
        first.setdefault(plan.get("predecessor", ""), plan["serial"])
    assert {parent: first[parent] for parent in winners} == winners, "not the first in the log was granted"
    check_every_reader(stack)


@pytest.mark.slow
def test_a_renewal_and_a_revocation_at_once_are_ordered_by_the_log(
    stack: Stack, clients: list[httpx.Client]
) -> None:
    renewals: dict[str, httpx.Response] = {}
    for number in range(ROUNDS):
        parent = issued(clients[0], f"race-{number}")
        path, proof = (
            f"/v1/certificates/{parent['serial']}",
            {"secret": parent["revocation_secret"], "reason": 4},
        )
        calls = [
            post(clients[0], f"{path}/renewals", renewal(parent, TO[0])),
            post(clients[1], f"{path}/revocation", proof),
        ]
        renewals[parent["serial"]], revoked = at_once(calls[:: 1 if number % 2 else -1])[
            :: 1 if number % 2 else -1
        ]
        assert revoked.status_code == 200, revoked.text
        assert clients[0].get(path).json()["status"] == "revoked"
    known = facts(stack)
    plans = {one.get("predecessor"): one["offset"] for one in reversed(known["planned"])}
    deaths = {one["serial"]: one["offset"] for one in known["revoked"]}
    for serial, renewed in renewals.items():
        # what was planned before the revocation stands, what was planned after it does not: nothing else decides
        assert (renewed.status_code == 201) == (plans.get(serial, deaths[serial]) < deaths[serial]), (
            renewed.text
        )
        if renewed.status_code != 201:
            assert renewed.status_code == 409
            assert {reason["code"] for reason in renewed.json()["reasons"]} == {"certificate-revoked"}
    check_every_reader(stack)


@pytest.mark.slow
def test_a_token_for_one_use_gets_one_certificate_out_of_sixteen_requests_at_once(
    stack: Stack, clients: list[httpx.Client]
) -> None:
    answer = clients[0].post(
        "/v1/tokens",
        json={
            "role": "requester",
            "names": ["**.lab.internal"],
            "profiles": ["server"],
            "lifetime_seconds": 3600,
            "uses": 1,
        },
    )
    assert answer.status_code == 201, answer.text
    bearer = f"Bearer {answer.json()['token']}"
    bodies = [
        {"csr": base64.b64encode(KEY.csr(f"dns:once-{number}.lab.internal")).decode()}
        for number in range(CONCURRENT)
    ]
    answers = at_once(
        [
            post(client, "/v1/certificates", body, authorization=bearer)
            for client, body in zip(clients, bodies, strict=True)
        ]
    )
    granted = [one for one in answers if one.status_code == 201]
    assert len(granted) == 1
    for one in answers:
        if one.status_code != 201:
            assert one.status_code < 500
            assert {reason["code"] for reason in one.json()["reasons"]} == {"token-exhausted"}
    check_every_reader(stack)


@pytest.mark.slow
def test_one_idempotency_key_sent_sixteen_times_at_once_is_one_certificate(
    stack: Stack, clients: list[httpx.Client]
) -> None:
    body = {"csr": base64.b64encode(KEY.csr("dns:again.lab.internal")).decode()}
    answers = at_once(
        [post(client, "/v1/certificates", body, idempotency_key="sixteen") for client in clients]
    )
    granted = [one.json() for one in answers if one.status_code in (200, 201)]
    assert granted
    assert len({one["certificate"] for one in granted}) == 1
    for one in answers:
        if one.status_code not in (200, 201):
            assert one.status_code == 409, one.text
            assert {reason["code"] for reason in one.json()["reasons"]} == {"idempotency-conflict"}
            # either the first is still being worked on, or its certificate takes no further secret
            assert "retry-after" in one.headers or "times already" in one.text
    known = facts(stack)
    done = {one["serial"] for one in known["issued"]}
    plans = [one["serial"] for one in known["planned"] if one["names"] == ["dns:again.lab.internal"]]
    assert [serial for serial in plans if serial in done] == [granted[0]["serial"]]
    # every secret that was told is one that the log knows
    for one in granted[1:]:
        proof = {"secret": one["revocation_secret"], "reason": 4}
        assert clients[0].post(f"/v1/certificates/{one['serial']}/revocation", json=proof).status_code == 200
    check_every_reader(stack)


@pytest.mark.slow
def test_two_processes_over_one_log_give_one_successor(stack: Stack, clients: list[httpx.Client]) -> None:
    """Neither knows of the other but by the log; the server is a third."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.writer", str(stack.config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=stack._environment(),
        )
        for _ in range(2)
    ]
    try:
        for writer in writers:
            assert heard(writer) == {"ready": True}
        for number in range(ROUNDS):
            parent = issued(clients[0], f"processes-{number}")
            for writer, to in zip(writers, TO, strict=False):
                assert writer.stdin is not None
                writer.stdin.write(json.dumps({"serial": parent["serial"]} | renewal(parent, to)) + "\n")
            for writer in writers:
                assert writer.stdin is not None
                writer.stdin.flush()
            answers = [heard(writer) for writer in writers]
            (won,) = [answer["serial"] for answer in answers if "serial" in answer]
            (codes,) = [answer["codes"] for answer in answers if "codes" in answer]
            assert set(codes) <= {"renewal-in-progress", "already-renewed"}
            assert clients[0].get(f"/v1/certificates/{parent['serial']}").json()["successor"] == won
    finally:
        for writer in writers:
            writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    check_every_reader(stack)


def heard(writer: subprocess.Popen[str]) -> dict[str, Any]:
    assert writer.stdout is not None
    found: dict[str, Any] = json.loads(writer.stdout.readline())
    return found
