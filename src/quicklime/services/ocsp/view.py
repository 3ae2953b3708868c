"""Status by issuer and serial: what an OCSP answer says. A serial that is not here was not issued, and is never good.

Keys: issuer and serial, 20 octets each. A certificate leaves the view no earlier than it expires.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from quicklime.events import Event
from quicklime.lifecycle import Changes

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
