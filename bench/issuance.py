"""Certificates a second and CPU per certificate: Quicklime over HTTPS with durable recording, the raw limit, cfssl.

The raw limit is what cannot be left out: one P-256 signature, and one verification with a key not seen before. CPU is that of
the server's process alone, from /proc; the client runs on another core. Rounds alternate between the subjects, so that a
machine that slows down slows them all.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from bench.table import show

CONNECTIONS = 64
START_SECONDS_MAX = 30
ALGORITHM = ec.ECDSA(hashes.SHA256())
AUTH_KEY = "00112233445566778899aabbccddeeff"


@dataclass
class Subject:
    """A server that is measured: its process, its address, and how a CSR becomes a request to it."""

    name: str
    pid: int
    port: int
    tls: ssl.SSLContext | None
    request: Callable[[bytes], bytes]
    connections: int = CONNECTIONS


def run(rounds: int, certificates: int) -> None:
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        subjects = [stack.enter_context(quicklime(Path(folder) / "quicklime"))]
        if shutil.which("cfssl"):
            subjects.append(stack.enter_context(cfssl(Path(folder) / "cfssl", store=False)))
            subjects.append(stack.enter_context(cfssl(Path(folder) / "cfssl-store", store=True)))
        else:
            print("cfssl is not installed (make services): measured without it\n")
        figures: dict[str, list[tuple[float, float]]] = {"raw limit": []}
        for subject in subjects:
            _round(subject, certificates // 5)  # warm
        for _ in range(rounds):
            cpu = raw()
            figures["raw limit"].append((1 / cpu, cpu))
            for subject in subjects:
                figures.setdefault(subject.name, []).append(_round(subject, certificates))
    limit = statistics.median(cpu for _, cpu in figures["raw limit"])
    rows = []
    for name, found in figures.items():
        rate, cpu = (statistics.median(values) for values in zip(*found, strict=True))
        rows.append([name, f"{rate:.0f}", f"{cpu * 1e6:.0f}", f"{limit / cpu:.3f}"])
    print(
        f"{rounds} rounds of {certificates} certificates, {CONNECTIONS} connections (cfssl with store: 1), P-256\n"
    )
    show(["subject", "per second", "server CPU µs each", "share of the raw limit"], rows)


def raw(count: int = 500) -> float:
    """CPU seconds for one signature and one verification with a fresh key."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(count)]
    message = bytes(600)
    signed = [
        (
            key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            key.sign(message, ALGORITHM),
        )
        for key in keys
    ]
    began = time.process_time()
    for spki, signature in signed:
        key = load_der_public_key(spki)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, message, ALGORITHM)
    for one in keys:
        one.sign(message, ALGORITHM)
    return (time.process_time() - began) / count


# --- subjects -------------------------------------------------------------------------------------------------------


@contextmanager
def quicklime(folder: Path) -> Iterator[Subject]:
    port, status = free_port(), free_port()
    environment = {
        **os.environ,
        "QUICKLIME_DATA_DIR": str(folder),
        "QUICKLIME_API__PORT": str(port),
        "QUICKLIME_STATUS__PORT": str(status),
        "QUICKLIME_LIMITS__REQUESTS_PER_MINUTE": "100000000",
        "QUICKLIME_LOGGING__LEVEL": "warning",
    }
    with process([sys.executable, "-m", "quicklime", "up"], environment) as pid:
        wait_for(port)
        token = (folder / "first-token").read_text().strip()

        def request(csr: bytes) -> bytes:
            return (
                b"POST /v1/certificates HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer "
                + token.encode()
                + b"\r\ncontent-type: application/pkcs10\r\ncontent-length: %d\r\n\r\n" % len(csr)
                + csr
            )

        tls = ssl.create_default_context(cafile=str(folder / "root.pem"))
        yield Subject("quicklime, HTTPS, durable", pid, port, tls, request)


@contextmanager
def cfssl(folder: Path, *, store: bool) -> Iterator[Subject]:
    """``cfssl serve`` over plain HTTP with an authentication key; ``store`` adds its SQLite database."""
    folder.mkdir()
    request = {"CN": "bench root", "key": {"algo": "ecdsa", "size": 256}, "ca": {"expiry": "87600h"}}
    (folder / "root.json").write_text(json.dumps(request))
    made = subprocess.run(
        ["cfssl", "gencert", "-initca", "root.json"], cwd=folder, capture_output=True, check=True
    )
    answer = json.loads(made.stdout)
    (folder / "ca.pem").write_text(answer["cert"])
    (folder / "ca-key.pem").write_text(answer["key"])
    profile = {
        "usages": ["digital signature", "server auth"],
        "expiry": "720h",
        "auth_key": "one",
    }
    config = {"signing": {"default": profile}, "auth_keys": {"one": {"type": "standard", "key": AUTH_KEY}}}
    (folder / "config.json").write_text(json.dumps(config))
    port = free_port()
    command = ["cfssl", "serve", "-address=127.0.0.1", f"-port={port}", "-ca=ca.pem", "-ca-key=ca-key.pem"]
    command += ["-config=config.json", "-loglevel=3"]
    if store:
        command.append(f"-db-config={sqlite_store(folder)}")
    key = bytes.fromhex(AUTH_KEY)

    def ask(csr: bytes) -> bytes:
        pem = x509.load_der_x509_csr(csr).public_bytes(Encoding.PEM).decode()
        inner = json.dumps({"certificate_request": pem, "hosts": ["web.internal"]}).encode()
        token = base64.b64encode(hmac.new(key, inner, hashlib.sha256).digest()).decode()
        body = json.dumps({"token": token, "request": base64.b64encode(inner).decode()}).encode()
        head = (
            b"POST /api/v1/cfssl/authsign HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        )
        return head + b"content-length: %d\r\n\r\n" % len(body) + body

    with process(command, dict(os.environ), cwd=folder) as pid:
        wait_for(port)
        name = "cfssl serve, HTTP, SQLite store" if store else "cfssl serve, HTTP, no store"
        # with its SQLite store, cfssl answers "database is locked" to requests that come at once
        yield Subject(name, pid, port, None, ask, 1 if store else CONNECTIONS)


def sqlite_store(folder: Path) -> Path:
    """The tables that cfssl's migrations make, in a new SQLite file, and the file that names it."""
    import sqlite3

    database = sqlite3.connect(folder / "certs.db")
    database.executescript(
        """
        CREATE TABLE certificates (
          serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, ca_label blob, status blob NOT NULL,
          reason int, expiry timestamp, revoked_at timestamp, pem blob NOT NULL,
          PRIMARY KEY (serial_number, authority_key_identifier));
        CREATE TABLE ocsp_responses (
          serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, body blob NOT NULL, expiry timestamp,
          PRIMARY KEY (serial_number, authority_key_identifier));
        """
    )
    database.close()
    config = folder / "db.json"
    config.write_text(json.dumps({"driver": "sqlite3", "data_source": "certs.db"}))
    return config


@contextmanager
def process(command: list[str], environment: dict[str, str], cwd: Path | None = None) -> Iterator[int]:
    started = subprocess.Popen(
        command,
        env=environment,
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield started.pid
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(15)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port} after {START_SECONDS_MAX} s")


# --- load -----------------------------------------------------------------------------------------------------------


def csr() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    san = x509.SubjectAlternativeName([x509.DNSName("web.internal")])
    builder = (
        x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(san, critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def _round(subject: Subject, count: int) -> tuple[float, float]:
    """(certificates a second, CPU seconds of the server's process per certificate)."""
    requests = [subject.request(csr()) for _ in range(count)]
    before = cpu_seconds(subject.pid)
    began = time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_load(subject, requests))
    return count / (time.monotonic() - began), (cpu_seconds(subject.pid) - before) / count


async def _load(subject: Subject, requests: list[bytes]) -> None:
    waiting = iter(requests)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("localhost", subject.port, ssl=subject.tls)
        for request in waiting:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            body = await _body(reader, head)
            if head.split(None, 2)[1] not in {b"200", b"201"}:
                raise SystemExit(f"{subject.name}: {head!r} {body!r}")
        writer.close()

    await asyncio.gather(*(client() for _ in range(subject.connections)))


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.partition(b":")[2]))
    parts = []
    while size := int((await reader.readline()).strip(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
