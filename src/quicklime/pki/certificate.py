"""Certificates of subscribers: the bytes to be signed, put together from pieces that were encoded before.

Invariants: the issuer's name is, octet for octet, the subject of the issuer's certificate; what leaves was parsed again,
holds exactly the bytes that were planned, and its signature is the issuer's. RFC 5280, Sections 4.1 and 4.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quicklime.errors import Fault, InvariantBroken
from quicklime.pki import algorithms, der
from quicklime.pki.names import Constraints, constraints_of, san_der
from quicklime.pki.profile import KEY_USAGES, Profile
from quicklime.pki.shards import CRL_POINTS, shard_of

KEY_IDENTIFIER_OCTETS: Final = 20
SERIAL_OCTETS: Final = 20
COMMON_NAME_CHARACTERS_MAX: Final = 64  # ub-common-name: RFC 5280, Appendix A.1
RESPONDER_NAME: Final = "Quicklime OCSP responder"

# How `cryptography` says that something is no certificate.
UNREADABLE: Final = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

VERSION_3: Final = der.explicit(0, der.integer(2))
EMPTY_NAME: Final = der.sequence()
_COMMON_NAME: Final = der.object_identifier("2.5.4.3")
_EC_PUBLIC_KEY: Final = der.object_identifier("1.2.840.10045.2.1")
# AlgorithmIdentifiers of subscribers' keys: RFC 3279, Section 2.3.1, RFC 5480, Section 2.1.1, RFC 8410, Section 3,
# RFC 9881, Section 2
_FAMILIES: Final = {
    der.sequence(der.object_identifier("1.2.840.113549.1.1.1"), der.NULL): "rsa",
    der.sequence(_EC_PUBLIC_KEY, der.object_identifier("1.2.840.10045.3.1.7")): "ec",
    der.sequence(_EC_PUBLIC_KEY, der.object_identifier("1.3.132.0.34")): "ec",
    algorithms.ED25519: "signing",
    algorithms.ML_DSA_44: "signing",
    algorithms.ML_DSA_65: "signing",
    algorithms.ML_DSA_87: "signing",
}


# --- pieces ---------------------------------------------------------------------------------------------------------


def extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    """One Extension (RFC 5280, Section 4.2); ``value`` is what stands inside the OCTET STRING."""
    return der.sequence(
        der.object_identifier(oid), der.boolean_true() if critical else b"", der.octet_string(value)
    )


def common_name(text: str) -> bytes:
    """A Name of one CN, as UTF8String (RFC 5280, Section 4.1.2.4)."""
    return der.sequence(der.tlv(0x31, der.sequence(_COMMON_NAME, der.tlv(0x0C, text.encode()))))


def key_usage(bits: frozenset[int]) -> bytes:
    """KeyUsage as a BIT STRING whose trailing zero bits are cut off (X.690, Section 11.2.2)."""
    last = max(bits)
    value = sum(1 << (15 - bit) for bit in bits).to_bytes(2, "big")
    return der.tlv(0x03, bytes((7 - last % 8,)) + value[: last // 8 + 1])


def key_bits(spki: bytes) -> bytes:
    """The contents of the BIT STRING in a SubjectPublicKeyInfo, without its octet of unused bits."""
    _, begin, _ = der.split(spki)
    _, _, after_algorithm = der.split(spki, begin)
    _, start, end = der.split(spki, after_algorithm)
    return spki[start + 1 : end]


def key_identifier(spki: bytes) -> bytes:
    """Subject key identifier: the leftmost 160 bits of SHA-256 over the key's bits.

    RFC 7093, Section 2, method 1: as long as RFC 5280's own (Section 4.2.1.2), without its SHA-1.
    """
    return sha256(key_bits(spki)).digest()[:KEY_IDENTIFIER_OCTETS]


def _uri(url: str) -> bytes:
    return der.tlv(0x86, url.encode("ascii"))


def access(oid: str, url: str) -> bytes:
    """One AccessDescription (RFC 5280, Section 4.2.2.1)."""
    return der.sequence(der.object_identifier(oid), _uri(url))


def authority_key_identifier(identifier: bytes) -> bytes:
    """RFC 5280, Section 4.2.1.1: the issuer's own identifier, whatever method made it."""
    return der.sequence(der.tlv(0x80, identifier))


OCSP_ACCESS: Final = "1.3.6.1.5.5.7.48.1"
CA_ISSUERS_ACCESS: Final = "1.3.6.1.5.5.7.48.2"


@dataclass(frozen=True, slots=True)
class URLs:
    """Where the status service is reached: what certificates carry. ``base_url`` without a slash at its end.

    ``crl_shards`` is the number of lists among which certificates are divided that are planned from now on.
    """

    base_url: str
    crl_shards: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", self.base_url.rstrip("/"))

    def ocsp(self) -> str:
        return f"{self.base_url}/ocsp"

    def crl(self, issuer: str, shard: int = 0, shards: int = 1, *, delta: bool = False) -> str:
        """The list ``shard`` of ``shards``; of one alone, the plain list. ``delta``: what changed since a complete one."""
        name = issuer if shards == 1 else f"{issuer}/{shards}/{shard}"
        return f"{self.base_url}/crl/{name}{'-delta' if delta else ''}.crl"

    def issuer(self, issuer: str) -> str:
        """The certificate of an intermediate, as ``application/pkix-cert``."""
        return f"{self.base_url}/issuers/{issuer}.cer"

    def root(self, issuer: str) -> str:
        """The certificate of a root."""
        return f"{self.base_url}/roots/{issuer}.cer"


# --- an issuer ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerFacts:
    """What follows from an issuer's certificate: all that is needed to sign and to check in its name.

    ``issuer`` is its subject key identifier (40 hex characters), ``algorithm`` the AlgorithmIdentifier of its signatures,
    ``spki`` and ``subject_der`` are DER, times UNIX seconds.
    """

    certificate: bytes
    issuer: str
    subject_der: bytes
    spki: bytes
    public_key: CertificatePublicKeyTypes
    key_type: str
    algorithm: bytes
    not_before: int
    not_after: int
    constraints: Constraints
    constraints_der: bytes | None

    @classmethod
    def of(cls, certificate: bytes) -> IssuerFacts:
        """The facts of ``certificate`` (DER), one of ours or one that was checked. Raises Fault."""
        try:
            parsed = x509.load_der_x509_certificate(certificate)
            constraints = parsed.extensions.get_extension_for_class(x509.NameConstraints).value
        except x509.ExtensionNotFound:
            constraints = None
        except UNREADABLE as error:
            raise Fault(f"not an issuer's certificate: {error}") from None
        public_key = parsed.public_key()
        kind = algorithms.kind_of(public_key)
        return cls(
            certificate=certificate,
            issuer=_identifier(parsed).hex(),
            subject_der=parsed.subject.public_bytes(),
            spki=public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            public_key=public_key,
            key_type=kind.key_type,
            algorithm=kind.algorithm,
            not_before=int(parsed.not_valid_before_utc.timestamp()),
            not_after=int(parsed.not_valid_after_utc.timestamp()),
            constraints=constraints_of(parsed),
            constraints_der=None if constraints is None else constraints.public_bytes(),
        )

    @property
    def key_identifier(self) -> bytes:
        return bytes.fromhex(self.issuer)


def issuer_id(certificate: bytes) -> str:
    """The id of the issuer whose certificate (DER) this is: its subject key identifier, hex. Raises Fault."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
    except UNREADABLE as error:
        raise Fault(f"not a certificate: {error}") from None
    return _identifier(parsed).hex()


def _identifier(certificate: x509.Certificate) -> bytes:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, ValueError) as error:
        # RFC 5280, Section 4.2.1.2: every CA certificate has one
        raise Fault(f"an issuer's certificate without a subject key identifier: {error}") from None
    if len(found) != KEY_IDENTIFIER_OCTETS:
        raise Fault(f"subject key identifier of {len(found)} octets, expected {KEY_IDENTIFIER_OCTETS}")
    return found


# --- the bytes to be signed -----------------------------------------------------------------------------------------


def serial_from_entropy(octets: bytes) -> str:
    """A serial (40 hex characters) of 158 random bits: positive, and always 20 octets long.

    RFC 5280, Section 4.1.2.2: positive, at most 20 octets with the sign. The first octet is 0x40 to 0x7f.
    """
    if len(octets) != SERIAL_OCTETS:
        raise Fault(f"entropy of {len(octets)} octets for a serial, expected {SERIAL_OCTETS}")
    return bytes((octets[0] & 0x3F | 0x40, *octets[1:])).hex()


# A second's worth of certificates has few distinct times.
time = lru_cache(maxsize=256)(der.time)


class Template:
    """What all certificates of one issuer and one profile have in common, encoded once."""

    def __init__(self, facts: IssuerFacts, profile: Profile, urls: URLs) -> None:
        self._profile = profile
        self._issuer = facts.subject_der
        self._algorithm = facts.algorithm
        self._usages = {family: _usage_extension(profile, family) for family in KEY_USAGES_OF}
        self._fixed = b"".join(
            (
                extension(
                    "2.5.29.37", der.sequence(*map(der.object_identifier, profile.extended_key_usage_oids))
                ),
                # RFC 5280, Section 4.2.1.9: cA is DEFAULT FALSE, which DER leaves out
                extension("2.5.29.19", der.sequence(), critical=True),
                extension("2.5.29.35", authority_key_identifier(facts.key_identifier)),
                _access(facts, profile, urls),
            )
        )
        # responders say nothing of lists: RFC 6960, Section 4.2.2.2.1
        self._points = (
            () if profile.is_responder else tuple(_point(facts, urls, k) for k in range(urls.crl_shards))
        )

    def tbs(
        self, *, serial: str, not_before: int, not_after: int, spki: bytes, names: tuple[str, ...]
    ) -> bytes:
        """TBSCertificate (DER) for canonical ``names`` and a key (SPKI, DER) that were both checked.

        ``not_before`` and ``not_after`` are both inside the validity.
        """
        number = bytes.fromhex(serial)
        # RFC 5280, Section 4.1.2.2
        if len(number) != SERIAL_OCTETS or not 0x40 <= number[0] <= 0x7F:
            raise Fault(f"serial {serial!r}, expected 20 octets, the first 0x40 to 0x7f")
        usage = self._usages.get(key_family(spki))
        if usage is None:
            raise Fault("a key of an algorithm that nothing is issued for")
        subject = self._subject(names)
        extensions = (
            usage
            + self._fixed
            + self._point(serial)
            + _SKI_HEAD
            + sha256(key_bits(spki)).digest()[:KEY_IDENTIFIER_OCTETS]
        )
        if names:
            # RFC 5280, Section 4.2.1.6: critical where the subject is empty
            extensions += extension("2.5.29.17", san_der(names), critical=subject == EMPTY_NAME)
        return der.sequence(
            VERSION_3,
            b"\x02\x14",
            number,
            self._algorithm,
            self._issuer,
            der.tlv(0x30, time(not_before) + time(not_after)),
            subject,
            spki,
            der.tlv(0xA3, der.tlv(0x30, extensions)),
        )

    def _point(self, serial: str) -> bytes:
        """Where the certificate's CRL is (RFC 5280, Section 4.2.1.13)."""
        points = self._points
        return points[shard_of(serial, len(points))] if points else b""

    def _subject(self, names: tuple[str, ...]) -> bytes:
        """The first DNS name as CN, for programs that show or compare nothing else; empty where it would not fit."""
        if not names:
            if not self._profile.internal:
                raise Fault("a certificate for nobody: no names")
            return common_name(RESPONDER_NAME)
        first = names[0]
        if first.startswith("dns:"):
            dns = first
        else:
            dns = next((name for name in names if name.startswith("dns:")), "")
        if not 4 < len(dns) <= COMMON_NAME_CHARACTERS_MAX + 4:
            return EMPTY_NAME
        return common_name(dns[4:])


# SubjectKeyIdentifier up to the 20 octets themselves, which end it.
_SKI_HEAD: Final = extension("2.5.29.14", der.octet_string(bytes(KEY_IDENTIFIER_OCTETS)))[
    :-KEY_IDENTIFIER_OCTETS
]


def key_family(spki: bytes) -> str:
    """The family of a key (SPKI, DER) by its AlgorithmIdentifier, which decides on its key usages; else ``unknown``."""
    _, begin, _ = der.split(spki)
    return _FAMILIES.get(spki[begin : der.split(spki, begin)[2]], "unknown")


# What a key of a family can do: RFC 3279, Section 2.3.1 (RSA); RFC 8813, Section 3 (EC: encipherment must not be there);
# RFC 8410, Section 5, and RFC 9881, Section 5 (Ed25519, ML-DSA: signatures only).
KEY_USAGES_OF: Final = {
    "rsa": frozenset({0, 1, 2, 3}),
    "ec": frozenset({0, 1, 4}),
    "signing": frozenset({0, 1}),
}


def _usage_extension(profile: Profile, family: str) -> bytes:
    """KeyUsage of the profile for a key of ``family``.

    The built-in profiles say digitalSignature alone: RSA key transport, which needs keyEncipherment, should not be
    negotiated any more (RFC 9325, Section 4.1).
    """
    bits = frozenset(KEY_USAGES[usage] for usage in profile.key_usage) & KEY_USAGES_OF[family]
    # RFC 5280, Section 4.2.1.3: should be critical
    return extension("2.5.29.15", key_usage(bits), critical=True)


def _access(facts: IssuerFacts, profile: Profile, urls: URLs) -> bytes:
    """Where to ask for the status and the issuer's certificate (RFC 5280, Section 4.2.2.1)."""
    ca_issuers = access(CA_ISSUERS_ACCESS, urls.issuer(facts.issuer))
    if profile.is_responder:
        # RFC 6960, Section 4.2.2.2.1: its status is not asked for, so it does not say where
        no_check = extension("1.3.6.1.5.5.7.48.1.5", der.NULL)
        return extension("1.3.6.1.5.5.7.1.1", der.sequence(ca_issuers)) + no_check
    return extension("1.3.6.1.5.5.7.1.1", der.sequence(access(OCSP_ACCESS, urls.ocsp()), ca_issuers))


def distribution_point(*urls: str) -> bytes:
    """A DistributionPointName of URIs, tagged as in a DistributionPoint (RFC 5280, Section 4.2.1.13)."""
    return der.tlv(0xA0, der.tlv(0xA0, b"".join(map(_uri, urls))))


def _point(facts: IssuerFacts, urls: URLs, shard: int) -> bytes:
    url = urls.crl(facts.issuer, shard, urls.crl_shards)
    return extension(CRL_POINTS, der.sequence(der.sequence(distribution_point(url))))


# --- signed ---------------------------------------------------------------------------------------------------------


def assemble_certificate(tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """Certificate (DER): RFC 5280, Section 4.1."""
    return der.sequence(tbs, algorithm, der.bit_string(signature))


def tbs_of(certificate: bytes) -> bytes:
    """The TBSCertificate, octet for octet, of a certificate (DER) that was parsed before or that we made."""
    if certificate[1:2] == b"\x82" and certificate[5:6] == b"\x82":
        # both lengths of two octets, as nearly always: this stands in the path of each record that is replayed
        return certificate[4 : 8 + (certificate[6] << 8 | certificate[7])]
    _, begin, _ = der.split(certificate)
    _, _, end = der.split(certificate, begin)
    return certificate[begin:end]


def check_issued(certificate: bytes, tbs: bytes, facts: IssuerFacts) -> None:
    """Read ``certificate`` again, by another parser than wrote it: it holds ``tbs``, and the issuer's signature over it.

    A key that was disturbed while it signed gives itself away by what it signed, so a wrong signature must not leave.
    Raises InvariantBroken.
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        signature, found = parsed.signature, parsed.tbs_certificate_bytes
    except UNREADABLE as error:
        raise InvariantBroken(f"what was signed is no certificate: {error}") from None
    if found != tbs:
        raise InvariantBroken("the certificate is not over the bytes that were planned")
    # RFC 5280, Section 4.1.1.2: the issuer's algorithm outside as inside; and nothing besides the three parts
    if certificate != assemble_certificate(tbs, facts.algorithm, signature):
        raise InvariantBroken(
            f"the signature algorithm is {parsed.signature_algorithm_oid.dotted_string}, expected that of {facts.key_type}"
        )
    try:
        algorithms.verify(facts.public_key, signature, tbs, facts.algorithm)
    except InvalidSignature:
        raise InvariantBroken(f"the signature is not by issuer {facts.issuer}") from None
