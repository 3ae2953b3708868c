"""CRLs read the same to `cryptography`, whose signature check they pass."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from quicklime.pki.crl import Head, assemble_crl, entry_der, tbs_crl
from tests.support.lab import NOW, lab

SERIAL = "4f" + "00" * 18 + "07"
# CRLReason: RFC 5280, Section 5.3.1; 8 (removeFromCRL) belongs to delta lists alone
REASONS = {
    0: None,
    1: x509.ReasonFlags.key_compromise,
    2: x509.ReasonFlags.ca_compromise,
    3: x509.ReasonFlags.affiliation_changed,
    4: x509.ReasonFlags.superseded,
    5: x509.ReasonFlags.cessation_of_operation,
    6: x509.ReasonFlags.certificate_hold,
    9: x509.ReasonFlags.privilege_withdrawn,
    10: x509.ReasonFlags.aa_compromise,
}


def signed(*entries: bytes, number: int = 5, key_type: str = "ecdsa-p256") -> x509.CertificateRevocationList:
    here = lab(key_type)
    head = Head(number=number, this_update=NOW, next_update=NOW + 7 * 86_400)
    body = tbs_crl(here.facts, head, entries)
    found = x509.load_der_x509_crl(assemble_crl(body, here.signer.algorithm, here.signer.sign(body)))
    assert found.is_signature_valid(here.facts.public_key)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("key_type", ["ecdsa-p256", "ecdsa-p384", "rsa-3072", "ed25519"])
def test_the_list_itself(key_type: str) -> None:
    found = signed(entry_der(SERIAL, NOW, 1, None), number=1 << 70, key_type=key_type)
    here = lab(key_type)
    assert found.issuer.public_bytes() == here.facts.subject_der
    assert found.last_update_utc == datetime.fromtimestamp(NOW, UTC)
    assert found.next_update_utc == datetime.fromtimestamp(NOW + 7 * 86_400, UTC)
    assert found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 1 << 70
    identifier = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert identifier.key_identifier == here.facts.key_identifier
    assert len(found.extensions) == 2
    assert not any(one.critical for one in found.extensions)


def test_nothing_revoked_is_no_list_at_all() -> None:
    found = signed()
    assert len(found) == 0
    # RFC 5280, Section 5.1.2.6: with revokedCertificates absent, the time is followed by the extensions
    assert b"\x30\x00" not in found.tbs_certlist_bytes


@pytest.mark.parametrize(("reason", "flag"), REASONS.items())
def test_reasons(reason: int, flag: x509.ReasonFlags | None) -> None:
    (one,) = signed(entry_der(SERIAL, NOW, reason, None))
    if flag is None:
        assert not list(one.extensions)
    else:
        assert one.extensions.get_extension_for_class(x509.CRLReason).value.reason is flag


@given(
    st.lists(
        st.tuples(
            st.integers(0x40 << 152, (0x80 << 152) - 1),
            st.integers(0, 4_000_000_000),  # beyond 2049, where UTCTime ends
            st.sampled_from(list(REASONS)),
            st.none() | st.integers(0, 4_000_000_000),
        ),
        max_size=8,
        unique_by=lambda one: one[0],
    )
)
def test_entries_in_their_order(entries: list[tuple[int, int, int, int | None]]) -> None:
    found = signed(
        *(entry_der(f"{serial:040x}", at, reason, invalidity) for serial, at, reason, invalidity in entries)
    )
    read = []
    for one in found:
        extensions = one.extensions
        reason = invalidity = None
        for extension in extensions:
            if isinstance(extension.value, x509.CRLReason):
                reason = extension.value.reason
            elif isinstance(extension.value, x509.InvalidityDate):
                invalidity = int(extension.value.invalidity_date_utc.timestamp())
        read.append((one.serial_number, int(one.revocation_date_utc.timestamp()), reason, invalidity))
    assert read == [
        (serial, revoked_at, REASONS[reason], invalidity)
        for serial, revoked_at, reason, invalidity in entries
    ]


POINTS = ("http://a.example/crl/x/4/1.crl", "http://b.example/crl/x/4/1.crl")


def test_a_delta_list_of_a_shard() -> None:
    here = lab()
    head = Head(
        number=9,
        this_update=NOW,
        next_update=NOW + 60,
        base=7,
        distribution_points=POINTS,
        freshest="http://x",
    )
    body = tbs_crl(
        here.facts, head, (entry_der(SERIAL, NOW, 1, None), memoryview(entry_der(SERIAL, NOW, 4, None)))
    )
    found = x509.load_der_x509_crl(assemble_crl(body, here.signer.algorithm, here.signer.sign(body)))
    base = found.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert (base.critical, base.value.crl_number) == (True, 7)
    point = found.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert point.critical
    assert point.value == x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(url) for url in POINTS],
        relative_name=None,
        only_contains_user_certs=False,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    # DER: what has its default is not there, so the point's bytes are those that another encoder makes
    assert point.value.public_bytes() in body
    # RFC 5280, Section 5.2.6: a delta list says nothing of a fresher one
    assert len(found.extensions) == 4
    assert len(found) == 2


def test_a_complete_list_says_where_its_delta_is() -> None:
    here = lab()
    body = tbs_crl(
        here.facts, Head(number=9, this_update=NOW, next_update=NOW + 60, freshest="http://x/d.crl"), ()
    )
    found = x509.load_der_x509_crl(assemble_crl(body, here.signer.algorithm, here.signer.sign(body)))
    fresh = found.extensions.get_extension_for_class(x509.FreshestCRL)
    assert not fresh.critical
    (one,) = fresh.value
    assert (one.full_name, one.reasons, one.crl_issuer) == (
        [x509.UniformResourceIdentifier("http://x/d.crl")],
        None,
        None,
    )
