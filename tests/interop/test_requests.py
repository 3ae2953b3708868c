"""Requests made by programs that nobody here wrote, as their users make them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from quicklime.pki.csr import CheckedCSR, parse

NAMES = ("dns:web.internal", "ip:10.0.0.1")

TEMPLATE = """\
cn = "web.internal"
organization = "Example"
dns_name = "web.internal"
ip_address = "10.0.0.1"
tls_www_server
signing_key
challenge_password = "hunter2"
"""


def run(*command: str, given: bytes = b"") -> bytes:
    return subprocess.run(command, input=given, check=True, capture_output=True).stdout


def check(checked: CheckedCSR, key_type: str) -> None:
    assert (checked.key_type, checked.names, checked.common_name) == (key_type, NAMES, "dns:web.internal")


@pytest.mark.parametrize(
    ("arguments", "key_type"),
    [
        ("-newkey ec -pkeyopt ec_paramgen_curve:P-256", "ecdsa-p256"),
        ("-newkey ec -pkeyopt ec_paramgen_curve:P-384 -sha384", "ecdsa-p384"),
        ("-newkey rsa:2048 -text", "rsa-2048"),
        ("-newkey rsa:2048 -newhdr -sigopt rsa_padding_mode:pss -sha256", "rsa-2048"),
        ("-newkey ed25519 -outform DER", "ed25519"),
    ],
)
def test_openssl(arguments: str, key_type: str, tmp_path: Path) -> None:
    out = tmp_path / "web.csr"
    wishes = (
        "subjectAltName=DNS:web.internal,IP:10.0.0.1",
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=digitalSignature",
    )
    command = [
        "openssl",
        "req",
        "-new",
        "-nodes",
        *arguments.split(),
        "-subj",
        "/C=DE/O=Example/CN=web.internal",
    ]
    command += [word for wish in wishes for word in ("-addext", wish)]
    run(*command, "-keyout", str(tmp_path / "key"), "-out", str(out))
    check(parse(out.read_bytes()), key_type)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("arguments", "key_type"),
    [
        ("--key-type=ecdsa --curve=secp256r1", "ecdsa-p256"),
        ("--key-type=rsa --bits=2048", "rsa-2048"),
        ("--key-type=ed25519", "ed25519"),
    ],
)
def test_gnutls(arguments: str, key_type: str, tmp_path: Path) -> None:
    key, template = tmp_path / "key", tmp_path / "template"
    template.write_text(TEMPLATE)
    run("certtool", "--generate-privkey", *arguments.split(), "--outfile", str(key))
    made = run("certtool", "--generate-request", "--load-privkey", str(key), "--template", str(template))
    check(parse(made), key_type)


@pytest.mark.peers
@pytest.mark.parametrize(
    ("algorithm", "size", "key_type"), [("ecdsa", 256, "ecdsa-p256"), ("rsa", 2048, "rsa-2048")]
)
def test_cfssl(algorithm: str, size: int, key_type: str) -> None:
    wish = {
        "CN": "web.internal",
        "hosts": ["web.internal", "10.0.0.1"],
        "key": {"algo": algorithm, "size": size},
        "names": [{"C": "DE", "O": "Example"}],
    }
    made = run("cfssl", "genkey", "-", given=json.dumps(wish).encode())
    check(parse(json.loads(made)["csr"].encode()), key_type)
