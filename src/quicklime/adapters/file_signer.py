"""A signing key in a file: PKCS#8, encrypted (RFC 5958, Section 3), readable by its owner alone.

Invariants: a key file appears whole or not at all and never replaces another; the private key is in no repr, no exception
and no log line; an RSA signature is verified before it is returned, since one computed wrongly gives the key away.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from quicklime.errors import BrokenState, Code, Fault, Refused
from quicklime.pki import algorithms
from quicklime.pki.signer import SignerUnavailable

PrivateKey: TypeAlias = (
    ec.EllipticCurvePrivateKey
    | rsa.RSAPrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)

KEY_FILE_OCTETS_MAX: Final = 65_536
_SHA256: Final = ec.ECDSA(hashes.SHA256())
_SHA384: Final = ec.ECDSA(hashes.SHA384())


def generate(key_type: str) -> PrivateKey:
    """A new key from the operating system's generator. Raises Refused where there is no such type."""
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
            raise Refused(
                Code.KEY_TYPE_NOT_ALLOWED,
                f"key type {key_type[:64]!r}, expected one of {algorithms.KEY_TYPES!r}",
                field="key_type",
            )


class FileSigner:
    """``Signer`` over a key that this process holds in memory, read once from a file."""

    __slots__ = ("_algorithm", "_blocking", "_key", "_public", "_public_key", "_uri")

    def __init__(self, key: PrivateKey, uri: str) -> None:
        self._key = key
        self._uri = uri
        self._public = key.public_key()
        self._public_key = self._public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        kind = algorithms.kind_of(self._public)
        self._algorithm = kind.algorithm
        # P-256 takes 25 µs, Ed25519 45; P-384 and RSA-2048 take 0.3 ms, RSA-4096 and ML-DSA-87 about 2 ms
        self._blocking = kind.key_type not in {"ecdsa-p256", "ed25519"}

    @classmethod
    def create(cls, path: Path, key_type: str, passphrase: bytes) -> FileSigner:
        """Make a key and write it to ``path``, which must not exist.

        Raises Refused (no such key type), BrokenState (the file is there, or can't be written).
        """
        if not passphrase:
            raise BrokenState(f"no passphrase for {path}", hint="give one: a key is never written in clear")
        key = generate(key_type)
        encoded = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
        _write_new(path, encoded)
        return cls(key, _uri(path))

    @classmethod
    def load(cls, path: Path, passphrase: bytes) -> FileSigner:
        """The key in ``path``. Raises BrokenState (missing, readable by others, no key), SignerUnavailable (passphrase)."""
        encoded = _read_private(path)
        try:
            key = load_pem_private_key(encoded, passphrase)
        except TypeError:
            raise BrokenState(
                f"{path} is not encrypted",
                hint=f"openssl pkcs8 -topk8 -in {path} -out NEW encrypts it; put NEW in its place",
            ) from None
        except ValueError:
            # also what a wrong passphrase gives; the library's words may hold parts of the file
            raise SignerUnavailable(f"{path} does not open with its passphrase, or is damaged") from None
        if not isinstance(key, PrivateKey):
            raise BrokenState(
                f"{path} holds a {type(key).__name__}",
                hint=f"expected a private key, one of {', '.join(algorithms.KEY_TYPES)}",
            )
        try:
            return cls(key, _uri(path))
        except Fault as fault:
            raise BrokenState(f"{path} holds {fault}", hint="name another key") from None

    @property
    def uri(self) -> str:
        return self._uri

    @property
    def public_key(self) -> bytes:
        return self._public_key

    @property
    def algorithm(self) -> bytes:
        return self._algorithm

    @property
    def blocking(self) -> bool:
        return self._blocking

    def sign(self, data: bytes) -> bytes:
        key = self._key
        try:
            match key:
                case ec.EllipticCurvePrivateKey():
                    digest = _SHA256 if self._algorithm == algorithms.ECDSA_SHA256 else _SHA384
                    return key.sign(data, digest)
                case rsa.RSAPrivateKey():
                    signature = key.sign(data, padding.PKCS1v15(), hashes.SHA256())
                    # a fault in one half of the CRT computation gives the factors to whoever sees the signature
                    algorithms.verify(self._public, signature, data, self._algorithm)
                    return signature
                case _:
                    return key.sign(data)
        except InvalidSignature:
            raise SignerUnavailable(f"{self._uri} computed a wrong signature; it was thrown away") from None
        except ValueError:
            raise SignerUnavailable(f"{self._uri} could not sign") from None

    def __repr__(self) -> str:
        return f"FileSigner({self._uri!r})"

    def __reduce__(self) -> str:
        raise TypeError("a signer is not copied or pickled: the key stays where it is")


def _uri(path: Path) -> str:
    return f"file:{path.name}"


def _read_private(path: Path) -> bytes:
    """The contents of a file that only its owner can read. Raises BrokenState."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise BrokenState(
            f"{path} is missing", hint="bring the key back from the backup, or rotate to a new issuer"
        ) from None
    except OSError as error:
        raise BrokenState(f"{path} can't be read: {error.strerror}", hint=f"ls -l {path}") from None
    try:
        # of the open file, not of the path: nobody can change it in between
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise BrokenState(f"{path} is no regular file", hint=f"ls -l {path}")
        if found.st_mode & 0o077:
            raise BrokenState(
                f"{path} has mode {stat.S_IMODE(found.st_mode):04o}: others can read or change the key",
                hint=f"chmod 600 {path}; think about who could read it until now",
            )
        encoded = os.read(descriptor, KEY_FILE_OCTETS_MAX + 1)
    finally:
        os.close(descriptor)
    if len(encoded) > KEY_FILE_OCTETS_MAX:
        raise BrokenState(f"{path} is larger than {KEY_FILE_OCTETS_MAX} octets", hint="it is no key file")
    return encoded


def _write_new(path: Path, contents: bytes) -> None:
    """Write ``contents`` to ``path`` with mode 0600, whole or not at all, on disk when this returns."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o600)
                file.write(contents)
                file.flush()
                os.fsync(descriptor)
            # unlike a rename, a link never takes the place of another file
            os.link(draft, path)
        finally:
            draft.unlink()
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except FileExistsError:
        raise BrokenState(
            f"{path} exists already", hint="a key is never replaced: choose another name"
        ) from None
    except OSError as error:
        raise BrokenState(
            f"{path} can't be written: {error.strerror}", hint=f"ls -ld {path.parent}"
        ) from None
