"""The dashboard's rows: one per certificate that was issued, one per record of the log, one per request that was refused.

Status, predecessor and revocation are the lifecycle's: a row of ``certificates`` is what ``Changes`` says that the
certificate now is, never what an event claims. A row only ever gains: what was None may get a value, and keeps it, because
a certificate is issued once and revoked for ever. So a row also says what was true at any earlier offset of the log:
revoked if ``revoked_offset`` lies before it, replaced if ``replaced_offset`` does.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256

import msgspec

from quicklime.errors import Refused
from quicklime.events import EVENTS, CertificateIssued, Event, Requester, RequestRefused
from quicklime.lifecycle import Changes
from quicklime.lifecycle.certificate import Certificate
from quicklime.pki.keys import key_type, load_key

CERTIFICATES = "certificates"
RECORDS = "records"
REFUSALS = "refusals"
VERSION = 1

CERTIFICATE_COLUMNS = (
    "serial",
    "plan_offset",
    "issuer",
    "profile",
    "names",
    "label",
    "node",
    "not_before",
    "not_after",
    "renewable_until",
    "issued_at",
    "requester_kind",
    "requester_id",
    "requester_role",
    "lineage",
    "predecessor",
    "key_type",
    "spki_sha256",
    "fingerprint",
    "revoked_offset",
    "revoked_at",
    "reason",
    "invalidity_date",
)
RECORD_COLUMNS = ("type", "time", "subject", "requester_kind", "requester_id", "refusal")
REFUSAL_COLUMNS = ("time", "operation", "serial", "requester_kind", "requester_id", "codes", "detail")

_pack = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode


def certificates(offset: int, event: Event, changes: Changes) -> Iterable[tuple[bytes, bytes | None]]:
    """The row of each certificate that was issued and that this record changed."""
    for certificate in changes.certificates.values():
        if certificate.issued_offset is None:
            continue
        fingerprint = None
        if certificate.issued_offset == offset and isinstance(event, CertificateIssued):
            fingerprint = sha256(event.certificate).hexdigest()
        yield certificate.issued_offset.to_bytes(8, "big"), _pack(_certificate(certificate, fingerprint))


def _certificate(one: Certificate, fingerprint: str | None) -> list[str | int | None]:
    revocation = one.revocation
    return [
        one.serial,
        one.plan_offset,
        one.issuer,
        one.profile,
        _json(one.names).decode(),
        # names of one node tend to be longer than the name of the service, and addresses are nobody's name
        min(one.names, key=lambda name: (not name.startswith("dns:"), len(name), name), default=""),
        one.node,
        one.not_before,
        one.not_after,
        one.renewable_until,
        one.issued_at,
        one.requester.kind,
        one.requester.id,
        one.requester.role,
        one.lineage,
        one.predecessor,
        _key_type(one.public_key),
        sha256(one.public_key).hexdigest(),
        fingerprint,
        None if revocation is None else revocation.offset,
        None if revocation is None else revocation.revoked_at,
        None if revocation is None else revocation.reason,
        None if revocation is None else revocation.invalidity_date,
    ]


@lru_cache(maxsize=4096)
def _key_type(spki: bytes) -> str:
    try:
        return key_type(load_key(spki))
    except Refused:
        return "unknown"  # it was certified when other rules were in force


def records(offset: int, event: Event, changes: Changes) -> Iterable[tuple[bytes, bytes | None]]:
    """One row per record: what it is about, when, by whom, and the verdict where it does not stand."""
    requester: Requester | None = getattr(event, "requester", None)
    row = [
        event.TYPE,
        time_of(event),
        event.subject,
        None if requester is None else requester.kind,
        None if requester is None else requester.id,
        None if changes.refusal is None else str(changes.refusal.code),
    ]
    yield offset.to_bytes(8, "big"), _pack(row)


def refusals(offset: int, event: Event, changes: Changes) -> Iterable[tuple[bytes, bytes | None]]:
    """Requests that were refused: why a renewal is stuck."""
    del changes
    if isinstance(event, RequestRefused):
        row = [
            event.refused_at,
            event.operation,
            event.serial,
            event.requester.kind,
            event.requester.id,
            _json(event.codes).decode(),
            event.detail,
        ]
        yield offset.to_bytes(8, "big"), _pack(row)


# what each kind of event calls the moment when it happened
_MOMENT: dict[type[Event], str] = {
    kind: next(name for name in kind.__struct_fields__ if name.endswith("_at") or name == "this_update")
    for kind in EVENTS
}


def time_of(event: Event) -> int:
    """When it happened, UNIX seconds."""
    return int(getattr(event, _MOMENT[type(event)]))
