"""SIGKILL at every step of the path, and at any moment: nothing that was answered is lost, nothing is signed twice.

A real server under several clients' load dies; what its clients were told is compared with what stands after a restart.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from tests.support.authority import Subscriber, octets
from tests.support.killed import STEPS
from tests.support.stack import ONE_PROCESS, SETTINGS, Stack

CLIENTS = 4
DEATH_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Mortal(Stack):
    """A stack whose server may die at ``step``, once ``arm`` was called."""

    settings: str = SETTINGS + ONE_PROCESS
    step: str | None = None

    @property
    def armed(self) -> Path:
        return self.folder / "armed"

    def arm(self) -> None:
        self.armed.touch()

    def _command(self, *arguments: str) -> list[str]:
        if self.step is None or arguments[0] != "serve":
            return Stack._command(self, *arguments)
        wrapper = [sys.executable, "-m", "tests.support.killed", self.step, str(self.armed)]
        return [*wrapper, "--config", str(self.config), *arguments]

    def wait_for_death(self) -> None:
        assert self.process is not None
        assert self.process.wait(DEATH_SECONDS) == -9, self.tail()
        self.process = None


@dataclass(slots=True)
class Client:
    """One client: issues, renews, revokes, and remembers what it was told."""

    stack: Stack
    name: str
    got: list[dict[str, Any]] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # Idempotency-Key, body

    def run(self, enough: threading.Event) -> None:
        """Until the server is gone."""
        keys = [Subscriber.new() for _ in range(3)]
        with self.stack.client() as client, contextlib.suppress(httpx.TransportError):
            for number in itertools.count():
                if enough.is_set():
                    return
                key = keys[number % 3]
                self._issue(client, key, number)
                if number % 3 == 1:
                    self._renew(client, key, keys[(number + 1) % 3])
                if number % 3 == 2:
                    self._revoke(client)

    def _issue(self, client: httpx.Client, key: Subscriber, number: int) -> None:
        body = {"csr": base64.b64encode(key.csr(f"dns:{self.name}.lab.internal")).decode()}
        once = f"{self.name}-{number}"
        self.asked.append((once, body))
        self._keep(client.post("/v1/certificates", json=body, headers={"idempotency-key": once}))

    def _renew(self, client: httpx.Client, key: Subscriber, to: Subscriber) -> None:
        parent = self.got[-1]
        request = to.csr(*parent["names"])
        body = {
            "csr": base64.b64encode(request).decode(),
            "signature": key.renewal_signature(octets(parent["renewal_challenge"]), request),
        }
        self._keep(client.post(f"/v1/certificates/{parent['serial']}/renewals", json=body))

    def _revoke(self, client: httpx.Client) -> None:
        one = self.got[-1]
        answer = client.post(
            f"/v1/certificates/{one['serial']}/revocation",
            json={"secret": one["revocation_secret"], "reason": 4},
        )
        assert answer.status_code == 200, answer.text
        self.revoked.append(one["serial"])

    def _keep(self, answer: httpx.Response) -> None:
        assert answer.status_code == 201, answer.text
        self.got.append(answer.json())


@contextlib.contextmanager
def load(stack: Stack, name: str = "c") -> Iterator[list[Client]]:
    """Clients at work as long as the block, or until the server is gone."""
    clients = [Client(stack, f"{name}{number}") for number in range(CLIENTS)]
    enough = threading.Event()
    failures: list[BaseException] = []

    def work(client: Client) -> None:
        try:
            client.run(enough)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert not failures, failures


def died(stack: Mortal, clients: list[Client]) -> None:
    """All that must hold after a death, a look by the doctor, and a restart."""
    before = _records(stack)
    planned = {one["data"]["serial"]: one for one in _of(before, "certificate.planned")}
    done = {one["data"]["serial"] for one in _of(before, "certificate.issued")}
    given_up = {one["data"]["serial"] for one in _of(before, "certificate.abandoned")}
    orphans = set(planned) - done - given_up
    said = " ".join(one["what"] for one in stack.told("doctor"))
    assert all(serial in said for serial in orphans)
    assert ("orphan plan at" in said) == bool(orphans)

    stack.step = None
    stack.start()
    after = _records(stack)
    assert after[: len(before)] == before, "the log has lost or changed records"
    assert {one["data"]["serial"] for one in _of(after[len(before) :], "certificate.abandoned")} == orphans
    # nothing is signed twice: what was given up is issued never, what was issued is issued once
    issued = [one["data"]["serial"] for one in _of(after, "certificate.issued")]
    assert len(issued) == len(set(issued))
    assert not set(issued) & orphans

    with stack.client() as client:
        for one in (one for each in clients for one in each.got):
            found = client.get(f"/v1/certificates/{one['serial']}", headers={"accept": "application/json"})
            assert found.status_code == 200, found.text
            assert found.json()["certificate"] == one["certificate"]
        for each in clients:
            _retry(client, each)
            for serial in each.revoked:
                assert client.get(f"/v1/certificates/{serial}").json()["status"] == "revoked"
        _check_lists(stack, client, {serial for each in clients for serial in each.revoked})
    stack.stop()

    report = stack.told("log", "verify")
    assert report["faults"] == []
    assert report["late"] == []
    assert report["certificates"] == len(_of(_records(stack), "certificate.issued"))
    assert not any(one["changed"] for one in stack.told("view", "rebuild")), "a rebuild has another outcome"


def _records(stack: Stack) -> list[dict[str, Any]]:
    """Every record's value, as CloudEvents."""
    return [json.loads(base64.b64decode(one["value"])) for one in stack.events()]


def _of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in events if one["type"].startswith(f"quicklime.{kind}.")]


def _retry(client: httpx.Client, each: Client) -> None:
    """The last request of every client, whose answer may be lost: the same again gives one certificate."""
    told = {one["serial"] for one in each.got}
    for once, body in each.asked[-2:]:
        serials = set()
        for _ in range(2):
            answer = client.post("/v1/certificates", json=body, headers={"idempotency-key": once})
            assert answer.status_code in (200, 201), answer.text
            serials.add(answer.json()["serial"])
        assert len(serials) == 1
        # what was answered before is what is answered now
        number = int(once.rpartition("-")[2])
        if number < len(each.asked) - 1:
            assert serials <= told


def _check_lists(stack: Stack, client: httpx.Client, revoked: set[str]) -> None:
    (issuer,) = [one for one in client.get("/v1/issuers").json()["issuers"] if one["role"] == "intermediate"]
    deadline = time.monotonic() + 30
    missing = set(revoked)
    while missing and time.monotonic() < deadline:
        der = httpx.get(f"{stack.status}/crl/{issuer['issuer']}.crl").content
        listed = {f"{one.serial_number:040x}" for one in x509.load_der_x509_crl(der)}
        missing = revoked - listed
        time.sleep(0.05)
    assert not missing


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_death_at_this_step_loses_nothing_and_signs_nothing_twice(tmp_path: Path, step: str) -> None:
    stack = Mortal(folder=tmp_path, step=step)
    stack.found()
    try:
        stack.start()
        with load(stack) as clients:
            while sum(len(one.got) for one in clients) < 8:
                time.sleep(0.02)
            stack.arm()
            stack.wait_for_death()
        assert sum(len(one.got) for one in clients) >= 8
        died(stack, clients)
    finally:
        if stack.process is not None:
            stack.process.kill()
            stack.process.wait()


@pytest.mark.slow
def test_a_death_at_any_moment_loses_nothing_three_times_in_a_row(tmp_path: Path) -> None:
    stack = Mortal(folder=tmp_path)
    stack.found()
    try:
        for life, seconds in zip("abc", (0.3, 0.65, 1.1), strict=True):
            stack.start()
            with load(stack, life) as clients:
                time.sleep(seconds)
                stack.kill()
            died(stack, clients)
    finally:
        if stack.process is not None:
            stack.process.kill()
            stack.process.wait()
