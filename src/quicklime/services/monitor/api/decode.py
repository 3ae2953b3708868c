"""A certificate's fields and extensions as people read them. What can't be read is shown in hexadecimal, never left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from quicklime.services.monitor.wire import Field

VALUES_MAX = 200
CHARACTERS_MAX = 2000


def fields_of(der: bytes) -> list[Field]:
    """Every field of a certificate (DER), extensions in their order."""
    certificate = x509.load_der_x509_certificate(der)
    found = [
        Field(name="Version", value=[certificate.version.name]),
        Field(name="Serial number", value=[f"{certificate.serial_number:040x}"]),
        Field(name="Signature algorithm", value=[certificate.signature_algorithm_oid._name]),  # noqa: SLF001
        Field(name="Issuer", value=[certificate.issuer.rfc4514_string() or "(empty)"]),
        Field(name="Subject", value=[certificate.subject.rfc4514_string() or "(empty)"]),
        Field(name="SHA-256 fingerprint", value=[certificate.fingerprint(hashes.SHA256()).hex(":")]),
    ]
    try:
        extensions = list(certificate.extensions)
    except ValueError as error:
        return [*found, Field(name="Extensions", value=[f"unreadable: {error}"[:CHARACTERS_MAX]])]
    return found + [
        Field(
            name=_title(extension.oid),
            oid=extension.oid.dotted_string,
            critical=extension.critical,
            value=[one[:CHARACTERS_MAX] for one in _values(extension.value)][:VALUES_MAX],
        )
        for extension in extensions
    ]


def _title(oid: x509.ObjectIdentifier) -> str:
    name = oid._name  # noqa: SLF001  the library's only table of names
    words = "".join(f" {letter}" if letter.isupper() else letter for letter in name).split()
    if name.lower().startswith("unknown"):
        return oid.dotted_string
    return " ".join(_joined(words)).capitalize()


def _joined(words: list[str]) -> Iterator[str]:
    """``O C S P`` is one word."""
    run = ""
    for word in words:
        if len(word) == 1:
            run += word
            continue
        if run:
            yield run
            run = ""
        yield word
    if run:
        yield run


def _values(value: x509.ExtensionType) -> list[str]:
    for kind, reader in _READERS:
        if isinstance(value, kind):
            return reader(value)
    if isinstance(value, x509.UnrecognizedExtension):
        return [value.value.hex(":")]
    return [value.public_bytes().hex(":")]


def _general(names: object) -> list[str]:
    assert isinstance(names, x509.SubjectAlternativeName)
    return [f"{type(one).__name__.removesuffix('Name')}: {one.value}" for one in names]


def _usage(value: object) -> list[str]:
    assert isinstance(value, x509.KeyUsage)
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
    )
    return [name.replace("_", " ") for name in names if getattr(value, name)]


def _extended(value: object) -> list[str]:
    assert isinstance(value, x509.ExtendedKeyUsage)
    return [f"{one._name} ({one.dotted_string})" for one in value]  # noqa: SLF001


def _access(value: object) -> list[str]:
    assert isinstance(value, x509.AuthorityInformationAccess)
    return [f"{one.access_method._name}: {one.access_location.value}" for one in value]  # noqa: SLF001


def _points(value: object) -> list[str]:
    assert isinstance(value, x509.CRLDistributionPoints)
    return [str(name.value) for point in value for name in point.full_name or ()]


def _constraints(value: object) -> list[str]:
    assert isinstance(value, x509.BasicConstraints)
    return [f"CA: {'yes' if value.ca else 'no'}"]


def _subject_key(value: object) -> list[str]:
    assert isinstance(value, x509.SubjectKeyIdentifier)
    return [value.digest.hex(":")]


def _authority_key(value: object) -> list[str]:
    assert isinstance(value, x509.AuthorityKeyIdentifier)
    return [(value.key_identifier or b"").hex(":")]


def _policies(value: object) -> list[str]:
    assert isinstance(value, x509.CertificatePolicies)
    return [one.policy_identifier.dotted_string for one in value]


_READERS: tuple[tuple[type[x509.ExtensionType], Callable[[object], list[str]]], ...] = (
    (x509.SubjectAlternativeName, _general),
    (x509.KeyUsage, _usage),
    (x509.ExtendedKeyUsage, _extended),
    (x509.AuthorityInformationAccess, _access),
    (x509.CRLDistributionPoints, _points),
    (x509.BasicConstraints, _constraints),
    (x509.SubjectKeyIdentifier, _subject_key),
    (x509.AuthorityKeyIdentifier, _authority_key),
    (x509.CertificatePolicies, _policies),
)
