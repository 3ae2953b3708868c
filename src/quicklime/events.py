"""The vocabulary: every fact the log may hold, on one page.

Rules:

* Past participles: an event says what happened, and is never edited. A change of meaning is a new class with a new
  type name, beside the old, which decodes for ever.
* What was drawn (serial, challenge, times) stands in the event, so that replay draws nothing.
* No secret in clear: of a token or a revocation secret there is only the SHA-256.

Shapes: ``serial`` is 40 hexadecimal characters (20 octets); ``issuer`` is the issuer's subject key identifier in
hexadecimal; times are UNIX seconds; ``names`` are typed (``dns:web.internal``, ``ip:10.0.0.1``), sorted and unique;
``*_sha256`` are raw digests (base64 in the log's JSON); certificates and keys are DER.

``docs/reference/events.md`` is generated from this page; ``schemas/`` holds the JSON Schema of each.
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import msgspec

RequesterKind = Literal["token", "certificate", "possession", "secret", "system", "local", "cfssl", "acme"]
Role = Literal["admin", "operator", "auditor", "requester"]
IssuerRole = Literal["root", "intermediate"]


# What the first versions of the types below can hold. A kind that came later stands only in later versions, so that a record
# is always of the oldest type that can say it, and a log without ACME is read by programs from before it.
KINDS_V1: frozenset[str] = frozenset(
    {"token", "certificate", "possession", "secret", "system", "local", "cfssl"}
)
KINDS_V2: frozenset[str] = KINDS_V1 | {"acme"}


class Requester(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Who asked. ``id`` is a token's id, a certificate's serial or fingerprint, a role of the system, a login name.

    ``possession`` proved the old certificate's key, ``secret`` showed the revocation secret, ``local`` typed a command
    on the machine that holds the log, ``system`` is Quicklime itself.
    """

    # and ``acme`` is an ACME account; the text above stands in the schemas of types that do not know it
    kind: RequesterKind
    id: str
    role: Role | None = None


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Base of every event. ``TYPE`` is the name in the log, with its version; it never changes.

    ``KINDS`` are the kinds of requester that records of this type can name; the codec and the schemas hold to it.
    """

    TYPE: ClassVar[str]
    KINDS: ClassVar[frozenset[str]] = KINDS_V1

    @property
    def subject(self) -> str:
        """What the fact is about: the CloudEvents ``subject``."""
        raise NotImplementedError


class AuthorityFounded(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The first record of every log: whose log this is. ``authority`` is a UUID that no other log bears."""

    TYPE: ClassVar[str] = "quicklime.authority.founded.v1"
    authority: str
    name: str
    founded_at: int

    @property
    def subject(self) -> str:
        return self.authority


class IssuerAdded(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A root or an intermediate of this authority exists, with this certificate. It does not issue yet."""

    TYPE: ClassVar[str] = "quicklime.issuer.added.v1"
    issuer: str
    role: IssuerRole
    certificate: bytes
    added_at: int
    requester: Requester

    @property
    def subject(self) -> str:
        return self.issuer


class IssuerActivated(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """From here on this intermediate issues; the one before stays answerable (status, CRL) but issues no more."""

    TYPE: ClassVar[str] = "quicklime.issuer.activated.v1"
    issuer: str
    activated_at: int
    requester: Requester

    @property
    def subject(self) -> str:
        return self.issuer


class CertificatePlanned(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """What is about to be signed, to the byte. Whether the plan *stands* is decided by the log's order.

    ``predecessor`` is the serial of the certificate that this one replaces. ``lineage`` is the serial of the first
    certificate of the chain. ``node`` names the machine or replica, where the requester said. ``evidence`` says, name by
    name, why the requester may have it. ``challenge`` is what the holder of the key signs to renew.
    ``idempotency_sha256`` binds requester and Idempotency-Key, ``request_sha256`` what was asked under it.
    ``deadline`` is the moment from which an unfinished plan may be abandoned.
    """

    TYPE: ClassVar[str] = "quicklime.certificate.planned.v1"
    serial: str
    issuer: str
    profile: str
    names: tuple[str, ...]
    public_key: bytes
    not_before: int
    not_after: int
    tbs: bytes
    challenge: bytes
    revocation_secret_sha256: bytes
    requester: Requester
    evidence: tuple[str, ...]
    lineage: str
    planned_at: int
    deadline: int
    predecessor: str | None = None
    renewable_until: int | None = None
    node: str | None = None
    idempotency_sha256: bytes | None = None
    request_sha256: bytes | None = None

    @property
    def subject(self) -> str:
        return self.serial


class CertificatePlannedV2(
    CertificatePlanned, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """As the first version; the requester may be an ACME account.

    Such a plan proves each name anew (``evidence`` says how, where and when), so its predecessor may bear other names, be
    expired or revoked. Its ``idempotency_sha256`` is that of the ACME order, which the certificate completes.
    """

    TYPE: ClassVar[str] = "quicklime.certificate.planned.v2"
    KINDS: ClassVar[frozenset[str]] = KINDS_V2


class CertificateIssued(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The planned bytes were signed. Only after this is in the log does the certificate leave the authority."""

    TYPE: ClassVar[str] = "quicklime.certificate.issued.v1"
    serial: str
    certificate: bytes
    issued_at: int

    @property
    def subject(self) -> str:
        return self.serial


class CertificateAbandoned(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A plan that will not be finished: its place (predecessor, idempotency key, use of a token) is free again."""

    TYPE: ClassVar[str] = "quicklime.certificate.abandoned.v1"
    serial: str
    cause: str
    abandoned_at: int

    @property
    def subject(self) -> str:
        return self.serial


class CertificateRevoked(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The certificate is no longer to be trusted. ``reason`` is a CRLReason number (RFC 5280, Section 5.3.1)."""

    TYPE: ClassVar[str] = "quicklime.certificate.revoked.v1"
    serial: str
    reason: int
    revoked_at: int
    requester: Requester
    invalidity_date: int | None = None

    @property
    def subject(self) -> str:
        return self.serial


class CertificateRevokedV2(
    CertificateRevoked, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """As the first version; the requester may be an ACME account."""

    TYPE: ClassVar[str] = "quicklime.certificate.revoked.v2"
    KINDS: ClassVar[frozenset[str]] = KINDS_V2


class RevocationSecretAdded(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One more secret that revokes this certificate: a retried request can't be told the first again, only its hash is kept."""

    TYPE: ClassVar[str] = "quicklime.certificate.secret-added.v1"
    serial: str
    revocation_secret_sha256: bytes
    added_at: int

    @property
    def subject(self) -> str:
        return self.serial


class TokenCreated(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A bearer token exists. ``names`` and ``profiles`` are what it may ask for; ``uses_max`` how often."""

    TYPE: ClassVar[str] = "quicklime.token.created.v1"
    token: str
    token_sha256: bytes
    role: Role
    created_at: int
    expires_at: int
    requester: Requester
    label: str = ""
    names: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    uses_max: int | None = None

    @property
    def subject(self) -> str:
        return self.token


class TokenRevoked(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The token opens nothing any more. What was issued with it stays."""

    TYPE: ClassVar[str] = "quicklime.token.revoked.v1"
    token: str
    revoked_at: int
    requester: Requester

    @property
    def subject(self) -> str:
        return self.token


class RequestRefused(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A requester who is known asked for something and did not get it: why a renewal is stuck, and who tries what.

    ``codes`` are those of ``errors.Code``. ``serial`` is the certificate concerned, where there is one.
    """

    TYPE: ClassVar[str] = "quicklime.request.refused.v1"
    operation: Literal["issue", "renew", "revoke"]
    requester: Requester
    codes: tuple[str, ...]
    detail: str
    refused_at: int
    serial: str | None = None

    @property
    def subject(self) -> str:
        return self.serial or self.requester.id


class RequestRefusedV2(RequestRefused, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """As the first version; the requester may be an ACME account."""

    TYPE: ClassVar[str] = "quicklime.request.refused.v2"
    KINDS: ClassVar[frozenset[str]] = KINDS_V2


class CRLPublished(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A CRL was signed. Its entries are the issuer's revoked certificates at offset ``covers``: every record before it.

    The list itself is rebuilt from the log; the signature is what can't be, so it stands here.
    ``crl_sha256`` is over the whole DER CRL, and shows that the rebuilt one is the same to the byte.
    """

    TYPE: ClassVar[str] = "quicklime.crl.published.v1"
    issuer: str
    number: int
    covers: int
    this_update: int
    next_update: int
    signature: bytes
    crl_sha256: bytes

    @property
    def subject(self) -> str:
        return self.issuer


class CRLPublishedV2(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A CRL was signed: list ``shard`` of ``shards``, complete or, with a ``base``, a delta list.

    Its entries are those of the issuer's revoked certificates that name this list as theirs (their CRLDP says which of how many),
    revoked by the records from ``base_covers`` on and before ``covers``, in the order of the log. Left out are those of offsets
    before ``expired_covers`` whose certificates ended before ``expired_before``: an earlier list by schedule has shown them after
    their end. ``scheduled`` where no revocation was the reason. ``base`` is the number of a complete list of the same shard.
    ``distribution_points`` and ``freshest`` are the URLs in the extensions of that name. ``crl_sha256`` is over the whole list.
    """

    TYPE: ClassVar[str] = "quicklime.crl.published.v2"
    issuer: str
    number: int
    covers: int
    this_update: int
    next_update: int
    signature: bytes
    crl_sha256: bytes
    shards: int = 1
    shard: int = 0
    scheduled: bool = False
    base: int | None = None
    base_covers: int = 0
    expired_before: int = 0
    expired_covers: int = 0
    distribution_points: tuple[str, ...] = ()
    freshest: str | None = None

    @property
    def subject(self) -> str:
        return self.issuer


class ACMEKeyCreated(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """A key of external account binding exists (RFC 8555, Section 7.3.4). Its MAC key is derived from its id, and never here.

    ``names`` are patterns that the account bound with it may have, ``profiles`` what it may use, empty for what the directory
    allows; ``certificates_max`` is how many certificates in all.
    """

    TYPE: ClassVar[str] = "quicklime.acme.key-created.v1"
    key: str
    directory: str
    created_at: int
    expires_at: int
    requester: Requester
    label: str = ""
    names: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    certificates_max: int | None = None

    @property
    def subject(self) -> str:
        return self.key


class ACMEKeyRevoked(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The key binds no account any more, and the account that it bound gets no certificate. What was issued stays."""

    TYPE: ClassVar[str] = "quicklime.acme.key-revoked.v1"
    key: str
    revoked_at: int
    requester: Requester

    @property
    def subject(self) -> str:
        return self.key


class _OfAccount(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    account: str

    @property
    def subject(self) -> str:
        return self.account


class ACMEAccountCreated(_OfAccount, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """An ACME account exists. ``jwk`` is its public key as canonical JSON (RFC 7638, Section 3), ``thumbprint`` its SHA-256.

    ``binding`` is the key of external account binding that stands behind it; ``address`` is where the request came from.
    """

    TYPE: ClassVar[str] = "quicklime.acme.account-created.v1"
    directory: str
    jwk: str
    thumbprint: bytes
    created_at: int
    address: str
    contact: tuple[str, ...] = ()
    terms: str | None = None
    binding: str | None = None


class ACMEAccountUpdated(_OfAccount, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The account's contacts are these now, and it agreed to the terms at this URL."""

    TYPE: ClassVar[str] = "quicklime.acme.account-updated.v1"
    updated_at: int
    contact: tuple[str, ...] = ()
    terms: str | None = None


class ACMEAccountKeyChanged(
    _OfAccount, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """From here on the account signs with this key (RFC 8555, Section 7.3.5)."""

    TYPE: ClassVar[str] = "quicklime.acme.account-key-changed.v1"
    jwk: str
    thumbprint: bytes
    changed_at: int


class ACMEAccountClosed(_OfAccount, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """The account asks for nothing any more, for ever: by itself (deactivated), or by an operator (revoked)."""

    TYPE: ClassVar[str] = "quicklime.acme.account-closed.v1"
    status: Literal["deactivated", "revoked"]
    closed_at: int
    requester: Requester

    KINDS: ClassVar[frozenset[str]] = KINDS_V2


Event = (
    AuthorityFounded
    | IssuerAdded
    | IssuerActivated
    | CertificatePlanned
    | CertificatePlannedV2
    | CertificateIssued
    | CertificateAbandoned
    | CertificateRevoked
    | CertificateRevokedV2
    | RevocationSecretAdded
    | TokenCreated
    | TokenRevoked
    | RequestRefused
    | RequestRefusedV2
    | CRLPublished
    | CRLPublishedV2
    | ACMEKeyCreated
    | ACMEKeyRevoked
    | ACMEAccountCreated
    | ACMEAccountUpdated
    | ACMEAccountKeyChanged
    | ACMEAccountClosed
)

EVENTS: tuple[type[Event], ...] = get_args(Event)
