"""CFSSL's API: its envelope and numbers, its HMAC, its decimal serials; and no way around our own checks."""

from __future__ import annotations

import hmac
import json
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from quicklime.errors import Code, Refused
from quicklime.events import CertificateIssued, CertificatePlanned, CertificateRevoked, RequestRefused
from quicklime.lifecycle.certificate import REVOCATION_REASONS
from quicklime.services.cfssl import wire
from tests.support.authority import (
    CFSSL_KEY,
    Authority,
    Subscriber,
    base64,
    certificate_of,
    codes_of,
    pem_request,
    running,
    subscriber,
)

PREFIX = "/api/v1/cfssl"
NAME = "dns:web.lab.internal"


async def call(authority: Authority, name: str, body: Any, token: str | None = None) -> httpx.Response:
    return await authority.ask("POST", f"{PREFIX}/{name}", token=token, json=body)


def result_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    envelope = answer.json()
    assert (envelope["success"], envelope["errors"], envelope["messages"]) == (True, [], [])
    found: dict[str, Any] = envelope["result"]
    return found


def errors_of(answer: httpx.Response) -> list[tuple[int, str]]:
    """(CFSSL's number, our code) of each error."""
    assert answer.status_code == 400, answer.text
    envelope = answer.json()
    assert (envelope["success"], envelope["result"], envelope["messages"]) == (False, None, [])
    return [(error["code"], error["message"].partition(":")[0]) for error in envelope["errors"]]


def names_of(pem: str) -> list[str]:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def sign_body(*names: str, **more: Any) -> dict[str, Any]:
    return {"certificate_request": pem_request(subscriber().csr(*(names or (NAME,))))} | more


def plans(authority: Authority) -> int:
    return len([event for event in authority.events() if isinstance(event, CertificatePlanned)])


# --- sign, authsign -------------------------------------------------------------------------------------------------


async def test_sign_takes_a_token(authority: Authority) -> None:
    found = result_of(await call(authority, "sign", sign_body(), authority.admin))
    assert set(found) == {"certificate"}
    assert names_of(found["certificate"]) == ["web.lab.internal"]
    assert errors_of(await call(authority, "sign", sign_body())) == [(7100, "unauthenticated")]
    auditor = await authority.token("auditor")
    assert (7100, "forbidden") in errors_of(await call(authority, "sign", sign_body(), auditor))
    assert plans(authority) == 1


async def test_hosts_override_the_names_of_the_request(authority: Authority) -> None:
    body = sign_body(hosts=["a.lab.internal", "10.0.0.9"])
    found = result_of(await call(authority, "sign", body, authority.admin))
    assert names_of(found["certificate"]) == ["a.lab.internal", "10.0.0.9"]
    body = sign_body(hostname="b.lab.internal, c.lab.internal")
    found = result_of(await call(authority, "sign", body, authority.admin))
    assert names_of(found["certificate"]) == ["b.lab.internal", "c.lab.internal"]


async def test_members_that_we_do_not_know_are_taken(authority: Authority) -> None:
    body = sign_body(subject={"CN": "x", "names": []}, serial_sequence="1", crl_override="x")
    result_of(await call(authority, "sign", body, authority.admin))


async def test_authsign_with_the_key(authority: Authority) -> None:
    request = json.dumps(sign_body()).encode()
    found = result_of(await authority.authsign(request))
    assert names_of(found["certificate"]) == ["web.lab.internal"]
    issued = [event for event in authority.events() if isinstance(event, CertificatePlanned)]
    assert (issued[0].requester.kind, issued[0].requester.id) == ("cfssl", "default")


async def test_the_key_decides_what_may_be_had(authority: Authority) -> None:
    request = json.dumps(sign_body()).encode()
    found = errors_of(await authority.authsign(request, CFSSL_KEY[::-1]))
    assert found == [(5500, "profile-not-allowed"), (5500, "name-not-allowed")]
    one = json.dumps(sign_body("dns:one.lab.internal", profile="client")).encode()
    result_of(await authority.authsign(one, CFSSL_KEY[::-1]))
    noted = [event for event in authority.events() if isinstance(event, RequestRefused)]
    assert [event.requester.id for event in noted] == ["narrow"]


async def test_authsign_without_the_key_is_refused_and_slowed_down() -> None:
    async with running(failures_per_minute=2) as authority:
        request = json.dumps(sign_body()).encode()
        for key in (b"x" * 16, b""):
            assert errors_of(await authority.authsign(request, key)) == [(7100, "unauthenticated")]
        slow = await authority.authsign(request)
        # what every client of HTTP must understand comes in HTTP's words
        assert (slow.status_code, codes_of(slow)) == (429, ["rate-limited"])
        assert "retry-after" in slow.headers
        assert plans(authority) == 0


@pytest.mark.parametrize(
    "sealed",
    [
        {"token": "", "request": ""},
        {"token": base64(bytes(32)), "request": ""},
        {"token": base64(bytes(31)), "request": base64(b"{}")},
        {"token": "?", "request": "?"},
        {"token": "\u00e4", "request": "AAAA"},
        {"request": "AAAA"},
        {"token": 7, "request": "AAAA"},
        [],
        "x",
    ],
)
async def test_what_is_not_sealed_is_refused(authority: Authority, sealed: object) -> None:
    found = errors_of(await call(authority, "authsign", sealed))
    assert found[0][0] in {7100, 7200}
    assert plans(authority) == 0


async def test_a_seal_covers_every_octet(authority: Authority) -> None:
    request = json.dumps(sign_body()).encode()
    token = base64(hmac.new(CFSSL_KEY, request, "sha256").digest())
    changed = request.replace(b'"certificate_request"', b'"certificate_request" ')
    answer = await call(authority, "authsign", {"token": token, "request": base64(changed)})
    assert errors_of(answer) == [(7100, "unauthenticated")]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"certificate_request": ""}, (9003, "csr-malformed")),
        ({"certificate_request": "x"}, (9003, "csr-malformed")),
        ({}, (9003, "csr-malformed")),
        (sign_body(profile="nonsense"), (5400, "profile-unknown")),
        (sign_body(profile="ocsp-responder"), (5400, "profile-unknown")),
        (sign_body(hosts=["elsewhere.org"]), (5500, "name-not-allowed")),
        (sign_body(hosts=["no name!"]), (5300, "name-malformed")),
        ({"hosts": "x"}, (7200, "request-malformed")),
    ],
)
async def test_refusals_have_cfssl_s_numbers(
    authority: Authority, body: dict[str, Any], found: tuple[int, str]
) -> None:
    assert errors_of(await call(authority, "sign", body, authority.admin))[0] == found


async def test_the_bundle_comes_where_it_is_asked_for(authority: Authority) -> None:
    found = result_of(await call(authority, "sign", sign_body(bundle=True), authority.admin))
    chain = x509.load_pem_x509_certificates(found["bundle"]["bundle"].encode())
    assert len(chain) == 2
    assert (
        found["bundle"]["root"]
        == x509.load_der_x509_certificate(authority.lab.root).public_bytes(Encoding.PEM).decode()
    )
    assert found["bundle"]["crt"] == found["certificate"]
    assert found["bundle"]["hostnames"] == ["web.lab.internal"]


# --- newkey, newcert ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algo", "size"), [("ecdsa", 256), ("ecdsa", 384), ("rsa", 2048)])
async def test_newcert_gives_a_key_that_fits_and_keeps_none(
    authority: Authority, algo: str, size: int
) -> None:
    body = {
        "request": {
            "CN": "web.lab.internal",
            "hosts": ["web.lab.internal"],
            "key": {"algo": algo, "size": size},
            "names": [{"C": "AT", "O": "Lab"}],
        }
    }
    found = result_of(await call(authority, "newcert", body, authority.admin))
    key = load_pem_private_key(found["private_key"].encode(), None)
    certificate = x509.load_pem_x509_certificate(found["certificate"].encode())
    assert certificate.public_key() == key.public_key()
    request = x509.load_pem_x509_csr(found["certificate_request"].encode())
    assert request.is_signature_valid
    secret = b"".join(found["private_key"].encode().splitlines()[1:-1])
    records = b"".join(record.value for record in authority.log.read(0))
    assert secret[40:120] not in records
    assert "private" not in (await authority.ask("GET", "/metrics", token=authority.admin)).text


async def test_newkey_makes_a_request_for_the_common_name_where_there_are_no_hosts(
    authority: Authority,
) -> None:
    found = result_of(await call(authority, "newkey", {"CN": "web.lab.internal"}, authority.admin))
    request = x509.load_pem_x509_csr(found["certificate_request"].encode())
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["web.lab.internal"]
    assert plans(authority) == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"hosts": ["a.lab.internal"], "key": {"algo": "rsa", "size": 1024}}, "key-type-not-allowed"),
        ({"hosts": ["a.lab.internal"], "key": {"algo": "rsa", "size": 16384}}, "key-type-not-allowed"),
        ({"hosts": ["a.lab.internal"], "key": {"algo": "x" * 5000, "size": 1}}, "key-type-not-allowed"),
        ({"hosts": []}, "names-missing"),
        ({}, "names-missing"),
        ({"CN": "x" * 65, "hosts": ["a.lab.internal"]}, "csr-malformed"),
        ({"hosts": ["no name!"]}, "name-malformed"),
        ({"hosts": ["a.lab.internal"] * 1000}, "names-too-many"),
    ],
)
async def test_a_key_that_can_not_be_made_is_refused(
    authority: Authority, body: dict[str, Any], code: str
) -> None:
    for name, asked in (("newkey", body), ("newcert", {"request": body})):
        answer = await call(authority, name, asked, authority.admin)
        assert code in [our for _, our in errors_of(answer)]
        assert len(answer.content) < 5000


async def test_nobody_gets_a_key(authority: Authority) -> None:
    body = {"hosts": ["a.lab.internal"]}
    assert errors_of(await call(authority, "newkey", body)) == [(7100, "unauthenticated")]
    assert errors_of(await call(authority, "newcert", {"request": body})) == [(7100, "unauthenticated")]


# --- revoke ---------------------------------------------------------------------------------------------------------


async def test_revoke_by_decimal_serial_as_cfssl_s_clients_do(authority: Authority) -> None:
    found = await authority.issued()
    number = int(found["serial"], 16)
    body = {"serial": str(number), "authority_key_id": found["issuer"].upper(), "reason": "Superseded"}
    operator = await authority.token("operator")
    assert result_of(await call(authority, "revoke", body, operator)) == {}
    assert result_of(await call(authority, "revoke", body, operator)) == {}
    revoked = [event for event in authority.events() if isinstance(event, CertificateRevoked)]
    assert [(event.serial, event.reason) for event in revoked] == [(found["serial"], 4)]


async def test_revoke_asks_for_the_permission_and_the_right_issuer(authority: Authority) -> None:
    found = await authority.issued()
    body = {"serial": found["serial"], "reason": "unspecified"}
    assert errors_of(await call(authority, "revoke", body)) == [(7100, "unauthenticated")]
    requester = await authority.token()
    assert errors_of(await call(authority, "revoke", body, requester)) == [(7100, "forbidden")]
    other = body | {"authority_key_id": "00" * 20}
    assert errors_of(await call(authority, "revoke", other, authority.admin)) == [
        (1000, "certificate-unknown")
    ]
    assert not [event for event in authority.events() if isinstance(event, CertificateRevoked)]


@pytest.mark.parametrize(
    ("serial", "code"),
    [
        ("", "certificate-unknown"),
        ("-1", "certificate-unknown"),
        ("0", "certificate-unknown"),
        ("9" * 49, "certificate-unknown"),
        ("9" * 48, "certificate-unknown"),
        ("9" * 5000, "certificate-unknown"),
        ("\u0663", "certificate-unknown"),
        ("4f" * 20, "certificate-unknown"),
        ("zz" * 20, "certificate-unknown"),
    ],
)
async def test_a_serial_that_is_not_there_is_unknown(authority: Authority, serial: str, code: str) -> None:
    for name in ("revoke", "certinfo"):
        answer = await call(authority, name, {"serial": serial or "x"}, authority.admin)
        assert errors_of(answer) == [(1000, code)]
        assert len(answer.content) < 1000


@pytest.mark.parametrize(
    ("text", "number"), [(name.upper(), number) for number, name in REVOCATION_REASONS.items()]
)
def test_reasons_by_name_in_any_case(text: str, number: int) -> None:
    assert wire.reason_of(text) == number
    assert wire.reason_of(str(number)) == number


@pytest.mark.parametrize(
    "text", ["", "2", "6", "10", "0010", "0001", "1000", "-1", "\u0661", "hold", "9" * 5000]
)
def test_other_reasons_are_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        wire.reason_of(text)
    assert refused.value.code == Code.REVOCATION_REASON_INVALID
    assert len(str(refused.value)) < 500


# --- info, certinfo, bundle -----------------------------------------------------------------------------------------


async def test_info_is_for_everybody(authority: Authority) -> None:
    found = result_of(await call(authority, "info", {"label": ""}))
    assert x509.load_pem_x509_certificate(found["certificate"].encode()) == x509.load_der_x509_certificate(
        authority.lab.intermediate
    )
    assert (found["expiry"], found["usages"][-1]) == ("720h", "serverAuth")
    client = result_of(await call(authority, "info", {"profile": "client"}))
    assert client["usages"][-1] == "clientAuth"
    assert errors_of(await call(authority, "info", {"profile": "x"})) == [(5400, "profile-unknown")]


async def test_certinfo_describes_what_is_given_and_looks_up_what_may_be_seen(authority: Authority) -> None:
    found = await authority.issued("dns:web.lab.internal", "ip:10.0.0.1")
    given = result_of(await call(authority, "certinfo", {"certificate": found["certificate"]}))
    looked_up = result_of(await call(authority, "certinfo", {"serial": found["serial"]}, authority.admin))
    assert given == looked_up
    assert given["serial_number"] == str(int(found["serial"], 16))
    assert given["sans"] == ["web.lab.internal", "10.0.0.1"]
    assert given["not_after"] == found["not_after"]
    assert given["authority_key_id"].replace(":", "").lower() == found["issuer"]
    assert given["pem"] == found["certificate"]
    assert errors_of(await call(authority, "certinfo", {"domain": "localhost"}, authority.admin)) == [
        (7200, "request-malformed")
    ]
    assert errors_of(await call(authority, "certinfo", {"certificate": "x"})) == [(7200, "request-malformed")]


async def test_bundle_takes_ours_and_nobody_else_s(authority: Authority) -> None:
    found = await authority.issued()
    bundle = result_of(await call(authority, "bundle", {"certificate": found["certificate"]}))
    assert bundle["bundle"] == found["chain"]
    assert bundle["leaf_expires"] == found["not_after"]
    forged = self_named(certificate_of(found))
    assert errors_of(await call(authority, "bundle", {"certificate": forged})) == [
        (1000, "certificate-unknown")
    ]
    for body in ({}, {"domain": "localhost"}, {"certificate": "x"}):
        assert errors_of(await call(authority, "bundle", body)) == [(7200, "request-malformed")]


def self_named(certificate: x509.Certificate) -> str:
    """A certificate that bears our issuer's name and another's signature."""
    forger = Subscriber.new()
    builder = x509.CertificateBuilder(
        issuer_name=certificate.issuer,
        subject_name=certificate.subject,
        public_key=forger.key.public_key(),
        serial_number=certificate.serial_number,
        not_valid_before=certificate.not_valid_before_utc,
        not_valid_after=certificate.not_valid_after_utc,
    )
    return builder.sign(forger.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


# --- in common ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["sign", "authsign", "newcert", "newkey", "info", "certinfo", "revoke", "bundle"]
)
async def test_what_is_not_json_is_refused_in_cfssl_s_words(authority: Authority, name: str) -> None:
    for content in (b"", b"{", b"\xff", b"[]", b'"x"', b"7", b"[" * 10_000):
        answer = await authority.ask("POST", f"{PREFIX}/{name}", token=authority.admin, content=content)
        assert errors_of(answer) == [(7200, "request-malformed")], content[:10]
    large = await authority.ask("POST", f"{PREFIX}/{name}", token=authority.admin, content=b" " * 70_000)
    assert (large.status_code, codes_of(large)) == (413, ["request-too-large"])
    get = await authority.ask("GET", f"{PREFIX}/{name}", token=authority.admin)
    assert (get.status_code, get.headers["allow"]) == (405, "POST")


async def test_what_cfssl_issues_is_in_the_log_like_everything(authority: Authority) -> None:
    holder = Subscriber.new()
    body = {"certificate_request": pem_request(holder.csr(NAME))}
    found = result_of(await call(authority, "sign", body, authority.admin))
    certificate = x509.load_pem_x509_certificate(found["certificate"].encode())
    issued = [event for event in authority.events() if isinstance(event, CertificateIssued)]
    assert [event.certificate for event in issued] == [certificate.public_bytes(Encoding.DER)]
    known = authority.state.certificate(f"{certificate.serial_number:040x}")
    assert known is not None
    assert known.public_key == certificate.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
