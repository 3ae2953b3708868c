"""Status as strangers' programs see it: `openssl ocsp`, GnuTLS `ocsptool`, `openssl verify` with CRLs that it fetches itself,
`curl`; before and after renewing and revoking in each of the ways there are."""

from __future__ import annotations

import json
import re
import subprocess
import time
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509

from tests.support.clients import Bearer, certified, curl, openssl_request
from tests.support.judges import judge_crl
from tests.support.pkix_lint import chain_findings, findings, ocsp_findings
from tests.support.stack import Stack, run

pytestmark = pytest.mark.peers

HOST = "web.lab.internal"
JSON = ("--header", "Content-Type: application/json")
VISIBLE_SECONDS = 20.0


@pytest.fixture
def bearer(authority: Stack, tmp_path: Path) -> Bearer:
    return certified(authority, tmp_path / "web", f"DNS:{HOST}")


def _ask(authority: Stack, bearer: Bearer, *more: str | Path, fails: bool = False) -> str:
    """What `openssl ocsp` says of a certificate, its answer judged by pkilint too."""
    answer = bearer.leaf.with_name("answer.der")
    answer.unlink(missing_ok=True)
    command: list[str | Path] = ["openssl", "ocsp", "-url", f"{authority.status}/ocsp"]
    command += ["-CAfile", authority.root, "-respout", answer, "-issuer", bearer.issuer]
    done = subprocess.run(
        [str(one) for one in (*command, *(more or ("-cert", bearer.leaf)))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout
    assert (done.returncode != 0) == fails, said
    # that it was signed by whom it should be, and held the nonce that was sent, is told beside the answer
    assert fails or "Response verify OK" in said
    assert "WARNING" not in said
    if answer.exists():
        assert ocsp_findings(answer.read_bytes()) == set()
    return said


def _ask_gnutls(authority: Stack, bearer: Bearer, *more: str) -> str:
    command: list[str | Path] = ["ocsptool", f"--ask={authority.status}/ocsp", "--load-cert", bearer.leaf]
    command += ["--load-issuer", bearer.issuer, "--load-trust", bearer.issuer, *more]
    return run(*command).decode()


def _crl_url(bearer: Bearer) -> str:
    leaf = x509.load_pem_x509_certificate(bearer.leaf.read_bytes())
    (point,) = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    return str(point.full_name[0].value)


def _verify_by_crl(authority: Stack, bearer: Bearer, *, fails: bool = False) -> bytes:
    """`openssl verify` that looks for the CRL where the certificate says."""
    return run(
        *("openssl", "verify", "-x509_strict", "-crl_check", "-crl_download"),
        *("-CAfile", authority.root, "-untrusted", bearer.issuer, bearer.leaf),
        fails=fails,
    )


def _is_revoked_everywhere(authority: Stack, bearer: Bearer, folder: Path, reason: str) -> None:
    """For both OCSP clients at once, and on the CRL as soon as it is published."""
    said = _ask(authority, bearer)
    assert ": revoked" in said
    assert (f"Reason: {reason}" in said) == (reason != "unspecified")
    assert re.search(r"Certificate Status: revoked", _ask_gnutls(authority, bearer))
    deadline = time.monotonic() + VISIBLE_SECONDS
    while True:
        crl = run("curl", "--silent", "--show-error", "--fail", _crl_url(bearer))
        if x509.load_der_x509_crl(crl).get_revoked_certificate_by_serial_number(int(bearer.serial, 16)):
            break
        assert time.monotonic() < deadline, "not on the CRL"
        time.sleep(0.1)
    judge_crl(authority, crl, folder)
    assert b"certificate revoked" in _verify_by_crl(authority, bearer, fails=True)
    # the same CRL by hand, as servers are given it
    (folder / "crl.der").write_bytes(crl)
    run("openssl", "crl", "-inform", "DER", "-in", folder / "crl.der", "-out", folder / "crl.pem")
    said_bytes = run(
        *("openssl", "verify", "-x509_strict", "-crl_check", "-CRLfile", folder / "crl.pem"),
        *("-CAfile", authority.root, "-untrusted", bearer.issuer, bearer.leaf),
        fails=True,
    )
    assert b"certificate revoked" in said_bytes


# --- asking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", ["-sha1", "-sha256"])
@pytest.mark.parametrize("nonce", ["-nonce", "-no_nonce"])
def test_openssl_asks(authority: Stack, bearer: Bearer, digest: str, nonce: str) -> None:
    said = _ask(authority, bearer, nonce, digest, "-cert", bearer.leaf)
    assert f"{bearer.leaf}: good" in said


@pytest.mark.parametrize("digest", ["-sha384", "-sha512", "-md5"])
def test_other_digests_get_no_answer_that_could_be_mistaken(
    authority: Stack, bearer: Bearer, digest: str
) -> None:
    said = _ask(authority, bearer, digest, "-cert", bearer.leaf, fails=True)
    assert "Responder Error: unauthorized" in said


def test_several_at_once(authority: Stack, bearer: Bearer, tmp_path: Path) -> None:
    others = [certified(authority, tmp_path / str(number), f"DNS:{HOST}") for number in range(3)]
    _revoke(authority, others[1], {"secret": others[1].told["revocation_secret"]})
    asked: list[str | Path] = ["-cert", bearer.leaf, "-sha256", "-serial", "0x1234"]
    for digest, other in zip(("-sha1", "-sha256", "-sha1"), others, strict=True):
        asked += [digest, "-cert", other.leaf]
    said = _ask(authority, bearer, *asked)
    states = re.findall(r": (good|revoked|unknown)$", said, re.MULTILINE)
    assert states == ["good", "unknown", "good", "revoked", "good"]


def test_what_was_never_issued_is_never_good(authority: Stack, bearer: Bearer) -> None:
    for serial in ("0x01", "0x7fffffffffffffffffffffffffffffffffffffff", "0x" + "ab" * 30):
        said = _ask(authority, bearer, "-serial", serial)
        assert ": unknown" in said
        assert "good" not in said


def test_other_issuers_are_not_answered_for(authority: Stack, bearer: Bearer, tmp_path: Path) -> None:
    run(
        *("openssl", "req", "-x509", "-nodes", "-newkey", "ed25519", "-subj", "/CN=another authority"),
        *("-keyout", tmp_path / "other.key", "-out", tmp_path / "other.pem"),
    )
    command = ("openssl", "ocsp", "-url", f"{authority.status}/ocsp", "-CAfile", authority.root)
    # with a serial of ours, too
    said = run(*command, "-issuer", tmp_path / "other.pem", "-serial", f"0x{bearer.serial}", fails=True)
    assert b"Responder Error: unauthorized" in said


def test_signed_requests_are_answered_all_the_same(authority: Stack, bearer: Bearer) -> None:
    said = _ask(authority, bearer, "-signer", bearer.leaf, "-signkey", bearer.key, "-cert", bearer.leaf)
    assert f"{bearer.leaf}: good" in said


def test_gnutls_asks(authority: Stack, bearer: Bearer) -> None:
    for more in ((), ("--nonce",)):
        said = _ask_gnutls(authority, bearer, *more)
        assert "Certificate Status: good" in said
        assert "Verifying OCSP Response: Success." in said
    # where to ask it finds in the certificate itself
    said = run("ocsptool", "--ask", "--load-chain", bearer.chain, "--load-trust", bearer.issuer).decode()
    assert "Verifying OCSP Response: Success." in said


def test_curl_gets_what_caches_would_keep(authority: Stack, bearer: Bearer, tmp_path: Path) -> None:
    """GET with the request in the path, as RFC 9919 wants it; the same octets as by POST; 304 where nothing is new."""
    request = tmp_path / "request.der"
    run("openssl", "ocsp", "-no_nonce", "-issuer", bearer.issuer, "-cert", bearer.leaf, "-reqout", request)
    encoded = b64encode(request.read_bytes()).decode()
    url = f"{authority.status}/ocsp"
    get = ("curl", "--silent", "--show-error", "--fail", "--dump-header", tmp_path / "head")
    answer = run(*get, f"{url}/{quote(encoded, safe='')}")
    head = (tmp_path / "head").read_text().lower()
    assert "content-type: application/ocsp-response" in head
    assert re.search(r"^cache-control: .*max-age=\d+", head, re.MULTILINE)
    for posted in (
        ("--header", "Content-Type: application/ocsp-request", "--data-binary", f"@{request}"),
        ("--path-as-is",),
    ):
        at = url if len(posted) > 1 else f"{url}/{encoded}"
        assert run("curl", "--silent", "--show-error", "--fail", *posted, at) == answer
    (tmp_path / "answer.der").write_bytes(answer)
    assert ocsp_findings(answer) == set()
    said = run(
        *("openssl", "ocsp", "-respin", tmp_path / "answer.der", "-CAfile", authority.root),
        *("-issuer", bearer.issuer, "-cert", bearer.leaf, "-no_nonce"),
    )
    assert b": good" in said
    etag = re.search(r'^etag: (".*")', head, re.MULTILINE)
    assert etag is not None
    again = ("--header", f"If-None-Match: {etag[1]}", "--write-out", "%{http_code}")
    assert run("curl", "--silent", *again, f"{url}/{quote(encoded, safe='')}") == b"304"


def test_the_responders_certificate_is_one_for_that_alone(
    authority: Stack, bearer: Bearer, tmp_path: Path
) -> None:
    _ask(authority, bearer)
    text = run(
        "openssl", "ocsp", "-respin", bearer.leaf.with_name("answer.der"), "-noverify", "-text"
    ).decode()
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.DOTALL)
    assert found is not None
    (tmp_path / "responder.pem").write_text(found[0])
    run(
        *("openssl", "verify", "-x509_strict", "-purpose", "ocsphelper", "-CAfile", authority.root),
        *("-untrusted", bearer.issuer, tmp_path / "responder.pem"),
    )
    der, issuer = (
        run("openssl", "x509", "-in", path, "-outform", "DER")
        for path in (tmp_path / "responder.pem", bearer.issuer)
    )
    assert findings(der) == set()
    assert chain_findings(issuer, der) == set()
    shown = run("openssl", "x509", "-in", tmp_path / "responder.pem", "-noout", "-text").decode()
    assert "OCSP No Check" in shown
    assert re.search(r"Extended Key Usage: *\n *OCSP Signing\n", shown)


def test_a_crl_without_it_lets_it_pass(authority: Stack, bearer: Bearer, tmp_path: Path) -> None:
    assert b": OK" in _verify_by_crl(authority, bearer)
    head = tmp_path / "head"
    crl = run("curl", "--silent", "--fail", "--dump-header", head, _crl_url(bearer))
    judge_crl(authority, crl, tmp_path)
    assert "content-type: application/pkix-crl" in head.read_text().lower()
    (tmp_path / "crl.pem").write_bytes(run("openssl", "crl", "-inform", "DER", given=crl))
    said = run(
        "certtool", "--verify-crl", "--load-ca-certificate", bearer.issuer, "--infile", tmp_path / "crl.pem"
    )
    assert b"Verified" in said
    assert b"Not verified" not in said


def test_who_issued_it_is_found_where_it_says(authority: Stack, bearer: Bearer, tmp_path: Path) -> None:
    """From the leaf alone to the root, each step by the address in the certificate before it."""
    below = bearer.leaf
    path: list[Path] = []
    while True:
        shown = run("openssl", "x509", "-in", below, "-noout", "-ext", "authorityInfoAccess").decode()
        found = re.search(r"CA Issuers - URI:(\S+)", shown)
        assert found is not None
        above = tmp_path / f"above-{len(path)}.pem"
        der = run("curl", "--silent", "--show-error", "--fail", found[1])
        above.write_bytes(run("openssl", "x509", "-inform", "DER", given=der))
        run("openssl", "verify", "-partial_chain", "-x509_strict", "-trusted", above, below)
        path.append(above)
        below = above
        if (
            run("openssl", "x509", "-in", above, "-noout", "-subject")[8:]
            == run("openssl", "x509", "-in", above, "-noout", "-issuer")[7:]
        ):
            break
    assert [one.read_text() for one in path] == [bearer.issuer.read_text(), authority.root.read_text()]


# --- renewing and revoking ------------------------------------------------------------------------------------------


def _revoke(authority: Stack, bearer: Bearer, body: dict[str, object], *more: str) -> dict[str, object]:
    answer = json.loads(
        curl(
            authority,
            f"/v1/certificates/{bearer.serial}/revocation",
            *more,
            *JSON,
            "--data",
            json.dumps(body),
        )
    )
    assert isinstance(answer, dict)
    return answer


def test_revoked_by_the_secret(authority: Stack, bearer: Bearer, tmp_path: Path) -> None:
    assert ": good" in _ask(authority, bearer)
    body = {"secret": bearer.told["revocation_secret"], "reason": "keyCompromise"}
    assert _revoke(authority, bearer, body)["repeated"] is False
    assert _revoke(authority, bearer, body)["repeated"] is True
    _is_revoked_everywhere(authority, bearer, tmp_path, "keyCompromise")


@pytest.mark.parametrize("key_type", ["rsa-2048", "ecdsa-p256", "ecdsa-p384", "ed25519"])
def test_revoked_by_a_signature_that_openssl_made(authority: Stack, key_type: str, tmp_path: Path) -> None:
    bearer = certified(authority, tmp_path / "web", f"DNS:{HOST}", key_type=key_type)
    reason = 4  # superseded
    challenge = _raw(str(bearer.told["renewal_challenge"]))
    message = b"quicklime-revocation-v1" + challenge + bytes.fromhex(bearer.serial) + bytes([reason])
    signature = _signed_by_openssl(bearer.key, key_type, message, tmp_path)
    _revoke(authority, bearer, {"signature": signature, "reason": reason})
    if key_type == "ecdsa-p256":
        _is_revoked_everywhere(authority, bearer, tmp_path, "superseded")
    else:
        assert ": revoked" in _ask(authority, bearer)


def test_revoked_by_an_operator(authority: Stack, bearer: Bearer, tmp_path: Path) -> None:
    _revoke(authority, bearer, {}, "--header", f"Authorization: Bearer {authority.admin}")
    _is_revoked_everywhere(authority, bearer, tmp_path, "unspecified")


@pytest.mark.parametrize("key_type", ["rsa-2048", "ecdsa-p256", "ecdsa-p384", "ed25519"])
def test_renewed_by_a_signature_that_openssl_made(authority: Stack, key_type: str, tmp_path: Path) -> None:
    """The successor is good, the one before stays what it was until it is revoked, and each has a status of its own."""
    old = certified(authority, tmp_path / "old", f"DNS:{HOST}", key_type=key_type)
    key, csr = openssl_request(tmp_path / "new", key_type, f"DNS:{HOST}")
    der = run("openssl", "req", "-in", csr, "-outform", "DER")
    message = b"quicklime-renewal-v1" + _raw(str(old.told["renewal_challenge"])) + _sha256(der)
    signature = _signed_by_openssl(old.key, key_type, message, tmp_path)
    body = {"csr": csr.read_text(), "signature": signature}
    path = f"/v1/certificates/{old.serial}/renewals"
    told = json.loads(curl(authority, path, *JSON, "--data", json.dumps(body)))
    assert told["predecessor"] == old.serial
    new = Bearer(chain=old.chain, key=key, leaf=tmp_path / "new" / "leaf.pem", issuer=old.issuer, told=told)
    new.leaf.write_text(told["certificate"])
    assert ": good" in _ask(authority, new)
    assert ": good" in _ask(authority, old)
    _revoke(authority, old, {"secret": old.told["revocation_secret"], "reason": "superseded"})
    assert ": revoked" in _ask(authority, old)
    assert ": good" in _ask(authority, new)


def _raw(text: str) -> bytes:
    return run(
        "openssl",
        "base64",
        "-d",
        "-A",
        given=text.translate(str.maketrans("-_", "+/")).encode() + b"=" * (-len(text) % 4),
    )


def _sha256(message: bytes) -> bytes:
    return run("openssl", "dgst", "-sha256", "-binary", given=message)


def _signed_by_openssl(key: Path, key_type: str, message: bytes, folder: Path) -> str:
    """A signature over the SHA-256 of ``message``, base64."""
    digest = folder / "digest"
    digest.write_bytes(_sha256(message))
    how = {"ecdsa-p384": ("-rawin", "-digest", "sha384"), "ed25519": ("-rawin",)}
    signature = run(
        *("openssl", "pkeyutl", "-sign", "-inkey", key, "-in", digest),
        *how.get(key_type, ("-rawin", "-digest", "sha256")),
    )
    return b64encode(signature).decode()
