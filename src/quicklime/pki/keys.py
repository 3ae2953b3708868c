"""Public keys of subscribers: which types there are, and which keys are too weak to certify.

Invariant: a key that ``check_key`` let pass is of a type that Quicklime knows, in its one encoding, and has none of the
weaknesses below. What it can't see: keys that are weak without a mark on them (poor randomness that no list holds).

* Types: RSA of 2048 to 8192 bits, ECDSA P-256 and P-384 (named curve, uncompressed point), Ed25519, ML-DSA-44/65/87
  (RFC 3279, Section 2.3.1; RFC 5480, Section 2; RFC 8410, Section 4; RFC 9881, Section 4).
* RSA: exponent, small factors, ROCA (CVE-2017-15361), primes so close that Fermat's method finds them in 100 rounds
  (CVE-2022-26320), structured moduli, primes known to be shared by many devices. The mathematics
  is that of the ``badkeys`` package, computed in this process.
* Lists of keys known to be compromised, Debian's of 2006 to 2008 (CVE-2008-0166) among them: a ``BlockedKeys``, made from
  files that the operator names. None comes along: without them, such keys are not recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from badkeys.rsakeys import fermat, roca, rsapoly, sharedprimes, smallfactors
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from quicklime.errors import Code, Fault, Refused
from quicklime.pki import der
from quicklime.pki.reader import NotDER, check_der

RSA_BITS_MIN = 2048
RSA_BITS_MAX = 8192  # verifying grows with the square of it

PublicKey = (
    rsa.RSAPublicKey
    | ec.EllipticCurvePublicKey
    | ed25519.Ed25519PublicKey
    | mldsa.MLDSA44PublicKey
    | mldsa.MLDSA65PublicKey
    | mldsa.MLDSA87PublicKey
)
_KINDS = (
    rsa.RSAPublicKey,
    ec.EllipticCurvePublicKey,
    ed25519.Ed25519PublicKey,
    mldsa.MLDSA44PublicKey,
    mldsa.MLDSA65PublicKey,
    mldsa.MLDSA87PublicKey,
)


def _algorithm(dotted: str, *parameters: bytes) -> bytes:
    return der.sequence(der.object_identifier(dotted), *parameters)


_EC = "1.2.840.10045.2.1"
_RSA = "1.2.840.113549.1.1.1"

# AlgorithmIdentifier as it must stand in the key -> (what precedes the key in the BIT STRING, its octets), None: variable
_KNOWN: dict[bytes, tuple[bytes, int] | None] = {
    _algorithm(_RSA, der.NULL): None,  # RFC 3279, Section 2.3.1: the NULL is there
    # uncompressed: every implementation must read it, the compressed form only may be read (RFC 5480, Section 2.2)
    _algorithm(_EC, der.object_identifier("1.2.840.10045.3.1.7")): (b"\x04", 65),
    _algorithm(_EC, der.object_identifier("1.3.132.0.34")): (b"\x04", 97),
    _algorithm("1.3.101.112"): (b"", 32),  # RFC 8410, Section 3: no parameters
    _algorithm("2.16.840.1.101.3.4.3.17"): (b"", 1312),  # RFC 9881, Section 2: no parameters
    _algorithm("2.16.840.1.101.3.4.3.18"): (b"", 1952),
    _algorithm("2.16.840.1.101.3.4.3.19"): (b"", 2592),
}
_KNOWN_OIDS = frozenset(der.children(algorithm)[0] for algorithm in _KNOWN)

# What people send besides, by name, for a message that helps.
_OTHERS = {
    der.object_identifier(dotted): name
    for dotted, name in {
        "1.2.840.113549.1.1.10": "rsassa-pss",
        "1.2.840.113549.1.1.7": "rsaes-oaep",
        "1.2.840.10040.4.1": "dsa",
        "1.2.840.113549.1.3.1": "diffie-hellman",
        "1.3.101.110": "x25519",
        "1.3.101.111": "x448",
        "1.3.101.113": "ed448",
    }.items()
}
_CURVES = {
    der.object_identifier(dotted): name
    for dotted, name in {
        "1.2.840.10045.3.1.1": "p-192",
        "1.3.132.0.33": "p-224",
        "1.3.132.0.35": "p-521",
        "1.3.132.0.10": "secp256k1",
        "1.3.36.3.3.2.8.1.1.7": "brainpoolP256r1",
        "1.2.156.10197.1.301": "sm2",
    }.items()
}
_EXPECTED = "expected RSA, ECDSA P-256 or P-384, Ed25519 or ML-DSA"


class Blocked(Protocol):
    """Keys known to be compromised."""

    def holds(self, public_key: PublicKey, spki: bytes) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockedKeys:
    """Lists of compromised keys.

    ``spki_sha256``: SHA-256 of SubjectPublicKeyInfo in DER, hex. ``badkeys``: the blocklist of the badkeys project as it is
    published, sorted records of 16 octets: the first 15 of SHA-256 over the key's number, and one that names the list.
    """

    spki_sha256: frozenset[str] = frozenset()
    badkeys: bytes = b""

    @classmethod
    def of(cls, hashes: Iterable[str] = (), badkeys: bytes = b"") -> BlockedKeys:
        """Raises ValueError naming what is no hash, or a blocklist that is cut off or not sorted at its ends."""
        found = frozenset(text.strip().lower() for text in hashes)
        for text in found:
            if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
                raise ValueError(f"{text[:80]!r} is no SHA-256 in hexadecimal")
        if len(badkeys) % 16 or badkeys[:15] > badkeys[-16:-1]:
            raise ValueError(f"blocklist of {len(badkeys)} octets, expected sorted records of 16")
        return cls(spki_sha256=found, badkeys=badkeys)

    def holds(self, public_key: PublicKey, spki: bytes) -> bool:
        if self.spki_sha256 and sha256(spki).hexdigest() in self.spki_sha256:
            return True
        return bool(self.badkeys) and self.lists(_number(public_key))

    def lists(self, number: bytes) -> bool:
        """Whether the badkeys list holds this number of a key (big-endian, no leading zeros)."""
        wanted = sha256(number).digest()[:15]
        low, high = 0, len(self.badkeys) // 16
        while low < high:
            middle = (low + high) // 2
            record = self.badkeys[middle * 16 : middle * 16 + 15]
            if record == wanted:
                return True
            if record < wanted:
                low = middle + 1
            else:
                high = middle
        return False


NOTHING_BLOCKED = BlockedKeys()


def _number(public_key: PublicKey) -> bytes:
    """What the badkeys blocklist hashes: modulus, x coordinate or Ed25519 key as a number, ML-DSA key as it is."""
    if isinstance(public_key, rsa.RSAPublicKey):
        number = public_key.public_numbers().n
    elif isinstance(public_key, ec.EllipticCurvePublicKey):
        number = public_key.public_numbers().x
    elif isinstance(public_key, ed25519.Ed25519PublicKey):
        number = int.from_bytes(public_key.public_bytes_raw(), "big")
    else:
        return public_key.public_bytes_raw()
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def key_type(public_key: object) -> str:
    """The type's name in policies: ``ecdsa-p256``, ``rsa-2048``... Raises Refused (``key-type-not-allowed``)."""
    match public_key:
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()):
            return "ecdsa-p256"
        case ec.EllipticCurvePublicKey(curve=ec.SECP384R1()):
            return "ecdsa-p384"
        case rsa.RSAPublicKey():
            return f"rsa-{public_key.key_size}"
        case ed25519.Ed25519PublicKey():
            return "ed25519"
        case mldsa.MLDSA44PublicKey():
            return "ml-dsa-44"
        case mldsa.MLDSA65PublicKey():
            return "ml-dsa-65"
        case mldsa.MLDSA87PublicKey():
            return "ml-dsa-87"
        case _:
            raise Refused(Code.KEY_TYPE_NOT_ALLOWED, f"key type is unknown, {_EXPECTED}", field="csr")


def load_key(spki: bytes) -> PublicKey:
    """The key in ``spki``, a SubjectPublicKeyInfo in strict DER (``reader.check_der``).

    Raises Refused: ``key-type-not-allowed``; ``csr-malformed`` where the octets are no key of their type.
    """
    parts = _parts(spki, 2, "SubjectPublicKeyInfo")
    algorithm, value = parts[0], der.contents(parts[1])
    if algorithm not in _KNOWN:
        _explain(algorithm)
    if parts[1][0] != 0x03 or value[0] != 0:
        raise _no_key("is no BIT STRING of whole octets")
    shape = _KNOWN[algorithm]
    if shape is not None and len(value) - 1 != shape[1]:
        raise _no_key(
            f"has {len(value) - 1} octets, expected {shape[1]}{', an uncompressed point' * bool(shape[0])}"
        )
    if shape is not None and not value[1:].startswith(shape[0]):
        raise _no_key("is no uncompressed point")
    try:
        public_key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm):
        if shape is None:
            _explain_rsa(value[1:])
        raise _no_key("is no RSA key" if shape is None else "is no point on its curve") from None
    if not isinstance(public_key, _KINDS):
        raise Refused(Code.KEY_TYPE_NOT_ALLOWED, f"key type is unknown, {_EXPECTED}", field="csr")
    return public_key


def _parts(value: bytes, count: int, what: str) -> list[bytes]:
    try:
        parts = der.children(value)
    except Fault:
        parts = []
    if value[:1] != b"\x30" or len(parts) != count:
        raise _no_key(f"is no {what}")
    return parts


def _no_key(why: str) -> Refused:
    return Refused(Code.CSR_MALFORMED, f"public key {why}", field="csr")


def _explain(algorithm: bytes) -> None:
    """Always raises Refused, saying why ``algorithm`` is none of ``_KNOWN``."""
    parts = der.children(algorithm) if algorithm[:1] == b"\x30" else []
    if not parts:
        raise _no_key("has no AlgorithmIdentifier")
    if parts[0] not in _KNOWN_OIDS:
        name = _OTHERS.get(parts[0], "unknown")
        raise Refused(Code.KEY_TYPE_NOT_ALLOWED, f"key type is {name}, {_EXPECTED}", field="csr")
    if parts[0] == der.object_identifier(_EC) and len(parts) == 2:
        curve = _CURVES.get(parts[1], "unknown" if parts[1][0] == 0x06 else "written out")
        raise Refused(
            Code.KEY_TYPE_NOT_ALLOWED, f"curve is {curve}, expected P-256 or P-384, named", field="csr"
        )
    raise _no_key("has other parameters than its algorithm")


def _explain_rsa(value: bytes) -> None:
    """Raises Refused (``key-weak``) where the library refused an RSA key for numbers that ``check_rsa`` names."""
    try:
        check_der(value)
    except NotDER:
        return
    numbers = der.children(value) if value[0] == 0x30 else []
    if [number[0] for number in numbers] == [0x02, 0x02]:
        modulus, exponent = (int.from_bytes(der.contents(number), "big", signed=True) for number in numbers)
        check_rsa(modulus, exponent)


def check_key(public_key: PublicKey, spki: bytes, *, blocked: Blocked = NOTHING_BLOCKED) -> str:
    """The type of a key that is fit for a certificate; ``spki`` is its SubjectPublicKeyInfo in DER.

    Raises Refused: ``key-weak``, ``key-compromised``, ``key-type-not-allowed``, ``csr-malformed``.
    """
    kind = key_type(public_key)
    if isinstance(public_key, rsa.RSAPublicKey):
        if public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != spki:
            raise _no_key("is not in its one encoding")
        numbers = public_key.public_numbers()
        check_rsa(numbers.n, numbers.e)
    elif isinstance(public_key, ed25519.Ed25519PublicKey):
        _check_ed25519(public_key.public_bytes_raw())
    if blocked.holds(public_key, spki):
        raise Refused(Code.KEY_COMPROMISED, "key is on a list of compromised keys", field="csr")
    return kind


# cheap ones first
_WEAKNESSES: tuple[tuple[Callable[[int, int], object], str], ...] = (
    (roca, "has the mark of ROCA (CVE-2017-15361)"),
    (rsapoly, "has a modulus with a pattern that lets it be factored"),
    (smallfactors, "has a modulus with a small factor"),
    (fermat, "has primes that are too close to each other"),
    (sharedprimes, "has a prime that other keys have too"),
)


def _weak(why: str) -> Refused:
    return Refused(Code.KEY_WEAK, f"RSA key {why}", field="csr")


def check_rsa(modulus: int, exponent: int) -> None:
    """Raises Refused (``key-weak``) saying which weakness the key has."""
    bits = max(modulus, 0).bit_length()
    if not RSA_BITS_MIN <= bits <= RSA_BITS_MAX or bits % 8:
        raise _weak(f"has {bits} bits, expected {RSA_BITS_MIN} to {RSA_BITS_MAX}, a multiple of 8")
    # 2^16 < e < 2^256 and odd (FIPS 186-5, Appendix A.1.1): smaller ones fall to padding and broadcast attacks,
    # an even one has no inverse, a huge one hides a small private one (Wiener) and costs each verifier time
    if not 1 << 16 < exponent < 1 << 256 or exponent % 2 == 0:
        shown = str(exponent) if exponent.bit_length() <= 64 else f"a number of {exponent.bit_length()} bits"
        raise _weak(f"has exponent {shown}, expected an odd one from 65537 to 2^256")
    for weakness, why in _WEAKNESSES:
        if weakness(modulus, exponent):
            raise _weak(why)


_P25519 = 2**255 - 19
# y coordinates of the points of order 1, 2, 4 and 8 (RFC 8032, Section 5.1): signatures by such a key verify for anybody
_SMALL_ORDER = frozenset(
    {
        0,
        1,
        _P25519 - 1,
        int.from_bytes(
            bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
        ),
        int.from_bytes(
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
        )
        & ~(1 << 255),
    }
)


def _check_ed25519(raw: bytes) -> None:
    y = int.from_bytes(raw, "little") & ~(1 << 255)
    # a y of p or more is no encoding of a point: RFC 8032, Section 5.1.3
    if y >= _P25519 or y in _SMALL_ORDER:
        raise Refused(Code.KEY_WEAK, "Ed25519 key is of small order or not in its one encoding", field="csr")
