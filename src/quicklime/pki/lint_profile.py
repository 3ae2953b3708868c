"""Lint of the extensions that all certificates of a profile share, and what a finding is.

Invariant: the same octets get the same verdict, which is therefore remembered. RFC 5280, Section 4.2; RFC 6960,
Section 4.2.2.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography import x509

from quicklime.pki import algorithms, der
from quicklime.pki.certificate import (
    CA_ISSUERS_ACCESS,
    EMPTY_NAME,
    KEY_USAGES_OF,
    OCSP_ACCESS,
    VERSION_3,
    assemble_certificate,
    extension,
)
from quicklime.pki.profile import OCSP_SIGNING

KEY_USAGE: Final = "2.5.29.15"
EXTENDED_KEY_USAGE: Final = "2.5.29.37"
BASIC_CONSTRAINTS: Final = "2.5.29.19"
AUTHORITY_KEY_IDENTIFIER: Final = "2.5.29.35"
AUTHORITY_INFORMATION: Final = "1.3.6.1.5.5.7.1.1"
CRL_POINTS: Final = "2.5.29.31"
OCSP_NO_CHECK: Final = "1.3.6.1.5.5.7.48.1.5"
ANY_EXTENDED_KEY_USAGE: Final = "2.5.29.37.0"

# Which extensions a subscriber's certificate may bear besides its names and its key's identifier, and whether critical.
_CRITICAL: Final = {
    KEY_USAGE: True,
    BASIC_CONSTRAINTS: True,
    EXTENDED_KEY_USAGE: False,
    AUTHORITY_KEY_IDENTIFIER: False,
    AUTHORITY_INFORMATION: False,
    CRL_POINTS: False,
    OCSP_NO_CHECK: False,
}
_EXTENDED_OCSP: Final = extension(EXTENDED_KEY_USAGE, der.sequence(der.object_identifier(OCSP_SIGNING)))
_SOME_TIMES: Final = der.sequence(der.time(0), der.time(0))


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that does not hold: a stable name, what was found, and who says so."""

    rule: str
    detail: str
    citation: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail} ({self.citation})"


def certificate_around(*, validity: bytes = _SOME_TIMES, extensions: bytes = b"") -> x509.Certificate:
    """A certificate of nobody around parts that `cryptography` reads only in a certificate."""
    tbs = der.sequence(
        VERSION_3,
        der.integer(1),
        algorithms.ED25519,
        EMPTY_NAME,
        validity,
        EMPTY_NAME,
        der.sequence(algorithms.ED25519, der.bit_string(bytes(32))),
        der.explicit(3, der.sequence(extensions)) if extensions else b"",
    )
    return x509.load_der_x509_certificate(assemble_certificate(tbs, algorithms.ED25519, b"\x00"))


def is_responder(fixed: bytes) -> bool:
    return _EXTENDED_OCSP in fixed


# The same octets get the same verdict: for one issuer and profile they differ by the family of the key alone.
@lru_cache(maxsize=256)
def shared_findings(fixed: bytes, issuer: str, family: str) -> tuple[Finding, ...]:
    """The findings over ``fixed`` (Extensions, DER, joined) for a key of ``family``, under the issuer with that id."""
    found = {one.oid.dotted_string: one for one in certificate_around(extensions=fixed).extensions}
    return tuple(
        finding
        for findings in (
            _criticality(found),
            _authority(found),
            _usage(found, family),
            _extended_usage(found),
            _authority_key(found, issuer),
            _pointers(found),
        )
        for finding in findings
    )


Extensions = Mapping[str, x509.Extension[x509.ExtensionType]]


def _value(found: Extensions, oid: str) -> x509.ExtensionType | None:
    one = found.get(oid)
    return None if one is None else one.value


def _criticality(found: Extensions) -> Iterator[Finding]:
    for oid, one in found.items():
        critical = _CRITICAL.get(oid)
        if critical is None:
            yield Finding("extension", f"{oid} is none that is issued", "RFC 5280, Section 4.2")
        elif one.critical is not critical:
            detail = f"{oid} critical is {one.critical}, expected {critical}"
            yield Finding("extension-critical", detail, "RFC 5280, Section 4.2")


def _authority(found: Extensions) -> Iterator[Finding]:
    """Nothing that is signed this way makes an authority."""
    value = _value(found, BASIC_CONSTRAINTS)
    if not isinstance(value, x509.BasicConstraints) or value.ca or value.path_length is not None:
        yield Finding("basic-constraints", f"{value!r}, expected cA FALSE", "RFC 5280, Section 4.2.1.9")


_USAGE_BITS: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


def _usage(found: Extensions, family: str) -> Iterator[Finding]:
    value = _value(found, KEY_USAGE)
    if not isinstance(value, x509.KeyUsage):
        yield Finding("key-usage", "keyUsage is missing", "RFC 5280, Section 4.2.1.3")
        return
    bits = frozenset(number for number, name in enumerate(_USAGE_BITS) if getattr(value, name))
    # RFC 5280, Section 4.2.1.3: at least one bit; keyCertSign only in a CA's certificate; RFC 8813, Section 3, RFC 8410,
    # Section 5, and RFC 9881, Section 5: what a key can't do is not said of it
    wrong = sorted(bits - KEY_USAGES_OF.get(family, frozenset()))
    only = value.key_agreement and (value.encipher_only or value.decipher_only)
    if wrong or only or not bits:
        detail = f"{[_USAGE_BITS[number] for number in wrong]!r} for a key of family {family!r}, of {len(bits)} usages"
        yield Finding("key-usage", detail, "RFC 5280, Section 4.2.1.3")


def _extended_usage(found: Extensions) -> Iterator[Finding]:
    value = _value(found, EXTENDED_KEY_USAGE)
    if not isinstance(value, x509.ExtendedKeyUsage):
        yield Finding("extended-key-usage", "it is missing", "RFC 5280, Section 4.2.1.12")
        return
    oids = [oid.dotted_string for oid in value]
    if not oids or len(set(oids)) != len(oids) or ANY_EXTENDED_KEY_USAGE in oids:
        detail = f"{oids!r}, expected some, each once, without any"
        yield Finding("extended-key-usage", detail, "RFC 5280, Section 4.2.1.12")
    responder = OCSP_SIGNING in oids
    # RFC 6960, Section 4.2.2.2.1
    if responder is not (OCSP_NO_CHECK in found):
        detail = "id-pkix-ocsp-nocheck belongs to responders, and to them alone"
        yield Finding("ocsp-nocheck", detail, "RFC 6960, Section 4.2.2.2.1")
    if responder and oids != [OCSP_SIGNING]:
        yield Finding("extended-key-usage", "a responder has no other usage", "RFC 6960, Section 4.2.2.2")


def _authority_key(found: Extensions, issuer: str) -> Iterator[Finding]:
    value = _value(found, AUTHORITY_KEY_IDENTIFIER)
    # RFC 5280, Section 4.2.1.1: the same as in the issuer's certificate
    if (
        not isinstance(value, x509.AuthorityKeyIdentifier)
        or value.key_identifier != bytes.fromhex(issuer)
        or value.authority_cert_issuer is not None
        or value.authority_cert_serial_number is not None
    ):
        yield Finding("authority-key-identifier", f"expected {issuer}", "RFC 5280, Section 4.2.1.1")


def _pointers(found: Extensions) -> Iterator[Finding]:
    """Whoever gets the certificate finds its issuer's certificate and its status."""
    responder = OCSP_NO_CHECK in found
    access = _value(found, AUTHORITY_INFORMATION)
    methods = []
    if isinstance(access, x509.AuthorityInformationAccess):
        for one in access:
            methods.append(one.access_method.dotted_string)
            yield from _url(one.access_location, "RFC 5280, Section 4.2.2.1")
    expected = [CA_ISSUERS_ACCESS] if responder else [OCSP_ACCESS, CA_ISSUERS_ACCESS]
    if methods != expected:
        detail = f"authorityInfoAccess has {methods!r}, expected {expected!r}"
        yield Finding("authority-information", detail, "RFC 5280, Section 4.2.2.1")
    points = _value(found, CRL_POINTS)
    if responder and points is None:
        return
    locations: Sequence[x509.GeneralName] = ()
    if isinstance(points, x509.CRLDistributionPoints) and len(points) == 1:
        (point,) = points
        if not (point.reasons or point.crl_issuer or point.relative_name):
            locations = point.full_name or ()
    if not locations:
        detail = "expected one distribution point with a full name alone"
        yield Finding("crl-points", detail, "RFC 5280, Section 4.2.1.13")
    for location in locations:
        yield from _url(location, "RFC 5280, Section 4.2.1.13")


def _url(location: x509.GeneralName, citation: str) -> Iterator[Finding]:
    # plain HTTP: fetching a status over TLS would need a status first (RFC 5280, Section 8)
    if not isinstance(location, x509.UniformResourceIdentifier) or not location.value.startswith("http://"):
        yield Finding("url", f"{str(location.value)[:80]!r}, expected an http URL", citation)
