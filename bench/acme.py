"""ACME: whole orders by http-01 over TLS, server CPU for each, beside pebble (which keeps everything in memory).

One client process with an account for each of ``CLIENTS`` at once: newOrder, authorization, challenge, finalize, certificate. It
is of Python and on a core of its own, and slower than the servers: what it measures is their CPU, not how fast they could be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.process import LOAD_CORE, cpu_seconds, free_port, process, wait_for
from bench.table import show
from tests.support.names import serving_names

CLIENTS = (1, 16)
WARM_UP = 20
POLL_SECONDS = 0.02
DOMAIN = "bench.internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    name: str
    pid: int
    directory: str
    durability: str


def _base64url(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


class _Account:
    """One account: key, nonce, and what it says."""

    def __init__(self, http: httpx.AsyncClient, directory: Mapping[str, str]) -> None:
        self._http = http
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._csr_key = ec.generate_private_key(ec.SECP256R1())
        point = self._key.public_key().public_numbers()
        self._jwk = {
            "crv": "P-256",
            "kty": "EC",
            "x": _base64url(point.x.to_bytes(32, "big")),
            "y": _base64url(point.y.to_bytes(32, "big")),
        }
        canonical = json.dumps(self._jwk, separators=(",", ":"), sort_keys=True)
        self.thumbprint = _base64url(sha256(canonical.encode()).digest())
        self._account: str | None = None
        self._nonce: str | None = None

    async def post(self, url: str, payload: object = None) -> httpx.Response:
        for _ in range(20):
            if self._nonce is None:
                self._nonce = (await self._http.head(self._directory["newNonce"])).headers["replay-nonce"]
            header: dict[str, object] = {"alg": "ES256", "nonce": self._nonce, "url": url}
            header |= {"jwk": self._jwk} if self._account is None else {"kid": self._account}
            protected = _base64url(json.dumps(header).encode())
            body = "" if payload is None else _base64url(json.dumps(payload).encode())
            r, s = decode_dss_signature(
                self._key.sign(f"{protected}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
            )
            signature = _base64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
            content = json.dumps({"protected": protected, "payload": body, "signature": signature})
            answer = await self._http.post(
                url, content=content, headers={"content-type": "application/jose+json"}
            )
            self._nonce = answer.headers.get("replay-nonce")
            if answer.is_success:
                return answer
            if "badNonce" not in answer.text:
                raise SystemExit(f"{url}: {answer.status_code} {answer.text}")
        raise SystemExit("no nonce is good")

    async def register(self) -> None:
        answer = await self.post(self._directory["newAccount"], {"termsOfServiceAgreed": True})
        self._account = answer.headers["location"]

    async def certificate(self, name: str) -> None:
        """A certificate for ``name``, by the whole way."""
        answer = await self.post(
            self._directory["newOrder"], {"identifiers": [{"type": "dns", "value": name}]}
        )
        url, order = answer.headers["location"], answer.json()
        authorization = (await self.post(order["authorizations"][0])).json()
        challenge = next(one for one in authorization["challenges"] if one["type"] == "http-01")
        told = (await self.post(challenge["url"], {})).json()
        while told["status"] in {"pending", "processing"}:
            await asyncio.sleep(POLL_SECONDS)
            told = (await self.post(challenge["url"])).json()
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self._csr_key, hashes.SHA256())
            .public_bytes(Encoding.DER)
        )
        order = (await self.post(order["finalize"], {"csr": _base64url(csr)})).json()
        while order["status"] == "processing":
            await asyncio.sleep(POLL_SECONDS)
            order = (await self.post(url)).json()
        await self.post(order["certificate"])


@contextlib.asynccontextmanager
async def _web(port: int, thumbprints: Mapping[str, str]) -> Any:
    """Answers every challenge: the host's name says whose it is."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            token = head.split()[1].rpartition("/")[2]
            host = next(line for line in head.split("\r\n") if line.lower().startswith("host:"))
            body = f"{token}.{thumbprints[host.split()[1].partition('.')[0].partition('-')[0]]}"
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


async def _run(server: Server, port: int, clients: int, certificates: int) -> tuple[float, float]:
    """(certificates a second, server's CPU ms each)."""
    async with httpx.AsyncClient(verify=False, timeout=30) as http:
        directory = (await http.get(server.directory)).json()
        accounts = {f"c{number}": _Account(http, directory) for number in range(clients)}
        for account in accounts.values():
            await account.register()
        thumbprints = {label: account.thumbprint for label, account in accounts.items()}
        async with _web(port, thumbprints):

            async def work(label: str, count: int, first: int) -> None:
                for number in range(first, first + count):
                    await accounts[label].certificate(f"{label}-{number}.{DOMAIN}")

            each = max(1, certificates // clients)
            await asyncio.gather(*(work(label, max(1, WARM_UP // clients), 0) for label in accounts))
            before, began = cpu_seconds(server.pid), time.monotonic()
            await asyncio.gather(*(work(label, each, 1000) for label in accounts))
            lasted, cpu = time.monotonic() - began, cpu_seconds(server.pid) - before
    done = each * clients
    return done / lasted, cpu * 1000 / done


@contextlib.contextmanager
def _quicklime(folder: Path, http_port: int, resolver: str) -> Iterator[Server]:
    port, status = free_port(), free_port()
    (folder / "quicklime.toml").write_text(
        f"""
data_dir = "{folder / "data"}"
[api]
port = {port}
[status]
port = {status}
url = "http://localhost:{status}"
[logging]
level = "warning"
[limits]
requests_per_minute = 100000000
[acme]
accounts_per_hour = 100000
orders_per_hour = 100000000
[acme.validation]
networks = ["127.0.0.0/8"]
http_port = {http_port}
perspectives = [{{ name = "here", resolver = "{resolver}" }}]
"""
    )
    command = [sys.executable, "-m", "quicklime", "--config", str(folder / "quicklime.toml")]
    subprocess.run(
        [
            *command,
            "init",
            "--domain",
            DOMAIN,
            "--domain",
            "localhost",
            "--ip-range",
            "127.0.0.0/8",
            "--ip-range",
            "::1/128",
        ],
        check=True,
        capture_output=True,
    )
    with process([*command, "serve"]) as pid:
        wait_for(port)
        yield Server(
            name="quicklime",
            pid=pid,
            directory=f"https://localhost:{port}/acme/default/directory",
            durability="every fact flushed",
        )


@contextlib.contextmanager
def _pebble(folder: Path, http_port: int, resolver: str) -> Iterator[Server]:
    port, management = free_port(), free_port()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "pebble")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    config = {
        "pebble": {
            "listenAddress": f"127.0.0.1:{port}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": str(folder / "cert.pem"),
            "privateKey": str(folder / "key.pem"),
            "httpPort": http_port,
            "tlsPort": free_port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
        }
    }
    (folder / "pebble.json").write_text(json.dumps(config))
    environment = {
        **os.environ,
        "PEBBLE_VA_NOSLEEP": "1",
        "PEBBLE_WFE_NONCEREJECT": "0",
        "PEBBLE_AUTHZREUSE": "0",
    }
    command = ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", resolver]
    with process(command, environment) as pid:
        wait_for(port)
        yield Server(
            name="pebble",
            pid=pid,
            directory=f"https://localhost:{port}/dir",
            durability="nothing: in memory",
        )


def run(rounds: int, certificates: int) -> None:
    """Print the table."""
    os.sched_setaffinity(0, {LOAD_CORE})
    count = max(32, certificates // 5)
    rows = []
    with serving_names() as names, tempfile.TemporaryDirectory(prefix="bench-acme-") as folder:
        names.wild = "127.0.0.1"
        port = free_port()
        for start in (_quicklime, _pebble):
            home = Path(folder) / start.__name__
            home.mkdir()
            with start(home, port, names.address) as server:
                for clients in CLIENTS:
                    found = [asyncio.run(_run(server, port, clients, count)) for _ in range(rounds)]
                    rate = statistics.median(one[0] for one in found)
                    cpu = statistics.median(one[1] for one in found)
                    rows.append([server.name, clients, f"{rate:.1f}", f"{cpu:.1f} ms", server.durability])
    show(["server", "clients at once", "certificates/s", "server CPU each", "what survives"], rows)
