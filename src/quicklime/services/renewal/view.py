"""Lineages: the chains of certificates that replaced each other, one per node of a service name.

Keys: ``n`` name, zero octet, lineage -> empty (which lineages a name has); ``l`` lineage, serial -> Link (its members).
A lineage is named by the serial of its first certificate.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from quicklime.events import Event
from quicklime.lifecycle import Changes
from quicklime.lifecycle.certificate import Certificate, Status

NAME = "renewal"
VERSION = 1
# what it tells of besides certificates that are more than planned
EVENTS: frozenset[type[Event]] = frozenset()

# A renewal is due at two thirds of the lifetime; what is later and has no successor is overdue.
DUE_NUMERATOR, DUE_DENOMINATOR = 2, 3


class Link(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One certificate of a lineage, with what it replaced and what replaced it."""

    serial: str
    status: Status
    names: tuple[str, ...]
    profile: str
    node: str | None
    not_before: int
    not_after: int
    predecessor: str | None
    successor: str | None
    issued_at: int | None
    revoked_at: int | None

    @property
    def due_at(self) -> int:
        """When a renewal is expected: at two thirds of the lifetime."""
        return self.not_before + (self.not_after - self.not_before) * DUE_NUMERATOR // DUE_DENOMINATOR

    def is_overdue(self, now: int) -> bool:
        """Nothing replaced it although it was time, and nobody revoked it."""
        return self.status == "issued" and self.successor is None and now >= self.due_at


def name_key(name: str, lineage: str = "") -> bytes:
    return b"n" + name.encode() + b"\0" + bytes.fromhex(lineage)


def link_key(lineage: str, serial: str = "") -> bytes:
    return b"l" + bytes.fromhex(lineage) + bytes.fromhex(serial)


_encode = msgspec.msgpack.Encoder().encode
decode_link = msgspec.msgpack.Decoder(Link).decode


def project(offset: int, event: Event, changes: Changes) -> Iterable[tuple[bytes, bytes | None]]:
    del offset, event
    for serial, certificate in changes.certificates.items():
        if certificate.status not in ("issued", "revoked") or certificate.issued_offset is None:
            continue
        yield link_key(certificate.lineage, serial), _encode(_link(certificate))
        if certificate.successor is None and certificate.status == "issued":
            for name in certificate.names:
                yield name_key(name, certificate.lineage), b""


def _link(certificate: Certificate) -> Link:
    revocation = certificate.revocation
    return Link(
        serial=certificate.serial,
        status=certificate.status,
        names=certificate.names,
        profile=certificate.profile,
        node=certificate.node,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        predecessor=certificate.predecessor,
        successor=certificate.successor,
        issued_at=certificate.issued_at,
        revoked_at=None if revocation is None else revocation.revoked_at,
    )
