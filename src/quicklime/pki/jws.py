"""JSON Web Signatures as ACME uses them: one signature, flattened JSON, everything protected. Parsed strictly.

Invariant: what ``verify`` let pass was signed, in exactly these octets, by the private key of ``key``, with an algorithm that
fits the key's type; there is no other algorithm, and what a header could change about that is refused.

Standards: RFC 7515, Section 7.2.2 (flattened serialisation), RFC 7517 and RFC 7518, Section 6 (keys), RFC 7638 (thumbprints),
RFC 8037, Section 2 (Ed25519), as profiled by RFC 8555, Section 6.2.
"""

from __future__ import annotations

import binascii
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quicklime.errors import Refused
from quicklime.pki import keys

ALGORITHMS: Final = ("ES256", "ES384", "EdDSA", "RS256", "RS384", "RS512")
MAC_ALGORITHMS: Final = ("HS256", "HS384", "HS512")

_CURVES: Final[Mapping[str, tuple[ec.EllipticCurve, str, int]]] = {
    "P-256": (ec.SECP256R1(), "ES256", 32),
    "P-384": (ec.SECP384R1(), "ES384", 48),
}
_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
# a header that could move the key, the payload's form or the rules elsewhere
_REFUSED_HEADERS: Final = ("crit", "b64", "jku", "x5u", "x5c", "x5t", "x5t#S256", "zip", "enc")
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_MEMBERS: Final = frozenset({"protected", "payload", "signature"})

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


class Unacceptable(ValueError):
    """``type`` is the last part of the ACME error (RFC 8555, Section 6.7); the text is safe to show."""

    def __init__(self, type: str, detail: str) -> None:
        super().__init__(detail)
        self.type = type


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A parsed JWS whose signature was not looked at yet. ``header`` is the protected one."""

    header: Mapping[str, Any]
    payload: bytes
    signature: bytes
    signing_input: bytes

    @property
    def algorithm(self) -> str:
        return str(self.header["alg"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A public key. ``jwk`` is its canonical JSON (RFC 7638, Section 3), ``thumbprint`` the SHA-256 of that."""

    jwk: str
    thumbprint: bytes
    public_key: PublicKey
    algorithms: tuple[str, ...]

    @property
    def spki(self) -> bytes:
        return self.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def base64url(octets: bytes) -> str:
    """Without padding (RFC 7515, Section 2)."""
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def octets_of(text: object, what: str) -> bytes:
    """The octets of base64url in its one form: no padding, no other alphabet, no stray bits. Raises Unacceptable."""
    if isinstance(text, str) and text.isascii():
        try:
            found = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except (binascii.Error, ValueError):
            found = None
        # the library's reader leaves out what is no base64, and stray bits: written again, they show
        if found is not None and base64url(found) == text:
            return found
    raise Unacceptable("malformed", f"{what} is not base64url without padding")


def object_of(octets: bytes | str, what: str) -> dict[str, Any]:
    """A JSON object, each member once. Raises Unacceptable."""
    try:
        found = json.loads(octets, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, Unacceptable) else "is not JSON"
        raise Unacceptable("malformed", f"{what} {why}") from None
    if not isinstance(found, dict):
        raise Unacceptable("malformed", f"{what} is not a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unacceptable("malformed", "has a member twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise Unacceptable("malformed", f"holds {text}, which is no JSON")


def parse(octets: bytes | Mapping[str, Any], *, algorithms: tuple[str, ...] = ALGORITHMS) -> Signed:
    """A JWS in flattened JSON. Raises Unacceptable: ``malformed``, ``badSignatureAlgorithm``."""
    outer = object_of(octets, "the body") if isinstance(octets, bytes) else octets
    if "header" in outer:
        raise Unacceptable("malformed", "the JWS has an unprotected header")
    if "signatures" in outer:
        raise Unacceptable("malformed", "the JWS has several signatures, expected the flattened form")
    if outer.keys() != _MEMBERS or not all(isinstance(value, str) for value in outer.values()):
        raise Unacceptable("malformed", f"the JWS has not exactly the text members {sorted(_MEMBERS)!r}")
    header = object_of(octets_of(outer["protected"], "protected"), "the protected header")
    found = [name for name in _REFUSED_HEADERS if name in header]
    if found:
        raise Unacceptable("malformed", f"the protected header holds {found!r}, which is refused")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise Unacceptable(
            "badSignatureAlgorithm", f"algorithm {str(algorithm)[:32]!r} is not one of {list(algorithms)!r}"
        )
    return Signed(
        header=header,
        payload=octets_of(outer["payload"], "payload"),
        signature=octets_of(outer["signature"], "signature"),
        signing_input=f"{outer['protected']}.{outer['payload']}".encode("ascii"),
    )


def read_key(jwk: object) -> Key:
    """A public key in JSON (RFC 7517). Raises Unacceptable: ``malformed``, ``badPublicKey``."""
    if not isinstance(jwk, dict):
        raise Unacceptable("malformed", "jwk is not an object")
    if _PRIVATE_MEMBERS & jwk.keys():
        raise Unacceptable("badPublicKey", "jwk holds parts of a private key")
    try:
        match jwk.get("kty"):
            case "EC":
                members, public_key, algorithms = _read_ec(jwk)
            case "RSA":
                members, public_key, algorithms = _read_rsa(jwk)
            case "OKP":
                members, public_key, algorithms = _read_okp(jwk)
            case other:
                raise Unacceptable(
                    "badPublicKey", f"kty {str(other)[:32]!r} is not one of 'EC', 'OKP' and 'RSA'"
                )
    except ValueError as error:
        if isinstance(error, Unacceptable):
            raise
        raise Unacceptable("badPublicKey", "jwk is no key: its numbers do not fit together") from None
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return Key(
        jwk=canonical,
        thumbprint=sha256(canonical.encode("ascii")).digest(),
        public_key=public_key,
        algorithms=algorithms,
    )


def check_strength(key: Key, *, blocked: keys.Blocked = keys.NOTHING_BLOCKED) -> None:
    """Refuse an account key that is weak or known to others. Raises Unacceptable (``badPublicKey``)."""
    try:
        keys.check_key(key.public_key, key.spki, blocked=blocked)
    except Refused as refused:
        raise Unacceptable("badPublicKey", "; ".join(one.detail for one in refused.reasons)) from None


def verify(signed: Signed, key: Key) -> None:
    """Check the signature. Raises Unacceptable: ``badSignatureAlgorithm`` where it does not fit the key, ``malformed``."""
    algorithm = signed.algorithm
    if algorithm not in key.algorithms:
        raise Unacceptable(
            "badSignatureAlgorithm",
            f"algorithm {algorithm!r} does not fit the key, expected {key.algorithms!r}",
        )
    try:
        match key.public_key:
            case ec.EllipticCurvePublicKey():
                _verify_ec(key.public_key, algorithm, signed)
            case rsa.RSAPublicKey():
                key.public_key.verify(
                    signed.signature, signed.signing_input, padding.PKCS1v15(), _HASHES[algorithm[2:]]
                )
            case ed25519.Ed25519PublicKey():
                key.public_key.verify(signed.signature, signed.signing_input)
    except InvalidSignature:
        raise Unacceptable("malformed", "the signature does not verify with the key") from None


def verify_mac(signed: Signed, mac_key: bytes) -> None:
    """Check a MAC (external account binding). Raises Unacceptable (``malformed``)."""
    digest = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}[signed.algorithm]
    if not hmac.compare_digest(hmac.digest(mac_key, signed.signing_input, digest), signed.signature):
        raise Unacceptable("malformed", "the MAC does not verify with the key")


def _verify_ec(public_key: ec.EllipticCurvePublicKey, algorithm: str, signed: Signed) -> None:
    # RFC 7518, Section 3.4: R and S next to each other, each as long as the curve's order; DER is another form
    octets = (public_key.curve.key_size + 7) // 8
    if len(signed.signature) != 2 * octets:
        raise Unacceptable(
            "malformed", f"the signature has {len(signed.signature)} octets, {algorithm} has {2 * octets}"
        )
    r = int.from_bytes(signed.signature[:octets], "big")
    s = int.from_bytes(signed.signature[octets:], "big")
    if r == 0 or s == 0:
        raise InvalidSignature
    public_key.verify(encode_dss_signature(r, s), signed.signing_input, ec.ECDSA(_HASHES[algorithm[2:]]))


def _read_ec(jwk: Mapping[str, Any]) -> tuple[dict[str, str], PublicKey, tuple[str, ...]]:
    curve = jwk.get("crv")
    if not isinstance(curve, str) or curve not in _CURVES:
        raise Unacceptable("badPublicKey", f"crv {str(curve)[:32]!r} is not one of {list(_CURVES)!r}")
    kind, algorithm, octets = _CURVES[curve]
    x, y = octets_of(jwk.get("x"), "jwk.x"), octets_of(jwk.get("y"), "jwk.y")
    # RFC 7518, Section 6.2.1.2: the full size of a coordinate
    if len(x) != octets or len(y) != octets:
        raise Unacceptable("badPublicKey", f"a coordinate of {curve} has not {octets} octets")
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), kind)
    members = {"crv": curve, "kty": "EC", "x": base64url(x), "y": base64url(y)}
    return members, numbers.public_key(), (algorithm,)


def _read_rsa(jwk: Mapping[str, Any]) -> tuple[dict[str, str], PublicKey, tuple[str, ...]]:
    n, e = octets_of(jwk.get("n"), "jwk.n"), octets_of(jwk.get("e"), "jwk.e")
    # RFC 7518, Section 6.3.1.1: no leading zero, or one key would have two thumbprints
    if not n or not e or n[0] == 0 or e[0] == 0:
        raise Unacceptable("badPublicKey", "a number of the RSA key is empty or begins with zeros")
    if len(n) > 1024 or len(e) > 8:
        raise Unacceptable("badPublicKey", "the RSA key is too large, expected at most 8192 bits")
    public_key = rsa.RSAPublicNumbers(int.from_bytes(e, "big"), int.from_bytes(n, "big")).public_key()
    return {"e": base64url(e), "kty": "RSA", "n": base64url(n)}, public_key, ("RS256", "RS384", "RS512")


def _read_okp(jwk: Mapping[str, Any]) -> tuple[dict[str, str], PublicKey, tuple[str, ...]]:
    if jwk.get("crv") != "Ed25519":
        raise Unacceptable("badPublicKey", f"crv {str(jwk.get('crv'))[:32]!r} is not 'Ed25519'")
    x = octets_of(jwk.get("x"), "jwk.x")
    if len(x) != 32:
        raise Unacceptable("badPublicKey", "an Ed25519 key has 32 octets")
    members = {"crv": "Ed25519", "kty": "OKP", "x": base64url(x)}
    return members, ed25519.Ed25519PublicKey.from_public_bytes(x), ("EdDSA",)
