"""Revoking over HTTP: three ways to prove the right, wrong proofs, reasons and dates; for ever, and only once."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from quicklime.events import CertificateRevoked
from quicklime.lifecycle.certificate import REVOCATION_REASONS
from quicklime.policy import CertificateRule
from quicklime.services.monitor.api import LEAF_MEDIA_TYPE
from tests.support.authority import Authority, Subscriber, base64, codes_of, fields_of, octets, running

DAY = 86_400


@pytest.fixture
def holder() -> Subscriber:
    return Subscriber.new()


async def revoke(
    authority: Authority, found: dict[str, Any], *, token: str | None = None, **body: Any
) -> httpx.Response:
    path = f"/v1/certificates/{found['serial']}/revocation"
    return await authority.ask("POST", path, token=token, json=body)


async def status(authority: Authority, found: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = (await authority.ask("GET", f"/v1/certificates/{found['serial']}/status")).json()
    return answer


async def test_the_secret_revokes(authority: Authority) -> None:
    found = await authority.issued()
    answer = await revoke(authority, found, secret=found["revocation_secret"])
    assert answer.status_code == 200
    told = answer.json()
    assert (told["serial"], told["reason"], told["repeated"]) == (found["serial"], "unspecified", False)
    assert await status(authority, found) == {
        "serial": found["serial"],
        "status": "revoked",
        "revoked_at": told["revoked_at"],
        "reason": "unspecified",
    }


async def test_the_key_of_the_certificate_revokes_for_the_reason_that_it_signed(
    authority: Authority, holder: Subscriber
) -> None:
    found = await authority.issued(by=holder)
    challenge = octets(found["renewal_challenge"])
    signature = holder.revocation_signature(challenge, found["serial"], 4)
    other = await revoke(authority, found, signature=signature, reason="keyCompromise")
    assert (other.status_code, codes_of(other)) == (403, ["revocation-proof-invalid"])
    answer = await revoke(authority, found, signature=signature, reason="superseded")
    assert (answer.status_code, answer.json()["reason"]) == (200, "superseded")


async def test_an_operator_revokes(authority: Authority) -> None:
    found = await authority.issued()
    operator = await authority.token("operator")
    answer = await revoke(authority, found, token=operator, reason=5)
    assert (answer.status_code, answer.json()["reason"]) == (200, "cessationOfOperation")
    event = authority.events()[-1]
    assert isinstance(event, CertificateRevoked)
    assert (event.requester.kind, event.requester.role) == ("token", "operator")


async def test_others_do_not(authority: Authority) -> None:
    requester = await authority.token()
    found = await authority.issued(token=requester)
    nobody = await revoke(authority, found)
    assert (nobody.status_code, codes_of(nobody)) == (401, ["unauthenticated"])
    for token in (requester, await authority.token("auditor")):
        answer = await revoke(authority, found, token=token)
        assert (answer.status_code, codes_of(answer)) == (403, ["forbidden"])
    assert (await status(authority, found))["status"] == "good"


async def test_a_wrong_proof_is_refused_the_same_for_every_serial(
    authority: Authority, holder: Subscriber
) -> None:
    found, other = await authority.issued(by=holder), await authority.issued(by=holder)
    challenge = octets(found["renewal_challenge"])
    proofs: list[dict[str, Any]] = [
        {"secret": other["revocation_secret"]},
        {"secret": ""},
        {"secret": found["renewal_challenge"]},
        {"secret": base64(bytes(32))},
        {"signature": holder.revocation_signature(octets(other["renewal_challenge"]), found["serial"], 0)},
        {"signature": holder.revocation_signature(challenge, other["serial"], 0)},
        {"signature": Subscriber.new().revocation_signature(challenge, found["serial"], 0)},
        {"signature": base64(holder.sign(b"revoke"))},
        {"signature": ""},
    ]
    for proof in proofs:
        for one in (found, {"serial": "4f" * 20}):
            answer = await revoke(authority, one, **proof)
            assert (answer.status_code, codes_of(answer)) == (403, ["revocation-proof-invalid"]), proof
    assert (await status(authority, found))["status"] == "good"


async def test_a_renewal_signature_revokes_nothing(authority: Authority, holder: Subscriber) -> None:
    found = await authority.issued(by=holder)
    request = holder.csr("dns:web.lab.internal")
    signature = holder.renewal_signature(octets(found["renewal_challenge"]), request)
    answer = await revoke(authority, found, signature=signature)
    assert codes_of(answer) == ["revocation-proof-invalid"]


async def test_revoking_again_changes_nothing(authority: Authority) -> None:
    found = await authority.issued()
    first = (await revoke(authority, found, secret=found["revocation_secret"], reason=4)).json()
    authority.clock.advance(DAY)
    head = authority.log.head()
    again = (await revoke(authority, found, secret=found["revocation_secret"], reason=1)).json()
    by_operator = (await revoke(authority, found, token=authority.admin, reason=5)).json()
    assert again == by_operator == first | {"repeated": True}
    assert authority.log.head() == head


async def test_of_many_revocations_at_once_one_counts(authority: Authority) -> None:
    found = await authority.issued()
    secret = found["revocation_secret"]
    reasons = (1, 3, 4, 5)
    answers = await asyncio.gather(*(revoke(authority, found, secret=secret, reason=one) for one in reasons))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["reason"] for answer in answers}) == 1
    assert [answer.json()["repeated"] for answer in answers].count(False) == 1


@pytest.mark.parametrize("given", [*REVOCATION_REASONS, *REVOCATION_REASONS.values()])
async def test_reasons_by_number_and_by_name(authority: Authority, given: int | str) -> None:
    found = await authority.issued()
    answer = await revoke(authority, found, secret=found["revocation_secret"], reason=given)
    assert answer.status_code == 200
    assert answer.json()["reason"] == (given if isinstance(given, str) else REVOCATION_REASONS[given])


# RFC 5280, Section 5.3.1: 2 and 10 are a CA's, 6 and 8 are of holds, 7 is not used
@pytest.mark.parametrize(
    "given", [2, 6, 7, 8, 10, -1, 11, 10**30, "certificateHold", "KeyCompromise", "", "1", "x" * 5000]
)
async def test_other_reasons_are_refused(authority: Authority, given: int | str) -> None:
    found = await authority.issued()
    for proof in ({"secret": found["revocation_secret"]}, {"token": authority.admin}):
        answer = await revoke(authority, found, reason=given, **proof)
        assert (answer.status_code, codes_of(answer)) == (400, ["revocation-reason-invalid"])
        assert len(answer.content) < 1000
    assert (await status(authority, found))["status"] == "good"


@pytest.mark.parametrize("given", [True, None, 1.0, [], {}])
async def test_a_reason_of_another_type_is_refused(authority: Authority, given: object) -> None:
    found = await authority.issued()
    answer = await revoke(authority, found, secret=found["revocation_secret"], reason=given)
    assert (answer.status_code, codes_of(answer)) == (400, ["request-malformed"])


async def test_the_date_when_it_became_invalid(authority: Authority) -> None:
    found = await authority.issued()
    authority.clock.advance(3 * DAY)
    since = authority.clock.now - DAY
    answer = await revoke(
        authority, found, secret=found["revocation_secret"], reason=1, invalidity_date=since
    )
    assert answer.status_code == 200
    known = authority.state.certificate(found["serial"])
    assert known is not None
    assert known.revocation is not None
    assert known.revocation.invalidity_date == since
    assert answer.json()["invalidity_date"] == "2026-09-24T14:13:20Z"


@pytest.mark.parametrize(
    "given", [0, -1, 10**18, 10**30, -(10**30), 1_790_086_400 + 1, "2199-01-01T00:00:00Z"]
)
async def test_a_date_outside_of_the_certificate_s_life_so_far_is_refused(
    authority: Authority, given: int | str
) -> None:
    found = await authority.issued()
    answer = await revoke(authority, found, secret=found["revocation_secret"], invalidity_date=given)
    assert (answer.status_code, codes_of(answer)) == (400, ["invalidity-date-invalid"])


async def test_every_fault_of_the_body_is_told_at_once(authority: Authority) -> None:
    found = await authority.issued()
    answer = await revoke(authority, found, reason=6, invalidity_date="yesterday", secret="?", signature="?")
    assert answer.status_code == 400
    assert fields_of(answer) == {"reason", "invalidity_date", "secret", "signature"}


async def test_one_proof_is_expected(authority: Authority) -> None:
    found = await authority.issued()
    answer = await revoke(authority, found, secret=found["revocation_secret"], signature="AAAA")
    assert (answer.status_code, codes_of(answer)) == (400, ["request-malformed"])


async def test_an_unknown_serial_is_told_to_an_operator(authority: Authority) -> None:
    answer = await revoke(authority, {"serial": "4f" * 20}, token=authority.admin)
    assert (answer.status_code, codes_of(answer)) == (404, ["certificate-unknown"])


async def test_serials_as_other_programs_write_them(authority: Authority) -> None:
    found = await authority.issued()
    octets_of_serial = bytes.fromhex(found["serial"])
    for text in (found["serial"].upper(), octets_of_serial.hex(":"), octets_of_serial.hex(":").upper()):
        assert (await status(authority, {"serial": text}))["serial"] == found["serial"]


async def test_an_expired_certificate_can_still_be_revoked(authority: Authority) -> None:
    found = await authority.issued()
    authority.clock.advance(31 * DAY)
    assert (await status(authority, found))["status"] == "expired"
    answer = await revoke(authority, found, secret=found["revocation_secret"])
    assert answer.status_code == 200
    assert (await status(authority, found))["status"] == "revoked"


async def test_the_last_second_is_good(authority: Authority) -> None:
    found = await authority.issued()
    known = authority.state.certificate(found["serial"])
    assert known is not None
    authority.clock.now = known.not_after
    assert (await status(authority, found))["status"] == "good"
    authority.clock.advance(1)
    assert (await status(authority, found))["status"] == "expired"


async def test_whoever_guesses_is_slowed_down() -> None:
    async with running(failures_per_minute=3) as authority:
        found = await authority.issued()
        for _ in range(3):
            answer = await revoke(authority, found, secret=base64(bytes(32)))
            assert codes_of(answer) == ["revocation-proof-invalid"]
        slow = await revoke(authority, found, secret=base64(bytes(32)))
        assert (slow.status_code, codes_of(slow)) == (429, ["rate-limited"])
        assert int(slow.headers["retry-after"]) > 0
        path = f"/v1/certificates/{found['serial']}/revocation"
        elsewhere = await authority.ask(
            "POST", path, json={"secret": found["revocation_secret"]}, address="192.0.2.8"
        )
        assert elsewhere.status_code == 200


async def test_the_holder_of_a_client_certificate_with_the_role_revokes() -> None:
    rule = CertificateRule(bearer="ops.lab.internal", names=(), profiles=(), role="operator")
    async with running(rules=[rule]) as authority:
        operator = await authority.issued("dns:ops.lab.internal", profile="client")
        other = await authority.issued("dns:web.lab.internal", profile="client")
        victim = await authority.issued()
        path = f"/v1/certificates/{victim['serial']}/revocation"
        shown = {}
        for one in (operator, other):
            answer = await authority.ask(
                "GET",
                f"/v1/certificates/{one['serial']}",
                token=authority.admin,
                headers={"accept": LEAF_MEDIA_TYPE},
            )
            shown[one["serial"]] = answer.content
        refused = await authority.ask("POST", path, json={}, peer=shown[other["serial"]])
        assert (refused.status_code, codes_of(refused)) == (403, ["forbidden"])
        granted = await authority.ask("POST", path, json={}, peer=shown[operator["serial"]])
        assert granted.status_code == 200
