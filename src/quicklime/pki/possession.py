"""Proof that the requester holds the private key of a certificate: a signature that the certificate's key verifies.

The message is always 32 octets (see ``lifecycle.certificate.renewal_message``), signed as any message is: ECDSA with
SHA-256 (P-256) or SHA-384 (P-384), RSA PKCS#1 v1.5 or PSS with SHA-256, Ed25519 and ML-DSA pure.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from quicklime.errors import Code, Fault, Refused

SIGNATURE_OCTETS_MAX = 8192


def check_possession(
    public_key: bytes, signature: bytes, message: bytes, *, code: Code = Code.RENEWAL_SIGNATURE_INVALID
) -> None:
    """Whether ``signature`` over ``message`` is by the key in ``public_key`` (SPKI, DER). Raises Refused with ``code``."""
    if len(signature) > SIGNATURE_OCTETS_MAX:
        raise Refused(code, f"signature of {len(signature)} octets, expected at most {SIGNATURE_OCTETS_MAX}")
    key = load_der_public_key(public_key)
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                digest: hashes.HashAlgorithm = (
                    hashes.SHA256() if key.curve.key_size == 256 else hashes.SHA384()
                )
                key.verify(signature, message, ec.ECDSA(digest))
            case rsa.RSAPublicKey():
                _check_rsa(key, signature, message)
            case ed25519.Ed25519PublicKey():
                key.verify(signature, message)
            case mldsa.MLDSA44PublicKey() | mldsa.MLDSA65PublicKey() | mldsa.MLDSA87PublicKey():
                key.verify(signature, message)
            case _:
                raise Fault(f"a certificate with a {type(key).__name__} was issued")
    except InvalidSignature:
        raise Refused(
            code, "the signature is not by the certificate's key over the expected message"
        ) from None


def _check_rsa(key: rsa.RSAPublicKey, signature: bytes, message: bytes) -> None:
    try:
        key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
        key.verify(signature, message, pss, hashes.SHA256())
