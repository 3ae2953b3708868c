"""Status by issuer and serial: what an OCSP answer says. A serial that is not here was not issued, and is never good.

Keys: issuer and serial, 20 octets each. A certificate leaves the view no earlier than it expires.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import msgspec

from quicklime.events import Event
from quicklime.lifecycle import Changes
from quicklime.pki import ocsp

NAME = "ocsp"
VERSION = 1
# what it tells of besides certificates that are more than planned
EVENTS: frozenset[type[Event]] = frozenset()


class Status(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """``revoked_at`` and ``reason`` (CRLReason) are None where the certificate is good."""

    not_after: int
    revoked_at: int | None
    reason: int | None


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Status).decode


def key(issuer: str, serial: str) -> bytes:
    return bytes.fromhex(issuer) + bytes.fromhex(serial)


def key_of(issuer: str, serial: int) -> bytes:
    """As ``key``; for a serial that no certificate can have, one where nothing ever stands."""
    return key(issuer, f"{serial:040x}") if 0 < serial < 1 << 160 else b""


def project(offset: int, event: Event, changes: Changes) -> Iterable[tuple[bytes, bytes | None]]:
    del offset, event
    for serial, certificate in changes.certificates.items():
        revocation = certificate.revocation
        if revocation is not None:
            status = Status(certificate.not_after, revocation.revoked_at, revocation.reason)
        elif certificate.status == "issued":
            status = Status(certificate.not_after, None, None)
        else:
            continue
        yield key(certificate.issuer, serial), _encode(status)


@lru_cache(maxsize=4096)
def told(status: bytes | None) -> tuple[bytes, str]:
    """(CertStatus, its name) for a status as the view has it; None is a serial that was not issued."""
    if status is None:
        return ocsp.UNKNOWN, "unknown"
    found = decode(status)
    if found.revoked_at is None:
        return ocsp.GOOD, "good"
    return ocsp.revoked(found.revoked_at, found.reason), "revoked"
