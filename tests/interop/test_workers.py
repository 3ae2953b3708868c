"""A server of several processes, seen from outside: workers that die lose nothing, and nobody else notices."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import ocsp

from tests.support.stack import SETTINGS, Stack, running

WORKERS = """
[workers]
api = 2
status = 2
"""
SECONDS_MAX = 20.0
CLIENTS = 6
KILLS = 3
CURVE_OCTETS = 32


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("workers"), settings=SETTINGS + WORKERS) as stack:
        yield stack


def workers(stack: Stack) -> dict[str, int]:
    """The newest process of each worker, by what the server said when it started it."""
    found: dict[str, int] = {}
    for line in stack.log_file.read_text().splitlines():
        if "worker started" in line:
            found[line.partition("worker='")[2].rstrip("'")] = int(line.partition("pid=")[2].split()[0])
    return found


def until(look: Callable[[], object], what: str) -> None:
    end = time.monotonic() + SECONDS_MAX
    while time.monotonic() < end:
        if look():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {SECONDS_MAX} s")


def replaced(stack: Stack, name: str, pid: int) -> None:
    until(lambda: workers(stack)[name] != pid, f"a successor of {name} (process {pid})")


def csr(name: str) -> bytes:
    san = x509.SubjectAlternativeName([x509.DNSName(name)])
    builder = (
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(san, critical=False)
    )
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)


@dataclass(slots=True)
class Requesters:
    """Clients that issue and revoke as fast as they are answered, and ask again where a connection broke."""

    stack: Stack
    label: str = field(default_factory=lambda: f"t{time.monotonic_ns()}")
    issued: dict[str, bytes] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    refusals: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def work(self, client_number: int) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            name = f"c{client_number}-{number}.{self.label}.lab.internal"
            answer = self._insisting("/v1/certificates", csr(name), "application/pkcs10", key=name)
            if answer is None:
                continue
            made = answer.json()
            self.issued[made["serial"]] = x509.load_pem_x509_certificate(
                made["certificate"].encode()
            ).public_bytes(Encoding.DER)
            if number % 3 == 0 and self._insisting(
                f"/v1/certificates/{made['serial']}/revocation",
                json.dumps({"secret": made["revocation_secret"]}).encode(),
                "application/json",
            ):
                self.revoked.add(made["serial"])

    def _insisting(self, path: str, body: bytes, kind: str, key: str | None = None) -> httpx.Response | None:
        """The answer, however many connections break before it; None where we are asked to stop before there is one."""
        headers = {"content-type": kind} | ({} if key is None else {"idempotency-key": key})
        while True:
            with contextlib.suppress(httpx.TransportError), self.stack.client() as client:
                answer = client.post(path, content=body, headers=headers)
                if answer.status_code < 300:
                    return answer
                # a plan whose worker died holds the key until its deadline
                if "idempotency-conflict" not in answer.text:
                    self.refusals.append(answer.text)
                    return None
            if self.stop.is_set():
                return None
            time.sleep(0.1)


@contextlib.contextmanager
def under_load(stack: Stack) -> Iterator[Requesters]:
    requesters = Requesters(stack)
    with ThreadPoolExecutor(CLIENTS) as pool:
        done = [pool.submit(requesters.work, number) for number in range(CLIENTS)]
        try:
            until(lambda: len(requesters.issued) >= CLIENTS, "the first certificates")
            yield requesters
            before = len(requesters.issued)
            until(lambda: len(requesters.issued) > before + CLIENTS, "certificates after all that")
        finally:
            requesters.stop.set()
    for one in done:
        one.result()


def told(stack: Stack, kind: str) -> list[dict[str, Any]]:
    """What the log's events of this kind say."""
    found = [one for one in stack.events() if one["type"].startswith(f"quicklime.{kind}.")]
    return [json.loads(base64.b64decode(one["value"]))["data"] for one in found]


def status_of(stack: Stack, certificate: bytes) -> ocsp.OCSPCertStatus:
    """What OCSP says, over a connection of its own, so that any of the workers may answer."""
    leaf = x509.load_der_x509_certificate(certificate)
    issuer = x509.load_pem_x509_certificate((stack.data / "issuing.pem").read_bytes())
    asked = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA256()).build()
    answer = httpx.post(
        f"{stack.status}/ocsp",
        content=asked.public_bytes(Encoding.DER),
        headers={"content-type": "application/ocsp-request"},
    )
    return ocsp.load_der_ocsp_response(answer.content).certificate_status


def test_each_worker_has_a_process(several: Stack) -> None:
    found = workers(several)
    assert set(found) == {"upkeep 1", "api 1", "api 2", "status 1", "status 2"}
    assert len(set(found.values())) == 5


def test_a_worker_for_status_has_no_issuing_key_in_its_memory(several: Stack) -> None:
    passphrase = (several.data / "secrets" / "issuer-passphrase").read_bytes().strip()
    (path,) = (several.data / "issuers").glob("*.pem")
    key = load_pem_private_key(path.read_bytes(), passphrase)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    # OpenSSL keeps a number as machine words, the least first
    secret = key.private_numbers().private_value.to_bytes(CURVE_OCTETS, "little")
    found = {name: secret in memory_of(pid) for name, pid in workers(several).items()}
    assert found == {
        "upkeep 1": True,
        "api 1": True,
        "api 2": True,
        "status 1": False,
        "status 2": False,
    }
    assert several.process is not None
    assert secret not in memory_of(several.process.pid)


def memory_of(pid: int) -> bytes:
    """All that a process has in memory of its own that it may write to."""
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb") as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, modes, _, _, inode, *_ = line.split()
            if modes.startswith("rw") and inode == "0":
                start, end = (int(one, 16) for one in span.split("-"))
                with contextlib.suppress(OSError):
                    memory.seek(start)
                    parts.append(memory.read(end - start))
    return b"\0".join(parts)


def test_a_revocation_is_seen_by_every_worker_at_once(several: Stack) -> None:
    with several.client() as client:
        answer = client.post(
            "/v1/certificates",
            content=csr("seen.lab.internal"),
            headers={"content-type": "application/pkcs10"},
        ).json()
        certificate = x509.load_pem_x509_certificate(answer["certificate"].encode()).public_bytes(
            Encoding.DER
        )
        assert {status_of(several, certificate) for _ in range(20)} == {ocsp.OCSPCertStatus.GOOD}
        client.post(
            f"/v1/certificates/{answer['serial']}/revocation",
            json={"secret": answer["revocation_secret"]},
        ).raise_for_status()
    assert {status_of(several, certificate) for _ in range(20)} == {ocsp.OCSPCertStatus.REVOKED}


def test_figures_are_those_of_all_workers(several: Stack) -> None:
    def counted() -> float:
        with several.client() as client:
            for line in client.get("/metrics").text.splitlines():
                if line.startswith("quicklime_http_requests_total") and 'operation="live"' in line:
                    return float(line.split()[-1])
        return 0.0

    before = counted()
    for _ in range(20):
        with several.client(None) as client:
            assert client.get("/health/live").status_code == 200
    assert counted() == before + 20


@pytest.mark.parametrize("name", ["api 1", "upkeep 1", "status 1"])
def test_killed_under_load_a_worker_loses_nothing(several: Stack, name: str) -> None:
    planned = len(told(several, "certificate.planned"))
    with under_load(several) as requesters:
        for _ in range(KILLS):
            pid = workers(several)[name]
            os.kill(pid, signal.SIGKILL)
            replaced(several, name, pid)
            time.sleep(0.3)
    assert not requesters.refusals
    recorded = {one["serial"] for one in told(several, "certificate.issued")}
    assert set(requesters.issued) <= recorded
    for serial in list(requesters.revoked)[:20]:
        assert status_of(several, requesters.issued[serial]) == ocsp.OCSPCertStatus.REVOKED, serial
    if name != "api 1":
        # whoever took the dead worker's place left the plans of the living alone
        since = {one["serial"] for one in told(several, "certificate.planned")[planned:]}
        assert since.isdisjoint(one["serial"] for one in told(several, "certificate.abandoned"))
    assert b"0 faults" in several.quicklime("log", "verify")


def test_what_is_under_way_is_answered_before_the_end_and_all_processes_end(several: Stack) -> None:
    pids = [*workers(several).values()]
    with under_load(several) as requesters:
        assert several.process is not None
        supervisor = several.process
        several.stop()
        requesters.stop.set()
        assert supervisor.returncode == 0
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        requesters.stop.clear()
        several.start()
    assert not requesters.refusals


def test_workers_end_when_their_supervisor_was_killed(several: Stack) -> None:
    assert several.process is not None
    pids = list(workers(several).values())
    several.process.send_signal(signal.SIGKILL)
    several.process.wait()
    several.process = None
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the end of the workers")
    several.start()


def test_why_a_worker_can_not_start_is_told_by_the_command(tmp_path: Path) -> None:
    stack = Stack(folder=tmp_path, settings=SETTINGS + WORKERS)
    stack.found()
    (stack.data / "secrets" / "issuer-passphrase").write_text("not this one\n")
    done = subprocess.run(
        stack._command("serve"),
        capture_output=True,
        env=stack._environment(),
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 5, done.stderr
    assert "error: " in done.stderr
    assert "does not open with its passphrase" in done.stderr
    assert "Traceback" not in done.stderr
