"""The inventory: every certificate that was issued, in the order of the log, by name, and by expiry.

Keys: ``i`` offset of the issuance (8 octets) -> serial; ``n`` name, zero octet, offset -> serial;
``x`` notAfter (8 octets), serial -> empty, while the certificate is neither revoked nor replaced.
What a certificate *is* stands in the lifecycle's table and in the log; here are only ways to find it.
"""

from __future__ import annotations

from collections.abc import Iterable

from quicklime.events import Event
from quicklime.lifecycle import Changes
from quicklime.lifecycle.certificate import Certificate

NAME = "monitor"
VERSION = 1
# what it tells of besides certificates that are more than planned
EVENTS: frozenset[type[Event]] = frozenset()


def issued_key(offset: int) -> bytes:
    return b"i" + offset.to_bytes(8, "big")


def name_key(name: str, offset: int | None = None) -> bytes:
    """The key of one use of ``name``; without an offset, the prefix of all of them."""
    return b"n" + name.encode() + b"\0" + (b"" if offset is None else offset.to_bytes(8, "big"))


def expiry_key(not_after: int, serial: str = "") -> bytes:
    return b"x" + not_after.to_bytes(8, "big") + bytes.fromhex(serial)


def project(offset: int, event: Event, changes: Changes) -> Iterable[tuple[bytes, bytes | None]]:
    del event
    for serial, certificate in changes.certificates.items():
        if certificate.issued_offset is None:
            continue
        if certificate.issued_offset == offset:
            yield issued_key(offset), bytes.fromhex(serial)
            for name in certificate.names:
                yield name_key(name, offset), bytes.fromhex(serial)
        awaited = certificate.status == "issued" and not _is_replaced(certificate)
        yield expiry_key(certificate.not_after, serial), b"" if awaited else None


def _is_replaced(certificate: Certificate) -> bool:
    return certificate.successor is not None
