"""The life of the authority's issuers: added, activated, and from the next one's activation on retired but answerable.

Invariants: one log has one founding; at most one intermediate is active; CRL numbers of an issuer only rise
(RFC 5280, Section 5.2.3).
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from quicklime.errors import Code, Reason
from quicklime.events import (
    AuthorityFounded,
    CertificatePlanned,
    CertificatePlannedV2,
    CRLPublished,
    CRLPublishedV2,
    Event,
    IssuerActivated,
    IssuerAdded,
    IssuerRole,
)
from quicklime.pki.shards import CRL_SHARDS_MAX, point_named

IssuerStatus = Literal["added", "active", "retired"]


class Issuer(msgspec.Struct, frozen=True, array_like=True):
    """``crl_number`` is the last number of any of its CRLs, which all share one rising sequence.

    ``crl_points`` are the (base URL, number of lists) by which certificates that stand have named their CRLs, in that order.
    """

    issuer: str
    role: IssuerRole
    status: IssuerStatus
    certificate: bytes
    added_at: int
    crl_number: int = 0
    crl_points: tuple[tuple[str, int], ...] = ()


class Authority(msgspec.Struct, frozen=True, array_like=True):
    """The authority as a whole: its identity and its issuers, in the order in which they were added."""

    authority: str
    name: str
    founded_at: int
    issuers: tuple[Issuer, ...] = ()

    def issuer(self, issuer: str) -> Issuer | None:
        for one in self.issuers:
            if one.issuer == issuer:
                return one
        return None

    @property
    def active(self) -> Issuer | None:
        """The intermediate that issues now."""
        return next((one for one in self.issuers if one.status == "active"), None)

    @property
    def roots(self) -> tuple[Issuer, ...]:
        return tuple(one for one in self.issuers if one.role == "root")

    @property
    def intermediates(self) -> tuple[Issuer, ...]:
        return tuple(one for one in self.issuers if one.role == "intermediate")


# The facts that this life judges, or is changed by.
CONCERNS: frozenset[type[Event]] = frozenset(
    {
        AuthorityFounded,
        IssuerAdded,
        IssuerActivated,
        CertificatePlanned,
        CertificatePlannedV2,
        CRLPublished,
        CRLPublishedV2,
    }
)


class Book(Protocol):
    def authority(self) -> Authority | None: ...


def judge(book: Book, event: Event) -> Reason | None:
    """Why ``event`` does not stand, as far as issuers are concerned."""
    match event:
        case AuthorityFounded():
            if book.authority() is not None:
                return Reason(Code.BUSY, "the authority was founded already")
            return None
        case IssuerAdded() | IssuerActivated() | CertificatePlanned() | CRLPublished() | CRLPublishedV2():
            authority = book.authority()
            issuer = None if authority is None else authority.issuer(event.issuer)
            return _judge_issuer(event, authority, issuer)
        case _:
            return None


def _judge_issuer(
    event: IssuerAdded | IssuerActivated | CertificatePlanned | CRLPublished | CRLPublishedV2,
    authority: Authority | None,
    issuer: Issuer | None,
) -> Reason | None:
    if authority is None:
        return Reason(Code.ISSUER_UNKNOWN, "the authority was not founded")
    if isinstance(event, IssuerAdded):
        if issuer is not None:
            return Reason(Code.BUSY, f"issuer {event.issuer} was added already")
        return None
    if issuer is None:
        return Reason(Code.ISSUER_UNKNOWN, f"issuer {event.issuer} is not known")
    match event:
        case IssuerActivated():
            if issuer.role != "intermediate" or issuer.status != "added":
                return Reason(
                    Code.ISSUER_UNAVAILABLE,
                    f"{issuer.role} {event.issuer} is {issuer.status}, expected added",
                )
        case CertificatePlanned():
            # a retired issuer still signs its delegated responder's certificate, or its own status could not be answered
            if issuer.status != "active" and not (
                issuer.status == "retired" and event.requester.kind == "system"
            ):
                return Reason(Code.ISSUER_UNAVAILABLE, f"issuer {event.issuer} is {issuer.status}")
        case CRLPublished() | CRLPublishedV2():
            if event.number <= issuer.crl_number:
                return Reason(Code.BUSY, f"CRL number {event.number} does not follow {issuer.crl_number}")
            if isinstance(event, CRLPublishedV2):
                return _judge_list(event)
    return None


def _judge_list(event: CRLPublishedV2) -> Reason | None:
    if not 0 <= event.shard < event.shards <= CRL_SHARDS_MAX:
        return Reason(Code.REQUEST_MALFORMED, f"CRL shard {event.shard} of {event.shards}")
    figures = (
        event.number,
        event.covers,
        event.this_update,
        event.next_update,
        event.base or 0,
        event.base_covers,
        event.expired_before,
        event.expired_covers,
    )
    # views keep them in 8 octets
    if not 0 <= min(figures) <= max(figures) < 1 << 63:
        return Reason(Code.REQUEST_MALFORMED, "a CRL with a figure below 0 or of more than 63 bits")
    return None


def evolve(book: Book, event: Event, refusal: Reason | None) -> Authority | None:
    """The authority as ``event`` leaves it; None where it changes nothing."""
    if refusal is not None:
        return None
    if isinstance(event, AuthorityFounded):
        return Authority(event.authority, event.name, event.founded_at)
    authority = book.authority()
    if authority is None:
        return None
    match event:
        case IssuerAdded():
            issuer = Issuer(event.issuer, event.role, "added", event.certificate, event.added_at)
            return msgspec.structs.replace(authority, issuers=(*authority.issuers, issuer))
        case IssuerActivated():
            return msgspec.structs.replace(
                authority, issuers=tuple(_activated(one, event.issuer) for one in authority.issuers)
            )
        case CRLPublished() | CRLPublishedV2():
            return _with(authority, event.issuer, crl_number=event.number)
        case CertificatePlanned():
            return _with_point(authority, event)
        case _:
            return None


def _with(authority: Authority, issuer: str, **changes: object) -> Authority:
    return msgspec.structs.replace(
        authority,
        issuers=tuple(
            msgspec.structs.replace(one, **changes) if one.issuer == issuer else one
            for one in authority.issuers
        ),
    )


def _with_point(authority: Authority, plan: CertificatePlanned) -> Authority | None:
    """The authority with one more way in which certificates name their CRL; None where it is known, as nearly always."""
    issuer, point = authority.issuer(plan.issuer), point_named(plan.tbs)
    if issuer is None or point is None or point in issuer.crl_points:
        return None
    return _with(authority, plan.issuer, crl_points=(*issuer.crl_points, point))


def _activated(issuer: Issuer, active: str) -> Issuer:
    if issuer.issuer == active:
        return msgspec.structs.replace(issuer, status="active")
    if issuer.status == "active":
        return msgspec.structs.replace(issuer, status="retired")
    return issuer
