"""PKCS #11 URIs (RFC 7512), taken apart strictly: what is not understood is refused.

Invariant: no URI that passes holds a PIN, so that it may stand in files, messages and logs.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from quicklime.errors import BrokenState, Code, Refused

PIN_OCTETS_MAX: Final = 256

# RFC 7512, Section 2.3: the attributes that say which key of which token; others are refused, not passed over.
_IN_PATH: Final = frozenset({"token", "serial", "manufacturer", "model", "object", "id", "type"})
_IN_QUERY: Final = frozenset({"module-path", "pin-source"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyURI:
    """A PKCS #11 URI taken apart, percent-decoded. Never with a PIN in it."""

    text: str
    path: Mapping[str, str]
    key_id: bytes | None
    module_path: str | None
    pin_source: str | None

    @classmethod
    def parse(cls, uri: str) -> KeyURI:
        """Raises Refused (``request-malformed``), which never shows more of ``uri`` than an attribute's name."""
        scheme, colon, rest = uri.partition(":")
        if (
            scheme.lower() != "pkcs11"
            or not colon
            or not uri.isascii()
            or not uri.isprintable()
            or len(uri) > 2048
        ):
            raise refused("expected pkcs11:token=NAME;object=NAME?module-path=/PATH")
        path, _, query = rest.partition("?")
        in_path = _attributes(path, ";", _IN_PATH)
        in_query = _attributes(query, "&", _IN_QUERY)
        if in_path.get("type", b"private") != b"private":
            raise refused("attribute 'type', expected private")
        if "object" not in in_path and "id" not in in_path:
            raise refused("neither 'object' nor 'id': it names no key")
        if "token" not in in_path and "serial" not in in_path:
            raise refused("neither 'token' nor 'serial': it names no token")
        key_id = in_path.pop("id", None)
        try:
            return cls(
                text=uri,
                path={name: value.decode() for name, value in in_path.items()},
                key_id=key_id,
                module_path=in_query["module-path"].decode() if "module-path" in in_query else None,
                pin_source=in_query["pin-source"].decode() if "pin-source" in in_query else None,
            )
        except UnicodeDecodeError:
            raise refused("an attribute that is not UTF-8") from None

    @property
    def label(self) -> str | None:
        return self.path.get("object")


def refused(what: str) -> Refused:
    """A refusal of a URI. ``what`` holds no value of an attribute, which might be a PIN in the wrong place."""
    return Refused(Code.REQUEST_MALFORMED, f"PKCS #11 URI: {what}", field="signer")


def _attributes(text: str, separator: str, known: frozenset[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in filter(None, text.split(separator)):
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise refused(
                "attribute 'pin-value' would stand in files in clear, expected 'pin-source' or the setting"
            )
        if name not in known or not equals:
            raise refused(f"attribute {name[:40]!r}, expected one of {sorted(known)!r}")
        if name in found:
            raise refused(f"attribute {name!r} stands twice")
        found[name] = unquote_to_bytes(value)
    return found


def pin_of(uri: KeyURI, pin: str | None) -> str | None:
    """The PIN: what was given, else the contents of the file that ``pin-source`` names. Raises BrokenState, Refused."""
    if pin is not None or uri.pin_source is None:
        return pin
    source = uri.pin_source.removeprefix("file://").removeprefix("file:")
    # RFC 7512, Section 2.4, allows commands too: who can write the URI would run what they like
    if not source.startswith("/"):
        raise refused("attribute 'pin-source', expected file:/PATH")
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BrokenState(
            f"PIN file {source} can't be read: {error.strerror}", hint=f"ls -l {source}"
        ) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise BrokenState(f"PIN file {source} is readable by others", hint=f"chmod 600 {source}")
        octets = os.read(descriptor, PIN_OCTETS_MAX + 1)
    finally:
        os.close(descriptor)
    try:
        text = octets.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""
    if not 0 < len(octets) <= PIN_OCTETS_MAX or not text:
        raise BrokenState(
            f"PIN file {source} holds no PIN", hint=f"write 1 to {PIN_OCTETS_MAX} octets of UTF-8"
        )
    return text
