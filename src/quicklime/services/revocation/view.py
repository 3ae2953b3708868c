"""The certificates that are issued and not revoked, with the hashes of the secrets that revoke them.

Keys: the serial's 20 octets. What is revoked leaves; what expired is told by ``not_after``.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from quicklime.events import Event, RevocationSecretAdded
from quicklime.lifecycle import Changes

NAME = "revocation"
VERSION = 1
# what it tells of besides certificates that are more than planned
EVENTS: frozenset[type[Event]] = frozenset({RevocationSecretAdded})


class Valid(msgspec.Struct, frozen=True, array_like=True, gc=False):
    issuer: str
    not_before: int
    not_after: int
    revocation_secrets_sha256: tuple[bytes, ...]


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Valid).decode


def key(serial: str) -> bytes:
    return bytes.fromhex(serial)


def project(offset: int, event: Event, changes: Changes) -> Iterable[tuple[bytes, bytes | None]]:
    del offset, event
    for serial, certificate in changes.certificates.items():
        if certificate.status == "issued":
            valid = Valid(
                certificate.issuer,
                certificate.not_before,
                certificate.not_after,
                certificate.revocation_secrets_sha256,
            )
            yield key(serial), _encode(valid)
        elif certificate.status == "revoked":
            yield key(serial), None
