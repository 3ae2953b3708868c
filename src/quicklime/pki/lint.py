"""The last look at a certificate before it is signed: rules over its bytes, whoever put them together.

Invariant: what is linted is what will be signed, to the octet; its structure, its times and all that its profile's
certificates share are read by another parser (``cryptography``) than the code that wrote them. A rule that does not hold is a
finding, and nothing with a finding is signed.
RFC 5280, Sections 4.1 and 4.2; RFC 6960, Section 4.2.2.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec
from cryptography import x509

from quicklime.errors import Fault, Reasons, Refused
from quicklime.pki import der
from quicklime.pki.certificate import (
    COMMON_NAME_CHARACTERS_MAX,
    EMPTY_NAME,
    KEY_USAGES_OF,
    RESPONDER_NAME,
    UNREADABLE,
    VERSION_3,
    IssuerFacts,
    assemble_certificate,
    common_name,
    extension,
    key_family,
    key_identifier,
    time,
)
from quicklime.pki.lint_profile import Finding, certificate_around, is_responder, shared_findings
from quicklime.pki.names import check_dns, check_inside, ip_name, san_der

__all__ = ["Finding", "lint"]

SUBJECT_KEY_IDENTIFIER: Final = "2.5.29.14"


class _Read(msgspec.Struct, frozen=True, kw_only=True):
    """A TBSCertificate cut into its fields; each is DER. ``fixed`` are the extensions that a profile's certificates share."""

    facts: IssuerFacts
    serial: bytes
    algorithm: bytes
    issuer: bytes
    validity: bytes
    subject: bytes
    spki: bytes
    family: str
    names: tuple[bytes, ...]
    identifiers: tuple[bytes, ...]
    fixed: bytes


def lint(tbs: bytes, facts: IssuerFacts) -> tuple[Finding, ...]:
    """What speaks against signing ``tbs`` (TBSCertificate, DER) in the name of the issuer ``facts``; empty where nothing does.

    For subscribers' and responders' certificates; an authority's is always refused.
    """
    try:
        read = _read(tbs, facts)
        return tuple(finding for rule in _RULES for finding in rule(read))
    except (*UNREADABLE, Fault) as error:
        return (Finding("encoding", f"it can't be parsed: {error}", "RFC 5280, Section 4.1"),)


def _read(tbs: bytes, facts: IssuerFacts) -> _Read:
    # a signature is needed for a parser of certificates, and none is made yet: one octet stands in its place
    x509.load_der_x509_certificate(assemble_certificate(tbs, facts.algorithm, b"\x00"))
    # from here on the structure is known to be that of a certificate, in DER
    parts = der.children(tbs)
    if len(parts) != 8 or parts[0] != VERSION_3:
        # RFC 5280, Sections 4.1.2.1 and 4.1.2.8: version 3 with extensions, and no unique identifiers
        raise Fault(f"{len(parts)} fields, the first {parts[0].hex()[:20]}, expected the 8 of version 3")
    names, identifiers, fixed = [], [], []
    for one in der.children(der.contents(parts[7])):
        _, begin, _ = der.split(one)
        match one[begin : begin + 5]:
            case b"\x06\x03\x55\x1d\x11":
                names.append(one)
            case b"\x06\x03\x55\x1d\x0e":
                identifiers.append(one)
            case _:
                fixed.append(one)
    return _Read(
        facts=facts,
        serial=der.contents(parts[1]),
        algorithm=parts[2],
        issuer=parts[3],
        validity=parts[4],
        subject=parts[5],
        spki=parts[6],
        family=key_family(parts[6]),
        names=tuple(names),
        identifiers=tuple(identifiers),
        fixed=b"".join(fixed),
    )


# --- the fields -----------------------------------------------------------------------------------------------------


def _serial(read: _Read) -> Iterator[Finding]:
    # RFC 5280, Section 4.1.2.2: positive, at most 20 octets; ours are 20 octets that begin with the bits 01
    if len(read.serial) != 20 or not 0x40 <= read.serial[0] <= 0x7F:
        detail = f"serial {read.serial.hex()[:48]}, expected 20 octets from 0x40"
        yield Finding("serial", detail, "RFC 5280, Section 4.1.2.2")


def _issuer(read: _Read) -> Iterator[Finding]:
    if read.algorithm != read.facts.algorithm:
        detail = f"algorithm {read.algorithm.hex()[:48]}, the issuer signs with {read.facts.algorithm.hex()}"
        yield Finding("signature-algorithm", detail, "RFC 5280, Section 4.1.1.2")
    if read.issuer != read.facts.subject_der:
        yield Finding(
            "issuer-name", "it is not the issuer's subject, octet for octet", "RFC 5280, Section 4.1.2.4"
        )


# Many certificates of one second have the same times.
@lru_cache(maxsize=256)
def _times(validity: bytes) -> tuple[int, int]:
    parsed = certificate_around(validity=validity)
    return int(parsed.not_valid_before_utc.timestamp()), int(parsed.not_valid_after_utc.timestamp())


def _validity(read: _Read) -> Iterator[Finding]:
    start, end = _times(read.validity)
    if start > end:
        yield Finding("validity-order", f"it ends at {end}, before {start}", "RFC 5280, Section 4.1.2.5")
    # Stricter than the standard, which judges each certificate of a path by itself: what outlives its issuer is worthless.
    if start < read.facts.not_before or end > read.facts.not_after:
        detail = f"{start} to {end}, the issuer's is {read.facts.not_before} to {read.facts.not_after}"
        yield Finding("validity-outside-issuer", detail, "RFC 5280, Section 6.1.3")
    # RFC 5280, Section 4.1.2.5: one encoding for each time, without fraction, in Zulu
    if read.validity != der.sequence(time(start), time(end)):
        yield Finding("time-encoding", f"validity {read.validity.hex()}", "RFC 5280, Section 4.1.2.5")


def _key(read: _Read) -> Iterator[Finding]:
    if read.family not in KEY_USAGES_OF:
        yield Finding("key", "its algorithm is none that is issued for", "RFC 5280, Section 4.1.2.7")
    if read.spki == read.facts.spki:
        yield Finding("key", "it is the issuer's own", "RFC 5280, Section 4.2.1.3")
    # RFC 5280, Section 4.2.1.2
    if read.identifiers != (extension(SUBJECT_KEY_IDENTIFIER, der.octet_string(key_identifier(read.spki))),):
        detail = f"{len(read.identifiers)} subject key identifiers, expected that of the key"
        yield Finding("subject-key-identifier", detail, "RFC 5280, Section 4.2.1.2")


# --- the names ------------------------------------------------------------------------------------------------------


def _names(read: _Read) -> Iterator[Finding]:
    if not read.names:
        # RFC 6960, Section 4.2.2.2: a responder is known by its key and its usage, not by a name
        if read.subject != common_name(RESPONDER_NAME) or not is_responder(read.fixed):
            yield Finding("names-missing", "it has no subjectAltName", "RFC 5280, Section 4.2.1.6")
        return
    parts = der.children(read.names[0])
    value = der.contents(parts[-1])
    # RFC 5280, Section 4.2: one of a kind; RFC 5280, Section 4.2.1.6: critical where the subject is empty
    critical = len(parts) == 3
    if len(read.names) != 1 or critical is not (read.subject == EMPTY_NAME):
        detail = f"{len(read.names)} subjectAltNames, critical is {critical}, expected so where the subject is empty"
        yield Finding("names-critical", detail, "RFC 5280, Section 4.2.1.6")
    names: list[str] = []
    every = der.children(value)
    for general in every:
        yield from _name(general, names)
    # RFC 5280, Section 4.2.1.6: at least one; written again, they are the same octets, so there is no other encoding of them
    if len(names) == len(every) and (not names or len(set(names)) != len(names) or san_der(names) != value):
        yield Finding("names-encoding", "no names, some twice, or not in DER", "RFC 5280, Section 4.2.1.6")
    outside = Reasons()
    check_inside(names, read.facts.constraints, outside)
    for reason in outside:
        yield Finding("name-outside-issuer", reason.detail, "RFC 5280, Section 4.2.1.10")
    yield from _subject(read, names)


def _name(general: bytes, names: list[str]) -> Iterator[Finding]:
    """Add the name that ``general`` (GeneralName, DER) is to ``names``; findings where a certificate may not bear it."""
    octets = der.contents(general)
    try:
        match general[0]:
            case 0x82:
                text = octets.decode("ascii", "backslashreplace")
                if check_dns(text) != text:
                    yield Finding(
                        "name-syntax", f"{text!r} is not in lower case", "RFC 5280, Section 4.2.1.6"
                    )
                    return
                names.append(f"dns:{text}")
            case 0x87:
                names.append(ip_name(octets))
            case tag:
                yield Finding("name-type", f"a GeneralName of tag {tag:#x}", "RFC 5280, Section 4.2.1.6")
    except Refused as refused:
        yield Finding("name-syntax", refused.reasons[0].detail, "RFC 5280, Section 4.2.1.6")


def _subject(read: _Read, names: list[str]) -> Iterator[Finding]:
    """No name in the subject that is not among the subjectAltNames: nobody checked any other."""
    if read.subject == EMPTY_NAME:
        return
    for name in names:
        text = name[name.index(":") + 1 :]
        if len(text) <= COMMON_NAME_CHARACTERS_MAX and common_name(text) == read.subject:
            return
    detail = f"subject {read.subject.hex()[:80]} is no CN that is among the names"
    yield Finding("subject", detail, "RFC 5280, Section 4.1.2.6")


def _profile(read: _Read) -> Iterator[Finding]:
    yield from shared_findings(read.fixed, read.facts.issuer, read.family)


_RULES: Final = (_serial, _issuer, _validity, _key, _names, _profile)
