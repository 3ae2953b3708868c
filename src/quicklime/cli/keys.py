"""Keys, requests and files of a subscriber, so that nobody needs another tool for them.

Files appear whole or not at all; private keys are readable by their owner only, from the moment they exist.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from quicklime.cli.output import Usage

PrivateKey: TypeAlias = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)

KEY_TYPES = (
    "ecdsa-p256",
    "ecdsa-p384",
    "rsa-2048",
    "rsa-3072",
    "rsa-4096",
    "ed25519",
    "ml-dsa-44",
    "ml-dsa-65",
    "ml-dsa-87",
)
KEY_MODE = 0o600
CERTIFICATE_MODE = 0o644
COMMON_NAME_CHARACTERS_MAX = 64


def generate(key_type: str) -> PrivateKey:
    """A new key from the operating system's generator. Raises Usage."""
    match key_type:
        case "ecdsa-p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ecdsa-p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa-2048" | "rsa-3072" | "rsa-4096":
            return rsa.generate_private_key(65_537, int(key_type[4:]))
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "ml-dsa-44":
            return mldsa.MLDSA44PrivateKey.generate()
        case "ml-dsa-65":
            return mldsa.MLDSA65PrivateKey.generate()
        case "ml-dsa-87":
            return mldsa.MLDSA87PrivateKey.generate()
        case _:
            raise Usage(f"key type {key_type!r}, expected one of {', '.join(KEY_TYPES)}")


def key_type_of(key: PrivateKey) -> str:
    """The name of the key's type, to make another of it."""
    match key:
        case ec.EllipticCurvePrivateKey():
            return f"ecdsa-p{key.curve.key_size}"
        case rsa.RSAPrivateKey():
            return f"rsa-{key.key_size}"
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
        case mldsa.MLDSA44PrivateKey():
            return "ml-dsa-44"
        case mldsa.MLDSA65PrivateKey():
            return "ml-dsa-65"
        case mldsa.MLDSA87PrivateKey():
            return "ml-dsa-87"


def load(path: Path, passphrase: bytes | None) -> PrivateKey:
    """The private key in a PEM file. Raises Usage."""
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase)
    except OSError as error:
        raise Usage(f"can't read {path}: {error.strerror}") from None
    except TypeError:
        hint = "give --passphrase-file" if passphrase is None else "leave out --passphrase-file"
        raise Usage(f"{path} is {'' if passphrase is None else 'not '}encrypted", hint=hint) from None
    except ValueError:
        raise Usage(f"{path} holds no private key in PEM, or the passphrase is wrong") from None
    if not isinstance(key, PrivateKey):
        raise Usage(f"{path} holds a {type(key).__name__}, expected one of {', '.join(KEY_TYPES)}")
    return key


def encoded(key: PrivateKey, passphrase: bytes | None) -> bytes:
    """PKCS#8 in PEM, encrypted where there is a passphrase."""
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def request(key: PrivateKey, names: Iterable[str]) -> x509.CertificateSigningRequest:
    """A CSR for typed names (``dns:web.internal``, ``ip:10.0.0.1``)."""
    found = list(names)
    general: list[x509.GeneralName] = [
        x509.DNSName(name[4:]) if name.startswith("dns:") else x509.IPAddress(ip_address(name[3:]))
        for name in found
    ]
    first = found[0].partition(":")[2]
    subject = (
        [x509.NameAttribute(NameOID.COMMON_NAME, first)] if len(first) <= COMMON_NAME_CHARACTERS_MAX else []
    )
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name(subject))
        .add_extension(x509.SubjectAlternativeName(general), critical=False)
    )
    return builder.sign(key, _digest(key))


def sign(key: PrivateKey, message: bytes) -> bytes:
    """The signature over ``message`` as ``pki.possession`` verifies it."""
    match key:
        case ec.EllipticCurvePrivateKey():
            digest = hashes.SHA256() if key.curve.key_size == 256 else hashes.SHA384()
            return key.sign(message, ec.ECDSA(digest))
        case rsa.RSAPrivateKey():
            return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        case _:
            return key.sign(message)


def _digest(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size == 384:
        return hashes.SHA384()
    return hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) else None


def write(path: Path, content: bytes, mode: int) -> None:
    """Write ``path`` whole: a reader, or a crash, sees the old content or the new. Raises Usage."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Usage(f"can't write {path}: {error.strerror}") from None
