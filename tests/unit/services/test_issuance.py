"""Issuing over HTTP: every way to send a CSR, every fault in one answer, and retries that change nothing."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from cryptography import x509

from quicklime.events import CertificateIssued, CertificatePlanned, RequestRefused
from tests.support.authority import (
    Authority,
    Subscriber,
    base64,
    certificate_of,
    codes_of,
    fields_of,
    octets,
    pem_request,
    subscriber,
)

PATH = "/v1/certificates"
NAME = "dns:web.lab.internal"


async def test_der_pem_and_json_give_the_same_certificate_but_for_serial_and_time(
    authority: Authority,
) -> None:
    request = subscriber().csr(NAME)
    sent: list[dict[str, Any]] = [
        {"content": request, "headers": {"content-type": "application/pkcs10"}},
        {"content": request, "headers": {"content-type": "application/octet-stream; q=1"}},
        {"content": pem_request(request), "headers": {"content-type": "application/x-pem-file"}},
        {"content": pem_request(request), "headers": {"content-type": "APPLICATION/PKCS10"}},
        {"json": {"csr": base64(request)}},
        {"json": {"csr": pem_request(request)}},
    ]
    serials = set()
    for one in sent:
        answer = await authority.ask("POST", PATH, token=authority.admin, **one)
        assert answer.status_code == 201, answer.text
        found = answer.json()
        certificate = certificate_of(found)
        assert found["names"] == [NAME]
        assert found["profile"] == "server"
        assert certificate.public_key() == subscriber().key.public_key()
        serials.add(found["serial"])
    assert len(serials) == len(sent)


async def test_the_answer_says_what_the_certificate_and_the_log_say(authority: Authority) -> None:
    answer = await authority.ask(
        "POST",
        PATH,
        token=authority.admin,
        json={"csr": base64(subscriber().csr(NAME)), "node": "rack 7", "validity_seconds": 3600},
    )
    found = answer.json()
    certificate = certificate_of(found)
    assert answer.headers["location"] == f"{PATH}/{found['serial']}"
    assert answer.headers["cache-control"] == "no-store"
    assert f"{certificate.serial_number:040x}" == found["serial"]
    assert certificate.not_valid_before_utc.strftime("%Y-%m-%dT%H:%M:%SZ") == found["not_before"]
    assert certificate.not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ") == found["not_after"]
    assert (found["node"], found["lineage"], found["predecessor"]) == ("rack 7", found["serial"], None)
    chain = x509.load_pem_x509_certificates(found["chain"].encode())
    assert chain[0] == certificate
    assert chain[1] == x509.load_der_x509_certificate(authority.lab.intermediate)
    assert len(chain) == 2
    issued = authority.ledger.read(found["log_offset"])
    assert isinstance(issued, CertificateIssued)
    assert issued.serial == found["serial"]
    known = authority.state.certificate(found["serial"])
    assert known is not None
    assert known.revocation_secrets_sha256 == (sha256(octets(found["revocation_secret"])).digest(),)
    assert known.challenge == octets(found["renewal_challenge"])


async def test_the_secret_is_not_in_the_log(authority: Authority) -> None:
    found = await authority.issued(NAME)
    secret = octets(found["revocation_secret"])
    records = b"".join(record.value for record in authority.log.read(0))
    assert secret not in records
    assert secret.hex().encode() not in records
    assert found["revocation_secret"].encode() not in records


@pytest.mark.parametrize(
    ("accept", "media_type", "begins"),
    [
        ("application/pem-certificate-chain", "application/pem-certificate-chain", b"-----BEGIN CERT"),
        ("application/x-pem-file", "application/x-pem-file", b"-----BEGIN CERT"),
        ("application/pkix-cert", "application/pkix-cert", b"\x30\x82"),
        ("text/html, application/pkix-cert;q=0.5, */*;q=0.1", "application/pkix-cert", b"\x30\x82"),
    ],
)
async def test_what_is_accepted_decides_about_the_form(
    authority: Authority, accept: str, media_type: str, begins: bytes
) -> None:
    answer = await authority.ask(
        "POST",
        PATH,
        token=authority.admin,
        content=subscriber().csr(NAME),
        headers={"content-type": "application/pkcs10", "accept": accept},
    )
    assert answer.status_code == 201
    assert answer.headers["content-type"].partition(";")[0] == media_type
    assert answer.content.startswith(begins)
    known = authority.state.certificate(answer.headers["quicklime-serial"])
    assert known is not None
    assert octets(answer.headers["quicklime-renewal-challenge"]) == known.challenge
    secret = octets(answer.headers["quicklime-revocation-secret"])
    assert sha256(secret).digest() in known.revocation_secrets_sha256
    assert int(answer.headers["quicklime-log-offset"]) == known.issued_offset


async def test_nothing_is_issued_where_no_form_is_accepted(authority: Authority) -> None:
    answer = await authority.ask(
        "POST",
        PATH,
        token=authority.admin,
        json={"csr": base64(subscriber().csr(NAME))},
        headers={"accept": "text/html"},
    )
    assert answer.status_code == 406
    assert codes_of(answer) == ["not-acceptable"]
    assert not [event for event in authority.events() if isinstance(event, CertificatePlanned)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"csr": 7}',
        b'{"profile": "server"}',
        b'{"csr": "AAAA", "subject": "CN=x"}',
        b'{"csr": "AAAA", "validity_seconds": "1h"}',
        b'{"csr": "AAAA", "validity_seconds": 1e400}',
        b'{"csr": "\xff"}',
        b"[" * 100_00,
    ],
)
async def test_a_malformed_body_is_refused(authority: Authority, body: bytes) -> None:
    answer = await authority.ask(
        "POST",
        PATH,
        token=authority.admin,
        content=body,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 400, answer.text
    assert codes_of(answer) == ["request-malformed"]


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/json+x", "multipart/form-data", "\xff"]
)
async def test_another_media_type_is_refused(authority: Authority, media_type: str) -> None:
    answer = await authority.ask(
        "POST",
        PATH,
        token=authority.admin,
        content=b"x",
        headers={"content-type": media_type},
    )
    assert answer.status_code == 415
    assert codes_of(answer) == ["media-type-unsupported"]


async def test_a_body_beyond_the_limit_is_refused(authority: Authority) -> None:
    answer = await authority.ask(
        "POST",
        PATH,
        token=authority.admin,
        content=b"\x30" * 70_000,
        headers={"content-type": "application/pkcs10"},
    )
    assert answer.status_code == 413
    assert codes_of(answer) == ["request-too-large"]


async def test_options_come_as_query_where_the_body_is_a_csr(authority: Authority) -> None:
    answer = await authority.ask(
        "POST",
        f"{PATH}?profile=peer&node=rack%207&validity_seconds=7200&name=a.lab.internal&name=10.1.2.3",
        token=authority.admin,
        content=subscriber().csr(NAME),
        headers={"content-type": "application/pkcs10"},
    )
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert found["names"] == ["dns:a.lab.internal", "ip:10.1.2.3"]
    assert (found["profile"], found["node"]) == ("peer", "rack 7")
    known = authority.state.certificate(found["serial"])
    assert known is not None
    assert known.not_after - known.not_before == 7199


async def test_every_fault_of_the_query_is_told_at_once(authority: Authority) -> None:
    answer = await authority.ask(
        "POST",
        f"{PATH}?profile=server&profile=peer&validity_seconds=-1&subject=x&key=y",
        token=authority.admin,
        content=subscriber().csr(NAME),
        headers={"content-type": "application/pkcs10"},
    )
    assert answer.status_code == 400
    assert codes_of(answer) == ["request-malformed"] * 4


async def test_every_objection_is_told_at_once(authority: Authority) -> None:
    token = await authority.token(names=("one.lab.internal",), profiles=("client",))
    answer = await authority.ask(
        "POST",
        PATH,
        token=token,
        json={
            "csr": base64(subscriber().csr(NAME)),
            "names": ["a.lab.internal", "b.elsewhere.org"],
            "validity_seconds": 10**9,
            "node": "",
        },
    )
    assert codes_of(answer) == [
        "request-malformed",
        "profile-not-allowed",
        "name-not-allowed",
        "name-not-allowed",
        "name-outside-issuer",
        "validity-not-allowed",
    ]
    assert {"node", "profile", "names[0]", "names[1]", "validity_seconds"} <= fields_of(answer)


async def test_faults_of_the_csr_and_of_the_names_beside_it_are_told_at_once(authority: Authority) -> None:
    answer = await authority.ask(
        "POST",
        PATH,
        token=authority.admin,
        json={"csr": base64(b"no request"), "names": ["fine.lab.internal", "no name!", "mail@lab.internal"]},
    )
    assert answer.status_code == 400
    assert {"csr-malformed", "name-malformed"} <= set(codes_of(answer))
    assert "csr" in fields_of(answer)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"profile": "ocsp-responder"}, "profile-unknown"),
        ({"profile": "nonsense"}, "profile-unknown"),
        ({"profile": "\ud7ff" * 500}, "profile-unknown"),
        ({"names": []}, "names-missing"),
        ({"names": ["*.com"]}, "name-not-allowed"),
        ({"validity_seconds": 0}, "validity-not-allowed"),
        ({"validity_seconds": -5}, "validity-not-allowed"),
        ({"validity_seconds": 10**40}, "validity-not-allowed"),
        ({"node": "a\nb"}, "request-malformed"),
        ({"node": "x" * 201}, "request-malformed"),
    ],
)
async def test_what_can_not_be_had_is_refused(
    authority: Authority, change: dict[str, object], code: str
) -> None:
    body = {"csr": base64(subscriber().csr(NAME))} | change
    answer = await authority.ask("POST", PATH, token=authority.admin, json=body)
    assert 400 <= answer.status_code < 500
    assert code in codes_of(answer)


async def test_nobody_and_strangers_get_nothing(authority: Authority) -> None:
    body = {"csr": base64(subscriber().csr(NAME))}
    nobody = await authority.ask("POST", PATH, json=body)
    assert (nobody.status_code, codes_of(nobody)) == (401, ["unauthenticated"])
    stranger = await authority.ask("POST", PATH, token="ql_aaaaaaaaaaaaaaaa_" + "x" * 43, json=body)
    assert (stranger.status_code, codes_of(stranger)) == (401, ["token-unknown"])
    auditor = await authority.ask("POST", PATH, token=await authority.token("auditor"), json=body)
    assert (auditor.status_code, codes_of(auditor)) == (403, ["forbidden"])
    assert not [event for event in authority.events() if isinstance(event, CertificatePlanned)]


async def test_a_refusal_of_a_known_requester_is_remembered_without_what_is_secret(
    authority: Authority,
) -> None:
    token = await authority.token(names=("one.lab.internal",))
    await authority.ask("POST", PATH, token=token, json={"csr": base64(subscriber().csr(NAME))})
    noted = [event for event in authority.events() if isinstance(event, RequestRefused)]
    assert len(noted) == 1
    assert noted[0].operation == "issue"
    assert noted[0].codes == ("name-not-allowed",)
    assert noted[0].requester.id in token
    assert token.encode() not in b"".join(record.value for record in authority.log.read(0))


async def test_the_key_of_an_issuer_is_refused(authority: Authority) -> None:
    holder = Subscriber(authority.lab.signer._key)  # type: ignore[arg-type]
    body = {"csr": base64(holder.csr(NAME))}
    answer = await authority.ask("POST", PATH, token=authority.admin, json=body)
    assert codes_of(answer) == ["key-not-allowed"]


async def test_a_key_that_was_revoked_for_compromise_is_never_certified_again(authority: Authority) -> None:
    holder = Subscriber.new()
    found = await authority.issued(NAME, by=holder)
    path = f"{PATH}/{found['serial']}/revocation"
    revoked = await authority.ask(
        "POST", path, json={"reason": "keyCompromise", "secret": found["revocation_secret"]}
    )
    assert revoked.status_code == 200
    answer = await authority.ask(
        "POST", PATH, token=authority.admin, json={"csr": base64(holder.csr("dns:other.lab.internal"))}
    )
    assert codes_of(answer) == ["key-compromised"]


# --- retries --------------------------------------------------------------------------------------------------------


async def test_the_same_request_again_gets_the_same_certificate_and_a_secret_that_works(
    authority: Authority,
) -> None:
    token = await authority.token(uses_max=1)
    body = {"csr": base64(subscriber().csr(NAME))}
    headers = {"idempotency-key": "first"}
    first = await authority.ask("POST", PATH, token=token, json=body, headers=headers)
    again = await authority.ask("POST", PATH, token=token, json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["serial"] == again.json()["serial"]
    assert first.json()["certificate"] == again.json()["certificate"]
    assert first.json()["log_offset"] == again.json()["log_offset"]
    assert first.json()["revocation_secret"] != again.json()["revocation_secret"]
    assert len([event for event in authority.events() if isinstance(event, CertificatePlanned)]) == 1
    path = f"{PATH}/{first.json()['serial']}/revocation"
    revoked = await authority.ask("POST", path, json={"secret": again.json()["revocation_secret"]})
    assert revoked.status_code == 200
    # the first secret works too: whoever has it proves the same
    repeated = await authority.ask("POST", path, json={"secret": first.json()["revocation_secret"]})
    assert repeated.json()["repeated"] is True


@pytest.mark.parametrize(
    "change",
    [
        {"profile": "peer"},
        {"names": ["a.lab.internal"]},
        {"validity_seconds": 3600},
        {"node": "other"},
        {"csr": base64(subscriber().csr("dns:b.lab.internal"))},
    ],
)
async def test_the_same_key_for_another_request_is_a_conflict(
    authority: Authority, change: dict[str, object]
) -> None:
    body = {"csr": base64(subscriber().csr(NAME))}
    headers = {"idempotency-key": "k"}
    await authority.ask("POST", PATH, token=authority.admin, json=body, headers=headers)
    answer = await authority.ask("POST", PATH, token=authority.admin, json=body | change, headers=headers)
    assert (answer.status_code, codes_of(answer)) == (409, ["idempotency-conflict"])


async def test_keys_of_two_requesters_are_two_keys(authority: Authority) -> None:
    body = {"csr": base64(subscriber().csr(NAME))}
    headers = {"idempotency-key": "k"}
    serials = set()
    for token in (await authority.token(), await authority.token()):
        answer = await authority.ask("POST", PATH, token=token, json=body, headers=headers)
        assert answer.status_code == 201
        serials.add(answer.json()["serial"])
    assert len(serials) == 2


async def test_of_the_same_request_many_times_at_once_one_is_worked_on(authority: Authority) -> None:
    body = {"csr": base64(subscriber().csr(NAME))}
    headers = {"idempotency-key": "at once"}
    answers = await asyncio.gather(
        *(authority.ask("POST", PATH, token=authority.admin, json=body, headers=headers) for _ in range(8))
    )
    granted = [answer for answer in answers if answer.is_success]
    assert len([answer for answer in granted if answer.status_code == 201]) == 1
    assert len({answer.json()["serial"] for answer in granted}) == 1
    for answer in answers:
        if not answer.is_success:
            assert codes_of(answer) == ["idempotency-conflict"]
            assert answer.headers["retry-after"] == "1"
    assert len([event for event in authority.events() if isinstance(event, CertificateIssued)]) == 1


@pytest.mark.parametrize("key", ["", "x" * 256, "\x7f", "a\tb"])
async def test_an_idempotency_key_that_can_not_be_is_refused(authority: Authority, key: str) -> None:
    answer = await authority.ask(
        "POST",
        PATH,
        token=authority.admin,
        json={"csr": base64(subscriber().csr(NAME))},
        headers={"idempotency-key": key},
    )
    assert (answer.status_code, codes_of(answer)) == (400, ["request-malformed"])
    assert fields_of(answer) == {"Idempotency-Key"}


async def test_a_token_is_used_as_often_as_it_may_be_also_at_once(authority: Authority) -> None:
    token = await authority.token(uses_max=2)
    body = {"csr": base64(subscriber().csr(NAME))}
    answers = await asyncio.gather(*(authority.ask("POST", PATH, token=token, json=body) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 403, 403, 403, 403]
    assert {code for answer in answers if answer.is_error for code in codes_of(answer)} == {"token-exhausted"}


async def test_a_refused_request_uses_nothing_up(authority: Authority) -> None:
    token = await authority.token(uses_max=1)
    wrong = {"csr": base64(subscriber().csr("dns:elsewhere.example.test"))}
    assert (await authority.ask("POST", PATH, token=token, json=wrong)).status_code == 403
    assert (await authority.issued(NAME, token=token))["names"] == [NAME]


# --- what is known before -------------------------------------------------------------------------------------------


async def test_profiles_issuers_and_roots_are_told_to_everybody(authority: Authority) -> None:
    profiles = (await authority.ask("GET", "/v1/profiles")).json()["profiles"]
    assert [profile["name"] for profile in profiles] == ["client", "peer", "server"]
    issuers = (await authority.ask("GET", "/v1/issuers")).json()["issuers"]
    assert [(one["role"], one["status"]) for one in issuers] == [
        ("root", "added"),
        ("intermediate", "active"),
    ]
    roots = await authority.ask("GET", "/v1/roots")
    assert roots.headers["content-type"].startswith("application/pem-certificate-chain")
    assert x509.load_pem_x509_certificates(roots.content) == [
        x509.load_der_x509_certificate(authority.lab.root)
    ]


async def test_answers_are_json_that_reads_back(authority: Authority) -> None:
    answer = await authority.ask(
        "POST", PATH, token=authority.admin, json={"csr": base64(subscriber().csr(NAME))}
    )
    assert msgspec.json.decode(answer.content) == answer.json()
