"""A signing key in a PKCS#11 token, named by a URI (RFC 7512): ``pkcs11:token=ca;object=issuing?module-path=/usr/lib/...``.

Invariants: the private key never leaves the token; the PIN is in no URI, no repr and no exception; a signature is verified
before it is returned, so a token that computes wrongly or is another one than before shows at once; a PIN that the token
refused is not tried again, which would lock the token. PKCS #11 v2.40, Sections 2.1 and 2.3.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256, sha384
from typing import Final

import pkcs11
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.exceptions import PKCS11Error

from quicklime.adapters.pkcs11_signer.uri import KeyURI, pin_of, refused
from quicklime.errors import BrokenState, Code, Fault, Refused
from quicklime.pki import algorithms
from quicklime.pki.signer import SignerUnavailable

_CURVES: Final[Mapping[bytes, type[ec.EllipticCurve]]] = {
    bytes.fromhex("06082a8648ce3d030107"): ec.SECP256R1,
    bytes.fromhex("06052b81040022"): ec.SECP384R1,
}
_CURVE_OF: Final = {
    "ecdsa-p256": bytes.fromhex("06082a8648ce3d030107"),
    "ecdsa-p384": bytes.fromhex("06052b81040022"),
}
_RSA_BITS: Final = {"rsa-3072": 3072, "rsa-4096": 4096}

_LOCKS: Final[dict[str, threading.RLock]] = {}
_LOCKS_LOCK: Final = threading.Lock()


class _Token:
    """The way to a token: library, PIN, and the memory that the PIN was wrong."""

    def __init__(self, uri: KeyURI, pin: str | None, module: str | None) -> None:
        found = module or uri.module_path
        if not found:
            raise refused("attribute 'module-path' is missing: it says which library speaks to the token")
        self._uri = uri
        self._module = found
        self._pin = pin_of(uri, pin)
        self._pin_refused = False

    @property
    def lock(self) -> threading.RLock:
        """Held by whoever uses the library; all signers over one library share it."""
        with _LOCKS_LOCK:
            return _LOCKS.setdefault(self._module, threading.RLock())

    def open(self, *, rw: bool) -> pkcs11.Session:
        """A session, logged in. Raises SignerUnavailable."""
        if self._pin_refused:
            raise SignerUnavailable(
                f"{self._uri.text}: the token refused the PIN before; it is not tried again"
            )
        try:
            token = self._find()
            try:
                return token.open(rw=rw, user_pin=self._pin)
            except pkcs11.UserAlreadyLoggedIn:
                # in PKCS #11 a login is of the whole process: another key of the token is open already
                return token.open(rw=rw)
        except (pkcs11.PinIncorrect, pkcs11.PinLocked, pkcs11.PinInvalid, pkcs11.PinLenRange) as error:
            self._pin_refused = True
            raise SignerUnavailable(f"{self._uri.text}: the token refuses the PIN ({_said(error)})") from None
        except (PKCS11Error, RuntimeError) as error:
            raise SignerUnavailable(f"{self._uri.text}: the token can't be opened: {_said(error)}") from None

    def _find(self) -> pkcs11.Token:
        if not (found := self._tokens()):
            # A library may see a token that came back only when it starts anew. Nobody else may be inside while it does,
            # hence the lock; other sessions end with it, and are opened anew.
            with self.lock:
                pkcs11.lib(self._module).reinitialize()
                found = self._tokens()
        if len(found) != 1:
            raise SignerUnavailable(
                f"{self._uri.text}: {len(found)} tokens answer to it at {self._module}, expected one"
            )
        return found[0]

    def _tokens(self) -> list[pkcs11.Token]:
        return [
            token
            for slot in pkcs11.lib(self._module).get_slots(token_present=True)
            for token in _token_in(slot)
            if self._is_meant(token)
        ]

    def _is_meant(self, token: pkcs11.Token) -> bool:
        here = {
            "token": token.label,
            "serial": token.serial.decode("utf-8", "replace").strip(),
            "manufacturer": token.manufacturer_id,
            "model": token.model,
        }
        return all(here[name] == value for name, value in self._uri.path.items() if name in here)


def _token_in(slot: pkcs11.Slot) -> list[pkcs11.Token]:
    try:
        token = slot.get_token()
    except PKCS11Error:
        return []
    return [token] if pkcs11.TokenFlag.TOKEN_INITIALIZED in token.flags else []


class PKCS11Signer:
    """``Signer`` over a key in a token: ECDSA P-256 and P-384, and RSA.

    One session, used by one thread at a time, as the library is: a token computes one signature at a time. A lost session is
    opened anew, once for each signature.
    """

    def __init__(self, uri: str, *, pin: str | None = None, module: str | None = None) -> None:
        """Open the key. Raises Refused (URI), BrokenState (no such key, PIN's file), SignerUnavailable (token, PIN)."""
        self._uri = KeyURI.parse(uri)
        self._token = _Token(self._uri, pin, module)
        self._lock = self._token.lock
        self._session: pkcs11.Session | None
        # On a thread of its own: OpenSSL lists errors by thread, and what a token's library leaves in that list would
        # be taken for the failure of the next TLS operation of this one.
        with ThreadPoolExecutor(max_workers=1) as apart:
            self._session, self._key, self._public = apart.submit(self._open).result()
        self._spki = self._public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        try:
            self._algorithm = algorithms.kind_of(self._public).algorithm
        except Fault as fault:
            raise BrokenState(f"{uri}: {fault}", hint="make a key with quicklime, or name another") from None

    def _open(
        self,
    ) -> tuple[pkcs11.Session, pkcs11.SignMixin, ec.EllipticCurvePublicKey | rsa.RSAPublicKey]:
        with self._lock:
            session = self._token.open(rw=False)
        try:
            return session, *_pair(session, self._uri)
        except (PKCS11Error, RuntimeError) as error:
            raise SignerUnavailable(f"{self.uri}: the key can't be read: {_said(error)}") from None

    @classmethod
    def create(
        cls, uri: str, key_type: str, *, pin: str | None = None, module: str | None = None
    ) -> PKCS11Signer:
        """Make a key in the token, under the name that ``uri`` gives, and open it; it can't be taken out of the token.

        Raises Refused (URI, key type), BrokenState (a key of that name is there), SignerUnavailable.
        """
        if key_type not in _CURVE_OF and key_type not in _RSA_BITS:
            expected = sorted({*_CURVE_OF, *_RSA_BITS})
            raise Refused(
                Code.KEY_TYPE_NOT_ALLOWED,
                f"key type {key_type[:64]!r}, expected one of {expected!r} in a token",
                field="key_type",
            )
        parsed = KeyURI.parse(uri)
        session = _Token(parsed, pin, module).open(rw=True)
        try:
            if any(True for _ in session.get_objects(_wanted(parsed, ObjectClass.PRIVATE_KEY))):
                raise BrokenState(
                    f"{uri} exists already", hint="a key is never replaced: choose another name"
                )
            _generate(session, parsed, key_type)
            return cls(uri, pin=pin, module=module)
        except (PKCS11Error, RuntimeError) as error:
            raise SignerUnavailable(f"{uri}: no key was made: {_said(error)}") from None
        finally:
            # last: closing the session that logged in logs all of them out, and the new one finds its way back
            _close(session)

    @property
    def uri(self) -> str:
        return self._uri.text

    @property
    def public_key(self) -> bytes:
        return self._spki

    @property
    def algorithm(self) -> bytes:
        return self._algorithm

    @property
    def blocking(self) -> bool:
        return True

    def sign(self, data: bytes) -> bytes:
        with self._lock:
            signature = self._signed(data)
        try:
            algorithms.verify(self._public, signature, data, self._algorithm)
        except InvalidSignature:
            raise SignerUnavailable(f"{self.uri} computed a wrong signature; it was thrown away") from None
        return signature

    def close(self) -> None:
        """Give the session back to the token; the next signature opens another."""
        with self._lock:
            self._drop()

    def __repr__(self) -> str:
        return f"PKCS11Signer({self.uri!r})"

    def __reduce__(self) -> str:
        raise TypeError("a signer is not copied or pickled: the key stays where it is")

    def _signed(self, data: bytes) -> bytes:
        if self._session is not None:
            try:
                return self._ask(data)
            except (PKCS11Error, RuntimeError):
                # the token was pulled, its daemon restarted, another part of the program logged out: from the start, once
                self._drop()
        self._reopen()
        try:
            return self._ask(data)
        except (PKCS11Error, RuntimeError) as error:
            self._drop()
            raise SignerUnavailable(f"{self.uri} could not sign: {_said(error)}") from None

    def _ask(self, data: bytes) -> bytes:
        """The signature as X.509 has it: ECDSA as a SEQUENCE of r and s (RFC 3279, Section 2.2.3)."""
        if self._algorithm == algorithms.RSA_SHA256:
            return self._key.sign(data, mechanism=Mechanism.SHA256_RSA_PKCS)
        digest = sha256(data) if self._algorithm == algorithms.ECDSA_SHA256 else sha384(data)
        raw = self._key.sign(digest.digest(), mechanism=Mechanism.ECDSA)
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    def _reopen(self) -> None:
        session = self._token.open(rw=False)
        try:
            key, public = _pair(session, self._uri)
        except (PKCS11Error, RuntimeError) as error:
            raise SignerUnavailable(f"{self.uri}: the key can't be read: {_said(error)}") from None
        except BrokenState as broken:
            raise SignerUnavailable(f"{broken}; it was there before") from None
        if public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != self._spki:
            raise SignerUnavailable(f"{self.uri} names another key than before")
        self._session, self._key = session, key

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            _close(session)


# --- objects of the token -------------------------------------------------------------------------------------------


def _wanted(uri: KeyURI, kind: ObjectClass) -> dict[Attribute, object]:
    wanted: dict[Attribute, object] = {Attribute.CLASS: kind}
    if uri.label is not None:
        wanted[Attribute.LABEL] = uri.label
    if uri.key_id is not None:
        wanted[Attribute.ID] = uri.key_id
    return wanted


def _pair(
    session: pkcs11.Session, uri: KeyURI
) -> tuple[pkcs11.SignMixin, ec.EllipticCurvePublicKey | rsa.RSAPublicKey]:
    """The key that ``uri`` names, and its public half. Raises BrokenState, and what the library raises."""
    found = list(session.get_objects(_wanted(uri, ObjectClass.PRIVATE_KEY)))
    if len(found) != 1:
        raise BrokenState(
            f"{uri.text} names {len(found)} private keys, expected one",
            hint="pkcs11-tool --login --list-objects shows what is there; without a PIN private keys are hidden",
        )
    key = found[0]
    if not isinstance(key, pkcs11.PrivateKey) or not isinstance(key, pkcs11.SignMixin):
        raise BrokenState(f"{uri.text} names no key that signs", hint="name another key")
    return key, _public_key(session, uri, key)


def _public_key(
    session: pkcs11.Session, uri: KeyURI, key: pkcs11.PrivateKey
) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """The public half: of RSA it stands in the private key, of EC in an object of its own with the same id."""
    try:
        if key.key_type is KeyType.RSA:
            modulus = int.from_bytes(key[Attribute.MODULUS], "big")
            exponent = int.from_bytes(key[Attribute.PUBLIC_EXPONENT], "big")
            return rsa.RSAPublicNumbers(exponent, modulus).public_key()
        if key.key_type is not KeyType.EC:
            raise BrokenState(f"{uri.text} is a key of type {key.key_type!r}", hint="expected EC or RSA")
        wanted = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.ID: key.id}
        halves = list(session.get_objects(wanted))
        if len(halves) != 1:
            raise BrokenState(
                f"{uri.text} has {len(halves)} public keys with its id, expected one",
                hint="bring the public key into the token, with the id of the private one",
            )
        curve = _CURVES.get(halves[0][Attribute.EC_PARAMS])
        if curve is None:
            raise BrokenState(f"{uri.text} is on another curve than P-256 or P-384", hint="make another key")
        point = halves[0][Attribute.EC_POINT]
        # PKCS #11 v2.40 wraps the point in an OCTET STRING; older tokens give it bare
        on = curve()
        return ec.EllipticCurvePublicKey.from_encoded_point(on, point[-1 - 2 * (on.key_size // 8) :])
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BrokenState(
            f"{uri.text} has a public key that can't be: {error}", hint="make another key"
        ) from None


def _generate(session: pkcs11.Session, uri: KeyURI, key_type: str) -> None:
    key_id = uri.key_id or secrets.token_bytes(8)
    private = {
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.PRIVATE: True,
    }
    if key_type in _RSA_BITS:
        session.generate_keypair(
            KeyType.RSA,
            _RSA_BITS[key_type],
            id=key_id,
            label=uri.label,
            store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            private_template=private,
        )
        return
    parameters = session.create_domain_parameters(
        KeyType.EC, {Attribute.EC_PARAMS: _CURVE_OF[key_type]}, local=True
    )
    parameters.generate_keypair(
        id=key_id,
        label=uri.label,
        store=True,
        capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
        private_template=private,
    )


def _close(session: pkcs11.Session) -> None:
    with contextlib.suppress(PKCS11Error, RuntimeError):
        session.close()


def _said(error: Exception) -> str:
    """The error's name, and what the library said, which holds no secret: it never saw one but the PIN."""
    name = type(error).__name__
    return f"{name}: {error}" if str(error) else name
