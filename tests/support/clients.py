"""What a person does with `openssl` and `curl` before and after asking an authority: keys, requests, files to install."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.stack import Stack, run

NEW_KEY = {
    "rsa-2048": "-newkey rsa:2048",
    "rsa-3072": "-newkey rsa:3072 -sha384",
    "ecdsa-p256": "-newkey ec -pkeyopt ec_paramgen_curve:P-256",
    "ecdsa-p384": "-newkey ec -pkeyopt ec_paramgen_curve:P-384 -sha384",
    "ed25519": "-newkey ed25519",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """A certificate as its bearer keeps it: chain (leaf first), key, leaf and issuer each in a file, and what else was told."""

    chain: Path
    key: Path
    leaf: Path
    issuer: Path
    told: dict[str, Any]

    @property
    def serial(self) -> str:
        return str(self.told["serial"])


def openssl_request(folder: Path, key_type: str, *names: str) -> tuple[Path, Path]:
    """Key and request (PEM) for these names (``DNS:...``, ``IP:...``), made by openssl."""
    folder.mkdir(parents=True, exist_ok=True)
    key, csr = folder / "key.pem", folder / "request.pem"
    run(
        *("openssl", "req", "-new", "-nodes", *NEW_KEY[key_type].split(), "-subj", "/"),
        *("-addext", f"subjectAltName={','.join(names)}", "-keyout", key, "-out", csr),
    )
    return key, csr


def certified(
    stack: Stack, folder: Path, *names: str, key_type: str = "ecdsa-p256", profile: str = "server"
) -> Bearer:
    """A certificate got by openssl's request and curl."""
    key, csr = openssl_request(folder, key_type, *names)
    said = curl(
        stack,
        f"/v1/certificates?profile={profile}",
        *("--header", f"Authorization: Bearer {stack.admin}", "--header", "Content-Type: application/pkcs10"),
        *("--data-binary", f"@{csr}"),
    )
    return kept(folder, key, json.loads(said))


def kept(folder: Path, key: Path, told: dict[str, Any]) -> Bearer:
    """The files of an answer of the API."""
    leaf, issuer = split(told["chain"])
    paths = [folder / f"{name}.pem" for name in ("chain", "leaf", "issuer")]
    for path, content in zip(paths, (told["chain"], leaf, issuer), strict=True):
        path.write_text(content)
    return Bearer(chain=paths[0], key=key, leaf=paths[1], issuer=paths[2], told=told)


def curl(stack: Stack, path: str, *more: str | Path, fails: bool = False) -> bytes:
    """What the API answers; a refusal (``fails``) with its status in a last line."""
    command = ("curl", "--silent", "--show-error", "--cacert", stack.root, *more)
    if not fails:
        return run(*command, "--fail-with-body", f"{stack.api}{path}")
    return run(*command, "--write-out", "\n%{http_code}", f"{stack.api}{path}")


def refusal(said: bytes) -> tuple[int, list[str]]:
    """(status, codes) of the problem document that ``curl(..., fails=True)`` got."""
    body, _, status = said.decode().rpartition("\n")
    problem = json.loads(body)
    assert problem["status"] == int(status)
    assert problem["type"] == f"urn:quicklime:error:{problem['reasons'][0]['code']}"
    return int(status), [reason["code"] for reason in problem["reasons"]]


def split(chain: str) -> Sequence[str]:
    """The certificates of a PEM file, each by itself."""
    end = "-----END CERTIFICATE-----"
    return [f"{part.strip()}\n{end}\n" for part in chain.split(end) if part.strip()]
