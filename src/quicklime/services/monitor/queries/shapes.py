"""Rows of the view as the types of ``wire``, as of a moment."""

from __future__ import annotations

import msgspec

from quicklime.lifecycle.certificate import REVOCATION_REASONS
from quicklime.projection.tabular import Value
from quicklime.services.monitor import wire
from quicklime.services.monitor.queries.moment import Moment
from quicklime.web.render import timestamp

COLUMNS = (
    "c.offset, c.serial, c.label, c.names, c.node, c.profile, c.issuer, c.key_type, c.requester_kind, c.requester_id, "
    "c.requester_role, c.not_before, c.not_after, c.issued_at, c.due_at, c.late_at, c.lineage, c.predecessor, "
    "c.replaced_offset, c.replaced_at, c.replaced_by, c.revoked_offset, c.revoked_at, c.reason, c.fingerprint"
)


class _Certificate(msgspec.Struct, frozen=True, array_like=True):
    """The columns, in their order."""

    offset: int
    serial: str
    label: str
    names: str
    node: str | None
    profile: str
    issuer: str
    key_type: str
    requester_kind: str
    requester_id: str
    requester_role: str | None
    not_before: int
    not_after: int
    issued_at: int
    due_at: int
    late_at: int
    lineage: str
    predecessor: str | None
    replaced_offset: int | None
    replaced_at: int | None
    replaced_by: str | None
    revoked_offset: int | None
    revoked_at: int | None
    reason: int | None
    fingerprint: str | None


class _Refusal(msgspec.Struct, frozen=True, array_like=True):
    offset: int
    time: int
    operation: str
    serial: str | None
    requester_kind: str
    requester_id: str
    codes: str
    detail: str


class _Record(msgspec.Struct, frozen=True, array_like=True):
    offset: int
    type: str
    time: int
    subject: str
    requester_kind: str | None
    requester_id: str | None
    refusal: str | None


REFUSAL_COLUMNS = (
    "r.offset, r.time, r.operation, r.serial, r.requester_kind, r.requester_id, r.codes, r.detail"
)
RECORD_COLUMNS = "offset, type, time, subject, requester_kind, requester_id, refusal"

_names = msgspec.json.Decoder(list[str]).decode


def certificate(row: tuple[Value, ...], moment: Moment) -> wire.CertificateRow:
    """A certificate as it was at ``moment``: what came after does not count."""
    one = msgspec.convert(row, _Certificate)
    revoked = one.revoked_offset is not None and one.revoked_offset <= moment.offset
    replaced = one.replaced_offset is not None and one.replaced_offset <= moment.offset
    status: wire.Status = "revoked" if revoked else "expired" if one.not_after < moment.now else "valid"
    return wire.CertificateRow(
        offset=one.offset,
        serial=one.serial,
        status=status,
        service=one.label,
        names=_names(one.names),
        node=one.node,
        profile=one.profile,
        issuer=one.issuer,
        key_type=one.key_type,
        requester=wire.Who(one.requester_kind, one.requester_id, one.requester_role),
        not_before=timestamp(one.not_before),
        not_after=timestamp(one.not_after),
        issued_at=timestamp(one.issued_at),
        due_at=timestamp(one.due_at),
        is_overdue=status == "valid" and not replaced and one.late_at < moment.now,
        lineage=one.lineage,
        predecessor=one.predecessor,
        replaced_by=one.replaced_by if replaced else None,
        replaced_at=timestamp(one.replaced_at) if replaced and one.replaced_at is not None else None,
        revoked_at=timestamp(one.revoked_at) if revoked and one.revoked_at is not None else None,
        reason=REVOCATION_REASONS.get(one.reason, str(one.reason))
        if revoked and one.reason is not None
        else None,
        fingerprint=one.fingerprint or "",
    )


def refusal(row: tuple[Value, ...]) -> wire.RefusalRow:
    one = msgspec.convert(row, _Refusal)
    return wire.RefusalRow(
        offset=one.offset,
        time=timestamp(one.time),
        operation=one.operation,
        serial=one.serial,
        requester=wire.Who(one.requester_kind, one.requester_id),
        codes=_names(one.codes),
        detail=one.detail,
    )


def record(row: tuple[Value, ...]) -> wire.RecordRow:
    one = msgspec.convert(row, _Record)
    requester = None
    if one.requester_kind is not None and one.requester_id is not None:
        requester = wire.Who(one.requester_kind, one.requester_id)
    return wire.RecordRow(
        offset=one.offset,
        type=one.type,
        time=timestamp(one.time),
        subject=one.subject,
        requester=requester,
        refusal=one.refusal,
    )
