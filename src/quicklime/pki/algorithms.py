"""Which signature algorithm belongs to which key, as DER, and verification by that table.

Invariant: a key has exactly one signature algorithm here, so a signature can't be verified under another one than it was
made under. Identifiers: RFC 5758, Section 3.2 (ECDSA), RFC 4055, Section 5 (RSA), RFC 8410, Section 3 (Ed25519),
RFC 9881, Section 2 (ML-DSA).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from quicklime.errors import Fault
from quicklime.pki import der

# What an issuer's key may be, and what `quicklime issue` can make. A subscriber's RSA key may have other sizes as well.
KEY_TYPES: Final = (
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
# Issuers live for years: RSA of 2048 bits is left to subscribers.
ISSUER_KEY_TYPES: Final = tuple(one for one in KEY_TYPES if one != "rsa-2048")

_RSA_BITS: Final = range(2048, 8193)

# RFC 5758, Section 3.2; RFC 8410, Section 3; RFC 9881, Section 2: the parameters are absent, not NULL.
ECDSA_SHA256: Final = der.sequence(der.object_identifier("1.2.840.10045.4.3.2"))
ECDSA_SHA384: Final = der.sequence(der.object_identifier("1.2.840.10045.4.3.3"))
ED25519: Final = der.sequence(der.object_identifier("1.3.101.112"))
ML_DSA_44: Final = der.sequence(der.object_identifier("2.16.840.1.101.3.4.3.17"))
ML_DSA_65: Final = der.sequence(der.object_identifier("2.16.840.1.101.3.4.3.18"))
ML_DSA_87: Final = der.sequence(der.object_identifier("2.16.840.1.101.3.4.3.19"))
# RFC 4055, Section 5: the parameters are NULL and must be there.
RSA_SHA256: Final = der.sequence(der.object_identifier("1.2.840.113549.1.1.11"), der.NULL)

_SHA256: Final = ec.ECDSA(hashes.SHA256())
_SHA384: Final = ec.ECDSA(hashes.SHA384())
_PKCS1: Final = padding.PKCS1v15()


@dataclass(frozen=True, slots=True)
class KeyKind:
    """What follows from a public key: its type's name, and the AlgorithmIdentifier (DER) of its signatures."""

    key_type: str
    algorithm: bytes


def kind_of(public_key: PublicKeyTypes) -> KeyKind:
    """The kind of a key that may sign as an issuer or a responder. Raises Fault for any other."""
    match public_key:
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            return KeyKind("ecdsa-p256", ECDSA_SHA256)
        case ec.EllipticCurvePublicKey(curve=ec.SECP384R1()):
            return KeyKind("ecdsa-p384", ECDSA_SHA384)
        case rsa.RSAPublicKey(key_size=size) if size in _RSA_BITS:
            return KeyKind(f"rsa-{size}", RSA_SHA256)
        case ed25519.Ed25519PublicKey():
            return KeyKind("ed25519", ED25519)
        case mldsa.MLDSA44PublicKey():
            return KeyKind("ml-dsa-44", ML_DSA_44)
        case mldsa.MLDSA65PublicKey():
            return KeyKind("ml-dsa-65", ML_DSA_65)
        case mldsa.MLDSA87PublicKey():
            return KeyKind("ml-dsa-87", ML_DSA_87)
        case _:
            raise Fault(f"a {type(public_key).__name__} of unsupported kind, expected one of {KEY_TYPES!r}")


def verify(public_key: PublicKeyTypes, signature: bytes, data: bytes, algorithm: bytes) -> None:
    """Check ``signature`` over ``data`` under ``algorithm`` (AlgorithmIdentifier, DER).

    Raises ``cryptography.exceptions.InvalidSignature``; Fault where the algorithm is not the key's own.
    """
    kind = kind_of(public_key)
    if algorithm != kind.algorithm:
        raise Fault(f"algorithm {algorithm.hex()}, expected that of {kind.key_type}: {kind.algorithm.hex()}")
    match public_key:
        case ec.EllipticCurvePublicKey():
            public_key.verify(signature, data, _SHA256 if algorithm == ECDSA_SHA256 else _SHA384)
        case rsa.RSAPublicKey():
            public_key.verify(signature, data, _PKCS1, hashes.SHA256())
        case ed25519.Ed25519PublicKey():
            public_key.verify(signature, data)
        case mldsa.MLDSA44PublicKey() | mldsa.MLDSA65PublicKey() | mldsa.MLDSA87PublicKey():
            public_key.verify(signature, data)
        case _:
            raise Fault(f"no verification for a {type(public_key).__name__}")
