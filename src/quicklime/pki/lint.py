"""The last look at a certificate before it is signed: rules over its bytes, whoever put them together.

Invariant: what is linted is what will be signed, to the octet; it is read by another parser (``cryptography``) than the
code that wrote it. A rule that does not hold is a finding, and nothing with a finding is signed.
RFC 5280, Sections 4.1 and 4.2; RFC 6960, Section 4.2.2.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from quicklime.errors import Fault, Reasons, Refused
from quicklime.pki import der
from quicklime.pki.certificate import (
    CA_ISSUERS_ACCESS,
    COMMON_NAME_CHARACTERS_MAX,
    EMPTY_NAME,
    KEY_USAGES_OF,
    OCSP_ACCESS,
    RESPONDER_NAME,
    VERSION_3,
    IssuerFacts,
    assemble_certificate,
    common_name,
    key_family,
    key_identifier,
)
from quicklime.pki.names import check_dns, check_inside
from quicklime.pki.profile import OCSP_SIGNING

KEY_USAGE: Final = "2.5.29.15"
EXTENDED_KEY_USAGE: Final = "2.5.29.37"
BASIC_CONSTRAINTS: Final = "2.5.29.19"
SUBJECT_ALTERNATIVE_NAME: Final = "2.5.29.17"
AUTHORITY_KEY_IDENTIFIER: Final = "2.5.29.35"
SUBJECT_KEY_IDENTIFIER: Final = "2.5.29.14"
AUTHORITY_INFORMATION: Final = "1.3.6.1.5.5.7.1.1"
CRL_POINTS: Final = "2.5.29.31"
OCSP_NO_CHECK: Final = "1.3.6.1.5.5.7.48.1.5"
ANY_EXTENDED_KEY_USAGE: Final = "2.5.29.37.0"

# Which extensions a subscriber's certificate may bear, and whether they are critical; SAN goes by the subject.
_CRITICAL: Final = {
    KEY_USAGE: True,
    BASIC_CONSTRAINTS: True,
    EXTENDED_KEY_USAGE: False,
    AUTHORITY_KEY_IDENTIFIER: False,
    SUBJECT_KEY_IDENTIFIER: False,
    AUTHORITY_INFORMATION: False,
    CRL_POINTS: False,
    OCSP_NO_CHECK: False,
}
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that does not hold: a stable name, what was found, and who says so."""

    rule: str
    detail: str
    citation: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail} ({self.citation})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A TBSCertificate as both parsers see it."""

    facts: IssuerFacts
    certificate: x509.Certificate
    extensions: dict[str, x509.Extension[x509.ExtensionType]]
    serial: bytes
    algorithm: bytes
    issuer: bytes
    validity: bytes
    subject: bytes
    spki: bytes
    responder: bool


def lint(tbs: bytes, facts: IssuerFacts) -> tuple[Finding, ...]:
    """What speaks against signing ``tbs`` (TBSCertificate, DER) in the name of the issuer ``facts``; empty where nothing does.

    For subscribers' and responders' certificates; an authority's is always refused.
    """
    try:
        read = _read(tbs, facts)
    except (ValueError, TypeError, x509.DuplicateExtension, x509.InvalidVersion, Fault) as error:
        return (Finding("encoding", f"it can't be parsed: {error}", "RFC 5280, Section 4.1"),)
    return tuple(finding for rule in _RULES for finding in rule(read))


def _read(tbs: bytes, facts: IssuerFacts) -> _Read:
    # a signature is needed for a parser of certificates, and none is made yet: one octet stands in its place
    certificate = x509.load_der_x509_certificate(assemble_certificate(tbs, facts.algorithm, b"\x00"))
    parts = der.children(tbs)
    if len(parts) != 8 or parts[0] != VERSION_3:
        # RFC 5280, Sections 4.1.2.1 and 4.1.2.8: version 3 with extensions, and no unique identifiers
        raise Fault(f"{len(parts)} fields, the first {parts[0].hex()[:20]}, expected the 8 of version 3")
    extensions = {extension.oid.dotted_string: extension for extension in certificate.extensions}
    usage = extensions.get(EXTENDED_KEY_USAGE)
    return _Read(
        facts=facts,
        certificate=certificate,
        extensions=extensions,
        serial=der.contents(parts[1]),
        algorithm=parts[2],
        issuer=parts[3],
        validity=parts[4],
        subject=parts[5],
        spki=parts[6],
        responder=usage is not None
        and isinstance(usage.value, x509.ExtendedKeyUsage)
        and any(oid.dotted_string == OCSP_SIGNING for oid in usage.value),
    )


# --- the fields -----------------------------------------------------------------------------------------------------


def _serial(read: _Read) -> Iterator[Finding]:
    # RFC 5280, Section 4.1.2.2: positive, at most 20 octets; ours are 20 octets that begin with the bits 01
    if len(read.serial) != 20 or not 0x40 <= read.serial[0] <= 0x7F:
        yield Finding(
            "serial",
            f"serial {read.serial.hex()[:48]}, expected 20 octets from 0x40",
            "RFC 5280, Section 4.1.2.2",
        )


def _names_of_the_issuer(read: _Read) -> Iterator[Finding]:
    if read.algorithm != read.facts.algorithm:
        detail = f"algorithm {read.algorithm.hex()[:48]}, the issuer signs with {read.facts.algorithm.hex()}"
        yield Finding("signature-algorithm", detail, "RFC 5280, Section 4.1.1.2")
    if read.issuer != read.facts.subject_der:
        yield Finding(
            "issuer-name", "it is not the issuer's subject, octet for octet", "RFC 5280, Section 4.1.2.4"
        )


def _validity(read: _Read) -> Iterator[Finding]:
    start = int(read.certificate.not_valid_before_utc.timestamp())
    end = int(read.certificate.not_valid_after_utc.timestamp())
    if start > end:
        yield Finding("validity-order", f"it ends at {end}, before {start}", "RFC 5280, Section 4.1.2.5")
    # Not a rule of the standard: the shell model, which every verifier accepts.
    if start < read.facts.not_before or end > read.facts.not_after:
        detail = f"{start} to {end}, the issuer's is {read.facts.not_before} to {read.facts.not_after}"
        yield Finding("validity-outside-issuer", detail, "RFC 5280, Section 6.1.3")
    # RFC 5280, Section 4.1.2.5: one encoding for each time, without fraction, in Zulu
    if read.validity != der.sequence(der.time(start), der.time(end)):
        yield Finding("time-encoding", f"validity {read.validity.hex()}", "RFC 5280, Section 4.1.2.5")


def _key(read: _Read) -> Iterator[Finding]:
    if key_family(read.spki) not in KEY_USAGES_OF:
        yield Finding("key", "its algorithm is none that is issued for", "RFC 5280, Section 4.1.2.7")
    if read.spki == read.facts.spki:
        yield Finding("key", "it is the issuer's own", "RFC 5280, Section 4.2.1.3")


# --- the names ------------------------------------------------------------------------------------------------------


def _names(read: _Read) -> Iterator[Finding]:
    extension = read.extensions.get(SUBJECT_ALTERNATIVE_NAME)
    if extension is None:
        # RFC 6960, Section 4.2.2.2: a responder is known by its key and its usage, not by a name
        if not (read.responder and read.subject == common_name(RESPONDER_NAME)):
            yield Finding("names-missing", "it has no subjectAltName", "RFC 5280, Section 4.2.1.6")
        return
    # RFC 5280, Section 4.2.1.6
    if extension.critical is not (read.subject == EMPTY_NAME):
        yield Finding(
            "names-critical",
            f"subjectAltName critical is {extension.critical}, expected so where the subject is empty",
            "RFC 5280, Section 4.2.1.6",
        )
    assert isinstance(extension.value, x509.SubjectAlternativeName)
    names = []
    for general in extension.value:
        match general:
            case x509.DNSName(value=text):
                names.append(f"dns:{text}")
                yield from _dns(text)
            case x509.IPAddress(value=address):
                names.append(f"ip:{address}")
            case _:
                yield Finding("name-type", f"a {type(general).__name__}", "RFC 5280, Section 4.2.1.6")
    if not names:
        yield Finding("names-missing", "subjectAltName is empty", "RFC 5280, Section 4.2.1.6")
    if len(set(names)) != len(names):
        yield Finding("names-twice", "a name stands twice", "RFC 5280, Section 4.2.1.6")
    outside = Reasons()
    check_inside(names, read.facts.constraints, outside)
    for reason in outside:
        yield Finding("name-outside-issuer", reason.detail, "RFC 5280, Section 4.2.1.10")
    yield from _subject(read, names)


def _dns(text: str) -> Iterator[Finding]:
    try:
        spelled = check_dns(text)
    except Refused as refused:
        yield Finding("name-syntax", refused.reasons[0].detail, "RFC 5280, Section 4.2.1.6")
        return
    if spelled != text:
        yield Finding("name-syntax", f"{text!r} is not in lower case", "RFC 5280, Section 4.2.1.6")


def _subject(read: _Read, names: list[str]) -> Iterator[Finding]:
    """No name in the subject that is not among the subjectAltNames: nobody checked any other."""
    subject = read.subject
    if subject == EMPTY_NAME:
        return
    for name in names:
        text = name[4:] if name.startswith("dns:") else name[3:]
        if len(text) <= COMMON_NAME_CHARACTERS_MAX and common_name(text) == subject:
            return
    detail = f"subject {read.certificate.subject.rfc4514_string()[:80]!r} is no CN that is among the names"
    yield Finding("subject", detail, "RFC 5280, Section 4.1.2.6")


# --- the extensions -------------------------------------------------------------------------------------------------


def _extensions(read: _Read) -> Iterator[Finding]:
    for oid, extension in read.extensions.items():
        if oid == SUBJECT_ALTERNATIVE_NAME:
            continue
        critical = _CRITICAL.get(oid)
        if critical is None:
            yield Finding("extension", f"{oid} is none that is issued", "RFC 5280, Section 4.2")
        elif extension.critical is not critical:
            detail = f"{oid} critical is {extension.critical}, expected {critical}"
            yield Finding("extension-critical", detail, "RFC 5280, Section 4.2")


def _authority(read: _Read) -> Iterator[Finding]:
    """Nothing that is signed this way makes an authority."""
    basic = read.extensions.get(BASIC_CONSTRAINTS)
    value = None if basic is None else basic.value
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


def _usage(read: _Read) -> Iterator[Finding]:
    extension = read.extensions.get(KEY_USAGE)
    if extension is None or not isinstance(extension.value, x509.KeyUsage):
        yield Finding("key-usage", "keyUsage is missing", "RFC 5280, Section 4.2.1.3")
        return
    value = extension.value
    bits = frozenset(number for number, name in enumerate(_USAGE_BITS) if getattr(value, name))
    family = key_family(read.spki)
    # RFC 5280, Section 4.2.1.3: at least one bit; keyCertSign only in a CA's certificate; RFC 8813, Section 3, RFC 8410,
    # Section 5, and RFC 9881, Section 5: what a key can't do is not said of it
    wrong = sorted(bits - KEY_USAGES_OF.get(family, frozenset()))
    if wrong or not bits:
        found = [_USAGE_BITS[number] for number in wrong] or "no usage at all"
        yield Finding("key-usage", f"{found!r} for a key of family {family!r}", "RFC 5280, Section 4.2.1.3")
    extended = read.extensions.get(EXTENDED_KEY_USAGE)
    if extended is None or not isinstance(extended.value, x509.ExtendedKeyUsage):
        yield Finding("extended-key-usage", "it is missing", "RFC 5280, Section 4.2.1.12")
        return
    oids = [oid.dotted_string for oid in extended.value]
    if not oids or len(set(oids)) != len(oids) or ANY_EXTENDED_KEY_USAGE in oids:
        detail = f"{oids!r}, expected some, each once, without any"
        yield Finding("extended-key-usage", detail, "RFC 5280, Section 4.2.1.12")
    # RFC 6960, Section 4.2.2.2.1
    if read.responder is not (OCSP_NO_CHECK in read.extensions):
        yield Finding(
            "ocsp-nocheck", "id-pkix-ocsp-nocheck belongs to responders alone", "RFC 6960, Section 4.2.2.2.1"
        )
    if read.responder and oids != [OCSP_SIGNING]:
        yield Finding("extended-key-usage", "a responder has no other usage", "RFC 6960, Section 4.2.2.2")


def _identifiers(read: _Read) -> Iterator[Finding]:
    extension = read.extensions.get(AUTHORITY_KEY_IDENTIFIER)
    value = None if extension is None else extension.value
    # RFC 5280, Section 4.2.1.1: the same as in the issuer's certificate
    if (
        not isinstance(value, x509.AuthorityKeyIdentifier)
        or value.key_identifier != read.facts.key_identifier
        or value.authority_cert_issuer is not None
        or value.authority_cert_serial_number is not None
    ):
        yield Finding(
            "authority-key-identifier", f"expected {read.facts.issuer}", "RFC 5280, Section 4.2.1.1"
        )
    extension = read.extensions.get(SUBJECT_KEY_IDENTIFIER)
    own = None if extension is None else extension.value
    if not isinstance(own, x509.SubjectKeyIdentifier) or own.digest != key_identifier(read.spki):
        yield Finding("subject-key-identifier", "it is not that of the key", "RFC 5280, Section 4.2.1.2")


def _pointers(read: _Read) -> Iterator[Finding]:
    """Whoever gets the certificate finds its issuer's certificate and its status."""
    extension = read.extensions.get(AUTHORITY_INFORMATION)
    methods = []
    if extension is not None and isinstance(extension.value, x509.AuthorityInformationAccess):
        for one in extension.value:
            methods.append(one.access_method.dotted_string)
            yield from _url(one.access_location, "RFC 5280, Section 4.2.2.1")
    expected = [CA_ISSUERS_ACCESS] if read.responder else [OCSP_ACCESS, CA_ISSUERS_ACCESS]
    if methods != expected:
        detail = f"authorityInfoAccess has {methods!r}, expected {expected!r}"
        yield Finding("authority-information", detail, "RFC 5280, Section 4.2.2.1")
    extension = read.extensions.get(CRL_POINTS)
    if read.responder and extension is None:
        return
    points = None if extension is None else extension.value
    if not isinstance(points, x509.CRLDistributionPoints) or len(points) != 1:
        yield Finding("crl-points", "expected one distribution point", "RFC 5280, Section 4.2.1.13")
        return
    point = points[0]
    if point.reasons or point.crl_issuer or point.relative_name or not point.full_name:
        yield Finding("crl-points", "expected a full name alone", "RFC 5280, Section 4.2.1.13")
        return
    for location in point.full_name:
        yield from _url(location, "RFC 5280, Section 4.2.1.13")


def _url(location: x509.GeneralName, citation: str) -> Iterator[Finding]:
    # plain HTTP: fetching a status over TLS would need a status first (RFC 5280, Section 8)
    if not isinstance(location, x509.UniformResourceIdentifier) or not location.value.startswith("http://"):
        yield Finding("url", f"{str(location.value)[:80]!r}, expected an http URL", citation)


_RULES: Final = (
    _serial,
    _names_of_the_issuer,
    _validity,
    _key,
    _names,
    _extensions,
    _authority,
    _usage,
    _identifiers,
    _pointers,
)
