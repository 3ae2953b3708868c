"""Certificate revocation lists, version 2: the list to be signed, put together from entries that were encoded before.

Invariants: ``revokedCertificates`` is absent where nothing is revoked, never empty; a reason of 0 is left out; every list has
nextUpdate, an authority key identifier and a number. RFC 5280, Sections 5.1 to 5.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from quicklime.pki import der
from quicklime.pki.certificate import IssuerFacts, authority_key_identifier, extension

_REASON: Final = "2.5.29.21"
_INVALIDITY_DATE: Final = "2.5.29.24"
_VERSION_2: Final = der.integer(1)


def entry_der(serial: str, revoked_at: int, reason: int, invalidity_date: int | None) -> bytes:
    """One entry of ``revokedCertificates`` (RFC 5280, Section 5.1.2.6). ``serial`` is hex, times are UNIX seconds."""
    extensions = []
    # RFC 5280, Section 5.3.1: unspecified (0) should be absent
    if reason:
        extensions.append(extension(_REASON, der.enumerated(reason)))
    # RFC 5280, Section 5.3.2: always GeneralizedTime
    if invalidity_date is not None:
        extensions.append(extension(_INVALIDITY_DATE, der.generalized_time(invalidity_date)))
    return der.sequence(
        der.integer(int(serial, 16)),
        der.time(revoked_at),
        der.sequence(*extensions) if extensions else b"",
    )


def tbs_crl(
    facts: IssuerFacts, *, number: int, this_update: int, next_update: int, entries: Iterable[bytes]
) -> bytes:
    """TBSCertList (DER) of a full list, without issuing distribution point: it covers all that the issuer issued."""
    revoked = b"".join(entries)
    extensions = der.sequence(
        # RFC 5280, Sections 5.2.1 and 5.2.3
        extension("2.5.29.35", authority_key_identifier(facts.key_identifier)),
        extension("2.5.29.20", der.integer(number)),
    )
    return der.sequence(
        _VERSION_2,
        facts.algorithm,
        facts.subject_der,
        der.time(this_update),
        der.time(next_update),
        # RFC 5280, Section 5.1.2.6: absent where there are none
        der.tlv(0x30, revoked) if revoked else b"",
        der.explicit(0, extensions),
    )


def assemble_crl(tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """CertificateList (DER): RFC 5280, Section 5.1."""
    return der.sequence(tbs, algorithm, der.bit_string(signature))
