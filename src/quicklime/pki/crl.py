"""Certificate revocation lists, version 2: the list to be signed, put together from entries that were encoded before.

Invariants: ``revokedCertificates`` is absent where nothing is revoked, never empty; a reason of 0 is left out; every list has
nextUpdate, an authority key identifier and a number. RFC 5280, Sections 5.1 to 5.3.

Nothing here is ever removed by a delta list: Quicklime has no hold, and a delta list goes on naming what expired since its base
(RFC 5280, Section 5.2.4: removeFromCRL for expired certificates is optional).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from quicklime.pki import der
from quicklime.pki.certificate import IssuerFacts, authority_key_identifier, distribution_point, extension

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """All of a list but its entries and its signature.

    ``base`` is the number of the complete list that a delta list goes on from; ``distribution_points`` the URLs of an issuing
    distribution point (none: the list covers all that the issuer issued); ``freshest`` where the delta list is.
    """

    number: int
    this_update: int
    next_update: int
    base: int | None = None
    distribution_points: tuple[str, ...] = ()
    freshest: str | None = None


def tbs_crl(facts: IssuerFacts, head: Head, entries: Sequence[bytes | memoryview]) -> bytes:
    """TBSCertList (DER). ``entries`` are entries of ``revokedCertificates``, already joined or not."""
    octets = sum(map(len, entries))
    fields = b"".join(
        (
            _VERSION_2,
            facts.algorithm,
            facts.subject_der,
            der.time(head.this_update),
            der.time(head.next_update),
            # RFC 5280, Section 5.1.2.6: absent where there are none
            der.header(0x30, octets) if octets else b"",
        )
    )
    extensions = der.explicit(0, der.sequence(*_extensions(facts, head)))
    # a list may have tens of megabytes: put together once
    length = len(fields) + octets + len(extensions)
    return b"".join((der.header(0x30, length), fields, *entries, extensions))


def _extensions(facts: IssuerFacts, head: Head) -> Iterator[bytes]:
    # RFC 5280, Sections 5.2.1 and 5.2.3
    yield extension("2.5.29.35", authority_key_identifier(facts.key_identifier))
    yield extension("2.5.29.20", der.integer(head.number))
    if head.base is not None:
        # RFC 5280, Section 5.2.4: critical
        yield extension("2.5.29.27", der.integer(head.base), critical=True)
    if head.distribution_points:
        # RFC 5280, Section 5.2.5: critical; what is FALSE is a default, and left out
        point = distribution_point(*head.distribution_points)
        yield extension("2.5.29.28", der.sequence(point), critical=True)
    if head.freshest is not None and head.base is None:
        # RFC 5280, Section 5.2.6: not in a delta list, and of one point a name alone
        point = der.sequence(distribution_point(head.freshest))
        yield extension("2.5.29.46", der.sequence(point))


def around(tbs: bytes, algorithm: bytes, signature: bytes) -> tuple[bytes, bytes]:
    """What stands before and after ``tbs`` in a CertificateList (DER): RFC 5280, Section 5.1."""
    after = algorithm + der.bit_string(signature)
    return der.header(0x30, len(tbs) + len(after)), after


def assemble_crl(tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """CertificateList (DER): RFC 5280, Section 5.1."""
    before, after = around(tbs, algorithm, signature)
    return b"".join((before, tbs, after))
