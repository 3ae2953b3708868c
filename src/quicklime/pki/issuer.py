"""Certificates of authorities: a root signs itself and its intermediates, which ask for it by a request.

Invariants: root and intermediates carry critical name constraints; a root has pathLen 1, an intermediate 0, so no third
level of authorities can come to be; no certificate leaves that ``check_issued`` and ``check_issuer_certificate`` did not
read. RFC 5280, Sections 4.2.1.3, 4.2.1.9 and 4.2.1.10; RFC 2986, Section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from quicklime.errors import Code, InvariantBroken, Refused
from quicklime.pki import der
from quicklime.pki.certificate import (
    CA_ISSUERS_ACCESS,
    COMMON_NAME_CHARACTERS_MAX,
    SERIAL_OCTETS,
    VERSION_3,
    IssuerFacts,
    URLs,
    access,
    assemble_certificate,
    authority_key_identifier,
    check_issued,
    common_name,
    extension,
    key_identifier,
    key_usage,
    serial_from_entropy,
)
from quicklime.pki.issuer_check import (
    INTERMEDIATE_PATH_LENGTH,
    check_issuer_certificate,
    check_issuer_key,
    spki_of,
)
from quicklime.pki.names import name_constraints_der
from quicklime.pki.signer import Signer

__all__ = [
    "check_issuer_certificate",
    "intermediate_tbs",
    "issuer_name",
    "key_identifier",
    "read_issuer_request",
    "request_intermediate",
    "root_tbs",
    "self_sign_root",
    "sign_intermediate",
    "spki_of",
]

DAY: Final = 86_400
BACKDATE_SECONDS: Final = 300
KEY_CERT_SIGN: Final = 5
CRL_SIGN: Final = 6
ROOT_PATH_LENGTH: Final = 1
REQUEST_OCTETS_MAX: Final = 65_536

Entropy = Callable[[int], bytes]


def issuer_name(name: str, spki: bytes) -> bytes:
    """An issuer's subject (Name, DER): ``name`` and eight digits of its key's identifier.

    Two keys never share a name, so that a chain is found by name alone too (RFC 5280, Section 6.1, takes names, not keys).
    Raises Refused.
    """
    text = f"{name} {key_identifier(spki).hex()[:8]}"
    if len(text) > COMMON_NAME_CHARACTERS_MAX or not name.strip() or not text.isprintable():
        raise Refused(
            Code.REQUEST_MALFORMED,
            f"name {name[:80]!r}, expected 1 to {COMMON_NAME_CHARACTERS_MAX - 9} printable characters",
            field="name",
        )
    return common_name(text)


# --- the bytes to be signed -----------------------------------------------------------------------------------------


def root_tbs(
    *,
    subject: bytes,
    spki: bytes,
    algorithm: bytes,
    serial: str,
    not_before: int,
    not_after: int,
    name_constraints: bytes,
) -> bytes:
    """TBSCertificate of a root. It names itself as issuer and has no authority key identifier (RFC 5280, Section 4.2.1.1).

    A trust anchor's constraints bind those verifiers that look at it as a certificate; they stand in the intermediate too.
    """
    return _tbs(
        serial=serial,
        algorithm=algorithm,
        issuer=subject,
        subject=subject,
        spki=spki,
        not_before=not_before,
        not_after=not_after,
        extensions=_authority_extensions(spki, ROOT_PATH_LENGTH, name_constraints),
    )


def intermediate_tbs(
    root: IssuerFacts,
    *,
    subject: bytes,
    spki: bytes,
    serial: str,
    not_before: int,
    not_after: int,
    name_constraints: bytes,
    urls: URLs | None,
) -> bytes:
    """TBSCertificate of an intermediate under ``root``.

    It says where the root's certificate is, and no place for its own status: the root's key is offline, so nobody could sign
    one; an intermediate is taken out of use by replacing it.
    """
    extensions = _authority_extensions(spki, INTERMEDIATE_PATH_LENGTH, name_constraints)
    extensions += extension("2.5.29.35", authority_key_identifier(root.key_identifier))
    if urls is not None:
        pointer = der.sequence(access(CA_ISSUERS_ACCESS, urls.root(root.issuer)))
        extensions += extension("1.3.6.1.5.5.7.1.1", pointer)
    return _tbs(
        serial=serial,
        algorithm=root.algorithm,
        issuer=root.subject_der,
        subject=subject,
        spki=spki,
        not_before=not_before,
        not_after=not_after,
        extensions=extensions,
    )


def _authority_extensions(spki: bytes, path_length: int, name_constraints: bytes) -> bytes:
    return b"".join(
        (
            # RFC 5280, Section 4.2.1.9: critical in every CA certificate
            extension("2.5.29.19", der.sequence(der.boolean_true(), der.integer(path_length)), critical=True),
            # RFC 5280, Section 4.2.1.3
            extension("2.5.29.15", key_usage(frozenset({KEY_CERT_SIGN, CRL_SIGN})), critical=True),
            # RFC 5280, Section 4.2.1.10: must be critical
            extension("2.5.29.30", name_constraints, critical=True),
            extension("2.5.29.14", der.octet_string(key_identifier(spki))),
        )
    )


def _tbs(
    *,
    serial: str,
    algorithm: bytes,
    issuer: bytes,
    subject: bytes,
    spki: bytes,
    not_before: int,
    not_after: int,
    extensions: bytes,
) -> bytes:
    return der.sequence(
        VERSION_3,
        der.tlv(0x02, bytes.fromhex(serial)),
        algorithm,
        issuer,
        der.sequence(der.time(not_before), der.time(not_after)),
        subject,
        spki,
        der.explicit(3, der.sequence(extensions)),
    )


# --- signed ---------------------------------------------------------------------------------------------------------


def self_sign_root(
    signer: Signer,
    *,
    name: str,
    entropy: Entropy,
    now: int,
    days: int,
    domains: Iterable[str],
    ip_ranges: Iterable[str],
) -> bytes:
    """A root certificate (DER) for the key of ``signer``. Raises Refused (key, name, domains, ranges), SignerUnavailable."""
    _check_own_key(signer)
    tbs = root_tbs(
        subject=issuer_name(name, signer.public_key),
        spki=signer.public_key,
        algorithm=signer.algorithm,
        serial=serial_from_entropy(entropy(SERIAL_OCTETS)),
        not_before=now - BACKDATE_SECONDS,
        not_after=now - BACKDATE_SECONDS + days * DAY - 1,
        name_constraints=name_constraints_der(domains, ip_ranges),
    )
    certificate = assemble_certificate(tbs, signer.algorithm, signer.sign(tbs))
    check_issued(certificate, tbs, IssuerFacts.of(certificate))
    return certificate


def sign_intermediate(
    signer: Signer,
    *,
    root: bytes,
    spki: bytes,
    name: str,
    entropy: Entropy,
    now: int,
    days: int,
    domains: Iterable[str] | None = None,
    ip_ranges: Iterable[str] | None = None,
    urls: URLs | None = None,
) -> bytes:
    """An intermediate (DER) for the key ``spki``, signed by the root's key; its end is never after the root's.

    Without ``domains`` and ``ip_ranges`` it gets the root's own name constraints. Raises Refused, SignerUnavailable.
    """
    facts = IssuerFacts.of(root)
    if facts.spki != signer.public_key:
        raise Refused(
            Code.ISSUER_CERTIFICATE_INVALID,
            f"{signer.uri} is not the key of root {facts.issuer}",
            field="root",
        )
    if domains is None and ip_ranges is None:
        if facts.constraints_der is None:
            raise Refused(
                Code.ISSUER_CERTIFICATE_INVALID, f"root {facts.issuer} has no name constraints", field="root"
            )
        constraints = facts.constraints_der
    else:
        constraints = name_constraints_der(domains or (), ip_ranges or ())
    not_before = max(now - BACKDATE_SECONDS, facts.not_before)
    tbs = intermediate_tbs(
        facts,
        subject=issuer_name(name, spki),
        spki=spki,
        serial=serial_from_entropy(entropy(SERIAL_OCTETS)),
        not_before=not_before,
        not_after=min(not_before + days * DAY - 1, facts.not_after),
        name_constraints=constraints,
        urls=urls,
    )
    certificate = assemble_certificate(tbs, signer.algorithm, signer.sign(tbs))
    check_issued(certificate, tbs, facts)
    root_certificate = x509.load_der_x509_certificate(root)
    check_issuer_certificate(certificate, spki=spki, roots=(root_certificate,), now=now)
    return certificate


def _check_own_key(signer: Signer) -> None:
    key = load_der_public_key(signer.public_key)
    # what `cryptography` loads but no certificate can bear, X25519 for one, is no issuer's key either
    check_issuer_key(cast("CertificatePublicKeyTypes", key), "key_type")


# --- a request for an intermediate ----------------------------------------------------------------------------------


def request_body(subject: bytes, spki: bytes) -> bytes:
    """CertificationRequestInfo (RFC 2986, Section 4.1); the attributes are there though there are none."""
    return der.sequence(der.integer(0), subject, spki, der.tlv(0xA0, b""))


def request_intermediate(signer: Signer, *, name: str) -> bytes:
    """A CSR (DER) by the key of ``signer``, for the root to sign. Raises Refused (key, name), SignerUnavailable."""
    _check_own_key(signer)
    body = request_body(issuer_name(name, signer.public_key), signer.public_key)
    request = der.sequence(body, signer.algorithm, der.bit_string(signer.sign(body)))
    if not x509.load_der_x509_csr(request).is_signature_valid:
        raise InvariantBroken(f"the request that {signer.uri} signed does not verify")
    return request


def read_issuer_request(request: bytes) -> bytes:
    """The key (SPKI, DER) in a CSR (DER) for an intermediate, whose signature proves that its maker has the private key.

    Nothing else is taken from it: name, constraints and validity are the root's to say. Raises Refused.
    """
    if len(request) > REQUEST_OCTETS_MAX:
        raise Refused(Code.REQUEST_TOO_LARGE, f"CSR of {len(request)} octets", field="csr")
    try:
        parsed = x509.load_der_x509_csr(request)
        public_key = parsed.public_key()
        valid = parsed.is_signature_valid
        spki = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise Refused(Code.CSR_MALFORMED, f"no certification request: {error}", field="csr") from None
    check_issuer_key(public_key, "csr")
    # a signature is whole octets; the parser lets a last octet of fewer bits pass
    if not request.endswith(der.bit_string(parsed.signature)):
        raise Refused(Code.CSR_MALFORMED, "the signature is not a whole number of octets", field="csr")
    if not valid:
        raise Refused(
            Code.CSR_SIGNATURE_INVALID, "the signature is not by the key in the request", field="csr"
        )
    return spki
