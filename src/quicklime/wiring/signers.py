"""Signers behind URIs: ``file:`` keys in the data directory, ``pkcs11:`` keys in a token (RFC 7512).

For each issuer whose key is here, ``issuers/<issuer id>.uri`` holds the URI; it never holds a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quicklime.adapters.file_signer import FileSigner
from quicklime.adapters.pkcs11_signer import PKCS11Signer
from quicklime.errors import BrokenState, Code, Refused
from quicklime.pki.signer import SignerUnavailable
from quicklime.wiring.directory import DataDirectory, write_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from quicklime.config import Config
    from quicklime.pki.signer import Signer


def load_signers(directory: DataDirectory, config: Config) -> Mapping[str, Signer]:
    """The keys that are here, by issuer id. Raises BrokenState.

    A key whose file is lost is not here: the others go on, and `quicklime doctor` says so.
    """
    issuers = [path.stem for path in sorted(directory.issuers.glob("*.uri"))]
    return {
        issuer: load_signer(directory, config, issuer) for issuer in issuers if key_is_here(directory, issuer)
    }


def key_is_here(directory: DataDirectory, issuer: str) -> bool:
    """Whether this machine knows where the key of ``issuer`` is, and its file, if it is in one, is there."""
    place = _uri_file(directory, issuer)
    if not place.exists():
        return False
    scheme, _, rest = place.read_text(encoding="utf-8").strip().partition(":")
    return scheme != "file" or (directory.issuers / rest).exists()


def load_signer(directory: DataDirectory, config: Config, issuer: str) -> Signer:
    """The key of ``issuer``. Raises BrokenState."""
    place = _uri_file(directory, issuer)
    try:
        return open_signer(place.read_text(encoding="utf-8").strip(), directory, config)
    except SignerUnavailable as error:
        raise BrokenState(
            str(error),
            hint=f"bring the token back; if it is gone for good, quicklime issuer rotate, then remove {place}",
        ) from None


def _uri_file(directory: DataDirectory, issuer: str) -> Path:
    return directory.issuers / f"{issuer}.uri"


def remember(directory: DataDirectory, issuer: str, signer: Signer) -> None:
    """From now on this process and later ones find the key of ``issuer``."""
    write_file(_uri_file(directory, issuer), signer.uri.encode() + b"\n", mode=0o600)


def open_signer(uri: str, directory: DataDirectory, config: Config) -> Signer:
    """The key that ``uri`` names. Raises Refused (no such scheme), BrokenState, SignerUnavailable (a token that is away)."""
    scheme, _, rest = uri.partition(":")
    if scheme == "file":
        try:
            return FileSigner.load(directory.issuers / rest, issuer_passphrase(directory))
        except SignerUnavailable as fault:
            raise BrokenState(
                str(fault),
                hint=f"bring the key and {directory.issuer_passphrase} back from the backup: they belong together",
            ) from None
    if scheme == "pkcs11":
        return PKCS11Signer(uri, pin=_pin(config), module=_module(config))
    raise Refused(
        Code.REQUEST_MALFORMED, f"signer {uri[:80]!r}, expected file:NAME or pkcs11:...", field="signer"
    )


def create_signer(
    uri: str | None, key_type: str, name: str, directory: DataDirectory, config: Config
) -> Signer:
    """A new issuing key: in the data directory as ``<name>.pem``, or in the token that ``uri`` names."""
    if uri is None or uri == "file":
        path = directory.issuers / f"{name}.pem"
        return FileSigner.create(path, key_type, issuer_passphrase(directory))
    if uri.startswith("pkcs11:"):
        try:
            return PKCS11Signer.create(uri, key_type, pin=_pin(config), module=_module(config))
        except SignerUnavailable as error:
            raise BrokenState(
                str(error),
                hint="look with softhsm2-util --show-slots or pkcs11-tool -L which tokens there are",
            ) from None
    raise Refused(Code.REQUEST_MALFORMED, f"signer {uri[:80]!r}, expected file or pkcs11:...", field="signer")


def issuer_passphrase(directory: DataDirectory) -> bytes:
    """What the issuers' key files are encrypted with. Raises BrokenState where it is gone."""
    path: Path = directory.issuer_passphrase
    try:
        return path.read_bytes().strip()
    except FileNotFoundError:
        raise BrokenState(
            f"{path} is missing: the issuing keys can't be opened",
            hint="bring it back from the backup, or set another data directory",
        ) from None


def _pin(config: Config) -> str | None:
    return None if config.pkcs11.pin is None else config.pkcs11.pin.get_secret_value()


def _module(config: Config) -> str | None:
    return None if config.pkcs11.module is None else str(config.pkcs11.module)
