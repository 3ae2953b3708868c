"""Names in use: which certificates bear a name, so that an operator sees who else has it before granting it.

Keys: the typed name, a zero octet, the serial's 20 octets. Values: notAfter, 8 octets big-endian. A certificate enters
when it is issued and leaves when it is revoked; the expired are told by their value.
"""

from __future__ import annotations

from collections.abc import Iterable

from quicklime.events import Event
from quicklime.lifecycle import Changes

NAME = "issuance"
VERSION = 1
# what it tells of besides certificates that are more than planned
EVENTS: frozenset[type[Event]] = frozenset()


def key(name: str, serial: str = "") -> bytes:
    """The key of one use of ``name``; without a serial, the prefix of all of them."""
    return name.encode() + b"\0" + bytes.fromhex(serial)


def project(offset: int, event: Event, changes: Changes) -> Iterable[tuple[bytes, bytes | None]]:
    del offset, event
    for serial, certificate in changes.certificates.items():
        if certificate.status == "issued":
            for name in certificate.names:
                yield key(name, serial), certificate.not_after.to_bytes(8, "big")
        elif certificate.status == "revoked":
            for name in certificate.names:
                yield key(name, serial), None
