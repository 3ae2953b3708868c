"""What CRLs are made of: entries encoded once, and which list of each shard was published last.

Keys: ``e`` scope, offset of the revocation (8 octets) -> end of the certificate (8 octets, UNIX seconds), entry (DER);
``c`` scope -> the complete list that counts; ``d`` scope -> the delta list. A scope is issuer (20 octets), number of shards and
shard (2 octets each). Entries are in the order in which the log revoked them, so "as of offset n" is a prefix, "since offset n"
the rest, and a list that was published can be made again to the byte.

A list of an older version of the event (``crl.published.v1``) is passed over: a new one takes its place at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from quicklime.events import CRLPublishedV2, Event
from quicklime.lifecycle import Changes
from quicklime.pki.crl import entry_der
from quicklime.pki.shards import Scope

NAME = "crl"
VERSION = 2
# what it tells of besides certificates that are more than planned
EVENTS: frozenset[type[Event]] = frozenset({CRLPublishedV2})

END_OCTETS = 8

_encode = msgspec.msgpack.Encoder().encode
decode_published = msgspec.msgpack.Decoder(CRLPublishedV2).decode


def entry_key(scope: Scope, offset: int | None = None) -> bytes:
    """The key of one entry; without an offset, the prefix of the scope's entries."""
    return b"e" + _scope(scope) + (b"" if offset is None else offset.to_bytes(8, "big"))


def published_key(scope: Scope, *, delta: bool = False) -> bytes:
    return (b"d" if delta else b"c") + _scope(scope)


def _scope(scope: Scope) -> bytes:
    return bytes.fromhex(scope.issuer) + scope.shards.to_bytes(2, "big") + scope.shard.to_bytes(2, "big")


def entry_offset(key: bytes) -> int:
    """Where in the log the entry with this key was revoked."""
    return int.from_bytes(key[-8:], "big")


def entry_parts(value: bytes) -> tuple[int, bytes]:
    """(end of the certificate's validity, entry)."""
    return int.from_bytes(value[:END_OCTETS], "big", signed=True), value[END_OCTETS:]


def project(offset: int, event: Event, changes: Changes) -> Iterable[tuple[bytes, bytes | None]]:
    for serial, certificate in changes.certificates.items():
        revocation = certificate.revocation
        if revocation is not None and revocation.offset == offset:
            scope = Scope(
                issuer=certificate.issuer, shards=certificate.crl_shards, shard=certificate.crl_shard
            )
            entry = entry_der(serial, revocation.revoked_at, revocation.reason, revocation.invalidity_date)
            yield (
                entry_key(scope, offset),
                certificate.not_after.to_bytes(END_OCTETS, "big", signed=True) + entry,
            )
    if isinstance(event, CRLPublishedV2) and changes.refusal is None:
        scope = Scope(issuer=event.issuer, shards=event.shards, shard=event.shard)
        yield published_key(scope, delta=event.base is not None), _encode(event)
