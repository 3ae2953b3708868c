"""Pieces of certification requests, right and wrong, put together by hand; nothing here is random.

Keys and signatures follow from their names (SHA-256 in counter mode, RFC 6979 for ECDSA), so that the same script makes the
same octets everywhere.
"""

from __future__ import annotations

import base64
from functools import cache
from hashlib import sha256
from itertools import count
from math import prod

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quicklime.pki import der

oid = der.object_identifier


def stream(seed: str, octets: int) -> bytes:
    """``octets`` octets that look random and follow from ``seed``."""
    blocks = (sha256(f"{seed} {block}".encode()).digest() for block in range(octets // 32 + 1))
    return b"".join(blocks)[:octets]


def number(seed: str, bits: int) -> int:
    """A number of exactly ``bits`` bits, the two highest set."""
    value = int.from_bytes(stream(seed, (bits + 7) // 8), "big") >> (-bits % 8)
    return value | 3 << (bits - 2)


_SMALL = [2] + [
    odd for odd in range(3, 2000, 2) if all(odd % factor for factor in range(3, int(odd**0.5) + 1, 2))
]


def is_prime(candidate: int) -> bool:
    """Fermat's test to two bases: good enough for numbers that nobody chose against it."""
    if candidate <= _SMALL[-1]:
        return candidate in _SMALL
    return all(candidate % factor for factor in _SMALL) and all(
        pow(base, candidate - 1, candidate) == 1 for base in (2, 3)
    )


def next_prime(start: int) -> int:
    return next(candidate for candidate in count(start | 1, 2) if is_prime(candidate))


@cache
def prime(seed: str, bits: int) -> int:
    return next_prime(number(seed, bits))


def _p256(seed: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(stream(seed, 31), "big"), ec.SECP256R1())


P256 = _p256("the requester")
OTHER_P256 = _p256("somebody else")
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(stream("the requester", 32))
SPKI = P256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
ED25519_SPKI = ED25519.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

ECDSA_SHA256 = der.sequence(oid("1.2.840.10045.4.3.2"))
ECDSA_SHA384 = der.sequence(oid("1.2.840.10045.4.3.3"))
RSA_SHA256 = der.sequence(oid("1.2.840.113549.1.1.11"), der.NULL)


def ecdsa(message: bytes, key: ec.EllipticCurvePrivateKey = P256) -> bytes:
    return key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def set_of(*values: bytes) -> bytes:
    return der.tlv(0x31, b"".join(values))


# subject


def attribute(value: bytes, tag: int = 0x0C, kind: str = "2.5.4.3") -> bytes:
    return der.sequence(oid(kind), der.tlv(tag, value))


def subject(*attributes: bytes) -> bytes:
    return der.sequence(*(set_of(one) for one in attributes))


# attributes and extensions

SAN, BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE = "2.5.29.17", "2.5.29.19", "2.5.29.15", "2.5.29.37"


def extension(kind: str, value: bytes, *, critical: bool = False) -> bytes:
    return der.sequence(oid(kind), *([der.boolean_true()] if critical else []), der.octet_string(value))


def extension_request(*extensions: bytes) -> bytes:
    return der.sequence(oid("1.2.840.113549.1.9.14"), set_of(der.sequence(*extensions)))


def dns(name: bytes | str) -> bytes:
    return der.tlv(0x82, name.encode() if isinstance(name, str) else name)


def san(*general_names: bytes) -> bytes:
    return extension(SAN, der.sequence(*general_names))


WEB = san(dns("web.internal"))


# the request


def info(
    *,
    version: bytes = b"\x02\x01\x00",
    whose: bytes = b"\x30\x00",
    spki: bytes = SPKI,
    attributes: tuple[bytes, ...] = (extension_request(WEB),),
    after: bytes = b"",
) -> bytes:
    """CertificationRequestInfo, by default a faultless one for web.internal."""
    return der.sequence(version, whose, spki, der.tlv(0xA0, b"".join(attributes)), after)


def request(
    what: bytes | None = None, algorithm: bytes = ECDSA_SHA256, signature: bytes | None = None
) -> bytes:
    """CertificationRequest, signed by ``P256`` unless ``signature`` is given."""
    what = info() if what is None else what
    return der.sequence(what, algorithm, der.bit_string(ecdsa(what) if signature is None else signature))


def for_names(*general_names: bytes) -> bytes:
    return request(info(attributes=(extension_request(san(*general_names)),)))


def for_extensions(*extensions: bytes) -> bytes:
    return request(info(attributes=(extension_request(WEB, *extensions),)))


def for_subject(whose: bytes) -> bytes:
    return request(info(whose=whose))


def for_key(spki: bytes) -> bytes:
    """Signed by another key: whoever looks at the signature before the key tells it by the code."""
    return request(info(spki=spki))


# public keys


def spki_of(algorithm: bytes, key: bytes) -> bytes:
    return der.sequence(algorithm, der.bit_string(key))


def rsa_spki(modulus: int, exponent: int = 65537) -> bytes:
    return spki_of(
        der.sequence(oid("1.2.840.113549.1.1.1"), der.NULL),
        der.sequence(der.integer(modulus), der.integer(exponent)),
    )


def ec_spki(curve: str, point: bytes) -> bytes:
    return spki_of(der.sequence(oid("1.2.840.10045.2.1"), oid(curve)), point)


P256_CURVE = "1.2.840.10045.3.1.7"
P256_POINT = P256.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def rsa_modulus(seed: str, bits: int = 2048) -> int:
    """The product of two primes that share nothing with another's."""
    low = bits // 2
    return prime(f"{seed} p", bits - low) * prime(f"{seed} q", low)


@cache
def roca_modulus() -> int:
    """Primes of the form k * M + 65537^a mod M, M the product of the first 126 primes (CVE-2017-15361), 1024 bits each."""
    m = prod(_SMALL[:126])
    return _roca_prime("p", m) * _roca_prime("q", m)


def _roca_prime(seed: str, m: int) -> int:
    candidates = (
        number(f"roca {seed} k {place}", 1024 - m.bit_length()) * m
        + pow(65537, number(f"roca {seed} a {place}", 256), m)
        for place in count()
    )
    return next(one for one in candidates if is_prime(one))


# the frame


def pem(data: bytes, label: str = "CERTIFICATE REQUEST") -> bytes:
    text = base64.b64encode(data).decode()
    lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n".encode()
