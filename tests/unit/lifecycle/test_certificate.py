"""The life of a certificate: given facts, when one more comes, then it stands or not, for every reader alike."""

from __future__ import annotations

from hashlib import sha256

import pytest

from quicklime.errors import Code, Refused
from quicklime.events import CertificateAbandoned, CertificateRevoked, Event, RevocationSecretAdded
from quicklime.lifecycle.certificate import (
    REVOCATION_REASONS,
    REVOCATION_SECRETS_MAX,
    check_renewable,
    decide_revoke,
    knows_secret,
    renewal_message,
)
from tests.support.lives import FOUNDING, ISSUER, LOCAL, WHEN, Lives, issued, planned, serial


def abandoned(number: int) -> CertificateAbandoned:
    return CertificateAbandoned(serial=serial(number), cause="signing failed", abandoned_at=WHEN)


def revoked(number: int, reason: int = 0) -> CertificateRevoked:
    return CertificateRevoked(serial=serial(number), reason=reason, revoked_at=WHEN, requester=LOCAL)


def test_a_plan_stands_and_is_issued() -> None:
    lives = Lives(*FOUNDING, planned(1), issued(1))
    found = lives.certificates[serial(1)]
    assert (found.status, found.plan_offset, found.issued_offset) == ("issued", 3, 4)


def test_a_plan_before_the_founding_does_not_stand() -> None:
    refusal = Lives().tell(planned(1))
    assert refusal is not None
    assert refusal.code == Code.ISSUER_UNKNOWN


def test_a_serial_is_planned_once() -> None:
    lives = Lives(*FOUNDING, planned(1), issued(1))
    before = lives.snapshot()
    assert lives.tell(planned(1, names=("dns:other.internal",))) is not None
    assert lives.snapshot() == before


def test_nothing_is_issued_that_was_not_planned_to_the_byte() -> None:
    lives = Lives(*FOUNDING, planned(1))
    refusal = lives.tell(issued(1, signed=2))
    assert refusal is not None
    assert refusal.code == Code.CERTIFICATE_NOT_ISSUED
    assert lives.certificates[serial(1)].status == "planned"
    assert lives.tell(issued(2)) is not None


def test_of_two_renewals_the_first_in_the_log_stands() -> None:
    lives = Lives(*FOUNDING, planned(1), issued(1), planned(2, predecessor=1))
    second = lives.tell(planned(3, predecessor=1))
    assert second is not None
    assert second.code == Code.RENEWAL_IN_PROGRESS
    assert lives.tell(issued(2)) is None
    assert lives.tell(issued(3)) is not None
    third = lives.tell(planned(4, predecessor=1))
    assert third is not None
    assert third.code == Code.ALREADY_RENEWED
    assert lives.certificates[serial(1)].successor == serial(2)
    assert lives.certificates[serial(3)].status == "refused"


def test_an_abandoned_renewal_frees_its_place() -> None:
    lives = Lives(*FOUNDING, planned(1), issued(1), planned(2, predecessor=1), abandoned(2))
    assert lives.certificates[serial(1)].successor is None
    assert lives.tell(issued(2)) is not None, "what was abandoned is not issued any more"
    assert lives.tell(planned(3, predecessor=1)) is None


def test_names_do_not_widen_and_may_narrow() -> None:
    both = ("dns:a.internal", "dns:b.internal")
    lives = Lives(*FOUNDING, planned(1, names=both), issued(1))
    wider = lives.tell(planned(2, predecessor=1, names=(*both, "dns:c.internal")))
    assert wider is not None
    assert wider.code == Code.NAMES_WIDENED
    assert lives.tell(planned(3, predecessor=1, names=both[:1])) is None


def test_a_revoked_certificate_is_not_renewed_even_by_a_plan_that_was_on_its_way() -> None:
    lives = Lives(*FOUNDING, planned(1), issued(1), revoked(1))
    refusal = lives.tell(planned(2, predecessor=1))
    assert refusal is not None
    assert refusal.code == Code.CERTIFICATE_REVOKED


@pytest.mark.parametrize("later", [planned(1), issued(1), abandoned(1), revoked(1, reason=1)])
def test_revocation_absorbs(later: Event) -> None:
    lives = Lives(*FOUNDING, planned(1), issued(1), revoked(1, reason=4))
    lives.tell(later)
    found = lives.certificates[serial(1)]
    assert found.status == "revoked"
    assert found.revocation is not None
    assert found.revocation.reason == 4


def test_a_plan_that_is_revoked_is_never_issued() -> None:
    lives = Lives(*FOUNDING, planned(1), revoked(1))
    assert lives.tell(issued(1)) is not None
    assert lives.certificates[serial(1)].status == "revoked"


def test_a_key_revoked_as_compromised_gets_no_certificate() -> None:
    lives = Lives(*FOUNDING, planned(1, key=b"stolen"), issued(1), revoked(1, reason=1))
    refusal = lives.tell(planned(2, key=b"stolen"))
    assert refusal is not None
    assert refusal.code == Code.KEY_COMPROMISED
    assert lives.tell(planned(3, key=b"another")) is None


def test_an_idempotency_key_belongs_to_the_first_plan_until_that_is_abandoned() -> None:
    lives = Lives(*FOUNDING, planned(1, idempotency=b"k" * 32))
    refusal = lives.tell(planned(2, idempotency=b"k" * 32))
    assert refusal is not None
    assert refusal.code == Code.IDEMPOTENCY_CONFLICT
    assert lives.tell(abandoned(1)) is None
    assert lives.tell(planned(3, idempotency=b"k" * 32)) is None
    assert lives.claims == {b"k" * 32: serial(3)}


def test_a_secret_is_known_by_its_hash_and_there_is_room_for_a_few() -> None:
    lives = Lives(*FOUNDING, planned(1), issued(1))
    for number in range(REVOCATION_SECRETS_MAX - 1):
        digest = sha256(b"more%d" % number).digest()
        fact = RevocationSecretAdded(serial=serial(1), revocation_secret_sha256=digest, added_at=WHEN)
        assert lives.tell(fact) is None
    found = lives.certificates[serial(1)]
    assert knows_secret(found, b"secret\x01")
    assert knows_secret(found, b"more0")
    assert not knows_secret(found, b"more")
    one_more = RevocationSecretAdded(serial=serial(1), revocation_secret_sha256=bytes(32), added_at=WHEN)
    assert lives.tell(one_more) is not None


def test_all_that_speaks_against_a_renewal_is_said_at_once() -> None:
    lives = Lives(*FOUNDING, planned(1), issued(1), revoked(1))
    with pytest.raises(Refused) as refused:
        check_renewable(lives, lives.certificates[serial(1)], ("dns:c.internal",), WHEN + 5000)
    codes = {reason.code for reason in refused.value.reasons}
    assert codes == {Code.CERTIFICATE_REVOKED, Code.NAMES_WIDENED, Code.CERTIFICATE_EXPIRED}


def test_the_renewal_message_is_what_the_documents_say() -> None:
    challenge, csr = bytes(range(32)), b"csr"
    expected = sha256(b"quicklime-renewal-v1" + challenge + sha256(csr).digest()).digest()
    assert renewal_message(challenge, csr) == expected
    assert renewal_message(challenge, csr + b"x") != expected


def decide(lives: Lives, number: int, **more: int | None) -> CertificateRevoked | None:
    return decide_revoke(
        lives.certificates.get(serial(number)),
        serial=serial(number),
        reason=int(more.get("reason") or 0),
        invalidity_date=more.get("invalidity_date"),
        requester=LOCAL,
        now=WHEN + 10,
    )


def test_revoking_twice_changes_nothing() -> None:
    lives = Lives(*FOUNDING, planned(1), issued(1))
    first = decide(lives, 1, reason=4)
    assert first is not None
    assert lives.tell(first) is None
    assert decide(lives, 1, reason=1) is None


@pytest.mark.parametrize("reason", sorted(set(range(-1, 12)) - set(REVOCATION_REASONS)))
def test_only_reasons_for_subscribers_are_taken(reason: int) -> None:
    lives = Lives(*FOUNDING, planned(1), issued(1))
    with pytest.raises(Refused) as refused:
        decide(lives, 1, reason=reason)
    assert refused.value.code == Code.REVOCATION_REASON_INVALID


@pytest.mark.parametrize("date", [WHEN - 1, WHEN + 11])
def test_an_invalidity_date_lies_in_the_certificates_past(date: int) -> None:
    lives = Lives(*FOUNDING, planned(1), issued(1))
    with pytest.raises(Refused) as refused:
        decide(lives, 1, invalidity_date=date)
    assert refused.value.code == Code.INVALIDITY_DATE_INVALID


@pytest.mark.parametrize("lives", [Lives(*FOUNDING), Lives(*FOUNDING, planned(1))])
def test_what_was_not_issued_is_unknown_to_revocation(lives: Lives) -> None:
    with pytest.raises(Refused) as refused:
        decide(lives, 1)
    assert refused.value.code == Code.CERTIFICATE_UNKNOWN


def test_an_issuer_that_is_not_active_issues_nothing() -> None:
    lives = Lives(*FOUNDING[:2])
    refusal = lives.tell(planned(1))
    assert refusal is not None
    assert refusal.code == Code.ISSUER_UNAVAILABLE
    assert ISSUER in refusal.detail
