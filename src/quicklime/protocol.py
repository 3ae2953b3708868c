"""The vocabulary of the protocol stream: what is said between an ACME client and its certificate, soon worthless.

Orders, authorizations and validations stand in a log of their own, beside the ledger and with the ledger's contract, so that
they can be forgotten when they are old. What outlives them stands in the ledger: accounts, binding keys, and in each
certificate's plan the evidence for each name. The rules are those of ``events``: past participles, never edited.

Shapes: as in ``events``. An order and an authorization are named by 26 characters of base32.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from quicklime.events import Fact


class Observation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One question of a validation: ``asked`` of whom (``of``: a resolver, an address), what was answered, when.

    ``answer`` is cut and escaped: it is a stranger's. ``perspective`` names the vantage point.
    """

    asked: str
    of: str
    answer: str
    at: int
    perspective: str = "here"


class OrderCreated(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An account wants a certificate for these names; each needs one of these authorizations to be valid.

    ``replaces`` is the serial of the certificate that the new one is to replace (RFC 9773, Section 5).
    """

    TYPE: ClassVar[str] = "quicklime.acme.order-created.v1"
    order: str
    account: str
    directory: str
    names: tuple[str, ...]
    profile: str
    authorizations: tuple[str, ...]
    created_at: int
    expires_at: int
    named_profile: bool = False
    replaces: str | None = None

    @property
    def subject(self) -> str:
        return self.order


class OrderFailed(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The order will not end in a certificate. ``type`` is the ACME error's last part, ``detail`` for people."""

    TYPE: ClassVar[str] = "quicklime.acme.order-failed.v1"
    order: str
    type: str
    detail: str
    failed_at: int

    @property
    def subject(self) -> str:
        return self.order


class AuthorizationCreated(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The account may prove that it controls ``name``, by one of ``methods`` (challenge types), with this token.

    ``name`` never has a wildcard; ``wildcard`` says that the name and all one label below it are meant.
    """

    TYPE: ClassVar[str] = "quicklime.acme.authorization-created.v1"
    authorization: str
    account: str
    directory: str
    name: str
    methods: tuple[str, ...]
    token: str
    created_at: int
    expires_at: int
    wildcard: bool = False

    @property
    def subject(self) -> str:
        return self.authorization


class ValidationRequested(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The client is ready to be asked by this method; a validator that dies is followed by another."""

    TYPE: ClassVar[str] = "quicklime.acme.validation-requested.v1"
    authorization: str
    method: str
    requested_at: int

    @property
    def subject(self) -> str:
        return self.authorization


class NameValidated(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The account proved that it controls the name; until ``expires_at`` it need not do so again."""

    TYPE: ClassVar[str] = "quicklime.acme.name-validated.v1"
    authorization: str
    method: str
    evidence: tuple[Observation, ...]
    validated_at: int
    expires_at: int

    @property
    def subject(self) -> str:
        return self.authorization


class ValidationFailed(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The proof was not there. ``type`` is the ACME error's last part (``connection``, ``unauthorized``...)."""

    TYPE: ClassVar[str] = "quicklime.acme.validation-failed.v1"
    authorization: str
    method: str
    type: str
    detail: str
    evidence: tuple[Observation, ...]
    failed_at: int

    @property
    def subject(self) -> str:
        return self.authorization


class AuthorizationDeactivated(Fact, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The account gave the authorization back (RFC 8555, Section 7.5.2)."""

    TYPE: ClassVar[str] = "quicklime.acme.authorization-deactivated.v1"
    authorization: str
    deactivated_at: int

    @property
    def subject(self) -> str:
        return self.authorization


ProtocolEvent = (
    OrderCreated
    | OrderFailed
    | AuthorizationCreated
    | ValidationRequested
    | NameValidated
    | ValidationFailed
    | AuthorizationDeactivated
)

PROTOCOL_EVENTS: tuple[type[ProtocolEvent], ...] = (
    OrderCreated,
    OrderFailed,
    AuthorizationCreated,
    ValidationRequested,
    NameValidated,
    ValidationFailed,
    AuthorizationDeactivated,
)
