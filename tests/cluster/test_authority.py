"""One authority on three real brokers, seen from outside: three servers of it at once, one with views of its own, two that share a
Valkey. They race, brokers die, the store is emptied, records come that are not ours; then every view is as a fresh replay makes it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from quicklime.adapters.kafka_log import Cluster, create
from tests.support.authority import Subscriber, base64, octets
from tests.support.kafka import Kafka
from tests.support.keyvalue import KeyValueServer
from tests.support.stack import SETTINGS, Stack

RACES = int(
    os.environ.get("QUICKLIME_RACES", "100")
)  # per kind; hundreds by hand: make test ARGS=tests/cluster
SOON_SECONDS = 60.0
OF_ONE_PROCESS = shutil.ignore_patterns("views", "answers", "workers", "serve.lock")
NAME = "dns:web.lab.internal"

ON_KAFKA = (
    SETTINGS
    + """
[log]
url = "{url}"
{views}
"""
)
SHARED = """
[views]
url = "{url}"
prefix = "{prefix}"
"""


@dataclass
class Servers:
    """Each in a data directory of its own, with the same keys: what one machine of many has."""

    kafka: Kafka
    valkey: KeyValueServer
    url: str
    stacks: Sequence[Stack]

    def __post_init__(self) -> None:
        self.clients = [stack.client() for stack in self.stacks]

    def ask(self, server: int, method: str, path: str, **more: Any) -> httpx.Response:
        return self.clients[server].request(method, path, **more)

    def issue(self, server: int, by: Subscriber, **options: Any) -> httpx.Response:
        headers = options.pop("headers", None)
        body = {"csr": base64(by.csr(NAME)), **options}
        return self.ask(server, "POST", "/v1/certificates", json=body, headers=headers)

    def renew(self, server: int, parent: dict[str, Any], by: Subscriber, to: Subscriber) -> httpx.Response:
        request = to.csr(NAME)
        body = {
            "csr": base64(request),
            "signature": by.renewal_signature(octets(parent["renewal_challenge"]), request),
        }
        return self.ask(server, "POST", f"/v1/certificates/{parent['serial']}/renewals", json=body)

    def revoke(self, server: int, found: dict[str, Any]) -> httpx.Response:
        body = {"secret": found["revocation_secret"]}
        return self.ask(server, "POST", f"/v1/certificates/{found['serial']}/revocation", json=body)

    def status(self, server: int, serial: str) -> str:
        answer = self.ask(server, "GET", f"/v1/certificates/{serial}/status")
        return str(answer.json()["status"]) if answer.status_code == 200 else str(answer.status_code)

    def await_known(self, serial: str, status: str = "good") -> None:
        """Until every server says so of the certificate."""
        for server in range(len(self.stacks)):
            until = time.monotonic() + SOON_SECONDS
            while (said := self.status(server, serial)) != status:
                assert time.monotonic() < until, f"server {server} says {said} of {serial}, expected {status}"
                time.sleep(0.02)

    def at_once(self, ask: Callable[[int], httpx.Response]) -> list[httpx.Response]:
        """The same question to all three, as nearly at once as threads can."""
        start = threading.Barrier(len(self.stacks))

        def one(server: int) -> httpx.Response:
            start.wait()
            return ask(server)

        with ThreadPoolExecutor(len(self.stacks)) as pool:
            return list(pool.map(one, range(len(self.stacks))))

    def ocsp(self, server: int, found: dict[str, Any]) -> ocsp.OCSPCertStatus:
        leaf = x509.load_pem_x509_certificate(found["certificate"].encode())
        issuer = x509.load_pem_x509_certificate((self.stacks[0].data / "issuing.pem").read_bytes())
        request = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, SHA1()).build()
        answer = httpx.post(
            f"{self.stacks[server].status}/ocsp",
            content=request.public_bytes(Encoding.DER),
            headers={"content-type": "application/ocsp-request"},
        )
        return ocsp.load_der_ocsp_response(answer.content).certificate_status

    def check_views(self) -> None:
        """The views of all, and those that a reader makes who begins at record 0, have one digest.

        At the end of each group of tests: the log holds what those before did.
        """
        fresh = self.stacks[0].folder.parent / f"fresh-{uuid.uuid4()}"
        shutil.copytree(self.stacks[0].data, fresh / "data", ignore=OF_ONE_PROCESS)
        again = Stack(folder=fresh, settings=ON_KAFKA.replace("{url}", self.url).replace("{views}", ""))
        again.configure()
        until = time.monotonic() + SOON_SECONDS
        while True:
            with ThreadPoolExecutor() as pool:
                told = list(pool.map(lambda stack: stack.told("view", "digest"), (*self.stacks, again)))
            if len({row["checkpoint"] for rows in told for row in rows}) == 1:
                break
            assert time.monotonic() < until
        digests = [{row["view"]: row["digest"] for row in rows} for rows in told]
        assert all(one == digests[-1] for one in digests)
        report = again.told("log", "verify")
        assert report["faults"] == []


@pytest.fixture(scope="module")
def servers(kafka3: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("authority")
    url = f"kafka://{kafka3.bootstrap}/authority-{uuid.uuid4()}"
    create(Cluster(url=url))
    with contextlib.ExitStack() as running:
        valkey = running.enter_context(KeyValueServer.valkey(folder))
        shared = SHARED.replace("{url}", valkey.url).replace("{prefix}", "shared")
        stacks: list[Stack] = []
        for name, views in (("a", ""), ("b", shared), ("c", shared)):
            stack = Stack(
                folder=folder / name, settings=ON_KAFKA.replace("{url}", url).replace("{views}", views)
            )
            if stacks:
                shutil.copytree(stacks[0].data, stack.data, ignore=OF_ONE_PROCESS)
                stack.configure()
            else:
                stack.found()
            running.callback(end, stack)
            stack.start()
            stacks.append(stack)
        yield Servers(kafka3, valkey, url, stacks)


def end(stack: Stack) -> None:
    if stack.process is not None:
        stack.process.kill()
        stack.process.wait()


@pytest.fixture(autouse=True)
def _three_brokers(kafka3: Kafka) -> Iterator[None]:
    yield
    for node in range(3):
        if kafka3.is_down(node):
            kafka3.run(node)
    kafka3.await_nodes(3)


def test_of_three_renewals_of_one_certificate_exactly_one_gets_through(servers: Servers) -> None:
    holder, heir = Subscriber.new(), Subscriber.new()
    parents = [servers.issue(n % 3, holder).json() for n in range(RACES)]
    servers.await_known(parents[-1]["serial"])
    outcomes: Counter[tuple[int, ...]] = Counter()
    winners: Counter[int] = Counter()
    for parent in parents:
        answers = servers.at_once(partial(servers.renew, parent=parent, by=holder, to=heir))
        statuses = [answer.status_code for answer in answers]
        outcomes[tuple(sorted(statuses))] += 1
        winners[statuses.index(201)] += 1
        parent["successor"] = answers[statuses.index(201)].json()["serial"]
    assert outcomes == {(201, 409, 409): RACES}
    assert len(winners) > 1, "the same server won each time: no race"
    servers.await_known(parents[-1]["successor"])
    for parent in parents:
        told = {
            servers.ask(server, "GET", f"/v1/certificates/{parent['serial']}/renewals").json()["successor"]
            for server in range(3)
        }
        assert told == {parent["successor"]}


def test_one_use_and_one_idempotency_key_are_one_certificate_whoever_is_asked(servers: Servers) -> None:
    holder = Subscriber.new()
    for number in range(RACES // 6):
        token = servers.ask(
            number % 3,
            "POST",
            "/v1/tokens",
            json={
                "role": "requester",
                "names": ["**.lab.internal"],
                "profiles": ["server"],
                "lifetime_seconds": 3600,
                "uses": 1,
            },
        ).json()["token"]
        headers = {"authorization": f"Bearer {token}"}
        await_token(servers, headers)
        answers = servers.at_once(partial(servers.issue, by=holder, headers=headers))
        assert [answer.status_code for answer in answers].count(201) == 1, [answer.text for answer in answers]
        assert all(answer.status_code in {201, 401, 403, 409} for answer in answers)
        headers = {"idempotency-key": str(uuid.uuid4())}
        request = base64(holder.csr(NAME))
        answers = servers.at_once(partial(servers.issue, by=holder, csr=request, headers=headers))
        told = {answer.json()["serial"] for answer in answers if answer.is_success}
        assert len(told) == 1
        assert all(answer.is_success or answer.status_code == 409 for answer in answers)


def await_token(servers: Servers, headers: dict[str, str]) -> None:
    """Until all servers know it: an empty request is malformed, but not unauthenticated."""
    for server in range(3):
        until = time.monotonic() + SOON_SECONDS
        while servers.ask(server, "POST", "/v1/certificates", json={}, headers=headers).status_code == 401:
            assert time.monotonic() < until
            time.sleep(0.02)


def revoke_or_renew(
    servers: Servers, parent: dict[str, Any], holder: Subscriber, heir: Subscriber, server: int
) -> httpx.Response:
    return servers.revoke(server, parent) if server == 1 else servers.renew(server, parent, holder, heir)


def test_a_renewal_and_a_revocation_at_once_have_one_end(servers: Servers) -> None:
    holder, heir = Subscriber.new(), Subscriber.new()
    parents = [servers.issue(n % 3, holder).json() for n in range(RACES // 6)]
    servers.await_known(parents[-1]["serial"])
    for parent in parents:
        answers = servers.at_once(partial(revoke_or_renew, servers, parent, holder, heir))
        assert answers[1].status_code == 200, answers[1].text
        assert [answers[0].status_code, answers[2].status_code].count(201) <= 1
        servers.await_known(parent["serial"], "revoked")
    servers.check_views()


def test_a_broker_is_killed_under_load_and_what_was_answered_is_there(servers: Servers) -> None:
    holder = Subscriber.new()
    stop = threading.Event()
    issued: list[dict[str, Any]] = []
    others: Counter[int] = Counter()

    def load(server: int) -> None:
        client = servers.stacks[server].client()
        while not stop.is_set():
            answer = client.post("/v1/certificates", json={"csr": base64(holder.csr(NAME))})
            if answer.status_code == 201:
                issued.append(answer.json())
            else:
                others[answer.status_code] += 1
                assert answer.headers.get("retry-after")
                time.sleep(0.1)

    def more(count: int) -> None:
        wanted, until = len(issued) + count, time.monotonic() + SOON_SECONDS
        while len(issued) < wanted:
            assert time.monotonic() < until
            time.sleep(0.05)

    with ThreadPoolExecutor(6) as pool:
        tasks = [pool.submit(load, server % 3) for server in range(6)]
        try:
            more(50)
            servers.kafka.send(0, signal.SIGKILL)
            more(50)
            servers.kafka.run(0)
            servers.kafka.await_nodes(3)
            servers.kafka.send(1, signal.SIGKILL)
            more(50)
        finally:
            stop.set()
        for task in tasks:
            task.result()
    assert set(others) <= {503}
    servers.await_known(issued[-1]["serial"])
    for server, found in itertools.product(range(3), issued):
        assert servers.status(server, found["serial"]) == "good"
    found = issued[0]
    assert servers.revoke(1, found).status_code == 200
    servers.await_known(found["serial"], "revoked")
    for server in range(3):
        assert servers.ocsp(server, found) == ocsp.OCSPCertStatus.REVOKED
        assert servers.ocsp(server, issued[1]) == ocsp.OCSPCertStatus.GOOD


def test_with_all_brokers_away_issuance_is_refused_and_status_goes_on(servers: Servers) -> None:
    holder = Subscriber.new()
    found = servers.issue(0, holder).json()
    servers.await_known(found["serial"])
    for server in range(3):
        assert servers.ocsp(server, found) == ocsp.OCSPCertStatus.GOOD
    for node in range(3):
        servers.kafka.send(node, signal.SIGKILL)
    for server in range(3):
        until = time.monotonic() + SOON_SECONDS
        while (answer := servers.issue(server, holder)).status_code == 201:
            assert time.monotonic() < until
        assert (answer.status_code, answer.json()["reasons"][0]["code"]) == (503, "log-unavailable")
        assert answer.headers["retry-after"]
        # once it knows, it says so at once
        began = time.monotonic()
        assert servers.issue(server, holder).status_code == 503
        assert time.monotonic() - began < 10
        while servers.ask(server, "GET", "/health/ready").status_code != 503:
            assert time.monotonic() < until
            time.sleep(0.1)
        assert "the log can't be read" in servers.ask(server, "GET", "/health/ready").json()["reasons"]
        assert servers.ocsp(server, found) == ocsp.OCSPCertStatus.GOOD
    for node in range(3):
        servers.kafka.run(node)
    servers.kafka.await_nodes(3)
    for server in range(3):
        until = time.monotonic() + SOON_SECONDS
        while (answer := servers.issue(server, holder)).status_code != 201:
            assert answer.status_code == 503
            assert time.monotonic() < until
            time.sleep(0.2)
    servers.await_known(answer.json()["serial"])
    servers.check_views()


@pytest.mark.parametrize("restart", [False, True], ids=["emptied", "restarted"])
def test_a_shared_store_that_loses_all_is_filled_again_and_says_nothing_wrong_meanwhile(
    servers: Servers, restart: bool
) -> None:
    holder = Subscriber.new()
    found, gone = (servers.issue(server, holder).json() for server in (0, 1))
    assert servers.revoke(1, gone).status_code == 200, gone
    servers.await_known(gone["serial"], "revoked")
    if restart:
        servers.valkey.kill()
        servers.valkey.start()
    else:
        servers.valkey.client().flushall()
    for server in (1, 2):
        until = time.monotonic() + SOON_SECONDS
        while True:
            said = servers.status(server, found["serial"]), servers.status(server, gone["serial"])
            assert said[0] in {"good", "503"}
            assert said[1] in {"revoked", "503"}
            if said == ("good", "revoked"):
                break
            assert time.monotonic() < until
    answer = servers.issue(2, holder)
    assert answer.status_code == 201, answer.text
    if restart:
        servers.check_views()


def test_views_that_are_shared_are_no_snapshot(servers: Servers, tmp_path: Path) -> None:
    assert b"snapshots are of views in files" in servers.stacks[1].quicklime_said(
        "view", "snapshot", str(tmp_path / "x")
    )


def test_a_record_that_is_not_ours_stops_no_server_silently(servers: Servers) -> None:
    """Last: nothing mends it but a log without it."""
    producer = Producer({"bootstrap.servers": servers.kafka.bootstrap})
    producer.produce(servers.url.rpartition("/")[2], value=b"{}", partition=0)
    producer.flush()
    for server in range(3):
        until = time.monotonic() + SOON_SECONDS
        while (answer := servers.ask(server, "GET", "/health/ready")).status_code == 200:
            assert time.monotonic() < until
            time.sleep(0.1)
        assert "the projector stopped; the log lines say why" in answer.json()["reasons"]
        while "not a CloudEvents envelope" not in servers.stacks[server].tail():
            assert time.monotonic() < until
            time.sleep(0.1)
