"""The signature of a certification request: which algorithms count, and whether it is by the key that the request holds.

Invariant: ``check_signature`` returns only where the signature is valid under an algorithm that is not broken.

Standards: RFC 2986, Section 4.2; RFC 4055, Sections 3.1 and 5 (RSA); RFC 5758, Section 3.2 (ECDSA); RFC 8410, Section 3;
RFC 9881, Section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa

from quicklime.errors import Code, Refused
from quicklime.pki import der
from quicklime.pki.keys import PublicKey

_SHA256, _SHA384, _SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()
_Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512
_HASH_OIDS: dict[str, _Hash] = {
    "2.16.840.1.101.3.4.2.1": _SHA256,
    "2.16.840.1.101.3.4.2.2": _SHA384,
    "2.16.840.1.101.3.4.2.3": _SHA512,
}
_MGF1 = der.object_identifier("1.2.840.113549.1.1.8")
_PSS = der.object_identifier("1.2.840.113549.1.1.10")
_SALT_DEFAULT = der.integer(20)  # RFC 4055, Section 3.1
SALT_OCTETS_MAX = 1024  # more than the largest modulus has room for


@dataclass(frozen=True, slots=True)
class _RSA:
    hash: _Hash


def _algorithm(dotted: str, *parameters: bytes) -> bytes:
    return der.sequence(der.object_identifier(dotted), *parameters)


_ECDSA: dict[bytes, ec.ECDSA] = {
    _algorithm("1.2.840.10045.4.3.2"): ec.ECDSA(_SHA256),
    _algorithm("1.2.840.10045.4.3.3"): ec.ECDSA(_SHA384),
    _algorithm("1.2.840.10045.4.3.4"): ec.ECDSA(_SHA512),
}
# "implementations MUST accept the parameters being absent as well as present": RFC 4055, Section 5
_RSA_PKCS1: dict[bytes, _Hash] = {
    _algorithm(dotted, *parameters): algorithm
    for dotted, algorithm in (
        ("1.2.840.113549.1.1.11", _SHA256),
        ("1.2.840.113549.1.1.12", _SHA384),
        ("1.2.840.113549.1.1.13", _SHA512),
    )
    for parameters in ((), (der.NULL,))
}
_HASHES: dict[bytes, _Hash] = {
    _algorithm(dotted, *parameters): algorithm
    for dotted, algorithm in _HASH_OIDS.items()
    for parameters in ((), (der.NULL,))
}
_ED25519 = _algorithm("1.3.101.112")
_ML_DSA: dict[bytes, type] = {
    _algorithm("2.16.840.1.101.3.4.3.17"): mldsa.MLDSA44PublicKey,
    _algorithm("2.16.840.1.101.3.4.3.18"): mldsa.MLDSA65PublicKey,
    _algorithm("2.16.840.1.101.3.4.3.19"): mldsa.MLDSA87PublicKey,
}
_REFUSED = {
    der.object_identifier(dotted): name
    for dotted, name in {
        "1.2.840.113549.1.1.2": "md2WithRSAEncryption",
        "1.2.840.113549.1.1.4": "md5WithRSAEncryption",
        "1.2.840.113549.1.1.5": "sha1WithRSAEncryption",
        "1.3.14.3.2.29": "sha1WithRSAEncryption",
        "1.2.840.113549.1.1.14": "sha224WithRSAEncryption",
        "1.2.840.10045.4.1": "ecdsa-with-SHA1",
        "1.2.840.10045.4.3.1": "ecdsa-with-SHA224",
        "1.2.840.10040.4.3": "dsa-with-SHA1",
        "2.16.840.1.101.3.4.3.2": "dsa-with-SHA256",
        "1.3.101.113": "Ed448",
        "1.3.6.1.5.5.7.6.2": "id-alg-noSignature",
    }.items()
}


_KNOWN_OIDS = frozenset(der.children(one)[0] for one in (*_ECDSA, *_RSA_PKCS1, _ED25519, *_ML_DSA)) | {_PSS}


def check_signature(public_key: PublicKey, algorithm: bytes, signature: bytes, message: bytes) -> None:
    """Check ``signature`` (the octets of the BIT STRING) by ``public_key`` over ``message``, the CertificationRequestInfo.

    ``algorithm`` is the AlgorithmIdentifier in strict DER.
    Raises Refused: ``csr-algorithm-refused``, ``csr-signature-invalid``.
    """
    pss = _pss(algorithm) if algorithm not in _ECDSA and algorithm not in _RSA_PKCS1 else None
    if pss is None and not _is_known(algorithm):
        oid = der.children(algorithm)[0]
        name = _REFUSED.get(oid, "known, but not with these parameters" if oid in _KNOWN_OIDS else "unknown")
        raise Refused(
            Code.CSR_ALGORITHM_REFUSED,
            f"signature algorithm is {name}, expected SHA-256 or stronger, Ed25519 or ML-DSA",
            field="csr",
        )
    try:
        fits = _verify(public_key, algorithm, pss, signature, message)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        raise Refused(
            Code.CSR_SIGNATURE_INVALID,
            "signature is not by the key in the request, over this request",
            field="csr",
        ) from None
    if not fits:
        raise Refused(
            Code.CSR_SIGNATURE_INVALID,
            "signature algorithm is not one of the key in the request",
            field="csr",
        )


def _is_known(algorithm: bytes) -> bool:
    return algorithm in _ECDSA or algorithm in _RSA_PKCS1 or algorithm == _ED25519 or algorithm in _ML_DSA


def _verify(
    public_key: PublicKey,
    algorithm: bytes,
    pss: tuple[_Hash, int] | None,
    signature: bytes,
    message: bytes,
) -> bool:
    """False where the algorithm is none for this kind of key; raises where the signature is not valid."""
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        if algorithm not in _ECDSA:
            return False
        public_key.verify(signature, message, _ECDSA[algorithm])
    elif isinstance(public_key, rsa.RSAPublicKey):
        if pss is not None:
            padded = padding.PSS(padding.MGF1(pss[0]), pss[1])
            public_key.verify(signature, message, padded, pss[0])
        elif algorithm in _RSA_PKCS1:
            public_key.verify(signature, message, padding.PKCS1v15(), _RSA_PKCS1[algorithm])
        else:
            return False
    elif isinstance(public_key, ed25519.Ed25519PublicKey):
        if algorithm != _ED25519:
            return False
        public_key.verify(signature, message)
    else:
        if _ML_DSA.get(algorithm) is None or not isinstance(public_key, _ML_DSA[algorithm]):
            return False
        public_key.verify(signature, message)
    return True


def _pss(algorithm: bytes) -> tuple[_Hash, int] | None:
    """Hash and salt length of RSASSA-PSS (RFC 4055, Section 3.1); None where it is another algorithm, or a weak hash.

    The mask's hash must be the message's; the trailer field must be the default, which DER leaves out.
    """
    parts = der.children(algorithm)
    if len(parts) != 2 or parts[0] != _PSS or parts[1][0] != 0x30:
        return None
    fields = der.children(parts[1])
    if [field[0] for field in fields] not in ([0xA0, 0xA1], [0xA0, 0xA1, 0xA2]):
        return None  # a hash left out is SHA-1
    chosen, mask, salt = (*(der.contents(field) for field in fields), _SALT_DEFAULT)[:3]
    hashed = _HASHES.get(chosen)
    if hashed is None or mask[:1] != b"\x30" or salt[:1] != b"\x02":
        return None
    masking = der.children(mask)
    if len(masking) != 2 or masking[0] != _MGF1 or _HASHES.get(masking[1]) is not hashed:
        return None
    octets = int.from_bytes(der.contents(salt), "big", signed=True)
    return (hashed, octets) if 0 < octets <= SALT_OCTETS_MAX else None
