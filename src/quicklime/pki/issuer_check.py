"""What a certificate must be to make a key of ours an intermediate of one of our roots.

Invariant: an intermediate's name constraints are never wider than its root's, because requests are checked against the
intermediate's alone. RFC 5280, Sections 4.2.1.1 to 4.2.1.3, 4.2.1.9 and 4.2.1.10.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quicklime.errors import Code, Fault, Reasons, Refused
from quicklime.pki import algorithms, der
from quicklime.pki.certificate import KEY_IDENTIFIER_OCTETS
from quicklime.pki.names import Constraints, constraints_of

INTERMEDIATE_PATH_LENGTH: Final = 0


def spki_of(certificate: bytes) -> bytes:
    """The key (SPKI, DER) of a certificate (DER) from outside. Raises Refused."""
    return _public_bytes(_parsed(certificate))


def _parsed(certificate: bytes) -> x509.Certificate:
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        # both are read lazily: make their faults come now
        _ = parsed.extensions, parsed.public_key()
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.UnsupportedGeneralNameType,
        x509.InvalidVersion,
    ) as error:
        raise _invalid(f"not a certificate that can be read: {error}") from None
    except x509.DuplicateExtension as error:
        raise _invalid(str(error)) from None
    return parsed


def _public_bytes(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _invalid(detail: str) -> Refused:
    return Refused(Code.ISSUER_CERTIFICATE_INVALID, detail, field="certificate")


def check_issuer_certificate(
    certificate: bytes, *, spki: bytes, roots: tuple[x509.Certificate, ...], now: int
) -> None:
    """Whether ``certificate`` (DER) makes the key ``spki`` an intermediate of one of ``roots``.

    Raises Refused (``issuer-certificate-invalid``) naming every fault.
    """
    parsed = _parsed(certificate)
    reasons = Reasons()

    def fault(detail: str) -> None:
        reasons.add(Code.ISSUER_CERTIFICATE_INVALID, detail, "certificate")

    if _public_bytes(parsed) != spki:
        fault("it is for another key than the one that is here")
    _check_key(parsed, fault)
    if parsed.version is not x509.Version.v3:
        fault("it is not of version 3")
    # RFC 5280, Section 4.1.2.2
    if not 0 < parsed.serial_number < 1 << 159:
        fault("its serial is not positive or longer than 20 octets")
    if not list(parsed.subject):
        fault("its subject is empty")
    if now > parsed.not_valid_after_utc.timestamp():
        fault(f"it expired at {parsed.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")
    if now < parsed.not_valid_before_utc.timestamp():
        fault(f"it is valid only from {parsed.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}")
    _check_extensions(parsed, fault)
    _check_signed(parsed, roots, fault)
    reasons.raise_if_any()


Report = Callable[[str], None]

# What an intermediate may mark critical: all that verifiers of our certificates understand, and that is checked here.
_UNDERSTOOD: Final = frozenset({"2.5.29.15", "2.5.29.19", "2.5.29.30", "2.5.29.37", "2.5.29.32"})


def _check_key(parsed: x509.Certificate, fault: Report) -> None:
    why = _key_fault(parsed.public_key())
    if why:
        fault(f"its key is {why}")


def check_issuer_key(public_key: CertificatePublicKeyTypes, field: str) -> None:
    """Whether a key may be an issuer's. Raises Refused (``key-type-not-allowed``)."""
    why = _key_fault(public_key)
    if why:
        raise Refused(Code.KEY_TYPE_NOT_ALLOWED, f"the key is {why}", field=field)


def _key_fault(public_key: CertificatePublicKeyTypes) -> str:
    try:
        key_type = algorithms.kind_of(public_key).key_type
    except Fault as error:
        return str(error)
    # issuers live for years, so 2048 bits are too few for them (NIST SP 800-57 Part 1, Section 5.6.1)
    if key_type.startswith("rsa-") and int(key_type[4:]) < 3072:
        return f"{key_type}, expected one of {algorithms.ISSUER_KEY_TYPES!r}"
    return ""


def _check_extensions(parsed: x509.Certificate, fault: Report) -> None:
    found = {extension.oid.dotted_string: extension for extension in parsed.extensions}
    basic = found.get("2.5.29.19")
    # RFC 5280, Section 4.2.1.9
    if basic is None or not isinstance(basic.value, x509.BasicConstraints) or not basic.value.ca:
        fault("it is not for a CA: basicConstraints with cA TRUE is missing")
    else:
        if not basic.critical:
            fault("basicConstraints is not critical")
        if basic.value.path_length != INTERMEDIATE_PATH_LENGTH:
            fault(f"its pathLenConstraint is {basic.value.path_length}, expected {INTERMEDIATE_PATH_LENGTH}")
    usage = found.get("2.5.29.15")
    # RFC 5280, Section 4.2.1.3
    if usage is None or not isinstance(usage.value, x509.KeyUsage):
        fault("keyUsage is missing, expected keyCertSign and cRLSign")
    elif not (usage.value.key_cert_sign and usage.value.crl_sign):
        fault("its keyUsage lacks keyCertSign or cRLSign")
    identifier = found.get("2.5.29.14")
    # RFC 5280, Section 4.2.1.2; its length is that of an issuer's id
    if identifier is None or not isinstance(identifier.value, x509.SubjectKeyIdentifier):
        fault("the subject key identifier is missing")
    elif len(identifier.value.digest) != KEY_IDENTIFIER_OCTETS:
        fault(
            f"its subject key identifier has {len(identifier.value.digest)} octets, expected {KEY_IDENTIFIER_OCTETS}"
        )
    # An EKU in an intermediate limits what its certificates are good for, in most verifiers.
    extended = found.get("2.5.29.37")
    if extended is not None:
        fault("it has an extendedKeyUsage, which would take usages from the profiles' certificates")
    unknown = sorted(oid for oid, one in found.items() if one.critical and oid not in _UNDERSTOOD)
    if unknown:
        fault(f"it has critical extensions {unknown!r}, expected none but {sorted(_UNDERSTOOD)!r}")
    constraints = found.get("2.5.29.30")
    # RFC 5280, Section 4.2.1.10
    if constraints is None:
        fault("it has no name constraints")
    elif not constraints.critical:
        fault("its name constraints are not critical")


def _check_signed(parsed: x509.Certificate, roots: tuple[x509.Certificate, ...], fault: Report) -> None:
    """By a root of ours, inside its time and its names."""
    root = next((one for one in roots if _is_by(parsed, one)), None)
    if root is None:
        fault("it is not signed by a root of this authority")
        return
    if _public_bytes(parsed) == _public_bytes(root):
        fault("it is for the root's own key, which stays offline")
    if parsed.not_valid_after_utc > root.not_valid_after_utc:
        fault("it ends after its root")
    pointer = next((one.value for one in parsed.extensions if one.oid.dotted_string == "2.5.29.35"), None)
    # RFC 5280, Section 4.2.1.1: the identifier must be the root's own
    expected = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    if not isinstance(pointer, x509.AuthorityKeyIdentifier) or pointer.key_identifier != expected:
        fault("its authority key identifier is not the root's subject key identifier")
    if any(one.oid.dotted_string == "2.5.29.30" for one in parsed.extensions):
        for detail in wider(constraints_of(parsed), constraints_of(root)):
            fault(detail)


def _is_by(parsed: x509.Certificate, root: x509.Certificate) -> bool:
    if parsed.issuer.public_bytes() != root.subject.public_bytes():
        return False
    key = root.public_key()
    algorithm = algorithms.kind_of(key).algorithm
    _, inside, signature = der.children(parsed.public_bytes(Encoding.DER))
    if inside != algorithm or signature != der.bit_string(parsed.signature):
        return False
    try:
        algorithms.verify(key, parsed.signature, parsed.tbs_certificate_bytes, algorithm)
    except InvalidSignature:
        return False
    return True


def wider(inner: Constraints, outer: Constraints) -> list[str]:
    """Where ``inner`` allows what ``outer`` does not. A name must pass both; we check names against the inner alone."""
    found = []
    if not (inner.permitted_dns or "" in inner.excluded_dns):
        found.append("its name constraints leave DNS names unconstrained")
    if not (inner.permitted_ip or len({net.version for net in inner.excluded_ip if not net.prefixlen}) == 2):
        found.append("its name constraints leave IP addresses unconstrained")
    found += [
        f"it permits DNS names below {base!r}, which its root does not"
        for base in inner.permitted_dns
        if outer.permitted_dns and not any(_below(base, other) for other in outer.permitted_dns)
    ]
    found += [
        f"it permits {str(net)!r}, which its root does not"
        for net in inner.permitted_ip
        if outer.permitted_ip and not any(_inside(net, other) for other in outer.permitted_ip)
    ]
    found += [
        f"it does not exclude DNS names below {base!r}, which its root does"
        for base in outer.excluded_dns
        if not any(_below(base, other) for other in inner.excluded_dns)
        and (not inner.permitted_dns or any(_touch(base, other) for other in inner.permitted_dns))
    ]
    found += [
        f"it does not exclude {str(net)!r}, which its root does"
        for net in outer.excluded_ip
        if not any(_inside(net, other) for other in inner.excluded_ip)
        and (not inner.permitted_ip or any(net.overlaps(other) for other in inner.permitted_ip))
    ]
    return found


def _below(base: str, other: str) -> bool:
    """Whether every name that ``base`` covers is covered by ``other``; a leading dot leaves out the domain itself."""
    if other.startswith("."):
        return base.endswith(other)
    bare = base.removeprefix(".")
    return not other or bare == other or bare.endswith("." + other)


def _touch(one: str, other: str) -> bool:
    return _below(one, other) or _below(other, one)


def _inside(net: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    if isinstance(net, IPv4Network):
        return isinstance(other, IPv4Network) and net.subnet_of(other)
    return isinstance(other, IPv6Network) and net.subnet_of(other)
