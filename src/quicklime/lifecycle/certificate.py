"""The life of a certificate: planned, then issued or abandoned; renewed at most once; revoked for ever.

``judge`` says whether a fact stands at its place in the log, ``evolve`` what it changes, ``decide_*`` which fact a command
may append. All three are pure, and the same for every process that reads the log, today and in ten years.

Invariants (``tests/unit/lifecycle/test_certificate_properties.py``):

* revocation absorbs: whatever follows a revocation, the certificate stays revoked;
* a certificate has at most one standing successor;
* nothing is issued that was not planned to the byte;
* an event that is delivered twice changes nothing the second time.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import sha256
from typing import Literal, Protocol

import msgspec

from quicklime.errors import Code, Reason, Refused
from quicklime.events import (
    CertificateAbandoned,
    CertificateIssued,
    CertificatePlanned,
    CertificatePlannedV2,
    CertificateRevoked,
    CertificateRevokedV2,
    Event,
    Requester,
    RevocationSecretAdded,
)
from quicklime.pki import certificate as pki_certificate
from quicklime.pki.shards import shard_of, shards_named

Status = Literal["planned", "refused", "abandoned", "issued", "revoked"]

REVOCATION_SECRETS_MAX = 8

# RFC 5280, Section 5.3.1: what a subscriber or an operator may give. 7 is unused; 6 and 8 (hold and its removal) would
# make revocation reversible, 2 and 10 speak of authorities, not of their subscribers.
REVOCATION_REASONS: dict[int, str] = {
    0: "unspecified",
    1: "keyCompromise",
    3: "affiliationChanged",
    4: "superseded",
    5: "cessationOfOperation",
    9: "privilegeWithdrawn",
}
KEY_COMPROMISE = 1


# The facts that this life judges, or is changed by.
CONCERNS: frozenset[type[Event]] = frozenset(
    {
        CertificatePlanned,
        CertificatePlannedV2,
        CertificateIssued,
        CertificateAbandoned,
        CertificateRevoked,
        CertificateRevokedV2,
        RevocationSecretAdded,
    }
)


class Revocation(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When and why; ``offset`` is the record's place in the log, which is what orders it among all facts."""

    revoked_at: int
    reason: int
    invalidity_date: int | None
    offset: int


class Certificate(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All that a later decision about this certificate needs. The certificate itself stands in the log, at ``issued_offset``.

    ``crl_shards`` is among how many CRLs its issuer's certificates were divided when it was planned: its own CRLDP says so.
    """

    serial: str
    status: Status
    issuer: str
    profile: str
    names: tuple[str, ...]
    public_key: bytes
    not_before: int
    not_after: int
    renewable_until: int
    requester: Requester
    lineage: str
    node: str | None
    predecessor: str | None
    successor: str | None
    challenge: bytes
    revocation_secrets_sha256: tuple[bytes, ...]
    tbs_sha256: bytes
    planned_at: int
    deadline: int
    plan_offset: int
    issued_offset: int | None = None
    issued_at: int | None = None
    revocation: Revocation | None = None
    idempotency_sha256: bytes | None = None
    request_sha256: bytes | None = None
    refusal: tuple[str, str] | None = None
    crl_shards: int = 1

    @property
    def crl_shard(self) -> int:
        """On which of ``crl_shards`` lists it is told that this certificate is revoked."""
        return shard_of(self.serial, self.crl_shards)

    def is_valid(self, now: int) -> bool:
        """Issued, not revoked, and inside its validity (both ends included: RFC 5280, Section 4.1.2.5)."""
        return self.status == "issued" and self.not_before <= now <= self.not_after


class Book(Protocol):
    """The certificates as they are before the fact in question."""

    def certificate(self, serial: str) -> Certificate | None: ...

    def claim(self, idempotency_sha256: bytes) -> str | None:
        """The serial that was planned under this idempotency key, if its plan stands."""
        ...

    def is_compromised(self, spki_sha256: bytes) -> bool:
        """Whether a certificate with this key was revoked for keyCompromise."""
        ...


class Changes(msgspec.Struct, gc=False):
    """What a fact made of the book. ``claims``: idempotency hash -> serial, or None where the claim is free again."""

    certificates: dict[str, Certificate] = {}
    claims: dict[bytes, str | None] = {}
    compromised: set[bytes] = set()


# --- does it stand? -------------------------------------------------------------------------------------------------


def judge(book: Book, event: Event) -> Reason | None:
    """Why ``event`` does not stand at this place in the log; None where it stands (as far as this life can tell)."""
    match event:
        case CertificatePlanned():
            return _judge_plan(book, event)
        case CertificateIssued():
            return _judge_issued(book, event)
        case CertificateAbandoned():
            plan = book.certificate(event.serial)
            if plan is None or plan.status != "planned":
                return Reason(Code.CERTIFICATE_NOT_ISSUED, f"certificate {event.serial} is not an open plan")
        case CertificateRevoked():
            certificate = book.certificate(event.serial)
            if certificate is None:
                return Reason(Code.CERTIFICATE_UNKNOWN, f"no certificate has serial {event.serial}")
            if certificate.revocation is not None:
                return Reason(Code.CERTIFICATE_REVOKED, f"certificate {event.serial} is revoked already")
        case RevocationSecretAdded():
            certificate = book.certificate(event.serial)
            if certificate is None or len(certificate.revocation_secrets_sha256) >= REVOCATION_SECRETS_MAX:
                return Reason(Code.CERTIFICATE_UNKNOWN, f"certificate {event.serial} takes no further secret")
        case _:
            pass
    return None


def _judge_plan(book: Book, plan: CertificatePlanned) -> Reason | None:
    if book.certificate(plan.serial) is not None:
        return Reason(Code.BUSY, f"serial {plan.serial} is taken")
    if plan.idempotency_sha256 is not None and (holder := book.claim(plan.idempotency_sha256)) is not None:
        return Reason(Code.IDEMPOTENCY_CONFLICT, f"this idempotency key belongs to certificate {holder}")
    if book.is_compromised(sha256(plan.public_key).digest()):
        return Reason(
            Code.KEY_COMPROMISED, "a certificate with this key was revoked for keyCompromise", "csr"
        )
    if plan.predecessor is None:
        return None
    parent = book.certificate(plan.predecessor)
    if parent is None:
        return Reason(Code.CERTIFICATE_UNKNOWN, f"no certificate has serial {plan.predecessor}")
    return next(iter(_why_not_renewable(book, parent, plan.names, anew=plan.requester.kind == "acme")), None)


def _judge_issued(book: Book, issued: CertificateIssued) -> Reason | None:
    plan = book.certificate(issued.serial)
    if plan is None:
        return Reason(Code.CERTIFICATE_UNKNOWN, f"certificate {issued.serial} was never planned")
    if plan.status != "planned":
        return Reason(
            Code.CERTIFICATE_NOT_ISSUED, f"the plan of certificate {issued.serial} is {plan.status}"
        )
    # a forged or confused producer: the record claims a certificate that is not the planned one
    if sha256(pki_certificate.tbs_of(issued.certificate)).digest() != plan.tbs_sha256:
        return Reason(
            Code.CERTIFICATE_NOT_ISSUED, f"certificate {issued.serial} is not the one that was planned"
        )
    return None


def _why_not_renewable(
    book: Book, parent: Certificate, names: tuple[str, ...], *, anew: bool = False
) -> Iterable[Reason]:
    """``anew`` where the requester proved each name again instead of the old key: then what became of the old certificate
    and which names it bore are no objection (RFC 9773, Section 5: a revoked certificate is what one replaces first).
    """
    serial = parent.serial
    if parent.revocation is not None:
        if not anew:
            yield Reason(Code.CERTIFICATE_REVOKED, f"certificate {serial} is revoked and can't be renewed")
    elif parent.status != "issued":
        yield Reason(Code.CERTIFICATE_NOT_ISSUED, f"certificate {serial} is {parent.status}, expected issued")
    if parent.successor is not None:
        child = book.certificate(parent.successor)
        if child is not None and child.status == "planned":
            yield Reason(Code.RENEWAL_IN_PROGRESS, f"a renewal of certificate {serial} is in progress")
        else:
            yield Reason(Code.ALREADY_RENEWED, f"certificate {serial} was renewed by {parent.successor}")
    if not anew and (wider := sorted(set(names) - set(parent.names))):
        yield Reason(Code.NAMES_WIDENED, f"names {wider!r} are not in the certificate that is renewed", "csr")


# --- what does it change? -------------------------------------------------------------------------------------------


def evolve(book: Book, event: Event, offset: int, refusal: Reason | None) -> Changes:
    """What ``event`` at ``offset`` changes. ``refusal`` is the verdict of every life together: None where it stands."""
    changes = Changes(certificates={}, claims={}, compromised=set())
    match event:
        case CertificatePlanned():
            _evolve_plan(book, event, offset, refusal, changes)
        case CertificateIssued():
            plan = book.certificate(event.serial)
            if refusal is None and plan is not None:
                changes.certificates[event.serial] = msgspec.structs.replace(
                    plan, status="issued", issued_offset=offset, issued_at=event.issued_at
                )
        case CertificateAbandoned() if refusal is None:
            _evolve_abandoned(book, event, changes)
        case CertificateRevoked() if refusal is None:
            certificate = book.certificate(event.serial)
            if certificate is not None:
                changes.certificates[event.serial] = msgspec.structs.replace(
                    certificate,
                    status="revoked",
                    revocation=Revocation(event.revoked_at, event.reason, event.invalidity_date, offset),
                )
                if event.reason == KEY_COMPROMISE:
                    changes.compromised.add(sha256(certificate.public_key).digest())
        case RevocationSecretAdded() if refusal is None:
            certificate = book.certificate(event.serial)
            if certificate is not None:
                changes.certificates[event.serial] = msgspec.structs.replace(
                    certificate,
                    revocation_secrets_sha256=(
                        *certificate.revocation_secrets_sha256,
                        event.revocation_secret_sha256,
                    ),
                )
        case _:
            pass
    return changes


def _evolve_plan(
    book: Book, plan: CertificatePlanned, offset: int, refusal: Reason | None, changes: Changes
) -> None:
    if book.certificate(plan.serial) is not None:
        return  # the serial is another plan's, or this record came twice: the first one keeps its place
    changes.certificates[plan.serial] = Certificate(
        serial=plan.serial,
        status="planned" if refusal is None else "refused",
        issuer=plan.issuer,
        profile=plan.profile,
        names=plan.names,
        public_key=plan.public_key,
        not_before=plan.not_before,
        not_after=plan.not_after,
        renewable_until=plan.not_after if plan.renewable_until is None else plan.renewable_until,
        requester=plan.requester,
        lineage=plan.lineage,
        node=plan.node,
        predecessor=plan.predecessor,
        successor=None,
        challenge=plan.challenge,
        revocation_secrets_sha256=(plan.revocation_secret_sha256,),
        tbs_sha256=sha256(plan.tbs).digest(),
        planned_at=plan.planned_at,
        deadline=plan.deadline,
        plan_offset=offset,
        idempotency_sha256=plan.idempotency_sha256,
        request_sha256=plan.request_sha256,
        refusal=None if refusal is None else (refusal.code, refusal.detail),
        crl_shards=shards_named(plan.tbs),
    )
    if refusal is not None:
        return
    if plan.idempotency_sha256 is not None:
        changes.claims[plan.idempotency_sha256] = plan.serial
    parent = None if plan.predecessor is None else book.certificate(plan.predecessor)
    if parent is not None:
        changes.certificates[parent.serial] = msgspec.structs.replace(parent, successor=plan.serial)


def _evolve_abandoned(book: Book, event: CertificateAbandoned, changes: Changes) -> None:
    plan = book.certificate(event.serial)
    if plan is None:
        return
    changes.certificates[plan.serial] = msgspec.structs.replace(plan, status="abandoned")
    if plan.idempotency_sha256 is not None:
        changes.claims[plan.idempotency_sha256] = None
    parent = None if plan.predecessor is None else book.certificate(plan.predecessor)
    if parent is not None and parent.successor == plan.serial:
        changes.certificates[parent.serial] = msgspec.structs.replace(parent, successor=None)


# --- what may be appended? ------------------------------------------------------------------------------------------


def renewal_message(challenge: bytes, csr: bytes) -> bytes:
    """What the old key signs to renew: 32 octets, bound to the challenge and to the new CSR (DER).

    ``SHA-256("quicklime-renewal-v1" || challenge || SHA-256(csr))``. The prefix keeps it apart from anything that the
    same key signs in TLS or JOSE, the CSR keeps a stolen signature from being used with another key.
    """
    return sha256(b"quicklime-renewal-v1" + challenge + sha256(csr).digest()).digest()


def revocation_message(challenge: bytes, serial: str, reason: int) -> bytes:
    """What the certificate's key signs to revoke: ``SHA-256("quicklime-revocation-v1" || challenge || serial || reason)``."""
    return sha256(b"quicklime-revocation-v1" + challenge + bytes.fromhex(serial) + bytes((reason,))).digest()


def check_replaceable(book: Book, parent: Certificate) -> None:
    """Whether a certificate whose names are proved anew may replace ``parent``. Raises Refused with every reason against it."""
    reasons = list(_why_not_renewable(book, parent, (), anew=True))
    if reasons:
        raise Refused.of(reasons)


def check_renewable(book: Book, parent: Certificate, names: tuple[str, ...], now: int) -> None:
    """Whether ``parent`` may be renewed for ``names`` at ``now``. Raises Refused with every reason against it."""
    reasons = list(_why_not_renewable(book, parent, names))
    if now > parent.renewable_until:
        reasons.append(
            Reason(Code.CERTIFICATE_EXPIRED, f"certificate {parent.serial} expired and its grace is over")
        )
    if reasons:
        raise Refused.of(reasons)


def knows_secret(certificate: Certificate, secret: bytes) -> bool:
    """Whether ``secret`` is one that revokes the certificate. Every hash is compared, each in constant time."""
    given = sha256(secret).digest()
    matches = [hmac.compare_digest(given, known) for known in certificate.revocation_secrets_sha256]
    return any(matches)


def decide_revoke(
    certificate: Certificate | None,
    *,
    serial: str,
    reason: int,
    invalidity_date: int | None,
    requester: Requester,
    now: int,
) -> CertificateRevoked | None:
    """The fact to append; None where the certificate is revoked already (revoking twice changes nothing).

    Raises Refused: unknown serial, never issued, a reason that is not for subscribers, a date outside the certificate's life.
    """
    if certificate is None or certificate.status in ("planned", "refused", "abandoned"):
        raise Refused(Code.CERTIFICATE_UNKNOWN, f"no certificate has serial {serial}")
    if certificate.revocation is not None:
        return None
    reasons: list[Reason] = []
    if reason not in REVOCATION_REASONS:
        known = ", ".join(f"{number} ({name})" for number, name in REVOCATION_REASONS.items())
        reasons.append(
            Reason(Code.REVOCATION_REASON_INVALID, f"reason {reason} is not one of {known}", "reason")
        )
    # RFC 5280, Section 5.3.2: when it is known or suspected that the key was compromised: not in the future
    if invalidity_date is not None and not certificate.not_before <= invalidity_date <= now:
        reasons.append(
            Reason(
                Code.INVALIDITY_DATE_INVALID,
                f"invalidity date {invalidity_date} is not between notBefore and now",
                "invalidity_date",
            )
        )
    if reasons:
        raise Refused.of(reasons)
    event = CertificateRevokedV2 if requester.kind == "acme" else CertificateRevoked
    return event(
        serial=serial, reason=reason, revoked_at=now, requester=requester, invalidity_date=invalidity_date
    )
