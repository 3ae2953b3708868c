"""OCSP requests and responses as values.

Requests come from strangers: they are read strictly, with every count and length bounded. Responses are put together from
DER pieces, so that a CertID stands in the answer octet for octet as it was asked.

Standards: RFC 6960, Sections 4.1 and 4.2; RFC 9654 (nonces of 1 to 128 octets); RFC 5019, Section 2 (clients at volume).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from quicklime.pki import der
from quicklime.pki.certificate import key_bits
from quicklime.pki.reader import NotDER, check_der

REQUEST_OCTETS_MAX: Final = 16_384
CERTIDS_MAX: Final = 20
NONCE_OCTETS_MAX: Final = 128
EXTENSIONS_MAX: Final = 20

SHA1: Final = der.object_identifier("1.3.14.3.2.26")
SHA256: Final = der.object_identifier("2.16.840.1.101.3.4.2.1")
_NONCE: Final = der.object_identifier("1.3.6.1.5.5.7.48.1.2")
_BASIC: Final = der.object_identifier("1.3.6.1.5.5.7.48.1.1")

# OCSPResponse without responseBytes: RFC 6960, Section 4.2.1
MALFORMED_REQUEST: Final = der.sequence(der.enumerated(1))
INTERNAL_ERROR: Final = der.sequence(der.enumerated(2))
TRY_LATER: Final = der.sequence(der.enumerated(3))
UNAUTHORIZED: Final = der.sequence(der.enumerated(6))


class OCSPMalformed(ValueError):
    """No OCSP request, or one beyond the limits; the answer is ``malformedRequest``."""


@dataclass(frozen=True, slots=True)
class CertID:
    """Which certificate is asked about. ``der`` is the CertID as it was asked; ``hash_oid`` is an OBJECT IDENTIFIER (DER)."""

    hash_oid: bytes
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial: int
    der: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. ``nonce`` is the nonce extension's value (an OCTET STRING, DER), None where there is none."""

    cert_ids: tuple[CertID, ...]
    nonce: bytes | None


def parse_request(data: bytes) -> Request:
    """OCSPRequest (RFC 6960, Section 4.1.1). Raises OCSPMalformed. A signature on it is neither asked for nor looked at."""
    if len(data) > REQUEST_OCTETS_MAX:
        raise OCSPMalformed(f"{len(data)} octets, expected at most {REQUEST_OCTETS_MAX}")
    try:
        check_der(data)
        whole = _parts(data, 0x30)
        if len(whole) > 2 or (len(whole) == 2 and whole[1][0] != 0xA0):
            raise OCSPMalformed("something unknown after what is asked")
        rest = _parts(whole[0], 0x30)
        if rest[0][0] == 0xA0:  # version
            if der.contents(rest[0]) != der.integer(0):
                raise OCSPMalformed("version is not 1")
            rest = rest[1:]
        if rest[0][0] == 0xA1:  # requestorName
            rest = rest[1:]
        requests = _parts(rest[0], 0x30)
        if not 0 < len(requests) <= CERTIDS_MAX:
            raise OCSPMalformed(f"{len(requests)} CertIDs, expected 1 to {CERTIDS_MAX}")
        cert_ids = tuple(_cert_id(request) for request in requests)
        if len(rest) > 2:
            raise OCSPMalformed("something unknown after the requests")
        return Request(cert_ids, _nonce(_extensions(rest[1], 0xA2)) if len(rest) == 2 else None)
    except (NotDER, IndexError) as error:
        raise OCSPMalformed(f"not an OCSPRequest: {error}") from None


_NONCE_OCTETS: Final = len(_NONCE)


def common_form(data: bytes) -> tuple[bytes, bytes | None] | None:
    """(CertID, nonce as ``Request`` has it) of a request in its commonest form; None where it has another, or none.

    That form: version 1, no name, one CertID without extensions, at most a nonce that is not critical. The lengths are all
    judged and agree; the CertID is *not* looked into: whoever knows it as part of a request that was read knows this
    request, since DER has one encoding for it.
    """
    size = len(data)
    if 8 < size < 0x82 and data[:8] == bytes(
        (0x30, size - 2, 0x30, size - 4, 0x30, size - 6, 0x30, size - 8)
    ):
        return data[8:], None
    oid = data.rfind(_NONCE)
    if oid < 16:
        return None
    value = data[oid + _NONCE_OCTETS :]
    inner = len(value)
    # short lengths throughout the extension: OCTET STRING in OCTET STRING, in Extension, Extensions, [2]
    if inner < 5 or size - oid > 0x7B or value[:4] != bytes((0x04, inner - 2, 0x04, inner - 4)):
        return None
    if data[oid - 6 : oid] != bytes((0xA2, size - oid + 4, 0x30, size - oid + 2, 0x30, size - oid)):
        return None
    if size < 0x82:
        start, head = 4, bytes((0x30, size - 2, 0x30, size - 4))
    elif 0x83 <= size < 0x85:
        start, head = 5, bytes((0x30, 0x81, size - 3, 0x30, size - 5))
    elif 0x86 <= size < 0x103:
        start, head = 6, bytes((0x30, 0x81, size - 3, 0x30, 0x81, size - 6))
    else:
        return None
    listed = oid - 6 - start
    if not 4 < listed < 0x82 or data[: start + 4] != head + bytes((0x30, listed - 2, 0x30, listed - 4)):
        return None
    return data[start + 4 : oid - 6], value[2:]


def _parts(value: bytes, tag: int) -> list[bytes]:
    if value[0] != tag:
        raise OCSPMalformed(f"tag {value[0]:02x}, expected {tag:02x}")
    return der.children(value)


def _cert_id(request: bytes) -> CertID:
    parts = _parts(request, 0x30)
    if len(parts) > 2:
        raise OCSPMalformed("something unknown after a CertID")
    if len(parts) == 2:
        _extensions(parts[1], 0xA0)
    whole = parts[0]
    algorithm, name_hash, key_hash, serial = _four(_parts(whole, 0x30))
    return CertID(
        hash_oid=_hash_oid(algorithm),
        issuer_name_hash=_octets(name_hash),
        issuer_key_hash=_octets(key_hash),
        serial=_integer(serial),
        der=whole,
    )


def _hash_oid(algorithm: bytes) -> bytes:
    parts = _parts(algorithm, 0x30)
    # parameters are absent or NULL: RFC 3370, Section 2.1, and RFC 5754, Section 2. Nothing else may stand there: a CertID
    # is kept beside its answer as it was asked, so one certificate must not have CertIDs without end.
    if len(parts) > 2 or (len(parts) == 2 and parts[1] != der.NULL):
        raise OCSPMalformed("a hash algorithm with parameters")
    return parts[0]


def _four(parts: list[bytes]) -> tuple[bytes, bytes, bytes, bytes]:
    if len(parts) != 4:
        raise OCSPMalformed(f"a CertID of {len(parts)} parts, expected 4")
    return parts[0], parts[1], parts[2], parts[3]


def _octets(value: bytes) -> bytes:
    if value[0] != 0x04:
        raise OCSPMalformed("a value that is no OCTET STRING")
    return der.contents(value)


def _integer(value: bytes) -> int:
    contents = der.contents(value)
    # RFC 5280, Section 4.1.2.2: up to 20 octets; some ask for a little more
    if value[0] != 0x02 or len(contents) > 32:
        raise OCSPMalformed("a serial that is no INTEGER of 1 to 32 octets")
    return int.from_bytes(contents, "big", signed=True)


def _extensions(explicit: bytes, tag: int) -> dict[bytes, bytes]:
    """Extensions by their OID (DER), each once. One that is critical and not known can't be passed over."""
    found: dict[bytes, bytes] = {}
    inner = _parts(explicit, tag)
    if len(inner) != 1:
        raise OCSPMalformed(f"{len(inner)} lists of extensions, expected 1")
    every = _parts(inner[0], 0x30)
    if len(every) > EXTENSIONS_MAX:
        raise OCSPMalformed(f"{len(every)} extensions, expected at most {EXTENSIONS_MAX}")
    for one in every:
        parts = _parts(one, 0x30)
        # RFC 5280, Section 4.1: OID, whether critical, value
        if parts[0][0] != 0x06 or len(parts) > 3 or (len(parts) == 3 and parts[1][0] != 0x01):
            raise OCSPMalformed("an extension that is none")
        if len(parts) == 3 and parts[1] == der.boolean_true() and parts[0] != _NONCE:
            raise OCSPMalformed("a critical extension that is not known")
        if parts[0] in found:
            raise OCSPMalformed("an extension that stands there twice")
        found[parts[0]] = _octets(parts[-1])
    return found


def _nonce(extensions: dict[bytes, bytes]) -> bytes | None:
    value = extensions.get(_NONCE)
    if value is None:
        return None
    # RFC 9654, Section 2.1: an OCTET STRING of 1 to 128 octets inside the extension's OCTET STRING
    try:
        check_der(value)
    except NotDER:
        raise OCSPMalformed("a nonce that is no OCTET STRING") from None
    if not 1 <= len(_octets(value)) <= NONCE_OCTETS_MAX:
        raise OCSPMalformed(f"a nonce of {len(_octets(value))} octets, expected 1 to {NONCE_OCTETS_MAX}")
    return value


def issuer_hashes(subject_der: bytes, spki: bytes) -> tuple[tuple[bytes, bytes, bytes], ...]:
    """(hash OID, hash of the name, hash of the key) by which clients may name an issuer: SHA-1 and SHA-256.

    RFC 6960, Section 4.1.1: over the DER of the name, and over the key's bits without the octet of unused bits.
    """
    bits = key_bits(spki)
    return (
        (SHA1, hashlib.sha1(subject_der, usedforsecurity=False).digest(), responder_key_hash(spki)),
        (SHA256, hashlib.sha256(subject_der).digest(), hashlib.sha256(bits).digest()),
    )


def responder_key_hash(spki: bytes) -> bytes:
    """SHA-1 of the key's bits, which ``byKey`` is by definition (RFC 6960, Section 4.2.1)."""
    return hashlib.sha1(key_bits(spki), usedforsecurity=False).digest()


# CertStatus (RFC 6960, Section 4.2.1)
GOOD: Final = b"\x80\x00"
UNKNOWN: Final = b"\x82\x00"


def revoked(revoked_at: int, reason: int | None) -> bytes:
    """CertStatus ``revoked``; a reason of 0 is left out, as in CRLs."""
    said = der.explicit(0, der.enumerated(reason)) if reason else b""
    return der.tlv(0xA1, der.generalized_time(revoked_at) + said)


def single(cert_id: bytes, status: bytes, this_update: int, next_update: int) -> bytes:
    """SingleResponse; ``cert_id`` as it was asked, ``status`` a CertStatus."""
    return der.sequence(
        cert_id,
        status,
        der.generalized_time(this_update),
        der.explicit(0, der.generalized_time(next_update)),
    )


def response_data(key_hash: bytes, produced_at: int, singles: Sequence[bytes], nonce: bytes | None) -> bytes:
    """ResponseData to be signed; ``key_hash`` names the responder by its key, ``nonce`` is the extension's value."""
    extensions = b""
    if nonce is not None:
        one = der.sequence(_NONCE, der.octet_string(nonce))
        extensions = der.explicit(1, der.sequence(one))
    return der.sequence(
        der.explicit(2, der.octet_string(key_hash)),
        der.generalized_time(produced_at),
        der.sequence(*singles),
        extensions,
    )


def response_data_of_one(key_hash: bytes, times: Times, cert_id: bytes, status: bytes, nonce: bytes) -> bytes:
    """``response_data`` about one CertID with a nonce, made of pieces that are the same for a whole second."""
    one = der.tlv(0x30, cert_id + status + times.validity)
    extension = der.tlv(0x30, _NONCE + der.tlv(0x04, nonce))
    return der.tlv(
        0x30,
        b"\xa2\x16\x04\x14%s%s" % (key_hash, times.produced_at)
        + der.tlv(0x30, one)
        + der.tlv(0xA1, der.tlv(0x30, extension)),
    )


@dataclass(frozen=True, slots=True)
class Times:
    """The times of an answer, encoded: producedAt; thisUpdate and nextUpdate as they stand behind a CertStatus."""

    produced_at: bytes
    validity: bytes

    @classmethod
    def of(cls, produced_at: int, this_update: int, next_update: int) -> Times:
        return cls(
            der.generalized_time(produced_at),
            der.generalized_time(this_update) + der.explicit(0, der.generalized_time(next_update)),
        )


def assemble_response(data: bytes, algorithm: bytes, signature: bytes, certificate: bytes) -> bytes:
    """A successful OCSPResponse with the delegated responder's certificate (RFC 6960, Section 4.2.2.2)."""
    basic = der.sequence(
        data, algorithm, der.bit_string(signature), der.explicit(0, der.sequence(certificate))
    )
    return der.sequence(der.enumerated(0), der.explicit(0, der.sequence(_BASIC, der.octet_string(basic))))
