"""Certification requests of strangers: parsed strictly, judged, and reduced to a key and names.

Invariant: nothing of a request goes on but its octets, its key and its names; subject, attributes and requested extensions
are examined for what is dangerous or malformed, and then forgotten. All faults are reported together, and reading takes time
linear in a size that is bounded.

Standards: RFC 2986, Sections 4.1 and 4.2 (the request); RFC 2985, Section 5.4.2 (extensionRequest); RFC 5280, Section 4.2
(extensions); RFC 7468, Section 7 (PEM).
"""

from __future__ import annotations

import binascii
import re
from hashlib import sha256

import msgspec
from cryptography import x509

from quicklime.errors import Code, Reasons, Refused
from quicklime.pki import der, keys
from quicklime.pki.csr_signature import check_signature
from quicklime.pki.names import (
    NAMES_MAX,
    TAG_DNS,
    TAG_IP,
    check_dns,
    ip_name,
    parse_name,
    quoted,
)
from quicklime.pki.reader import NotDER, check_der

DER_OCTETS_MAX = 64 * 1024
PEM_OCTETS_MAX = 96 * 1024  # base64 and line ends of the above, and some text in front
RDNS_MAX = 32
SUBJECT_CHARACTERS_MAX = 256  # of one value
EXTENSIONS_MAX = 64
ATTRIBUTES_MAX = 16

_OID = der.object_identifier
_COMMON_NAME = _OID("2.5.4.3")
_EXTENSION_REQUESTS = frozenset(
    {_OID("1.2.840.113549.1.9.14"), _OID("1.3.6.1.4.1.311.2.1.14")}
)  # PKCS #9, Microsoft's
_SAN = _OID("2.5.29.17")
_BASIC_CONSTRAINTS = _OID("2.5.29.19")
_KEY_USAGE = _OID("2.5.29.15")
_EXTENDED_KEY_USAGE = _OID("2.5.29.37")

# What only an issuer, a responder or a log may have: who asks for it mistakes us, or tries us.
_DANGEROUS = {
    _OID(dotted): name
    for dotted, name in {
        "2.5.29.30": "nameConstraints",
        "2.5.29.33": "policyMappings",
        "2.5.29.36": "policyConstraints",
        "2.5.29.54": "inhibitAnyPolicy",
        "1.3.6.1.5.5.7.48.1.5": "ocsp-nocheck",
        "1.3.6.1.4.1.11129.2.4.2": "embedded SCT list",
        "1.3.6.1.4.1.11129.2.4.3": "CT poison",
    }.items()
}
_DANGEROUS_USES = {
    _OID("2.5.29.37.0"): "anyExtendedKeyUsage",
    _OID("1.3.6.1.5.5.7.3.9"): "OCSPSigning",
}
_KEY_CERT_SIGN, _CRL_SIGN = 0x04, 0x02  # bits 5 and 6 of the first octet: RFC 5280, Section 4.2.1.3

_OTHER_NAMES = {
    0xA0: "otherName",
    0x81: "rfc822Name",
    0xA3: "x400Address",
    0xA4: "directoryName",
    0xA5: "ediPartyName",
    0x86: "uniformResourceIdentifier",
    0x88: "registeredID",
}

_BLOCK = re.compile(
    rb"-----BEGIN ((?:NEW )?CERTIFICATE REQUEST)-----[ \t]*\r?\n([A-Za-z0-9+/=\s]+)-----END \1-----\s*"
)


class CheckedCSR(msgspec.Struct, frozen=True, kw_only=True):
    """A request whose signature, key and form are in order. Whether anybody may have these names is policy's matter.

    ``der`` is the request whole, ``spki`` its SubjectPublicKeyInfo (DER), ``spki_sha256`` hex, ``key_type`` as in policies,
    ``names`` canonical (``pki.names``), perhaps empty. ``common_name`` is the first common name that is a DNS name or an IP
    address, canonical; any other text is not kept.
    """

    der: bytes
    spki: bytes
    spki_sha256: str
    key_type: str
    names: tuple[str, ...]
    common_name: str | None

    def __repr__(self) -> str:
        # not the request itself: it may hold a challengePassword
        return (
            f"CheckedCSR(spki_sha256={self.spki_sha256!r}, key_type={self.key_type!r}, names={self.names!r})"
        )


def _malformed(why: str) -> Refused:
    return Refused(Code.CSR_MALFORMED, why, field="csr")


def parse(data: bytes, *, blocked: keys.Blocked = keys.NOTHING_BLOCKED) -> CheckedCSR:
    """The request in ``data``: DER, or PEM with one block. ``blocked`` holds keys known to be compromised.

    Raises Refused with every fault found: ``request-too-large``, ``csr-malformed``, ``csr-algorithm-refused``,
    ``csr-signature-invalid``, ``key-type-not-allowed``, ``key-weak``, ``key-compromised``, ``extension-refused``,
    ``name-malformed``, ``name-type-refused``, ``names-too-many``.
    """
    request = decode(data)
    try:
        check_der(request)
    except NotDER as fault:
        raise _malformed(f"request is not strict DER: {fault}") from None
    info, algorithm, signature = _outer(request)
    subject, spki, attributes = _inner(info)
    reasons = Reasons()
    kind = ""
    with reasons.catching("csr"):
        public_key = keys.load_key(spki)
        kind = keys.check_key(public_key, spki, blocked=blocked)
        check_signature(public_key, algorithm, signature, info)
    common_names: list[str] = []
    with reasons.catching("csr"):
        common_names = _common_names(subject)
    san: list[str | None] | None = None
    with reasons.catching("csr"):
        san = _requested(attributes, reasons)
    names, common_name = _names(san, common_names, reasons)
    reasons.raise_if_any()
    _check_again(request)
    return CheckedCSR(
        der=request,
        spki=spki,
        spki_sha256=sha256(spki).hexdigest(),
        key_type=kind,
        names=names,
        common_name=common_name,
    )


def _check_again(request: bytes) -> None:
    """A second parser, which nobody here wrote, finds the same request well-formed."""
    try:
        x509.load_der_x509_csr(request)
    except (ValueError, x509.InvalidVersion):
        raise _malformed("request is no PKCS #10 certification request of version 0") from None


def decode(data: bytes) -> bytes:
    """The DER in ``data``, which holds it as it is or as one PEM block, after any text. Raises Refused."""
    if len(data) > PEM_OCTETS_MAX:
        raise Refused(
            Code.REQUEST_TOO_LARGE,
            f"request has {len(data)} octets, expected at most {PEM_OCTETS_MAX}",
            field="csr",
        )
    request = data if data[:1] == b"\x30" and b"-----BEGIN" not in data[:64] else _from_pem(data)
    if len(request) > DER_OCTETS_MAX:
        raise Refused(
            Code.REQUEST_TOO_LARGE,
            f"request has {len(request)} octets in DER, expected at most {DER_OCTETS_MAX}",
            field="csr",
        )
    return request


def _from_pem(data: bytes) -> bytes:
    found = data.find(b"-----BEGIN ")
    if found < 0:
        raise _malformed("request is neither DER nor PEM")
    # one block to the end: which of several was meant is not ours to guess
    block = _BLOCK.fullmatch(data, found)
    if block is None:
        raise _malformed("request is PEM, but not one block CERTIFICATE REQUEST and nothing after it")
    try:
        return binascii.a2b_base64(b"".join(block[2].split()), strict_mode=True)
    except binascii.Error:
        raise _malformed("request is PEM with malformed base64") from None


def _outer(request: bytes) -> tuple[bytes, bytes, bytes]:
    """CertificationRequestInfo, AlgorithmIdentifier, signature (RFC 2986, Section 4.2)."""
    parts = der.children(request)
    if request[0] != 0x30 or [part[0] for part in parts] != [0x30, 0x30, 0x03]:
        raise _malformed("request is no PKCS #10 certification request")
    if [part[0] for part in der.children(parts[1])[:1]] != [0x06]:
        raise _malformed("signature algorithm is no AlgorithmIdentifier")
    signature = der.contents(parts[2])
    if signature[0] != 0:
        raise _malformed("signature is no whole number of octets")
    return parts[0], parts[1], signature[1:]


def _inner(info: bytes) -> tuple[bytes, bytes, bytes]:
    """Subject, SubjectPublicKeyInfo, attributes (RFC 2986, Section 4.1)."""
    parts = der.children(info)
    # the attributes are there, even where there are none: RFC 2986, Section 4.1
    if [part[0] for part in parts] != [0x02, 0x30, 0x30, 0xA0]:
        raise _malformed("request is no PKCS #10 certification request")
    if parts[0] != b"\x02\x01\x00":
        raise _malformed("version is not 0")
    return parts[1], parts[2], parts[3]


def _inside(value: bytes, tag: int, what: str) -> list[bytes]:
    """The values inside ``value``, strict DER, where it has this (constructed) tag. Raises Refused."""
    if value[0] != tag:
        raise _malformed(f"{what} has tag {value[0]:#04x}, expected {tag:#04x}")
    return der.children(value)


def _common_names(subject: bytes) -> list[str]:
    """The common names of a subject that is harmless; nothing else of it goes on. Raises Refused."""
    rdns = der.children(subject)
    if len(rdns) > RDNS_MAX:
        raise _malformed(f"subject has {len(rdns)} relative distinguished names, expected at most {RDNS_MAX}")
    found = []
    for rdn in rdns:
        attributes = _inside(rdn, 0x31, "relative distinguished name")
        if len(attributes) != 1:
            raise _malformed("subject has a relative distinguished name of several values, expected one")
        parts = _inside(attributes[0], 0x30, "attribute of the subject")
        if len(parts) != 2 or parts[0][0] != 0x06:
            raise _malformed("subject has an attribute that is no type and value")
        text = _text(parts[1])
        if parts[0] == _COMMON_NAME:
            found.append(text)
    return found


def _text(value: bytes) -> str:
    # RFC 5280, Section 4.1.2.4: of DirectoryString, the two that new subjects are written in; IA5String is for domainComponent
    if value[0] not in (0x0C, 0x13, 0x16):
        raise _malformed(
            f"subject has a value of tag {value[0]:#04x}, expected UTF8String or PrintableString"
        )
    text = der.contents(value).decode("utf-8")
    if len(text) > SUBJECT_CHARACTERS_MAX:
        raise _malformed(
            f"subject has a value of {len(text)} characters, expected at most {SUBJECT_CHARACTERS_MAX}"
        )
    if not text.isprintable():
        raise _malformed(f"subject has a control character in {quoted(text)}")
    return text


def _requested(attributes: bytes, reasons: Reasons) -> list[str | None] | None:
    """The names of the requested subjectAltName, None without one; dangerous requests go into ``reasons``.

    Other attributes are not looked at: a challengePassword is a secret, and nobody's business here.
    """
    requested = []
    kinds = set()
    every = der.children(attributes)
    if len(every) > ATTRIBUTES_MAX:
        raise _malformed(f"request has {len(every)} attributes, expected at most {ATTRIBUTES_MAX}")
    for attribute in every:
        parts = _inside(attribute, 0x30, "attribute")
        if [part[0] for part in parts] != [0x06, 0x31]:
            raise _malformed("request has an attribute that is no type and set of values")
        kind = b"extensions" if parts[0] in _EXTENSION_REQUESTS else parts[0]
        if kind in kinds:
            raise _malformed("request has an attribute twice")
        kinds.add(kind)
        if kind == b"extensions":
            requested = der.children(parts[1])
            # "single value TRUE": RFC 2985, Section 5.4.2
            if len(requested) != 1 or requested[0][0] != 0x30:
                raise _malformed("request has an extensionRequest without exactly one list of extensions")
    return _extensions(requested[0], reasons) if requested else None


def _extensions(extensions: bytes, reasons: Reasons) -> list[str | None] | None:
    every = der.children(extensions)
    if len(every) > EXTENSIONS_MAX:
        raise _malformed(f"request has {len(every)} extensions, expected at most {EXTENSIONS_MAX}")
    values: dict[bytes, bytes] = {}
    for extension in every:
        parts = _inside(extension, 0x30, "extension")
        tags = [part[0] for part in parts]
        # DEFAULT FALSE is never written: X.690, Section 11.5
        critical = tags == [0x06, 0x01, 0x04] and parts[1] == der.boolean_true()
        if not critical and tags != [0x06, 0x04]:
            raise _malformed("request has a malformed extension")
        # RFC 5280, Section 4.2: "must not include more than one instance of a particular extension"
        if parts[0] in values:
            raise _malformed("request has an extension twice")
        values[parts[0]] = der.contents(parts[-1])
    _check_extensions(values, reasons)
    return None if _SAN not in values else _san(values[_SAN], reasons)


def _check_extensions(values: dict[bytes, bytes], reasons: Reasons) -> None:
    """Nothing that is requested is granted; what an issuer, responder or log has is refused, so that nobody thinks it was."""
    for oid, value in values.items():
        if oid in _DANGEROUS:
            reasons.add(Code.EXTENSION_REFUSED, f"extension {_DANGEROUS[oid]} is not for requesters", "csr")
        elif oid == _BASIC_CONSTRAINTS:
            parts = _parsed(value, 0x30, "basicConstraints")
            if parts and parts[0] == der.boolean_true():
                reasons.add(
                    Code.EXTENSION_REFUSED, "basicConstraints asks for a certificate authority", "csr"
                )
        elif oid == _KEY_USAGE:
            _parsed(value, 0x03, "keyUsage")
            bits = der.contents(value)[1:2]
            if bits and bits[0] & (_KEY_CERT_SIGN | _CRL_SIGN):
                reasons.add(Code.EXTENSION_REFUSED, "keyUsage asks for keyCertSign or cRLSign", "csr")
        elif oid == _EXTENDED_KEY_USAGE:
            for use in _parsed(value, 0x30, "extendedKeyUsage"):
                if use in _DANGEROUS_USES:
                    reasons.add(
                        Code.EXTENSION_REFUSED, f"extendedKeyUsage asks for {_DANGEROUS_USES[use]}", "csr"
                    )


def _parsed(value: bytes, tag: int, name: str) -> list[bytes]:
    """The values inside an extension's value of this tag. Raises Refused."""
    try:
        check_der(value)
    except NotDER as fault:
        raise _malformed(f"extension {name} is not strict DER: {fault}") from None
    if tag & 0x20:
        return _inside(value, tag, f"extension {name}")
    if value[0] != tag:
        raise _malformed(f"extension {name} has tag {value[0]:#04x}, expected {tag:#04x}")
    return []


def _san(value: bytes, reasons: Reasons) -> list[str | None]:
    """The names of a subjectAltName in its order, None for each whose fault went into ``reasons``."""
    try:
        check_der(value)
    except NotDER as fault:
        if (many := value.count(b"\x82")) > NAMES_MAX and "more than" in str(fault):
            reasons.add(
                Code.NAMES_TOO_MANY, f"request has about {many} names, expected at most {NAMES_MAX}", "csr"
            )
            return []
        raise _malformed(f"extension subjectAltName is not strict DER: {fault}") from None
    every = der.children(value) if value[0] == 0x30 else []
    if not every:
        raise _malformed("extension subjectAltName holds no names")
    if len(every) > NAMES_MAX:
        reasons.add(
            Code.NAMES_TOO_MANY, f"request has {len(every)} names, expected at most {NAMES_MAX}", "csr"
        )
        return []
    found: list[str | None] = [None] * len(every)
    for place, general_name in enumerate(every):
        try:
            found[place] = _general_name(general_name)
        except Refused as refused:
            reasons.add(refused.code, refused.reasons[0].detail, f"names[{place}]")
    return found


def _general_name(general_name: bytes) -> str:
    """RFC 5280, Section 4.2.1.6. Raises Refused."""
    tag, octets = general_name[0], der.contents(general_name)
    if tag == TAG_DNS:
        try:
            text = octets.decode("utf-8")  # IA5String; whatever else people put there is named in the message
        except UnicodeDecodeError:
            text = octets.decode("latin-1")
        return f"dns:{check_dns(text)}"
    if tag == TAG_IP:
        return ip_name(octets)
    name = _OTHER_NAMES.get(tag)
    if name is None:
        raise _malformed(f"extension subjectAltName has a value of tag {tag:#04x}")
    raise Refused(Code.NAME_TYPE_REFUSED, f"name is of type {name}, expected a DNS name or an IP address")


def _names(
    san: list[str | None] | None, common_names: list[str], reasons: Reasons
) -> tuple[tuple[str, ...], str | None]:
    """The request's names and its common name, where that is a name.

    A common name that reads as a name must be among the requested names, or stands for them where there is no
    subjectAltName, as old clients do it. Any other is text for people, and falls away.
    """
    read: list[str] = []
    for text in common_names:
        try:
            name = parse_name(text)
        except Refused:
            continue
        read.append(name)
    if san is None:
        return tuple(sorted(set(read))), read[0] if read else None
    known = [name for name in read if name in san]
    for name in read:
        # a single label may as well be anybody's first name; where a name was at fault, it may be this one
        if name not in san and ("." in name or name.startswith("ip:")) and None not in san:
            reasons.add(
                Code.CSR_MALFORMED,
                f"common name {quoted(name)} is not among the subject alternative names",
                "csr",
            )
    return tuple(sorted({name for name in san if name is not None})), known[0] if known else None
