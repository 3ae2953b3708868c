"""Debian's `cfssl` and `cfssljson`, unchanged, as clients of a running authority; what its command line can't ask, curl asks
in CFSSL's own words."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import curl, openssl_request
from tests.support.pkix_lint import findings
from tests.support.stack import CFSSL_KEY, Stack, free_port, run

pytestmark = pytest.mark.peers

HOST, ADDRESS = "web.lab.internal", "10.0.0.1"
PREFIX = "/api/v1/cfssl"


def _config(authority: Stack, folder: Path, key: str = CFSSL_KEY) -> Path:
    """CFSSL's own configuration of a client: every profile signed by the remote, with the key."""
    remote = {"auth_remote": {"remote": "quicklime", "auth_key": "ci"}}
    path = folder / "cfssl.json"
    path.write_text(
        json.dumps(
            {
                "signing": {
                    "default": remote,
                    "profiles": dict.fromkeys(("server", "client", "peer", "nobody"), remote),
                },
                "auth_keys": {"ci": {"type": "standard", "key": key}},
                "remotes": {"quicklime": authority.api},
            }
        )
    )
    return path


def _wish(folder: Path, *hosts: str, algorithm: str = "ecdsa", size: int = 256) -> Path:
    path = folder / "wish.json"
    path.write_text(json.dumps({"CN": hosts[0], "hosts": hosts, "key": {"algo": algorithm, "size": size}}))
    return path


def _cfssl(authority: Stack, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run it with our root as its only trust, as Go programs are told."""
    return subprocess.run(
        ["cfssl", *map(str, arguments)],
        env=os.environ | {"SSL_CERT_FILE": str(authority.root), "SSL_CERT_DIR": "/nonexistent"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def _got(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def _errors(done: subprocess.CompletedProcess[bytes]) -> list[tuple[int, str]]:
    """(CFSSL's number, our code) of each error in the envelope that `cfssl` shows when a remote refuses."""
    assert done.returncode != 0, done.stdout.decode()
    assert done.stdout == b""
    shown = json.loads(done.stderr.decode()[done.stderr.decode().index('{"code"') :])
    envelope = json.loads(shown["message"])
    assert (envelope["success"], envelope["result"]) == (False, None)
    return [(error["code"], error["message"].partition(":")[0]) for error in envelope["errors"]]


def _check(authority: Stack, folder: Path, certificate: str, *, purpose: str = "sslserver") -> None:
    (folder / "checked.pem").write_text(certificate)
    run(
        *("openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", authority.root),
        *("-untrusted", authority.data / "issuing.pem", folder / "checked.pem"),
    )
    assert findings(run("openssl", "x509", "-outform", "DER", given=certificate.encode())) == set()


@pytest.mark.parametrize(("algorithm", "size"), [("ecdsa", 256), ("ecdsa", 384), ("rsa", 2048)])
def test_gencert_and_cfssljson(authority: Stack, algorithm: str, size: int, tmp_path: Path) -> None:
    wish = _wish(tmp_path, HOST, ADDRESS, algorithm=algorithm, size=size)
    config = _config(authority, tmp_path)
    done = _cfssl(authority, "gencert", "-remote", authority.api, "-config", config, wish)
    _check(authority, tmp_path, _got(done)["cert"])
    # the pair that its companion writes is one
    run("cfssljson", "-bare", "web", given=done.stdout, cwd=tmp_path)
    of_key = run("openssl", "pkey", "-in", tmp_path / "web-key.pem", "-pubout")
    assert run("openssl", "x509", "-in", tmp_path / "web.pem", "-noout", "-pubkey") == of_key
    shown = run("openssl", "x509", "-in", tmp_path / "web.pem", "-noout", "-ext", "subjectAltName")
    assert f"DNS:{HOST}, IP Address:{ADDRESS}".encode() in shown


def test_profiles_by_name(authority: Stack, tmp_path: Path) -> None:
    wish, config = _wish(tmp_path, HOST), _config(authority, tmp_path)
    found = _got(_cfssl(authority, "gencert", "-config", config, "-profile", "client", wish))
    _check(authority, tmp_path, found["cert"], purpose="sslclient")
    for profile, error in (("nobody", (5400, "profile-unknown")), ("peer", (5500, "profile-not-allowed"))):
        done = _cfssl(authority, "gencert", "-config", config, "-profile", profile, wish)
        assert _errors(done) == [error]


def test_sign_what_openssl_made(authority: Stack, tmp_path: Path) -> None:
    _, csr = openssl_request(tmp_path, "rsa-2048", f"DNS:{HOST}")
    config = _config(authority, tmp_path)
    found = _got(_cfssl(authority, "sign", "-remote", authority.api, "-config", config, csr))
    _check(authority, tmp_path, found["cert"])
    # its -hostname overrides the request
    hosts = ("-hostname", f"a.lab.internal,{ADDRESS}")
    found = _got(_cfssl(authority, "sign", "-remote", authority.api, "-config", config, *hosts, csr))
    described = _cfssl_certinfo(authority, tmp_path, found["cert"])
    assert described["sans"] == ["a.lab.internal", ADDRESS]


def _cfssl_certinfo(authority: Stack, folder: Path, certificate: str) -> dict[str, Any]:
    (folder / "described.pem").write_text(certificate)
    return _got(_cfssl(authority, "certinfo", "-cert", folder / "described.pem"))


def test_a_wrong_key_and_none(authority: Stack, tmp_path: Path) -> None:
    wish, config = _wish(tmp_path, HOST), _config(authority, tmp_path, key="00" * 16)
    done = _cfssl(authority, "gencert", "-config", config, wish)
    assert _errors(done) == [(7100, "unauthenticated")]
    done = _cfssl(authority, "gencert", "-remote", authority.api, wish)
    assert _errors(done) == [(7100, "unauthenticated")]


def test_names_and_keys_that_are_not_to_be_had(authority: Stack, tmp_path: Path) -> None:
    config = _config(authority, tmp_path)
    done = _cfssl(authority, "gencert", "-config", config, _wish(tmp_path, "www.example.org"))
    assert _errors(done) == [(5500, "name-not-allowed"), (5500, "name-outside-issuer")]
    done = _cfssl(authority, "gencert", "-config", config, _wish(tmp_path, "web_1.lab.internal"))
    assert [number for number, _ in _errors(done)] == [5300]
    done = _cfssl(authority, "gencert", "-config", config, _wish(tmp_path, HOST, size=521))
    assert _errors(done) == [(2100, "key-type-not-allowed")]


def test_cfssl_does_not_believe_us_without_our_root(authority: Stack) -> None:
    done = subprocess.run(
        ["cfssl", "info", "-remote", authority.api],
        env=os.environ | {"SSL_CERT_FILE": "/dev/null", "SSL_CERT_DIR": "/nonexistent"},
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert b"certificate" in done.stderr


def test_info(authority: Stack, tmp_path: Path) -> None:
    for profile, usage in ((None, "serverAuth"), ("client", "clientAuth")):
        asked = () if profile is None else ("-profile", profile)
        found = _got(_cfssl(authority, "info", "-remote", authority.api, *asked))
        assert found["certificate"] == (authority.data / "issuing.pem").read_text()
        assert usage in found["usages"]
        assert re.fullmatch(r"\d+h", found["expiry"])
    done = _cfssl(authority, "info", "-remote", authority.api, "-profile", "nobody")
    assert _errors(done) == [(5400, "profile-unknown")]
    # by the remote of its configuration
    assert _got(_cfssl(authority, "info", "-config", _config(authority, tmp_path)))["certificate"]


def test_bundle_and_certinfo_here_and_there(authority: Stack, tmp_path: Path) -> None:
    """What cfssl says of a certificate by itself, and what the server says of it in CFSSL's words."""
    config = _config(authority, tmp_path)
    leaf = _got(_cfssl(authority, "gencert", "-config", config, _wish(tmp_path, HOST, ADDRESS)))["cert"]
    here = _cfssl_certinfo(authority, tmp_path, leaf)
    there = _asked(authority, "certinfo", {"certificate": leaf})["result"]
    for member in ("subject", "issuer", "serial_number", "sans", "not_before", "not_after", "sigalg", "pem"):
        assert there[member] == here[member], member
    # its own lacks the zero in front of octets below 10
    for member in ("authority_key_id", "subject_key_id"):
        octets = [octet.zfill(2) for octet in here[member].split(":")]
        assert there[member] == ":".join(octets), member
    (tmp_path / "leaf.pem").write_text(leaf)
    bundle = ("-ca-bundle", authority.root, "-int-bundle", authority.data / "issuing.pem")
    here = _got(_cfssl(authority, "bundle", "-cert", tmp_path / "leaf.pem", *bundle))
    there = _asked(authority, "bundle", {"certificate": leaf})["result"]
    # in one certificate alone its PEM has no last line end, and of the time left it has its own view
    for member in ("bundle", "crt", "root"):
        assert there[member].strip() == here[member].strip(), member
    for member in (
        *("issuer", "subject", "signature", "key", "key_type", "key_size", "hostnames", "ocsp", "expires"),
        *("crl_support", "ocsp_support"),
    ):
        assert there[member] == here[member], member
    # of what is not ours nothing is made up
    run(
        *("openssl", "req", "-x509", "-nodes", "-newkey", "ed25519", "-subj", "/CN=stranger"),
        *("-keyout", tmp_path / "stranger.key", "-out", tmp_path / "stranger.pem"),
    )
    strange = _asked(authority, "bundle", {"certificate": (tmp_path / "stranger.pem").read_text()})
    assert [error["code"] for error in strange["errors"]] == [1000]
    # it looks at the certificate that we serve
    served = _got(_cfssl(authority, "certinfo", "-domain", authority.api.removeprefix("https://")))
    assert "api.lab.internal" in served["sans"]


def _asked(authority: Stack, what: str, body: object, token: str | None = None) -> dict[str, Any]:
    said = curl(
        authority,
        f"{PREFIX}/{what}",
        *(() if token is None else ("--header", f"Authorization: Bearer {token}")),
        *("--data", json.dumps(body)),
        fails=True,
    )
    text, _, status = said.decode().rpartition("\n")
    envelope = json.loads(text)
    assert set(envelope) == {"success", "result", "errors", "messages"}
    assert status == ("200" if envelope["success"] else "400")
    assert isinstance(envelope, dict)
    return envelope


@pytest.mark.parametrize(("algorithm", "size"), [("ecdsa", 384), ("rsa", 2048)])
def test_keys_made_there(authority: Stack, algorithm: str, size: int, tmp_path: Path) -> None:
    wish = {"CN": HOST, "hosts": [HOST], "key": {"algo": algorithm, "size": size}}
    made = _asked(authority, "newcert", {"request": wish}, authority.admin)
    run("cfssljson", "made", given=json.dumps(made).encode(), cwd=tmp_path)
    of_key = run("openssl", "pkey", "-in", tmp_path / "made-key.pem", "-pubout")
    assert run("openssl", "x509", "-in", tmp_path / "made.pem", "-noout", "-pubkey") == of_key
    _check(authority, tmp_path, (tmp_path / "made.pem").read_text())
    made = _asked(authority, "newkey", wish, authority.admin)
    run("cfssljson", "asked", given=json.dumps(made).encode(), cwd=tmp_path)
    run("openssl", "req", "-in", tmp_path / "asked.csr", "-noout", "-verify")
    # for whom nobody knows, no key is made
    for what, body in (("newcert", {"request": wish}), ("newkey", wish)):
        refused = _asked(authority, what, body)
        assert [error["code"] for error in refused["errors"]] == [7100]


def test_revoke_by_what_certinfo_says(authority: Stack, tmp_path: Path) -> None:
    config = _config(authority, tmp_path)
    leaf = _got(_cfssl(authority, "gencert", "-config", config, _wish(tmp_path, HOST)))["cert"]
    told = _cfssl_certinfo(authority, tmp_path, leaf)
    asked = {
        "serial": told["serial_number"],
        "authority_key_id": told["authority_key_id"],
        "reason": "superseded",
    }
    assert [error["code"] for error in _asked(authority, "revoke", asked)["errors"]] == [7100]
    wrong = asked | {"authority_key_id": "00" * 20}
    refused = _asked(authority, "revoke", wrong, authority.admin)
    assert [error["code"] for error in refused["errors"]] == [1000]
    refused = _asked(authority, "revoke", asked | {"reason": "boredom"}, authority.admin)
    assert "revocation-reason-invalid" in refused["errors"][0]["message"]
    done = _asked(authority, "revoke", asked, authority.admin)
    assert done["success"], done
    said = run(
        *("openssl", "ocsp", "-url", f"{authority.status}/ocsp", "-CAfile", authority.root),
        *("-issuer", authority.data / "issuing.pem", "-cert", tmp_path / "described.pem"),
    )
    assert b": revoked" in said
    assert b"Reason: superseded" in said


def test_a_cfssl_server_in_front_of_us(authority: Stack, tmp_path: Path) -> None:
    """The chain of trust that CFSSL's users build: a `cfssl serve` of theirs that signs at a remote."""
    port = free_port()
    server = subprocess.Popen(
        [
            "cfssl",
            "serve",
            "-address",
            "127.0.0.1",
            "-port",
            str(port),
            "-config",
            _config(authority, tmp_path),
        ],
        env=os.environ | {"SSL_CERT_FILE": str(authority.root), "SSL_CERT_DIR": "/nonexistent"},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wish = {"request": json.loads(_wish(tmp_path, HOST).read_text())}
        said = run(
            *(
                "curl",
                "--silent",
                "--show-error",
                "--retry",
                "20",
                "--retry-connrefused",
                "--retry-delay",
                "1",
            ),
            *("--data", json.dumps(wish), f"http://127.0.0.1:{port}{PREFIX}/newcert"),
        )
        _check(authority, tmp_path, json.loads(said)["result"]["certificate"])
    finally:
        server.kill()
        server.wait()
