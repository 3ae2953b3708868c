"""CFSSL's own messages: its envelope, requests, certificate descriptions and error numbers. Parse and render, no I/O.

Unlike our own API it takes members that it does not know: CFSSL's clients send more than the server needs.
"""

from __future__ import annotations

import hmac
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID, SignatureAlgorithmOID

from quicklime.errors import Code, Refused
from quicklime.lifecycle.certificate import REVOCATION_REASONS
from quicklime.web.render import timestamp

SERIAL_CHARACTERS = 40
DECIMAL_CHARACTERS_MAX = 49
SHOWN_CHARACTERS_MAX = 500

# CFSSL's catalogue: a category times a thousand, plus a reason.
CERTIFICATE_UNKNOWN = 1000
CERTIFICATE_DECODE_FAILED = 1002
PRIVATE_KEY_INVALID = 2100
POLICY_INVALID_REQUEST = 5300
POLICY_UNKNOWN_PROFILE = 5400
POLICY_UNMATCHED = 5500
API_AUTHENTICATION_FAILED = 7100
API_JSON_ERROR = 7200
API_SERVER_FAILED = 7500
CSR_PARSE_FAILED = 9003
CSR_BAD_REQUEST = 9300

_NUMBERS: Mapping[Code, int] = {
    Code.REQUEST_MALFORMED: API_JSON_ERROR,
    Code.UNAUTHENTICATED: API_AUTHENTICATION_FAILED,
    Code.FORBIDDEN: API_AUTHENTICATION_FAILED,
    Code.TOKEN_EXPIRED: API_AUTHENTICATION_FAILED,
    Code.TOKEN_REVOKED: API_AUTHENTICATION_FAILED,
    Code.TOKEN_UNKNOWN: API_AUTHENTICATION_FAILED,
    Code.TOKEN_EXHAUSTED: API_AUTHENTICATION_FAILED,
    Code.CSR_MALFORMED: CSR_PARSE_FAILED,
    Code.CSR_SIGNATURE_INVALID: CSR_BAD_REQUEST,
    Code.CSR_ALGORITHM_REFUSED: CSR_BAD_REQUEST,
    Code.KEY_WEAK: PRIVATE_KEY_INVALID,
    Code.KEY_TYPE_NOT_ALLOWED: PRIVATE_KEY_INVALID,
    Code.KEY_COMPROMISED: PRIVATE_KEY_INVALID,
    Code.KEY_NOT_ALLOWED: PRIVATE_KEY_INVALID,
    Code.PROFILE_UNKNOWN: POLICY_UNKNOWN_PROFILE,
    Code.PROFILE_NOT_ALLOWED: POLICY_UNMATCHED,
    Code.NAME_NOT_ALLOWED: POLICY_UNMATCHED,
    Code.NAME_OUTSIDE_ISSUER: POLICY_UNMATCHED,
    Code.CERTIFICATE_UNKNOWN: CERTIFICATE_UNKNOWN,
}


# CFSSL's names of what our issuers sign with, and of what others may have; what it has no name for is shown by number.
_ALGORITHMS: Mapping[x509.ObjectIdentifier, str] = {
    SignatureAlgorithmOID.RSA_WITH_SHA1: "SHA1WithRSA",
    SignatureAlgorithmOID.RSA_WITH_SHA256: "SHA256WithRSA",
    SignatureAlgorithmOID.RSA_WITH_SHA384: "SHA384WithRSA",
    SignatureAlgorithmOID.RSA_WITH_SHA512: "SHA512WithRSA",
    SignatureAlgorithmOID.ECDSA_WITH_SHA1: "ECDSAWithSHA1",
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: "ECDSAWithSHA256",
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: "ECDSAWithSHA384",
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: "ECDSAWithSHA512",
}


class KeyRequest(msgspec.Struct):
    """``algo`` is ``ecdsa`` or ``rsa``; ``size`` the curve's or modulus' bits."""

    algo: str = "ecdsa"
    size: int = 256


class CertificateRequest(msgspec.Struct):
    """What a key and CSR are to be made of. Subject names besides CN are taken and not used: policy is about names."""

    CN: str = ""
    hosts: list[str] | None = None
    key: KeyRequest | None = None


class NewCertificate(msgspec.Struct):
    request: CertificateRequest
    profile: str = ""
    label: str = ""
    bundle: bool = False


class Sign(msgspec.Struct):
    """``hosts``, where there are any, override those of the CSR; ``hostname`` is the old way to write them."""

    certificate_request: str = ""
    hosts: list[str] | None = None
    hostname: str = ""
    profile: str = ""
    label: str = ""
    bundle: bool = False

    @property
    def names(self) -> list[str]:
        named = [*(self.hosts or ()), *self.hostname.split(",")]
        return [name.strip() for name in named if name.strip()]


class AuthSign(msgspec.Struct):
    """``request`` is base64 of the JSON of a ``Sign``; ``token`` base64 of its HMAC-SHA-256."""

    token: str
    request: str


class Info(msgspec.Struct):
    label: str = ""
    profile: str = ""


class CertInfo(msgspec.Struct):
    certificate: str = ""
    domain: str = ""
    serial: str = ""
    authority_key_id: str = ""


class Revoke(msgspec.Struct):
    """``serial`` in decimal, as CFSSL writes it, or our 40 hexadecimal characters."""

    serial: str
    authority_key_id: str = ""
    reason: str = "unspecified"


class Bundle(msgspec.Struct):
    certificate: str = ""
    domain: str = ""
    flavor: str = ""


def authenticated(asked: AuthSign, keys: Mapping[str, bytes]) -> tuple[str, bytes] | None:
    """The label of the key that made the token, and the request's octets; None where no key fits. In constant time.

    Raises Refused where the request or token is not base64.
    """
    try:
        token, request = b64decode(asked.token, validate=True), b64decode(asked.request, validate=True)
    except (NotBase64, ValueError):
        raise Refused(Code.REQUEST_MALFORMED, "token and request are base64") from None
    found: str | None = None
    for label, key in keys.items():
        # every key is tried, so that time does not tell which one fits
        if hmac.compare_digest(hmac.new(key, request, sha256).digest(), token):
            found = label
    return None if found is None else (found, request)


def reason_of(text: str) -> int:
    """A CRLReason from what CFSSL's clients write: a number or a name in any case. Raises Refused."""
    names = {name.lower(): number for number, name in REVOCATION_REASONS.items()}
    if text.lower() in names:
        return names[text.lower()]
    if text in {str(number) for number in REVOCATION_REASONS}:
        return int(text)
    raise Refused(Code.REVOCATION_REASON_INVALID, f"reason {text[:40]!r}, expected one of {sorted(names)!r}")


def key_id_of(text: str) -> str:
    """A key identifier in lower-case hexadecimal. Where octets are divided by colons, each may lack a leading zero: so CFSSL
    1.2's ``certinfo`` writes them.
    """
    return "".join(octet.zfill(2) for octet in text.split(":")).lower() if ":" in text else text.lower()


def serial_of(text: str) -> str:
    """Our serial (40 hexadecimal characters) from CFSSL's decimal one, or from ours. Raises Refused."""
    bare = text.replace(":", "").lower()
    if len(bare) == SERIAL_CHARACTERS and set(bare) <= set("0123456789abcdef"):
        return bare
    if text.isascii() and text.isdecimal() and len(text) <= DECIMAL_CHARACTERS_MAX:
        serial = f"{int(text):040x}"
        if len(serial) == SERIAL_CHARACTERS:
            return serial
    raise Refused(Code.CERTIFICATE_UNKNOWN, f"no certificate has serial {text[:60]!r}")


def success(result: object) -> dict[str, object]:
    """CFSSL's envelope around a result."""
    return {"success": True, "result": result, "errors": [], "messages": []}


def failure(refused: Refused) -> tuple[int, dict[str, object]]:
    """HTTP status and CFSSL's envelope around a refusal; every reason is one of its errors, with our code in front."""
    errors = [
        {
            "code": _NUMBERS.get(reason.code, POLICY_INVALID_REQUEST),
            "message": f"{reason.code}: {reason.detail}"[:SHOWN_CHARACTERS_MAX],
        }
        for reason in refused.reasons
    ]
    return 400, {"success": False, "result": None, "errors": errors, "messages": []}


def described(certificate: x509.Certificate) -> dict[str, object]:
    """A certificate in the words of CFSSL's ``certinfo``."""
    return {
        "subject": _name(certificate.subject),
        "issuer": _name(certificate.issuer),
        "serial_number": str(certificate.serial_number),
        "sans": _sans(certificate),
        "not_before": timestamp(int(certificate.not_valid_before_utc.timestamp())),
        "not_after": timestamp(int(certificate.not_valid_after_utc.timestamp())),
        "sigalg": _algorithm(certificate),
        "authority_key_id": _identifier(certificate, x509.AuthorityKeyIdentifier),
        "subject_key_id": _identifier(certificate, x509.SubjectKeyIdentifier),
        "pem": certificate.public_bytes(Encoding.PEM).decode(),
    }


def bundled(
    leaf: x509.Certificate, chain: Sequence[x509.Certificate], root: x509.Certificate
) -> dict[str, object]:
    """A chain in the words of CFSSL's ``bundle``; ``chain`` is leaf first, without the root."""
    kind, size = _key(leaf)
    return {
        "bundle": "".join(one.public_bytes(Encoding.PEM).decode() for one in chain),
        "crt": leaf.public_bytes(Encoding.PEM).decode(),
        "root": root.public_bytes(Encoding.PEM).decode(),
        "expires": timestamp(min(int(one.not_valid_after_utc.timestamp()) for one in chain)),
        "leaf_expires": timestamp(int(leaf.not_valid_after_utc.timestamp())),
        "hostnames": _hostnames(leaf),
        "issuer": _path(leaf.issuer),
        "subject": _path(leaf.subject),
        "signature": _algorithm(leaf),
        "key": "",
        "key_type": f"{size}-bit {kind}" if size else kind,
        "key_size": size,
        "crl_support": True,
        "ocsp_support": True,
        "ocsp": _responders(leaf),
        "status": {
            "rebundled": False,
            "expiring_SKIs": [],
            "untrusted_root_stores": [],
            "messages": [],
            "code": 0,
        },
    }


def parse_certificate(text: str) -> x509.Certificate:
    """One certificate in PEM. Raises Refused."""
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        raise Refused(
            Code.REQUEST_MALFORMED, "certificate is not one certificate in PEM", field="certificate"
        ) from None


def _name(name: x509.Name) -> dict[str, object]:
    common = [str(one.value) for one in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return {"common_name": common[0] if common else "", "names": [str(one.value) for one in name]}


def _algorithm(certificate: x509.Certificate) -> str:
    oid = certificate.signature_algorithm_oid
    return _ALGORITHMS.get(oid, oid.dotted_string)


def _key(certificate: x509.Certificate) -> tuple[str, int]:
    """Kind and bits, as far as CFSSL has words for it."""
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return "", 0
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", key.key_size
    return ("ECDSA", key.key_size) if isinstance(key, ec.EllipticCurvePublicKey) else ("", 0)


def _path(name: x509.Name) -> str:
    """A name as CFSSL's bundles have it. Ours hold common names alone."""
    words = {NameOID.COMMON_NAME: "CommonName"}
    return "".join(f"/{words.get(one.oid, one.oid.dotted_string)}={one.value!s}" for one in name)


def _hostnames(certificate: x509.Certificate) -> list[str]:
    """Common name and DNS names, each once; no addresses."""
    common = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return list(dict.fromkeys(common + _dns_names(certificate)))


def _responders(certificate: x509.Certificate) -> list[str]:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [
        str(one.access_location.value)
        for one in access
        if one.access_method == AuthorityInformationAccessOID.OCSP
    ]


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(one) for one in names.get_values_for_type(x509.DNSName)]


def _sans(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return _dns_names(certificate) + [str(one) for one in names.get_values_for_type(x509.IPAddress)]


def _identifier(
    certificate: x509.Certificate, kind: type[x509.AuthorityKeyIdentifier | x509.SubjectKeyIdentifier]
) -> str:
    try:
        found = certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    octets = found.key_identifier or b""
    return octets.hex(":").upper()
