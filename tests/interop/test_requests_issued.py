"""Requests by other houses' programs become certificates that other houses' programs take."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.request import urlopen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID

from tests.support.pkix_lint import chain_findings, findings
from tests.support.stack import Stack, run

pytestmark = pytest.mark.peers

HOST, ADDRESS = "web.lab.internal", "10.0.0.1"
OPENSSL = {
    "rsa-2048": "-newkey rsa:2048",
    "rsa-3072": "-newkey rsa:3072 -sha384",
    "ecdsa-p256": "-newkey ec -pkeyopt ec_paramgen_curve:P-256",
    "ecdsa-p384": "-newkey ec -pkeyopt ec_paramgen_curve:P-384 -sha384",
    "ed25519": "-newkey ed25519",
}
TEMPLATE = f'cn = "{HOST}"\ndns_name = "{HOST}"\nip_address = "{ADDRESS}"\ntls_www_server\nsigning_key\n'


def _openssl_request(folder: Path, key_type: str, form: str) -> bytes:
    command = [
        "openssl",
        "req",
        "-new",
        "-nodes",
        *OPENSSL[key_type].split(),
        "-subj",
        f"/O=Example/CN={HOST}",
    ]
    command += ["-addext", f"subjectAltName=DNS:{HOST},IP:{ADDRESS}", "-outform", form]
    run(*command, "-keyout", folder / "web.key", "-out", folder / "web.csr")
    return (folder / "web.csr").read_bytes()


def _issue(authority: Stack, csr: bytes, how: str) -> bytes:
    """The chain (PEM) for a request sent in one of the ways that clients send it."""
    with authority.client() as client:
        if how == "json":
            answer = client.post("/v1/certificates", json={"csr": csr.decode()})
        else:
            answer = client.post(
                "/v1/certificates?profile=server",
                content=csr,
                headers={"content-type": how, "accept": "application/pem-certificate-chain"},
            )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["chain"]).encode() if how == "json" else answer.content


def _check(authority: Stack, chain: bytes, folder: Path) -> None:
    """Everybody who could judge finds nothing wrong."""
    leaf, intermediate = (one.strip() + "\n" for one in _split(chain.decode()))
    (folder / "leaf.pem").write_text(leaf)
    (folder / "intermediate.pem").write_text(intermediate)
    (folder / "all.pem").write_bytes(chain + authority.root.read_bytes())
    trust = ["-CAfile", str(authority.root), "-untrusted", str(folder / "intermediate.pem")]
    for purpose in (["-purpose", "sslserver", "-verify_hostname", HOST], ["-verify_ip", ADDRESS]):
        run("openssl", "verify", "-x509_strict", "-check_ss_sig", *trust, *purpose, folder / "leaf.pem")
    said = run(
        *("certtool", "--verify", "--infile", folder / "all.pem", "--load-ca-certificate", authority.root),
        *("--verify-hostname", HOST, "--verify-purpose", "1.3.6.1.5.5.7.3.1"),
    )
    assert b"The certificate is trusted" in said
    one, above = (x509.load_pem_x509_certificate(text.encode()) for text in (leaf, intermediate))
    der, above_der = (
        run("openssl", "x509", "-outform", "DER", given=text.encode()) for text in (leaf, intermediate)
    )
    assert findings(der) == set()
    assert chain_findings(above_der, der) == set()
    one.verify_directly_issued_by(above)


def _split(chain: str) -> list[str]:
    end = "-----END CERTIFICATE-----"
    return [part + end for part in chain.split(end) if part.strip()]


@pytest.mark.parametrize("form", ["PEM", "DER"])
@pytest.mark.parametrize("key_type", OPENSSL)
def test_requests_by_openssl(authority: Stack, key_type: str, form: str, tmp_path: Path) -> None:
    csr = _openssl_request(tmp_path, key_type, form)
    chain = _issue(authority, csr, "application/pkcs10")
    _check(authority, chain, tmp_path)
    # it is for the key that asked
    asked = run("openssl", "pkey", "-in", tmp_path / "web.key", "-pubout")
    assert run("openssl", "x509", "-in", tmp_path / "leaf.pem", "-noout", "-pubkey") == asked


@pytest.mark.parametrize("how", ["json", "application/x-pem-file", "application/octet-stream"])
def test_requests_in_other_wrappings(authority: Stack, how: str, tmp_path: Path) -> None:
    _check(authority, _issue(authority, _openssl_request(tmp_path, "ecdsa-p256", "PEM"), how), tmp_path)


@pytest.mark.parametrize(
    "arguments",
    ["--key-type=ecdsa --curve=secp256r1", "--key-type=rsa --bits=3072", "--key-type=ed25519"],
)
def test_requests_by_gnutls(authority: Stack, arguments: str, tmp_path: Path) -> None:
    (tmp_path / "template").write_text(TEMPLATE)
    run("certtool", "--generate-privkey", *arguments.split(), "--outfile", tmp_path / "web.key")
    csr = run(
        *("certtool", "--generate-request", "--load-privkey", tmp_path / "web.key"),
        *("--template", tmp_path / "template"),
    )
    _check(authority, _issue(authority, csr, "application/pkcs10"), tmp_path)


@pytest.mark.parametrize(("algorithm", "size"), [("ecdsa", 256), ("ecdsa", 384), ("rsa", 2048)])
def test_requests_by_cfssl(authority: Stack, algorithm: str, size: int, tmp_path: Path) -> None:
    wish = {"CN": HOST, "hosts": [HOST, ADDRESS], "key": {"algo": algorithm, "size": size}}
    made = json.loads(run("cfssl", "genkey", "-", given=json.dumps(wish).encode()))
    _check(authority, _issue(authority, made["csr"].encode(), "application/pkcs10"), tmp_path)


def test_curl_gets_what_the_guide_says(authority: Stack, tmp_path: Path) -> None:
    _openssl_request(tmp_path, "ecdsa-p256", "PEM")
    chain = run(
        *("curl", "--silent", "--show-error", "--fail", "--cacert", authority.root),
        *(
            "--header",
            f"Authorization: Bearer {authority.admin}",
            "--header",
            "Content-Type: application/pkcs10",
        ),
        *(
            "--header",
            "Accept: application/pem-certificate-chain",
            "--data-binary",
            f"@{tmp_path / 'web.csr'}",
        ),
        f"{authority.api}/v1/certificates",
    )
    _check(authority, chain, tmp_path)


def test_addresses_in_the_certificate_lead_somewhere(authority: Stack, tmp_path: Path) -> None:
    chain = _issue(authority, _openssl_request(tmp_path, "ecdsa-p256", "PEM"), "application/pkcs10")
    leaf, intermediate = x509.load_pem_x509_certificates(chain)
    access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    places = {one.access_method: one.access_location.value for one in access}
    with urlopen(places[AuthorityInformationAccessOID.CA_ISSUERS]) as answer:
        # RFC 5280, Section 4.2.2.1
        assert answer.headers["content-type"] == "application/pkix-cert"
        assert x509.load_der_x509_certificate(answer.read()) == intermediate
    (point,) = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name is not None
    with urlopen(point.full_name[0].value) as answer:
        # RFC 5280, Section 4.2.1.13
        assert answer.headers["content-type"] == "application/pkix-crl"
        crl = x509.load_der_x509_crl(answer.read())
    assert crl.issuer == leaf.issuer
    key = intermediate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert crl.is_signature_valid(key)
    # the intermediate's own issuer too
    above = intermediate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    places = {one.access_method: one.access_location.value for one in above}
    with urlopen(places[AuthorityInformationAccessOID.CA_ISSUERS]) as answer:
        root = x509.load_pem_x509_certificate(authority.root.read_bytes())
        assert x509.load_der_x509_certificate(answer.read()) == root
