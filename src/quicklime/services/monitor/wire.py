"""What the monitor answers, as types: the JSON of ``/v1/monitor/...``, the OpenAPI description and the page's types are these.

Times are RFC 3339, UTC; offsets are places in the log; a serial is 40 hexadecimal characters.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["valid", "expired", "revoked"]
Sort = Literal["-issued", "issued", "expires", "-expires", "name", "-name"]
Filter = Literal["all", "valid", "current", "replaced", "expiring", "expired", "revoked", "overdue"]
LaneState = Literal["good", "due", "late", "failing", "contested", "expired", "revoked"]
AttentionKind = Literal["overdue", "failing", "contested", "expired"]


class AsOf(msgspec.Struct, frozen=True):
    """Up to which record the answer goes, and for which moment. ``live`` where that is the present; ``behind`` says how many
    records of the log the view had not seen then.
    """

    offset: int
    time: str
    live: bool
    behind: int = 0


class Who(msgspec.Struct, frozen=True):
    """Who asked for something: the kind of identity, its id, and the role where it had one."""

    kind: str
    id: str
    role: str | None = None


class CertificateRow(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate, as of the answer's moment. ``service`` is the shortest of its DNS names, ``due_at`` when its renewal is
    expected.
    """

    offset: int
    serial: str
    status: Status
    service: str
    names: list[str]
    node: str | None
    profile: str
    issuer: str
    key_type: str
    requester: Who
    not_before: str
    not_after: str
    issued_at: str
    due_at: str
    is_overdue: bool
    lineage: str
    predecessor: str | None
    replaced_by: str | None
    replaced_at: str | None
    revoked_at: str | None
    reason: str | None
    fingerprint: str


class FacetValue(msgspec.Struct, frozen=True):
    """A value that certificates have, and how many ever had it."""

    value: str
    count: int


class Facets(msgspec.Struct, frozen=True):
    issuer: list[FacetValue]
    profile: list[FacetValue]
    key_type: list[FacetValue]


class CertificatePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of certificates. ``next`` is the cursor of the following one, null at the end.

    ``sort`` is the order that was kept; ``is_whole`` false where so much had to be looked at that the page ends early.
    """

    certificates: list[CertificateRow]
    next: str | None
    sort: Sort
    is_whole: bool
    as_of: AsOf


class RefusalRow(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was refused, and why."""

    offset: int
    time: str
    operation: str
    serial: str | None
    requester: Who
    codes: list[str]
    detail: str


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """Something that needs a person: a certificate and what is wrong with its lineage."""

    kind: AttentionKind
    certificate: CertificateRow
    refusal: RefusalRow | None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are. ``overdue``, ``expiring`` (within ``expiring_seconds``) and ``ended`` stop at ``counted_max``; as of
    an earlier moment they count among the 5000 that ended last or would end next.
    """

    certificates: int
    valid: int
    expired: int
    revoked: int
    overdue: int
    expiring: int
    ended: int
    refused_last_day: int
    issued_last_day: int
    expiring_seconds: int
    counted_max: int


class SeriesPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in the period that begins at ``time``."""

    time: str
    issued: int
    renewed: int
    revoked: int
    refused: int


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    authority: str
    name: str
    counts: Counts
    attention: list[Attention]
    series: list[SeriesPoint]
    series_seconds: int
    as_of: AsOf


class ServiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A service, with as many lineages as nodes. ``nodes`` counts those whose newest certificate is valid, or was until
    lately; what is not ``good``, ``due`` or ``bad`` of them is revoked. ``certificates`` counts those named for it first.
    """

    name: str
    certificates: int
    nodes: int
    good: int
    due: int
    bad: int
    next_end: str | None


class ServicePage(msgspec.Struct, frozen=True, kw_only=True):
    services: list[ServiceRow]
    next: str | None
    as_of: AsOf


class Gap(msgspec.Struct, frozen=True):
    """A time without a valid certificate."""

    begin: str
    end: str | None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate in its lane. ``unusual`` where another requester got it, or another node, than one would expect;
    ``contested`` where somebody tried to renew it after it had been renewed.
    """

    certificate: CertificateRow
    unusual: bool
    contested: bool
    refusals: list[RefusalRow]


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """The certificates of one node, oldest first: a lineage, or several where the node once began anew."""

    lineage: str
    node: str | None
    state: LaneState
    due_at: str
    links: list[Link]
    gaps: list[Gap]


class Lineages(msgspec.Struct, frozen=True, kw_only=True):
    """All lanes of a name. ``is_whole`` false where only the newest certificates are shown."""

    name: str
    lanes: list[Lane]
    is_whole: bool
    as_of: AsOf


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded field or extension."""

    name: str
    value: list[str]
    oid: str | None = None
    critical: bool = False


class RecordRow(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the log. ``refusal`` is the log's verdict where the fact does not stand."""

    offset: int
    type: str
    time: str
    subject: str
    requester: Who | None
    refusal: str | None


class RecordPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first. ``next`` is the offset to go on before."""

    records: list[RecordRow]
    next: int | None
    head: int


class RecordDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A record with its exact JSON."""

    record: RecordRow
    value: str


class CertificateDetail(msgspec.Struct, frozen=True, kw_only=True):
    certificate: CertificateRow
    fields: list[Field]
    spki_sha256: str
    pem: str
    chain: str
    records: list[RecordRow]
    refusals: list[RefusalRow]
    lane: Lane
    as_of: AsOf


class IssuerRow(msgspec.Struct, frozen=True, kw_only=True):
    issuer: str
    name: str
    role: str
    status: str
    key_type: str
    not_before: str
    not_after: str
    added_at: str
    crl_number: int
    certificates: int
    is_here: bool
    pem: str


class IssuerList(msgspec.Struct, frozen=True):
    issuers: list[IssuerRow]


class ViewLag(msgspec.Struct, frozen=True, kw_only=True):
    """A view: how far it has come, and how many records it is behind."""

    name: str
    checkpoint: int
    lag_records: int
    state: str


class System(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    authority: str
    name: str
    log_head: int
    views: list[ViewLag]
    roles: list[str]
    is_ready: bool
    reasons: list[str]
    started_at: str
    now: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in. ``csrf`` goes into the header ``quicklime-csrf`` of whatever changes something."""

    id: str
    role: str
    label: str
    permissions: list[str]
    expires_at: str
    csrf: str


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The token of an operator, an auditor or an administrator."""

    token: str
