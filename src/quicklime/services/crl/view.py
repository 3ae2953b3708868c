"""What CRLs are made of: entries encoded once, and which list was published last.

Keys: ``e`` issuer, offset of the revocation (8 octets) -> Entry; ``p`` issuer -> Published. Entries are in the order in
which the log revoked them, so "as of offset n" is a prefix, and a list that was published can be rebuilt to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from quicklime.events import CRLPublished, Event
from quicklime.lifecycle import Changes
from quicklime.pki.crl import entry_der

NAME = "crl"
VERSION = 1


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """``der`` is the entry of ``revokedCertificates``, ready to be joined."""

    not_after: int
    revoked_at: int
    der: bytes


class Published(msgspec.Struct, frozen=True, array_like=True):
    """The CRL that counts: all that is needed, with the entries before ``covers``, to have its bytes."""

    number: int
    covers: int
    this_update: int
    next_update: int
    signature: bytes
    crl_sha256: bytes


_encode = msgspec.msgpack.Encoder().encode
decode_entry = msgspec.msgpack.Decoder(Entry).decode
decode_published = msgspec.msgpack.Decoder(Published).decode


def entry_key(issuer: str, offset: int | None = None) -> bytes:
    """The key of one entry; without an offset, the prefix of the issuer's entries."""
    return b"e" + bytes.fromhex(issuer) + (b"" if offset is None else offset.to_bytes(8, "big"))


def published_key(issuer: str) -> bytes:
    return b"p" + bytes.fromhex(issuer)


def project(offset: int, event: Event, changes: Changes) -> Iterable[tuple[bytes, bytes | None]]:
    for serial, certificate in changes.certificates.items():
        revocation = certificate.revocation
        if revocation is not None and revocation.offset == offset:
            der = entry_der(serial, revocation.revoked_at, revocation.reason, revocation.invalidity_date)
            entry = Entry(certificate.not_after, revocation.revoked_at, der)
            yield entry_key(certificate.issuer, offset), _encode(entry)
    if isinstance(event, CRLPublished) and changes.refusal is None:
        published = Published(
            event.number,
            event.covers,
            event.this_update,
            event.next_update,
            event.signature,
            event.crl_sha256,
        )
        yield published_key(event.issuer), _encode(published)
