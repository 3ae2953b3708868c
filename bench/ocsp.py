"""OCSP answers a second and CPU for each: kept, and signed for one request, beside nginx's static file and `openssl ocsp`.

The file that nginx serves is an answer of ours, so it is as long. Requests are about many certificates in turn. "First time"
means octets that were not sent before: no request is found by being the same. Servers have one core, the load the other; CPU is
that of each server's processes, kernel's part included.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from bench import load, peers, plot
from bench.issuance import csr
from bench.process import cpu_seconds, free_port, process, wait_for
from bench.table import show

SECONDS = 2.0
CERTIFICATES = 200
CONNECTIONS = 32
FIRST_TIMES = 60_000  # more than are remembered, so that each comes as if for the first time
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
POST = (("content-type", "application/ocsp-request"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    name: str
    pid: int
    url: str
    requests: Sequence[bytes]
    limit: str = "file"
    keeps_open: bool = True


def run(rounds: int, certificates: int) -> None:
    del certificates
    if NGINX is None:
        raise SystemExit("nginx is not installed: make services")
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="bench-", dir=".") as name:
        folder = Path(name).resolve()
        ours = stack.enter_context(
            peers.quicklime(
                folder / "quicklime",
                settings={
                    "QUICKLIME_LIMITS__SIGNATURES_PER_MINUTE": "100000000",
                    "QUICKLIME_OCSP__SIGNATURES_PER_SECOND": "1000000",
                },
            )
        )
        asked = _Asked.of(ours, folder / "quicklime", CERTIFICATES)
        subjects = list(_ours(ours.pid, asked))
        subjects.append(stack.enter_context(_nginx(folder / "nginx", subjects[0], NGINX)))
        subjects.append(stack.enter_context(_openssl(folder / "openssl", asked.serials)))
        figures: dict[str, list[load.Measured]] = {one.name: [] for one in subjects}
        raws: list[float] = []
        for number in range(rounds + 1):
            for one in subjects:
                seconds = SECONDS if number else 1
                measured = (
                    load.measure(one.url, one.requests, pid=one.pid, connections=CONNECTIONS, seconds=seconds)
                    if one.keeps_open
                    else _one_by_one(one, seconds)
                )
                if number:  # the first round warms up
                    figures[one.name].append(measured)
            if number:
                raws.append(_raw_signature())
    _tell(rounds, subjects, figures, statistics.median(raws))


def _tell(
    rounds: int, subjects: Sequence[Subject], figures: dict[str, list[load.Measured]], signature: float
) -> None:
    cpu = {name: statistics.median(one.cpu_seconds for one in found) for name, found in figures.items()}
    rate = {name: statistics.median(one.per_second for one in found) for name, found in figures.items()}
    limits = {"file": cpu["nginx, static file"], "signature": signature}
    print(
        f"{rounds} rounds of {SECONDS:.0f} s, {CONNECTIONS} connections that stay open (`openssl ocsp`: one each), "
        f"{CERTIFICATES} certificates; one P-256 signature is {signature * 1e6:.0f} µs\n"
    )
    show(
        ["what", "per second", "server CPU µs each", "nginx's file against it", "a signature against it"],
        [
            [
                one.name,
                f"{rate[one.name]:.0f}",
                f"{cpu[one.name] * 1e6:.1f}",
                f"{limits['file'] / cpu[one.name]:.2f}",
                f"{signature / cpu[one.name]:.2f}" if one.limit == "signature" else "",
            ]
            for one in subjects
        ],
    )
    plot.bars(
        "ocsp",
        "CPU per OCSP answer",
        "µs, less is better",
        [(one.name, round(cpu[one.name] * 1e6)) for one in subjects],
    )


def _one_by_one(subject: Subject, seconds: float) -> load.Measured:
    """A connection for each request, one after the other: more `openssl ocsp` does not take."""
    port = int(subject.url.rpartition(":")[2])
    before, began, answers = cpu_seconds(subject.pid), time.monotonic(), 0
    while time.monotonic() - began < seconds:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(subject.requests[answers % len(subject.requests)])
            answer = connection.recv(65536)
            while answer and len(answer) < _length(answer):
                answer += connection.recv(65536)
        if not answer.startswith(b"HTTP/1.0 200 "):
            raise SystemExit(f"{subject.name}: {answer[:100]!r}")
        answers += 1
    lasted, cpu = time.monotonic() - began, cpu_seconds(subject.pid) - before
    return load.Measured(per_second=answers / lasted, cpu_seconds=cpu / answers, answers=answers)


def _length(answer: bytes) -> int:
    """How long the answer is, head and body, as far as its head is here."""
    head, end, _ = answer.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head.lower())
    return len(answer) + 1 if not end or found is None else len(head) + 4 + int(found[1])


def _raw_signature(count: int = 2000) -> float:
    """CPU seconds of one signature."""
    key, message = ec.generate_private_key(ec.SECP256R1()), bytes(250)
    began = time.process_time()
    for _ in range(count):
        key.sign(message, ec.ECDSA(hashes.SHA256()))
    return (time.process_time() - began) / count


# --- ours -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Requests about certificates that were issued for this."""

    url: str
    serials: Sequence[int]
    plain: Sequence[bytes]
    builders: Sequence[ocsp.OCSPRequestBuilder]

    @classmethod
    def of(cls, ours: peers.Subject, folder: Path, count: int) -> _Asked:
        issuer = x509.load_pem_x509_certificate((folder / "issuing.pem").read_bytes())
        token = (folder / "first-token").read_text().strip()
        context = ssl.create_default_context(cafile=str(folder / "root.pem"))
        headers = {"authorization": f"Bearer {token}", "content-type": "application/pkcs10"}
        request, builders, serials = csr(), [], []
        for _ in range(count):
            asked = urllib.request.Request(ours.url, request, headers)
            with urllib.request.urlopen(asked, context=context) as answer:
                made = x509.load_pem_x509_certificate(json.load(answer)["certificate"].encode())
            serials.append(made.serial_number)
            builders.append(ocsp.OCSPRequestBuilder().add_certificate(made, issuer, hashes.SHA1()))
        plain = [one.build().public_bytes(Encoding.DER) for one in builders]
        access = made.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        (place,) = (one for one in access if one.access_method == AuthorityInformationAccessOID.OCSP)
        url = str(place.access_location.value).removesuffix("/ocsp")
        return cls(url=url, serials=serials, plain=plain, builders=builders)


def _ours(pid: int, asked: _Asked) -> Iterator[Subject]:
    gets = [
        load.http_request("GET", "/ocsp/" + quote(base64.b64encode(one).decode(), safe=""))
        for one in asked.plain
    ]
    posts = [load.http_request("POST", "/ocsp", POST, one) for one in asked.plain]
    seldom = [
        load.http_request("POST", "/ocsp", (*POST, ("user-agent", f"client/{number}")), one)
        for number in range(FIRST_TIMES)
        for one in (asked.plain[number % CERTIFICATES],)
    ]
    nonces = [
        load.http_request(
            "POST",
            "/ocsp",
            POST,
            asked.builders[number % CERTIFICATES]
            .add_extension(x509.OCSPNonce(os.urandom(32)), critical=False)
            .build()
            .public_bytes(Encoding.DER),
        )
        for number in range(20_000)
    ]
    yield Subject(name="quicklime, GET", pid=pid, url=asked.url, requests=gets)
    yield Subject(name="quicklime, POST", pid=pid, url=asked.url, requests=posts)
    yield Subject(name="quicklime, POST, first time", pid=pid, url=asked.url, requests=seldom)
    yield Subject(
        name="quicklime, POST with nonce, signed", pid=pid, url=asked.url, requests=nonces, limit="signature"
    )


# --- peers ----------------------------------------------------------------------------------------------------------


@contextmanager
def _nginx(folder: Path, ours: Subject, program: str) -> Iterator[Subject]:
    """Nginx with files as long as our answers, one worker, keep-alive without end, no log."""
    folder.mkdir()
    port = free_port()
    target = ours.requests[0].split(b" ", 2)[1].decode()
    with urllib.request.urlopen(ours.url + target) as answer:
        body = answer.read()
    for number in range(CERTIFICATES):
        (folder / f"{number}.ocsp").write_bytes(body)
    (folder / "nginx.conf").write_text(
        f"""
        {"user root;" if os.geteuid() == 0 else ""}
        daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 1024; }}
        http {{
          access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; server_tokens off;
          open_file_cache max=1000 inactive=600s; open_file_cache_valid 600s;
          types {{ application/ocsp-response ocsp; }}
          client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
          uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          server {{
            listen 127.0.0.1:{port}; root {folder}; expires 12h;
            add_header X-Content-Type-Options nosniff;
          }}
        }}
        """
    )
    with process([program, "-c", str(folder / "nginx.conf"), "-p", str(folder)]) as pid:
        wait_for(port)
        requests = [load.http_request("GET", f"/{number}.ocsp") for number in range(CERTIFICATES)]
        yield Subject(name="nginx, static file", pid=pid, url=f"http://127.0.0.1:{port}", requests=requests)


@contextmanager
def _openssl(folder: Path, serials: Sequence[int]) -> Iterator[Subject]:
    """`openssl ocsp` with a CA and an index of its own: it signs each answer, one connection after the other."""
    folder.mkdir()
    port = free_port()
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "ca.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for words in (
        ["req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=bench", "-days", "30", "-out", "ca.pem"],
    ):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    lines = [f"V\t351231235959Z\t\t{serial:040X}\tunknown\t/CN={serial}\n" for serial in serials]
    (folder / "index.txt").write_text("".join(lines))
    ca = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    requests = []
    for serial in serials:
        digests = []
        for octets in (ca.subject.public_bytes(), _key_bits(ca)):
            digest = hashes.Hash(hashes.SHA1())
            digest.update(octets)
            digests.append(digest.finalize())
        name, key_hash = digests
        built = (
            ocsp.OCSPRequestBuilder().add_certificate_by_hash(name, key_hash, serial, hashes.SHA1()).build()
        )
        requests.append(load.http_request("POST", "/", POST, built.public_bytes(Encoding.DER)))
    command = ["openssl", "ocsp", "-port", str(port), "-index", "index.txt", "-CA", "ca.pem"]
    command += ["-rsigner", "ca.pem", "-rkey", "ca.key", "-ndays", "1"]
    with process(command, cwd=folder) as pid:
        _wait_for_listener(port)
        yield Subject(
            name="openssl ocsp, signed",
            pid=pid,
            url=f"http://127.0.0.1:{port}",
            requests=requests,
            limit="signature",
            keeps_open=False,
        )


def _wait_for_listener(port: int) -> None:
    """As ``wait_for``, but from outside: `openssl ocsp` answers nobody after a connection that asked nothing."""
    wanted = f":{port:04X} "
    end = time.monotonic() + 10
    while time.monotonic() < end:
        tables = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        if any(wanted in line and line.split()[3] == "0A" for line in tables.splitlines()):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def _key_bits(certificate: x509.Certificate) -> bytes:
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    from cryptography.hazmat.primitives.serialization import PublicFormat

    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
