"""From the answer of a revocation to `revoked` by OCSP, and to the certificate's own CRL, however many were revoked before.

Each round revokes one certificate over HTTPS and then asks: OCSP at once and again, the list by HEAD until its ETag changes and
then by a range from its end, where the newest entry stands. The server is one process on one core, the client on the other; the
log is the embedded one, flushed. `crl.delay_seconds` is 0, so that what is measured is work and not the wait for company (a
second by default); the server looks for new revocations five times a second.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from bench import plot
from bench.process import LOAD_CORE, cpu_seconds, free_port, process, resident_octets, wait_for_answer
from bench.seed import Shape, seeded, settings
from bench.table import show
from quicklime import codec, wiring
from quicklime.events import CertificateIssued
from quicklime.pki.der import integer
from quicklime.projection import State

ROUNDS = 100
SPARE = 400
REVOKED = (0, 10_000, 1_000_000)
SHARDS = (1, 64)
START_SECONDS_MAX = 900.0
SECONDS_MAX = 30.0
TAIL_OCTETS = 8192


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds of each round."""

    call: list[float]
    status: list[float]
    listed: list[float]


def run(rounds: int, certificates: int) -> None:
    """``certificates`` bounds how many are revoked before; the million one takes minutes to seed, once a week."""
    del rounds
    os.sched_setaffinity(0, {LOAD_CORE})
    sizes = sorted({min(revoked, certificates) for revoked in REVOKED})
    rows, bars = [], []
    for shards in SHARDS:
        measured = _measure(sizes, shards)
        first = measured[0].figures
        for revoked, one in zip(sizes, measured, strict=True):
            figures = one.figures
            rows.append(
                [
                    shards,
                    f"{revoked:,}",
                    _pair(figures.call),
                    _pair(figures.status),
                    f"{_p99(figures.status) / _p99(first.status):.2f}",
                    _pair(figures.listed),
                    f"{_p99(figures.listed) / _p99(first.listed):.2f}",
                    f"{one.list_octets / 1e6:.2f}",
                    f"{one.cpu_seconds * 1000:.0f}",
                    f"{one.memory_octets / 1e6:.0f}",
                ]
            )
            bars.append((f"quicklime, {shards} lists, {revoked:,} revoked", round(_p99(figures.status), 2)))
    print(f"{ROUNDS} revocations each, in turn; milliseconds as p50 / p99\n")
    columns = ["lists", "revoked before", "the call", "to OCSP", "p99 to that at 0", "to its list"]
    show([*columns, "p99 to that at 0", "list MB", "server CPU ms each", "memory MB"], rows)
    plot.bars("revoke", "From the answer to `revoked` by OCSP, p99", "ms", bars)


def _pair(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} / {_p99(values):.1f}"


def _p99(values: list[float]) -> float:
    return sorted(values)[max(0, len(values) * 99 // 100 - 1)]


@dataclass(slots=True)
class Measured:
    """``cpu_seconds`` are the server's per revocation, its answers to the polling included."""

    figures: Figures
    list_octets: int
    cpu_seconds: float
    memory_octets: int


def _measure(sizes: list[int], shards: int) -> list[Measured]:
    """One server for each size, all at once; they are asked in turn, so that a busy moment meets them all."""
    with ExitStack() as stack:
        servers = []
        for revoked in sizes:
            data = seeded(Shape(certificates=revoked + SPARE, revoked=revoked, shards=shards))
            certificates = _unrevoked(settings(data, shards), ROUNDS)
            pid, api, status = stack.enter_context(_server(data, shards))
            servers.append((pid, _Client(data, api, status), certificates))
        time.sleep(5)  # the entries of their lists are read after the start
        for _, client, certificates in servers:
            client.revoke_and_wait(certificates[0])
        found = [Measured(Figures([], [], []), 0, 0.0, 0) for _ in servers]
        for number in range(1, ROUNDS + 1):
            for (pid, client, certificates), one in zip(servers, found, strict=True):
                before = cpu_seconds(pid)
                call, status_ms, listed = client.revoke_and_wait(certificates[number])
                one.cpu_seconds += (cpu_seconds(pid) - before) / ROUNDS
                one.figures.call.append(call)
                one.figures.status.append(status_ms)
                one.figures.listed.append(listed)
        for (pid, client, certificates), one in zip(servers, found, strict=True):
            one.list_octets = client.length(certificates[-1])
            one.memory_octets = resident_octets(pid)
        return found


def _unrevoked(config: object, count: int) -> list[x509.Certificate]:
    """Certificates of the log's end that are not revoked. The views are brought up to date on the way."""
    found: list[x509.Certificate] = []
    with wiring.opened(config) as (_, log, store, projector):  # type: ignore[arg-type]
        began = time.monotonic()
        projector.catch_up()
        print(f"views of {log.head()} records after {time.monotonic() - began:.0f} s", file=sys.stderr)
        state = State(store.get)
        place = log.head()
        while len(found) <= count and place > 0:
            place = max(0, place - 1000)
            for record in log.read(place, 1000):
                event = codec.decode(record.value)
                if isinstance(event, CertificateIssued):
                    certificate = state.certificate(event.serial)
                    if (
                        certificate is not None
                        and certificate.status == "issued"
                        and certificate.profile == "server"
                    ):
                        parsed = x509.load_der_x509_certificate(event.certificate)
                        if certificate.requester.kind != "system":
                            found.append(parsed)
    if len(found) <= count:
        raise SystemExit("too few certificates are left in this seed: delete it, and it is made anew")
    return found[: count + 1]


@contextmanager
def _server(data: Path, shards: int) -> Iterator[tuple[int, int, int]]:
    api, status = free_port(), free_port()
    environment = {
        **os.environ,
        "QUICKLIME_DATA_DIR": str(data),
        "QUICKLIME_API__PORT": str(api),
        "QUICKLIME_STATUS__PORT": str(status),
        "QUICKLIME_CRL__DELAY_SECONDS": "0",
        "QUICKLIME_CRL__SHARDS": str(shards),
        "QUICKLIME_LOGGING__LEVEL": "warning",
    }
    with process([sys.executable, "-m", "quicklime", "serve"], environment) as pid:
        wait_for_answer(status, START_SECONDS_MAX)
        yield pid, api, status


class _Client:
    def __init__(self, data: Path, api: int, status: int) -> None:
        tls = ssl.create_default_context(cafile=str(data / "root.pem"))
        self._api = http.client.HTTPSConnection("localhost", api, context=tls)
        self._status = http.client.HTTPConnection("localhost", status)
        self._token = (data / "first-token").read_text().strip()
        self._issuer = x509.load_pem_x509_certificate((data / "issuing.pem").read_bytes())

    def revoke_and_wait(self, certificate: x509.Certificate) -> tuple[float, float, float]:
        """Milliseconds: of the call, from its answer to OCSP, from its answer to the list."""
        question = (
            ocsp.OCSPRequestBuilder()
            .add_certificate(certificate, self._issuer, hashes.SHA256())
            .build()
            .public_bytes(Encoding.DER)
        )
        path = _path(certificate)
        before = self._etag(path)
        if self._is_revoked(question):
            raise SystemExit("revoked before it was revoked")
        began = time.perf_counter()
        self._revoke(certificate)
        answered = time.perf_counter()
        while not self._is_revoked(question):
            _in_time(answered)
        told = time.perf_counter()
        entry = integer(certificate.serial_number)
        while True:
            etag = self._etag(path)
            if etag != before:
                before = etag
                if entry in self._tail(path):
                    break
            _in_time(answered)
            time.sleep(0.01)
        listed = time.perf_counter()
        return (answered - began) * 1000, (told - answered) * 1000, (listed - answered) * 1000

    def length(self, certificate: x509.Certificate) -> int:
        self._status.request("HEAD", _path(certificate))
        answer = self._status.getresponse()
        answer.read()
        return int(answer.headers["content-length"])

    def _revoke(self, certificate: x509.Certificate) -> None:
        headers = {"authorization": f"Bearer {self._token}", "content-type": "application/json"}
        path = f"/v1/certificates/{certificate.serial_number:040x}/revocation"
        self._api.request("POST", path, json.dumps({"reason": "superseded"}), headers)
        answer = self._api.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise SystemExit(f"revocation: {answer.status} {said.decode()}")

    def _is_revoked(self, question: bytes) -> bool:
        self._status.request("POST", "/ocsp", question, {"content-type": "application/ocsp-request"})
        found = ocsp.load_der_ocsp_response(self._status.getresponse().read())
        return found.certificate_status is ocsp.OCSPCertStatus.REVOKED

    def _etag(self, path: str) -> str:
        self._status.request("HEAD", path)
        answer = self._status.getresponse()
        answer.read()
        return str(answer.headers["etag"])

    def _tail(self, path: str) -> bytes:
        self._status.request("GET", path, headers={"range": f"bytes=-{TAIL_OCTETS}"})
        return self._status.getresponse().read()


def _path(certificate: x509.Certificate) -> str:
    (point,) = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    return urlsplit(str(point.full_name[0].value)).path


def _in_time(since: float) -> None:
    if time.perf_counter() - since > SECONDS_MAX:
        raise SystemExit(f"not to be seen {SECONDS_MAX} s after the answer")
